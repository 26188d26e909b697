//! A BAR that is no longer there. A load from it gives all ones on most machines; where the kernel takes the mapping away
//! (power state D3, memory decoding off) or the machine reports the access (arm64), it is SIGBUS instead. The guard turns
//! that into the same: pages of all ones in the BAR's place, which forget what is stored to them.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// BARs guarded at once: as many as there can be drives.
const SLOTS: usize = 256;

/// A span that is guarded; no length: a free slot.
struct Slot {
    first: AtomicUsize,
    length: AtomicUsize,
    replaced: AtomicBool,
}

static TABLE: [Slot; SLOTS] =
    [const { Slot { first: AtomicUsize::new(0), length: AtomicUsize::new(0), replaced: AtomicBool::new(false) } };
        SLOTS];

/// What took SIGBUS before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Guards a mapping until it is dropped.
#[derive(Debug)]
pub(super) struct Guard(usize);

impl Guard {
    /// Guards `length` bytes, whole pages, mapped at `base`. None when 256 mappings are guarded already.
    pub(super) fn new(base: *mut u8, length: usize) -> Option<Guard> {
        BEFORE.get_or_init(install);
        let claimed = |slot: &Slot| slot.first.compare_exchange(0, base.addr(), Ordering::AcqRel, Ordering::Relaxed);
        let at = TABLE.iter().position(|slot| claimed(slot).is_ok())?;
        TABLE[at].replaced.store(false, Ordering::Relaxed);
        TABLE[at].length.store(length, Ordering::Release);
        Some(Guard(at))
    }

    /// Whether the mapping was found gone and replaced.
    pub(super) fn has_replaced(&self) -> bool {
        TABLE[self.0].replaced.load(Ordering::Acquire)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let slot = &TABLE[self.0];
        slot.length.store(0, Ordering::Release);
        slot.first.store(0, Ordering::Release);
    }
}

fn install() -> libc::sigaction {
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: zeroes are an empty sigaction.
    let mut action = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void) = handle;
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: a handler of the right kind, which does what may be done in one; SIGBUS can be handled.
    let done = unsafe { libc::sigaction(libc::SIGBUS, &raw const action, before.as_mut_ptr()) };
    assert_eq!(done, 0, "SIGBUS can be handled");
    // SAFETY: written by the call.
    unsafe { before.assume_init() }
}

extern "C" fn handle(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's siginfo of a SIGBUS holds the address.
    let address = unsafe { (*info).si_addr() }.addr();
    for slot in &TABLE {
        let length = slot.length.load(Ordering::Acquire);
        let first = slot.first.load(Ordering::Acquire);
        if length != 0 && address.wrapping_sub(first) < length && replace(first, length) {
            slot.replaced.store(true, Ordering::Release);
            // The access is made again.
            return;
        }
    }
    pass_on(signal, info, context);
}

/// Puts all ones in the place of a mapping, in one step: nobody sees zeroes.
fn replace(first: usize, length: usize) -> bool {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let ones = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, -1, 0) };
    if ones == libc::MAP_FAILED {
        return false;
    }
    // SAFETY: mapped just above, by nobody else known.
    unsafe { ptr::write_bytes(ones.cast::<u8>(), 0xFF, length) };
    let place = ptr::without_provenance_mut::<c_void>(first);
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: the place is a device's mapping that is guarded, so whoever holds it holds raw memory only.
    unsafe { libc::mremap(ones, length, length, flags, place) != libc::MAP_FAILED }
}

/// Not ours: what was there before decides, which for most processes is the end.
fn pass_on(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    let before = BEFORE.get().filter(|before| ![libc::SIG_DFL, libc::SIG_IGN].contains(&before.sa_sigaction));
    match before {
        Some(before) if before.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: a handler with SA_SIGINFO is such a function.
            let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void) =
                unsafe { std::mem::transmute(before.sa_sigaction) };
            handler(signal, info, context);
        }
        Some(before) => {
            // SAFETY: a handler without SA_SIGINFO is such a function.
            let handler: extern "C" fn(i32) = unsafe { std::mem::transmute(before.sa_sigaction) };
            handler(signal);
        }
        // The access is made again, and ends the process.
        // SAFETY: the default action of a signal that is just being handled.
        None => unsafe {
            libc::signal(signal, libc::SIG_DFL);
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    const PAGES: usize = 2 * 65536;

    /// A mapping of a file that has no bytes: every access is a SIGBUS, as to a BAR that the kernel has taken away.
    fn gone() -> (OwnedFd, *mut u32) {
        // SAFETY: plain calls, checked.
        unsafe {
            let file = libc::memfd_create(c"gone".as_ptr(), libc::MFD_CLOEXEC);
            assert!(file >= 0);
            let file = OwnedFd::from_raw_fd(file);
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let base = libc::mmap(ptr::null_mut(), PAGES, protection, libc::MAP_SHARED, file.as_raw_fd(), 0);
            assert_ne!(base, libc::MAP_FAILED);
            (file, base.cast())
        }
    }

    #[test]
    fn a_bar_that_is_gone_reads_all_ones() {
        let (_file, base) = gone();
        let (_other_file, other) = gone();
        let guard = Guard::new(base.cast(), PAGES).unwrap();
        let other_guard = Guard::new(other.cast(), PAGES).unwrap();
        assert!(!guard.has_replaced());
        // SAFETY: both mappings are guarded: an access is made good.
        unsafe {
            assert_eq!(base.add(0x402).read_volatile(), u32::MAX);
            base.add(0x400).write_volatile(7);
            assert_eq!(base.read_volatile(), u32::MAX);
            assert_eq!(base.add(PAGES / 4 - 1).read_volatile(), u32::MAX);
            assert!(guard.has_replaced() && !other_guard.has_replaced());
            // A doorbell is often the first to find out.
            other.add(0x400).write_volatile(7);
            assert!(other_guard.has_replaced());
        }
        drop((guard, other_guard));
        // SAFETY: nothing uses them any more.
        unsafe {
            libc::munmap(base.cast(), PAGES);
            libc::munmap(other.cast(), PAGES);
        }
    }

    #[test]
    fn a_fault_elsewhere_ends_the_process_as_before() {
        let (_file, base) = gone();
        let (_other_file, other) = gone();
        let _guard = Guard::new(base.cast(), PAGES).unwrap();
        // SAFETY: the child makes one access and ends, by SIGBUS or by _exit.
        let status = unsafe {
            let child = libc::fork();
            if child == 0 {
                let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
                other.read_volatile();
                libc::_exit(0);
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            libc::munmap(other.cast(), PAGES);
            status
        };
        assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGBUS, "status {status:#x}");
    }
}
