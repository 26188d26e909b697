//! The server over control's channel: against a scripted data plane that breaks and refuses, and against the card itself.

#![forbid(unsafe_code)]

mod bed;
mod card;
mod network;
mod scripted;
#[path = "../../../core/tests/control/table_plane.rs"]
#[allow(dead_code, reason = "control's own tests use the rest of it")]
mod table_plane;
