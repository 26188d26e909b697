//! Features: their identifiers and values, and asynchronous events; dword 10 is in [`Sqe`](super::Sqe).
//!
//! NVMe Base 2.0 §5.17 (Get Features), §5.27 (Set Features), §5.2 (Asynchronous Event Request).

/// Feature identifiers (NVMe Base 2.0 figures 317 and 318).
pub mod fid {
    /// Arbitration.
    pub const ARBITRATION: u8 = 0x01;
    /// Power Management.
    pub const POWER_MANAGEMENT: u8 = 0x02;
    /// Temperature Threshold.
    pub const TEMPERATURE_THRESHOLD: u8 = 0x04;
    /// Error Recovery.
    pub const ERROR_RECOVERY: u8 = 0x05;
    /// Volatile Write Cache.
    pub const VOLATILE_WRITE_CACHE: u8 = 0x06;
    /// Number of Queues.
    pub const NUMBER_OF_QUEUES: u8 = 0x07;
    /// Interrupt Coalescing.
    pub const INTERRUPT_COALESCING: u8 = 0x08;
    /// Interrupt Vector Configuration.
    pub const INTERRUPT_VECTOR: u8 = 0x09;
    /// Write Atomicity Normal.
    pub const WRITE_ATOMICITY: u8 = 0x0a;
    /// Asynchronous Event Configuration.
    pub const ASYNC_EVENT_CONFIGURATION: u8 = 0x0b;
    /// Keep Alive Timer.
    pub const KEEP_ALIVE_TIMER: u8 = 0x0f;
    /// I/O Command Set Profile.
    pub const IO_COMMAND_SET_PROFILE: u8 = 0x19;
    /// Host Identifier.
    pub const HOST_IDENTIFIER: u8 = 0x81;
}

/// Number of Queues (§5.27.1.5): dword 11 of the command and dword 0 of the completion, both zero-based.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberOfQueues {
    /// I/O submission queues, zero-based (NSQR, NSQA).
    pub submission: u16,
    /// I/O completion queues, zero-based (NCQR, NCQA).
    pub completion: u16,
}

impl NumberOfQueues {
    /// From a dword.
    #[must_use]
    pub fn parse(dword: u32) -> Self {
        Self { submission: dword as u16, completion: (dword >> 16) as u16 }
    }

    /// As a dword.
    #[must_use]
    pub fn emit(self) -> u32 {
        u32::from(self.submission) | u32::from(self.completion) << 16
    }
}

/// Bits of Asynchronous Event Configuration (figure 326), the same in Identify's OAES.
pub mod aec {
    /// SMART / Health critical warnings, one bit each.
    pub const SMART_MASK: u32 = 0xff;
    /// Namespace Attribute Notices.
    pub const NAMESPACE_ATTRIBUTE: u32 = 1 << 8;
    /// Firmware Activation Notices.
    pub const FIRMWARE_ACTIVATION: u32 = 1 << 9;
    /// Asymmetric Namespace Access Change Notices.
    pub const ANA_CHANGE: u32 = 1 << 11;
    /// Discovery Log Page Change Notification (NVMe-oF 1.1).
    pub const DISCOVERY_CHANGE: u32 = 1 << 31;
}

/// Dword 0 of an Asynchronous Event Request's completion (figure 146).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AsyncEvent {
    /// Asynchronous Event Type: 0 error, 1 SMART, 2 notice, 6 I/O specific, 7 vendor.
    pub kind: u8,
    /// Asynchronous Event Information.
    pub information: u8,
    /// Log Page Identifier to read, which also clears the event.
    pub log: u8,
}

impl AsyncEvent {
    /// Namespace Attribute Changed.
    pub const NAMESPACE_CHANGED: Self = Self { kind: 2, information: 0x00, log: super::log::lid::CHANGED_NAMESPACES };
    /// Asymmetric Namespace Access Change.
    pub const ANA_CHANGED: Self = Self { kind: 2, information: 0x03, log: super::log::lid::ANA };
    /// Discovery Log Page Change.
    pub const DISCOVERY_CHANGED: Self = Self { kind: 2, information: 0xf0, log: super::log::lid::DISCOVERY };

    /// As dword 0.
    #[must_use]
    pub fn emit(self) -> u32 {
        u32::from(self.kind & 7) | u32::from(self.information) << 8 | u32::from(self.log) << 16
    }

    /// From dword 0.
    #[must_use]
    pub fn parse(dw0: u32) -> Self {
        Self { kind: dw0 as u8 & 7, information: (dw0 >> 8) as u8, log: (dw0 >> 16) as u8 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_as_a_linux_host_reads_them() {
        assert_eq!(AsyncEvent::NAMESPACE_CHANGED.emit(), 0x0004_0002);
        assert_eq!(AsyncEvent::ANA_CHANGED.emit(), 0x000c_0302);
        assert_eq!(AsyncEvent::DISCOVERY_CHANGED.emit(), 0x0070_f002);
        for dw0 in [0x0004_0002, 0x0070_f002, 0x00ff_ff07] {
            assert_eq!(AsyncEvent::parse(dw0).emit(), dw0);
        }
    }

    #[test]
    fn fields_round_trip() {
        let queues = NumberOfQueues { submission: 1, completion: 0xfffe };
        assert_eq!(queues.emit(), 0xfffe_0001);
        assert_eq!(NumberOfQueues::parse(queues.emit()), queues);
    }
}
