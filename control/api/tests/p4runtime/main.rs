//! The P4Runtime server, driven without sockets: each file is one part of the specification. `network` alone uses gRPC.

#![forbid(unsafe_code)]

mod arbitration;
mod config;
mod fixture;
mod network;
mod read;
mod roles;
mod stream;
mod write;
mod write_batch;
mod write_cells;
