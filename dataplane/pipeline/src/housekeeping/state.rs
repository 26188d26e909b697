//! What runs, told to a control at the beginning of its session, so that it adopts it.

use alloc::vec::Vec;

use gantry::channel::Kind;
use gantry::channel::state::{
    CONTROLLER_CLOSING, CONTROLLER_EXPIRED, ControllerState, QP_CLOSING, QP_ESTABLISHED, QP_FAILED, QpState,
};
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U16, U32};

use super::{ControllerRecord, DATAGRAM_SEEN_NS, DATAGRAM_UNSEEN_NS, Environment, Housekeeping, QpRecord};
use crate::qp::UNBOUND;

impl<E: Environment> Housekeeping<E> {
    /// Ports, drives, QPs, controllers, table entries, what P4Runtime clients have written, unanswered capsules, recent datagrams. A
    /// control of minor version 0 hears of ports and drives only, one of version 1 of no clients.
    pub(super) fn tell_state(&mut self, now_ns: u64) {
        for number in self.ports.keys().copied().collect::<Vec<_>>() {
            self.port_up(number);
        }
        for number in self.drives.keys().copied().collect::<Vec<_>>() {
            self.announce_drive(number);
        }
        if self.minor < 1 {
            return;
        }
        let mut frames = Vec::new();
        for (qpn, qp) in &self.qps {
            frames.push(gantry::channel::emit(Kind::QpState, 0, qp_state(*qpn, qp).as_bytes(), &qp.blob));
        }
        for (cntlid, controller) in &self.controllers {
            let state = controller_state(*cntlid, controller);
            frames.push(gantry::channel::emit(Kind::ControllerState, 0, state.as_bytes(), &controller.blob));
            for entry in controller.namespaces.values() {
                frames.push(gantry::channel::emit(Kind::NamespaceState, 0, entry.as_bytes(), &[]));
            }
        }
        if self.minor >= 2 {
            frames.extend(self.clients.frames());
        }
        frames.extend(self.unanswered.values().cloned());
        self.datagrams.retain(|datagram| {
            let kept_ns = if datagram.sent { DATAGRAM_SEEN_NS } else { DATAGRAM_UNSEEN_NS };
            now_ns.saturating_sub(datagram.came_ns) < kept_ns
        });
        for datagram in &mut self.datagrams {
            datagram.sent = true;
            frames.push(datagram.frame.clone());
        }
        self.outgoing.extend(frames);
        self.send(Kind::Synchronized, 0, &[], &[]);
    }
}

fn qp_state(qpn: u32, qp: &QpRecord) -> QpState {
    let flag = |set: bool, flag: u16| if set { flag } else { 0 };
    let flags = flag(qp.established, QP_ESTABLISHED) | flag(qp.failure != 0, QP_FAILED) | flag(qp.closing, QP_CLOSING);
    QpState {
        create: qp.create,
        qpn: U32::new(qpn),
        receive_psn: U32::new(qp.receive_psn),
        cntlid: U16::new(qp.cntlid.unwrap_or(UNBOUND)),
        flags: U16::new(flags),
        failure: U16::new(qp.failure),
        lcore: U16::new(qp.lcore as u16),
    }
}

fn controller_state(cntlid: u16, controller: &ControllerRecord) -> ControllerState {
    let flag = |set: bool, flag: u16| if set { flag } else { 0 };
    ControllerState {
        cntlid: U16::new(cntlid),
        flags: U16::new(flag(controller.expired, CONTROLLER_EXPIRED) | flag(controller.closing, CONTROLLER_CLOSING)),
        keep_alive_ms: U32::new(controller.keep_alive_ms),
    }
}
