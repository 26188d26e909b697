//! Drives, by the scheme of their URI; and the software drive's attachment.

use std::sync::Arc;

use gantry_dma::Region;
use gantry_drive::Running;
use gantry_nvme::{Bar, Device};
use gantry_pipeline::housekeeping::Attachment;
use gantry_vfio_user::Uri;

use super::{Memory, vfio, vfio_user};

/// Checks a URI for what no waiting mends.
///
/// # Errors
/// A line for the operator.
pub(super) fn check(uri: &str, memory: Memory) -> Result<(), String> {
    match uri.split_once(':') {
        Some(("pci", rest)) => vfio::check(rest, memory),
        Some(("vfio-user", _)) => Uri::parse(uri).map(drop),
        _ => gantry_drive::Uri::parse(uri).map(drop).map_err(|error| error.to_string()),
    }
}

/// Opens the drive that `uri` names, for as many queue pairs as there are `lcores`.
///
/// # Errors
/// A line for the operator.
pub(super) fn open(
    opening: &mut vfio::Opening,
    name: &str,
    uri: &str,
    lcores: usize,
) -> Result<Box<dyn Attachment>, String> {
    match uri.split_once(':') {
        Some(("pci", rest)) => Ok(Box::new(vfio::open(opening, name, rest, lcores)?)),
        Some(("vfio-user", _)) => Ok(Box::new(vfio_user::open(name, &Uri::parse(uri)?)?)),
        // `mem:` and `file:`; it knows what to say of the others.
        _ => {
            let opened = gantry_drive::open(uri, name).and_then(gantry_drive::SoftwareDrive::spawn);
            Ok(Box::new(Attached { drive: opened.map_err(|error| error.to_string())? }))
        }
    }
}

/// A software drive and the thread that steps it.
struct Attached {
    drive: Running,
}

impl Attachment for Attached {
    fn bar(&self) -> Bar {
        let (vendor, device) = self.drive.make();
        Bar { device: Device { vendor, device, ..Device::default() }, ..self.drive.bar().into() }
    }

    fn map(&self, region: Arc<Region>) -> Result<(), String> {
        self.drive.map(region).map_err(|error| error.to_string())
    }

    fn unmap(&self, region: &Arc<Region>) {
        self.drive.space().unmap(region);
    }
}
