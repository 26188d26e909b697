//! A successor takes a running data plane over, and every host continues: no error, no reconnect, no command lost or done
//! twice. It is made of the exported bytes, of the regions' files and of the devices; nothing else of the old one is left.

mod story;

use gantry_cpu::Cpu;
use gantry_drive::{Action, Rule};
use gantry_pipeline::counters::Counter;
use gantry_pipeline::handover::{Exported, FORMAT, Refused};
use gantry_pipeline::state::Sizes;
use gantry_pipeline::tables::mix;
use gantry_sim::card::Card;
use gantry_sim::host::{Command, Data, Io, IoKind, State};
use gantry_sim::network::Weather;
use gantry_sim::workload::{Plan, Workload};
use gantry_sim::world::World;
use gantry_wire::nvme::{Cid, Nsid, Sqe, admin, nvm};
use story::{NQN, SECOND, configuration, connect, plug_as, settled, sizes, world, world_of};

/// One microsecond of virtual time.
const MICROSECOND: u64 = 1_000;

fn plan_of(queues: u16, seed: u64) -> Plan {
    let lengths = vec![512, 4096, 16_384, 65_536];
    Plan { nsid: 1, blocks: 8_192, block_size: 512, queues, depth: 1, lengths, reads: 50, seed }
}

fn plan(queues: u16, depth: usize, seed: u64) -> Workload {
    Workload::new(Plan { depth, ..plan_of(queues, seed) })
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
        self.seed = mix(self.seed.wrapping_add(self.made));
        // From 2 µs to 1 ms, each power of two as often as the next.
        let longest_ns = (4 * MICROSECOND) << (self.seed % 9);
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
                    false => world.step_clock_at(0, 0),
                }
            }
            assert_eq!(workload.errors, Vec::<String>::new());
            assert!(workload.completed > 1_000, "{}", workload.completed);
            (workload.completed, world.digest(io))
        };
        assert_eq!(run(false), run(true), "{lcores} lcores");
    }
}

fn read(slba: u64, tag: u64) -> Io {
    Io { queue: 1, kind: IoKind::Read, nsid: 1, slba, blocks: 8, data: Vec::new(), tag }
}

/// A drive swallows a command and its abort. Successors come while the command ages, and one after the other while the drive
/// is disabled, reset and identified: each climbs on from where it is.
#[test]
fn a_drive_is_reset_over_many_lives() {
    let mut world = world("mem:64M", 89);
    let host = connect(&mut world, 1500, 1, 32);
    let faults = world.card().faults("d0").unwrap();
    faults.lock().rules.push(Rule { admin: false, opcode: Some(nvm::READ), times: 1, action: Action::Swallow });
    // Each step of the bring-up takes its time.
    for opcode in [admin::IDENTIFY, admin::SET_FEATURES, admin::CREATE_IO_CQ, admin::CREATE_IO_SQ] {
        let action = Action::DelayNs(SECOND / 20);
        faults.lock().rules.push(Rule { admin: true, opcode: Some(opcode), times: 100, action });
    }
    world.host(host).submit(read(0, 1)).unwrap();
    let (mut next_ns, mut aging, mut resetting) = (0, 0, 0);
    let mut ended = None;
    let back = world.run_until(20 * SECOND, |world| {
        ended = ended.take().or_else(|| world.host(host).poll_completion());
        let core = world.card().lcore(0).core();
        let timed_out = core.counters.value(Counter::DriveTimeout) > 0;
        let serves = core.drives[0].as_ref().is_some_and(|drive| !drive.failed);
        if timed_out && serves && ended.is_some() {
            return true;
        }
        if world.now_ns() >= next_ns {
            world.hand_over();
            *(if timed_out { &mut resetting } else { &mut aging }) += 1;
            next_ns = world.now_ns() + if timed_out { SECOND / 100 } else { SECOND / 10 };
        }
        false
    });
    println!("{aging} handovers while the command ages, {resetting} while the drive is reset");
    assert!(back, "{aging} and {resetting} handovers: {:#?}", world.notices());
    assert!(aging >= 50 && resetting >= 20, "{aging} and {resetting} handovers");
    assert!(!ended.unwrap().status.is_success());
    world.host(host).submit(read(0, 2)).unwrap();
    let served =
        world.run_until(SECOND, |world| world.host(host).poll_completion().is_some_and(|d| d.status.is_success()));
    assert!(served, "the drive serves again");
    ends_well(&mut world, &[host], &mut plan(1, 1, 0), "reset");
}

/// Far more data than pages: commands wait for pages and for the fetch budget, over every handover.
#[test]
fn commands_wait_for_pages_over_handovers() {
    let sizes = Sizes { qps: 16, commands: 128, pages: 64, namespaces: 64, addresses: 8 };
    let mut world = world_of(configuration("mem:64M"), 1, sizes, 90);
    let io = connect(&mut world, 4200, 4, 32);
    let lengths = vec![65_536, 131_072];
    let mut workload = Workload::new(Plan { lengths, depth: 48, ..plan_of(4, 91) });
    let mut handed = 0;
    for _ in 0..600 {
        workload.turn(world.host(io));
        world.run_for(10 * MICROSECOND);
        handed += usize::from(world.card().lcore(0).core().budgets.waiting > 0);
        world.hand_over();
    }
    assert!(handed > 100, "commands waited for pages at {handed} handovers");
    ends_well(&mut world, &[io], &mut workload, "pages");
}

/// Control dies again and again, and so does every data plane: nobody notices either.
#[test]
fn control_dies_as_well() {
    for seed in 92..100 {
        let (mut handed, mut kills, mut next_ns) = (0, 0, 0);
        everything_asked_of_control(seed, &format!("with kills, seed {seed}"), |world, _| {
            world.target().control_restart_ns = (seed - 91) * 2 * MICROSECOND;
            if world.now_ns() < next_ns {
                return;
            }
            next_ns = world.now_ns() + (seed - 91) * MICROSECOND;
            // Before it, right behind it, or without one.
            let turn = mix(seed ^ handed << 32) % 8;
            kills += u64::from(turn < 2);
            if turn == 0 {
                world.kill_control();
            }
            world.hand_over();
            handed += 1;
            if turn == 1 {
                world.kill_control();
            }
        });
        assert!(handed >= 20 && kills >= 3, "{handed} handovers, {kills} kills");
    }
}

/// I/O of all kinds under way on a small card.
fn busy() -> (World, usize, Workload) {
    let sizes = Sizes { qps: 16, commands: 128, pages: 128, namespaces: 64, addresses: 8 };
    let mut world = world_of(configuration("mem:64M"), 1, sizes, 97);
    let io = connect(&mut world, 4200, 2, 32);
    let mut workload = plan(2, 32, 98);
    for _ in 0..50 {
        workload.turn(world.host(io));
        world.run_for(5 * MICROSECOND);
    }
    let under_way = world.run_until(SECOND, |world| {
        workload.turn(world.host(io));
        let commands = &world.card().lcore(0).core().commands;
        commands.capacity() - commands.free() >= 24
    });
    assert!(under_way);
    (world, io, workload)
}

fn checked(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = Cpu::detect().crc32(0, &bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Bytes of another process are bytes from outside. Bits turned over behind a CRC that holds are refused, or are another state
/// that can be; nothing panics, no device is touched, and the predecessor goes on.
#[test]
fn bits_turned_over_are_refused_or_harmless() {
    let (mut world, io, mut workload) = busy();
    let now_ns = world.now_ns();
    let Exported { bytes, regions } = world.card().export(now_ns);
    let (mut refused, mut taken) = (0, 0);
    let mut seed = 99;
    let mut draw = || {
        seed = mix(seed);
        seed as usize
    };
    for _ in 0..2_000 {
        let mut turned = bytes.clone();
        for _ in 0..=draw() % 3 {
            let bit = draw() % ((bytes.len() - 8) * 8);
            turned[8 + bit / 8] ^= 1 << (bit % 8);
        }
        if draw().is_multiple_of(16) {
            turned.truncate(8 + draw() % (bytes.len() - 8));
        }
        match world.card().successor(now_ns, &Exported { bytes: checked(turned), regions: regions.clone() }) {
            Ok(_) => taken += 1,
            Err(_) => refused += 1,
        }
    }
    println!("{} bytes: {refused} refused, {taken} taken", bytes.len());
    assert!(refused > 500 && taken > 100, "{refused} refused, {taken} taken");
    world.hand_over();
    ends_well(&mut world, &[io], &mut workload, "after refusals");
}

#[test]
fn a_state_that_is_not_for_this_card_is_refused_with_a_reason() {
    let (mut world, io, mut workload) = busy();
    let now_ns = world.now_ns();
    let Exported { bytes, regions } = world.card().export(now_ns);
    let handed = regions.clone();
    let mut refusal = |now_ns: u64, bytes: &[u8], regions: usize| {
        let exported = Exported { bytes: bytes.to_vec(), regions: handed[..regions].to_vec() };
        world.card().successor(now_ns, &exported).err().expect("a refusal")
    };
    let mut other = bytes.clone();
    other[0] += 1;
    let told = refusal(now_ns, &other, regions.len());
    assert_eq!(told, Refused::Format(FORMAT + 1));
    assert_eq!(
        told.to_string(),
        format!("the state is of handover format {}, this release takes format {FORMAT}", FORMAT + 1)
    );
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(refusal(now_ns, &damaged, regions.len()), Refused::Damaged("its CRC does not hold"));
    assert_eq!(refusal(now_ns, &bytes[..5], regions.len()), Refused::Damaged("it has no header"));
    let shorter = checked(bytes[..bytes.len() - 1].to_vec());
    assert_eq!(refusal(now_ns, &shorter, regions.len()), Refused::Damaged("it cannot be read"));
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(refusal(now_ns, &checked(longer), regions.len()), Refused::Damaged("bytes are left over"));
    assert!(matches!(refusal(now_ns, &bytes, regions.len() - 1), Refused::Unfit(_)), "a region is missing");
    assert!(matches!(refusal(now_ns - 1, &bytes, regions.len()), Refused::Unfit(_)), "another machine's clock");
    let mut larger = Card::new(0, 1, sizes(), 1, now_ns);
    let refused = larger.successor(now_ns, &Exported { bytes: bytes.clone(), regions: regions.clone() }).err();
    assert!(matches!(refused, Some(Refused::Unfit(text)) if text.contains("128") && text.contains("512")));
    world.hand_over();
    ends_well(&mut world, &[io], &mut workload, "after refusals");
}

/// How large a state is: the figures of docs/handover.md, with some room.
#[test]
fn a_state_is_small() {
    let now_ns = SECOND;
    let empty = Card::new(0, 1, sizes(), 1, now_ns).export(now_ns).bytes.len();
    let mut world = world("mem:64M", 100);
    let served = world.hand_over();
    let one = connect(&mut world, 1500, 1, 32);
    let with_one = world.hand_over();
    let many = plug_as(&mut world, 1500, 3);
    world.host(many).connect(NQN, 9, 32, 5_000);
    assert!(world.run_until(10 * SECOND, |world| *world.host(many).state() == State::Ready));
    let with_ten_more = world.hand_over();
    let faults = world.card().faults("d0").unwrap();
    faults.lock().rules.push(Rule { admin: false, opcode: Some(nvm::READ), times: 20, action: Action::Swallow });
    for tag in 0..20 {
        world.host(one).submit(read(tag * 8, tag)).unwrap();
    }
    world.run_for(SECOND / 10);
    let with_commands = world.hand_over();
    let association = with_one - served;
    let queue = (with_ten_more - with_one - association) / 8;
    let command = (with_commands - with_ten_more) / 20;
    println!(
        "empty {empty}, port and drive {}, association of two QPs {association}, QP {queue}, command {command}",
        served - empty
    );
    assert!(empty < 100 && served - empty < 1_500 && association < 4_000 && queue < 1_000 && command < 200);
}
