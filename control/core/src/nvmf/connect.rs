//! Connect: which queue joins which controller. NVMe-oF 1.1 §3.3.

use super::events::Events;
use super::features::Features;
use super::property::Properties;
use super::{Controller, MAXCMD, Reply, Request, Subsystem};
use crate::ns::SECOND_NS;
use crate::transaction::{Operation, Then};
use crate::{Control, Notice};
use gantry::channel::Kind;
use gantry::channel::operation::QpBind;
use gantry_wire::fabrics::{CNTLID_DYNAMIC, Connect, ConnectAccepted, ConnectData, ConnectInvalid, DISCOVERY_NQN};
use gantry_wire::nvme::Status;
use std::collections::BTreeMap;
use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::{U16, U32};

/// How long a Connect waits at most for drives to come up and older controllers to drain. A Linux host gives a Connect
/// 60 s.
const HOLD_NS: u64 = 20 * SECOND_NS;

/// A Connect that is answered later.
#[derive(Debug)]
pub(crate) struct HeldConnect {
    pub(crate) qpn: u32,
    punt: u32,
    command: Connect,
    data: Box<ConnectData>,
    pub(crate) deadline_ns: u64,
}

/// A refusal: the status and its dword 0.
struct Refused(Status, u32);

impl From<ConnectInvalid> for Refused {
    fn from(invalid: ConnectInvalid) -> Self {
        Self(Status::CONNECT_INVALID_PARAMETERS.with_dnr(), invalid.dw0())
    }
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self(status.with_dnr(), 0)
    }
}

/// What becomes of a Connect.
enum Decision {
    /// An admin queue: a new controller of this subsystem.
    Admin(Subsystem),
    /// An I/O queue of this controller.
    Io(u16),
    /// Not yet.
    Hold,
}

impl Control {
    pub(super) fn connect(&mut self, request: &Request<'_>, connect: &Connect) {
        let Ok((data, _)) = ConnectData::ref_from_prefix(request.sent) else {
            self.malformed_capsule(format!("a Connect with {} bytes of data", request.sent.len()));
            return self.answer(request, Status::SGL_LENGTH_INVALID.into());
        };
        self.try_connect(request.qpn, request.punt, connect, data, None);
    }

    /// Decides a Connect, for the first time or again: `held_until_ns` is set when it has waited.
    fn try_connect(&mut self, qpn: u32, punt: u32, connect: &Connect, data: &ConnectData, held_until_ns: Option<u64>) {
        self.qps.get_mut(&qpn).expect("the caller has it").connecting = true;
        match self.decide(qpn, connect, data) {
            Ok(Decision::Admin(subsystem)) => self.accept_admin(qpn, punt, connect, data, subsystem),
            Ok(Decision::Io(cntlid)) => self.accept_io(qpn, punt, connect, cntlid),
            Ok(Decision::Hold) => {
                let deadline_ns = held_until_ns.unwrap_or(self.now_ns + HOLD_NS);
                if deadline_ns <= self.now_ns {
                    // No DNR: the host may try again.
                    return self.refuse(qpn, punt, data, Refused(Status::CONNECT_CONTROLLER_BUSY, 0));
                }
                let data = Box::new(*data);
                self.held.push(HeldConnect { qpn, punt, command: *connect, data, deadline_ns });
            }
            Err(refused) => self.refuse(qpn, punt, data, refused),
        }
    }

    /// Looks again at every Connect that waits.
    pub(crate) fn retry_held_connects(&mut self) {
        for held in std::mem::take(&mut self.held) {
            self.try_connect(held.qpn, held.punt, &held.command, &held.data, Some(held.deadline_ns));
        }
    }

    fn decide(&self, qpn: u32, connect: &Connect, data: &ConnectData) -> Result<Decision, Refused> {
        let qp = &self.qps[&qpn];
        if connect.recfmt.get() != 0 {
            return Err(Status::CONNECT_INCOMPATIBLE_FORMAT.into());
        }
        let qid = connect.qid.get();
        if qid != qp.qid || qid > self.queues_max() {
            return Err(ConnectInvalid::QID.into());
        }
        let sqsize = connect.sqsize.get();
        if sqsize == 0 || sqsize >= MAXCMD || sqsize >= qp.depth {
            return Err(ConnectInvalid::SQSIZE.into());
        }
        let host_nqn = data.hostnqn().map_err(|_| ConnectInvalid::HOSTNQN)?;
        let nqn = data.subnqn().map_err(|_| ConnectInvalid::SUBNQN)?;
        let subsystem = self.admitted(nqn, host_nqn)?;
        if qid == 0 {
            self.decide_admin(data, subsystem, host_nqn)
        } else {
            self.decide_io(qid, data, subsystem, host_nqn)
        }
    }

    /// The subsystem of that name, if the host may use it.
    fn admitted(&self, nqn: &str, host_nqn: &str) -> Result<Subsystem, Refused> {
        if nqn == DISCOVERY_NQN {
            return Ok(Subsystem::Discovery);
        }
        let at = self.configuration.subsystems.iter().position(|subsystem| subsystem.nqn == nqn);
        let at = at.ok_or(ConnectInvalid::SUBNQN)?;
        if !self.configuration.subsystems[at].hosts.admit(host_nqn) {
            return Err(Refused(Status::CONNECT_INVALID_HOST.with_dnr(), ConnectInvalid::HOSTNQN.dw0()));
        }
        Ok(Subsystem::Nvm(at))
    }

    fn decide_admin(&self, data: &ConnectData, subsystem: Subsystem, host_nqn: &str) -> Result<Decision, Refused> {
        if data.cntlid.get() != CNTLID_DYNAMIC {
            return Err(ConnectInvalid::CNTLID.into());
        }
        let Subsystem::Nvm(at) = subsystem else { return Ok(Decision::Admin(subsystem)) };
        // A dead association's write must not land after this host's retry of it.
        let drains = self.controllers.iter().any(|(_, controller)| {
            let same = controller.host_nqn == host_nqn && controller.host_id == data.hostid;
            // One that nobody remembers may be anybody's.
            let unknown = controller.subsystem == Subsystem::Unknown;
            controller.is_ending() && (unknown || controller.subsystem == subsystem && same)
        });
        Ok(if drains || self.drives_settling(at) { Decision::Hold } else { Decision::Admin(subsystem) })
    }

    fn decide_io(
        &self,
        qid: u16,
        data: &ConnectData,
        subsystem: Subsystem,
        host_nqn: &str,
    ) -> Result<Decision, Refused> {
        let cntlid = data.cntlid.get();
        let controller = self.controllers.live(cntlid).filter(|controller| controller.subsystem == subsystem);
        let controller = controller.ok_or(ConnectInvalid::CNTLID)?;
        if controller.host_nqn != host_nqn {
            return Err(ConnectInvalid::HOSTNQN.into());
        }
        if controller.host_id != data.hostid {
            return Err(ConnectInvalid::HOSTID.into());
        }
        if subsystem == Subsystem::Discovery || qid > controller.features.queues_granted() {
            return Err(ConnectInvalid::QID.into());
        }
        if !controller.properties.is_ready() {
            return Err(Status::COMMAND_SEQUENCE_ERROR.into());
        }
        let taken = |qp: &crate::Qp| qp.controller == Some(cntlid) && qp.qid == qid;
        match self.qps.values().find(|qp| taken(qp)) {
            Some(old) if old.ending => Ok(Decision::Hold),
            Some(_) => Err(Status::COMMAND_SEQUENCE_ERROR.into()),
            None => Ok(Decision::Io(cntlid)),
        }
    }

    fn accept_admin(&mut self, qpn: u32, punt: u32, connect: &Connect, data: &ConnectData, subsystem: Subsystem) {
        let Some(cntlid) = self.controllers.fresh_cntlid() else {
            return self.refuse(qpn, punt, data, Refused(Status::CONNECT_CONTROLLER_BUSY, 0));
        };
        let mut effects = vec![bind(qpn, cntlid, connect)];
        let mut attached = BTreeMap::new();
        let mut events = Events::default();
        if let Subsystem::Nvm(at) = subsystem {
            attached = self.namespaces_for(at, cntlid);
            effects.extend(attached.values().map(Operation::namespace_add));
            if self.reports_access(subsystem) {
                events.inaccessible = self.inaccessible(at, attached.keys().copied());
            }
        }
        let controller = Controller {
            subsystem,
            host_nqn: data.hostnqn().expect("checked").to_owned(),
            host_id: data.hostid,
            admin_qpn: qpn,
            keep_alive_ms: super::features::rounded_keep_alive_ms(connect.kato.get()),
            attached,
            properties: Properties::default(),
            features: Features::new(self.queues_max()),
            events,
            ending: false,
            told: None,
        };
        self.controllers.by_cntlid.insert(cntlid, controller);
        self.bind_and_answer(qpn, punt, cntlid, effects);
    }

    fn accept_io(&mut self, qpn: u32, punt: u32, connect: &Connect, cntlid: u16) {
        self.bind_and_answer(qpn, punt, cntlid, vec![bind(qpn, cntlid, connect)]);
    }

    fn bind_and_answer(&mut self, qpn: u32, punt: u32, cntlid: u16, effects: Vec<Operation>) {
        self.qps.get_mut(&qpn).expect("the caller has it").controller = Some(cntlid);
        let dw0 = ConnectAccepted::new(cntlid).dw0();
        self.answer_then(qpn, punt, Reply { dw0, effects, ..Reply::default() }, Then::Connected { qpn, punt });
    }

    /// The data plane has bound the queue and the host has its answer.
    pub(crate) fn connect_committed(&mut self, qpn: u32) {
        let Some(qp) = self.qps.get_mut(&qpn).filter(|qp| qp.connecting) else { return };
        qp.connecting = false;
        let (comm_id, qid, address, controller) = (qp.comm_id, qp.qid, qp.address, qp.controller);
        self.keep_connection(comm_id);
        let Some(cntlid) = controller else { return };
        let Some(controller) = self.controllers.live(cntlid) else { return };
        self.notices.push(if qid == 0 {
            let subsystem = self.nqn(controller.subsystem).to_owned();
            Notice::Connected { cntlid, subsystem, host: controller.host_nqn.clone(), address }
        } else {
            Notice::QueueConnected { cntlid, qid }
        });
    }

    /// The data plane cannot bind the queue: nothing of the Connect happened.
    pub(crate) fn connect_refused(&mut self, qpn: u32, punt: u32, text: &str) {
        self.notices.push(Notice::Refused { what: "a Connect".into(), text: text.to_owned() });
        let Some(qp) = self.qps.get_mut(&qpn) else { return };
        let Some(cntlid) = qp.controller.take() else { return };
        qp.connecting = false;
        let (ending, admin) = (qp.ending, qp.qid == 0);
        if admin {
            self.controllers.by_cntlid.remove(&cntlid);
        }
        if !ending {
            let reply = Reply { status: Status::CONNECT_CONTROLLER_BUSY, ..Reply::default() };
            self.answer_then(qpn, punt, reply, Then::Answered { qpn });
        }
        self.remember_again(cntlid);
        self.settle(cntlid);
        self.retry_held_connects();
    }

    fn refuse(&mut self, qpn: u32, punt: u32, data: &ConnectData, Refused(status, dw0): Refused) {
        let qp = self.qps.get_mut(&qpn).expect("the caller has it");
        qp.connecting = false;
        let address = qp.address;
        self.counters.connects_refused += 1;
        let readable = |nqn: Result<&str, _>| nqn.unwrap_or("").escape_default().to_string();
        let (host, subsystem) = (readable(data.hostnqn().map_err(drop)), readable(data.subnqn().map_err(drop)));
        let notice = Notice::ConnectRefused { address, host, subsystem, status, dw0 };
        self.notices.push_noisy(self.now_ns, notice);
        self.answer_then(qpn, punt, Reply { status, dw0, ..Reply::default() }, Then::Answered { qpn });
    }
}

fn bind(qpn: u32, cntlid: u16, connect: &Connect) -> Operation {
    let bind = QpBind {
        qpn: U32::new(qpn),
        cntlid: U16::new(cntlid),
        qid: connect.qid,
        entries: U32::new(u32::from(connect.sqsize.get()) + 1),
    };
    Operation::new(Kind::QpBind, &bind, &[])
}
