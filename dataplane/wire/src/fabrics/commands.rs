//! The Fabrics commands, each 64 bytes, laid out as NVMe-oF 1.1 §3 has them.

use super::{OPCODE, fctype};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// [`PropertyGet::attrib`], [`PropertySet::attrib`]: a property of four bytes.
pub const PROPERTY_4_BYTES: u8 = 0;
/// A property of eight bytes.
pub const PROPERTY_8_BYTES: u8 = 1;

/// Bits of [`Connect::cattr`] (§3.3).
pub mod cattr {
    /// Bits 1:0, the priority class of weighted round robin.
    pub const PRIORITY_CLASS: u8 = 0b11;
    /// The host does not use SQ flow control: SQHD carries nothing.
    pub const DISABLE_SQ_FLOW_CONTROL: u8 = 1 << 2;
    /// The host can delete single I/O queues.
    pub const INDIVIDUAL_IO_QUEUE_DELETION: u8 = 1 << 3;
}

/// A Fabrics command's struct.
pub trait Fabric: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned {
    /// Its FCTYPE.
    const FCTYPE: u8;
}

macro_rules! fabric {
    ($($name:ident: $fctype:ident;)+) => {
        $(
            impl Fabric for $name {
                const FCTYPE: u8 = fctype::$fctype;
            }

            impl $name {
                /// The command with its opcode and type, all else zero.
                pub fn new() -> Self {
                    $name { opcode: OPCODE, fctype: <Self as Fabric>::FCTYPE, ..Self::new_zeroed() }
                }
            }

            impl Default for $name {
                fn default() -> Self {
                    Self::new()
                }
            }

            const _: () = assert!(size_of::<$name>() == 64);
        )+
    };
}

fabric! {
    Connect: CONNECT;
    PropertyGet: PROPERTY_GET;
    PropertySet: PROPERTY_SET;
    AuthSend: AUTH_SEND;
    AuthReceive: AUTH_RECEIVE;
    Disconnect: DISCONNECT;
}

/// Connect (§3.3). Its data is [`ConnectData`](super::ConnectData).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Connect {
    /// [`OPCODE`].
    pub opcode: u8,
    /// PSDT in bits 7:6; hosts set 01b.
    pub flags: u8,
    /// Command identifier.
    pub cid: U16,
    /// [`fctype::CONNECT`].
    pub fctype: u8,
    reserved_5: [u8; 19],
    /// Where the data lies.
    pub sgl1: [u8; 16],
    /// Record format; zero.
    pub recfmt: U16,
    /// The queue to join; zero is the admin queue.
    pub qid: U16,
    /// Its entries, zeroes based.
    pub sqsize: U16,
    /// [`cattr`].
    pub cattr: u8,
    reserved_47: u8,
    /// Keep-alive timeout in milliseconds; zero is none.
    pub kato: U32,
    reserved_52: [u8; 12],
}

/// Property Get (§3.5). The value comes back in dwords 0 and 1 of the completion.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct PropertyGet {
    /// [`OPCODE`].
    pub opcode: u8,
    /// PSDT in bits 7:6; hosts set 01b.
    pub flags: u8,
    /// Command identifier.
    pub cid: U16,
    /// [`fctype::PROPERTY_GET`].
    pub fctype: u8,
    reserved_5: [u8; 19],
    /// Reserved by the specification; hosts send a keyed descriptor of zeroes.
    pub sgl1: [u8; 16],
    /// Size of the property in bits 2:0: [`PROPERTY_4_BYTES`] or [`PROPERTY_8_BYTES`].
    pub attrib: u8,
    reserved_41: [u8; 3],
    /// Offset of the property, in bytes: the offset of the register it stands for.
    pub ofst: U32,
    reserved_48: [u8; 16],
}

/// Property Set (§3.6).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct PropertySet {
    /// [`OPCODE`].
    pub opcode: u8,
    /// PSDT in bits 7:6; hosts set 01b.
    pub flags: u8,
    /// Command identifier.
    pub cid: U16,
    /// [`fctype::PROPERTY_SET`].
    pub fctype: u8,
    reserved_5: [u8; 19],
    /// Reserved by the specification; hosts send a keyed descriptor of zeroes.
    pub sgl1: [u8; 16],
    /// Size of the property in bits 2:0: [`PROPERTY_4_BYTES`] or [`PROPERTY_8_BYTES`].
    pub attrib: u8,
    reserved_41: [u8; 3],
    /// Offset of the property, in bytes.
    pub ofst: U32,
    /// The value; a property of four bytes takes the lower half.
    pub value: U64,
    reserved_56: [u8; 8],
}

/// Authentication Send (§3.2).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct AuthSend {
    /// [`OPCODE`].
    pub opcode: u8,
    /// PSDT in bits 7:6; hosts set 01b.
    pub flags: u8,
    /// Command identifier.
    pub cid: U16,
    /// [`fctype::AUTH_SEND`].
    pub fctype: u8,
    reserved_5: [u8; 19],
    /// Where the data lies.
    pub sgl1: [u8; 16],
    reserved_40: u8,
    /// Security protocol specific byte 0.
    pub spsp0: u8,
    /// Security protocol specific byte 1.
    pub spsp1: u8,
    /// Security protocol: 0xe9 is NVMe.
    pub secp: u8,
    /// Transfer length in bytes.
    pub tl: U32,
    reserved_48: [u8; 16],
}

/// Authentication Receive (§3.1).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct AuthReceive {
    /// [`OPCODE`].
    pub opcode: u8,
    /// PSDT in bits 7:6; hosts set 01b.
    pub flags: u8,
    /// Command identifier.
    pub cid: U16,
    /// [`fctype::AUTH_RECEIVE`].
    pub fctype: u8,
    reserved_5: [u8; 19],
    /// Where the data goes.
    pub sgl1: [u8; 16],
    reserved_40: u8,
    /// Security protocol specific byte 0.
    pub spsp0: u8,
    /// Security protocol specific byte 1.
    pub spsp1: u8,
    /// Security protocol: 0xe9 is NVMe.
    pub secp: u8,
    /// Allocation length in bytes.
    pub al: U32,
    reserved_48: [u8; 16],
}

/// Disconnect (§3.4).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Disconnect {
    /// [`OPCODE`].
    pub opcode: u8,
    /// PSDT in bits 7:6; hosts set 01b.
    pub flags: u8,
    /// Command identifier.
    pub cid: U16,
    /// [`fctype::DISCONNECT`].
    pub fctype: u8,
    reserved_5: [u8; 19],
    /// Reserved.
    pub sgl1: [u8; 16],
    /// Record format; zero.
    pub recfmt: U16,
    reserved_42: [u8; 22],
}
