//! What annotations say, read from how they were written: `@name`, `@name(…)`.

/// An annotation's name, without its `@`.
pub(super) fn name(annotation: &str) -> &str {
    let rest = annotation.trim_start_matches('@');
    rest.find(['(', '[', ' ']).map_or(rest, |end| &rest[..end])
}

/// What is between an annotation's parentheses.
fn body(annotation: &str) -> Option<&str> {
    let (_, rest) = annotation.split_once('(')?;
    Some(rest.trim_end().strip_suffix(')')?.trim())
}

/// The parts between commas that are in no string, brackets or parentheses.
pub(super) fn parts<'a>(annotations: &'a [String], wanted: &str) -> Option<Vec<&'a str>> {
    let body = body(annotations.iter().find(|each| name(each) == wanted)?)?;
    Some(split(body))
}

fn split(body: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quoted, mut escaped) = (Vec::new(), 0, 0_i32, false, false);
    for (at, char) in body.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '<' => depth += 1,
            ')' | ']' | '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(body[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(body[start..].trim());
    parts
}

/// A string without its quotes.
pub(super) fn unquoted(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut plain = String::new();
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        plain.extend(if char == '\\' { chars.next() } else { Some(char) });
    }
    Some(plain)
}

/// What an annotation with one string says: `@owner("control")`.
pub(super) fn string(annotations: &[String], wanted: &str) -> Option<String> {
    unquoted(parts(annotations, wanted)?.first()?)
}

/// What `@id` says, in decimal or hexadecimal.
pub(super) fn id(annotations: &[String]) -> Option<u32> {
    let parts = parts(annotations, "id")?;
    let number = parts.first()?.replace('_', "");
    match number.strip_prefix("0x").or_else(|| number.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => number.parse().ok(),
    }
}

/// What a `@pkginfo` says of a key (P4Runtime §6.2.1); there may be several, each with several keys.
pub(super) fn package_value(annotations: &[String], key: &str) -> Option<String> {
    let all = annotations.iter().filter(|each| name(each) == "pkginfo").filter_map(|each| body(each)).flat_map(split);
    let mut pairs = all.filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| name.trim() == key).and_then(|(_, value)| unquoted(value.trim()))
}

/// Annotations that no field of P4Info says in its own way.
pub(super) fn shown(annotations: &[String]) -> Vec<String> {
    let own_field = ["id", "name", "brief", "description", "pkginfo", "p4runtime_translation"];
    annotations.iter().filter(|each| !own_field.contains(&name(each))).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written() {
        let written =
            ["@hidden", "@id(0x12_ab)", r#"@pkginfo(name="a, \"b\"", version = "2")"#, r#"@pkginfo(url="u")"#];
        let written = written.map(str::to_owned);
        assert_eq!(written.each_ref().map(|each| name(each)), ["hidden", "id", "pkginfo", "pkginfo"]);
        assert_eq!(id(&written), Some(0x12ab));
        assert_eq!(id(&["@id(7)".to_owned()]), Some(7));
        assert_eq!(id(&["@id(x)".to_owned()]), None);
        assert_eq!(package_value(&written, "name").as_deref(), Some(r#"a, "b""#));
        assert_eq!(package_value(&written, "version").as_deref(), Some("2"));
        assert_eq!(package_value(&written, "url").as_deref(), Some("u"));
        assert_eq!(package_value(&written, "contact"), None);
        assert_eq!(shown(&written), ["@hidden"]);
        assert_eq!(
            parts(&[r#"@p4runtime_translation("a,b", bit<32>)"#.to_owned()], "p4runtime_translation"),
            Some(vec![r#""a,b""#, "bit<32>"])
        );
    }
}
