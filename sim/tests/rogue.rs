//! Hosts that violate the protocols, and strangers who do so in their name. Whatever they send, nobody else notices, the
//! card lives, and what they took is given back.

mod story;

use gantry_sim::host::{CapsuleKind, HostConfig, State};
use gantry_sim::rogue::{As, Rogue, RogueKind};
use gantry_sim::workload::{Plan, Workload};
use gantry_sim::world::World;
use gantry_wire::nvme::Status;
use story::{NQN, SECOND, configuration, connect, plug_as, settled, sizes, world, world_of};

/// How often each kind is sent.
const TIMES: usize = 50;

/// Between two rounds of a rogue.
const PAUSE_NS: u64 = 20_000;

fn verified(seed: u64) -> Workload {
    Workload::new(Plan {
        nsid: 1,
        blocks: 32_768,
        block_size: 512,
        queues: 2,
        depth: 8,
        lengths: vec![512, 4096, 16_384],
        reads: 50,
        seed,
    })
}

/// Sends a rogue's frames from where a host is plugged in.
fn send(world: &mut World, host: usize, frames: &[Vec<u8>]) {
    let (now_ns, station) = (world.now_ns(), world.host_station(host));
    for frame in frames {
        world.network().send(now_ns, station, frame);
    }
}

/// Connects host 10.0.0.`number`, which comes back by itself.
fn steady(world: &mut World, number: u8) -> usize {
    let mut config = HostConfig::new([10, 0, 0, number].into(), [10, 0, 0, 1].into());
    config.reconnect_ms = Some(50);
    let host = world.plug(config);
    world.host(host).connect(NQN, 2, 32, 5_000);
    ready(world, host);
    host
}

fn ready(world: &mut World, host: usize) {
    let ready = world.run_until(150 * SECOND, |world| *world.host(host).state() == State::Ready);
    let state = *world.host(host).state();
    assert!(ready, "{state:?}");
}

/// Moves on with verified I/O on a host.
fn work(world: &mut World, host: usize, load: &mut Workload, length_ns: u64) {
    world.run_until(length_ns, |world| {
        load.turn(world.host(host));
        false
    });
}

/// A host under verified I/O has noticed nothing, and has gone on.
fn unharmed(world: &mut World, host: usize, load: &mut Workload, what: &str) {
    let before = load.completed;
    let went_on = world.run_until(SECOND, |world| {
        load.turn(world.host(host));
        load.completed >= before + 20
    });
    assert_eq!(*world.host(host).state(), State::Ready, "{what}");
    assert_eq!(load.errors, Vec::<String>::new(), "{what}");
    assert_eq!(world.host(host).violations(), [], "{what}");
    assert!(went_on, "{what}: I/O has stopped");
}

fn over(world: &mut World, hosts: &[usize]) {
    for host in hosts {
        world.host(*host).disconnect();
    }
    // Connections that were asked for and never used end with their own timeouts.
    world.run_for(120 * SECOND);
    settled(world);
}

/// A stranger does everything to a host under verified I/O.
fn estranged(mut world: World, victim: usize, seed: u64, times: usize) {
    let mut load = verified(seed);
    let mut rogue = Rogue::new(seed);
    let mut sent = 0;
    for kind in RogueKind::ALL {
        for time in 0..times {
            let exposed = world.host(victim).exposed().expect("connected");
            let frames = rogue.frame(*kind, &exposed, As::Stranger);
            sent += usize::from(!frames.is_empty());
            send(&mut world, victim, &frames);
            work(&mut world, victim, &mut load, PAUSE_NS);
            assert_eq!(*world.host(victim).state(), State::Ready, "{} {time}", kind.name());
        }
        unharmed(&mut world, victim, &mut load, kind.name());
    }
    // IPv6 has no options of IPv4's.
    assert!(sent >= (RogueKind::ALL.len() - 1) * times);
    assert!(world.run_until(SECOND, |world| load.drain(world.host(victim))));
    over(&mut world, &[victim]);
}

#[test]
fn nobody_notices_a_stranger() {
    let mut world = world("mem:64M", 60);
    let victim = connect(&mut world, 1500, 2, 32);
    estranged(world, victim, 60, TIMES);
}

#[test]
fn nobody_notices_a_stranger_over_ipv6() {
    let mut configuration = configuration("mem:64M");
    configuration.ports[0].addresses = vec!["fd00::1".parse().unwrap()];
    let mut world = world_of(configuration, 2, sizes(), 64);
    let mut config = HostConfig::new("fd00::2".parse().unwrap(), "fd00::1".parse().unwrap());
    config.target_mac = Some([2, 0, 0, 0, 1, 0]);
    let victim = world.plug(config);
    world.host(victim).connect(NQN, 2, 32, 5_000);
    ready(&mut world, victim);
    estranged(world, victim, 64, TIMES / 5);
}

#[test]
fn a_rogue_host_ruins_nobody_but_itself() {
    let mut world = world("mem:64M", 61);
    let bystander = connect(&mut world, 1500, 2, 32);
    let victim = steady(&mut world, 3);
    let mut load = verified(61);
    let mut rogue = Rogue::new(61);
    let mut ended = Vec::new();
    for kind in RogueKind::ALL {
        for _ in 0..TIMES {
            let exposed = world.host(victim).exposed().expect("connected");
            let reconnects = world.host(victim).counters().reconnects;
            let frames = rogue.frame(*kind, &exposed, As::Itself);
            send(&mut world, victim, &frames);
            work(&mut world, bystander, &mut load, PAUSE_NS);
            let state = *world.host(victim).state();
            if state != State::Ready || world.host(victim).counters().reconnects != reconnects {
                assert!(kind.may_end_association(As::Itself), "{}: {state:?}", kind.name());
                ended.push(kind.name());
                ready(&mut world, victim);
            }
        }
        unharmed(&mut world, bystander, &mut load, kind.name());
    }
    ended.dedup();
    assert!(ended.len() > 10, "what should ruin an association does: {ended:?}");
    assert!(world.run_until(SECOND, |world| load.drain(world.host(bystander))));
    over(&mut world, &[bystander, victim]);
}

#[test]
fn bad_capsules_are_refused_one_by_one() {
    let mut world = world("mem:64M", 62);
    let bystander = connect(&mut world, 1500, 2, 32);
    let culprit = steady(&mut world, 3);
    let mut load = verified(62);
    let mut tag = 0;
    for kind in CapsuleKind::ALL {
        for _ in 0..TIMES {
            tag += 1;
            world.host(culprit).violate(kind, tag).expect("a queue with room");
            let mut ended = None;
            let answered = world.run_until(SECOND, |world| {
                load.turn(world.host(bystander));
                while let Some(done) = world.host(culprit).poll_completion() {
                    ended = (done.tag == tag).then_some(done.status).or(ended);
                }
                ended.is_some() || *world.host(culprit).state() != State::Ready
            });
            assert!(answered, "{kind:?} has no answer");
            work(&mut world, bystander, &mut load, PAUSE_NS);
            while let Some(done) = world.host(culprit).poll_completion() {
                ended = (done.tag == tag).then_some(done.status).or(ended);
            }
            let state = *world.host(culprit).state();
            let status = ended.unwrap_or_else(|| panic!("{kind:?} ends with its association: {state:?}"));
            assert!(!kind.must_fail() || !status.is_success(), "{kind:?} succeeds");
            if !kind.may_end_association() {
                assert_eq!(state, State::Ready, "{kind:?}");
                assert_ne!(status, Status::ABORTED_BY_HOST, "{kind:?}");
            }
            ready(&mut world, culprit);
        }
        unharmed(&mut world, bystander, &mut load, &format!("{kind:?}"));
        assert_eq!(world.host(culprit).violations(), [], "{kind:?}");
    }
    assert!(world.run_until(SECOND, |world| load.drain(world.host(bystander))));
    over(&mut world, &[bystander, culprit]);
}

/// Before a queue has joined, and when its host is gone, a rogue finds nothing to hold on to.
#[test]
fn a_rogue_needs_a_victim() {
    let mut world = world("mem:64M", 63);
    let host = plug_as(&mut world, 1500, 2);
    assert_eq!(world.host(host).exposed(), None, "the target is not found yet");
    world.host(host).connect(NQN, 1, 32, 5_000);
    ready(&mut world, host);
    assert_eq!(world.host(host).exposed().map(|exposed| exposed.queues.len()), Some(2));
    world.host(host).disconnect();
    world.run_for(SECOND);
    let exposed = world.host(host).exposed().expect("the target was found");
    let mut rogue = Rogue::new(63);
    let needy = RogueKind::ALL.iter().filter(|kind| rogue.frame(**kind, &exposed, As::Itself).is_empty()).count();
    assert_eq!(needy, 35);
    settled(&mut world);
}
