//! Whole-system tests: stock Linux machines against Gantry's own processes.
//!
//! [`clients`] runs P4Runtime clients from PyPI;
//! [`vm`] boots Debian's kernel under QEMU with an initramfs built here, and runs commands in it;
//! [`interop`] is the suite of scenarios, written once and run against the kernel's own target (which
//! shows that the suite is right) and against Gantry.

#![forbid(unsafe_code)]

pub mod clients;
pub mod interop;
pub mod random;
pub mod vm;
