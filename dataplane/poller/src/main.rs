//! gantry-dataplane: the pipeline on DPDK lcores, housekeeping on the main thread.
//!
//! It starts with lcores and a channel only; ports and drives come over the channel from gantryd. It runs on when
//! control dies, and ends on SIGTERM or SIGINT.

#![forbid(unsafe_code)]

mod channel;
mod devices;
mod statistics;

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use gantry_cpu::Cpu;
use gantry_dma::Region;
use gantry_pipeline::Lcore;
use gantry_pipeline::exchange::Liveness;
use gantry_pipeline::housekeeping::{Environment, Housekeeping};
use gantry_pipeline::state::{Core, Sizes};
use gantry_pipeline::tables::Writer;
use rte_rs::{Eal, Interrupts};

use channel::{Channel, Heard};
use devices::{Devices, Memory};
use gantry_poller::bell::Bell;
use gantry_poller::exchange::{self, HousekeepingEnd, LcoreEnd};
use gantry_poller::idle::Idle;
use gantry_poller::port::DpdkQueue;
use statistics::Statistics;

/// Gantry's data plane.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Unix socket where gantryd connects.
    #[arg(long, default_value = "/run/gantry/channel")]
    channel: PathBuf,
    /// Lcores that poll, beside the housekeeping thread.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    lcores: u16,
    /// Run without hugepages.
    #[arg(long)]
    no_huge: bool,
    /// Drives may be opened without an IOMMU (`iommu=off`), and can then write anywhere in the machine's memory: queues and buffers
    /// are physically contiguous hugepages. Needs root.
    #[arg(long, conflicts_with = "no_huge")]
    physical_memory: bool,
    /// Memory for DPDK in MiB.
    #[arg(long, default_value_t = 256)]
    memory: u32,
    /// QPs of one lcore.
    #[arg(long, default_value_t = Sizes::default().qps, value_parser = clap::value_parser!(u32).range(2..=65536))]
    qps: u32,
    /// Commands of one lcore, in all states together.
    #[arg(long, default_value_t = Sizes::default().commands, value_parser = clap::value_parser!(u32).range(64..=65536))]
    commands: u32,
    /// Data memory of one lcore in MiB.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    data_memory: u32,
    /// A PCI device that may become a port; may be repeated. Without it DPDK does not look at the PCI bus.
    #[arg(long, value_name = "ADDRESS")]
    pci: Vec<String>,
    /// More arguments for DPDK's EAL.
    #[arg(long = "eal", value_name = "ARGUMENT", allow_hyphen_values = true)]
    eal: Vec<String>,
}

/// Why the process could not start.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("DPDK's EAL did not start: {0}; its own lines above say why")]
    Eal(rte_rs::Error),
    #[error("channel {path}: {error}")]
    Channel { path: PathBuf, error: std::io::Error },
    #[error("statistics beside channel {path}: {error}")]
    Statistics { path: PathBuf, error: std::io::Error },
    #[error("memory for an lcore: {0}; or ask for less with --data-memory or --commands")]
    Memory(String),
    #[error("signal handlers: {0}")]
    Signals(std::io::Error),
    #[error("{0}; ask for more with --memory, or for more open files")]
    Exchange(exchange::Error),
    #[error("what lcore {0} waits for: {1}; ask for more open files")]
    Interrupts(usize, rte_rs::Error),
    #[error("lcore {0}: {1}")]
    Launch(usize, rte_rs::Error),
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_writer(std::io::stderr)
        .init();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gantry-dataplane: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Monotonic nanoseconds since the process began. The vDSO's clock: no system call.
#[derive(Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn now_ns(&self) -> u64 {
        // From one second on, so that zero is before everything.
        1_000_000_000 + self.0.elapsed().as_nanos() as u64
    }
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, stop.clone()).map_err(Error::Signals)?;
    }
    // A virtio peer that goes first must not take the data plane along: its socket's SIGPIPE has a handler that does nothing.
    signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::new(AtomicBool::new(false)))
        .map_err(Error::Signals)?;

    let mut channel = Channel::listen(&arguments.channel)
        .map_err(|error| Error::Channel { path: arguments.channel.clone(), error })?;
    let lcores = usize::from(arguments.lcores);
    let statistics = Statistics::create(&arguments.channel, lcores)
        .map_err(|error| Error::Statistics { path: arguments.channel.clone(), error })?;
    let eal = Eal::init(&eal_arguments(arguments)).map_err(Error::Eal)?;
    let clock = Clock(Instant::now());
    let cpu = Cpu::detect();
    let sizes = Sizes {
        qps: arguments.qps,
        commands: arguments.commands,
        pages: arguments.data_memory * 256,
        ..Sizes::default()
    };
    let liveness = Liveness::new();
    let shared = Memory::Shared { huge: !arguments.no_huge };
    let kind = if arguments.physical_memory { Memory::Physical } else { shared };
    let bell = Arc::new(Bell::new().map_err(|error| Error::Exchange(exchange::Error::Bell(error)))?);
    let pairs = exchange::ends(&eal, lcores, &bell).map_err(Error::Exchange)?;
    let interrupts = pairs.iter().enumerate().map(|(index, (_, end))| {
        Interrupts::new(&eal, end.bell.as_fd()).map_err(|error| Error::Interrupts(index, error))
    });
    let interrupts = interrupts.collect::<Result<Vec<_>, _>>()?;
    let mut devices = Devices::new(eal.clone(), interrupts.iter().map(Interrupts::epoll).collect(), kind);
    let tables = Writer::new(&sizes, lcores, devices.random());

    let mut memory = Vec::new();
    let mut ends = Vec::new();
    let parts = eal.worker_lcores().into_iter().zip(pairs).zip(interrupts).enumerate();
    for (index, ((lcore, (end, housekeeping_end)), interrupts)) in parts {
        let idle = Idle::new(housekeeping_end.bell.clone(), interrupts);
        let length = sizes.dma_bytes();
        let region = kind.make(length).map_err(Error::Memory)?;
        memory.push(region.clone());
        ends.push(housekeeping_end);
        let core = Core::new(cpu, (index as u16, tables.reader()), sizes, region, liveness.clone(), clock.now_ns());
        let row = statistics.row(index);
        let stop = stop.clone();
        eal.launch(lcore, Box::new(move || poll(Lcore::new(core, end), idle, clock, cpu, &row, &stop)))
            .map_err(|error| Error::Launch(index, error))?;
    }
    tracing::info!(lcores, channel = %arguments.channel.display(), crc = cpu.crc_engine(), "data plane is up");

    let mut housekeeping = Housekeeping::new(devices, sizes, liveness, memory, tables);
    keep_house(&mut housekeeping, &mut channel, (&bell, &mut ends), clock, &stop);
    for lcore in eal.worker_lcores() {
        if let Err(error) = eal.wait(lcore) {
            tracing::error!(%error, "lcore");
        }
    }
    tracing::info!("data plane has stopped");
    Ok(())
}

fn eal_arguments(arguments: &Arguments) -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let lcores = usize::from(arguments.lcores);
    let mut list = vec!["--no-telemetry".to_owned()];
    if cores > lcores {
        list.extend(["-l".to_owned(), format!("0-{lcores}")]);
    } else {
        // More lcores than cores: they share, which is for trying things out only.
        list.push(format!("--lcores=(0-{lcores})@(0-{})", cores - 1));
    }
    if arguments.no_huge {
        list.extend(["--no-huge".to_owned(), "--no-shconf".to_owned()]);
    } else {
        list.push("--in-memory".to_owned());
    }
    if arguments.pci.is_empty() {
        list.push("--no-pci".to_owned());
    }
    list.extend(arguments.pci.iter().flat_map(|address| ["-a".to_owned(), address.clone()]));
    list.extend(["-m".to_owned(), arguments.memory.to_string()]);
    list.extend(arguments.eal.iter().cloned());
    list
}

/// How often an lcore publishes its counters.
const PUBLISH_NS: u64 = 1_000_000;

/// The life of an lcore.
fn poll(
    mut lcore: Lcore<DpdkQueue, LcoreEnd>,
    mut idle: Idle,
    clock: Clock,
    cpu: Cpu,
    (segment, row): &(Arc<Region>, usize),
    stop: &AtomicBool,
) {
    let mut published_ns = 0;
    while !stop.load(Ordering::Relaxed) {
        let now_ns = clock.now_ns();
        if lcore.poll(now_ns) {
            idle.busy();
        } else if idle.idle(&mut lcore, &cpu, || clock.now_ns(), |lcore| lcore.core().counters.publish(segment, *row)) {
            lcore.core().counters.count(gantry_pipeline::counters::Counter::Sleeps);
        }
        if now_ns - published_ns > PUBLISH_NS {
            published_ns = now_ns;
            lcore.core().counters.publish(segment, *row);
        }
    }
    lcore.core().counters.publish(segment, *row);
}

/// First and longest wait of the housekeeping thread. A frame from control or an lcore ends it, so that only what comes of
/// itself waits: a drive's answer to an admin command, which is looked for at first often, then less so. It stays with the
/// first while a drive comes or goes, or has its doorbells forwarded.
const NAP: Duration = Duration::from_micros(100);
const NAP_MAX: Duration = Duration::from_millis(50);

/// How long it stays awake after something was done: lcores apply what they are sent, and control goes on, sooner than that.
const LINGER_NS: u64 = 50_000;

fn keep_house(
    housekeeping: &mut Housekeeping<Devices>,
    channel: &mut Channel,
    (bell, ends): (&Bell, &mut [HousekeepingEnd]),
    clock: Clock,
    stop: &AtomicBool,
) {
    // A frame that the socket had no room for.
    let mut unsent: Option<Vec<u8>> = None;
    let (mut stirred_ns, mut nap) = (0, NAP);
    while !stop.load(Ordering::Relaxed) {
        let now_ns = clock.now_ns();
        let mut quiet = true;
        match channel.poll() {
            Heard::Frame(frame) => {
                quiet = false;
                if !housekeeping.handle_frame(now_ns, frame) {
                    // The refusal leaves before the session ends.
                    while let Some(frame) = housekeeping.poll_frame() {
                        channel.send(&frame);
                    }
                    channel.close();
                    housekeeping.disconnected();
                }
            }
            Heard::Knock(hello) => {
                quiet = false;
                if let Some(refusal) = housekeeping.refusal_of(hello) {
                    tracing::warn!("a control was refused");
                    channel.reject(&refusal);
                } else {
                    let hello = hello.to_vec();
                    channel.admit(&housekeeping.fencing());
                    tracing::info!("control has connected");
                    unsent = None;
                    housekeeping.handle_frame(now_ns, &hello);
                }
            }
            Heard::Closed => {
                tracing::warn!("control has gone; I/O goes on");
                housekeeping.disconnected();
            }
            Heard::Silence => {}
        }
        for (lcore, end) in ends.iter_mut().enumerate() {
            while let Ok(batch) = end.spent.pop() {
                quiet = false;
                housekeeping.handle_applied(now_ns, *batch);
            }
            while let Ok(buffer) = end.frames.pop() {
                quiet = false;
                housekeeping.handle_report(now_ns, lcore, buffer.frame());
                assert!(end.empty.push(buffer).is_ok(), "the ring holds all buffers");
            }
        }
        housekeeping.poll(now_ns);
        for (lcore, end) in ends.iter_mut().enumerate() {
            let mut sent = false;
            while let Some(batch) = housekeeping.poll_batch(lcore) {
                quiet = false;
                if let Err(rtrb::PushError::Full(batch)) = end.batches.push(batch) {
                    housekeeping.return_batch(lcore, batch);
                    break;
                }
                sent = true;
            }
            if sent {
                end.bell.ring();
            }
        }
        while channel.is_open() && housekeeping.is_connected() {
            let Some(frame) = unsent.take().or_else(|| housekeeping.poll_frame()) else { break };
            quiet = false;
            if !channel.send(&frame) {
                unsent = Some(frame);
                break;
            }
        }
        if !quiet {
            (stirred_ns, nap) = (clock.now_ns(), NAP);
        } else if clock.now_ns() < stirred_ns + LINGER_NS {
            std::thread::yield_now();
        } else {
            bell.listen();
            // What came just before rang for nobody.
            if !ends.iter().any(HousekeepingEnd::has_something) {
                channel.wait(bell, nap);
            }
            bell.answer();
            nap = if housekeeping.is_settled() { (nap * 2).min(NAP_MAX) } else { NAP };
        }
    }
}
