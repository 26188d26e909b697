//! Headers of a packet as packet.p4's control and deparser make them, and the transport's own, which they go before.

use gantry::packet::{self, Aeth, Bth, Deth, Ieth, Immediate, Reth, Run};
use gantry_cpu::Cpu;
use gantry_table::Line;
use gantry_wire::ib::Transport;

use crate::state::Core;
use crate::tables::Reader;
use crate::ways::Way;

/// The longest transport headers: BTH, RETH and immediate data.
pub(super) const TRANSPORT_MAX: usize = Bth::LENGTH + Reth::LENGTH + Immediate::LENGTH;

/// Writes all headers of a packet of `length` bytes; where the IP header begins and where the payload goes.
pub(super) fn headers(
    core: &mut Core,
    (port, way): (u16, &Way),
    transport: &Transport,
    length: usize,
    space: &mut [u8],
) -> (usize, usize) {
    let Core { reader, outgoing: packet, cpu, now_ns, .. } = core;
    let Reader { tables, packet_banks: banks, generation, .. } = reader;
    packet.reset();
    let mut own = [0; TRANSPORT_MAX];
    let length_of_own = write(transport, &mut own);
    let own = &own[..length_of_own];
    place(transport, packet);
    packet.length = (own.len() + length) as u32;
    let metadata = &mut packet.metadata;
    metadata.outgoing = true;
    metadata.port = port.into();
    metadata.port_mac = way.local_mac;
    metadata.remote_mac = way.remote_mac;
    (metadata.vid, metadata.pcp) = (way.vid, way.pcp);
    (metadata.local_ip, metadata.remote_ip) = (way.local_ip, way.remote_ip);
    metadata.traffic_class = way.traffic_class;
    metadata.payload_bytes = length as u16;
    (metadata.udp_source, metadata.ip_id) = (way.udp_source, way.ip_id);
    let externs = &mut Externs(*cpu);
    let mut run = Run { tables: &tables.packet, banks, generation: *generation, now_ns: *now_ns, externs };
    packet::control(core::slice::from_mut(&mut **packet), &[own], &mut run);
    let start = packet::deparse(packet, own, space).expect("a frame has room for its headers");
    let tag = if packet.is_valid(packet::VALID_VLAN) { packet::Vlan::LENGTH } else { 0 };
    (packet::Ethernet::LENGTH + tag, start)
}

/// Writes the transport's own headers; how long they are.
#[inline]
pub(super) fn write(transport: &Transport, out: &mut [u8; TRANSPORT_MAX]) -> usize {
    let mut bth = Bth::ZERO;
    bth.set_opcode(transport.opcode as u8);
    bth.set_solicited(transport.solicited.into());
    bth.set_pad(transport.pad);
    bth.set_pkey(transport.pkey);
    bth.set_fecn(transport.fecn.into());
    bth.set_becn(transport.becn.into());
    bth.set_dest_qp(transport.dest_qpn.value());
    bth.set_ack_request(transport.ack_request.into());
    bth.set_psn(transport.psn.value());
    out[..Bth::LENGTH].copy_from_slice(&bth.0);
    let mut at = Bth::LENGTH;
    if let Some(deth) = transport.deth {
        let mut header = Deth::ZERO;
        header.set_qkey(deth.qkey);
        header.set_source_qp(deth.source_qpn.value());
        at = put(out, at, header.0);
    }
    if let Some(reth) = transport.reth {
        let mut header = Reth::ZERO;
        header.set_address(reth.virtual_address);
        header.set_rkey(reth.rkey.0);
        header.set_length(reth.dma_length);
        at = put(out, at, header.0);
    }
    if let Some(aeth) = transport.aeth {
        let mut header = Aeth::ZERO;
        let syndrome = aeth.syndrome.value();
        header.set_reserved(syndrome >> 7);
        header.set_kind(syndrome >> 5 & 3);
        header.set_value(syndrome & 0x1f);
        header.set_msn(aeth.msn);
        at = put(out, at, header.0);
    }
    if let Some(data) = transport.immediate {
        let mut header = Immediate::ZERO;
        header.set_data(data);
        at = put(out, at, header.0);
    }
    if let Some(rkey) = transport.invalidate {
        let mut header = Ieth::ZERO;
        header.set_rkey(rkey.0);
        at = put(out, at, header.0);
    }
    at
}

#[inline]
fn put<const N: usize>(out: &mut [u8; TRANSPORT_MAX], at: usize, header: [u8; N]) -> usize {
    out[at..at + N].copy_from_slice(&header);
    at + N
}

/// Tells the packet which of the transport's own headers there are, and where [`write`] puts them.
fn place(transport: &Transport, packet: &mut packet::Packet) {
    packet.valid |= packet::VALID_BTH;
    packet.bth_at = 0;
    let mut at = Bth::LENGTH;
    let mut follows = |is_there: bool, flag, place: &mut u16, length: usize| {
        if is_there {
            packet.valid |= flag;
            *place = at as u16;
            at += length;
        }
    };
    follows(transport.deth.is_some(), packet::VALID_DETH, &mut packet.deth_at, Deth::LENGTH);
    follows(transport.reth.is_some(), packet::VALID_RETH, &mut packet.reth_at, Reth::LENGTH);
    follows(transport.aeth.is_some(), packet::VALID_AETH, &mut packet.aeth_at, Aeth::LENGTH);
    follows(transport.immediate.is_some(), packet::VALID_IMMEDIATE, &mut packet.immediate_at, Immediate::LENGTH);
    follows(transport.invalidate.is_some(), packet::VALID_IETH, &mut packet.ieth_at, Ieth::LENGTH);
}

/// What packet.p4 calls on the way in alone.
struct Externs(Cpu);

impl packet::Externs for Externs {
    fn prefetch(&mut self, line: &Line) {
        self.0.prefetch_read(line);
    }

    fn congestion_experienced(&mut self, _: usize, _: u16, _: u32) {
        unreachable!("nothing comes in here");
    }

    fn denials_pack(&mut self, _: usize, _: u16, _: u128, _: u32) {
        unreachable!("nothing comes in here");
    }
}
