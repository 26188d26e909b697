//! Packets that no sane peer sends: whatever comes, a queue pair neither panics nor keeps work it should give back.

mod pair;

use gantry_roce::*;
use gantry_wire::ib::{Aeth, Opcode, Reth, Syndrome};
use pair::*;

fn noise(rng: &mut Rng, config: &QpConfig) -> (Transport, u32) {
    let opcode = Opcode::ALL[rng.below(Opcode::ALL.len() as u64) as usize];
    let base = if opcode.is_request() { config.receive_psn } else { config.send_psn };
    let psn = match rng.below(10) {
        0 => Psn::new(rng.next() as u32),
        1 => base.sub(rng.below(4) as u32),
        _ => base.add(rng.below(40) as u32),
    };
    let address = [REGION_BASE, REGION_BASE + 4096, u64::MAX, 0][rng.below(4) as usize];
    let dma_length = [0, 8, 1024, 3000, 1 << 20, u32::MAX][rng.below(6) as usize];
    let payload_len: u32 = [0, 1, 8, 1024, 1024, 952, 65535][rng.below(7) as usize];
    let t = Transport {
        ack_request: rng.percent(50),
        pad: if rng.percent(90) { payload_len.wrapping_neg() as u8 & 3 } else { rng.below(4) as u8 },
        reth: opcode.has_reth().then_some(Reth { virtual_address: address, rkey: REGION, dma_length }),
        aeth: opcode.has_aeth().then(|| {
            let value = [0x1f, 0x1f, 0x1f, 0x60, 0x21, 0x61, 0x40][rng.below(7) as usize];
            Aeth { syndrome: Syndrome::of(value), msn: rng.next() as u32 }
        }),
        immediate: opcode.has_immediate().then_some(1),
        invalidate: opcode.has_invalidate().then_some(Rkey(1)),
        ..Transport::new(opcode, config.qpn, psn)
    };
    (t, payload_len)
}

#[test]
fn noise_neither_panics_nor_leaks() {
    let region = Region { bytes: vec![0; 8192] };
    let (mut messages, mut completions, mut failures) = (0, 0, 0);
    for seed in 0..20_000 {
        let mut rng = Rng(seed);
        let config = QpConfig {
            send_psn: Psn::new(rng.next() as u32),
            receive_psn: Psn::new(rng.next() as u32),
            reads_max: 2,
            responder_reads_max: 2,
            ..config()
        };
        let mut qp = Qp::new(&config);
        let mut works = WorkPool::new(8);
        let (mut now_ns, mut posted, mut ended) = (0, 0, 0);
        for _ in 0..60 {
            now_ns += rng.below(1_000_000);
            match rng.below(8) {
                0 => {
                    let kind = match rng.below(3) {
                        0 => WorkKind::Send { invalidate: None, immediate: None },
                        1 => WorkKind::Write { address: 0, rkey: Rkey(1), immediate: None },
                        _ => WorkKind::Read { address: 0, rkey: Rkey(1) },
                    };
                    let length = [0, 8, 1024, 5000][rng.below(4) as usize];
                    posted += u32::from(qp.post(&mut works, Work { cookie: posted, kind, length }).is_ok());
                }
                1 | 2 => drop(qp.poll_transmit(now_ns, &mut works)),
                3 => qp.on_deadline(now_ns, &mut works),
                _ => {
                    let (t, payload_len) = noise(&mut rng, &config);
                    let plan = qp.plan(&t, payload_len, &works, &region);
                    match plan {
                        Plan::Receive { first: true, .. } if rng.percent(20) => qp.refuse_rnr(now_ns, &t),
                        Plan::Refuse(_) if rng.percent(90) => {}
                        _ => {
                            let outcome = qp.commit(now_ns, &t, payload_len, &plan, &mut works);
                            messages += usize::from(matches!(outcome, Outcome::Message { .. }));
                        }
                    }
                }
            }
            while qp.poll_completion(&mut works).is_some() {
                ended += 1;
            }
        }
        failures += usize::from(qp.failure().is_some());
        completions += ended;
        qp.abort(&mut works, |_| ended += 1);
        assert_eq!(works.available(), works.capacity(), "seed {seed}");
        assert_eq!(ended, posted, "seed {seed}: all work ends once");
    }
    assert!(messages > 1000 && completions > 1000 && failures > 1000, "{messages} {completions} {failures}");
}
