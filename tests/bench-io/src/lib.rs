//! Measures what an I/O costs (docs/performance.md): the product's lcore on DPDK rings, driving software drives, with hosts of
//! the simulator's model at the far end. References take turns with it in the same run.
//!
//! | module | what |
//! |---|---|
//! | [`rig`] | the data plane, control, drives and hosts, put together |
//! | [`wire`] | the ring between a host and the lcore |
//! | [`load`] | what hosts ask for: so many commands in flight, data that is checked |
//! | [`case`] | the cases |
//! | [`alternate`] | one thread: host, drive, lcore in turn; cycles of busy polls |
//! | [`noise`] | what the machine took away meanwhile |
//! | [`reference`] | what the machine allows: CRC and copy, the ring alone, the drive alone |
//! | [`apart`] | two cores: I/Os a second, latencies |
//! | [`sides`] | two lcores: what the second costs the first |
//! | [`churn`] | QPs that come and go: what they cost the others |
//! | [`aims`] | what is aimed at and what was measured; cores for a link |
//! | [`machine`] | what it was measured on |
//! | [`plot`] | bars as SVG |
//! | [`report`] | what was measured |

#![forbid(unsafe_code)]

pub mod aims;
pub mod alternate;
pub mod apart;
pub mod case;
pub mod churn;
pub mod load;
pub mod machine;
pub mod noise;
pub mod plot;
pub mod reference;
pub mod report;
pub mod rig;
pub mod sides;
pub mod wire;
