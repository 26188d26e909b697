//! Ethernet II and the 802.1Q tag: the first 14 or 18 bytes of a frame (IEEE 802.3 §3.1, 802.1Q §9.6).

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A MAC address as it lies on the wire.
pub type Mac = [u8; 6];

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of an 802.1Q tag.
pub const VLAN: u16 = 0x8100;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;

/// Length of an untagged header, in bytes.
pub const LEN: usize = size_of::<Ethernet>();
/// Length of an 802.1Q tag, in bytes.
pub const VLAN_LEN: usize = size_of::<VlanTag>();
/// The VLAN id's bits of a tag's control information.
pub const VLAN_ID_MASK: u16 = 0x0fff;

/// The Ethernet II header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ethernet {
    /// Destination address.
    pub destination: Mac,
    /// Source address.
    pub source: Mac,
    /// EtherType: what follows.
    pub ether_type: U16,
}

/// An 802.1Q tag: what follows an [`Ethernet`] header whose type is [`VLAN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct VlanTag {
    /// Tag control information: PCP (3 bits), DEI (1), VLAN id (12).
    pub tci: U16,
    /// EtherType of what follows the tag.
    pub ether_type: U16,
}

/// Writes an Ethernet header, with a tag when `tci` is not 0; answers its length. `out` must hold it.
pub fn emit(destination: Mac, source: Mac, tci: u16, ether_type: u16, out: &mut [u8]) -> usize {
    let outer = if tci == 0 { ether_type } else { VLAN };
    out[..LEN].copy_from_slice(Ethernet { destination, source, ether_type: outer.into() }.as_bytes());
    if tci == 0 {
        return LEN;
    }
    let tag = VlanTag { tci: tci.into(), ether_type: ether_type.into() };
    out[LEN..LEN + VLAN_LEN].copy_from_slice(tag.as_bytes());
    LEN + VLAN_LEN
}
