//! The simulator: the product's own code in one thread, with hosts, a network and drives around it.
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
//! | [`random`] | what a seed draws |

#![forbid(unsafe_code)]

pub mod card;
pub mod host;
pub mod network;
pub mod random;
pub mod rogue;
pub mod swarm;
pub mod wire;
pub mod workload;
pub mod world;
