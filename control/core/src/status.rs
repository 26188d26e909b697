//! What is: the state of ports, drives, subsystems, controllers and queues, for the APIs that ask.

use crate::Control;
use crate::nvmf::Subsystem;
use crate::plan::Drive;
use std::net::IpAddr;

/// Counts since control started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// CM messages taken.
    pub mads: u64,
    /// Capsules taken.
    pub capsules: u64,
    /// Frames of the channel that made no sense.
    pub malformed_frames: u64,
    /// MADs that made no sense.
    pub malformed_mads: u64,
    /// Capsules that made no sense.
    pub malformed_capsules: u64,
    /// REQs rejected.
    pub requests_rejected: u64,
    /// Connects refused.
    pub connects_refused: u64,
    /// Other commands refused.
    pub commands_refused: u64,
}

/// Everything at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether the session with the data plane is open.
    pub session_open: bool,
    /// The data plane's boot id, once known.
    pub boot_id: Option<u64>,
    /// Ports, as configured.
    pub ports: Vec<PortStatus>,
    /// Drives, as configured.
    pub drives: Vec<DriveStatus>,
    /// The discovery subsystem, then those of the configuration.
    pub subsystems: Vec<SubsystemStatus>,
    /// CM connections, resting ones included.
    pub connections: usize,
    /// QPs of the data plane that control knows, draining ones included.
    pub qps: usize,
    /// Connects whose answer waits.
    pub held_connects: usize,
    /// Transactions that wait for their turn.
    pub waiting_transactions: usize,
    /// Counts.
    pub counters: Counters,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortStatus {
    /// Its name.
    pub name: String,
    /// Its MAC address, once it is up.
    pub mac: Option<[u8; 6]>,
}

/// A drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveStatus {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: DriveState,
    /// What the operator should know of it while it is up, a line each.
    pub remarks: Vec<String>,
}

/// How a drive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriveState {
    /// On its way up.
    Opening,
    /// Up.
    Ready {
        /// Blocks of the namespace served.
        blocks: u64,
        /// log2 of its block size.
        block_shift: u8,
    },
    /// Down, in the data plane's words.
    Failed(String),
}

/// A subsystem and its controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubsystemStatus {
    /// Its NQN.
    pub nqn: String,
    /// Its controllers.
    pub controllers: Vec<ControllerStatus>,
}

/// A controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerStatus {
    /// Its id.
    pub cntlid: u16,
    /// The host's NQN.
    pub host_nqn: String,
    /// The host's identifier.
    pub host_id: [u8; 16],
    /// The host's address, while its admin queue lives.
    pub address: Option<IpAddr>,
    /// CSTS.RDY.
    pub ready: bool,
    /// Whether it is draining.
    pub ending: bool,
    /// Keep-alive timeout in milliseconds.
    pub keep_alive_ms: u32,
    /// NSIDs it has.
    pub namespaces: Vec<u32>,
    /// Event requests held.
    pub held_events: usize,
    /// Its queues, draining ones included.
    pub queues: Vec<QueueStatus>,
}

/// A queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueStatus {
    /// NVMe queue id; zero is the admin queue.
    pub qid: u16,
    /// The QP that carries it.
    pub qpn: u32,
    /// Whether it is draining.
    pub ending: bool,
}

impl Control {
    /// The state of everything.
    #[must_use]
    pub fn status(&self) -> Status {
        let ports = self.configuration.ports.iter().zip(&self.plan.ports);
        let drives = self.configuration.drives.iter().zip(&self.plan.drives);
        let nvm = (0..self.configuration.subsystems.len()).map(Subsystem::Nvm);
        Status {
            session_open: self.session.is_open(),
            boot_id: self.session.limits.map(|limits| limits.boot_id),
            ports: ports.map(|(port, mac)| PortStatus { name: port.name.clone(), mac: *mac }).collect(),
            drives: drives
                .map(|(drive, state)| DriveStatus {
                    name: drive.name.clone(),
                    state: drive_state(state),
                    remarks: remarks(state),
                })
                .collect(),
            subsystems: std::iter::once(Subsystem::Discovery).chain(nvm).map(|s| self.subsystem_status(s)).collect(),
            connections: self.connections.len(),
            qps: self.qps.len(),
            held_connects: self.held.len(),
            waiting_transactions: self.transactions.waiting(),
            counters: self.counters,
        }
    }

    fn subsystem_status(&self, subsystem: Subsystem) -> SubsystemStatus {
        let ours = self.controllers.iter().filter(|(_, controller)| controller.subsystem == subsystem);
        let controllers = ours.map(|(cntlid, controller)| ControllerStatus {
            cntlid,
            host_nqn: controller.host_nqn.clone(),
            host_id: controller.host_id,
            address: self.qps.get(&controller.admin_qpn).map(|qp| qp.address),
            ready: controller.properties.is_ready(),
            ending: controller.is_ending(),
            keep_alive_ms: controller.keep_alive_ms,
            namespaces: controller.attached.keys().copied().collect(),
            held_events: controller.held_events(),
            queues: self.queue_status(cntlid),
        });
        SubsystemStatus { nqn: self.nqn(subsystem).to_owned(), controllers: controllers.collect() }
    }

    fn queue_status(&self, cntlid: u16) -> Vec<QueueStatus> {
        let ours = self.qps.iter().filter(|(_, qp)| qp.controller == Some(cntlid));
        ours.map(|(qpn, qp)| QueueStatus { qid: qp.qid, qpn: *qpn, ending: qp.ending }).collect()
    }
}

fn remarks(drive: &Drive) -> Vec<String> {
    match drive {
        Drive::Ready(geometry) => geometry.remarks.clone(),
        Drive::Opening | Drive::Failed(_) => Vec::new(),
    }
}

fn drive_state(drive: &Drive) -> DriveState {
    match drive {
        Drive::Opening => DriveState::Opening,
        Drive::Ready(geometry) => {
            let (first, _) = &geometry.namespaces[0];
            DriveState::Ready { blocks: first.blocks.get(), block_shift: first.block_shift }
        }
        Drive::Failed(text) => DriveState::Failed(text.clone()),
    }
}
