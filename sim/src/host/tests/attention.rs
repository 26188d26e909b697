//! What the host remembers of its queues is what a walk over them would find, whatever happens to them.

use super::*;

/// After so many commands, this happens.
type Shock = (u64, fn(&mut Pair));

/// The earliest deadline is that of a walk, and nobody outside the line has something to send.
fn agrees(host: &Host) {
    let walked = host.queues.iter().map(super::super::Queue::deadline_ns).min().unwrap_or(u64::MAX);
    let mut attention = host.attention.borrow_mut();
    assert_eq!(attention.deadline_ns(&host.queues), walked);
    for (place, queue) in host.queues.iter().enumerate() {
        let next = attention.next((place + host.queues.len() - 1) % host.queues.len());
        assert!(!queue.wants_packet() || next == Some(place), "queue {place} is not in the line");
        assert_eq!(host.place_of(queue.qpn), Some(place));
    }
}

#[test]
fn attention_follows_every_queue() {
    let mut pair = Pair::with(HostConfig { reconnect_ms: Some(500), ..config() });
    let mut dice = crate::host::Random(3);
    // QPNs begin anew on the way.
    pair.host.next_qpn = 0xff_fff0;
    pair.host.connect(SUBNQN, 70, 32, 5000);
    let mut shocks: Vec<Shock> = vec![(500, |pair| pair.target.hang_up()), (1200, |pair| pair.host.reset())];
    let mut turns = 0;
    let mut completed = 0;
    while completed < 2_000 {
        turns += 1;
        assert!(turns < 2_000_000, "{:?} {completed}", pair.host.state());
        pair.loss_one_in = if dice.next().is_multiple_of(2) { 0 } else { 200 };
        pair.step();
        agrees(&pair.host);
        for _ in 0..3 {
            let queue = 1 + (dice.next() % 70) as u16;
            let kind = if dice.next().is_multiple_of(3) { IoKind::Write } else { IoKind::Read };
            let data = if kind == IoKind::Write { vec![7; 8192] } else { Vec::new() };
            let _ = pair.host.submit(Io { queue, kind, nsid: 1, slba: 0, blocks: 16, data, tag: 0 });
        }
        while let Some(done) = pair.host.poll_completion() {
            completed += u64::from(done.status.is_success());
        }
        match shocks.first() {
            Some(&(at, shock)) if completed >= at => {
                shocks.remove(0);
                shock(&mut pair);
            }
            _ => {}
        }
        agrees(&pair.host);
    }
    assert_eq!((shocks.len(), pair.host.counters().reconnects), (0, 1));
    pair.host.disconnect();
    pair.run_until(|host| {
        agrees(host);
        *host.state() == State::Disconnected
    });
    assert_eq!(pair.host.violations(), []);
}
