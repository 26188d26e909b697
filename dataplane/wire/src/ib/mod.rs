//! The InfiniBand transport headers that RoCE v2 carries above UDP (IBA 1.5 vol. 1 chapter 9).
//!
//! [`Transport`] is a packet's headers as one value, used both ways; their wire form is in p4/packet.p4.

mod number;
mod opcode;
mod syndrome;
mod transport;

pub use number::{Psn, Qpn, Rkey};
pub use opcode::Opcode;
pub use syndrome::{NakCode, Syndrome, rnr_timer_ns};
pub use transport::{Aeth, Deth, Reth, Transport};

/// Bytes of the invariant CRC at a packet's end.
pub const ICRC_LEN: usize = 4;
/// The default P_Key, full member (IBA §10.9.1).
pub const PKEY_DEFAULT: u16 = 0xffff;
/// The Q_Key of QP1 (IBA §10.2.5.1).
pub const QKEY_QP1: u32 = 0x8001_0000;
