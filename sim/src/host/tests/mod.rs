//! The host against a small target of its own, and against what a real host sent.

mod attention;
mod golden;
mod habits;
mod stories;
mod target;

use super::{Done, Host, HostConfig, Io, IoKind, State};
use std::collections::VecDeque;
use target::{SUBNQN, Target};

/// One way through the wire.
const DELAY_NS: u64 = 10_000;

/// A host, a target, and a wire that loses frames.
pub(super) struct Pair {
    host: Host,
    target: Target,
    now_ns: u64,
    to_target: VecDeque<(u64, Vec<u8>)>,
    to_host: VecDeque<(u64, Vec<u8>)>,
    /// Frames of the host, as sent.
    sent: Vec<Vec<u8>>,
    /// One frame of so many is lost, at random; zero loses none.
    loss_one_in: u64,
    dice: super::Random,
    /// Before each fourth frame to the host comes a copy with a byte changed and the ICRC made right again.
    garble: Option<super::Random>,
}

impl Pair {
    fn new() -> Pair {
        Pair::with(config())
    }

    fn with(config: HostConfig) -> Pair {
        Pair {
            host: Host::new(config, 0),
            target: Target::new(),
            now_ns: 0,
            to_target: VecDeque::new(),
            to_host: VecDeque::new(),
            sent: Vec::new(),
            loss_one_in: 0,
            dice: super::Random(1),
            garble: None,
        }
    }

    /// Connected with `io_queues` queues of 32 entries.
    fn connected(io_queues: u16) -> Pair {
        let mut pair = Pair::new();
        pair.host.connect(SUBNQN, io_queues, 32, 5000);
        pair.run_until(|host| *host.state() != State::Connecting);
        assert_eq!((pair.host.state(), pair.host.violations()), (&State::Ready, &[][..]));
        pair
    }

    /// Runs until the host says so; panics when that takes more than ten minutes of virtual time.
    fn run_until(&mut self, mut done: impl FnMut(&mut Host) -> bool) {
        while !done(&mut self.host) {
            assert!(self.now_ns < 600_000_000_000, "{:?} {:?}", self.host.state(), self.host.violations());
            self.step();
        }
    }

    fn run_for(&mut self, time_ns: u64) {
        let end_ns = self.now_ns + time_ns;
        while self.now_ns < end_ns {
            self.step();
        }
    }

    fn step(&mut self) {
        let mut frame = Vec::new();
        while self.host.poll_frame(self.now_ns, &mut frame) {
            self.sent.push(frame.clone());
            if self.arrives() {
                self.to_target.push_back((self.now_ns + DELAY_NS, std::mem::take(&mut frame)));
            }
        }
        while let Some(frame) = self.target.poll_frame(self.now_ns) {
            if self.arrives() {
                self.to_host.push_back((self.now_ns + DELAY_NS, frame));
            }
        }
        let arrivals = [self.to_target.front(), self.to_host.front()].map(|next| next.map_or(u64::MAX, |next| next.0));
        let deadline_ns = self.host.deadline_ns().min(self.target.deadline_ns());
        let next_ns = arrivals[0].min(arrivals[1]).min(deadline_ns).min(self.now_ns + 1_000_000_000);
        self.now_ns = next_ns.max(self.now_ns);
        if self.now_ns >= deadline_ns {
            self.host.on_deadline(self.now_ns);
            self.target.on_deadline(self.now_ns);
        }
        while self.to_target.front().is_some_and(|next| next.0 <= self.now_ns) {
            let (_, frame) = self.to_target.pop_front().unwrap();
            self.target.handle_frame(self.now_ns, &frame);
        }
        while self.to_host.front().is_some_and(|next| next.0 <= self.now_ns) {
            let (_, frame) = self.to_host.pop_front().unwrap();
            if let Some(random) = &mut self.garble
                && random.next().is_multiple_of(4)
            {
                let garbled = garbled(random, &frame);
                self.host.handle_frame(self.now_ns, &garbled);
            }
            self.host.handle_frame(self.now_ns, &frame);
        }
    }

    fn arrives(&mut self) -> bool {
        self.loss_one_in == 0 || !self.dice.next().is_multiple_of(self.loss_one_in)
    }

    /// One I/O on queue 1, to its end.
    fn io(&mut self, kind: IoKind, slba: u64, blocks: u32, data: Vec<u8>) -> Done {
        self.host.submit(Io { queue: 1, kind, nsid: 1, slba, blocks, data, tag: slba }).unwrap();
        let mut done = None;
        self.run_until(|host| {
            done = host.poll_completion();
            done.is_some()
        });
        done.unwrap()
    }
}

/// The host of the captures: 10.9.0.2, talking to 10.9.0.1.
fn config() -> HostConfig {
    let mut config = HostConfig::new([10, 9, 0, 2].into(), [10, 9, 0, 1].into());
    config.mac = [0x52, 0x54, 0, 0, 0, 2];
    config
}

fn garbled(random: &mut super::Random, frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    // Transport headers and the start of the payload, where it means most.
    let at = 42.min(frame.len() - 20) + random.next() as usize % (frame.len() - 42).clamp(20, 80);
    frame[at] = random.next() as u8;
    if random.next().is_multiple_of(8) {
        frame.truncate(14 + random.next() as usize % (frame.len() - 14));
    } else if frame.len() > 60 {
        let end = frame.len() - 4;
        let crc = target::crc(&frame[14..end]);
        frame[end..].copy_from_slice(&crc.to_le_bytes());
    }
    frame
}
