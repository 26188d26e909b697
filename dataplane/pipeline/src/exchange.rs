//! What passes between an lcore and the housekeeping thread.
//!
//! Downwards go [`Batch`]es: all of one transaction that concerns the lcore, applied between two
//! bursts. They are made and freed by housekeeping; the lcore only borrows them. Upwards go channel
//! frames, written into buffers that housekeeping lends.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::AtomicU64;

use arrayvec::ArrayVec;
use gantry::channel;
use gantry::channel::operation::{Answer, QpBind, QpCreate};
use gantry_dma::Region;
use gantry_nvme::{Limits, data};
use gantry_table::Generation;
use gantry_wire::nvme::Status;

use crate::command::PAGES_MAX;
use crate::drive::{DriveQueue, Path};
use crate::port::{BURST, Port};

/// One change to what an lcore runs.
pub enum Change<P> {
    /// A port's queue pair for this lcore.
    PortAdd {
        /// Port number.
        port: u16,
        /// Its queue pair; taken when applied.
        queue: Option<P>,
        /// Its MAC address.
        mac: [u8; 6],
        /// Largest IP packet in bytes.
        mtu: u16,
    },
    /// A drive's queue pair for this lcore.
    DriveAdd(Option<DriveQueueParts>),
    /// The drive is reset or gone and will touch no memory again: its commands end with an error.
    DriveRemove {
        /// Drive number.
        drive: u16,
        /// What commands end with that were at the drive.
        status: Status,
        /// What the lcore had of it, on the way back.
        returned: Option<DriveQueue>,
    },
    /// The drive's namespaces are others than before.
    DriveNamespaces {
        /// Drive number.
        drive: u16,
        /// As in [`DriveQueueParts`]; those that were, on the way back.
        block_shifts: Vec<u8>,
    },
    /// A QP in the slot that housekeeping chose.
    QpCreate {
        /// What control asked for.
        create: QpCreate,
        /// Index among this lcore's QPs.
        slot: u32,
        /// Its QPN.
        qpn: u32,
        /// First PSN the peer must send.
        receive_psn: u32,
    },
    /// Binds a QP to its controller.
    QpBind {
        /// Its slot.
        slot: u32,
        /// Which QP to which controller.
        bind: QpBind,
    },
    /// Ends a QP; a retired event follows.
    QpDestroy {
        /// Its slot.
        slot: u32,
        /// Its QPN.
        qpn: u32,
    },
    /// The QP takes and sends nothing more until it is destroyed.
    QpFence {
        /// Its slot.
        slot: u32,
        /// Its QPN.
        qpn: u32,
    },
    /// Answers a punted capsule.
    Answer {
        /// Slot of the QP that it came on.
        slot: u32,
        /// Status and dwords.
        answer: Answer,
        /// Data for the host.
        data: Vec<u8>,
    },
    /// Ends a host's command early.
    Abort {
        /// Slot of its QP.
        slot: u32,
        /// Its QP.
        qpn: u32,
        /// The host's CID.
        cid: u16,
    },
    /// A datagram to send from QP1.
    Inject {
        /// The way.
        path: channel::Path,
        /// Peer's QPN.
        dest_qpn: u32,
        /// Q_Key.
        qkey: u32,
        /// P_Key.
        pkey: u16,
        /// UD payload.
        payload: Vec<u8>,
    },
    /// A frame to send as it is.
    Transmit {
        /// The port.
        port: u16,
        /// From its Ethernet header on.
        frame: Vec<u8>,
    },
}

/// What an lcore needs to drive its queue pair of one drive.
pub struct DriveQueueParts {
    /// Drive number.
    pub drive: u16,
    /// The way to it: a queue pair, or another lcore's.
    pub path: Path,
    /// Entries of the queue pair, whosever it is: this lcore's commands in flight stay below this.
    pub entries: u16,
    /// Largest transfer of one NVMe command in bytes.
    pub transfer_max: u32,
    /// What commands without a transfer may cover.
    pub limits: Limits,
    /// ONCS: optional commands that it has.
    pub oncs: u16,
    /// Commands may carry SGLs.
    pub sgl: bool,
    /// log2 of the block size of each of the drive's namespaces, by NSID - 1.
    pub block_shifts: Vec<u8>,
    /// Memory for PRP lists and SGL segments: [`PRP_LIST_BYTES`] an entry.
    pub prp_lists: Arc<Region>,
}

/// Bytes of one command's list.
pub const PRP_LIST_BYTES: usize = data::LIST_BYTES;

// A command's pages and one more, for the first of them may be described outside the list.
const _: () = assert!(PAGES_MAX <= data::PAGES_MAX);

/// Everything of one transaction that concerns one lcore.
pub struct Batch<P> {
    /// In the order of the transaction.
    pub changes: Vec<Change<P>>,
    /// What the tables say from then on.
    pub generation: Generation,
    /// The lcore answers with this number once all changes are applied.
    pub barrier: u64,
}

/// An lcore's side of the exchange with housekeeping and with the other lcores. Nothing here allocates or blocks.
pub trait Exchange<P: Port> {
    /// The next batch, if there is one.
    fn take_batch(&mut self) -> Option<Box<Batch<P>>>;
    /// Gives a batch back, to be freed elsewhere, and says that it is applied.
    fn return_batch(&mut self, batch: Box<Batch<P>>);
    /// Lends a buffer of [`FRAME_MAX`](gantry::channel::FRAME_MAX) bytes to `fill`, which writes one channel
    /// frame and returns its length. False when no buffer is free; then `fill` was not called.
    fn report(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) -> bool;
    /// Hands a frame to the lcore that owns its QP.
    ///
    /// # Errors
    /// The frame, when that lcore's ring is full.
    fn cross(&mut self, lcore: u16, frame: P::Rx) -> Result<(), P::Rx>;
    /// Appends frames that other lcores have handed over, as far as there is room.
    fn take_crossed(&mut self, into: &mut ArrayVec<P::Rx, BURST>);
}

/// When each controller last heard from its host, in nanoseconds; written by any lcore, read by
/// housekeeping's keep-alive timer.
#[derive(Clone)]
pub struct Liveness(Arc<[AtomicU64]>);

impl Liveness {
    /// One clock for each possible CNTLID.
    #[must_use]
    pub fn new() -> Self {
        Self((0..=u16::MAX).map(|_| AtomicU64::new(0)).collect())
    }

    /// Notes traffic. Stores at most once a millisecond, so that lcores do not fight for the line.
    pub fn touch(&self, cntlid: u16, now_ns: u64) {
        use core::sync::atomic::Ordering::Relaxed;
        let last = &self.0[usize::from(cntlid)];
        if now_ns.saturating_sub(last.load(Relaxed)) > 1_000_000 {
            last.store(now_ns, Relaxed);
        }
    }

    /// When traffic was last noted.
    #[must_use]
    pub fn last_ns(&self, cntlid: u16) -> u64 {
        self.0[usize::from(cntlid)].load(core::sync::atomic::Ordering::Relaxed)
    }

    /// Starts a controller's clock.
    pub fn start(&self, cntlid: u16, now_ns: u64) {
        self.0[usize::from(cntlid)].store(now_ns, core::sync::atomic::Ordering::Relaxed);
    }
}

impl Default for Liveness {
    fn default() -> Self {
        Self::new()
    }
}
