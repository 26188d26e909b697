//! A medium that is watched, from inside the model's step, and faults that come and go at any time in one thread.

use crate::rig::{CONFIG, Rig};
use gantry_dma::Region;
use gantry_drive::{Error, Faults, Latency, Media, MediaChance, open_with};
use gantry_nvme::{Config, Controller, Event, Failure, Reason, command};
use gantry_wire::nvme::register::{self, Cap};
use gantry_wire::nvme::{Cid, Cqe, Nsid, Sqe, Status, admin};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use zerocopy::{FromBytes, IntoBytes};

const ONE: Nsid = Nsid(1);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Call {
    Read(u64, usize),
    Write(u64, Vec<u8>),
    Zero(u64, u64),
    Flush,
    FlushRange(u64, u64),
    LosePower(u64),
}

type Seen = Arc<Mutex<Vec<Call>>>;

/// What it is to do to the drive, besides watching.
type Meddle = Box<dyn FnMut(&Call, &Mutex<Faults>) + Send>;

/// Set once the drive that it meddles with is there.
type Hook = Arc<Mutex<Option<(Arc<Mutex<Faults>>, Meddle)>>>;

struct Watched {
    behind: Box<dyn Media>,
    seen: Seen,
    meddle: Hook,
}

impl Watched {
    fn saw(&self, call: Call) {
        if let Some((faults, meddle)) = &mut *self.meddle.lock() {
            meddle(&call, faults);
        }
        self.seen.lock().push(call);
    }
}

impl Media for Watched {
    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.saw(Call::Read(offset, bytes.len()));
        self.behind.read(offset, bytes)
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.saw(Call::Write(offset, bytes.to_vec()));
        self.behind.write(offset, bytes)
    }
    fn zero(&mut self, offset: u64, length: u64, deallocate: bool) -> io::Result<()> {
        self.saw(Call::Zero(offset, length));
        self.behind.zero(offset, length, deallocate)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.saw(Call::Flush);
        self.behind.flush()
    }
    fn flush_range(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.saw(Call::FlushRange(offset, length));
        self.behind.flush_range(offset, length)
    }
    fn has_cache(&self) -> bool {
        self.behind.has_cache()
    }
    fn lose_power(&mut self, survives_seed: u64) {
        self.saw(Call::LosePower(survives_seed));
        self.behind.lose_power(survives_seed);
    }
}

/// A drive that is ready, what its medium sees, and, when wanted, what happens at that.
fn watched(uri: &str, meddle: Option<Meddle>) -> (Rig, Seen) {
    let (seen, hook) = (Seen::default(), Hook::default());
    let (watcher, meddler) = (Arc::clone(&seen), Arc::clone(&hook));
    let drive = open_with(uri, "test", |behind| Box::new(Watched { behind, seen: watcher, meddle: meddler })).unwrap();
    *hook.lock() = meddle.map(|meddle| (drive.faults(), meddle));
    let mut rig = Rig::cold(drive, CONFIG);
    assert_eq!(rig.event(), Event::Ready);
    (rig, seen)
}

#[test]
fn each_executed_command_is_seen_once_with_its_bytes() {
    for uri in ["mem:1M,namespaces=2", "mem:1M,namespaces=2,cache=volatile"] {
        let (mut rig, seen) = watched(uri, None);
        let mut queue = rig.controller.take_io_queue(0);
        rig.put(0, &[7; 1024]);
        let (prps, two) = (rig.prps(0, 1024), Nsid(2));
        let mut run = |sqe: Sqe| {
            let status = rig.run(&mut queue, &sqe).status();
            (status.is_success(), std::mem::take(&mut *seen.lock()))
        };
        let at = (512 << 10) + 3 * 512;
        let written = Call::Write(at, vec![7; 1024]);
        assert_eq!(run(command::write(two, Cid(1), 3, 2, prps, false)), (true, vec![written.clone()]));
        assert_eq!(run(command::read(two, Cid(1), 3, 2, prps, false)), (true, vec![Call::Read(at, 1024)]));
        let durable = Call::FlushRange(at, 1024);
        assert_eq!(run(command::write(two, Cid(1), 3, 2, prps, true)), (true, vec![written, durable]));
        assert_eq!(run(command::write_zeroes(two, Cid(1), 3, 2, false, false)), (true, vec![Call::Zero(at, 1024)]));
        assert_eq!(run(command::flush(two, Cid(1))), (true, vec![Call::FlushRange(512 << 10, 512 << 10)]));
        assert_eq!(run(command::flush(Nsid::ALL, Cid(1))), (true, vec![Call::Flush]));
        assert_eq!(run(command::write(two, Cid(1), 1 << 30, 2, prps, false)), (false, vec![]), "never executed");
        rig.drive.lose_power(42);
        assert_eq!(*seen.lock(), [Call::LosePower(42)]);
    }
}

/// Of a write that fails, the watcher sees exactly what is written.
#[test]
fn the_beginning_of_a_failed_write_is_seen() {
    let (mut rig, seen) = watched("mem:1M", None);
    let mut queue = rig.controller.take_io_queue(0);
    rig.put(0, &[9; 4096]);
    let all = MediaChance { seed: 1, reads_of_10_000: 0, writes_of_10_000: 10_000 };
    rig.faults(|faults| faults.media_chance = Some(all));
    let mut lengths = [0; 9];
    for cid in 0..200 {
        let write = command::write(ONE, Cid(cid), 8, 8, rig.prps(0, 4096), true);
        assert_eq!(rig.run(&mut queue, &write).status(), Status::WRITE_FAULT);
        match &std::mem::take(&mut *seen.lock())[..] {
            [] => lengths[0] += 1,
            [Call::Write(4096, bytes)] => lengths[bytes.len() / 512] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(lengths.iter().all(|&count| count > 0), "{lengths:?}");
}

/// The watcher breaks the drive from inside a write: nothing locks up, the write is done, the next is not, and a reset
/// cures it once the fault is over.
#[test]
fn faults_change_from_inside_the_medium() {
    let mut writes = 0;
    let meddle: Meddle = Box::new(move |call, faults| {
        writes += u32::from(matches!(call, Call::Write(..)));
        faults.lock().fatal = writes == 3;
    });
    let (mut rig, seen) = watched("mem:1M", Some(meddle));
    let mut queue = rig.controller.take_io_queue(0);
    let latency = Latency { seed: 1, base_ns: 50_000, jitter_ns: 0, tail_of_10_000: 0, tail_ns: 0 };
    rig.faults(|faults| faults.latency = Some(latency));
    for cid in 0..5 {
        queue.submit(&command::write(ONE, Cid(cid), u64::from(cid), 1, rig.prps(0, 512), false)).unwrap();
        queue.ring();
        rig.quiet(1);
    }
    assert_eq!(rig.event(), Event::Failed(Failure { reason: Reason::Fatal, stopped: true }));
    assert_eq!(seen.lock().len(), 3);
    assert_eq!(rig.drive.model().next_ns(), u64::MAX, "what was held is gone with the reset");
    rig.faults(|faults| faults.fatal = false);
    rig.controller.give_back(queue);
    rig.controller.restart();
    assert_eq!(rig.event(), Event::Ready);
    let mut queue = rig.controller.take_io_queue(0);
    assert!(rig.run(&mut queue, &command::write(ONE, Cid(0), 0, 1, rig.prps(0, 512), false)).status().is_success());
    assert_eq!(seen.lock().len(), 4, "nothing of before the reset was executed after it");
}

/// Fatal and stopped are switched at every moment under load. A drive that was only stopped goes on where it was; a fatal
/// one comes back by reset.
#[test]
fn fatal_and_stopped_come_and_go() {
    let mut rig = Rig::new("mem:1M");
    let mut queue = rig.controller.take_io_queue(0);
    let latency = Latency { seed: 3, base_ns: 20_000, jitter_ns: 40_000, tail_of_10_000: 0, tail_ns: 0 };
    rig.faults(|faults| faults.latency = Some(latency));
    let (mut next, mut resets, mut completed) = (0u16, 0, 0);
    for round in 0..3000u32 {
        rig.faults(|faults| faults.stopped = round % 7 > 3);
        if round % 7 == 5 {
            assert_eq!(rig.drive.model().next_ns(), u64::MAX, "a clock that jumps does not wait for a stopped drive");
        }
        rig.faults(|faults| faults.fatal = round % 500 > 490);
        while queue.room() > 50 {
            next = (next + 1) % 0x4000;
            queue.submit(&command::flush(ONE, Cid(next))).unwrap();
        }
        queue.ring();
        let event = rig.tick();
        while let Some(cqe) = queue.poll() {
            assert!(cqe.status().is_success());
            completed += 1;
        }
        queue.release();
        if let Some(event) = event {
            assert_eq!(event, Event::Failed(Failure { reason: Reason::Fatal, stopped: true }));
            rig.faults(|faults| (faults.fatal, faults.stopped) = (false, false));
            rig.controller.give_back(queue);
            rig.controller.restart();
            assert_eq!(rig.event(), Event::Ready);
            queue = rig.controller.take_io_queue(0);
            resets += 1;
        }
    }
    assert!(resets >= 6 && completed > 3000, "{resets} resets, {completed} completed");
    rig.faults(|faults| faults.stopped = false);
    rig.quiet(10);
    while queue.poll().is_some() {}
    assert_eq!(queue.outstanding(), 0, "each was answered, stopped in between or not");
}

/// The smallest queue there can be: one entry is always empty.
#[test]
fn two_entries_are_enough() {
    let mut rig = Rig::new("mem:1M,entries=2");
    assert_eq!(Cap(rig.drive.bar().load_u64(register::CAP, Ordering::Relaxed)).mqes(), 1);
    assert_eq!(rig.controller.inventory().io_entries, 2);
    let mut queue = rig.controller.take_io_queue(0);
    for round in 0..100 {
        let sqe = command::flush(ONE, Cid(round));
        queue.submit(&sqe).unwrap();
        assert!(queue.submit(&command::flush(ONE, Cid(1000))).is_err());
        queue.ring();
        assert_eq!(rig.answer(&mut queue).cid(), Cid(round));
    }
    let refused = |uri: &str| open_with(uri, "test", |media| media).err();
    assert!(matches!(refused("mem:1M,entries=1"), Some(Error::Value { option: "entries", .. })));
}

/// The longest queue there can be, by hand: 65,536 entries, all of them used, and the phase turns after the last.
#[test]
fn sixty_five_thousand_entries() {
    const ENTRIES: usize = 1 << 16;
    let drive = gantry_drive::open("mem:1M,entries=65536", "test").unwrap();
    let memory = Region::shared(ENTRIES * (Sqe::LEN + Cqe::LEN)).unwrap();
    drive.map(Arc::clone(&memory)).unwrap();
    let mut rig = Rig::cold(drive, Config { io_queues: 1, ..CONFIG });
    assert_eq!(rig.event(), Event::Ready);
    let mut ask = |opcode, size: usize, at: usize, cdw11: u32| {
        let mut sqe = Sqe::new(opcode, Cid(0), Nsid(0));
        sqe.set_prps(memory.iova(at), 0);
        (sqe.cdw10, sqe.cdw11) = ((1 | (size as u32) << 16).into(), cdw11.into());
        rig.controller.submit_admin(rig.now_ns, sqe).unwrap();
        let Event::AdminCompleted { cqe, .. } = rig.event() else { panic!() };
        assert!(cqe.status().is_success(), "{opcode:#x}: {}", cqe.status());
    };
    ask(admin::DELETE_IO_SQ, 0, 0, 0);
    ask(admin::DELETE_IO_CQ, 0, 0, 0);
    ask(admin::CREATE_IO_CQ, ENTRIES - 1, ENTRIES * Sqe::LEN, 1);
    ask(admin::CREATE_IO_SQ, ENTRIES - 1, 0, 1 | 1 << 16);
    for entry in 0..ENTRIES {
        memory.write(entry * Sqe::LEN, command::flush(ONE, Cid(entry as u16)).as_bytes());
    }
    let (bar, mut head) = (rig.drive.bar(), 0);
    for tail in [ENTRIES - 1, 5] {
        bar.store_u32(register::sq_doorbell(1, 0), tail as u32, Ordering::Release);
        while rig.drive.model().step(rig.now_ns) {}
        while head != tail {
            let mut bytes = [0; Cqe::LEN];
            memory.read(ENTRIES * Sqe::LEN + head * Cqe::LEN, &mut bytes);
            let cqe = Cqe::read_from_bytes(&bytes).unwrap();
            assert!(cqe.status().is_success());
            assert_eq!((usize::from(cqe.cid().0), cqe.phase()), (head, tail != 5 || head == ENTRIES - 1));
            head = (head + 1) % ENTRIES;
        }
        bar.store_u32(register::cq_doorbell(1, 0), head as u32, Ordering::Release);
    }
    let needed = Controller::memory_needed(1, CONFIG.io_entries);
    assert!(needed < memory.length(), "the driver itself asks for less");
}
