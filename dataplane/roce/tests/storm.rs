//! Random work over a random wire: whatever is lost, doubled or overtaken, every message arrives once, whole and in
//! order, every byte lands once, all work completes and nothing is leaked. A seed that fails names itself.

mod pair;

use std::sync::OnceLock;

use gantry_roce::*;
use pair::*;

/// What one side posted, to compare with what the other got.
#[derive(Default)]
struct Posted {
    ordered: Vec<u32>,
    reads: Vec<(u32, u64)>,
    messages: Vec<Received>,
    writes: Vec<(u64, Vec<u8>, Option<u32>)>,
    bytes: u64,
}

/// Each side's region begins with bytes that READs see; behind them every WRITE has bytes of its own.
const PATTERN: u32 = 310 * 1024;

fn pattern() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| Rng(7).bytes(PATTERN))
}

fn length(rng: &mut Rng, mtu: u64) -> u32 {
    (match rng.below(16) {
        0 | 1 => 0,
        2 => 1,
        3 => mtu - 1,
        4 => mtu,
        5 => mtu + 1,
        6..=9 => rng.below(200),
        10..=12 => rng.below(4 * mtu),
        13 | 14 => rng.below(20_000),
        _ => rng.below(300 * 1024),
    }) as u32
}

fn post(rng: &mut Rng, mtu: u64, end: &mut Endpoint, posted: &mut Posted, written: &mut u64) {
    let length = length(rng, mtu);
    posted.bytes += u64::from(length);
    match rng.below(3) {
        0 => {
            let (immediate, invalidate) = match rng.below(3) {
                0 => (Some(rng.next() as u32), None),
                1 => (None, Some(Rkey(rng.next() as u32))),
                _ => (None, None),
            };
            let bytes = rng.bytes(length);
            posted.messages.push(Received { bytes: bytes.clone(), immediate, invalidate });
            posted.ordered.push(end.post(WorkKind::Send { invalidate, immediate }, bytes));
        }
        1 => {
            let immediate = rng.percent(30).then(|| rng.next() as u32);
            let address = REGION_BASE + u64::from(PATTERN) + *written;
            *written += u64::from(length);
            let bytes = rng.bytes(length);
            posted.writes.push((address, bytes.clone(), immediate));
            posted.ordered.push(end.post(WorkKind::Write { address, rkey: REGION, immediate }, bytes));
        }
        _ => {
            let offset = rng.below(u64::from(PATTERN - length));
            posted.reads.push((end.read(offset, length), offset));
        }
    }
}

/// Answers how many bytes were to be READ, and how many were sent for them.
fn storm(seed: u64, lose: u64, double: u64, late: u64) -> (u64, u64) {
    let mut rng = Rng(seed);
    let mtu = 256 << rng.below(5);
    let config = QpConfig {
        mtu: mtu as u16,
        // Now and then the PSNs wrap on the way.
        send_psn: Psn::new(if rng.percent(30) { 0xff_fff0 } else { rng.next() as u32 }),
        receive_psn: Psn::new(if rng.percent(30) { 0xff_ffff } else { rng.next() as u32 }),
        reads_max: 1 + rng.below(4) as u8,
        responder_reads_max: 1 + rng.below(16) as u8,
        rnr_timer: 1 + rng.below(8) as u8,
        ..config()
    };
    let mut pair = Pair::new(&config, lossy(rng.next(), lose, double, late));
    let pattern = pattern();
    for end in &mut pair.ends {
        end.region.bytes = pattern.to_vec();
    }
    let mut posted = [Posted::default(), Posted::default()];
    let mut written = [0, 0];
    for _ in 0..1 + rng.below(3) {
        for from in 0..2 {
            for _ in 0..rng.below(6) {
                post(&mut rng, mtu, &mut pair.ends[from], &mut posted[from], &mut written[from]);
            }
            let room = PATTERN as usize + written[from] as usize;
            pair.ends[1 - from].region.bytes.resize(room, 0);
            pair.ends[1 - from].receive_buffers = rng.percent(25).then(|| rng.below(3) as u32);
        }
        let pause_ns = rng.below(2_000_000);
        pair.run_until(pair.now_ns + pause_ns);
    }
    for end in &mut pair.ends {
        end.receive_buffers = None;
    }
    pair.run();

    pair.assert_clean();
    let mut read_bytes = 0;
    for from in 0..2 {
        let (end, peer, posted) = (&pair.ends[from], &pair.ends[1 - from], &posted[from]);
        assert_eq!(peer.messages, posted.messages, "messages once, in order, whole");
        let writes: Vec<Outcome> = posted
            .writes
            .iter()
            .map(|(address, bytes, immediate)| Outcome::RemoteWrite {
                rkey: REGION,
                address: *address,
                length: bytes.len() as u32,
                immediate: *immediate,
            })
            .collect();
        assert_eq!(peer.writes, writes, "WRITEs once, in order");
        for (address, bytes, _) in &posted.writes {
            let at = (address - REGION_BASE) as usize;
            assert!(peer.region.bytes[at..at + bytes.len()] == bytes[..], "WRITE data");
        }
        for (cookie, offset) in &posted.reads {
            let got = &end.buffers[cookie];
            assert!(pattern[*offset as usize..][..got.len()] == got[..], "READ data");
        }
        read_bytes += posted.reads.iter().map(|(cookie, _)| end.buffers[cookie].len() as u64).sum::<u64>();
        let mut done = end.succeeded();
        let ordered: Vec<u32> = done.iter().copied().filter(|cookie| posted.ordered.contains(cookie)).collect();
        assert_eq!(ordered, posted.ordered, "SENDs and WRITEs complete in the order of posting");
        let mut all: Vec<u32> = posted.reads.iter().map(|read| read.0).chain(posted.ordered.iter().copied()).collect();
        done.sort_unstable();
        all.sort_unstable();
        assert_eq!(done, all, "all work completes once");
    }
    let landed = pair.ends[0].landed + pair.ends[1].landed;
    assert_eq!(landed, posted[0].bytes + posted[1].bytes, "every byte lands once");
    (read_bytes, pair.answered_bytes())
}

/// For a hundred bytes that were to be READ, all storms together may send at most `percent`. READs are up to 1,200
/// packets long here, so that the rest of one is much.
fn storms(seeds: std::ops::Range<u64>, lose: u64, double: u64, late: u64, percent: u64) {
    let (mut read, mut sent) = (0, 0);
    for seed in seeds {
        let run = std::panic::catch_unwind(|| storm(seed, lose, double, late));
        match run {
            Ok(bytes) => (read, sent) = (read + bytes.0, sent + bytes.1),
            Err(panic) => {
                eprintln!("storm({seed}, {lose}, {double}, {late})");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(sent * 100 <= read * percent, "{sent} bytes sent for {read}: {} %", sent * 100 / read);
}

#[test]
fn calm() {
    storms(0..300, 0, 0, 0, 100);
}

#[test]
fn packets_are_lost() {
    storms(1000..1500, 3, 0, 0, 400);
}

#[test]
fn packets_are_doubled() {
    storms(2000..2300, 0, 10, 0, 115);
}

#[test]
fn packets_overtake() {
    storms(3000..3300, 0, 0, 3, 620);
}

#[test]
fn all_at_once() {
    storms(4000..4600, 2, 2, 2, 560);
}

#[test]
fn a_bad_day() {
    storms(5000..5100, 15, 5, 10, 2700);
}

/// What a host's writes look like: many READs, sixteen at a time, and SENDs of responses between them.
fn fetches(seed: u64, lose: u64) -> (u64, u64) {
    let mut pair = Pair::new(&config(), lossy(seed, lose, 0, 0));
    pair.ends[1].region.bytes = pattern().to_vec();
    let (mut reads, mut sends) = (Vec::new(), Vec::new());
    for n in 0..40 {
        reads.push((pair.ends[0].read(n * 1000, 128 * 1024), n as usize * 1000));
        if n % 2 == 0 {
            sends.push(pair.ends[0].send(vec![n as u8; 16]));
        }
    }
    pair.run();
    pair.assert_clean();
    for (cookie, at) in &reads {
        assert!(pair.ends[0].buffers[cookie] == pattern()[*at..][..128 * 1024], "seed {seed}: READ data");
    }
    assert_eq!(pair.ends[1].messages.len(), sends.len());
    (pair.ends[0].landed, pair.answered_bytes())
}

#[test]
fn fetches_are_not_asked_for_in_vain() {
    // A READ of 128 packets goes on from the packet that it misses, so that a loss costs its rest, and no other READ.
    for (lose, percent) in [(0, 100), (1, 175), (2, 245), (5, 460)] {
        let runs = (0..20).map(|seed| fetches(seed, lose));
        let (landed, sent) = runs.fold((0, 0), |sum, run| (sum.0 + run.0, sum.1 + run.1));
        assert!(sent * 100 <= landed * percent, "{lose} % lost: {} % sent", sent * 100 / landed);
    }
}
