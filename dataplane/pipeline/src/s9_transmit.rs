//! s9, deparser and edge: packet.p4's control and deparser make the headers, payload goes under the ICRC, and the burst to the
//! port.
//!
//! Leaves as: sent, or TxFull (waits in the port's slot).

use gantry::packet::{self, Aeth, Bth, Deth, Ieth, Immediate, Reth, Run};
use gantry_cpu::Cpu;
use gantry_roce::{Payload, Transmit};
use gantry_table::Line;
use gantry_wire::ib::{Psn, Qpn, Transport};

use crate::counters::Counter;
use crate::icrc::{self, ICRC_BYTES};
use crate::lcore::PortSlot;
use crate::port::{Port, TxFrame};
use crate::qp::Way;
use crate::state::Core;
use crate::tables::Reader;

/// Builds one packet of a QP and queues it.
// Its own function, so that what s9 costs can be told from what s8 costs.
#[inline(never)]
pub fn emit<P: Port>(core: &mut Core, port: &mut PortSlot<P>, slot: u32, transmit: &Transmit, mut frame: P::Tx) {
    let qp = &mut core.qps[slot];
    qp.way.ip_id = qp.way.ip_id.wrapping_add(1);
    let way = qp.way;
    let length = match transmit.payload {
        Payload::None => 0,
        Payload::Work { length, .. } => length as usize,
        Payload::Region { .. } => unreachable!("served QPs grant no remote access"),
    };
    let mut transport = transmit.transport;
    transport.pad = pad(length);
    let space = frame.space();
    let (l3, start) = headers(core, (port.number, &way), &transport, length, space);
    let crc = icrc::headers(&core.cpu, space, l3, start);
    let payload = &mut space[start..start + length];
    let crc = match transmit.payload {
        Payload::Work { cookie, offset, .. } => {
            let command = &core.commands[cookie];
            if transport.opcode.is_send() {
                let at = offset as usize;
                core.cpu.copy_crc32(payload, &command.cqe[at..at + length], crc)
            } else {
                core.memory.read_pages(&core.cpu, command, offset as usize, payload, crc)
            }
        }
        _ => crc,
    };
    let end = finish(core, space, start + length, transport.pad, crc);
    frame.truncate(end);
    port.send(core, frame);
}

/// Builds a datagram from QP1 (UD SEND only), for a port by its number.
pub fn datagram(core: &mut Core, path: (u16, &Way), transport: &Transport, payload: &[u8], space: &mut [u8]) -> usize {
    let mut transport = *transport;
    transport.pad = pad(payload.len());
    let (l3, start) = headers(core, path, &transport, payload.len(), space);
    let crc = icrc::headers(&core.cpu, space, l3, start);
    let crc = core.cpu.copy_crc32(&mut space[start..start + payload.len()], payload, crc);
    finish(core, space, start + payload.len(), transport.pad, crc)
}

/// The longest transport headers: BTH, RETH and immediate data.
const TRANSPORT_MAX: usize = Bth::LENGTH + Reth::LENGTH + Immediate::LENGTH;

/// Writes all headers of a packet of `length` bytes; where the IP header begins and where the payload goes.
fn headers(
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
    let length_of_own = place(transport, packet, &mut own);
    let own = &own[..length_of_own];
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

/// Puts the transport's own headers down, and tells the packet where; how long they are.
fn place(transport: &Transport, packet: &mut packet::Packet, out: &mut [u8; TRANSPORT_MAX]) -> usize {
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
    packet.valid |= packet::VALID_BTH;
    packet.bth_at = 0;
    let mut at = Bth::LENGTH;
    let mut put = |header: &[u8], flag, place: &mut u16| {
        out[at..at + header.len()].copy_from_slice(header);
        packet.valid |= flag;
        *place = at as u16;
        at += header.len();
    };
    if let Some(deth) = transport.deth {
        let mut header = Deth::ZERO;
        header.set_qkey(deth.qkey);
        header.set_source_qp(deth.source_qpn.value());
        put(&header.0, packet::VALID_DETH, &mut packet.deth_at);
    }
    if let Some(reth) = transport.reth {
        let mut header = Reth::ZERO;
        header.set_address(reth.virtual_address);
        header.set_rkey(reth.rkey.0);
        header.set_length(reth.dma_length);
        put(&header.0, packet::VALID_RETH, &mut packet.reth_at);
    }
    if let Some(aeth) = transport.aeth {
        let mut header = Aeth::ZERO;
        let syndrome = aeth.syndrome.value();
        header.set_reserved(syndrome >> 7);
        header.set_kind(syndrome >> 5 & 3);
        header.set_value(syndrome & 0x1f);
        header.set_msn(aeth.msn);
        put(&header.0, packet::VALID_AETH, &mut packet.aeth_at);
    }
    if let Some(data) = transport.immediate {
        let mut header = Immediate::ZERO;
        header.set_data(data);
        put(&header.0, packet::VALID_IMMEDIATE, &mut packet.immediate_at);
    }
    if let Some(rkey) = transport.invalidate {
        let mut header = Ieth::ZERO;
        header.set_rkey(rkey.0);
        put(&header.0, packet::VALID_IETH, &mut packet.ieth_at);
    }
    at
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

/// Transport headers of a datagram from QP1.
#[must_use]
pub fn datagram_transport(dest_qpn: Qpn, psn: Psn, qkey: u32, pkey: u16) -> Transport {
    use gantry_wire::ib::{Deth, Opcode};
    let mut transport = Transport::new(Opcode::UdSendOnly, dest_qpn, psn);
    transport.pkey = pkey;
    transport.deth = Some(Deth { qkey, source_qpn: Qpn::new(1) });
    transport
}

fn pad(length: usize) -> u8 {
    (length.wrapping_neg() & 3) as u8
}

/// Pad and ICRC behind the payload; answers the frame's length.
fn finish(core: &Core, space: &mut [u8], end: usize, pad: u8, crc: u32) -> usize {
    let padded = end + usize::from(pad);
    space[end..padded].fill(0);
    let crc = core.cpu.crc32(crc, &space[end..padded]);
    space[padded..padded + ICRC_BYTES].copy_from_slice(&crc.to_le_bytes());
    padded + ICRC_BYTES
}

/// Sends every port's burst.
#[inline(never)]
pub fn run<P: Port>(core: &mut Core, ports: &mut [PortSlot<P>]) {
    for port in ports {
        if !port.is_idle() && !port.flush() {
            core.counters.count(Counter::TxFull);
        }
    }
}
