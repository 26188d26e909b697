//! s2, match-action: packet.p4's control over a burst, and what it asks for. Is a packet for us, may it pass, and for which
//! QP? Answers ARP, neighbour solicitation and echo; punts MADs.
//!
//! Leaves as: Malformed, NotLocal, AccessDenied, Throttled, UnservedOpcode, NoQp, Punt, PuntFull, CongestionTold, Crossed (to
//! the lcore that owns the QP), CrossFull, or answered.

use arrayvec::ArrayVec;
use gantry::channel::table::{DigestData, PACKET_MAX, PacketIn};
use gantry::channel::{self, Kind, Path, slow_path};
use gantry::packet::{self, Class, Drop, Packet, Punt, Run, Verdict};
use gantry_cpu::Cpu;
use gantry_table::Line;
use gantry_wire::ip;
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U16, U32, U128};

use crate::counters::Counter;
use crate::exchange::Exchange;
use crate::icrc;
use crate::lcore::PortSlot;
use crate::port::{BURST, Port, RxFrame, TxFrame};
use crate::state::Core;
use crate::tables::Reader;

/// An RC packet for a QP of this lcore: its place in the burst.
pub type Classified = ArrayVec<u8, BURST>;

/// Frames of a burst for QPs of other lcores: their place in the burst and the lcore.
pub type Crossing = ArrayVec<(usize, u16), BURST>;

/// Classifies a burst.
#[inline(never)]
pub fn run<P: Port, X: Exchange<P>>(
    core: &mut Core,
    slot: &mut PortSlot<P>,
    exchange: &mut X,
    burst: &[P::Rx],
    packets: &mut [Packet],
    classified: &mut Classified,
    crossing: &mut Crossing,
) {
    let denied = control(core, burst, packets);
    tell_denials(core, exchange, &denied);
    for (index, packet) in packets.iter_mut().enumerate() {
        let frame = burst[index].bytes();
        match Verdict(packet.metadata.verdict) {
            Verdict::TRANSPORT if packet.metadata.class == Class::CONGESTION.0 => {
                core.counters.count(Counter::CongestionTold);
            }
            Verdict::TRANSPORT if packet.metadata.lcore != core.lcore => {
                core.counters.count(Counter::ParsedRoce);
                crossing.push((index, packet.metadata.lcore));
            }
            Verdict::TRANSPORT => {
                core.counters.count(Counter::ParsedRoce);
                classified.push(index as u8);
            }
            Verdict::ANSWER => answer(core, slot, frame, packet),
            Verdict::PUNT if packet.metadata.punt == Punt::MANAGEMENT.0 => {
                punt(core, slot, exchange, frame, packet);
            }
            Verdict::PUNT => show(core, slot, exchange, frame, packet),
            _ => core.counters.count(reason(packet)),
        }
    }
}

/// Frames that another lcore has received for QPs of this one, and has let in.
#[inline(never)]
pub fn crossed<F: RxFrame>(core: &mut Core, burst: &[F], packets: &mut [Packet], classified: &mut Classified) {
    control(core, burst, packets);
    for (index, packet) in packets.iter().enumerate() {
        if packet.metadata.verdict != Verdict::TRANSPORT.0 {
            core.counters.count(reason(packet));
        } else if packet.metadata.lcore != core.lcore {
            // Its QP went meanwhile and is another lcore's now: once is enough.
            core.counters.count(Counter::NoQp);
        } else {
            core.counters.count(Counter::ParsedRoce);
            classified.push(index as u8);
        }
    }
}

/// Runs packet.p4's control; gives the denials that somebody is to be told of.
fn control<F: RxFrame>(core: &mut Core, burst: &[F], packets: &mut [Packet]) -> Denials {
    let mut frames: ArrayVec<&[u8], BURST> = ArrayVec::new();
    frames.extend(burst.iter().map(RxFrame::bytes));
    let Core { reader, cpu, now_ns, lcore, .. } = core;
    let Reader { tables, packet_banks: banks, generation, .. } = reader;
    let mut externs = Externs { cpu: *cpu, lcore: *lcore, congestion: 0, denied: Denials::new() };
    let mut run =
        Run { tables: &tables.packet, banks, generation: *generation, now_ns: *now_ns, externs: &mut externs };
    packet::control(packets, &frames, &mut run);
    core.counters.add(Counter::Congestion, externs.congestion);
    externs.denied
}

/// Digests of a burst: the values of `denied_t`.
type Denials = ArrayVec<[u128; 3], DENIALS>;

/// Denials of one burst that are told: more of them say nothing new.
const DENIALS: usize = 4;

/// What packet.p4 calls and does not say how to do.
struct Externs {
    cpu: Cpu,
    lcore: u16,
    congestion: u64,
    denied: Denials,
}

impl packet::Externs for Externs {
    fn prefetch(&mut self, line: &Line) {
        self.cpu.prefetch_read(line);
    }

    fn congestion_experienced(&mut self, _: usize, lcore: u16, _: u32) {
        self.congestion += u64::from(lcore == self.lcore);
    }

    fn denials_pack(&mut self, _: usize, tenant: u16, source: u128, qpn: u32) {
        // Beyond the room, the drops are counted all the same.
        let _ = self.denied.try_push([tenant.into(), source, qpn.into()]);
    }
}

/// Least time between two reports that an access rule asks for. Whoever sends what is denied must not fill the way that MADs
/// and capsules take to control.
const TELL_NS: u64 = 20_000;

/// Whether it is time for such a report.
fn may_tell(core: &mut Core) -> bool {
    let may = core.now_ns >= core.told_ns.saturating_add(TELL_NS);
    if may {
        core.told_ns = core.now_ns;
    }
    may
}

/// Tells control of a denial, as a digest.
fn tell_denials<P: Port, X: Exchange<P>>(core: &mut Core, exchange: &mut X, denied: &Denials) {
    for values in denied {
        let values = values.map(U128::new);
        let body = DigestData { digest: U32::new(packet::DIGESTS[0].id), values: U32::new(values.len() as u32) };
        let told = may_tell(core)
            && exchange.report(|out| channel::emit_into(out, Kind::DigestData, 0, body.as_bytes(), values.as_bytes()));
        core.counters.count(if told { Counter::Told } else { Counter::Untold });
    }
}

/// Hands a packet to P4Runtime's clients, as an access rule says.
fn show<P: Port, X: Exchange<P>>(core: &mut Core, slot: &PortSlot<P>, exchange: &mut X, frame: &[u8], packet: &Packet) {
    let body = PacketIn {
        port: U32::new(slot.number.into()),
        reason: packet.metadata.punt,
        reserved: 0,
        length: U16::new(frame.len() as u16),
    };
    let bytes = &frame[..frame.len().min(PACKET_MAX)];
    let told =
        may_tell(core) && exchange.report(|out| channel::emit_into(out, Kind::PacketIn, 0, body.as_bytes(), bytes));
    core.counters.count(if told { Counter::Told } else { Counter::Untold });
}

/// Why a packet was dropped.
fn reason(packet: &Packet) -> Counter {
    match Drop(packet.metadata.reason) {
        Drop::MALFORMED => Counter::Malformed,
        Drop::DENIED => Counter::AccessDenied,
        Drop::NO_QP => Counter::NoQp,
        Drop::THROTTLED => Counter::Throttled,
        Drop::OPCODE => Counter::UnservedOpcode,
        _ => Counter::NotLocal,
    }
}

/// Where the IP header begins.
pub(crate) fn l3(packet: &Packet) -> usize {
    usize::from(if packet.is_valid(packet::VALID_IPV4) { packet.ipv4_at } else { packet.ipv6_at })
}

/// Where payload and ICRC are: the parser has seen to it that all of it lies in the frame.
pub(crate) fn extent(packet: &Packet, frame: &[u8]) -> (usize, usize) {
    let payload = usize::from(packet.payload_at);
    (payload, payload + usize::from(packet.metadata.payload_bytes) + usize::from(packet.bth(frame).pad()))
}

/// Where the datagram of an ICMP message ends: Ethernet may have padded the frame behind it.
fn message_end(packet: &Packet) -> usize {
    usize::from(packet.icmp_at) + usize::from(packet.metadata.datagram_bytes)
}

/// Whether an echo request is as it was sent (RFC 792, RFC 4443 §2.3): packet.p4 reads no payload.
fn is_whole(packet: &Packet, frame: &[u8]) -> bool {
    let message = &frame[usize::from(packet.icmp_at)..message_end(packet)];
    let pseudo = if packet.is_valid(packet::VALID_IPV6) {
        let ip = packet.ipv6(frame);
        let (source, destination) = (ip.source().to_be_bytes(), ip.destination().to_be_bytes());
        ip::pseudo_header_sum(&source, &destination, packet.metadata.datagram_bytes, ip.next_header())
    } else {
        0
    };
    ip::checksum(pseudo, message) == 0
}

/// Sends the answer that keeps a host's neighbour entry alive while control is away.
fn answer<P: Port>(core: &mut Core, slot: &mut PortSlot<P>, frame: &[u8], packet: &mut Packet) {
    if !packet.metadata.cut_payload && !is_whole(packet, frame) {
        core.counters.count(Counter::Malformed);
        return;
    }
    if !slot.make_room(core) {
        core.counters.count(Counter::AnswerTxFull);
        return;
    }
    let Some(mut reply) = slot.frame() else {
        core.counters.count(Counter::TxPoolEmpty);
        return;
    };
    let Some(length) = written(frame, packet, reply.space()) else {
        // An echo longer than a frame of ours has room for is no echo that we sent an MTU for.
        core.counters.count(Counter::AnswerTxFull);
        return;
    };
    core.counters.count(if packet.is_valid(packet::VALID_ARP) {
        Counter::ArpAnswered
    } else if packet.is_valid(packet::VALID_NEIGHBOR) {
        Counter::NeighborAnswered
    } else {
        Counter::EchoAnswered
    });
    reply.truncate(length);
    slot.send(core, reply);
}

/// Writes the headers that packet.p4 made, and the payload where it stays; how long that is, if there is room.
fn written(frame: &[u8], packet: &mut Packet, space: &mut [u8]) -> Option<usize> {
    let headers = packet::deparse(packet, frame, space)?;
    if packet.metadata.cut_payload {
        return Some(headers);
    }
    let payload = &frame[usize::from(packet.payload_at)..message_end(packet)];
    space.get_mut(headers..headers + payload.len())?.copy_from_slice(payload);
    Some(headers + payload.len())
}

/// Hands a datagram for QP1 to control. Only what passes its ICRC is worth control's time.
fn punt<P: Port, X: Exchange<P>>(core: &mut Core, slot: &PortSlot<P>, exchange: &mut X, frame: &[u8], packet: &Packet) {
    let (payload, icrc) = extent(packet, frame);
    if !icrc::holds(&core.cpu, frame, l3(packet), payload, icrc) {
        core.counters.count(Counter::BadIcrc);
        return;
    }
    let [_, _, remote_mac @ ..] = packet.ethernet(frame).source().to_be_bytes();
    let deth = packet.deth(frame);
    let body = slow_path::Punt {
        path: Path {
            port: U16::new(slot.number),
            vlan: U16::new(packet.metadata.vid),
            local_mac: slot.mac,
            remote_mac,
            local_ip: packet.metadata.local_ip.to_be_bytes(),
            remote_ip: packet.metadata.remote_ip.to_be_bytes(),
            udp_source: U16::new(packet.udp(frame).source_port()),
            traffic_class: 0,
            hop_limit: packet::HOP_LIMIT,
        },
        source_qpn: U32::new(deth.source_qp()),
        qkey: U32::new(deth.qkey()),
    };
    let data = &frame[payload..payload + usize::from(packet.metadata.payload_bytes)];
    if exchange.report(|out| channel::emit_into(out, Kind::Punt, 0, body.as_bytes(), data)) {
        core.counters.count(Counter::Punted);
    } else {
        // Hosts repeat their MADs.
        core.counters.count(Counter::PuntFull);
    }
}
