//! A port of the simulated card: frames in memory, no allocation after construction.
//!
//! Where the DPDK process has an mbuf pool and rings, this has a pool of vectors and two queues.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use arrayvec::ArrayVec;
use gantry_pipeline::port::{BURST, Port, RxFrame, TxFrame};

/// Bytes of one frame's buffer: an IB MTU of 4096 and all headers.
const FRAME: usize = 4608;

/// How much a port holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Buffers of its pool, for frames of both ways.
    pub buffers: usize,
    /// Frames that may wait to be sent.
    pub tx: usize,
}

/// A frame in its buffer.
struct Frame {
    bytes: Box<[u8; FRAME]>,
    length: usize,
}

struct Queues {
    /// One for each lcore.
    to_card: Vec<VecDeque<Frame>>,
    from_card: VecDeque<Frame>,
    free: Vec<Box<[u8; FRAME]>>,
    tx: usize,
}

/// The wire's far end.
#[derive(Clone)]
pub struct Wire(Rc<RefCell<Queues>>);

impl Wire {
    /// A wire with nothing on it, to a port with this many queues.
    #[must_use]
    pub fn new(queues: usize, depth: Depth) -> Self {
        let Depth { buffers, tx } = depth;
        Self(Rc::new(RefCell::new(Queues {
            to_card: (0..queues).map(|_| VecDeque::with_capacity(buffers)).collect(),
            from_card: VecDeque::with_capacity(buffers),
            free: (0..buffers).map(|_| Box::new([0; FRAME])).collect(),
            tx,
        })))
    }

    /// Sends a frame to the card; false when the wire is full or the frame too long, and the frame is lost.
    pub fn send(&self, frame: &[u8]) -> bool {
        let mut queues = self.0.borrow_mut();
        if frame.len() > FRAME {
            return false;
        }
        let Some(mut bytes) = queues.free.pop() else { return false };
        bytes[..frame.len()].copy_from_slice(frame);
        let queue = hash(frame) % queues.to_card.len();
        queues.to_card[queue].push_back(Frame { bytes, length: frame.len() });
        true
    }

    /// The card cannot send more until something is received.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let queues = self.0.borrow();
        queues.from_card.len() >= queues.tx || queues.free.is_empty()
    }

    /// Takes the next frame from the card into `out`; false when there is none.
    pub fn receive(&self, out: &mut Vec<u8>) -> bool {
        let mut queues = self.0.borrow_mut();
        let Some(Frame { bytes, length }) = queues.from_card.pop_front() else { return false };
        out.clear();
        out.extend_from_slice(&bytes[..length]);
        queues.free.push(bytes);
        true
    }

    /// One of the card's queue pairs.
    #[must_use]
    pub fn queue(&self, index: usize) -> Queue {
        Queue { index, queues: self.0.clone() }
    }
}

/// What a NIC's hash does: frames of one UDP source port come to one queue. It looks where untagged IPv4 has it, and
/// spreads all else by whatever stands there.
fn hash(frame: &[u8]) -> usize {
    frame.get(34..36).map_or(0, |port| usize::from(u16::from_be_bytes([port[0], port[1]])))
}

/// A queue pair of the card's.
pub struct Queue {
    index: usize,
    queues: Rc<RefCell<Queues>>,
}

/// A frame in a buffer of the wire's pool, to which it goes back when dropped.
pub struct Buffer {
    frame: Option<Frame>,
    home: Rc<RefCell<Queues>>,
}

impl Buffer {
    fn frame(&self) -> &Frame {
        self.frame.as_ref().expect("it has not been sent")
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(Frame { bytes, .. }) = self.frame.take() {
            self.home.borrow_mut().free.push(bytes);
        }
    }
}

impl RxFrame for Buffer {
    fn bytes(&self) -> &[u8] {
        let frame = self.frame();
        &frame.bytes[..frame.length]
    }
}

impl TxFrame for Buffer {
    fn space(&mut self) -> &mut [u8] {
        let frame = self.frame.as_mut().expect("it has not been sent");
        &mut frame.bytes[..frame.length]
    }

    fn truncate(&mut self, length: usize) {
        self.frame.as_mut().expect("it has not been sent").length = length;
    }
}

// The edges are functions of their own, so that an instruction count tells them from the stages.
impl Port for Queue {
    type Rx = Buffer;
    type Tx = Buffer;

    #[inline(never)]
    fn rx_burst(&mut self, into: &mut ArrayVec<Buffer, BURST>) {
        let mut queues = self.queues.borrow_mut();
        while !into.is_full() {
            let Some(frame) = queues.to_card[self.index].pop_front() else { return };
            into.push(Buffer { frame: Some(frame), home: self.queues.clone() });
        }
    }

    #[inline(never)]
    fn tx_alloc(&mut self) -> Option<Buffer> {
        let bytes = self.queues.borrow_mut().free.pop()?;
        Some(Buffer { frame: Some(Frame { bytes, length: FRAME }), home: self.queues.clone() })
    }

    #[inline(never)]
    fn tx_burst(&mut self, from: &mut ArrayVec<Buffer, BURST>) {
        let mut queues = self.queues.borrow_mut();
        let room = queues.tx.saturating_sub(queues.from_card.len()).min(from.len());
        for mut frame in from.drain(..room) {
            queues.from_card.extend(frame.frame.take());
        }
    }
}
