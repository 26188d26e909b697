//! Rings between an lcore and housekeeping: wait-free, one writer and one reader each, nothing allocated on the lcore.

use std::sync::Arc;

use arrayvec::ArrayVec;
use gantry::channel::FRAME_MAX;
use gantry_pipeline::exchange::{Batch, Exchange};
use gantry_pipeline::port::BURST;
use rte_rs::{Eal, Mbuf, SocketId};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::bell::Bell;
use crate::port::{DpdkQueue, RxMbuf};

/// Batches on their way to an lcore.
const BATCHES: usize = 1024;

/// Frames on their way from an lcore, which are also all the buffers there are.
const FRAMES: usize = 512;

/// Frames on their way from other lcores.
const CROSSED: u32 = 1024;

impl HousekeepingEnd {
    /// Whether the lcore has sent something.
    pub fn has_something(&self) -> bool {
        !self.spent.is_empty() || !self.frames.is_empty()
    }
}

/// Why there is no exchange.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No ring between lcores.
    #[error("a ring between lcores: {0}")]
    Ring(#[source] rte_rs::Error),
    /// No descriptor for a bell.
    #[error("an eventfd: {0}")]
    Bell(#[source] std::io::Error),
}

/// A buffer for one channel frame.
pub struct FrameBuffer {
    length: usize,
    bytes: [u8; FRAME_MAX],
}

impl FrameBuffer {
    /// The frame.
    pub fn frame(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The lcore's ends.
pub struct LcoreEnd {
    batches: Consumer<Box<Batch<DpdkQueue>>>,
    spent: Producer<Box<Batch<DpdkQueue>>>,
    frames: Producer<Box<FrameBuffer>>,
    empty: Consumer<Box<FrameBuffer>>,
    /// To every lcore, this one included but never used.
    crossings: Vec<rte_rs::Producer>,
    crossed: rte_rs::Consumer,
    burst: ArrayVec<Mbuf, BURST>,
    /// Housekeeping's and every lcore's.
    housekeeping: Arc<Bell>,
    lcores: Vec<Arc<Bell>>,
    /// Lcores that frames have crossed to since their bells were rung: a bit each.
    to_ring: u64,
}

/// Housekeeping's ends.
pub struct HousekeepingEnd {
    /// To the lcore.
    pub batches: Producer<Box<Batch<DpdkQueue>>>,
    /// Applied, to be freed.
    pub spent: Consumer<Box<Batch<DpdkQueue>>>,
    /// Written by the lcore.
    pub frames: Consumer<Box<FrameBuffer>>,
    /// Lent to the lcore.
    pub empty: Producer<Box<FrameBuffer>>,
    /// The lcore's, to be rung after something was sent.
    pub bell: Arc<Bell>,
}

/// The ends of every lcore's exchange. Housekeeping's bell is rung when there is something for it.
pub fn ends(eal: &Eal, lcores: usize, housekeeping: &Arc<Bell>) -> Result<Vec<(LcoreEnd, HousekeepingEnd)>, Error> {
    let bells = (0..lcores).map(|_| Bell::new().map(Arc::new)).collect::<Result<Vec<_>, _>>().map_err(Error::Bell)?;
    let rings = (0..lcores)
        .map(|lcore| rte_rs::ring(eal, &format!("crossed{lcore}"), CROSSED, SocketId::ANY))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::Ring)?;
    let crossings: Vec<rte_rs::Producer> = rings.iter().map(|(producer, _)| producer.clone()).collect();
    let pairs = rings.into_iter().enumerate().map(|(lcore, (_, crossed))| {
        let bells = (housekeeping.clone(), bells.clone());
        pair(crossings.clone(), crossed, bells, lcore)
    });
    Ok(pairs.collect())
}

fn pair(
    crossings: Vec<rte_rs::Producer>,
    crossed: rte_rs::Consumer,
    (housekeeping, lcores): (Arc<Bell>, Vec<Arc<Bell>>),
    own: usize,
) -> (LcoreEnd, HousekeepingEnd) {
    let bell = lcores[own].clone();
    let (batches_in, batches_out) = RingBuffer::new(BATCHES);
    let (spent_in, spent_out) = RingBuffer::new(BATCHES);
    let (frames_in, frames_out) = RingBuffer::new(FRAMES);
    let (mut empty_in, empty_out) = RingBuffer::new(FRAMES);
    for _ in 0..FRAMES {
        let pushed = empty_in.push(Box::new(FrameBuffer { length: 0, bytes: [0; FRAME_MAX] }));
        assert!(pushed.is_ok(), "the ring holds all buffers");
    }
    let lcore = LcoreEnd {
        batches: batches_out,
        spent: spent_in,
        frames: frames_in,
        empty: empty_out,
        crossings,
        crossed,
        burst: ArrayVec::new(),
        housekeeping,
        lcores,
        to_ring: 0,
    };
    let housekeeping =
        HousekeepingEnd { batches: batches_in, spent: spent_out, frames: frames_out, empty: empty_in, bell };
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
        self.housekeeping.ring();
    }

    fn report(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let Ok(mut buffer) = self.empty.pop() else { return false };
        buffer.length = fill(&mut buffer.bytes);
        assert!(self.frames.push(buffer).is_ok(), "the ring holds all buffers");
        self.housekeeping.ring();
        true
    }

    fn cross(&mut self, lcore: u16, frame: RxMbuf) -> Result<(), RxMbuf> {
        let mut burst: ArrayVec<Mbuf, 1> = ArrayVec::from([frame.into_mbuf()]);
        self.crossings[usize::from(lcore)].enqueue_burst(&mut burst);
        self.to_ring |= 1 << lcore;
        burst.pop().map_or(Ok(()), |mbuf| Err(RxMbuf::new(mbuf)))
    }

    fn take_crossed(&mut self, into: &mut ArrayVec<RxMbuf, BURST>) {
        // All that crosses in a poll has crossed before this.
        while self.to_ring != 0 {
            self.lcores[self.to_ring.trailing_zeros() as usize].ring();
            self.to_ring &= self.to_ring - 1;
        }
        self.crossed.dequeue_burst(&mut self.burst);
        into.extend(self.burst.drain(..).map(RxMbuf::new));
    }
}
