//! s4, extern: a capsule becomes a typed command, its SGL checked (NVMe-oF 1.1 §2.1, NVMe RDMA Transport 1.0 §3.3).
//!
//! Leaves as: an NVMe status, or a command for s5. Keep Alive is answered here, because it must be while control is away.

use gantry::channel::event::QpFailure;
use gantry_wire::ib::Rkey;
use gantry_wire::nvme::sqe::Psdt;
use gantry_wire::nvme::{Sgl, Sqe, Status, admin};
use zerocopy::IntoBytes;

use crate::command::{Data, List};
use crate::counters::Counter;
use crate::memory::SQE_BYTES;
use crate::qp::UNBOUND;
use crate::state::Core;
use crate::{s5_command, s8_respond};

/// Takes every capsule that has arrived whole.
#[inline(never)]
pub fn run(core: &mut Core) {
    let mut arrived = core::mem::replace(&mut core.arrived, List::EMPTY);
    let mut burst = s5_command::Burst::new();
    while let Some(index) = arrived.pop(&core.commands) {
        if capsule(core, index) {
            burst.push(index);
        }
        if burst.is_full() {
            s5_command::run(core, &mut burst);
        }
    }
    s5_command::run(core, &mut burst);
}

/// Whether the capsule is a command for s5.
fn capsule(core: &mut Core, index: u32) -> bool {
    core.counters.count(Counter::Capsules);
    let command = &mut core.commands[index];
    let slot = command.qp;
    if (command.capsule_length as usize) < SQE_BYTES {
        // Without a whole SQE there is no CID to answer: the connection's rules are broken.
        core.counters.count(Counter::CapsuleShort);
        core.finish(index);
        core.fail_qp(slot, QpFailure::Protocol);
        return false;
    }
    let mut sqe = Sqe::default();
    core.memory.read_slot(index, 0, sqe.as_mut_bytes());
    command.sqe = sqe;
    let in_capsule = command.capsule_length - SQE_BYTES as u32;
    let data = data(&sqe, in_capsule);

    let qp = &mut core.qps[slot];
    qp.advance();
    if qp.cntlid != UNBOUND {
        core.liveness.touch(qp.cntlid, core.now_ns);
    }
    let keep_alive = qp.cntlid != UNBOUND && qp.qid == 0 && sqe.opcode == admin::KEEP_ALIVE;
    match data {
        Err(status) => {
            core.counters.count(Counter::CapsuleSgl);
            s8_respond::respond(core, index, status, 0, 0);
            false
        }
        Ok(_) if keep_alive => {
            core.counters.count(Counter::KeepAlives);
            s8_respond::respond(core, index, Status::SUCCESS, 0, 0);
            false
        }
        Ok(data) => {
            core.commands[index].data = data;
            true
        }
    }
}

/// Where the command's data is: keyed in the host's memory, in the capsule, or nowhere.
fn data(sqe: &Sqe, in_capsule: u32) -> Result<Data, Status> {
    // Fabrics capsules use SGLs only (NVMe-oF 1.1 §2.1).
    if sqe.psdt() != Psdt::Sgl {
        return Err(Status::INVALID_FIELD.with_dnr());
    }
    match sqe.sgl() {
        Some(Sgl::Keyed { length: 0, .. }) => Ok(Data::None),
        Some(Sgl::Keyed { address, length, key, invalidate }) => {
            Ok(Data::Keyed { address, length, rkey: Rkey(key), invalidate })
        }
        // SGLS says that in-capsule data begins right behind the SQE (ICDOFF 0).
        Some(Sgl::InCapsule { offset, .. }) if offset != 0 => Err(Status::SGL_OFFSET_INVALID.with_dnr()),
        Some(Sgl::InCapsule { length, .. }) if length > in_capsule => Err(Status::SGL_LENGTH_INVALID.with_dnr()),
        Some(Sgl::InCapsule { length: 0, .. }) => Ok(Data::None),
        Some(Sgl::InCapsule { length, .. }) => Ok(Data::InCapsule { length }),
        _ => Err(Status::SGL_TYPE_INVALID.with_dnr()),
    }
}
