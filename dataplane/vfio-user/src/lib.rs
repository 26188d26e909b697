//! `vfio-user:` drives: an NVMe controller that another process emulates, reached over a Unix socket. Memory of ours is handed
//! to that process as descriptors; its doorbells are memory here, or are forwarded by housekeeping.
//! vfio-user protocol 0.1 (QEMU's docs/interop/vfio-user.rst, libvfio-user's docs/vfio-user.rst).
//!
//! | module | what |
//! |---|---|
//! | [`Drive`] | a drive behind a socket: registers, doorbells, memory, reset, presence |
//! | [`Uri`] | `vfio-user:/path[,doorbells=…]` |
//! | [`message`], [`version`] | the protocol as bytes, for both ends |
//! | [`Connection`] | whole messages over a socket, with descriptors and deadlines, for both ends |
//!
//! Nothing that comes from the peer panics, and nothing costs more memory or time than is bounded here: a reply is awaited for
//! [`REPLY_LIMIT`] once, and a peer that has let that pass is gone for good.

#![forbid(unsafe_code)]

mod connection;
mod drive;
mod error;
mod link;
pub mod message;
mod regions;
mod shadow;
mod uri;
pub mod version;

pub use connection::{Connection, Message};
pub use drive::Drive;
pub use error::Error;
pub use link::REPLY_LIMIT;
pub use uri::{Doorbells, Uri};
