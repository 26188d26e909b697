//! The ways in which a machine, or a command in it, can fail.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::Output;

/// Why an operation on a machine failed. It prints as a sentence that names the machine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something on the machine that runs the tests: a file, a socket, a process.
    #[error("{doing}: {source}")]
    Host {
        /// What was being done.
        doing: String,
        /// What the system answered.
        source: io::Error,
    },
    /// A program that the library needs is not installed.
    #[error("{tool} is missing: install the Debian package {package} (`apt-get install {package}`)")]
    Missing {
        /// The program.
        tool: String,
        /// Where it comes from.
        package: String,
    },
    /// A command that had to succeed did not.
    #[error("{machine}: `{command}` {output}")]
    Failed {
        /// The machine's name.
        machine: String,
        /// What ran.
        command: String,
        /// How it ended.
        output: Output,
    },
    /// A command, or the boot, took longer than it may.
    #[error("{machine}: `{command}` did not end in {limit:?}; the console's end:\n{console}")]
    Late {
        /// The machine's name.
        machine: String,
        /// What ran.
        command: String,
        /// The time that it had.
        limit: Duration,
        /// The last lines of the kernel's console.
        console: String,
    },
    /// The machine is gone: its kernel panicked or QEMU ended.
    #[error("{machine} is dead while `{command}` ran; the console's end:\n{console}")]
    Dead {
        /// The machine's name.
        machine: String,
        /// What ran.
        command: String,
        /// The last lines of the kernel's console.
        console: String,
    },
    /// An answer that is not in the form agreed.
    #[error("{0}")]
    Unexpected(String),
}

impl Error {
    /// Wraps an I/O error with what was being done to `path`.
    pub fn on(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let doing = format!("{doing} {}", path.display());
        move |source| Error::Host { doing, source }
    }

    /// Wraps an I/O error with what was being done.
    pub fn doing(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let doing = doing.into();
        move |source| Error::Host { doing, source }
    }
}
