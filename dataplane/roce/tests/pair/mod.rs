//! Two endpoints and the wire between them, on a virtual clock. The endpoints move real bytes as the queue pairs'
//! plans and payloads say; the wire does to each packet what a [`Fault`] decides. Nothing here knows the protocol.
#![allow(dead_code, unreachable_pub)] // a module that each test file uses a part of

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use gantry_host_wire::ib;
use gantry_roce::*;
use gantry_wire::ib::Opcode;

/// The region that each endpoint lets its peer reach.
pub const REGION: Rkey = Rkey(0x1234_5678);
pub const REGION_BASE: u64 = 0xffff_8000_0000_0000;
/// One way, without jitter.
pub const DELAY_NS: u64 = 5_000;
/// Time that a packet takes on the wire.
const PACKET_NS: u64 = 100;
/// Packets that may wait for the wire.
const BACKLOG_NS: u64 = 32 * PACKET_NS;
pub const WORKS: u32 = 64;

/// A small, fast, seeded generator (SplitMix64).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True `percent` times of a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn bytes(&mut self, len: u32) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len as usize + 8);
        while bytes.len() < len as usize {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len as usize);
        bytes
    }
}

/// What a message was when it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub bytes: Vec<u8>,
    pub immediate: Option<u32>,
    pub invalidate: Option<Rkey>,
}

/// Memory that the peer may read and write.
pub struct Region {
    pub bytes: Vec<u8>,
}

impl Memory for Region {
    fn permits(&self, rkey: Rkey, address: u64, length: u32, _: Access) -> bool {
        let end = address.checked_add(u64::from(length));
        rkey == REGION && address >= REGION_BASE && end.is_some_and(|end| end <= REGION_BASE + self.bytes.len() as u64)
    }
}

impl Region {
    fn slice(&mut self, address: u64, length: usize) -> &mut [u8] {
        let at = (address - REGION_BASE) as usize;
        &mut self.bytes[at..at + length]
    }
}

pub struct Endpoint {
    pub qp: Qp,
    pub works: WorkPool,
    pub region: Region,
    /// Bytes to send, and READ into, by cookie.
    pub buffers: BTreeMap<u32, Vec<u8>>,
    /// Messages that find a receive buffer before the next RNR NAK; `None` for endless.
    pub receive_buffers: Option<u32>,
    message: Vec<u8>,
    pub messages: Vec<Received>,
    pub writes: Vec<Outcome>,
    pub completions: Vec<Completion>,
    pub drops: Vec<DropReason>,
    /// Bytes that were put anywhere because a packet said so.
    pub landed: u64,
    next_cookie: u32,
}

impl Endpoint {
    fn new(config: &QpConfig) -> Endpoint {
        Endpoint {
            qp: Qp::new(config),
            works: WorkPool::new(WORKS),
            region: Region { bytes: Vec::new() },
            buffers: BTreeMap::new(),
            receive_buffers: None,
            message: Vec::new(),
            messages: Vec::new(),
            writes: Vec::new(),
            completions: Vec::new(),
            drops: Vec::new(),
            landed: 0,
            next_cookie: 100,
        }
    }

    /// Posts work that sends, or READs into, `bytes`; answers its cookie.
    pub fn post(&mut self, kind: WorkKind, bytes: Vec<u8>) -> u32 {
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        let work = Work { cookie, kind, length: bytes.len() as u32 };
        self.buffers.insert(cookie, bytes);
        self.qp.post(&mut self.works, work).expect("room for work");
        cookie
    }

    pub fn send(&mut self, bytes: Vec<u8>) -> u32 {
        self.post(WorkKind::Send { invalidate: None, immediate: None }, bytes)
    }

    pub fn write(&mut self, offset: u64, bytes: Vec<u8>) -> u32 {
        self.post(WorkKind::Write { address: REGION_BASE + offset, rkey: REGION, immediate: None }, bytes)
    }

    pub fn read(&mut self, offset: u64, length: u32) -> u32 {
        self.post(WorkKind::Read { address: REGION_BASE + offset, rkey: REGION }, vec![0; length as usize])
    }

    pub fn receive(&mut self, now_ns: u64, t: &Transport, payload: &[u8]) {
        let length = payload.len() as u32;
        let plan = self.qp.plan(t, length, &self.works, &self.region);
        match plan {
            Plan::Receive { first: true, .. } if self.receive_buffers == Some(0) => {
                self.qp.refuse_rnr(now_ns, t);
                return;
            }
            Plan::Receive { offset, first, .. } => {
                if first {
                    self.receive_buffers = self.receive_buffers.map(|buffers| buffers - 1);
                    self.message.clear();
                }
                assert_eq!(offset as usize, self.message.len(), "message bytes in order");
                self.message.extend_from_slice(payload);
                self.landed += u64::from(length);
            }
            Plan::Write { address, .. } if length > 0 => {
                self.region.slice(address, payload.len()).copy_from_slice(payload);
                self.landed += u64::from(length);
            }
            Plan::ReadResponse { cookie, offset, .. } => {
                let buffer = self.buffers.get_mut(&cookie).expect("a READ that was posted");
                buffer[offset as usize..][..payload.len()].copy_from_slice(payload);
                self.landed += u64::from(length);
            }
            _ => {}
        }
        match self.qp.commit(now_ns, t, length, &plan, &mut self.works) {
            Outcome::Message { length, immediate, invalidate } => {
                assert_eq!(length as usize, self.message.len());
                let bytes = std::mem::take(&mut self.message);
                self.messages.push(Received { bytes, immediate, invalidate });
            }
            outcome @ Outcome::RemoteWrite { .. } => self.writes.push(outcome),
            Outcome::Drop(reason) => self.drops.push(reason),
            Outcome::None => {}
        }
        self.take_completions();
    }

    pub fn take_completions(&mut self) {
        while let Some(completion) = self.qp.poll_completion(&mut self.works) {
            self.completions.push(completion);
        }
    }

    pub fn poll_transmit(&mut self, now_ns: u64) -> Option<(Transport, Vec<u8>)> {
        let wants = self.qp.wants_transmit();
        let transmit = self.qp.poll_transmit(now_ns, &mut self.works);
        assert_eq!(wants, transmit.is_some(), "wants_transmit tells the truth");
        let transmit = transmit?;
        let payload = match transmit.payload {
            Payload::None => Vec::new(),
            Payload::Work { cookie, offset, length } => {
                self.buffers[&cookie][offset as usize..][..length as usize].to_vec()
            }
            Payload::Region { rkey, address, length } => {
                assert!(self.region.permits(rkey, address, length, Access::Read));
                self.region.slice(address, length as usize).to_vec()
            }
        };
        assert_eq!((payload.len() + usize::from(transmit.transport.pad)) % 4, 0, "padded");
        Some((transmit.transport, payload))
    }

    /// Cookies of successful completions, in order.
    pub fn succeeded(&self) -> Vec<u32> {
        let successes = self.completions.iter().filter(|completion| completion.status == Status::Success);
        successes.map(|completion| completion.cookie).collect()
    }
}

/// A packet as the wire sees it.
#[derive(Clone, Debug)]
pub struct Sent {
    pub at_ns: u64,
    /// 0 or 1.
    pub from: usize,
    pub transport: Transport,
    pub payload_len: usize,
    /// The wire lost it.
    pub lost: bool,
}

/// What the wire does to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Deliver,
    Lose,
    Twice,
    /// Later by so many nanoseconds.
    Late(u64),
}

/// Decides each packet's fate. Its second argument counts packets of the same side from 0.
pub type Fault = Box<dyn FnMut(&Sent, usize) -> Fate>;

pub fn no_fault() -> Fault {
    Box::new(|_, _| Fate::Deliver)
}

/// A random wire: percentages of packets lost, doubled and late.
pub fn lossy(seed: u64, lose: u64, double: u64, late: u64) -> Fault {
    let mut rng = Rng(seed);
    Box::new(move |_, _| {
        let draw = rng.below(100);
        if draw < lose {
            Fate::Lose
        } else if draw < lose + double {
            Fate::Twice
        } else if draw < lose + double + late {
            Fate::Late(rng.below(40_000))
        } else {
            Fate::Deliver
        }
    })
}

struct Wire {
    free_at_ns: u64,
    count: usize,
}

/// A packet under way: when it arrives, a tie-breaker, for whom, its headers and its payload.
type UnderWay = Reverse<(u64, u64, usize, Vec<u8>, Vec<u8>)>;

pub struct Pair {
    pub now_ns: u64,
    pub ends: [Endpoint; 2],
    pub fault: Fault,
    pub sent: Vec<Sent>,
    /// Until when each side is starved of its processor: it sends nothing.
    pub starved_until_ns: [u64; 2],
    wires: [Wire; 2],
    under_way: BinaryHeap<UnderWay>,
    order: u64,
}

/// What both endpoints of most stories agree on.
pub fn config() -> QpConfig {
    QpConfig {
        qpn: Qpn::new(0x11),
        remote_qpn: Qpn::new(0x22),
        receive_psn: Psn::new(1000),
        send_psn: Psn::new(5000),
        mtu: 1024,
        pkey: 0xffff,
        ack_timeout_ns: 2_147_483_648,
        retry_count: 7,
        rnr_retry_count: 7,
        rnr_timer: 12,
        reads_max: 16,
        responder_reads_max: 16,
    }
}

/// The same connection from the other side.
pub fn mirrored(c: &QpConfig) -> QpConfig {
    QpConfig {
        qpn: c.remote_qpn,
        remote_qpn: c.qpn,
        receive_psn: c.send_psn,
        send_psn: c.receive_psn,
        reads_max: c.responder_reads_max,
        responder_reads_max: c.reads_max,
        ..*c
    }
}

impl Pair {
    pub fn new(config: &QpConfig, fault: Fault) -> Pair {
        Pair {
            now_ns: 1_000_000,
            ends: [Endpoint::new(config), Endpoint::new(&mirrored(config))],
            fault,
            sent: Vec::new(),
            starved_until_ns: [0; 2],
            wires: [const { Wire { free_at_ns: 0, count: 0 } }; 2],
            under_way: BinaryHeap::new(),
            order: 0,
        }
    }

    /// Runs until `until_ns`.
    pub fn run_until(&mut self, until_ns: u64) {
        while self.step(until_ns) {}
        self.now_ns = until_ns;
    }

    /// Runs until nothing is left to happen; a minute must be enough.
    pub fn run(&mut self) {
        let limit_ns = self.now_ns + 60_000_000_000;
        while self.step(limit_ns) {}
        assert!(self.is_quiet(), "still busy after a minute");
    }

    /// Goes on to the next thing that happens, unless it is later than `until_ns` or there is none.
    fn step(&mut self, until_ns: u64) -> bool {
        let wake_ns = self.transmit();
        let arrival_ns = self.under_way.peek().map_or(u64::MAX, |packet| packet.0.0);
        let deadline_ns = self.ends.iter().map(|end| end.qp.deadline_ns()).min().expect("two ends");
        let next_ns = wake_ns.min(arrival_ns).min(deadline_ns);
        if next_ns > until_ns || next_ns == u64::MAX {
            return false;
        }
        self.now_ns = self.now_ns.max(next_ns);
        for end in &mut self.ends {
            if end.qp.deadline_ns() <= self.now_ns {
                end.qp.on_deadline(self.now_ns, &mut end.works);
                end.take_completions();
            }
        }
        while self.under_way.peek().is_some_and(|packet| packet.0.0 <= self.now_ns) {
            let Reverse((_, _, to, headers, payload)) = self.under_way.pop().expect("peeked");
            let (transport, len) = ib::parse(&headers).expect("what was emitted parses");
            assert_eq!(len, headers.len());
            self.ends[to].receive(self.now_ns, &transport, &payload);
        }
        true
    }

    pub fn is_quiet(&self) -> bool {
        self.under_way.is_empty()
            && self.ends.iter().all(|end| !end.qp.wants_transmit() && end.qp.deadline_ns() == u64::MAX)
    }

    /// Lets both sides send while the wire takes it; answers when it takes more.
    fn transmit(&mut self) -> u64 {
        let mut wake_ns = u64::MAX;
        for from in 0..2 {
            if self.starved_until_ns[from] > self.now_ns {
                wake_ns = wake_ns.min(self.starved_until_ns[from]);
                continue;
            }
            loop {
                if self.wires[from].free_at_ns > self.now_ns + BACKLOG_NS {
                    if self.ends[from].qp.wants_transmit() {
                        wake_ns = wake_ns.min(self.wires[from].free_at_ns - BACKLOG_NS);
                    }
                    break;
                }
                let Some((transport, payload)) = self.ends[from].poll_transmit(self.now_ns) else { break };
                self.put(from, transport, payload);
            }
        }
        wake_ns
    }

    fn put(&mut self, from: usize, transport: Transport, payload: Vec<u8>) {
        let wire = &mut self.wires[from];
        wire.free_at_ns = wire.free_at_ns.max(self.now_ns) + PACKET_NS;
        let arrival_ns = wire.free_at_ns + DELAY_NS;
        let mut sent = Sent { at_ns: self.now_ns, from, transport, payload_len: payload.len(), lost: false };
        let fate = (self.fault)(&sent, wire.count);
        wire.count += 1;
        sent.lost = fate == Fate::Lose;
        self.sent.push(sent);
        let arrivals: &[u64] = match fate {
            Fate::Deliver => &[arrival_ns],
            Fate::Lose => &[],
            Fate::Twice => &[arrival_ns, arrival_ns + 3 * PACKET_NS],
            Fate::Late(by_ns) => &[arrival_ns + by_ns],
        };
        for &arrival_ns in arrivals {
            self.order += 1;
            let mut headers = [0; ib::HEADER_MAX];
            let len = ib::emit(&transport, &mut headers);
            let packet = (arrival_ns, self.order, 1 - from, headers[..len].to_vec(), payload.clone());
            self.under_way.push(Reverse(packet));
        }
    }

    /// Packets of one side that satisfy `which`.
    pub fn count(&self, from: usize, which: impl Fn(&Transport) -> bool) -> usize {
        self.sent.iter().filter(|sent| sent.from == from && which(&sent.transport)).count()
    }

    /// Opcodes of one side, in order.
    pub fn opcodes(&self, from: usize) -> Vec<Opcode> {
        self.sent.iter().filter(|sent| sent.from == from).map(|sent| sent.transport.opcode).collect()
    }

    /// READ requests of one side: at which PSN, in order.
    pub fn read_requests(&self, from: usize) -> Vec<u32> {
        let requests =
            self.sent.iter().filter(|sent| sent.from == from && sent.transport.opcode == Opcode::ReadRequest);
        requests.map(|sent| sent.transport.psn.value()).collect()
    }

    /// Payload bytes of READ responses.
    pub fn answered_bytes(&self) -> u64 {
        let answers = self.sent.iter().filter(|sent| sent.transport.opcode.is_response());
        answers.map(|sent| sent.payload_len as u64).sum()
    }

    /// Payload bytes of one side.
    pub fn payload_bytes(&self, from: usize) -> usize {
        self.sent.iter().filter(|sent| sent.from == from).map(|sent| sent.payload_len).sum()
    }

    /// Nothing is held by either side, and nothing failed.
    pub fn assert_clean(&self) {
        assert!(self.is_quiet());
        for end in &self.ends {
            assert_eq!(end.qp.failure(), None);
            assert_eq!(end.works.available(), WORKS, "work leaked");
        }
    }
}

/// A syndrome's byte of an ACK packet.
pub fn syndrome(t: &Transport) -> Option<u8> {
    t.aeth.filter(|_| t.opcode == Opcode::Acknowledge).map(|aeth| aeth.syndrome.value())
}
