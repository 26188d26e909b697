//! The demonstration without virtual machines: the world of `world/mod.rs`, on the real clock.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use gantry_control::{Configuration, Drive, Hosts, Namespace, Port, Subsystem};
use gantry_pipeline::state::Sizes;
use gantry_sim::host::{HostConfig, State};
use gantry_sim::workload::{Plan, Workload};
use gantry_sim::world::{DEVICE, World};

/// What to show.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds of I/O.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// The drive: `mem:SIZE` or `file:/path`, at least 64 MiB.
    #[arg(long, default_value = "mem:256M")]
    drive: String,
    /// Largest IP packet in bytes: 1500 gives a path MTU of 1024, 4200 one of 4096.
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u16).range(1500..=9000))]
    mtu: u16,
    /// Commands in flight.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=128))]
    depth: u16,
}

const NQN: &str = "nqn.2026-11.io.gantry:demo";

/// The workload's range: 64 MiB of 512-byte blocks.
const BLOCKS: u64 = 131_072;

fn configuration(arguments: &Arguments) -> Configuration {
    Configuration {
        epoch: 1,
        ports: vec![Port {
            name: "wire0".into(),
            device: DEVICE.into(),
            mtu: 9000,
            vlan: 0,
            addresses: vec![[10, 0, 0, 1].into()],
        }],
        drives: vec![Drive { name: "d0".into(), uri: arguments.drive.clone() }],
        subsystems: vec![Subsystem {
            nqn: NQN.into(),
            hosts: Hosts::Any,
            namespaces: vec![Namespace {
                nsid: 1,
                drive: "d0".into(),
                drive_nsid: None,
                uuid: *b"gantry-demo-uuid",
                read_only: false,
            }],
        }],
    }
}

/// The world on the real clock.
struct Live {
    world: World,
    start: Instant,
    host: usize,
}

impl Live {
    fn round(&mut self) {
        // From one second on, as everywhere: zero is before everything.
        self.world.round(1_000_000_000 + self.start.elapsed().as_nanos() as u64);
    }

    fn wait_for(&mut self, wanted: &State, what: &str) -> Result<(), String> {
        let begun = Instant::now();
        while self.world.host(self.host).state() != wanted {
            self.round();
            if begun.elapsed() > Duration::from_secs(10) {
                let state = *self.world.host(self.host).state();
                let told = self.world.notices().iter().map(|notice| format!("\n  {notice}")).collect::<String>();
                return Err(format!("the host did not {what}: {state:?}; control noticed:{told}"));
            }
        }
        Ok(())
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let mut world = World::new(configuration(arguments), 1, Sizes::default(), std::process::id().into());
    let mut config = HostConfig::new([10, 0, 0, 2].into(), [10, 0, 0, 1].into());
    config.mtu = arguments.mtu;
    let host = world.plug(config);
    let mut live = Live { world, start: Instant::now(), host };
    // The drive is reset before anybody may connect.
    while live.start.elapsed() < Duration::from_millis(200) {
        live.round();
    }
    println!("A host model, the data plane's pipeline, control and a software drive, in this process.");
    live.world.host(host).connect(NQN, 2, 128, 5_000);
    live.wait_for(&State::Ready, "connect")?;
    let namespaces = live.world.host(host).namespaces().to_vec();
    let Some(namespace) = namespaces.first() else {
        return Err(format!("the host found no namespace on {}", arguments.drive));
    };
    println!("Connected to {NQN}: {} blocks of {} bytes.", namespace.blocks, namespace.block_size);
    let block_size = namespace.block_size;
    let blocks = (BLOCKS * 512 / u64::from(block_size)).min(namespace.blocks);
    let mut workload = Workload::new(Plan {
        nsid: namespace.nsid,
        blocks,
        block_size,
        queues: 2,
        depth: arguments.depth.into(),
        lengths: vec![4096, 16_384, 131_072],
        reads: 70,
        seed: 1,
    });
    verified_io(&mut live, &mut workload, Duration::from_secs(arguments.seconds.into()))?;
    live.world.host(host).disconnect();
    live.wait_for(&State::Disconnected, "disconnect")?;
    summary(&mut live, &workload);
    let violations = live.world.host(host).violations();
    if !workload.errors.is_empty() || !violations.is_empty() {
        return Err(format!("data or rules were broken: {:?} {violations:?}", workload.errors));
    }
    println!("\nEvery byte read was the byte written.");
    Ok(())
}

fn verified_io(live: &mut Live, workload: &mut Workload, length: Duration) -> Result<(), String> {
    let host = live.host;
    let begun = Instant::now();
    let mut told = (Instant::now(), 0, 0);
    while begun.elapsed() < length {
        live.round();
        workload.turn(live.world.host(host));
        let since = told.0.elapsed();
        if since >= Duration::from_millis(500) {
            let bytes = workload.bytes_read + workload.bytes_written;
            progress(&format!(
                "{:>8.0} IOPS {:>8.1} MB/s   p99 {:>7.1} us   {} commands verified",
                (workload.completed - told.1) as f64 / since.as_secs_f64(),
                (bytes - told.2) as f64 / since.as_secs_f64() / 1e6,
                workload.latencies.quantile_ns(0.99) as f64 / 1e3,
                workload.completed,
            ));
            told = (Instant::now(), workload.completed, bytes);
        }
        if !workload.errors.is_empty() {
            break;
        }
    }
    let draining = Instant::now();
    while !workload.drain(live.world.host(host)) {
        live.round();
        if draining.elapsed() > Duration::from_secs(10) {
            return Err("commands did not end within ten seconds".into());
        }
    }
    if std::io::stdout().is_terminal() {
        println!();
    }
    Ok(())
}

fn progress(line: &str) {
    if std::io::stdout().is_terminal() {
        print!("\r{line}");
        // A progress line that cannot be written is not worth stopping for.
        let _ = std::io::stdout().flush();
    } else {
        println!("{line}");
    }
}

fn summary(live: &mut Live, workload: &Workload) {
    let latencies = &workload.latencies;
    println!(
        "\n{} commands, {:.1} MB read, {:.1} MB written; latency p50 {:.1} us, p99 {:.1} us, p99.9 {:.1} us\n",
        workload.completed,
        workload.bytes_read as f64 / 1e6,
        workload.bytes_written as f64 / 1e6,
        latencies.quantile_ns(0.5) as f64 / 1e3,
        latencies.quantile_ns(0.99) as f64 / 1e3,
        latencies.quantile_ns(0.999) as f64 / 1e3,
    );
    println!("{:<16}{:<28}{:>16}", "stage", "what", "count");
    for (name, value) in live.world.card().lcore(0).core().counters.iter().filter(|(_, value)| *value > 0) {
        let (stage, what) = name.split_once('.').unwrap_or((name, ""));
        println!("{stage:<16}{what:<28}{value:>16}");
    }
}
