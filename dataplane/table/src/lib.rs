//! Match-action tables, counters and meters: many lcores read, one thread writes.

#![no_std]
#![forbid(unsafe_code)]
