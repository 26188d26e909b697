//! Connect's data and the two shapes of dword 0 in its completion: NVMe-oF 1.1 §3.3.

use super::nqn::{InvalidNqn, NQN_FIELD_LEN, nqn_field, nqn_from_field};
use zerocopy::byteorder::little_endian::U16;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// [`ConnectData::cntlid`]: the controller picks its id (§3.3, dynamic controller model).
pub const CNTLID_DYNAMIC: u16 = 0xffff;

/// Connect's data (§3.3): 1024 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct ConnectData {
    /// Host identifier.
    pub hostid: [u8; 16],
    /// [`CNTLID_DYNAMIC`] on an admin queue of the dynamic model; the controller's id on its I/O queues.
    pub cntlid: U16,
    reserved_18: [u8; 238],
    /// NQN of the subsystem, zero-terminated.
    pub subnqn: [u8; NQN_FIELD_LEN],
    /// NQN of the host, zero-terminated.
    pub hostnqn: [u8; NQN_FIELD_LEN],
    reserved_768: [u8; 256],
}

const _: () = assert!(size_of::<ConnectData>() == 1024);

impl ConnectData {
    /// What a host with these names sends; panics when a name does not fit.
    pub fn new(hostid: [u8; 16], cntlid: u16, subnqn: &str, hostnqn: &str) -> Self {
        ConnectData {
            hostid,
            cntlid: U16::new(cntlid),
            subnqn: nqn_field(subnqn),
            hostnqn: nqn_field(hostnqn),
            ..ConnectData::new_zeroed()
        }
    }

    /// NQN of the subsystem.
    pub fn subnqn(&self) -> Result<&str, InvalidNqn> {
        nqn_from_field(&self.subnqn)
    }

    /// NQN of the host.
    pub fn hostnqn(&self) -> Result<&str, InvalidNqn> {
        nqn_from_field(&self.hostnqn)
    }
}

/// Dword 0 of a Connect that succeeded (§3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectAccepted {
    /// The controller's id.
    pub cntlid: u16,
    /// AUTHREQ.ATR: authentication comes next.
    pub authentication_required: bool,
    /// AUTHREQ.ASCR: a secure channel comes with it.
    pub secure_channel_required: bool,
}

impl ConnectAccepted {
    /// Success without authentication.
    pub fn new(cntlid: u16) -> Self {
        ConnectAccepted { cntlid, authentication_required: false, secure_channel_required: false }
    }

    /// Dword 0.
    pub fn dw0(self) -> u32 {
        u32::from(self.cntlid)
            | u32::from(self.authentication_required) << 17
            | u32::from(self.secure_channel_required) << 18
    }

    /// Reads dword 0.
    pub fn from_dw0(dw0: u32) -> Self {
        ConnectAccepted {
            cntlid: dw0 as u16,
            authentication_required: dw0 >> 17 & 1 == 1,
            secure_channel_required: dw0 >> 18 & 1 == 1,
        }
    }
}

/// Dword 0 of a Connect that failed with Connect Invalid Parameters or Connect Invalid Host (§3.3): the first byte
/// that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectInvalid {
    /// IATTR 0: this byte of the SQE.
    Command(u16),
    /// IATTR 1: this byte of the data.
    Data(u16),
}

/// Offset of SUBNQN in [`ConnectData`]; of HOSTNQN it is 512, of CNTLID 16.
pub const SUBNQN_OFFSET: u16 = 256;

impl ConnectInvalid {
    /// The SQE's QID.
    pub const QID: Self = ConnectInvalid::Command(42);
    /// The SQE's SQSIZE.
    pub const SQSIZE: Self = ConnectInvalid::Command(44);
    /// The SQE's KATO.
    pub const KATO: Self = ConnectInvalid::Command(48);
    /// The data's HOSTID.
    pub const HOSTID: Self = ConnectInvalid::Data(0);
    /// The data's CNTLID.
    pub const CNTLID: Self = ConnectInvalid::Data(16);
    /// The data's SUBNQN.
    pub const SUBNQN: Self = ConnectInvalid::Data(SUBNQN_OFFSET);
    /// The data's HOSTNQN.
    pub const HOSTNQN: Self = ConnectInvalid::Data(512);

    /// Dword 0: IPO in bits 15:0, IATTR in bits 23:16.
    pub fn dw0(self) -> u32 {
        match self {
            ConnectInvalid::Command(ipo) => ipo.into(),
            ConnectInvalid::Data(ipo) => 1 << 16 | u32::from(ipo),
        }
    }

    /// Reads dword 0.
    pub fn from_dw0(dw0: u32) -> Self {
        let ipo = dw0 as u16;
        if dw0 >> 16 & 1 == 0 { ConnectInvalid::Command(ipo) } else { ConnectInvalid::Data(ipo) }
    }
}
