//! Rings between an lcore and housekeeping: wait-free, one writer and one reader each, nothing allocated on the lcore.

use gantry::channel::FRAME_MAX;
use gantry_pipeline::exchange::{Batch, Exchange};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::port::DpdkQueue;

/// Batches on their way to an lcore.
const BATCHES: usize = 1024;

/// Frames on their way from an lcore, which are also all the buffers there are.
const FRAMES: usize = 512;

/// A buffer for one channel frame.
pub(crate) struct FrameBuffer {
    length: usize,
    bytes: [u8; FRAME_MAX],
}

impl FrameBuffer {
    /// The frame.
    pub(crate) fn frame(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The lcore's ends.
pub(crate) struct LcoreEnd {
    batches: Consumer<Box<Batch<DpdkQueue>>>,
    spent: Producer<Box<Batch<DpdkQueue>>>,
    frames: Producer<Box<FrameBuffer>>,
    empty: Consumer<Box<FrameBuffer>>,
}

/// Housekeeping's ends.
pub(crate) struct HousekeepingEnd {
    /// To the lcore.
    pub(crate) batches: Producer<Box<Batch<DpdkQueue>>>,
    /// Applied, to be freed.
    pub(crate) spent: Consumer<Box<Batch<DpdkQueue>>>,
    /// Written by the lcore.
    pub(crate) frames: Consumer<Box<FrameBuffer>>,
    /// Lent to the lcore.
    pub(crate) empty: Producer<Box<FrameBuffer>>,
}

/// The two ends of an exchange.
pub(crate) fn pair() -> (LcoreEnd, HousekeepingEnd) {
    let (batches_in, batches_out) = RingBuffer::new(BATCHES);
    let (spent_in, spent_out) = RingBuffer::new(BATCHES);
    let (frames_in, frames_out) = RingBuffer::new(FRAMES);
    let (mut empty_in, empty_out) = RingBuffer::new(FRAMES);
    for _ in 0..FRAMES {
        let pushed = empty_in.push(Box::new(FrameBuffer { length: 0, bytes: [0; FRAME_MAX] }));
        assert!(pushed.is_ok(), "the ring holds all buffers");
    }
    let lcore = LcoreEnd { batches: batches_out, spent: spent_in, frames: frames_in, empty: empty_out };
    let housekeeping = HousekeepingEnd { batches: batches_in, spent: spent_out, frames: frames_out, empty: empty_in };
    (lcore, housekeeping)
}

impl Exchange<DpdkQueue> for LcoreEnd {
    fn take_batch(&mut self) -> Option<Box<Batch<DpdkQueue>>> {
        // A batch that is taken must find room on its way back.
        if self.spent.slots() == 0 {
            return None;
        }
        self.batches.pop().ok()
    }

    fn return_batch(&mut self, batch: Box<Batch<DpdkQueue>>) {
        assert!(self.spent.push(batch).is_ok(), "room was there when the batch was taken");
    }

    fn report(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let Ok(mut buffer) = self.empty.pop() else { return false };
        buffer.length = fill(&mut buffer.bytes);
        assert!(self.frames.push(buffer).is_ok(), "the ring holds all buffers");
        true
    }
}
