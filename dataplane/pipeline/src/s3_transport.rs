//! s3, extern: PSN and opcode checks, then the ICRC fused with the copy to where the bytes belong.
//!
//! A packet's plan is made without changing anything; its payload is copied under the CRC; only when the
//! ICRC is right does the plan take effect. A frame that fails it leaves stray bytes in memory that holds
//! nothing yet, and no trace in any state.
//!
//! Leaves as: NoQp (a number that is another peer's), BadIcrc, PsnError, Duplicate, Rnr, Refused, TransportDrop.

use gantry::channel::event::EventKind;
use gantry::packet::{self, Packet};
use gantry_roce::{NoMemory, Outcome, Plan};
use gantry_wire::ib::{Aeth, Deth, NakCode, Opcode, Psn, Qpn, Reth, Rkey, Syndrome, Transport};

use crate::command::{NONE, State};
use crate::counters::Counter;
use crate::icrc;
use crate::memory::SLOT_BYTES;
use crate::port::RxFrame;
use crate::qp::QpContext;
use crate::s2_classify::{self, Classified};
use crate::state::{Core, Sizes};
use crate::ways::Way;

/// Packets whose QPs are fetched while one is taken.
const PREFETCH_AHEAD: usize = 4;

/// Takes the RC packets of a burst.
#[inline(never)]
pub fn run<F: RxFrame>(core: &mut Core, burst: &[F], packets: &[Packet], classified: &Classified) {
    let slots = classified.iter().map(|place| packets[usize::from(*place)].metadata.qp);
    // Some packets ahead: all of a burst at once would wait for each other.
    let mut ahead = slots.clone();
    ahead.by_ref().take(PREFETCH_AHEAD).for_each(|slot| core.prefetch_qp(slot));
    for place in classified {
        ahead.by_ref().take(1).for_each(|slot| core.prefetch_qp(slot));
        let place = usize::from(*place);
        receive(core, burst[place].bytes(), &packets[place]);
    }
}

fn receive(core: &mut Core, frame: &[u8], packet: &Packet) {
    let slot = packet.metadata.qp;
    let Some(qp) = core.qps.at(slot).filter(|qp| !qp.fenced) else {
        core.counters.count(Counter::NoQp);
        return;
    };
    if !is_of(&core.ways[qp.way].way, (packet.metadata.local_ip, packet.metadata.remote_ip)) {
        core.counters.count(Counter::NoQp);
        return;
    }
    let transport = &headers(packet, frame);
    let length = u32::from(packet.metadata.payload_bytes);
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

    let (start, icrc) = s2_classify::extent(packet, frame);
    let end = start + length as usize;
    let payload = &frame[start..end];
    let crc = icrc::begin(&core.cpu, frame, s2_classify::l3(packet), start);
    let crc = match place {
        Some(Place::Slot { index, at }) => core.memory.write_slot(&core.cpu, index, at, payload, crc),
        Some(Place::Pages { index, at }) => core.memory.write_pages(&core.cpu, &core.commands[index], at, payload, crc),
        None => crc.update(&core.cpu, payload),
    };
    let crc = crc.update(&core.cpu, &frame[end..icrc]).finish(&core.cpu);
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
            let qpn = qp.qpn();
            core.notify(EventKind::QpEstablished, 0, qpn);
        }
    }
    match transport.opcode.is_request() {
        true => core.posted(slot),
        false => core.settle(slot),
    }
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
fn is_of(way: &Way, addresses: (u128, u128)) -> bool {
    addresses == (way.local_ip, way.remote_ip)
}

/// The transport headers as the transport takes them.
#[inline]
fn headers(packet: &Packet, frame: &[u8]) -> Transport {
    let bth = packet.bth(frame);
    let opcode = Opcode::of(bth.opcode()).expect("packet.p4 lets no other pass");
    let has = |header| packet.is_valid(header);
    let (reth, aeth, deth) = (packet.reth(frame), packet.aeth(frame), packet.deth(frame));
    let syndrome = aeth.reserved() << 7 | aeth.kind() << 5 | aeth.value();
    Transport {
        solicited: bth.solicited() != 0,
        ack_request: bth.ack_request() != 0,
        pkey: bth.pkey(),
        pad: bth.pad(),
        fecn: bth.fecn() != 0,
        becn: bth.becn() != 0,
        reth: has(packet::VALID_RETH).then(|| Reth {
            virtual_address: reth.address(),
            rkey: Rkey(reth.rkey()),
            dma_length: reth.length(),
        }),
        aeth: has(packet::VALID_AETH).then(|| Aeth { syndrome: Syndrome::of(syndrome), msn: aeth.msn() }),
        deth: has(packet::VALID_DETH).then(|| Deth { qkey: deth.qkey(), source_qpn: Qpn::new(deth.source_qp()) }),
        immediate: has(packet::VALID_IMMEDIATE).then(|| packet.immediate(frame).data()),
        invalidate: has(packet::VALID_IETH).then(|| Rkey(packet.ieth(frame).rkey())),
        ..Transport::new(opcode, Qpn::new(bth.dest_qp()), Psn::new(bth.psn()))
    }
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
