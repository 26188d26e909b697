//! The edge to the wire: what s0 receives from and s9 sends to.
//!
//! The DPDK process and the simulator are two implementations of these traits.

use arrayvec::ArrayVec;

/// Most frames that one poll of one port takes or gives.
pub const BURST: usize = 32;

/// A frame as received. It goes back to its pool when dropped, which is before the poll ends.
pub trait RxFrame {
    /// The whole frame, from the Ethernet header, without FCS.
    fn bytes(&self) -> &[u8];
}

/// A frame to be sent.
pub trait TxFrame {
    /// All the room there is, from the Ethernet header on.
    fn space(&mut self) -> &mut [u8];
    /// Fixes the frame's length in bytes, at most the room there is.
    fn truncate(&mut self, length: usize);
}

/// One lcore's queue pair of one port.
pub trait Port {
    /// A frame as received.
    type Rx: RxFrame;
    /// A frame to be sent.
    type Tx: TxFrame;

    /// Appends what has arrived, as far as there is room.
    fn rx_burst(&mut self, into: &mut ArrayVec<Self::Rx, BURST>);

    /// Takes received frames back, a burst at a time where that costs less.
    fn rx_free(&mut self, burst: &mut ArrayVec<Self::Rx, BURST>) {
        burst.clear();
    }

    /// A frame to fill; `None` when the pool is empty.
    fn tx_alloc(&mut self) -> Option<Self::Tx>;
    /// Sends from the front, in order; what stays did not fit.
    fn tx_burst(&mut self, from: &mut ArrayVec<Self::Tx, BURST>);
}
