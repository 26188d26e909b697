//! Faults begin and end: what the lines of a plan do to the world.

use gantry_drive::{Action, Busy, Faults, Latency, MediaChance, Rule};

use super::fault::{Fault, Trouble, What};
use super::run::{Event, Run, source};
use crate::network::{Queue, Way, Weather};
use crate::rogue::Rogue;

/// Mean length of a burst of lost frames.
const BURST: u32 = 8;

/// Something on the agenda happens.
pub(super) fn happen(run: &mut Run, event: Event) {
    let now_ns = run.world.now_ns();
    if let Some(story) = &mut run.story {
        let fault = |number: usize| &run.plan.faults[number];
        story.push((
            now_ns,
            match event {
                Event::Begin(number) | Event::Again(number) => {
                    format!("{} begins: {:?}", fault(number).name(), fault(number))
                }
                Event::End(number) => format!("{} ends", fault(number).name()),
                Event::Return(host) => format!("host {host} comes back"),
            },
        ));
    }
    match event {
        Event::Begin(number) => {
            let fault = run.plan.faults[number].clone();
            run.coverage.reached(fault.name());
            run.excuse(&fault);
            begin(run, number, &fault);
            if fault.for_ns > 0 {
                run.later(now_ns + fault.for_ns, Event::End(number));
            }
        }
        Event::Again(number) => {
            let fault = run.plan.faults[number].clone();
            if let What::HandOver { target, every_ns } = fault.what {
                let begun_ns = run.began_ns() + fault.at_ns;
                if now_ns < begun_ns + fault.for_ns {
                    run.world.hand_over_at(target);
                    run.later(now_ns + every_ns.max(1), Event::Again(number));
                }
            }
        }
        Event::End(number) => {
            let fault = run.plan.faults[number].clone();
            end(run, number, &fault);
        }
        Event::Return(host) => run.connect(host),
    }
}

/// Whatever is still wrong is right again.
pub(super) fn heal(run: &mut Run) {
    for number in 0..run.plan.faults.len() {
        let fault = run.plan.faults[number].clone();
        end(run, number, &fault);
    }
    // Somebody spoke in its name; it knows no better than to begin anew.
    for guest in run.guests.iter().filter(|guest| guest.forged) {
        run.world.host(guest.number).reset();
    }
    for drive in 0..run.plan.drives.len() {
        faults(run, drive, |faults| {
            faults.rules.clear();
            faults.stray = 0;
        });
    }
}

fn begin(run: &mut Run, number: usize, fault: &Fault) {
    let now_ns = run.world.now_ns();
    match fault.what {
        What::Link { host, up, trouble, chance } => {
            run.guests[host].damaged |= matches!(trouble, Trouble::Corruption | Trouble::Truncation);
            let weather = weather(run, host, up);
            match trouble {
                Trouble::Loss => weather.loss = chance,
                Trouble::BurstLoss => (weather.burst_loss, weather.burst_length) = (chance, BURST),
                Trouble::Duplication => weather.duplication = chance,
                Trouble::Reordering => weather.reordering = chance,
                Trouble::Corruption => weather.corruption = chance,
                Trouble::Truncation => weather.truncation = chance,
            }
        }
        What::Delay { host, delay_ns } => both(run, host, |weather| weather.delay_ns = delay_ns),
        What::Narrow { target, rate_bps, queue_bytes, pfc } => {
            let station = run.world.target_station(target);
            let (_, down) = run.world.network().link(station);
            down.weather.rate_bps = rate_bps;
            down.queue = Queue { bytes: queue_bytes, pfc, ..Queue::OPEN };
        }
        What::Marks { host } => {
            let (up, down) = run.world.link(host);
            for queue in [&mut up.queue, &mut down.queue] {
                (queue.ecn_bytes, queue.mark_anyway) = (1, true);
            }
        }
        What::Pause { host, up } => {
            let station = run.world.host_station(host);
            run.world.network().pause(now_ns, station, if up { Way::Up } else { Way::Down }, fault.for_ns);
        }
        What::Partition { host } => both(run, host, |weather| weather.cut = true),
        What::Mtu { host, bytes } => both(run, host, |weather| weather.mtu = bytes),
        What::KillControl { target, restart_ns } => {
            run.world.target_at(target).control_restart_ns = restart_ns;
            run.world.kill_control_at(target);
        }
        What::KillControlOften { target, every_ns } => {
            let seed = run.random.draw();
            run.world.target_at(target).kill_every_ns = Some((seed, every_ns));
        }
        What::CutChannel { target } => run.world.cut_channel_at(target, fault.for_ns),
        What::KillDataPlane { target } => {
            let before = run.world.target_at(target);
            run.coverage.add_target(before);
            run.world.kill_card_at(target);
        }
        What::HandOver { .. } => run.later(now_ns, Event::Again(number)),
        What::ClockStep { target, by_ns } => run.world.step_clock_at(target, by_ns),
        What::Stall { target } => run.world.stall_at(target, fault.for_ns),
        What::StallHousekeeping { target } => run.world.stall_housekeeping_at(target, fault.for_ns),
        What::PauseCard { target } => {
            let station = run.world.target_station(target);
            run.world.network().pause(now_ns, station, Way::Up, fault.for_ns);
        }
        What::Stray { drive, times } => faults(run, drive, |faults| faults.stray += times),
        What::SlowDrive { drive, base_ns, tail_ns } => {
            let seed = run.random.draw();
            let latency = Latency { seed, base_ns, jitter_ns: base_ns, tail_of_10_000: 100, tail_ns };
            faults(run, drive, |faults| faults.latency = Some(latency));
        }
        What::MediaErrors { drive, chance } => {
            let seed = run.random.draw();
            let errors = MediaChance { seed, reads_of_10_000: chance, writes_of_10_000: chance };
            faults(run, drive, |faults| faults.media_chance = Some(errors));
        }
        What::BusyDrive { drive, chance } => {
            let seed = run.random.draw();
            faults(run, drive, |faults| faults.busy = Some(Busy { seed, of_10_000: chance }));
        }
        What::Swallow { drive, times } => {
            let rule = Rule { admin: false, opcode: None, times, action: Action::Swallow };
            faults(run, drive, |faults| faults.rules.push(rule));
        }
        What::Fatal { drive } => faults(run, drive, |faults| faults.fatal = true),
        What::Stopped { drive } => faults(run, drive, |faults| faults.stopped = true),
        What::PowerLoss { drive } => {
            let seed = run.random.draw();
            run.ledgers[drive].power_lost(now_ns);
            let target = run.plan.drives[drive].target;
            run.world.target_at(target).card.lose_power(&format!("d{drive}"), seed);
        }
        What::Reset { host } => run.world.host(host).reset(),
        What::Leave { host } => {
            run.guests[host].leaving = true;
            run.world.host(host).disconnect();
            // It may have been on its own already.
            run.return_if_gone(host);
        }
        What::Silence { host } => run.world.host(host).silence(now_ns + fault.for_ns),
        What::Misdeed { host, kind } => run.guests[host].misdeed(run.world.host(host), kind),
        What::Trespass { drive } => run.trespass(drive),
        What::Deny { .. } | What::Throttle { .. } => rule(run, number, true),
        What::Rogue { host, kind, forged, times } => {
            let as_ = super::fault::name_of(forged);
            let mut rogue = Rogue::new(run.random.draw());
            let station = run.world.host_station(host);
            for _ in 0..times {
                let Some(exposed) = run.world.host(host).exposed() else { break };
                for frame in rogue.frame(kind, &exposed, as_) {
                    run.world.network().send(now_ns, station, &frame);
                }
            }
            if kind.may_end_association(as_) {
                // What is forged may be data.
                let drive = run.guests[host].drive();
                run.watches[drive].lock().blind = true;
                run.ledgers[drive].blind = true;
                run.guests[host].forged = true;
            }
        }
    }
}

fn end(run: &mut Run, number: usize, fault: &Fault) {
    match fault.what {
        What::Link { host, up, trouble, .. } => {
            let weather = weather(run, host, up);
            match trouble {
                Trouble::Loss => weather.loss = 0,
                Trouble::BurstLoss => weather.burst_loss = 0,
                Trouble::Duplication => weather.duplication = 0,
                Trouble::Reordering => weather.reordering = 0,
                Trouble::Corruption => weather.corruption = 0,
                Trouble::Truncation => weather.truncation = 0,
            }
        }
        What::Delay { host, .. } => both(run, host, |weather| weather.delay_ns = Weather::FAIR.delay_ns),
        What::Narrow { target, .. } => {
            // The queue empties at the rate that it had.
            let station = run.world.target_station(target);
            let (_, down) = run.world.network().link(station);
            down.weather.rate_bps = 0;
            down.queue = Queue::OPEN;
        }
        What::Marks { host } => {
            let (up, down) = run.world.link(host);
            (up.queue, down.queue) = (Queue::OPEN, Queue::OPEN);
        }
        What::Partition { host } => both(run, host, |weather| weather.cut = false),
        What::Mtu { host, .. } => both(run, host, |weather| weather.mtu = 0),
        What::KillControlOften { target, .. } => run.world.target_at(target).kill_every_ns = None,
        What::SlowDrive { drive, .. } => {
            let latency = latency(run, drive);
            faults(run, drive, |faults| faults.latency = latency);
        }
        What::MediaErrors { drive, .. } => faults(run, drive, |faults| faults.media_chance = None),
        What::BusyDrive { drive, .. } => faults(run, drive, |faults| faults.busy = None),
        What::Fatal { drive } => faults(run, drive, |faults| faults.fatal = false),
        What::Stopped { drive } => faults(run, drive, |faults| faults.stopped = false),
        What::Deny { .. } | What::Throttle { .. } => rule(run, number, false),
        // These end by themselves, or take no time.
        What::Pause { .. }
        | What::KillControl { .. }
        | What::CutChannel { .. }
        | What::KillDataPlane { .. }
        | What::HandOver { .. }
        | What::ClockStep { .. }
        | What::Stall { .. }
        | What::StallHousekeeping { .. }
        | What::PauseCard { .. }
        | What::Stray { .. }
        | What::Swallow { .. }
        | What::PowerLoss { .. }
        | What::Reset { .. }
        | What::Leave { .. }
        | What::Silence { .. }
        | What::Misdeed { .. }
        | What::Trespass { .. }
        | What::Rogue { .. } => {}
    }
}

/// An access rule or a rate is written, or taken away.
fn rule(run: &mut Run, number: usize, begins: bool) {
    match run.plan.faults[number].what {
        What::Deny { host, how } => {
            let (source, target) = source(&run.plan, host);
            run.rules.deny(target, 1 + number as u32, source, how, begins);
        }
        What::Throttle { target, what, rate } => run.rules.throttle(target, what, rate, begins),
        _ => unreachable!("a fault of another kind"),
    }
}

/// What a drive takes for a command when nothing is wrong with it.
pub(super) fn latency(run: &Run, drive: usize) -> Option<Latency> {
    let plan = &run.plan.drives[drive];
    let seed = run.plan.seed ^ drive as u64;
    let latency = Latency { seed, base_ns: plan.base_ns, jitter_ns: plan.jitter_ns, tail_of_10_000: 0, tail_ns: 0 };
    (plan.base_ns > 0).then_some(latency)
}

/// A drive's faults, once it is open.
pub(super) fn faults(run: &mut Run, drive: usize, change: impl FnOnce(&mut Faults)) {
    let target = run.plan.drives[drive].target;
    if let Some(faults) = run.world.target_at(target).card.faults(&format!("d{drive}")) {
        change(&mut faults.lock());
    }
}

fn weather(run: &mut Run, host: usize, up: bool) -> &mut Weather {
    let (to, from) = run.world.link(host);
    if up { &mut to.weather } else { &mut from.weather }
}

fn both(run: &mut Run, host: usize, change: impl Fn(&mut Weather)) {
    let (up, down) = run.world.link(host);
    change(&mut up.weather);
    change(&mut down.weather);
}
