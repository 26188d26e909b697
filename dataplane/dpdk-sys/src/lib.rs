//! Raw bindings to the DPDK that is installed, generated at build time from `wrapper.h`. `rte-rs` is their one user
//! and makes them safe; see DPDK's own API reference for what each does.

#![no_std]
#![allow(missing_docs, unreachable_pub, non_camel_case_types, non_snake_case, non_upper_case_globals)]
#![allow(clippy::all, clippy::undocumented_unsafe_blocks, clippy::cast_ptr_alignment)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
