//! s5, match-action: command.p4 over a burst of commands: (controller, NSID, opcode) decides what becomes of each, before any
//! buffer or fetch; then every buffer that it needs is reserved, or it waits holding none.
//!
//! Leaves as: Ready (to a drive), Fetch, Punt, or refused: InvalidNamespace, LbaRange, InvalidOpcode,
//! InvalidField, Denied.

mod waiting;

use arrayvec::ArrayVec;
use gantry::channel::CAPSULE_DATA_MAX;
use gantry::command::{self, Metadata, Packet, Refusal, Run, Transfer, Verdict};
use gantry_cpu::Cpu;
use gantry_nvme::Limits;
use gantry_table::Line;
use gantry_wire::nvme::{DsmRange, Sqe, Status, admin};
use zerocopy::{FromBytes, IntoBytes};

use crate::command::{Data, State, Task};
use crate::counters::Counter;
use crate::drive::DriveQueue;
use crate::memory::{PAGE, SQE_BYTES};
use crate::port::BURST;
use crate::s8_respond;
use crate::state::Core;
use crate::tables::Reader;
use waiting::reserve;
pub use waiting::{STALLED_NS, retry};

/// Commands that are decided at a time, by index.
pub type Burst = ArrayVec<u32, BURST>;

/// Decides about commands and sends them on their way.
#[inline(never)]
pub fn run(core: &mut Core, burst: &mut Burst) {
    if burst.is_empty() {
        return;
    }
    let mut asked: ArrayVec<Packet, BURST> = ArrayVec::new();
    for index in &*burst {
        asked.push(ask(core, *index));
    }
    control(core, &mut asked);
    for (index, packet) in burst.drain(..).zip(&asked) {
        act(core, index, &packet.metadata);
    }
}

fn control(core: &mut Core, asked: &mut [Packet]) {
    let Core { reader, drives, cpu, now_ns, .. } = core;
    let Reader { tables, command_banks: banks, generation, .. } = reader;
    let externs = &mut Externs { drives, cpu: *cpu };
    let mut run = Run { tables: &tables.command, banks, generation: *generation, now_ns: *now_ns, externs };
    command::control(asked, &mut run);
}

/// What command.p4 calls and does not say how to do.
struct Externs<'a> {
    drives: &'a [Option<DriveQueue>],
    cpu: Cpu,
}

impl command::Externs for Externs<'_> {
    fn prefetch(&mut self, line: &Line) {
        self.cpu.prefetch_read(line);
    }

    fn block_shift(&mut self, _: usize, drive: u16, nsid: u32) -> u8 {
        let drive = self.drives.get(usize::from(drive)).and_then(Option::as_ref).filter(|drive| !drive.failed);
        drive.and_then(|drive| drive.block_shift(nsid)).unwrap_or(0)
    }
}

/// A command as command.p4 takes it.
fn ask(core: &Core, index: u32) -> Packet {
    let command = &core.commands[index];
    let qp = &core.qps[command.qp];
    let sqe = &command.sqe;
    let mut packet = Packet { length: command.data.length().min(TRANSFER_MAX), ..Packet::default() };
    packet.metadata = Metadata {
        cntlid: qp.cntlid,
        admin: qp.is_admin().into(),
        opcode: sqe.opcode,
        fuse: sqe.flags & Sqe::FLAGS_FUSE,
        nsid: sqe.nsid.get(),
        slba: sqe.slba(),
        blocks: sqe.blocks(),
        ranges: sqe.dsm_ranges().into(),
        described: command.data.length(),
        in_capsule: matches!(command.data, Data::InCapsule { .. }).into(),
        ..Metadata::default()
    };
    packet
}

/// A command that waits for its tenant's turn, as command.p4 takes it again.
fn ask_again(core: &Core, index: u32) -> Packet {
    let command = &core.commands[index];
    let mut packet = Packet { length: command.data.length().min(TRANSFER_MAX), ..Packet::default() };
    packet.metadata =
        Metadata { verdict: Verdict::WAIT.0, tenant: command.tenant, paid: command.paid.into(), ..Metadata::default() };
    packet
}

/// Most bytes that a tenant pays for one command: no host is told that more go.
const TRANSFER_MAX: u32 = (crate::command::PAGES_MAX * PAGE) as u32;

/// Does with a command what was decided.
fn act(core: &mut Core, index: u32, decided: &Metadata) {
    let verdict = Verdict(decided.verdict);
    match verdict {
        Verdict::PUNT => match punted(core, index) {
            Ok((length, to_host)) => {
                let command = &mut core.commands[index];
                command.task = Task::Punt;
                command.length = length;
                command.return_length = if to_host { length } else { 0 };
                reserve(core, index);
            }
            Err(status) => {
                core.counters.count(Counter::InvalidField);
                s8_respond::respond(core, index, status.with_dnr(), 0, 0);
            }
        },
        Verdict::DRIVE | Verdict::WAIT => {
            let command = &mut core.commands[index];
            command.task = Task::Drive {
                drive: decided.drive,
                nsid: decided.drive_nsid,
                slba: decided.drive_lba,
                blocks: decided.blocks,
                block_shift: decided.block_bits,
            };
            command.length = decided.bytes;
            command.return_length = if decided.transfer == Transfer::TO_HOST.0 { decided.bytes } else { 0 };
            (command.tenant, command.paid) = (decided.tenant, decided.paid != 0);
            if verdict == Verdict::DRIVE {
                reserve(core, index);
            } else {
                core.counters.count(Counter::WaitedTenant);
                command.state = State::WaitingTenant;
                core.waiting_tenant.push(&mut core.commands, index);
            }
        }
        _ => {
            core.counters.count(match Refusal(decided.refusal) {
                Refusal::OPCODE => Counter::InvalidOpcode,
                Refusal::NAMESPACE => Counter::InvalidNamespace,
                Refusal::RANGE => Counter::LbaRange,
                Refusal::PROTECTED => Counter::Denied,
                _ => Counter::InvalidField,
            });
            let status = Status(decided.status);
            // A path may be there again, or another; the rest is wrong however often it is tried.
            let status = if status == Status::ANA_INACCESSIBLE { status } else { status.with_dnr() };
            s8_respond::respond(core, index, status, 0, 0);
        }
    }
}

/// Bytes of data that pass through the pages of a command for control, and whether they go to the host.
fn punted(core: &Core, index: u32) -> Result<(u32, bool), Status> {
    let command = &core.commands[index];
    let sqe = &command.sqe;
    // The low two bits of the opcode, or of FCTYPE for Fabrics, say which way data goes (NVMe Base 2.0 §3.3.3.1).
    let direction = if sqe.opcode == admin::FABRICS { sqe.nsid.get() as u8 & 3 } else { sqe.opcode & 3 };
    let described = command.data.length();
    let to_host = direction == 2;
    if !to_host && described as usize > CAPSULE_DATA_MAX {
        return Err(Status::INVALID_FIELD);
    }
    Ok((if direction == 0 { 0 } else { described.min(CAPSULE_DATA_MAX as u32) }, to_host))
}

/// Moves a range list from the host's blocks to the drive's, in place; refuses what lies outside the namespace, and what the
/// drive would refuse for its length.
pub fn translate_ranges(core: &mut Core, index: u32, limits: &Limits) -> Result<(), Status> {
    let command = &core.commands[index];
    let qp = &core.qps[command.qp];
    let Some(blocks) = core.reader.blocks(qp.cntlid, command.sqe.nsid.get()) else {
        return Err(Status::INVALID_NAMESPACE.with_dnr());
    };
    let in_capsule = matches!(command.data, Data::InCapsule { .. });
    let mut list = [0; DsmRange::LEN * DsmRange::MAX];
    let list = &mut list[..command.length as usize];
    if in_capsule {
        core.memory.read_slot(index, SQE_BYTES, list);
    } else {
        core.memory.copy_pages(command, list);
    }
    translate(blocks, list, limits)?;
    if in_capsule {
        core.memory.rewrite_slot(index, SQE_BYTES, list.as_bytes());
    } else {
        core.memory.fill_pages(command, list);
    }
    Ok(())
}

/// Moves the ranges of a list to a namespace's blocks, given as the first and how many; refuses the whole list when one lies
/// outside, or is longer than the drive takes.
fn translate((base, count): (u64, u64), list: &mut [u8], limits: &Limits) -> Result<(), Status> {
    let mut blocks = 0u64;
    for bytes in list.chunks_exact_mut(DsmRange::LEN) {
        let range = DsmRange::mut_from_bytes(bytes).expect("a range's bytes");
        let slba = range.slba.get();
        blocks += u64::from(range.nlb.get());
        if range.nlb.get() > limits.dsm_range_blocks || blocks > limits.dsm_blocks {
            return Err(Status::COMMAND_SIZE_LIMIT_EXCEEDED.with_dnr());
        }
        match slba.checked_add(range.nlb.get().into()) {
            Some(end) if end <= count => range.slba = (base + slba).into(),
            _ => return Err(Status::LBA_OUT_OF_RANGE.with_dnr()),
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use gantry::channel::operation::{NAMESPACE_READ_ONLY, NamespaceAdd};
    use gantry_cpu::Cpu;
    use gantry_dma::Region;
    use gantry_wire::ib::Rkey;
    use gantry_wire::nvme::{Cid, Nsid, nvm};
    use zerocopy::FromZeros;

    use super::*;
    use crate::exchange::Liveness;
    use crate::state::Sizes;
    use crate::tables::Writer;

    /// Fifty blocks in the midst of a drive.
    const BLOCKS: (u64, u64) = (100, 50);

    fn namespace(cntlid: u16, nsid: u32, flags: u32) -> NamespaceAdd {
        NamespaceAdd {
            cntlid: cntlid.into(),
            nsid: nsid.into(),
            drive_nsid: 1.into(),
            lba_base: BLOCKS.0.into(),
            lba_count: BLOCKS.1.into(),
            flags: flags.into(),
            ..NamespaceAdd::new_zeroed()
        }
    }

    fn sqe(opcode: u8, slba: u64, blocks: u32) -> Sqe {
        let mut sqe = Sqe::new(opcode, Cid(1), Nsid(1));
        sqe.set_slba(slba);
        sqe.set_blocks(blocks);
        sqe
    }

    #[test]
    fn a_range_list_is_moved_whole_or_refused() {
        let list = |ranges: &[(u64, u32)]| -> alloc::vec::Vec<u8> {
            let of = |(slba, nlb): &(u64, u32)| DsmRange { cattr: 0.into(), nlb: (*nlb).into(), slba: (*slba).into() };
            ranges.iter().flat_map(|range| of(range).as_bytes().to_vec()).collect()
        };
        let none = Limits::default();
        let mut inside = list(&[(0, 50), (49, 1), (50, 0)]);
        assert_eq!(translate(BLOCKS, &mut inside, &none), Ok(()));
        assert_eq!(inside, list(&[(100, 50), (149, 1), (150, 0)]));
        for outside in [(0, 51), (49, 2), (50, 1), (u64::MAX, 1)] {
            let refused = Err(Status::LBA_OUT_OF_RANGE.with_dnr());
            assert_eq!(translate(BLOCKS, &mut list(&[(0, 1), outside]), &none), refused, "{outside:?}");
        }
        let limits = Limits { dsm_range_blocks: 5, dsm_blocks: 8, ..none };
        assert_eq!(translate(BLOCKS, &mut list(&[(0, 5), (9, 3)]), &limits), Ok(()));
        for long in [&[(0, 6)], [(0, 5), (9, 4)].as_slice()] {
            let refused = Err(Status::COMMAND_SIZE_LIMIT_EXCEEDED.with_dnr());
            assert_eq!(translate(BLOCKS, &mut list(long), &limits), refused, "{long:?}");
        }
    }

    /// An lcore with one QP of controller 5, its queue 1, and one command on it; the writer of its tables.
    pub(crate) fn core() -> (Core, u32, Writer) {
        let sizes = Sizes { qps: 1, commands: 4, pages: 4, namespaces: 4, addresses: 1 };
        let region = Region::shared(sizes.dma_bytes()).unwrap();
        let tables = Writer::new(&sizes, 1, 1);
        let mut core = Core::new(Cpu::portable(), (0, tables.reader()), sizes, region, Liveness::new(), 0);
        let mut qp = crate::qp::tests::qp(1);
        qp.cntlid = 5;
        let index = core.commands.take(0, &mut qp.commands, 0).unwrap();
        core.qps.insert(0, qp);
        (core, index, tables)
    }

    fn set(core: &mut Core, tables: &mut Writer, add: &NamespaceAdd) {
        tables.set_namespace(add).unwrap();
        core.reader.enter(tables.publish());
    }

    /// What command.p4 makes of a command whose data is in the host's memory.
    fn decided(core: &mut Core, index: u32, sqe: Sqe) -> Metadata {
        let data = Data::Keyed { address: 0, length: 1 << 20, rkey: Rkey(1), invalidate: false };
        (core.commands[index].sqe, core.commands[index].data) = (sqe, data);
        let mut asked = [ask(core, index)];
        control(core, &mut asked);
        asked[0].metadata
    }

    /// The same, with every drive there, of 512-byte blocks.
    fn decided_with_drive(core: &mut Core, index: u32, sqe: Sqe) -> Metadata {
        struct Blocks;
        impl command::Externs for Blocks {
            fn prefetch(&mut self, _: &Line) {}

            fn block_shift(&mut self, _: usize, _: u16, _: u32) -> u8 {
                9
            }
        }
        decided(core, index, sqe);
        let mut asked = [ask(core, index)];
        let Reader { tables, command_banks: banks, generation, .. } = &mut core.reader;
        let externs = &mut Blocks;
        let mut run = Run { tables: &tables.command, banks, generation: *generation, now_ns: core.now_ns, externs };
        command::control(&mut asked, &mut run);
        asked[0].metadata
    }

    #[test]
    fn a_range_is_moved_to_the_drives_blocks_and_ends_within_the_namespace() {
        let (mut core, index, mut tables) = core();
        set(&mut core, &mut tables, &namespace(5, 1, 0));
        let mut moved = |slba, blocks| {
            let decided = decided_with_drive(&mut core, index, sqe(nvm::READ, slba, blocks));
            match Verdict(decided.verdict) {
                Verdict::DRIVE => Ok((decided.drive_lba, decided.blocks)),
                _ => Err(Status(decided.status)),
            }
        };
        assert_eq!(moved(0, 1), Ok((100, 1)));
        assert_eq!(moved(0, 50), Ok((100, 50)));
        assert_eq!(moved(49, 1), Ok((149, 1)));
        for (slba, blocks) in [(0, 51), (49, 2), (50, 1), (u64::MAX, 1), (u64::MAX, 65_536)] {
            assert_eq!(moved(slba, blocks), Err(Status::LBA_OUT_OF_RANGE), "{blocks} from {slba}");
        }
    }

    #[test]
    fn a_tenants_commands_wait_for_their_turn_and_no_others_do() {
        let (mut core, index, mut tables) = core();
        set(&mut core, &mut tables, &namespace(5, 1, 0));
        let rates = gantry_table::MeterConfig { cir: 1, cburst: 1, pir: 1, pburst: 1 };
        assert!(tables.tables.command.tenant_commands.configure(0, Some(&rates), 0));
        let read = || sqe(nvm::READ, 0, 1);
        assert_eq!(decided_with_drive(&mut core, index, read()).verdict, Verdict::DRIVE.0, "the burst's only one");
        let waits = decided_with_drive(&mut core, index, read());
        assert_eq!((waits.verdict, waits.paid), (Verdict::WAIT.0, 0));
        act(&mut core, index, &waits);
        assert_eq!(core.commands[index].state, State::WaitingTenant);
        retry(&mut core);
        assert_eq!(core.commands[index].state, State::WaitingTenant, "its tenant has nothing left");
        core.now_ns = 2_000_000_000;
        core.commands[index].dead = true;
        let retired = core.commands.free();
        retry(&mut core);
        assert_eq!(core.commands.free(), retired + 1, "a second later it goes on, and its QP had gone");
    }

    #[test]
    fn a_command_is_refused_for_the_first_thing_that_is_wrong_with_it() {
        let (mut core, index, mut tables) = core();
        let refusal = |core: &mut Core, sqe: Sqe| {
            let decided = decided(core, index, sqe);
            assert_eq!(decided.verdict, Verdict::REFUSE.0);
            Status(decided.status)
        };
        set(&mut core, &mut tables, &namespace(6, 1, 0));
        let read = || sqe(nvm::READ, 0, 1);
        assert_eq!(refusal(&mut core, read()), Status::INVALID_NAMESPACE, "another controller's");
        set(&mut core, &mut tables, &namespace(5, 1, NAMESPACE_READ_ONLY));
        // There is no such drive, which is found out last.
        assert_eq!(refusal(&mut core, read()), Status::ANA_INACCESSIBLE);
        for opcode in [nvm::WRITE, nvm::WRITE_ZEROES, nvm::DATASET_MANAGEMENT] {
            assert_eq!(refusal(&mut core, sqe(opcode, 0, 1)), Status::NAMESPACE_WRITE_PROTECTED);
        }
        assert_eq!(refusal(&mut core, sqe(nvm::FLUSH, 0, 1)), Status::ANA_INACCESSIBLE, "a flush writes nothing");
        let everywhere = Sqe { nsid: u32::MAX.into(), ..sqe(nvm::FLUSH, 0, 1) };
        set(&mut core, &mut tables, &namespace(5, u32::MAX, 0));
        assert_eq!(refusal(&mut core, everywhere), Status::INVALID_NAMESPACE);
        assert_eq!(refusal(&mut core, sqe(0x04, 0, 1)), Status::INVALID_OPCODE, "Write Uncorrectable");
        let fused = Sqe { flags: 1, ..read() };
        assert_eq!(refusal(&mut core, fused), Status::INVALID_FIELD);
        // Gone with a transaction of its own.
        tables.remove_namespace(5, 1).unwrap();
        core.reader.enter(tables.publish());
        assert_eq!(refusal(&mut core, read()), Status::INVALID_NAMESPACE);
    }
}
