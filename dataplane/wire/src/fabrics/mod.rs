//! NVMe over Fabrics: the commands of opcode 0x7f, Connect's data, the RDMA transport's private data, discovery.
//!
//! A Fabrics command is a 64-byte SQE with other fields: [`Command::parse`] names which and views it. Control answers
//! them; the data plane only tells them apart. Their statuses are among [`Status`](crate::nvme::Status)'s. NVMe-oF 1.1 §3 (commands), §5 (discovery), §7.3 (RDMA);
//! NVMe RDMA Transport 1.0 §3.

mod commands;
mod connect;
mod discovery;
mod nqn;
mod private_data;
#[cfg(test)]
mod tests;

pub use commands::{
    AuthReceive, AuthSend, Connect, Disconnect, Fabric, PROPERTY_4_BYTES, PROPERTY_8_BYTES, PropertyGet, PropertySet,
    cattr,
};
pub use connect::{CNTLID_DYNAMIC, ConnectAccepted, ConnectData, ConnectInvalid, SUBNQN_OFFSET};
pub use discovery::{
    AddressFamily, DISCOVERY_PORT, DiscoveryEntry, DiscoveryHeader, ENTRY_LEN, HEADER_LEN, RdmaSubtype, SubsystemType,
    TRANSPORT_RDMA, rdma, treq,
};
pub use nqn::{DISCOVERY_NQN, InvalidNqn, NQN_FIELD_LEN, NQN_LEN_MAX, check_nqn, nqn_field, nqn_from_field};
pub use private_data::{CmAccept, CmReject, CmRequest, MalformedRequest, reject};

/// Opcode of every Fabrics command (NVMe-oF 1.1 §3).
pub const OPCODE: u8 = crate::nvme::admin::FABRICS;

/// Fabrics command types (NVMe-oF 1.1 §3, figure 11).
pub mod fctype {
    /// Property Set.
    pub const PROPERTY_SET: u8 = 0x00;
    /// Connect.
    pub const CONNECT: u8 = 0x01;
    /// Property Get.
    pub const PROPERTY_GET: u8 = 0x04;
    /// Authentication Send.
    pub const AUTH_SEND: u8 = 0x05;
    /// Authentication Receive.
    pub const AUTH_RECEIVE: u8 = 0x06;
    /// Disconnect.
    pub const DISCONNECT: u8 = 0x08;
}

/// A Fabrics command where it lies: a view of a 64-byte SQE.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// Connect: joins a queue to a controller.
    Connect(&'a Connect),
    /// Property Get: reads a register.
    PropertyGet(&'a PropertyGet),
    /// Property Set: writes a register.
    PropertySet(&'a PropertySet),
    /// Authentication Send.
    AuthSend(&'a AuthSend),
    /// Authentication Receive.
    AuthReceive(&'a AuthReceive),
    /// Disconnect: ends an I/O queue.
    Disconnect(&'a Disconnect),
    /// A Fabrics command type without a meaning here.
    Unknown(u8),
}

impl<'a> Command<'a> {
    /// Views the command in `sqe`; none when its opcode is not [`OPCODE`].
    pub fn parse(sqe: &'a [u8; 64]) -> Option<Self> {
        /// A view that cannot fail: every command is 64 bytes.
        fn view<T: Fabric>(sqe: &[u8; 64]) -> &T {
            T::ref_from_bytes(sqe).expect("a Fabrics command is 64 bytes")
        }
        if sqe[0] != OPCODE {
            return None;
        }
        Some(match sqe[4] {
            fctype::PROPERTY_SET => Command::PropertySet(view(sqe)),
            fctype::CONNECT => Command::Connect(view(sqe)),
            fctype::PROPERTY_GET => Command::PropertyGet(view(sqe)),
            fctype::AUTH_SEND => Command::AuthSend(view(sqe)),
            fctype::AUTH_RECEIVE => Command::AuthReceive(view(sqe)),
            fctype::DISCONNECT => Command::Disconnect(view(sqe)),
            other => Command::Unknown(other),
        })
    }
}
