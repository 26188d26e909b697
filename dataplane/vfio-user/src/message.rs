//! The protocol's messages as bytes: both ends send and read these. vfio-user protocol 0.1 (QEMU's docs/interop/vfio-user.rst
//! and libvfio-user's docs/vfio-user.rst, chapter "Message format" and those after it); flags and structures inside are those
//! of Linux's VFIO (include/uapi/linux/vfio.h). All numbers are little-endian, as both architectures have them.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What a message asks for.
pub mod command {
    /// Versions and capabilities are agreed on; the first message.
    pub const VERSION: u16 = 1;
    /// The device may reach memory.
    pub const DMA_MAP: u16 = 2;
    /// It may no longer.
    pub const DMA_UNMAP: u16 = 3;
    /// What the device is.
    pub const DEVICE_GET_INFO: u16 = 4;
    /// How large a region is and which of it can be mapped.
    pub const DEVICE_GET_REGION_INFO: u16 = 5;
    /// How many interrupts there are of one kind.
    pub const DEVICE_GET_IRQ_INFO: u16 = 7;
    /// Where interrupts go.
    pub const DEVICE_SET_IRQS: u16 = 8;
    /// Bytes of a region.
    pub const REGION_READ: u16 = 9;
    /// Bytes to a region.
    pub const REGION_WRITE: u16 = 10;
    /// The device reads memory that it cannot map; from the server.
    pub const DMA_READ: u16 = 11;
    /// The device writes memory that it cannot map; from the server.
    pub const DMA_WRITE: u16 = 12;
    /// The device is reset.
    pub const DEVICE_RESET: u16 = 13;
}

/// Bits of [`Header::flags`].
pub mod flag {
    /// The bits that tell a command from a reply.
    pub const TYPE: u32 = 0xf;
    /// A command.
    pub const COMMAND: u32 = 0;
    /// A reply.
    pub const REPLY: u32 = 1;
    /// A command that is not to be replied to.
    pub const NO_REPLY: u32 = 1 << 4;
    /// A reply that says, as an errno, why the command was refused.
    pub const ERROR: u32 = 1 << 5;
}

/// Regions of a PCI device, as VFIO numbers them.
pub mod region {
    /// BAR 0; BAR *n* is *n*.
    pub const BAR0: u32 = 0;
    /// BAR 4.
    pub const BAR4: u32 = 4;
    /// Configuration space.
    pub const CONFIG: u32 = 7;
    /// How many there are: six BARs, ROM, configuration space, VGA.
    pub const COUNT: u32 = 9;

    /// Bits of [`RegionInfo::flags`](super::RegionInfo::flags): it can be read.
    pub const READ: u32 = 1;
    /// It can be written.
    pub const WRITE: u32 = 1 << 1;
    /// It, or what its capability lists, can be mapped.
    pub const MMAP: u32 = 1 << 2;
    /// Capabilities follow.
    pub const CAPS: u32 = 1 << 3;
}

/// Interrupts of a PCI device, as VFIO numbers them.
pub mod irq {
    /// MSI-X.
    pub const MSIX: u32 = 2;
    /// How many kinds there are: INTx, MSI, MSI-X, error, request.
    pub const COUNT: u32 = 5;

    /// Bits of [`IrqInfo::flags`](super::IrqInfo::flags): it goes to an eventfd.
    pub const EVENTFD: u32 = 1;
    /// It can be masked.
    pub const MASKABLE: u32 = 1 << 1;

    /// Bits of [`SetIrqs::flags`](super::SetIrqs::flags): nothing follows.
    pub const DATA_NONE: u32 = 1;
    /// A byte for each, 0 or 1, follows.
    pub const DATA_BOOL: u32 = 1 << 1;
    /// An eventfd for each came with the message, or none.
    pub const DATA_EVENTFD: u32 = 1 << 2;
    /// They are masked.
    pub const ACTION_MASK: u32 = 1 << 3;
    /// They are unmasked.
    pub const ACTION_UNMASK: u32 = 1 << 4;
    /// Where they go, or that they are raised now.
    pub const ACTION_TRIGGER: u32 = 1 << 5;
}

/// Bits of [`DeviceInfo::flags`].
pub mod device {
    /// It can be reset.
    pub const RESET: u32 = 1;
    /// It is a PCI device.
    pub const PCI: u32 = 1 << 1;
}

/// Bits of [`DmaMap::flags`].
pub mod dma {
    /// The device may read it.
    pub const READ: u32 = 1;
    /// The device may write it.
    pub const WRITE: u32 = 1 << 1;
    /// Of [`DmaUnmap::flags`]: everything, whatever the address says.
    pub const UNMAP_ALL: u32 = 1 << 1;
}

/// What every message begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// A reply has its command's.
    pub id: U16,
    /// One of [`command`].
    pub command: U16,
    /// Bytes of the message, this header included.
    pub size: U32,
    /// Of [`flag`].
    pub flags: U32,
    /// An errno, with [`flag::ERROR`].
    pub error: U32,
}

impl Header {
    /// Bytes of a header.
    pub const LEN: usize = size_of::<Header>();

    /// Whether it is a reply.
    #[must_use]
    pub fn is_reply(&self) -> bool {
        self.flags.get() & flag::TYPE == flag::REPLY
    }

    /// Whether it is a command that wants no reply.
    #[must_use]
    pub fn wants_no_reply(&self) -> bool {
        self.flags.get() & flag::NO_REPLY != 0
    }
}

/// VERSION: what follows is JSON, NUL-terminated ([`crate::version`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Version {
    /// Another major is another protocol.
    pub major: U16,
    /// The server's is the client's or less.
    pub minor: U16,
}

/// DMA_MAP; the memory's file comes with it, or the server must ask for each byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DmaMap {
    /// Bytes of this structure.
    pub argsz: U32,
    /// Of [`dma`].
    pub flags: U32,
    /// Where in the file it begins.
    pub offset: U64,
    /// The device address of its first byte.
    pub address: U64,
    /// Bytes.
    pub size: U64,
}

/// DMA_UNMAP and its reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DmaUnmap {
    /// Bytes of this structure.
    pub argsz: U32,
    /// [`dma::UNMAP_ALL`] or 0.
    pub flags: U32,
    /// The device address of its first byte.
    pub address: U64,
    /// Bytes.
    pub size: U64,
}

/// DEVICE_GET_INFO and its reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DeviceInfo {
    /// Bytes of this structure.
    pub argsz: U32,
    /// Of [`device`].
    pub flags: U32,
    /// Regions.
    pub regions: U32,
    /// Kinds of interrupts.
    pub irqs: U32,
}

/// DEVICE_GET_REGION_INFO and its reply, which capabilities may follow and files accompany.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RegionInfo {
    /// Bytes that the asker has room for; of the reply, bytes that it would have with its capabilities.
    pub argsz: U32,
    /// Of [`region`].
    pub flags: U32,
    /// Which region.
    pub index: U32,
    /// From the beginning of this structure to the first capability.
    pub capabilities: U32,
    /// Bytes of the region; 0 when there is none.
    pub size: U64,
    /// Where in the file that came with it the region begins.
    pub offset: U64,
}

/// What a capability of a region begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Capability {
    /// [`Capability::SPARSE_MMAP`] is the one that matters here.
    pub id: U16,
    /// 1.
    pub version: U16,
    /// From the beginning of the [`RegionInfo`] to the next; 0 when there is none.
    pub next: U32,
}

impl Capability {
    /// Only parts of the region can be mapped: a [`SparseMmap`] follows.
    pub const SPARSE_MMAP: u16 = 1;
}

/// How many areas of a region can be mapped; that many [`Area`]s follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SparseMmap {
    /// How many.
    pub areas: U32,
    /// Nothing.
    pub reserved: U32,
}

/// A part of a region that can be mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Area {
    /// Where in the region it begins.
    pub offset: U64,
    /// Bytes.
    pub size: U64,
}

/// DEVICE_GET_IRQ_INFO and its reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IrqInfo {
    /// Bytes of this structure.
    pub argsz: U32,
    /// Of [`irq`].
    pub flags: U32,
    /// Which kind.
    pub index: U32,
    /// How many of it.
    pub count: U32,
}

/// DEVICE_SET_IRQS; eventfds come with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SetIrqs {
    /// Bytes of this structure and what follows it.
    pub argsz: U32,
    /// Of [`irq`]: one DATA and one ACTION.
    pub flags: U32,
    /// Which kind.
    pub index: U32,
    /// The first.
    pub start: U32,
    /// How many.
    pub count: U32,
}

/// REGION_READ and REGION_WRITE and their replies; data follows the read's reply and the write's command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RegionAccess {
    /// Where in the region.
    pub offset: U64,
    /// Which region.
    pub region: U32,
    /// Bytes of data.
    pub count: U32,
}

/// DMA_READ and DMA_WRITE and their replies; data follows the read's reply and the write's command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DmaAccess {
    /// The device address.
    pub address: U64,
    /// Bytes of data.
    pub count: U64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the specification's tables have them.
    #[test]
    fn structures_have_the_sizes_of_the_specification() {
        let sizes = [
            (Header::LEN, 16),
            (size_of::<Version>(), 4),
            (size_of::<DmaMap>(), 32),
            (size_of::<DmaUnmap>(), 24),
            (size_of::<DeviceInfo>(), 16),
            (size_of::<RegionInfo>(), 32),
            (size_of::<Capability>() + size_of::<SparseMmap>(), 16),
            (size_of::<Area>(), 16),
            (size_of::<IrqInfo>(), 16),
            (size_of::<SetIrqs>(), 20),
            (size_of::<RegionAccess>(), 16),
            (size_of::<DmaAccess>(), 16),
        ];
        for (ours, theirs) in sizes {
            assert_eq!(ours, theirs);
        }
    }
}
