//! An lcore as far as packets meet tables: bursts are parsed and run through packet.p4's control, as generated.

use gantry_cpu::Cpu;
use gantry_table::{Generation, Line, Match, StageError, Writer};

use crate::traffic::{CARD, mapped, qpn};
use gantry::packet;

/// Packets of a burst.
pub const BURST: usize = packet::BURST;

/// What the program calls: prefetches are made, the rest is left.
pub struct Bare(pub Cpu);

impl packet::Externs for Bare {
    #[inline(always)]
    fn prefetch(&mut self, line: &Line) {
        self.0.prefetch_read(line);
    }

    fn congestion_experienced(&mut self, _: usize, _: u16, _: u32) {}

    fn denials_pack(&mut self, _: usize, _: u16, _: u128, _: u32) {}
}

/// An lcore.
pub struct Lcore {
    seat: gantry_table::Lcore,
    tables: packet::Tables,
    banks: packet::Banks,
    externs: Bare,
    packets: Vec<packet::Packet>,
}

impl Lcore {
    /// One of the lcores that tables and writer have room for.
    ///
    /// # Panics
    /// When they have none left.
    #[must_use]
    pub fn new(writer: &Writer, tables: &packet::Tables) -> Self {
        Self {
            seat: writer.lcore().expect("a seat for every lcore"),
            tables: tables.clone(),
            banks: tables.banks().expect("banks for every lcore"),
            externs: Bare(Cpu::detect()),
            packets: vec![packet::Packet::default(); BURST],
        }
    }

    /// Takes a burst through parser and control, and tells in which generation. `prepare` sets what s0 or the transport would
    /// have.
    #[inline]
    pub fn run_in_generation(
        &mut self,
        frames: &[&[u8]],
        now_ns: u64,
        mut prepare: impl FnMut(usize, &mut packet::Packet),
    ) -> (&[packet::Packet], Generation) {
        let generation = self.seat.enter();
        let packets = &mut self.packets[..frames.len()];
        for (at, (packet, frame)) in packets.iter_mut().zip(frames).enumerate() {
            packet.reset();
            // What is wrong is in the packet, where the control looks.
            let _ = packet::parse(frame, packet);
            prepare(at, packet);
        }
        let (tables, banks, externs) = (&self.tables, &mut self.banks, &mut self.externs);
        packet::control(packets, frames, &mut packet::Run { tables, banks, generation, now_ns, externs });
        (packets, generation)
    }

    /// The same for packets that port 0 has received.
    #[inline]
    pub fn run(&mut self, frames: &[&[u8]]) -> &[packet::Packet] {
        self.run_in_generation(frames, 0, |_, _| {}).0
    }

    /// Parses a burst and does no more.
    #[inline]
    pub fn parse(&mut self, frames: &[&[u8]]) -> &[packet::Packet] {
        let packets = &mut self.packets[..frames.len()];
        for (packet, frame) in packets.iter_mut().zip(frames) {
            packet.reset();
            let _ = packet::parse(frame, packet);
        }
        packets
    }

    /// Leaves the generation that the last burst was in.
    pub fn rest(&mut self) {
        self.seat.leave();
    }

    /// The generation that the current burst is in, for lookups beside it.
    pub fn generation(&mut self) -> Generation {
        self.seat.enter()
    }
}

/// Stages until it works: the writer waits for lcores to move on, never they for it.
///
/// # Panics
/// When the change is wrong.
pub fn staged<T>(writer: &mut Writer, mut stage: impl FnMut(&mut Writer) -> Result<T, StageError>) -> T {
    loop {
        match stage(writer) {
            Ok(done) => return done,
            Err(StageError::NoRoomYet | StageError::ReadersBehind) => {
                if writer.reclaim(64) == 0 {
                    std::thread::yield_now();
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// The entry of the `n`th QP.
#[must_use]
pub fn qp(n: u32) -> (packet::QpsKey, packet::QpsAction) {
    (packet::QpsKey { qpn: qpn(n) }, packet::QpsAction::ToQp { lcore: (n % 4) as u16, qp: n })
}

/// Tables of a card in use: its address, some tenants with rules, and so many QPs out of `room`.
///
/// # Panics
/// When there is not room for that.
pub fn card(writer: &mut Writer, room: usize, qps: u32, lcores: usize) -> packet::Tables {
    let sizes = packet::Sizes { qps: room, ..packet::Sizes::default() };
    let tables = packet::Tables::new(writer, &sizes, lcores).expect("the program's entries fit");
    for (vid, tenant) in [(0, 3), (1, 4)] {
        let key = packet::LocalAddressesKey { port: 0, vid, address: mapped(CARD) };
        let action = packet::LocalAddressesAction::Local { tenant };
        tables.local_addresses.insert(writer, &key, &action).expect("a new address");
    }
    for tenant in 0..16 {
        let action = packet::TenantsAction::Police;
        tables.tenants.insert(writer, &packet::TenantsKey { tenant }, &action).expect("a new tenant");
    }
    for n in 0..qps {
        let (key, action) = qp(n);
        tables.qps.insert(writer, &key, &action).expect("a new QP");
    }
    writer.publish();
    while writer.reclaim(4096) > 0 {}
    tables
}

/// So many access rules: one source network of 24 bits each, none of which traffic comes from.
///
/// # Panics
/// When there is not room for that.
pub fn deny_others(writer: &mut Writer, tables: &packet::Tables, rules: u32) {
    for n in 0..rules {
        let any = packet::AccessKey::ZERO;
        let source = mapped([172, 16 + (n >> 8) as u8, n as u8, 0]);
        let matched = Match {
            value: packet::AccessKey { source, ..any },
            // A range's mask holds its upper bound.
            mask: packet::AccessKey { source: u128::MAX << 8, udp_source: u16::MAX, ..any },
            priority: 1,
        };
        tables.access.insert(writer, &matched, &packet::AccessAction::Deny).expect("room for the rule");
    }
    writer.publish();
    while writer.reclaim(4096) > 0 {}
}
