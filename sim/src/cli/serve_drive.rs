//! The software drive behind a vfio-user socket, until a signal ends it.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gantry_drive::MediaError;
use gantry_serve::{Notice, Options, Server};
use gantry_wire::nvme::Nsid;

/// What to serve, and where.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The drive: `mem:SIZE` or `file:/path`, and options as in docs/drives.md.
    uri: String,
    /// Unix socket to make.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Its name: a memory drive's serial number follows from it.
    #[arg(long, default_value = "served")]
    name: String,
    /// Do not let clients map the doorbells: each is a message.
    #[arg(long)]
    no_mapped_doorbells: bool,
    /// Blocks that cannot be read: `NSID:LBA` or `NSID:LBA+BLOCKS`; may be repeated.
    #[arg(long, value_name = "RANGE")]
    fail_reads: Vec<Range>,
    /// Blocks that cannot be written; may be repeated.
    #[arg(long, value_name = "RANGE")]
    fail_writes: Vec<Range>,
}

/// Blocks of a namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Range {
    nsid: u32,
    slba: u64,
    blocks: u64,
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no range; write NSID:LBA+BLOCKS, as in 1:4096+8");
        let (nsid, blocks) = text.split_once(':').ok_or_else(wrong)?;
        let (slba, count) = blocks.split_once('+').unwrap_or((blocks, "1"));
        let range = Self {
            nsid: nsid.parse().map_err(|_| wrong())?,
            slba: slba.parse().map_err(|_| wrong())?,
            blocks: count.parse().map_err(|_| wrong())?,
        };
        if range.nsid == 0 || range.blocks == 0 { Err(wrong()) } else { Ok(range) }
    }
}

impl Range {
    fn fault(self, reads: bool) -> MediaError {
        let Self { nsid, slba, blocks } = self;
        MediaError { nsid: Nsid(nsid), slba, blocks, reads, writes: !reads }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, stop.clone()).map_err(|error| format!("signal handlers: {error}"))?;
    }
    let drive = gantry_drive::open(&arguments.uri, &arguments.name).map_err(|error| error.to_string())?;
    let reads = arguments.fail_reads.iter().map(|range| range.fault(true));
    let writes = arguments.fail_writes.iter().map(|range| range.fault(false));
    drive.faults().lock().media_errors.extend(reads.chain(writes));
    let options = Options { doorbells_mapped: !arguments.no_mapped_doorbells };
    let mut server = Server::bind(&arguments.socket, drive, options).map_err(|error| error.to_string())?;
    println!("serving {} on {}", arguments.uri, arguments.socket.display());
    server.run(&stop, |notice| match notice {
        Notice::Connected => println!("a client has connected"),
        Notice::Gone(gantry_vfio_user::Error::Closed) => println!("the client has gone"),
        Notice::Gone(error) => println!("the client is given up: {error}"),
        Notice::TurnedAway => println!("another client was turned away: one at a time"),
    });
    println!("stopped");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_written() {
        assert_eq!("1:4096+8".parse(), Ok(Range { nsid: 1, slba: 4096, blocks: 8 }));
        assert_eq!("2:7".parse(), Ok(Range { nsid: 2, slba: 7, blocks: 1 }));
        for text in ["", "1", "0:1", "1:2+0", "1:-2", "a:1", "1:2+3+4", "1:1+99999999999999999999"] {
            let error = text.parse::<Range>().unwrap_err();
            assert!(error.contains("NSID:LBA+BLOCKS"), "{text}: {error}");
        }
    }
}
