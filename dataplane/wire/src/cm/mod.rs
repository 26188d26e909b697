//! Communication management MADs: the 256-byte datagrams between QP1 and QP1 that open and close RC connections.
//!
//! A MAD arrives as the payload of a UD SEND (Q_Key [`QKEY`]) and reaches control as a punt. [`Message::parse`] is
//! the way in, [`emit`] the way out; [`IpCm`] reads the IP addresses that rdma_cm puts before a consumer's private
//! data. InfiniBand Architecture vol. 1 §12.6 (messages), §13.4 (MAD header), §16.7 (class); annex A11 (IP-CM).

mod bits;
mod ip;
mod messages;
mod reason;
#[cfg(test)]
mod tests;

pub use ip::{IP_CM_LEN, IpCm, RDMA_TCP, port_of, service_id, udp_source_port};
pub use messages::{Drep, Dreq, Mra, PathRecord, Rej, Rejected, Rep, Req, Rtu};
pub use reason::Reason;

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a MAD (§13.4.2).
pub const MAD_LEN: usize = 256;
/// Bytes of a MAD's header (§13.4.3).
pub const HEADER_LEN: usize = 24;
/// The Q_Key of QP1 (§10.2.5.1).
pub const QKEY: u32 = 0x8001_0000;
/// The QPN of the general services interface, where MADs go.
pub const QPN: u32 = 1;
/// Management class of communication management (§16.7).
pub const CLASS: u8 = 0x07;
/// Its class version.
pub const CLASS_VERSION: u8 = 2;
/// Base version of every MAD.
pub const BASE_VERSION: u8 = 1;
/// ComMgtSend, the one method of this class (§16.7.1).
pub const METHOD_SEND: u8 = 3;

/// Attribute ids of the class (§16.7.3).
pub mod attribute {
    /// REQ: request for communication.
    pub const REQ: u16 = 0x0010;
    /// MRA: message receipt acknowledgment.
    pub const MRA: u16 = 0x0011;
    /// REJ: reject.
    pub const REJ: u16 = 0x0012;
    /// REP: reply to a request.
    pub const REP: u16 = 0x0013;
    /// RTU: ready to use.
    pub const RTU: u16 = 0x0014;
    /// DREQ: request for communication release.
    pub const DREQ: u16 = 0x0015;
    /// DREP: reply to a release.
    pub const DREP: u16 = 0x0016;
}

/// The MAD header (§13.4.3), class specific bits included.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Header {
    /// [`BASE_VERSION`].
    pub base_version: u8,
    /// [`CLASS`].
    pub management_class: u8,
    /// [`CLASS_VERSION`].
    pub class_version: u8,
    /// Response bit and method; [`METHOD_SEND`].
    pub method: u8,
    /// Zero in this class.
    pub status: U16,
    /// Zero in this class.
    pub class_specific: U16,
    /// Chosen by the sender of a REQ, LAP or DREQ; the answers carry it too (§12.6.4).
    pub transaction_id: U64,
    /// Which message: [`attribute`].
    pub attribute_id: U16,
    /// Zero.
    pub reserved: U16,
    /// Zero.
    pub attribute_modifier: U32,
}

impl Header {
    /// The header of a message of attribute `attribute_id`.
    pub fn new(transaction_id: u64, attribute_id: u16) -> Self {
        Header {
            base_version: BASE_VERSION,
            management_class: CLASS,
            class_version: CLASS_VERSION,
            method: METHOD_SEND,
            status: U16::ZERO,
            class_specific: U16::ZERO,
            transaction_id: U64::new(transaction_id),
            attribute_id: U16::new(attribute_id),
            reserved: U16::ZERO,
            attribute_modifier: U32::ZERO,
        }
    }
}

/// Why bytes are no CM message, or no IP-CM header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Not [`MAD_LEN`] bytes.
    Length(usize),
    /// Base version, class or class version of something else.
    Class,
    /// Not [`METHOD_SEND`].
    Method(u8),
    /// A message that is none of [`attribute`].
    Attribute(u16),
    /// IP-CM: fewer than [`IP_CM_LEN`] bytes, another version, or neither IPv4 nor IPv6.
    IpCm,
}

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Malformed::Length(length) => write!(f, "a MAD is 256 bytes, not {length}"),
            Malformed::Class => f.write_str("not a MAD of communication management version 2"),
            Malformed::Method(method) => write!(f, "method {method:#04x} is not ComMgtSend"),
            Malformed::Attribute(id) => write!(f, "attribute {id:#06x} is no message of a connection"),
            Malformed::IpCm => f.write_str("no IP-CM header before the private data"),
        }
    }
}

impl core::error::Error for Malformed {}

/// A CM message where it lies: views into the MAD's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The MAD header.
    pub header: &'a Header,
    /// The message itself.
    pub body: Body<'a>,
}

/// One of the seven messages of a connection.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// Request for communication.
    Req(&'a Req),
    /// Message receipt acknowledgment.
    Mra(&'a Mra),
    /// Reject.
    Rej(&'a Rej),
    /// Reply to a request.
    Rep(&'a Rep),
    /// Ready to use.
    Rtu(&'a Rtu),
    /// Request for communication release.
    Dreq(&'a Dreq),
    /// Reply to a release.
    Drep(&'a Drep),
}

impl<'a> Message<'a> {
    /// Reads a MAD of exactly [`MAD_LEN`] bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() != MAD_LEN {
            return Err(Malformed::Length(bytes.len()));
        }
        let (header, body) = bytes.split_at(HEADER_LEN);
        let header: &Header = view(header);
        if (header.base_version, header.management_class, header.class_version) != (BASE_VERSION, CLASS, CLASS_VERSION)
        {
            return Err(Malformed::Class);
        }
        if header.method != METHOD_SEND {
            return Err(Malformed::Method(header.method));
        }
        let body = match header.attribute_id.get() {
            attribute::REQ => Body::Req(view(body)),
            attribute::MRA => Body::Mra(view(body)),
            attribute::REJ => Body::Rej(view(body)),
            attribute::REP => Body::Rep(view(body)),
            attribute::RTU => Body::Rtu(view(body)),
            attribute::DREQ => Body::Dreq(view(body)),
            attribute::DREP => Body::Drep(view(body)),
            other => return Err(Malformed::Attribute(other)),
        };
        Ok(Message { header, body })
    }

    /// The transaction id, which an answer repeats.
    pub fn transaction_id(&self) -> u64 {
        self.header.transaction_id.get()
    }
}

/// The struct that these bytes are; its length was checked.
fn view<T: FromBytes + KnownLayout + Immutable + Unaligned>(bytes: &[u8]) -> &T {
    T::ref_from_bytes(bytes).expect("a MAD's parts have fixed lengths")
}

impl Body<'_> {
    /// The MAD of this message.
    pub fn emit(&self, transaction_id: u64) -> [u8; MAD_LEN] {
        match self {
            Body::Req(message) => emit(transaction_id, *message),
            Body::Mra(message) => emit(transaction_id, *message),
            Body::Rej(message) => emit(transaction_id, *message),
            Body::Rep(message) => emit(transaction_id, *message),
            Body::Rtu(message) => emit(transaction_id, *message),
            Body::Dreq(message) => emit(transaction_id, *message),
            Body::Drep(message) => emit(transaction_id, *message),
        }
    }

    /// The sender's communication id.
    pub fn local_comm_id(&self) -> u32 {
        match self {
            Body::Req(message) => message.local_comm_id.get(),
            Body::Mra(message) => message.local_comm_id.get(),
            Body::Rej(message) => message.local_comm_id.get(),
            Body::Rep(message) => message.local_comm_id.get(),
            Body::Rtu(message) => message.local_comm_id.get(),
            Body::Dreq(message) => message.local_comm_id.get(),
            Body::Drep(message) => message.local_comm_id.get(),
        }
    }

    /// The receiver's communication id as the sender knows it; none in a REQ.
    pub fn remote_comm_id(&self) -> Option<u32> {
        match self {
            Body::Req(_) => None,
            Body::Mra(message) => Some(message.remote_comm_id.get()),
            Body::Rej(message) => Some(message.remote_comm_id.get()),
            Body::Rep(message) => Some(message.remote_comm_id.get()),
            Body::Rtu(message) => Some(message.remote_comm_id.get()),
            Body::Dreq(message) => Some(message.remote_comm_id.get()),
            Body::Drep(message) => Some(message.remote_comm_id.get()),
        }
    }
}

/// A message that fills the 232 bytes behind the MAD header.
pub trait Attribute: IntoBytes + Immutable {
    /// Its attribute id.
    const ID: u16;
}

/// Writes a whole MAD.
pub fn emit<M: Attribute>(transaction_id: u64, message: &M) -> [u8; MAD_LEN] {
    let mut mad = [0; MAD_LEN];
    mad[..HEADER_LEN].copy_from_slice(Header::new(transaction_id, M::ID).as_bytes());
    mad[HEADER_LEN..].copy_from_slice(message.as_bytes());
    mad
}
