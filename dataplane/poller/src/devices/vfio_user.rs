//! Drives that another process emulates: [`gantry_vfio_user::Drive`] as housekeeping wants it.

use std::sync::Arc;

use gantry_dma::Region;
use gantry_pipeline::housekeeping::{Attachment, Bar, Presence};
use gantry_vfio_user::{Drive, Uri};

/// A drive behind a socket.
pub(super) struct Attached {
    name: String,
    drive: Drive,
    /// Its end is told once.
    gone: bool,
}

/// Opens the drive that is served at `uri`.
///
/// # Errors
/// A line for the operator.
pub(super) fn open(name: &str, uri: &Uri) -> Result<Attached, String> {
    let drive = Drive::open(uri).map_err(|error| error.to_string())?;
    let doorbells = if drive.maps_doorbells() { "mapped" } else { "forwarded" };
    tracing::info!(drive = name, doorbells, "the process behind it answers");
    Ok(Attached { name: name.to_owned(), drive, gone: false })
}

impl Attachment for Attached {
    fn bar(&self) -> Bar {
        self.drive.bar()
    }

    fn map(&self, region: Arc<Region>) -> Result<(), String> {
        self.drive.map(region).map_err(|error| error.to_string())
    }

    fn unmap(&self, region: &Arc<Region>) {
        self.drive.unmap(region);
    }

    fn poll(&mut self) -> Presence {
        if self.drive.poll() {
            return Presence::There;
        }
        if !std::mem::replace(&mut self.gone, true)
            && let Some(error) = self.drive.failure()
        {
            tracing::warn!(drive = self.name, %error, "drive gone");
        }
        Presence::Gone
    }

    fn needs_polling(&self) -> bool {
        !self.drive.maps_doorbells()
    }

    fn reset(&mut self) -> bool {
        self.drive.reset()
    }
}
