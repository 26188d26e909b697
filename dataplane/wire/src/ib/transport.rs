//! A packet's transport headers as one value: what gantry-roce takes and gives. Their wire form is packet.p4's: s2 reads
//! it into this value, s9 writes it.

use super::{Opcode, Psn, Qpn, Rkey, Syndrome};

/// RDMA Extended Transport Header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reth {
    /// VA in the responder's memory.
    pub virtual_address: u64,
    /// R_Key that permits it.
    pub rkey: Rkey,
    /// DMALen: length of the whole operation, in bytes.
    pub dma_length: u32,
}

/// ACK Extended Transport Header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aeth {
    /// What is acknowledged, or refused.
    pub syndrome: Syndrome,
    /// MSN: messages the responder has completed, 24 bits.
    pub msn: u32,
}

/// Datagram Extended Transport Header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deth {
    /// Q_Key.
    pub qkey: u32,
    /// The QP that the datagram comes from.
    pub source_qpn: Qpn,
}

/// BTH and its extensions. An extension is there exactly when the opcode carries it. AtomicETH and
/// AtomicAckETH are not told: atomics are refused, so nothing reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// OpCode.
    pub opcode: Opcode,
    /// SE: solicited event.
    pub solicited: bool,
    /// AckReq.
    pub ack_request: bool,
    /// P_Key.
    pub pkey: u16,
    /// DestQP.
    pub dest_qpn: Qpn,
    /// PSN.
    pub psn: Psn,
    /// PadCnt: bytes behind the payload that fill it up to four, 0 to 3.
    pub pad: u8,
    /// Forward congestion notification.
    pub fecn: bool,
    /// Backward congestion notification.
    pub becn: bool,
    /// RETH of WRITE first and only, and of READ requests.
    pub reth: Option<Reth>,
    /// AETH of ACKs and READ responses.
    pub aeth: Option<Aeth>,
    /// DETH of datagrams.
    pub deth: Option<Deth>,
    /// Immediate data, as a number.
    pub immediate: Option<u32>,
    /// IETH: the R_Key that the SEND invalidates.
    pub invalidate: Option<Rkey>,
}

impl Transport {
    /// A packet of `opcode` with nothing set but what every packet needs: no extension, no flags.
    #[inline]
    pub const fn new(opcode: Opcode, dest_qpn: Qpn, psn: Psn) -> Transport {
        Transport {
            opcode,
            solicited: false,
            ack_request: false,
            pkey: super::PKEY_DEFAULT,
            dest_qpn,
            psn,
            pad: 0,
            fecn: false,
            becn: false,
            reth: None,
            aeth: None,
            deth: None,
            immediate: None,
            invalidate: None,
        }
    }
}
