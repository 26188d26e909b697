//! Rings that carry mbufs from any thread to one.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use arrayvec::ArrayVec;
use dpdk_sys::{RING_F_EXACT_SZ, RING_F_MP_RTS_ENQ, RING_F_SC_DEQ};

use crate::error::{Errno, Error, c_name};
use crate::{Eal, Mbuf, SocketId};

/// A ring of up to `capacity` mbufs: many producers, one consumer. Mbufs left in it when both ends are gone return to
/// their pools.
///
/// Producers may be preempted (the housekeeping thread is no lcore) without stalling one another: the ring is of
/// DPDK's relaxed tail sync kind.
///
/// # Errors
/// [`Error::Name`]; [`Error::Call`]: `Exists`, `NoMemory`, `Invalid` for a capacity of zero or over 2^31.
pub fn ring(eal: &Eal, name: &str, capacity: u32, socket: SocketId) -> Result<(Producer, Consumer), Error> {
    with_flags(eal, name, capacity, socket, RING_F_MP_RTS_ENQ)
}

/// As [`ring`], with DPDK's flags for the producers' side.
pub(crate) fn with_flags(
    eal: &Eal,
    name: &str,
    capacity: u32,
    socket: SocketId,
    producers: u32,
) -> Result<(Producer, Consumer), Error> {
    let name = c_name(name, dpdk_sys::RTE_RING_NAMESIZE as usize)?;
    let failed = |errno| Error::Call { operation: "rte_ring_create", errno };
    if capacity == 0 {
        return Err(failed(Errno::Invalid));
    }
    let flags = RING_F_EXACT_SZ | producers | RING_F_SC_DEQ;
    // SAFETY: a NUL-terminated name and plain numbers, validated by DPDK.
    let raw = unsafe { dpdk_sys::rte_ring_create(name.as_ptr(), capacity, socket.0, flags) };
    let raw = NonNull::new(raw).ok_or_else(|| failed(Errno::last()))?;
    let shared = Arc::new(Shared { raw, _eal: eal.clone() });
    Ok((Producer { ring: Arc::clone(&shared) }, Consumer { ring: shared, _one_thread_at_a_time: PhantomData }))
}

struct Shared {
    raw: NonNull<dpdk_sys::rte_ring>,
    _eal: Eal,
}

// SAFETY: DPDK's ring is made for this: producers are synchronized in it, and there is one Consumer, which is not Sync.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// The end that puts in. Clone it, share it.
#[derive(Clone)]
pub struct Producer {
    ring: Arc<Shared>,
}

/// The end that takes out. One, owned by one thread at a time.
pub struct Consumer {
    ring: Arc<Shared>,
    _one_thread_at_a_time: PhantomData<Cell<()>>,
}

impl Producer {
    /// Puts mbufs in, first to last, and returns how many fitted. The rest stay in `from`, in order.
    #[inline]
    pub fn enqueue_burst<const N: usize>(&self, from: &mut ArrayVec<Mbuf, N>) -> usize {
        let held = from.len();
        // SAFETY: the first `put` mbufs belong to the ring from then on, and the vector holds what follows them; an
        // Mbuf is one pointer, and nothing in between can panic.
        unsafe {
            let first = from.as_mut_ptr();
            from.set_len(0);
            let objects = first.cast::<*mut core::ffi::c_void>();
            let put =
                dpdk_sys::rte_ring_enqueue_burst(self.ring.raw.as_ptr(), objects, held as u32, std::ptr::null_mut());
            let put = put as usize;
            if put != 0 && put != held {
                std::ptr::copy(first.add(put), first, held - put);
            }
            from.set_len(held - put);
            put
        }
    }

    /// Mbufs in the ring, at some instant of the call.
    pub fn occupied(&self) -> u32 {
        self.ring.occupied()
    }
}

impl Consumer {
    /// Takes out up to as many mbufs as `into` has room for, oldest first, and returns how many.
    #[inline]
    pub fn dequeue_burst<const N: usize>(&mut self, into: &mut ArrayVec<Mbuf, N>) -> usize {
        let held = into.len();
        // SAFETY: N - held places are free behind the `held` ones, an Mbuf is one pointer, and what comes out went in
        // by enqueue_burst, so it is an mbuf that the ring owned.
        unsafe {
            let objects = into.as_mut_ptr().add(held).cast::<*mut core::ffi::c_void>();
            let room = (N - held) as u32;
            let taken =
                dpdk_sys::rte_ring_dequeue_burst(self.ring.raw.as_ptr(), objects, room, std::ptr::null_mut()) as usize;
            into.set_len(held + taken);
            taken
        }
    }

    /// Mbufs in the ring, at some instant of the call.
    pub fn occupied(&self) -> u32 {
        self.ring.occupied()
    }
}

impl Shared {
    fn occupied(&self) -> u32 {
        // SAFETY: the ring lives.
        unsafe { dpdk_sys::rte_ring_count(self.raw.as_ptr()) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut left = [std::ptr::null_mut::<core::ffi::c_void>(); crate::BURST];
        let room = left.len() as u32;
        // SAFETY: both ends are gone, so this thread is the one consumer; each object is an mbuf that the ring owned.
        unsafe {
            loop {
                let taken =
                    dpdk_sys::rte_ring_dequeue_burst(self.raw.as_ptr(), left.as_mut_ptr(), room, std::ptr::null_mut());
                if taken == 0 {
                    break;
                }
                dpdk_sys::rte_pktmbuf_free_bulk(left.as_mut_ptr().cast(), taken);
            }
            dpdk_sys::rte_ring_free(self.raw.as_ptr());
        }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("occupied", &self.occupied()).finish()
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("occupied", &self.occupied()).finish()
    }
}
