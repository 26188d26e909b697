//! Identify data: controller, namespace, namespace identification descriptors, active NSID list. The
//! target writes them for hosts, the driver reads them from drives. Reserved bytes are kept as bytes.
//! NVMe Base 2.0 §5.17 (figures 274 to 281); the namespace: NVM Command Set 1.0 §4.1.5.1 (figure 97).

use super::Nsid;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of every Identify data structure.
pub const LEN: usize = 4096;

/// What an Identify asks for: CNS (figure 274).
pub mod cns {
    /// Namespace of the NVM command set.
    pub const NAMESPACE: u8 = 0x00;
    /// Controller.
    pub const CONTROLLER: u8 = 0x01;
    /// Active NSIDs greater than the given one.
    pub const ACTIVE_NSIDS: u8 = 0x02;
    /// Namespace identification descriptors.
    pub const NAMESPACE_DESCRIPTORS: u8 = 0x03;
    /// I/O command set specific namespace.
    pub const IO_NAMESPACE: u8 = 0x05;
    /// I/O command set specific controller.
    pub const IO_CONTROLLER: u8 = 0x06;
    /// I/O command set specific active NSIDs.
    pub const IO_ACTIVE_NSIDS: u8 = 0x07;
    /// I/O command set independent namespace.
    pub const INDEPENDENT_NAMESPACE: u8 = 0x08;
    /// I/O command sets of a controller.
    pub const IO_COMMAND_SETS: u8 = 0x1c;
}

/// Optional NVM commands: bits of ONCS.
pub mod oncs {
    /// Compare.
    pub const COMPARE: u16 = 1 << 0;
    /// Write Uncorrectable.
    pub const WRITE_UNCORRECTABLE: u16 = 1 << 1;
    /// Dataset Management.
    pub const DSM: u16 = 1 << 2;
    /// Write Zeroes.
    pub const WRITE_ZEROES: u16 = 1 << 3;
    /// Save and Select of features.
    pub const SAVE_SELECT: u16 = 1 << 4;
    /// Reservations.
    pub const RESERVATIONS: u16 = 1 << 5;
    /// Timestamp.
    pub const TIMESTAMP: u16 = 1 << 6;
    /// Verify.
    pub const VERIFY: u16 = 1 << 7;
    /// Copy.
    pub const COPY: u16 = 1 << 8;
}

/// SGL support: bits of SGLS.
pub mod sgls {
    /// SGLs without alignment demands (bits 1:0 = 1).
    pub const SUPPORTED: u32 = 1;
    /// SGLs aligned to dwords (bits 1:0 = 2).
    pub const SUPPORTED_DWORD: u32 = 2;
    /// Keyed data blocks; NVMe-oF over RDMA demands it.
    pub const KEYED: u32 = 1 << 2;
    /// Bit buckets.
    pub const BIT_BUCKET: u32 = 1 << 16;
    /// An address in a descriptor may be an offset: in-capsule data.
    pub const OFFSET: u32 = 1 << 20;
}

/// Identify Controller (CNS 01), 4096 bytes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct IdentifyController {
    /// PCI vendor.
    pub vid: U16,
    /// PCI subsystem vendor.
    pub ssvid: U16,
    /// Serial number, ASCII padded with spaces.
    pub sn: [u8; 20],
    /// Model number, ASCII padded with spaces.
    pub mn: [u8; 40],
    /// Firmware revision, ASCII padded with spaces.
    pub fr: [u8; 8],
    /// Recommended arbitration burst, a power of two.
    pub rab: u8,
    /// IEEE OUI.
    pub ieee: [u8; 3],
    /// Multi-path and sharing: bit 1 several controllers, bit 3 ANA.
    pub cmic: u8,
    /// Maximum data transfer, minimum pages as a power of two; 0 no limit.
    pub mdts: u8,
    /// Controller identifier.
    pub cntlid: U16,
    /// Version, as the VS register.
    pub ver: U32,
    /// RTD3 resume latency, µs.
    pub rtd3r: U32,
    /// RTD3 entry latency, µs.
    pub rtd3e: U32,
    /// Asynchronous events supported.
    pub oaes: U32,
    /// Controller attributes: bit 0 128-bit host id, bit 6 traffic-based keep alive.
    pub ctratt: U32,
    /// Read recovery levels.
    pub rrls: U16,
    /// Reserved.
    pub reserved102: [u8; 9],
    /// Controller type: 1 I/O, 2 discovery, 3 administrative.
    pub cntrltype: u8,
    /// FRU GUID.
    pub fguid: [u8; 16],
    /// Command retry delays 1 to 3, units of 100 ms.
    pub crdt: [U16; 3],
    /// Reserved.
    pub reserved134: [u8; 119],
    /// NVM subsystem report.
    pub nvmsr: u8,
    /// VPD write cycles.
    pub vwci: u8,
    /// Management endpoint capabilities.
    pub mec: u8,
    /// Optional admin commands.
    pub oacs: U16,
    /// Abort command limit, 0's based.
    pub acl: u8,
    /// Asynchronous event request limit, 0's based.
    pub aerl: u8,
    /// Firmware updates.
    pub frmw: u8,
    /// Log page attributes: bit 1 commands supported and effects, bit 2 extended data.
    pub lpa: u8,
    /// Error log page entries, 0's based.
    pub elpe: u8,
    /// Power states, 0's based.
    pub npss: u8,
    /// Admin vendor command format.
    pub avscc: u8,
    /// Autonomous power state transitions.
    pub apsta: u8,
    /// Warning composite temperature, kelvins.
    pub wctemp: U16,
    /// Critical composite temperature, kelvins.
    pub cctemp: U16,
    /// Maximum time for firmware activation, 100 ms.
    pub mtfa: U16,
    /// Host memory buffer preferred size, 4 KiB.
    pub hmpre: U32,
    /// Host memory buffer minimum size, 4 KiB.
    pub hmmin: U32,
    /// Total NVM capacity, bytes.
    pub tnvmcap: [u8; 16],
    /// Unallocated NVM capacity, bytes.
    pub unvmcap: [u8; 16],
    /// Replay protected memory block.
    pub rpmbs: U32,
    /// Extended device self-test time, minutes.
    pub edstt: U16,
    /// Device self-test options.
    pub dsto: u8,
    /// Firmware update granularity, 4 KiB.
    pub fwug: u8,
    /// Keep alive granularity, 100 ms; 0 no keep alive.
    pub kas: U16,
    /// Host controlled thermal management.
    pub hctma: U16,
    /// Minimum thermal management temperature.
    pub mntmt: U16,
    /// Maximum thermal management temperature.
    pub mxtmt: U16,
    /// Sanitize capabilities.
    pub sanicap: U32,
    /// Host memory buffer minimum descriptor size.
    pub hmminds: U32,
    /// Host memory maximum descriptors.
    pub hmmaxd: U16,
    /// NVM set identifier maximum.
    pub nsetidmax: U16,
    /// Endurance group identifier maximum.
    pub endgidmax: U16,
    /// ANA transition time, seconds.
    pub anatt: u8,
    /// ANA capabilities.
    pub anacap: u8,
    /// Largest ANA group identifier.
    pub anagrpmax: U32,
    /// Number of ANA groups.
    pub nanagrpid: U32,
    /// Persistent event log size, 64 KiB.
    pub pels: U32,
    /// Domain identifier.
    pub domainid: U16,
    /// Reserved.
    pub reserved358: [u8; 10],
    /// Largest endurance group capacity, bytes.
    pub megcap: [u8; 16],
    /// Reserved.
    pub reserved384: [u8; 128],
    /// SQ entry size: required in 3:0, maximum in 7:4, powers of two.
    pub sqes: u8,
    /// CQ entry size: required in 3:0, maximum in 7:4, powers of two.
    pub cqes: u8,
    /// Most outstanding commands of a queue; must not be 0 over fabrics.
    pub maxcmd: U16,
    /// Number of namespaces: the largest valid NSID.
    pub nn: U32,
    /// Optional NVM commands: [`oncs`].
    pub oncs: U16,
    /// Fused operations.
    pub fuses: U16,
    /// Format NVM attributes.
    pub fna: u8,
    /// Volatile write cache: bit 0 present, bits 2:1 = 3 flush takes the broadcast NSID.
    pub vwc: u8,
    /// Atomic write unit normal, 0's based blocks.
    pub awun: U16,
    /// Atomic write unit power fail, 0's based blocks.
    pub awupf: U16,
    /// I/O vendor command format.
    pub icsvscc: u8,
    /// Namespace write protection.
    pub nwpc: u8,
    /// Atomic compare and write unit, 0's based blocks.
    pub acwu: U16,
    /// Copy descriptor formats.
    pub cdfs: U16,
    /// SGL support: [`sgls`].
    pub sgls: U32,
    /// Maximum number of allowed namespaces; must not be 0 with ANA.
    pub mnan: U32,
    /// Maximum domain namespace attachments.
    pub maxdna: [u8; 16],
    /// Maximum I/O controller namespace attachments.
    pub maxcna: U32,
    /// Reserved.
    pub reserved564: [u8; 204],
    /// NQN of the subsystem, zero-terminated.
    pub subnqn: [u8; 256],
    /// Reserved.
    pub reserved1024: [u8; 768],
    /// I/O queue command capsule size, 16 bytes: 4 means no in-capsule data.
    pub ioccsz: U32,
    /// I/O queue response capsule size, 16 bytes.
    pub iorcsz: U32,
    /// In-capsule data offset, 16 bytes; must be 0 for Linux.
    pub icdoff: U16,
    /// Fabrics controller attributes: bit 0 static controller model's complement.
    pub fcatt: u8,
    /// Maximum SGL data blocks of a command.
    pub msdbd: u8,
    /// Optional fabrics commands: bit 0 Disconnect.
    pub ofcs: U16,
    /// Reserved.
    pub reserved1806: [u8; 242],
    /// Power state descriptors.
    pub psd: [[u8; 32]; 32],
    /// The vendor's.
    pub vs: [u8; 1024],
}

impl IdentifyController {
    /// All zero, to be filled in.
    #[must_use]
    pub fn zeroed() -> IdentifyController {
        FromZeros::new_zeroed()
    }

    /// A view of the first 4096 bytes; `None` when there are fewer.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<&IdentifyController> {
        IdentifyController::ref_from_prefix(bytes).ok().map(|(view, _)| view)
    }

    /// Serial number without its padding.
    #[must_use]
    pub fn serial(&self) -> &str {
        text(&self.sn)
    }

    /// Model without its padding.
    #[must_use]
    pub fn model(&self) -> &str {
        text(&self.mn)
    }

    /// Firmware revision without its padding.
    #[must_use]
    pub fn firmware(&self) -> &str {
        text(&self.fr)
    }

    /// Largest transfer of a command, in bytes; `None` when there is no limit. `mpsmin` is CAP's.
    #[must_use]
    pub fn mdts_bytes(&self, mpsmin: u8) -> Option<u64> {
        let shift = u32::from(self.mdts) + 12 + u32::from(mpsmin);
        (self.mdts != 0).then(|| 1u64.checked_shl(shift).unwrap_or(u64::MAX))
    }
}

/// Writes `text` into an ASCII field padded with spaces, cutting what does not fit.
pub fn set_text(field: &mut [u8], text: &str) {
    field.fill(b' ');
    for (to, from) in field.iter_mut().zip(text.bytes()) {
        *to = if from.is_ascii_graphic() { from } else { b' ' };
    }
}

/// The longest printable ASCII start of `field`, trimmed.
fn text(field: &[u8]) -> &str {
    let end = field.iter().position(|b| !(0x20..0x7f).contains(b)).unwrap_or(field.len());
    core::str::from_utf8(&field[..end]).unwrap_or("").trim()
}

/// An LBA format (figure 98).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct LbaFormat {
    /// Metadata bytes of a block.
    pub ms: U16,
    /// Data bytes of a block as a power of two; below 9 the format is not available.
    pub lbads: u8,
    /// Relative performance, 0 best.
    pub rp: u8,
}

/// Identify Namespace of the NVM command set (CNS 00), 4096 bytes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct IdentifyNamespace {
    /// Namespace size, blocks; 0 when the NSID is inactive.
    pub nsze: U64,
    /// Namespace capacity, blocks.
    pub ncap: U64,
    /// Namespace utilization, blocks.
    pub nuse: U64,
    /// Features: bit 0 thin, bit 1 NAWUN, bit 3 NGUID and EUI never reused, bit 4 NPWG and the like valid.
    pub nsfeat: u8,
    /// Number of LBA formats, 0's based.
    pub nlbaf: u8,
    /// Formatted LBA size: index in 3:0 (and 6:5 above), bit 4 metadata at the end of data.
    pub flbas: u8,
    /// Metadata capabilities.
    pub mc: u8,
    /// Protection capabilities.
    pub dpc: u8,
    /// Protection settings.
    pub dps: u8,
    /// Sharing: bit 0 several controllers.
    pub nmic: u8,
    /// Reservation capabilities.
    pub rescap: u8,
    /// Format progress.
    pub fpi: u8,
    /// Deallocated blocks: 2:0 what they read as (1 zeroes), bit 3 write zeroes may deallocate.
    pub dlfeat: u8,
    /// Atomic write unit normal, 0's based blocks.
    pub nawun: U16,
    /// Atomic write unit power fail, 0's based blocks.
    pub nawupf: U16,
    /// Atomic compare and write unit, 0's based blocks.
    pub nacwu: U16,
    /// Atomic boundary size normal.
    pub nabsn: U16,
    /// Atomic boundary offset.
    pub nabo: U16,
    /// Atomic boundary size power fail.
    pub nabspf: U16,
    /// Optimal I/O boundary, blocks.
    pub noiob: U16,
    /// NVM capacity, bytes.
    pub nvmcap: [u8; 16],
    /// Preferred write granularity, 0's based blocks.
    pub npwg: U16,
    /// Preferred write alignment.
    pub npwa: U16,
    /// Preferred deallocate granularity.
    pub npdg: U16,
    /// Preferred deallocate alignment.
    pub npda: U16,
    /// Optimal write size.
    pub nows: U16,
    /// Maximum single source range length of Copy.
    pub mssrl: U16,
    /// Maximum copy length.
    pub mcl: U32,
    /// Maximum source ranges, 0's based.
    pub msrc: u8,
    /// Reserved.
    pub reserved81: [u8; 11],
    /// ANA group.
    pub anagrpid: U32,
    /// Reserved.
    pub reserved96: [u8; 3],
    /// Attributes: bit 0 write protected.
    pub nsattr: u8,
    /// NVM set.
    pub nvmsetid: U16,
    /// Endurance group.
    pub endgid: U16,
    /// Globally unique identifier, big-endian; 0 none.
    pub nguid: [u8; 16],
    /// IEEE extended unique identifier, big-endian; 0 none.
    pub eui64: [u8; 8],
    /// LBA formats.
    pub lbaf: [LbaFormat; 64],
    /// The vendor's.
    pub vs: [u8; 3712],
}

impl IdentifyNamespace {
    /// All zero, to be filled in; as it stands it says that the NSID is inactive.
    #[must_use]
    pub fn zeroed() -> IdentifyNamespace {
        FromZeros::new_zeroed()
    }

    /// A view of the first 4096 bytes; `None` when there are fewer.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<&IdentifyNamespace> {
        IdentifyNamespace::ref_from_prefix(bytes).ok().map(|(view, _)| view)
    }

    /// The format in use.
    #[must_use]
    pub fn format(&self) -> LbaFormat {
        self.lbaf[usize::from(self.flbas & 0xf | self.flbas >> 1 & 0x30)]
    }

    /// Block size as a power of two; `None` when the drive speaks of one that cannot be (NVM: 9 and up).
    #[must_use]
    pub fn block_shift(&self) -> Option<u8> {
        let shift = self.format().lbads;
        (9..=31).contains(&shift).then_some(shift)
    }
}

/// Identify Controller of the NVM command set (CNS 06, CSI 0), 4096 bytes (figure 100). A 0 is no limit.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct IdentifyControllerNvm {
    /// Verify size limit, minimum pages as a power of two.
    pub vsl: u8,
    /// Write zeroes size limit, minimum pages as a power of two.
    pub wzsl: u8,
    /// Write uncorrectable size limit, minimum pages as a power of two.
    pub wusl: u8,
    /// Dataset management ranges limit.
    pub dmrl: u8,
    /// Dataset management range size limit, blocks.
    pub dmrsl: U32,
    /// Dataset management size limit, blocks.
    pub dmsl: U64,
    /// Reserved.
    pub reserved16: [u8; 4080],
}

impl IdentifyControllerNvm {
    /// All zero: no limits.
    #[must_use]
    pub fn zeroed() -> IdentifyControllerNvm {
        FromZeros::new_zeroed()
    }

    /// A view of the first 4096 bytes; `None` when there are fewer.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<&IdentifyControllerNvm> {
        IdentifyControllerNvm::ref_from_prefix(bytes).ok().map(|(view, _)| view)
    }
}

/// List of active NSIDs (CNS 02): ascending, ended by 0 or by the end of the page.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct NsidList {
    /// The entries.
    pub nsid: [U32; 1024],
}

impl NsidList {
    /// Those of `active` (any order is the caller's fault: they shall ascend) above `after`.
    #[must_use]
    pub fn of(active: impl IntoIterator<Item = Nsid>, after: Nsid) -> NsidList {
        let mut list: NsidList = FromZeros::new_zeroed();
        for (entry, nsid) in list.nsid.iter_mut().zip(active.into_iter().filter(|&nsid| nsid > after)) {
            *entry = nsid.0.into();
        }
        list
    }

    /// A view of the first 4096 bytes; `None` when there are fewer.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<&NsidList> {
        NsidList::ref_from_prefix(bytes).ok().map(|(view, _)| view)
    }

    /// The entries before the first 0.
    pub fn iter(&self) -> impl Iterator<Item = Nsid> + '_ {
        self.nsid.iter().map(|nsid| Nsid(nsid.get())).take_while(|nsid| nsid.0 != 0)
    }
}

/// A namespace identification descriptor (CNS 03, figure 277).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NamespaceId<'a> {
    /// NIDT 1: EUI64, big-endian.
    Eui64([u8; 8]),
    /// NIDT 2: NGUID, big-endian.
    Nguid([u8; 16]),
    /// NIDT 3: UUID in RFC 4122's byte order.
    Uuid([u8; 16]),
    /// NIDT 4: I/O command set, 0 NVM.
    Csi(u8),
    /// A type not known here, or a known one of the wrong length.
    Other(u8, &'a [u8]),
}

impl<'a> NamespaceId<'a> {
    /// The descriptors of a CNS 03 page, up to the first of length 0 or the end.
    pub fn parse_list(mut page: &'a [u8]) -> impl Iterator<Item = NamespaceId<'a>> {
        core::iter::from_fn(move || {
            let (&[nidt, nidl, _, _], rest) = page.split_first_chunk::<4>()?;
            if nidl == 0 || rest.len() < usize::from(nidl) {
                return None;
            }
            let (nid, rest) = rest.split_at(usize::from(nidl));
            page = rest;
            Some(Self::of(nidt, nid))
        })
    }

    fn of(nidt: u8, nid: &'a [u8]) -> NamespaceId<'a> {
        match (nidt, nid.len()) {
            (1, 8) => NamespaceId::Eui64(nid.try_into().expect("length matched")),
            (2, 16) => NamespaceId::Nguid(nid.try_into().expect("length matched")),
            (3, 16) => NamespaceId::Uuid(nid.try_into().expect("length matched")),
            (4, 1) => NamespaceId::Csi(nid[0]),
            _ => NamespaceId::Other(nidt, nid),
        }
    }

    /// Writes `ids` at the start of `page` and zeroes after them; answers the bytes used.
    ///
    /// # Panics
    /// When they do not fit.
    pub fn emit_list(ids: &[NamespaceId<'_>], page: &mut [u8]) -> usize {
        page.fill(0);
        let mut at = 0;
        for id in ids {
            let (nidt, nid): (u8, &[u8]) = match id {
                NamespaceId::Eui64(id) => (1, id),
                NamespaceId::Nguid(id) => (2, id),
                NamespaceId::Uuid(id) => (3, id),
                NamespaceId::Csi(csi) => (4, core::slice::from_ref(csi)),
                NamespaceId::Other(nidt, id) => (*nidt, id),
            };
            page[at] = nidt;
            page[at + 1] = u8::try_from(nid.len()).expect("an identifier fits its length byte");
            page[at + 4..at + 4 + nid.len()].copy_from_slice(nid);
            at += 4 + nid.len();
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn controller_offsets_are_the_figures() {
        type C = IdentifyController;
        assert_eq!(size_of::<C>(), LEN);
        let offsets = [
            (offset_of!(C, mdts), 77),
            (offset_of!(C, ctratt), 96),
            (offset_of!(C, cntrltype), 111),
            (offset_of!(C, oacs), 256),
            (offset_of!(C, kas), 320),
            (offset_of!(C, anatt), 342),
            (offset_of!(C, domainid), 356),
            (offset_of!(C, sqes), 512),
            (offset_of!(C, nn), 516),
            (offset_of!(C, oncs), 520),
            (offset_of!(C, vwc), 525),
            (offset_of!(C, sgls), 536),
            (offset_of!(C, mnan), 540),
            (offset_of!(C, subnqn), 768),
            (offset_of!(C, ioccsz), 1792),
            (offset_of!(C, msdbd), 1803),
            (offset_of!(C, psd), 2048),
            (offset_of!(C, vs), 3072),
        ];
        for (ours, figure) in offsets {
            assert_eq!(ours, figure);
        }
    }

    #[test]
    fn namespace_offsets_are_the_figures() {
        type N = IdentifyNamespace;
        assert_eq!((size_of::<N>(), size_of::<NsidList>(), size_of::<IdentifyControllerNvm>()), (LEN, LEN, LEN));
        assert_eq!((offset_of!(N, flbas), offset_of!(N, dlfeat), offset_of!(N, nvmcap)), (26, 33, 48));
        assert_eq!((offset_of!(N, npwg), offset_of!(N, mcl), offset_of!(N, anagrpid)), (64, 76, 92));
        assert_eq!((offset_of!(N, nguid), offset_of!(N, eui64), offset_of!(N, lbaf)), (104, 120, 128));
    }

    #[test]
    fn texts_are_padded_cut_and_trimmed() {
        let mut controller = IdentifyController::zeroed();
        set_text(&mut controller.sn, "GANTRY1");
        set_text(&mut controller.mn, "a name that is longer than the forty bytes it has");
        assert_eq!(&controller.sn, b"GANTRY1             ");
        assert_eq!(controller.serial(), "GANTRY1");
        assert_eq!(controller.model(), "a name that is longer than the forty byt");
        controller.fr = [b'1', 0xff, 0, 1, 2, 3, 4, 5];
        assert_eq!(controller.firmware(), "1", "bytes that are no ASCII end the text");
    }

    #[test]
    fn mdts_of_any_byte_does_not_overflow() {
        let mut controller = IdentifyController::zeroed();
        assert_eq!(controller.mdts_bytes(0), None);
        controller.mdts = 5;
        assert_eq!(controller.mdts_bytes(0), Some(128 << 10));
        controller.mdts = 255;
        assert_eq!(controller.mdts_bytes(15), Some(u64::MAX));
    }

    #[test]
    fn block_shift_follows_flbas_and_refuses_nonsense() {
        let mut namespace = IdentifyNamespace::zeroed();
        assert_eq!(namespace.block_shift(), None);
        namespace.lbaf[0x12].lbads = 12;
        namespace.flbas = 0x22;
        assert_eq!(namespace.block_shift(), Some(12));
        namespace.lbaf[0x12].lbads = 200;
        assert_eq!(namespace.block_shift(), None);
    }

    #[test]
    fn nsid_list_starts_after_and_ends_at_zero() {
        let list = NsidList::of([1, 2, 5, 9].map(Nsid), Nsid(2));
        assert_eq!(list.iter().count(), 2);
        assert!(list.iter().eq([5, 9].map(Nsid)));
        assert_eq!(NsidList::of((1..=3000).map(Nsid), Nsid(0)).iter().count(), 1024);
    }

    #[test]
    fn descriptors_round_trip_and_stop_at_damage() {
        let ids =
            [NamespaceId::Uuid([7; 16]), NamespaceId::Nguid([1; 16]), NamespaceId::Eui64([2; 8]), NamespaceId::Csi(0)];
        let mut page = [0xff; 128];
        let used = NamespaceId::emit_list(&ids, &mut page);
        assert_eq!(used, 20 + 20 + 12 + 5);
        assert!(NamespaceId::parse_list(&page).eq(ids));
        assert_eq!(NamespaceId::parse_list(&page[..used - 1]).count(), 3, "a cut descriptor is not read");
        assert!(NamespaceId::parse_list(&[1, 2, 0, 0, 9, 9]).eq([NamespaceId::Other(1, &[9, 9])]));
    }
}
