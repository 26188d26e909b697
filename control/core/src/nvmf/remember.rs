//! What the data plane remembers of a controller for the control that comes after: its blob, brought up to date in the
//! transaction of whatever changes it.

use super::{Controller, Subsystem};
use crate::Control;
use crate::blob::{ControllerBlob, encode_controller};
use crate::transaction::{Operation, Then};

/// What a discovery controller without a keep-alive timeout is given: its host is gone long before.
const DISCOVERY_KEEP_ALIVE_MS: u32 = 120_000;

impl Controller {
    /// The keep-alive timeout that the data plane enforces.
    pub(super) fn enforced_ms(&self) -> u32 {
        match (self.subsystem, self.keep_alive_ms) {
            (Subsystem::Discovery, 0) => DISCOVERY_KEEP_ALIVE_MS,
            (_, ms) => ms,
        }
    }

    fn blob(&self, subsystem_nqn: &str) -> Vec<u8> {
        encode_controller(&ControllerBlob {
            host_nqn: self.host_nqn.clone(),
            host_id: self.host_id,
            subsystem_nqn: subsystem_nqn.to_owned(),
            keep_alive_ms: self.keep_alive_ms,
            cc: self.properties.cc.0,
            ready: self.properties.ready,
            resetting: self.properties.resetting,
            shutdown: self.properties.shutdown,
            features: self.features.remembered(),
            pending: self.events.pending.iter().copied().collect(),
            masked: self.events.masked.iter().copied().collect(),
            changed: self.events.changed.as_ref().map(|changed| changed.iter().copied().collect()),
            inaccessible: self.events.inaccessible.iter().copied().collect(),
        })
    }
}

impl Control {
    /// The operation after which the data plane remembers a live controller as it is now; none when it does already.
    pub(crate) fn remember(&mut self, cntlid: u16) -> Option<Operation> {
        let controller = self.controllers.live(cntlid)?;
        let blob = if self.session.has_state() { controller.blob(self.nqn(controller.subsystem)) } else { Vec::new() };
        let now = (controller.enforced_ms(), blob);
        if controller.told.as_ref() == Some(&now) {
            return None;
        }
        let operation = Operation::controller_add(cntlid, now.0, &now.1);
        self.controllers.find_mut(cntlid)?.told = Some(now);
        Some(operation)
    }

    /// A transaction that was to be remembered was refused: what it said of the controller is said again.
    pub(crate) fn remember_again(&mut self, cntlid: u16) {
        if let Some(controller) = self.controllers.find_mut(cntlid) {
            controller.told = None;
        }
        if let Some(remember) = self.remember(cntlid) {
            self.transactions.submit(&mut self.session, vec![remember], Then::Remembered);
        }
    }
}
