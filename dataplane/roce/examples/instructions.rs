//! Instructions that a queue pair needs for a read and a write I/O, by what it is asked for: one run under callgrind for each of
//! the steps that gantry-pipeline takes. Beside them the sizes of what they touch, and the time that a round takes.
//!
//! `cargo run --release -p gantry-roce --example instructions` (Debian package `valgrind`); with a case's name it only runs, to be
//! looked into with callgrind_annotate.

use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use gantry_roce::{
    NoMemory, Outcome, Plan, Psn, Qp, QpConfig, Qpn, Rkey, Transmit, Transport, Work, WorkKind, WorkPool,
};
use gantry_wire::ib::{Aeth, Opcode, Syndrome};

const ROUNDS: u32 = 2000;
const PKEY: u16 = 0xffff;
const RKEY: Rkey = Rkey(0x1234);

/// A target's queue pair, and what its host would send.
struct Target {
    qp: Qp,
    works: WorkPool,
    now_ns: u64,
    /// The host's next PSN.
    host_psn: Psn,
    /// The last PSN of ours that asked for an answer.
    ask_psn: Psn,
}

impl Target {
    fn new() -> Target {
        let config = QpConfig {
            qpn: Qpn::new(2),
            remote_qpn: Qpn::new(3),
            receive_psn: Psn::new(100),
            send_psn: Psn::new(200),
            mtu: 4096,
            pkey: PKEY,
            ack_timeout_ns: 1_000_000_000,
            retry_count: 7,
            rnr_retry_count: 7,
            rnr_timer: 12,
            reads_max: 16,
            responder_reads_max: 0,
        };
        let (host_psn, ask_psn) = (config.receive_psn, config.send_psn);
        Target { qp: Qp::new(&config), works: WorkPool::new(256), now_ns: 1000, host_psn, ask_psn }
    }

    /// s3: a capsule of one packet.
    #[inline(never)]
    fn take_capsule(&mut self) {
        let t =
            Transport { ack_request: true, pkey: PKEY, ..Transport::new(Opcode::SendOnly, Qpn::new(2), self.host_psn) };
        self.host_psn = self.host_psn.next();
        self.take(&t, 64);
    }

    /// s3: the host has everything that was sent.
    #[inline(never)]
    fn take_ack(&mut self) {
        let t = Transport {
            pkey: PKEY,
            aeth: Some(Aeth { syndrome: Syndrome::ACK, msn: 0 }),
            ..Transport::new(Opcode::Acknowledge, Qpn::new(2), self.ask_psn)
        };
        self.take(&t, 0);
    }

    /// s3: data of a READ.
    #[inline(never)]
    fn take_data(&mut self, psn: Psn, length: u32) {
        let t = Transport {
            pkey: PKEY,
            aeth: Some(Aeth { syndrome: Syndrome::ACK, msn: 0 }),
            ..Transport::new(Opcode::ReadResponseOnly, Qpn::new(2), psn)
        };
        self.take(&t, length);
    }

    #[inline]
    fn take(&mut self, t: &Transport, length: u32) {
        let plan = self.qp.plan(black_box(t), length, &self.works, &NoMemory);
        assert!(!matches!(plan, Plan::Drop(_) | Plan::Refuse(_)), "{plan:?}");
        let outcome = self.qp.commit(self.now_ns, t, length, black_box(&plan), &mut self.works);
        assert!(!matches!(outcome, Outcome::Drop(_)));
    }

    /// s8: data and completion are posted.
    #[inline(never)]
    fn post_data_and_completion(&mut self, length: u32) {
        let kind = WorkKind::Write { address: 0x10_0000, rkey: RKEY, immediate: None };
        self.qp.post(&mut self.works, Work { cookie: 1, kind, length }).expect("room");
        let kind = WorkKind::Send { invalidate: Some(RKEY), immediate: None };
        self.qp.post(&mut self.works, Work { cookie: 1, kind, length: 16 }).expect("room");
    }

    /// s8: a completion is posted.
    #[inline(never)]
    fn post_completion(&mut self) {
        let kind = WorkKind::Send { invalidate: Some(RKEY), immediate: None };
        self.qp.post(&mut self.works, Work { cookie: 1, kind, length: 16 }).expect("room");
    }

    /// s5: a fetch is posted.
    #[inline(never)]
    fn post_fetch(&mut self, length: u32) {
        let kind = WorkKind::Read { address: 0x10_0000, rkey: RKEY };
        self.qp.post(&mut self.works, Work { cookie: 1, kind, length }).expect("room");
    }

    /// s8: everything leaves.
    #[inline(never)]
    fn transmit(&mut self) -> u32 {
        let mut sent = 0;
        while self.qp.wants_transmit() {
            let transmit = self.qp.poll_transmit(self.now_ns, &mut self.works);
            let Some(transmit) = &transmit else { break };
            self.leave(transmit);
            sent += 1;
        }
        black_box(self.qp.deadline_ns());
        sent
    }

    #[inline(never)]
    fn leave(&mut self, transmit: &Transmit) {
        let t = &black_box(transmit).transport;
        if t.ack_request {
            self.ask_psn = t.psn;
        }
    }

    /// s3's end: what has completed.
    #[inline(never)]
    fn complete(&mut self) -> u32 {
        let mut count = 0;
        while let Some(completion) = self.qp.poll_completion(&mut self.works) {
            black_box(completion);
            count += 1;
        }
        count
    }
}

/// A read of `length` bytes: the capsule, its ACK with the data and the completion, the host's ACK.
fn read(target: &mut Target, length: u32) {
    target.take_capsule();
    target.post_data_and_completion(length);
    assert_eq!(target.transmit(), 2 + length.div_ceil(4096));
    target.now_ns += 5000;
    target.take_ack();
    assert_eq!(target.complete(), 2);
}

/// Writes whose data is fetched: capsules, READs, their data, completions, the host's ACK.
fn write(target: &mut Target, count: u32) {
    for _ in 0..count {
        target.take_capsule();
        target.post_fetch(4096);
    }
    assert_eq!(target.transmit(), 1 + count);
    target.now_ns += 5000;
    let first = target.ask_psn.sub(count - 1);
    for at in 0..count {
        target.take_data(first.add(at), 4096);
    }
    assert_eq!(target.complete(), count);
    for _ in 0..count {
        target.post_completion();
    }
    assert_eq!(target.transmit(), count);
    target.now_ns += 5000;
    target.take_ack();
    assert_eq!(target.complete(), count);
}

const STEPS: [&str; 8] = [
    "take_capsule",
    "post_data_and_completion",
    "post_completion",
    "post_fetch",
    "transmit",
    "take_ack",
    "take_data",
    "complete",
];

/// What is counted, and how many I/Os a round of it is.
const CASES: [(&str, u32); 4] =
    [("read 4 KiB", 1), ("read 128 KiB", 1), ("write 4 KiB, fetched", 1), ("write 4 KiB, 16 fetched at once", 16)];

fn run(case: &str) {
    let mut target = Target::new();
    for _ in 0..ROUNDS {
        match case {
            "read 4 KiB" => read(&mut target, 4096),
            "read 128 KiB" => read(&mut target, 131_072),
            "write 4 KiB, fetched" => write(&mut target, 1),
            _ => write(&mut target, 16),
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    if let Some(case) = arguments.next() {
        run(&case);
        return;
    }
    println!(
        "sizes in bytes: Qp {}, Transmit {}, Transport {}, Work {}, a slot of WorkPool {}",
        size_of::<Qp>(),
        size_of::<Transmit>(),
        size_of::<Transport>(),
        size_of::<Work>(),
        WorkPool::SLOT_BYTES
    );
    let own = std::env::current_exe().expect("this program");
    for (case, count) in CASES {
        let rounds = u64::from(ROUNDS * count);
        let begun = Instant::now();
        run(case);
        let round_ns = begun.elapsed().as_nanos() / u128::from(rounds);
        println!("{case}: {round_ns} ns");
        let mut total = 0;
        for step in STEPS {
            let valgrind = Command::new("valgrind")
                .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
                .arg(format!("--toggle-collect=*Target::{step}*"))
                .arg(&own)
                .arg(case)
                .output()
                .expect("valgrind runs");
            let said = String::from_utf8_lossy(&valgrind.stderr);
            assert!(valgrind.status.success(), "{said}");
            let collected = said.split("Collected :").nth(1).and_then(|rest| rest.split_whitespace().next());
            let count: u64 = collected.expect("a count").parse().expect("a number");
            total += count / rounds;
            println!("{:>8} {step}", count / rounds);
        }
        println!("{total:>8} in all");
    }
}
