//! Safe DPDK: the EAL and its lcores, mempools and mbufs, ports and their queues, rings, DMA memory, SWX pipelines. Beside it
//! [`vfio`]: drives, which DPDK has no part in.
//!
//! ```text
//! Eal ── launch ──> lcore: RxQueue::rx_burst ──> ArrayVec<Mbuf> ──> TxQueue::tx_burst
//!  ├─ Mempool ── alloc_bulk ──────────────────────┘      └── Producer ~~ ring ~~> Consumer (another lcore)
//!  ├─ Port::attach("net_vhost0,iface=...") ── configure ── start ── rx_queue, tx_queue
//!  └─ dma_memory ──> gantry_dma::Region
//! ```
//!
//! Everything made keeps what it stands on alive, and frees itself when dropped, so the order of drops does not matter.
//! Errors are typed ([`Error`], [`Errno`]). Bursts and rings allocate nothing and call no kernel.

mod eal;
mod error;
mod interrupts;
mod mbuf;
mod memory;
mod mempool;
mod port;
mod queue;
mod ring;
pub mod swx;
pub mod vfio;

pub use eal::{Eal, LcoreId, SocketId};
pub use error::{Errno, Error};
pub use interrupts::{Epoll, Interrupts};
pub use mbuf::{HEADROOM, Mbuf};
pub use mempool::Mempool;
pub use port::{Capabilities, Configured, Port, PortConfig, PortId, PortStats};
pub use queue::{RxQueue, TxQueue};
pub use ring::{Consumer, Producer, ring};

/// Frames of one burst.
pub const BURST: usize = 32;
