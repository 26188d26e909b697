//! The IOMMU groups that this process has open, or is still closing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{Error, PciAddress};

/// A device that has gone from its owner, but not from this process: the kernel resets it while it closes it. How long
/// whoever wants it again waits for that.
const CLOSING: Duration = Duration::from_secs(2);

struct Entry {
    address: PciAddress,
    group: u32,
    closing: bool,
}

static ENTRIES: Mutex<Vec<Entry>> = Mutex::new(Vec::new());
static RELEASED: Condvar = Condvar::new();

/// A group, from before it is opened until its last descriptor is closed.
#[derive(Debug)]
pub(super) struct Claim(PciAddress);

impl Claim {
    /// Claims `group` for the device at `address`.
    pub(super) fn take(address: PciAddress, group: u32) -> Result<Arc<Claim>, Error> {
        let deadline = Instant::now() + CLOSING;
        let mut entries = ENTRIES.lock();
        while let Some(entry) = entries.iter().find(|entry| entry.group == group) {
            let refused = match entry {
                Entry { closing: true, .. } => Error::Closing(address),
                entry if entry.address == address => return Err(Error::Open(address)),
                entry => return Err(Error::Shared { address, group, other: entry.address }),
            };
            if RELEASED.wait_until(&mut entries, deadline).timed_out() {
                return Err(refused);
            }
        }
        entries.push(Entry { address, group, closing: false });
        Ok(Arc::new(Claim(address)))
    }

    /// The owner has let go of it.
    pub(super) fn is_closing(&self) {
        let mut entries = ENTRIES.lock();
        if let Some(entry) = entries.iter_mut().find(|entry| entry.address == self.0) {
            entry.closing = true;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        ENTRIES.lock().retain(|entry| entry.address != self.0);
        RELEASED.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_one_devices() {
        let [first, second]: [PciAddress; 2] = ["ff:01.0", "ff:02.0"].map(|text| text.parse().unwrap());
        let claim = Claim::take(first, 1000).unwrap();
        assert_eq!(Claim::take(first, 1000).unwrap_err(), Error::Open(first));
        let shared = Claim::take(second, 1000).unwrap_err().to_string();
        assert!(
            shared.starts_with("0000:ff:02.0 shares IOMMU group 1000 with 0000:ff:01.0, which is open"),
            "{shared}"
        );
        let other = Claim::take(second, 1001).unwrap();
        drop(other);

        // Closing it takes a while, and whoever wants it again waits.
        claim.is_closing();
        let closer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(claim);
        });
        drop(Claim::take(second, 1000).unwrap());
        closer.join().unwrap();
    }
}
