//! The bytes of every protocol that Gantry speaks, parsed and emitted; nothing here decides.
//!
//! Views are zerocopy structs over the wire's own layout. Parsing takes bytes from outside and never
//! panics: a `parse` answers `Option` or a reason. Emitting writes into a caller's buffer.
//!
//! | module | what | specification |
//! |---|---|---|
//! | [`ethernet`], [`arp`], [`ipv4`], [`ipv6`], [`icmp`], [`udp`] | packet headers below RoCE | IEEE 802.3, 802.1Q, RFC 826, 791, 8200, 792, 4443, 4861, 768 |
//! | [`ib`] | BTH and its extensions, opcodes, PSN arithmetic | InfiniBand Architecture 1.5 vol. 1 chapter 9, annexes A16, A17 |
//! | [`icrc`] | the invariant CRC's masked prefix | annex A17.3.3 |
//! | [`packet`] | a whole frame at once: offsets on the way in, headers on the way out | |
//! | [`cm`] | communication management MADs | chapters 12, 13 and 16.7, annex A11 |
//! | [`nvme`] | SQE, CQE, registers, Identify, logs, features | NVMe Base 2.0, NVM Command Set 1.0 |
//! | [`fabrics`] | Connect, properties, discovery, the RDMA transport's private data | NVMe-oF 1.1, NVMe RDMA Transport 1.0 |

#![no_std]
#![forbid(unsafe_code)]

pub mod arp;
pub mod cm;
pub mod ethernet;
pub mod fabrics;
pub mod ib;
pub mod icmp;
pub mod icrc;
pub mod ipv4;
pub mod ipv6;
pub mod nvme;
pub mod packet;
pub mod udp;
