//! How another project tests its management daemon against a simulated card: with this crate alone, in virtual time, in
//! milliseconds. The daemon is a toy that keeps volumes and says who uses them; what matters is how it is tested.
//!
//! `cargo run -p gantry-sim --example management_daemon` runs it, and so does `cargo test`.

use gantry_sim::control::{DriveState, Notice};
use gantry_sim::workload::{Plan, Workload};
use gantry_sim::world::{AskError, Setup, World, add_drive, nqn};

const SECOND: u64 = 1_000_000_000;

/// The daemon under test.
#[derive(Default)]
struct Daemon {
    /// Of the card's notices.
    read: usize,
    /// Controllers, hosts and the subsystems that they use.
    users: Vec<(u16, String, String)>,
}

impl Daemon {
    /// Makes a volume and waits until it can be used; its NQN.
    fn create_volume(&mut self, world: &mut World, uri: &str) -> Result<String, String> {
        let mut number = 0;
        world.reconfigure(|configuration| number = add_drive(configuration, uri));
        let ready = |world: &mut World| matches!(world.status().drives[number].state, DriveState::Ready { .. });
        if world.run_until(SECOND, ready) {
            return Ok(nqn(number));
        }
        Err(format!("{uri}: {:?}", world.status().drives[number].state))
    }

    /// Takes in what has happened since it last looked.
    fn watch(&mut self, world: &World) {
        for notice in &world.notices()[self.read..] {
            match notice {
                Notice::Connected { cntlid, subsystem, host, .. } => {
                    self.users.push((*cntlid, host.clone(), subsystem.clone()));
                }
                Notice::Ended { cntlid, .. } => self.users.retain(|(user, ..)| user != cntlid),
                _ => {}
            }
        }
        self.read = world.notices().len();
    }
}

/// A volume is made, a host uses it, control dies five times under its load: the host loses nothing, and the daemon
/// still knows who is there.
fn a_volume_outlives_control() -> Result<u64, AskError> {
    let mut world = Setup::new(7).drive("mem:64M").build();
    let mut daemon = Daemon::default();
    let volume = daemon.create_volume(&mut world, "mem:128M").expect("there is memory for it");
    assert!(daemon.create_volume(&mut world, "file:/no/such/folder/at/all").is_err());

    let host = world.add_host();
    world.connect(host, &volume)?;
    daemon.watch(&world);
    assert_eq!(daemon.users.iter().map(|(_, _, subsystem)| subsystem).collect::<Vec<_>>(), [&volume]);
    let users = daemon.users.clone();

    let (blocks, lengths) = (65_536, vec![4096, 65_536]);
    let mut load =
        Workload::new(Plan { nsid: 1, blocks, block_size: 512, queues: 2, depth: 16, lengths, reads: 60, seed: 1 });
    for _ in 0..5 {
        let wanted = load.completed + 200;
        world.kill_control();
        assert!(world.run_until(SECOND, |world| {
            load.turn(world.host(host));
            load.completed >= wanted
        }));
    }
    assert!(world.run_until(SECOND, |world| load.drain(world.host(host))), "commands end");
    assert_eq!(load.errors, Vec::<String>::new(), "every byte read was the byte written");
    assert_eq!(world.host(host).violations(), [], "and the card kept every rule");

    daemon.watch(&world);
    assert_eq!(daemon.users, users, "for the daemon nothing has happened either");
    world.disconnect(host)?;
    world.run_for(SECOND);
    daemon.watch(&world);
    assert!(daemon.users.is_empty());
    Ok(load.completed)
}

fn main() -> Result<(), AskError> {
    println!("{} commands, five deaths of control, nothing lost", a_volume_outlives_control()?);
    Ok(())
}

#[test]
fn a_management_daemon_and_a_card() {
    assert_eq!(main(), Ok(()));
}
