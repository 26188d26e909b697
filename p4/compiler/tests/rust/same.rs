//! The generated code and the interpreter on the same random packets and entries: everything that can be seen of both is the same.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use gantry_p4c::diagnostics::render;
use gantry_p4c::interpret::{Call, Cell, EntryId, Externs, Machine, Recorder, Reply};
use gantry_p4c::ir::{Entry, ExternId, ExternKind, Match, MatchKind, Program, TableId};
use gantry_p4c::preprocess::Options;
use gantry_p4c::source::Sources;

use crate::crates::{Driven, Package, inputs, metadata, short};
use crate::dice::Dice;
use crate::{expressions, programs};

/// Records calls, and answers them as the driver of the generated code does.
struct Answers {
    recorder: Recorder,
    calls: Vec<String>,
}

impl Externs for Answers {
    fn start(&mut self) {
        self.recorder.start();
        self.calls.clear();
    }

    fn call(&mut self, call: &Call<'_>) -> Reply {
        let mut name = call.function.to_owned();
        match call.instance {
            Some((_, of)) if matches!(of.kind, ExternKind::Digest { .. }) => {
                name = format!("{}_{name}", short(&of.name));
            }
            Some(_) => return self.recorder.call(call),
            None => {}
        }
        let values: Vec<_> = call.arguments.iter().map(|passed| passed.value).collect();
        let shown: Vec<_> = values.iter().map(|value| format!("{value:x}")).collect();
        self.calls.push(format!("{name}({})", shown.join(",")));
        let result = values.iter().fold(3_u128, |sum, value| sum.wrapping_mul(7).wrapping_add(*value));
        let outs =
            call.arguments.iter().filter(|passed| passed.out).map(|passed| (result ^ passed.value) & passed.ty.mask());
        Reply { result, outs: outs.collect() }
    }
}

/// An entry of the script.
fn entry_line(program: &Program, table: usize, entry: &Entry) -> String {
    let matches = entry.matches.iter().map(|wanted| match wanted {
        Match::Any => "any".to_owned(),
        Match::Value(value) => format!("value:{value:x}"),
        Match::Mask { value, mask } => format!("mask:{value:x}:{mask:x}"),
        Match::Range { low, high } => format!("range:{low:x}:{high:x}"),
        Match::Prefix { value, length } => format!("prefix:{value:x}:{length:x}"),
    });
    let matches: Vec<_> = matches.collect();
    let action = program.actions[entry.action.index()].id;
    let arguments: Vec<_> = entry.arguments.iter().map(|value| format!("{value:x}")).collect();
    let arguments = if arguments.is_empty() { "-".to_owned() } else { arguments.join(",") };
    let id = program.tables[table].id;
    format!("entry {id:x} {:x} {action:x} {arguments} {}\n", entry.priority, matches.join(" "))
}

const MAPPED: u128 = 0xffff_0000_0000;

/// Entries that random packets hit now and then: values are small, masks are short.
fn random_entry(program: &Program, table: usize, dice: &mut Dice, above_others: u128) -> Entry {
    let of = &program.tables[table];
    let matches = of.keys.iter().map(|key| {
        let mask = key.expr.ty.mask();
        let bits = key.expr.ty.bits();
        // An IPv4 address in an IPv6 one.
        let above = if bits == 128 { MAPPED } else { 0 };
        let small = |dice: &mut Dice| (dice.below(6) as u128 | above) & mask;
        match key.kind {
            MatchKind::Exact => Match::Value((small(dice) + above_others) & mask),
            MatchKind::Optional if dice.below(2) == 0 => Match::Any,
            MatchKind::Optional => Match::Value(small(dice)),
            MatchKind::Lpm => {
                let length = [0, 8, bits - 2, bits - 1, bits][dice.below(5)];
                Match::Prefix { value: small(dice) & mask & !(mask.checked_shr(length.into()).unwrap_or(0)), length }
            }
            MatchKind::Ternary if dice.below(2) == 0 => Match::Any,
            MatchKind::Ternary => {
                let wanted = small(dice);
                Match::Mask { value: small(dice) & wanted, mask: wanted }
            }
            MatchKind::Range => {
                let (a, b) = (small(dice), small(dice) + 9);
                Match::Range { low: a.min(b), high: a.max(b) & mask }
            }
        }
    });
    let matches = matches.collect();
    let priorities = of.keys.iter().any(|key| !matches!(key.kind, MatchKind::Exact | MatchKind::Lpm));
    let action = of.actions[dice.below(of.actions.len())].action;
    let parameters = &program.actions[action.index()].parameters;
    let arguments = parameters.iter().map(|var| dice.number(program.vars[var.index()].ty.mask())).collect();
    Entry { matches, priority: if priorities { 1 + dice.below(5) as i32 } else { 0 }, action, arguments }
}

/// Runs both; entries are random unless the table brings its own.
fn compare(
    package: &Package,
    program: &Program,
    frames: &[Vec<u8>],
    dice: &mut Dice,
    entries: usize,
    choose: impl Fn(&str, &mut Dice) -> Option<u128>,
) -> Vec<String> {
    let mut machine = Machine::new(program);
    let mut script = String::new();
    let mut inserted: Vec<(usize, EntryId)> = Vec::new();
    for table in 0..program.tables.len() {
        for n in 0..entries {
            // Few entries are looked up at once, so some tables have many, most of which are out of the way.
            let entry = random_entry(program, table, dice, if n < entries * 4 / 5 { 0 } else { 16 * n as u128 });
            if let Ok(id) = machine.entries(TableId(table as u32)).insert(&entry) {
                script += &entry_line(program, table, &entry);
                inserted.push((table, id));
            }
        }
    }
    let inputs = inputs(program);
    let mut externs = Answers { recorder: Recorder::new(program), calls: Vec::new() };
    let named = metadata(program);
    let mut expected = Vec::new();
    for frame in frames {
        let values: Vec<_> = inputs
            .iter()
            .map(|(var, name)| {
                let mask = program.vars[var.index()].ty.mask();
                // What tables look up is small; the rest is anything.
                let value = match choose(name, dice) {
                    Some(value) => value,
                    None => dice.number(mask),
                };
                (*var, value & mask)
            })
            .collect();
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown: Vec<_> = values.iter().map(|(_, value)| format!("{value:x}")).collect();
        writeln!(script, "packet x{hex} {}", shown.join(" ")).expect("text");
        let outcome = machine.run(frame, &values, &mut externs);
        let parsed = if outcome.accepted { "accepted" } else { program.errors[outcome.parser_error as usize].as_str() };
        let valid = outcome.valid.iter().enumerate().fold(0_u128, |bits, (at, valid)| bits | u128::from(*valid) << at);
        let metadata: Vec<_> = named.iter().map(|(var, name)| format!("{name}={:x}", outcome.value(*var))).collect();
        let out: String = outcome.emitted.iter().map(|byte| format!("{byte:02x}")).collect();
        expected.push(format!(
            "{parsed} valid={valid:x} payload={} [{}] out={out} calls={}",
            if program.parser.is_some() { frame.len() - outcome.payload.len() } else { 0 },
            metadata.join(" "),
            externs.calls.join(";"),
        ));
    }
    for (id, counter) in (0..).map(ExternId).zip(&program.externs) {
        let field = short(&counter.name);
        let shown = |cell| {
            let count = externs.recorder.count(id, cell);
            format!("CounterValue {{ packets: {}, bytes: {} }}", count.packets, count.bytes)
        };
        match counter.kind {
            ExternKind::Counter { size, .. } => {
                expected.extend((0..size).map(|cell| format!("{field} {cell} {}", shown(Cell::Index(cell.into())))));
            }
            ExternKind::DirectCounter { table, .. } => {
                let of = inserted.iter().filter(|(at, _)| *at == table.index());
                expected.extend(of.map(|(_, entry)| format!("{field} {}", shown(Cell::Entry(table, *entry)))));
                expected.push(format!("{field} default {}", shown(Cell::Default(table))));
            }
            _ => {}
        }
    }
    let told = package.run(&program.name, &script);
    for (at, (told, expected)) in told.iter().zip(&expected).enumerate() {
        assert_eq!(told, expected, "{} line {at} (generated, interpreted)", program.name);
    }
    assert_eq!(told.len(), expected.len());
    told
}

/// Frames that come far: headers as the parser wants them, with small numbers where tables look, cut off somewhere at times.
fn roce_frame(dice: &mut Dice) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..12).map(|_| dice.next() as u8).collect();
    if dice.below(3) == 0 {
        frame.extend([0x81, 0x00, dice.next() as u8, dice.next() as u8]);
    }
    frame.extend([[0x08, 0x00], [0x08, 0x00], [0x08, 0x00], [0x86, 0xdd], [0x12, 0x34]][dice.below(5)]);
    let ihl = [5, 5, 5, 6, 15, 4][dice.below(6)];
    let protocol = [17, 17, 17, 17, 210, 6][dice.below(6)];
    frame.extend([0x40 | ihl, dice.next() as u8, 0, 99, 0, 1, 0x40, 0, dice.next() as u8, protocol, 0, 0]);
    frame.extend([0, 0, 0, dice.below(6) as u8]);
    frame.extend([0, 0, 0, dice.below(6) as u8]);
    frame.extend((5..ihl.max(5)).flat_map(|_| [1, 2, 3, 4]));
    frame.extend([1, 2, 0x12, [0xb7, 0xb7, 0xb7, 0xb8][dice.below(4)], 0, 50, 0, 0]);
    frame.extend([
        [0x0c, 0x06, 0x07, 0x04, dice.next() as u8][dice.below(5)],
        dice.next() as u8,
        0xff,
        0xff,
        0x40,
        0,
        0,
    ]);
    frame.push(dice.below(6) as u8);
    frame.extend([0x80, 0, 0, dice.below(6) as u8]);
    frame.extend((0..16 + dice.below(20)).map(|_| dice.next() as u8));
    if dice.below(5) == 0 {
        frame.truncate(dice.below(frame.len() + 1));
    }
    frame
}

/// Port numbers and the like.
fn small(_: &str, dice: &mut Dice) -> Option<u128> {
    Some(dice.below(6) as u128)
}

/// What the driver's methods do: [`Answers`].
const ROCE_METHODS: &str = "
        fn mark(&mut self, index: usize, crossing: u32, class: &mut u8, one: u8) -> u8 {
            let result = self.call(index, \"mark\", &[crossing.into(), (*class).into(), one.into()]);
            *class = (result ^ u128::from(*class)) as u8;
            result as u8
        }";

#[test]
fn generated_code_does_what_the_interpreter_does() {
    let roce = programs::roce();
    let random: Vec<_> = (0..4).map(expressions::program).collect();
    let mut driven = vec![Driven { program: roce.clone(), methods: ROCE_METHODS }];
    driven.extend(random.iter().map(|program| Driven { program: program.clone(), methods: "" }));
    let package = Package::build("same", &driven);
    let mut dice = Dice(0x5eed);
    let mut lines = Vec::new();
    for round in 0..15 {
        let frames: Vec<_> = (0..300).map(|_| roce_frame(&mut dice)).collect();
        lines.extend(compare(&package, &roce, &frames, &mut dice, [0, 3, 24][round % 3], small));
    }
    // The comparison means something only if packets went everywhere.
    for (what, count) in [
        ("accepted", 400),
        ("PacketTooShort", 50),
        ("NoMatch", 10),
        ("OwnError", 50),
        ("NoError", 10),
        ("valid=3f", 20),
        ("valid=3d", 20),
        ("valid=1f", 20),
        ("verdict=1", 50),
        ("verdict=2", 20),
        ("verdict=3", 10),
        ("mark(", 50),
        ("hop=abc", 20),
    ] {
        let found = lines.iter().filter(|line| line.contains(what)).count();
        assert!(found >= count, "only {found} of {} lines have {what}", lines.len());
    }
    for program in &random {
        let frames: Vec<_> = (0..60).map(|_| (0..64).map(|_| dice.next() as u8).collect()).collect();
        compare(&package, program, &frames, &mut dice, 0, |_, _| None);
    }
}

/// One of the card's own programs.
fn own(name: &str) -> Program {
    let file = Path::new("..").join(name);
    let options = Options { include_folders: vec![PathBuf::from("../include")], ..Options::default() };
    let mut sources = Sources::default();
    gantry_p4c::compile(&file, &options, &mut sources)
        .unwrap_or_else(|diagnostics| panic!("{}", render(&diagnostics, &sources, false)))
}

/// A frame that the card's parser takes, or one with a mistake.
fn card_frame(dice: &mut Dice) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..12).map(|_| dice.next() as u8).collect();
    if dice.below(3) == 0 {
        frame.extend([0x81, 0x00, 0x20, dice.below(6) as u8]);
    }
    let opcode = [0x04, 0x06, 0x0c, 0x0b, 0x11, 0x12, 0x10, 0x17, 0x64, 0x81, 0x03, 0x55][dice.below(12)];
    let mut transport = vec![opcode, [0, 0, 0x10, 0x01][dice.below(4)], 0xff, 0xff, 0x40, 0, 0, dice.below(9) as u8];
    transport.extend((0..4 + dice.below(60)).map(|_| dice.next() as u8));
    let mut udp = vec![0, dice.below(8) as u8, 0x12, 0xb7];
    udp.extend((transport.len() as u16 + 8).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(&transport);
    let ip = dice.below(9);
    if ip < 5 {
        let echo = [8, 0, 0x12, 0x34, 1, 2, 3, 4, 9, 9];
        let (protocol, behind) = if dice.below(5) == 0 { (1, echo.to_vec()) } else { (17, udp) };
        let mut header = vec![0x45, dice.next() as u8];
        header.extend((20 + behind.len() as u16).to_be_bytes());
        header.extend([dice.next() as u8, 3, 0x40, 0, 64, protocol, 0, 0, 0, 0, 0, dice.below(6) as u8]);
        header.extend([0, 0, 0, dice.below(6) as u8]);
        if dice.below(12) == 0 {
            header[dice.below(20)] ^= 1;
        }
        let sum: u32 = header.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
        let sum = !((sum >> 16) + (sum & 0xffff)) as u16;
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend([0x08, 0x00]);
        frame.extend(header);
        frame.extend(behind);
    } else if ip < 8 {
        let address = |dice: &mut Dice| (MAPPED | dice.below(6) as u128).to_be_bytes();
        let (source, destination) = (address(dice), address(dice));
        let (next, mut behind) = (17, udp);
        let mut next_header = next;
        let asks = dice.below(4);
        if asks == 0 {
            // A neighbour solicitation with a right sum.
            next_header = 58;
            behind = vec![135, 0, 0, 0, 0, 0, 0, 0];
            behind.extend(address(dice));
            if dice.below(2) == 0 {
                behind.extend([1, 1, 2, 3, 4, 5, 6, 7]);
            }
            let pseudo = [&source[..], &destination, &[0, 0, 0, behind.len() as u8, 0, 0, 0, 58], &behind].concat();
            let sum: u32 = pseudo.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
            let sum = !((sum >> 16) + (sum & 0xffff)) as u16;
            behind[2..4].copy_from_slice(&sum.to_be_bytes());
        } else if asks == 1 {
            next_header = 58;
            behind = vec![128, 0, 0, 9, 1, 2, 3, 4];
        }
        frame.extend([0x86, 0xdd, 0x60 | dice.below(16) as u8, dice.next() as u8, 1, 2]);
        frame.extend((behind.len() as u16).to_be_bytes());
        frame.extend([next_header, 255]);
        frame.extend(source);
        frame.extend(destination);
        frame.extend(behind);
    } else {
        frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1 + dice.below(2) as u8]);
        frame.extend([2, 3, 4, 5, 6, 7, 0, 0, 0, dice.below(6) as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, dice.below(6) as u8]);
    }
    if dice.below(12) == 0 {
        frame.truncate(dice.below(frame.len() + 1));
    }
    frame
}

const PACKET_METHODS: &str = "
        fn congestion_experienced(&mut self, index: usize, lcore: u16, qp: u32) {
            self.call(index, \"congestion_experienced\", &[lcore.into(), qp.into()]);
        }

        fn denials_pack(&mut self, index: usize, tenant: u16, source: u128, qpn: u32) {
            self.call(index, \"denials_pack\", &[tenant.into(), source, qpn.into()]);
        }";

const COMMAND_METHODS: &str = "
        fn block_shift(&mut self, index: usize, drive: u16, nsid: u32) -> u8 {
            self.call(index, \"block_shift\", &[drive.into(), nsid.into()]) as u8
        }";

#[test]
fn the_cards_programs_do_what_the_interpreter_does() {
    let (packet, command) = (own("packet.p4"), own("command.p4"));
    let driven = [
        Driven { program: packet.clone(), methods: PACKET_METHODS },
        Driven { program: command.clone(), methods: COMMAND_METHODS },
    ];
    let package = Package::build("own", &driven);
    let mut dice = Dice(0xca4d);
    let choose = |name: &str, dice: &mut Dice| match name {
        "outgoing" => Some(u128::from(dice.below(6) == 0)),
        "vid" | "pcp" | "class" | "verdict" | "tenant" => Some(0),
        "local_ip" | "remote_ip" => Some(MAPPED | dice.below(6) as u128),
        name if name.ends_with("port") => Some(dice.below(3) as u128),
        _ => None,
    };
    let mut lines = Vec::new();
    for round in 0..12 {
        let frames: Vec<_> = (0..500).map(|_| card_frame(&mut dice)).collect();
        lines.extend(compare(&package, &packet, &frames, &mut dice, [200, 10, 60][round % 3], choose));
    }
    let choose = |name: &str, dice: &mut Dice| match name {
        "admin" | "fuse" => Some(u128::from(dice.below(8) == 0)),
        "opcode" => Some([0, 1, 2, 5, 8, 9, 0x7f, 0x44][dice.below(8)]),
        "cntlid" | "nsid" => Some(dice.below(4) as u128),
        "slba" | "blocks" | "ranges" => Some(dice.below(300) as u128),
        _ => None,
    };
    for _ in 0..6 {
        lines.extend(compare(&package, &command, &vec![Vec::new(); 200], &mut dice, 200, choose));
    }
    for (what, count) in [
        (" verdict=1 ", 50),
        (" verdict=2 ", 50),
        (" verdict=4 ", 50),
        (" reason=2 ", 20),
        (" reason=3 ", 10),
        (" reason=4 ", 10),
        (" punt=1 ", 5),
        (" punt=2 ", 5),
        (" congestion=1 ", 5),
        ("denials_pack(", 5),
        ("congestion_experienced(", 5),
        ("block_shift(", 50),
        (" status=80 ", 20),
        (" refusal=1 ", 20),
    ] {
        let found = lines.iter().filter(|line| line.contains(what)).count();
        assert!(found >= count, "only {found} of {} lines have {what}", lines.len());
    }
}
