//! Admin commands: which file answers which. NVMe Base 2.0 §5.

use super::{Reply, Request};
use crate::Control;
use gantry_wire::nvme::{Status, admin};

impl Control {
    /// Answers an Admin command; nothing while it is held.
    pub(super) fn admin(&mut self, cntlid: u16, request: &Request<'_>) -> Option<Reply> {
        let controller = self.controllers.find(cntlid).expect("a bound queue has its controller");
        if !controller.properties.is_enabled() {
            return Some(Status::COMMAND_SEQUENCE_ERROR.into());
        }
        Some(match request.sqe.opcode {
            admin::IDENTIFY => self.identify(cntlid, request),
            admin::LOG_PAGE => self.get_log_page(cntlid, request),
            admin::SET_FEATURES => self.set_features(cntlid, request),
            admin::GET_FEATURES => self.get_features(cntlid, request),
            admin::ASYNC_EVENT_REQUEST => return self.async_event_request(cntlid, request),
            admin::ABORT => self.abort(cntlid, request),
            // The data plane answers these; one that comes here is as good as answered.
            admin::KEEP_ALIVE => Reply::default(),
            _ => Status::INVALID_OPCODE.into(),
        })
    }
}
