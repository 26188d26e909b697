//! NVMe-oF controllers: what each one is, and which command goes to which file.
//!
//! NVMe-oF 1.1, NVMe Base 2.0. The data plane punts Fabrics and Admin commands with their data fetched, answers Keep
//! Alive by itself, and serves I/O commands without control.

mod access;
mod admin;
mod adopt;
mod connect;
mod discovery;
mod events;
mod features;
mod health;
mod identify;
mod log_page;
mod property;
mod remember;

pub(crate) use connect::HeldConnect;
pub(crate) use health::Logs;

use crate::random::Random;
use crate::transaction::{Operation, Then};
use crate::{Control, Malformed, Notice};
use events::Events;
use features::Features;
use gantry::channel::Kind;
use gantry::channel::operation::{Answer, NamespaceAdd};
use gantry::channel::slow_path::Capsule;
use gantry_wire::fabrics::{Command, DISCOVERY_NQN};
use gantry_wire::nvme::{Sqe, Status};
use property::Properties;
use std::collections::BTreeMap;
use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::{U16, U32};

/// Most entries of a queue (MAXCMD, CAP.MQES + 1): bounds what one host can have outstanding on one QP.
pub(crate) const MAXCMD: u16 = 128;
/// Most I/O queues of a controller.
pub(crate) const QUEUES_MAX: u16 = 64;
/// CNTLIDs 0xfff0 and up have meanings of their own (NVMe-oF 1.1 §3.3).
const CNTLID_MAX: u16 = 0xffef;

/// Which subsystem a controller belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subsystem {
    /// The discovery subsystem.
    Discovery,
    /// This one of the configuration.
    Nvm(usize),
    /// One that the configuration does not have any more: only controllers that end belong to it.
    Gone,
    /// Nobody knows which: only controllers that end and are not remembered belong to it.
    Unknown,
}

/// An entry of the data plane's command table, as it was asked for.
pub(crate) type Entry = [u8; size_of::<NamespaceAdd>()];

/// The drive's NSID in an entry.
fn drive_nsid(entry: &Entry) -> u32 {
    NamespaceAdd::ref_from_bytes(entry).expect("an entry is its body").drive_nsid.get()
}

/// One controller.
#[derive(Debug)]
pub(crate) struct Controller {
    pub(crate) subsystem: Subsystem,
    pub(crate) host_nqn: String,
    pub(crate) host_id: [u8; 16],
    pub(crate) admin_qpn: u32,
    /// The host's own setting; [`enforced_ms`](Self::enforced_ms) is the data plane's.
    pub(crate) keep_alive_ms: u32,
    /// Its entries in the data plane's command table, by NSID.
    pub(crate) attached: BTreeMap<u32, Entry>,
    pub(crate) properties: Properties,
    features: Features,
    events: Events,
    /// It has no way back: its QPs drain.
    ending: bool,
    /// What the data plane was last asked to remember: keep-alive timeout and blob.
    told: Option<(u32, Vec<u8>)>,
}

/// All controllers by CNTLID.
#[derive(Debug)]
pub(crate) struct Controllers {
    by_cntlid: BTreeMap<u16, Controller>,
    next_cntlid: u16,
}

/// What a command is answered with.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    status: Status,
    dw0: u32,
    dw1: u32,
    data: Vec<u8>,
    /// Operations that happen together with the answer.
    effects: Vec<Operation>,
}

impl Reply {
    fn dw0(dw0: u32) -> Self {
        Self { dw0, ..Self::default() }
    }

    fn data(data: impl Into<Vec<u8>>) -> Self {
        Self { data: data.into(), ..Self::default() }
    }
}

/// A refusal, final: the same command will be refused again.
impl From<Status> for Reply {
    fn from(status: Status) -> Self {
        Self { status: status.with_dnr(), ..Self::default() }
    }
}

/// A command as its handler sees it.
#[derive(Clone, Copy)]
struct Request<'a> {
    sqe: &'a Sqe,
    qpn: u32,
    punt: u32,
    /// Bytes that the host takes back.
    wanted: usize,
    /// Data the host sent.
    sent: &'a [u8],
}

impl Controllers {
    pub(crate) fn new(random: &mut Random) -> Self {
        // Not from one: a control that comes back should not give out what its last run gave out.
        let next_cntlid = 1 + (random.u32() % u32::from(CNTLID_MAX)) as u16;
        Self { by_cntlid: BTreeMap::new(), next_cntlid }
    }

    /// An id that no controller has, ending ones included.
    fn fresh_cntlid(&mut self) -> Option<u16> {
        for _ in 0..CNTLID_MAX {
            let cntlid = self.next_cntlid;
            self.next_cntlid = if cntlid >= CNTLID_MAX { 1 } else { cntlid + 1 };
            if !self.by_cntlid.contains_key(&cntlid) {
                return Some(cntlid);
            }
        }
        None
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, &Controller)> {
        self.by_cntlid.iter().map(|(cntlid, controller)| (*cntlid, controller))
    }

    fn find(&self, cntlid: u16) -> Option<&Controller> {
        self.by_cntlid.get(&cntlid)
    }

    fn find_mut(&mut self, cntlid: u16) -> Option<&mut Controller> {
        self.by_cntlid.get_mut(&cntlid)
    }

    /// A controller that takes commands.
    pub(crate) fn live(&self, cntlid: u16) -> Option<&Controller> {
        self.find(cntlid).filter(|controller| !controller.ending)
    }

    /// Controllers that serve namespaces, and their subsystem's place in the configuration.
    pub(crate) fn of_nvm_subsystems(&self) -> Vec<(u16, usize)> {
        let live = self.iter().filter(|(_, controller)| !controller.ending);
        live.filter_map(|(cntlid, controller)| match controller.subsystem {
            Subsystem::Nvm(at) => Some((cntlid, at)),
            _ => None,
        })
        .collect()
    }

    /// A controller's subsystem and the QPN of its admin queue.
    pub(crate) fn whose(&self, cntlid: u16) -> Option<(Subsystem, u32)> {
        self.find(cntlid).map(|controller| (controller.subsystem, controller.admin_qpn))
    }

    pub(crate) fn exists(&self, cntlid: u16) -> bool {
        self.by_cntlid.contains_key(&cntlid)
    }

    /// The entries of a live controller.
    pub(crate) fn attached(&mut self, cntlid: u16) -> Option<&mut BTreeMap<u32, Entry>> {
        self.find_mut(cntlid).filter(|controller| !controller.ending).map(|controller| &mut controller.attached)
    }

    /// Whether the controller was alive until now.
    pub(crate) fn begin_ending(&mut self, cntlid: u16) -> bool {
        let live = self.find_mut(cntlid).filter(|controller| !controller.ending);
        live.map(|controller| controller.ending = true).is_some()
    }

    /// See [`Control::settle`].
    pub(crate) fn settle(&mut self, cntlid: u16, io_drained: bool, drained: bool) {
        let Some(controller) = self.find_mut(cntlid) else { return };
        if io_drained {
            controller.properties.io_drained();
        }
        if drained && controller.ending {
            self.by_cntlid.remove(&cntlid);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.by_cntlid.clear();
    }
}

impl Controller {
    pub(crate) fn is_ending(&self) -> bool {
        self.ending
    }

    /// Bytes that this control keeps for its commands: for tests of bounds.
    pub(crate) fn held_events(&self) -> usize {
        self.events.held()
    }
}

impl Control {
    /// A Fabrics or Admin command.
    pub(crate) fn handle_capsule(&mut self, capsule: &Capsule, data: &[u8]) {
        self.counters.capsules += 1;
        let (qpn, punt) = (capsule.qpn.get(), capsule.punt.get());
        let Some(qp) = self.qps.get(&qpn) else { return self.destroy_stray(qpn) };
        if qp.ending {
            return;
        }
        let (comm_id, qid, controller) = (qp.comm_id, qp.qid, qp.controller);
        // One lcore has bound the queue and answered its Connect already: the others, and so COMMITTED, may be later than
        // what the host sends next.
        if controller == Some(capsule.cntlid.get()) {
            self.connect_committed(qpn);
        }
        let connecting = self.qps.get(&qpn).is_some_and(|qp| qp.connecting);
        self.establish(comm_id);
        let sqe = Sqe::parse(&capsule.sqe).expect("a capsule carries 64 bytes of command");
        let wanted = capsule.wanted.get() as usize;
        let request = Request { sqe, qpn, punt, wanted, sent: data };
        let fabrics = Command::parse(&capsule.sqe);
        if sqe.fuse() != 0 {
            self.malformed_capsule(format!("opcode {:#04x} as part of a fused pair", sqe.opcode));
            return self.answer(&request, Status::INVALID_FIELD.into());
        }
        let reply = match (fabrics, controller) {
            (Some(Command::Connect(connect)), None) if !connecting => return self.connect(&request, connect),
            // Before its Connect has succeeded a queue takes nothing else, and afterwards no second one.
            (Some(Command::Connect(_)), _) | (_, None) => Status::COMMAND_SEQUENCE_ERROR.into(),
            (_, Some(_)) if connecting => Status::COMMAND_SEQUENCE_ERROR.into(),
            (Some(command), Some(cntlid)) if qid == 0 => self.fabrics(cntlid, &command),
            (None, Some(cntlid)) if qid == 0 => match self.admin(cntlid, &request) {
                Some(reply) => reply,
                // Held: an event will answer it.
                None => return,
            },
            (_, Some(_)) => Status::INVALID_OPCODE.into(),
        };
        if !reply.status.is_success() {
            self.counters.commands_refused += 1;
        }
        self.answer(&request, reply);
    }

    fn fabrics(&mut self, cntlid: u16, command: &Command<'_>) -> Reply {
        match command {
            Command::PropertyGet(get) => self.property_get(cntlid, get),
            Command::PropertySet(set) => self.property_set(cntlid, set),
            Command::Connect(_) => Status::COMMAND_SEQUENCE_ERROR.into(),
            // No authentication is asked for and Disconnect is not offered (OFCS 0).
            Command::AuthSend(_) | Command::AuthReceive(_) | Command::Disconnect(_) | Command::Unknown(_) => {
                Status::INVALID_OPCODE.into()
            }
        }
    }

    fn answer(&mut self, request: &Request<'_>, reply: Reply) {
        let then = Then::Answered { qpn: request.qpn };
        self.answer_then(request.qpn, request.punt, reply, then);
    }

    /// Answers a capsule together with what the answer causes, and what must be remembered from then on: all of it
    /// happens, or nothing does and the capsule still waits.
    ///
    /// An effect outside the data plane (Format NVM, firmware) could not be taken back with the transaction: it has to
    /// be written down before it is begun, and told from that record when the capsule comes again. There is none yet.
    fn answer_then(&mut self, qpn: u32, punt: u32, mut reply: Reply, then: Then) {
        let mut operations = std::mem::take(&mut reply.effects);
        operations.push(answer(qpn, punt, &reply));
        if let Some(cntlid) = self.qps.get(&qpn).and_then(|qp| qp.controller)
            && let Some(remember) = self.remember(cntlid)
        {
            // First: the controller may begin with it.
            operations.insert(0, remember);
        }
        self.transactions.submit(&mut self.session, operations, then);
    }

    fn malformed_capsule(&mut self, text: String) {
        self.counters.malformed_capsules += 1;
        self.notices.push_noisy(self.now_ns, Notice::Malformed { what: Malformed::Capsule, text });
    }

    /// NQN of a subsystem.
    pub(crate) fn nqn(&self, subsystem: Subsystem) -> &str {
        match subsystem {
            Subsystem::Discovery => DISCOVERY_NQN,
            Subsystem::Nvm(at) => &self.configuration.subsystems[at].nqn,
            Subsystem::Gone | Subsystem::Unknown => "",
        }
    }

    /// I/O queues that a controller may have.
    fn queues_max(&self) -> u16 {
        let qps = self.session.limits.map_or(0, |limits| limits.qps);
        u16::try_from(qps.saturating_sub(1)).unwrap_or(u16::MAX).clamp(1, QUEUES_MAX)
    }
}

/// An answer as an operation, without its effects.
fn answer(qpn: u32, punt: u32, reply: &Reply) -> Operation {
    let answer = Answer {
        qpn: U32::new(qpn),
        punt: U32::new(punt),
        status: U16::new(reply.status.0),
        reserved: U16::ZERO,
        dw0: U32::new(reply.dw0),
        dw1: U32::new(reply.dw1),
    };
    Operation::new(Kind::Answer, &answer, &reply.data)
}
