//! Every case runs for a few I/Os, brings back what was written, and is in the report: nothing is timed here.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use gantry_bench_io::case::{Case, Extent};
use gantry_bench_io::churn::Crowd;
use serde_json::Value;

#[test]
fn a_report_that_cannot_be_written_is_a_failure() {
    let full = File::options().write(true).open("/dev/full").expect("a device that takes nothing");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gantry-bench-io"));
    let output = command.arg("--token").stdout(full).output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("the report cannot be written"), "{said}");
}

#[test]
fn a_report_that_nobody_reads_ends_quietly() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gantry-bench-io"));
    let mut program =
        command.arg("--token").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
    drop(program.stdout.take());
    let output = program.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("panicked"), "{said}");
}

#[test]
fn every_case_runs_and_the_report_is_whole() {
    let plots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plots");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gantry-bench-io"));
    let output = command.args(["--token", "--json", "--plots"]).arg(&plots).output().expect("the program runs");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let of =
        |mode: &str| lines.iter().filter(|line| line["mode"] == mode).map(|line| &line["report"]).collect::<Vec<_>>();

    let cases = Case::all(Extent::Token);
    let told = of("alternating");
    assert_eq!(told.len(), cases.len());
    for (case, told) in cases.iter().zip(told) {
        assert_eq!(told["case"]["name"], case.name.as_str());
        let number = |name: &str| told[name].as_f64().unwrap_or_else(|| panic!("{name} of {told}"));
        // A host model that asks for what it has not got, or a path that is not taken, would show here.
        let copied = number("bytes_copied_per_io");
        assert!(copied >= f64::from(case.length), "{}: {copied} bytes copied", case.name);
        let frames = (f64::from(case.length) / f64::from(case.mtu)).ceil();
        let carrying = if case.read { number("tx_frames_per_io") } else { number("rx_frames_per_io") };
        assert!(carrying >= 0.9 * frames, "{}: {carrying} frames, not {frames}", case.name);
        let share = number("payload_share");
        assert!(share > 0.4 && share < 0.99, "{}: {share}", case.name);
        assert_eq!(told["windows"], 2, "none is left out: {told}");
        assert!(number("over_base") > 0.0 && number("poll") > 0.0 && number("rx_burst") >= 1.0, "{told}");
    }
    assert_eq!(of("references")[0]["copies"].as_array().expect("a list").len(), 4);
    assert_eq!(of("machine").len(), 1);
    assert_eq!(of("projection").len(), 4);
    for told in of("come and go") {
        let number = |name: &str| told[name].as_u64().expect("a number");
        assert_eq!(number("dropped"), 0);
        assert!(number("created") > 0 && number("created") == number("destroyed"), "{told}");
        assert!(told["latency_beside"]["count"].as_u64() > Some(0), "{told}");
    }
    assert_eq!(of("come and go").len(), Crowd::ALL.len());
    let aims = of("aim");
    assert_eq!(aims.len(), 13, "{aims:?}");
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
        let apart = of("two cores");
        assert_eq!(apart.len(), cases.len());
        for (case, told) in cases.iter().zip(apart) {
            assert_eq!(told["case"]["name"], case.name.as_str());
            assert!(told["windows"].as_u64() > Some(1), "{told}");
            // Whether any was completed within a window's time is the machine's.
            assert!(told["completed"].as_u64() >= Some(case.in_flight as u64), "{told}");
            assert_eq!(told["added_us"].is_null(), case.in_flight > 1, "{told}");
        }
        assert_eq!(of("two lcores").len(), 1);
        assert_eq!(of("two lcores")[0]["pairs"], 2);
        assert!(plots.join("io-latency.svg").is_file() && plots.join("io-rate.svg").is_file());
    }
    for plot in ["io-length.svg", "io-qps.svg", "io-cold.svg"] {
        let text = std::fs::read_to_string(plots.join(plot)).expect("a plot");
        assert!(text.contains("read 4 KiB") && text.ends_with("</svg>\n"), "{text}");
    }
    std::fs::remove_dir_all(plots).expect("it was made");
}
