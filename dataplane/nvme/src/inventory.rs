//! What a drive says it is: Identify data reduced to what the target and the operator need.
//! NVMe Base 2.0 §5.17, NVM Command Set 1.0 §4.1.5.

use alloc::string::String;
use alloc::vec::Vec;
use gantry_wire::nvme::identify::{IdentifyController, IdentifyNamespace, sgls};
use gantry_wire::nvme::{Nsid, identify};
use serde::{Deserialize, Serialize};

use crate::handover::number;

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
    /// Namespaces that can be served, by ascending NSID.
    pub namespaces: Vec<Namespace>,
    /// Namespaces that cannot, and why.
    #[serde(with = "number")]
    pub left_out: Vec<(Nsid, Unusable)>,
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
    /// Atomic write unit on power failure, blocks.
    pub atomic_blocks: u32,
    /// Optimal I/O boundary, blocks; 0 for none.
    pub boundary_blocks: u16,
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
    /// Blocks carry metadata.
    #[error("its blocks carry metadata; format it without")]
    Metadata,
    /// Its command set is not NVM.
    #[error("its command set is not NVM (zoned or key value)")]
    CommandSet,
    /// There are more namespaces than [`Inventory::NAMESPACES_MAX`].
    #[error("the drive has more namespaces than are kept")]
    TooMany,
}

impl Inventory {
    /// What `mdts_bytes` says of a drive without a limit.
    pub const MDTS_MAX: u32 = 32 << 20;
    /// Namespaces kept of one drive.
    pub const NAMESPACES_MAX: usize = 1024;

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

    pub(crate) fn of(controller: &IdentifyController, version: u32, mpsmin: u8) -> Inventory {
        let mdts = controller.mdts_bytes(mpsmin).unwrap_or(u64::MAX);
        Inventory {
            serial: controller.serial().into(),
            model: controller.model().into(),
            firmware: controller.firmware().into(),
            version,
            cntlid: controller.cntlid.get(),
            mdts_bytes: u32::try_from(mdts).unwrap_or(u32::MAX).min(Self::MDTS_MAX),
            sgls: controller.sgls.get(),
            oncs: controller.oncs.get(),
            vwc: controller.vwc,
            ..Inventory::default()
        }
    }
}

impl Namespace {
    pub(crate) fn of(nsid: Nsid, identify: &IdentifyNamespace) -> Result<Namespace, Unusable> {
        let blocks = identify.nsze.get();
        if blocks == 0 {
            return Err(Unusable::Empty);
        }
        let block_shift = identify.block_shift().filter(|&shift| shift <= 16).ok_or(Unusable::BlockSize)?;
        if identify.format().ms.get() != 0 {
            return Err(Unusable::Metadata);
        }
        Ok(Namespace {
            nsid,
            block_shift,
            blocks,
            nguid: identify.nguid,
            eui64: identify.eui64,
            uuid: [0; 16],
            zeroes_after_deallocate: identify.dlfeat & 7 == 1,
            // NSFEAT bit 1: the namespace's own unit counts; otherwise one block is what anyone can rely on.
            atomic_blocks: if identify.nsfeat & 2 != 0 { u32::from(identify.nawupf.get()) + 1 } else { 1 },
            boundary_blocks: identify.noiob.get(),
        })
    }

    /// Adds what the identification descriptors say.
    pub(crate) fn describe(&mut self, page: &[u8]) -> Result<(), Unusable> {
        for id in identify::NamespaceId::parse_list(page) {
            match id {
                identify::NamespaceId::Eui64(id) => self.eui64 = id,
                identify::NamespaceId::Nguid(id) => self.nguid = id,
                identify::NamespaceId::Uuid(id) => self.uuid = id,
                identify::NamespaceId::Csi(0) | identify::NamespaceId::Other(..) => {}
                identify::NamespaceId::Csi(_) => return Err(Unusable::CommandSet),
            }
        }
        Ok(())
    }
}
