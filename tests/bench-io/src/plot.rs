//! Bars as SVG, for docs/: no scripts, no fonts of their own, light and dark alike.

use std::fmt::Write;

/// A bar: what it is, how long, and from where to where it may be.
#[derive(Clone, Debug)]
pub struct Bar {
    /// What it is.
    pub label: String,
    /// Its value.
    pub value: f64,
    /// The interval; the value itself for none.
    pub interval: [f64; 2],
}

const LEFT: f64 = 210.0;
const WIDTH: f64 = 460.0;
const ROW: f64 = 24.0;
const TOP: f64 = 44.0;

/// Text as XML has it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Bars one below the other, from zero on.
#[must_use]
pub fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let measured = bars.iter().filter(|bar| bar.value.is_finite());
    let most = measured.map(|bar| bar.value.max(bar.interval[1])).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let (width, height) = (LEFT + WIDTH + 110.0, TOP + ROW * bars.len() as f64 + 12.0);
    let mut out = String::new();
    let style =
        "text{font:13px sans-serif;fill:#888}.t{font-weight:bold}.b{fill:#4878a8}.i{stroke:#c06030;stroke-width:2}";
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\">"
    );
    let _ = writeln!(out, "<style>{style}</style>");
    let _ = writeln!(out, "<text class=\"t\" x=\"8\" y=\"20\">{} ({})</text>", escaped(title), escaped(unit));
    for (at, bar) in bars.iter().enumerate() {
        let y = TOP + ROW * at as f64;
        let long = |value: f64| value / most * WIDTH;
        let middle = y + 7.0;
        let _ = writeln!(out, "<text x=\"8\" y=\"{:.0}\">{}</text>", y + 12.0, escaped(&bar.label));
        if !bar.value.is_finite() {
            let _ = writeln!(out, "<text x=\"{LEFT:.0}\" y=\"{:.0}\">not measured</text>", y + 12.0);
            continue;
        }
        let _ = writeln!(
            out,
            "<rect class=\"b\" x=\"{LEFT:.0}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"14\"/>",
            long(bar.value)
        );
        let [from, to] = bar.interval.map(|end| LEFT + long(end));
        if to > from {
            let _ = writeln!(
                out,
                "<line class=\"i\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle:.0}\" y2=\"{middle:.0}\"/>"
            );
        }
        let end = LEFT + long(bar.value.max(bar.interval[1])) + 8.0;
        let digits = if most < 100.0 { 2 } else { 0 };
        let _ = writeln!(out, "<text x=\"{end:.1}\" y=\"{:.0}\">{:.digits$}</text>", y + 12.0, bar.value);
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values_say() {
        let bar = |label: &str, value: f64| Bar { label: label.into(), value, interval: [value; 2] };
        let svg = bars("a < b", "us", &[bar("one & two", 50.0), bar("three", 100.0), bar("none", f64::NAN)]);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("a &lt; b") && svg.contains("one &amp; two"), "{svg}");
        assert!(svg.contains("none</text>\n<text x=\"210\" y=\"104\">not measured"), "{svg}");
        assert!(svg.contains("width=\"230.0\"") && svg.contains("width=\"460.0\""), "{svg}");
    }
}
