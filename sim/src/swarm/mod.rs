//! Runs drawn from seeds, with oracles that judge them: how this project finds its bugs before users do.
//!
//! | file | what |
//! |---|---|
//! | `draw.rs` | a seed becomes a plan |
//! | `plan.rs`, `fault.rs` | who is there, what they do, what goes wrong; and what that excuses |
//! | `run.rs` | the run of a plan, phase by phase |
//! | `inflict.rs` | faults begin and end |
//! | `rules.rs` | access rules and rates that are written meanwhile |
//! | `guest.rs` | a host's load, and what it makes of the answers |
//! | `ledger.rs` | what every block may hold |
//! | `watch.rs` | what drives execute |
//! | `coverage.rs` | what was reached |
//! | `shrink.rs` | a failing plan becomes a small one |
//! | `report.rs` | what a failure leaves behind |

pub mod coverage;
pub mod draw;
pub mod fault;
mod guest;
mod inflict;
pub mod ledger;
pub mod plan;
pub mod report;
mod rules;
pub mod run;
pub mod shrink;
mod watch;
