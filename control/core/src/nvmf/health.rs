//! SMART / Health and Error Information of a controller: its drives', passed on. NVMe Base 2.0 §5.16.1.2, §5.16.1.3.
//!
//! Of one namespace it is its drive's log. Of the controller, which may have several drives, it is the worst of what has a
//! worst (warnings, temperature, spare, wear, times) and the sum of what counts events and data. Drives count for all their
//! hosts.

use super::Controller;
use crate::Control;
use gantry_wire::nvme::feature::AsyncEvent;
use gantry_wire::nvme::log::{ErrorEntry, SmartHealth, lid};
use gantry_wire::nvme::{Nsid, Status};
use std::collections::{BTreeMap, BTreeSet};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Entries of the error log: as many as an answer carries.
pub(super) const ERRORS_MAX: usize = 64;

/// Room temperature, in kelvin: of a controller none of whose drives says.
const TEMPERATURE: u16 = 293;

/// Of an error that is told of no command of the host's.
const NO_COMMAND: u16 = 0xffff;

/// What a drive's logs say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logs {
    health: Option<Box<SmartHealth>>,
    errors: Vec<ErrorEntry>,
}

impl Control {
    /// A drive's log was read. Warnings that are new go to the hosts that asked for them.
    pub(crate) fn drive_logged(&mut self, drive: u32, log: u16, page: &[u8]) {
        let Some(logs) = self.plan.logs.get_mut(drive as usize) else { return };
        match log as u8 {
            lid::SMART_HEALTH => {
                let Ok((health, _)) = SmartHealth::read_from_prefix(page) else { return };
                let before = logs.health.replace(Box::new(health));
                // What was so when this control began is no news.
                let new = before.map_or(0, |before| health.critical_warning & !before.critical_warning);
                if new != 0 {
                    self.warn(drive as u16, new);
                }
            }
            lid::ERROR_INFORMATION => {
                let entries = page.chunks_exact(size_of::<ErrorEntry>()).take(ERRORS_MAX);
                let entries = entries.filter_map(|entry| ErrorEntry::read_from_bytes(entry).ok());
                logs.errors = entries.filter(|entry| entry.error_count.get() != 0).collect();
            }
            _ => {}
        }
    }

    fn warn(&mut self, drive: u16, new: u8) {
        for (cntlid, at) in self.controllers.of_nvm_subsystems() {
            let Some(controller) = self.controllers.live(cntlid) else { continue };
            let asked = new & controller.features.async_event_configuration() as u8;
            if asked == 0 || !self.drives_of(controller, at).values().any(|of| *of == drive) {
                continue;
            }
            // Figure 148: spare, temperature, everything else is reliability.
            let kinds = [(1 << 0, 2), (1 << 1, 1), (!0b11, 0)];
            for (_, information) in kinds.into_iter().filter(|(bits, _)| asked & bits != 0) {
                self.raise(cntlid, AsyncEvent { kind: 1, information, log: lid::SMART_HEALTH });
            }
            self.tell(cntlid);
        }
    }

    /// The drive of each of a controller's namespaces.
    fn drives_of(&self, controller: &Controller, at: usize) -> BTreeMap<u32, u16> {
        let served = self.configuration.subsystems[at].namespaces.iter();
        let served = served.filter(|namespace| controller.attached.contains_key(&namespace.nsid));
        served.map(|namespace| (namespace.nsid, self.configuration.drive_number(&namespace.drive))).collect()
    }

    /// Log page 02, of a namespace or of the controller.
    pub(super) fn health_log(&self, controller: &Controller, at: usize, nsid: Nsid) -> Result<Vec<u8>, Status> {
        let drives = self.drives_of(controller, at);
        let drives: BTreeSet<u16> = match nsid {
            Nsid(0) | Nsid::ALL => drives.into_values().collect(),
            nsid => [*drives.get(&nsid.0).ok_or(Status::INVALID_NAMESPACE)?].into(),
        };
        let logs = drives.into_iter().filter_map(|drive| self.plan.logs[usize::from(drive)].health.as_deref());
        Ok(logs.copied().reduce(|all, log| together(&all, &log)).unwrap_or_else(unknown).as_bytes().to_vec())
    }

    /// Log page 01: what its drives have logged about its namespaces and about themselves, the latest of each first. Queues
    /// and CIDs are those of the card, which mean nothing to a host.
    pub(super) fn error_log(&self, controller: &Controller, at: usize) -> Vec<u8> {
        let mut entries = Vec::new();
        for namespace in &self.configuration.subsystems[at].namespaces {
            let Some(entry) = controller.attached.get(&namespace.nsid) else { continue };
            let on_drive = super::drive_nsid(entry);
            let drive = self.configuration.drive_number(&namespace.drive);
            let ours = self.plan.logs[usize::from(drive)].errors.iter().filter(|error| error.nsid.get() == on_drive);
            entries.extend(ours.map(|error| ErrorEntry { nsid: namespace.nsid.into(), ..told(error) }));
        }
        for drive in self.drives_of(controller, at).into_values().collect::<BTreeSet<u16>>() {
            let own = self.plan.logs[usize::from(drive)].errors.iter();
            entries.extend(own.filter(|error| matches!(error.nsid.get(), 0 | u32::MAX)).map(told));
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.error_count.get()));
        entries.truncate(ERRORS_MAX);
        entries.resize(ERRORS_MAX, ErrorEntry::new_zeroed());
        entries.as_bytes().to_vec()
    }
}

fn told(error: &ErrorEntry) -> ErrorEntry {
    ErrorEntry { sqid: NO_COMMAND.into(), cid: NO_COMMAND.into(), ..*error }
}

fn unknown() -> SmartHealth {
    let mut log = SmartHealth::new_zeroed();
    log.composite_temperature = TEMPERATURE.into();
    log.available_spare = 100;
    log.available_spare_threshold = 10;
    log
}

/// Two drives' logs as one.
fn together(a: &SmartHealth, b: &SmartHealth) -> SmartHealth {
    let sum = |a: [u8; 16], b: [u8; 16]| u128::from_le_bytes(a).saturating_add(u128::from_le_bytes(b)).to_le_bytes();
    let most = |a: [u8; 16], b: [u8; 16]| u128::from_le_bytes(a).max(u128::from_le_bytes(b)).to_le_bytes();
    let margin = |log: &SmartHealth| i16::from(log.available_spare) - i16::from(log.available_spare_threshold);
    let worse = if margin(a) <= margin(b) { a } else { b };
    SmartHealth {
        critical_warning: a.critical_warning | b.critical_warning,
        composite_temperature: a.composite_temperature.max(b.composite_temperature),
        available_spare: worse.available_spare,
        available_spare_threshold: worse.available_spare_threshold,
        percentage_used: a.percentage_used.max(b.percentage_used),
        endurance_group_warning: a.endurance_group_warning | b.endurance_group_warning,
        data_units_read: sum(a.data_units_read, b.data_units_read),
        data_units_written: sum(a.data_units_written, b.data_units_written),
        host_reads: sum(a.host_reads, b.host_reads),
        host_writes: sum(a.host_writes, b.host_writes),
        busy_minutes: most(a.busy_minutes, b.busy_minutes),
        power_cycles: most(a.power_cycles, b.power_cycles),
        power_on_hours: most(a.power_on_hours, b.power_on_hours),
        unsafe_shutdowns: sum(a.unsafe_shutdowns, b.unsafe_shutdowns),
        media_errors: sum(a.media_errors, b.media_errors),
        error_entries: sum(a.error_entries, b.error_entries),
        warning_minutes: a.warning_minutes.max(b.warning_minutes),
        critical_minutes: a.critical_minutes.max(b.critical_minutes),
        // Sensors are a drive's own.
        ..SmartHealth::new_zeroed()
    }
}
