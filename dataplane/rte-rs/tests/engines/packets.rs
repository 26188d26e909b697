//! packet.p4 in three engines: the generated Rust, the interpreter, SWX.

use std::collections::BTreeMap;

use gantry::packet::Sizes;
use gantry_p4c::emit::swx::{self, Made, Pipeline, Slot};
use gantry_p4c::interpret::{Call, Cell, Externs, Machine, Outcome, Recorder, Reply};
use gantry_p4c::ir::{Entry, ExternId, ExternKind, HeaderId, Match, MatchKind, Program, TableId, VarId};
use rte_rs::{Eal, Mempool};

use crate::dice::Dice;
use crate::frames::{self, MAPPED};
use crate::generated::{NOTHING, PacketEngine};
use crate::lowered::{Lowered, header, table, var};

/// Header sets of packets that the transport makes.
const MADE: [&[&str]; 9] = [
    &["hdr.bth"],
    &["hdr.bth", "hdr.immediate"],
    &["hdr.bth", "hdr.ieth"],
    &["hdr.bth", "hdr.reth"],
    &["hdr.bth", "hdr.reth", "hdr.immediate"],
    &["hdr.bth", "hdr.aeth"],
    &["hdr.bth", "hdr.aeth", "hdr.atomic_ack"],
    &["hdr.bth", "hdr.deth"],
    &["hdr.bth", "hdr.atomic"],
];

/// packet.p4 for SWX, everything told that can be.
pub(crate) fn plan(program: &Program) -> Pipeline {
    let headers = |names: &&[&str]| names.iter().map(|name| header(program, name)).collect();
    let made = Made { when: var(program, "meta.outgoing"), headers: MADE.iter().map(headers).collect() };
    swx::lower(program, &swx::Options { made: Some(made), told: true, ..swx::Options::default() })
        .unwrap_or_else(|refused| panic!("{refused:#?}"))
}

/// Records calls, and what was answered.
struct Listener {
    recorder: Recorder,
    answers: BTreeMap<(Option<ExternId>, String), u128>,
    called: Vec<(Option<ExternId>, String)>,
}

impl Externs for Listener {
    fn start(&mut self) {
        self.recorder.start();
        self.answers.clear();
        self.called.clear();
    }

    fn call(&mut self, call: &Call<'_>) -> Reply {
        let reply = self.recorder.call(call);
        let name = (call.instance.map(|(id, _)| id), call.function.to_owned());
        if call.result.is_some() {
            self.answers.insert(name, reply.result);
        } else {
            self.called.push(name);
        }
        reply
    }
}

/// A packet with what the architecture sets.
pub(crate) struct Sent {
    pub(crate) frame: Vec<u8>,
    pub(crate) inputs: BTreeMap<VarId, u128>,
    /// The headers that a packet of this side's own begins with.
    pub(crate) made: Vec<HeaderId>,
}

/// The engines, with the same entries.
pub(crate) struct Engines<'p> {
    program: &'p Program,
    pub(crate) machine: Machine<'p>,
    listener: Listener,
    pub(crate) rust: PacketEngine,
    pub(crate) swx: Lowered,
    pool: Mempool,
}

impl<'p> Engines<'p> {
    pub(crate) fn new(eal: &Eal, name: &str, program: &'p Program, plan: Pipeline, pool: &Mempool) -> Self {
        let sizes = Sizes { qps: 8192, ..Sizes::default() };
        let recorder = Recorder::new(program);
        Self {
            program,
            machine: Machine::new(program),
            listener: Listener { recorder, answers: BTreeMap::new(), called: Vec::new() },
            rust: PacketEngine::new(&sizes),
            swx: Lowered::build(eal, name, plan, |name, size| if name == "qps" { 8192 } else { size }),
            pool: pool.clone(),
        }
    }

    /// What the machine holds all hold from now on.
    pub(crate) fn agree_on_entries(&mut self) {
        self.rust.hold_what(&self.machine);
        self.swx.hold_what(&self.machine);
    }

    /// This tenant's packets are above their rate from now on.
    pub(crate) fn throttle(&mut self, tenant: u16) {
        let mut meters = (0..).map(ExternId).zip(&self.program.externs);
        let (meter, _) =
            meters.find(|(_, of)| matches!(of.kind, ExternKind::Meter { .. })).expect("the tenants' meter");
        self.listener.recorder.colours.insert((meter, Cell::Index(tenant.into())), 0);
        assert!(
            self.rust.tables.tenant_rate.configure(usize::from(tenant), Some(&NOTHING), 1),
            "there is such a meter"
        );
    }

    fn interpret(&mut self, sent: &Sent) -> Outcome {
        let mut inputs: Vec<_> = sent.inputs.iter().map(|(var, value)| (*var, *value)).collect();
        if sent.made.is_empty() {
            return self.machine.run(&sent.frame, &inputs, &mut self.listener);
        }
        let mut bit = 0;
        for id in &sent.made {
            for field in &self.program.headers[id.index()].fields {
                let value = (bit..bit + usize::from(field.bits))
                    .fold(0_u128, |value, bit| value << 1 | u128::from(sent.frame[bit / 8] >> (7 - bit % 8) & 1));
                inputs.push((field.var, value));
                bit += usize::from(field.bits);
            }
        }
        self.machine.run_control(&sent.frame[bit / 8..], &inputs, &sent.made, &mut self.listener)
    }

    /// Runs a packet through all engines: the first difference, or what became of it.
    pub(crate) fn compare(&mut self, sent: &Sent) -> Result<Outcome, String> {
        let outcome = self.interpret(sent);
        let valid = outcome.valid.iter().enumerate().fold(0_u128, |bits, (at, valid)| bits | u128::from(*valid) << at);
        let header_bytes: usize = sent.made.iter().map(|id| self.program.headers[id.index()].bits as usize / 8).sum();

        // SWX.
        let (listener, program) = (&self.listener, self.program);
        let left_out = self.swx.plan.left_out.clone();
        let length = sent.frame.len() - header_bytes;
        let value = |slot| match slot {
            Slot::Length => unreachable!("it is the packet's own"),
            Slot::Valid => sent.made.iter().fold(0, |bits, id| bits | 1 << id.0),
            Slot::Var(var) => sent.inputs.get(&var).copied().unwrap_or(0),
            // What nobody asked for nobody may look at.
            Slot::Answer(at) => {
                let asked = (left_out[at].instance, left_out[at].function.clone());
                listener.answers.get(&asked).copied().unwrap_or(0x55)
            }
            Slot::Called => unreachable!("it comes out"),
        };
        let (told, packet) = self.swx.run(&self.pool, &sent.frame, length, value);
        for (slot, found) in &told {
            let (what, wanted) = match slot {
                Slot::Var(var) => (program.vars[var.index()].name.clone(), outcome.value(*var)),
                Slot::Valid => ("the valid headers".to_owned(), valid),
                Slot::Called => {
                    let called = left_out.iter().enumerate().filter(|(_, of)| {
                        !of.why.contains("by action") && listener.called.contains(&(of.instance, of.function.clone()))
                    });
                    ("what was called".to_owned(), called.fold(0, |bits, (at, _)| bits | 1 << at))
                }
                other => unreachable!("{other:?} goes in"),
            };
            if *found != wanted {
                return Err(format!("SWX: {what} is {found:#x}, the interpreter has {wanted:#x}"));
            }
        }
        if packet != outcome.packet() {
            return Err(format!("SWX sends {packet:02x?}, the interpreter {:02x?}", outcome.packet()));
        }

        // Rust.
        let mut made = Vec::new();
        let mut at = 0;
        for id in &sent.made {
            let header = &program.headers[id.index()];
            made.push((header.name.as_str(), 1 << id.0, at));
            at += header.bits as usize / 8;
        }
        let of = |name: &str| sent.inputs.get(&var(program, name)).copied().unwrap_or(0);
        let set = |meta: &mut gantry::packet::Metadata| {
            meta.outgoing = of("meta.outgoing") != 0;
            meta.port = of("meta.port") as u32;
            meta.port_mac = of("meta.port_mac") as u64;
            meta.vid = of("meta.vid") as u16;
            meta.pcp = of("meta.pcp") as u8;
            meta.local_ip = of("meta.local_ip");
            meta.remote_ip = of("meta.remote_ip");
            meta.remote_mac = of("meta.remote_mac") as u64;
            meta.tenant = of("meta.tenant") as u16;
            meta.payload_bytes = of("meta.payload_bytes") as u16;
            meta.udp_source = of("meta.udp_source") as u16;
            meta.ip_id = of("meta.ip_id") as u16;
            meta.istd_input_port = sent.inputs.get(&var(program, "istd.input_port")).map_or(0, |port| *port as u32);
        };
        let became = self.rust.run(&sent.frame, set, (!made.is_empty()).then_some(&made), at);
        for (name, found) in &became.values {
            let wanted = outcome.value(var(program, name));
            if *found != wanted {
                return Err(format!("Rust: {name} is {found:#x}, the interpreter has {wanted:#x}"));
            }
        }
        let calls: Vec<_> = self.listener.called.iter().map(|(_, name)| name.as_str()).collect();
        let calls: Vec<_> =
            calls.into_iter().filter(|name| ["pack", "congestion_experienced"].contains(name)).collect();
        if (u128::from(became.valid), &became.called, &became.packet) != (valid, &calls, &outcome.packet()) {
            return Err(format!(
                "Rust: headers {:#x}, calls {:?}, sends {:02x?}",
                became.valid, became.called, became.packet
            ));
        }
        Ok(outcome)
    }

    /// Counters that SWX has too hold the same in all three.
    pub(crate) fn compare_counters(&self) {
        let mut counted = 0;
        for (id, counter) in (0..).map(ExternId).zip(&self.program.externs) {
            let ExternKind::Counter { size, .. } = counter.kind else { continue };
            let name = counter.name.rsplit('.').next().expect("a name");
            let rust = match name {
                "drops" => &self.rust.tables.drops,
                "admitted" => &self.rust.tables.admitted,
                other => panic!("a counter called {other}"),
            };
            for cell in 0..size.min(64) {
                let wanted = self.listener.recorder.count(id, Cell::Index(cell.into()));
                let found = rust.read(cell as usize).expect("a cell");
                assert_eq!((found.packets, found.bytes), (wanted.packets, wanted.bytes), "Rust: {name} {cell}");
                let register = |what: &str| self.swx.running.register(&format!("{name}_{what}"), cell).expect("a cell");
                let found = (register("packets"), register("bytes"));
                assert_eq!(found, (wanted.packets, wanted.bytes), "SWX: {name} {cell}");
                counted += wanted.packets;
            }
        }
        assert!(counted > 100, "{counted} packets counted");
    }
}

/// A frame that arrives.
pub(crate) fn arriving(program: &Program, frame: Vec<u8>, port: u32, dice: &mut Dice) -> Sent {
    let inputs = [
        (var(program, "istd.input_port"), u128::from(port)),
        (var(program, "meta.port"), u128::from(port)),
        (var(program, "meta.port_mac"), u128::from(dice.next() >> 16)),
    ];
    Sent { frame, inputs: inputs.into_iter().collect(), made: Vec::new() }
}

/// A packet that the transport makes.
pub(crate) fn leaving(program: &Program, dice: &mut Dice) -> Sent {
    let made: Vec<_> = dice.of(&MADE).iter().map(|name| header(program, name)).collect();
    let bytes: usize = made.iter().map(|id| program.headers[id.index()].bits as usize / 8).sum();
    let payload = dice.below(60);
    let address = |dice: &mut Dice| match dice.below(3) {
        0 => u128::from(dice.next()) << 64 | dice.below(6) as u128,
        _ => MAPPED | dice.below(6) as u128,
    };
    let inputs = [
        ("meta.outgoing", 1),
        ("meta.port", dice.below(2) as u128),
        ("meta.port_mac", u128::from(dice.next() >> 16)),
        ("meta.vid", dice.below(3) as u128),
        ("meta.pcp", dice.of(&[0, 0, 5])),
        ("meta.local_ip", address(dice)),
        ("meta.remote_ip", address(dice)),
        ("meta.remote_mac", u128::from(dice.next() >> 16)),
        ("meta.tenant", dice.below(6) as u128),
        ("meta.payload_bytes", payload as u128),
        ("meta.udp_source", dice.number(0xffff)),
        ("meta.ip_id", dice.number(0xffff)),
    ];
    let inputs = inputs.into_iter().map(|(name, value)| (var(program, name), value)).collect();
    Sent { frame: dice.bytes(bytes + payload), inputs, made }
}

/// An entry that random packets hit now and then: values are small, masks are short. `priority` is told apart from all others.
fn random_entry(program: &Program, id: TableId, priority: i32, dice: &mut Dice) -> Entry {
    let of = &program.tables[id.index()];
    let matches = of.keys.iter().map(|key| {
        let mask = key.expr.ty.mask();
        let above = if key.expr.ty.bits() == 128 { MAPPED } else { 0 };
        let small = |dice: &mut Dice| (dice.below(6) as u128 | above) & mask;
        match key.kind {
            MatchKind::Exact => Match::Value(small(dice)),
            MatchKind::Optional if dice.below(2) == 0 => Match::Any,
            MatchKind::Optional => Match::Value(small(dice)),
            MatchKind::Lpm => unreachable!("no table of packet.p4 has such a key"),
            MatchKind::Ternary if dice.below(2) == 0 => Match::Any,
            MatchKind::Ternary => {
                let wanted = [small(dice), mask, mask << 2 & mask][dice.below(3)];
                Match::Mask { value: small(dice) & wanted, mask: wanted }
            }
            MatchKind::Range if dice.below(3) == 0 => Match::Any,
            MatchKind::Range => {
                let low = dice.below(9) as u128;
                Match::Range { low, high: low + dice.below(8) as u128 }
            }
        }
    });
    let matches = matches.collect();
    let priorities = of.keys.iter().any(|key| !matches!(key.kind, MatchKind::Exact | MatchKind::Lpm));
    let action = of.actions[dice.below(of.actions.len())].action;
    let parameters = &program.actions[action.index()].parameters;
    let arguments = parameters.iter().map(|var| dice.number(program.vars[var.index()].ty.mask())).collect();
    Entry { matches, priority: if priorities { priority } else { 0 }, action, arguments }
}

impl Engines<'_> {
    /// Random entries, `each` in every table that takes some.
    pub(crate) fn random_entries(&mut self, each: usize, dice: &mut Dice) {
        let tenants = table(self.program, "local_addresses");
        for id in (0..self.program.tables.len() as u32).map(TableId) {
            // Most packets end here otherwise.
            let each = if id == tenants { 5 * each } else { each };
            for priority in 1..=each as i32 {
                let mut entry = random_entry(self.program, id, priority, dice);
                if id == tenants {
                    // Tenants are what other tables look up.
                    entry.arguments.iter_mut().for_each(|tenant| *tenant %= 6);
                    entry.matches[0] = Match::Value(dice.below(3) as u128);
                }
                // A second one with the same matches is refused, as is any in a table that has its own.
                _ = self.machine.entries(id).insert(&entry);
            }
        }
        self.agree_on_entries();
    }

    /// Takes about half of the entries out again.
    pub(crate) fn forget_some(&mut self, dice: &mut Dice) {
        for id in (0..self.program.tables.len() as u32).map(TableId) {
            let rows: Vec<_> = self.machine.table(id).rows().iter().filter(|row| !row.constant).cloned().collect();
            for row in rows {
                if dice.below(2) == 0 {
                    self.machine.entries(id).delete(&row.entry.matches, row.entry.priority).expect("it is there");
                }
            }
        }
        self.agree_on_entries();
    }

    /// Entries that let captured frames through: their addresses are the card's, their QPs are there.
    pub(crate) fn entries_for(&mut self, frames: &[Vec<u8>], dice: &mut Dice) {
        let program = self.program;
        let (locals, qps) = (table(program, "local_addresses"), table(program, "qps"));
        let [local, to_qp] = [locals, qps].map(|id| program.tables[id.index()].actions[0].action);
        for frame in frames {
            let sent = arriving(program, frame.clone(), 1, dice);
            let outcome = self.interpret(&sent);
            let of = |name| outcome.value(var(program, name));
            let matches = [1, of("meta.vid"), of("meta.local_ip")].map(Match::Value).to_vec();
            let arguments = vec![dice.below(6) as u128];
            _ = self.machine.entries(locals).insert(&Entry { matches, priority: 0, action: local, arguments });
            if dice.below(5) != 0 {
                let matches = vec![Match::Value(of("hdr.bth.dest_qp"))];
                let arguments = vec![dice.number(0xffff), dice.number(0xffff_ffff)];
                _ = self.machine.entries(qps).insert(&Entry { matches, priority: 0, action: to_qp, arguments });
            }
        }
        // This was no packet for the others.
        self.listener.recorder.counts.clear();
        self.agree_on_entries();
    }
}

/// Random frames, or with a flipped bit captured ones.
pub(crate) fn random_sent(program: &Program, captured: &[Vec<u8>], dice: &mut Dice) -> Sent {
    match dice.below(6) {
        0 => leaving(program, dice),
        1 => {
            let mut frame = captured[dice.below(captured.len())].clone();
            let bit = dice.below(frame.len().min(80) * 8);
            frame[bit / 8] ^= 0x80 >> (bit % 8);
            arriving(program, frame, 1, dice)
        }
        _ => {
            let frame = frames::random(dice);
            let port = dice.below(3) as u32;
            arriving(program, frame, port, dice)
        }
    }
}
