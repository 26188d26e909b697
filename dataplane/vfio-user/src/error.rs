//! Why a peer cannot be worked with.

use std::time::Duration;

use crate::message::command;

/// What went wrong with a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody listens, or may be reached.
    #[error("nobody serves a drive there ({0}): start the process that emulates it, or mend the path")]
    Connect(rustix::io::Errno),
    /// The other process has ended, or closed the socket.
    #[error("the process behind it has gone")]
    Closed,
    /// It did not answer in time.
    #[error("the process behind it did not answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// The socket failed.
    #[error("its socket: {0}")]
    Socket(rustix::io::Errno),
    /// It says what the protocol does not have.
    #[error("the process behind it does not speak vfio-user as specified: {0}")]
    Protocol(&'static str),
    /// It speaks another version.
    #[error("it speaks vfio-user {major}.{minor}; 0.x is needed")]
    Version {
        /// Its major.
        major: u16,
        /// Its minor.
        minor: u16,
    },
    /// It refused a command.
    #[error("it refused {}: {}", name(*command), rustix::io::Errno::from_raw_os_error((*errno & 0xfff) as i32))]
    Refused {
        /// Of [`command`].
        command: u16,
        /// Why.
        errno: u32,
    },
    /// It is something else than an NVMe controller.
    #[error("it is no NVMe controller: PCI class {0:#08x}, 0x010802 is needed")]
    Class(u32),
    /// It is no PCI device.
    #[error("it is no PCI device with a BAR 0")]
    NoBar,
    /// Memory that it offers cannot be mapped, or ours cannot be offered.
    #[error("shared memory: {0}")]
    Memory(#[from] gantry_dma::Error),
    /// Memory of ours without a file cannot be offered.
    #[error("memory that has no file cannot be shared with another process")]
    NoFile,
}

fn name(command: u16) -> &'static str {
    match command {
        command::VERSION => "VERSION",
        command::DMA_MAP => "DMA_MAP",
        command::DMA_UNMAP => "DMA_UNMAP",
        command::DEVICE_GET_INFO => "DEVICE_GET_INFO",
        command::DEVICE_GET_REGION_INFO => "DEVICE_GET_REGION_INFO",
        command::REGION_READ => "REGION_READ",
        command::REGION_WRITE => "REGION_WRITE",
        command::DEVICE_RESET => "DEVICE_RESET",
        _ => "a command",
    }
}
