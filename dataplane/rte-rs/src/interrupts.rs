//! Where an lcore waits when it has nothing to do: the receive interrupts of its queues, and one descriptor more.
//!
//! A PMD that has no interrupts (memif, ring, pcap) refuses them when a queue is attached; its queues are polled.

use std::cell::UnsafeCell;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use dpdk_sys::rte_epoll_event;

use crate::error::{Errno, Error, check};
use crate::{Eal, RxQueue};

/// Events taken at once; what is left comes with the next wait.
const EVENTS: usize = 16;

/// What one thread waits for.
pub struct Interrupts {
    epoll: Epoll,
    /// The kernel hands its address back with each event.
    also: Box<UnsafeCell<rte_epoll_event>>,
}

// SAFETY: `also` is reached by DPDK only, within `wait` and `drop`, by the thread that owns this.
unsafe impl Send for Interrupts {}

/// Where queues are attached to an [`Interrupts`], from any thread.
#[derive(Clone)]
pub struct Epoll(Arc<OwnedFd>);

impl Interrupts {
    /// Waits for `also` to be readable, and for the queues that are attached later.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub fn new(_eal: &Eal, also: BorrowedFd<'_>) -> Result<Self, Error> {
        // SAFETY: a plain call.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or_default();
            return Err(Error::Call { operation: "epoll_create1", errno: Errno::from_return(-errno) });
        }
        // SAFETY: a descriptor that was just made and is nobody else's.
        let epoll = Epoll(Arc::new(unsafe { OwnedFd::from_raw_fd(fd) }));
        // SAFETY: plain data of which all zeros is a value: no callback.
        let mut event: rte_epoll_event = unsafe { std::mem::zeroed() };
        event.epdata.event = libc::EPOLLIN as u32;
        let also_event = Box::new(UnsafeCell::new(event));
        // SAFETY: both descriptors are open, and the event stays where it is until `drop` takes it off.
        let ret = unsafe { dpdk_sys::rte_epoll_ctl(fd, libc::EPOLL_CTL_ADD, also.as_raw_fd(), also_event.get()) };
        check("rte_epoll_ctl", ret)?;
        Ok(Self { epoll, also: also_event })
    }

    /// Where queues are attached.
    pub fn epoll(&self) -> Epoll {
        self.epoll.clone()
    }

    /// Waits until a queue that is armed has received, or the descriptor is readable, and for so long at most: rounded down
    /// to milliseconds. What made an interrupt is drained.
    pub fn wait(&mut self, at_most: Duration) {
        let timeout_ms = at_most.as_millis().min(1000) as i32;
        let mut events = [const { std::mem::MaybeUninit::<rte_epoll_event>::uninit() }; EVENTS];
        // SAFETY: room for as many events as it is told of. The events that are attached are `also`, and those of queues,
        // which are detached by the thread that owns them: the one that waits here. A failure is a wait that ended early.
        unsafe {
            dpdk_sys::rte_epoll_wait(self.epoll.0.as_raw_fd(), events.as_mut_ptr().cast(), EVENTS as i32, timeout_ms);
        }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        let event = self.also.get();
        // SAFETY: DPDK noted the descriptors in it when it was added; the kernel forgets it before it is freed.
        unsafe { dpdk_sys::rte_epoll_ctl(self.epoll.0.as_raw_fd(), libc::EPOLL_CTL_DEL, (*event).fd, event) };
    }
}

impl RxQueue {
    /// The queue's interrupt ends waits of the [`Interrupts`] that `epoll` is of, when the queue is [armed](RxQueue::arm).
    /// The thread that waits there is the one that owns the queue from now on.
    ///
    /// # Errors
    /// [`Error::Call`]: the PMD has no interrupts, or the port was configured without.
    pub fn attach(&mut self, epoll: &Epoll) -> Result<(), Error> {
        self.control(epoll, dpdk_sys::RTE_INTR_EVENT_ADD)?;
        self.epoll = Some(epoll.clone());
        Ok(())
    }

    fn control(&self, epoll: &Epoll, operation: u32) -> Result<(), Error> {
        let (fd, data) = (epoll.0.as_raw_fd(), std::ptr::null_mut());
        // SAFETY: the port is started as long as this handle lives.
        let ret =
            unsafe { dpdk_sys::rte_eth_dev_rx_intr_ctl_q(self.port().0, self.queue(), fd, operation as i32, data) };
        check("rte_eth_dev_rx_intr_ctl_q", ret).map(drop)
    }

    /// Asks for an interrupt when something is received. What was received before makes none: poll once more, then wait.
    /// False if there will be none, because the queue is not attached or the PMD refuses. A port without a link receives
    /// nothing, and needs none.
    pub fn arm(&mut self) -> bool {
        if self.epoll.is_none() {
            return false;
        }
        let port = self.port().0;
        // SAFETY: plain calls for a queue of a port that is started.
        unsafe {
            match dpdk_sys::dpdk_sys_link_up(port) {
                0 => true,
                1 => {
                    self.armed = dpdk_sys::rte_eth_dev_rx_intr_enable(port, self.queue()) == 0;
                    self.armed
                }
                _ => false,
            }
        }
    }

    /// No more interrupts: the queue is polled.
    pub fn disarm(&mut self) {
        if std::mem::take(&mut self.armed) {
            // SAFETY: as in `arm`. One that stays armed costs an interrupt that nobody waits for.
            unsafe { dpdk_sys::rte_eth_dev_rx_intr_disable(self.port().0, self.queue()) };
        }
    }
}

impl Drop for RxQueue {
    fn drop(&mut self) {
        self.disarm();
        if let Some(epoll) = self.epoll.take() {
            // The port, which this handle keeps, still has the event. What cannot be detached is gone already.
            let _ = self.control(&epoll, dpdk_sys::RTE_INTR_EVENT_DEL);
        }
    }
}
