//! s2, match-action: is a packet for us, and for which QP? Answers ARP, neighbour solicitation and echo; punts MADs.
//!
//! Leaves as: NotLocal, NoQp, Punt, PuntFull, Crossed (to the lcore that owns the QP), CrossFull, or answered.

use arrayvec::ArrayVec;
use gantry::channel::{self, Kind, Path, slow_path};
use gantry_wire::arp::{self, Arp};
use gantry_wire::icmp;
use gantry_wire::ipv4;
use gantry_wire::packet::{Class, Icmp6, Packet, Roce, RoceHeaders};
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U16, U32};

use crate::counters::Counter;
use crate::exchange::Exchange;
use crate::icrc;
use crate::lcore::PortSlot;
use crate::port::{BURST, Port, RxFrame, TxFrame};
use crate::s1_parse::Parsed;
use crate::state::Core;
use crate::tables::LocalAddress;

/// QPN of the general services interface, where MADs go.
const QP1: u32 = 1;

/// An RC packet and its QP.
pub struct Classified {
    /// Its place in the burst.
    pub frame: usize,
    /// Where its IP header begins.
    pub l3: usize,
    /// Its transport headers and payload.
    pub roce: Roce,
    /// Slot of its QP.
    pub qp: u32,
}

/// Classifies a burst.
#[inline(never)]
pub fn run<P: Port, X: Exchange<P>>(
    core: &mut Core,
    slot: &mut PortSlot<P>,
    exchange: &mut X,
    burst: &[P::Rx],
    parsed: &Parsed,
    classified: &mut ArrayVec<Classified, BURST>,
    crossing: &mut Crossing,
) {
    for (index, packet) in parsed {
        let frame = burst[*index].bytes();
        match packet.class {
            Class::Roce => {
                if !is_local(core, slot, packet, packet.addresses(frame).1) {
                    core.counters.count(Counter::NotLocal);
                    continue;
                }
                match packet.roce(frame) {
                    Ok(roce) if roce.transport.opcode.is_rc() => classified.push(Classified {
                        frame: *index,
                        l3: packet.l3.into(),
                        roce,
                        qp: roce.transport.dest_qpn.value(),
                    }),
                    Ok(roce) => punt(core, slot, exchange, frame, packet, &roce),
                    Err(_) => core.counters.count(Counter::Malformed),
                }
            }
            Class::Arp | Class::EchoRequest4 | Class::Icmp6(_) => answer(core, slot, frame, packet),
            Class::Other => core.counters.count(Counter::NotLocal),
        }
    }
    locate(core, classified, crossing);
}

/// Frames that another lcore has received for QPs of this one: it has checked their address.
#[inline(never)]
pub fn crossed<F: RxFrame>(
    core: &mut Core,
    burst: &[F],
    parsed: &Parsed,
    classified: &mut ArrayVec<Classified, BURST>,
) {
    for (index, packet) in parsed {
        match packet.roce(burst[*index].bytes()) {
            Ok(roce) => {
                let qp = roce.transport.dest_qpn.value();
                classified.push(Classified { frame: *index, l3: packet.l3.into(), roce, qp });
            }
            Err(_) => core.counters.count(Counter::Malformed),
        }
    }
    let mut crossing = Crossing::new();
    locate(core, classified, &mut crossing);
    // Its QP went meanwhile and is another lcore's now: once is enough.
    core.counters.add(Counter::NoQp, crossing.len() as u64);
}

/// Frames of a burst for QPs of other lcores: their place in the burst and the lcore.
pub type Crossing = ArrayVec<(usize, u16), BURST>;

/// Turns QPNs into slots of this lcore's QPs.
fn locate(core: &mut Core, classified: &mut ArrayVec<Classified, BURST>, crossing: &mut Crossing) {
    core.counters.add(Counter::ParsedRoce, classified.len() as u64);
    // For the whole burst: the table's lines are on their way before the first is needed.
    for item in classified.iter() {
        core.cpu.prefetch_read(core.qp_table.bucket(&item.qp));
    }
    classified.retain(|item| match core.qp_table.lookup(&item.qp) {
        Some(place) if place.lcore == core.lcore => {
            item.qp = place.slot;
            true
        }
        Some(place) => {
            crossing.push((item.frame, place.lcore));
            false
        }
        None => {
            core.counters.count(Counter::NoQp);
            false
        }
    });
}

fn is_local<P: Port>(core: &Core, slot: &PortSlot<P>, packet: &Packet, ip: [u8; 16]) -> bool {
    core.addresses.lookup(&LocalAddress { port: slot.number, vlan: packet.vlan, ip }).is_some()
}

/// Answers what keeps a host's neighbour entry alive while control is away.
fn answer<P: Port>(core: &mut Core, slot: &mut PortSlot<P>, frame: &[u8], packet: &Packet) {
    let (asked, counter) = match packet.class {
        Class::Arp => (ipv4::mapped(Arp::of(packet, frame).target_ip), Counter::ArpAnswered),
        Class::Icmp6(Icmp6::NeighborSolicitation) => (icmp::solicited_target(packet, frame), Counter::NeighborAnswered),
        _ => (packet.addresses(frame).1, Counter::EchoAnswered),
    };
    if !is_local(core, slot, packet, asked) {
        core.counters.count(Counter::NotLocal);
        return;
    }
    if !slot.make_room(core) {
        core.counters.count(Counter::AnswerTxFull);
        return;
    }
    let Some(mut reply) = slot.queue.tx_alloc() else {
        core.counters.count(Counter::TxPoolEmpty);
        return;
    };
    let mac = slot.mac;
    let space = reply.space();
    // An echo longer than a frame of ours has room for is no echo that we sent an MTU for.
    if space.len() < frame.len() {
        core.counters.count(Counter::AnswerTxFull);
        return;
    }
    let written = match packet.class {
        Class::Arp => arp::emit_reply(packet, frame, mac, space),
        Class::Icmp6(Icmp6::NeighborSolicitation) => icmp::emit_neighbor_advertisement(packet, frame, mac, space),
        _ => icmp::emit_echo_reply(packet, frame, mac, space),
    };
    if let Some(length) = written {
        core.counters.count(counter);
        reply.truncate(length);
        slot.send(core, reply);
    }
}

/// Hands a datagram for QP1 to control. Only what passes its ICRC is worth control's time.
fn punt<P: Port, X: Exchange<P>>(
    core: &mut Core,
    slot: &PortSlot<P>,
    exchange: &mut X,
    frame: &[u8],
    packet: &Packet,
    roce: &Roce,
) {
    let Some(deth) = roce.transport.deth else {
        core.counters.count(Counter::NoQp);
        return;
    };
    if roce.transport.dest_qpn.value() != QP1 {
        core.counters.count(Counter::NoQp);
        return;
    }
    let (payload, icrc) = (usize::from(roce.payload), usize::from(roce.icrc));
    if !icrc::holds(&core.cpu, frame, packet.l3.into(), payload, icrc) {
        core.counters.count(Counter::BadIcrc);
        return;
    }
    let headers = RoceHeaders::of(packet, frame);
    let body = slow_path::Punt {
        path: Path {
            port: U16::new(slot.number),
            vlan: U16::new(packet.vlan),
            local_mac: slot.mac,
            remote_mac: headers.source_mac,
            local_ip: headers.dest_ip,
            remote_ip: headers.source_ip,
            udp_source: U16::new(headers.udp_source),
            traffic_class: 0,
            hop_limit: HOP_LIMIT,
        },
        source_qpn: U32::new(deth.source_qpn.value()),
        qkey: U32::new(deth.qkey),
    };
    let data = &frame[payload..payload + usize::from(roce.payload_len)];
    if exchange.report(|out| channel::emit_into(out, Kind::Punt, 0, body.as_bytes(), data)) {
        core.counters.count(Counter::Punted);
    } else {
        // Hosts repeat their MADs.
        core.counters.count(Counter::PuntFull);
    }
}

/// Hop limit of what the card sends.
const HOP_LIMIT: u8 = 64;
