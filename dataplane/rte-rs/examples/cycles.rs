//! Cycles a packet: bursts over a net_ring port, bulk allocation and free, a ring between lcores. One core, no root.
//!
//! `cargo run --release -p rte-rs --example cycles`

use std::hint::black_box;

use arrayvec::ArrayVec;
use rte_rs::{BURST, Eal, Mbuf, Mempool, Port, PortConfig, SocketId, ring};

type Burst = ArrayVec<Mbuf, BURST>;

const ROUNDS: u64 = 100_000;

fn main() -> Result<(), rte_rs::Error> {
    let args = ["--no-huge", "--no-shconf", "-m", "128", "--no-pci", "-l", "0", "--log-level", "error"];
    let eal = Eal::init(&args.map(String::from))?;
    // With a cache, as an lcore's pool has.
    let pool = Mempool::create(&eal, "cycles", 2047, 256, 2176, SocketId::ANY)?;
    let mut port = Port::attach(&eal, "net_ring0")?;
    port.configure(PortConfig {
        rx_pools: vec![pool.clone()],
        tx_queues: 1,
        rx_descriptors: 512,
        tx_descriptors: 512,
        mtu: 1500,
        promiscuous: false,
    })?;
    port.start()?;
    let (mut rx, mut tx) = (port.rx_queue(0)?, port.tx_queue(0)?);
    let (producer, mut consumer) = ring(&eal, "cycles", 512, SocketId::ANY)?;

    let mut burst = Burst::new();
    pool.alloc_bulk(&mut burst, BURST);
    report("tx_burst and rx_burst over net_ring", || {
        tx.tx_burst(&mut burst);
        rx.rx_burst(&mut burst)
    });
    report("enqueue and dequeue of a ring", || {
        producer.enqueue_burst(&mut burst);
        consumer.dequeue_burst(&mut burst)
    });
    Mbuf::free_bulk(&mut burst);
    report("alloc_bulk and free_bulk", || {
        let n = pool.alloc_bulk(&mut burst, BURST);
        Mbuf::free_bulk(&mut burst);
        n
    });
    report("alloc and drop, one by one", || {
        for _ in 0..BURST {
            drop(black_box(pool.alloc()));
        }
        BURST
    });
    report("rx_burst of an empty queue (a poll, not a packet)", || {
        for _ in 0..BURST {
            black_box(rx.rx_burst(&mut burst));
        }
        BURST
    });
    Ok(())
}

/// The best of a few runs: what interrupts a run can only add.
fn report(what: &str, mut round: impl FnMut() -> usize) {
    let cpu = gantry_cpu::Cpu::detect();
    let best = (0..5)
        .map(|_| {
            let begun = cpu.timestamp();
            let packets: usize = (0..ROUNDS / 5).map(|_| round()).sum();
            (cpu.timestamp() - begun) as f64 / packets as f64
        })
        .fold(f64::INFINITY, f64::min);
    println!("{best:6.1} cycles  {what}");
}
