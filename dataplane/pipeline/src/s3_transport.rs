//! s3, extern: PSN and opcode checks, then the ICRC fused with the copy to where the bytes belong.
//!
//! A packet's plan is made without changing anything; its payload is copied under the CRC; only when the
//! ICRC is right does the plan take effect. A frame that fails it leaves stray bytes in memory that holds
//! nothing yet, and no trace in any state.
//!
//! Leaves as: NoQp (a number that is another peer's), BadIcrc, PsnError, Duplicate, Rnr, Refused, TransportDrop.

use gantry::channel::event::EventKind;
use gantry_roce::{NoMemory, Outcome, Plan};
use gantry_wire::ib::NakCode;

use crate::command::{NONE, State};
use crate::counters::Counter;
use crate::icrc;
use crate::memory::SLOT_BYTES;
use crate::port::RxFrame;
use crate::qp::QpContext;
use crate::s2_classify::Classified;
use crate::state::{Core, Sizes};

/// Takes the RC packets of a burst.
#[inline(never)]
pub fn run<F: RxFrame>(core: &mut Core, burst: &[F], classified: &[Classified]) {
    for item in classified {
        receive(core, burst[item.frame].bytes(), item);
    }
}

fn receive(core: &mut Core, frame: &[u8], item: &Classified) {
    let slot = item.qp;
    let Some(qp) = core.qps.at(slot).filter(|qp| !qp.fenced) else {
        core.counters.count(Counter::NoQp);
        return;
    };
    if !is_of(qp, item.addresses) {
        core.counters.count(Counter::NoQp);
        return;
    }
    let transport = &item.transport;
    let length = u32::from(item.payload_len);
    let plan = qp.transport.plan(transport, length, &core.works, &NoMemory);

    // Where the payload belongs: a receive slot, a command's pages, or nowhere.
    let mut taken = NONE;
    let mut too_long = false;
    let mut not_ready = false;
    let place = match plan {
        Plan::Receive { offset, first, .. } => {
            if first {
                let keep = keep(&core.sizes, qp);
                match core.commands.take(slot, &mut qp.commands, keep) {
                    Some(index) => taken = index,
                    None => not_ready = true,
                }
            }
            let index = if first { taken } else { qp.receiving };
            too_long = offset as usize + length as usize > SLOT_BYTES;
            (!too_long && !not_ready).then_some(Place::Slot { index, at: offset as usize })
        }
        Plan::ReadResponse { cookie, offset, .. } => Some(Place::Pages { index: cookie, at: offset as usize }),
        _ => None,
    };

    let (start, end, icrc) = (item.payload, item.payload + length as usize, item.icrc);
    let payload = &frame[start..end];
    let crc = icrc::headers(&core.cpu, frame, item.l3, start);
    let crc = match place {
        Some(Place::Slot { index, at }) => core.memory.write_slot(&core.cpu, index, at, payload, crc),
        Some(Place::Pages { index, at }) => core.memory.write_pages(&core.cpu, &core.commands[index], at, payload, crc),
        None => core.cpu.crc32(crc, payload),
    };
    let crc = core.cpu.crc32(crc, &frame[end..icrc]);
    if frame[icrc..icrc + icrc::ICRC_BYTES] != crc.to_le_bytes() {
        core.counters.count(Counter::BadIcrc);
        if taken != NONE {
            core.finish(taken);
        }
        return;
    }

    core.counters.count(Counter::TransportPackets);
    core.counters.add(Counter::TransportPayload, length.into());
    let now_ns = core.now_ns;
    let qp = &mut core.qps[slot];
    if not_ready {
        core.counters.count(Counter::Rnr);
        qp.transport.refuse_rnr(now_ns, transport);
    } else if too_long {
        core.counters.count(Counter::Refused);
        qp.transport.refuse(NakCode::InvalidRequest);
        if taken != NONE {
            core.finish(taken);
        }
    } else {
        match plan {
            Plan::OutOfSequence => core.counters.count(Counter::PsnError),
            Plan::Duplicate => core.counters.count(Counter::Duplicate),
            Plan::Refuse(_) => core.counters.count(Counter::Refused),
            _ => {}
        }
        if taken != NONE {
            // A first packet restarts the message: whatever was half received before it is gone.
            debug_assert_eq!(qp.receiving, NONE);
            qp.receiving = taken;
        }
        let outcome = qp.transport.commit(now_ns, transport, length, &plan, &mut core.works);
        match outcome {
            Outcome::Message { length, .. } => message(core, slot, length),
            Outcome::Drop(_) => core.counters.count(Counter::TransportDrop),
            _ => {}
        }
        let qp = &mut core.qps[slot];
        if !qp.established && !matches!(outcome, Outcome::Drop(_)) {
            qp.established = true;
            let qpn = qp.qpn;
            core.notify(EventKind::QpEstablished, 0, qpn);
        }
    }
    core.settle(slot);
}

/// Slots that a QP leaves free: those kept for admin queues, and the more commands of it wait for drives, the more of those kept
/// for QPs that have none such. A drive that does not answer makes those wait who ask much of it, not everybody.
fn keep(sizes: &Sizes, qp: &QpContext) -> u32 {
    match (qp.is_admin(), qp.waiting) {
        (true, _) => 0,
        (false, 0) => sizes.admin_commands(),
        (false, waiting) => sizes.admin_commands() + (waiting * WAITING_WEIGHT).min(sizes.open_commands()),
    }
}

/// Free slots that a QP must leave for each command of it that waits.
const WAITING_WEIGHT: u32 = 4;

/// Whether a packet travels between the two addresses that the QP connects, the card's and the host's. Who only knows a QPN and
/// a PSN does no harm to a connection of others (IBA 1.5 §9.6.1, with addresses in place of LIDs).
fn is_of(qp: &QpContext, addresses: (u128, u128)) -> bool {
    addresses == (qp.way.local_ip, qp.way.remote_ip)
}

enum Place {
    Slot { index: u32, at: usize },
    Pages { index: u32, at: usize },
}

/// A whole capsule lies in its slot.
fn message(core: &mut Core, slot: u32, length: u32) {
    core.counters.count(Counter::Messages);
    let qp = &mut core.qps[slot];
    let index = core::mem::replace(&mut qp.receiving, NONE);
    let command = &mut core.commands[index];
    debug_assert_eq!(command.state, State::Receiving);
    command.capsule_length = length;
    core.arrived.push(&mut core.commands, index);
}
