//! The driver (gantry-nvme) and the software drive against each other: two real halves of one specification,
//! stepped in one thread on a virtual clock, and once with a thread of its own.

#![forbid(unsafe_code)]

mod bring_up;
mod chance;
mod commands;
mod events;
mod faults;
mod files;
mod fuzz;
mod interrupts;
mod power;
mod queues;
mod rig;
mod thread;
mod variety;
mod watched;
