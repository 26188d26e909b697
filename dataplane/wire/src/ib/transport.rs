//! A packet's transport headers as one value: what parsing gives and what emitting takes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::layout::{self, Bth, from_u24, to_u24};
use super::{Opcode, Psn, Qpn, Rkey, Syndrome};
use crate::packet::Malformed;

/// The longest headers that [`Transport::emit`] writes, in bytes: those of an ATOMIC.
pub const HEADER_MAX: usize = 40;

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
/// AtomicAckETH are skipped when parsing and zero when emitting: atomics are refused, so nothing reads them.
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
    pub fn new(opcode: Opcode, dest_qpn: Qpn, psn: Psn) -> Transport {
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

    /// Reads the headers that `bytes` (a UDP datagram's payload) begin with, and their length in bytes.
    /// MigReq and reserved bits are not looked at.
    pub fn parse(bytes: &[u8]) -> Result<(Transport, usize), Malformed> {
        let (bth, mut rest) = Bth::ref_from_prefix(bytes).map_err(|_| Malformed::TransportLength)?;
        if bth.flags & Bth::VERSION != 0 {
            return Err(Malformed::TransportVersion);
        }
        let opcode = Opcode::of(bth.opcode).ok_or(Malformed::Opcode)?;
        if bytes.len() < opcode.header_len() {
            return Err(Malformed::TransportLength);
        }
        let mut transport = Transport::new(opcode, Qpn::new(from_u24(bth.dest_qp)), Psn::new(from_u24(bth.psn)));
        transport.solicited = bth.flags & Bth::SOLICITED != 0;
        transport.ack_request = bth.ack_request & Bth::ACK_REQUEST != 0;
        transport.pkey = bth.pkey.get();
        transport.pad = bth.flags >> Bth::PAD_SHIFT & 3;
        transport.fecn = bth.congestion & Bth::FECN != 0;
        transport.becn = bth.congestion & Bth::BECN != 0;
        if opcode.has_reth() {
            let reth: &layout::Reth = take(&mut rest)?;
            transport.reth = Some(Reth {
                virtual_address: reth.virtual_address.get(),
                rkey: Rkey(reth.rkey.get()),
                dma_length: reth.dma_length.get(),
            });
        }
        if opcode.has_aeth() {
            let aeth: &layout::Aeth = take(&mut rest)?;
            transport.aeth = Some(Aeth { syndrome: Syndrome::of(aeth.syndrome), msn: from_u24(aeth.msn) });
        }
        if opcode.has_deth() {
            let deth: &layout::Deth = take(&mut rest)?;
            transport.deth = Some(Deth { qkey: deth.qkey.get(), source_qpn: Qpn::new(from_u24(deth.source_qp)) });
        }
        if opcode.has_immediate() {
            transport.immediate = Some(take::<layout::ImmDt>(&mut rest)?.immediate.get());
        }
        if opcode.has_invalidate() {
            transport.invalidate = Some(Rkey(take::<layout::Ieth>(&mut rest)?.rkey.get()));
        }
        Ok((transport, opcode.header_len()))
    }

    /// Writes the headers at the start of `out`; answers their length in bytes.
    ///
    /// # Panics
    /// When an extension that the opcode carries is not given, or `out` is too short.
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let bth = Bth {
            opcode: self.opcode as u8,
            flags: flag(self.solicited, Bth::SOLICITED) | (self.pad & 3) << Bth::PAD_SHIFT,
            pkey: self.pkey.into(),
            congestion: flag(self.fecn, Bth::FECN) | flag(self.becn, Bth::BECN),
            dest_qp: to_u24(self.dest_qpn.value()),
            ack_request: flag(self.ack_request, Bth::ACK_REQUEST),
            psn: to_u24(self.psn.value()),
        };
        let len = self.opcode.header_len();
        let mut rest = &mut out[..len];
        put(&mut rest, &bth);
        if self.opcode.has_reth() {
            let reth = self.reth.expect("opcode carries a RETH");
            let wire = layout::Reth {
                virtual_address: reth.virtual_address.into(),
                rkey: reth.rkey.0.into(),
                dma_length: reth.dma_length.into(),
            };
            put(&mut rest, &wire);
        }
        if self.opcode.has_aeth() {
            let aeth = self.aeth.expect("opcode carries an AETH");
            put(&mut rest, &layout::Aeth { syndrome: aeth.syndrome.value(), msn: to_u24(aeth.msn) });
        }
        if self.opcode.has_deth() {
            let deth = self.deth.expect("opcode carries a DETH");
            let source_qp = to_u24(deth.source_qpn.value());
            put(&mut rest, &layout::Deth { qkey: deth.qkey.into(), reserved: 0, source_qp });
        }
        if self.opcode.has_immediate() {
            let immediate = self.immediate.expect("opcode carries immediate data").into();
            put(&mut rest, &layout::ImmDt { immediate });
        }
        if self.opcode.has_invalidate() {
            let rkey = self.invalidate.expect("opcode carries an IETH").0.into();
            put(&mut rest, &layout::Ieth { rkey });
        }
        rest.fill(0);
        len
    }
}

fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

fn take<'b, T: FromBytes + KnownLayout + Immutable + Unaligned>(rest: &mut &'b [u8]) -> Result<&'b T, Malformed> {
    let (value, behind) = T::ref_from_prefix(rest).map_err(|_| Malformed::TransportLength)?;
    *rest = behind;
    Ok(value)
}

fn put<T: IntoBytes + Immutable>(rest: &mut &mut [u8], value: &T) {
    let (place, behind) = core::mem::take(rest).split_at_mut(size_of::<T>());
    place.copy_from_slice(value.as_bytes());
    *rest = behind;
}
