//! A frame's buffer, owned.

use std::fmt;
use std::ptr::NonNull;

use arrayvec::ArrayVec;
use dpdk_sys::rte_mbuf;

/// Bytes that a fresh mbuf keeps free before its data, for headers to be prepended.
pub const HEADROOM: usize = dpdk_sys::RTE_PKTMBUF_HEADROOM as usize;

/// A packet buffer. Owned by whoever holds it, returned to its pool when dropped; exactly one pointer wide, so that a
/// burst of them is what a PMD reads and writes.
///
/// A frame longer than one buffer is a chain of segments. Ports here are configured so that every frame fits one
/// buffer; [`Mbuf::is_contiguous`] tells.
#[repr(transparent)]
pub struct Mbuf(NonNull<rte_mbuf>);

const _: () = assert!(size_of::<Mbuf>() == size_of::<*mut rte_mbuf>());
const _: () = assert!(size_of::<Option<Mbuf>>() == size_of::<*mut rte_mbuf>());

// SAFETY: an mbuf has one owner, and pools take mbufs back from any thread.
unsafe impl Send for Mbuf {}
// SAFETY: through a shared reference it is only read.
unsafe impl Sync for Mbuf {}

impl Mbuf {
    /// # Safety
    /// `raw` is a valid mbuf that nobody else owns.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: NonNull<rte_mbuf>) -> Mbuf {
        Mbuf(raw)
    }

    #[inline]
    fn raw(&self) -> &rte_mbuf {
        // SAFETY: owned and alive; PMDs and pools leave it alone until it is given back.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn raw_mut(&mut self) -> &mut rte_mbuf {
        // SAFETY: as in raw, and borrowed mutably.
        unsafe { self.0.as_mut() }
    }

    /// Bytes of data in the first segment.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.raw().data_len)
    }

    /// Whether the first segment has no data.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the whole frame, over all its segments.
    #[inline]
    pub fn frame_len(&self) -> usize {
        self.raw().pkt_len as usize
    }

    /// Whether the frame is one segment, so that [`Mbuf::as_slice`] is all of it.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        self.raw().nb_segs == 1
    }

    /// The data of the first segment.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        let raw = self.raw();
        // SAFETY: data_len bytes from data_off are within the buffer, which the mbuf owns.
        unsafe { std::slice::from_raw_parts(raw.buf_addr.cast::<u8>().add(raw.data_off.into()), self.len()) }
    }

    /// The data of the first segment, to change.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let len = self.len();
        let raw = self.raw_mut();
        // SAFETY: as in as_slice, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(raw.buf_addr.cast::<u8>().add(raw.data_off.into()), len) }
    }

    /// The data of each segment in turn.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        let first: *const rte_mbuf = self.0.as_ptr();
        // SAFETY: the segments of a chain belong to its head; `next` is null at the last.
        std::iter::successors(Some(unsafe { &*first }), |segment| unsafe { segment.next.as_ref() }).map(|segment| {
            // SAFETY: as in as_slice.
            unsafe {
                let data = segment.buf_addr.cast::<u8>().add(segment.data_off.into());
                std::slice::from_raw_parts(data, segment.data_len.into())
            }
        })
    }

    /// Bytes of the buffer, headroom included.
    #[inline]
    pub fn data_room(&self) -> usize {
        usize::from(self.raw().buf_len)
    }

    /// Free bytes before the data.
    #[inline]
    pub fn headroom(&self) -> usize {
        usize::from(self.raw().data_off)
    }

    /// Free bytes behind the data.
    #[inline]
    pub fn tailroom(&self) -> usize {
        self.data_room() - self.headroom() - self.len()
    }

    /// Makes the data `len` bytes long from where it begins; bytes gained hold what the buffer held.
    ///
    /// # Panics
    /// When the buffer has no room for it, or the frame is a chain.
    #[inline]
    pub fn set_len(&mut self, len: usize) {
        assert!(self.is_contiguous(), "the length of a chain");
        assert!(len <= self.data_room() - self.headroom(), "{len} bytes in {}", self.data_room());
        // In range: buf_len is 16 bits wide.
        let raw = self.raw_mut();
        raw.data_len = len as u16;
        raw.pkt_len = len as u32;
    }

    /// Adds `n` bytes before the data and returns them to be written; none when there is no such headroom.
    #[inline]
    pub fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.headroom() || self.len() + n > usize::from(u16::MAX) {
            return None;
        }
        let raw = self.raw_mut();
        raw.data_off -= n as u16;
        raw.data_len += n as u16;
        raw.pkt_len += n as u32;
        Some(&mut self.as_mut_slice()[..n])
    }

    /// Adds `n` bytes behind the data of an mbuf that is no chain and returns them to be written; none when there is no
    /// such tailroom.
    #[inline]
    pub fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.tailroom() || !self.is_contiguous() {
            return None;
        }
        let len = self.len();
        self.set_len(len + n);
        Some(&mut self.as_mut_slice()[len..])
    }

    /// Takes `n` bytes off the front of the first segment.
    ///
    /// # Panics
    /// When it has fewer.
    #[inline]
    pub fn trim_front(&mut self, n: usize) {
        assert!(n <= self.len(), "{n} bytes off {}", self.len());
        let raw = self.raw_mut();
        raw.data_off += n as u16;
        raw.data_len -= n as u16;
        raw.pkt_len -= n as u32;
    }

    /// The NIC's hash of the flow, where the port said that it computes one ([`crate::Configured::rss`]).
    #[inline]
    pub fn rss_hash(&self) -> u32 {
        // SAFETY: every bit pattern is a u32.
        unsafe { self.raw().__bindgen_anon_2.hash.rss }
    }

    /// Returns a whole burst to its pools: half the cost of one by one.
    #[inline]
    pub fn free_bulk<const N: usize>(burst: &mut ArrayVec<Mbuf, N>) {
        let n = burst.len();
        // SAFETY: the vector forgets the `n` mbufs first; an Mbuf is one pointer, owned until here.
        unsafe {
            burst.set_len(0);
            dpdk_sys::rte_pktmbuf_free_bulk(burst.as_mut_ptr().cast(), n as u32);
        }
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: owned until here; frees the whole chain.
        unsafe { dpdk_sys::rte_pktmbuf_free(self.0.as_ptr()) };
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segments = self.raw().nb_segs;
        f.debug_struct("Mbuf").field("frame_len", &self.frame_len()).field("segments", &segments).finish()
    }
}
