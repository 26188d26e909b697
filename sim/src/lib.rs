//! The simulator: the product's own code in one thread, with hosts, a network and drives around it.
//!
//! It is also how another project puts a card into its own tests. Time is virtual, so that nothing waits, and everything
//! follows from seeds, so that what failed once fails again:
//!
//! ```
//! use gantry_sim::world::{AskError, Setup, nqn};
//!
//! # fn main() -> Result<(), AskError> {
//! let mut world = Setup::new(1).drive("mem:64M").build();
//! let host = world.add_host();
//! world.connect(host, &nqn(0))?;
//! world.write(host, 1, 8, &[0x5a; 4096])?;
//! world.kill_control();
//! assert_eq!(world.read(host, 1, 8, 8)?, [0x5a; 4096]);
//! world.disconnect(host)?;
//! assert_eq!(world.host(host).violations(), []);
//! # Ok(())
//! # }
//! ```
//!
//! `sim/examples/management_daemon.rs` does more of that; docs/simulator.md is about all of it.
//!
//! | module | what |
//! |---|---|
//! | [`host`] | an NVMe-oF host over RoCE v2, written from the specifications |
//! | [`rogue`] | frames that violate the protocols |
//! | [`wire`] | a port of the card, in memory |
//! | [`network`] | a switch and links with everything that goes wrong on them |
//! | [`card`] | the data plane: lcores, housekeeping, drives |
//! | [`workload`] | verified I/O on a host |
//! | [`world`] | all of it, and control, on one clock |
//! | [`swarm`] | runs drawn from seeds, with faults and oracles |
//! | [`scenario`] | situations by name, measured and judged |
//! | [`random`] | what a seed draws |
//! | [`control`] | control's core: configuration, status, notices |

#![forbid(unsafe_code)]

pub use gantry_control as control;

pub mod card;
pub mod host;
pub mod network;
pub mod random;
pub mod rogue;
pub mod scenario;
pub mod swarm;
pub mod wire;
pub mod workload;
pub mod world;
