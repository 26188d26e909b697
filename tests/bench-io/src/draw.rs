//! The plots of a run: one for each axis of the cases, I/Os a second and latencies of all.

use std::fs;
use std::path::Path;

use gantry_bench_io::aims::Run;
use gantry_bench_io::case::Axis;
use gantry_bench_io::plot::{Bar, bars};

/// Axes, the plots' file names and titles.
const AXES: [(Axis, &str, &str); 9] = [
    (Axis::Length, "io-length.svg", "Reads and writes by length"),
    (Axis::Mtu, "io-mtu.svg", "Path MTU"),
    (Axis::Depth, "io-depth.svg", "Commands in flight"),
    (Axis::Qps, "io-qps.svg", "QPs"),
    (Axis::Drives, "io-drives.svg", "Drives"),
    (Axis::Medium, "io-medium.svg", "What the drive is"),
    (Axis::Loss, "io-loss.svg", "Loss"),
    (Axis::Cold, "io-cold.svg", "First pass and second"),
    (Axis::Tables, "io-tables.svg", "Entries of the QP table"),
];

/// The longest commands whose latencies are drawn, in bytes.
const LONGEST_DRAWN: u32 = 16_384;

/// Writes them all.
///
/// # Errors
/// The folder's.
pub(crate) fn all(run: &Run, folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    let base = run.cases.first();
    for (axis, name, title) in AXES {
        let cases = run.cases.iter().filter(|measured| measured.case.axis == axis);
        let base = base.filter(|_| axis != Axis::Length);
        let cases: Vec<Bar> = base
            .into_iter()
            .chain(cases)
            .map(|measured| Bar {
                label: measured.case.name.clone(),
                value: measured.cycles.median,
                interval: [measured.quartiles.low, measured.quartiles.high],
            })
            .collect();
        if cases.len() > 1 {
            write(name, bars(title, "busy cycles an I/O, quartiles", &cases))?;
        }
    }
    let apart = || run.apart.iter().filter(|apart| apart.windows > 0);
    let rates = apart().map(|apart| Bar {
        label: apart.case.name.clone(),
        value: apart.ios_per_second.median,
        interval: [apart.ios_per_second.low, apart.ios_per_second.high],
    });
    let rates: Vec<Bar> = rates.collect();
    // Commands of 128 KiB would leave nothing to see of the others.
    let latencies = apart().filter(|apart| apart.case.length <= LONGEST_DRAWN).map(|apart| {
        let [p50, p99, _] = apart.latency_us;
        Bar { label: apart.case.name.clone(), value: p50, interval: [p50, p99] }
    });
    let latencies: Vec<Bar> = latencies.collect();
    if !rates.is_empty() {
        write("io-rate.svg", bars("Two cores, the hosts' the slower of them", "I/Os a second, quartiles", &rates))?;
        write("io-latency.svg", bars("Latency on two cores, hosts' work included", "us, p50 to p99", &latencies))?;
    }
    Ok(())
}
