//! Log pages: the layouts of those that Gantry answers; the command's fields are in [`Sqe`](super::Sqe).
//!
//! NVMe Base 2.0 §5.16 (Get Log Page), figures 196 to 217. The discovery log is in
//! [`fabrics`](crate::fabrics).

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Log page identifiers (NVMe Base 2.0 figure 202).
pub mod lid {
    /// Error Information.
    pub const ERROR_INFORMATION: u8 = 0x01;
    /// SMART / Health Information.
    pub const SMART_HEALTH: u8 = 0x02;
    /// Firmware Slot Information.
    pub const FIRMWARE_SLOT: u8 = 0x03;
    /// Changed Namespace List.
    pub const CHANGED_NAMESPACES: u8 = 0x04;
    /// Commands Supported and Effects.
    pub const COMMANDS_SUPPORTED: u8 = 0x05;
    /// Asymmetric Namespace Access.
    pub const ANA: u8 = 0x0c;
    /// Discovery (NVMe-oF 1.1 §5.3).
    pub const DISCOVERY: u8 = 0x70;
}

/// One entry of the Error Information log (figure 206).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct ErrorEntry {
    /// Grows with each error over the life of the controller; zero marks an entry not in use.
    pub error_count: U64,
    /// Submission queue id.
    pub sqid: U16,
    /// Command id.
    pub cid: U16,
    /// CQE status field, phase bit included.
    pub status: U16,
    /// Byte (bits 7:0) and bit (10:8) of the command that was in error.
    pub parameter_error_location: U16,
    /// First LBA in error.
    pub lba: U64,
    /// Namespace.
    pub nsid: U32,
    /// Vendor Specific Information Available.
    pub vendor: u8,
    /// Transport Type.
    pub trtype: u8,
    /// Zero.
    pub reserved0: [u8; 2],
    /// Command Specific Information.
    pub command_specific: U64,
    /// Transport Type Specific Information.
    pub trtype_specific: U16,
    /// Zero.
    pub reserved1: [u8; 22],
}

/// The SMART / Health Information log (figure 207).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct SmartHealth {
    /// Critical Warning bits.
    pub critical_warning: u8,
    /// Composite Temperature in kelvin.
    pub composite_temperature: U16,
    /// Available Spare in percent.
    pub available_spare: u8,
    /// Available Spare Threshold in percent.
    pub available_spare_threshold: u8,
    /// Percentage Used.
    pub percentage_used: u8,
    /// Endurance Group Critical Warning Summary.
    pub endurance_group_warning: u8,
    /// Zero.
    pub reserved0: [u8; 25],
    /// Data Units Read: 16-byte integer, thousands of 512-byte units.
    pub data_units_read: [u8; 16],
    /// Data Units Written.
    pub data_units_written: [u8; 16],
    /// Host Read Commands.
    pub host_reads: [u8; 16],
    /// Host Write Commands.
    pub host_writes: [u8; 16],
    /// Controller Busy Time in minutes.
    pub busy_minutes: [u8; 16],
    /// Power Cycles.
    pub power_cycles: [u8; 16],
    /// Power On Hours.
    pub power_on_hours: [u8; 16],
    /// Unsafe Shutdowns.
    pub unsafe_shutdowns: [u8; 16],
    /// Media and Data Integrity Errors.
    pub media_errors: [u8; 16],
    /// Number of Error Information Log Entries over the life of the controller.
    pub error_entries: [u8; 16],
    /// Warning Composite Temperature Time in minutes.
    pub warning_minutes: U32,
    /// Critical Composite Temperature Time in minutes.
    pub critical_minutes: U32,
    /// Temperature Sensor 1 to 8 in kelvin.
    pub temperature_sensors: [U16; 8],
    /// Thermal management counters and what follows them.
    pub reserved1: [u8; 296],
}

/// The Firmware Slot Information log (figure 209).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct FirmwareSlot {
    /// Active Firmware Info: the running slot in bits 2:0, the next one in bits 6:4.
    pub afi: u8,
    /// Zero.
    pub reserved0: [u8; 7],
    /// Firmware Revision for slots 1 to 7, ASCII.
    pub frs: [[u8; 8]; 7],
    /// Zero.
    pub reserved1: [u8; 448],
}

/// Entries of the Changed Namespace List (§5.16.1.5); the list is zero-padded.
pub const CHANGED_NAMESPACES_MAX: usize = 1024;

/// First entry of a Changed Namespace List that overflowed: anything may have changed.
pub const CHANGED_NAMESPACES_OVERFLOW: u32 = 0xffff_ffff;

/// The Commands Supported and Effects log (figure 211): one [`effects`] word an opcode.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct CommandsSupported {
    /// Admin Command Supported 0 to 255.
    pub acs: [U32; 256],
    /// I/O Command Supported 0 to 255.
    pub iocs: [U32; 256],
    /// Zero.
    pub reserved: [u8; 2048],
}

impl CommandsSupported {
    /// A log in which nothing is supported.
    #[must_use]
    pub fn new() -> Self {
        Self::new_zeroed()
    }
}

impl Default for CommandsSupported {
    fn default() -> Self {
        Self::new()
    }
}

/// Bits of one command's word in [`CommandsSupported`] (figure 212).
pub mod effects {
    /// Command Supported.
    pub const CSUPP: u32 = 1 << 0;
    /// Logical Block Content Change.
    pub const LBCC: u32 = 1 << 1;
    /// Namespace Capability Change.
    pub const NCC: u32 = 1 << 2;
    /// Namespace Inventory Change.
    pub const NIC: u32 = 1 << 3;
    /// Controller Capability Change.
    pub const CCC: u32 = 1 << 4;
}

const _: () = assert!(size_of::<ErrorEntry>() == 64);
const _: () = assert!(size_of::<SmartHealth>() == 512);
const _: () = assert!(size_of::<FirmwareSlot>() == 512);
const _: () = assert!(size_of::<CommandsSupported>() == 4096);

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn fields_lie_where_the_figures_say() {
        assert_eq!(offset_of!(ErrorEntry, lba), 16);
        assert_eq!(offset_of!(ErrorEntry, command_specific), 32);
        assert_eq!(offset_of!(SmartHealth, data_units_read), 32);
        assert_eq!(offset_of!(SmartHealth, error_entries), 176);
        assert_eq!(offset_of!(SmartHealth, temperature_sensors), 200);
        assert_eq!(offset_of!(FirmwareSlot, frs), 8);
        assert_eq!(offset_of!(CommandsSupported, iocs), 1024);
    }
}
