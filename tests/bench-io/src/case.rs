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
    /// Entries of the QP table beside those of the hosts' own QPs.
    pub entries: usize,
    /// What caches hold.
    pub pass: Pass,
    /// What it shows.
    pub axis: Axis,
}

/// What caches hold when a window begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pass {
    /// What the window before has left.
    Usual,
    /// Something else: 256 MiB were walked over.
    First,
    /// The same, but one pass over the data came in between.
    Second,
}

/// Which way a case leads from the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// Reads and writes, and how long they are.
    Length,
    /// Path MTU.
    Mtu,
    /// Commands in flight.
    Depth,
    /// QPs.
    Qps,
    /// Drives.
    Drives,
    /// What drives are.
    Medium,
    /// Loss.
    Loss,
    /// First and second pass.
    Cold,
    /// Entries of tables.
    Tables,
}

/// How many cases are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All.
    Full,
    /// What takes long to set up is smaller.
    Quick,
    /// The smallest of each kind.
    Token,
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
            entries: 0,
            pass: Pass::Usual,
            axis: Axis::Length,
        }
    }

    fn named(axis: Axis, name: impl Into<String>) -> Self {
        Self { name: name.into(), axis, ..Self::base() }
    }

    /// Every case.
    #[must_use]
    pub fn all(extent: Extent) -> Vec<Self> {
        let mut cases = vec![Self::base()];
        let lengths = [("512 B", 512), ("4 KiB", 4096), ("16 KiB", 16_384), ("128 KiB", 131_072)];
        for (text, length) in lengths.into_iter().filter(|(_, length)| *length != 4096) {
            cases.push(Self { length, ..Self::named(Axis::Length, format!("read {text}")) });
        }
        for (text, length) in lengths {
            cases.push(Self { read: false, length, ..Self::named(Axis::Length, format!("write {text}")) });
        }
        cases.push(Self { read: false, in_capsule: false, ..Self::named(Axis::Length, "write 4 KiB, keyed") });
        let mtu = 1024;
        for (text, length) in [("4 KiB", 4096), ("128 KiB", 131_072)] {
            cases.push(Self { length, mtu, ..Self::named(Axis::Mtu, format!("read {text}, MTU 1024")) });
        }
        cases.push(Self { read: false, mtu, ..Self::named(Axis::Mtu, "write 4 KiB, MTU 1024") });
        for in_flight in [1, 128] {
            cases.push(Self { in_flight, ..Self::named(Axis::Depth, format!("read 4 KiB, {in_flight} in flight")) });
        }
        cases.push(Self { read: false, in_flight: 1, ..Self::named(Axis::Depth, "write 4 KiB, 1 in flight") });
        let qps: &[usize] = match extent {
            Extent::Full => &[16, 256, 4096, 16_384],
            Extent::Quick => &[16, 256, 4096],
            Extent::Token => &[16, 70],
        };
        for &qps in qps {
            cases.push(Self { qps, ..Self::named(Axis::Qps, format!("read 4 KiB, {qps} QPs")) });
        }
        for drives in [4, 24] {
            cases.push(Self { drives, ..Self::named(Axis::Drives, format!("read 4 KiB, {drives} drives")) });
        }
        for (text, drive) in [("null", DriveKind::Null), ("file", DriveKind::File)] {
            cases.push(Self { drive, ..Self::named(Axis::Medium, format!("read 4 KiB, {text} drive")) });
        }
        let (drive, length) = (DriveKind::Null, 512);
        cases.push(Self { drive, length, ..Self::named(Axis::Medium, "read 512 B, null drive") });
        cases.push(Self { drive, read: false, ..Self::named(Axis::Medium, "write 4 KiB, null drive") });
        let drive = DriveKind::File;
        cases.push(Self { drive, read: false, ..Self::named(Axis::Medium, "write 4 KiB, file drive") });
        for (text, loss) in [("0.1 %", 1_000), ("1 %", 10_000)] {
            cases.push(Self { loss, ..Self::named(Axis::Loss, format!("read 4 KiB, {text} lost")) });
        }
        for (text, pass) in [("first", Pass::First), ("second", Pass::Second)] {
            cases.push(Self { pass, ..Self::named(Axis::Cold, format!("read 4 KiB, {text} pass")) });
        }
        let tables: &[(&str, usize)] = match extent {
            Extent::Full | Extent::Quick => &[("a thousand", 1_000), ("a million", 1_000_000)],
            Extent::Token => &[("a thousand", 1_000)],
        };
        for &(text, entries) in tables {
            cases.push(Self { entries, ..Self::named(Axis::Tables, format!("read 4 KiB, {text} entries")) });
        }
        cases
    }
}
