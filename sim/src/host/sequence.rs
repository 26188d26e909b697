//! What the host sends on the way into an association and out of it, command by command, in the order of a Linux host:
//! connect, discover, look for namespaces, reset, disconnect. NVMe-oF 1.1 §3.3, §3.7, §5; NVMe Base 2.0 §3.5
//! (initialization), §3.6 (shutdown).

use super::association::{Failure, Namespace, State, sqe_bytes};
use super::connection::Connection;
use super::queue::{Purpose, Queue, SglRules};
use super::{Data, Host};
use gantry_roce::Qpn;
use gantry_wire::fabrics::{
    CNTLID_DYNAMIC, Connect, ConnectAccepted, ConnectData, DiscoveryEntry, DiscoveryHeader, PROPERTY_4_BYTES,
    PROPERTY_8_BYTES, PropertyGet, PropertySet,
};
use gantry_wire::nvme::feature::{self, NumberOfQueues, fid};
use gantry_wire::nvme::identify::{self, NamespaceId, cns, sgls};
use gantry_wire::nvme::log::lid;
use gantry_wire::nvme::register::{self, Cap, Cc, Csts};
use gantry_wire::nvme::{Cid, Cqe, IdentifyController, IdentifyNamespace, Nsid, NsidList, Sqe, Status, admin};
use std::collections::BTreeMap;
use zerocopy::{FromBytes, IntoBytes};

/// Entries of the admin queue.
const ADMIN_ENTRIES: u16 = 32;
/// Between two looks at CSTS.
const POLL_NS: u64 = 2_000_000;
/// CAP.TO counts these.
const READY_UNIT_NS: u64 = 500_000_000;
/// How long a shutdown may take.
const SHUTDOWN_NS: u64 = 5_000_000_000;
/// IDENTIFY.CMIC: ANA reporting.
const CMIC_ANA: u8 = 1 << 3;
/// IDENTIFY.LPA: Commands Supported and Effects.
const LPA_COMMANDS: u8 = 1 << 1;
/// IDENTIFY.CTRATT: traffic based keep alive.
const CTRATT_TBKAS: u32 = 1 << 6;
/// CAP.CSS: several I/O command sets.
const CSS_SEVERAL: u8 = 1 << 6;
/// ANA log: identifier, header, group descriptor.
const LID_ANA: u8 = 0x0c;
const ANA_HEADER_LEN: u32 = 16;
const ANA_GROUP_LEN: u32 = 32;
/// Most entries of a discovery log that are read.
const DISCOVERY_ENTRIES_MAX: u64 = 1024;
/// Asynchronous events that the host understands.
const EVENTS: u32 = feature::aec::NAMESPACE_ATTRIBUTE
    | feature::aec::FIRMWARE_ACTIVATION
    | feature::aec::ANA_CHANGE
    | feature::aec::DISCOVERY_CHANGE;

/// Why the queues are released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    Disconnect,
    Reset,
}

/// What the sequence waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Step {
    #[default]
    Idle,
    FindTarget,
    /// REP of this queue.
    Cm(u16),
    /// Connect of this queue.
    Connect(u16),
    ReadCap,
    Disable,
    ReadCc,
    ReadCapAgain,
    Enable,
    WaitReady,
    ReadVersion,
    IdentifyController,
    LogCommands,
    LogAna,
    LogSmart,
    NumberOfQueues,
    AsyncConfiguration,
    IdentifyAgain,
    LogDiscoveryHeader,
    LogDiscovery,
    IdentifyIoController,
    LogChanged,
    /// NSIDs above this one.
    ActiveNamespaces(u32),
    /// Of the first of the association's NSIDs.
    Descriptors,
    Namespace,
    /// DREPs of the I/O queues.
    ReleaseIo(Closing),
    /// CC that stops the controller.
    Stop(Closing),
    WaitStopped(Closing),
    ReleaseAdmin(Closing),
}

impl Host {
    /// Begins a step: sends what it waits for.
    pub(super) fn enter(&mut self, step: Step) {
        self.association.step = step;
        let admin_has_room = self.queues.first().is_none_or(|queue| !queue.joined || queue.room() > 0);
        if !admin_has_room {
            self.association.poll_at_ns = Some(self.now_ns + POLL_NS);
            return;
        }
        match step {
            Step::Idle | Step::FindTarget => {}
            Step::Cm(qid) => self.request_queue(qid),
            Step::Connect(qid) => self.connect_queue(qid),
            Step::ReadCap | Step::ReadCapAgain => self.property_get(register::CAP, PROPERTY_8_BYTES),
            Step::ReadCc => self.property_get(register::CC, PROPERTY_4_BYTES),
            Step::ReadVersion => self.property_get(register::VS, PROPERTY_4_BYTES),
            Step::WaitReady | Step::WaitStopped(_) => self.property_get(register::CSTS, PROPERTY_4_BYTES),
            Step::Disable => self.set_cc(self.cc()),
            Step::Enable => {
                let units = u64::from(self.association.cap.to()) + 1;
                self.association.until_ns = self.now_ns + units * READY_UNIT_NS;
                self.set_cc(self.cc().with_en(1));
            }
            Step::Stop(Closing::Disconnect) => {
                self.association.until_ns = self.now_ns + SHUTDOWN_NS;
                self.set_cc(self.cc().with_en(1).with_shn(1));
            }
            Step::Stop(Closing::Reset) => {
                self.association.until_ns = self.now_ns + SHUTDOWN_NS;
                self.set_cc(self.cc());
            }
            Step::IdentifyController | Step::IdentifyAgain => self.identify(cns::CONTROLLER, 0),
            Step::IdentifyIoController => self.identify(cns::IO_CONTROLLER, 0),
            Step::ActiveNamespaces(after) => self.identify(cns::ACTIVE_NSIDS, after),
            Step::Descriptors => self.identify(cns::NAMESPACE_DESCRIPTORS, self.association.nsids[0]),
            Step::Namespace => self.identify(cns::NAMESPACE, self.association.nsids[0]),
            Step::LogCommands => self.log_page(lid::COMMANDS_SUPPORTED, 0, 4096, false),
            Step::LogAna => {
                let controller = self.controller().expect("identified before");
                let groups = controller.nanagrpid.get().min(1024) * ANA_GROUP_LEN;
                let length = ANA_HEADER_LEN + groups + controller.mnan.get().min(1 << 16) * 4;
                self.log_page(LID_ANA, Nsid::ALL.0, length, false);
            }
            Step::LogSmart => self.log_page(lid::SMART_HEALTH, Nsid::ALL.0, 512, false),
            Step::LogChanged => self.log_page(lid::CHANGED_NAMESPACES, Nsid::ALL.0, 4096, false),
            Step::LogDiscoveryHeader => self.log_page(lid::DISCOVERY, 0, 1024, true),
            Step::LogDiscovery => {
                let length = (self.association.log_entries as u32 + 1) * 1024;
                self.log_page(lid::DISCOVERY, 0, length, false);
            }
            Step::NumberOfQueues => {
                let count = self.association.wanted().io_queues - 1;
                let dword = NumberOfQueues { submission: count, completion: count }.emit();
                self.set_features(fid::NUMBER_OF_QUEUES, dword);
            }
            Step::AsyncConfiguration => {
                let events = self.controller().expect("identified before").oaes.get() & EVENTS;
                self.set_features(fid::ASYNC_EVENT_CONFIGURATION, events);
            }
            Step::ReleaseIo(_) => self.release_io(),
            Step::ReleaseAdmin(_) => {
                self.flush_queues();
                let frame = self.queues[0].connection.release(self.now_ns, &mut self.link);
                self.outgoing.push_back(frame);
                self.attention.get_mut().retime(0);
            }
        }
    }

    /// A command of the sequence has completed.
    pub(super) fn sequence_completed(&mut self, index: usize, cqe: &Cqe, data: &[u8]) {
        let status = cqe.status();
        let step = self.association.step;
        if !status.is_success() {
            match self.on_refusal(step, status, cqe.dw0.get()) {
                Ok(next) => return self.proceed(next),
                Err(failure) => return self.fail(failure),
            }
        }
        let next = match step {
            Step::Connect(qid) => {
                self.queues[index].joined = true;
                match self.joined(qid, ConnectAccepted::from_dw0(cqe.dw0.get())) {
                    Ok(next) => next,
                    Err(failure) => return self.fail(failure),
                }
            }
            Step::ReadCap => {
                self.association.cap = Cap(cqe.result());
                Step::Disable
            }
            Step::Disable => Step::ReadCc,
            Step::ReadCc => Step::ReadCapAgain,
            Step::ReadCapAgain => Step::Enable,
            Step::Enable => Step::WaitReady,
            Step::WaitReady => match Csts(cqe.dw0.get()).rdy() {
                1 => Step::ReadVersion,
                _ => return self.look_later(),
            },
            Step::ReadVersion => Step::IdentifyController,
            Step::IdentifyController => match self.identified(data) {
                Ok(next) => next,
                Err(failure) => return self.fail(failure),
            },
            Step::LogCommands => self.after_commands_log(),
            Step::LogAna => {
                self.association.access = access(data);
                if self.association.state == State::Ready { Step::Idle } else { Step::LogSmart }
            }
            Step::LogSmart => self.after_logs(),
            Step::NumberOfQueues => {
                let granted = NumberOfQueues::parse(cqe.dw0.get());
                let granted = u32::from(granted.submission.min(granted.completion)) + 1;
                let wanted = self.association.wanted().io_queues;
                self.association.io_queues = granted.min(wanted.into()) as u16;
                Step::Cm(1)
            }
            Step::AsyncConfiguration => self.after_async_configuration(),
            Step::IdentifyAgain => Step::LogDiscoveryHeader,
            Step::LogDiscoveryHeader => {
                let (header, _) = DiscoveryHeader::ref_from_prefix(data).expect("1024 bytes were asked for");
                self.association.log_entries = header.numrec.get().min(DISCOVERY_ENTRIES_MAX);
                Step::LogDiscovery
            }
            Step::LogDiscovery => {
                let entries = <[DiscoveryEntry]>::ref_from_bytes(&data[size_of::<DiscoveryHeader>()..]);
                self.association.discovery_log = entries.expect("whole entries were asked for").to_vec();
                self.association.closing = Some(Closing::Disconnect);
                Step::Idle
            }
            Step::IdentifyIoController if self.association.state == State::Ready => Step::LogChanged,
            Step::IdentifyIoController | Step::LogChanged => Step::ActiveNamespaces(0),
            Step::ActiveNamespaces(after) => {
                let list = NsidList::parse(data).expect("4096 bytes were asked for");
                if after == 0 {
                    self.association.nsids.clear();
                }
                self.association.nsids.extend(list.iter().map(|nsid| nsid.0));
                match list.nsid[1023].get() {
                    0 => self.next_namespace(),
                    last if last > after => Step::ActiveNamespaces(last),
                    _ => return self.fail(Failure::Unacceptable("a list of namespaces that does not ascend")),
                }
            }
            Step::Descriptors => {
                let descriptors = || NamespaceId::parse_list(data);
                self.association.uuid = descriptors().find_map(|id| match id {
                    NamespaceId::Uuid(uuid) => Some(uuid),
                    _ => None,
                });
                let several = self.association.cap.css() & CSS_SEVERAL != 0;
                if several && !descriptors().any(|id| matches!(id, NamespaceId::Csi(_))) {
                    self.association.nsids.remove(0);
                    self.next_namespace()
                } else {
                    Step::Namespace
                }
            }
            Step::Namespace => {
                let nsid = self.association.nsids.remove(0);
                self.found(nsid, IdentifyNamespace::parse(data).expect("4096 bytes were asked for"));
                self.next_namespace()
            }
            Step::Stop(closing) => Step::WaitStopped(closing),
            Step::WaitStopped(closing) => {
                let csts = Csts(cqe.dw0.get());
                let stopped = match closing {
                    Closing::Disconnect => csts.shst() == 2,
                    Closing::Reset => csts.rdy() == 0,
                };
                if !stopped {
                    return self.look_later();
                }
                Step::ReleaseAdmin(closing)
            }
            Step::Idle | Step::FindTarget | Step::Cm(_) | Step::ReleaseIo(_) | Step::ReleaseAdmin(_) => {
                unreachable!("{step:?} waits for no command")
            }
        };
        self.proceed(next);
    }

    /// A command of the sequence was refused: what Linux carries on without, and what it does not.
    fn on_refusal(&mut self, step: Step, status: Status, dw0: u32) -> Result<Step, Failure> {
        let command = |name| Err(Failure::Command { name, status });
        match step {
            Step::Connect(qid) => Err(Failure::Connect { qid, status, dw0 }),
            Step::LogCommands => Ok(self.after_commands_log()),
            Step::LogAna => command("Get Log Page, ANA"),
            Step::LogSmart => Ok(self.after_logs()),
            Step::NumberOfQueues => command("Set Features, Number of Queues"),
            Step::IdentifyIoController if self.association.state == State::Ready => Ok(Step::LogChanged),
            Step::IdentifyIoController | Step::LogChanged => Ok(Step::ActiveNamespaces(0)),
            Step::AsyncConfiguration => Ok(self.after_async_configuration()),
            Step::ActiveNamespaces(_) => {
                self.association.nsids.clear();
                Ok(self.next_namespace())
            }
            Step::Descriptors | Step::Namespace => {
                self.association.nsids.remove(0);
                Ok(self.next_namespace())
            }
            Step::IdentifyController | Step::IdentifyAgain => command("Identify Controller"),
            Step::LogDiscoveryHeader | Step::LogDiscovery => command("Get Log Page, Discovery"),
            _ => command("Property Get or Set"),
        }
    }

    fn proceed(&mut self, next: Step) {
        if next == Step::Idle { self.ready() } else { self.enter(next) }
    }

    fn joined(&mut self, qid: u16, accepted: ConnectAccepted) -> Result<Step, Failure> {
        if accepted.authentication_required || accepted.secure_channel_required {
            return Err(Failure::Unacceptable("authentication, which this host has no secret for"));
        }
        if qid == 0 {
            self.association.cntlid = accepted.cntlid;
            return Ok(Step::ReadCap);
        }
        if accepted.cntlid != self.association.cntlid {
            return Err(Failure::Unacceptable("another CNTLID on an I/O queue than on the admin queue"));
        }
        Ok(if qid < self.association.io_queues { Step::Connect(qid + 1) } else { self.async_configuration() })
    }

    /// What a Linux host looks at in Identify Controller before it goes on.
    fn identified(&mut self, data: &[u8]) -> Result<Step, Failure> {
        let controller = Box::new(IdentifyController::parse(data).expect("4096 bytes were asked for").clone());
        let association = &mut self.association;
        let wanted = association.wanted.as_ref().expect("an association is asked for");
        let unacceptable = [
            (controller.cntlid.get() != association.cntlid, "another CNTLID in Identify than in Connect"),
            (controller.sgls.get() & sgls::KEYED == 0, "no keyed SGLs"),
            (wanted.kato_ms != 0 && controller.kas.get() == 0, "a keep alive granularity of 0"),
            (controller.icdoff.get() != 0, "an in-capsule data offset"),
            (controller.maxcmd.get() == 0, "a MAXCMD of 0"),
            (controller.cmic & CMIC_ANA != 0 && controller.mnan.get() == 0, "ANA with an MNAN of 0"),
        ];
        if let Some((_, what)) = unacceptable.into_iter().find(|&(refused, _)| refused) {
            return Err(Failure::Unacceptable(what));
        }
        let in_capsule = controller.ioccsz.get().saturating_mul(16).saturating_sub(Sqe::LEN as u32);
        association.in_capsule = if controller.sgls.get() & sgls::OFFSET != 0 { in_capsule } else { 0 };
        let entries_max = u32::from(association.cap.mqes()) + 1;
        let entries = u32::from(wanted.depth).min(entries_max).min(controller.maxcmd.get().into());
        association.io_entries = entries.max(4) as u16;
        let parts = if controller.ctratt.get() & CTRATT_TBKAS != 0 { 4 } else { 2 };
        association.keep_alive_every_ns = u64::from(wanted.kato_ms) * 1_000_000 / parts;
        let (discovery, commands) = (wanted.discovery, controller.lpa & LPA_COMMANDS != 0);
        association.controller = Some(controller);
        Ok(match (discovery, commands) {
            (true, _) => self.async_configuration(),
            (_, true) => Step::LogCommands,
            _ => self.after_commands_log(),
        })
    }

    fn after_commands_log(&self) -> Step {
        let ana = self.controller().is_some_and(|controller| controller.cmic & CMIC_ANA != 0);
        if ana { Step::LogAna } else { Step::LogSmart }
    }

    fn after_logs(&mut self) -> Step {
        if self.association.wanted().io_queues == 0 { self.async_configuration() } else { Step::NumberOfQueues }
    }

    fn async_configuration(&mut self) -> Step {
        let events = self.controller().map_or(0, |controller| controller.oaes.get() & EVENTS);
        if events == 0 { self.after_async_configuration() } else { Step::AsyncConfiguration }
    }

    fn after_async_configuration(&mut self) -> Step {
        self.request_async_event();
        if self.association.wanted().discovery { Step::IdentifyAgain } else { Step::IdentifyIoController }
    }

    fn next_namespace(&mut self) -> Step {
        if !self.association.nsids.is_empty() {
            return Step::Descriptors;
        }
        self.association.namespaces = std::mem::take(&mut self.association.found);
        Step::Idle
    }

    fn found(&mut self, nsid: u32, namespace: &IdentifyNamespace) {
        let Some(shift) = namespace.block_shift().filter(|_| namespace.nsze.get() != 0) else { return };
        self.association.found.push(Namespace {
            nsid,
            block_size: 1 << shift,
            blocks: namespace.nsze.get(),
            uuid: self.association.uuid,
            nguid: namespace.nguid,
            eui64: namespace.eui64,
            read_only: namespace.nsattr & 1 != 0,
        });
    }

    /// CSTS does not say yet what is waited for.
    fn look_later(&mut self) {
        if self.now_ns >= self.association.until_ns {
            return self.fail(Failure::NotReady);
        }
        self.association.poll_at_ns = Some(self.now_ns + POLL_NS);
    }

    fn request_queue(&mut self, qid: u16) {
        let qpn = Qpn::new(self.next_qpn);
        self.next_qpn = if self.next_qpn == 0xff_ffff { 0x11 } else { self.next_qpn + 1 };
        let entries = if qid == 0 { ADMIN_ENTRIES } else { self.association.io_entries };
        let (connection, frame) =
            Connection::request(&self.config, &mut self.random, &mut self.link, self.now_ns, qpn, qid, entries);
        self.outgoing.push_back(frame);
        let in_capsule = if qid == 0 || !self.config.in_capsule { 0 } else { self.association.in_capsule };
        let sgl_rules = SglRules { in_capsule, invalidate: self.config.remote_invalidate };
        self.queues.push(Queue::new(qid, qpn, connection, entries, sgl_rules));
        self.attention.get_mut().retime(usize::from(qid));
    }

    fn connect_queue(&mut self, qid: u16) {
        let wanted = self.association.wanted();
        let index = usize::from(qid);
        let cntlid = if qid == 0 { CNTLID_DYNAMIC } else { self.association.cntlid };
        let data = ConnectData::new(self.config.hostid, cntlid, &wanted.subnqn, &self.config.hostnqn);
        let mut connect = Connect::new();
        connect.qid = qid.into();
        connect.sqsize = (self.queues[index].ring.entries - 1).into();
        connect.kato = if qid == 0 { wanted.kato_ms } else { 0 }.into();
        let sqe = connect.as_bytes().try_into().expect("64 bytes");
        self.send(index, Purpose::Sequence, sqe, Data::ToController(data.as_bytes().to_vec()));
    }

    fn property_get(&mut self, offset: usize, attrib: u8) {
        let mut get = PropertyGet::new();
        get.attrib = attrib;
        get.ofst = (offset as u32).into();
        self.send(0, Purpose::Sequence, get.as_bytes().try_into().expect("64 bytes"), Data::None);
    }

    /// CC as the host sets it up, without EN.
    pub(super) fn cc(&self) -> Cc {
        let several = self.association.cap.css() & CSS_SEVERAL != 0;
        Cc::default().with_iosqes(6).with_iocqes(4).with_css(if several { 6 } else { 0 })
    }

    fn set_cc(&mut self, cc: Cc) {
        let mut set = PropertySet::new();
        set.attrib = PROPERTY_4_BYTES;
        set.ofst = (register::CC as u32).into();
        set.value = u64::from(cc.0).into();
        self.send(0, Purpose::Sequence, set.as_bytes().try_into().expect("64 bytes"), Data::None);
    }

    fn identify(&mut self, cns: u8, nsid: u32) {
        let mut sqe = Sqe::new(admin::IDENTIFY, Cid(0), Nsid(nsid));
        sqe.cdw10 = u32::from(cns).into();
        self.send(0, Purpose::Sequence, sqe_bytes(&sqe), Data::ToHost(identify::LEN as u32));
    }

    fn log_page(&mut self, lid: u8, nsid: u32, length: u32, retain: bool) {
        let mut sqe = Sqe::new(admin::LOG_PAGE, Cid(0), Nsid(nsid));
        let dwords = length / 4 - 1;
        sqe.cdw10 = (u32::from(lid) | u32::from(retain) << 15 | dwords << 16).into();
        sqe.cdw11 = (dwords >> 16).into();
        self.send(0, Purpose::Sequence, sqe_bytes(&sqe), Data::ToHost(length));
    }

    fn set_features(&mut self, fid: u8, value: u32) {
        let mut sqe = Sqe::new(admin::SET_FEATURES, Cid(0), Nsid(0));
        sqe.cdw10 = u32::from(fid).into();
        sqe.cdw11 = value.into();
        self.send(0, Purpose::Sequence, sqe_bytes(&sqe), Data::None);
    }

    /// Releases every I/O queue; what is outstanding on them ends here.
    fn release_io(&mut self) {
        self.flush_queues();
        for index in 0..self.queues.len() {
            if self.queues[index].qid != 0 {
                self.stop_queue(index);
                let queue = &mut self.queues[index];
                if queue.connection.is_established() {
                    let frame = queue.connection.release(self.now_ns, &mut self.link);
                    self.outgoing.push_back(frame);
                }
            }
        }
        // Nothing to wait for when there was none.
        if self.queues.iter().all(|queue| queue.qid == 0 || queue.connection.is_closed()) {
            self.queue_released(false);
        }
    }
}

/// States of an ANA log, by NSID (NVMe Base 2.0 §5.16.1.13).
fn access(log: &[u8]) -> BTreeMap<u32, u8> {
    let word = |at: usize| log.get(at..at + 4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")));
    let mut states = BTreeMap::new();
    let mut at = ANA_HEADER_LEN as usize;
    for _ in 0..word(8).unwrap_or(0) & 0xffff {
        let (Some(count), Some(state)) = (word(at + 4), log.get(at + 16)) else { break };
        at += ANA_GROUP_LEN as usize;
        states.extend((0..count as usize).map_while(|index| Some((word(at + index * 4)?, *state & 0xf))));
        at += count as usize * 4;
    }
    states
}
