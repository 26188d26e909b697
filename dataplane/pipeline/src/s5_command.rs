//! s5, match-action: (controller, NSID, opcode) decides what becomes of a command, before any buffer or fetch;
//! then every buffer that it needs is reserved, or it waits holding none.
//!
//! Leaves as: Ready (to a drive), Fetch, Punt, or refused: InvalidNamespace, LbaRange, InvalidOpcode,
//! InvalidField, Denied.

use gantry::channel::CAPSULE_DATA_MAX;
use gantry_roce::{Work, WorkKind};
use gantry_wire::nvme::{DsmRange, Sqe, Status, admin, nvm};
use zerocopy::{FromBytes, IntoBytes};

use crate::command::{Data, State, Task};
use crate::counters::Counter;
use crate::memory::{PAGE, SQE_BYTES};
use crate::state::Core;
use crate::tables::{NamespaceEntry, NamespaceKey};
use crate::{s6_submit, s8_respond};

/// Decides about one command and sends it on its way.
pub fn run(core: &mut Core, index: u32) {
    match decide(core, index) {
        Ok(Decision { task, length, to_host }) => {
            let command = &mut core.commands[index];
            command.task = task;
            command.length = length;
            command.return_length = if to_host { length } else { 0 };
            reserve(core, index);
        }
        Err((status, counter)) => {
            core.counters.count(counter);
            s8_respond::respond(core, index, status.with_dnr(), 0, 0);
        }
    }
}

/// Tries again those that wait for pages or for fetch budget, oldest first.
#[inline(never)]
pub fn retry(core: &mut Core) {
    retry_fetches(core);
    while let Some(index) = core.waiting_pages.front() {
        let command = &core.commands[index];
        if !command.dead && !command.aborted && !has_pages(core, index) {
            return;
        }
        let mut list = core.waiting_pages;
        list.pop(&core.commands);
        core.waiting_pages = list;
        if core.commands[index].dead {
            core.finish(index);
        } else if !core.end_aborted(index) {
            begin(core, index);
        }
    }
}

struct Decision {
    task: Task,
    /// Bytes of data that pass through the command's pages.
    length: u32,
    /// They go to the host; otherwise they come from it.
    to_host: bool,
}

type Refusal = (Status, Counter);

fn decide(core: &Core, index: u32) -> Result<Decision, Refusal> {
    let command = &core.commands[index];
    let qp = &core.qps[command.qp];
    let sqe = &command.sqe;
    if qp.is_admin() || sqe.opcode == admin::FABRICS {
        return decide_punt(sqe, &command.data);
    }
    if sqe.flags & Sqe::FLAGS_FUSE != 0 {
        return Err((Status::INVALID_FIELD, Counter::InvalidField));
    }
    let Some(access) = Access::of(sqe.opcode) else {
        return Err((Status::INVALID_OPCODE, Counter::InvalidOpcode));
    };
    let nsid = sqe.nsid.get();
    if nsid == u32::MAX && sqe.opcode == nvm::FLUSH {
        // VWC says that a broadcast flush is not taken (NVMe Base 2.0 §7.1).
        return Err((Status::INVALID_NAMESPACE, Counter::InvalidNamespace));
    }
    let Some(entry) = core.namespaces.lookup(&NamespaceKey { cntlid: qp.cntlid, nsid }) else {
        return Err((Status::INVALID_NAMESPACE, Counter::InvalidNamespace));
    };
    if entry.read_only && access.writes {
        return Err((Status::NAMESPACE_WRITE_PROTECTED, Counter::Denied));
    }
    let drive = core.drives[usize::from(entry.drive)].as_ref().filter(|drive| !drive.failed);
    let Some(block_shift) = drive.and_then(|drive| drive.block_shift(entry.drive_nsid)) else {
        return Err((Status::INTERNAL_ERROR, Counter::InvalidNamespace));
    };
    let (slba, blocks) = if access.range { range(sqe, &entry)? } else { (0, 0) };
    let length = match sqe.opcode {
        nvm::READ | nvm::WRITE | nvm::COMPARE => u64::from(blocks) << block_shift,
        nvm::DATASET_MANAGEMENT => (u64::from(sqe.dsm_ranges()) * DsmRange::LEN as u64).min(PAGE as u64),
        _ => 0,
    };
    let described = u64::from(command.data.length());
    if length > (crate::command::PAGES_MAX * PAGE) as u64 {
        return Err((Status::INVALID_FIELD, Counter::InvalidField));
    }
    // A host may describe more than it needs (a range list is padded to its page), never less.
    if described < length {
        return Err((Status::SGL_LENGTH_INVALID, Counter::InvalidField));
    }
    if access.to_host && matches!(command.data, Data::InCapsule { .. }) {
        return Err((Status::SGL_TYPE_INVALID, Counter::InvalidField));
    }
    let task = Task::Drive { drive: entry.drive, nsid: entry.drive_nsid, slba, blocks, block_shift };
    Ok(Decision { task, length: length as u32, to_host: access.to_host })
}

fn decide_punt(sqe: &Sqe, data: &Data) -> Result<Decision, Refusal> {
    // The low two bits of the opcode, or of FCTYPE for Fabrics, say which way data goes (NVMe Base 2.0 §3.3.3.1).
    let direction = if sqe.opcode == admin::FABRICS { sqe.nsid.get() as u8 & 3 } else { sqe.opcode & 3 };
    let described = data.length();
    let to_host = direction == 2;
    if !to_host && described as usize > CAPSULE_DATA_MAX {
        return Err((Status::INVALID_FIELD, Counter::InvalidField));
    }
    let length = if direction == 0 { 0 } else { described.min(CAPSULE_DATA_MAX as u32) };
    Ok(Decision { task: Task::Punt, length, to_host })
}

/// What an NVM command does.
struct Access {
    writes: bool,
    range: bool,
    to_host: bool,
}

impl Access {
    fn of(opcode: u8) -> Option<Self> {
        let (writes, range, to_host) = match opcode {
            nvm::READ => (false, true, true),
            nvm::COMPARE => (false, true, false),
            nvm::WRITE | nvm::WRITE_ZEROES => (true, true, false),
            nvm::FLUSH => (false, false, false),
            nvm::DATASET_MANAGEMENT => (true, false, false),
            _ => return None,
        };
        Some(Self { writes, range, to_host })
    }
}

/// The blocks of a command on its drive.
fn range(sqe: &Sqe, entry: &NamespaceEntry) -> Result<(u64, u32), Refusal> {
    let (slba, blocks) = (sqe.slba(), sqe.blocks());
    match slba.checked_add(blocks.into()) {
        Some(end) if end <= entry.lba_count => Ok((entry.lba_base + slba, blocks)),
        _ => Err((Status::LBA_OUT_OF_RANGE, Counter::LbaRange)),
    }
}

/// In-capsule data needs no pages: it is where a drive can read it.
fn pages_needed(core: &Core, index: u32) -> u32 {
    let command = &core.commands[index];
    if matches!(command.data, Data::InCapsule { .. }) && command.return_length == 0 { 0 } else { command.length }
}

fn has_pages(core: &Core, index: u32) -> bool {
    let keep = if core.commands[index].task == Task::Punt { 0 } else { core.sizes.admin_pages() };
    let wanted = (pages_needed(core, index) as usize).div_ceil(PAGE);
    wanted == 0 || core.memory.free_pages() >= wanted + keep
}

/// Takes the command's pages, or puts it at the end of those that wait. A punted command passes them.
fn reserve(core: &mut Core, index: u32) {
    let first_come = core.waiting_pages.is_empty() || core.commands[index].task == Task::Punt;
    if (first_come || pages_needed(core, index) == 0) && has_pages(core, index) {
        begin(core, index);
    } else {
        core.counters.count(Counter::WaitedBuffers);
        core.commands[index].state = State::WaitingPages;
        core.waiting_pages.push(&mut core.commands, index);
    }
}

/// Reserves, then fetches, submits or punts.
fn begin(core: &mut Core, index: u32) {
    let needed = pages_needed(core, index);
    let reserved = core.memory.reserve(&mut core.commands[index], needed);
    assert!(reserved, "pages were there a moment ago");
    let command = &mut core.commands[index];
    match (command.data, command.return_length) {
        (Data::Keyed { .. }, 0) if command.length > 0 => {
            core.counters.count(Counter::CommandFetch);
            if core.waiting_fetch.is_empty() && within_budget(core, index) {
                fetch(core, index);
            } else {
                core.commands[index].state = State::WaitingFetch;
                core.waiting_fetch.push(&mut core.commands, index);
            }
        }
        _ if command.task == Task::Punt => core.punt(index),
        _ => {
            core.counters.count(Counter::CommandReady);
            s6_submit::enqueue(core, index);
        }
    }
}

/// Bytes of READs in flight on one port: what a 100 Gb/s wire carries in 80 µs. Responses beyond it would only stand
/// in the switch's queue, in front of everybody's.
const FETCH_BUDGET: u64 = 1 << 20;

/// Whether the port has budget for the command's READ. One is always let through.
fn within_budget(core: &Core, index: u32) -> bool {
    let command = &core.commands[index];
    let fetching = core.fetching[core.qps[command.qp].port];
    fetching == 0 || fetching + u64::from(command.length) <= FETCH_BUDGET
}

/// Posts the READ of a command's data.
fn fetch(core: &mut Core, index: u32) {
    let command = &mut core.commands[index];
    let Data::Keyed { address, rkey, .. } = command.data else { unreachable!("only keyed data is fetched") };
    command.state = State::Fetching;
    let (length, slot) = (command.length, command.qp);
    let qp = &mut core.qps[slot];
    core.fetching[qp.port] += u64::from(length);
    core.counters.add(Counter::FetchBytes, length.into());
    let work = Work { cookie: index, kind: WorkKind::Read { address, rkey }, length };
    qp.transport.post(&mut core.works, work).expect("two works for every command");
    core.settle(slot);
}

/// Lets READs go that waited for budget, oldest first.
fn retry_fetches(core: &mut Core) {
    while let Some(index) = core.waiting_fetch.front() {
        let (dead, aborted) = (core.commands[index].dead, core.commands[index].aborted);
        if !dead && !aborted && !within_budget(core, index) {
            return;
        }
        let mut list = core.waiting_fetch;
        list.pop(&core.commands);
        core.waiting_fetch = list;
        if dead {
            core.finish(index);
        } else if !core.end_aborted(index) {
            fetch(core, index);
        }
    }
}

/// Moves a range list from the host's blocks to the drive's, in place; refuses what lies outside the namespace.
pub fn translate_ranges(core: &mut Core, index: u32) -> Result<(), Status> {
    let command = &core.commands[index];
    let qp = &core.qps[command.qp];
    let key = NamespaceKey { cntlid: qp.cntlid, nsid: command.sqe.nsid.get() };
    let Some(entry) = core.namespaces.lookup(&key) else {
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
    translate(&entry, list)?;
    if in_capsule {
        core.memory.rewrite_slot(index, SQE_BYTES, list.as_bytes());
    } else {
        core.memory.fill_pages(command, list);
    }
    Ok(())
}

/// Moves the ranges of a list; refuses the whole list when one lies outside.
fn translate(entry: &NamespaceEntry, list: &mut [u8]) -> Result<(), Status> {
    for bytes in list.chunks_exact_mut(DsmRange::LEN) {
        let range = DsmRange::mut_from_bytes(bytes).expect("a range's bytes");
        let slba = range.slba.get();
        match slba.checked_add(range.nlb.get().into()) {
            Some(end) if end <= entry.lba_count => range.slba = (entry.lba_base + slba).into(),
            _ => return Err(Status::LBA_OUT_OF_RANGE.with_dnr()),
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use gantry_cpu::Cpu;
    use gantry_dma::Region;
    use gantry_roce::{Qp, QpConfig};
    use gantry_wire::ib::{Psn, Qpn};
    use gantry_wire::nvme::{Cid, Nsid};
    use gantry_wire::packet::RoceHeaders;

    use super::*;
    use crate::exchange::Liveness;
    use crate::qp::QpContext;
    use crate::state::{Place, Sizes};

    /// Fifty blocks in the midst of a drive.
    const ENTRY: NamespaceEntry =
        NamespaceEntry { drive: 0, drive_nsid: 1, lba_base: 100, lba_count: 50, read_only: false };

    fn sqe(opcode: u8, slba: u64, blocks: u32) -> Sqe {
        let mut sqe = Sqe::new(opcode, Cid(1), Nsid(1));
        sqe.set_slba(slba);
        sqe.set_blocks(blocks);
        sqe
    }

    #[test]
    fn a_range_is_moved_to_the_drives_blocks_and_ends_within_the_namespace() {
        let moved = |slba, blocks| range(&sqe(nvm::READ, slba, blocks), &ENTRY).map_err(|(status, _)| status);
        assert_eq!(moved(0, 1), Ok((100, 1)));
        assert_eq!(moved(0, 50), Ok((100, 50)));
        assert_eq!(moved(49, 1), Ok((149, 1)));
        for (slba, blocks) in [(0, 51), (49, 2), (50, 1), (u64::MAX, 1), (u64::MAX, 65_536)] {
            assert_eq!(moved(slba, blocks), Err(Status::LBA_OUT_OF_RANGE), "{blocks} from {slba}");
        }
    }

    #[test]
    fn a_range_list_is_moved_whole_or_refused() {
        let list = |ranges: &[(u64, u32)]| -> alloc::vec::Vec<u8> {
            let of = |(slba, nlb): &(u64, u32)| DsmRange { cattr: 0.into(), nlb: (*nlb).into(), slba: (*slba).into() };
            ranges.iter().flat_map(|range| of(range).as_bytes().to_vec()).collect()
        };
        let mut inside = list(&[(0, 50), (49, 1), (50, 0)]);
        assert_eq!(translate(&ENTRY, &mut inside), Ok(()));
        assert_eq!(inside, list(&[(100, 50), (149, 1), (150, 0)]));
        for outside in [(0, 51), (49, 2), (50, 1), (u64::MAX, 1)] {
            let refused = Err(Status::LBA_OUT_OF_RANGE.with_dnr());
            assert_eq!(translate(&ENTRY, &mut list(&[(0, 1), outside])), refused, "{outside:?}");
        }
    }

    /// An lcore with one QP of controller 5, its queue 1, and one command on it.
    pub(crate) fn core() -> (Core, u32) {
        let sizes = Sizes { qps: 1, commands: 4, pages: 4, namespaces: 4, addresses: 1 };
        let region = Region::shared(sizes.dma_bytes()).unwrap();
        let place = Place { lcore: 0, lcores: 1 };
        let mut core = Core::new(Cpu::portable(), place, sizes, region, Liveness::new(), 0);
        let config = QpConfig {
            qpn: Qpn::new(7),
            remote_qpn: Qpn::new(8),
            receive_psn: Psn::new(0),
            send_psn: Psn::new(0),
            mtu: 1024,
            pkey: 0xffff,
            ack_timeout_ns: 0,
            retry_count: 7,
            rnr_retry_count: 7,
            rnr_timer: 12,
            reads_max: 1,
            responder_reads_max: 0,
        };
        let headers = RoceHeaders {
            source_mac: [0; 6],
            dest_mac: [0; 6],
            vlan: 0,
            source_ip: [0; 16],
            dest_ip: [0; 16],
            traffic_class: 0,
            hop_limit: 64,
            ip_id: 0,
            udp_source: 0,
        };
        let mut qp = QpContext::new(Qp::new(&config), 7, 0, headers, 1, 32);
        qp.cntlid = 5;
        let index = core.commands.take(0, &mut qp.commands, 0).unwrap();
        core.qps.insert(0, qp);
        (core, index)
    }

    #[test]
    fn a_command_is_refused_for_the_first_thing_that_is_wrong_with_it() {
        let (mut core, index) = core();
        let refusal = |core: &mut Core, sqe: Sqe| {
            core.commands[index].sqe = sqe;
            decide(core, index).err().expect("it is refused").0
        };
        let key = |cntlid, nsid| NamespaceKey { cntlid, nsid };
        core.namespaces.insert(key(6, 1), ENTRY).unwrap();
        let read = || sqe(nvm::READ, 0, 1);
        assert_eq!(refusal(&mut core, read()), Status::INVALID_NAMESPACE, "another controller's");
        core.namespaces.insert(key(5, 1), NamespaceEntry { read_only: true, ..ENTRY }).unwrap();
        // There is no such drive, which is found out last.
        assert_eq!(refusal(&mut core, read()), Status::INTERNAL_ERROR);
        for opcode in [nvm::WRITE, nvm::WRITE_ZEROES, nvm::DATASET_MANAGEMENT] {
            assert_eq!(refusal(&mut core, sqe(opcode, 0, 1)), Status::NAMESPACE_WRITE_PROTECTED);
        }
        assert_eq!(refusal(&mut core, sqe(nvm::FLUSH, 0, 1)), Status::INTERNAL_ERROR, "a flush writes nothing");
        let everywhere = Sqe { nsid: u32::MAX.into(), ..sqe(nvm::FLUSH, 0, 1) };
        core.namespaces.insert(key(5, u32::MAX), ENTRY).unwrap();
        assert_eq!(refusal(&mut core, everywhere), Status::INVALID_NAMESPACE);
        assert_eq!(refusal(&mut core, sqe(0x04, 0, 1)), Status::INVALID_OPCODE, "Write Uncorrectable");
        let fused = Sqe { flags: 1, ..read() };
        assert_eq!(refusal(&mut core, fused), Status::INVALID_FIELD);
    }
}
