//! s8, extern: responses become RDMA WRITEs and SENDs; timers; and QPs take turns at the wire.
//!
//! Leaves as: packets for s9; RetryExceeded.

use gantry_roce::{Work, WorkKind};
use gantry_wire::nvme::{Cqe, Status};

use crate::command::{Data, State};
use crate::counters::Counter;
use crate::lcore::PortSlot;
use crate::port::Port;
use crate::s9_transmit;
use crate::state::Core;

/// Packets that one QP may send before the next has its turn.
const QUANTUM: u32 = 16;

/// Packets that all QPs together may send in one poll: the wire must not keep the receive side waiting.
const BUDGET: u32 = 128;

/// Timers that fire in one poll: hosts that die together take their QPs' timers with them. The others are as late as the poll is long.
const TIMERS: usize = 32;

/// Answers a command: its data, when it returns any, then its completion.
pub fn respond(core: &mut Core, index: u32, status: Status, dw0: u32, dw1: u32) {
    core.counters.count(Counter::Responses);
    core.discharge(index);
    let command = &mut core.commands[index];
    let slot = command.qp;
    let qp = &mut core.qps[slot];
    let cqe = Cqe {
        dw0: dw0.into(),
        dw1: dw1.into(),
        sqhd: qp.sqhd.into(),
        sqid: 0.into(),
        cid: command.sqe.cid,
        status: (status.0 << 1).into(),
    };
    // Word by word, for a copy would wait for its parts.
    let (words, _) = command.cqe.as_chunks_mut();
    words.iter_mut().zip(cqe.words()).for_each(|(word, value)| *word = value.to_ne_bytes());
    command.state = State::Responding;
    let mut invalidate = None;
    if let Data::Keyed { address, rkey, invalidate: key, .. } = command.data {
        // Error completions invalidate the key too.
        invalidate = key.then_some(rkey);
        if status.is_success() && command.return_length > 0 {
            let kind = WorkKind::Write { address, rkey, immediate: None };
            let work = Work { cookie: index, kind, length: command.return_length };
            qp.transport.post(&mut core.works, work).expect("two works for every command");
        }
    }
    let kind = WorkKind::Send { invalidate, immediate: None };
    let work = Work { cookie: index, kind, length: Cqe::LEN as u32 };
    qp.transport.post(&mut core.works, work).expect("two works for every command");
    core.posted(slot);
}

/// Fires timers that are due.
#[inline(never)]
pub fn timers(core: &mut Core) {
    let now_ns = core.now_ns;
    for _ in 0..TIMERS {
        let Some(slot) = core.wheel.pop_due(now_ns) else { return };
        let qp = &mut core.qps[slot];
        if qp.transport.deadline_ns() <= now_ns {
            qp.transport.on_deadline(now_ns, &mut core.works);
        }
        core.settle(slot);
    }
}

/// Lets the QPs in the line send, each its quantum, as far as ports and budget reach.
#[inline(never)]
pub fn run<P: Port>(core: &mut Core, ports: &mut [PortSlot<P>]) {
    let Some(last) = core.qps.last_active() else { return };
    let mut budget = BUDGET;
    while let Some(slot) = core.qps.next_active() {
        if let Some(next) = core.qps.first_active() {
            core.qps.prefetch(&core.cpu, next);
        }
        let port = &mut ports[core.ways[core.qps[slot].way].port];
        let mut quantum = QUANTUM.min(budget);
        let mut sent = false;
        let mut blocked = false;
        while quantum > 0 {
            // The frame first: a packet that the transport has given must leave.
            if !port.make_room(core) {
                blocked = true;
                break;
            }
            let Some(frame) = port.frame() else {
                core.counters.count(Counter::TxPoolEmpty);
                blocked = true;
                break;
            };
            let now_ns = core.now_ns;
            // Read where it was written: taken out it would be copied.
            let transmit = core.qps[slot].transport.poll_transmit(now_ns, &mut core.works);
            let Some(transmit) = &transmit else {
                // Kept rather than asked for before: the transport would look for its packet twice.
                port.keep(frame);
                break;
            };
            s9_transmit::emit(core, port, slot, transmit, frame);
            sent = true;
            quantum -= 1;
            budget -= 1;
        }
        if sent {
            core.schedule(slot);
        }
        if blocked {
            core.qps.activate(slot);
        }
        if budget == 0 || slot == last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use gantry_wire::ib::{Opcode, Rkey};

    use super::*;
    use crate::s5_command::tests::core;

    /// The opcode and the key of each packet that answers a command with this data and status.
    fn answers(data: Data, return_length: u32, status: Status) -> alloc::vec::Vec<(Opcode, Option<Rkey>)> {
        let (mut core, index, _) = core();
        let command = &mut core.commands[index];
        (command.data, command.return_length) = (data, return_length);
        respond(&mut core, index, status, 0, 0);
        let Core { qps, works, .. } = &mut core;
        let sent = core::iter::from_fn(|| qps[0].transport.poll_transmit(0, works));
        sent.map(|transmit| (transmit.transport.opcode, transmit.transport.invalidate)).collect()
    }

    #[test]
    fn a_key_is_invalidated_when_asked_for_and_after_errors_too() {
        let rkey = Rkey(0x1234);
        let keyed = |invalidate| Data::Keyed { address: 0, length: 512, rkey, invalidate };
        let (kept, gone) = ((Opcode::SendOnly, None), (Opcode::SendOnlyInvalidate, Some(rkey)));
        let data = (Opcode::WriteOnly, None);
        assert_eq!(answers(Data::None, 0, Status::SUCCESS), [kept]);
        assert_eq!(answers(keyed(false), 512, Status::SUCCESS), [data, kept]);
        assert_eq!(answers(keyed(true), 512, Status::SUCCESS), [data, gone]);
        assert_eq!(answers(keyed(true), 0, Status::SUCCESS), [gone]);
        assert_eq!(answers(keyed(true), 512, Status::INTERNAL_ERROR), [gone], "and no data");
        assert_eq!(answers(keyed(false), 512, Status::INTERNAL_ERROR), [kept]);
    }
}
