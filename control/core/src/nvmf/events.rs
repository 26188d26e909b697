//! Asynchronous Event Request, held until there is something to say, and Abort, which can call one off. NVMe Base 2.0
//! §5.1, §5.2.

use super::{Reply, Request};
use crate::Control;
use crate::transaction::Then;
use gantry_wire::nvme::feature::{AsyncEvent, aec};
use gantry_wire::nvme::{Cid, Status};
use std::collections::{BTreeSet, VecDeque};

/// AERL, zero-based: requests that a controller holds.
pub(super) const AERL: u8 = 3;

#[derive(Clone, Copy, Debug)]
struct Held {
    qpn: u32,
    punt: u32,
    cid: Cid,
}

/// One controller's requests and events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    held: VecDeque<Held>,
    pending: VecDeque<AsyncEvent>,
    /// Told to the host and not yet cleared by reading their log page: masked meanwhile.
    masked: BTreeSet<AsyncEvent>,
    /// NSIDs of the Changed Namespace List.
    pub(super) changed: BTreeSet<u32>,
}

impl Events {
    pub(super) fn held(&self) -> usize {
        self.held.len()
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

    /// Something happened that the controller's host may want to know.
    pub(crate) fn raise(&mut self, cntlid: u16, event: AsyncEvent) {
        let Some(controller) = self.controllers.find_mut(cntlid) else { return };
        let wanted = controller.features.async_event_configuration();
        let enabled = match event {
            AsyncEvent::NAMESPACE_CHANGED => wanted & aec::NAMESPACE_ATTRIBUTE != 0,
            AsyncEvent::DISCOVERY_CHANGED => wanted & aec::DISCOVERY_CHANGE != 0,
            _ => true,
        };
        let events = &mut controller.events;
        if enabled && !events.masked.contains(&event) && !events.pending.contains(&event) {
            events.pending.push_back(event);
            self.deliver(cntlid);
        }
    }

    /// A namespace came: the log page says which, the event says that.
    pub(crate) fn raise_namespace_changed(&mut self, cntlid: u16, nsid: u32) {
        if let Some(controller) = self.controllers.find_mut(cntlid) {
            controller.events.changed.insert(nsid);
        }
        self.raise(cntlid, AsyncEvent::NAMESPACE_CHANGED);
    }

    /// Answers held requests with what is pending.
    fn deliver(&mut self, cntlid: u16) {
        while let Some(controller) = self.controllers.find_mut(cntlid) {
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

    /// A reset ends every held request.
    pub(super) fn abort_events(&mut self, cntlid: u16) {
        let Some(controller) = self.controllers.find_mut(cntlid) else { return };
        let events = std::mem::take(&mut controller.events);
        for held in events.held {
            let reply = Status::ABORTED_SQ_DELETION.into();
            self.answer_then(held.qpn, held.punt, reply, Then::Answered { qpn: held.qpn });
        }
    }

    /// Aborts a held event request; any other command runs on, which dword 0 says (§5.1).
    pub(super) fn abort(&mut self, cntlid: u16, request: &Request<'_>) -> Reply {
        let dword = request.sqe.cdw10.get();
        let (sqid, cid) = (dword as u16, Cid((dword >> 16) as u16));
        let controller = self.controllers.find_mut(cntlid).expect("a bound queue has its controller");
        let held = &mut controller.events.held;
        let found = if sqid == 0 { held.iter().position(|held| held.cid == cid) } else { None };
        let Some(aborted) = found.and_then(|at| held.remove(at)) else { return Reply::dw0(1) };
        let reply = Reply { status: Status::ABORT_REQUESTED, ..Reply::default() };
        self.answer_then(aborted.qpn, aborted.punt, reply, Then::Answered { qpn: aborted.qpn });
        Reply::dw0(0)
    }
}
