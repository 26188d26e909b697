//! Asynchronous Event Request, held until there is something to say, and Abort, which can call one off. NVMe Base 2.0
//! §5.1, §5.2.

use super::{Reply, Request, answer};
use crate::Control;
use crate::blob::CHANGED_MAX;
use crate::transaction::{Operation, Then};
use gantry::channel::{Kind, operation};
use gantry_wire::nvme::feature::{AsyncEvent, aec};
use gantry_wire::nvme::{Cid, Status};
use std::collections::{BTreeSet, VecDeque};
use zerocopy::byteorder::little_endian::{U16, U32};

/// AERL, zero-based: requests that a controller holds.
pub(super) const AERL: u8 = 3;

#[derive(Clone, Copy, Debug)]
struct Held {
    qpn: u32,
    punt: u32,
    cid: Cid,
}

/// One controller's requests and events.
#[derive(Debug)]
pub(crate) struct Events {
    held: VecDeque<Held>,
    pub(super) pending: VecDeque<AsyncEvent>,
    /// Told to the host and not yet cleared by reading their log page: masked meanwhile.
    pub(super) masked: BTreeSet<AsyncEvent>,
    /// NSIDs of the Changed Namespace List; none when there are too many to name.
    pub(super) changed: Option<BTreeSet<u32>>,
    /// NSIDs of namespaces that the host was told, or found, to be inaccessible.
    pub(super) inaccessible: BTreeSet<u32>,
}

impl Default for Events {
    fn default() -> Self {
        Self::adopted(&[], &[], Some(&[]), &[])
    }
}

impl Events {
    /// As an earlier control left them; held requests come back as capsules.
    pub(super) fn adopted(
        pending: &[AsyncEvent],
        masked: &[AsyncEvent],
        changed: Option<&[u32]>,
        inaccessible: &[u32],
    ) -> Self {
        Self {
            held: VecDeque::new(),
            pending: pending.iter().copied().collect(),
            masked: masked.iter().copied().collect(),
            changed: changed.map(|changed| changed.iter().copied().collect()),
            inaccessible: inaccessible.iter().copied().collect(),
        }
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    fn namespace_changed(&mut self, nsid: u32) {
        if let Some(changed) = &mut self.changed {
            changed.insert(nsid);
        }
        self.changed.take_if(|changed| changed.len() > CHANGED_MAX);
    }
}

impl Control {
    /// Holds the request, or answers it at once: nothing is the answer while it is held.
    pub(super) fn async_event_request(&mut self, cntlid: u16, request: &Request<'_>) -> Option<Reply> {
        let controller = self.controllers.find_mut(cntlid).expect("a bound queue has its controller");
        let events = &mut controller.events;
        if events.held.len() > usize::from(AERL) {
            return Some(Status::ASYNC_EVENT_LIMIT_EXCEEDED.into());
        }
        events.held.push_back(Held { qpn: request.qpn, punt: request.punt, cid: request.sqe.cid() });
        self.deliver(cntlid);
        None
    }

    /// Something happened that the controller's host may want to know. [`deliver`](Self::deliver) tells it, once the
    /// data plane remembers that it happened.
    pub(super) fn raise(&mut self, cntlid: u16, event: AsyncEvent) {
        let Some(controller) = self.controllers.find_mut(cntlid) else { return };
        let wanted = controller.features.async_event_configuration();
        let enabled = match event {
            AsyncEvent::NAMESPACE_CHANGED => wanted & aec::NAMESPACE_ATTRIBUTE != 0,
            AsyncEvent::ANA_CHANGED => wanted & aec::ANA_CHANGE != 0,
            AsyncEvent::DISCOVERY_CHANGED => wanted & aec::DISCOVERY_CHANGE != 0,
            _ => true,
        };
        let events = &mut controller.events;
        if enabled && !events.masked.contains(&event) && !events.pending.contains(&event) {
            events.pending.push_back(event);
        }
    }

    /// A namespace came or went: the log page says which, the event says that.
    pub(crate) fn raise_namespace_changed(&mut self, cntlid: u16, nsid: u32) {
        if let Some(controller) = self.controllers.find_mut(cntlid) {
            controller.events.namespace_changed(nsid);
        }
        self.raise(cntlid, AsyncEvent::NAMESPACE_CHANGED);
    }

    /// Answers held requests with what is pending.
    pub(crate) fn deliver(&mut self, cntlid: u16) {
        while let Some(controller) = self.controllers.find_mut(cntlid).filter(|controller| !controller.ending) {
            let events = &mut controller.events;
            let (Some(event), Some(held)) = (events.pending.front().copied(), events.held.front().copied()) else {
                return;
            };
            events.pending.pop_front();
            events.held.pop_front();
            events.masked.insert(event);
            self.answer_then(held.qpn, held.punt, Reply::dw0(event.emit()), Then::Answered { qpn: held.qpn });
        }
    }

    /// The host read the log page that an event named: it is armed again (§5.2).
    pub(super) fn clear_event(&mut self, cntlid: u16, log: u8) {
        if let Some(controller) = self.controllers.find_mut(cntlid) {
            controller.events.masked.retain(|event| event.log != log);
        }
    }

    /// A reset ends every held request: their answers, which travel with the reset's.
    pub(super) fn abort_events(&mut self, cntlid: u16) -> Vec<Operation> {
        let Some(controller) = self.controllers.find_mut(cntlid) else { return Vec::new() };
        let inaccessible = controller.events.inaccessible.clone();
        // What can be reached is as before: the host reads it anew.
        let held = std::mem::replace(&mut controller.events, Events { inaccessible, ..Events::default() }).held;
        held.iter().map(|held| answer(held.qpn, held.punt, &Status::ABORTED_SQ_DELETION.into())).collect()
    }

    /// Aborts a held event request, in the transaction of its own answer. An I/O command is for the data plane to abort; it has
    /// not ended when this is answered, which dword 0 says (§5.1).
    pub(super) fn abort(&mut self, cntlid: u16, request: &Request<'_>) -> Reply {
        let dword = request.sqe.cdw10.get();
        let (sqid, cid) = (dword as u16, Cid((dword >> 16) as u16));
        let controller = self.controllers.find_mut(cntlid).expect("a bound queue has its controller");
        if sqid != 0 {
            if !self.session.has_state() {
                // Contract 1.0 has no such operation.
                return Reply::dw0(1);
            }
            let of_queue = |qp: &&crate::Qp| qp.controller == Some(cntlid) && qp.qid == sqid && !qp.ending;
            let Some((&qpn, _)) = self.qps.iter().find(|(_, qp)| of_queue(qp)) else { return Reply::dw0(1) };
            let body = operation::Abort { qpn: U32::new(qpn), cid: U16::new(cid.0), reserved: U16::ZERO };
            return Reply { effects: vec![Operation::new(Kind::Abort, &body, &[])], ..Reply::dw0(1) };
        }
        let held = &mut controller.events.held;
        let found = held.iter().position(|held| held.cid == cid);
        let Some(aborted) = found.and_then(|at| held.remove(at)) else { return Reply::dw0(1) };
        let reply = Reply { status: Status::ABORT_REQUESTED, ..Reply::default() };
        Reply { effects: vec![answer(aborted.qpn, aborted.punt, &reply)], ..Reply::dw0(0) }
    }
}
