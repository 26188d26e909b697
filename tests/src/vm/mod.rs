//! Virtual machines as a library: a stock kernel, an initramfs of a few tools, a wire, and commands.
//!
//! ```text
//!   kernel + modules + initramfs --> Builder::boot --> Machine::run("nvme discover ...")
//!                                        |
//!              Wire::Dgram --> Switch (loss, duplicates, captures) --> another Machine
//!              Wire::VhostUser --> a DPDK process
//! ```
//!
//! QEMU runs without KVM (plain TCG), so a machine proves correctness and never speed. Everything that is
//! started here ends with its owner: on drop, on panic, on an interrupt ([`process::end_on_interrupt`]) and,
//! by the kernel's parent-death signal, when this process is killed.

mod agent;
mod builder;
mod console;
mod cpio;
mod emulator;
mod error;
mod initramfs;
mod kernel;
mod machine;
mod modules;
mod nvme;
mod platform;
pub mod process;
mod qmp;
mod switch;

pub use agent::Output;
pub use builder::{Builder, NET_ADDRESS, Wire};
pub use console::Console;
pub use emulator::Emulator;
pub use error::Error;
pub use initramfs::{Contents, HOST_NQN, Initramfs};
pub use kernel::{Kernel, cache};
pub use machine::{Capture, Machine};
pub use nvme::Nvme;
pub use platform::{AARCH64, Platform, X86_64};
pub use switch::{Faults, Passed, Switch, SwitchPort};

/// What an operation on a machine gives.
pub type Result<T> = std::result::Result<T, Error>;
