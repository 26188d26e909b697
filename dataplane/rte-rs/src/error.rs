//! What can fail at set-up, typed. Nothing on the fast path fails: a burst is a count.

use std::ffi::{CStr, CString};

use crate::LcoreId;

/// The reasons that DPDK gives, by name where a caller may act on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Errno {
    /// A return of -1 that carries no errno: DPDK's log says more.
    #[error("failed, see DPDK's log")]
    Unspecified,
    /// EPERM, EACCES.
    #[error("not permitted")]
    NotPermitted,
    /// ENOENT, ENODEV, ENXIO.
    #[error("not found")]
    NotFound,
    /// EEXIST.
    #[error("exists already")]
    Exists,
    /// ENOMEM.
    #[error("out of memory")]
    NoMemory,
    /// EINVAL, E2BIG, ERANGE, EDOM, ENAMETOOLONG.
    #[error("invalid")]
    Invalid,
    /// ENOTSUP, EOPNOTSUPP, ENOSYS.
    #[error("not supported")]
    NotSupported,
    /// EBUSY, EAGAIN, EALREADY.
    #[error("busy")]
    Busy,
    /// ENOSPC, ENFILE, EMFILE.
    #[error("no room")]
    NoSpace,
    /// EIO, EFAULT, EPROTO.
    #[error("input or output failed")]
    Io,
    /// Any other, by number.
    #[error("errno {0}")]
    Other(i32),
}

impl Errno {
    /// From what a DPDK function returned: a negated errno, or a bare -1, which PMDs use for anything.
    pub(crate) fn from_return(ret: i32) -> Errno {
        if ret == -1 { Errno::Unspecified } else { Errno::from_errno(-ret) }
    }

    /// From an errno of Linux (asm-generic/errno.h, which x86-64 and arm64 share).
    fn from_errno(errno: i32) -> Errno {
        match errno {
            1 | 13 => Errno::NotPermitted,
            2 | 6 | 19 => Errno::NotFound,
            17 => Errno::Exists,
            12 => Errno::NoMemory,
            7 | 22 | 33 | 34 | 36 => Errno::Invalid,
            38 | 95 => Errno::NotSupported,
            11 | 16 | 114 => Errno::Busy,
            23 | 24 | 28 => Errno::NoSpace,
            5 | 14 | 71 => Errno::Io,
            other => Errno::Other(other),
        }
    }

    /// The calling thread's rte_errno.
    pub(crate) fn last() -> Errno {
        // SAFETY: reads a thread-local.
        Errno::from_errno(unsafe { dpdk_sys::dpdk_sys_errno() })
    }
}

/// Why something could not be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The EAL starts once in the life of a process, and this process has had it.
    #[error("the EAL was initialized before in this process")]
    Initialized,
    /// A DPDK call failed.
    #[error("{operation}: {errno}")]
    Call {
        /// The DPDK function.
        operation: &'static str,
        /// Its reason.
        errno: Errno,
    },
    /// A device could not be attached.
    #[error("device '{device}': {errno}")]
    Device {
        /// The device string, as given.
        device: String,
        /// DPDK's reason; its log says more.
        errno: Errno,
    },
    /// A name or argument is empty, holds a NUL byte, or is longer than DPDK keeps.
    #[error("'{0}' cannot be a name")]
    Name(String),
    /// The mbufs of a pool cannot hold a frame of the MTU in one piece.
    #[error("data room of {found} bytes, the MTU needs {needed} (headroom included)")]
    DataRoom {
        /// Bytes needed in each mbuf, headroom included.
        needed: usize,
        /// Bytes there are.
        found: usize,
    },
    /// More queues than the device has, or none.
    #[error("{wanted} queues of a device that has {offered}")]
    Queues {
        /// Queues asked for.
        wanted: usize,
        /// Queues the device has.
        offered: usize,
    },
    /// The port is not started, has no such queue, or the queue was taken.
    #[error("queue {0} is not there to take")]
    Queue(u16),
    /// The port runs or has queues out; it is configured once, before it starts.
    #[error("the port is configured or started already, or not yet configured")]
    PortState,
    /// Not a worker lcore of this EAL.
    #[error("{0} is not a worker lcore")]
    NotWorker(LcoreId),
    /// The lcore runs something already.
    #[error("{0} runs something already")]
    LcoreBusy(LcoreId),
    /// What ran on the lcore panicked.
    #[error("what ran on {0} panicked")]
    Panicked(LcoreId),
}

/// `Err` with the reason when `ret`, as DPDK returns it, is negative.
pub(crate) fn check(operation: &'static str, ret: i32) -> Result<i32, Error> {
    if ret < 0 { Err(Error::Call { operation, errno: Errno::from_return(ret) }) } else { Ok(ret) }
}

/// `name` for C, when it fits `longest` bytes with its NUL.
pub(crate) fn c_name(name: &str, longest: usize) -> Result<CString, Error> {
    let refused = || Error::Name(name.escape_default().to_string());
    if name.is_empty() || name.len() >= longest {
        return Err(refused());
    }
    CString::new(name).map_err(|_| refused())
}

/// Text that DPDK owns, copied.
///
/// # Safety
/// `text` is null or a NUL-terminated string.
pub(crate) unsafe fn text(text: *const core::ffi::c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errnos_have_names() {
        assert_eq!(Errno::from_return(-95), Errno::NotSupported);
        assert_eq!(Errno::from_errno(17), Errno::Exists);
        assert_eq!(Errno::from_return(-19), Errno::NotFound);
        assert_eq!(Errno::from_errno(131), Errno::Other(131));
        // -1 is no EPERM: most PMDs return it for whatever went wrong.
        assert_eq!(Errno::from_return(-1), Errno::Unspecified);
        assert_eq!(Errno::from_errno(1), Errno::NotPermitted);
        assert_eq!(check("x", 3), Ok(3));
        let failed = check("rte_eth_dev_start", -16).unwrap_err();
        assert_eq!(failed.to_string(), "rte_eth_dev_start: busy");
    }

    #[test]
    fn names_that_c_cannot_hold_are_refused() {
        assert!(c_name("ring0", 6).is_ok());
        for (name, longest) in [("", 9), ("ring0", 5), ("a\0b", 9)] {
            assert!(matches!(c_name(name, longest), Err(Error::Name(_))), "{name:?}");
        }
    }
}
