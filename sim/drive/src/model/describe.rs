//! What the drive says of itself: Identify data and log pages. NVMe Base 2.0 §5.16, §5.17.

use super::Model;
use crate::{Defect, SglSupport};
use gantry_wire::nvme::feature::aec;
use gantry_wire::nvme::identify::{
    self, IdentifyController, IdentifyControllerNvm, IdentifyNamespace, NamespaceId, NsidList, set_text, sgls,
};
use gantry_wire::nvme::log::{CHANGED_NAMESPACES_MAX, ErrorEntry, FirmwareSlot, SmartHealth, lid};
use gantry_wire::nvme::{Nsid, Sqe, Status};
use std::collections::VecDeque;
use zerocopy::{FromZeros, IntoBytes};

/// Entries of the error log.
const ERROR_ENTRIES: usize = 64;

/// Errors, and what SMART counts.
#[derive(Debug, Default)]
pub(super) struct ErrorLog {
    entries: VecDeque<ErrorEntry>,
    errors: u64,
    media_errors: u64,
    reads: u64,
    writes: u64,
    bytes_read: u64,
    bytes_written: u64,
    power_losses: u64,
    unsafe_shutdowns: u64,
}

impl ErrorLog {
    /// A command failed.
    pub(super) fn record(&mut self, qid: u16, sqe: &Sqe, status: Status) {
        self.errors += 1;
        self.media_errors += u64::from(status.sct() == 2);
        let mut entry = ErrorEntry::new_zeroed();
        entry.error_count = self.errors.into();
        entry.sqid = qid.into();
        entry.cid = sqe.cid;
        entry.status = (status.0 << 1).into();
        entry.nsid = sqe.nsid;
        entry.lba = if qid == 0 { 0 } else { sqe.slba() }.into();
        entry.parameter_error_location = 0xffff.into();
        self.entries.push_front(entry);
        self.entries.truncate(ERROR_ENTRIES);
    }

    /// Power went, without a shutdown before it or after one.
    pub(super) fn power_lost(&mut self, by_surprise: bool) {
        self.power_losses += 1;
        self.unsafe_shutdowns += u64::from(by_surprise);
    }

    pub(super) fn read(&mut self, length: usize) {
        self.reads += 1;
        self.bytes_read += length as u64;
    }

    pub(super) fn written(&mut self, length: usize) {
        self.writes += 1;
        self.bytes_written += length as u64;
    }
}

impl Model {
    pub(super) fn identify_controller(&self) -> Vec<u8> {
        let mut id = IdentifyController::zeroed();
        let traits = &self.shape.traits;
        id.vid = traits.make.0.into();
        id.ssvid = traits.make.0.into();
        set_text(&mut id.sn, &self.shape.identity.serial());
        set_text(&mut id.mn, "Gantry software drive");
        set_text(&mut id.fr, env!("CARGO_PKG_VERSION"));
        id.rab = 4;
        id.mdts = self.shape.mdts;
        id.cmic = if traits.shared { 1 << 1 } else { 0 };
        id.cntlid = traits.cntlid.into();
        id.ver = traits.version.into();
        id.oaes = aec::NAMESPACE_ATTRIBUTE.into();
        id.cntrltype = traits.cntrltype;
        id.acl = traits.acl;
        id.aerl = traits.aerl;
        // One slot, read-only.
        id.frmw = 0x03;
        id.lpa = 1 << 2;
        id.elpe = ERROR_ENTRIES as u8 - 1;
        id.wctemp = 353.into();
        id.cctemp = 358.into();
        id.sqes = 0x66;
        id.cqes = 0x44;
        id.nn = traits.nn.unwrap_or(self.parts.len() as u32).into();
        id.oncs = traits.oncs.into();
        id.awun = traits.atomic.into();
        id.awupf = traits.atomic.into();
        // Flush takes the broadcast NSID (bits 2:1 = 3).
        id.vwc = 0b110 | u8::from(self.media.has_cache());
        id.sgls = match traits.sgl {
            SglSupport::None => 0,
            SglSupport::Dword => sgls::SUPPORTED_DWORD,
            SglSupport::Byte => sgls::SUPPORTED,
        }
        .into();
        let nqn = self.shape.identity.nqn();
        id.subnqn[..nqn.len()].copy_from_slice(nqn.as_bytes());
        id.as_bytes().to_vec()
    }

    /// An inactive namespace is all zero.
    pub(super) fn identify_namespace(&self, nsid: Nsid) -> Vec<u8> {
        let mut id = IdentifyNamespace::zeroed();
        if let Some(part) = self.part(nsid) {
            id.nsze = part.blocks.into();
            id.ncap = part.blocks.into();
            id.nuse = part.blocks.into();
            // NGUID and EUI64 are never reused.
            id.nsfeat = 1 << 3 | if self.shape.traits.granularity == 0 { 0 } else { 1 << 4 };
            id.npwg = self.shape.traits.granularity.into();
            id.noiob = self.shape.traits.boundary.into();
            id.nmic = u8::from(self.shape.traits.shared);
            id.dps = self.shape.traits.protection;
            id.lbaf[0].ms = self.shape.traits.metadata.into();
            // Deallocated blocks read as zeroes, and Write Zeroes may deallocate.
            id.dlfeat = 1 | 1 << 3;
            id.nvmcap = (u128::from(part.blocks) << self.shape.block_shift).to_le_bytes();
            (id.nguid, id.eui64, _) = self.identifiers(nsid);
            id.lbaf[0].lbads = self.shape.block_shift;
        }
        id.as_bytes().to_vec()
    }

    /// What the NVM command set adds to Identify Controller (CNS 06).
    pub(super) fn identify_limits(&self) -> Vec<u8> {
        let mut id = IdentifyControllerNvm::zeroed();
        let traits = &self.shape.traits;
        (id.wzsl, id.dmrl) = (traits.wzsl, traits.dmrl);
        (id.dmrsl, id.dmsl) = (traits.dmrsl.into(), traits.dmsl.into());
        id.as_bytes().to_vec()
    }

    /// NGUID, EUI64 and UUID of a namespace.
    fn identifiers(&self, nsid: Nsid) -> ([u8; 16], [u8; 8], [u8; 16]) {
        if self.shape.traits.has(Defect::BogusIds) {
            return ([1; 16], [0, 1, 0, 2, 0, 3, 0, 4], [2; 16]);
        }
        let identity = &self.shape.identity;
        (identity.nguid(nsid.0), identity.eui64(nsid.0), identity.uuid(nsid.0))
    }

    pub(super) fn active_nsids(&self, after: Nsid) -> Vec<u8> {
        let active = (1..=self.parts.len() as u32).map(Nsid).filter(|&nsid| self.part(nsid).is_some());
        NsidList::of(active, after).as_bytes().to_vec()
    }

    pub(super) fn namespace_descriptors(&self, nsid: Nsid) -> Vec<u8> {
        let mut page = vec![0; identify::LEN];
        let (nguid, eui64, uuid) = self.identifiers(nsid);
        let mut ids = vec![NamespaceId::Eui64(eui64), NamespaceId::Nguid(nguid), NamespaceId::Uuid(uuid)];
        if self.shape.traits.command_sets() {
            ids.push(NamespaceId::Csi(self.shape.traits.command_set));
        }
        NamespaceId::emit_list(&ids, &mut page);
        page
    }

    /// The bytes of a log page; `None` for those there are not.
    pub(super) fn log_bytes(&self, lid: u8) -> Option<Vec<u8>> {
        match lid {
            lid::ERROR_INFORMATION => {
                let mut page: Vec<u8> = self.log.entries.iter().flat_map(|entry| entry.as_bytes().to_vec()).collect();
                page.resize(ERROR_ENTRIES * size_of::<ErrorEntry>(), 0);
                Some(page)
            }
            lid::SMART_HEALTH => Some(self.smart().as_bytes().to_vec()),
            lid::FIRMWARE_SLOT => {
                let mut slots = FirmwareSlot::new_zeroed();
                slots.afi = 1;
                set_text(&mut slots.frs[0], env!("CARGO_PKG_VERSION"));
                Some(slots.as_bytes().to_vec())
            }
            lid::CHANGED_NAMESPACES => {
                let mut page: Vec<u8> = self.changed.iter().flat_map(|nsid| nsid.0.to_le_bytes()).collect();
                page.resize(CHANGED_NAMESPACES_MAX * 4, 0);
                Some(page)
            }
            _ => None,
        }
    }

    /// A log was read without Retain: its events may come again (§5.2).
    pub(super) fn log_was_read(&mut self, lid: u8) {
        match lid {
            lid::ERROR_INFORMATION => self.masked &= !1,
            lid::SMART_HEALTH => self.masked &= !(1 << 1),
            lid::CHANGED_NAMESPACES => {
                self.changed.clear();
                self.masked &= !(1 << 2);
            }
            _ => {}
        }
    }

    fn smart(&self) -> SmartHealth {
        let mut smart = SmartHealth::new_zeroed();
        smart.critical_warning = self.critical_warning;
        let count = |value: u64| u128::from(value).to_le_bytes();
        // Thousands of 512 bytes, rounded up.
        let units = |bytes: u64| count(bytes.div_ceil(512 * 1000));
        smart.composite_temperature = 300.into();
        smart.available_spare = 100;
        smart.available_spare_threshold = 10;
        smart.data_units_read = units(self.log.bytes_read);
        smart.data_units_written = units(self.log.bytes_written);
        smart.host_reads = count(self.log.reads);
        smart.host_writes = count(self.log.writes);
        smart.power_cycles = count(self.log.power_losses);
        smart.unsafe_shutdowns = count(self.log.unsafe_shutdowns);
        smart.media_errors = count(self.log.media_errors);
        smart.error_entries = count(self.log.errors);
        smart
    }
}
