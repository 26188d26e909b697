//! Keep-alive timers (NVMe Base 2.0 §3.9). They run here, so that a dead host is fenced while control is away.

use alloc::vec::Vec;

use gantry::channel::event::EventKind;

use super::{Environment, Housekeeping};
use crate::exchange::Change;

/// How often timers are looked at.
const CHECK_NS: u64 = 50_000_000;

impl<E: Environment> Housekeeping<E> {
    pub(super) fn poll_keep_alive(&mut self, now_ns: u64) {
        if now_ns < self.keep_alive_check_ns {
            return;
        }
        self.keep_alive_check_ns = now_ns + CHECK_NS;
        let liveness = &self.liveness;
        let expired: Vec<u16> = self
            .controllers
            .iter_mut()
            .filter(|(cntlid, controller)| {
                let keep_alive_ns = u64::from(controller.keep_alive_ms) * 1_000_000;
                keep_alive_ns > 0
                    && !controller.expired
                    && !controller.closing
                    && now_ns.saturating_sub(liveness.last_ns(**cntlid)) > keep_alive_ns
            })
            .map(|(cntlid, controller)| {
                controller.expired = true;
                *cntlid
            })
            .collect();
        for cntlid in expired {
            for lcore in 0..self.lcores {
                let changes: Vec<_> = self
                    .qps
                    .iter()
                    .filter(|(_, qp)| qp.cntlid == Some(cntlid) && qp.lcore == lcore)
                    .map(|(qpn, qp)| Change::QpFence { slot: qp.slot, qpn: *qpn })
                    .collect();
                if !changes.is_empty() {
                    self.send_batch(lcore, changes, 0);
                }
            }
            self.event(EventKind::KeepAliveExpired, 0, cntlid.into(), &[]);
        }
    }
}
