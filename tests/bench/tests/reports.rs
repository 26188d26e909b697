//! The benchmarks measure what they say: small runs of each, and the program's command line.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gantry_bench::machine::Clock;
use gantry_bench::swx::{self, Swx};
use gantry_bench::{bulk, classify, visible};
use serde_json::Value;

fn bench(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gantry-bench")).args(arguments).output().expect("the program runs");
    (output.status.success(), String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn engines_are_measured_at_every_size() {
    let report = classify::run(&Clock::measure(), &[(100, 0), (5000, 9)], 20, None);
    assert_eq!(report.sizes.iter().map(|size| (size.qps, size.rules)).collect::<Vec<_>>(), [(100, 0), (5000, 9)]);
    for size in &report.sizes {
        let medians = [size.parser, size.generated, size.by_hand, size.cold, size.cold_by_hand].map(|of| of.median);
        assert!(medians.iter().all(|ticks| (1.0..1e6).contains(ticks)), "{size:?}");
        assert!(size.parser.median < size.generated.median, "a part costs less than the whole: {size:?}");
    }
}

#[test]
fn windows_with_changes_have_changes_and_twins_without() {
    let report = bulk::run(&Clock::measure(), 3, 10);
    let rates = [report.alone.inserts, report.alone.modifies, report.alone.removes];
    assert!(rates.iter().all(|rate| (1e4..1e9).contains(rate)), "{rates:?}");
    assert_eq!((report.nothing.changes, report.nothing.pairs), (0.0, 3));
    // A busy machine may never let the writer keep its pace.
    for cost in [&report.paced, &report.unpaced].into_iter().filter(|cost| cost.pairs > 0) {
        assert!(cost.changes > 1e4 && cost.off.median > 1.0 && cost.on.median > 1.0, "{cost:?}");
    }
    assert!(report.paced.pairs == 0 || (0.8e6..1.2e6).contains(&report.paced.changes), "{:?}", report.paced);
}

#[test]
fn every_update_and_every_flag_is_seen() {
    let report = visible::run(&Clock::measure(), 100, Duration::from_secs(60));
    for (ways, lcores) in report.ways.iter().zip(1..) {
        assert_eq!((ways.lcores, ways.entry.count, ways.flag.count), (lcores, 100, 100));
        assert!(ways.entry.p50 > 0.0 && ways.flag.p50 > 0.0, "{ways:?}");
        assert!(ways.entry_undisturbed.count <= 100 && ways.entry.max < 60e6, "{ways:?}");
    }
}

#[test]
fn the_program_says_it_as_json_and_as_a_table() {
    let (passed, said) = bench(&["swap", "--swaps", "4000", "--json"]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert!(passed);
    assert_eq!((&said["bench"], &said["report"]["swaps"]), (&"swap".into(), &4000.into()));
    assert!(said["report"]["seen"].as_array().expect("a list").iter().all(|seen| seen["half"] == 0));

    let (passed, said) = bench(&["swap", "--swaps", "100000", "--halves"]);
    assert!(!passed && said.contains("half of a swap"), "halves are a failure: {said}");

    let (passed, said) = bench(&["classify", "--quick"]);
    assert!(passed && said.contains("by hand") && said.contains("SWX was not measured"), "{said}");
    let (passed, said) = bench(&["classify", "--quick", "--swx", "/bin/false", "--json"]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert!(passed && said["report"]["sizes"][2]["qps"] == 1_000_000, "{said}");
    assert_eq!(said["report"]["sizes"][2]["swx"]["failed"], "/bin/false: exit status: 1, nothing said");
}

/// A script says what DPDK's program would.
#[test]
fn the_reference_in_another_process_is_asked_before_and_after() {
    let script = Path::new(env!("CARGO_TARGET_TMPDIR")).join("swx.sh");
    fs::write(&script, "#!/bin/sh\necho EAL: hello\necho \"{\\\"entries\\\":$2,\\\"cycles_per_packet\\\":400.5}\"\n")
        .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let report = classify::run(&Clock::measure(), &[(100, 0), (100, 3)], 20, Some(&script));
    let expected = report.sizes[0].generated.median / 400.5;
    assert_eq!(report.sizes[0].swx, Some(Swx::Measured { before: 400.5, after: 400.5, ratio: expected }));
    assert_eq!(report.sizes[1].swx, None, "it has no rules");
    fs::remove_file(&script).unwrap();

    let nowhere = swx::measure(Path::new("/nowhere/swx"), 1, 1).unwrap_err();
    assert!(nowhere.starts_with("/nowhere/swx: "), "{nowhere}");
    let silent = "/bin/true: no line of JSON with cycles_per_packet";
    assert_eq!(swx::measure(Path::new("/bin/true"), 1, 1).unwrap_err(), silent);
}
