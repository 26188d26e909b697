//! Management interfaces of control.

#![forbid(unsafe_code)]
