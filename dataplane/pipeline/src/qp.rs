//! A QP as the pipeline sees it: the transport's state machine, the NVMe queue on top of it, which way its host is.

use alloc::boxed::Box;

use gantry_cpu::Cpu;
use gantry_roce::Qp;

use crate::command::{NONE, Ring};

/// CNTLID of a QP whose Connect has not succeeded.
pub const UNBOUND: u16 = 0xffff;

/// One QP. Whole cache lines, so that it is prefetched whole.
#[repr(align(64))]
pub struct QpContext {
    /// Transport state.
    pub transport: Qp,
    /// Number of the way to its host.
    pub way: u32,
    /// UDP source port.
    pub udp_source: u16,
    /// IPv4 identification of the packet that was sent last.
    pub ip_id: u16,
    /// Its controller, or [`UNBOUND`].
    pub cntlid: u16,
    /// Its NVMe queue; zero is the admin queue.
    pub qid: u16,
    /// Size of its submission queue, 0's based as in Connect (NVMe-oF 1.1a §3.3): where its head turns back to 0.
    pub sqsize: u16,
    /// Submission queue head: commands taken in.
    pub sqhd: u16,
    /// Sequence of the next capsule punted.
    pub punt: u32,
    /// The command whose capsule is arriving.
    pub receiving: u32,
    /// Commands of this QP, wherever they are.
    pub commands: Ring,
    /// Of them, those that wait for a drive's budget: the last slots of the pool are not for this QP then.
    pub waiting: u32,
    /// Control has heard that packets arrive.
    pub established: bool,
    /// It takes and sends nothing more.
    pub fenced: bool,
    /// It ends once its commands are gone.
    pub closing: bool,
    /// It is in the line of those that transmit.
    pub(crate) active: bool,
    pub(crate) active_next: u32,
    pub(crate) active_previous: u32,
}

impl QpContext {
    /// A new QP, unbound, on a way by its number and the UDP source port.
    #[must_use]
    pub fn new(transport: Qp, (way, udp_source): (u32, u16), qid: u16, depth: u16) -> Self {
        Self {
            transport,
            way,
            udp_source,
            ip_id: 0,
            cntlid: UNBOUND,
            qid,
            sqsize: depth.max(2) - 1,
            sqhd: 0,
            punt: 0,
            receiving: NONE,
            commands: Ring::EMPTY,
            waiting: 0,
            established: false,
            fenced: false,
            closing: false,
            active: false,
            active_next: NONE,
            active_previous: NONE,
        }
    }

    /// Its number.
    #[inline]
    #[must_use]
    pub fn qpn(&self) -> u32 {
        self.transport.qpn().value()
    }

    /// Its submission queue has so many entries, two at least.
    pub fn resize(&mut self, entries: u32) {
        self.sqsize = (entries.clamp(2, 1 << 16) - 1) as u16;
        if self.sqhd > self.sqsize {
            self.sqhd = (u32::from(self.sqhd) % (u32::from(self.sqsize) + 1)) as u16;
        }
    }

    /// A command is taken in.
    #[inline]
    pub fn advance(&mut self) {
        self.sqhd = if self.sqhd >= self.sqsize { 0 } else { self.sqhd + 1 };
    }

    /// Whether it is an admin queue, or not yet known to be none.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.qid == 0 || self.cntlid == UNBOUND
    }
}

// Four cache lines, all that an I/O touches of it.
const _: () = assert!(size_of::<Option<QpContext>>() <= 256);

/// All QPs of an lcore, and the line of those with something to send.
pub struct Qps {
    slots: Box<[Option<QpContext>]>,
    first: u32,
    last: u32,
}

impl Qps {
    /// Room for `count`.
    #[must_use]
    pub fn new(count: u32) -> Self {
        Self { slots: (0..count).map(|_| None).collect(), first: NONE, last: NONE }
    }

    /// Puts a QP into a free slot.
    ///
    /// # Panics
    /// When the slot is taken: housekeeping chose it.
    pub fn insert(&mut self, slot: u32, qp: QpContext) {
        let place = &mut self.slots[slot as usize];
        assert!(place.is_none(), "QP slot {slot} is taken");
        *place = Some(qp);
    }

    /// Takes a QP out. It leaves the line too.
    ///
    /// # Panics
    /// When there is none.
    pub fn remove(&mut self, slot: u32) -> QpContext {
        self.unlink(slot);
        self.slots[slot as usize].take().expect("a QP in the slot")
    }

    /// The QP in a slot.
    #[inline]
    #[must_use]
    pub fn at(&mut self, slot: u32) -> Option<&mut QpContext> {
        self.slots[slot as usize].as_mut()
    }

    /// Fetches a QP into the cache, all of it.
    #[inline]
    pub fn prefetch(&self, cpu: &Cpu, slot: u32) {
        let Some(place) = self.slots.get(slot as usize) else { return };
        let address = core::ptr::from_ref(place).cast::<u8>();
        for line in 0..size_of::<QpContext>() / 64 {
            cpu.prefetch_write_at(address.wrapping_add(line * 64));
        }
    }

    /// Slots.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Puts a QP at the end of the line, if it is not in it.
    pub fn activate(&mut self, slot: u32) {
        let last = self.last;
        let qp = &mut self[slot];
        if qp.active {
            return;
        }
        qp.active = true;
        (qp.active_next, qp.active_previous) = (NONE, last);
        match last {
            NONE => self.first = slot,
            last => self[last].active_next = slot,
        }
        self.last = slot;
    }

    /// The first of the line.
    #[inline]
    pub(crate) fn first_active(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// Takes the first of the line.
    pub fn next_active(&mut self) -> Option<u32> {
        let slot = self.first;
        if slot == NONE {
            return None;
        }
        self.unlink(slot);
        Some(slot)
    }

    /// The slots that QPs are in.
    pub(crate) fn taken(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.capacity()).filter(|slot| self.slots[*slot as usize].is_some())
    }

    /// The line, first to last.
    pub(crate) fn line(&self) -> impl Iterator<Item = u32> + '_ {
        let on = |slot: u32| (slot != NONE).then_some(slot);
        core::iter::successors(on(self.first), move |slot| on(self[*slot].active_next))
    }

    /// The last of the line: where a round that began now ends.
    #[must_use]
    pub fn last_active(&self) -> Option<u32> {
        (self.last != NONE).then_some(self.last)
    }

    /// Takes a QP out of the line, if it is in it, wherever it stands.
    fn unlink(&mut self, slot: u32) {
        let qp = &mut self[slot];
        if !core::mem::take(&mut qp.active) {
            return;
        }
        let (next, previous) = (qp.active_next, qp.active_previous);
        match previous {
            NONE => self.first = next,
            previous => self[previous].active_next = next,
        }
        match next {
            NONE => self.last = previous,
            next => self[next].active_previous = previous,
        }
    }
}

impl core::ops::Index<u32> for Qps {
    type Output = QpContext;
    #[inline]
    fn index(&self, slot: u32) -> &QpContext {
        self.slots[slot as usize].as_ref().expect("a QP in the slot")
    }
}

impl core::ops::IndexMut<u32> for Qps {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut QpContext {
        self.slots[slot as usize].as_mut().expect("a QP in the slot")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use alloc::vec::Vec;

    use gantry_roce::QpConfig;
    use gantry_wire::ib::{Psn, Qpn};

    use super::*;

    /// A QP that anybody may be given.
    pub(crate) fn qp(qid: u16) -> QpContext {
        let config = QpConfig {
            qpn: Qpn::new(7),
            remote_qpn: Qpn::new(8),
            receive_psn: Psn::new(0),
            send_psn: Psn::new(0),
            mtu: 1024,
            pkey: 0xffff,
            ack_timeout_ns: 0,
            retry_count: 7,
            rnr_retry_count: 7,
            rnr_timer: 12,
            reads_max: 1,
            responder_reads_max: 0,
        };
        QpContext::new(Qp::new(&config), (0, 0xc000), qid, 32)
    }

    fn qps(count: u32) -> Qps {
        let mut qps = Qps::new(count);
        (0..count).for_each(|slot| qps.insert(slot, qp(1)));
        qps
    }

    #[test]
    fn the_head_of_a_submission_queue_turns_back_where_its_size_says() {
        let mut qp = qp(1);
        let heads = |qp: &mut QpContext, commands: usize| -> Vec<u16> {
            let head = |_| {
                qp.advance();
                qp.sqhd
            };
            (0..commands).map(head).collect()
        };
        qp.resize(3);
        assert_eq!(heads(&mut qp, 5), [1, 2, 0, 1, 2]);
        qp.resize(2);
        assert_eq!((qp.sqhd, heads(&mut qp, 2)), (0, Vec::from([1, 0])), "within the smaller queue at once");
        qp.resize(1 << 16);
        qp.sqhd = u16::MAX - 1;
        assert_eq!(heads(&mut qp, 2), [u16::MAX, 0], "the largest there is");
        qp.resize(0);
        assert_eq!(qp.sqsize, 1, "none has fewer than two entries");
    }

    #[test]
    fn qps_stand_in_line_once_and_leave_it_anywhere() {
        let mut qps = qps(4);
        for slot in [2, 0, 2, 3, 1] {
            qps.activate(slot);
        }
        assert_eq!((qps.line().collect::<Vec<_>>(), qps.last_active()), (Vec::from([2, 0, 3, 1]), Some(1)));
        qps.remove(3);
        qps.remove(1);
        assert_eq!((qps.line().collect::<Vec<_>>(), qps.last_active()), (Vec::from([2, 0]), Some(0)));
        assert_eq!(qps.next_active(), Some(2));
        qps.activate(2);
        qps.remove(0);
        assert_eq!((qps.next_active(), qps.next_active(), qps.last_active()), (Some(2), None, None));
    }
}
