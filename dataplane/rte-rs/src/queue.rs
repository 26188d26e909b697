//! Receive and transmit: one queue, one owner, bursts without a call in between.
//!
//! DPDK's burst functions are inline C; these are the same few loads, in Rust, from the port's entry in
//! `rte_eth_fp_ops`. Callbacks are honoured, so that dpdk-pdump sees the traffic.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use arrayvec::ArrayVec;
use dpdk_sys::rte_eth_fp_ops;

use crate::Mbuf;
use crate::interrupts::Epoll;
use crate::port::Attached;

/// Receives from one queue of a port. Not shared: one lcore owns it.
pub struct RxQueue {
    ops: *const rte_eth_fp_ops,
    queue: u16,
    port: Arc<Attached>,
    /// Whose waits its interrupt ends.
    pub(crate) epoll: Option<Epoll>,
    pub(crate) armed: bool,
    _one_thread_at_a_time: PhantomData<Cell<()>>,
}

/// Transmits to one queue of a port. Not shared: one lcore owns it.
pub struct TxQueue {
    ops: *const rte_eth_fp_ops,
    queue: u16,
    port: Arc<Attached>,
    _one_thread_at_a_time: PhantomData<Cell<()>>,
}

// SAFETY: `ops` points into a static of DPDK; a queue may move between threads, and methods take `&mut self`.
unsafe impl Send for RxQueue {}
// SAFETY: as above.
unsafe impl Send for TxQueue {}

/// The fast-path entry of a port.
fn ops(port: &Attached) -> *const rte_eth_fp_ops {
    // SAFETY: the address of an element of a static; port ids are below RTE_MAX_ETHPORTS.
    unsafe { (&raw const dpdk_sys::rte_eth_fp_ops).cast::<rte_eth_fp_ops>().add(port.id().0.into()) }
}

impl RxQueue {
    /// `port` is started and has the queue, and no other handle to that queue exists.
    pub(crate) fn new(port: Arc<Attached>, queue: u16) -> RxQueue {
        RxQueue { ops: ops(&port), queue, port, epoll: None, armed: false, _one_thread_at_a_time: PhantomData }
    }

    /// The queue's number on its port.
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// The port that the queue keeps alive.
    pub fn port(&self) -> crate::PortId {
        self.port.id()
    }

    /// Receives up to as many frames as `into` has room for, and returns how many. Pass it empty: some PMDs receive in
    /// groups of four or more.
    #[inline]
    pub fn rx_burst<const N: usize>(&mut self, into: &mut ArrayVec<Mbuf, N>) -> usize {
        let held = into.len();
        let room = (N - held).min(usize::from(u16::MAX)) as u16;
        if room == 0 {
            return 0;
        }
        // SAFETY: the port is started as long as this handle lives, so its entry holds its PMD's function and queues;
        // `room` places are free behind the `held` ones, an Mbuf is one pointer, and the PMD fills the first
        // `received` with mbufs that are nobody else's.
        unsafe {
            let ops = &*self.ops;
            let at = into.as_mut_ptr().add(held).cast::<*mut dpdk_sys::rte_mbuf>();
            let rx_pkt_burst = ops.rx_pkt_burst.unwrap_unchecked();
            let mut received = rx_pkt_burst(*ops.rxq.data.add(self.queue.into()), at, room);
            let callbacks = *ops.rxq.clbk.add(self.queue.into());
            if !callbacks.is_null() {
                let port = self.port.id().0;
                received = dpdk_sys::rte_eth_call_rx_callbacks(port, self.queue, at, received, room, callbacks);
            }
            into.set_len(held + usize::from(received));
            received.into()
        }
    }
}

impl TxQueue {
    /// As [`RxQueue::new`].
    pub(crate) fn new(port: Arc<Attached>, queue: u16) -> TxQueue {
        TxQueue { ops: ops(&port), queue, port, _one_thread_at_a_time: PhantomData }
    }

    /// The queue's number on its port.
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// The port that the queue keeps alive.
    pub fn port(&self) -> crate::PortId {
        self.port.id()
    }

    /// Hands frames to the port, first to last, and returns how many it took. The rest stay in `from`, in order.
    #[inline]
    pub fn tx_burst<const N: usize>(&mut self, from: &mut ArrayVec<Mbuf, N>) -> usize {
        let held = from.len();
        let offered = held.min(usize::from(u16::MAX)) as u16;
        if offered == 0 {
            return 0;
        }
        // SAFETY: as in rx_burst; the PMD owns the first `sent` from then on, and the vector holds what follows them.
        unsafe {
            let ops = &*self.ops;
            let first = from.as_mut_ptr();
            let at = first.cast::<*mut dpdk_sys::rte_mbuf>();
            let mut offered = offered;
            let callbacks = *ops.txq.clbk.add(self.queue.into());
            from.set_len(0);
            if !callbacks.is_null() {
                let port = self.port.id().0;
                offered = dpdk_sys::rte_eth_call_tx_callbacks(port, self.queue, at, offered, callbacks);
            }
            let tx_pkt_burst = ops.tx_pkt_burst.unwrap_unchecked();
            let sent = usize::from(tx_pkt_burst(*ops.txq.data.add(self.queue.into()), at, offered));
            let left = usize::from(offered) - sent;
            if sent != 0 && left != 0 {
                std::ptr::copy(first.add(sent), first, left);
            }
            from.set_len(left);
            sent
        }
    }
}
