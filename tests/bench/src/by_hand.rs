//! What packet.p4 says of a RoCE packet that a host sent, written by hand as one would for speed: the reference of the generated
//! Rust. The same tables, counters and meters, the same answers (held to by a test); of other packets it only says that
//! they are others.

use gantry::packet::{self, ParserError, Tables};
use gantry_cpu::Cpu;
use gantry_table::{Color, CounterBank, Generation};

const BURST: usize = packet::BURST;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// How the parser ended, 0 when it did not mind.
    pub error: u8,
    /// As in packet.p4.
    pub verdict: u8,
    /// Why it is dropped.
    pub reason: u8,
    /// Why control gets it.
    pub punt: u8,
    /// What its opcode asks for.
    pub class: u8,
    /// The packet met congestion.
    pub congestion: bool,
    /// Whose address it went to.
    pub tenant: u16,
    /// Where its QP lives.
    pub lcore: u16,
    /// Its QP's place there.
    pub qp: u32,
    /// Bytes of payload, without pad and ICRC.
    pub payload_bytes: u16,
    /// Where the payload begins.
    pub payload_at: u16,
}

impl Answer {
    /// The same of a packet that the generated Rust has been through.
    #[must_use]
    pub fn of(packet: &packet::Packet) -> Self {
        let meta = &packet.metadata;
        Self {
            error: meta.parser_error,
            verdict: meta.verdict,
            reason: meta.reason,
            punt: meta.punt,
            class: meta.class,
            congestion: meta.congestion,
            tenant: meta.tenant,
            lcore: meta.lcore,
            qp: meta.qp,
            payload_bytes: meta.payload_bytes,
            payload_at: packet.payload_at,
        }
    }
}

/// A packet between the passes.
#[derive(Clone, Copy, Debug, Default)]
struct Between {
    answer: Answer,
    length: u32,
    local: u128,
    remote: u128,
    qpn: u32,
    port: u16,
    vid: u16,
    ecn: u8,
    opcode: u8,
    datagram: bool,
    /// Still to be decided about.
    live: bool,
}

/// What an lcore that is written by hand has.
pub struct ByHand {
    cpu: Cpu,
    drops: CounterBank,
    admitted: CounterBank,
    access_hits: CounterBank,
    work: [Between; BURST],
    answers: [Answer; BURST],
}

/// Not RoCE: packets that the reference leaves alone.
pub const OTHER: u8 = u8::MAX;

#[inline(always)]
fn bytes<const N: usize>(frame: &[u8], at: usize) -> Result<&[u8; N], ParserError> {
    frame.get(at..).and_then(|rest| rest.first_chunk()).ok_or(ParserError::PacketTooShort)
}

#[inline(always)]
fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Bytes that follow a BTH with this opcode (IBTA Vol 1 §9.2.1), and the class that packet.p4 gives it, 0 for none; none
/// for an opcode that does not exist.
const OPCODES: [Option<(u8, u8)>; 256] = {
    let mut opcodes = [None; 256];
    let plain: [(u8, u8, u8); 26] = [
        (0x00, 0, 1),
        (0x01, 0, 1),
        (0x02, 0, 1),
        (0x03, 4, 1),
        (0x04, 0, 1),
        (0x05, 4, 1),
        (0x06, 16, 1),
        (0x07, 0, 1),
        (0x08, 0, 1),
        (0x09, 4, 1),
        (0x0a, 16, 1),
        (0x0b, 20, 1),
        (0x0c, 16, 1),
        (0x0d, 4, 2),
        (0x0e, 0, 2),
        (0x0f, 4, 2),
        (0x10, 4, 2),
        (0x11, 4, 3),
        (0x12, 12, 0),
        (0x13, 28, 0),
        (0x14, 28, 0),
        (0x16, 4, 1),
        (0x17, 4, 1),
        (0x64, 8, 4),
        (0x65, 12, 4),
        (0x81, 0, 5),
    ];
    let mut at = 0;
    while at < plain.len() {
        opcodes[plain[at].0 as usize] = Some((plain[at].1, plain[at].2));
        at += 1;
    }
    opcodes
};

#[inline(always)]
fn parse(frame: &[u8], work: &mut Between) -> Result<(), ParserError> {
    *work = Between { length: frame.len() as u32, ..Between::default() };
    let ethernet: &[u8; 14] = bytes(frame, 0)?;
    let (mut at, mut kind) = (14, be16(ethernet, 12));
    work.answer.payload_at = 14;
    if kind == 0x8100 {
        let tag: &[u8; 4] = bytes(frame, at)?;
        work.vid = be16(tag, 0) & 0xfff;
        kind = be16(tag, 2);
        at += 4;
        work.answer.payload_at = at as u16;
    }
    let behind = (frame.len() - at) as u16;
    let (protocol, datagram_bytes);
    match kind {
        0x0800 => {
            let ip: &[u8; 20] = bytes(frame, at)?;
            at += 20;
            work.answer.payload_at = at as u16;
            if ip[0] != 0x45 {
                return Err(if ip[0] >> 4 == 4 { ParserError::Ipv4Options } else { ParserError::Ipv4Header });
            }
            let length = be16(ip, 2);
            if length < 20 || length > behind {
                return Err(ParserError::Ipv4Length);
            }
            if be16(ip, 6) & 0x3fff != 0 {
                return Err(ParserError::Fragment);
            }
            let word = |at: usize| u64::from(u32::from_be_bytes([ip[at], ip[at + 1], ip[at + 2], ip[at + 3]]));
            let sum = word(0) + word(4) + word(8) + word(12) + word(16);
            let sum = (sum & 0xffff_ffff) + (sum >> 32);
            let sum = (sum & 0xffff) + (sum >> 16);
            let sum = (sum & 0xffff) + (sum >> 16);
            if (sum & 0xffff) + (sum >> 16) != 0xffff {
                return Err(ParserError::Ipv4Checksum);
            }
            work.remote = 0xffff_0000_0000 | u128::from(word(12));
            work.local = 0xffff_0000_0000 | u128::from(word(16));
            work.ecn = ip[1] & 3;
            (protocol, datagram_bytes) = (ip[9], length - 20);
        }
        0x86dd => {
            let ip: &[u8; 40] = bytes(frame, at)?;
            at += 40;
            work.answer.payload_at = at as u16;
            if ip[0] >> 4 != 6 {
                return Err(ParserError::Ipv6Header);
            }
            let length = be16(ip, 4);
            if behind < 40 || length > behind - 40 {
                return Err(ParserError::Ipv6Length);
            }
            work.remote = u128::from_be_bytes(*bytes(ip, 8)?);
            work.local = u128::from_be_bytes(*bytes(ip, 24)?);
            work.ecn = ip[1] >> 4 & 3;
            if ip[6] == 44 {
                return Err(ParserError::Fragment);
            }
            (protocol, datagram_bytes) = (ip[6], length);
        }
        _ => return other(work),
    }
    if protocol != 17 {
        return other(work);
    }
    let udp: &[u8; 8] = bytes(frame, at)?;
    at += 8;
    work.answer.payload_at = at as u16;
    if be16(udp, 2) != 4791 {
        return other(work);
    }
    let length = be16(udp, 4);
    if length != datagram_bytes {
        return Err(ParserError::UdpLength);
    }
    let bth: &[u8; 12] = bytes(frame, at)?;
    at += 12;
    work.answer.payload_at = at as u16;
    if bth[1] & 0xf != 0 {
        return Err(ParserError::TransportVersion);
    }
    let least = 24 + u16::from(bth[1] >> 4 & 3);
    let Some(payload) = length.checked_sub(least) else { return Err(ParserError::TransportLength) };
    work.answer.payload_bytes = payload;
    work.port = be16(udp, 0);
    work.opcode = bth[0];
    work.qpn = u32::from_be_bytes([0, bth[5], bth[6], bth[7]]);
    let Some((extension, class)) = OPCODES[usize::from(bth[0])] else { return Err(ParserError::Opcode) };
    if extension != 0 {
        extended(frame, at, extension, work)?;
    }
    work.answer.class = class;
    work.live = true;
    Ok(())
}

/// Extension headers, of which some opcodes have two.
fn extended(frame: &[u8], mut at: usize, bytes: u8, work: &mut Between) -> Result<(), ParserError> {
    work.datagram = matches!(work.opcode, 0x64 | 0x65);
    let parts: [u8; 2] = match (work.opcode, bytes) {
        (0x0b, _) => [16, 4],
        (0x12, _) => [4, 8],
        (0x65, _) => [8, 4],
        (_, one) => [one, 0],
    };
    for part in parts.into_iter().filter(|part| *part != 0).map(u16::from) {
        if frame.len() < at + usize::from(part) {
            return Err(ParserError::PacketTooShort);
        }
        at += usize::from(part);
        work.answer.payload_at = at as u16;
        let left = work.answer.payload_bytes.checked_sub(part).ok_or(ParserError::TransportLength)?;
        work.answer.payload_bytes = left;
    }
    Ok(())
}

#[cold]
fn other(work: &mut Between) -> Result<(), ParserError> {
    work.answer.verdict = OTHER;
    Ok(())
}

impl ByHand {
    /// With counters of its own.
    ///
    /// # Panics
    /// When no banks are left.
    #[must_use]
    pub fn new(tables: &Tables) -> Self {
        Self {
            cpu: Cpu::detect(),
            drops: tables.drops.bank().expect("a bank for every lcore"),
            admitted: tables.admitted.bank().expect("a bank for every lcore"),
            access_hits: tables.access_hits.bank().expect("a bank for every lcore"),
            work: [Between::default(); BURST],
            answers: [Answer::default(); BURST],
        }
    }

    #[inline(always)]
    fn drop(drops: &mut CounterBank, work: &mut Between, reason: packet::Drop) {
        work.answer.verdict = packet::Verdict::DROP.0;
        work.answer.reason = reason.0;
        work.live = false;
        drops.count(usize::from(reason.0), u64::from(work.length));
    }

    /// Takes a burst of at most 32 through it, in passes that fetch what the next one needs.
    pub fn run(&mut self, tables: &Tables, generation: Generation, frames: &[&[u8]], now_ns: u64) -> &[Answer] {
        let Self { cpu, drops, admitted, access_hits, work, answers } = self;
        let work = &mut work[..frames.len()];
        let (mut local, mut tenant, mut qp) = ([0; BURST], [0; BURST], [0; BURST]);
        for (((frame, work), local), qp) in frames.iter().zip(work.iter_mut()).zip(&mut local).zip(&mut qp) {
            if let Err(error) = parse(frame, work) {
                work.answer.error = error as u8;
                Self::drop(drops, work, packet::Drop::MALFORMED);
            } else if work.live {
                *local = tables.local_addresses.hash(&local_key(work));
                *qp = tables.qps.hash(&packet::QpsKey { qpn: work.qpn });
                cpu.prefetch_read(tables.local_addresses.bucket(*local));
                cpu.prefetch_read(tables.qps.bucket(*qp));
            }
        }
        for ((work, local), hash) in work.iter_mut().zip(&local).zip(&mut tenant).filter(|((work, _), _)| work.live) {
            match tables.local_addresses.lookup(generation, &local_key(work), *local) {
                Some((_, packet::LocalAddressesAction::Local { tenant })) => work.answer.tenant = tenant,
                _ => {
                    work.answer.class = 0;
                    Self::drop(drops, work, packet::Drop::NOT_LOCAL);
                    continue;
                }
            }
            if work.answer.class == 0 {
                Self::drop(drops, work, packet::Drop::OPCODE);
                continue;
            }
            let key = access_key(work);
            tables.access.lines(&key, |line| cpu.prefetch_read(line));
            *hash = tables.tenants.hash(&packet::TenantsKey { tenant: work.answer.tenant });
            cpu.prefetch_read(tables.tenants.bucket(*hash));
        }
        let allowed = (tables.access.index_limit(), tables.access_default.read(generation));
        let observed = tables.tenants_default.read(generation);
        for ((work, tenant), qp) in work.iter_mut().zip(&tenant).zip(&qp).filter(|((work, _), _)| work.live) {
            let found = tables.access.lookup(generation, &access_key(work));
            let (entry, action) = found.map_or(allowed, |(entry, action)| (entry.index(), action));
            let length = u64::from(work.length);
            access_hits.count(entry, length);
            match action {
                packet::AccessAction::Allow => {}
                packet::AccessAction::Deny | packet::AccessAction::DenyAndTell => {
                    Self::drop(drops, work, packet::Drop::DENIED);
                    continue;
                }
                packet::AccessAction::PuntToClient => {
                    work.answer.verdict = packet::Verdict::PUNT.0;
                    work.answer.punt = packet::Punt::ACCESS.0;
                    continue;
                }
            }
            let color = tables.tenant_rate.execute(usize::from(work.answer.tenant), length, now_ns);
            let key = packet::TenantsKey { tenant: work.answer.tenant };
            let policed = tables.tenants.lookup(generation, &key, *tenant).map_or(observed, |(_, action)| action);
            if policed == packet::TenantsAction::Police && color == Color::Red {
                Self::drop(drops, work, packet::Drop::THROTTLED);
                continue;
            }
            admitted.count(usize::from(work.answer.tenant), length);
            if work.datagram {
                if work.qpn == packet::QP1 {
                    work.answer.verdict = packet::Verdict::PUNT.0;
                    work.answer.punt = packet::Punt::MANAGEMENT.0;
                } else {
                    Self::drop(drops, work, packet::Drop::NO_QP);
                }
                continue;
            }
            match tables.qps.lookup(generation, &packet::QpsKey { qpn: work.qpn }, *qp) {
                Some((_, packet::QpsAction::ToQp { lcore, qp })) => {
                    (work.answer.lcore, work.answer.qp) = (lcore, qp);
                    work.answer.verdict = packet::Verdict::TRANSPORT.0;
                    work.answer.congestion = work.ecn == packet::ECN_CE;
                }
                _ => Self::drop(drops, work, packet::Drop::NO_QP),
            }
        }
        for (answer, work) in answers.iter_mut().zip(&*work) {
            *answer = work.answer;
        }
        &answers[..frames.len()]
    }
}

#[inline(always)]
fn local_key(work: &Between) -> packet::LocalAddressesKey {
    packet::LocalAddressesKey { port: 0, vid: work.vid, address: work.local }
}

#[inline(always)]
fn access_key(work: &Between) -> packet::AccessKey {
    packet::AccessKey {
        tenant: work.answer.tenant,
        source: work.remote,
        destination: work.local,
        class: work.answer.class,
        udp_source: work.port,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lcore::{Lcore, card};
    use crate::numbers::Numbers;
    use crate::traffic::assorted;
    use gantry_table::{Match, MeterConfig, Writer};

    /// The reference does the same work, or beside it nothing would be shown: the same answers and the same counts.
    #[test]
    fn by_hand_says_what_the_program_says() {
        let mut writer = Writer::new(2, 3);
        let tables = card(&mut writer, 4096, 1000, 2);
        // Some classes are denied, or control's.
        let rule = |value, mask, priority| Match { value, mask, priority };
        let any = packet::AccessKey::ZERO;
        for (class, action) in [(2, packet::AccessAction::Deny), (3, packet::AccessAction::PuntToClient)] {
            let matched = rule(packet::AccessKey { class, ..any }, packet::AccessKey { class: 0xff, ..any }, 1);
            // A range's mask holds its upper bound.
            let matched = Match { mask: packet::AccessKey { udp_source: 0xffff, ..matched.mask }, ..matched };
            tables.access.insert(&mut writer, &matched, &action).unwrap();
        }
        writer.publish();
        let mut numbers = Numbers::new(11);
        let (mut lcore, mut by_hand) = (Lcore::new(&writer, &tables), ByHand::new(&tables));
        let mut seen = std::collections::BTreeMap::<(u8, u8, u8, u8), usize>::new();
        for _ in 0..2000 {
            let frames = assorted(BURST, 1000, &mut numbers);
            let (views, generation) = (frames.views(), lcore.generation());
            let counts = |tables: &Tables| {
                let cells = |counters: &gantry_table::Counters| -> Vec<_> {
                    (0..counters.len()).map(|cell| counters.read(cell).unwrap()).collect()
                };
                [cells(&tables.drops), cells(&tables.admitted), cells(&tables.access_hits)]
            };
            let reset = |tables: &Tables| {
                for counters in [&tables.drops, &tables.admitted, &tables.access_hits] {
                    (0..counters.len()).for_each(|cell| assert!(counters.reset(cell)));
                }
            };
            // Both find one tenant's meter with tokens for one packet.
            let refill =
                || tables.tenant_rate.configure(4, Some(&MeterConfig { cir: 1, cburst: 130, pir: 1, pburst: 130 }), 0);
            let whole = numbers.below(100) == 0;
            if whole {
                reset(&tables);
            }
            refill();
            let answers = by_hand.run(&tables, generation, &views, 0).to_vec();
            let counted = whole.then(|| counts(&tables));
            if whole {
                reset(&tables);
            }
            refill();
            let packets = lcore.run(&views);
            for ((packet, answer), frame) in packets.iter().zip(&answers).zip(&views) {
                if answer.verdict == OTHER {
                    assert!(!packet.is_valid(packet::VALID_BTH), "{packet:?}");
                    continue;
                }
                assert_eq!(Answer::of(packet), *answer, "{frame:02x?}");
                *seen.entry((answer.error, answer.verdict, answer.reason, answer.punt)).or_default() += 1;
            }
            // Counts of others are the program's alone, so only bursts without any are compared.
            if let Some(counted) = counted.filter(|_| answers.iter().all(|answer| answer.verdict != OTHER)) {
                assert!(counted == counts(&tables));
                *seen.entry((OTHER, 0, 0, 0)).or_default() += 1;
            }
        }
        // Every error of RoCE, every reason to drop or punt, congestion, and compared counts were among it.
        let verdicts = |verdict: u8, reason: u8, punt: u8| {
            seen.iter()
                .filter(|(kind, _)| (kind.1, kind.2, kind.3) == (verdict, reason, punt))
                .map(|(_, n)| n)
                .sum::<usize>()
        };
        for reason in 1..=6 {
            assert!(verdicts(0, reason, 0) > 20, "reason {reason}: {seen:?}");
        }
        assert!(verdicts(1, 0, 0) > 1000 && verdicts(3, 0, 2) > 20, "{seen:?}");
        for error in [
            ParserError::PacketTooShort,
            ParserError::Ipv4Checksum,
            ParserError::Ipv4Length,
            ParserError::Ipv4Options,
            ParserError::Ipv4Header,
            ParserError::Fragment,
            ParserError::UdpLength,
            ParserError::TransportVersion,
            ParserError::Opcode,
        ] {
            assert!(seen.keys().any(|kind| kind.0 == error as u8), "{error:?}: {seen:?}");
        }
        assert!(seen.contains_key(&(OTHER, 0, 0, 0)), "counts were compared");
    }
}
