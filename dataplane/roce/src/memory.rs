//! The memory that a peer may reach as requester. The pipeline owns it; the responder asks before it takes a request.

use gantry_wire::ib::Rkey;

/// What a peer wants of registered memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// RDMA READ.
    Read,
    /// RDMA WRITE.
    Write,
}

/// The memory that peers may reach.
pub trait Memory {
    /// Whether all of `length` bytes at `address` may be accessed under `rkey`. `length` is not 0.
    fn permits(&self, rkey: Rkey, address: u64, length: u32, access: Access) -> bool;
}

/// Memory that grants nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMemory;

impl Memory for NoMemory {
    fn permits(&self, _: Rkey, _: u64, _: u32, _: Access) -> bool {
        false
    }
}
