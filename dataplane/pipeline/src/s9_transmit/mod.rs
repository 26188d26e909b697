//! s9, deparser and edge: headers as packet.p4's control and deparser make them ([`headers`]) and as they are kept from packet to
//! packet ([`lower`]), payload under the ICRC, and the burst to the port.
//!
//! Leaves as: sent, or TxFull (waits in the port's slot).

mod headers;
mod lower;

use gantry_cpu::Crc32;
use gantry_roce::{Payload, Transmit};
use gantry_wire::ib::{Psn, Qpn, Transport};

use crate::counters::Counter;
use crate::icrc::{self, ICRC_BYTES};
use crate::lcore::PortSlot;
use crate::port::{Port, TxFrame};
use crate::state::Core;
use crate::ways::Way;
use headers::headers;
pub use lower::Lower;

/// Builds one packet of a QP and queues it.
// Its own function, so that what s9 costs can be told from what s8 costs.
#[inline(never)]
pub fn emit<P: Port>(core: &mut Core, port: &mut PortSlot<P>, slot: u32, transmit: &Transmit, mut frame: P::Tx) {
    let generation = core.reader.generation;
    let qp = &mut core.qps[slot];
    qp.ip_id = qp.ip_id.wrapping_add(1);
    let (way, own) = (qp.way, (qp.udp_source, qp.ip_id));
    if !core.ways[way].lower.is_of(generation) {
        make_lower(core, port.number, way);
    }
    let lower = &core.ways[way].lower;
    let length = match transmit.payload {
        Payload::None => 0,
        Payload::Work { length, .. } => length as usize,
        Payload::Region { .. } => unreachable!("served QPs grant no remote access"),
    };
    let transport = &transmit.transport;
    debug_assert_eq!(transport.pad, pad(length), "the transport fills its payload up to four bytes");
    let space = frame.space();
    let l3 = lower.l3();
    let start = lower.write(own, transport, length, space);
    let crc = icrc::begin(&core.cpu, space, l3, start);
    let payload = &mut space[start..start + length];
    let crc = match transmit.payload {
        Payload::Work { cookie, offset, .. } => {
            let command = &core.commands[cookie];
            if transport.opcode.is_send() {
                let at = offset as usize;
                crc.copy(&core.cpu, payload, &command.cqe[at..at + length])
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

/// Makes a way's lower headers from the tables as they are now.
#[cold]
fn make_lower(core: &mut Core, port: u16, way: u32) {
    let common = core.ways[way].way;
    core.ways[way].lower = Lower::of(core, port, &common);
}

/// Builds a datagram from QP1 (UD SEND only), for a port by its number.
pub fn datagram(core: &mut Core, path: (u16, &Way), transport: &Transport, payload: &[u8], space: &mut [u8]) -> usize {
    let mut transport = *transport;
    transport.pad = pad(payload.len());
    let (l3, start) = headers(core, path, &transport, payload.len(), space);
    let crc = icrc::begin(&core.cpu, space, l3, start);
    let crc = crc.copy(&core.cpu, &mut space[start..start + payload.len()], payload);
    finish(core, space, start + payload.len(), transport.pad, crc)
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
#[inline]
fn finish(core: &Core, space: &mut [u8], end: usize, pad: u8, crc: Crc32) -> usize {
    let padded = end + usize::from(pad);
    let crc = if pad == 0 {
        crc
    } else {
        space[end..padded].fill(0);
        crc.update(&core.cpu, &space[end..padded])
    };
    space[padded..padded + ICRC_BYTES].copy_from_slice(&crc.finish(&core.cpu).to_le_bytes());
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
