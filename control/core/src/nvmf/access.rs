//! Asymmetric namespace access: whether a namespace can be reached now. NVMe Base 2.0 §8.1 (ANA), §5.16.1.13 (its log).
//!
//! Each namespace is a group of its own, numbered by its NSID, since each may lie on another drive: optimized while its
//! drive serves, inaccessible while it does not. The data plane ends commands to one that is inaccessible with Asymmetric
//! Access Inaccessible; a host that knows ANA takes another path, or waits until the change notice.

use super::{Controller, Subsystem};
use crate::Control;
use crate::transaction::Then;
use gantry_wire::nvme::feature::AsyncEvent;
use std::collections::BTreeSet;

/// ANATT: seconds that a change takes at most. There is no state between the two, so nothing waits for it.
pub(super) const TRANSITION_S: u8 = 30;
/// ANACAP: the states optimized and inaccessible.
pub(super) const CAPABILITIES: u8 = 1 << 0 | 1 << 2;

/// Most namespaces whose log still fits into an answer; a subsystem with more of them reports no access.
const NAMESPACES_MAX: usize = 113;

/// Bytes of the log's header and of a group of one namespace.
const HEADER: usize = 16;
const GROUP: usize = 36;

const OPTIMIZED: u8 = 1;
const INACCESSIBLE: u8 = 3;

/// RGO of Get Log Page: groups without their namespaces.
const GROUPS_ONLY: u8 = 1;

impl Control {
    /// Whether controllers of a subsystem report access.
    pub(super) fn reports_access(&self, subsystem: Subsystem) -> bool {
        match subsystem {
            Subsystem::Nvm(at) => self.configuration.subsystems[at].namespaces.len() <= NAMESPACES_MAX,
            Subsystem::Discovery | Subsystem::Gone | Subsystem::Unknown => false,
        }
    }

    /// Log page 0C.
    pub(super) fn access_log(&self, controller: &Controller, at: usize, specific: u8) -> Vec<u8> {
        let with_namespaces = specific & GROUPS_ONLY == 0;
        let mut log = Vec::with_capacity(HEADER + GROUP * controller.attached.len());
        log.extend_from_slice(&self.plan.changes.to_le_bytes());
        log.extend_from_slice(&(controller.attached.len() as u16).to_le_bytes());
        log.resize(HEADER, 0);
        for nsid in controller.attached.keys() {
            let start = log.len();
            let state = if self.serves(at, *nsid) { OPTIMIZED } else { INACCESSIBLE };
            log.extend_from_slice(&nsid.to_le_bytes());
            log.extend_from_slice(&u32::from(with_namespaces).to_le_bytes());
            log.extend_from_slice(&self.plan.changes.to_le_bytes());
            log.push(state);
            log.resize(start + GROUP - 4, 0);
            if with_namespaces {
                log.extend_from_slice(&nsid.to_le_bytes());
            }
        }
        log
    }

    /// Whether the drive under a namespace serves.
    fn serves(&self, at: usize, nsid: u32) -> bool {
        let namespace = self.configuration.subsystems[at].namespaces.iter().find(|namespace| namespace.nsid == nsid);
        let drive = namespace.map(|namespace| self.configuration.drive_number(&namespace.drive));
        drive.is_some_and(|drive| self.plan.geometry(drive).is_some())
    }

    /// Those of a controller's namespaces that cannot be reached now.
    pub(super) fn inaccessible(&self, at: usize, nsids: impl Iterator<Item = u32>) -> BTreeSet<u32> {
        nsids.filter(|nsid| !self.serves(at, *nsid)).collect()
    }

    /// A drive serves, or does so no more: tells every host for which that changes something.
    pub(crate) fn access_changed(&mut self) {
        self.plan.changes += 1;
        for (cntlid, at) in self.controllers.of_nvm_subsystems() {
            if !self.reports_access(Subsystem::Nvm(at)) {
                continue;
            }
            let Some(controller) = self.controllers.live(cntlid) else { continue };
            let now = self.inaccessible(at, controller.attached.keys().copied());
            let Some(controller) = self.controllers.find_mut(cntlid) else { continue };
            if controller.events.inaccessible == now {
                continue;
            }
            controller.events.inaccessible = now;
            self.raise(cntlid, AsyncEvent::ANA_CHANGED);
            self.tell(cntlid);
        }
    }

    /// Tells a controller's host what was raised, once the data plane remembers that it happened.
    pub(super) fn tell(&mut self, cntlid: u16) {
        match self.remember(cntlid) {
            Some(remember) => {
                self.transactions.submit(&mut self.session, vec![remember], Then::Told { cntlid });
            }
            None => self.deliver(cntlid),
        }
    }
}
