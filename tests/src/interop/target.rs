//! What the suite asks of a target.

use std::net::SocketAddr;

use crate::vm::{Error, Machine, Result};

/// The subsystems that every target in the suite serves on port 4420 of its address.
pub mod subsystem {
    /// Open to any host; one namespace, NSID 1.
    pub const OPEN: &str = "nqn.2026-11.io.gantry:demo";
    /// NSID 1 of [`OPEN`].
    pub const OPEN_UUID: &str = "5a9c8d6e-3b41-4c2f-9d70-1f2e3a4b5c6d";
    /// Size of NSID 1 of [`OPEN`], in bytes.
    pub const OPEN_BYTES: u64 = 64 << 20;
    /// Exists, but only [`OTHER_HOST`] may connect.
    pub const PRIVATE: &str = "nqn.2026-11.io.gantry:private";
    /// NSID 1 of [`PRIVATE`].
    pub const PRIVATE_UUID: &str = "0d6f2c58-77a1-4be0-8a35-93c1b0f4e2d7";
    /// A host that is not the suite's.
    pub const OTHER_HOST: &str = "nqn.2026-11.io.gantry:another-host";
    /// Nobody serves it.
    pub const ABSENT: &str = "nqn.2026-11.io.gantry:absent";
}

/// The IP address of the host that a target boots.
pub(super) const HOST_ADDRESS: &str = "10.0.0.2";

/// Something that serves [`subsystem`] to a machine.
pub trait Target {
    /// For the report.
    fn name(&self) -> &str;

    /// IP address of the portal, without prefix length.
    fn address(&self) -> &str;

    /// Boots a host on this target's wire, with an address on its network.
    fn boot_host(&mut self) -> Result<Machine>;

    /// Where it serves P4Runtime.
    fn p4runtime(&self) -> Result<SocketAddr> {
        Err(Error::Unexpected(format!("{} serves no P4Runtime", self.name())))
    }

    /// Fails if the target itself is in trouble: a process that ended, a kernel that hangs.
    fn check_health(&self) -> Result<()>;

    /// What the target has written lately, to be read beside a failure.
    fn said(&self) -> String;

    /// Ends the target in order; fails if it does not end well.
    fn stop(self: Box<Self>) -> Result<()>;
}
