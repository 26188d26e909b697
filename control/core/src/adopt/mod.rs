//! Adoption: every session begins with the data plane telling what runs, and control taking it over.
//!
//! ```text
//!   Welcome -> Adopting: state frames are collected, nothing is asked or answered
//!   Synchronized -> what is remembered is read; what nobody claims is taken down; the plan goes out
//!   plan done -> Open: unanswered capsules are decided, from the adopted state
//! ```
//! What is adopted is not touched: only differences from the configuration become transactions.

mod sweep;

use crate::blob::{Unreadable, parse_controller, parse_qp};
use crate::cm::Standing;
use crate::nvmf::Entry;
use crate::plan::{address, entry_of};
use crate::session::FrameRefused;
use crate::{Control, Notice, Qp};
use gantry::channel::event::{Event, EventKind};
use gantry::channel::operation::NamespaceAdd;
use gantry::channel::slow_path::{Capsule, Punt};
use gantry::channel::state::{CONTROLLER_CLOSING, ControllerState, QP_CLOSING, QpState};
use gantry::channel::{Frame, Kind};
use std::collections::BTreeMap;

/// Most datagrams for QP1 that wait; hosts repeat theirs.
const PUNTS_MAX: usize = 1024;

/// CNTLID of a QP that has no controller.
const UNBOUND: u16 = 0xffff;

/// What the data plane has told so far, and what has to wait for the rest.
#[derive(Debug, Default)]
pub(crate) struct Told {
    qps: Vec<(QpState, Vec<u8>)>,
    controllers: Vec<(ControllerState, Vec<u8>)>,
    entries: BTreeMap<u16, BTreeMap<u32, Entry>>,
    /// What happened meanwhile, as frames.
    events: Vec<Vec<u8>>,
    punts: usize,
    /// Capsules that have no answer, as frames. The data plane bounds them by its queues.
    pub(crate) capsules: Vec<Vec<u8>>,
}

impl Control {
    /// A frame between Welcome and Synchronized.
    pub(crate) fn hear(&mut self, frame: &Frame<'_>, datagram: &[u8]) -> Result<(), FrameRefused> {
        match frame.kind {
            Kind::QpState => {
                let (state, blob) = frame.body::<QpState>()?;
                self.told.qps.push((*state, blob.to_vec()));
            }
            Kind::ControllerState => {
                let (state, blob) = frame.body::<ControllerState>()?;
                self.told.controllers.push((*state, blob.to_vec()));
            }
            Kind::NamespaceState => {
                let (entry, _) = frame.body::<NamespaceAdd>()?;
                let of = self.told.entries.entry(entry.cntlid.get()).or_default();
                of.insert(entry.nsid.get(), entry_of(entry));
            }
            Kind::Capsule => {
                frame.body::<Capsule>()?;
                self.told.capsules.push(datagram.to_vec());
            }
            Kind::Punt => {
                frame.body::<Punt>()?;
                self.told.punts += 1;
                if self.told.punts <= PUNTS_MAX {
                    self.told.events.push(datagram.to_vec());
                }
            }
            Kind::Event => {
                let (event, tail) = frame.body::<Event>()?;
                match EventKind::from_u16(event.kind.get()) {
                    // Ports and drives are told as events, and nothing hangs on them yet.
                    Some(
                        EventKind::PortUp
                        | EventKind::DriveReady
                        | EventKind::DriveKnown
                        | EventKind::DriveLog
                        | EventKind::DriveFailed,
                    ) => {
                        self.handle_event(event, tail)?;
                    }
                    _ => self.told.events.push(datagram.to_vec()),
                }
            }
            Kind::TableState | Kind::MeterState | Kind::DigestState => self.hear_tables(frame)?,
            // Nobody is told of these before the session is open.
            Kind::PacketIn | Kind::DigestData | Kind::Idle => {}
            Kind::Synchronized => self.adopt(),
            kind => return Err(FrameRefused::OutOfPlace(kind)),
        }
        Ok(())
    }

    /// All of it is told.
    fn adopt(&mut self) {
        self.session.adopted();
        let qps = std::mem::take(&mut self.told.qps);
        let controllers = std::mem::take(&mut self.told.controllers);
        let mut entries = std::mem::take(&mut self.told.entries);
        let closing = |state: &QpState| state.flags.get() & QP_CLOSING != 0;
        // Closing ones last: where an id is theirs and a live one's, it is the live one's.
        qps.iter().filter(|(state, _)| !closing(state)).for_each(|(state, blob)| self.adopt_qp(state, blob));
        qps.iter().filter(|(state, _)| closing(state)).for_each(|(state, blob)| self.adopt_qp(state, blob));
        for (state, blob) in &controllers {
            let entries = entries.remove(&state.cntlid.get()).unwrap_or_default();
            self.take_over(state, blob, entries);
        }
        // What clients have written comes before the ports whose packets it is about.
        self.adopt_tables();
        self.plan_all();
        self.sweep(&qps, &controllers);
        for event in std::mem::take(&mut self.told.events) {
            // They were read once already.
            let _ = self.dispatch(&event);
        }
        self.serve_when_planned();
    }

    fn adopt_qp(&mut self, state: &QpState, blob: &[u8]) {
        let (qpn, cntlid) = (state.qpn.get(), state.cntlid.get());
        let closing = state.flags.get() & QP_CLOSING != 0;
        let bound = cntlid != UNBOUND;
        let mut qp = Qp {
            qid: state.create.qid.get(),
            depth: state.create.depth.get(),
            address: address(state.create.path.remote_ip),
            controller: bound.then_some(cntlid),
            ending: closing,
            ..Qp::nobody(0)
        };
        let standing = match (closing, bound) {
            (true, _) => Standing::Closing,
            (false, true) => Standing::Bound,
            (false, false) => Standing::Unbound,
        };
        match parse_qp(blob) {
            Ok(blob) if self.adopt_connection(state, &blob, standing) => qp.comm_id = blob.comm_id.get(),
            // Its ids are another's. When it is closing that needs nobody's care.
            Ok(_) if !closing => self.unclaimed_qp(qpn, &Unreadable::Damaged),
            Err(unreadable) if !closing => self.unclaimed_qp(qpn, &unreadable),
            _ => {}
        }
        self.qps.insert(qpn, qp);
    }

    fn unclaimed_qp(&mut self, qpn: u32, why: &Unreadable) {
        self.notices.push(Notice::Unclaimed { what: format!("QP {qpn:#x}"), text: why.to_string() });
    }

    fn take_over(&mut self, state: &ControllerState, blob: &[u8], entries: BTreeMap<u32, Entry>) {
        let cntlid = state.cntlid.get();
        let mut admin = self.qps.iter().filter(|(_, qp)| qp.controller == Some(cntlid) && qp.qid == 0 && !qp.ending);
        let admin_qpn = admin.next().map_or(0, |(qpn, _)| *qpn);
        let remembered = parse_controller(blob);
        let told = (state.keep_alive_ms.get(), blob.to_vec());
        self.adopt_controller(cntlid, admin_qpn, remembered.as_ref().ok(), told, entries);
        let closing = state.flags.get() & CONTROLLER_CLOSING != 0;
        if closing {
            self.controllers.begin_ending(cntlid);
        } else if let Err(unreadable) = remembered {
            let text = unreadable.to_string();
            self.notices.push(Notice::Unclaimed { what: format!("controller {cntlid}"), text });
        }
    }

    /// Unanswered capsules are decided once the data plane has what the configuration says, or has said why not.
    pub(crate) fn serve_when_planned(&mut self) {
        if !self.plan.is_done() || !self.session.begin_serving() {
            return;
        }
        for datagram in std::mem::take(&mut self.told.capsules) {
            let frame = Frame::parse(&datagram).expect("it was read once already");
            let (capsule, data) = frame.body::<Capsule>().expect("it was read once already");
            // Of a QP that has retired meanwhile nobody waits for an answer.
            if self.qps.contains_key(&capsule.qpn.get()) {
                self.handle_capsule(capsule, data);
            }
        }
    }
}
