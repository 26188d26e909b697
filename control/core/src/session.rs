//! The session with the data plane: Hello and Welcome, and where each kind of frame goes.

use crate::adopt::Told;
use crate::plan::Plan;
use crate::transaction::Then;
use crate::{Control, Malformed, Notice};
use gantry::channel::event::{Event, EventKind};
use gantry::channel::session::{Hello, Reason, Refused, Reservation, Welcome};
use gantry::channel::slow_path::{Capsule, Punt};
use gantry::channel::{self, Frame, FrameError, Kind};
use std::collections::VecDeque;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

/// Why a frame was not taken. The session goes on without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameRefused {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(#[from] FrameError),
    /// It is a frame that control sends, not one that it takes, or it comes before Welcome.
    #[error("frame kind {0:?} is out of place")]
    OutOfPlace(Kind),
    /// It names a transaction that is not open, or not at this step.
    #[error("frame kind {0:?} of transaction {1}, which is not at that step")]
    Transaction(Kind, u64),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Down,
    Greeting,
    /// The data plane tells what runs: nothing is asked or answered before all of it is known.
    Adopting,
    /// What runs is adopted, and what the configuration has besides is on its way: capsules wait for it, since their
    /// answers depend on it.
    Planning,
    Open,
    /// The data plane will not have this control.
    Refused,
    /// A newer control has the data plane.
    Fenced,
}

/// What the data plane told of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) boot_id: u64,
    pub(crate) lcores: u16,
    pub(crate) qps: usize,
    pub(crate) in_capsule_data: u16,
    pub(crate) transfer_max: u32,
}

/// The channel's state and what waits to be sent.
#[derive(Debug, Default)]
pub(crate) struct Session {
    phase: Phase,
    /// Minor version of the contract that both sides speak.
    minor: u16,
    /// From the last Welcome; outlives the channel.
    pub(crate) limits: Option<Limits>,
    outbox: VecDeque<Vec<u8>>,
}

impl Session {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Planning | Phase::Open)
    }

    /// Whether the data plane keeps blobs and tells what runs. One of contract 1.0 does neither: of what an earlier
    /// control left there, each thing ends when it shows itself.
    pub(crate) fn has_state(&self) -> bool {
        self.minor >= 1
    }

    /// Whether the data plane has tables that clients can program: contract 1.2.
    pub(crate) fn has_tables(&self) -> bool {
        self.minor >= 2
    }

    /// Minor version of the contract that both sides speak.
    pub(crate) fn minor(&self) -> u16 {
        self.minor
    }

    /// What runs is known.
    pub(crate) fn adopted(&mut self) {
        self.phase = Phase::Planning;
    }

    /// Whether capsules waited until now.
    pub(crate) fn begin_serving(&mut self) -> bool {
        let planning = self.phase == Phase::Planning;
        if planning {
            self.phase = Phase::Open;
        }
        planning
    }

    pub(crate) fn send(&mut self, frame: Vec<u8>) {
        debug_assert!(frame.len() <= channel::FRAME_MAX);
        self.outbox.push_back(frame);
    }
}

impl Control {
    /// The channel is up: greets the data plane. What control knows of what runs it learns anew in every session, also
    /// in one with the data plane that it served before.
    pub fn connected(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        self.session.phase = Phase::Greeting;
        self.session.outbox.clear();
        let hello = Hello {
            major: U16::new(channel::VERSION.0),
            minor: U16::new(channel::VERSION.1),
            reserved: U32::ZERO,
            epoch: U64::new(self.configuration.epoch),
        };
        self.session.send(channel::emit(Kind::Hello, 0, hello.as_bytes(), &[]));
    }

    /// The channel is gone. What was asked and not yet answered is asked again in the next session.
    pub fn disconnected(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        if self.session.is_open() {
            self.notices.push(Notice::SessionLost);
        }
        self.session.phase = Phase::Down;
        self.session.outbox.clear();
        if let Some(connection) = self.transactions.interrupt() {
            self.connections.remove(connection);
        }
        self.tables_interrupted();
    }

    /// Whether the data plane has refused the session: nothing more comes of this channel.
    #[must_use]
    pub fn session_refused(&self) -> bool {
        matches!(self.session.phase, Phase::Refused | Phase::Fenced)
    }

    /// Whether a newer control has taken the data plane: this one is to end, for good.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.session.phase == Phase::Fenced
    }

    /// The next frame for the data plane.
    pub fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.session.outbox.pop_front()
    }

    /// Takes one datagram of the channel.
    ///
    /// # Errors
    /// [`FrameRefused`] when the data plane sent what makes no sense; it is also counted and noticed.
    pub fn handle_frame(&mut self, now_ns: u64, datagram: &[u8]) -> Result<(), FrameRefused> {
        self.now_ns = self.now_ns.max(now_ns);
        let result = self.dispatch(datagram);
        if let Err(refused) = result {
            self.counters.malformed_frames += 1;
            let notice = Notice::Malformed { what: Malformed::Frame, text: refused.to_string() };
            self.notices.push_noisy(self.now_ns, notice);
        }
        result
    }

    pub(crate) fn dispatch(&mut self, datagram: &[u8]) -> Result<(), FrameRefused> {
        let frame = Frame::parse(datagram)?;
        let open = self.session.is_open();
        match (self.session.phase, frame.kind) {
            (Phase::Greeting, Kind::Welcome) => self.welcome(frame.body::<Welcome>()?.0),
            (Phase::Greeting, Kind::Refused) => {
                let (refused, text) = frame.body::<Refused>()?;
                self.refuse_session(refused.reason.get(), text);
            }
            (Phase::Adopting | Phase::Planning | Phase::Open, Kind::Refused) if frame.transaction == 0 => {
                let (refused, text) = frame.body::<Refused>()?;
                let reason = refused.reason.get();
                if reason == Reason::Fenced as u16 || reason == Reason::Version as u16 {
                    self.refuse_session(reason, text);
                } else {
                    let text = String::from_utf8_lossy(text).into_owned();
                    self.notices.push_noisy(self.now_ns, Notice::Refused { what: "a frame".into(), text });
                }
            }
            (Phase::Adopting | Phase::Planning | Phase::Open, Kind::Prepared | Kind::Committed | Kind::Refused)
                if self.transactions.is_interrupted(frame.transaction) => {}
            (Phase::Adopting, _) => return self.hear(&frame, datagram),
            (_, Kind::Counters | Kind::Hits | Kind::TableEntries | Kind::Refused)
                if open && self.handle_table_answer(&frame)? => {}
            (_, Kind::PacketIn | Kind::DigestData | Kind::Idle) if open => self.handle_told(&frame),
            (Phase::Planning, Kind::Capsule) => {
                frame.body::<Capsule>()?;
                self.told.capsules.push(datagram.to_vec());
            }
            (_, Kind::Prepared) if open => return self.prepared(&frame),
            (_, Kind::Committed) if open => {
                let then = self.transactions.committed(frame.transaction);
                let then = then.ok_or(FrameRefused::Transaction(frame.kind, frame.transaction))?;
                self.on_committed(then);
                self.transaction_over();
            }
            (_, Kind::Refused) if open => {
                let (refused, text) = frame.body::<Refused>()?;
                let transaction = self.transactions.refused(frame.transaction);
                let transaction = transaction.ok_or(FrameRefused::Transaction(frame.kind, frame.transaction))?;
                let text = String::from_utf8_lossy(text);
                self.on_refused(transaction, refused.operation.get(), refused.reason.get(), &text);
                self.transaction_over();
            }
            (_, Kind::Punt) if open => {
                let (punt, mad) = frame.body::<Punt>()?;
                self.handle_punt(punt, mad);
            }
            (_, Kind::Capsule) if open => {
                let (capsule, data) = frame.body::<Capsule>()?;
                self.handle_capsule(capsule, data);
            }
            (_, Kind::Event) if open => {
                let (event, tail) = frame.body::<Event>()?;
                self.handle_event(event, tail)?;
            }
            (_, kind) => return Err(FrameRefused::OutOfPlace(kind)),
        }
        Ok(())
    }

    fn welcome(&mut self, welcome: &Welcome) {
        if welcome.major.get() != channel::VERSION.0 {
            let (ours, theirs) = (channel::VERSION.0, welcome.major.get());
            let text = format!("it speaks version {theirs} of the channel, control speaks {ours}");
            return self.refuse_session(Reason::Version as u16, text.as_bytes());
        }
        let limits = Limits {
            boot_id: welcome.boot_id.get(),
            lcores: welcome.lcores.get(),
            qps: welcome.qps.get() as usize,
            in_capsule_data: welcome.in_capsule_data.get(),
            transfer_max: welcome.transfer_max.get(),
        };
        let before = self.session.limits.map(|before| before.boot_id);
        let fresh = before != Some(limits.boot_id);
        if before.is_some() && fresh {
            self.tables_start_anew();
        }
        self.session.limits = Some(limits);
        self.session.minor = welcome.minor.get().min(channel::VERSION.1);
        self.notices.push(Notice::SessionOpened { boot_id: limits.boot_id, fresh, lcores: limits.lcores });
        if self.session.has_state() {
            self.forget();
            self.session.phase = Phase::Adopting;
            return;
        }
        self.session.phase = Phase::Open;
        self.tables_too_old(self.session.minor);
        if fresh {
            // Nothing of the old data plane exists any more: its QPs, controllers and drives went with it.
            self.forget();
            self.plan_all();
        }
        self.transactions.pump(&mut self.session);
    }

    /// Forgets what runs: it is gone, or told anew.
    fn forget(&mut self) {
        self.transactions.forget();
        self.connections.clear();
        self.qps.clear();
        self.controllers.clear();
        self.held.clear();
        self.farewells.clear();
        self.told = Told::default();
        self.plan = Plan::new(&self.configuration);
    }

    fn refuse_session(&mut self, reason: u16, text: &[u8]) {
        let text = String::from_utf8_lossy(text).into_owned();
        self.notices.push(Notice::SessionRefused { text });
        self.tables_interrupted();
        let fenced = reason == Reason::Fenced as u16;
        self.session.phase = if fenced { Phase::Fenced } else { Phase::Refused };
    }

    fn prepared(&mut self, frame: &Frame<'_>) -> Result<(), FrameRefused> {
        let step = FrameRefused::Transaction(frame.kind, frame.transaction);
        let then = self.transactions.prepared(frame.transaction).ok_or(step)?;
        if let Then::QpCreated { reserved, .. } = then {
            // The transaction holds one operation, so the first reservation is its QP's.
            let Ok((reservation, _)) = Reservation::read_from_prefix(frame.bytes) else {
                self.session.send(channel::emit(Kind::Rollback, frame.transaction, &[], &[]));
                let transaction = self.transactions.refused(frame.transaction).expect("it is the open one");
                self.on_refused(transaction, 0, Reason::Malformed as u16, "no reservation for a QP");
                self.transaction_over();
                return Err(FrameError::Length.into());
            };
            *reserved = Some(reservation);
        }
        self.transactions.commit(&mut self.session);
        Ok(())
    }

    pub(crate) fn handle_event(&mut self, event: &Event, tail: &[u8]) -> Result<(), FrameError> {
        let object = event.object.get();
        match EventKind::from_u16(event.kind.get()) {
            Some(EventKind::QpEstablished) => self.qp_established(object),
            Some(EventKind::QpFailed) => self.qp_failed(object, event.reason.get()),
            Some(EventKind::QpRetired) => self.qp_retired(object),
            Some(EventKind::KeepAliveExpired) => self.keep_alive_expired(object as u16),
            Some(EventKind::DriveReady) => return self.drive_ready(object, tail),
            Some(EventKind::DriveFailed) => {
                self.drive_failed(object, event.reason.get(), &String::from_utf8_lossy(tail));
            }
            Some(EventKind::DriveKnown) => return self.drive_known(object, tail),
            Some(EventKind::DriveLog) => self.drive_logged(object, event.reason.get(), tail),
            Some(EventKind::DriveStopped) => self.drive_stopped(object),
            Some(EventKind::DriveSlow) => self.drive_slow(object),
            Some(EventKind::PortUp) => self.port_up(object, tail),
            // A later minor version may add kinds.
            None => {}
        }
        Ok(())
    }

    fn transaction_over(&mut self) {
        self.say_farewell();
        self.transactions.pump(&mut self.session);
    }

    pub(crate) fn on_committed(&mut self, then: Then) {
        match then {
            Then::Planned(items) => self.planned(&items),
            Then::QpCreated { comm_id, reserved } => self.qp_created(comm_id, reserved),
            Then::Answered { .. } | Then::Remembered | Then::Ended => {}
            Then::Connected { qpn, .. } => self.connect_committed(qpn),
            Then::NamespacesChanged { cntlid, .. } | Then::Told { cntlid } => self.deliver(cntlid),
            Then::Tables { ticket, operations } => self.tables_committed(ticket, operations),
            Then::TablesReplayed(operations) => self.tables_replayed(operations),
        }
    }
}
