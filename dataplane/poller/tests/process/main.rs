//! The real gantry-dataplane process, on DPDK, with neither QEMU, hugepages nor root.
//!
//! The test is a DPDK process of its own: the host model stands at the far end of the data plane's port, and control's
//! core at the far end of its channel. `data_plane.rs` starts and stops the process, `rig.rs` puts the three together.
//! One test at a time: two cores are enough for one data plane and one host.

mod allocations;
mod channel;
mod data_plane;
mod idle;
mod io;
mod rig;
mod system_calls;
mod vfio_user;

use parking_lot::{Mutex, MutexGuard};

static ONE: Mutex<()> = Mutex::new(());

/// Held for the length of a test.
fn alone() -> MutexGuard<'static, ()> {
    ONE.lock()
}
