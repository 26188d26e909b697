//! The sweep: what runs and nobody claims, or the configuration does not want any more, is taken down in order.

use crate::nvmf::Subsystem;
use crate::{Control, EndReason};
use gantry::channel::state::{CONTROLLER_CLOSING, CONTROLLER_EXPIRED, ControllerState, QP_CLOSING, QP_FAILED, QpState};

impl Control {
    pub(super) fn sweep(&mut self, qps: &[(QpState, Vec<u8>)], controllers: &[(ControllerState, Vec<u8>)]) {
        for (state, _) in controllers {
            self.sweep_controller(state.cntlid.get(), state.flags.get());
        }
        for (state, _) in qps.iter().filter(|(state, _)| state.flags.get() & QP_CLOSING == 0) {
            self.sweep_qp(state);
        }
    }

    fn sweep_controller(&mut self, cntlid: u16, flags: u16) {
        let Some((subsystem, admin_qpn)) = self.controllers.whose(cntlid) else { return };
        let claimed = self.qps.get(&admin_qpn).is_some_and(|qp| qp.comm_id != 0);
        if flags & CONTROLLER_CLOSING != 0 {
            // Its QPs drain; without any it is gone already.
        } else if flags & CONTROLLER_EXPIRED != 0 {
            self.end_controller(cntlid, EndReason::KeepAliveExpired);
        } else if subsystem == Subsystem::Unknown || !claimed {
            self.end_controller(cntlid, EndReason::Unclaimed);
        } else if !self.admits(cntlid) {
            self.end_controller(cntlid, EndReason::NotAdmitted);
        } else if let Subsystem::Nvm(at) = subsystem {
            self.remove_stale_namespaces(cntlid, at);
        }
        // A reset or shutdown whose last QP retired while control was away is complete.
        self.settle(cntlid);
    }

    fn sweep_qp(&mut self, state: &QpState) {
        let qpn = state.qpn.get();
        let Some(qp) = self.qps.get(&qpn).filter(|qp| !qp.ending) else { return };
        let orphaned = qp.controller.is_some_and(|cntlid| !self.controllers.exists(cntlid));
        if state.flags.get() & QP_FAILED != 0 {
            self.qp_failed(qpn, state.failure.get());
        } else if qp.comm_id == 0 || orphaned {
            self.end_unclaimed(qpn);
        }
    }

    /// Nobody can take the QP over. Its controller's host has to learn of it: it ends with it.
    fn end_unclaimed(&mut self, qpn: u32) {
        match self.qps.get(&qpn).and_then(|qp| qp.controller).filter(|cntlid| self.controllers.exists(*cntlid)) {
            Some(cntlid) => self.end_controller(cntlid, EndReason::Unclaimed),
            None => self.destroy_qps(&[qpn]),
        }
    }
}
