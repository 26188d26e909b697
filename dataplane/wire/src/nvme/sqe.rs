//! Submission queue entry: the 64 bytes of a command, in a capsule or in a drive's queue.
//! NVMe Base 2.0 §3.3.3.1 (common format), §5 (admin opcodes); NVM Command Set 1.0 §3 (I/O opcodes).

use super::prp_sgl::Sgl;
use super::{Cid, Nsid};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Admin opcodes (§5, figure 138).
pub mod admin {
    /// Delete I/O Submission Queue (§5.6).
    pub const DELETE_IO_SQ: u8 = 0x00;
    /// Create I/O Submission Queue (§5.5).
    pub const CREATE_IO_SQ: u8 = 0x01;
    /// Get Log Page (§5.16).
    pub const LOG_PAGE: u8 = 0x02;
    /// Delete I/O Completion Queue (§5.5).
    pub const DELETE_IO_CQ: u8 = 0x04;
    /// Create I/O Completion Queue (§5.4).
    pub const CREATE_IO_CQ: u8 = 0x05;
    /// Identify (§5.17).
    pub const IDENTIFY: u8 = 0x06;
    /// Abort (§5.1).
    pub const ABORT: u8 = 0x08;
    /// Set Features (§5.27).
    pub const SET_FEATURES: u8 = 0x09;
    /// Get Features (§5.15).
    pub const GET_FEATURES: u8 = 0x0a;
    /// Asynchronous Event Request (§5.2).
    pub const ASYNC_EVENT_REQUEST: u8 = 0x0c;
    /// Namespace Management (§5.23).
    pub const NAMESPACE_MANAGEMENT: u8 = 0x0d;
    /// Firmware Commit (§5.12).
    pub const FIRMWARE_COMMIT: u8 = 0x10;
    /// Firmware Image Download (§5.13).
    pub const FIRMWARE_DOWNLOAD: u8 = 0x11;
    /// Device Self-test (§5.9).
    pub const DEVICE_SELF_TEST: u8 = 0x14;
    /// Namespace Attachment (§5.22).
    pub const NAMESPACE_ATTACHMENT: u8 = 0x15;
    /// Keep Alive (§5.18).
    pub const KEEP_ALIVE: u8 = 0x18;
    /// Directive Send (§5.11).
    pub const DIRECTIVE_SEND: u8 = 0x19;
    /// Directive Receive (§5.10).
    pub const DIRECTIVE_RECEIVE: u8 = 0x1a;
    /// Fabrics commands, told apart by FCTYPE (§6).
    pub const FABRICS: u8 = 0x7f;
    /// Format NVM (§5.14).
    pub const FORMAT_NVM: u8 = 0x80;
    /// Security Send (§5.26).
    pub const SECURITY_SEND: u8 = 0x81;
    /// Security Receive (§5.25).
    pub const SECURITY_RECEIVE: u8 = 0x82;
    /// Sanitize (§5.24).
    pub const SANITIZE: u8 = 0x84;
}

/// I/O opcodes (Base §7, NVM Command Set 1.0 §3, figure 20).
pub mod nvm {
    /// Flush (Base §7.1).
    pub const FLUSH: u8 = 0x00;
    /// Write (NVM §3.2.6).
    pub const WRITE: u8 = 0x01;
    /// Read (NVM §3.2.4).
    pub const READ: u8 = 0x02;
    /// Write Uncorrectable (NVM §3.2.7).
    pub const WRITE_UNCORRECTABLE: u8 = 0x04;
    /// Compare (NVM §3.2.1).
    pub const COMPARE: u8 = 0x05;
    /// Write Zeroes (NVM §3.2.8).
    pub const WRITE_ZEROES: u8 = 0x08;
    /// Dataset Management (NVM §3.2.3).
    pub const DATASET_MANAGEMENT: u8 = 0x09;
    /// Verify (NVM §3.2.5).
    pub const VERIFY: u8 = 0x0c;
    /// Reservation Register (Base §7.3).
    pub const RESERVATION_REGISTER: u8 = 0x0d;
    /// Reservation Report (Base §7.5).
    pub const RESERVATION_REPORT: u8 = 0x0e;
    /// Reservation Acquire (Base §7.2).
    pub const RESERVATION_ACQUIRE: u8 = 0x11;
    /// Reservation Release (Base §7.4).
    pub const RESERVATION_RELEASE: u8 = 0x15;
    /// Copy (NVM §3.2.2).
    pub const COPY: u8 = 0x19;
}

/// Which way a command's data goes, in the low two bits of every opcode (§3.3.3.1, figure 86).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transfer {
    /// No data.
    None,
    /// Host to controller.
    ToController,
    /// Controller to host.
    ToHost,
    /// Both ways.
    Both,
}

/// How DPTR is read: PSDT (§3.3.3.1, figure 87).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Psdt {
    /// Two PRP entries.
    Prp,
    /// An SGL; MPTR names one contiguous buffer.
    Sgl,
    /// An SGL; MPTR names an SGL segment.
    SglMetadataSgl,
    /// The value that the specification reserves.
    Reserved,
}

/// Submission queue entry.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Sqe {
    /// Opcode: [`admin`] or [`nvm`].
    pub opcode: u8,
    /// FUSE in bits 1:0, PSDT in bits 7:6.
    pub flags: u8,
    /// Command identifier.
    pub cid: U16,
    /// Namespace identifier.
    pub nsid: U32,
    /// Command dword 2.
    pub cdw2: U32,
    /// Command dword 3.
    pub cdw3: U32,
    /// Metadata pointer.
    pub mptr: U64,
    /// Data pointer: PRP1 and PRP2, or an SGL descriptor.
    pub dptr: [u8; 16],
    /// Command dword 10.
    pub cdw10: U32,
    /// Command dword 11.
    pub cdw11: U32,
    /// Command dword 12.
    pub cdw12: U32,
    /// Command dword 13.
    pub cdw13: U32,
    /// Command dword 14.
    pub cdw14: U32,
    /// Command dword 15.
    pub cdw15: U32,
}

impl Sqe {
    /// Bytes of an entry.
    pub const LEN: usize = 64;
    /// FUSE mask of [`Sqe::flags`].
    pub const FLAGS_FUSE: u8 = 0x03;
    /// PSDT = SGL, as NVMe-oF demands (the flags byte that Linux sends).
    pub const FLAGS_SGL: u8 = 0x40;
    /// PSDT mask of [`Sqe::flags`].
    pub const FLAGS_PSDT: u8 = 0xc0;
    /// Force Unit Access, CDW12 of reads, writes, write zeroes, compares.
    pub const CDW12_FUA: u32 = 1 << 30;
    /// Limited Retry, CDW12.
    pub const CDW12_LR: u32 = 1 << 31;
    /// Deallocate, CDW12 of Write Zeroes.
    pub const CDW12_DEAC: u32 = 1 << 25;
    /// Protection information field, CDW12.
    pub const CDW12_PRINFO: u32 = 0xf << 26;
    /// Attribute Deallocate, CDW11 of Dataset Management.
    pub const CDW11_AD: u32 = 1 << 2;

    /// A command with nothing but an opcode, a CID and a namespace.
    #[must_use]
    pub fn new(opcode: u8, cid: Cid, nsid: Nsid) -> Sqe {
        Sqe { opcode, cid: cid.0.into(), nsid: nsid.0.into(), ..Sqe::default() }
    }

    /// The entry as words of a queue in memory, in their order.
    #[inline(always)]
    #[must_use]
    pub fn words(&self) -> [u64; 8] {
        let two = |low: u32, high: u32| (u64::from(low) | u64::from(high) << 32).to_le();
        let cdw0 = u32::from(self.opcode) | u32::from(self.flags) << 8 | u32::from(self.cid.get()) << 16;
        let half = |at: usize| u64::from_ne_bytes(*self.dptr[at..].first_chunk().expect("16 bytes are two halves"));
        [
            two(cdw0, self.nsid.get()),
            two(self.cdw2.get(), self.cdw3.get()),
            self.mptr.get().to_le(),
            half(0),
            half(8),
            two(self.cdw10.get(), self.cdw11.get()),
            two(self.cdw12.get(), self.cdw13.get()),
            two(self.cdw14.get(), self.cdw15.get()),
        ]
    }

    /// A view of the first 64 bytes; `None` when there are fewer.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<&Sqe> {
        Sqe::ref_from_prefix(bytes).ok().map(|(sqe, _)| sqe)
    }

    /// Command identifier.
    #[must_use]
    pub fn cid(&self) -> Cid {
        Cid(self.cid.get())
    }

    /// Namespace identifier.
    #[must_use]
    pub fn nsid(&self) -> Nsid {
        Nsid(self.nsid.get())
    }

    /// Fused operation: 0 none, 1 first, 2 second, 3 reserved.
    #[must_use]
    pub fn fuse(&self) -> u8 {
        self.flags & Self::FLAGS_FUSE
    }

    /// How DPTR is read.
    #[must_use]
    pub fn psdt(&self) -> Psdt {
        match self.flags >> 6 {
            0 => Psdt::Prp,
            1 => Psdt::Sgl,
            2 => Psdt::SglMetadataSgl,
            _ => Psdt::Reserved,
        }
    }

    /// Which way the data goes, if the command has any. Fabrics commands keep theirs in FCTYPE.
    #[must_use]
    pub fn transfer(&self) -> Transfer {
        match self.opcode & 3 {
            0 => Transfer::None,
            1 => Transfer::ToController,
            2 => Transfer::ToHost,
            _ => Transfer::Both,
        }
    }

    /// PRP1 and PRP2 (§4.1.1), meaningful when [`Sqe::psdt`] is [`Psdt::Prp`].
    #[must_use]
    pub fn prps(&self) -> (u64, u64) {
        let [low, high] = self.dptr_halves();
        (low, high)
    }

    /// Writes PRP1 and PRP2 and clears PSDT.
    pub fn set_prps(&mut self, prp1: u64, prp2: u64) {
        self.flags &= !Self::FLAGS_PSDT;
        self.dptr[..8].copy_from_slice(&prp1.to_le_bytes());
        self.dptr[8..].copy_from_slice(&prp2.to_le_bytes());
    }

    /// SGL1 (§4.1.2), meaningful when PSDT says SGL; `None` for a descriptor type nobody defined.
    #[must_use]
    pub fn sgl(&self) -> Option<Sgl> {
        Sgl::parse(&self.dptr)
    }

    /// Writes SGL1 and sets PSDT.
    pub fn set_sgl(&mut self, sgl: Sgl) {
        self.flags = (self.flags & !Self::FLAGS_PSDT) | Self::FLAGS_SGL;
        self.dptr = sgl.emit();
    }

    /// Starting LBA: CDW10 and CDW11 of reads, writes, compares, write zeroes.
    #[must_use]
    pub fn slba(&self) -> u64 {
        u64::from(self.cdw10.get()) | u64::from(self.cdw11.get()) << 32
    }

    /// Writes the starting LBA.
    pub fn set_slba(&mut self, slba: u64) {
        self.cdw10 = (slba as u32).into();
        self.cdw11 = ((slba >> 32) as u32).into();
    }

    /// Number of logical blocks as the wire has it, 0's based: CDW12 15:0.
    #[must_use]
    pub fn nlb(&self) -> u16 {
        self.cdw12.get() as u16
    }

    /// Number of logical blocks as people count them, 1 to 65536.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        u32::from(self.nlb()) + 1
    }

    /// Writes the number of blocks, 1 to 65536, leaving the rest of CDW12.
    ///
    /// # Panics
    /// When `blocks` is out of that range: the caller split wrongly.
    pub fn set_blocks(&mut self, blocks: u32) {
        assert!((1..=0x1_0000).contains(&blocks), "{blocks} blocks do not fit one command");
        self.cdw12 = ((self.cdw12.get() & !0xffff) | (blocks - 1)).into();
    }

    /// Force Unit Access.
    #[must_use]
    pub fn fua(&self) -> bool {
        self.cdw12.get() & Self::CDW12_FUA != 0
    }

    /// Writes Force Unit Access.
    pub fn set_fua(&mut self, fua: bool) {
        let rest = self.cdw12.get() & !Self::CDW12_FUA;
        self.cdw12 = (rest | if fua { Self::CDW12_FUA } else { 0 }).into();
    }

    /// Deallocate, of a Write Zeroes.
    #[must_use]
    pub fn deac(&self) -> bool {
        self.cdw12.get() & Self::CDW12_DEAC != 0
    }

    /// Number of ranges of a Dataset Management, 1 to 256 (CDW10 7:0 is 0's based).
    #[must_use]
    pub fn dsm_ranges(&self) -> u16 {
        (self.cdw10.get() & 0xff) as u16 + 1
    }

    /// Attribute Deallocate of a Dataset Management.
    #[must_use]
    pub fn dsm_deallocate(&self) -> bool {
        self.cdw11.get() & Self::CDW11_AD != 0
    }

    /// CNS of an Identify: CDW10 7:0.
    #[must_use]
    pub fn cns(&self) -> u8 {
        self.cdw10.get() as u8
    }

    /// Log page identifier: CDW10 7:0.
    #[must_use]
    pub fn lid(&self) -> u8 {
        self.cdw10.get() as u8
    }

    /// Bytes that a Get Log Page asks for: (NUMDU‖NUMDL + 1) dwords (§5.16.1).
    #[must_use]
    pub fn log_length(&self) -> u64 {
        let numd = self.cdw10.get() >> 16 | self.cdw11.get() << 16;
        (u64::from(numd) + 1) * 4
    }

    /// Byte offset that a Get Log Page starts at: LPOU‖LPOL.
    #[must_use]
    pub fn log_offset(&self) -> u64 {
        u64::from(self.cdw12.get()) | u64::from(self.cdw13.get()) << 32
    }

    /// Retain Asynchronous Event of a Get Log Page: CDW10 bit 15.
    #[must_use]
    pub fn log_retain(&self) -> bool {
        self.cdw10.get() & 1 << 15 != 0
    }

    /// Feature identifier of a Set or Get Features: CDW10 7:0.
    #[must_use]
    pub fn fid(&self) -> u8 {
        self.cdw10.get() as u8
    }

    /// Save bit of a Set Features: CDW10 bit 31.
    #[must_use]
    pub fn feature_save(&self) -> bool {
        self.cdw10.get() >> 31 != 0
    }

    /// Select field of a Get Features: CDW10 10:8.
    #[must_use]
    pub fn feature_select(&self) -> u8 {
        (self.cdw10.get() >> 8 & 7) as u8
    }

    fn dptr_halves(&self) -> [u64; 2] {
        let value = u128::from_le_bytes(self.dptr);
        [value as u64, (value >> 64) as u64]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn the_layout_is_the_specifications() {
        assert_eq!(size_of::<Sqe>(), Sqe::LEN);
        assert_eq!(offset_of!(Sqe, cid), 2);
        assert_eq!(offset_of!(Sqe, nsid), 4);
        assert_eq!(offset_of!(Sqe, mptr), 16);
        assert_eq!(offset_of!(Sqe, dptr), 24);
        assert_eq!(offset_of!(Sqe, cdw10), 40);
        assert_eq!(offset_of!(Sqe, cdw15), 60);
    }

    #[test]
    fn read_fields_round_trip() {
        let mut sqe = Sqe::new(nvm::READ, Cid(0xbeef), Nsid(7));
        sqe.set_slba(0x1234_5678_9abc_def0);
        sqe.set_blocks(0x1_0000);
        sqe.set_fua(true);
        sqe.set_prps(0x1111_2222_3333_4000, 0x5555_6666_7777_8000);
        let sqe = Sqe::parse(sqe.as_bytes()).unwrap();
        assert_eq!((sqe.cid(), sqe.nsid(), sqe.transfer()), (Cid(0xbeef), Nsid(7), Transfer::ToHost));
        assert_eq!((sqe.slba(), sqe.nlb(), sqe.blocks()), (0x1234_5678_9abc_def0, 0xffff, 0x1_0000));
        assert!(sqe.fua() && !sqe.deac());
        assert_eq!(sqe.cdw12.get(), 0x4000_ffff);
        assert_eq!(sqe.psdt(), Psdt::Prp);
        assert_eq!(sqe.prps(), (0x1111_2222_3333_4000, 0x5555_6666_7777_8000));
        assert_eq!(Sqe::parse(&sqe.as_bytes()[..63]), None);
    }

    #[test]
    fn words_are_the_bytes() {
        let bytes: [u8; Sqe::LEN] = core::array::from_fn(|at| at as u8 + 1);
        let words = Sqe::parse(&bytes).unwrap().words();
        assert_eq!(words.as_bytes(), bytes);
    }

    #[test]
    fn fua_and_blocks_leave_each_other_alone() {
        let mut sqe = Sqe { cdw12: 0xffff_ffff.into(), ..Sqe::default() };
        sqe.set_fua(false);
        sqe.set_blocks(3);
        assert_eq!(sqe.cdw12.get(), 0xbfff_0002);
    }

    #[test]
    fn psdt_follows_the_data_pointer() {
        let mut sqe = Sqe { flags: 0x01, ..Sqe::default() };
        let sgl = Sgl::Keyed { address: 0x7000, length: 4096, key: 9, invalidate: true };
        sqe.set_sgl(sgl);
        assert_eq!((sqe.flags, sqe.psdt(), sqe.sgl()), (0x41, Psdt::Sgl, Some(sgl)));
        sqe.set_prps(1, 2);
        assert_eq!((sqe.flags, sqe.fuse()), (0x01, 1));
    }

    #[test]
    fn log_page_numbers() {
        let mut sqe = Sqe::new(admin::LOG_PAGE, Cid(0), Nsid::ALL);
        sqe.cdw10 = (0x03ff_8070u32).into();
        sqe.cdw11 = 1.into();
        sqe.cdw12 = 0x400.into();
        assert_eq!((sqe.lid(), sqe.log_retain()), (0x70, true));
        assert_eq!(sqe.log_length(), (0x1_0000 + 0x3ff + 1) * 4);
        assert_eq!(sqe.log_offset(), 0x400);
        sqe.cdw10 = 0xffff_0070.into();
        sqe.cdw11 = 0xffff.into();
        assert_eq!(sqe.log_length(), 1 << 34);
    }
}
