//! The software drive served to other processes over vfio-user: a PCI NVMe controller that a virtual machine's stock driver,
//! or another gantry-dataplane, uses as if it were a card. vfio-user protocol 0.1; PCI Local Bus 3.0; PCIe Base 5.0 §7.5.
//!
//! | file | what |
//! |---|---|
//! | function.rs | the PCI function: regions, memory, interrupts, as commands and answers without a socket |
//! | config_space.rs | its configuration space |
//! | memory.rs | what the client lets it reach |
//! | vectors.rs | where its MSI-X vectors go |
//! | server.rs | the socket: one client at a time, and the model's steps |
//!
//! Memory that comes without a file cannot be reached: commands that point there end with Data Transfer Error. A client must
//! not truncate the files it shares.

#![forbid(unsafe_code)]

mod config_space;
mod function;
mod memory;
mod server;
mod vectors;

pub use function::{Answer, DEVICE_ID, Function, Options, VENDOR_ID};
pub use server::{Error, Notice, Server};
