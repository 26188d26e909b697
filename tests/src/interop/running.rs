//! fio in a thread, while a scenario does something under its I/O.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::vm::{Error, Machine, Result};

use super::{Fio, Report};

/// fio in a thread, and what its reports said.
pub(super) struct Running<'scope> {
    /// Until it is joined.
    thread: Option<thread::ScopedJoinHandle<'scope, Result<Report>>>,
    machine: &'scope Machine,
    until_ended: bool,
}

impl<'scope> Running<'scope> {
    /// Starts `fio` and waits until `begun` says that a report is what was waited for.
    pub(super) fn start<'env>(
        scope: &'scope thread::Scope<'scope, 'env>,
        machine: &'env Machine,
        fio: &'env Fio,
        begun: fn(&Report) -> bool,
        flag: &'env AtomicBool,
    ) -> Result<Self> {
        let thread = scope.spawn(move || {
            fio.run(machine, &mut |report| {
                if begun(&report) {
                    flag.store(true, Ordering::Relaxed);
                }
            })
        });
        let running = Self { thread: Some(thread), machine, until_ended: fio.until_ended };
        let end = Instant::now() + fio.limit;
        while !flag.load(Ordering::Relaxed) {
            if running.is_over() || Instant::now() >= end {
                running.join()?;
                return Err(Error::Unexpected("fio ended before anything could be shown".to_owned()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(running)
    }

    /// Fails if fio is over: what comes now would not be under I/O.
    pub(super) fn check(self) -> Result<Self> {
        if self.is_over() {
            self.join()?;
            return Err(Error::Unexpected("fio ended too early, so nothing was shown".to_owned()));
        }
        Ok(self)
    }

    /// Ends a job that goes on [until ended](Fio::until_ended); fails if it was over before.
    pub(super) fn end(self) -> Result<Report> {
        let running = self.check()?;
        Fio::end(running.machine)?;
        running.join()
    }

    pub(super) fn join(mut self) -> Result<Report> {
        join(self.thread.take().expect("nobody else joins it"))
    }

    fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(thread::ScopedJoinHandle::is_finished)
    }
}

impl Drop for Running<'_> {
    /// A scenario that failed does not wait for a job that has no end of its own.
    fn drop(&mut self) {
        if self.until_ended && !self.is_over() {
            // What failed before says more.
            drop(Fio::end(self.machine));
        }
    }
}

/// What a thread gave.
pub(super) fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().map_err(|_| Error::Unexpected("a thread of the scenario panicked".to_owned()))?
}
