//! One lcore's state, told and taken up. Its tables follow from housekeeping's records.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use gantry_roce::{QpState, WorkKind};
use gantry_wire::nvme::{Cqe, Sqe, Status};
use serde::{Deserialize, Serialize};

use super::drives::{Lending, take_up_drive};
use super::{Handed, Refused, Regions, Resumed, must, told};
use crate::Lcore;
use crate::command::{Command, Commands, Data, List, NONE, PAGES_MAX, Ring, State, Task};
use crate::drive::DriveQueueState;
use crate::exchange::Exchange;
use crate::housekeeping::{Environment, Housekeeping};
use crate::lcore::PortSlot;
use crate::memory::{IN_CAPSULE_MAX, PAGE, SLOT_BYTES};
use crate::port::Port;
use crate::qp::QpContext;
use crate::s6_submit::extent_of;
use crate::state::{Core, DRIVES, Notice, PORTS};
use crate::ways::Way;
use crate::wheel::{Wheel, WheelState};

/// An lcore, told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LcoreState {
    memory: u32,
    /// Port numbers in the order in which QPs name them.
    ports: Vec<u16>,
    datagram_psn: u32,
    /// By name: releases may count differently.
    counters: Vec<(String, u64)>,
    qps: Vec<QpTold>,
    /// QPs with something to send, first to last.
    line: Vec<u32>,
    wheel: WheelState,
    /// Drives in the order in which they came.
    pub(super) drives: Vec<(u16, DriveQueueState)>,
    waiting_tenant: Vec<u32>,
    waiting_pages: Vec<u32>,
    /// Which drive's turn it is among those that have commands waiting.
    turn: u32,
    waiting_fetch: Vec<u32>,
    punting: Vec<u32>,
    notices: Vec<Notice>,
    drive_check_ns: u64,
    batches: u64,
}

impl LcoreState {
    /// The number of its DMA memory among the regions.
    pub(super) fn memory(&self) -> u32 {
        self.memory
    }
}

/// A QP with its commands, told.
#[derive(Debug, Serialize, Deserialize)]
struct QpTold {
    slot: u32,
    transport: QpState,
    port: u8,
    way: Way,
    cntlid: u16,
    qid: u16,
    sqsize: u16,
    sqhd: u16,
    punt: u32,
    receiving: Option<u32>,
    established: bool,
    fenced: bool,
    closing: bool,
    /// In the order of its ring.
    commands: Vec<CommandTold>,
}

/// A command, told.
#[derive(Debug, Serialize, Deserialize)]
struct CommandTold {
    index: u32,
    state: State,
    dead: bool,
    aborted: bool,
    #[serde(with = "told::bytes")]
    sqe: Sqe,
    capsule_length: u32,
    data: Data,
    task: Task,
    tenant: u16,
    paid: bool,
    waiting_since_ns: u64,
    length: u32,
    return_length: u32,
    pages: Vec<u32>,
    blocks_submitted: u32,
    pieces: u16,
    status: u16,
    #[serde(with = "told::bytes")]
    cqe: [u8; Cqe::LEN],
    punt: u32,
}

/// Tells a stopped lcore.
pub(super) fn tell<P: Port, X: Exchange<P>>(lcore: &Lcore<P, X>, regions: &mut Regions) -> LcoreState {
    let Core { qps, ways, commands, works, memory, drives, drive_numbers, wheel, counters, notices, .. } = &lcore.core;
    let Core { arrived, waiting_tenant, waiting_pages, waiting_fetch, punting, drive_check_ns, batches, .. } =
        &lcore.core;
    let Core { budgets, .. } = &lcore.core;
    // What follows from the rest, or is the successor's own.
    let Core { cpu: _, now_ns: _, sizes: _, lcore: _, reader: _, outgoing: _, .. } = &lcore.core;
    let Core { ready: _, in_flight: _, fetching: _, liveness: _, punted: _, told_ns: _, .. } = &lcore.core;
    assert!(arrived.is_empty(), "between bursts s4 has taken every capsule");
    assert!(lcore.core.ending.is_empty(), "an lcore that has stopped has ended what drives left behind");
    let walk = |list: &List| -> Vec<u32> { list.walk(commands).collect() };
    let qp_told = |slot: u32| {
        let QpContext { transport, way, udp_source, ip_id, cntlid, qid, sqsize, sqhd, punt, receiving, .. } =
            &qps[slot];
        let QpContext { commands: ring, established, fenced, closing, active: _, active_next: _, .. } = &qps[slot];
        // What follows from the line.
        let QpContext { active_previous: _, waiting: _, .. } = &qps[slot];
        // Of it, the lower headers follow from the rest and the tables.
        let way = &ways[*way];
        let ring = core::iter::successors(ring.first(), |index| Ring::after(commands, *index));
        QpTold {
            slot,
            transport: transport.tell(works),
            port: way.port as u8,
            way: Way { udp_source: *udp_source, ip_id: *ip_id, ..way.way },
            cntlid: *cntlid,
            qid: *qid,
            sqsize: *sqsize,
            sqhd: *sqhd,
            punt: *punt,
            receiving: (*receiving != NONE).then_some(*receiving),
            established: *established,
            fenced: *fenced,
            closing: *closing,
            commands: ring.map(|index| CommandTold::of(index, &commands[index])).collect(),
        }
    };
    let mut drive_told = |number: u16| {
        let queue = drives[usize::from(number)].as_ref().expect("a number of a drive that exists");
        let prp_lists = regions.number(&queue.prp_lists);
        (number, queue.tell(commands, prp_lists))
    };
    let drives = drive_numbers.iter().map(|number| drive_told(*number)).collect();
    LcoreState {
        memory: regions.number(memory.region()),
        ports: lcore.ports.iter().map(|port| port.number).collect(),
        datagram_psn: lcore.datagram_psn,
        counters: counters
            .iter()
            .filter(|(_, value)| *value > 0)
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        qps: qps.taken().map(qp_told).collect(),
        line: qps.line().collect(),
        wheel: wheel.tell(),
        drives,
        waiting_tenant: walk(waiting_tenant),
        waiting_pages: walk(waiting_pages),
        turn: budgets.turn as u32,
        waiting_fetch: walk(waiting_fetch),
        punting: walk(punting),
        notices: notices.iter().copied().collect(),
        drive_check_ns: *drive_check_ns,
        batches: *batches,
    }
}

impl CommandTold {
    fn of(index: u32, command: &Command) -> Self {
        let Command { state, dead, aborted, qp: _, sqe, capsule_length, data, task, length, return_length, .. } =
            command;
        let Command { tenant, paid, waiting_since_ns, .. } = command;
        let Command { pages, page_count, blocks_submitted, pieces, status, cqe, punt, .. } = command;
        // Follow from where it is.
        let Command { charged: _, next: _, qp_next: _, qp_previous: _, .. } = command;
        Self {
            index,
            state: *state,
            dead: *dead,
            aborted: *aborted,
            sqe: *sqe,
            capsule_length: *capsule_length,
            data: *data,
            task: *task,
            tenant: *tenant,
            paid: *paid,
            waiting_since_ns: *waiting_since_ns,
            length: *length,
            return_length: *return_length,
            pages: pages[..usize::from(*page_count)].to_vec(),
            blocks_submitted: *blocks_submitted,
            pieces: *pieces,
            status: status.0,
            cqe: *cqe,
            punt: *punt,
        }
    }

    /// Whether its lengths and its data agree with the buffers that it has where it is.
    fn check(&self) -> Result<(), Refused> {
        let held = self.pages.len() * PAGE;
        let (length, returned) = (self.length as usize, self.return_length as usize);
        let in_capsule = matches!(self.data, Data::InCapsule { length: described } if length <= described as usize
            && described as usize <= IN_CAPSULE_MAX);
        let keyed = matches!(self.data, Data::Keyed { length: described, .. } if length <= described as usize);
        let fits = match self.state {
            State::Free => false,
            State::Receiving => self.pages.is_empty() && self.pieces == 0,
            State::WaitingTenant | State::WaitingPages => self.pages.is_empty() && (in_capsule || keyed || length == 0),
            State::WaitingFetch | State::Fetching => keyed && returned == 0 && 0 < length && length <= held,
            State::Ready | State::Submitted | State::Punting | State::Punted => {
                returned <= held && (length <= held || in_capsule && self.pages.is_empty())
            }
            State::Responding => returned <= held,
        };
        let told = || format!("command {} in state {:?} has other buffers", self.index, self.state);
        must(fits && self.pages.len() <= PAGES_MAX && self.capsule_length as usize <= SLOT_BYTES, told)?;
        let at_drive = matches!(self.state, State::Ready | State::Submitted);
        let task = match self.task {
            Task::Undecided => matches!(self.state, State::Receiving | State::Responding),
            Task::Punt => !at_drive,
            Task::Drive { drive, blocks, block_shift, .. } => {
                usize::from(drive) < DRIVES
                    && block_shift <= 16
                    && self.blocks_submitted <= extent_of(&self.sqe, blocks)
                    && !matches!(self.state, State::Punting | State::Punted)
            }
        };
        must(task, || format!("command {} in state {:?} has another task", self.index, self.state))
    }

    fn take_up(&self, qp: u32) -> (u32, Command) {
        let mut pages = [NONE; PAGES_MAX];
        pages[..self.pages.len()].copy_from_slice(&self.pages);
        let command = Command {
            state: self.state,
            dead: self.dead,
            aborted: self.aborted,
            qp,
            sqe: self.sqe,
            capsule_length: self.capsule_length,
            data: self.data,
            task: self.task,
            tenant: self.tenant,
            paid: self.paid,
            waiting_since_ns: self.waiting_since_ns,
            length: self.length,
            return_length: self.return_length,
            pages,
            page_count: self.pages.len() as u8,
            blocks_submitted: self.blocks_submitted,
            pieces: self.pieces,
            status: Status(self.status),
            cqe: self.cqe,
            punt: self.punt,
            next: UNLISTED,
            ..Command::idle()
        };
        (self.index, command)
    }
}

impl QpTold {
    /// Whether the QP's numbers, its commands and the transport's work agree.
    fn check(&self, ports: usize) -> Result<(), Refused> {
        let qpn = self.transport.qpn().value();
        must(usize::from(self.port) < ports, || format!("QP {qpn:#x} names no port"))?;
        must(self.sqsize >= 1 && self.sqhd <= self.sqsize, || format!("QP {qpn:#x} has no such queue head"))?;
        must(!self.closing || self.fenced, || format!("QP {qpn:#x} ends and still serves"))?;
        for command in &self.commands {
            command.check()?;
            let receiving = command.state == State::Receiving;
            let held = receiving == (self.receiving == Some(command.index)) && (!self.closing || command.dead);
            must(held, || format!("QP {qpn:#x} and its command {} disagree", command.index))?;
        }
        let of = |index: u32| self.commands.iter().find(|command| command.index == index);
        must(self.receiving.is_none_or(|index| of(index).is_some()), || format!("QP {qpn:#x} receives nothing"))?;
        let (mut reads, mut sends, mut writes) = (Vec::new(), Vec::new(), Vec::new());
        for work in self.transport.works() {
            let command = of(work.cookie);
            let (list, state, length) = match work.kind {
                WorkKind::Read { .. } => (&mut reads, State::Fetching, command.map(|command| command.length)),
                WorkKind::Write { .. } => {
                    (&mut writes, State::Responding, command.map(|command| command.return_length))
                }
                WorkKind::Send { .. } => (&mut sends, State::Responding, Some(Cqe::LEN as u32)),
            };
            let right = command.is_some_and(|command| command.state == state) && length == Some(work.length);
            must(right && !list.contains(&work.cookie), || format!("QP {qpn:#x} has work for no command"))?;
            list.push(work.cookie);
        }
        let count = |state: State| self.commands.iter().filter(|command| command.state == state).count();
        let whole = count(State::Fetching) == reads.len() && count(State::Responding) == sends.len();
        must(whole, || format!("QP {qpn:#x} has commands that wait for no work"))
    }
}

/// Makes an lcore of what was told. `queues` are its queue pairs by port.
pub(super) fn take_up<E: Environment>(
    told: LcoreState,
    mut core: Core,
    mut queues: Vec<(u16, E::Queue)>,
    housekeeping: &Housekeeping<E>,
    regions: &mut Handed,
    lending: &mut Lending,
) -> Result<Resumed<E::Queue>, Refused>
where
    E::Queue: Port,
{
    let mut ports = Vec::with_capacity(PORTS);
    must(told.ports.len() <= PORTS, || String::from("an lcore polls too many ports"))?;
    for number in &told.ports {
        let at = queues.iter().position(|(of, _)| of == number);
        let (Some(at), Some((mac, mtu))) = (at, housekeeping.port(*number)) else {
            return Err(Refused::Unfit(format!("lcore {} was handed no queue pair of port {number}", core.lcore)));
        };
        ports.push(PortSlot::new(*number, queues.swap_remove(at).1, mac, mtu));
    }
    must(queues.is_empty(), || String::from("an lcore was handed more ports than it polls"))?;
    for (name, value) in &told.counters {
        core.counters.restore(name, *value);
    }
    for qp in &told.qps {
        qp.check(ports.len())?;
    }
    take_up_commands(&mut core, &told.qps)?;
    for qp in told.qps {
        take_up_qp(&mut core, qp)?;
    }
    take_up_lists(&mut core, [&told.waiting_tenant, &told.waiting_pages, &told.waiting_fetch, &told.punting])?;
    let for_control = told.waiting_pages.iter().all(|index| core.commands[*index].task == Task::Punt);
    must(for_control, || String::from("a command for a drive waits among those for control"))?;
    for slot in Wheel::objects(&told.wheel) {
        let runs = slot < core.sizes.qps && core.qps.at(slot).is_some_and(|qp| !qp.closing);
        must(runs, || format!("a timer of slot {slot}, where no QP needs one"))?;
    }
    let wheel = Wheel::take_up(&told.wheel, core.sizes.qps);
    core.wheel = wheel.ok_or_else(|| Refused::Inconsistent(String::from("timers that cannot be")))?;
    for slot in told.line {
        let waits = slot < core.sizes.qps && core.qps.at(slot).is_some_and(|qp| !qp.active);
        must(waits, || format!("slot {slot} is in the line of those that send, without a QP or twice"))?;
        core.qps.activate(slot);
    }
    must(told.notices.len() <= core.notices.capacity(), || String::from("more notices than objects can give"))?;
    core.notices.extend(told.notices);
    let mut pieces: Box<[u32]> = (0..core.sizes.commands).map(|_| 0).collect();
    for (number, drive) in told.drives {
        take_up_drive(&mut core, number, drive, housekeeping, regions, lending, &mut pieces)?;
    }
    for index in 0..core.sizes.commands {
        let command = &core.commands[index];
        let listed = !matches!(command.state, State::Ready | State::WaitingPages) || command.next != UNLISTED;
        let agree = u32::from(command.pieces) == pieces[index as usize] && listed;
        must(agree, || format!("command {index} and its drive disagree"))?;
    }
    charge(&mut core);
    core.budgets.turn = told.turn as usize;
    core.drive_check_ns = told.drive_check_ns;
    core.batches = told.batches;
    Ok(Resumed { core, ports, datagram_psn: told.datagram_psn })
}

/// What `next` is of a command that is on no list yet, while lists are linked anew.
const UNLISTED: u32 = NONE - 1;

/// Drives' budgets follow from where commands are.
fn charge(core: &mut Core) {
    for index in 0..core.sizes.commands {
        let command = &mut core.commands[index];
        let goes_on = matches!(command.state, State::WaitingFetch | State::Fetching | State::Ready | State::Submitted);
        if let Task::Drive { drive, .. } = command.task
            && goes_on
        {
            command.charged = true;
            core.budgets.charge(drive, command.page_count.into());
        }
    }
}

/// Puts every command where it was, and takes its pages.
fn take_up_commands(core: &mut Core, qps: &[QpTold]) -> Result<(), Refused> {
    let mut taken: Box<[bool]> = (0..core.sizes.commands).map(|_| false).collect();
    for command in qps.iter().flat_map(|qp| &qp.commands) {
        let once = taken.get_mut(command.index as usize).is_some_and(|taken| !core::mem::replace(taken, true));
        must(once, || format!("command {} is none, or there twice", command.index))?;
    }
    let pages = qps.iter().flat_map(|qp| &qp.commands).flat_map(|command| command.pages.iter().copied());
    must(core.memory.hold(pages), || String::from("a page is none, or held twice"))?;
    let placed = qps.iter().flat_map(|qp| qp.commands.iter().map(|command| command.take_up(qp.slot)));
    core.commands = Commands::restore(core.sizes.commands, placed);
    Ok(())
}

fn take_up_qp(core: &mut Core, told: QpTold) -> Result<(), Refused> {
    let QpTold { slot, transport, port, way, cntlid, qid, sqsize, sqhd, punt, receiving, .. } = told;
    let QpTold { established, fenced, closing, commands: ring, .. } = told;
    let free = slot < core.sizes.qps && core.qps.at(slot).is_none();
    must(free, || format!("QP slot {slot} is none, or there twice"))?;
    let port = usize::from(port);
    let mut commands = Ring::EMPTY;
    for command in ring.iter().rev() {
        commands.insert(&mut core.commands, command.index);
        match command.state {
            State::Fetching => core.fetching[port] += u64::from(command.length),
            State::Punted => core.punted += 1,
            _ => {}
        }
    }
    let transport = transport.take_up(&mut core.works)?;
    let fresh = QpContext::new(transport, (core.ways.enter(port, &way), way.udp_source), qid, 0);
    let (ip_id, receiving) = (way.ip_id, receiving.unwrap_or(NONE));
    let qp = QpContext { ip_id, cntlid, sqsize, sqhd, punt, receiving, ..fresh };
    let qp = QpContext { commands, established, fenced, closing, ..qp };
    core.qps.insert(slot, qp);
    Ok(())
}

/// Links the lists anew that commands wait on, each on the one that its state says.
fn take_up_lists(core: &mut Core, told: [&[u32]; 4]) -> Result<(), Refused> {
    let Core { commands, waiting_tenant, waiting_pages, waiting_fetch, punting, .. } = core;
    let states = [State::WaitingTenant, State::WaitingPages, State::WaitingFetch, State::Punting];
    for ((list, told), state) in
        [waiting_tenant, waiting_pages, waiting_fetch, punting].into_iter().zip(told).zip(states)
    {
        link(commands, list, told, state)?;
    }
    for index in 0..commands.capacity() {
        let command = &commands[index];
        // Drives have lists of those that wait for pages, too.
        let at_drive = command.state == State::WaitingPages && matches!(command.task, Task::Drive { .. });
        let listed = !states.contains(&command.state) || at_drive || command.next != UNLISTED;
        must(listed, || format!("command {index} is in state {:?} and on no list", command.state))?;
    }
    Ok(())
}

pub(super) fn link(commands: &mut Commands, list: &mut List, told: &[u32], state: State) -> Result<(), Refused> {
    for index in told.iter().copied() {
        let belongs = index < commands.capacity()
            && commands[index].state == state
            && core::mem::replace(&mut commands[index].next, NONE) == UNLISTED;
        must(belongs, || format!("command {index} is on a list of those in state {state:?}"))?;
        list.push(commands, index);
    }
    Ok(())
}
