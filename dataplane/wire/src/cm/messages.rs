//! The seven messages, each 232 bytes behind the MAD header, laid out as InfiniBand Architecture vol. 1 §12.6 has them.
//!
//! Whole-byte fields are public; packed ones have accessors. `new` is all zeroes.

use super::bits::packed;
use super::{Attribute, Reason, attribute};
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Gives each message its attribute id, an all-zero `new`, and a way to fill its private data.
macro_rules! message {
    ($($name:ident: $id:ident, private data $length:literal;)+) => {
        $(
            impl Attribute for $name {
                const ID: u16 = attribute::$id;
            }

            impl $name {
                /// Bytes of private data.
                pub const PRIVATE_DATA_LEN: usize = $length;

                /// A message of zeroes.
                pub fn new() -> Self {
                    Self::new_zeroed()
                }

                /// Puts `data` at the start of the private data and zeroes behind it; panics when it is too long.
                pub fn set_private_data(&mut self, data: &[u8]) -> &mut Self {
                    self.private_data.fill(0);
                    self.private_data[..data.len()].copy_from_slice(data);
                    self
                }
            }

            impl Default for $name {
                fn default() -> Self {
                    Self::new()
                }
            }

            const _: () = assert!(size_of::<$name>() == super::MAD_LEN - super::HEADER_LEN);
        )+
    };
}

message! {
    Req: REQ, private data 92;
    Mra: MRA, private data 222;
    Rej: REJ, private data 148;
    Rep: REP, private data 196;
    Rtu: RTU, private data 224;
    Dreq: DREQ, private data 220;
    Drep: DREP, private data 224;
}

/// One path of a REQ (§12.6.5): addresses and what a packet on it carries.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct PathRecord {
    /// LID of the REQ's sender; `0xffff` on RoCE.
    pub local_port_lid: U16,
    /// LID of its receiver; `0xffff` on RoCE.
    pub remote_port_lid: U16,
    /// GID of the REQ's sender: on RoCE v2 its IPv6 address, or its IPv4 address mapped (`::ffff:a.b.c.d`).
    pub local_port_gid: [u8; 16],
    /// GID of its receiver.
    pub remote_port_gid: [u8; 16],
    flow_label_rate: U32,
    /// Traffic class.
    pub traffic_class: u8,
    /// Hop limit.
    pub hop_limit: u8,
    service_level: u8,
    ack_timeout: u8,
}

impl PathRecord {
    packed! {
        /// Flow label, 20 bits; [`udp_source_port`](super::udp_source_port) follows from it.
        flow_label_rate[12; 20] => flow_label, set_flow_label: u32;
        /// Packet rate, 6 bits; zero on RoCE.
        flow_label_rate[0; 6] => packet_rate, set_packet_rate: u8;
        /// Service level, 4 bits.
        service_level[4; 4] => sl, set_sl: u8;
        /// Subnet local, 1 bit.
        service_level[3; 1] => subnet_local, set_subnet_local: u8;
        /// Local ACK timeout, 5 bits: 4.096 µs × 2^code; zero means none.
        ack_timeout[3; 5] => local_ack_timeout, set_local_ack_timeout: u8;
    }
}

/// REQ (§12.6.5): asks for a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Req {
    /// The sender's communication id.
    pub local_comm_id: U32,
    reserved_4: U32,
    /// What is asked for: [`service_id`](super::service_id).
    pub service_id: U64,
    /// GUID of the sender's channel adapter.
    pub local_ca_guid: U64,
    reserved_24: U32,
    /// Q_Key, of datagram services only.
    pub local_qkey: U32,
    qpn_resources: U32,
    eecn_depth: U32,
    remote_eecn_service: U32,
    psn_timeout: U32,
    /// P_Key.
    pub pkey: U16,
    mtu_rnr: u8,
    retries_srq: u8,
    /// Primary path.
    pub primary: PathRecord,
    /// Alternate path; zeroes when there is none.
    pub alternate: PathRecord,
    /// The consumer's: [`IpCm`](super::IpCm), then the NVMe host's request.
    pub private_data: [u8; 92],
}

impl Req {
    packed! {
        /// The sender's QPN.
        qpn_resources[8; 24] => local_qpn, set_local_qpn: u32;
        /// READs and atomics that the sender answers at once.
        qpn_resources[0; 8] => responder_resources, set_responder_resources: u8;
        /// End-to-end context number; zero except in RD service.
        eecn_depth[8; 24] => local_eecn, set_local_eecn: u32;
        /// READs and atomics that the sender has outstanding.
        eecn_depth[0; 8] => initiator_depth, set_initiator_depth: u8;
        /// End-to-end context number of the receiver; zero except in RD service.
        remote_eecn_service[8; 24] => remote_eecn, set_remote_eecn: u32;
        /// How soon the receiver answers: 4.096 µs × 2^code.
        remote_eecn_service[3; 5] => remote_cm_response_timeout, set_remote_cm_response_timeout: u8;
        /// 0 is RC, 1 UC, 2 RD, 3 the extended transport type.
        remote_eecn_service[1; 2] => transport_service_type, set_transport_service_type: u8;
        /// 1 when the sender's QP counts credits.
        remote_eecn_service[0; 1] => end_to_end_flow_control, set_end_to_end_flow_control: u8;
        /// The first PSN that the receiver of this REQ sends.
        psn_timeout[8; 24] => starting_psn, set_starting_psn: u32;
        /// How soon the sender answers: 4.096 µs × 2^code.
        psn_timeout[3; 5] => local_cm_response_timeout, set_local_cm_response_timeout: u8;
        /// Retries of a packet before the connection fails.
        psn_timeout[0; 3] => retry_count, set_retry_count: u8;
        /// Path packet payload MTU: 1 is 256 bytes, 5 is 4096 ([`Self::path_mtu_bytes`]).
        mtu_rnr[4; 4] => path_mtu, set_path_mtu: u8;
        /// RDC exists; RD service only.
        mtu_rnr[3; 1] => rdc_exists, set_rdc_exists: u8;
        /// RNR retries; 7 means without end.
        mtu_rnr[0; 3] => rnr_retry_count, set_rnr_retry_count: u8;
        /// Times a CM message is sent again.
        retries_srq[4; 4] => max_cm_retries, set_max_cm_retries: u8;
        /// 1 when the sender's QP has a shared receive queue.
        retries_srq[3; 1] => srq, set_srq: u8;
        /// Extended transport type.
        retries_srq[0; 3] => extended_transport_type, set_extended_transport_type: u8;
    }

    /// The path MTU in bytes; none when the code has no meaning.
    pub fn path_mtu_bytes(&self) -> Option<u16> {
        match self.path_mtu() {
            code @ 1..=5 => Some(128 << code),
            _ => None,
        }
    }
}

/// MRA (§12.6.6): the answer will take a while.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Mra {
    /// The sender's communication id.
    pub local_comm_id: U32,
    /// The receiver's communication id.
    pub remote_comm_id: U32,
    message: u8,
    timeout: u8,
    /// The consumer's.
    pub private_data: [u8; 222],
}

impl Mra {
    packed! {
        /// Which message took its time: 0 REQ, 1 REP, 2 LAP.
        message[6; 2] => message_mraed, set_message_mraed: u8;
        /// How soon the answer comes: 4.096 µs × 2^code.
        timeout[3; 5] => service_timeout, set_service_timeout: u8;
    }
}

/// REJ (§12.6.7): no connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Rej {
    /// The sender's communication id; zero when it made none.
    pub local_comm_id: U32,
    /// The receiver's communication id.
    pub remote_comm_id: U32,
    message: u8,
    info_length: u8,
    reason: U16,
    /// Additional reject information.
    pub ari: [u8; 72],
    /// The consumer's.
    pub private_data: [u8; 148],
}

/// [`Rej::message_rejected`]: what a REJ answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rejected {
    /// A REQ.
    Req = 0,
    /// A REP.
    Rep = 1,
    /// No message: a timeout, or a message that fits no connection.
    None = 2,
}

impl Rej {
    packed! {
        /// Which message is refused, as [`Rejected`]'s number.
        message[6; 2] => message_rejected, set_message_rejected: u8;
        /// Bytes of [`Self::ari`] that mean something.
        info_length[1; 7] => reject_info_length, set_reject_info_length: u8;
    }

    /// Why.
    pub fn reason(&self) -> Reason {
        Reason(self.reason.get())
    }

    /// Sets [`Self::reason`].
    pub fn set_reason(&mut self, reason: Reason) -> &mut Self {
        self.reason = U16::new(reason.0);
        self
    }
}

/// REP (§12.6.8): the connection is possible, with these terms.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Rep {
    /// The sender's communication id.
    pub local_comm_id: U32,
    /// The receiver's communication id.
    pub remote_comm_id: U32,
    /// Q_Key, of datagram services only.
    pub local_qkey: U32,
    qpn: U32,
    eecn: U32,
    psn: U32,
    /// READs and atomics that the sender answers at once.
    pub responder_resources: u8,
    /// READs and atomics that the sender has outstanding.
    pub initiator_depth: u8,
    delay_flow_control: u8,
    rnr_srq: u8,
    /// GUID of the sender's channel adapter.
    pub local_ca_guid: U64,
    /// The consumer's: the NVMe controller's accept.
    pub private_data: [u8; 196],
}

impl Rep {
    packed! {
        /// The sender's QPN.
        qpn[8; 24] => local_qpn, set_local_qpn: u32;
        /// End-to-end context number; zero except in RD service.
        eecn[8; 24] => local_eecn, set_local_eecn: u32;
        /// The first PSN that the receiver of this REP sends.
        psn[8; 24] => starting_psn, set_starting_psn: u32;
        /// How long the sender may take to acknowledge: 4.096 µs × 2^code.
        delay_flow_control[3; 5] => target_ack_delay, set_target_ack_delay: u8;
        /// 0: failover is accepted.
        delay_flow_control[1; 2] => failover_accepted, set_failover_accepted: u8;
        /// 1 when the sender's QP counts credits.
        delay_flow_control[0; 1] => end_to_end_flow_control, set_end_to_end_flow_control: u8;
        /// RNR retries; 7 means without end.
        rnr_srq[5; 3] => rnr_retry_count, set_rnr_retry_count: u8;
        /// 1 when the sender's QP has a shared receive queue.
        rnr_srq[4; 1] => srq, set_srq: u8;
    }
}

/// RTU (§12.6.9): the REP arrived.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Rtu {
    /// The sender's communication id.
    pub local_comm_id: U32,
    /// The receiver's communication id.
    pub remote_comm_id: U32,
    /// The consumer's.
    pub private_data: [u8; 224],
}

/// DREQ (§12.6.10): asks to end the connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Dreq {
    /// The sender's communication id.
    pub local_comm_id: U32,
    /// The receiver's communication id.
    pub remote_comm_id: U32,
    qpn: U32,
    /// The consumer's.
    pub private_data: [u8; 220],
}

impl Dreq {
    packed! {
        /// The receiver's QPN (or EECN).
        qpn[8; 24] => remote_qpn, set_remote_qpn: u32;
    }
}

/// DREP (§12.6.11): the connection has ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Drep {
    /// The sender's communication id.
    pub local_comm_id: U32,
    /// The receiver's communication id.
    pub remote_comm_id: U32,
    /// The consumer's.
    pub private_data: [u8; 224],
}
