//! Identify: controller, namespaces, descriptors, lists. NVMe Base 2.0 §5.17, NVM Command Set 1.0 §4.1.5.

use super::features::KEEP_ALIVE_GRANULARITY_MS;
use super::property::version;
use super::{Controller, MAXCMD, Reply, Request, Subsystem, access, events, health};
use crate::hash::fnv1a;
use crate::plan::Geometry;
use crate::{Control, Namespace};
use gantry::channel::event::{DriveLimits, DriveNamespace, NamespaceHints};
use gantry_wire::fabrics::nqn_field;
use gantry_wire::nvme::identify::{self, IdentifyControllerNvm, NamespaceId, cns, oncs, set_text, sgls};
use gantry_wire::nvme::{IdentifyController, IdentifyNamespace, Nsid, NsidList, Status};
use zerocopy::IntoBytes;

/// The NVM command set's identifier.
const CSI_NVM: u8 = 0;
/// Optional commands that the data plane carries; drives must offer them too.
const ONCS: u16 = oncs::COMPARE | oncs::DSM | oncs::WRITE_ZEROES;
/// CTRATT: 128-bit host identifiers, traffic based keep alive (any command counts).
const CTRATT: u32 = 1 << 0 | 1 << 6;
/// CMIC: the subsystem may have several ports and several controllers.
const CMIC: u8 = 1 << 0 | 1 << 1;
/// CMIC: asymmetric namespace access.
const CMIC_ANA: u8 = 1 << 3;
/// LPA: SMART / Health of a namespace's drive, log page 05, extended data (offsets and 32-bit lengths).
const LPA: u8 = 1 << 0 | 1 << 1 | 1 << 2;
/// CNTRLTYPE.
const TYPE_IO: u8 = 1;
const TYPE_DISCOVERY: u8 = 2;
/// VWC bits 2:1: a Flush names one namespace, not all.
const VWC_NO_BROADCAST: u8 = 0b10 << 1;
/// The model of every controller.
const MODEL: &str = "Gantry";

impl Control {
    pub(super) fn identify(&self, cntlid: u16, request: &Request<'_>) -> Reply {
        let controller = self.controllers.find(cntlid).expect("a bound queue has its controller");
        let csi = (request.sqe.cdw11.get() >> 24) as u8;
        let nsid = request.sqe.nsid();
        let page = match (controller.subsystem, request.sqe.cns()) {
            (subsystem, cns::CONTROLLER) => Ok(self.identify_controller(cntlid, subsystem)),
            (Subsystem::Discovery | Subsystem::Gone | Subsystem::Unknown, _) => Err(Status::INVALID_FIELD),
            (Subsystem::Nvm(at), cns::NAMESPACE) => self.identify_namespace(controller, at, nsid),
            (Subsystem::Nvm(_), cns::ACTIVE_NSIDS) => active_nsids(controller, nsid),
            (Subsystem::Nvm(at), cns::NAMESPACE_DESCRIPTORS) => self.descriptors(controller, at, nsid),
            (Subsystem::Nvm(_), cns::IO_COMMAND_SETS) => Ok(io_command_sets()),
            (Subsystem::Nvm(at), cns::INDEPENDENT_NAMESPACE) => self.independent_namespace(controller, at, nsid),
            (Subsystem::Nvm(_), cns::IO_NAMESPACE | cns::IO_CONTROLLER | cns::IO_ACTIVE_NSIDS) if csi != CSI_NVM => {
                Err(Status::INVALID_FIELD)
            }
            (Subsystem::Nvm(at), cns::IO_NAMESPACE) => {
                // No protection information and no storage tags: all zero (NVM Command Set 1.0 §4.1.5.3).
                self.on_drive(controller, at, nsid).map(|_| vec![0; identify::LEN])
            }
            (Subsystem::Nvm(at), cns::IO_CONTROLLER) => Ok(self.identify_limits(at)),
            (Subsystem::Nvm(_), cns::IO_ACTIVE_NSIDS) => active_nsids(controller, nsid),
            _ => Err(Status::INVALID_FIELD),
        };
        match page {
            Ok(page) if request.wanted >= page.len() => Reply::data(page),
            Ok(_) => Status::SGL_LENGTH_INVALID.into(),
            Err(status) => status.into(),
        }
    }

    fn identify_controller(&self, cntlid: u16, subsystem: Subsystem) -> Vec<u8> {
        let mut page = IdentifyController::zeroed();
        set_text(&mut page.sn, &serial(self.nqn(subsystem)));
        set_text(&mut page.mn, MODEL);
        set_text(&mut page.fr, env!("CARGO_PKG_VERSION"));
        page.cntlid = cntlid.into();
        page.ver = version().0.into();
        page.oaes = self.async_events(subsystem).into();
        page.ctratt = CTRATT.into();
        page.lpa = LPA;
        page.aerl = events::AERL;
        page.acl = 3;
        page.elpe = health::ERRORS_MAX as u8 - 1;
        page.kas = ((KEEP_ALIVE_GRANULARITY_MS / 100) as u16).into();
        page.maxcmd = MAXCMD.into();
        page.sgls = (sgls::SUPPORTED | sgls::KEYED | sgls::OFFSET).into();
        page.subnqn = nqn_field(self.nqn(subsystem));
        let limits = self.session.limits.expect("a controller exists in a session");
        page.mdts = limits.transfer_max.checked_ilog2().map_or(0, |log2| log2.saturating_sub(12)) as u8;
        page.ioccsz = ((64 + u32::from(limits.in_capsule_data)) / 16).into();
        page.iorcsz = 1.into();
        page.msdbd = 1;
        page.sqes = 0x66;
        page.cqes = 0x44;
        match subsystem {
            Subsystem::Discovery => page.cntrltype = TYPE_DISCOVERY,
            Subsystem::Gone | Subsystem::Unknown => {}
            Subsystem::Nvm(at) => {
                page.cntrltype = TYPE_IO;
                page.cmic = CMIC;
                if self.reports_access(subsystem) {
                    page.cmic |= CMIC_ANA;
                    page.anacap = access::CAPABILITIES;
                    page.anatt = access::TRANSITION_S;
                }
                let nsids = self.configuration.subsystems[at].namespaces.iter().map(|namespace| namespace.nsid);
                page.nn = nsids.max().unwrap_or(1).into();
                if self.reports_access(subsystem) {
                    // A group each, numbered as its namespace.
                    page.anagrpmax = page.nn;
                    page.nanagrpid = (self.configuration.subsystems[at].namespaces.len().max(1) as u32).into();
                }
                page.mnan = (self.configuration.subsystems[at].namespaces.len().max(1) as u32).into();
                page.oncs = self.optional_commands(at).into();
                page.vwc = u8::from(self.write_cache_of(at)) | VWC_NO_BROADCAST;
                // What holds for each of its namespaces.
                let fewest = |unit: fn(NamespaceHints) -> u16| self.hints(at).map(unit).min().unwrap_or(0);
                page.awun = fewest(|hints| hints.atomic.get()).into();
                page.awupf = fewest(|hints| hints.power_fail.get()).into();
            }
        }
        page.as_bytes().to_vec()
    }

    /// CNS 06: Write Zeroes goes to drives in pieces, so only range lists have limits, the narrowest of the drives'.
    fn identify_limits(&self, at: usize) -> Vec<u8> {
        let mut page = IdentifyControllerNvm::zeroed();
        let narrowest = |limit: fn(&DriveLimits) -> u64| {
            let limits = self.geometries(at).map(|geometry| limit(&geometry.limits));
            limits.filter(|limit| *limit != 0).min().unwrap_or(0)
        };
        page.dmrl = narrowest(|limits| limits.dsm_ranges.get().into()).min(0xff) as u8;
        page.dmrsl = (narrowest(|limits| limits.dsm_range_blocks.get().into()) as u32).into();
        page.dmsl = narrowest(|limits| limits.dsm_blocks.get()).into();
        page.as_bytes().to_vec()
    }

    fn configured(&self, at: usize, nsid: Nsid) -> Option<&Namespace> {
        self.configuration.subsystems[at].namespaces.iter().find(|namespace| namespace.nsid == nsid.0)
    }

    /// What a namespace that the controller has is on its drive, or was when that was last up.
    pub(super) fn on_drive(
        &self,
        controller: &Controller,
        at: usize,
        nsid: Nsid,
    ) -> Result<&(DriveNamespace, NamespaceHints), Status> {
        let configured = self.configured(at, nsid).filter(|n| controller.attached.contains_key(&n.nsid));
        let configured = configured.ok_or(Status::INVALID_NAMESPACE)?;
        let geometry = self.plan.known(self.configuration.drive_number(&configured.drive));
        geometry.and_then(|geometry| geometry.namespace(configured.drive_nsid)).ok_or(Status::INTERNAL_PATH_ERROR)
    }

    /// CNS 00: a page of zeroes says that a valid NSID is inactive.
    fn identify_namespace(&self, controller: &Controller, at: usize, nsid: Nsid) -> Result<Vec<u8>, Status> {
        let mut page = IdentifyNamespace::zeroed();
        let largest = self.configuration.subsystems[at].namespaces.iter().map(|n| n.nsid).max();
        if nsid.0 == 0 || nsid == Nsid::ALL || Some(nsid.0) > largest {
            return Err(Status::INVALID_NAMESPACE);
        }
        if controller.attached.contains_key(&nsid.0) {
            let (namespace, hints) = self.on_drive(controller, at, nsid)?;
            let blocks = namespace.blocks.get();
            page.nsze = blocks.into();
            page.ncap = blocks.into();
            page.nuse = blocks.into();
            page.nmic = 1;
            if self.reports_access(controller.subsystem) {
                page.anagrpid = nsid.0.into();
            }
            // Deallocated blocks read as zeroes, if the drive says so.
            page.dlfeat = namespace.flags & 1;
            page.nsattr = u8::from(self.configured(at, nsid).is_some_and(|n| n.read_only));
            // NSFEAT bit 1: NAWUN and NAWUPF count; bit 4: what suits it is told.
            (page.nawun, page.nawupf) = (hints.atomic.get().into(), hints.power_fail.get().into());
            (page.npwg, page.npwa) = (hints.write_granularity.get().into(), hints.write_alignment.get().into());
            (page.npdg, page.npda) =
                (hints.deallocate_granularity.get().into(), hints.deallocate_alignment.get().into());
            page.nows = hints.write_size.get().into();
            let suits = [page.npwg, page.npwa, page.npdg, page.npda, page.nows].iter().any(|size| size.get() != 0);
            let atomic = page.nawun.get() != 0 || page.nawupf.get() != 0;
            page.nsfeat = u8::from(atomic) << 1 | u8::from(suits) << 4;
            page.noiob = hints.boundary.get().into();
            page.nguid = namespace.nguid;
            page.eui64 = namespace.eui64;
            page.lbaf[0].lbads = namespace.block_shift;
            let bytes = u128::from(blocks) << namespace.block_shift;
            page.nvmcap = bytes.to_le_bytes();
        }
        Ok(page.as_bytes().to_vec())
    }

    /// CNS 03.
    fn descriptors(&self, controller: &Controller, at: usize, nsid: Nsid) -> Result<Vec<u8>, Status> {
        let (namespace, _) = self.on_drive(controller, at, nsid)?;
        let mut ids = Vec::new();
        if namespace.eui64 != [0; 8] {
            ids.push(NamespaceId::Eui64(namespace.eui64));
        }
        if namespace.nguid != [0; 16] {
            ids.push(NamespaceId::Nguid(namespace.nguid));
        }
        ids.push(NamespaceId::Uuid(self.configured(at, nsid).expect("it has a geometry").uuid));
        ids.push(NamespaceId::Csi(CSI_NVM));
        let mut page = vec![0; identify::LEN];
        NamespaceId::emit_list(&ids, &mut page);
        Ok(page)
    }

    /// CNS 08 (figure 280): what is true of a namespace in any command set.
    fn independent_namespace(&self, controller: &Controller, at: usize, nsid: Nsid) -> Result<Vec<u8>, Status> {
        self.on_drive(controller, at, nsid)?;
        let mut page = vec![0; identify::LEN];
        // NMIC: several controllers. NSTAT: ready.
        page[1] = 1;
        if self.reports_access(controller.subsystem) {
            page[4..8].copy_from_slice(&nsid.0.to_le_bytes());
        }
        page[14] = 1;
        Ok(page)
    }

    /// ONCS: what every drive under the subsystem offers.
    pub(super) fn optional_commands(&self, at: usize) -> u16 {
        self.geometries(at).fold(ONCS, |common, geometry| common & geometry.oncs)
    }

    /// Whether a drive under the controller has a volatile write cache.
    pub(super) fn write_cache(&self, cntlid: u16) -> bool {
        match self.controllers.find(cntlid) {
            Some(Controller { subsystem: Subsystem::Nvm(at), .. }) => self.write_cache_of(*at),
            _ => false,
        }
    }

    /// What suits each namespace of a subsystem; of one whose drive is not up, nothing is promised.
    fn hints(&self, at: usize) -> impl Iterator<Item = NamespaceHints> {
        let namespaces = self.configuration.subsystems[at].namespaces.iter();
        namespaces.map(|n| {
            let geometry = self.plan.geometry(self.configuration.drive_number(&n.drive));
            let namespace = geometry.and_then(|geometry| geometry.namespace(n.drive_nsid));
            namespace.map_or_else(NamespaceHints::default, |(_, hints)| *hints)
        })
    }

    fn write_cache_of(&self, at: usize) -> bool {
        self.geometries(at).any(|geometry| geometry.volatile_write_cache)
    }

    /// Drives of a subsystem that are known.
    fn geometries(&self, at: usize) -> impl Iterator<Item = &Geometry> {
        let namespaces = self.configuration.subsystems[at].namespaces.iter();
        namespaces.filter_map(|n| self.plan.known(self.configuration.drive_number(&n.drive)))
    }
}

/// CNS 02 and 07.
fn active_nsids(controller: &Controller, after: Nsid) -> Result<Vec<u8>, Status> {
    if after.0 >= 0xffff_fffe {
        return Err(Status::INVALID_NAMESPACE);
    }
    Ok(NsidList::of(controller.attached.keys().copied().map(Nsid), after).as_bytes().to_vec())
}

/// CNS 1C: one combination, the NVM command set alone.
fn io_command_sets() -> Vec<u8> {
    let mut page = vec![0; identify::LEN];
    page[0] = 1 << CSI_NVM;
    page
}

/// A serial number that follows from the NQN: the same after every restart.
fn serial(nqn: &str) -> String {
    format!("{:016X}", fnv1a(nqn.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::serial;

    #[test]
    fn serial_numbers_stay() {
        assert_eq!(serial("nqn.2026-11.io.gantry:a"), serial("nqn.2026-11.io.gantry:a"));
        assert_ne!(serial("nqn.2026-11.io.gantry:a"), serial("nqn.2026-11.io.gantry:b"));
        assert_eq!(serial(""), "CBF29CE484222325");
    }
}
