//! The requester: work that goes out (IBA 1.5 §9.7.3). SENDs and WRITEs leave in the order of posting. A READ takes
//! its PSNs when it starts; while it waits for its turn it delays no SEND or WRITE. A message once begun is finished
//! before another begins. Going back starts at the oldest work that is not complete, and sends only what the peer is
//! not known to have; of READs, only those that are due again.

use gantry_wire::ib::{Opcode, Psn, Reth, Transport};
use serde::{Deserialize, Serialize};

use crate::handover::number;
use crate::qp::{Path, Payload, QpConfig, Transmit};
use crate::reading::{Asking, Reading};
use crate::responder::MESSAGE_PACKETS_MAX;
use crate::timer::Timer;
use crate::work::{Kind, List, NIL, PoolFull, Slot, Work, WorkKind, WorkPool};

/// Packets of SENDs and WRITEs that may be unacknowledged.
pub const WINDOW_PACKETS: u8 = 128;
/// Packets of one message after which an acknowledgement is asked for before its end.
pub const ACK_REQUEST_PACKETS: u8 = 64;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Requester {
    /// SENDs and WRITEs that have no PSN yet.
    #[serde(skip)]
    pub(crate) sends: List,
    /// READs that have no PSN yet.
    #[serde(skip)]
    pub(crate) reads: List,
    /// Work that has PSNs and is not complete, by PSN.
    #[serde(skip)]
    pub(crate) in_flight: List,
    /// Work that is complete and waits to be told.
    #[serde(skip)]
    pub(crate) done: List,
    /// The work to send from next, in flight; [`NIL`] when all of it was sent.
    #[serde(skip)]
    pub(crate) cursor: u32,
    /// READs among the work in flight.
    pub(crate) reading: Reading,
    /// The PSN to send next, within `cursor`.
    #[serde(with = "number")]
    pub(crate) send_psn: Psn,
    /// The PSN behind the highest one ever sent (for READs: asked for).
    #[serde(with = "number")]
    pub(crate) sent_end: Psn,
    /// The PSN behind all work in flight.
    #[serde(with = "number")]
    pub(crate) end_psn: Psn,
    /// First PSN of the oldest work in flight; `end_psn` when there is none.
    #[serde(with = "number")]
    pub(crate) base: Psn,
    /// The highest PSN that the peer is known to have received, with all before it.
    #[serde(with = "number")]
    pub(crate) acked: Psn,
    /// The PSN that the peer missed, from which packets were last sent again: not again for the same one. [`NIL`] for none.
    pub(crate) went_back_for: u32,
    /// Counts posts, to keep READs in order with the rest when they need not wait.
    posts: u32,
    /// Packets of SENDs and WRITEs sent and not acknowledged.
    pub(crate) window_used: u8,
    /// Packets sent since an acknowledgement was last asked for.
    pub(crate) since_ack_request: u8,
    pub(crate) rnr_retries: u8,
    pub(crate) rnr_retry_count: u8,
}

/// What is sent next.
pub(crate) enum Next {
    /// A SEND or WRITE of one packet, which waits: what most packets are.
    Only(u32),
    /// A packet of the SEND or WRITE that was begun.
    Segment,
    /// A request for a READ.
    Read,
}

impl Requester {
    pub(crate) fn new(config: &QpConfig) -> Requester {
        Requester {
            sends: List::EMPTY,
            reads: List::EMPTY,
            in_flight: List::EMPTY,
            done: List::EMPTY,
            cursor: NIL,
            reading: Reading::new(config.reads_max.max(1)),
            send_psn: config.send_psn,
            sent_end: config.send_psn,
            end_psn: config.send_psn,
            base: config.send_psn,
            acked: config.send_psn.sub(1),
            went_back_for: NIL,
            posts: 0,
            window_used: 0,
            since_ack_request: 0,
            rnr_retries: 0,
            rnr_retry_count: config.rnr_retry_count,
        }
    }

    #[inline(always)]
    pub(crate) fn post(&mut self, works: &mut WorkPool, path: &Path, work: Work) -> Result<(), PoolFull> {
        let packets = path.packets(work.length);
        assert!(packets <= MESSAGE_PACKETS_MAX, "{} bytes are more than PSNs can count", work.length);
        if let WorkKind::Send { invalidate: Some(_), immediate: Some(_) } = work.kind {
            panic!("no SEND has both immediate data and an R_Key to invalidate");
        }
        let is_read = matches!(work.kind, WorkKind::Read { .. });
        let list = if is_read { &mut self.reads } else { &mut self.sends };
        works.add(list, |slot| {
            // Part by part, for what was put together elsewhere would be copied from there whole, and wait for its parts.
            slot.kind = Kind::Work(match work.kind {
                WorkKind::Send { invalidate, immediate } => WorkKind::Send { invalidate, immediate },
                WorkKind::Write { address, rkey, immediate } => WorkKind::Write { address, rkey, immediate },
                WorkKind::Read { address, rkey } => WorkKind::Read { address, rkey },
            });
            (slot.cookie, slot.length, slot.post) = (work.cookie, work.length, self.posts);
            (slot.first_psn, slot.packets, slot.progress) = (Psn::new(0), packets, 0);
            // Nobody asks for what else is sent.
            if is_read {
                (slot.next_read, slot.asking) = (NIL, Asking::NOT_YET);
            }
        })?;
        self.posts = self.posts.wrapping_add(1);
        Ok(())
    }

    #[inline]
    fn window_open(&self) -> bool {
        self.window_used < WINDOW_PACKETS
    }

    /// A READ may take its PSNs: the peer has room for it.
    #[inline]
    fn read_may_start(&self) -> bool {
        !self.reads.is_empty() && self.reading.has_room()
    }

    /// Another message may take PSNs at all: all in flight stay within half of their number.
    #[inline]
    fn psns_left(&self) -> bool {
        self.end_psn.distance_from(self.base) <= MESSAGE_PACKETS_MAX as i32
    }

    /// The next packet comes for the first time.
    #[inline]
    fn is_fresh(&self) -> bool {
        self.send_psn.distance_from(self.sent_end) >= 0
    }

    #[inline]
    pub(crate) fn wants_transmit(&self) -> bool {
        if self.reading.any_lost() {
            true
        } else if self.cursor == NIL {
            self.psns_left() && (self.read_may_start() || !self.sends.is_empty() && self.window_open())
        } else {
            // A READ is sent in one go, so that only a SEND or WRITE can be met half-sent.
            !self.is_fresh() || self.window_open()
        }
    }

    /// Starts the next message: the oldest one that need not wait.
    #[inline]
    fn begin(&mut self, works: &mut WorkPool) {
        let send = if self.window_open() { self.sends.head() } else { NIL };
        let read = if self.read_may_start() { self.reads.head() } else { NIL };
        let read_is_older =
            read != NIL && (send == NIL || (works.slot(read).post.wrapping_sub(works.slot(send).post) as i32) < 0);
        let list = if read_is_older { &mut self.reads } else { &mut self.sends };
        let index = works.pop(list).expect("one of the two may start");
        works.push(&mut self.in_flight, index);
        let slot = works.slot_mut(index);
        slot.first_psn = self.end_psn;
        self.cursor = index;
        self.send_psn = self.end_psn;
        self.end_psn = slot.end_psn();
        if read_is_older {
            self.reading.start(works, index);
        }
    }

    /// What comes next when it [wants](Requester::wants_transmit) to send. A message is begun when one is due.
    #[inline(always)]
    pub(crate) fn next(&mut self, works: &mut WorkPool) -> Next {
        // A lost READ's PSNs are of the past, so that it may leave in the midst of another message.
        if self.reading.any_lost() {
            return Next::Read;
        }
        if self.cursor == NIL {
            let index = self.sends.head();
            if self.reads.is_empty() && works.slot(index).packets == 1 {
                return Next::Only(index);
            }
            self.begin(works);
        }
        if works.slot(self.cursor).is_read() { Next::Read } else { Next::Segment }
    }

    /// The only packet of a message, the next one. The cursor never points at it, for it is never half-sent.
    #[inline(always)]
    pub(crate) fn poll_only(
        &mut self,
        now_ns: u64,
        path: &Path,
        index: u32,
        works: &mut WorkPool,
        timer: &mut Timer,
    ) -> Transmit {
        works.move_up_to(index, &mut self.sends, &mut self.in_flight);
        let slot = works.slot_mut(index);
        let psn = self.end_psn;
        slot.first_psn = psn;
        let next = psn.next();
        (self.end_psn, self.send_psn, self.sent_end) = (next, next, next);
        self.window_used += 1;
        self.since_ack_request = 0;
        timer.measure(now_ns, psn);
        let length = slot.length;
        let payload = match length {
            0 => Payload::None,
            _ => Payload::Work { cookie: slot.cookie, offset: 0, length },
        };
        let Kind::Work(kind) = &slot.kind else { panic!("work of the requester is {:?}", slot.kind) };
        let new = |opcode| Transport { ack_request: true, ..path.transport(opcode, psn, length) };
        let transport = match *kind {
            WorkKind::Write { address, rkey, immediate } => {
                let reth = Some(Reth { virtual_address: address, rkey, dma_length: length });
                let opcode = if immediate.is_some() { Opcode::WriteOnlyImmediate } else { Opcode::WriteOnly };
                return Transmit { transport: Transport { reth, immediate, ..new(opcode) }, payload };
            }
            WorkKind::Send { invalidate: Some(rkey), .. } => {
                Transport { invalidate: Some(rkey), ..new(Opcode::SendOnlyInvalidate) }
            }
            WorkKind::Send { immediate: Some(data), .. } => {
                Transport { immediate: Some(data), ..new(Opcode::SendOnlyImmediate) }
            }
            WorkKind::Send { .. } => new(Opcode::SendOnly),
            WorkKind::Read { .. } => panic!("a READ is no message of one packet"),
        };
        Transmit { transport, payload }
    }

    /// The request for a READ: one that is lost, or the next.
    #[inline(never)]
    pub(crate) fn poll_read(&mut self, now_ns: u64, path: &Path, works: &mut WorkPool) -> Transmit {
        if let Some(index) = self.reading.lost(works) {
            let read = works.slot_mut(index);
            self.reading.asked(now_ns, read, false, self.sent_end);
            return ask(path, read);
        }
        let fresh = self.is_fresh();
        let read = works.slot_mut(self.cursor);
        self.reading.asked(now_ns, read, fresh, self.sent_end);
        self.send_psn = read.end_psn();
        if fresh {
            self.sent_end = self.send_psn;
        }
        let transmit = ask(path, read);
        self.settle(works);
        transmit
    }

    /// The next packet of a SEND or WRITE.
    #[inline(always)]
    pub(crate) fn poll_segment(&mut self, now_ns: u64, path: &Path, works: &WorkPool, timer: &mut Timer) -> Transmit {
        let slot = works.slot(self.cursor);
        let Kind::Work(kind) = &slot.kind else { panic!("work in flight is {:?}", slot.kind) };
        let fresh = self.is_fresh();
        let psn = self.send_psn;
        let at = psn.distance_from(slot.first_psn) as u32;
        let last = at + 1 == slot.packets;
        let ack_request = last || self.since_ack_request >= ACK_REQUEST_PACKETS - 1;
        self.since_ack_request = if ack_request { 0 } else { self.since_ack_request + 1 };
        self.send_psn = psn.next();
        if fresh {
            if ack_request {
                timer.measure(now_ns, psn);
            }
            self.window_used += 1;
            self.sent_end = self.send_psn;
            // Within a message nobody has heard of what comes next, so that there is nothing to move over.
            if last {
                self.cursor = slot.next;
            }
        }
        if !fresh || self.cursor != NIL && last {
            self.settle(works);
        }
        segment(path, slot, kind, at, psn, ack_request)
    }

    /// Moves on over what need not be sent, so that what `send_psn` and `cursor` point at is to be sent.
    #[inline]
    pub(crate) fn settle(&mut self, works: &WorkPool) {
        if self.cursor == NIL {
            self.send_psn = self.end_psn;
        } else {
            self.settle_from(works);
        }
    }

    #[inline(never)]
    fn settle_from(&mut self, works: &WorkPool) {
        while self.cursor != NIL {
            let slot = works.slot(self.cursor);
            let unsent = self.send_psn.distance_from(slot.end_psn()) < 0;
            if slot.is_read() {
                if unsent && slot.is_in_turn() {
                    self.send_psn = slot.first_psn.add(slot.progress);
                    return;
                }
            } else {
                if self.send_psn.distance_from(self.acked) <= 0 {
                    self.send_psn = self.acked.next();
                }
                if self.send_psn.distance_from(slot.end_psn()) < 0 {
                    return;
                }
            }
            self.cursor = works.next(self.cursor);
            self.send_psn = slot.end_psn();
        }
        self.send_psn = self.end_psn;
    }

    /// Sends SENDs and WRITEs again that the peer is not known to have, and READs whose turn it is.
    pub(crate) fn go_back(&mut self, works: &WorkPool, timer: &mut Timer) {
        self.cursor = self.in_flight.head();
        self.send_psn = self.base;
        timer.go_back();
        self.settle(works);
    }

    /// Nothing came for too long. A READ's answer is awaited as long as the peer may just be slow: the oldest is asked
    /// for again, and the others only when that one was answered and they were not (`all_reads`).
    pub(crate) fn timed_out(&mut self, works: &mut WorkPool, timer: &mut Timer, all_reads: bool) {
        self.reading.timed_out(works, all_reads);
        self.went_back_for = NIL;
        self.go_back(works, timer);
    }

    /// Takes the oldest completed work.
    #[inline]
    pub(crate) fn pop_done(&mut self, works: &mut WorkPool) -> Option<(u32, WorkKind)> {
        let index = works.pop(&mut self.done)?;
        Some(give_back(works, index))
    }

    /// Takes the oldest work that is not complete. Nothing can be sent any more.
    pub(crate) fn pop_any(&mut self, works: &mut WorkPool) -> Option<(u32, WorkKind)> {
        self.cursor = NIL;
        self.reading = Reading::new(1);
        if let Some(index) = works.pop(&mut self.in_flight) {
            return Some(give_back(works, index));
        }
        let (send, read) = (self.sends.head(), self.reads.head());
        let read_is_older =
            send == NIL || read != NIL && (works.slot(read).post.wrapping_sub(works.slot(send).post) as i32) < 0;
        let index = works.pop(if read_is_older { &mut self.reads } else { &mut self.sends })?;
        Some(give_back(works, index))
    }
}

#[inline]
fn give_back(works: &mut WorkPool, index: u32) -> (u32, WorkKind) {
    let slot = works.slot(index);
    let Kind::Work(kind) = slot.kind else { panic!("work of the requester is {:?}", slot.kind) };
    let cookie = slot.cookie;
    works.release(index);
    (cookie, kind)
}

/// The request for what is missing of a READ.
fn ask(path: &Path, read: &Slot) -> Transmit {
    let Kind::Work(WorkKind::Read { address, rkey }) = read.kind else { panic!("a READ is {:?}", read.kind) };
    let offset = read.progress << path.mtu_shift();
    let psn = read.first_psn.add(read.progress);
    let transport = Transport {
        ack_request: true,
        reth: Some(Reth {
            virtual_address: address.wrapping_add(u64::from(offset)),
            rkey,
            dma_length: read.length - offset,
        }),
        ..path.transport(Opcode::ReadRequest, psn, 0)
    };
    Transmit { transport, payload: Payload::None }
}

/// Packet `at` of a SEND or WRITE.
#[inline(always)]
fn segment(path: &Path, slot: &Slot, kind: &WorkKind, at: u32, psn: Psn, ack_request: bool) -> Transmit {
    let (first, last) = (at == 0, at + 1 == slot.packets);
    let offset = at << path.mtu_shift();
    if !first && !last {
        let is_write = matches!(kind, WorkKind::Write { .. });
        let opcode = if is_write { Opcode::WriteMiddle } else { Opcode::SendMiddle };
        let length = path.mtu.into();
        let transport = Transport { ack_request, ..path.transport(opcode, psn, length) };
        return Transmit { transport, payload: Payload::Work { cookie: slot.cookie, offset, length } };
    }
    let length = (slot.length - offset).min(u32::from(path.mtu));
    let payload = match length {
        0 => Payload::None,
        _ => Payload::Work { cookie: slot.cookie, offset, length },
    };
    let (opcodes, immediate, invalidate, reth) = match *kind {
        WorkKind::Send { invalidate: Some(rkey), .. } => (&SEND_INVALIDATE, None, Some(rkey), None),
        WorkKind::Send { immediate: Some(data), .. } => (&SEND_IMMEDIATE, Some(data), None, None),
        WorkKind::Send { .. } => (&SEND, None, None, None),
        WorkKind::Write { address, rkey, immediate } => {
            let reth = Reth { virtual_address: address, rkey, dma_length: slot.length };
            let opcodes = if immediate.is_some() { &WRITE_IMMEDIATE } else { &WRITE };
            (opcodes, immediate, None, Some(reth))
        }
        WorkKind::Read { .. } => panic!("a READ has no segments"),
    };
    let opcode = opcodes[usize::from(first) + 2 * usize::from(last)];
    // The RETH leads the message, the other extensions end it.
    let transport = Transport {
        ack_request,
        reth: if first { reth } else { None },
        immediate: if last { immediate } else { None },
        invalidate: if last { invalidate } else { None },
        ..path.transport(opcode, psn, length)
    };
    Transmit { transport, payload }
}

/// Opcodes of a message's packets: in its middle, the first, the last, the only one.
type Opcodes = [Opcode; 4];

const SEND: Opcodes = [Opcode::SendMiddle, Opcode::SendFirst, Opcode::SendLast, Opcode::SendOnly];
const SEND_IMMEDIATE: Opcodes =
    [Opcode::SendMiddle, Opcode::SendFirst, Opcode::SendLastImmediate, Opcode::SendOnlyImmediate];
const SEND_INVALIDATE: Opcodes =
    [Opcode::SendMiddle, Opcode::SendFirst, Opcode::SendLastInvalidate, Opcode::SendOnlyInvalidate];
const WRITE: Opcodes = [Opcode::WriteMiddle, Opcode::WriteFirst, Opcode::WriteLast, Opcode::WriteOnly];
const WRITE_IMMEDIATE: Opcodes =
    [Opcode::WriteMiddle, Opcode::WriteFirst, Opcode::WriteLastImmediate, Opcode::WriteOnlyImmediate];
