//! What SWX takes for a packet of packet.p4: parse, classify, look up the QP among so many. Prints one line of JSON, to stand beside
//! what the generated Rust takes: `cargo run --release -p rte-rs --example swx -- --entries 1000000`.

#[allow(dead_code, unreachable_pub)]
#[path = "../tests/engines/lowered.rs"]
mod lowered;

use arrayvec::ArrayVec;
use clap::Parser;
use gantry_cpu::Cpu;
use gantry_p4c::emit::swx::{self, Made, Slot};
use gantry_p4c::interpret::Machine;
use gantry_p4c::ir::{Entry, Match, Program};
use rte_rs::{Eal, Mbuf, Mempool, SocketId};

use lowered::{Lowered, mbuf, own, table, var};

/// Packets between two readings of the clock: whole bursts, so that none waits to be flushed, and few, so that most readings are
/// not interrupted on a machine that does other things as well.
const TOGETHER: usize = 64;

/// Times SWX on packet.p4.
#[derive(Parser)]
struct Arguments {
    /// QPs that there are.
    #[arg(long, default_value_t = 1000)]
    entries: u32,
    /// Readings; their first quartile is told, for those above the median were interrupted on a busy machine.
    #[arg(long, default_value_t = 2000)]
    readings: usize,
}

fn main() {
    let Arguments { entries, readings } = Arguments::parse();
    let args = ["--no-huge", "--no-shconf", "-m", "2048", "--no-pci", "--lcores", "0@0", "--log-level", "error"];
    let eal = Eal::init(&args.map(String::from)).expect("the EAL starts without root or hugepages");
    let pool = Mempool::create(&eal, "swx", 511, 0, 2048, SocketId::ANY).expect("mbufs");
    let program = own("packet.p4");
    let mut engine = engine(&eal, &program, entries);
    let mut seed = 0x5eed_u64;
    let mut found: Vec<f64> =
        (0..readings).map(|_| reading(&mut engine, &pool, &program, entries, &mut seed)).collect();
    found.sort_by(f64::total_cmp);
    let quartile = found[found.len() / 4];
    println!(r#"{{"engine":"swx","entries":{entries},"cycles_per_packet":{quartile:.1}}}"#);
}

/// The QPN of a QP: spread, as control gives them out.
fn qpn(number: u32) -> u32 {
    number.wrapping_mul(0x9e_3779) & 0xff_ffff
}

/// packet.p4 with one address of the card and so many QPs, told what a burst's lcore has to know and no more.
fn engine(eal: &Eal, program: &Program, entries: u32) -> Lowered {
    let named = |names: &[&str]| names.iter().map(|name| var(program, name)).collect::<Vec<_>>();
    let outputs =
        named(&["meta.verdict", "meta.reason", "meta.class", "meta.lcore", "meta.qp", "meta.tenant", "meta.punt"]);
    let options = swx::Options {
        inputs: Some(vec![var(program, "istd.input_port")]),
        outputs: Some(outputs),
        made: Some(Made { when: var(program, "meta.outgoing"), headers: Vec::new() }),
        told: false,
    };
    let plan = swx::lower(program, &options).unwrap_or_else(|refused| panic!("{refused:#?}"));
    let mut engine = Lowered::build(eal, "swx", plan, |name, size| if name == "qps" { entries.max(64) } else { size });
    let mut machine = Machine::new(program);
    let locals = table(program, "local_addresses");
    let matches = [1, 0, 0xffff_0a00_0002].map(Match::Value).to_vec();
    let action = program.tables[locals.index()].actions[0].action;
    machine
        .entries(locals)
        .insert(&Entry { matches, priority: 0, action, arguments: vec![1] })
        .expect("an address of the card");
    engine.hold_what(&machine);
    let qps = table(program, "qps");
    let action = program.tables[qps.index()].actions[0].action;
    let each = (0..entries).map(|number| {
        let matches = vec![Match::Value(qpn(number).into())];
        let entry = Entry { matches, priority: 0, action, arguments: vec![u128::from(number % 8), number.into()] };
        engine.plan.entry(program, qps, &entry).expect("it is lowered")
    });
    let each: Vec<_> = each.collect();
    let raw = each.iter().map(|entry| rte_rs::swx::Entry {
        key: &entry.keys[0].key,
        mask: None,
        priority: 0,
        action: &entry.action,
        arguments: &entry.arguments,
    });
    engine.running.fill("qps", raw).expect("QPs that fit");
    engine
}

/// An RDMA WRITE of one packet to this QP.
fn frame(qpn: u32) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let mut ip = vec![0x45, 2, 0, 84, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    let sum: u32 = ip.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let sum = !((sum >> 16) + (sum & 0xffff)) as u16;
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(ip);
    frame.extend([0xc0, 1, 0x12, 0xb7, 0, 64, 0, 0]);
    frame.extend([0x0a, 0, 0xff, 0xff, 0]);
    frame.extend(&qpn.to_be_bytes()[1..]);
    frame.extend([0x80, 0, 0, 1]);
    frame.resize(14 + 84, 7);
    frame
}

/// Cycles of the time stamp counter that a packet took, of [`TOGETHER`].
fn reading(engine: &mut Lowered, pool: &Mempool, program: &Program, entries: u32, seed: &mut u64) -> f64 {
    let port = var(program, "istd.input_port");
    let mut packets: ArrayVec<Mbuf, TOGETHER> = ArrayVec::new();
    while !packets.is_full() {
        *seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let frame = frame(qpn((*seed >> 33) as u32 % entries));
        let preamble = engine.plan.inputs.encode(|slot| match slot {
            Slot::Length => frame.len() as u128,
            Slot::Var(var) if var == port => 1,
            Slot::Answer(_) => 1,
            _ => 0,
        });
        packets.push(mbuf(pool, &[&preamble, &frame]));
    }
    let mut done: ArrayVec<Mbuf, TOGETHER> = ArrayVec::new();
    let cpu = Cpu::detect();
    let start = cpu.timestamp();
    engine.running.offer(&mut packets);
    while !done.is_full() {
        engine.running.run(2048);
        engine.running.take(&mut done);
    }
    let cycles = cpu.timestamp() - start;
    for packet in &done {
        let (told, _) = engine.plan.outputs.decode(packet.as_slice()).expect("its preamble");
        let verdict = told[&Slot::Var(var(program, "meta.verdict"))];
        assert_eq!(verdict, u128::from(gantry::packet::Verdict::TRANSPORT.0), "every packet is for a QP: {told:?}");
    }
    cycles as f64 / TOGETHER as f64
}
