//! What stands between the pipeline and DPDK: the port's edge, the rings to housekeeping and between lcores, and the idle sleep
//! with the bells that end it.
//! gantry-dataplane is made of it; the I/O benchmark puts the same around lcores that it polls itself.

#![forbid(unsafe_code)]

pub mod bell;
pub mod exchange;
pub mod idle;
pub mod port;
