//! What the data plane tells of drives: up, down, slow, what they were.

use crate::plan::{Drive, Geometry};
use crate::{Control, Notice};
use gantry::channel::FrameError;
use gantry::channel::event::{DRIVE_ABSENT, DriveLimits, DriveNamespace, DriveReady, NamespaceHints};
use zerocopy::{FromBytes, FromZeros};

/// Most lines about one drive that control keeps.
const REMARKS_MAX: usize = 64;

/// Most namespaces of one drive that control keeps.
const DRIVE_NAMESPACES_MAX: usize = 1024;

/// What a drive says of itself: its model, and what it offers.
fn read(tail: &[u8]) -> Result<(String, Geometry), FrameError> {
    let (ready, rest) = DriveReady::ref_from_prefix(tail).map_err(|_| FrameError::Length)?;
    let count = (ready.namespaces.get() as usize).min(DRIVE_NAMESPACES_MAX);
    let (namespaces, rest) =
        <[DriveNamespace]>::ref_from_prefix_with_elems(rest, count).map_err(|_| FrameError::Length)?;
    let (limits, hints, text) = limits_and_hints(rest, count);
    let readable = |(namespace, _): &(DriveNamespace, _)| (9..=31).contains(&namespace.block_shift);
    let text = String::from_utf8_lossy(text);
    let geometry = Geometry {
        oncs: ready.oncs.get(),
        volatile_write_cache: ready.vwc & 1 != 0,
        limits,
        namespaces: namespaces.iter().copied().zip(hints).filter(readable).collect(),
        remarks: text.lines().take(REMARKS_MAX).map(printable).collect(),
    };
    Ok((String::from_utf8_lossy(&ready.model).trim().to_owned(), geometry))
}

/// What stands behind `count` namespaces in a drive's event, if it is from a data plane that tells it: the drive's limits,
/// what suits each namespace, and text.
fn limits_and_hints(rest: &[u8], count: usize) -> (DriveLimits, Vec<NamespaceHints>, &[u8]) {
    let told = DriveLimits::ref_from_prefix(rest).ok();
    let told = told.and_then(|(limits, rest)| {
        let (hints, text) = <[NamespaceHints]>::ref_from_prefix_with_elems(rest, count).ok()?;
        Some((*limits, hints.to_vec(), text))
    });
    told.unwrap_or_else(|| (DriveLimits::new_zeroed(), vec![NamespaceHints::default(); count], &[]))
}

/// A line as a log may show it.
fn printable(line: &str) -> String {
    line.chars().filter(|character| !character.is_control()).collect()
}

impl Control {
    pub(crate) fn drive_ready(&mut self, drive: u32, tail: &[u8]) -> Result<(), FrameError> {
        let (model, geometry) = read(tail)?;
        let Some(name) = self.configuration.drives.get(drive as usize).map(|d| d.name.clone()) else {
            return Ok(());
        };
        self.plan.known[drive as usize] = Some(Box::new(geometry.clone()));
        let Some((first, _)) = geometry.namespaces.iter().find(|(namespace, _)| namespace.blocks.get() > 0) else {
            let why = "it has no namespace that can be served";
            let why = std::iter::once(why).chain(geometry.remarks.iter().map(String::as_str));
            self.drive_failed(drive, 0, &why.collect::<Vec<_>>().join("; "));
            // Those that hosts had of it are gone.
            self.attach_to_running_controllers(drive as u16);
            return Ok(());
        };
        let (blocks, block_shift) = (first.blocks.get(), first.block_shift);
        self.notices.push(Notice::DriveReady { drive: name.clone(), model, blocks, block_shift });
        for text in &geometry.remarks {
            self.notices.push(Notice::DriveRemark { drive: name.clone(), text: text.clone() });
        }
        self.plan.drives[drive as usize] = Drive::Ready(Box::new(geometry));
        self.attach_to_running_controllers(drive as u16);
        self.access_changed();
        self.retry_held_connects();
        Ok(())
    }

    /// What a drive was that does not serve now.
    pub(crate) fn drive_known(&mut self, drive: u32, tail: &[u8]) -> Result<(), FrameError> {
        let (_, geometry) = read(tail)?;
        if let Some(known) = self.plan.known.get_mut(drive as usize) {
            *known = Some(Box::new(geometry));
        }
        Ok(())
    }

    pub(crate) fn drive_failed(&mut self, drive: u32, reason: u16, text: &str) {
        let Some(name) = self.configuration.drives.get(drive as usize).map(|d| d.name.clone()) else { return };
        self.plan.drives[drive as usize] = Drive::Failed(text.to_owned());
        let text = text.to_owned();
        self.notices.push(match reason {
            DRIVE_ABSENT => Notice::DriveAbsent { drive: name, text },
            _ => Notice::DriveFailed { drive: name, text },
        });
        self.access_changed();
        self.retry_held_connects();
    }

    /// It takes no commands until it is reset; how that ends follows.
    pub(crate) fn drive_stopped(&mut self, drive: u32) {
        let Some(state) = self.plan.drives.get_mut(drive as usize) else { return };
        *state = Drive::Failed("it is being reset".to_owned());
        self.access_changed();
    }

    pub(crate) fn drive_slow(&mut self, drive: u32) {
        let Some(drive) = self.configuration.drives.get(drive as usize).map(|d| d.name.clone()) else { return };
        self.notices.push(Notice::DriveSlow { drive });
    }
}
