//! The machine that was measured on, in words.

use std::fs;

use gantry_bench::machine::{Clock, processors};
use serde::Serialize;

/// What it is.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's own name.
    pub processor: String,
    /// Processors that this process may run on.
    pub processors: usize,
    /// Ticks of the timestamp counter in a microsecond: what is called a cycle here.
    pub ticks_per_us: f64,
    /// Caches of a processor, innermost first: level, kind, size.
    pub caches: Vec<String>,
    /// Whether the processor is a virtual machine's.
    pub virtual_machine: bool,
    /// The kernel's release.
    pub kernel: String,
    /// DPDK's.
    pub dpdk: String,
    /// Whether DPDK had hugepages.
    pub hugepages: bool,
    /// What glibc is told (`GLIBC_TUNABLES`): of huge pages, above all.
    pub tunables: String,
    /// How CRCs are computed.
    pub crc: String,
    /// Load of the last minute when the run began.
    pub load: String,
}

fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

impl Machine {
    /// Looks at it.
    #[must_use]
    pub fn here(clock: &Clock, dpdk: String) -> Self {
        let about = line("/proc/cpuinfo");
        let field = |name: &str| {
            let found = about.lines().find_map(|line| line.split_once(':').filter(|(field, _)| field.trim() == name));
            found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let cache = |index: usize| {
            let of = |what: &str| line(&format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{what}"));
            (!of("size").is_empty()).then(|| format!("L{} {} {}", of("level"), of("type").to_lowercase(), of("size")))
        };
        let model = format!("{} (family {}, model {})", field("model name"), field("cpu family"), field("model"));
        Self {
            processor: if field("model name").is_empty() { "unknown".into() } else { model },
            processors: processors().len(),
            ticks_per_us: clock.ticks_per_us,
            caches: (0..8).map_while(cache).collect(),
            virtual_machine: field("flags").split(' ').any(|flag| flag == "hypervisor"),
            kernel: line("/proc/sys/kernel/osrelease"),
            dpdk,
            hugepages: false,
            tunables: std::env::var("GLIBC_TUNABLES").unwrap_or_default(),
            crc: clock.cpu.crc_engine().to_owned(),
            load: line("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}
