//! One lcore: its edges, its state, and the order in which a poll walks the stages.

use alloc::boxed::Box;
use alloc::vec::Vec;

use arrayvec::ArrayVec;
use gantry::channel::{self, Kind, event, slow_path};
use gantry::packet;
use gantry_roce::{Qp, QpConfig};
use gantry_wire::ib::{Psn, Qpn};
use gantry_wire::nvme::Status;
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U16, U32};

use crate::command::{List, Ring, State};
use crate::counters::Counter;
use crate::drive::{DriveQueue, Path};
use crate::exchange::{Batch, Change, Exchange};
use crate::handover::Resumed;
use crate::memory::PAGE;
use crate::port::{BURST, Port, TxFrame};
use crate::qp::QpContext;
use crate::state::{Core, Notice, PORTS};
use crate::ways::Way;
use crate::{
    s0_receive, s1_parse, s2_classify, s3_transport, s4_capsule, s5_command, s6_submit, s7_complete, s8_respond,
    s9_transmit,
};

/// Batches from housekeeping that one poll applies: a crowd at control's door does not hold up the hosts inside.
const BATCHES: usize = 4;

/// Changes of batches after which a poll takes no further batch: one batch is applied whole, however long it is.
const CHANGES: usize = 32;

/// Commands that end in one poll because their drive has gone.
const ENDED: u32 = 32;

/// One port of an lcore, and the burst it will send next.
pub struct PortSlot<P: Port> {
    /// Port number.
    pub number: u16,
    /// This lcore's queue pair.
    pub queue: P,
    /// MAC address.
    pub mac: [u8; 6],
    /// Largest IP packet in bytes.
    pub mtu: u16,
    pending: ArrayVec<P::Tx, BURST>,
    /// A frame that was taken for a packet, and there was none.
    spare: Option<P::Tx>,
}

impl<P: Port> PortSlot<P> {
    /// A port with nothing to send.
    pub(crate) fn new(number: u16, queue: P, mac: [u8; 6], mtu: u16) -> Self {
        Self { number, queue, mac, mtu, pending: ArrayVec::new(), spare: None }
    }

    /// Whether another frame can be queued, sending what is queued when need be.
    pub fn make_room(&mut self, core: &mut Core) -> bool {
        if self.pending.is_full() && !self.flush() {
            core.counters.count(Counter::TxFull);
        }
        !self.pending.is_full()
    }

    /// A frame to fill; none while all are on their way.
    pub fn frame(&mut self) -> Option<P::Tx> {
        self.spare.take().or_else(|| self.queue.tx_alloc())
    }

    /// Keeps a frame that was not filled for the next packet.
    pub fn keep(&mut self, frame: P::Tx) {
        self.spare = Some(frame);
    }

    /// Queues a frame, for which [`PortSlot::make_room`] has made room.
    pub fn send(&mut self, core: &mut Core, mut frame: P::Tx) {
        core.counters.count(Counter::TxFrames);
        core.counters.add(Counter::TxBytes, frame.space().len() as u64);
        self.pending.push(frame);
    }

    /// Sends what is queued; whether all of it left.
    pub fn flush(&mut self) -> bool {
        self.queue.tx_burst(&mut self.pending);
        self.pending.is_empty()
    }

    /// Whether nothing is queued.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }
}

/// One lcore's whole state.
pub struct Lcore<P: Port, X> {
    pub(crate) core: Core,
    exchange: X,
    pub(crate) ports: Vec<PortSlot<P>>,
    rx: ArrayVec<P::Rx, BURST>,
    packets: Box<[packet::Packet; BURST]>,
    classified: s2_classify::Classified,
    crossing: s2_classify::Crossing,
    /// Low byte of the PSN of datagrams.
    pub(crate) datagram_psn: u32,
}

impl<P: Port, X: Exchange<P>> Lcore<P, X> {
    /// An lcore that goes on where a predecessor's stopped.
    #[must_use]
    pub fn resume(resumed: Resumed<P>, exchange: X) -> Self {
        let Resumed { core, ports, datagram_psn } = resumed;
        Self { ports, datagram_psn, ..Self::new(core, exchange) }
    }

    /// Stops between two bursts, for a successor: what housekeeping has sent is applied, what was to be sent is sent as
    /// far as the ports take it. No frame is received. It may be told of then, or go on with [`Lcore::poll`].
    pub fn stop(&mut self, now_ns: u64) {
        self.core.now_ns = now_ns;
        while let Some(mut batch) = self.exchange.take_batch() {
            apply(&mut self.core, &mut self.ports, &mut self.datagram_psn, &mut batch);
            self.exchange.return_batch(batch);
        }
        self.core.end_some(u32::MAX);
        for port in &mut self.ports {
            port.flush();
        }
    }

    /// Takes what other lcores have lent it, so that it can be told. All have stopped.
    pub(crate) fn take_lent(&mut self) {
        for at in 0..self.core.drive_numbers.len() {
            let number = self.core.drive_numbers[at];
            s6_submit::take_requests(&mut self.core, number);
        }
    }

    /// Takes what other lcores have answered, once each has taken what was lent.
    pub(crate) fn take_answered(&mut self) {
        for drive in self.core.drives.iter_mut().flatten() {
            if let Path::Borrowed(lender) = &mut drive.path {
                lender.take();
            }
        }
    }

    /// An lcore without ports, drives and QPs: housekeeping brings them.
    #[must_use]
    pub fn new(core: Core, exchange: X) -> Self {
        Self {
            core,
            exchange,
            ports: Vec::with_capacity(PORTS),
            rx: ArrayVec::new(),
            packets: Box::new([packet::Packet::default(); BURST]),
            classified: ArrayVec::new(),
            crossing: ArrayVec::new(),
            datagram_psn: 0,
        }
    }

    /// Its state, for counters and tests.
    pub fn core(&mut self) -> &mut Core {
        &mut self.core
    }

    /// Its ports.
    pub fn ports(&mut self) -> &mut [PortSlot<P>] {
        &mut self.ports
    }

    /// Walks all stages once. Whether anything was done.
    pub fn poll(&mut self, now_ns: u64) -> bool {
        let core = &mut self.core;
        core.now_ns = now_ns;
        core.counters.count(Counter::Polls);
        let before = Activity::of(core);
        let (mut batches, mut changes) = (0, 0);
        while let Some(mut batch) = self.exchange.take_batch() {
            (batches, changes) = (batches + 1, changes + batch.changes.len());
            apply(core, &mut self.ports, &mut self.datagram_psn, &mut batch);
            self.exchange.return_batch(batch);
            if batches == BATCHES || changes >= CHANGES {
                break;
            }
        }
        if !core.ending.is_empty() {
            core.end_some(ENDED);
        }
        for at in 0..self.ports.len() {
            let slot = &mut self.ports[at];
            core.stages.begin(core.cpu);
            s0_receive::run(core, &mut slot.queue, &mut self.rx);
            core.stages.end(0, core.cpu);
            if self.rx.is_empty() {
                continue;
            }
            let packets = s1_parse::run(slot.number, slot.mac, &self.rx, &mut self.packets);
            core.stages.end(1, core.cpu);
            let (classified, crossing) = (&mut self.classified, &mut self.crossing);
            s2_classify::run(core, slot, &mut self.exchange, &self.rx, packets, classified, crossing);
            core.stages.end(2, core.cpu);
            s3_transport::run(core, &self.rx, packets, &self.classified);
            core.stages.end(3, core.cpu);
            s4_capsule::run(core);
            core.stages.end(4, core.cpu);
            self.classified.clear();
            if self.crossing.is_empty() {
                slot.queue.rx_free(&mut self.rx);
            } else {
                cross::<P, X>(core, &mut self.exchange, &mut self.rx, &mut self.crossing);
            }
        }
        self.exchange.take_crossed(&mut self.rx);
        if !self.rx.is_empty() {
            let packets = s1_parse::crossed(&self.rx, &mut self.packets);
            s2_classify::crossed(core, &self.rx, packets, &mut self.classified);
            s3_transport::run(core, &self.rx, packets, &self.classified);
            s4_capsule::run(core);
            self.classified.clear();
            self.rx.clear();
        }
        core.stages.begin(core.cpu);
        s5_command::retry(core);
        core.stages.end(5, core.cpu);
        s6_submit::run(core);
        core.stages.end(6, core.cpu);
        s7_complete::run(core);
        core.stages.end(7, core.cpu);
        s8_respond::timers(core);
        s8_respond::run(core, &mut self.ports);
        core.stages.end(8, core.cpu);
        s9_transmit::run(core, &mut self.ports);
        core.stages.end(9, core.cpu);
        report(core, &mut self.exchange);
        let busy = Activity::of(core) != before;
        if busy {
            core.counters.count(Counter::BusyPolls);
        }
        busy
    }

    /// When its next timer may come up; `u64::MAX` without one. Nothing else of an lcore that has no [work in
    /// flight](Self::has_work_in_flight) waits for a time.
    #[must_use]
    pub fn next_timer_ns(&self) -> u64 {
        self.core.wheel.next_ns()
    }

    /// Whether commands or packets are under way, so that sleeping would add to their latency.
    #[must_use]
    pub fn has_work_in_flight(&self) -> bool {
        self.core.commands.free() < self.core.commands.capacity() - self.core.punted
            || self.ports.iter().any(|port| !port.is_idle())
            || self.core.drives.iter().flatten().any(DriveQueue::lends)
    }
}

/// Hands frames over to the lcores that own their QPs, in the order they came.
#[inline(never)]
fn cross<P: Port, X: Exchange<P>>(
    core: &mut Core,
    exchange: &mut X,
    rx: &mut ArrayVec<P::Rx, BURST>,
    crossing: &mut s2_classify::Crossing,
) {
    let mut crossing = core::mem::take(crossing).into_iter().peekable();
    for (index, frame) in rx.drain(..).enumerate() {
        if let Some((_, lcore)) = crossing.next_if(|(at, _)| *at == index) {
            match exchange.cross(lcore, frame) {
                Ok(()) => core.counters.count(Counter::Crossed),
                Err(_) => core.counters.count(Counter::CrossFull),
            }
        }
    }
}

/// What moved: a poll that changes none of it was idle.
#[derive(PartialEq, Eq)]
struct Activity([u64; 8]);

impl Activity {
    fn of(core: &Core) -> Self {
        use Counter::{Completed, Lent, LentCompleted, ParsedRoce, RxFrames, Submitted, TxFrames};
        let value = |counter| core.counters.value(counter);
        let lent = [value(Lent), value(LentCompleted)];
        let [submitted, completed] = [value(Submitted), value(Completed)];
        Self([
            value(RxFrames),
            value(ParsedRoce),
            value(TxFrames),
            submitted,
            completed,
            lent[0],
            lent[1],
            core.batches,
        ])
    }
}

/// Tells control what it must know, as far as the exchange has room.
#[inline(never)]
fn report<P: Port, X: Exchange<P>>(core: &mut Core, exchange: &mut X) {
    while let Some(Notice { kind, reason, object }) = core.notices.front().copied() {
        let body = event::Event { kind: U16::new(kind as u16), reason: U16::new(reason), object: U32::new(object) };
        if !exchange.report(|out| channel::emit_into(out, Kind::Event, 0, body.as_bytes(), &[])) {
            return;
        }
        core.notices.pop_front();
    }
    while let Some(index) = core.punting.front() {
        if core.commands[index].dead {
            pop(core);
            core.finish(index);
            continue;
        }
        let command = &core.commands[index];
        let qp = &core.qps[command.qp];
        let body = slow_path::Capsule {
            qpn: U32::new(qp.qpn()),
            punt: U32::new(command.punt),
            cntlid: U16::new(qp.cntlid),
            qid: U16::new(qp.qid),
            wanted: U32::new(if command.return_length > 0 { command.data.length() } else { 0 }),
            sqe: zerocopy::transmute!(command.sqe),
        };
        let fetched = if command.return_length > 0 { 0 } else { command.length as usize };
        let mut data = [0; gantry::channel::CAPSULE_DATA_MAX];
        let data = &mut data[..fetched];
        if command.page_count > 0 {
            core.memory.copy_pages(command, data);
        } else if fetched > 0 {
            core.memory.read_slot(index, crate::memory::SQE_BYTES, data);
        }
        if !exchange.report(|out| channel::emit_into(out, Kind::Capsule, 0, body.as_bytes(), data)) {
            return;
        }
        pop(core);
        core.commands[index].state = State::Punted;
        core.punted += 1;
    }
}

fn pop(core: &mut Core) {
    let mut list = core.punting;
    list.pop(&core.commands);
    core.punting = if list.is_empty() { List::EMPTY } else { list };
}

/// Applies a batch between two bursts.
#[inline(never)]
fn apply<P: Port>(core: &mut Core, ports: &mut Vec<PortSlot<P>>, datagram_psn: &mut u32, batch: &mut Batch<P>) {
    core.batches += 1;
    core.reader.enter(batch.generation);
    for change in &mut batch.changes {
        match change {
            Change::PortAdd { port, queue, mac, mtu } => {
                assert!(ports.len() < PORTS, "housekeeping bounds the ports");
                let queue = queue.take().expect("a batch is applied once");
                ports.push(PortSlot::new(*port, queue, *mac, *mtu));
            }
            Change::DriveAdd(parts) => {
                let parts = parts.take().expect("a batch is applied once");
                let number = parts.drive;
                core.add_drive(number, DriveQueue::new(parts));
            }
            Change::DriveRemove { drive, status, returned } => *returned = core.remove_drive(*drive, *status),
            Change::DriveNamespaces { drive, block_shifts } => {
                if let Some(drive) = &mut core.drives[usize::from(*drive)] {
                    drive.swap_block_shifts(block_shifts);
                }
            }
            Change::QpCreate { create, slot, qpn, receive_psn } => {
                let qp = open_qp(core, create, *qpn, *receive_psn, ports);
                core.qps.insert(*slot, qp);
                core.counters.count(Counter::QpsCreated);
            }
            Change::QpBind { slot, bind } => {
                if let Some(qp) = core.live(*slot, bind.qpn.get()) {
                    qp.cntlid = bind.cntlid.get();
                    qp.qid = bind.qid.get();
                    qp.resize(bind.entries.get());
                    core.liveness.touch(bind.cntlid.get(), core.now_ns);
                }
            }
            Change::QpDestroy { slot, qpn } => {
                if core.live(*slot, *qpn).is_some() {
                    core.close_qp(*slot);
                }
            }
            Change::QpFence { slot, qpn } => {
                if core.live(*slot, *qpn).is_some() {
                    core.fail_qp(*slot, event::QpFailure::KeepAlive);
                }
            }
            Change::Answer { slot, answer, data } => self::answer(core, *slot, answer, data),
            Change::Abort { slot, qpn, cid } => {
                if core.live(*slot, *qpn).is_some() {
                    core.abort(*slot, *cid);
                }
            }
            Change::Inject { path, dest_qpn, qkey, pkey, payload } => {
                *datagram_psn = datagram_psn.wrapping_add(1);
                inject(core, ports, path, (*dest_qpn, *qkey, *pkey), *datagram_psn, payload);
            }
            Change::Transmit { port, frame } => transmit(core, ports, *port, frame),
        }
    }
}

fn open_qp<P: Port>(
    core: &mut Core,
    create: &channel::operation::QpCreate,
    qpn: u32,
    receive_psn: u32,
    ports: &[PortSlot<P>],
) -> QpContext {
    let path = &create.path;
    let port = ports.iter().position(|slot| slot.number == path.port.get()).expect("housekeeping checks the port");
    // IBA 9.7.6.1.3: 4.096 µs × 2^code.
    let ack_timeout_ns = match create.ack_timeout {
        0 => 0,
        code => 4096_u64 << code.min(31),
    };
    let config = QpConfig {
        qpn: Qpn::new(qpn),
        remote_qpn: Qpn::new(create.remote_qpn.get()),
        receive_psn: Psn::new(receive_psn),
        send_psn: Psn::new(create.send_psn.get()),
        mtu: create.mtu.get(),
        pkey: create.pkey.get(),
        ack_timeout_ns,
        retry_count: create.retry_count,
        rnr_retry_count: create.rnr_retry_count,
        rnr_timer: RNR_TIMER,
        reads_max: create.reads.clamp(1, READS_MAX),
        responder_reads_max: 0,
    };
    let way = Way::of(path);
    let way = (core.ways.enter(port, &way), way.udp_source);
    QpContext::new(Qp::new(&config), way, create.qid.get(), create.depth.get())
}

/// RNR NAKs ask for 640 µs (IBA table 45, code 12): a burst's worth of drive time.
const RNR_TIMER: u8 = 12;

/// READs in flight on one QP, whatever the host would take.
const READS_MAX: u8 = 16;

/// Control's answer to a capsule. One that answers nothing (the QP has gone) is dropped.
fn answer(core: &mut Core, slot: u32, answer: &channel::operation::Answer, data: &[u8]) {
    if core.live(slot, answer.qpn.get()).is_none() {
        return;
    }
    let qp = &core.qps[slot];
    let punted = |index: &u32| {
        let command = &core.commands[*index];
        command.state == State::Punted && command.punt == answer.punt.get()
    };
    let walk = core::iter::successors(qp.commands.first(), |index| Ring::after(&core.commands, *index));
    let Some(index) = walk.into_iter().find(punted) else { return };
    core.punted -= 1;
    let command = &mut core.commands[index];
    let length = data.len().min(command.return_length as usize).min(usize::from(command.page_count) * PAGE);
    command.return_length = length as u32;
    core.memory.fill_pages(command, &data[..length]);
    s8_respond::respond(core, index, Status(answer.status.get()), answer.dw0.get(), answer.dw1.get());
}

/// Sends a frame as it is.
fn transmit<P: Port>(core: &mut Core, ports: &mut [PortSlot<P>], port: u16, bytes: &[u8]) {
    let Some(port) = ports.iter_mut().find(|slot| slot.number == port) else { return };
    if !port.make_room(core) {
        core.counters.count(Counter::AnswerTxFull);
        return;
    }
    let Some(mut frame) = port.frame() else {
        core.counters.count(Counter::TxPoolEmpty);
        return;
    };
    // Housekeeping has seen to it that the port takes frames of that length.
    let Some(space) = frame.space().get_mut(..bytes.len()) else { return };
    space.copy_from_slice(bytes);
    frame.truncate(bytes.len());
    port.send(core, frame);
}

fn inject<P: Port>(
    core: &mut Core,
    ports: &mut [PortSlot<P>],
    path: &channel::Path,
    (dest_qpn, qkey, pkey): (u32, u32, u16),
    psn: u32,
    payload: &[u8],
) {
    let Some(port) = ports.iter_mut().find(|slot| slot.number == path.port.get()) else { return };
    if !port.make_room(core) {
        core.counters.count(Counter::AnswerTxFull);
        return;
    }
    let Some(mut frame) = port.frame() else {
        core.counters.count(Counter::TxPoolEmpty);
        return;
    };
    let transport = s9_transmit::datagram_transport(Qpn::new(dest_qpn), Psn::new(psn & 0xff_ffff), qkey, pkey);
    let length = s9_transmit::datagram(core, (port.number, &Way::of(path)), &transport, payload, frame.space());
    frame.truncate(length);
    port.send(core, frame);
}
