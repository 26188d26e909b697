//! The wire form of the base transport header and its extensions (IBA 1.5 §9.2 and §9.3).

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Base Transport Header (§9.2).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Bth {
    /// OpCode.
    pub opcode: u8,
    /// SE (1 bit), M (1), PadCnt (2), TVer (4).
    pub flags: u8,
    /// P_KEY.
    pub pkey: U16,
    /// F, FECN (1 bit), B, BECN (1), reserved (6): `resv8a`, which the ICRC masks.
    pub congestion: u8,
    /// DestQP.
    pub dest_qp: [u8; 3],
    /// A, AckReq (1 bit), reserved (7).
    pub ack_request: u8,
    /// PSN.
    pub psn: [u8; 3],
}

impl Bth {
    /// `flags`: SE, solicited event.
    pub const SOLICITED: u8 = 0x80;
    /// `flags`: where PadCnt begins.
    pub const PAD_SHIFT: u32 = 4;
    /// `flags`: TVer.
    pub const VERSION: u8 = 0x0f;
    /// `congestion`: FECN.
    pub const FECN: u8 = 0x80;
    /// `congestion`: BECN.
    pub const BECN: u8 = 0x40;
    /// `ack_request`: AckReq.
    pub const ACK_REQUEST: u8 = 0x80;
}

/// RDMA Extended Transport Header (§9.3.3).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Reth {
    /// VA.
    pub virtual_address: U64,
    /// R_Key.
    pub rkey: U32,
    /// DMALen, in bytes.
    pub dma_length: U32,
}

/// ACK Extended Transport Header (§9.3.5).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Aeth {
    /// Syndrome.
    pub syndrome: u8,
    /// MSN, message sequence number.
    pub msn: [u8; 3],
}

/// Datagram Extended Transport Header (§9.3.2).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Deth {
    /// Q_Key.
    pub qkey: U32,
    /// Reserved.
    pub reserved: u8,
    /// SrcQP.
    pub source_qp: [u8; 3],
}

/// Immediate Extended Transport Header (§9.3.6).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ImmDt {
    /// Immediate data.
    pub immediate: U32,
}

/// Invalidate Extended Transport Header (§9.3.8).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ieth {
    /// The R_Key to invalidate.
    pub rkey: U32,
}

/// Atomic Extended Transport Header (§9.3.4).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AtomicEth {
    /// VA.
    pub virtual_address: U64,
    /// R_Key.
    pub rkey: U32,
    /// SwapDt, or the addend.
    pub swap_or_add: U64,
    /// CmpDt.
    pub compare: U64,
}

/// Atomic ACK Extended Transport Header (§9.3.5.3).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AtomicAckEth {
    /// OrigRemDt: what the memory held before.
    pub original: U64,
}

/// Bytes reserved behind a congestion notification's BTH (annex A17.9.3).
pub const CNP_RESERVED: usize = 16;

/// Three bytes, big-endian, as a number.
pub fn from_u24(bytes: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]])
}

/// The low 24 bits of a number, big-endian.
pub fn to_u24(value: u32) -> [u8; 3] {
    let [_, a, b, c] = value.to_be_bytes();
    [a, b, c]
}
