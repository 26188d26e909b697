//! Messages of P4Info and P4Runtime (P4Runtime specification 1.5.0).

#![forbid(unsafe_code)]
