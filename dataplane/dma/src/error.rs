//! Why memory could not be set up.

/// Why a region could not be made or mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused.
    #[error("{operation}: errno {errno}")]
    System {
        /// The call that failed.
        operation: &'static str,
        /// Its errno.
        errno: i32,
    },
    /// A region has at least one byte and fits the address space.
    #[error("a region of {0} bytes cannot be")]
    Length(usize),
    /// The file is shorter than what was to be mapped: touching the rest would raise SIGBUS.
    #[error("the file has {found} bytes, {wanted} were to be mapped")]
    FileTooShort {
        /// Bytes to be mapped.
        wanted: usize,
        /// Bytes in the file.
        found: usize,
    },
    /// Another region of the address space covers part of the same device addresses.
    #[error("device addresses {iova:#x}+{length:#x} are mapped already")]
    Overlap {
        /// First device address asked for.
        iova: u64,
        /// Bytes asked for.
        length: usize,
    },
}

impl Error {
    /// The failure of `operation`, from the calling thread's errno.
    pub(crate) fn last(operation: &'static str) -> Error {
        // SAFETY: the errno location of the calling thread is always readable.
        Error::System { operation, errno: unsafe { *libc::__errno_location() } }
    }
}
