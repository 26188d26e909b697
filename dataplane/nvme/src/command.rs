//! Commands of the NVM command set as SQEs, ready for [`IoQueue::submit`](crate::IoQueue::submit).
//! NVM Command Set 1.0 §3. `prps` is (PRP1, PRP2), as [`prp::describe`](crate::prp::describe) gives them.

use gantry_wire::nvme::{Cid, DsmRange, Nsid, Sqe, nvm};

/// Read `blocks` (1 to 65536) from `slba` (§3.2.4).
#[inline]
#[must_use]
pub fn read(nsid: Nsid, cid: Cid, slba: u64, blocks: u32, prps: (u64, u64), fua: bool) -> Sqe {
    transfer(nvm::READ, nsid, cid, slba, blocks, prps, fua)
}

/// Write `blocks` (1 to 65536) at `slba` (§3.2.6).
#[inline]
#[must_use]
pub fn write(nsid: Nsid, cid: Cid, slba: u64, blocks: u32, prps: (u64, u64), fua: bool) -> Sqe {
    transfer(nvm::WRITE, nsid, cid, slba, blocks, prps, fua)
}

/// Compare `blocks` (1 to 65536) at `slba` with memory (§3.2.1).
#[inline]
#[must_use]
pub fn compare(nsid: Nsid, cid: Cid, slba: u64, blocks: u32, prps: (u64, u64), fua: bool) -> Sqe {
    transfer(nvm::COMPARE, nsid, cid, slba, blocks, prps, fua)
}

/// Make `blocks` (1 to 65536) at `slba` read as zeroes (§3.2.8); `deallocate` lets the drive unmap them.
#[inline]
#[must_use]
pub fn write_zeroes(nsid: Nsid, cid: Cid, slba: u64, blocks: u32, deallocate: bool, fua: bool) -> Sqe {
    let mut sqe = transfer(nvm::WRITE_ZEROES, nsid, cid, slba, blocks, (0, 0), fua);
    if deallocate {
        sqe.cdw12 = (sqe.cdw12.get() | Sqe::CDW12_DEAC).into();
    }
    sqe
}

/// Make completed writes durable (Base 2.0 §7.1).
#[inline]
#[must_use]
pub fn flush(nsid: Nsid, cid: Cid) -> Sqe {
    Sqe::new(nvm::FLUSH, cid, nsid)
}

/// Deallocate the `ranges` (1 to 256 [`DsmRange`]s) that `prps` name (§3.2.3).
///
/// # Panics
/// When `ranges` is out of that range.
#[inline]
#[must_use]
pub fn dsm(nsid: Nsid, cid: Cid, ranges: u16, prps: (u64, u64)) -> Sqe {
    assert!((1..=DsmRange::MAX as u16).contains(&ranges), "{ranges} ranges do not fit one command");
    let mut sqe = Sqe::new(nvm::DATASET_MANAGEMENT, cid, nsid);
    sqe.set_prps(prps.0, prps.1);
    sqe.cdw10 = u32::from(ranges - 1).into();
    sqe.cdw11 = Sqe::CDW11_AD.into();
    sqe
}

/// Any of the first three, by its opcode.
#[inline(always)]
#[must_use]
pub fn transfer(opcode: u8, nsid: Nsid, cid: Cid, slba: u64, blocks: u32, prps: (u64, u64), fua: bool) -> Sqe {
    assert!((1..=0x1_0000).contains(&blocks), "{blocks} blocks do not fit one command");
    // In one piece, so that a caller who wants it as words gets it in registers.
    Sqe {
        opcode,
        cid: cid.0.into(),
        nsid: nsid.0.into(),
        dptr: zerocopy::transmute!([prps.0.to_le(), prps.1.to_le()]),
        cdw10: (slba as u32).into(),
        cdw11: ((slba >> 32) as u32).into(),
        cdw12: ((blocks - 1) | if fua { Sqe::CDW12_FUA } else { 0 }).into(),
        ..Sqe::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dwords_are_the_specifications() {
        let sqe = write_zeroes(Nsid(3), Cid(9), 0x1_0000_0002, 8, true, true);
        assert_eq!((sqe.opcode, sqe.cdw10.get(), sqe.cdw11.get(), sqe.cdw12.get()), (8, 2, 1, 0x4200_0007));
        let sqe = dsm(Nsid(1), Cid(1), 256, (0x1000, 0));
        assert_eq!((sqe.opcode, sqe.cdw10.get(), sqe.cdw11.get(), sqe.prps().0), (9, 255, 4, 0x1000));
        let sqe = compare(Nsid(1), Cid(1), 5, 65536, (4, 8), false);
        assert_eq!((sqe.opcode, sqe.cdw12.get(), sqe.prps()), (5, 0xffff, (4, 8)));
        let sqe = read(Nsid(1), Cid(2), 0x1_0000_0002, 8, (4, 8), true);
        assert_eq!((sqe.slba(), sqe.blocks(), sqe.fua(), sqe.flags), (0x1_0000_0002, 8, true, 0));
        assert_eq!(flush(Nsid::ALL, Cid(2)).nsid(), Nsid::ALL);
    }
}
