//! The Environment Abstraction Layer: started once, its lcores, and what runs on them.

use std::any::Any;
use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::error::{Errno, Error, check, text};

/// An lcore, by the EAL's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LcoreId(pub u32);

impl fmt::Display for LcoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lcore {}", self.0)
    }
}

impl LcoreId {
    /// The lcore that the calling thread is; none for a thread that the EAL did not start.
    pub fn current() -> Option<LcoreId> {
        // SAFETY: reads a thread-local.
        let id = unsafe { dpdk_sys::dpdk_sys_lcore_id() };
        (id < dpdk_sys::RTE_MAX_LCORE).then_some(LcoreId(id))
    }

    /// The NUMA socket of the lcore.
    pub fn socket(self) -> SocketId {
        // SAFETY: reads a table; an lcore out of range is answered as socket 0 by DPDK's bound of RTE_MAX_LCORE below.
        let id = if self.0 < dpdk_sys::RTE_MAX_LCORE { unsafe { dpdk_sys::rte_lcore_to_socket_id(self.0) } } else { 0 };
        SocketId(id as i32)
    }
}

/// A NUMA socket, or any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketId(pub i32);

impl SocketId {
    /// Wherever there is memory.
    pub const ANY: SocketId = SocketId(-1);
}

/// The EAL, running. Cloned into everything made with it; the last clone stops it.
#[derive(Clone)]
pub struct Eal {
    inner: Arc<Inner>,
}

struct Inner {
    /// How each lcore that was launched stands; gone once waited for.
    launched: Mutex<BTreeMap<LcoreId, Outcome>>,
    finished: Condvar,
}

enum Outcome {
    Runs,
    Ended,
    Panicked,
}

/// Whether this process has started the EAL. DPDK keeps its state in globals and cannot start twice.
static INITIALIZED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Starts the EAL with its command line (`--no-huge`, `-l 0-3`, ...), program name excluded.
    ///
    /// The calling thread becomes the main lcore and is pinned to it: threads that it starts later inherit that.
    ///
    /// # Errors
    /// [`Error::Initialized`] the second time; [`Error::Call`] with the EAL's reason, which its log explains.
    pub fn init(args: &[String]) -> Result<Eal, Error> {
        let mut strings = vec![c"gantry".to_owned()];
        for arg in args {
            strings.push(CString::new(arg.as_str()).map_err(|_| Error::Name(arg.escape_default().to_string()))?);
        }
        if INITIALIZED.swap(true, Ordering::SeqCst) {
            return Err(Error::Initialized);
        }
        // The EAL permutes the vector and may keep the strings: they stay for ever.
        let argv: &mut [*mut c_char] =
            Box::leak(strings.into_iter().map(CString::into_raw).chain([std::ptr::null_mut()]).collect());
        let argc = c_int::try_from(argv.len() - 1).expect("fewer arguments than c_int counts");
        // SAFETY: a vector of argc NUL-terminated strings, closed by a null; called once in this process.
        if unsafe { dpdk_sys::rte_eal_init(argc, argv.as_mut_ptr()) } < 0 {
            return Err(Error::Call { operation: "rte_eal_init", errno: Errno::last() });
        }
        Ok(Eal { inner: Arc::new(Inner { launched: Mutex::default(), finished: Condvar::new() }) })
    }

    /// DPDK's release, as it names itself.
    pub fn version(&self) -> String {
        // SAFETY: returns a static string.
        unsafe { text(dpdk_sys::rte_version()) }
    }

    /// Ticks of the timestamp counter in a second, as the EAL measured.
    pub fn timestamp_hz(&self) -> u64 {
        // SAFETY: reads a number that rte_eal_init left.
        unsafe { dpdk_sys::rte_get_tsc_hz() }
    }

    /// The lcore that the thread which called [`Eal::init`] became.
    pub fn main_lcore(&self) -> LcoreId {
        // SAFETY: reads the EAL's configuration.
        LcoreId(unsafe { dpdk_sys::rte_get_main_lcore() })
    }

    /// The lcores that can be launched on, ascending: all but the main one.
    pub fn worker_lcores(&self) -> Vec<LcoreId> {
        // SAFETY: walks the EAL's configuration; u32::MAX + 1 is where the walk begins.
        let next = |id: u32| unsafe { dpdk_sys::rte_get_next_lcore(id, 1, 0) };
        let first = next(u32::MAX);
        std::iter::successors(Some(first), |&id| Some(next(id)))
            .take_while(|&id| id < dpdk_sys::RTE_MAX_LCORE)
            .map(LcoreId)
            .collect()
    }

    /// Runs `f` on a worker lcore. A panic in it ends `f` and is reported by [`Eal::wait`].
    ///
    /// # Errors
    /// [`Error::NotWorker`], or [`Error::LcoreBusy`] while something runs there that was not waited for.
    pub fn launch(&self, lcore: LcoreId, f: Box<dyn FnOnce() + Send>) -> Result<(), Error> {
        if !self.worker_lcores().contains(&lcore) {
            return Err(Error::NotWorker(lcore));
        }
        let mut launched = self.inner.launched.lock();
        if launched.contains_key(&lcore) {
            return Err(Error::LcoreBusy(lcore));
        }
        let task = Box::into_raw(Box::new(Task { eal: self.clone(), lcore, f }));
        // SAFETY: `run` takes the task over, on that lcore.
        let ret = unsafe { dpdk_sys::rte_eal_remote_launch(Some(run), task.cast(), lcore.0) };
        if ret < 0 {
            // SAFETY: the launch was refused, so the task is still ours.
            drop(unsafe { Box::from_raw(task) });
            return Err(check("rte_eal_remote_launch", ret).unwrap_err());
        }
        launched.insert(lcore, Outcome::Runs);
        Ok(())
    }

    /// Sleeps until what was launched on `lcore` has ended; returns at once when nothing was.
    ///
    /// # Errors
    /// [`Error::Panicked`].
    pub fn wait(&self, lcore: LcoreId) -> Result<(), Error> {
        let mut launched = self.inner.launched.lock();
        while let Some(Outcome::Runs) = launched.get(&lcore) {
            self.inner.finished.wait(&mut launched);
        }
        let outcome = launched.remove(&lcore);
        drop(launched);
        if outcome.is_some() {
            // The last steps of the lcore's own loop: no more than an instant.
            // SAFETY: a worker lcore, as launch() checked.
            unsafe { dpdk_sys::rte_eal_wait_lcore(lcore.0) };
        }
        if let Some(Outcome::Panicked) = outcome { Err(Error::Panicked(lcore)) } else { Ok(()) }
    }
}

impl fmt::Debug for Eal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eal").finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The last handle may go on a worker, whose own loop lives in what the EAL would take down: the end of the
        // process does it then. Nothing runs on a lcore here, for a task holds a handle until its end.
        if LcoreId::current().is_none_or(|lcore| lcore.0 == main_lcore()) {
            // SAFETY: no handle is left, so nothing made with this EAL is.
            unsafe { dpdk_sys::rte_eal_mp_wait_lcore() };
            // SAFETY: as above, and every worker is in its idle wait.
            unsafe { dpdk_sys::rte_eal_cleanup() };
        }
    }
}

fn main_lcore() -> u32 {
    // SAFETY: reads the EAL's configuration.
    unsafe { dpdk_sys::rte_get_main_lcore() }
}

/// What runs on an lcore.
struct Task {
    eal: Eal,
    lcore: LcoreId,
    f: Box<dyn FnOnce() + Send>,
}

extern "C" fn run(task: *mut c_void) -> c_int {
    // SAFETY: launch() made it and handed it over.
    let Task { eal, lcore, f } = *unsafe { Box::from_raw(task.cast::<Task>()) };
    // A panic must not unwind into C. What `f` owned is dropped either way, before the lcore counts as ended.
    let result: Result<(), Box<dyn Any + Send>> = catch_unwind(AssertUnwindSafe(f));
    let outcome = if result.is_ok() { Outcome::Ended } else { Outcome::Panicked };
    eal.inner.launched.lock().insert(lcore, outcome);
    eal.inner.finished.notify_all();
    0
}
