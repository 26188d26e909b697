//! A P4Runtime 1.5.0 server.
//!
//! [`Server`] is the whole of it without sockets or clocks: calls go in with the time, answers and messages for streams come
//! out. It keeps what clients want ([`Store`]) and hands changes, all or none, to a [`Plane`]. [`serve`] puts it on the network.
//! What the program declares, and who may touch it, is a [`Pipeline`].

mod arbitration;
mod bytestring;
mod calls;
mod channel;
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
mod search;
mod server;
mod shape;
mod shell;
mod status;
mod store;
mod write;

pub use arbitration::{Output, StreamId};
pub use calls::CallId;
pub use channel::{ChannelPlane, exchange};
pub use digest::DigestConfig;
pub use entry::{ActionCall, Counts, Key, Match, Note, Rates};
pub use memory::MemoryPlane;
pub use pipeline::{
    ActionId, CounterId, DigestId, Initial, InvalidInfo, MeterId, Pipeline, RegisterId, Scope, Table, TableId,
};
pub use plane::{Answer, At, Begun, Change, Colours, Committed, Done, Plane, Question, Refused, Ticket, Told};
pub use read::{Portion, Reading};
pub use server::{Limits, Server};
pub use shell::{Handle, serve, serve_unix};
pub use status::{Code, Failure, Refusal};
pub use store::{Entry, Store};
