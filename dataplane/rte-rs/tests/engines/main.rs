//! The P4 programs in three engines that share nothing behind the compiler's front end: the generated Rust, the interpreter, and
//! DPDK's SWX pipeline on a lowering of the same intermediate form. One EAL, one process, one test that walks through it all.

mod commands;
mod dice;
mod frames;
mod generated;
mod lowered;
mod packets;

use std::collections::BTreeMap;

use dice::Dice;
use packets::{Engines, arriving, random_sent};
use rte_rs::{Eal, Mempool, SocketId};

#[test]
fn three_engines_agree() {
    let args = ["--no-huge", "--no-shconf", "-m", "512", "--no-pci", "--lcores", "0@0"];
    let eal = Eal::init(&args.map(String::from)).expect("the EAL starts without root or hugepages");
    let pool = Mempool::create(&eal, "engines", 255, 0, 10_240, SocketId::ANY).expect("mbufs");
    what_swx_leaves_out_is_known();
    captured_and_random_packets_become_the_same(&eal, &pool);
    random_commands_become_the_same(&eal, &pool);
    a_wrong_mask_is_noticed(&eal, &pool);
}

fn what_swx_leaves_out_is_known() {
    let left_out = |plan: &gantry_p4c::emit::swx::Pipeline| -> Vec<String> {
        plan.left_out.iter().map(|of| format!("{}: {}", of.what, of.why)).collect()
    };
    let packet = packets::plan(&lowered::own("packet.p4"));
    assert_eq!(
        left_out(&packet),
        [
            "PacketControl.access_hits.count: SWX counts by action, not by entry",
            "PacketControl.denials.pack: SWX has no digests: only whether one was packed is told",
            "PacketControl.tenant_rate.execute: SWX meters by the TSC: the colour comes with the packet",
            "congestion_experienced: the program's own: only whether it was called is told",
        ]
    );
    let command = commands::plan(&lowered::own("command.p4"));
    assert_eq!(
        left_out(&command),
        [
            "Command.namespace_commands.count: SWX counts by action, not by entry",
            "block_shift: the program's own: the value comes with the packet",
            "Command.tenant_commands.execute: SWX meters by the TSC: the colour comes with the packet",
            "Command.tenant_bandwidth.execute: SWX meters by the TSC: the colour comes with the packet",
        ]
    );
}

fn captured_and_random_packets_become_the_same(eal: &Eal, pool: &Mempool) {
    let program = lowered::own("packet.p4");
    let captured = frames::captured();
    assert!(captured.len() >= 1329, "captures are missing: {} frames", captured.len());
    let mut dice = Dice(0x5a3);
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut compared = 0;
    for round in 0..9_usize {
        let mut engines = Engines::new(eal, &format!("round{round}"), &program, packets::plan(&program), pool);
        engines.random_entries([40, 4, 12][round % 3], &mut dice);
        if round % 3 == 1 {
            engines.entries_for(&captured, &mut dice);
        }
        engines.throttle(2);
        engines.throttle(3);
        for part in 0..2 {
            let mut packets: Vec<_> = (0..700).map(|_| random_sent(&program, &captured, &mut dice)).collect();
            if round % 3 == 1 {
                packets.extend(captured.iter().map(|frame| arriving(&program, frame.clone(), 1, &mut Dice(7))));
            }
            for sent in &packets {
                let outcome = engines.compare(sent).unwrap_or_else(|difference| {
                    panic!("round {round}, {:02x?} of {:?}:\n{difference}", sent.frame, sent.inputs)
                });
                for name in ["verdict", "reason", "class", "punt", "congestion"] {
                    let value = outcome.value(lowered::var(&program, &format!("meta.{name}")));
                    *seen.entry(format!("{name} {value}")).or_default() += 1;
                }
                *seen.entry(program.errors[outcome.parser_error as usize].clone()).or_default() += 1;
                compared += 1;
            }
            if part == 0 {
                engines.forget_some(&mut dice);
            }
        }
        engines.compare_counters();
    }
    // The comparison means something only if packets went everywhere.
    assert!(compared > 15_000, "{compared} packets");
    for (what, least) in [
        ("verdict 1", 100),
        ("verdict 2", 100),
        ("verdict 3", 10),
        ("verdict 4", 500),
        ("reason 1", 500),
        ("reason 2", 500),
        ("reason 3", 10),
        ("reason 4", 20),
        ("reason 5", 10),
        ("reason 6", 10),
        ("class 1", 100),
        ("class 2", 20),
        ("class 3", 20),
        ("class 4", 10),
        ("class 5", 5),
        ("punt 1", 5),
        ("punt 2", 5),
        ("congestion 1", 5),
        ("PacketTooShort", 50),
        ("Ipv4Checksum", 20),
        ("Ipv6Length", 5),
        ("NeighborDiscovery", 5),
        ("Opcode", 20),
        ("TransportLength", 5),
        ("Fragment", 5),
        ("UdpLength", 5),
    ] {
        let found = seen.get(what).copied().unwrap_or(0);
        assert!(found >= least, "only {found} of {compared} packets have {what}: {seen:?}");
    }
}

fn random_commands_become_the_same(eal: &Eal, pool: &Mempool) {
    let program = lowered::own("command.p4");
    let mut dice = Dice(0xc0de);
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for round in 0..6 {
        let name = format!("commands{round}");
        let mut engines = commands::Engines::new(eal, &name, &program, commands::plan(&program), pool, &mut dice);
        for _ in 0..1500 {
            let (inputs, shift) = commands::random(&program, &mut dice);
            let outcome = engines
                .compare(&inputs, shift)
                .unwrap_or_else(|difference| panic!("round {round}, {inputs:?}, {shift}:\n{difference}"));
            for name in ["verdict", "status"] {
                let value = outcome.value(lowered::var(&program, &format!("command.{name}")));
                *seen.entry(format!("{name} {value:#x}")).or_default() += 1;
            }
        }
        engines.compare_counters();
    }
    for (what, least) in [
        ("verdict 0x0", 1000),
        ("verdict 0x1", 100),
        ("verdict 0x2", 100),
        ("verdict 0x3", 50),
        ("status 0x1", 50),
        ("status 0x2", 50),
        ("status 0x302", 50),
        ("status 0xb", 50),
        ("status 0xf", 50),
        ("status 0x11", 20),
        ("status 0x20", 50),
        ("status 0x80", 50),
    ] {
        let found = seen.get(what).copied().unwrap_or(0);
        assert!(found >= least, "only {found} commands have {what}: {seen:?}");
    }
}

/// A lowering with one bit of one mask gone: some packet tells.
fn a_wrong_mask_is_noticed(eal: &Eal, pool: &Mempool) {
    let program = lowered::own("packet.p4");
    let captured = frames::captured();
    let plan = packets::plan(&program);
    for (number, place) in [0, 1, 4].into_iter().enumerate() {
        let wrong = plan.with_a_mistake(place).expect("a mask to change");
        let mut dice = Dice(0xbad);
        let mut engines = Engines::new(eal, &format!("wrong{number}"), &program, wrong, pool);
        engines.random_entries(40, &mut dice);
        let noticed = (0..3000).any(|_| engines.compare(&random_sent(&program, &captured, &mut dice)).is_err());
        assert!(noticed, "the mask at {place} can be wrong and nobody sees it");
    }
}
