//! What NVMe hosts and controllers put into CM's private data: NVMe RDMA Transport 1.0 §3.2 (NVMe-oF 1.1 §7.3.6).
//!
//! All little-endian, although CM around it is big-endian. In a REQ it follows the IP-CM header.

use zerocopy::byteorder::little_endian::U16;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// [`CmReject::sts`]: why a connection was refused.
pub mod reject {
    /// Fewer bytes than a request has.
    pub const INVALID_PRIVATE_DATA_LENGTH: u16 = 0x01;
    /// Record format not zero.
    pub const INVALID_RECFMT: u16 = 0x02;
    /// Queue id out of range.
    pub const INVALID_QID: u16 = 0x03;
    /// HSQSIZE out of range.
    pub const INVALID_HSQSIZE: u16 = 0x04;
    /// HRQSIZE out of range.
    pub const INVALID_HRQSIZE: u16 = 0x05;
    /// No room.
    pub const NO_RESOURCES: u16 = 0x06;
    /// RDMA IRD out of range.
    pub const INVALID_IRD: u16 = 0x07;
    /// RDMA ORD out of range.
    pub const INVALID_ORD: u16 = 0x08;
    /// Controller id unknown.
    pub const INVALID_CNTLID: u16 = 0x09;
}

/// Why a request's private data is none; [`Self::sts`] is what the REJ says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedRequest {
    /// Fewer than 32 bytes.
    Length,
    /// This record format.
    Recfmt(u16),
}

impl MalformedRequest {
    /// The status of the REJ that answers it.
    pub fn sts(self) -> u16 {
        match self {
            MalformedRequest::Length => reject::INVALID_PRIVATE_DATA_LENGTH,
            MalformedRequest::Recfmt(_) => reject::INVALID_RECFMT,
        }
    }
}

/// In a REQ: the queue that the host wants.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct CmRequest {
    /// Record format; zero.
    pub recfmt: U16,
    /// Queue id; zero is the admin queue.
    pub qid: U16,
    /// Entries of the host's RDMA receive queue.
    pub hrqsize: U16,
    /// Entries of the host's RDMA send queue, zeroes based: capsules it may have outstanding.
    pub hsqsize: U16,
    /// The controller, on the I/O queues of newer hosts; zero otherwise.
    pub cntlid: U16,
    reserved_10: [u8; 22],
}

impl CmRequest {
    /// A request of format 0.
    pub fn new(qid: u16, hrqsize: u16, hsqsize: u16, cntlid: u16) -> Self {
        CmRequest {
            qid: qid.into(),
            hrqsize: hrqsize.into(),
            hsqsize: hsqsize.into(),
            cntlid: cntlid.into(),
            ..CmRequest::new_zeroed()
        }
    }

    /// Reads the request behind the IP-CM header; bytes after its 32 are ignored.
    pub fn parse(private_data: &[u8]) -> Result<&CmRequest, MalformedRequest> {
        let (request, _) = CmRequest::ref_from_prefix(private_data).map_err(|_| MalformedRequest::Length)?;
        if request.recfmt.get() != 0 {
            return Err(MalformedRequest::Recfmt(request.recfmt.get()));
        }
        Ok(request)
    }
}

/// In a REP: the controller's terms.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct CmAccept {
    /// Record format; zero.
    pub recfmt: U16,
    /// Entries of the controller's RDMA receive queue.
    pub crqsize: U16,
    reserved_4: [u8; 28],
}

impl CmAccept {
    /// An accept of format 0.
    pub fn new(crqsize: u16) -> Self {
        CmAccept { crqsize: crqsize.into(), ..CmAccept::new_zeroed() }
    }

    /// Reads the accept at the start of a REP's private data.
    pub fn parse(private_data: &[u8]) -> Option<&CmAccept> {
        Some(CmAccept::ref_from_prefix(private_data).ok()?.0)
    }
}

/// In a REJ of reason "consumer reject": the controller's reason.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct CmReject {
    /// Record format; zero.
    pub recfmt: U16,
    /// Status: [`reject`].
    pub sts: U16,
}

impl CmReject {
    /// A reject of format 0.
    pub fn new(sts: u16) -> Self {
        CmReject { recfmt: U16::ZERO, sts: sts.into() }
    }

    /// Reads the reject at the start of a REJ's private data.
    pub fn parse(private_data: &[u8]) -> Option<&CmReject> {
        Some(CmReject::ref_from_prefix(private_data).ok()?.0)
    }
}
