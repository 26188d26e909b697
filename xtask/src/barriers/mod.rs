//! The step `barriers`: the driver, compiled for arm64, has the instructions that keep its order with a device, at their places.
//!
//! What is needed (Arm ARM B2.3; Linux's `writel`, `readl`, `dma_wmb` and `dma_rmb` and DPDK's `rte_io_wmb` and `rte_io_rmb` on
//! arm64 are the same): a DMB of the outer shareable domain, in which devices are. `dmb oshst` between a submission entry and its
//! doorbell, `dmb oshld` between a phase bit and the rest of its entry, and between that and the doorbell that gives it back.

use std::fs;
use std::process::{Command, Stdio};

use crate::Result;
use crate::arm64::{ARM64, Toolchain};
use crate::programs::{run, target};

/// The functions that are compiled and read.
const PROBE: &str = include_str!("probe.rs");

/// Compiles and looks; true if every barrier is in its place.
pub(crate) fn check() -> Result<bool> {
    let assembly = compile()?;
    let mut good = true;
    for (name, rule) in RULES {
        let judged = function(&assembly, name).and_then(|lines| rule(&lines).map_err(|why| told(&why, &lines)));
        match judged {
            Ok(what) => println!("{name}: {what}"),
            Err(why) => {
                good = false;
                println!("{name}: FAILED: {why}");
            }
        }
    }
    Ok(good)
}

/// The probe's assembly: optimised as a release is, against the driver's library.
fn compile() -> Result<String> {
    let toolchain = Toolchain::ensure()?;
    toolchain.build_libraries()?;
    let folder = target()?.join("barriers");
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(&folder).map_err(failed)?;
    let (source, assembly) = (folder.join("probe.rs"), folder.join("probe.s"));
    fs::write(&source, PROBE).map_err(failed)?;
    let mut command = Command::new(toolchain.compiler());
    command.args(["--edition", "2024", "--target", ARM64, "--crate-type", "lib", "--emit", "asm"]);
    command.args(["-C", "opt-level=3", "-C", "codegen-units=1"]);
    for library in ["gantry_nvme", "gantry_wire"] {
        command.arg("--extern").arg(format!("{library}={}", toolchain.built(&format!("lib{library}.rlib"))?.display()));
    }
    // Beside arm64's libraries the compiler wants this machine's: those that derive.
    for deps in [toolchain.built("deps")?, toolchain.built_here()?.join("deps")] {
        command.arg("-L").arg(format!("dependency={}", deps.display()));
    }
    command.arg("-o").arg(&assembly).arg(&source).stdin(Stdio::null());
    match run(&mut command)? {
        status if status.success() => fs::read_to_string(&assembly).map_err(failed),
        status => Err(format!("rustc failed ({status})")),
    }
}

/// What holds for the lines of a function, and how it is told when it does.
type Rule = fn(&[Line]) -> Result<&'static str>;

const RULES: [(&str, Rule); 3] = [
    ("probe_submit", after_entry),
    ("probe_poll", after_phase),
    ("probe_release", |lines| before_doorbell(lines, "dmb oshld").map(|()| "dmb oshld, then the head doorbell")),
];

/// A line of assembly that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    /// Something may jump to here.
    Label,
    /// A DMB or DSB, whole.
    Barrier(String),
    /// A load, whole.
    Load(String),
    /// A store, whole.
    Store(String),
    /// A branch on a condition.
    Condition,
    /// A call.
    Call,
    /// Anything else.
    Other,
}

/// The lines of the function whose symbol holds `name`.
fn function(assembly: &str, name: &str) -> Result<Vec<Line>> {
    let is_label =
        |line: &&str| !line.starts_with(['\t', ' ', '.', '#', '/']) && line.contains(name) && line.ends_with(':');
    let mut lines = assembly.lines();
    lines.find(is_label).ok_or_else(|| format!("the assembly has no function {name}"))?;
    Ok(lines.take_while(|line| !line.starts_with(".Lfunc_end")).filter_map(read).collect())
}

/// A line of assembly; nothing, if it is a directive or a remark.
fn read(line: &str) -> Option<Line> {
    let text = line.split("//").next().unwrap_or_default().trim();
    if text.is_empty() || text.starts_with(['.', '#']) && !text.ends_with(':') {
        return None;
    }
    if text.ends_with(':') {
        return Some(Line::Label);
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let (word, text) = (words[0], words.join(" "));
    Some(match word {
        "dmb" | "dsb" => Line::Barrier(text),
        _ if word.starts_with("ld") => Line::Load(text),
        _ if word.starts_with("st") => Line::Store(text),
        "cbz" | "cbnz" | "tbz" | "tbnz" => Line::Condition,
        _ if word.starts_with("b.") => Line::Condition,
        "bl" | "blr" => Line::Call,
        _ => Line::Other,
    })
}

/// Whether an instruction moves one register of 32 bits.
fn is_word(text: &str) -> bool {
    let mut parts = text.split([' ', ',']);
    matches!(parts.next(), Some("ldr" | "ldur" | "str" | "stur")) && parts.next().is_some_and(|to| to.starts_with('w'))
}

/// Whether it is about memory that no device sees: the stack, or the queue's own struct, to which x0 points.
fn is_private(text: &str) -> bool {
    ["[sp", "[x29", "[x0,", "[x0]"].iter().any(|place| text.contains(place))
}

/// One barrier, and behind it the doorbell: the first store that follows, of 32 bits, with no other way to it.
fn before_doorbell(lines: &[Line], barrier: &str) -> Result<()> {
    let at = only_barrier(lines, barrier)?;
    for line in &lines[at + 1..] {
        match line {
            Line::Store(text) if is_private(text) => {}
            Line::Store(text) if is_word(text) => return Ok(()),
            Line::Store(text) => return Err(format!("{text} stands between the barrier and the doorbell")),
            Line::Label => return Err("the doorbell can be reached around the barrier".to_owned()),
            Line::Call => return Err("a call stands between the barrier and the doorbell".to_owned()),
            _ => {}
        }
    }
    Err("no doorbell follows the barrier".to_owned())
}

/// The entry's 64 bytes, the barrier, the doorbell.
fn after_entry(lines: &[Line]) -> Result<&'static str> {
    before_doorbell(lines, "dmb oshst")?;
    let at = only_barrier(lines, "dmb oshst")?;
    let entry = |line: &Line| match line {
        Line::Store(text) => {
            !is_private(text) && text.split([' ', ',']).nth(1).is_some_and(|from| from.starts_with(['q', 'x']))
        }
        // memcpy.
        Line::Call => true,
        _ => false,
    };
    match lines[..at].iter().any(entry) {
        true => Ok("the entry, dmb oshst, then the tail doorbell"),
        false => Err("no entry is stored before the barrier".to_owned()),
    }
}

/// The phase's load of 32 bits, a branch upon it, the barrier, and only then the rest of the entry.
fn after_phase(lines: &[Line]) -> Result<&'static str> {
    let at = only_barrier(lines, "dmb oshld")?;
    let mut branched = false;
    let phase = lines[..at].iter().rev().find_map(|line| match line {
        Line::Condition => {
            branched = true;
            None
        }
        Line::Load(text) if is_private(text) => None,
        Line::Load(text) if is_word(text) && branched => Some(Ok(())),
        Line::Load(text) | Line::Store(text) => Some(Err(format!("{text} stands between the phase and the barrier"))),
        Line::Label => Some(Err("the barrier can be reached around the phase".to_owned())),
        _ => None,
    });
    phase.ok_or("no phase is looked at before the barrier")??;
    let is_entry = |line: &Line| matches!(line, Line::Load(text) if !is_private(text));
    match lines[at + 1..].iter().any(is_entry) {
        true => Ok("the phase, a branch, dmb oshld, then the entry"),
        false => Err("nothing is read behind the barrier".to_owned()),
    }
}

/// Where the one barrier is, which is `barrier`.
fn only_barrier(lines: &[Line], barrier: &str) -> Result<usize> {
    let all: Vec<(usize, &str)> = lines
        .iter()
        .enumerate()
        .filter_map(|(at, line)| if let Line::Barrier(text) = line { Some((at, text.as_str())) } else { None })
        .collect();
    match all[..] {
        [(at, found)] if found == barrier => Ok(at),
        _ => Err(format!(
            "one {barrier} is to be there, found: {:?}",
            all.iter().map(|(_, text)| text).collect::<Vec<_>>()
        )),
    }
}

fn told(why: &str, lines: &[Line]) -> String {
    let shown: Vec<String> = lines.iter().map(|line| format!("  {line:?}")).collect();
    format!("{why}\n{}", shown.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBMIT: &str = "_ZN5probe12probe_submit17h0E:\n\t.cfi_startproc\n\tldrh\tw8, [x0, #98]\n\tb.eq\t.LBB0_2\n\
                          \tstp\tq0, q1, [x9]\n\t//APP\n\tdmb\toshst\n\t//NO_APP\n\tldr\tx10, [x11, #40]\n\
                          \tstr\tx10, [sp, #8]\n\tstr\tw8, [x10]\n\tstrh\tw8, [x0, #100]\n.LBB0_2:\n\tret\n.Lfunc_end0:\n";
    const POLL: &str = "probe_poll:\n.LBB1_1:\n\tldr\tx9, [x0]\n\tldr\tw8, [x9, x10]\n\tldrb\tw7, [x0, #9]\n\
                        \ttbnz\tw8, #16, .LBB1_4\n\tdmb\toshld\n\tldr\tx11, [x9]\n\tb\t.LBB1_1\n.LBB1_4:\n\tret\n.Lfunc_end1:\n";

    fn judged(assembly: &str, name: &str) -> Result<&'static str> {
        let rule = RULES.iter().find(|(other, _)| *other == name).expect("a rule").1;
        rule(&function(assembly, name)?)
    }

    #[test]
    fn barriers_in_their_places_are_seen() {
        judged(SUBMIT, "probe_submit").unwrap();
        judged(POLL, "probe_poll").unwrap();
    }

    #[test]
    fn what_is_missing_weaker_or_elsewhere_is_not_accepted() {
        let planted = [
            (SUBMIT, "probe_submit", "\tdmb\toshst\n", "", "one dmb oshst is to be there, found: []"),
            (SUBMIT, "probe_submit", "dmb\toshst", "dmb\tishst", "found: [\"dmb ishst\"]"),
            (SUBMIT, "probe_submit", "dmb\toshst", "dmb\toshld", "found: [\"dmb oshld\"]"),
            (SUBMIT, "probe_submit", "\tstp\tq0, q1, [x9]\n", "", "no entry is stored before"),
            (
                SUBMIT,
                "probe_submit",
                "\tstr\tw8, [x10]\n",
                "\tstp\tq0, q1, [x9]\n\tstr\tw8, [x10]\n",
                "stp q0, q1, [x9] stands",
            ),
            (SUBMIT, "probe_submit", "\tldr\tx10, [x11, #40]\n", "\tbl\tmemcpy\n", "a call stands"),
            (SUBMIT, "probe_submit", "\tldr\tx10, [x11, #40]\n", ".LBB0_3:\n", "around the barrier"),
            (SUBMIT, "probe_submit", "\tstr\tw8, [x10]\n", "", "the doorbell can be reached around"),
            (POLL, "probe_poll", "\tdmb\toshld\n", "", "one dmb oshld is to be there"),
            (POLL, "probe_poll", "dmb\toshld", "dmb\tishld", "one dmb oshld is to be there"),
            (POLL, "probe_poll", "\ttbnz\tw8, #16, .LBB1_4\n", "", "stands between the phase and the barrier"),
            (POLL, "probe_poll", "\tdmb\toshld\n", "\tldr\tx12, [x9]\n\tdmb\toshld\n", "ldr x12, [x9] stands between"),
            (POLL, "probe_poll", "\tldr\tx11, [x9]\n", "", "nothing is read behind the barrier"),
        ];
        for (assembly, name, find, replace, said) in planted {
            assert!(assembly.contains(find), "{find}");
            let why = judged(&assembly.replacen(find, replace, 1), name).unwrap_err();
            assert!(why.contains(said), "{find} for {replace}: {why}");
        }
        assert!(judged(SUBMIT, "probe_poll").unwrap_err().contains("no function probe_poll"));
    }
}
