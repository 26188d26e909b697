//! A P4Runtime 1.5.0 server.
//!
//! [`Server`] is the whole of it without sockets or clocks: calls go in with the time, answers and messages for streams come
//! out. It keeps what clients want ([`Store`]) and hands changes, all or none, to a [`Plane`]. [`serve`] puts it on the network.
//! What the program declares, and who may touch it, is a [`Pipeline`].

mod arbitration;
mod bytestring;
mod config;
mod digest;
mod direct;
mod entry;
mod indirect;
mod memory;
mod message;
mod packet;
mod pipeline;
mod plane;
mod read;
mod role;
mod server;
mod shape;
mod shell;
mod status;
mod store;
mod write;

pub use arbitration::{Output, StreamId};
pub use entry::{ActionCall, Counts, Key, Match, Rates};
pub use memory::MemoryPlane;
pub use pipeline::{
    ActionId, CounterId, DigestId, Initial, InvalidInfo, MeterId, Pipeline, RegisterId, Scope, Table, TableId,
};
pub use plane::{At, Change, Colours, Plane, Refused};
pub use read::Reading;
pub use server::{Limits, Server};
pub use shell::{Handle, serve};
pub use status::{Code, Failure, Refusal};
pub use store::{Entry, Store};
