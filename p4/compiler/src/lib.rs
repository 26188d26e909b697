//! The compiler of p4/*.p4: a subset of P4_16 (1.2.4) and of the Portable NIC Architecture (0.7).

#![forbid(unsafe_code)]
