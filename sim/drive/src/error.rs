//! Why a drive could not be opened: what is wrong, and what to do.

use std::io;
use std::path::PathBuf;

/// A drive could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither `mem:` nor `file:`.
    #[error("drive '{0}': no such kind of software drive; write mem:64M or file:/path")]
    Scheme(String),
    /// A size that does not parse.
    #[error("drive '{uri}': '{value}' is no size; write a number of bytes or 64K, 64M, 10G, 1T")]
    Size {
        /// The URI.
        uri: String,
        /// The part of it.
        value: String,
    },
    /// An option nobody knows.
    #[error(
        "drive '{uri}': unknown option '{option}'; known are size=, block=, namespaces=, mdts=, entries=, queues=, \
         cache= and those of docs/drives.md"
    )]
    Option {
        /// The URI.
        uri: String,
        /// The part of it.
        option: String,
    },
    /// A value out of range.
    #[error("drive '{uri}': {option}={value} cannot be; {remedy}")]
    Value {
        /// The URI.
        uri: String,
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What can be.
        remedy: &'static str,
    },
    /// A trait's value out of range.
    #[error("drive '{uri}': {option}={value} cannot be; {remedy}")]
    Trait {
        /// The URI.
        uri: String,
        /// The option.
        option: String,
        /// Its value.
        value: String,
        /// What can be.
        remedy: &'static str,
    },
    /// No path.
    #[error("drive '{0}': a file needs an absolute path; write file:/path")]
    Path(String),
    /// Less than a block a namespace.
    #[error(
        "drive of {bytes} bytes: too small for {namespaces} namespaces of {block_bytes}-byte blocks; make it larger"
    )]
    TooSmall {
        /// Bytes there are.
        bytes: u64,
        /// Namespaces asked for.
        namespaces: u32,
        /// Bytes of a block.
        block_bytes: u32,
    },
    /// The file does not exist and its size was not said.
    #[error("{}: no such file; add ,size=10G to create it", .0.display())]
    NoSize(PathBuf),
    /// The file has another size than was said.
    #[error("{}: has {found} bytes, size={wanted} was asked for; leave size= out, or resize the file yourself", path.display())]
    SizeDiffers {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        found: u64,
        /// Bytes asked for.
        wanted: u64,
    },
    /// Another process, or another drive of this one, has it.
    #[error("{}: in use by another drive; each file serves one", .0.display())]
    InUse(PathBuf),
    /// Neither a file nor a block device.
    #[error("{}: neither a regular file nor a block device", .0.display())]
    Kind(PathBuf),
    /// The identity beside the file is damaged.
    #[error("{}: does not hold 32 hexadecimal digits; restore it, or remove it and hosts will see a new drive", .0.display())]
    Identity(PathBuf),
    /// The system refused.
    #[error("{}: cannot {what}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it was refused.
        source: io::Error,
    },
    /// No memory for the registers.
    #[error("registers: {0}")]
    Registers(#[from] gantry_dma::Error),
    /// No thread.
    #[error("cannot start the drive's thread: {0}")]
    Thread(io::Error),
}
