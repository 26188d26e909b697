//! The cases: a base (reads of 4 KiB, 32 in flight on one QP, one memory drive, path MTU 4096) and each axis from it.

use serde::Serialize;

/// What is asked of the data plane.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Reads, or writes.
    pub read: bool,
    /// Bytes of a command.
    pub length: u32,
    /// Whether written data of up to 4 KiB goes into the capsule.
    pub in_capsule: bool,
    /// Path MTU in bytes: 1024 or 4096.
    pub mtu: u16,
    /// Commands in flight.
    pub in_flight: usize,
    /// I/O queue pairs that they go round.
    pub qps: usize,
    /// What drives are.
    pub drive: DriveKind,
    /// How many.
    pub drives: usize,
    /// Frames lost, of a million, in either direction.
    pub loss: u32,
}

/// What a drive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DriveKind {
    /// Completes without moving data.
    Null,
    /// Memory.
    Memory,
    /// A file, in the page cache.
    File,
}

impl Case {
    /// The base.
    #[must_use]
    pub fn base() -> Self {
        Self {
            name: "read 4 KiB".into(),
            read: true,
            length: 4096,
            in_capsule: true,
            mtu: 4096,
            in_flight: 32,
            qps: 1,
            drive: DriveKind::Memory,
            drives: 1,
            loss: 0,
        }
    }

    fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::base() }
    }

    /// Every case of the alternating mode.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut cases = vec![Self::base()];
        for (text, length) in [("512 B", 512), ("16 KiB", 16_384), ("128 KiB", 131_072)] {
            cases.push(Self { length, ..Self::named(format!("read {text}")) });
        }
        for (text, length) in [("512 B", 512), ("4 KiB", 4096), ("16 KiB", 16_384), ("128 KiB", 131_072)] {
            cases.push(Self { read: false, length, ..Self::named(format!("write {text}")) });
        }
        cases.push(Self { read: false, in_capsule: false, ..Self::named("write 4 KiB, keyed") });
        for (text, length) in [("4 KiB", 4096), ("128 KiB", 131_072)] {
            cases.push(Self { length, mtu: 1024, ..Self::named(format!("read {text}, MTU 1024")) });
        }
        cases.push(Self { read: false, mtu: 1024, ..Self::named("write 4 KiB, MTU 1024") });
        cases
    }
}
