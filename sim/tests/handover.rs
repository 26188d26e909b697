//! A successor takes a running data plane over, and every host continues: no error, no reconnect, no command lost or done
//! twice. It is made of the exported bytes, of the regions' files and of the devices; nothing else of the old one is left.

mod story;

use gantry_sim::host::{Command, Data, State};
use gantry_sim::network::Weather;
use gantry_sim::workload::{Plan, Workload};
use gantry_sim::world::World;
use gantry_wire::nvme::{Cid, Nsid, Sqe, admin};
use story::{NQN, SECOND, configuration, connect, plug_as, settled, sizes, world, world_of};

/// One microsecond of virtual time.
const MICROSECOND: u64 = 1_000;

fn plan(queues: u16, depth: usize, seed: u64) -> Workload {
    let lengths = vec![512, 4096, 16_384, 65_536];
    Workload::new(Plan { nsid: 1, blocks: 8_192, block_size: 512, queues, depth, lengths, reads: 50, seed })
}

/// Handovers at moments that a seed draws: microseconds apart, or milliseconds.
struct Successors {
    seed: u64,
    next_ns: u64,
    made: u64,
}

impl Successors {
    fn new(seed: u64) -> Self {
        Self { seed, next_ns: 0, made: 0 }
    }

    fn turn(&mut self, world: &mut World) {
        if world.now_ns() < self.next_ns {
            return;
        }
        world.hand_over();
        self.made += 1;
        self.seed = gantry_pipeline::tables::mix(self.seed.wrapping_add(self.made));
        // From 2 µs to 1 ms, each power of two as often as the next.
        let longest_ns = 4 * MICROSECOND << (self.seed % 9);
        self.next_ns = world.now_ns() + longest_ns / 2 + (self.seed >> 32) % (longest_ns / 2);
    }
}

/// Ends the I/O and the association, and looks at what is left.
fn ends_well(world: &mut World, hosts: &[usize], workload: &mut Workload, told: &str) {
    let io = hosts[0];
    let drained = world.run_until(20 * SECOND, |world| workload.drain(world.host(io)));
    assert!(drained, "{told}: I/O ends");
    assert_eq!(workload.errors, Vec::<String>::new(), "{told}");
    for host in hosts.iter().copied() {
        assert_eq!(world.host(host).violations(), [], "{told}");
        world.host(host).disconnect();
        let left = world.run_until(10 * SECOND, |world| *world.host(host).state() == State::Disconnected);
        assert!(left, "{told}: {:#?}", world.notices());
    }
    settled(world);
}

fn under_weather(lcores: usize, weather: Weather, commands: u64, seed: u64) {
    let told = format!("{lcores} lcores, seed {seed}");
    let mut world = world_of(configuration("mem:64M"), lcores, sizes(), seed);
    let io = connect(&mut world, 4200, 4, 32);
    let (up, down) = world.link(io);
    (up.weather, down.weather) = (weather, weather);
    let mut workload = plan(4, 24, seed);
    let mut successors = Successors::new(seed);
    world.run_until(60 * SECOND, |world| {
        assert_eq!(*world.host(io).state(), State::Ready, "{told}");
        successors.turn(world);
        workload.turn(world.host(io));
        workload.completed >= commands
    });
    assert!(workload.completed >= commands, "{told}: {} commands", workload.completed);
    assert!(successors.made >= 20, "{told}: {} handovers", successors.made);
    println!("{told}: {} handovers, {} ns", successors.made, world.now_ns());
    ends_well(&mut world, &[io], &mut workload, &told);
}

#[test]
fn io_goes_on_in_fair_weather() {
    for (lcores, seed) in [(1, 80), (2, 81)] {
        under_weather(lcores, Weather::FAIR, 20_000, seed);
    }
}

#[test]
fn io_goes_on_while_frames_are_lost_doubled_and_late() {
    let weather = Weather { loss: 40, duplication: 100, reordering: 200, ..Weather::FAIR };
    for (lcores, seed) in [(1, 82), (2, 83)] {
        under_weather(lcores, weather, 5_000, seed);
    }
}

/// Everything that a host asks of control while another does I/O; `each` is called after every round. How many there were.
fn everything_asked_of_control(seed: u64, told: &str, mut each: impl FnMut(&mut World, u64)) -> u64 {
    let mut world = world("mem:64M", seed);
    let io = connect(&mut world, 1500, 1, 32);
    let mut workload = plan(1, 2, seed);
    let (mut rounds, mut next_ns) = (0, 0);
    let host = plug_as(&mut world, 1500, 9);
    let mut until = |world: &mut World, what: &str, done: &mut dyn FnMut(&mut World) -> bool| {
        let ended = world.run_until(30 * SECOND, |world| {
            if world.now_ns() >= next_ns {
                next_ns = world.now_ns() + SECOND / 2000;
                workload.turn(world.host(io));
            }
            each(world, rounds);
            rounds += 1;
            done(world)
        });
        assert!(ended, "{told}: {what}; {:#?}", world.notices());
    };
    world.host(host).connect(NQN, 2, 32, 5_000);
    until(&mut world, "connect", &mut |world| *world.host(host).state() == State::Ready);
    for (tag, opcode, cdw10) in [(1, admin::IDENTIFY, 1), (2, admin::GET_FEATURES, 7)] {
        let mut sqe = Sqe::new(opcode, Cid(0), Nsid(0));
        sqe.cdw10 = cdw10.into();
        let data = if opcode == admin::IDENTIFY { Data::ToHost(4096) } else { Data::None };
        world.host(host).submit_command(Command { queue: 0, sqe, data, tag }).unwrap();
        until(&mut world, "an admin command", &mut |world| {
            world.host(host).poll_completion().is_some_and(|done| done.tag == tag && done.status.is_success())
        });
    }
    world.host(host).reset();
    until(&mut world, "a reset", &mut |world| *world.host(host).state() == State::Ready);
    world.host(host).disconnect();
    until(&mut world, "a disconnect", &mut |world| *world.host(host).state() == State::Disconnected);
    assert_eq!(world.host(host).violations(), [], "{told}");
    ends_well(&mut world, &[io], &mut workload, told);
    rounds
}

#[test]
fn at_every_round_of_everything_asked_of_control() {
    let rounds = everything_asked_of_control(84, "no handover", |_, _| {});
    println!("{rounds} rounds");
    assert!(rounds > 100, "{rounds}");
    let stride =
        if std::env::var("GANTRY_HANDOVERS").is_ok_and(|value| value == "all") { 1 } else { (rounds / 40).max(1) };
    for at in (0..rounds).step_by(stride as usize) {
        let told = format!("a handover at round {at}");
        everything_asked_of_control(84, &told, |world, round| {
            if round == at {
                world.hand_over();
            }
        });
    }
}

/// One handover after the other, each data plane living for some microseconds only.
#[test]
fn one_handover_after_the_other() {
    let (mut handed, mut next_ns) = (0, 0);
    everything_asked_of_control(85, "handovers all the time", |world, _| {
        if world.now_ns() >= next_ns {
            next_ns = world.now_ns() + MICROSECOND;
            world.hand_over();
            handed += 1;
        }
    });
    assert!(handed > 50, "{handed}");
}

/// What a host receives is the same to the byte and to the moment, whether the data plane is handed over a hundred times or
/// never: a successor knows all that its predecessor knew. At the same moments the one that is not is looked at too, for
/// time passes in the simulator when somebody is.
#[test]
fn frames_are_the_same_with_and_without_handovers() {
    for lcores in [1, 2] {
        let run = |hand_over: bool| {
            let mut world = world_of(configuration("mem:64M"), lcores, sizes(), 86);
            let io = connect(&mut world, 4200, 4, 32);
            let weather = Weather { loss: 20, duplication: 50, reordering: 100, ..Weather::FAIR };
            let (up, down) = world.link(io);
            (up.weather, down.weather) = (weather, weather);
            let mut workload = plan(4, 24, 87);
            for step in 0_u64..4_000 {
                workload.turn(world.host(io));
                world.run_for(5 * MICROSECOND);
                match hand_over {
                    _ if !step.is_multiple_of(37) => {}
                    true => assert!(world.hand_over() > 0),
                    false => world.step_clock(0),
                }
            }
            assert_eq!(workload.errors, Vec::<String>::new());
            assert!(workload.completed > 1_000, "{}", workload.completed);
            (workload.completed, world.digest(io))
        };
        assert_eq!(run(false), run(true), "{lcores} lcores");
    }
}
