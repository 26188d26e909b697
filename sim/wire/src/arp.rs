//! ARP for IPv4 over Ethernet (RFC 826): what is asked, and the reply.

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::ethernet::{self, Mac};
use crate::packet::{Malformed, Packet};

/// Length of an ARP message for IPv4 over Ethernet, in bytes.
pub const LEN: usize = size_of::<Arp>();
/// `operation`: a request.
pub const REQUEST: u16 = 1;
/// `operation`: a reply.
pub const REPLY: u16 = 2;

/// An ARP message for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Arp {
    /// Hardware space: 1, Ethernet.
    pub hardware: U16,
    /// Protocol space: the EtherType of IPv4.
    pub protocol: U16,
    /// Length of a hardware address: 6.
    pub hardware_length: u8,
    /// Length of a protocol address: 4.
    pub protocol_length: u8,
    /// [`REQUEST`] or [`REPLY`].
    pub operation: U16,
    /// Hardware address of the sender.
    pub sender_mac: Mac,
    /// Protocol address of the sender.
    pub sender_ip: [u8; 4],
    /// Hardware address of the target; of no meaning in a request.
    pub target_mac: Mac,
    /// Protocol address of the target: what a request asks for.
    pub target_ip: [u8; 4],
}

impl Arp {
    /// Reads the message that `bytes` begins with; only IPv4 over Ethernet is accepted.
    pub fn parse(bytes: &[u8]) -> Result<&Arp, Malformed> {
        let (arp, _) = Arp::ref_from_prefix(bytes).map_err(|_| Malformed::ArpLength)?;
        let kind = (arp.hardware.get(), arp.protocol.get(), arp.hardware_length, arp.protocol_length);
        if kind != (1, ethernet::IPV4, 6, 4) {
            return Err(Malformed::ArpKind);
        }
        Ok(arp)
    }

    /// The message of a frame that [`crate::packet::parse`] has called ARP.
    pub fn of<'f>(packet: &Packet, frame: &'f [u8]) -> &'f Arp {
        Arp::parse(&frame[usize::from(packet.l3)..]).expect("parsed as ARP")
    }
}

/// Writes the reply that says the asked address is at `mac`; answers its length, or nothing when the
/// frame is no request. Whether the asked address is ours is the caller's to know.
pub fn emit_reply(packet: &Packet, frame: &[u8], mac: Mac, out: &mut [u8]) -> Option<usize> {
    let request = Arp::of(packet, frame);
    if request.operation.get() != REQUEST {
        return None;
    }
    let reply = Arp {
        operation: REPLY.into(),
        sender_mac: mac,
        sender_ip: request.target_ip,
        target_mac: request.sender_mac,
        target_ip: request.sender_ip,
        ..*request
    };
    let at = ethernet::emit(packet.source_mac, mac, packet.vlan, ethernet::ARP, out);
    out[at..at + LEN].copy_from_slice(reply.as_bytes());
    Some(at + LEN)
}
