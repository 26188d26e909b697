//! The life of an association with one controller: begun, ready, closed or failed; keep alive and asynchronous events.
//! What is sent on the way is `sequence.rs`'s. NVMe-oF 1.1 §3.3, NVMe Base 2.0 §5.2, §5.18.

use super::queue::Purpose;
use super::ring::ENTRIES_MAX;
use super::sequence::{Closing, Step};
use super::{Data, Host, Violation};
use gantry_wire::cm::Reason;
use gantry_wire::fabrics::DiscoveryEntry;
use gantry_wire::nvme::feature::AsyncEvent;
use gantry_wire::nvme::register::Cap;
use gantry_wire::nvme::{Cid, Cqe, IdentifyController, Nsid, Sqe, Status, admin};
use std::collections::BTreeMap;
use zerocopy::IntoBytes;

/// Where an association stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// None was ever asked for.
    #[default]
    Idle,
    /// On the way to [`State::Ready`], or through discovery; after a reset again.
    Connecting,
    /// Commands are taken.
    Ready,
    /// On the way to [`State::Disconnected`].
    Disconnecting,
    /// Over, by either side's wish.
    Disconnected,
    /// Over, for this reason.
    Failed(Failure),
}

/// Why an association has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody answered ARP.
    NoRoute,
    /// Nobody answered a REQ.
    Unreachable,
    /// REJ.
    Rejected {
        /// Its reason.
        reason: Reason,
        /// The NVMe status of a consumer's reject.
        sts: Option<u16>,
    },
    /// Connect failed.
    Connect {
        /// The queue.
        qid: u16,
        /// Its status.
        status: Status,
        /// Dword 0: which parameter.
        dw0: u32,
    },
    /// A command that the host cannot do without failed.
    Command {
        /// Which.
        name: &'static str,
        /// Its status.
        status: Status,
    },
    /// The controller says something that a Linux host refuses to work with.
    Unacceptable(&'static str),
    /// CSTS.RDY or CSTS.SHST did not follow in time.
    NotReady,
    /// A command was not answered in time.
    CommandTimeout,
    /// The transport gave up.
    Transport(gantry_roce::Failure),
    /// The target broke a rule that ends the association.
    Violation(Violation),
    /// The target did what a capsule of [`Host::violate`] asked for, which this host must refuse.
    Provoked,
}

/// A namespace as the controller shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its NSID.
    pub nsid: u32,
    /// Bytes of a block.
    pub block_size: u32,
    /// Blocks.
    pub blocks: u64,
    /// UUID, when it has one.
    pub uuid: Option<[u8; 16]>,
    /// NGUID; zeroes for none.
    pub nguid: [u8; 16],
    /// EUI64; zeroes for none.
    pub eui64: [u8; 8],
    /// It takes no writes (NSATTR bit 0).
    pub read_only: bool,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) subnqn: String,
    pub(super) io_queues: u16,
    pub(super) depth: u16,
    pub(super) kato_ms: u32,
    pub(super) discovery: bool,
}

/// The association with one controller.
#[derive(Default)]
pub(super) struct Association {
    pub(super) state: State,
    pub(super) namespaces: Vec<Namespace>,
    pub(super) controller: Option<Box<IdentifyController>>,
    pub(super) discovery_log: Vec<DiscoveryEntry>,
    pub(super) wanted: Option<Wanted>,
    pub(super) step: Step,
    /// Comes when the sequence that runs has ended.
    pub(super) closing: Option<Closing>,
    pub(super) cap: Cap,
    pub(super) cntlid: u16,
    pub(super) io_queues: u16,
    pub(super) io_entries: u16,
    pub(super) in_capsule: u32,
    pub(super) log_entries: u64,
    /// Namespaces still to be looked at, and those found meanwhile.
    pub(super) nsids: Vec<u32>,
    pub(super) found: Vec<Namespace>,
    pub(super) uuid: Option<[u8; 16]>,
    /// Namespaces changed while they were looked at.
    pub(super) look_again: bool,
    /// Which of them can be reached changed while something else was asked.
    pub(super) ask_access: bool,
    /// ANA states, by NSID.
    pub(super) access: BTreeMap<u32, u8>,
    /// When the step is tried again, and until when.
    pub(super) poll_at_ns: Option<u64>,
    pub(super) until_ns: u64,
    pub(super) keep_alive_at_ns: Option<u64>,
    pub(super) keep_alive_every_ns: u64,
}

impl Association {
    pub(super) fn deadline_ns(&self) -> u64 {
        self.poll_at_ns.unwrap_or(u64::MAX).min(self.keep_alive_at_ns.unwrap_or(u64::MAX))
    }

    pub(super) fn wanted(&self) -> &Wanted {
        self.wanted.as_ref().expect("an association is asked for")
    }
}

impl Host {
    pub(super) fn begin(&mut self, wanted: Wanted) {
        let idle = matches!(self.association.state, State::Idle | State::Disconnected | State::Failed(_));
        self.reconnect_at_ns = u64::MAX;
        assert!(idle, "connected already: {:?}", self.association.state);
        assert!(wanted.io_queues == 0 || (4..=ENTRIES_MAX).contains(&wanted.depth), "a depth of {}", wanted.depth);
        self.association = Association { wanted: Some(wanted), state: State::Connecting, ..Association::default() };
        self.association.step = Step::FindTarget;
        if self.link.target_mac.is_some() {
            self.target_found();
        } else {
            self.arp_sent = 0;
            self.ask_for_target();
        }
    }

    /// Releases the I/O queues, shuts the controller down, releases the admin queue. Commands that are outstanding end
    /// as aborted. Of no effect when there is no association, but that the host stops to connect again by itself.
    pub fn disconnect(&mut self) {
        self.reconnect_at_ns = u64::MAX;
        self.close(Closing::Disconnect);
    }

    /// Resets the controller and connects again, as after an error.
    pub fn reset(&mut self) {
        self.close(Closing::Reset);
    }

    pub(super) fn close(&mut self, closing: Closing) {
        if matches!(self.association.state, State::Ready | State::Connecting) {
            self.association.closing = Some(closing);
            self.settle();
        }
    }

    /// The MAC address is known.
    pub(super) fn target_found(&mut self) {
        if self.association.step == Step::FindTarget {
            self.enter(Step::Cm(0));
        }
    }

    /// The REP of the queue that the sequence waits for.
    pub(super) fn queue_connected(&mut self) {
        let Step::Cm(qid) = self.association.step else { return };
        let more = qid != 0 && qid < self.association.io_queues;
        self.enter(match qid {
            0 => Step::Connect(0),
            _ if more => Step::Cm(qid + 1),
            _ => Step::Connect(1),
        });
    }

    /// A connection has ended.
    pub(super) fn queue_released(&mut self, by_target: bool) {
        let all_io = self.queues.iter().all(|queue| queue.qid == 0 || queue.connection.is_closed());
        match self.association.step {
            Step::ReleaseIo(closing) if all_io => {
                let admin_alive = self.queues.first().is_some_and(|queue| queue.connection.is_established());
                self.keep_queues(1);
                if admin_alive {
                    self.enter(Step::Stop(closing));
                } else {
                    self.over(State::Disconnected);
                    self.reconnect_later(closing == Closing::Reset);
                }
            }
            Step::ReleaseIo(_) => {}
            Step::ReleaseAdmin(closing) => {
                self.over(State::Disconnected);
                if closing == Closing::Reset {
                    let wanted = self.association.wanted.clone().expect("it was connected");
                    self.begin(wanted);
                }
            }
            _ if by_target => self.dismissed(),
            _ => {}
        }
    }

    /// Ends everything for a reason. The target is told where it can be.
    pub(super) fn fail(&mut self, failure: super::Failure) {
        if matches!(self.association.state, State::Connecting | State::Ready | State::Disconnecting) {
            self.release_all();
            // A wish to disconnect has come true all the same.
            let again = self.association.state != State::Disconnecting;
            self.over(State::Failed(failure));
            self.reconnect_later(again);
        }
    }

    /// After what [`HostConfig::reconnect_ms`](super::HostConfig::reconnect_ms) says, if it says anything.
    fn reconnect_later(&mut self, again: bool) {
        let delay_ms = self.config.reconnect_ms.filter(|_| again && !self.association.wanted().discovery);
        self.reconnect_at_ns = delay_ms.map_or(u64::MAX, |delay_ms| self.now_ns + delay_ms * 1_000_000);
    }

    pub(super) fn connect_again(&mut self) {
        self.counters.reconnects += 1;
        let wanted = self.association.wanted().clone();
        self.begin(wanted);
    }

    /// The target has ended a connection unasked.
    fn dismissed(&mut self) {
        let again = self.config.reconnect_ms.is_some() && self.association.state != State::Disconnecting;
        if again {
            self.release_all();
        }
        self.over(State::Disconnected);
        self.reconnect_later(again);
    }

    /// Tells the target that every connection ends.
    fn release_all(&mut self) {
        for queue in &mut self.queues {
            if queue.connection.is_established() {
                self.outgoing.push_back(queue.connection.release(self.now_ns, &mut self.link));
            }
        }
    }

    fn over(&mut self, state: State) {
        self.stop_queues();
        let association = &mut self.association;
        association.state = state;
        association.step = Step::Idle;
        association.closing = None;
        association.poll_at_ns = None;
        association.keep_alive_at_ns = None;
    }

    /// The sequence has come to an end: what was put off begins, or users have their turn.
    fn settle(&mut self) {
        if self.association.step != Step::Idle {
            return;
        }
        if let Some(closing) = self.association.closing.take() {
            self.association.keep_alive_at_ns = None;
            self.association.state = match closing {
                Closing::Disconnect => State::Disconnecting,
                Closing::Reset => State::Connecting,
            };
            self.enter(Step::ReleaseIo(closing));
        } else if std::mem::take(&mut self.association.look_again) {
            self.enter(Step::IdentifyIoController);
        } else if std::mem::take(&mut self.association.ask_access) {
            self.enter(Step::LogAna);
        }
    }

    pub(super) fn ready(&mut self) {
        self.association.step = Step::Idle;
        if self.association.state == State::Connecting && !self.association.wanted().discovery {
            self.association.state = State::Ready;
            let every_ns = self.association.keep_alive_every_ns;
            self.association.keep_alive_at_ns = (every_ns > 0).then(|| self.now_ns + every_ns);
        }
        self.settle();
    }

    pub(super) fn association_deadline(&mut self) {
        let now_ns = self.now_ns;
        if self.association.poll_at_ns.is_some_and(|at_ns| now_ns >= at_ns) {
            self.association.poll_at_ns = None;
            self.enter(self.association.step);
        }
        if self.association.keep_alive_at_ns.is_some_and(|at_ns| now_ns >= at_ns) {
            self.association.keep_alive_at_ns = Some(now_ns + self.association.keep_alive_every_ns);
            if self.queues[0].room() > 0 && !self.queues[0].is_outstanding(Purpose::KeepAlive) {
                self.counters.keep_alives += 1;
                let sqe = Sqe::new(admin::KEEP_ALIVE, Cid(0), Nsid(0));
                self.send(0, Purpose::KeepAlive, sqe_bytes(&sqe), Data::None);
            }
        }
    }

    /// An Asynchronous Event Request has completed.
    pub(super) fn async_event(&mut self, cqe: &Cqe) {
        if !cqe.status().is_success() {
            return;
        }
        self.counters.async_events += 1;
        self.request_async_event();
        match AsyncEvent::parse(cqe.dw0.get()) {
            AsyncEvent::NAMESPACE_CHANGED => self.association.look_again = true,
            AsyncEvent::ANA_CHANGED => self.association.ask_access = true,
            _ => return,
        }
        self.settle();
    }

    pub(super) fn request_async_event(&mut self) {
        let sqe = Sqe::new(admin::ASYNC_EVENT_REQUEST, Cid(0), Nsid(0));
        self.send(0, Purpose::AsyncEvent, sqe_bytes(&sqe), Data::None);
    }
}

/// A command as the bytes that a capsule begins with.
pub(super) fn sqe_bytes(sqe: &Sqe) -> [u8; 64] {
    sqe.as_bytes().try_into().expect("64 bytes")
}
