//! What `gantry-sim` can be asked for, one file a command.

pub(crate) mod demo;
mod live;
pub(crate) mod runs;
pub(crate) mod scenario;
pub(crate) mod serve_drive;
