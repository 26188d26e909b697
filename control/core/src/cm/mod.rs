//! Connection management, the passive side: one connection a QP, from REQ to the end of TIMEWAIT.
//!
//! InfiniBand Architecture vol. 1 chapter 12. MADs come as punts and leave as injects along the path they came.
//!
//! ```text
//!   REQ -> Creating --committed, REP--> Replied --RTU or first packet--> Established
//!                                                                        |          |
//!                                                    DREQ from the host, DREP     our DREQ
//!                                                                        |          |
//!                                                                     TimeWait <- Releasing
//! ```

mod adopt;
mod release;
mod request;

pub(crate) use adopt::Standing;
pub(crate) use release::Farewell;

use crate::ns::{NEVER_NS, SECOND_NS};
use crate::plan::address;
use crate::{Control, Malformed, Notice};
use gantry::channel::slow_path::{Inject, Punt};
use gantry::channel::{self, Kind, Path};
use gantry_wire::cm::{self, Body, Message};
use std::collections::{BTreeMap, VecDeque};
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U16, U32};

/// The P_Key of the default partition, full member.
const PKEY: u16 = 0xffff;

/// How long a connection may live without a successful Connect.
const CONNECT_TIMEOUT_NS: u64 = 30 * SECOND_NS;

/// Connections in TIMEWAIT that are kept; older ones make room.
const TIME_WAIT_MAX: usize = 1024;

/// Connections when the data plane does not say how many QPs it can have.
const CONNECTIONS_MAX: usize = 65536;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its QP is being created.
    Creating,
    /// REP sent, RTU awaited.
    Replied,
    /// In use.
    Established,
    /// Our DREQ sent, DREP awaited.
    Releasing,
    /// Over; its id rests and duplicates of DREQ are still answered.
    TimeWait,
}

/// What a REP says of our end, besides its QP. The same REP answers every repetition of its REQ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promises {
    /// GUID of our adapter.
    local_guid: u64,
    target_ack_delay: u8,
    rnr_retry_count: u8,
    end_to_end_flow_control: u8,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) state: State,
    pub(crate) remote_comm_id: u32,
    /// Path of the MADs, and QPN they came from.
    pub(crate) path: Path,
    pub(crate) mad_qpn: u32,
    /// GUID of the host's adapter and its QPN: the connection's name in the fabric.
    pub(crate) remote_qp: (u64, u32),
    pub(crate) qpn: Option<u32>,
    pub(crate) qid: u16,
    pub(crate) depth: u16,
    /// REQ's transaction id, which REP and REJ repeat.
    transaction_id: u64,
    /// What the REP promises.
    promises: Promises,
    /// READs the host answers at once.
    reads: u8,
    /// When to act, and how long to wait then.
    deadline_ns: u64,
    wait_ns: u64,
    /// How often the last message may be sent again.
    tries: u8,
    /// How long the connection rests in TIMEWAIT.
    rest_ns: u64,
    /// The last message that awaits an answer.
    last: Option<Box<[u8; cm::MAD_LEN]>>,
}

/// All connections, by our communication id.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    by_id: BTreeMap<u32, Connection>,
    /// Host's address and communication id → ours.
    by_peer: BTreeMap<([u8; 16], u32), u32>,
    /// Live connections only: GUID and QPN of the host's end → ours.
    by_remote_qp: BTreeMap<(u64, u32), u32>,
    resting: VecDeque<u32>,
}

impl Connections {
    pub(crate) fn find(&self, id: u32) -> Option<&Connection> {
        self.by_id.get(&id)
    }

    pub(crate) fn find_mut(&mut self, id: u32) -> Option<&mut Connection> {
        self.by_id.get_mut(&id)
    }

    fn insert(&mut self, id: u32, connection: Connection) {
        self.by_peer.insert((connection.path.remote_ip, connection.remote_comm_id), id);
        self.by_remote_qp.insert(connection.remote_qp, id);
        self.by_id.insert(id, connection);
    }

    /// Forgets a connection at once.
    pub(crate) fn remove(&mut self, id: u32) {
        let Some(connection) = self.by_id.remove(&id) else { return };
        self.by_peer.remove(&(connection.path.remote_ip, connection.remote_comm_id));
        self.by_remote_qp.remove_if_ours(connection.remote_qp, id);
        self.resting.retain(|resting| *resting != id);
    }

    /// Lets a connection rest, its ids taken until TIMEWAIT ends.
    fn rest(&mut self, id: u32, now_ns: u64) {
        let Some(connection) = self.by_id.get_mut(&id) else { return };
        if connection.state == State::TimeWait {
            return;
        }
        connection.state = State::TimeWait;
        connection.last = None;
        connection.deadline_ns = now_ns + connection.rest_ns;
        let remote_qp = connection.remote_qp;
        self.by_remote_qp.remove_if_ours(remote_qp, id);
        self.resting.push_back(id);
        if self.resting.len() > TIME_WAIT_MAX {
            let oldest = self.resting[0];
            self.remove(oldest);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn deadline_ns(&self) -> u64 {
        self.by_id.values().map(|connection| connection.deadline_ns).min().unwrap_or(NEVER_NS)
    }

    /// Connections that are not resting.
    fn live(&self) -> usize {
        self.by_id.len() - self.resting.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}

trait RemoveIfOurs {
    /// A later connection may have taken the place: only the entry of `id` goes.
    fn remove_if_ours(&mut self, key: (u64, u32), id: u32);
}

impl RemoveIfOurs for BTreeMap<(u64, u32), u32> {
    fn remove_if_ours(&mut self, key: (u64, u32), id: u32) {
        if self.get(&key) == Some(&id) {
            self.remove(&key);
        }
    }
}

impl Control {
    /// A datagram for QP1.
    pub(crate) fn handle_punt(&mut self, punt: &Punt, mad: &[u8]) {
        if punt.qkey.get() != cm::QKEY {
            return self.malformed_mad(format!("Q_Key {:#010x}", punt.qkey.get()));
        }
        let message = match Message::parse(mad) {
            Ok(message) => message,
            Err(malformed) => return self.malformed_mad(malformed.to_string()),
        };
        self.counters.mads += 1;
        let transaction_id = message.transaction_id();
        match message.body {
            Body::Req(req) => self.handle_req(punt, transaction_id, req),
            Body::Rtu(rtu) => {
                if let Some(id) = self.connection_of(punt, rtu.remote_comm_id.get(), rtu.local_comm_id.get()) {
                    self.establish(id);
                }
            }
            Body::Rej(rej) => self.handle_rej(punt, rej),
            Body::Dreq(dreq) => self.handle_dreq(punt, transaction_id, dreq),
            Body::Drep(drep) => self.handle_drep(punt, drep),
            // The host asks for patience; REP and DREQ are repeated all the same, and repeats are harmless.
            Body::Mra(_) => {}
            // Control never sends a REQ, so nobody has a reason for a REP.
            Body::Rep(_) => self.malformed_mad("a REP to a REQ that was never sent".into()),
        }
    }

    /// The connection that a message names: our id, the host's id and the host's address must agree.
    fn connection_of(&self, punt: &Punt, ours: u32, theirs: u32) -> Option<u32> {
        let connection = self.connections.find(ours)?;
        let same = connection.remote_comm_id == theirs && connection.path.remote_ip == punt.path.remote_ip;
        same.then_some(ours)
    }

    fn malformed_mad(&mut self, text: String) {
        self.counters.malformed_mads += 1;
        self.notices.push_noisy(self.now_ns, Notice::Malformed { what: Malformed::Mad, text });
    }

    /// RTU, or what is as good as one.
    pub(crate) fn establish(&mut self, id: u32) {
        let Some(connection) = self.connections.find_mut(id) else { return };
        if connection.state == State::Replied {
            connection.state = State::Established;
            connection.last = None;
            connection.deadline_ns = self.now_ns + CONNECT_TIMEOUT_NS;
        }
    }

    pub(crate) fn qp_established(&mut self, qpn: u32) {
        if let Some(id) = self.qps.get(&qpn).map(|qp| qp.comm_id) {
            self.establish(id);
        }
    }

    /// A Connect succeeded on it: it may live as long as its controller.
    pub(crate) fn keep_connection(&mut self, id: u32) {
        if let Some(connection) = self.connections.find_mut(id)
            && connection.state == State::Established
        {
            connection.deadline_ns = NEVER_NS;
        }
    }

    fn inject(&mut self, path: Path, dest_qpn: u32, mad: &[u8; cm::MAD_LEN]) {
        let inject = Inject {
            path,
            dest_qpn: U32::new(dest_qpn),
            qkey: U32::new(cm::QKEY),
            pkey: U16::new(PKEY),
            reserved: U16::ZERO,
        };
        if self.session.is_open() {
            self.session.send(channel::emit(Kind::Inject, 0, inject.as_bytes(), mad));
        }
    }

    /// Connections whose time has come.
    pub(crate) fn expire_connections(&mut self) {
        let now_ns = self.now_ns;
        let due = self.connections.by_id.iter().filter(|(_, connection)| connection.deadline_ns <= now_ns);
        for id in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.expire(id);
        }
    }

    fn expire(&mut self, id: u32) {
        let Some(connection) = self.connections.find_mut(id) else { return };
        match connection.state {
            State::Creating => connection.deadline_ns = NEVER_NS,
            State::Replied | State::Releasing if connection.tries > 0 => {
                connection.tries -= 1;
                connection.deadline_ns = self.now_ns + connection.wait_ns;
                let (path, qpn) = (connection.path, connection.mad_qpn);
                let last = *connection.last.clone().expect("what awaits an answer can be repeated");
                self.inject(path, qpn, &last);
            }
            State::Replied => self.give_up_reply(id),
            State::Established => {
                let address = address(connection.path.remote_ip);
                self.notices.push_noisy(self.now_ns, Notice::SetupTimedOut { address });
                self.end_connection(id);
            }
            State::Releasing => self.connections.rest(id, self.now_ns),
            State::TimeWait => self.connections.remove(id),
        }
    }
}
