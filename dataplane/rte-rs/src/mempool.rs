//! Pools of mbufs.

use std::ffi::CString;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::error::{Errno, Error, c_name};
use crate::{Eal, Mbuf, SocketId};

/// A pool of mbufs of one size. A handle: clones share the pool.
///
/// Any thread may use it; a thread that is an lcore has its own cache. When the last handle goes the pool is freed, or,
/// if mbufs of it are still out, left in place with its EAL: an mbuf never outlives its memory.
#[derive(Clone)]
pub struct Mempool {
    inner: Arc<Inner>,
}

struct Inner {
    raw: NonNull<dpdk_sys::rte_mempool>,
    name: CString,
    count: u32,
    data_room: u16,
    eal: ManuallyDrop<Eal>,
}

// SAFETY: DPDK's mempools are multi-producer and multi-consumer, and their caches are by lcore.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Mempool {
    /// A pool of `count` mbufs whose buffers hold `data_room` bytes, [`crate::HEADROOM`] included. Each lcore keeps up
    /// to one and a half times `cache` of them to itself (at most 512).
    ///
    /// # Errors
    /// [`Error::Call`]: `Exists` for a name in use, `NoMemory`, `Invalid` for a cache larger than the pool bears.
    pub fn create(
        eal: &Eal,
        name: &str,
        count: u32,
        cache: u32,
        data_room: u16,
        socket: SocketId,
    ) -> Result<Mempool, Error> {
        let name = c_name(name, dpdk_sys::RTE_MEMPOOL_NAMESIZE as usize)?;
        // SAFETY: a NUL-terminated name and plain numbers, all validated by DPDK.
        let raw = unsafe { dpdk_sys::rte_pktmbuf_pool_create(name.as_ptr(), count, cache, 0, data_room, socket.0) };
        let raw = NonNull::new(raw)
            .ok_or_else(|| Error::Call { operation: "rte_pktmbuf_pool_create", errno: Errno::last() })?;
        let eal = ManuallyDrop::new(eal.clone());
        Ok(Mempool { inner: Arc::new(Inner { raw, name, count, data_room, eal }) })
    }

    /// One empty mbuf, or none when the pool is exhausted.
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool lives; a fresh mbuf is nobody else's.
        NonNull::new(unsafe { dpdk_sys::rte_pktmbuf_alloc(self.as_raw()) }).map(|raw| unsafe { Mbuf::from_raw(raw) })
    }

    /// Pushes up to `n` empty mbufs, as many as `into` has room for and the pool has. Returns how many.
    #[inline]
    pub fn alloc_bulk<const N: usize>(&self, into: &mut ArrayVec<Mbuf, N>, n: usize) -> usize {
        let held = into.len();
        let n = n.min(N - held);
        // SAFETY: `n` places are free behind the `held` ones, and an Mbuf is one pointer.
        let at = unsafe { into.as_mut_ptr().add(held) }.cast::<*mut dpdk_sys::rte_mbuf>();
        // SAFETY: as above; on success, and only then, all `n` are written.
        if n != 0 && unsafe { dpdk_sys::rte_pktmbuf_alloc_bulk(self.as_raw(), at, n as u32) } == 0 {
            // SAFETY: `n` more are valid, each nobody else's.
            unsafe { into.set_len(held + n) };
            return n;
        }
        // All or nothing failed: take what there is.
        let before = into.len();
        while into.len() < before + n {
            let Some(mbuf) = self.alloc() else { break };
            into.push(mbuf);
        }
        into.len() - before
    }

    /// Mbufs that are in the pool or in an lcore's cache. Walks the caches: not for the fast path.
    pub fn available(&self) -> u32 {
        // SAFETY: the pool lives.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.as_raw()) }
    }

    /// Mbufs that the pool was made with.
    pub fn count(&self) -> u32 {
        self.inner.count
    }

    /// Bytes of each buffer, headroom included.
    pub fn data_room(&self) -> u16 {
        self.inner.data_room
    }

    pub(crate) fn as_raw(&self) -> *mut dpdk_sys::rte_mempool {
        self.inner.raw.as_ptr()
    }
}

impl fmt::Debug for Mempool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { name, count, data_room, .. } = &*self.inner;
        f.debug_struct("Mempool").field("name", name).field("count", count).field("data_room", data_room).finish()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: the pool lives until this very call.
        if unsafe { dpdk_sys::rte_mempool_avail_count(self.raw.as_ptr()) } == self.count {
            // SAFETY: every mbuf is back and no handle is left to take one.
            unsafe { dpdk_sys::rte_mempool_free(self.raw.as_ptr()) };
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.eal) };
        }
    }
}
