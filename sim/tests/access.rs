//! Access rules that P4Runtime clients write: who is denied stops and loses nothing, nobody else notices, control's death
//! changes neither, and a rate makes commands wait instead of failing.

mod story;

use gantry::channel::table::{DigestData, DigestWrite, EVERY_CELL, Field, FieldKind, MeterWrite, Verb, emit_entry};
use gantry::channel::{Kind, table};
use gantry::packet;
use gantry_control::{Drive, Hosts, Namespace, Subsystem, TableEvent, TableOperation};
use gantry_pipeline::counters::Counter;
use gantry_sim::host::State;
use gantry_sim::workload::{Plan, Workload};
use gantry_sim::world::World;
use story::{NQN, SECOND, configuration, plug_as, settled, sizes, world_of};
use zerocopy::IntoBytes;

const OTHER: &str = "nqn.2026-11.io.gantry:other";

fn plan(seed: u64) -> Plan {
    let lengths = vec![512, 4096, 16_384];
    Plan { nsid: 1, blocks: 8_192, block_size: 512, queues: 2, depth: 8, lengths, reads: 50, seed }
}

/// Hosts 10.0.0.2 and 10.0.0.3, each with a drive of its own, and their work.
fn two_hosts() -> (World, [Workload; 2]) {
    let mut configuration = configuration("mem:64M");
    configuration.drives.push(Drive { name: "d1".into(), uri: "mem:64M".into() });
    configuration.subsystems.push(Subsystem {
        nqn: OTHER.into(),
        hosts: Hosts::Any,
        namespaces: vec![Namespace { nsid: 1, drive: "d1".into(), drive_nsid: None, uuid: [8; 16], read_only: false }],
    });
    let mut world = world_of(configuration, 1, sizes(), 5);
    for (number, nqn) in [(2, NQN), (3, OTHER)] {
        let host = plug_as(&mut world, 1500, number);
        world.host(host).connect(nqn, 2, 32, 5_000);
    }
    let ready = |world: &mut World| (0..2).all(|host| *world.host(host).state() == State::Ready);
    assert!(world.run_until(10 * SECOND, ready));
    world.target().control().serve_tables();
    (world, [Workload::new(plan(1)), Workload::new(plan(2))])
}

/// Runs both for so long; how many commands each completed meanwhile.
fn work(world: &mut World, workloads: &mut [Workload; 2], length_ns: u64) -> [u64; 2] {
    let before = [workloads[0].completed, workloads[1].completed];
    let end_ns = world.now_ns() + length_ns;
    world.run_until(length_ns, |world| {
        for (host, workload) in workloads.iter_mut().enumerate() {
            workload.turn(world.host(host));
        }
        world.now_ns() >= end_ns
    });
    [workloads[0].completed - before[0], workloads[1].completed - before[1]]
}

fn events(world: &mut World) -> Vec<TableEvent> {
    let control = world.target().control();
    std::iter::from_fn(|| control.poll_table_event()).collect()
}

/// Commits, and sees that it was.
fn commit(world: &mut World, ticket: u64, operations: Vec<TableOperation>) {
    events(world);
    world.target().control().commit_tables(ticket, operations);
    world.run_for(SECOND / 100);
    assert!(events(world).contains(&TableEvent::Committed { ticket }));
}

/// The rule about what 10.0.0.2 sends.
fn rule(verb: Verb, action: &str) -> TableOperation {
    let access = packet::TABLES.iter().find(|table| table.name == "PacketControl.access").unwrap();
    let action = access.actions.iter().find(|each| each.name == format!("PacketControl.{action}")).unwrap();
    let any = Field::new(FieldKind::Any, 0, 0, 0);
    let source = Field::new(FieldKind::Mask, 0, 0xffff_0a00_0002, u128::MAX);
    let mut bytes = Vec::new();
    let action = if verb == Verb::Delete { 0 } else { action.id };
    emit_entry(&mut bytes, verb, access.id, 7, &[any, source, any, any, any], action, [].into_iter(), 0, &[]);
    TableOperation::Entry(bytes)
}

fn counted(world: &mut World, counter: Counter) -> u64 {
    world.card().lcore(0).core().counters.value(counter)
}

fn end(mut world: World, mut workloads: [Workload; 2]) {
    for (host, workload) in workloads.iter_mut().enumerate() {
        assert!(world.run_until(60 * SECOND, |world| workload.drain(world.host(host))), "the last commands end");
        assert_eq!(workload.errors, Vec::<String>::new());
        assert_eq!(world.host(host).violations(), []);
        assert_eq!(*world.host(host).state(), State::Ready, "it never lost its association");
        world.host(host).disconnect();
    }
    settled(&mut world);
}

#[test]
fn a_denied_host_stops_alone_and_goes_on_when_the_rule_is_gone() {
    let (mut world, mut workloads) = two_hosts();
    let [first, second] = work(&mut world, &mut workloads, SECOND / 20);
    assert!(first > 100 && second > 100, "{first} and {second}");

    let digest = DigestWrite { digest: packet::DIGESTS[0].id.into(), wanted: 1.into() };
    let told = TableOperation::Digest(digest.as_bytes().to_vec());
    commit(&mut world, 1, vec![told, rule(Verb::Insert, "deny_and_tell")]);
    // What was under way inside the card still ends.
    work(&mut world, &mut workloads, SECOND / 50);
    let [first, second] = work(&mut world, &mut workloads, SECOND / 10);
    assert_eq!(first, 0, "denied");
    assert!(second > 100, "the other: {second}");
    assert!(counted(&mut world, Counter::AccessDenied) > 0 && counted(&mut world, Counter::Told) > 0);
    let source = |event: &TableEvent| match event {
        TableEvent::Told { kind: Kind::DigestData, bytes } => Some(DigestData::parse(bytes).unwrap().1[1].get()),
        _ => None,
    };
    let sources: Vec<u128> = events(&mut world).iter().filter_map(source).collect();
    assert!(!sources.is_empty() && sources.iter().all(|source| *source == 0xffff_0a00_0002), "{sources:x?}");

    // The rule outlives control, and the next one knows it.
    world.kill_control();
    world.target().control().serve_tables();
    let opened = world.run_until(10 * SECOND, |world| {
        events(world).iter().any(|event| matches!(event, TableEvent::Opened { state } if state.len() == 2))
    });
    assert!(opened, "it is told of the rule and of the digest");
    let [first, second] = work(&mut world, &mut workloads, SECOND / 20);
    assert!(first == 0 && second > 50, "{first} and {second}");
    commit(&mut world, 2, vec![rule(Verb::Delete, "deny")]);
    let [first, second] = work(&mut world, &mut workloads, SECOND / 2);
    assert!(first > 100 && second > 100, "{first} and {second}");
    end(world, workloads);
}

#[test]
fn a_packet_that_a_rule_shows_reaches_the_client() {
    let (mut world, mut workloads) = two_hosts();
    commit(&mut world, 1, vec![rule(Verb::Insert, "punt_to_client")]);
    work(&mut world, &mut workloads, SECOND / 50);
    let told = events(&mut world);
    let shown = told.iter().filter_map(|event| match event {
        TableEvent::Told { kind: Kind::PacketIn, bytes } => Some(bytes),
        _ => None,
    });
    let head = size_of::<table::PacketIn>();
    let ports: Vec<u8> = shown.map(|bytes| bytes[head + 23]).collect();
    assert!(!ports.is_empty() && ports.iter().all(|protocol| *protocol == 17), "UDP all of them: {ports:?}");
    commit(&mut world, 2, vec![rule(Verb::Delete, "deny")]);
    work(&mut world, &mut workloads, SECOND / 10);
    end(world, workloads);
}

#[test]
fn a_tenants_rate_makes_commands_wait_and_none_fail() {
    let (mut world, mut workloads) = two_hosts();
    let free = work(&mut world, &mut workloads, SECOND / 50).iter().sum::<u64>();
    let meter = gantry::command::METERS.iter().find(|meter| meter.name == "Command.tenant_commands").unwrap();
    let rates = MeterWrite {
        object: meter.id.into(),
        index: EVERY_CELL.into(),
        configured: 1.into(),
        cir: 1_000.into(),
        cburst: 10.into(),
        pir: 1_000.into(),
        pburst: 10.into(),
        ..zerocopy::FromZeros::new_zeroed()
    };
    commit(&mut world, 1, vec![TableOperation::Meter(rates.as_bytes().to_vec())]);
    work(&mut world, &mut workloads, SECOND / 20);
    let held = work(&mut world, &mut workloads, SECOND / 5).iter().sum::<u64>();
    assert!((180..=220).contains(&held), "1,000 a second for 0.2 s, not {held}; without a rate {free} in 0.02 s");
    assert!(counted(&mut world, Counter::WaitedTenant) > 0);
    let none = MeterWrite { configured: 0.into(), ..rates };
    commit(&mut world, 2, vec![TableOperation::Meter(none.as_bytes().to_vec())]);
    end(world, workloads);
}
