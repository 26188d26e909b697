//! The function's PCI configuration space: what it is, BARs, and three capabilities. PCI Local Bus 3.0 §6.1 (header), §6.8.2
//! (MSI-X); PCI Power Management 1.2 §3.2; PCIe Base 5.0 §7.5.3 (PCI Express capability).

/// Bytes of a PCIe function's configuration space; there are no extended capabilities.
pub(crate) const BYTES: usize = 4096;

const POWER: usize = 0x40;
const MSIX: usize = 0x50;
const EXPRESS: usize = 0x60;

/// The BAR with the MSI-X table, and where in it the pending bits lie.
pub(crate) const MSIX_BAR: u8 = 4;
pub(crate) const MSIX_PENDING: u32 = 0x1000;

/// Configuration space.
#[derive(Debug)]
pub(crate) struct ConfigSpace {
    bytes: Box<[u8; BYTES]>,
    /// Which bits a write changes.
    writable: Box<[u8; BYTES]>,
}

/// What is asked of the function by a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    Nothing,
    /// Initiate Function Level Reset.
    Reset,
}

impl ConfigSpace {
    /// As after power-on. BAR sizes in bytes are powers of two of 4 KiB at least; `vectors` is at least 1.
    pub(crate) fn new((vendor, device): (u16, u16), bar0_bytes: u64, bar4_bytes: u64, vectors: u16) -> Self {
        let mut this = Self { bytes: Box::new([0; BYTES]), writable: Box::new([0; BYTES]) };
        this.put(0x00, &vendor.to_le_bytes());
        this.put(0x02, &device.to_le_bytes());
        // Memory space, bus master, parity, SERR#, interrupt disable.
        this.allow(0x04, &0x0546u16.to_le_bytes());
        // Status: capabilities list.
        this.put(0x06, &0x0010u16.to_le_bytes());
        // Revision 1; mass storage, non-volatile memory, NVMe I/O controller.
        this.put(0x08, &[1, 0x02, 0x08, 0x01]);
        this.allow(0x0c, &[0xff]);
        this.bar(0x10, bar0_bytes);
        this.bar(0x20, bar4_bytes);
        this.put(0x2c, &vendor.to_le_bytes());
        this.put(0x2e, &device.to_le_bytes());
        this.put(0x34, &[POWER as u8]);
        this.allow(0x3c, &[0xff]);

        // Power management: version 3, no soft reset, D0 and D3hot.
        this.put(POWER, &[0x01, MSIX as u8, 0x03, 0x00, 0x08, 0x00, 0x00, 0x00]);
        this.allow(POWER + 4, &[0x03]);

        this.put(MSIX, &[0x11, EXPRESS as u8]);
        this.put(MSIX + 2, &(vectors - 1).to_le_bytes());
        this.allow(MSIX + 3, &[0xc0]);
        this.put(MSIX + 4, &u32::from(MSIX_BAR).to_le_bytes());
        this.put(MSIX + 8, &(MSIX_PENDING | u32::from(MSIX_BAR)).to_le_bytes());

        // PCI Express: version 2, an endpoint; role-based errors and function-level reset; one lane at 2.5 GT/s.
        this.put(EXPRESS, &[0x10, 0x00, 0x02, 0x00]);
        this.put(EXPRESS + 4, &(1u32 << 15 | 1 << 28).to_le_bytes());
        this.allow(EXPRESS + 8, &0x7fffu16.to_le_bytes());
        this.put(EXPRESS + 12, &0x11u32.to_le_bytes());
        this.allow(EXPRESS + 16, &0x01c3u16.to_le_bytes());
        this.put(EXPRESS + 18, &0x11u16.to_le_bytes());
        this
    }

    /// A 64-bit memory BAR. Written with ones it reads as its size, for the bits below that are not writable.
    fn bar(&mut self, at: usize, bytes: u64) {
        assert!(bytes.is_power_of_two() && bytes >= 4096, "a BAR of {bytes} bytes");
        self.put(at, &[0x04]);
        self.allow(at, &(!(bytes - 1)).to_le_bytes());
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn allow(&mut self, at: usize, bits: &[u8]) {
        self.writable[at..at + bits.len()].copy_from_slice(bits);
    }

    /// The bytes at `offset`; `None` when they are not all inside.
    pub(crate) fn read(&self, offset: usize, count: usize) -> Option<&[u8]> {
        self.bytes.get(offset..offset.checked_add(count)?)
    }

    /// Writes what can be written; `None` when it is not all inside.
    pub(crate) fn write(&mut self, offset: usize, data: &[u8]) -> Option<Effect> {
        let range = offset..offset.checked_add(data.len())?;
        let bytes = self.bytes.get_mut(range.clone())?;
        for ((byte, writable), new) in bytes.iter_mut().zip(&self.writable[range.clone()]).zip(data) {
            *byte = *byte & !writable | new & writable;
        }
        // Device Control, bit 15; it reads as 0.
        let control = EXPRESS + 9;
        let resets = range.contains(&control) && data[control - offset] & 0x80 != 0;
        Some(if resets { Effect::Reset } else { Effect::Nothing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> ConfigSpace {
        ConfigSpace::new((0x4754, 1), 0x4000, 0x2000, 65)
    }

    fn word(space: &ConfigSpace, at: usize) -> u32 {
        u32::from_le_bytes(space.read(at, 4).unwrap().try_into().unwrap())
    }

    #[test]
    fn bars_tell_their_size_as_pci_asks() {
        let mut space = space();
        assert_eq!((word(&space, 0x10), word(&space, 0x14)), (4, 0));
        for at in [0x10, 0x14, 0x18, 0x20, 0x24, 0x30] {
            space.write(at, &[0xff; 4]).unwrap();
        }
        let bar = |at| u64::from(word(&space, at)) | u64::from(word(&space, at + 4)) << 32;
        assert_eq!(!(bar(0x10) & !0xf) + 1, 0x4000);
        assert_eq!(!(bar(0x20) & !0xf) + 1, 0x2000);
        assert_eq!((word(&space, 0x18), word(&space, 0x30)), (0, 0), "neither BAR 2 nor a ROM");
    }

    #[test]
    fn what_it_is_cannot_be_changed() {
        let mut space = space();
        let before = word(&space, 0);
        assert_eq!(space.write(0, &[0; 64]), Some(Effect::Nothing));
        assert_eq!((word(&space, 0), word(&space, 8) >> 8), (before, 0x01_0802));
        space.write(4, &6u16.to_le_bytes()).unwrap();
        assert_eq!(word(&space, 4), 0x0010_0006);
    }

    #[test]
    fn its_capabilities_are_a_list_that_ends() {
        let space = space();
        let (mut at, mut found) = (word(&space, 0x34) as usize & 0xff, Vec::new());
        while at != 0 {
            found.push(space.read(at, 1).unwrap()[0]);
            at = usize::from(space.read(at + 1, 1).unwrap()[0]);
        }
        assert_eq!(found, [0x01, 0x11, 0x10]);
        assert_eq!(word(&space, MSIX) >> 16 & 0x7ff, 64, "65 vectors");
    }

    #[test]
    fn a_function_level_reset_is_asked_for_in_device_control() {
        let mut space = space();
        assert_eq!(space.write(EXPRESS + 8, &0x8000u16.to_le_bytes()), Some(Effect::Reset));
        assert_eq!(word(&space, EXPRESS + 8) & 0x8000, 0);
        assert_eq!(space.write(EXPRESS + 8, &[0xff]), Some(Effect::Nothing));
        assert_eq!(space.write(BYTES - 1, &[1, 2]), None);
        assert_eq!(space.write(usize::MAX, &[1]), None);
        assert!(space.read(BYTES, 1).is_none() && space.read(usize::MAX, 2).is_none());
    }
}
