//! Housekeeping told to a successor, and taken up there (see [`crate::handover`]).
//!
//! The session with control is not told: it breaks, and control adopts what runs. Names that are free, sums and the lcores'
//! tables follow from the records.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::vec::Vec;

use gantry::channel::event::EventKind;
use gantry::channel::operation::{NamespaceAdd, QpCreate};
use gantry::channel::slow_path::{Capsule, Punt};
use gantry::channel::{BLOB_MAX, Frame, Kind};
use gantry_nvme::{IoQueue, IoQueueState};
use serde::{Deserialize, Serialize};

use super::drives::DriveState;
use super::names::Names;
use super::{Arc, Attachment, Box, Clients, Environment, Housekeeping, Liveness, Region, String};
use super::{ControllerRecord, DATAGRAMS_MAX, Datagram, Port, QpRecord};
use crate::command::{Ring, State};
use crate::handover::{Handed, Refused, Regions, must, told};
use crate::state::{Core, DRIVES, Sizes};
use crate::tables::{Reader, Writer};

/// Housekeeping, told.
#[derive(Debug, Serialize, Deserialize)]
pub struct HousekeepingState {
    boot_id: u64,
    epoch: u64,
    barrier: u64,
    /// QPNs that rest, and until when.
    resting: Vec<(u64, u32)>,
    ports: Vec<PortTold>,
    addresses: Vec<(u16, u16, [u8; 16])>,
    drives: Vec<(u16, DriveState)>,
    qps: Vec<QpTold>,
    datagrams: Vec<DatagramTold>,
    /// Capsules without an answer, as the frames that control is told them with.
    unanswered: Vec<Vec<u8>>,
    controllers: Vec<(u16, ControllerTold)>,
    /// What P4Runtime's clients have written, as the frames that control is told it with.
    clients: Vec<Vec<u8>>,
    keep_alive_check_ns: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct PortTold {
    number: u16,
    device: String,
    mac: [u8; 6],
    mtu: u16,
    lcores: Vec<u16>,
}

#[derive(Debug, Serialize, Deserialize)]
struct QpTold {
    qpn: u32,
    lcore: u16,
    slot: u32,
    #[serde(with = "told::bytes")]
    create: QpCreate,
    receive_psn: u32,
    cntlid: Option<u16>,
    established: bool,
    failure: u16,
    closing: bool,
    blob: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
struct DatagramTold {
    came_ns: u64,
    sent: bool,
    frame: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ControllerTold {
    keep_alive_ms: u32,
    /// When it last heard from its host.
    heard_ns: u64,
    expired: bool,
    closing: bool,
    namespaces: Vec<Namespace>,
    blob: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Namespace(#[serde(with = "told::bytes")] NamespaceAdd);

impl HousekeepingState {
    pub(crate) fn ports(&self) -> impl Iterator<Item = (u16, &str, &[u16])> {
        self.ports.iter().map(|port| (port.number, &*port.device, &*port.lcores))
    }

    pub(crate) fn drives(&self) -> impl Iterator<Item = (u16, &str, &str)> {
        self.drives.iter().filter_map(|(number, drive)| {
            let (name, uri) = drive.device()?;
            Some((*number, name, uri))
        })
    }
}

impl<E: Environment> Housekeeping<E> {
    /// Whether nothing is on its way to an lcore and no transaction is open.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.open.is_none() && self.batches.iter().all(VecDeque::is_empty)
    }

    pub(crate) fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// Tells a successor everything but the session.
    pub(crate) fn tell(&self, regions: &mut Regions) -> HousekeepingState {
        let Self { boot_id, epoch, barrier, names, ports, addresses, drives, qps, datagrams, unanswered, .. } = self;
        let Self { controllers, keep_alive_check_ns, liveness, clients, .. } = self;
        // The successor's own; told elsewhere; at rest; of the session; a sum.
        let Self { environment: _, lcores: _, sizes: _, lcore_memory: _, batches: _, open: _, commits: _, .. } = self;
        let Self { connected: _, minor: _, outgoing: _, namespaces: _, tables: _, .. } = self;
        let port_told = |(number, port): (&u16, &Port)| PortTold {
            number: *number,
            device: port.device.clone(),
            mac: port.mac,
            mtu: port.mtu,
            lcores: port.lcores.iter().map(|lcore| *lcore as u16).collect(),
        };
        let qp_told = |(qpn, qp): (&u32, &QpRecord)| QpTold {
            qpn: *qpn,
            lcore: qp.lcore as u16,
            slot: qp.slot,
            create: qp.create,
            receive_psn: qp.receive_psn,
            cntlid: qp.cntlid,
            established: qp.established,
            failure: qp.failure,
            closing: qp.closing,
            blob: qp.blob.clone(),
        };
        let datagram_told = |datagram: &Datagram| DatagramTold {
            came_ns: datagram.came_ns,
            sent: datagram.sent,
            frame: datagram.frame.clone(),
        };
        let controller_told = |(cntlid, controller): (&u16, &ControllerRecord)| {
            let told = ControllerTold {
                keep_alive_ms: controller.keep_alive_ms,
                heard_ns: liveness.last_ns(*cntlid),
                expired: controller.expired,
                closing: controller.closing,
                namespaces: controller.namespaces.values().copied().map(Namespace).collect(),
                blob: controller.blob.clone(),
            };
            (*cntlid, told)
        };
        HousekeepingState {
            boot_id: *boot_id,
            epoch: *epoch,
            barrier: *barrier,
            resting: names.resting().collect(),
            ports: ports.iter().map(port_told).collect(),
            addresses: addresses.iter().copied().collect(),
            drives: drives.iter().map(|(number, drive)| (*number, drive.tell(regions))).collect(),
            qps: qps.iter().map(qp_told).collect(),
            datagrams: datagrams.iter().map(datagram_told).collect(),
            unanswered: unanswered.values().cloned().collect(),
            controllers: controllers.iter().map(controller_told).collect(),
            clients: clients.frames(),
            keep_alive_check_ns: *keep_alive_check_ns,
        }
    }

    /// Makes housekeeping of what was told, over the lcores' memory and the drives that were handed over.
    pub(crate) fn take_up(
        told: HousekeepingState,
        mut environment: E,
        sizes: Sizes,
        liveness: Liveness,
        lcore_memory: Vec<Arc<Region>>,
        handed: Vec<(u16, Box<dyn Attachment>)>,
        regions: &mut Handed,
    ) -> Result<Self, Refused> {
        let lcores = lcore_memory.len();
        let tables = Writer::new(&sizes, lcores, environment.random());
        let mut this = Self::new(environment, sizes, liveness, lcore_memory, tables);
        this.boot_id = told.boot_id;
        this.epoch = told.epoch;
        this.barrier = told.barrier;
        this.keep_alive_check_ns = told.keep_alive_check_ns;
        for PortTold { number, device, mac, mtu, lcores: polled } in told.ports {
            let polled: Vec<usize> = polled.into_iter().map(usize::from).collect();
            must(polled.iter().all(|lcore| *lcore < lcores), || {
                format!("port {number} on an lcore that is not there")
            })?;
            must(!this.ports.contains_key(&number), || format!("port {number} twice"))?;
            this.ports.insert(number, Port { device, mac, mtu, lcores: polled });
        }
        this.addresses = told.addresses.into_iter().collect();
        for address in &this.addresses {
            must(this.ports.contains_key(&address.0), || {
                format!("an address of port {}, which is not there", address.0)
            })?;
        }
        let mut attachments: BTreeMap<u16, Box<dyn Attachment>> = handed.into_iter().collect();
        for (number, drive) in told.drives {
            let attachment = attachments.remove(&number);
            must(usize::from(number) < DRIVES, || format!("drive {number} is one too many"))?;
            this.drives.insert(number, drive.take_up(attachment, lcores, regions)?);
        }
        if let Some(number) = attachments.keys().next() {
            return Err(Refused::Unfit(format!("drive {number} was handed over and not told of")));
        }
        this.take_up_controllers(told.controllers)?;
        this.take_up_qps(told.qps)?;
        let names =
            Names::restore(lcores, sizes.qps, this.qps.iter().map(|(qpn, qp)| (qp.lcore, qp.slot, *qpn)), told.resting);
        this.names = names.ok_or_else(|| Refused::Inconsistent(String::from("two QPs have one name, or it rests")))?;
        must(told.datagrams.len() <= DATAGRAMS_MAX, || String::from("more datagrams than are kept"))?;
        for DatagramTold { came_ns, sent, frame } in told.datagrams {
            let parsed = Frame::parse(&frame).ok().filter(|frame| frame.kind == Kind::Punt);
            let punt = parsed.as_ref().and_then(|frame| frame.body::<Punt>().ok());
            let (punt, _) = punt.ok_or_else(|| Refused::Inconsistent(String::from("a datagram that is none")))?;
            let remote_ip = punt.path.remote_ip;
            this.datagrams.push_back(Datagram { came_ns, sent, remote_ip, frame });
        }
        for frame in told.unanswered {
            let parsed = Frame::parse(&frame).ok().filter(|frame| frame.kind == Kind::Capsule);
            let capsule = parsed.as_ref().and_then(|frame| frame.body::<Capsule>().ok());
            let (capsule, _) = capsule.ok_or_else(|| Refused::Inconsistent(String::from("a capsule that is none")))?;
            let key = (capsule.qpn.get(), capsule.punt.get());
            must(this.qps.contains_key(&key.0), || format!("a capsule of QP {:#x}, which is not there", key.0))?;
            this.unanswered.insert(key, frame);
        }
        this.fill_tables()?;
        this.clients = Clients::take_up(told.keep_alive_check_ns, &mut this.tables, &told.clients)
            .map_err(Refused::Inconsistent)?;
        Ok(this)
    }

    fn take_up_controllers(&mut self, told: Vec<(u16, ControllerTold)>) -> Result<(), Refused> {
        for (cntlid, told) in told {
            let ControllerTold { keep_alive_ms, heard_ns, expired, closing, namespaces, blob } = told;
            must(cntlid < 0xfff0 && blob.len() <= BLOB_MAX, || format!("controller {cntlid:#x} cannot be"))?;
            let mut entries = BTreeMap::new();
            for Namespace(add) in namespaces {
                let known = add.cntlid.get() == cntlid && self.drives.contains_key(&add.drive.get());
                must(known, || format!("a namespace of controller {cntlid:#x} is another's, or has no drive"))?;
                self.namespaces += usize::from(entries.insert(add.nsid.get(), add).is_none());
            }
            self.liveness.start(cntlid, heard_ns);
            let record = ControllerRecord { keep_alive_ms, expired, closing, namespaces: entries, blob };
            must(self.controllers.insert(cntlid, record).is_none(), || format!("controller {cntlid:#x} twice"))?;
        }
        must(self.namespaces <= self.sizes.namespaces as usize, || String::from("too many namespaces"))
    }

    fn take_up_qps(&mut self, told: Vec<QpTold>) -> Result<(), Refused> {
        for told in told {
            let QpTold { qpn, lcore, slot, create, receive_psn, cntlid, established, failure, closing, blob } = told;
            let lcore = usize::from(lcore);
            let cannot = || format!("QP {qpn:#x} cannot be");
            must(lcore < self.lcores && slot < self.sizes.qps && blob.len() <= BLOB_MAX, cannot)?;
            must(self.ports.contains_key(&create.path.port.get()), cannot)?;
            let record = QpRecord { lcore, slot, create, receive_psn, cntlid, established, failure, closing, blob };
            must(self.qps.insert(qpn, record).is_none(), cannot)?;
        }
        Ok(())
    }

    /// MAC address and largest IP packet of a port.
    pub(crate) fn port(&self, number: u16) -> Option<([u8; 6], u16)> {
        self.ports.get(&number).map(|port| (port.mac, port.mtu))
    }

    pub(crate) fn port_numbers(&self) -> impl Iterator<Item = u16> + '_ {
        self.ports.keys().copied()
    }

    /// An lcore's queue pair of a drive that serves.
    pub(crate) fn drive_queue(&self, number: u16, told: IoQueueState) -> Result<IoQueue, Refused> {
        let drive = self.drives.get(&number);
        drive
            .ok_or_else(|| Refused::Inconsistent(format!("a queue of drive {number}, which is not there")))?
            .queue(told)
    }

    /// Which lcore has the queue pair that an lcore's commands for a drive go through, which of the drive's it is, and its
    /// entries.
    pub(crate) fn way_to(&self, number: u16, lcore: u16) -> Result<(u16, u16, u16), Refused> {
        let way = self.drives.get(&number).and_then(|drive| drive.way_to(number, lcore.into(), self.lcores));
        way.ok_or_else(|| Refused::Inconsistent(format!("a queue of drive {number}, which is not there")))
    }

    /// An lcore's side of the tables.
    pub(crate) fn reader(&self) -> Reader {
        self.tables.reader()
    }

    /// Fills the tables from the records.
    fn fill_tables(&mut self) -> Result<(), Refused> {
        let full = |error| Refused::Inconsistent(format!("an entry that no table takes: {error}"));
        for (port, vlan, ip) in self.addresses.iter().copied() {
            self.tables.add_address(port, vlan, ip).map_err(full)?;
        }
        for add in self.controllers.values().flat_map(|controller| controller.namespaces.values()) {
            self.tables.set_namespace(add).map_err(full)?;
        }
        for (qpn, qp) in self.qps.iter().filter(|(_, qp)| !qp.closing) {
            self.tables.add_qp(*qpn, qp.lcore as u16, qp.slot).map_err(full)?;
        }
        self.tables.publish();
        Ok(())
    }

    /// Refuses lcores whose QPs and drives are not those of the records.
    pub(crate) fn must_agree_with<'a>(&self, cores: impl Iterator<Item = &'a Core>) -> Result<(), Refused> {
        let mut found = BTreeSet::new();
        let mut queues = BTreeMap::<u16, usize>::new();
        for core in cores {
            let lcore = usize::from(core.lcore);
            for number in &core.drive_numbers {
                *queues.entry(*number).or_default() += 1;
            }
            for slot in core.qps.taken() {
                let qp = &core.qps[slot];
                let record = self.qps.get(&qp.qpn()).filter(|record| (record.lcore, record.slot) == (lcore, slot));
                let same = record.is_some_and(|record| record.closing == qp.closing);
                must(same && found.insert(qp.qpn()), || format!("QP {:#x} is not the one of its record", qp.qpn()))?;
                let ring = core::iter::successors(qp.commands.first(), |index| Ring::after(&core.commands, *index));
                for command in ring.map(|index| &core.commands[index]).filter(|command| command.state == State::Punted)
                {
                    let waits = self.unanswered.contains_key(&(qp.qpn(), command.punt));
                    must(waits, || format!("QP {:#x} waits for an answer that nobody owes", qp.qpn()))?;
                }
            }
            for notice in core.notices.iter().filter(|notice| notice.kind == EventKind::QpRetired) {
                let ended = self.qps.get(&notice.object).is_some_and(|record| record.lcore == lcore && record.closing);
                must(ended && found.insert(notice.object), || format!("QP {:#x} did not end", notice.object))?;
            }
        }
        must(found.len() == self.qps.len(), || String::from("a record of a QP that no lcore has"))?;
        for (number, drive) in &self.drives {
            let held = queues.remove(number).unwrap_or(0);
            must(drive.is_held_by(held), || format!("drive {number} is held by {held} lcores"))?;
        }
        Ok(())
    }
}
