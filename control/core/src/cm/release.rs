//! The end of connections: DREQ, DREP, REJ. InfiniBand Architecture vol. 1 §12.6.7, §12.6.10, §12.6.11.

use super::{RemoveIfOurs, State};
use crate::ns::SECOND_NS;
use crate::{Control, EndReason};
use gantry::channel::Path;
use gantry::channel::slow_path::Punt;
use gantry_wire::cm::{self, Drep, Dreq, Rej};

/// How often our DREQ is sent again, and how long it waits.
const DREQ_TRIES: u8 = 3;
const DREQ_WAIT_NS: u64 = SECOND_NS;

/// A DREP that waits until everything asked of the data plane before it is done.
#[derive(Debug)]
pub(crate) struct Farewell {
    after: u64,
    path: Path,
    qpn: u32,
    mad: Box<[u8; cm::MAD_LEN]>,
}

impl Control {
    pub(crate) fn handle_dreq(&mut self, punt: &Punt, transaction_id: u64, dreq: &Dreq) {
        let (ours, theirs) = (dreq.remote_comm_id.get(), dreq.local_comm_id.get());
        let id = self.connection_of(punt, ours, theirs);
        if let Some(connection) = id.and_then(|id| self.connections.find(id))
            && connection.qpn != Some(dreq.remote_qpn())
        {
            return self
                .malformed_mad(format!("a DREQ for QP {:#x}, which is not the connection's", dreq.remote_qpn()));
        }
        // A DREQ that fits nothing is answered too: the host waits for a DREP, the connection is long gone.
        let mut drep = Drep::new();
        drep.local_comm_id = ours.into();
        drep.remote_comm_id = theirs.into();
        if let Some(id) = id {
            self.lost(id, EndReason::HostLeft);
        }
        self.farewells.push_back(Farewell {
            after: self.transactions.submitted(),
            path: punt.path,
            qpn: punt.source_qpn.get(),
            mad: Box::new(cm::emit(transaction_id, &drep)),
        });
        self.say_farewell();
    }

    /// Sends the DREPs whose connection's end is committed: a host that has its DREP does not ask again, so control must
    /// not die in between.
    pub(crate) fn say_farewell(&mut self) {
        let ended = self.transactions.ended();
        while self.farewells.front().is_some_and(|farewell| farewell.after <= ended) {
            let farewell = self.farewells.pop_front().expect("it is there");
            self.inject(farewell.path, farewell.qpn, &farewell.mad);
        }
    }

    pub(crate) fn handle_drep(&mut self, punt: &Punt, drep: &Drep) {
        let (ours, theirs) = (drep.remote_comm_id.get(), drep.local_comm_id.get());
        let Some(id) = self.connection_of(punt, ours, theirs) else { return };
        if self.connections.find(id).is_some_and(|connection| connection.state == State::Releasing) {
            self.connections.rest(id, self.now_ns);
        }
    }

    pub(crate) fn handle_rej(&mut self, punt: &Punt, rej: &Rej) {
        let (ours, theirs) = (rej.remote_comm_id.get(), rej.local_comm_id.get());
        // A host that gave up on its REQ names no communication id of ours (§12.6.7): its own one is enough.
        let by_peer = || self.connections.by_peer.get(&(punt.path.remote_ip, theirs)).copied();
        let Some(id) = self.connection_of(punt, ours, theirs).or_else(by_peer) else { return };
        let state = self.connections.find(id).map(|connection| connection.state);
        match state {
            Some(State::Creating) => self.connections.remove(id),
            Some(State::Replied | State::Established) => self.lost(id, EndReason::HostLeft),
            Some(State::Releasing) => self.connections.rest(id, self.now_ns),
            Some(State::TimeWait) | None => {}
        }
    }

    /// The host's end is gone: rest without a DREQ, and let go of what hung on it.
    pub(crate) fn lost(&mut self, id: u32, why: EndReason) {
        let Some(connection) = self.connections.find(id) else { return };
        let qpn = connection.qpn;
        self.connections.rest(id, self.now_ns);
        if let Some(qpn) = qpn {
            self.qp_lost(qpn, why);
        }
    }

    /// The host's end was reused: what hung on this one is over.
    pub(crate) fn end_stale(&mut self, id: u32) {
        match self.connections.find(id).and_then(|connection| connection.qpn) {
            Some(qpn) => {
                self.release(id);
                self.qp_lost(qpn, EndReason::Stale);
            }
            None => self.connections.remove(id),
        }
    }

    /// Ends a connection that belongs to no controller yet.
    pub(crate) fn end_connection(&mut self, id: u32) {
        let qpn = self.connections.find(id).and_then(|connection| connection.qpn);
        self.release(id);
        if let Some(qpn) = qpn {
            self.destroy_qps(&[qpn]);
        }
    }

    /// Sends our DREQ, unless the host knows already.
    pub(crate) fn release(&mut self, id: u32) {
        let Some(connection) = self.connections.find_mut(id) else { return };
        if !matches!(connection.state, State::Replied | State::Established) {
            return;
        }
        let mut dreq = Dreq::new();
        dreq.local_comm_id = id.into();
        dreq.remote_comm_id = connection.remote_comm_id.into();
        dreq.set_remote_qpn(connection.remote_qp.1);
        let mad = cm::emit(self.random.u64(), &dreq);
        connection.state = State::Releasing;
        connection.last = Some(Box::new(mad));
        connection.tries = DREQ_TRIES;
        connection.wait_ns = DREQ_WAIT_NS;
        connection.deadline_ns = self.now_ns + DREQ_WAIT_NS;
        let (path, qpn, remote_qp) = (connection.path, connection.mad_qpn, connection.remote_qp);
        // The host's end is free for another connection from now on.
        self.connections.by_remote_qp.remove_if_ours(remote_qp, id);
        self.inject(path, qpn, &mad);
    }
}
