//! The repository's own programs, packet.p4 and command.p4, in the interpreter: what becomes of a packet, and of a command.

use std::path::Path;

use gantry_p4_proto::text;
use gantry_p4c::emit::{docs, graph, p4info};
use gantry_p4c::interpret::{Cell, Machine, Outcome, Recorder, Reply};
use gantry_p4c::ir::{ActionId, Entry, HeaderId, Match, Program, TableId, VarId};
use gantry_p4c::preprocess::Options;
use gantry_p4c::source::Sources;

fn program(name: &str) -> Program {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let options = Options { include_folders: vec![folder.join("include")], ..Options::default() };
    let mut sources = Sources::default();
    let file = folder.join(name).with_extension("p4");
    let tree = gantry_p4c::parse(&file, &options, &mut sources).unwrap_or_else(|all| panic!("{all:?}"));
    gantry_p4c::lower::lower(&tree, &sources, name).unwrap_or_else(|all| panic!("{all:?}"))
}

fn place<T>(all: &[T], name: &str, of: impl Fn(&T) -> &str) -> u32 {
    let found = all.iter().position(|each| of(each) == name || of(each).ends_with(&format!(".{name}")));
    found.unwrap_or_else(|| panic!("no {name}")) as u32
}

fn table(program: &Program, name: &str) -> TableId {
    TableId(place(&program.tables, name, |table| &table.name))
}

fn var(program: &Program, name: &str) -> VarId {
    VarId(place(&program.vars, name, |var| &var.name))
}

fn insert(machine: &mut Machine<'_>, into: &str, matches: &[Match], priority: i32, action: &str, arguments: &[u128]) {
    let program = machine.program();
    let action = ActionId(place(&program.actions, action, |action| &action.name));
    let entry = Entry { matches: matches.to_vec(), priority, action, arguments: arguments.to_vec() };
    machine.entries(table(program, into)).insert(&entry).expect("it fits");
}

/// What a member of an enum is represented by.
fn member(program: &Program, of: &str, name: &str) -> u128 {
    let members = &program.enums.iter().find(|each| each.name == of).unwrap_or_else(|| panic!("no {of}")).members;
    members.iter().find(|(each, _)| each == name).unwrap_or_else(|| panic!("no {of}.{name}")).1
}

const OUR_MAC: u128 = 0x0200_0000_0001;
const OUR_IP: [u8; 4] = [10, 0, 0, 1];
const HOST_IP: [u8; 4] = [10, 0, 0, 2];
const OURS: u128 = 0xffff_0a00_0001;
const HOSTS: u128 = 0xffff_0a00_0002;
const TENANT: u128 = 6;
const QPN: u128 = 0x11;

/// The card has one address, of one tenant, and one QP.
fn card(program: &Program) -> Machine<'_> {
    let mut machine = Machine::new(program);
    let value = Match::Value;
    insert(&mut machine, "local_addresses", &[value(0), value(0), value(OURS)], 0, "local", &[TENANT]);
    insert(&mut machine, "qps", &[value(QPN)], 0, "to_qp", &[2, 5]);
    machine
}

fn receive(machine: &Machine<'_>, frame: &[u8], recorder: &mut Recorder) -> Outcome {
    machine.run(frame, &[(var(machine.program(), "meta.port_mac"), OUR_MAC)], recorder)
}

fn verdict(program: &Program, outcome: &Outcome) -> (u128, u128) {
    (outcome.value(var(program, "meta.verdict")), outcome.value(var(program, "meta.reason")))
}

fn dropped(program: &Program, reason: &str) -> (u128, u128) {
    (member(program, "verdict_t", "DROP"), member(program, "drop_t", reason))
}

fn ethernet(kind: u16) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &kind.to_be_bytes()].concat()
}

fn arp(target: [u8; 4]) -> Vec<u8> {
    let mut frame = ethernet(0x0806);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2]);
    frame.extend(HOST_IP);
    frame.extend([0; 6]);
    frame.extend(target);
    frame
}

/// A SEND with eight bytes of payload from the host to a QP, over IPv4.
fn send(qpn: u128) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 52, 0, 1, 0x40, 0, 64, 17, 0, 0];
    ip.extend(HOST_IP);
    ip.extend(OUR_IP);
    let sum = ip.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum::<u32>();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = [ethernet(0x0800), ip].concat();
    frame.extend([0xc0, 0, 0x12, 0xb7, 0, 32, 0, 0]);
    frame.extend([4, 0, 0xff, 0xff, 0, 0, 0, qpn as u8, 0x80, 0, 0, 9]);
    frame.extend(*b"capsule.ICRC");
    frame
}

#[test]
fn an_arp_request_for_the_cards_address_is_answered() {
    let program = program("packet");
    let machine = card(&program);
    let mut recorder = Recorder::new(&program);
    let outcome = receive(&machine, &arp(OUR_IP), &mut recorder);
    assert_eq!(
        verdict(&program, &outcome).0,
        member(&program, "verdict_t", "ANSWER"),
        "{}",
        outcome.trace_text(&program)
    );
    let mut answer = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 1];
    answer.extend(OUR_IP);
    answer.extend([2, 0, 0, 0, 0, 2]);
    answer.extend(HOST_IP);
    assert_eq!(outcome.emitted, answer);

    let outcome = receive(&machine, &arp([10, 0, 0, 3]), &mut recorder);
    assert_eq!(verdict(&program, &outcome), dropped(&program, "NOT_LOCAL"));
}

#[test]
fn a_packet_for_a_qp_goes_to_its_lcore() {
    let program = program("packet");
    let machine = card(&program);
    let mut recorder = Recorder::new(&program);
    let outcome = receive(&machine, &send(QPN), &mut recorder);
    let trace = outcome.trace_text(&program);
    assert_eq!(verdict(&program, &outcome).0, member(&program, "verdict_t", "TRANSPORT"), "{trace}");
    let value = |name: &str| outcome.value(var(&program, name));
    assert_eq!((value("meta.lcore"), value("meta.qp"), value("meta.tenant")), (2, 5, TENANT));
    assert_eq!((value("meta.payload_bytes"), value("meta.remote_ip")), (8, HOSTS));
    assert_eq!(outcome.payload, b"capsule.ICRC");
    let admitted = recorder.counts.iter().filter(|((_, cell), _)| *cell == Cell::Index(TENANT));
    assert_eq!(admitted.map(|(_, count)| (count.packets, count.bytes)).collect::<Vec<_>>(), [(1, 66)]);
    assert!(trace.contains("PacketControl.qps [0x11] hit 0 -> PacketControl.to_qp(0x2, 0x5)\n"), "{trace}");
}

#[test]
fn packets_are_dropped_for_their_reasons() {
    let program = program("packet");
    let drops = |outcome: &Outcome, reason: &str| {
        assert_eq!(verdict(&program, outcome), dropped(&program, reason), "{}", outcome.trace_text(&program));
    };
    let mut machine = card(&program);
    let mut recorder = Recorder::new(&program);
    drops(&receive(&machine, &send(0x12), &mut recorder), "NO_QP");
    drops(&receive(&machine, &send(QPN)[..60], &mut recorder), "MALFORMED");
    let mut atomic = send(QPN);
    atomic[42] = 0x13;
    drops(&receive(&machine, &atomic, &mut recorder), "MALFORMED");
    assert!(recorder.digests.is_empty());

    // Who is denied by address is told of.
    let denied = [Match::Any, Match::Mask { value: HOSTS, mask: u128::MAX }, Match::Any, Match::Any, Match::Any];
    insert(&mut machine, "access", &denied, 10, "deny_and_tell", &[]);
    drops(&receive(&machine, &send(QPN), &mut recorder), "DENIED");
    assert_eq!(
        recorder.digests.iter().map(|(_, values)| values.clone()).collect::<Vec<_>>(),
        [vec![TENANT, HOSTS, QPN]]
    );
    // Unless something more important lets it pass.
    insert(
        &mut machine,
        "access",
        &[Match::Value(TENANT), Match::Any, Match::Any, Match::Any, Match::Any],
        11,
        "allow",
        &[],
    );
    let outcome = receive(&machine, &send(QPN), &mut recorder);
    assert_eq!(verdict(&program, &outcome).0, member(&program, "verdict_t", "TRANSPORT"));

    // A red meter matters once the tenant is policed.
    let meter = gantry_p4c::ir::ExternId(place(&program.externs, "tenant_rate", |each| &each.name));
    recorder.colours.insert((meter, Cell::Index(TENANT)), member(&program, "PNA_MeterColor_t", "RED"));
    let outcome = receive(&machine, &send(QPN), &mut recorder);
    assert_eq!(verdict(&program, &outcome).0, member(&program, "verdict_t", "TRANSPORT"));
    insert(&mut machine, "tenants", &[Match::Value(TENANT)], 0, "police", &[]);
    drops(&receive(&machine, &send(QPN), &mut recorder), "THROTTLED");
}

#[test]
fn a_packet_of_the_transport_gets_its_lower_headers() {
    let program = program("packet");
    let mut machine = card(&program);
    insert(&mut machine, "traffic_classes", &[Match::Value(TENANT)], 0, "mark", &[26, 1, 3]);
    let set = |name: &str, value: u128| (var(&program, name), value);
    let inputs = [
        set("meta.outgoing", 1),
        set("meta.port_mac", OUR_MAC),
        set("meta.remote_mac", 0x0200_0000_0002),
        set("meta.local_ip", OURS),
        set("meta.remote_ip", HOSTS),
        set("meta.tenant", TENANT),
        set("meta.payload_bytes", 8),
        set("meta.udp_source", 0xc000),
        set("hdr.bth.opcode", 4),
        set("hdr.bth.pkey", 0xffff),
        set("hdr.bth.dest_qp", QPN),
    ];
    let bth = HeaderId(place(&program.headers, "hdr.bth", |header| &header.name));
    let outcome = machine.run_control(b"capsule.ICRC", &inputs, &[bth], &mut Recorder::new(&program));
    let packet = outcome.packet();
    assert_eq!(packet[..14], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0], "{}", outcome.trace_text(&program));
    assert_eq!(packet[14..18], [3 << 5, 0, 8, 0]);
    let ip = &packet[18..38];
    assert_eq!((ip[0], ip[1], u16::from_be_bytes([ip[2], ip[3]])), (0x45, 26 << 2 | 1, 52));
    let sum = ip.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum::<u32>();
    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "the header's checksum");
    assert_eq!(packet[38..46], [0xc0, 0, 0x12, 0xb7, 0, 32, 0, 0]);
    assert_eq!(packet.len(), 18 + 52);
    // What goes out comes in again.
    let back = receive(&machine, &packet, &mut Recorder::new(&program));
    assert!(back.accepted, "{}", back.trace_text(&program));
}

/// A command for namespace 1 of controller 3, whose 1000 blocks are drive 4's from 5000 on.
fn command(change: &[(&str, u128)], read_only: bool) -> (Program, Outcome) {
    let program = program("command");
    let mut machine = Machine::new(&program);
    let drive = [4, 9, 5000, 1000, read_only.into(), TENANT];
    insert(&mut machine, "namespaces", &[Match::Value(3), Match::Value(1)], 0, "blocks_of", &drive);
    let mut recorder = Recorder::new(&program);
    recorder.answer("block_shift", |call| {
        assert_eq!((call.arguments[0].value, call.arguments[1].value), (4, 9));
        Reply::value(12)
    });
    let read = [("opcode", 2), ("cntlid", 3), ("nsid", 1), ("slba", 10), ("blocks", 8), ("described", 32768)];
    let inputs = read.iter().chain(change).map(|(name, value)| (var(&program, &format!("command.{name}")), *value));
    let outcome = machine.run(&[], &inputs.collect::<Vec<_>>(), &mut recorder);
    (program, outcome)
}

#[test]
fn a_read_is_of_blocks_of_the_drive() {
    let (program, outcome) = command(&[], false);
    let value = |name: &str| outcome.value(var(&program, &format!("command.{name}")));
    assert_eq!(value("verdict"), member(&program, "verdict_t", "DRIVE"), "{}", outcome.trace_text(&program));
    assert_eq!((value("drive"), value("drive_nsid"), value("drive_lba")), (4, 9, 5010));
    assert_eq!((value("bytes"), value("block_bits")), (32768, 12));
    assert_eq!(value("transfer"), member(&program, "transfer_t", "TO_HOST"));
}

#[test]
fn commands_are_refused_with_the_right_status() {
    for (change, read_only, status) in [
        (&[("opcode", 0x7e)][..], false, "INVALID_OPCODE"),
        (&[("nsid", 2)], false, "INVALID_NAMESPACE"),
        (&[("cntlid", 4)], false, "INVALID_NAMESPACE"),
        (&[("slba", 993)], false, "LBA_OUT_OF_RANGE"),
        // The sum is more than 64 bits hold.
        (&[("slba", u64::MAX as u128)], false, "LBA_OUT_OF_RANGE"),
        (&[("opcode", 1)], true, "WRITE_PROTECTED"),
        (&[("fuse", 1)], false, "INVALID_FIELD"),
        (&[("described", 32767)], false, "SGL_LENGTH_INVALID"),
        (&[("blocks", 64), ("described", 1 << 20)], false, "INVALID_FIELD"),
        (&[("in_capsule", 1)], false, "SGL_TYPE_INVALID"),
    ] {
        let (program, outcome) = command(change, read_only);
        let value = |name: &str| outcome.value(var(&program, &format!("command.{name}")));
        let wanted = (member(&program, "verdict_t", "REFUSE"), member(&program, "status_t", status));
        assert_eq!((value("verdict"), value("status")), wanted, "{change:?}: {}", outcome.trace_text(&program));
    }
    // The last block is in range.
    let (program, outcome) = command(&[("slba", 992)], false);
    assert_eq!(outcome.value(var(&program, "command.verdict")), member(&program, "verdict_t", "DRIVE"));
    // A queue of administration's is control's affair.
    let (program, outcome) = command(&[("admin", 1)], false);
    assert_eq!(outcome.value(var(&program, "command.verdict")), member(&program, "verdict_t", "PUNT"));
}

#[test]
fn everything_is_written_of_both() {
    for name in ["packet", "command"] {
        let program = program(name);
        let info = p4info::message(&program);
        assert_eq!(info.tables.len(), program.tables.len(), "{name}");
        let mut ids: Vec<u32> = Vec::new();
        let preambles = info.tables.iter().map(|each| (2, &each.preamble));
        let preambles = preambles.chain(info.actions.iter().map(|each| (1, &each.preamble)));
        let preambles = preambles.chain(info.counters.iter().map(|each| (0x12, &each.preamble)));
        let preambles = preambles.chain(info.direct_counters.iter().map(|each| (0x13, &each.preamble)));
        let preambles = preambles.chain(info.meters.iter().map(|each| (0x14, &each.preamble)));
        let preambles = preambles.chain(info.digests.iter().map(|each| (0x17, &each.preamble)));
        let preambles = preambles.chain(info.controller_packet_metadata.iter().map(|each| (4, &each.preamble)));
        for (prefix, preamble) in preambles {
            let preamble = preamble.as_ref().expect("every object has one");
            assert_eq!(preamble.id >> 24, prefix, "{name}: {}", preamble.name);
            assert!(!ids.contains(&preamble.id), "{name}: {}", preamble.name);
            ids.push(preamble.id);
        }
        assert_eq!(text::from_text(&p4info::emit(&program)).expect("it is P4Info"), info);
        let page = docs::emit(&program);
        assert!(program.tables.iter().all(|table| page.contains(&format!("\n#### `{}`\n", table.name))));
        let drawing = graph::emit(&program);
        assert!(program.tables.iter().all(|table| drawing.contains(&format!("[label=\"{}\", shape=box]", table.name))));
    }
}
