//! What runs, as a new control is told.

use super::{Plane, receive_psn};
use gantry::channel::state::{
    CONTROLLER_CLOSING, CONTROLLER_EXPIRED, ControllerState, QP_CLOSING, QP_ESTABLISHED, QP_FAILED, QpState,
};
use gantry::channel::{Kind, emit};
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U16, U32};

impl Plane {
    pub(super) fn tell_state(&mut self) {
        let mut frames = Vec::new();
        let live = self.qps.iter().map(|(qpn, create)| (*qpn, *create, self.bound.get(qpn).copied(), 0));
        let gone = self.draining.iter().map(|(qpn, (create, cntlid))| (*qpn, *create, *cntlid, QP_CLOSING));
        for (qpn, create, cntlid, closing) in live.chain(gone) {
            let established = if self.established.contains(&qpn) { QP_ESTABLISHED } else { 0 };
            let failure = self.failed.get(&qpn).copied();
            let failed = if failure.is_some() { QP_FAILED } else { 0 };
            let state = QpState {
                create,
                qpn: U32::new(qpn),
                receive_psn: U32::new(receive_psn(qpn)),
                cntlid: U16::new(cntlid.unwrap_or(0xffff)),
                flags: U16::new(closing | established | failed),
                failure: U16::new(failure.unwrap_or(0)),
                lcore: U16::ZERO,
            };
            let blob = self.qp_blobs.get(&qpn).cloned().unwrap_or_default();
            frames.push(emit(Kind::QpState, 0, state.as_bytes(), &blob));
        }
        let live = self.controllers.iter().map(|(cntlid, ms)| (*cntlid, *ms, 0));
        let gone = self.closing.iter().map(|cntlid| (*cntlid, 0, CONTROLLER_CLOSING));
        for (cntlid, keep_alive_ms, closing) in live.chain(gone) {
            let expired = if self.expired.contains(&cntlid) { CONTROLLER_EXPIRED } else { 0 };
            let flags = U16::new(closing | expired);
            let state = ControllerState { cntlid: U16::new(cntlid), flags, keep_alive_ms: U32::new(keep_alive_ms) };
            let blob = self.controller_blobs.get(&cntlid).cloned().unwrap_or_default();
            frames.push(emit(Kind::ControllerState, 0, state.as_bytes(), &blob));
            for ((_, _), entry) in self.namespaces.range((cntlid, 0)..=(cntlid, u32::MAX)) {
                frames.push(emit(Kind::NamespaceState, 0, entry.as_bytes(), &[]));
            }
        }
        frames.extend(self.unanswered.values().cloned());
        frames.into_iter().for_each(|frame| self.send(frame));
    }
}
