//! The end of QPs and controllers: what is destroyed together, and what waits for QPs to drain.
//!
//! A controller that ends keeps its CNTLID, and holds back a new Connect of the same host to the same subsystem, until
//! every QP of it is retired.

use crate::session::Session;
use crate::transaction::{Operation, Then};
use crate::{Control, EndReason, Notice, Qp};
use gantry::channel::session::Reason;
use std::net::{IpAddr, Ipv6Addr};

impl Qp {
    /// A QP that nobody uses; its holder fills in the rest.
    pub(crate) fn nobody(comm_id: u32) -> Self {
        Self {
            comm_id,
            qid: 0,
            depth: 0,
            address: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            controller: None,
            connecting: false,
            ending: false,
        }
    }
}

impl Control {
    /// A QP's host is gone. An I/O queue ends alone (a host that disconnects ends them one by one); an admin queue
    /// takes its controller with it.
    pub(crate) fn qp_lost(&mut self, qpn: u32, why: EndReason) {
        let Some(qp) = self.qps.get(&qpn).filter(|qp| !qp.ending) else { return };
        match qp.controller {
            Some(cntlid) if qp.qid == 0 || why != EndReason::HostLeft => self.end_controller(cntlid, why),
            _ => self.destroy_qps(&[qpn]),
        }
    }

    /// The data plane has fenced a QP.
    pub(crate) fn qp_failed(&mut self, qpn: u32, reason: u16) {
        self.end_qp(qpn, EndReason::QpFailed(reason));
    }

    /// The data plane takes no answer for a QP: its host would wait for ever.
    pub(crate) fn qp_unusable(&mut self, qpn: u32) {
        self.end_qp(qpn, EndReason::Refused);
    }

    fn end_qp(&mut self, qpn: u32, why: EndReason) {
        let Some(qp) = self.qps.get(&qpn) else { return self.destroy_stray(qpn) };
        if qp.ending {
            return;
        }
        match qp.controller {
            Some(cntlid) => self.end_controller(cntlid, why),
            None => self.end_connection(qp.comm_id),
        }
    }

    pub(crate) fn keep_alive_expired(&mut self, cntlid: u16) {
        if !self.controllers.exists(cntlid) {
            // Left from another life, like its QPs, which the data plane has fenced and reports one by one.
            let remove = vec![Operation::controller_remove(cntlid)];
            return self.transactions.submit(&mut self.session, remove, Then::Ended);
        }
        self.end_controller(cntlid, EndReason::KeepAliveExpired);
    }

    /// Ends a controller: every QP of it is released towards the host and destroyed, then it goes.
    pub(crate) fn end_controller(&mut self, cntlid: u16, why: EndReason) {
        if !self.controllers.begin_ending(cntlid) {
            return;
        }
        self.notices.push(Notice::Ended { cntlid, why });
        let qpns = self.qps_of(cntlid);
        let mut operations = self.mark_ending(&qpns);
        operations.push(Operation::controller_remove(cntlid));
        self.transactions.submit(&mut self.session, operations, Then::Ended);
        self.settle(cntlid);
    }

    /// Destroys QPs and lets the hosts know.
    pub(crate) fn destroy_qps(&mut self, qpns: &[u32]) {
        let operations = self.mark_ending(qpns);
        if !operations.is_empty() {
            self.transactions.submit(&mut self.session, operations, Then::Ended);
        }
    }

    /// The operations that destroy those of `qpns` that are not ending yet; their hosts get a DREQ.
    pub(crate) fn mark_ending(&mut self, qpns: &[u32]) -> Vec<Operation> {
        let mut operations = Vec::new();
        for &qpn in qpns {
            let Some(qp) = self.qps.get_mut(&qpn).filter(|qp| !qp.ending) else { continue };
            qp.ending = true;
            let comm_id = qp.comm_id;
            self.held.retain(|held| held.qpn != qpn);
            self.release(comm_id);
            operations.push(Operation::qp_destroy(qpn));
        }
        operations
    }

    fn qps_of(&self, cntlid: u16) -> Vec<u32> {
        self.qps.iter().filter(|(_, qp)| qp.controller == Some(cntlid)).map(|(qpn, _)| *qpn).collect()
    }

    /// I/O QPs of a controller, ending ones included.
    pub(crate) fn io_qps_of(&self, cntlid: u16) -> Vec<u32> {
        let ours = self.qps.iter().filter(|(_, qp)| qp.controller == Some(cntlid) && qp.qid != 0);
        ours.map(|(qpn, _)| *qpn).collect()
    }

    /// A destroyed QP is drained.
    pub(crate) fn qp_retired(&mut self, qpn: u32) {
        let Some(qp) = self.qps.remove(&qpn) else { return };
        if !qp.ending {
            // The data plane let go of a QP that control did not end: its connection has nothing left to carry.
            self.release(qp.comm_id);
        }
        self.held.retain(|held| held.qpn != qpn);
        if let Some(cntlid) = qp.controller {
            if !qp.ending && qp.qid == 0 {
                self.end_controller(cntlid, EndReason::Refused);
            }
            self.settle(cntlid);
        }
        self.retry_held_connects();
    }

    /// What waited for a controller's QPs to drain: the end of its reset or shutdown, or of itself.
    pub(crate) fn settle(&mut self, cntlid: u16) {
        let io_drained = self.io_qps_of(cntlid).is_empty();
        let drained = self.qps_of(cntlid).is_empty();
        self.controllers.settle(cntlid, io_drained, drained);
    }

    /// A QP that control does not know shows itself: it is left from another life and goes.
    pub(crate) fn destroy_stray(&mut self, qpn: u32) {
        let room = self.session.limits.map_or(0, |limits| limits.qps);
        if self.qps.len() < room {
            self.qps.insert(qpn, Qp::nobody(0));
            self.destroy_qps(&[qpn]);
        }
    }

    /// The data plane will not end something: what it does not know is gone already, the rest is tried one by one.
    pub(crate) fn end_refused(&mut self, mut operations: Vec<Operation>, reason: u16, text: &str) {
        if operations.len() > 1 {
            let session: &mut Session = &mut self.session;
            for operation in operations {
                self.transactions.submit(session, vec![operation], Then::Ended);
            }
            return;
        }
        let Some(operation) = operations.pop() else { return };
        if reason != Reason::NotFound as u16 {
            let what = format!("{:?}", operation.kind);
            self.notices.push(Notice::Refused { what, text: text.to_owned() });
        } else if let Some(qpn) = operation.qpn {
            self.qp_retired(qpn);
        }
    }
}
