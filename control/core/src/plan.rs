//! The plan: ports, addresses, drives and namespaces of the configuration, programmed into the data plane.
//!
//! All of it is one transaction; when the data plane refuses that, each port and drive is one of its own, so that one bad
//! device stops nothing else. The data plane outlives control: it takes what it has already as done, and refuses what it
//! has with another device or URI.

use crate::nvmf::{Entry, Logs};
use crate::transaction::{Operation, Then, Transaction};
use crate::{Configuration, Control, Notice};
use gantry::channel::event::{DriveLimits, DriveNamespace, NamespaceHints};
use gantry::channel::operation::{AddressAdd, DriveAdd, NAMESPACE_READ_ONLY, NamespaceAdd, PortAdd};
use gantry::channel::session::Reason;
use gantry::channel::{Kind, Name};
use std::collections::BTreeMap;
use std::net::IpAddr;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

/// Something of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Port(usize),
    Address(usize, usize),
    Drive(usize),
}

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
    /// What one Dataset Management may cover.
    pub(crate) limits: DriveLimits,
    /// Its namespaces; those that are gone have no blocks.
    pub(crate) namespaces: Vec<(DriveNamespace, NamespaceHints)>,
    /// What the operator should know of it, a line each.
    pub(crate) remarks: Vec<String>,
}

impl Geometry {
    /// The namespace with the drive's NSID, or, without one, the first.
    pub(crate) fn namespace(&self, nsid: Option<u32>) -> Option<&(DriveNamespace, NamespaceHints)> {
        let is_it = |(namespace, _): &&(DriveNamespace, _)| nsid.is_none_or(|nsid| namespace.nsid.get() == nsid);
        // One that is gone is not made up for by the next.
        self.namespaces.iter().find(is_it).filter(|(namespace, _)| namespace.blocks.get() > 0)
    }
}

/// Where the plan stands.
#[derive(Debug)]
pub(crate) struct Plan {
    /// MAC addresses of the ports that are up.
    pub(crate) ports: Vec<Option<[u8; 6]>>,
    pub(crate) drives: Vec<Drive>,
    /// What drives are, or were when they last served.
    pub(crate) known: Vec<Option<Box<Geometry>>>,
    /// What their logs say: SMART / Health, and error information.
    pub(crate) logs: Vec<Logs>,
    /// How often a drive came up or went down; it grows from one control to the next.
    pub(crate) changes: u64,
    /// Drives that the data plane has under this configuration's numbers. What it tells of a number before that may be
    /// about another control's drive.
    added: Vec<bool>,
    /// Transactions of the plan that have not ended.
    under_way: usize,
}

impl Plan {
    pub(crate) fn new(configuration: &Configuration) -> Self {
        Self {
            ports: vec![None; configuration.ports.len()],
            drives: configuration.drives.iter().map(|_| Drive::Opening).collect(),
            known: configuration.drives.iter().map(|_| None).collect(),
            logs: configuration.drives.iter().map(|_| Logs::default()).collect(),
            changes: configuration.epoch << 32,
            added: vec![false; configuration.drives.len()],
            under_way: 0,
        }
    }

    pub(crate) fn geometry(&self, drive: u16) -> Option<&Geometry> {
        let drive = usize::from(drive);
        match self.drives.get(drive) {
            Some(Drive::Ready(geometry)) if self.added[drive] => Some(geometry),
            _ => None,
        }
    }

    /// What a drive is, or was when it last served: hosts keep what they have of it while it is away.
    pub(crate) fn known(&self, drive: u16) -> Option<&Geometry> {
        let drive = usize::from(drive);
        let known = self.known.get(drive)?.as_deref();
        known.filter(|_| self.added[drive])
    }

    /// Whether the data plane has all of the configuration, or has said why not.
    pub(crate) fn is_done(&self) -> bool {
        self.under_way == 0
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
    /// Programs everything, in one transaction when the data plane takes it so: what it has already it takes as done.
    pub(crate) fn plan_all(&mut self) {
        let ports = self.configuration.ports.iter().enumerate();
        let addresses =
            ports.flat_map(|(at, port)| (0..port.addresses.len()).map(move |index| Item::Address(at, index)));
        let mut items: Vec<Item> = (0..self.configuration.ports.len()).map(Item::Port).collect();
        items.extend((0..self.configuration.drives.len()).map(Item::Drive));
        items.extend(addresses);
        if self.session.has_state() {
            self.program(items);
        } else {
            self.program_apart(items);
        }
    }

    /// Each port and drive in a transaction of its own, so that one bad device stops nothing else; a port's addresses
    /// follow it.
    fn program_apart(&mut self, items: Vec<Item>) {
        for item in items.into_iter().filter(|item| !matches!(item, Item::Address(..))) {
            self.program(vec![item]);
        }
    }

    fn program(&mut self, items: Vec<Item>) {
        if items.is_empty() {
            return;
        }
        self.plan.under_way += 1;
        let operations = items.iter().map(|item| self.operation(*item)).collect();
        self.transactions.submit(&mut self.session, operations, Then::Planned(items));
    }

    fn operation(&self, item: Item) -> Operation {
        match item {
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
        }
    }

    /// The data plane has them.
    pub(crate) fn planned(&mut self, items: &[Item]) {
        for item in items {
            match *item {
                Item::Port(at) if items.len() == 1 => {
                    for index in 0..self.configuration.ports[at].addresses.len() {
                        self.program(vec![Item::Address(at, index)]);
                    }
                }
                Item::Port(_) | Item::Address(..) => {}
                Item::Drive(at) => {
                    self.plan.added[at] = true;
                    if self.plan.known[at].is_some() {
                        self.attach_to_running_controllers(at as u16);
                        self.retry_held_connects();
                    }
                }
            }
        }
        if items.iter().any(|item| matches!(item, Item::Drive(_))) {
            self.access_changed();
        }
        self.plan_moved_on();
    }

    /// The data plane will not have one of them, the one at `operation`, if it says so.
    fn plan_refused(&mut self, items: Vec<Item>, operation: u32, reason: u16, text: &str) {
        let alone = items.len() == 1;
        let named = if alone { items.first() } else { items.get(operation as usize) };
        // An address is tried again with its port.
        if let Some(&item) = named.filter(|item| alone || !matches!(item, Item::Address(..))) {
            self.item_refused(item, reason, text);
            self.program_apart(items.into_iter().filter(|other| *other != item).collect());
        } else {
            self.program_apart(items);
        }
        self.plan_moved_on();
    }

    fn item_refused(&mut self, item: Item, reason: u16, text: &str) {
        let exists = reason == Reason::Exists as u16;
        let configuration = &self.configuration;
        let what = match item {
            Item::Address(..) if exists => return,
            // The data plane has said why already: it takes a failed drive no second time.
            Item::Drive(at) if exists && matches!(self.plan.drives[at], Drive::Failed(_)) => return,
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

    fn plan_moved_on(&mut self) {
        self.plan.under_way -= 1;
        self.serve_when_planned();
    }

    /// A transaction is gone and nothing of it was applied.
    pub(crate) fn on_refused(&mut self, transaction: Transaction, operation: u32, reason: u16, text: &str) {
        let (not_found, exists) = (Reason::NotFound as u16, Reason::Exists as u16);
        if transaction.uncertain && (reason == not_found || reason == exists) && transaction.operations.len() > 1 {
            return self.on_committed(transaction.then);
        }
        match transaction.then {
            Then::Planned(items) => self.plan_refused(items, operation, reason, text),
            Then::QpCreated { comm_id, .. } => self.qp_refused(comm_id, reason),
            Then::Answered { qpn } => {
                // What should have ended with the answer ends all the same.
                for end in transaction.operations.into_iter().filter(|operation| operation.qpn.is_some()) {
                    self.transactions.submit(&mut self.session, vec![end], Then::Ended);
                }
                if let Some(cntlid) = self.qps.get(&qpn).and_then(|qp| qp.controller) {
                    self.remember_again(cntlid);
                }
                // Not found: the QP is gone, or the answer was given before the channel broke. Nobody waits for it.
                if reason != not_found {
                    self.notices.push(Notice::Refused { what: "an answer".into(), text: text.to_owned() });
                    self.qp_unusable(qpn);
                }
            }
            Then::Connected { qpn, punt } => self.connect_refused(qpn, punt, text),
            Then::Told { cntlid } => {
                let what = format!("what controller {cntlid} is to be told");
                self.notices.push(Notice::Refused { what, text: text.to_owned() });
            }
            Then::NamespacesChanged { cntlid, before } => {
                let what = format!("namespaces of controller {cntlid}");
                self.notices.push(Notice::Refused { what, text: text.to_owned() });
                self.namespaces_unchanged(cntlid, before);
            }
            Then::Remembered => {
                let what = "what is to be remembered of a controller".into();
                self.notices.push(Notice::Refused { what, text: text.to_owned() });
            }
            Then::Ended => self.end_refused(transaction.operations, reason, text),
            Then::Tables { ticket, .. } => self.tables_refused(ticket, operation, reason, text),
            Then::TablesReplayed(operations) => self.replay_refused(&operations, operation, text),
        }
    }

    pub(crate) fn port_up(&mut self, port: u32, tail: &[u8]) {
        let Some(state) = self.plan.ports.get_mut(port as usize) else { return };
        let Ok((mac, _)) = <[u8; 6]>::read_from_prefix(tail) else { return };
        *state = Some(mac);
        let port = self.configuration.ports[port as usize].name.clone();
        self.notices.push(Notice::PortUp { port, mac });
    }

    /// The namespaces of subsystem `at` on drives that are known, also of those that are away, as entries for controller `cntlid`.
    pub(crate) fn namespaces_for(&self, at: usize, cntlid: u16) -> BTreeMap<u32, Entry> {
        let served = self.configuration.subsystems[at].namespaces.iter();
        served
            .filter_map(|namespace| {
                let drive = self.configuration.drive_number(&namespace.drive);
                let (on_drive, _) = self.plan.known(drive)?.namespace(namespace.drive_nsid)?;
                let body = NamespaceAdd {
                    cntlid: U16::new(cntlid),
                    drive: U16::new(drive),
                    nsid: U32::new(namespace.nsid),
                    drive_nsid: on_drive.nsid,
                    flags: U32::new(if namespace.read_only { NAMESPACE_READ_ONLY } else { 0 }),
                    lba_base: U64::ZERO,
                    lba_count: on_drive.blocks,
                };
                Some((namespace.nsid, entry_of(&body)))
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

    /// A drive came up after hosts had connected, or is known at last: they get its namespaces as they are now.
    pub(crate) fn attach_to_running_controllers(&mut self, drive: u16) {
        for (cntlid, at) in self.controllers.of_nvm_subsystems() {
            let configured = &self.configuration.subsystems[at].namespaces;
            let lies_there = |nsid: &u32| {
                configured.iter().any(|n| n.nsid == *nsid && self.configuration.drive_number(&n.drive) == drive)
            };
            let mut wanted = self.namespaces_for(at, cntlid);
            wanted.retain(|nsid, _| lies_there(nsid));
            let Some(controller) = self.controllers.live(cntlid) else { continue };
            let there = controller.attached.keys().copied().filter(lies_there);
            let gone: Vec<u32> = there.filter(|nsid| !wanted.contains_key(nsid)).collect();
            wanted.retain(|nsid, entry| controller.attached.get(nsid) != Some(entry));
            self.change_namespaces(cntlid, wanted, &gone);
        }
    }

    /// Takes entries out of an adopted controller's table that the configuration does not have any more.
    pub(crate) fn remove_stale_namespaces(&mut self, cntlid: u16, at: usize) {
        let Some(attached) = self.controllers.attached(cntlid) else { return };
        let configured = &self.configuration.subsystems[at].namespaces;
        let stale: Vec<u32> =
            attached.keys().copied().filter(|nsid| configured.iter().all(|n| n.nsid != *nsid)).collect();
        self.change_namespaces(cntlid, BTreeMap::new(), &stale);
    }

    /// Changes a live controller's table, and remembers in the same transaction that its host is to be told.
    fn change_namespaces(&mut self, cntlid: u16, added: BTreeMap<u32, Entry>, removed: &[u32]) {
        let Some(attached) = self.controllers.attached(cntlid) else { return };
        let mut operations = Vec::new();
        let mut before = Vec::new();
        for nsid in removed {
            operations.push(Operation::namespace_remove(cntlid, *nsid));
            before.push((*nsid, attached.remove(nsid)));
        }
        for (nsid, entry) in added {
            let old = attached.insert(nsid, entry);
            if old.is_some() {
                operations.push(Operation::namespace_remove(cntlid, nsid));
            }
            operations.push(Operation::namespace_add(&entry));
            before.push((nsid, old));
        }
        if operations.is_empty() {
            return;
        }
        before.iter().for_each(|(nsid, _)| self.raise_namespace_changed(cntlid, *nsid));
        operations.extend(self.remember(cntlid));
        self.transactions.submit(&mut self.session, operations, Then::NamespacesChanged { cntlid, before });
    }

    /// The data plane would not change them.
    fn namespaces_unchanged(&mut self, cntlid: u16, before: Vec<(u32, Option<Entry>)>) {
        if let Some(attached) = self.controllers.attached(cntlid) {
            for (nsid, entry) in before {
                match entry {
                    Some(entry) => attached.insert(nsid, entry),
                    None => attached.remove(&nsid),
                };
            }
        }
        self.remember_again(cntlid);
    }
}

pub(crate) fn entry_of(body: &NamespaceAdd) -> Entry {
    body.as_bytes().try_into().expect("an entry is its body")
}
