//! Completion status: type, code, retry hints, and the names that the specifications give them.
//! NVMe Base 2.0 §3.3.3.2.1 (figures 93 to 99), NVM Command Set 1.0 §2 and NVMe-oF 1.1 §3.3 (Connect).

use core::fmt;

/// A status without the phase bit: SC in bits 7:0, SCT in 10:8, CRD in 12:11, More in 13, DNR in 14.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Status(pub u16);

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl Status {
            $($(#[$doc])* pub const $name: Status = Status($value);)*

            /// The specification's name; `None` for a code not named here.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self.code() {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }

        #[cfg(test)]
        const NAMED: &[u16] = &[$($value),*];
    };
}

statuses! {
    // Generic command status (SCT 0).
    /// Successful Completion.
    SUCCESS = 0x000, "Successful Completion";
    /// Invalid Command Opcode.
    INVALID_OPCODE = 0x001, "Invalid Command Opcode";
    /// Invalid Field in Command.
    INVALID_FIELD = 0x002, "Invalid Field in Command";
    /// Command ID Conflict.
    COMMAND_ID_CONFLICT = 0x003, "Command ID Conflict";
    /// Data Transfer Error: the controller could not move the data.
    DATA_TRANSFER_ERROR = 0x004, "Data Transfer Error";
    /// Commands Aborted due to Power Loss Notification.
    ABORTED_POWER_LOSS = 0x005, "Aborted due to Power Loss Notification";
    /// Internal Error.
    INTERNAL_ERROR = 0x006, "Internal Error";
    /// Command Abort Requested.
    ABORT_REQUESTED = 0x007, "Command Abort Requested";
    /// Command Aborted due to SQ Deletion.
    ABORTED_SQ_DELETION = 0x008, "Command Aborted due to SQ Deletion";
    /// Command Aborted due to Failed Fused Command.
    ABORTED_FAILED_FUSED = 0x009, "Command Aborted due to Failed Fused Command";
    /// Command Aborted due to Missing Fused Command.
    ABORTED_MISSING_FUSED = 0x00a, "Command Aborted due to Missing Fused Command";
    /// Invalid Namespace or Format.
    INVALID_NAMESPACE = 0x00b, "Invalid Namespace or Format";
    /// Command Sequence Error.
    COMMAND_SEQUENCE_ERROR = 0x00c, "Command Sequence Error";
    /// Invalid SGL Segment Descriptor.
    INVALID_SGL_SEGMENT = 0x00d, "Invalid SGL Segment Descriptor";
    /// Invalid Number of SGL Descriptors.
    INVALID_SGL_COUNT = 0x00e, "Invalid Number of SGL Descriptors";
    /// Data SGL Length Invalid.
    SGL_LENGTH_INVALID = 0x00f, "Data SGL Length Invalid";
    /// Metadata SGL Length Invalid.
    METADATA_SGL_LENGTH_INVALID = 0x010, "Metadata SGL Length Invalid";
    /// SGL Descriptor Type Invalid.
    SGL_TYPE_INVALID = 0x011, "SGL Descriptor Type Invalid";
    /// Invalid Use of Controller Memory Buffer.
    INVALID_CMB_USE = 0x012, "Invalid Use of Controller Memory Buffer";
    /// PRP Offset Invalid.
    PRP_OFFSET_INVALID = 0x013, "PRP Offset Invalid";
    /// Atomic Write Unit Exceeded.
    ATOMIC_WRITE_UNIT_EXCEEDED = 0x014, "Atomic Write Unit Exceeded";
    /// Operation Denied.
    OPERATION_DENIED = 0x015, "Operation Denied";
    /// SGL Offset Invalid.
    SGL_OFFSET_INVALID = 0x016, "SGL Offset Invalid";
    /// Host Identifier Inconsistent Format.
    HOST_ID_INCONSISTENT = 0x018, "Host Identifier Inconsistent Format";
    /// Keep Alive Timer Expired.
    KEEP_ALIVE_EXPIRED = 0x019, "Keep Alive Timer Expired";
    /// Keep Alive Timeout Invalid.
    KEEP_ALIVE_INVALID = 0x01a, "Keep Alive Timeout Invalid";
    /// Command Aborted due to Preempt and Abort.
    ABORTED_PREEMPT = 0x01b, "Command Aborted due to Preempt and Abort";
    /// Sanitize Failed.
    SANITIZE_FAILED = 0x01c, "Sanitize Failed";
    /// Sanitize In Progress.
    SANITIZE_IN_PROGRESS = 0x01d, "Sanitize In Progress";
    /// SGL Data Block Granularity Invalid.
    SGL_GRANULARITY_INVALID = 0x01e, "SGL Data Block Granularity Invalid";
    /// Command Not Supported for Queue in CMB.
    NOT_SUPPORTED_FOR_CMB_QUEUE = 0x01f, "Command Not Supported for Queue in CMB";
    /// Namespace is Write Protected.
    NAMESPACE_WRITE_PROTECTED = 0x020, "Namespace is Write Protected";
    /// Command Interrupted.
    COMMAND_INTERRUPTED = 0x021, "Command Interrupted";
    /// Transient Transport Error.
    TRANSIENT_TRANSPORT_ERROR = 0x022, "Transient Transport Error";
    /// Admin Command Media Not Ready.
    ADMIN_MEDIA_NOT_READY = 0x024, "Admin Command Media Not Ready";
    /// LBA Out of Range.
    LBA_OUT_OF_RANGE = 0x080, "LBA Out of Range";
    /// Capacity Exceeded.
    CAPACITY_EXCEEDED = 0x081, "Capacity Exceeded";
    /// Namespace Not Ready.
    NAMESPACE_NOT_READY = 0x082, "Namespace Not Ready";
    /// Reservation Conflict.
    RESERVATION_CONFLICT = 0x083, "Reservation Conflict";
    /// Format In Progress.
    FORMAT_IN_PROGRESS = 0x084, "Format In Progress";

    // Command-specific status (SCT 1), admin and I/O. Several commands reuse one code.
    /// Completion Queue Invalid.
    COMPLETION_QUEUE_INVALID = 0x100, "Completion Queue Invalid";
    /// Invalid Queue Identifier.
    INVALID_QUEUE_ID = 0x101, "Invalid Queue Identifier";
    /// Invalid Queue Size.
    INVALID_QUEUE_SIZE = 0x102, "Invalid Queue Size";
    /// Abort Command Limit Exceeded.
    ABORT_LIMIT_EXCEEDED = 0x103, "Abort Command Limit Exceeded";
    /// Asynchronous Event Request Limit Exceeded.
    ASYNC_EVENT_LIMIT_EXCEEDED = 0x105, "Asynchronous Event Request Limit Exceeded";
    /// Invalid Firmware Slot.
    INVALID_FIRMWARE_SLOT = 0x106, "Invalid Firmware Slot";
    /// Invalid Firmware Image.
    INVALID_FIRMWARE_IMAGE = 0x107, "Invalid Firmware Image";
    /// Invalid Interrupt Vector.
    INVALID_INTERRUPT_VECTOR = 0x108, "Invalid Interrupt Vector";
    /// Invalid Log Page.
    INVALID_LOG_PAGE = 0x109, "Invalid Log Page";
    /// Invalid Format.
    INVALID_FORMAT = 0x10a, "Invalid Format";
    /// Firmware Activation Requires Conventional Reset.
    FIRMWARE_REQUIRES_RESET = 0x10b, "Firmware Activation Requires Conventional Reset";
    /// Invalid Queue Deletion.
    INVALID_QUEUE_DELETION = 0x10c, "Invalid Queue Deletion";
    /// Feature Identifier Not Saveable.
    FEATURE_NOT_SAVEABLE = 0x10d, "Feature Identifier Not Saveable";
    /// Feature Not Changeable.
    FEATURE_NOT_CHANGEABLE = 0x10e, "Feature Not Changeable";
    /// Feature Not Namespace Specific.
    FEATURE_NOT_NAMESPACE_SPECIFIC = 0x10f, "Feature Not Namespace Specific";
    /// Overlapping Range (firmware image).
    OVERLAPPING_RANGE = 0x114, "Overlapping Range";
    /// Namespace Insufficient Capacity.
    NAMESPACE_INSUFFICIENT_CAPACITY = 0x115, "Namespace Insufficient Capacity";
    /// Namespace Identifier Unavailable.
    NAMESPACE_ID_UNAVAILABLE = 0x116, "Namespace Identifier Unavailable";
    /// Namespace Already Attached.
    NAMESPACE_ALREADY_ATTACHED = 0x118, "Namespace Already Attached";
    /// Namespace Is Private.
    NAMESPACE_IS_PRIVATE = 0x119, "Namespace Is Private";
    /// Namespace Not Attached.
    NAMESPACE_NOT_ATTACHED = 0x11a, "Namespace Not Attached";
    /// Controller List Invalid.
    CONTROLLER_LIST_INVALID = 0x11c, "Controller List Invalid";
    /// Invalid Controller Identifier.
    INVALID_CONTROLLER_ID = 0x11f, "Invalid Controller Identifier";
    /// ANA Group Identifier Invalid.
    ANA_GROUP_INVALID = 0x124, "ANA Group Identifier Invalid";
    /// I/O Command Set Not Supported.
    IO_COMMAND_SET_NOT_SUPPORTED = 0x129, "I/O Command Set Not Supported";
    /// Conflicting Attributes (Dataset Management, Read, Write); Incompatible Format (Connect).
    CONFLICTING_ATTRIBUTES = 0x180, "Conflicting Attributes, or Connect Incompatible Format";
    /// Invalid Protection Information (I/O); Controller Busy (Connect).
    INVALID_PROTECTION_INFORMATION = 0x181, "Invalid Protection Information, or Controller Busy";
    /// Attempted Write to Read Only Range (I/O); Connect Invalid Parameters (Connect).
    WRITE_TO_READ_ONLY = 0x182, "Write to Read Only Range, or Connect Invalid Parameters";
    /// Command Size Limit Exceeded (I/O); Connect Restart Discovery (Connect).
    COMMAND_SIZE_LIMIT_EXCEEDED = 0x183, "Command Size Limit Exceeded, or Connect Restart Discovery";
    /// Connect Invalid Host.
    CONNECT_INVALID_HOST = 0x184, "Connect Invalid Host";
    /// Invalid Queue Type (Disconnect).
    INVALID_QUEUE_TYPE = 0x185, "Invalid Queue Type";
    /// Discover Restart.
    DISCOVER_RESTART = 0x190, "Discover Restart";
    /// Authentication Required.
    AUTHENTICATION_REQUIRED = 0x191, "Authentication Required";

    // Media and data integrity errors (SCT 2).
    /// Write Fault.
    WRITE_FAULT = 0x280, "Write Fault";
    /// Unrecovered Read Error.
    UNRECOVERED_READ_ERROR = 0x281, "Unrecovered Read Error";
    /// End-to-end Guard Check Error.
    GUARD_CHECK_ERROR = 0x282, "End-to-end Guard Check Error";
    /// End-to-end Application Tag Check Error.
    APPLICATION_TAG_CHECK_ERROR = 0x283, "End-to-end Application Tag Check Error";
    /// End-to-end Reference Tag Check Error.
    REFERENCE_TAG_CHECK_ERROR = 0x284, "End-to-end Reference Tag Check Error";
    /// Compare Failure.
    COMPARE_FAILURE = 0x285, "Compare Failure";
    /// Access Denied.
    ACCESS_DENIED = 0x286, "Access Denied";
    /// Deallocated or Unwritten Logical Block.
    DEALLOCATED_BLOCK = 0x287, "Deallocated or Unwritten Logical Block";

    // Path-related status (SCT 3).
    /// Internal Path Error.
    INTERNAL_PATH_ERROR = 0x300, "Internal Path Error";
    /// Asymmetric Access Persistent Loss.
    ANA_PERSISTENT_LOSS = 0x301, "Asymmetric Access Persistent Loss";
    /// Asymmetric Access Inaccessible.
    ANA_INACCESSIBLE = 0x302, "Asymmetric Access Inaccessible";
    /// Asymmetric Access Transition.
    ANA_TRANSITION = 0x303, "Asymmetric Access Transition";
    /// Controller Pathing Error.
    CONTROLLER_PATHING_ERROR = 0x360, "Controller Pathing Error";
    /// Host Pathing Error.
    HOST_PATHING_ERROR = 0x370, "Host Pathing Error";
    /// Command Aborted By Host.
    ABORTED_BY_HOST = 0x371, "Command Aborted By Host";
}

impl Status {
    /// Do Not Retry.
    pub const DNR: u16 = 0x4000;
    /// More: the error log has more to say.
    pub const MORE: u16 = 0x2000;
    /// Connect: Incompatible Format (NVMe-oF 1.1 §3.3, figure 20).
    pub const CONNECT_INCOMPATIBLE_FORMAT: Status = Status::CONFLICTING_ATTRIBUTES;
    /// Connect: Controller Busy.
    pub const CONNECT_CONTROLLER_BUSY: Status = Status::INVALID_PROTECTION_INFORMATION;
    /// Connect: Invalid Parameters.
    pub const CONNECT_INVALID_PARAMETERS: Status = Status::WRITE_TO_READ_ONLY;
    /// Connect: Restart Discovery.
    pub const CONNECT_RESTART_DISCOVERY: Status = Status::COMMAND_SIZE_LIMIT_EXCEEDED;

    /// From a status code type (0 to 7) and a status code.
    #[must_use]
    pub const fn new(sct: u8, sc: u8) -> Status {
        Status(((sct & 7) as u16) << 8 | sc as u16)
    }

    /// SCT and SC without the hints: what the names are equal to.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.0 & 0x7ff
    }

    /// Status code.
    #[must_use]
    pub const fn sc(self) -> u8 {
        self.0 as u8
    }

    /// Status code type: 0 generic, 1 command specific, 2 media, 3 path, 7 vendor.
    #[must_use]
    pub const fn sct(self) -> u8 {
        (self.0 >> 8 & 7) as u8
    }

    /// Command Retry Delay: 0 none, else which of CRDT1 to CRDT3.
    #[must_use]
    pub const fn crd(self) -> u8 {
        (self.0 >> 11 & 3) as u8
    }

    /// More.
    #[must_use]
    pub const fn more(self) -> bool {
        self.0 & Self::MORE != 0
    }

    /// Do Not Retry.
    #[must_use]
    pub const fn dnr(self) -> bool {
        self.0 & Self::DNR != 0
    }

    /// The same status with Do Not Retry.
    #[must_use]
    pub const fn with_dnr(self) -> Status {
        Status(self.0 | Self::DNR)
    }

    /// Whether the command succeeded.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.code() == 0
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({:#x})", self.0),
            None => write!(f, "status {:#x}", self.0),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_apart() {
        let status = Status(0x7a81);
        assert_eq!((status.sct(), status.sc(), status.crd()), (2, 0x81, 3));
        assert!(status.more() && status.dnr());
        assert_eq!(Status(status.code()), Status::UNRECOVERED_READ_ERROR);
        assert_eq!(Status::new(2, 0x81), Status::UNRECOVERED_READ_ERROR);
    }

    #[test]
    fn success_is_only_the_generic_zero() {
        assert!(Status::SUCCESS.is_success());
        assert!(Status(Status::DNR).is_success());
        assert!(!Status::COMPLETION_QUEUE_INVALID.is_success(), "SC 0 of another type is a failure");
    }

    #[test]
    fn every_name_is_a_bare_code_and_has_its_text() {
        for &value in NAMED {
            assert_eq!(Status(value).code(), value);
            assert!(Status(value).with_dnr().name().is_some());
        }
        assert_eq!(Status(0x7ff).name(), None);
    }

    /// What Linux saw for a wrong NQN and for a host that is not allowed.
    #[test]
    fn connect_refusals() {
        assert_eq!(Status::CONNECT_INVALID_PARAMETERS.with_dnr().0, 0x4182);
        assert_eq!(Status::CONNECT_INVALID_HOST.with_dnr().0, 0x4184);
    }
}
