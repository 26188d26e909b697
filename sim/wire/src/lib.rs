//! Frames as a host reads and writes them, by hand.
//!
//! What the card makes of a frame is compiled from p4/packet.p4. Nothing here is: these layouts were written from the
//! specifications, so that a fault in p4/ is not on both sides of a test. Hosts, the switch and intruders of the
//! simulator are built on this crate, and tests hold the card's reading of captured frames to it. No product crate
//! knows it.
//!
//! Views are zerocopy structs over the wire's own layout. Parsing takes bytes from outside and never panics: it
//! answers a value or why there is none ([`packet::Malformed`]). Emitting writes into a caller's buffer.
//!
//! | module | what | specification |
//! |---|---|---|
//! | [`ethernet`], [`arp`], [`ipv4`], [`ipv6`], [`icmp`], [`udp`] | packet headers below RoCE | IEEE 802.3, 802.1Q, RFC 826, 791, 8200, 792, 4443, 4861, 768 |
//! | [`ib`] | BTH and its extensions: [`Transport`](gantry_wire::ib::Transport) to and from bytes | InfiniBand Architecture 1.5 vol. 1 chapter 9, annexes A16, A17 |
//! | [`packet`] | a whole frame at once: offsets on the way in, headers on the way out | |
//!
//! The Internet checksum and the ICRC's masked prefix are not of p4/, and are those of gantry-wire.

#![no_std]
#![forbid(unsafe_code)]

pub mod arp;
pub mod ethernet;
pub mod ib;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod packet;
pub mod udp;
