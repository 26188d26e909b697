//! What is known to be wrong with drives that otherwise keep to the specification, by PCI identity: one table. Read by the
//! controller's bring-up, before anything that the drive says of itself is trusted.
//!
//! A row is a fact about a drive that others have published (the tables of Linux and SPDK); only what changes something
//! in this driver is here. Not here, because it is done for every drive: registers in 32-bit halves, no SGL for range lists,
//! PRP lists that start at 512 bytes, zeroes after deallocation only where DLFEAT promises them.

use serde::{Deserialize, Serialize};

use crate::Device;

/// How long a drive that needs time is left alone after CC.EN = 0, before its registers are read again.
pub(crate) const DISABLE_DELAY_NS: u64 = 2_300_000_000;

/// Entries of an I/O queue of a drive whose CAP.MQES says 1 and is wrong.
const ENTRIES_UNTOLD: u16 = 64;

/// What is wrong with a make of drive; all `false` and `None` for one that nothing is known against.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Quirks {
    /// After CC.EN = 0 it is given time: it calls itself disabled too early, and does not come up again then.
    pub slow_disable: bool,
    /// An Identify that asks for other than a namespace or the controller (CNS 00, 01) is not sent: namespaces are found
    /// one by one.
    pub plain_identify: bool,
    /// Identification descriptors (CNS 03) are not asked for: it does not survive the question.
    pub no_descriptors: bool,
    /// NGUID, EUI64 and UUID are not believed: other drives have the same, or they change.
    pub bogus_ids: bool,
    /// Write Zeroes is not used, whatever ONCS says: it fails, or takes ages.
    pub no_write_zeroes: bool,
    /// Commands that cross a multiple of MDTS are slow: hosts hear that as the optimal boundary.
    pub stripes: bool,
    /// Most entries of an I/O queue.
    pub entries_max: Option<u16>,
    /// CAP.MQES may be 0, and then means this many entries.
    pub entries_untold: Option<u16>,
    /// Its submission entries are 128 bytes: it is not driven.
    pub wide_entries: bool,
}

/// Nothing is wrong.
const NONE: Quirks = Quirks {
    slow_disable: false,
    plain_identify: false,
    no_descriptors: false,
    bogus_ids: false,
    no_write_zeroes: false,
    stripes: false,
    entries_max: None,
    entries_untold: None,
    wide_entries: false,
};
const SLOW_DISABLE: Quirks = Quirks { slow_disable: true, ..NONE };
const PLAIN_IDENTIFY: Quirks = Quirks { plain_identify: true, ..NONE };
const BOGUS_IDS: Quirks = Quirks { bogus_ids: true, ..NONE };
const NO_WRITE_ZEROES: Quirks = Quirks { no_write_zeroes: true, ..NONE };
const STRIPES: Quirks = Quirks { stripes: true, ..NONE };

/// Vendor, device, what is wrong.
#[rustfmt::skip]
const TABLE: &[(u16, u16, Quirks)] = &[
    // Apple: the drive of 2015's MacBook loses data with more than one command; T2 machines have a dialect of their own.
    (0x106b, 0x2001, Quirks { entries_max: Some(2), ..NONE }),
    (0x106b, 0x2005, Quirks { wide_entries: true, ..NONE }),
    // ADATA, Realtek, TeamGroup.
    (0x10ec, 0x5762, BOGUS_IDS),
    (0x10ec, 0x5763, BOGUS_IDS),
    (0x10ec, 0x5765, BOGUS_IDS),
    (0x1cc1, 0x33f8, BOGUS_IDS),
    (0x1cc1, 0x5350, BOGUS_IDS),
    // Silicon Motion.
    (0x126f, 0x2262, BOGUS_IDS),
    (0x126f, 0x2263, Quirks { no_descriptors: true, bogus_ids: true, ..NONE }),
    // Micron, Crucial.
    (0x1344, 0x6001, BOGUS_IDS),
    (0xc0a9, 0x540a, BOGUS_IDS),
    // Samsung: SM953; PM1725, PM1725a; two makes for notebooks.
    (0x144d, 0xa802, BOGUS_IDS),
    (0x144d, 0xa821, Quirks { slow_disable: true, entries_untold: Some(ENTRIES_UNTOLD), ..NONE }),
    (0x144d, 0xa822, Quirks { slow_disable: true, no_write_zeroes: true, entries_untold: Some(ENTRIES_UNTOLD), ..NONE }),
    (0x144d, 0xa809, NO_WRITE_ZEROES),
    (0x144d, 0xa80b, Quirks { no_write_zeroes: true, bogus_ids: true, ..NONE }),
    // SanDisk.
    (0x15b7, 0x2001, NO_WRITE_ZEROES),
    // Phison: E12, E16, E19, E21.
    (0x1987, 0x5012, BOGUS_IDS),
    (0x1987, 0x5016, BOGUS_IDS),
    (0x1987, 0x5019, NO_WRITE_ZEROES),
    (0x1987, 0x5021, NO_WRITE_ZEROES),
    // Seagate Nytro.
    (0x1bb1, 0x0100, Quirks { slow_disable: true, no_descriptors: true, ..NONE }),
    // Lexar (Marvell's controller; its own vendor ID).
    (0x1b4b, 0x1092, Quirks { no_descriptors: true, ..NONE }),
    (0x1d97, 0x1d97, BOGUS_IDS),
    (0x1d97, 0x2263, Quirks { no_write_zeroes: true, bogus_ids: true, ..NONE }),
    (0x1d97, 0x2269, BOGUS_IDS),
    // HGST SN100, WDC SN200.
    (0x1c58, 0x0003, SLOW_DISABLE),
    (0x1c58, 0x0023, SLOW_DISABLE),
    // SK hynix.
    (0x1c5c, 0x1504, NO_WRITE_ZEROES),
    (0x1c5c, 0x174a, BOGUS_IDS),
    (0x1c5c, 0x1d59, NO_WRITE_ZEROES),
    // Memblaze PBlaze4.
    (0x1c5f, 0x0540, SLOW_DISABLE),
    // UMIS.
    (0x1cc4, 0x6302, NO_WRITE_ZEROES),
    (0x1cc4, 0x6303, NO_WRITE_ZEROES),
    // CNEX Labs.
    (0x1d1d, 0x1f1f, PLAIN_IDENTIFY),
    // Innogrit, Maxio, Netac.
    (0x1dbe, 0x5216, BOGUS_IDS),
    (0x1dbe, 0x5236, BOGUS_IDS),
    (0x1e4b, 0x1001, BOGUS_IDS),
    (0x1e4b, 0x1002, BOGUS_IDS),
    (0x1e4b, 0x1202, BOGUS_IDS),
    (0x1e4b, 0x1602, BOGUS_IDS),
    (0x1f40, 0x1202, BOGUS_IDS),
    (0x1f40, 0x5236, BOGUS_IDS),
    // Kingston.
    (0x2646, 0x5016, NO_WRITE_ZEROES),
    (0x2646, 0x5018, NO_WRITE_ZEROES),
    (0x2646, 0x501a, NO_WRITE_ZEROES),
    (0x2646, 0x501b, NO_WRITE_ZEROES),
    (0x2646, 0x501e, NO_WRITE_ZEROES),
    // Intel: P3700 and its kin, P3520, P4500 and P4600, Dell's P4600, 600p; QEMU's drive before it had an ID of its own.
    (0x8086, 0x0953, Quirks { slow_disable: true, stripes: true, ..NONE }),
    (0x8086, 0x0a53, Quirks { slow_disable: true, stripes: true, ..NONE }),
    (0x8086, 0x0a54, Quirks { stripes: true, bogus_ids: true, ..NONE }),
    (0x8086, 0x0a55, STRIPES),
    (0x8086, 0x5845, Quirks { plain_identify: true, no_write_zeroes: true, bogus_ids: true, ..NONE }),
    (0x8086, 0xf1a5, NO_WRITE_ZEROES),
];

impl Quirks {
    /// What is known of a make.
    #[must_use]
    pub fn of(device: Device) -> Quirks {
        let row = TABLE.iter().find(|(vendor, id, _)| (*vendor, *id) == (device.vendor, device.device));
        row.map_or(NONE, |(_, _, quirks)| *quirks)
    }

    /// In words, for the operator; nothing for a make that nothing is known against.
    pub fn named(self) -> impl Iterator<Item = &'static str> {
        let Quirks { slow_disable, plain_identify, no_descriptors, bogus_ids, no_write_zeroes, stripes, .. } = self;
        let Quirks { entries_max, entries_untold, wide_entries, .. } = self;
        [
            (slow_disable, "it is left alone for 2.3 s after each reset"),
            (plain_identify, "its namespaces are looked for one by one"),
            (no_descriptors, "it is not asked for identification descriptors"),
            (bogus_ids, "its NGUID, EUI64 and UUID are not believed"),
            (no_write_zeroes, "Write Zeroes is not used"),
            (stripes, "commands across a multiple of its MDTS are slow"),
            (entries_max.is_some(), "its queues are kept short"),
            (entries_untold.is_some(), "a CAP.MQES of 0 is not believed"),
            (wide_entries, "its submission entries are 128 bytes"),
        ]
        .into_iter()
        .filter_map(|(holds, text)| holds.then_some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn each_make_is_there_once_and_has_something_wrong_with_it() {
        let mut makes = BTreeSet::new();
        for (vendor, device, quirks) in TABLE {
            assert!(makes.insert((*vendor, *device)), "{vendor:04x}:{device:04x} is there twice");
            assert_ne!(quirks.named().count(), 0, "{vendor:04x}:{device:04x}");
            assert_eq!(Quirks::of(Device { vendor: *vendor, device: *device, ..Device::default() }), *quirks);
        }
        assert_eq!(Quirks::of(Device::default()), NONE);
        assert_eq!(NONE.named().count(), 0);
    }
}
