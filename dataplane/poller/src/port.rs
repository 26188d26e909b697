//! The edge to the wire on DPDK: one queue pair of a port, and the mbufs it moves.

use std::sync::Arc;

use arrayvec::ArrayVec;
use gantry_pipeline::port::{BURST, Port, RxFrame, TxFrame};
use rte_rs::{Epoll, Mbuf, Mempool, RxQueue, TxQueue};

/// Mbufs taken from the pool at a time.
const FRESH: usize = 16;

/// An lcore's queue pair of one DPDK port.
pub struct DpdkQueue {
    received: ArrayVec<Mbuf, BURST>,
    /// Taken from the pool and not filled yet: a burst of them costs little more than one. They go back before the pool does.
    fresh: ArrayVec<Mbuf, BURST>,
    rx: RxQueue,
    tx: TxQueue,
    pool: Mempool,
    /// Keeps the port started for as long as a queue of it is polled.
    _port: Arc<parking_lot::Mutex<rte_rs::Port>>,
}

impl DpdkQueue {
    /// A queue pair whose transmit mbufs come from `pool`.
    pub fn new(rx: RxQueue, tx: TxQueue, pool: Mempool, port: Arc<parking_lot::Mutex<rte_rs::Port>>) -> Self {
        Self { rx, tx, pool, received: ArrayVec::new(), fresh: ArrayVec::new(), _port: port }
    }
}

impl DpdkQueue {
    /// Its receive interrupt ends the waits at `epoll`, if the PMD has one. The lcore that waits there owns it from now on.
    ///
    /// # Errors
    /// The PMD's: it has to be polled.
    pub fn attach(&mut self, epoll: &Epoll) -> Result<(), rte_rs::Error> {
        self.rx.attach(epoll)
    }

    /// Whether a frame that comes from now on ends the wait.
    pub(crate) fn arm(&mut self) -> bool {
        self.rx.arm()
    }

    /// Frames are polled for again.
    pub(crate) fn disarm(&mut self) {
        self.rx.disarm();
    }
}

/// A received mbuf.
pub struct RxMbuf(Mbuf);

impl RxMbuf {
    /// A received mbuf.
    pub fn new(mbuf: Mbuf) -> Self {
        Self(mbuf)
    }

    /// The mbuf.
    pub fn into_mbuf(self) -> Mbuf {
        self.0
    }
}

impl RxFrame for RxMbuf {
    fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// An mbuf to be sent.
#[repr(transparent)]
pub struct TxMbuf(Mbuf);

impl TxFrame for TxMbuf {
    fn space(&mut self) -> &mut [u8] {
        self.0.as_mut_slice()
    }

    fn truncate(&mut self, length: usize) {
        self.0.set_len(length);
    }
}

impl Port for DpdkQueue {
    type Rx = RxMbuf;
    type Tx = TxMbuf;

    fn rx_burst(&mut self, into: &mut ArrayVec<RxMbuf, BURST>) {
        self.rx.rx_burst(&mut self.received);
        // A chain is longer than any frame the port's MTU allows; s1 sees only its first segment and refuses its length.
        into.extend(self.received.drain(..).map(RxMbuf));
    }

    fn rx_free(&mut self, burst: &mut ArrayVec<RxMbuf, BURST>) {
        self.received.extend(burst.drain(..).map(RxMbuf::into_mbuf));
        Mbuf::free_bulk(&mut self.received);
    }

    fn tx_alloc(&mut self) -> Option<TxMbuf> {
        if self.fresh.is_empty() {
            self.pool.alloc_bulk(&mut self.fresh, FRESH);
        }
        let mut mbuf = self.fresh.pop()?;
        mbuf.set_len(mbuf.tailroom());
        Some(TxMbuf(mbuf))
    }

    fn tx_burst(&mut self, from: &mut ArrayVec<TxMbuf, BURST>) {
        let mut burst: ArrayVec<Mbuf, BURST> = from.drain(..).map(|frame| frame.0).collect();
        self.tx.tx_burst(&mut burst);
        from.extend(burst.drain(..).map(TxMbuf));
    }
}
