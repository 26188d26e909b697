//! What a drive says it is: Identify data reduced to what the target and the operator need.
//! NVMe Base 2.0 §5.17, NVM Command Set 1.0 §4.1.5.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use gantry_wire::nvme::identify::{IdentifyController, IdentifyControllerNvm, IdentifyNamespace, sgls};
use gantry_wire::nvme::{Nsid, identify};
use serde::{Deserialize, Serialize};

use crate::handover::number;
use crate::quirks::Quirks;

/// A drive and its namespaces.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Inventory {
    /// Serial number.
    pub serial: String,
    /// Model number.
    pub model: String,
    /// Firmware revision.
    pub firmware: String,
    /// VS: major in 31:16, minor in 15:8, tertiary in 7:0.
    pub version: u32,
    /// Controller identifier.
    pub cntlid: u16,
    /// Largest data transfer of one command, bytes; a drive without a limit has [`Inventory::MDTS_MAX`].
    pub mdts_bytes: u32,
    /// SGLS as Identify has it; 0 is no support.
    pub sgls: u32,
    /// ONCS: bits of [`identify::oncs`].
    pub oncs: u16,
    /// VWC: bit 0, a volatile write cache is present.
    pub vwc: u8,
    /// Entries of each I/O queue: what was asked for, or CAP.MQES if that is less.
    pub io_entries: u16,
    /// The subsystem may have other controllers (CMIC bit 1), which may reach the same namespaces.
    pub several_controllers: bool,
    /// Aborts outstanding at most: ACL + 1.
    pub aborts_max: u16,
    /// What commands without a data transfer of their own may cover.
    pub limits: Limits,
    /// Namespaces that can be served, by ascending NSID.
    pub namespaces: Vec<Namespace>,
    /// Namespaces that cannot, and why.
    #[serde(with = "number")]
    pub left_out: Vec<(Nsid, Unusable)>,
    /// AWUN and AWUPF, blocks.
    pub atomic_blocks: (u32, u32),
    /// NN: the largest NSID there can be.
    pub nsid_max: u32,
}

/// How much one command of the kinds that MDTS does not bound may cover (Identify CNS 06, NVM Command Set 1.0 figure 100).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of a Write Zeroes: WZSL, or the largest transfer for a drive that does not say. MDTS is not meant to bound it,
    /// but drives are known to take it that way.
    pub write_zeroes_bytes: u32,
    /// Ranges of a Dataset Management, 1 to 256: DMRL.
    pub dsm_ranges: u16,
    /// Blocks of one of them: DMRSL; `u32::MAX` for no limit.
    pub dsm_range_blocks: u32,
    /// Blocks of all of them: DMSL; `u64::MAX` for no limit.
    pub dsm_blocks: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            write_zeroes_bytes: Inventory::MDTS_MAX,
            dsm_ranges: 256,
            dsm_range_blocks: u32::MAX,
            dsm_blocks: u64::MAX,
        }
    }
}

/// A namespace of a drive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Namespace {
    /// Its identifier on the drive.
    #[serde(with = "number")]
    pub nsid: Nsid,
    /// Bytes of a block as a power of two.
    pub block_shift: u8,
    /// Size in blocks.
    pub blocks: u64,
    /// NGUID; zero for none.
    pub nguid: [u8; 16],
    /// EUI64; zero for none.
    pub eui64: [u8; 8],
    /// UUID; zero for none.
    pub uuid: [u8; 16],
    /// Deallocated blocks read as zeroes (DLFEAT 2:0 = 1).
    pub zeroes_after_deallocate: bool,
    /// Blocks of a write that no other command sees half of.
    pub atomic_blocks: u32,
    /// Blocks of a write of which a power failure leaves all or nothing.
    pub power_fail_blocks: u32,
    /// Optimal I/O boundary, blocks; 0 for none.
    pub boundary_blocks: u16,
    /// Several controllers may have it (NMIC bit 0).
    pub shared: bool,
    /// What it likes.
    pub preferred: Preferred,
}

/// Sizes that suit a namespace, in blocks, 0's based as Identify has them; all 0 for one that does not say (NSFEAT bit 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Preferred {
    /// NPWG: granularity of writes.
    pub write_granularity: u16,
    /// NPWA: alignment of writes.
    pub write_alignment: u16,
    /// NPDG: granularity of deallocation.
    pub deallocate_granularity: u16,
    /// NPDA: alignment of deallocation.
    pub deallocate_alignment: u16,
    /// NOWS: size of writes.
    pub write_size: u16,
}

/// Why a namespace is not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// NSZE is 0.
    #[error("it has no blocks")]
    Empty,
    /// LBADS is out of range.
    #[error("its block size is not a power of two from 512 bytes to 64 KiB")]
    BlockSize,
    /// A block is longer than MDTS allows one command to carry.
    #[error("one of its blocks is longer than the drive's largest transfer")]
    Transfer,
    /// Blocks carry metadata.
    #[error("its blocks carry metadata; format it without")]
    Metadata,
    /// Blocks carry protection information.
    #[error("its blocks carry protection information; format it without")]
    Protection,
    /// Its command set is Zoned.
    #[error("it is zoned; only the NVM command set is served")]
    Zoned,
    /// Its command set is Key Value.
    #[error("it is a key value namespace; only the NVM command set is served")]
    KeyValue,
    /// Its command set is another.
    #[error("its command set is unknown; only the NVM command set is served")]
    CommandSet,
    /// Its NSID is above [`Inventory::NSID_MAX`].
    #[error("its NSID is above 4096")]
    Nsid,
    /// Identify of it failed.
    #[error("the drive does not describe it")]
    Undescribed,
    /// There are more namespaces than [`Inventory::NAMESPACES_MAX`].
    #[error("the drive has, or may have, more namespaces than are kept")]
    TooMany,
}

impl Inventory {
    /// What `mdts_bytes` says of a drive without a limit.
    pub const MDTS_MAX: u32 = 32 << 20;
    /// Namespaces kept of one drive.
    pub const NAMESPACES_MAX: usize = 1024;
    /// The largest NSID that is served.
    pub const NSID_MAX: u32 = 4096;

    /// The namespace of `nsid`.
    #[must_use]
    pub fn namespace(&self, nsid: Nsid) -> Option<&Namespace> {
        self.namespaces.iter().find(|namespace| namespace.nsid == nsid)
    }

    /// Blocks of `namespace` that one read, write or compare may carry: by MDTS, and by NLB's 16 bits.
    #[must_use]
    pub fn blocks_max(&self, namespace: &Namespace) -> u32 {
        (self.mdts_bytes >> namespace.block_shift).clamp(1, 1 << 16)
    }

    /// Whether commands may carry SGLs.
    #[must_use]
    pub fn takes_sgl(&self) -> bool {
        matches!(self.sgls & 3, sgls::SUPPORTED | sgls::SUPPORTED_DWORD)
    }

    /// Whether the drive has a volatile write cache: a completed write without FUA is not yet durable.
    #[must_use]
    pub fn has_write_cache(&self) -> bool {
        self.vwc & 1 != 0
    }

    /// Whether an optional command (a bit of [`identify::oncs`]) is there.
    #[must_use]
    pub fn supports(&self, command: u16) -> bool {
        self.oncs & command == command
    }

    pub(crate) fn of(controller: &IdentifyController, version: u32, mpsmin: u8, quirks: Quirks) -> Inventory {
        let mdts = controller.mdts_bytes(mpsmin).unwrap_or(u64::MAX);
        let mdts_bytes = u32::try_from(mdts).unwrap_or(u32::MAX).min(Self::MDTS_MAX);
        let unsupported = if quirks.no_write_zeroes { identify::oncs::WRITE_ZEROES } else { 0 };
        Inventory {
            serial: controller.serial().into(),
            model: controller.model().into(),
            firmware: controller.firmware().into(),
            version,
            cntlid: controller.cntlid.get(),
            mdts_bytes,
            sgls: controller.sgls.get(),
            oncs: controller.oncs.get() & !unsupported,
            vwc: controller.vwc,
            several_controllers: controller.cmic & 2 != 0,
            aborts_max: u16::from(controller.acl) + 1,
            limits: Limits { write_zeroes_bytes: mdts_bytes, ..Limits::default() },
            atomic_blocks: (u32::from(controller.awun.get()) + 1, u32::from(controller.awupf.get()) + 1),
            nsid_max: controller.nn.get(),
            ..Inventory::default()
        }
    }

    /// What Identify CNS 06 adds.
    pub(crate) fn limit(&mut self, nvm: &IdentifyControllerNvm, mpsmin: u8) {
        if nvm.wzsl != 0 {
            let shift = u32::from(nvm.wzsl) + 12 + u32::from(mpsmin);
            self.limits.write_zeroes_bytes = 1u32.checked_shl(shift).filter(|bytes| *bytes != 0).unwrap_or(u32::MAX);
        }
        if nvm.dmrl != 0 {
            self.limits.dsm_ranges = nvm.dmrl.into();
        }
        if nvm.dmrsl.get() != 0 {
            self.limits.dsm_range_blocks = nvm.dmrsl.get();
        }
        if nvm.dmsl.get() != 0 {
            self.limits.dsm_blocks = nvm.dmsl.get();
        }
    }

    /// Identifiers that more than one of the drive's namespaces has name none of them.
    pub(crate) fn forget_doubles(&mut self) {
        fn forget<const N: usize>(all: &mut [Namespace], id: fn(&mut Namespace) -> &mut [u8; N]) {
            let mut seen: BTreeMap<[u8; N], u32> = BTreeMap::new();
            all.iter_mut().for_each(|namespace| *seen.entry(*id(namespace)).or_default() += 1);
            all.iter_mut().map(id).filter(|id| seen[*id] > 1).for_each(|id| *id = [0; N]);
        }
        forget(&mut self.namespaces, |namespace| &mut namespace.nguid);
        forget(&mut self.namespaces, |namespace| &mut namespace.eui64);
        forget(&mut self.namespaces, |namespace| &mut namespace.uuid);
    }
}

impl Namespace {
    pub(crate) fn of(
        nsid: Nsid,
        identify: &IdentifyNamespace,
        drive: &Inventory,
        quirks: Quirks,
    ) -> Result<Namespace, Unusable> {
        let blocks = identify.nsze.get();
        if blocks == 0 {
            return Err(Unusable::Empty);
        }
        let block_shift = identify.block_shift().filter(|&shift| shift <= 16).ok_or(Unusable::BlockSize)?;
        if identify.dps & 7 != 0 {
            return Err(Unusable::Protection);
        }
        if identify.format().ms.get() != 0 {
            return Err(Unusable::Metadata);
        }
        if drive.mdts_bytes >> block_shift == 0 {
            return Err(Unusable::Transfer);
        }
        // NSFEAT bit 1: the namespace has units of its own, of which 0 stands for the drive's. An atomic boundary would
        // bind hosts to it: then only one block is what anyone can rely on.
        let own = |unit: u16, of_drive: u32| match unit {
            0 => of_drive,
            _ if identify.nsfeat & 2 == 0 => of_drive,
            unit => u32::from(unit) + 1,
        };
        let within =
            |boundary: u16, unit: u32| if boundary == 0 { unit.min(drive.mdts_bytes >> block_shift) } else { 1 };
        let preferred = Preferred {
            write_granularity: identify.npwg.get(),
            write_alignment: identify.npwa.get(),
            deallocate_granularity: identify.npdg.get(),
            deallocate_alignment: identify.npda.get(),
            write_size: identify.nows.get(),
        };
        let stripe = u16::try_from(drive.mdts_bytes >> block_shift).unwrap_or(0);
        Ok(Namespace {
            nsid,
            block_shift,
            blocks,
            nguid: if quirks.bogus_ids { [0; 16] } else { believed(identify.nguid) },
            eui64: if quirks.bogus_ids { [0; 8] } else { believed(identify.eui64) },
            uuid: [0; 16],
            zeroes_after_deallocate: identify.dlfeat & 7 == 1,
            atomic_blocks: within(identify.nabsn.get(), own(identify.nawun.get(), drive.atomic_blocks.0)),
            power_fail_blocks: within(identify.nabspf.get(), own(identify.nawupf.get(), drive.atomic_blocks.1)),
            boundary_blocks: match identify.noiob.get() {
                0 if quirks.stripes => stripe,
                boundary => boundary,
            },
            shared: identify.nmic & 1 != 0,
            preferred: if identify.nsfeat & 1 << 4 != 0 { preferred } else { Preferred::default() },
        })
    }

    /// Adds what the identification descriptors say.
    pub(crate) fn describe(&mut self, page: &[u8], quirks: Quirks) {
        for id in identify::NamespaceId::parse_list(page).filter(|_| !quirks.bogus_ids) {
            match id {
                identify::NamespaceId::Eui64(id) => self.eui64 = believed(id),
                identify::NamespaceId::Nguid(id) => self.nguid = believed(id),
                identify::NamespaceId::Uuid(id) => self.uuid = believed(id),
                identify::NamespaceId::Csi(_) | identify::NamespaceId::Other(..) => {}
            }
        }
    }
}

/// Why a namespace is not served whose identification descriptors name another command set than NVM.
pub(crate) fn other_command_set(page: &[u8]) -> Option<Unusable> {
    identify::NamespaceId::parse_list(page).find_map(|id| match id {
        identify::NamespaceId::Csi(1) => Some(Unusable::KeyValue),
        identify::NamespaceId::Csi(2) => Some(Unusable::Zoned),
        identify::NamespaceId::Csi(csi) if csi != 0 => Some(Unusable::CommandSet),
        _ => None,
    })
}

/// All ones is what an empty table of identifiers reads as.
fn believed<const N: usize>(id: [u8; N]) -> [u8; N] {
    if id == [0xff; N] { [0; N] } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace() -> IdentifyNamespace {
        let mut identify = IdentifyNamespace::zeroed();
        identify.nsze = 100.into();
        identify.lbaf[0].lbads = 9;
        identify
    }

    fn drive() -> Inventory {
        Inventory { mdts_bytes: 128 << 10, atomic_blocks: (256, 8), ..Inventory::default() }
    }

    #[test]
    fn atomic_units_are_what_holds_for_every_write_of_that_length() {
        let units = |change: fn(&mut IdentifyNamespace)| {
            let mut identify = namespace();
            change(&mut identify);
            let namespace = Namespace::of(Nsid(1), &identify, &drive(), Quirks::default()).unwrap();
            (namespace.atomic_blocks, namespace.power_fail_blocks)
        };
        assert_eq!(units(|_| {}), (256, 8), "the drive's");
        assert_eq!(
            units(|id| (id.nawun, id.nawupf) = (3.into(), 1.into())),
            (256, 8),
            "NSFEAT does not say that they count"
        );
        assert_eq!(units(|id| (id.nsfeat, id.nawun, id.nawupf) = (2, 3.into(), 1.into())), (4, 2));
        assert_eq!(units(|id| (id.nsfeat, id.nawun) = (2, 0xffff.into())), (256, 8), "no longer than a command");
        assert_eq!(units(|id| (id.nabsn, id.nabspf) = (7.into(), 7.into())), (1, 1), "not across a boundary");
    }

    #[test]
    fn a_block_longer_than_a_transfer_is_left_out() {
        let mut identify = namespace();
        identify.lbaf[0].lbads = 14;
        let small = Inventory { mdts_bytes: 8192, ..drive() };
        assert_eq!(Namespace::of(Nsid(1), &identify, &small, Quirks::default()), Err(Unusable::Transfer));
        assert!(Namespace::of(Nsid(1), &identify, &drive(), Quirks::default()).is_ok());
    }

    #[test]
    fn identifiers_that_cannot_be_are_none() {
        let mut identify = namespace();
        (identify.nguid, identify.eui64) = ([0xff; 16], [7; 8]);
        let of = |nsid| Namespace::of(nsid, &identify, &drive(), Quirks::default()).unwrap();
        let mut inventory = Inventory { namespaces: Vec::from([of(Nsid(1)), of(Nsid(2))]), ..drive() };
        inventory.namespaces[0].uuid = [3; 16];
        assert_eq!((inventory.namespaces[0].nguid, inventory.namespaces[0].eui64), ([0; 16], [7; 8]));
        inventory.forget_doubles();
        assert_eq!(inventory.namespaces[0].eui64, [0; 8], "two have it");
        assert_eq!(inventory.namespaces[0].uuid, [3; 16], "only one has it");
    }

    #[test]
    fn limits_of_any_bytes() {
        let mut nvm = IdentifyControllerNvm::zeroed();
        let limits = |nvm: &IdentifyControllerNvm, mpsmin| {
            let mut inventory = drive();
            inventory.limit(nvm, mpsmin);
            inventory.limits
        };
        assert_eq!(limits(&nvm, 0), Limits::default());
        (nvm.wzsl, nvm.dmrl, nvm.dmrsl, nvm.dmsl) = (3, 4, 5.into(), 6.into());
        let all = Limits { write_zeroes_bytes: 32 << 10, dsm_ranges: 4, dsm_range_blocks: 5, dsm_blocks: 6 };
        assert_eq!(limits(&nvm, 0), all);
        for wzsl in [20, 51, 255] {
            nvm.wzsl = wzsl;
            assert_eq!(limits(&nvm, 15).write_zeroes_bytes, u32::MAX, "{wzsl}");
        }
    }
}
