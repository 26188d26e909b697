//! Connections that exist already: what is remembered of them, and how they are taken over.

use super::{CONNECT_TIMEOUT_NS, Connection, Promises, State};
use crate::Control;
use crate::blob::QpBlob;
use crate::ns::{NEVER_NS, SECOND_NS};
use gantry::channel::state::{QP_ESTABLISHED, QpState};

/// Longest wait or rest that is believed.
const WAIT_MAX_NS: u64 = 60 * SECOND_NS;

/// Where an adopted QP stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// In use by a controller.
    Bound,
    /// Its Connect has not succeeded yet.
    Unbound,
    /// It is being destroyed. Whether its host has heard of that, nobody knows.
    Closing,
}

impl Connection {
    /// What the QP's blob says of it.
    pub(super) fn blob(&self, comm_id: u32) -> QpBlob {
        QpBlob {
            comm_id: comm_id.into(),
            remote_comm_id: self.remote_comm_id.into(),
            transaction_id: self.transaction_id.into(),
            remote_guid: self.remote_qp.0.into(),
            local_guid: self.promises.local_guid.into(),
            path: self.path,
            mad_qpn: self.mad_qpn.into(),
            wait_ns: self.wait_ns.into(),
            rest_ns: self.rest_ns.into(),
            tries: self.tries,
            target_ack_delay: self.promises.target_ack_delay,
            rnr_retry_count: self.promises.rnr_retry_count,
            end_to_end_flow_control: self.promises.end_to_end_flow_control,
        }
    }
}

impl Control {
    /// Takes over the connection of a QP. False when its ids are taken: then it has none.
    pub(crate) fn adopt_connection(&mut self, state: &QpState, blob: &QpBlob, standing: Standing) -> bool {
        let comm_id = blob.comm_id.get();
        let (qpn, create) = (state.qpn.get(), &state.create);
        let peer = (blob.path.remote_ip, blob.remote_comm_id.get());
        if self.connections.by_id.contains_key(&comm_id) || self.connections.by_peer.contains_key(&peer) {
            return false;
        }
        let mut connection = Connection {
            state: State::Established,
            remote_comm_id: blob.remote_comm_id.get(),
            path: blob.path,
            mad_qpn: blob.mad_qpn.get(),
            remote_qp: (blob.remote_guid.get(), create.remote_qpn.get()),
            qpn: Some(qpn),
            qid: create.qid.get(),
            depth: create.depth.get(),
            transaction_id: blob.transaction_id.get(),
            promises: Promises {
                local_guid: blob.local_guid.get(),
                target_ack_delay: blob.target_ack_delay,
                rnr_retry_count: blob.rnr_retry_count,
                end_to_end_flow_control: blob.end_to_end_flow_control,
            },
            reads: create.reads,
            deadline_ns: NEVER_NS,
            wait_ns: blob.wait_ns.get().min(WAIT_MAX_NS),
            tries: blob.tries,
            rest_ns: blob.rest_ns.get().min(WAIT_MAX_NS),
            last: None,
        };
        match standing {
            Standing::Unbound if state.flags.get() & QP_ESTABLISHED == 0 => {
                connection.state = State::Replied;
                connection.deadline_ns = self.now_ns.saturating_add(connection.wait_ns);
                connection.last = Some(Box::new(connection.reply(comm_id, qpn, state.receive_psn.get())));
            }
            Standing::Unbound => connection.deadline_ns = self.now_ns + CONNECT_TIMEOUT_NS,
            Standing::Bound | Standing::Closing => {}
        }
        self.connections.insert(comm_id, connection);
        if standing == Standing::Closing {
            // Perhaps for the second time; a host that knows answers or does not care.
            self.release(comm_id);
        }
        true
    }
}
