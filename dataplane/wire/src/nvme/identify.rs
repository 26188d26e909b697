//! Identify: what can be asked for, and what a controller says of itself. The target writes it for hosts, the
//! driver reads it from drives. Reserved bytes are kept as bytes. What is said of namespaces is in
//! [`namespace`](super::namespace), and named here too. NVMe Base 2.0 §5.17 (figures 274 and 275).

pub use super::namespace::{IdentifyNamespace, LbaFormat, NamespaceId, NsidList};
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

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn controller_offsets_are_the_figures() {
        type C = IdentifyController;
        assert_eq!((size_of::<C>(), size_of::<IdentifyControllerNvm>()), (LEN, LEN));
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
}
