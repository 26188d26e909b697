//! What control is told of a drive: what it offers, what it lacks, and what the operator should know of it.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use gantry::channel::FRAME_MAX;
use gantry::channel::event::{DriveLimits, DriveNamespace, DriveReady, NamespaceHints};
use gantry_nvme::{Inventory, Namespace, Quirks};
use gantry_wire::nvme::Nsid;
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

/// Namespaces of one drive that fit in a frame.
const NAMESPACES_TOLD: usize = 128;

/// Most bytes of a frame that are the event's tail: headers take less than the rest.
const TAIL_MAX: usize = FRAME_MAX - 64;

/// Namespaces that a remark names before it only counts them.
const NAMED: usize = 8;

/// The tail of a drive's [`DriveReady`] event; a namespace that is `gone` has no blocks.
pub(super) fn tail(inventory: &Inventory, gone: impl Fn(&Namespace) -> bool, remarks: &[String]) -> Vec<u8> {
    let told = || inventory.namespaces.iter().take(NAMESPACES_TOLD);
    let ready = DriveReady {
        serial: padded(&inventory.serial),
        model: padded(&inventory.model),
        firmware: padded(&inventory.firmware),
        oncs: U16::new(inventory.oncs),
        vwc: inventory.vwc,
        reserved: 0,
        namespaces: U32::new(told().count() as u32),
    };
    let limits = &inventory.limits;
    let limits = DriveLimits {
        dsm_ranges: U16::new(if limits.dsm_ranges == 256 { 0 } else { limits.dsm_ranges }),
        reserved: U16::ZERO,
        dsm_range_blocks: U32::new(if limits.dsm_range_blocks == u32::MAX { 0 } else { limits.dsm_range_blocks }),
        dsm_blocks: U64::new(if limits.dsm_blocks == u64::MAX { 0 } else { limits.dsm_blocks }),
    };
    let mut tail = ready.as_bytes().to_vec();
    told().for_each(|namespace| tail.extend_from_slice(entry(namespace, gone(namespace)).as_bytes()));
    tail.extend_from_slice(limits.as_bytes());
    told().for_each(|namespace| tail.extend_from_slice(hints(namespace).as_bytes()));
    for remark in remarks {
        // Whole lines only, as far as there is room.
        if tail.len() + remark.len() < TAIL_MAX {
            tail.extend_from_slice(remark.as_bytes());
            tail.push(b'\n');
        }
    }
    tail
}

fn entry(namespace: &Namespace, gone: bool) -> DriveNamespace {
    DriveNamespace {
        nsid: U32::new(namespace.nsid.0),
        block_shift: namespace.block_shift,
        flags: u8::from(namespace.zeroes_after_deallocate),
        reserved: U16::ZERO,
        blocks: U64::new(if gone { 0 } else { namespace.blocks }),
        nguid: namespace.nguid,
        eui64: namespace.eui64,
    }
}

fn hints(namespace: &Namespace) -> NamespaceHints {
    let zero_based = |blocks: u32| U16::new(u16::try_from(blocks.saturating_sub(1)).unwrap_or(u16::MAX));
    let preferred = &namespace.preferred;
    NamespaceHints {
        atomic: zero_based(namespace.atomic_blocks),
        power_fail: zero_based(namespace.power_fail_blocks),
        boundary: U16::new(namespace.boundary_blocks),
        write_granularity: U16::new(preferred.write_granularity),
        write_alignment: U16::new(preferred.write_alignment),
        deallocate_granularity: U16::new(preferred.deallocate_granularity),
        deallocate_alignment: U16::new(preferred.deallocate_alignment),
        write_size: U16::new(preferred.write_size),
    }
}

/// What the operator should know of a drive, a line each: namespaces that are left out and why, what is known against its
/// make, and which of its namespaces are reached through another drive too.
pub(super) fn remarks<'a>(
    inventory: &Inventory,
    quirks: Quirks,
    others: impl Iterator<Item = (&'a str, &'a Inventory)>,
) -> Vec<String> {
    let mut remarks = Vec::new();
    let mut reasons: BTreeMap<String, Vec<Nsid>> = BTreeMap::new();
    for (nsid, why) in &inventory.left_out {
        reasons.entry(format!("{why}")).or_default().push(*nsid);
    }
    for (why, nsids) in reasons {
        let named: Vec<String> = nsids.iter().take(NAMED).map(|nsid| format!("{}", nsid.0)).collect();
        let more = nsids.len() - named.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        remarks.push(format!("namespace {}{more} is left out: {why}", named.join(", ")));
    }
    let hidden = inventory.namespaces.len().saturating_sub(NAMESPACES_TOLD);
    if hidden > 0 {
        remarks.push(format!("{hidden} of its namespaces are left out: {NAMESPACES_TOLD} of one drive are served"));
    }
    remarks.extend(quirks.named().map(|what| format!("known of its make: {what}")));
    for (name, other) in others {
        for namespace in &inventory.namespaces {
            if let Some(twin) = other.namespaces.iter().find(|twin| is_same(namespace, twin)) {
                let (nsid, its) = (namespace.nsid.0, twin.nsid.0);
                let how = if namespace.shared { "two controllers of one subsystem" } else { "it is no shared one" };
                remarks.push(format!(
                    "its namespace {nsid} is drive {name}'s namespace {its} as well ({how}): hosts of one see what \
                     hosts of the other write"
                ));
            }
        }
    }
    remarks
}

/// Whether two namespaces have an identifier in common that is one.
fn is_same(one: &Namespace, other: &Namespace) -> bool {
    one.nguid != [0; 16] && one.nguid == other.nguid
        || one.eui64 != [0; 8] && one.eui64 == other.eui64
        || one.uuid != [0; 16] && one.uuid == other.uuid
}

fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    let bytes = text.as_bytes();
    let length = bytes.len().min(N);
    field[..length].copy_from_slice(&bytes[..length]);
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_nvme::{Device, Unusable};

    #[test]
    fn a_frame_holds_all_that_is_told() {
        let (namespaces, limits) =
            (size_of::<DriveNamespace>() + size_of::<NamespaceHints>(), size_of::<DriveLimits>());
        assert!(size_of::<DriveReady>() + limits + NAMESPACES_TOLD * namespaces <= TAIL_MAX);
        let many = alloc::vec![String::from("a line"); 5_000];
        assert!(tail(&Inventory::default(), |_| false, &many).len() <= TAIL_MAX);
    }

    #[test]
    fn what_is_left_out_is_told_by_reason() {
        let left_out = (1..=10).map(|nsid| (Nsid(nsid), Unusable::Zoned)).chain([(Nsid(11), Unusable::Metadata)]);
        let inventory = Inventory { left_out: left_out.collect(), ..Inventory::default() };
        let quirks = Quirks::of(Device { vendor: 0x1987, device: 0x5019, ..Device::default() });
        let said = remarks(&inventory, quirks, core::iter::empty());
        assert_eq!(
            said[0],
            "namespace 1, 2, 3, 4, 5, 6, 7, 8 and 2 more is left out: it is zoned; only the NVM command set is served"
        );
        assert_eq!(said[1], "namespace 11 is left out: its blocks carry metadata; format it without");
        assert_eq!(said[2], "known of its make: Write Zeroes is not used");
        assert_eq!(said.len(), 3);
    }
}
