//! The bytes of the protocols that Gantry speaks above the packet headers, parsed and emitted; nothing here decides.
//! Packet headers are compiled from p4/packet.p4; what is here of them is what that program leaves to an extern, and the
//! transport's numbers.
//!
//! Views are zerocopy structs over the wire's own layout. Parsing takes bytes from outside and never
//! panics: a `parse` answers `Option` or a reason. Emitting writes into a caller's buffer.
//!
//! | module | what | specification |
//! |---|---|---|
//! | [`ib`] | a packet's transport headers as a value, opcodes, PSN arithmetic | InfiniBand Architecture 1.5 vol. 1 chapter 9, annexes A16, A17 |
//! | [`icrc`] | the invariant CRC's masked prefix | annex A17.3.3 |
//! | [`ip`] | the Internet checksum, IPv6's pseudo-header | RFC 1071, 8200 |
//! | [`cm`] | communication management MADs | chapters 12, 13 and 16.7, annex A11 |
//! | [`nvme`] | SQE, CQE, registers, Identify, logs, features | NVMe Base 2.0, NVM Command Set 1.0 |
//! | [`fabrics`] | Connect, properties, discovery, the RDMA transport's private data | NVMe-oF 1.1, NVMe RDMA Transport 1.0 |

#![no_std]
#![forbid(unsafe_code)]

pub mod cm;
pub mod fabrics;
pub mod ib;
pub mod icrc;
pub mod ip;
pub mod nvme;
