//! BTH and its extensions (IBA 1.5 vol. 1 chapter 9): [`parse`] reads them into a [`Transport`], the value that
//! gantry-roce speaks in, and [`emit`] writes one; [`layout`] is their wire form.

pub mod layout;

use gantry_wire::ib::{Aeth, Deth, Opcode, Psn, Qpn, Reth, Rkey, Syndrome, Transport};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::packet::Malformed;
use layout::{Bth, CNP_RESERVED, from_u24, to_u24};

/// The longest headers that [`emit`] writes, in bytes: those of an ATOMIC.
pub const HEADER_MAX: usize = 40;

/// Bytes of BTH and the extensions that `opcode` carries.
pub const fn header_len(opcode: Opcode) -> usize {
    let mut len = size_of::<Bth>();
    if opcode.has_reth() {
        len += size_of::<layout::Reth>();
    }
    if opcode.has_aeth() {
        len += size_of::<layout::Aeth>();
    }
    if opcode.has_deth() {
        len += size_of::<layout::Deth>();
    }
    if opcode.has_immediate() {
        len += size_of::<layout::ImmDt>();
    }
    if opcode.has_invalidate() {
        len += size_of::<layout::Ieth>();
    }
    match opcode {
        Opcode::CompareSwap | Opcode::FetchAdd => len + size_of::<layout::AtomicEth>(),
        Opcode::AtomicAcknowledge => len + size_of::<layout::AtomicAckEth>(),
        Opcode::Cnp => len + CNP_RESERVED,
        _ => len,
    }
}

/// Reads the headers that `bytes` (a UDP datagram's payload) begin with, and their length in bytes.
/// MigReq and reserved bits are not looked at, AtomicETH and AtomicAckETH are skipped.
pub fn parse(bytes: &[u8]) -> Result<(Transport, usize), Malformed> {
    let (bth, mut rest) = Bth::ref_from_prefix(bytes).map_err(|_| Malformed::TransportLength)?;
    if bth.flags & Bth::VERSION != 0 {
        return Err(Malformed::TransportVersion);
    }
    let opcode = Opcode::of(bth.opcode).ok_or(Malformed::Opcode)?;
    if bytes.len() < header_len(opcode) {
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
    Ok((transport, header_len(opcode)))
}

/// Writes the headers at the start of `out`, an AtomicETH or AtomicAckETH as zeros; answers their length in bytes.
///
/// # Panics
/// When an extension that the opcode carries is not given, or `out` is too short.
pub fn emit(transport: &Transport, out: &mut [u8]) -> usize {
    let bth = Bth {
        opcode: transport.opcode as u8,
        flags: flag(transport.solicited, Bth::SOLICITED) | (transport.pad & 3) << Bth::PAD_SHIFT,
        pkey: transport.pkey.into(),
        congestion: flag(transport.fecn, Bth::FECN) | flag(transport.becn, Bth::BECN),
        dest_qp: to_u24(transport.dest_qpn.value()),
        ack_request: flag(transport.ack_request, Bth::ACK_REQUEST),
        psn: to_u24(transport.psn.value()),
    };
    let len = header_len(transport.opcode);
    let mut rest = &mut out[..len];
    put(&mut rest, &bth);
    if transport.opcode.has_reth() {
        let reth = transport.reth.expect("opcode carries a RETH");
        let wire = layout::Reth {
            virtual_address: reth.virtual_address.into(),
            rkey: reth.rkey.0.into(),
            dma_length: reth.dma_length.into(),
        };
        put(&mut rest, &wire);
    }
    if transport.opcode.has_aeth() {
        let aeth = transport.aeth.expect("opcode carries an AETH");
        put(&mut rest, &layout::Aeth { syndrome: aeth.syndrome.value(), msn: to_u24(aeth.msn) });
    }
    if transport.opcode.has_deth() {
        let deth = transport.deth.expect("opcode carries a DETH");
        let source_qp = to_u24(deth.source_qpn.value());
        put(&mut rest, &layout::Deth { qkey: deth.qkey.into(), reserved: 0, source_qp });
    }
    if transport.opcode.has_immediate() {
        let immediate = transport.immediate.expect("opcode carries immediate data").into();
        put(&mut rest, &layout::ImmDt { immediate });
    }
    if transport.opcode.has_invalidate() {
        let rkey = transport.invalidate.expect("opcode carries an IETH").0.into();
        put(&mut rest, &layout::Ieth { rkey });
    }
    rest.fill(0);
    len
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

#[cfg(test)]
mod tests {
    use super::{HEADER_MAX, header_len};
    use gantry_wire::ib::Opcode;

    #[test]
    fn header_lengths_of_the_specification() {
        let lengths = Opcode::ALL.map(header_len);
        let expected =
            [12, 12, 12, 16, 12, 16, 28, 12, 12, 16, 28, 32, 28, 16, 12, 16, 16, 16, 24, 40, 40, 16, 16, 20, 24, 28];
        assert_eq!(lengths, expected);
        assert_eq!(lengths.into_iter().max(), Some(HEADER_MAX));
    }
}
