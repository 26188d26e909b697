//! A model of an NVMe-oF host over RoCE v2, sans-IO: Ethernet frames in and out, a clock handed in.
//!
//! It behaves as a stock Linux host does (which commands in which order, CM times, SGLs, keep alive) and judges as an
//! oracle: whatever a target does against the specifications is kept as a [`Violation`]. It shares the wire formats and
//! the RC transport with the product, none of the target's logic. NVMe Base 2.0, NVMe-oF 1.1, NVMe RDMA Transport 1.0.
//!
//! | file | what |
//! |---|---|
//! | `config.rs` | who the host is |
//! | `link.rs` | frames, ARP, ICRC |
//! | `connection.rs` | CM for one queue pair |
//! | `memory.rs` | memory registered for the target's READs and WRITEs |
//! | `queue.rs` | capsules, responses and their rules |
//! | `ring.rs` | CIDs, and what SQHD may say |
//! | `association.rs` | the life of an association: begun, ready, closed, failed |
//! | `sequence.rs` | what is sent on the way: connect, discover, look for namespaces, reset, disconnect |
//! | `attention.rs` | which queues have something to send, and when the earliest is due |
//! | `command.rs` | what users submit and get back |
//! | `misdeed.rs` | capsules that break the rules, sent by the host itself, and what a rogue may know of it |

mod association;
mod attention;
mod command;
mod config;
mod connection;
mod link;
mod memory;
mod misdeed;
mod queue;
mod ring;
mod sequence;
#[cfg(test)]
mod tests;
mod violation;

pub use association::{Failure, Namespace, State};
pub use command::{Busy, Command, Data, Done, Io, IoKind};
pub use config::HostConfig;
pub use misdeed::{CapsuleKind, Exposed, ExposedQueue};
pub use violation::Violation;

use association::Association;
use attention::Attention;
use connection::Event;
use gantry_host_wire::packet::{self, Class};
use gantry_roce::Qpn;
use gantry_wire::cm::{self, Body, Message};
use gantry_wire::fabrics::DiscoveryEntry;
use gantry_wire::ib::Opcode;
use gantry_wire::nvme::{IdentifyController, Status};
use link::Link;
use memory::Regions;
use queue::{Completed, Purpose, Queue, Received};
use std::cell::RefCell;
use std::collections::VecDeque;
use zerocopy::IntoBytes;

/// Between two ARP requests, and how many are sent.
const ARP_REPEAT_NS: u64 = 1_000_000_000;
const ARP_TRIES: u8 = 3;
/// Violations that are kept; later ones are only counted.
const VIOLATIONS_MAX: usize = 64;

/// What the host has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames sent.
    pub frames_out: u64,
    /// Frames received that were for this host.
    pub frames_in: u64,
    /// Commands sent.
    pub commands: u64,
    /// Commands completed.
    pub completions: u64,
    /// Request packets sent again by the transport.
    pub retransmitted: u64,
    /// Keep Alives sent.
    pub keep_alives: u64,
    /// Asynchronous events received.
    pub async_events: u64,
    /// Rules broken, kept or not.
    pub violations: u64,
    /// Times that the host has begun to connect again by itself.
    pub reconnects: u64,
}

/// A host. Feed it frames and time; take frames and completions.
pub struct Host {
    config: HostConfig,
    now_ns: u64,
    random: Random,
    link: Link,
    /// Frames to send before any of the queue pairs'.
    outgoing: VecDeque<Vec<u8>>,
    arp_at_ns: u64,
    arp_sent: u8,
    next_qpn: u32,
    regions: Regions,
    /// Queues of the association, admin first.
    queues: Vec<Queue>,
    /// Whose turn it was to send.
    next_queue: usize,
    attention: RefCell<Attention>,
    /// Nothing is sent or handled before.
    silent_until_ns: u64,
    /// When the host connects again by itself; `u64::MAX` for never.
    reconnect_at_ns: u64,
    association: Association,
    done: VecDeque<Done>,
    violations: Vec<Violation>,
    counters: Counters,
}

impl Host {
    /// A host that has just been plugged in.
    pub fn new(config: HostConfig, now_ns: u64) -> Host {
        Host {
            now_ns,
            random: Random(config.seed ^ 0x9e37_79b9_7f4a_7c15),
            link: Link::new(&config),
            outgoing: VecDeque::new(),
            arp_at_ns: u64::MAX,
            arp_sent: 0,
            next_qpn: 0x11,
            regions: Regions::default(),
            queues: Vec::new(),
            next_queue: 0,
            attention: RefCell::default(),
            silent_until_ns: 0,
            reconnect_at_ns: u64::MAX,
            association: Association::default(),
            done: VecDeque::new(),
            violations: Vec::new(),
            counters: Counters::default(),
            config,
        }
    }

    /// Connects to a subsystem: CM, Connect, properties, Identify, I/O queues, namespaces. `depth` is the entries of
    /// an I/O queue; `kato_ms` 0 turns keep alive off.
    ///
    /// # Panics
    /// While connected, and when `depth` is not 4 to 4096.
    pub fn connect(&mut self, subnqn: &str, io_queues: u16, depth: u16, kato_ms: u32) {
        self.begin(association::Wanted { subnqn: subnqn.into(), io_queues, depth, kato_ms, discovery: false });
    }

    /// Asks the discovery subsystem for its log, then disconnects. The log is [`Host::discovery_log`].
    ///
    /// # Panics
    /// While connected.
    pub fn discover(&mut self) {
        let subnqn = gantry_wire::fabrics::DISCOVERY_NQN.into();
        self.begin(association::Wanted { subnqn, io_queues: 0, depth: 0, kato_ms: 0, discovery: true });
    }

    /// Where the association stands.
    pub fn state(&self) -> &State {
        &self.association.state
    }

    /// The namespaces that the controller showed.
    pub fn namespaces(&self) -> &[Namespace] {
        &self.association.namespaces
    }

    /// The ANA state of a namespace, if the controller tells: 1 optimized, 3 inaccessible.
    pub fn access(&self, nsid: u32) -> Option<u8> {
        self.association.access.get(&nsid).copied()
    }

    /// What Identify said about the controller.
    pub fn controller(&self) -> Option<&IdentifyController> {
        self.association.controller.as_deref()
    }

    /// The discovery log, once it was read.
    pub fn discovery_log(&self) -> &[DiscoveryEntry] {
        &self.association.discovery_log
    }

    /// Rules that the target broke, in order. The first 64 are kept.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// What has been counted so far.
    pub fn counters(&self) -> Counters {
        let live: u64 = self.queues.iter().map(|queue| queue.retransmitted).sum();
        Counters { retransmitted: self.counters.retransmitted + live, ..self.counters }
    }

    /// I/O queues that are connected; their ids begin at 1.
    pub fn io_queues(&self) -> u16 {
        self.queues.iter().filter(|queue| queue.qid != 0 && queue.joined).count() as u16
    }

    /// Commands that queue `queue` takes now.
    pub fn room(&self, queue: u16) -> u16 {
        self.user_queue(queue).map_or(0, |index| self.queues[index].room())
    }

    /// Submits an I/O. A namespace that is not known counts as one of 512-byte blocks.
    pub fn submit(&mut self, io: Io) -> Result<(), Busy> {
        let namespace = self.association.namespaces.iter().find(|namespace| namespace.nsid == io.nsid);
        let block_size = namespace.map_or(512, |namespace| namespace.block_size);
        self.submit_command(io.command(block_size))
    }

    /// Submits any command, on any queue.
    pub fn submit_command(&mut self, command: Command) -> Result<(), Busy> {
        let index = self.user_queue(command.queue).ok_or(Busy::NotReady)?;
        if self.queues[index].room() == 0 {
            return Err(Busy::QueueFull);
        }
        let sqe = command.sqe.as_bytes().try_into().expect("64 bytes");
        self.send(index, Purpose::User(command.tag), sqe, command.data);
        Ok(())
    }

    /// The host hangs, as a virtual machine that is paused: until `until_ns` it sends nothing, frames that reach it are
    /// lost, and it takes no commands. Then it goes on as if nothing had been; its timers are late.
    pub fn silence(&mut self, until_ns: u64) {
        self.silent_until_ns = until_ns;
    }

    /// The next command that has ended.
    pub fn poll_completion(&mut self) -> Option<Done> {
        self.done.pop_front()
    }

    /// The end of the command with this tag, if it has ended; others stay where they are.
    pub fn take_completion(&mut self, tag: u64) -> Option<Done> {
        let place = self.done.iter().position(|done| done.tag == tag)?;
        self.done.remove(place)
    }

    /// Takes a frame.
    pub fn handle_frame(&mut self, now_ns: u64, frame: &[u8]) {
        self.now_ns = now_ns;
        if self.is_silent() {
            return;
        }
        let packet = match packet::parse(frame) {
            Ok(packet) => packet,
            Err(reason) => return self.violation(Violation::Malformed(reason)),
        };
        if !self.link.is_ours(&packet) {
            return;
        }
        self.counters.frames_in += 1;
        match packet.class {
            Class::Arp => {
                let reply = self.link.handle_arp(&packet, frame);
                self.outgoing.extend(reply);
                if self.link.target_mac.is_some() && self.arp_at_ns != u64::MAX {
                    self.arp_at_ns = u64::MAX;
                    self.target_found();
                }
            }
            Class::Roce if self.link.is_of_target(&packet, frame) => self.handle_roce(&packet, frame),
            _ => {}
        }
    }

    /// Takes the next frame to send into `out`. False when there is none.
    pub fn poll_frame(&mut self, now_ns: u64, out: &mut Vec<u8>) -> bool {
        self.now_ns = now_ns;
        if self.is_silent() {
            return false;
        }
        let sent = match self.outgoing.pop_front() {
            Some(frame) => {
                *out = frame;
                true
            }
            None => self.poll_queues(out),
        };
        self.counters.frames_out += u64::from(sent);
        sent
    }

    /// When [`Host::on_deadline`] is due; `u64::MAX` for never.
    pub fn deadline_ns(&self) -> u64 {
        let queues_ns = self.attention.borrow_mut().deadline_ns(&self.queues);
        let deadline_ns = queues_ns.min(self.arp_at_ns).min(self.association.deadline_ns()).min(self.reconnect_at_ns);
        deadline_ns.max(self.silent_until_ns)
    }

    /// Time has passed. Of no effect before the deadline.
    pub fn on_deadline(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        if self.is_silent() {
            return;
        }
        if now_ns >= self.arp_at_ns {
            self.ask_for_target();
        }
        if now_ns >= self.reconnect_at_ns {
            self.connect_again();
        }
        let mut index = 0;
        while index < self.queues.len() {
            if self.attention.get_mut().deadline_of(&self.queues, index) > now_ns {
                index += 1;
                continue;
            }
            self.attention.get_mut().touch(index);
            let queue = &mut self.queues[index];
            queue.on_transport_deadline(now_ns);
            let overdue = queue.oldest_ns().is_some_and(|sent_ns| now_ns >= sent_ns.saturating_add(queue.timeout_ns()));
            let failure = queue.failure();
            let (event, frame) = queue.connection.on_deadline(now_ns, &mut self.link);
            self.outgoing.extend(frame);
            if let Some(failure) = failure {
                self.fail(Failure::Transport(failure));
            } else if overdue {
                self.fail(Failure::CommandTimeout);
            } else {
                self.connection_event(index, event);
            }
            index += 1;
        }
        self.association_deadline();
    }

    fn user_queue(&self, qid: u16) -> Option<usize> {
        // Queues lie in the order of their ids.
        let joined = self.queues.get(usize::from(qid)).is_some_and(|queue| queue.joined);
        (joined && self.association.state == State::Ready && !self.is_silent()).then_some(usize::from(qid))
    }

    /// Which queue has this QPN. QPNs are given out in order.
    fn place_of(&self, qpn: Qpn) -> Option<usize> {
        let guess = qpn.value().wrapping_sub(self.queues.first()?.qpn.value()) as usize;
        if self.queues.get(guess).is_some_and(|queue| queue.qpn == qpn) {
            return Some(guess);
        }
        // Unless they began anew in between.
        self.queues.iter().position(|queue| queue.qpn == qpn)
    }

    fn is_silent(&self) -> bool {
        self.now_ns < self.silent_until_ns
    }

    fn ask_for_target(&mut self) {
        match self.link.arp_request() {
            Some(request) if self.arp_sent < ARP_TRIES => {
                self.arp_sent += 1;
                self.arp_at_ns = self.now_ns + ARP_REPEAT_NS;
                self.outgoing.push_back(request);
            }
            _ => {
                self.arp_at_ns = u64::MAX;
                self.fail(Failure::NoRoute);
            }
        }
    }

    fn handle_roce(&mut self, packet: &packet::Packet, frame: &[u8]) {
        let roce = match packet.roce(frame) {
            Ok(roce) => roce,
            Err(reason) => return self.violation(Violation::Malformed(reason)),
        };
        if let Err(violation) = self.link.check(packet, &roce, frame) {
            return self.violation(violation);
        }
        let payload = &frame[usize::from(roce.payload)..][..usize::from(roce.payload_len)];
        if roce.transport.dest_qpn == Qpn::GSI {
            return self.handle_datagram(roce.transport.opcode, roce.transport.deth, payload);
        }
        // A QP that is gone is no violation: packets of its last moments may still travel.
        let Some(index) = self.place_of(roce.transport.dest_qpn) else { return };
        self.attention.get_mut().touch(index);
        let queue = &mut self.queues[index];
        let l4 = usize::from(packet.l4);
        let found = u16::from_be_bytes([frame[l4], frame[l4 + 1]]);
        let expected = queue.connection.udp_source;
        let received = queue.handle(self.now_ns, &roce.transport, payload, &mut self.regions);
        if found != expected {
            self.violation(Violation::SourcePort { expected, found });
        }
        match received {
            Received::Nothing => {}
            Received::Completed(completed) => self.completed(index, completed),
            Received::Provoked => self.fail(Failure::Provoked),
            Received::Violation { violation, fatal } => {
                self.violation(violation);
                if fatal {
                    self.fail(Failure::Violation(violation));
                }
            }
        }
        // The transport may have failed, and the association with it be gone already.
        if let Some(failure) = self.queues.get(index).and_then(Queue::failure) {
            self.fail(Failure::Transport(failure));
        }
    }

    fn handle_datagram(&mut self, opcode: Opcode, deth: Option<gantry_wire::ib::Deth>, payload: &[u8]) {
        if opcode != Opcode::UdSendOnly || deth.is_none_or(|deth| deth.qkey != cm::QKEY) {
            return self.violation(Violation::Cm("a datagram that is no MAD's"));
        }
        let message = match Message::parse(payload) {
            Ok(message) => message,
            Err(_) => return self.violation(Violation::Cm("a MAD that does not parse")),
        };
        let Some(index) = self.queues.iter().position(|queue| queue.connection.owns(&message.body)) else {
            // Linux answers a release of what it no longer knows; all else is late.
            if let Body::Dreq(dreq) = message.body {
                let mut drep = cm::Drep::new();
                drep.local_comm_id = dreq.remote_comm_id;
                drep.remote_comm_id = dreq.local_comm_id;
                let frame = self.link.mad_frame(&cm::emit(message.transaction_id(), &drep));
                self.outgoing.push_back(frame);
            }
            return;
        };
        let (event, frame) = self.queues[index].connection.handle(self.now_ns, &message, &mut self.link);
        self.outgoing.extend(frame);
        self.attention.get_mut().retime(index);
        self.connection_event(index, event);
    }

    fn connection_event(&mut self, index: usize, event: Event) {
        match event {
            Event::None => {}
            Event::Connected(terms) => {
                let mtu = self.config.path_mtu();
                self.queues[index].start(&terms, mtu);
                self.attention.get_mut().touch(index);
                self.queue_connected();
            }
            Event::Rejected { reason, sts } => self.fail(Failure::Rejected { reason, sts }),
            Event::Unanswered => self.fail(Failure::Unreachable),
            Event::Released { by_target } => self.queue_released(by_target),
            Event::Violation(violation) => {
                self.violation(violation);
                self.fail(Failure::Violation(violation));
            }
        }
    }

    fn completed(&mut self, index: usize, completed: Completed) {
        self.counters.completions += 1;
        let Completed { purpose, cid, cqe, data, latency_ns } = completed;
        match purpose {
            Purpose::Sequence => self.sequence_completed(index, &cqe, &data),
            Purpose::KeepAlive => {}
            Purpose::AsyncEvent => self.async_event(&cqe),
            Purpose::User(tag) => {
                let queue = self.queues[index].qid;
                let (status, result) = (cqe.status(), cqe.result());
                self.done.push_back(Done { tag, queue, cid, status, result, data, latency_ns });
            }
        }
    }

    fn send(&mut self, index: usize, purpose: Purpose, sqe: [u8; 64], data: Data) {
        self.counters.commands += 1;
        self.attention.get_mut().touch(index);
        self.queues[index].send(self.now_ns, &mut self.regions, &mut self.random, purpose, sqe, data);
    }

    fn poll_queues(&mut self, out: &mut Vec<u8>) -> bool {
        while let Some(index) = self.attention.get_mut().next(self.next_queue) {
            let sent = self.queues[index].poll_packet(self.now_ns, &self.regions, &mut self.link, out);
            self.attention.get_mut().polled(index, sent);
            if sent {
                self.next_queue = index;
                return true;
            }
        }
        false
    }

    /// Moves what the queue pairs want to send in front of what comes next.
    fn flush_queues(&mut self) {
        let mut frame = Vec::new();
        while self.poll_queues(&mut frame) {
            self.outgoing.push_back(std::mem::take(&mut frame));
        }
    }

    /// Ends every queue at once; users learn that their commands were aborted.
    fn stop_queues(&mut self) {
        for index in 0..self.queues.len() {
            self.stop_queue(index);
        }
        self.keep_queues(0);
    }

    /// Forgets all queues but the first so many.
    fn keep_queues(&mut self, queues: usize) {
        self.queues.truncate(queues);
        self.attention.get_mut().truncate(queues);
        self.next_queue = 0;
    }

    fn stop_queue(&mut self, index: usize) {
        self.attention.get_mut().touch(index);
        let queue = &mut self.queues[index];
        for (tag, cid, latency_ns) in queue.stop(self.now_ns, &mut self.regions) {
            let (queue, status) = (queue.qid, Status::ABORTED_BY_HOST);
            self.done.push_back(Done { tag, queue, cid, status, result: 0, data: Vec::new(), latency_ns });
        }
        self.counters.retransmitted += std::mem::take(&mut queue.retransmitted);
    }

    fn violation(&mut self, violation: Violation) {
        self.counters.violations += 1;
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(violation);
        }
    }
}

/// Numbers from a seed: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}
