//! The plan: ports, addresses, drives and namespaces of the configuration, programmed into the data plane.
//!
//! Each is a transaction of its own, so that one bad device stops nothing else. The data plane outlives control: it takes
//! what it has already as done, and refuses what it has with another device or URI.

use crate::transaction::{Operation, Then, Transaction};
use crate::{Configuration, Control, Notice};
use gantry::channel::event::{DriveNamespace, DriveReady};
use gantry::channel::operation::{AddressAdd, DriveAdd, NamespaceAdd, PortAdd};
use gantry::channel::session::Reason;
use gantry::channel::{FrameError, Kind, Name};
use std::net::IpAddr;
use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

/// Something of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Port(usize),
    Address(usize, usize),
    Drive(usize),
}

/// Most namespaces of one drive that control keeps.
const DRIVE_NAMESPACES_MAX: usize = 1024;

/// How a drive is.
#[derive(Clone, Debug)]
pub(crate) enum Drive {
    /// Not up yet.
    Opening,
    /// Up.
    Ready(Box<Geometry>),
    /// Not up, or up no more; the data plane's words.
    Failed(String),
}

/// What a drive that is up offers.
#[derive(Clone, Debug)]
pub(crate) struct Geometry {
    pub(crate) oncs: u16,
    pub(crate) volatile_write_cache: bool,
    /// Its first namespace, which is the one served.
    pub(crate) namespace: DriveNamespace,
}

/// Where the plan stands.
#[derive(Debug)]
pub(crate) struct Plan {
    /// MAC addresses of the ports that are up.
    pub(crate) ports: Vec<Option<[u8; 6]>>,
    pub(crate) drives: Vec<Drive>,
    /// Drives that the data plane has under this configuration's numbers. What it tells of a number before that may be
    /// about another control's drive.
    added: Vec<bool>,
}

impl Plan {
    pub(crate) fn new(configuration: &Configuration) -> Self {
        Self {
            ports: vec![None; configuration.ports.len()],
            drives: configuration.drives.iter().map(|_| Drive::Opening).collect(),
            added: vec![false; configuration.drives.len()],
        }
    }

    pub(crate) fn geometry(&self, drive: u16) -> Option<&Geometry> {
        let drive = usize::from(drive);
        match self.drives.get(drive) {
            Some(Drive::Ready(geometry)) if self.added[drive] => Some(geometry),
            _ => None,
        }
    }

    /// On its way up.
    fn is_settling(&self, drive: u16) -> bool {
        let drive = usize::from(drive);
        match self.drives[drive] {
            Drive::Opening => true,
            Drive::Ready(_) => !self.added[drive],
            Drive::Failed(_) => false,
        }
    }
}

/// An address as the channel writes it.
pub(crate) fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address in a field of the channel.
pub(crate) fn address(octets: [u8; 16]) -> IpAddr {
    std::net::Ipv6Addr::from(octets).to_canonical()
}

impl Control {
    /// Programs everything into a data plane that is new to this control.
    pub(crate) fn plan_all(&mut self) {
        self.plan = Plan::new(&self.configuration);
        for at in 0..self.configuration.ports.len() {
            self.program(Item::Port(at));
        }
        for at in 0..self.configuration.drives.len() {
            self.program(Item::Drive(at));
        }
    }

    fn program(&mut self, item: Item) {
        let operation = match item {
            Item::Port(at) => {
                let port = &self.configuration.ports[at];
                let (number, mtu, name) = (U16::new(at as u16), U16::new(port.mtu), Name::new(&port.name));
                Operation::new(Kind::PortAdd, &PortAdd { port: number, mtu, name }, port.device.as_bytes())
            }
            Item::Address(at, index) => {
                let port = &self.configuration.ports[at];
                let (number, vlan) = (U16::new(at as u16), U16::new(port.vlan));
                let ip = octets(port.addresses[index]);
                Operation::new(Kind::AddressAdd, &AddressAdd { port: number, vlan, ip }, &[])
            }
            Item::Drive(at) => {
                let drive = &self.configuration.drives[at];
                let (number, name) = (U16::new(at as u16), Name::new(&drive.name));
                let body = DriveAdd { drive: number, reserved: U16::ZERO, name };
                Operation::new(Kind::DriveAdd, &body, drive.uri.as_bytes())
            }
        };
        self.transactions.submit(&mut self.session, vec![operation], Then::Planned(item));
    }

    /// The data plane has it.
    pub(crate) fn planned(&mut self, item: Item) {
        match item {
            Item::Port(at) => {
                for index in 0..self.configuration.ports[at].addresses.len() {
                    self.program(Item::Address(at, index));
                }
            }
            Item::Address(..) => {}
            Item::Drive(at) => {
                self.plan.added[at] = true;
                if let Drive::Ready(_) = self.plan.drives[at] {
                    self.attach_to_running_controllers(at as u16);
                    self.retry_held_connects();
                }
            }
        }
    }

    fn plan_refused(&mut self, item: Item, reason: u16, text: &str) {
        if matches!(item, Item::Address(..)) && reason == Reason::Exists as u16 {
            return;
        }
        let configuration = &self.configuration;
        let what = match item {
            Item::Port(at) => format!("port {}", configuration.ports[at].name),
            Item::Address(at, index) => {
                let port = &configuration.ports[at];
                format!("address {} of port {}", port.addresses[index], port.name)
            }
            Item::Drive(at) => format!("drive {}", configuration.drives[at].name),
        };
        self.notices.push(Notice::Refused { what, text: text.to_owned() });
        if let Item::Drive(at) = item {
            self.plan.drives[at] = Drive::Failed(text.to_owned());
            self.retry_held_connects();
        }
    }

    /// A transaction is gone and nothing of it was applied.
    pub(crate) fn on_refused(&mut self, transaction: Transaction, reason: u16, text: &str) {
        let (not_found, exists) = (Reason::NotFound as u16, Reason::Exists as u16);
        if transaction.uncertain && (reason == not_found || reason == exists) && transaction.operations.len() > 1 {
            return self.on_committed(transaction.then);
        }
        match transaction.then {
            Then::Planned(item) => self.plan_refused(item, reason, text),
            Then::QpCreated { comm_id, .. } => self.qp_refused(comm_id, reason),
            Then::Answered { qpn } => {
                // What should have ended with the answer ends all the same.
                for end in transaction.operations.into_iter().filter(|operation| operation.qpn.is_some()) {
                    self.transactions.submit(&mut self.session, vec![end], Then::Ended);
                }
                // Not found: the QP is gone, or the answer was given before the channel broke. Nobody waits for it.
                if reason != not_found {
                    self.notices.push(Notice::Refused { what: "an answer".into(), text: text.to_owned() });
                    self.qp_unusable(qpn);
                }
            }
            Then::Connected { qpn, punt } => self.connect_refused(qpn, punt, text),
            Then::NamespaceAdded { cntlid, nsid } => {
                let what = format!("namespace {nsid} of controller {cntlid}");
                self.notices.push(Notice::Refused { what, text: text.to_owned() });
            }
            Then::Ended => self.end_refused(transaction.operations, reason, text),
        }
    }

    pub(crate) fn port_up(&mut self, port: u32, tail: &[u8]) {
        let Some(state) = self.plan.ports.get_mut(port as usize) else { return };
        let Ok((mac, _)) = <[u8; 6]>::read_from_prefix(tail) else { return };
        *state = Some(mac);
        let port = self.configuration.ports[port as usize].name.clone();
        self.notices.push(Notice::PortUp { port, mac });
    }

    pub(crate) fn drive_ready(&mut self, drive: u32, tail: &[u8]) -> Result<(), FrameError> {
        let (ready, rest) = DriveReady::ref_from_prefix(tail).map_err(|_| FrameError::Length)?;
        let count = (ready.namespaces.get() as usize).min(DRIVE_NAMESPACES_MAX);
        let (namespaces, _) =
            <[DriveNamespace]>::ref_from_prefix_with_elems(rest, count).map_err(|_| FrameError::Length)?;
        let Some(name) = self.configuration.drives.get(drive as usize).map(|d| d.name.clone()) else {
            return Ok(());
        };
        let usable = namespaces.iter().find(|n| n.blocks.get() > 0 && (9..=31).contains(&n.block_shift));
        let Some(&namespace) = usable else {
            self.drive_failed(drive, "it has no namespace that can be served");
            return Ok(());
        };
        self.notices.push(Notice::DriveReady {
            drive: name,
            model: String::from_utf8_lossy(&ready.model).trim().to_owned(),
            blocks: namespace.blocks.get(),
            block_shift: namespace.block_shift,
        });
        let volatile_write_cache = ready.vwc & 1 != 0;
        let geometry = Geometry { oncs: ready.oncs.get(), volatile_write_cache, namespace };
        self.plan.drives[drive as usize] = Drive::Ready(Box::new(geometry));
        self.attach_to_running_controllers(drive as u16);
        self.retry_held_connects();
        Ok(())
    }

    pub(crate) fn drive_failed(&mut self, drive: u32, text: &str) {
        let Some(name) = self.configuration.drives.get(drive as usize).map(|d| d.name.clone()) else { return };
        self.plan.drives[drive as usize] = Drive::Failed(text.to_owned());
        self.notices.push(Notice::DriveFailed { drive: name, text: text.to_owned() });
        self.retry_held_connects();
    }

    /// The namespaces of subsystem `at` that can be served now, as NSID and operation for controller `cntlid`.
    pub(crate) fn namespaces_for(&self, at: usize, cntlid: u16) -> Vec<(u32, Operation)> {
        let served = self.configuration.subsystems[at].namespaces.iter();
        served
            .filter_map(|namespace| {
                let drive = self.configuration.drive_number(&namespace.drive);
                let on_drive = &self.plan.geometry(drive)?.namespace;
                let body = NamespaceAdd {
                    cntlid: U16::new(cntlid),
                    drive: U16::new(drive),
                    nsid: U32::new(namespace.nsid),
                    drive_nsid: on_drive.nsid,
                    flags: U32::ZERO,
                    lba_base: U64::ZERO,
                    lba_count: on_drive.blocks,
                };
                Some((namespace.nsid, Operation::new(Kind::NamespaceAdd, &body, &[])))
            })
            .collect()
    }

    /// Whether a drive of subsystem `at` is still on its way up.
    pub(crate) fn drives_settling(&self, at: usize) -> bool {
        self.configuration.subsystems[at]
            .namespaces
            .iter()
            .any(|namespace| self.plan.is_settling(self.configuration.drive_number(&namespace.drive)))
    }

    /// A drive came up after hosts had connected: they get its namespaces now.
    fn attach_to_running_controllers(&mut self, drive: u16) {
        let mut added = Vec::new();
        for (cntlid, at) in self.controllers.of_nvm_subsystems() {
            let subsystem = &self.configuration.subsystems[at];
            let on_drive: Vec<u32> = subsystem
                .namespaces
                .iter()
                .filter(|n| self.configuration.drive_number(&n.drive) == drive)
                .map(|n| n.nsid)
                .collect();
            for (nsid, operation) in self.namespaces_for(at, cntlid) {
                if on_drive.contains(&nsid) && !self.controllers.is_attached(cntlid, nsid) {
                    added.push((cntlid, nsid, operation));
                }
            }
        }
        for (cntlid, nsid, operation) in added {
            let then = Then::NamespaceAdded { cntlid, nsid };
            self.transactions.submit(&mut self.session, vec![operation], then);
        }
    }

    pub(crate) fn namespace_added(&mut self, cntlid: u16, nsid: u32) {
        if self.controllers.attach(cntlid, nsid) {
            self.raise_namespace_changed(cntlid, nsid);
        }
    }
}
