//! fio in a thread, while a scenario does something under its I/O.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::vm::{Error, Result};

use super::{Fio, Host, Report};

/// fio in a thread, and what its reports said.
pub(super) struct Running<'scope> {
    thread: thread::ScopedJoinHandle<'scope, Result<Report>>,
}

impl<'scope> Running<'scope> {
    /// Starts `fio` and waits until `begun` says that a report is what was waited for.
    pub(super) fn start<'env>(
        scope: &'scope thread::Scope<'scope, 'env>,
        host: &'env Host,
        fio: &'env Fio,
        begun: fn(&Report) -> bool,
        flag: &'env AtomicBool,
    ) -> Result<Self> {
        let thread = scope.spawn(move || {
            host.fio_with(fio, &mut |report| {
                if begun(&report) {
                    flag.store(true, Ordering::Relaxed);
                }
            })
        });
        let running = Self { thread };
        let end = Instant::now() + fio.limit;
        while !flag.load(Ordering::Relaxed) {
            if running.thread.is_finished() || Instant::now() >= end {
                running.join()?;
                return Err(Error::Unexpected("fio ended before anything could be shown".to_owned()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(running)
    }

    /// Fails if fio is over: what comes now would not be under I/O.
    pub(super) fn check(self) -> Result<Self> {
        if self.thread.is_finished() {
            self.join()?;
            return Err(Error::Unexpected("fio ended too early, so nothing was shown".to_owned()));
        }
        Ok(self)
    }

    pub(super) fn join(self) -> Result<Report> {
        join(self.thread)
    }
}

/// What a thread gave.
pub(super) fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().map_err(|_| Error::Unexpected("a thread of the scenario panicked".to_owned()))?
}
