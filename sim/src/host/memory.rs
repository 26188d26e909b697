//! Memory that the target may reach by RDMA: regions registered for one command on one queue and invalidated with it,
//! as Linux does with fast registration (IBA §10.6.7). The key's lower byte changes with every use.

use gantry_roce::{Access, Memory, Qpn, Rkey};

/// What a region holds before the target writes: data that never came shows.
const POISON: u8 = 0xdb;
/// Index of the first region; rkeys are `index << 8 | key`.
const FIRST_INDEX: u32 = 0x24;

struct Region {
    key: u8,
    valid: bool,
    qpn: Qpn,
    access: Access,
    address: u64,
    bytes: Vec<u8>,
    /// Bytes that RDMA WRITEs have brought.
    landed: u64,
}

/// Every region of the host.
#[derive(Default)]
pub(super) struct Regions {
    regions: Vec<Region>,
    free: Vec<usize>,
}

impl Regions {
    /// Registers `bytes` at `address` for `access` from queue pair `qpn`.
    pub(super) fn register(&mut self, qpn: Qpn, access: Access, address: u64, bytes: Vec<u8>) -> Rkey {
        let index = self.free.pop().unwrap_or_else(|| {
            let region = Region { key: 0, valid: false, qpn, access, address: 0, bytes: Vec::new(), landed: 0 };
            self.regions.push(region);
            self.regions.len() - 1
        });
        let region = &mut self.regions[index];
        let key = region.key.wrapping_add(1);
        *region = Region { key, valid: true, qpn, access, address, bytes, landed: 0 };
        Rkey((FIRST_INDEX + index as u32) << 8 | u32::from(key))
    }

    /// A region of `length` bytes for the target to fill.
    pub(super) fn register_empty(&mut self, qpn: Qpn, address: u64, length: u32) -> Rkey {
        self.register(qpn, Access::Write, address, vec![POISON; length as usize])
    }

    /// Ends remote access. Answers whether the key was valid.
    pub(super) fn invalidate(&mut self, rkey: Rkey) -> bool {
        let Some(index) = self.valid_index(rkey) else { return false };
        self.regions[index].valid = false;
        true
    }

    /// Gives the region's memory back: its bytes, and how many were written by the target.
    pub(super) fn release(&mut self, rkey: Rkey) -> (Vec<u8>, u64) {
        let index = self.index(rkey).expect("a command releases its own region");
        let region = &mut self.regions[index];
        region.valid = false;
        self.free.push(index);
        (std::mem::take(&mut region.bytes), region.landed)
    }

    /// Lands bytes of a WRITE that was permitted.
    pub(super) fn write(&mut self, rkey: Rkey, address: u64, payload: &[u8]) {
        let index = self.valid_index(rkey).expect("a permitted WRITE");
        let region = &mut self.regions[index];
        let at = (address - region.address) as usize;
        region.bytes[at..at + payload.len()].copy_from_slice(payload);
        region.landed += payload.len() as u64;
    }

    /// Bytes for a READ that was permitted; none when the region is gone by now.
    pub(super) fn read(&self, rkey: Rkey, address: u64, length: u32) -> Option<&[u8]> {
        let region = &self.regions[self.valid_index(rkey)?];
        let at = address.checked_sub(region.address)? as usize;
        region.bytes.get(at..at + length as usize)
    }

    /// The regions as queue pair `qpn` may reach them.
    pub(super) fn of(&self, qpn: Qpn) -> QueueMemory<'_> {
        QueueMemory { regions: self, qpn }
    }

    fn index(&self, rkey: Rkey) -> Option<usize> {
        let index = (rkey.0 >> 8).checked_sub(FIRST_INDEX)? as usize;
        (self.regions.get(index)?.key == rkey.0 as u8).then_some(index)
    }

    fn valid_index(&self, rkey: Rkey) -> Option<usize> {
        self.index(rkey).filter(|&index| self.regions[index].valid)
    }
}

/// What one queue pair's peer may reach.
pub(super) struct QueueMemory<'a> {
    regions: &'a Regions,
    qpn: Qpn,
}

impl Memory for QueueMemory<'_> {
    fn permits(&self, rkey: Rkey, address: u64, length: u32, access: Access) -> bool {
        let Some(index) = self.regions.valid_index(rkey) else { return false };
        let region = &self.regions.regions[index];
        let Some(offset) = address.checked_sub(region.address) else { return false };
        let end = offset.checked_add(length.into());
        region.qpn == self.qpn && region.access == access && end.is_some_and(|end| end <= region.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QPN: Qpn = Qpn::new(0x11);

    #[test]
    fn access_ends_at_every_border() {
        let mut regions = Regions::default();
        let rkey = regions.register_empty(QPN, 0x1000, 512);
        let permits =
            |regions: &Regions, qpn, address, length, access| regions.of(qpn).permits(rkey, address, length, access);
        assert!(permits(&regions, QPN, 0x1000, 512, Access::Write));
        assert!(permits(&regions, QPN, 0x11ff, 1, Access::Write));
        assert!(!permits(&regions, QPN, 0x1000, 513, Access::Write));
        assert!(!permits(&regions, QPN, 0x0fff, 1, Access::Write));
        assert!(!permits(&regions, QPN, u64::MAX, 1, Access::Write));
        assert!(!permits(&regions, QPN, 0x1000, 512, Access::Read));
        assert!(!permits(&regions, Qpn::new(0x12), 0x1000, 512, Access::Write));
        assert!(regions.invalidate(rkey));
        assert!(!permits(&regions, QPN, 0x1000, 512, Access::Write));
        assert!(!regions.invalidate(rkey));
    }

    #[test]
    fn a_region_used_again_has_another_key() {
        let mut regions = Regions::default();
        let first = regions.register_empty(QPN, 0x1000, 4);
        regions.write(first, 0x1001, &[1, 2]);
        assert_eq!(regions.release(first), (vec![POISON, 1, 2, POISON], 2));
        let second = regions.register(QPN, Access::Read, 0x2000, vec![9; 4]);
        assert_eq!(first.0 >> 8, second.0 >> 8);
        assert_ne!(first, second);
        assert!(!regions.of(QPN).permits(first, 0x2000, 4, Access::Read));
        assert_eq!(regions.read(second, 0x2002, 2), Some(&[9, 9][..]));
        assert_eq!(regions.read(second, 0x2002, 3), None);
    }
}
