//! Control's core, sans-IO: connection management, NVMe-oF controllers, desired state.
//!
//! [`Control`] takes the channel's frames and the time, and returns frames, notices and the next deadline. It has no
//! clock, socket, thread or randomness of its own; gantryd and the simulator are shells around it.
//!
//! ```text
//!            connected, handle_frame, on_deadline
//!                           |
//!   session ----> adopt (what runs already), plan (ports, drives, namespaces)
//!     |  punt --> cm   (REQ, REP, RTU, DREQ, DREP, REJ)
//!     |  capsule > nvmf (Connect, properties, Identify, logs, features)
//!     |  event -> teardown, plan
//!     |  table -> tables (what P4Runtime's clients write, ask and are told)
//!                           |
//!   transaction: Begin, operations, Prepare, Commit, one at a time ----> poll_frame
//! ```

#![forbid(unsafe_code)]

mod adopt;
mod blob;
mod cm;
mod configuration;
mod drives;
mod hash;
mod notice;
mod ns;
mod nvmf;
mod plan;
mod random;
mod session;
mod status;
mod tables;
mod teardown;
mod transaction;

pub use configuration::{Configuration, Drive, Hosts, Namespace, Port, Subsystem, parse_uuid};
pub use notice::{EndReason, Malformed, Notice};
pub use session::FrameRefused;
pub use status::{
    ControllerStatus, Counters, DriveState, DriveStatus, PortStatus, QueueStatus, Status, SubsystemStatus,
};
pub use tables::{TableEvent, TableOperation, TablesClosed};

use notice::Notices;
use nvmf::{Controllers, HeldConnect};
use plan::Plan;
use random::Random;
use session::Session;
use std::collections::{BTreeMap, VecDeque};
use transaction::Transactions;

/// The control process without its process.
#[derive(Debug)]
pub struct Control {
    configuration: Configuration,
    now_ns: u64,
    random: Random,
    session: Session,
    /// What the data plane has told of what runs, until all of it is known.
    told: adopt::Told,
    transactions: Transactions,
    plan: Plan,
    connections: cm::Connections,
    /// DREPs on their way.
    farewells: VecDeque<cm::Farewell>,
    /// QPs of the data plane by QPN, until they are retired.
    qps: BTreeMap<u32, Qp>,
    controllers: Controllers,
    /// Connects that wait: for drives to settle or for an older controller of the host to drain.
    held: Vec<HeldConnect>,
    notices: Notices,
    counters: Counters,
    tables: tables::Tables,
}

/// A QP of the data plane, from COMMIT of its creation to its retirement.
#[derive(Debug)]
struct Qp {
    /// Our communication id of its connection.
    comm_id: u32,
    /// NVMe queue id of the CM private data.
    qid: u16,
    /// Capsules the host may have outstanding.
    depth: u16,
    /// The host's address.
    address: std::net::IpAddr,
    /// Its controller, from Connect on.
    controller: Option<u16>,
    /// A Connect is being decided: a second one is out of sequence.
    connecting: bool,
    /// QpDestroy is on its way; retirement follows.
    ending: bool,
}

impl Control {
    /// Control of `configuration`. `seed` makes its communication ids unlike those of another run.
    ///
    /// # Panics
    /// When the configuration breaks the rules of [`Configuration`].
    #[must_use]
    pub fn new(configuration: Configuration, seed: u64) -> Self {
        configuration.assert_sound();
        let mut random = Random::new(seed);
        Self {
            now_ns: 0,
            session: Session::default(),
            told: adopt::Told::default(),
            transactions: Transactions::new(&mut random),
            plan: Plan::new(&configuration),
            connections: cm::Connections::default(),
            farewells: VecDeque::new(),
            qps: BTreeMap::new(),
            controllers: Controllers::new(&mut random),
            held: Vec::new(),
            notices: Notices::default(),
            counters: Counters::default(),
            tables: tables::Tables::default(),
            random,
            configuration,
        }
    }

    /// What this control is to bring into being.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The next notice for the log.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop()
    }

    /// When [`on_deadline`](Self::on_deadline) is due, on the clock of `now_ns`; `u64::MAX` when nothing waits.
    #[must_use]
    pub fn deadline_ns(&self) -> u64 {
        if !self.session.is_open() {
            return ns::NEVER_NS;
        }
        let held = self.held.iter().map(|held| held.deadline_ns).min().unwrap_or(ns::NEVER_NS);
        held.min(self.connections.deadline_ns())
    }

    /// Does what is due.
    pub fn on_deadline(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        if !self.session.is_open() {
            return;
        }
        self.expire_connections();
        self.retry_held_connects();
    }
}
