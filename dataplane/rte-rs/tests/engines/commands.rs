//! command.p4 in three engines. A command is no packet: all of it comes as metadata, and goes as such.

use std::collections::BTreeMap;

use gantry::command::{self, Sizes};
use gantry_p4c::emit::swx::{self, Pipeline, Slot};
use gantry_p4c::interpret::{Cell, Externs as _, Machine, Outcome, Recorder, Reply};
use gantry_p4c::ir::{Entry, ExternId, ExternKind, Match, Program, VarId};
use rte_rs::{Eal, Mempool};

use crate::dice::Dice;
use crate::generated::{Called, CommandEngine, NOTHING};
use crate::lowered::{Lowered, table, var};

/// command.p4 for SWX, everything told that can be.
pub(crate) fn plan(program: &Program) -> Pipeline {
    swx::lower(program, &swx::Options { told: true, ..swx::Options::default() })
        .unwrap_or_else(|refused| panic!("{refused:#?}"))
}

pub(crate) struct Engines<'p> {
    program: &'p Program,
    machine: Machine<'p>,
    recorder: Recorder,
    rust: CommandEngine,
    swx: Lowered,
    pool: Mempool,
    /// By instance: tenants above their rate.
    throttled: Vec<(ExternId, u128)>,
}

impl<'p> Engines<'p> {
    /// With random namespaces, and a tenant that is above its rate by either meter.
    pub(crate) fn new(
        eal: &Eal,
        name: &str,
        program: &'p Program,
        plan: Pipeline,
        pool: &Mempool,
        dice: &mut Dice,
    ) -> Self {
        let mut engines = Self {
            program,
            machine: Machine::new(program),
            recorder: Recorder::new(program),
            rust: CommandEngine::new(&Sizes::default()),
            swx: Lowered::build(eal, name, plan, |_, size| size.min(1024)),
            pool: pool.clone(),
            throttled: Vec::new(),
        };
        let namespaces = table(program, "namespaces");
        let blocks_of = program.tables[namespaces.index()].actions[0].action;
        for _ in 0..12 {
            let matches = [dice.below(4), dice.below(4)].map(|value| Match::Value(value as u128)).to_vec();
            let base = if dice.below(4) == 0 { u64::MAX } else { dice.below(1000) as u64 };
            let count = if dice.below(4) == 0 { u64::MAX } else { dice.below(600) as u64 };
            let arguments = [3, 1, base.into(), count.into(), u128::from(dice.below(3) == 0), dice.below(3) as u128];
            let entry = Entry { matches, priority: 0, action: blocks_of, arguments: arguments.to_vec() };
            // A second one of the same place is refused.
            _ = engines.machine.entries(namespaces).insert(&entry);
        }
        for (id, each) in (0..).map(ExternId).zip(&program.externs) {
            if let ExternKind::Meter { .. } = each.kind {
                let (tenant, meters) = match each.name.ends_with("tenant_commands") {
                    true => (0, &engines.rust.tables.tenant_commands),
                    false => (1, &engines.rust.tables.tenant_bandwidth),
                };
                assert!(meters.configure(tenant, Some(&NOTHING), 1), "there is such a meter");
                engines.recorder.colours.insert((id, Cell::Index(tenant as u128)), 0);
                engines.throttled.push((id, tenant as u128));
            }
        }
        engines.rust.hold_what(&engines.machine);
        engines.swx.hold_what(&engines.machine);
        engines
    }

    /// Decides a command in all engines: the first difference, or what became of it.
    pub(crate) fn compare(&mut self, inputs: &BTreeMap<VarId, u128>, shift: u8) -> Result<Outcome, String> {
        let program = self.program;
        let list: Vec<_> = inputs.iter().map(|(var, value)| (*var, *value)).collect();
        self.recorder.answer("block_shift", move |_| Reply::value(shift.into()));
        self.recorder.start();
        let outcome = self.machine.run(&[], &list, &mut self.recorder);

        let tenant = outcome.value(var(program, "command.tenant"));
        let left_out = self.swx.plan.left_out.clone();
        let value = |slot| match slot {
            Slot::Var(var) => inputs.get(&var).copied().unwrap_or(0),
            Slot::Answer(at) => match left_out[at].instance {
                Some(meter) => u128::from(!self.throttled.contains(&(meter, tenant))),
                None => shift.into(),
            },
            other => unreachable!("{other:?} of a command"),
        };
        let (told, _) = self.swx.run(&self.pool, &[], 0, value);
        for (slot, found) in &told {
            if let Slot::Var(var) = slot
                && *found != outcome.value(*var)
            {
                let (name, wanted) = (&program.vars[var.index()].name, outcome.value(*var));
                return Err(format!("SWX: {name} is {found:#x}, the interpreter has {wanted:#x}"));
            }
        }

        let of = |name: &str| inputs.get(&var(program, name)).copied().unwrap_or(0);
        let mut one = command::Packet { length: 4096, ..command::Packet::default() };
        let m = &mut one.metadata;
        (m.cntlid, m.admin, m.opcode) =
            (of("command.cntlid") as u16, of("command.admin") as u8, of("command.opcode") as u8);
        (m.fuse, m.nsid, m.slba) = (of("command.fuse") as u8, of("command.nsid") as u32, of("command.slba") as u64);
        (m.blocks, m.ranges) = (of("command.blocks") as u32, of("command.ranges") as u32);
        (m.described, m.in_capsule) = (of("command.described") as u32, of("command.in_capsule") as u8);
        let mut called = Called { block_shift: shift, ..Called::default() };
        let mut burst = [one];
        let mut run = command::Run {
            tables: &self.rust.tables,
            banks: &mut self.rust.banks,
            generation: self.rust.lcore.enter(),
            now_ns: 1,
            externs: &mut called,
        };
        command::control(&mut burst, &mut run);
        let m = &burst[0].metadata;
        for (name, found) in [
            ("command.verdict", u128::from(m.verdict)),
            ("command.status", m.status.into()),
            ("command.refusal", m.refusal.into()),
            ("command.drive", m.drive.into()),
            ("command.drive_nsid", m.drive_nsid.into()),
            ("command.drive_lba", m.drive_lba.into()),
            ("command.block_bits", m.block_bits.into()),
            ("command.bytes", m.bytes.into()),
            ("command.transfer", m.transfer.into()),
            ("command.tenant", m.tenant.into()),
        ] {
            let wanted = outcome.value(var(program, name));
            if found != wanted {
                return Err(format!("Rust: {name} is {found:#x}, the interpreter has {wanted:#x}"));
            }
        }
        Ok(outcome)
    }

    /// Refusals are counted alike.
    pub(crate) fn compare_counters(&self) {
        let mut counted = 0;
        for (id, counter) in (0..).map(ExternId).zip(&self.program.externs) {
            let ExternKind::Counter { size, .. } = counter.kind else { continue };
            for cell in 0..size {
                let wanted = self.recorder.count(id, Cell::Index(cell.into())).packets;
                assert_eq!(self.rust.tables.refusals.read(cell as usize).expect("a cell").packets, wanted, "{cell}");
                assert_eq!(self.swx.running.register("refusals_packets", cell), Ok(wanted), "{cell}");
                counted += wanted;
            }
        }
        assert!(counted > 100, "{counted} commands refused");
    }
}

/// A command that is not refused for its looks alone too often, and the size of the drive's blocks.
pub(crate) fn random(program: &Program, dice: &mut Dice) -> (BTreeMap<VarId, u128>, u8) {
    let wide = |dice: &mut Dice, mask| if dice.below(4) == 0 { dice.number(mask) } else { dice.below(300) as u128 };
    let inputs = [
        ("command.cntlid", dice.below(4) as u128),
        ("command.admin", u128::from(dice.below(12) == 0)),
        ("command.opcode", dice.of(&[0, 1, 1, 2, 2, 5, 8, 9, 0x7f, 0x44])),
        ("command.fuse", u128::from(dice.below(12) == 0)),
        ("command.nsid", if dice.below(12) == 0 { 0xffff_ffff } else { dice.below(4) as u128 }),
        ("command.slba", wide(dice, u64::MAX.into())),
        ("command.blocks", wide(dice, u32::MAX.into())),
        ("command.ranges", wide(dice, u32::MAX.into())),
        ("command.described", if dice.below(2) == 0 { 1 << 20 } else { wide(dice, u32::MAX.into()) }),
        ("command.in_capsule", u128::from(dice.below(5) == 0)),
    ];
    let inputs = inputs.into_iter().map(|(name, value)| (var(program, name), value)).collect();
    (inputs, dice.of(&[9, 9, 12, 12, 0, 200]))
}
