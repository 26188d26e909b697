//! The admin commands that the driver sends of its own accord, one after the other: which command each is,
//! what it asks, and what its answer means. Bring-up is such a list (NVMe Base 2.0 §3.5.1 steps 5 to 10), and so is
//! what follows an asynchronous event (§5.2).

use crate::failure::{Reason, text};
use crate::handover::number;
use crate::inventory::{Inventory, Namespace, Unusable, other_command_set};
use crate::quirks::Quirks;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use gantry_wire::nvme::feature::{AsyncEvent, NumberOfQueues, aec, fid};
use gantry_wire::nvme::identify::{self, IdentifyController, IdentifyControllerNvm, IdentifyNamespace, NsidList, cns};
use gantry_wire::nvme::log::{ErrorEntry, SmartHealth, lid};
use gantry_wire::nvme::register::Cap;
use gantry_wire::nvme::{Cid, Cqe, Nsid, Sqe, admin};
use serde::{Deserialize, Serialize};

/// CAP.CSS: one or more I/O command sets.
pub(crate) const COMMAND_SETS: u8 = 1 << 6;

/// VS of those that brought something that is asked for.
const VERSION_1_1: u32 = 0x0001_0100;
const VERSION_1_2: u32 = 0x0001_0200;
const VERSION_1_3: u32 = 0x0001_0300;
const VERSION_2_0: u32 = 0x0002_0000;

/// One command, or a point in the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    IdentifyController,
    /// What the NVM command set adds to it.
    Limits,
    ActiveNamespaces {
        #[serde(with = "number")]
        after: Nsid,
    },
    Namespace(#[serde(with = "number")] Nsid),
    Descriptors(#[serde(with = "number")] Nsid),
    QueueCount,
    EventConfiguration,
    CreateCq(u16),
    CreateSq(u16),
    ReadLog(#[serde(with = "number")] AsyncEvent),
    /// A log that the owner asked for.
    OwnersLog(u8),
    /// Namespaces are looked for one by one.
    Walk,
    /// The namespaces found become the inventory's.
    Adopt,
    /// Bring-up is over.
    BecomeReady,
    /// A rescan is over.
    SayNamespacesChanged,
}

/// Where an I/O queue pair lies, as its create commands say it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueAddresses {
    pub(crate) sq: u64,
    pub(crate) cq: u64,
    pub(crate) entries: u16,
}

/// What the jobs know and find.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Jobs {
    pub(crate) queue: VecDeque<Job>,
    pub(crate) inventory: Inventory,
    pub(crate) io_queues: u16,
    /// From CAP and VS.
    pub(crate) version: u32,
    pub(crate) mpsmin: u8,
    /// CAP.CSS: it knows I/O command sets.
    command_sets: bool,
    quirks: Quirks,
    /// Namespaces are looked for one by one: an inactive one is none.
    walking: bool,
    /// OAES: events that the controller can send.
    oaes: u32,
    /// AERL + 1.
    pub(crate) async_limit: u16,
    /// ELPE + 1, as many as a page holds.
    error_entries: u8,
    found: Vec<Namespace>,
    #[serde(with = "number")]
    left_out: Vec<(Nsid, Unusable)>,
    rescan_waits: bool,
}

impl Job {
    /// The command's name, for a failure's text.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Job::IdentifyController => "Identify Controller",
            Job::Limits => "Identify I/O Command Set specific Controller",
            Job::ActiveNamespaces { .. } => "Identify Active Namespace ID list",
            Job::Namespace(_) => "Identify Namespace",
            Job::Descriptors(_) => "Identify Namespace Identification Descriptors",
            Job::QueueCount => "Set Features Number of Queues",
            Job::EventConfiguration => "Set Features Asynchronous Event Configuration",
            Job::CreateCq(_) => "Create I/O Completion Queue",
            Job::CreateSq(_) => "Create I/O Submission Queue",
            Job::ReadLog(_) | Job::OwnersLog(_) => "Get Log Page",
            Job::Walk | Job::Adopt | Job::BecomeReady | Job::SayNamespacesChanged => "no command",
        }
    }
}

impl Jobs {
    /// The list of a bring-up.
    pub(crate) fn bring_up(io_queues: u16, version: u32, cap: Cap, quirks: Quirks) -> Jobs {
        let (mpsmin, command_sets) = (cap.mpsmin(), cap.css() & COMMAND_SETS != 0);
        let mut jobs = Jobs { io_queues, version, mpsmin, command_sets, quirks, ..Jobs::default() };
        jobs.queue.push_back(Job::IdentifyController);
        if jobs.asks_for_limits() {
            jobs.queue.push_back(Job::Limits);
        }
        jobs.queue.push_back(jobs.first_look());
        jobs.queue.extend([Job::Adopt, Job::QueueCount, Job::EventConfiguration]);
        for qid in 1..=io_queues {
            jobs.queue.extend([Job::CreateCq(qid), Job::CreateSq(qid)]);
        }
        jobs.queue.push_back(Job::BecomeReady);
        jobs
    }

    /// How namespaces are looked for.
    fn first_look(&self) -> Job {
        if self.asks_for_a_list() { Job::ActiveNamespaces { after: Nsid(0) } } else { Job::Walk }
    }

    /// CNS 06 came with NVMe 2.0 and with I/O command sets.
    fn asks_for_limits(&self) -> bool {
        self.version >= VERSION_2_0 || self.command_sets
    }

    /// CNS 02 came with NVMe 1.1.
    fn asks_for_a_list(&self) -> bool {
        self.version >= if self.quirks.plain_identify { VERSION_1_2 } else { VERSION_1_1 }
    }

    /// CNS 03 came with NVMe 1.3.
    fn asks_for_descriptors(&self) -> bool {
        (self.version >= VERSION_1_3 || self.command_sets) && !self.quirks.no_descriptors
    }

    /// Bytes of a log that the owner may ask for.
    pub(crate) fn log_length(&self, log: u8) -> u32 {
        match log {
            lid::ERROR_INFORMATION => u32::from(self.error_entries.max(1)) * size_of::<ErrorEntry>() as u32,
            _ => size_of::<SmartHealth>() as u32,
        }
    }

    /// A log that was read into `page`. Of the errors, those that there are: entries without a count come last and say nothing
    /// (§5.16.1.2).
    pub(crate) fn log<'a>(&self, log: u8, page: &'a [u8; identify::LEN]) -> &'a [u8] {
        let page = &page[..self.log_length(log) as usize];
        if log != lid::ERROR_INFORMATION {
            return page;
        }
        let entries = page.chunks_exact(size_of::<ErrorEntry>());
        let errors = entries.take_while(|entry| entry[..size_of::<u64>()] != [0; size_of::<u64>()]).count();
        &page[..errors * size_of::<ErrorEntry>()]
    }

    /// An asynchronous event came: reading its log lets the controller send the next of that type.
    pub(crate) fn event(&mut self, event: AsyncEvent) {
        self.queue.push_back(Job::ReadLog(event));
        if event == AsyncEvent::NAMESPACE_CHANGED && !self.rescan_waits {
            self.rescan_waits = true;
            self.queue.extend([self.first_look(), Job::Adopt, Job::SayNamespacesChanged]);
        }
    }

    /// The namespaces found by a scan become the inventory's.
    pub(crate) fn adopt(&mut self) {
        self.inventory.namespaces = core::mem::take(&mut self.found);
        self.inventory.left_out = core::mem::take(&mut self.left_out);
        self.inventory.forget_doubles();
        self.rescan_waits = false;
    }

    /// The command of `job`, with `page` as its data buffer.
    pub(crate) fn command(&self, job: Job, cid: Cid, page: u64, addresses: QueueAddresses) -> Sqe {
        let identify = |cns: u8, nsid: Nsid| {
            let mut sqe = Sqe::new(admin::IDENTIFY, cid, nsid);
            sqe.set_prps(page, 0);
            sqe.cdw10 = u32::from(cns).into();
            sqe
        };
        let set_feature = |fid: u8, value: u32| {
            let mut sqe = Sqe::new(admin::SET_FEATURES, cid, Nsid(0));
            sqe.cdw10 = u32::from(fid).into();
            sqe.cdw11 = value.into();
            sqe
        };
        let create = |opcode: u8, qid: u16, at: u64, flags: u32| {
            let mut sqe = Sqe::new(opcode, cid, Nsid(0));
            sqe.set_prps(at, 0);
            sqe.cdw10 = (u32::from(qid) | u32::from(addresses.entries - 1) << 16).into();
            sqe.cdw11 = flags.into();
            sqe
        };
        match job {
            Job::IdentifyController => identify(cns::CONTROLLER, Nsid(0)),
            // Of the NVM command set: CSI 0.
            Job::Limits => identify(cns::IO_CONTROLLER, Nsid(0)),
            Job::ActiveNamespaces { after } => identify(cns::ACTIVE_NSIDS, after),
            Job::Namespace(nsid) => identify(cns::NAMESPACE, nsid),
            Job::Descriptors(nsid) => identify(cns::NAMESPACE_DESCRIPTORS, nsid),
            Job::QueueCount => {
                let count = self.io_queues - 1;
                set_feature(fid::NUMBER_OF_QUEUES, NumberOfQueues { submission: count, completion: count }.emit())
            }
            // OAES's notices have the same bits here; the critical warnings need no capability.
            Job::EventConfiguration => set_feature(
                fid::ASYNC_EVENT_CONFIGURATION,
                aec::SMART_MASK & 0x1f | self.oaes & (aec::NAMESPACE_ATTRIBUTE | aec::FIRMWARE_ACTIVATION),
            ),
            // Physically contiguous, no interrupts: the queue is polled (§5.4, §5.5).
            Job::CreateCq(qid) => create(admin::CREATE_IO_CQ, qid, addresses.cq, 1),
            Job::CreateSq(qid) => create(admin::CREATE_IO_SQ, qid, addresses.sq, 1 | u32::from(qid) << 16),
            Job::OwnersLog(log) => {
                let mut sqe = Sqe::new(admin::LOG_PAGE, cid, Nsid::ALL);
                sqe.set_prps(page, 0);
                // Retaining events: those are read and cleared by themselves.
                sqe.cdw10 = (u32::from(log) | 1 << 15 | (self.log_length(log) / 4 - 1) << 16).into();
                sqe
            }
            Job::ReadLog(event) => {
                let mut sqe = Sqe::new(admin::LOG_PAGE, cid, Nsid::ALL);
                sqe.set_prps(page, 0);
                // 512 bytes, but the whole of the changed namespaces: it is cleared only when read to its end.
                let length = if event.log == lid::CHANGED_NAMESPACES { 4096 } else { 512 };
                sqe.cdw10 = (u32::from(event.log) | (length / 4 - 1) << 16).into();
                sqe
            }
            Job::Walk | Job::Adopt | Job::BecomeReady | Job::SayNamespacesChanged => {
                unreachable!("{job:?} is no command")
            }
        }
    }

    /// Takes the answer of `job`; `page` is what the controller put in the data buffer.
    pub(crate) fn answer(&mut self, job: Job, cqe: &Cqe, page: &[u8; identify::LEN]) -> Result<(), Reason> {
        let status = cqe.status();
        if !status.is_success() {
            return match job {
                // Not every drive has them; without the events and the logs it still serves.
                Job::Limits | Job::Descriptors(_) | Job::EventConfiguration | Job::ReadLog(_) | Job::OwnersLog(_) => {
                    Ok(())
                }
                Job::ActiveNamespaces { after: Nsid(0) } => {
                    self.walk();
                    Ok(())
                }
                // It went away between the list and the question, or is of a command set that answers others; its
                // descriptors will say so.
                Job::Namespace(nsid) => {
                    if !self.walking {
                        self.left_out.push((nsid, Unusable::Undescribed));
                    }
                    Ok(())
                }
                _ => Err(Reason::Command { what: job.what(), status }),
            };
        }
        match job {
            Job::IdentifyController => self.controller(page),
            Job::Limits => {
                let nvm = IdentifyControllerNvm::parse(page).expect("a whole page");
                self.inventory.limit(nvm, self.mpsmin);
                Ok(())
            }
            Job::ActiveNamespaces { after } => self.active(after, page),
            Job::Namespace(nsid) => self.namespace(nsid, page),
            Job::Descriptors(nsid) => self.descriptors(nsid, page),
            Job::QueueCount => {
                self.queue_count(NumberOfQueues::parse(cqe.dw0.get()));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn controller(&mut self, page: &[u8]) -> Result<(), Reason> {
        let controller = IdentifyController::parse(page).expect("a whole page");
        let makes_no_sense = |what| Err(Reason::Identify { nsid: Nsid(0), what });
        if controller.sqes & 0xf != 6 {
            return makes_no_sense(text::SQES);
        }
        if controller.cqes & 0xf != 4 {
            return makes_no_sense(text::CQES);
        }
        // 0 is a drive from before there were types.
        if controller.cntrltype > 1 {
            return Err(Reason::ControllerType { cntrltype: controller.cntrltype });
        }
        self.error_entries = controller.elpe.saturating_add(1).min((identify::LEN / size_of::<ErrorEntry>()) as u8);
        let io_entries = self.inventory.io_entries;
        self.inventory = Inventory::of(controller, self.version, self.mpsmin, self.quirks);
        self.inventory.io_entries = io_entries;
        self.oaes = controller.oaes.get();
        self.async_limit = u16::from(controller.aerl) + 1;
        Ok(())
    }

    /// Looks for namespaces one by one, as a drive without a list of them wants it: up to NN, but no further than are kept.
    pub(crate) fn walk(&mut self) {
        self.walking = true;
        let most = Inventory::NAMESPACES_MAX as u32;
        if self.inventory.nsid_max > most {
            self.left_out.push((Nsid(most + 1), Unusable::TooMany));
        }
        for nsid in (1..=self.inventory.nsid_max.min(most)).rev() {
            self.ask(Nsid(nsid));
        }
    }

    /// Asks for a namespace next.
    fn ask(&mut self, nsid: Nsid) {
        if self.asks_for_descriptors() {
            self.queue.push_front(Job::Descriptors(nsid));
        }
        self.queue.push_front(Job::Namespace(nsid));
    }

    /// A piece of the list: what it names is asked before the next piece is.
    fn active(&mut self, after: Nsid, page: &[u8]) -> Result<(), Reason> {
        let list = NsidList::parse(page).expect("a whole page");
        let mut last = after;
        let mut named = Vec::new();
        self.walking = false;
        for nsid in list.iter() {
            if nsid <= last {
                return Err(Reason::Identify { nsid, what: text::NSID_ORDER });
            }
            last = nsid;
            // Those of this piece and those before it: bounded, whatever the drive says.
            if self.found.len() + self.left_out.len() + named.len() >= Inventory::NAMESPACES_MAX {
                self.left_out.push((nsid, Unusable::TooMany));
                break;
            }
            if nsid.0 > Inventory::NSID_MAX {
                self.left_out.push((nsid, Unusable::Nsid));
                continue;
            }
            named.push(nsid);
        }
        if named.len() == list.nsid.len() {
            self.queue.push_front(Job::ActiveNamespaces { after: last });
        }
        for nsid in named.into_iter().rev() {
            self.ask(nsid);
        }
        Ok(())
    }

    fn namespace(&mut self, nsid: Nsid, page: &[u8]) -> Result<(), Reason> {
        let identify = IdentifyNamespace::parse(page).expect("a whole page");
        match Namespace::of(nsid, identify, &self.inventory, self.quirks) {
            Ok(namespace) => self.found.push(namespace),
            Err(Unusable::Empty) if self.walking => {}
            Err(why) => self.left_out.push((nsid, why)),
        }
        Ok(())
    }

    fn descriptors(&mut self, nsid: Nsid, page: &[u8]) -> Result<(), Reason> {
        let other = other_command_set(page);
        if let Some(namespace) = self.found.last_mut().filter(|namespace| namespace.nsid == nsid) {
            match other {
                None => namespace.describe(page, self.quirks),
                Some(why) => {
                    self.found.pop();
                    self.left_out.push((nsid, why));
                }
            }
        } else if let Some(last) = self.left_out.last_mut().filter(|(left_out, _)| *left_out == nsid)
            && let Some(why) = other
        {
            // What makes it another command set's is the reason for whatever looked wrong before.
            last.1 = why;
        }
        Ok(())
    }

    /// A drive may grant fewer queue pairs than it was asked for, and one at least (§5.27.1.5).
    fn queue_count(&mut self, granted: NumberOfQueues) {
        let granted = granted.submission.min(granted.completion).saturating_add(1);
        self.io_queues = self.io_queues.min(granted);
        let most = self.io_queues;
        self.queue.retain(|job| !matches!(job, Job::CreateCq(qid) | Job::CreateSq(qid) if *qid > most));
    }
}
