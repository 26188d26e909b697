//! The drives in a card's slots: there, pulled out, put back, replaced. They outlive every data plane.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gantry_dma::Region;
use gantry_drive::{Faults, SoftwareDrive};
use gantry_pipeline::housekeeping::{Attachment, Bar, Presence};
use parking_lot::Mutex;

type Stepped = Arc<Mutex<SoftwareDrive>>;

/// A drive in its slot.
struct Slot {
    name: String,
    drive: Stepped,
    faults: Arc<Mutex<Faults>>,
    /// Who has `faults` when nobody else was given them.
    holders: usize,
    socket: Arc<Mutex<Socket>>,
}

impl Slot {
    fn is_gone(&self) -> bool {
        self.socket.lock().presence == Presence::Gone
    }
}

/// What whoever has a drive open sees of its slot.
struct Socket {
    presence: Presence,
    /// How often something was put in: who opened it before has another.
    changes: u32,
    /// Attachments that were not dropped yet.
    open: usize,
    /// A function-level reset revives it.
    takes_reset: bool,
}

/// The drives in the card's slots, which outlive every data plane.
#[derive(Clone, Default)]
pub(super) struct Slots(Rc<Shelf>);

#[derive(Default)]
pub(super) struct Shelf {
    slots: RefCell<Vec<Slot>>,
    /// When a drive next does something by itself, when that is known.
    next_ns: Cell<Option<u64>>,
    /// Somebody was given a drive's faults, and may change them without a word.
    lent: Cell<bool>,
    /// A drive was reset by whoever has it open.
    touched: Arc<AtomicBool>,
    /// Names of slots that are empty and have never held a drive.
    empty: RefCell<BTreeSet<String>>,
}

impl Slots {
    pub(super) fn find(&self, name: &str) -> Option<Stepped> {
        let found = self.0.slots.borrow().iter().find(|slot| slot.name == name).map(|slot| slot.drive.clone());
        // Whoever looks for one does something to it.
        self.0.next_ns.set(None);
        found
    }

    pub(super) fn insert(&self, name: &str, drive: SoftwareDrive) -> Stepped {
        let faults = drive.faults();
        let holders = Arc::strong_count(&faults);
        let drive = Arc::new(Mutex::new(drive));
        let name = name.to_owned();
        let socket = Socket { presence: Presence::There, changes: 0, open: 0, takes_reset: false };
        let slot = Slot { name, drive: drive.clone(), faults, holders, socket: Arc::new(Mutex::new(socket)) };
        self.0.slots.borrow_mut().push(slot);
        self.0.next_ns.set(None);
        drive
    }

    /// Does something to the slot of this name, if there is one.
    fn with<T>(&self, name: &str, act: impl FnOnce(&mut Slot) -> T) -> Option<T> {
        self.0.next_ns.set(None);
        self.0.slots.borrow_mut().iter_mut().find(|slot| slot.name == name).map(act)
    }

    /// Somebody opens a drive that is there.
    pub(super) fn attach(&self, name: &str) -> Option<Attached> {
        let (drive, socket) = self.with(name, |slot| (slot.drive.clone(), slot.socket.clone()))?;
        let changes = {
            let mut socket = socket.lock();
            socket.open += 1;
            socket.changes
        };
        Some(Attached { drive, socket, touched: self.0.touched.clone(), changes, dma: AtomicBool::new(false) })
    }

    pub(super) fn is_empty(&self, name: &str) -> bool {
        let removed = |slot: &Slot| slot.name == name && slot.socket.lock().presence != Presence::There;
        self.0.empty.borrow().contains(name) || self.0.slots.borrow().iter().any(removed)
    }

    pub(super) fn lend_faults(&self, name: &str) -> Option<Arc<Mutex<Faults>>> {
        self.0.lent.set(true);
        self.0.slots.borrow().iter().find(|slot| slot.name == name).map(|slot| slot.faults.clone())
    }

    /// When a drive next does something by itself: asked for in every round, so remembered between two steps.
    pub(super) fn next_ns(&self) -> u64 {
        let Shelf { slots, next_ns, lent, touched, empty: _ } = &*self.0;
        if touched.swap(false, Ordering::Relaxed) {
            next_ns.set(None);
        }
        if !lent.get()
            && let Some(known_ns) = next_ns.get()
        {
            debug_assert_eq!(known_ns, earliest_ns(&slots.borrow()), "nothing was done to a drive");
            return known_ns;
        }
        let slots = slots.borrow();
        lent.set(slots.iter().any(|slot| Arc::strong_count(&slot.faults) > slot.holders));
        let earliest_ns = earliest_ns(&slots);
        next_ns.set(Some(earliest_ns));
        earliest_ns
    }

    /// Steps every drive once; whether any did something.
    pub(super) fn step(&self, now_ns: u64) -> bool {
        let (mut busy, mut earliest_ns) = (false, u64::MAX);
        for slot in self.0.slots.borrow().iter().filter(|slot| !slot.is_gone()) {
            let mut drive = slot.drive.lock();
            busy |= drive.model().step(now_ns);
            earliest_ns = earliest_ns.min(drive.model().next_ns());
        }
        self.0.next_ns.set(Some(earliest_ns));
        busy
    }

    pub(super) fn function_level_reset(&self) {
        for slot in self.0.slots.borrow().iter().filter(|slot| !slot.is_gone()) {
            slot.drive.lock().model().function_level_reset();
        }
        self.0.next_ns.set(None);
    }
}

fn earliest_ns(slots: &[Slot]) -> u64 {
    let there = slots.iter().filter(|slot| !slot.is_gone());
    there.map(|slot| slot.drive.lock().model().next_ns()).min().unwrap_or(u64::MAX)
}

/// CSTS (NVMe Base 2.0 §3.1.3.6); bit 0 is RDY.
const CSTS: usize = 0x1C;

/// A drive that somebody has open.
pub(super) struct Attached {
    drive: Stepped,
    socket: Arc<Mutex<Socket>>,
    touched: Arc<AtomicBool>,
    /// As the socket said when it was opened.
    changes: u32,
    /// Whether its DMA is on.
    dma: AtomicBool,
}

impl Attachment for Attached {
    fn bar(&self) -> Bar {
        let drive = self.drive.lock();
        let (vendor, device) = drive.make();
        Bar { device: gantry_nvme::Device { vendor, device, ..Default::default() }, ..drive.bar().into() }
    }

    fn map(&self, region: Arc<Region>) -> Result<(), String> {
        self.drive.lock().map(region).map_err(|error| error.to_string())
    }

    fn unmap(&self, region: &Arc<Region>) {
        let drive = self.drive.lock();
        let was_mapped = drive.space().unmap(region);
        // Where no IOMMU stands between, memory is not taken from a drive that may still write to it.
        let runs = drive.bar().load_u32(CSTS, Ordering::Acquire) & 1 != 0;
        let dma = self.dma.load(Ordering::Relaxed);
        assert!(!was_mapped || !dma || !runs, "memory was taken from a drive that runs with its DMA on");
    }

    fn set_dma(&self, on: bool) -> Result<(), String> {
        self.dma.store(on, Ordering::Relaxed);
        Ok(())
    }

    fn poll(&mut self) -> Presence {
        let socket = self.socket.lock();
        if socket.changes == self.changes { socket.presence } else { Presence::Gone }
    }

    fn reset(&mut self) -> bool {
        let takes_reset = self.socket.lock().takes_reset;
        if takes_reset {
            let mut drive = self.drive.lock();
            drive.faults().lock().stopped = false;
            drive.model().function_level_reset();
            self.touched.store(true, Ordering::Relaxed);
        }
        takes_reset
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.socket.lock().open -= 1;
    }
}

impl Slots {
    pub(super) fn remove(&self, name: &str, survives_seed: u64) {
        let removed = self.with(name, |slot| {
            slot.socket.lock().presence = Presence::Gone;
            let mut drive = slot.drive.lock();
            drive.lose_power(survives_seed);
            drive.model().function_level_reset();
            let bar = drive.bar();
            bar.fill(0, bar.length(), 0xff);
        });
        if removed.is_none() {
            self.0.empty.borrow_mut().insert(name.to_owned());
        }
    }

    pub(super) fn ask_for(&self, name: &str) {
        self.with(name, |slot| slot.socket.lock().presence = Presence::Leaving);
    }

    pub(super) fn has_let_go_of(&self, name: &str) -> bool {
        self.with(name, |slot| slot.socket.lock().open == 0).unwrap_or(true)
    }

    pub(super) fn put_back(&self, name: &str) {
        self.0.empty.borrow_mut().remove(name);
        self.with(name, |slot| {
            let mut socket = slot.socket.lock();
            socket.presence = Presence::There;
            socket.changes += 1;
        });
    }

    pub(super) fn replace(&self, name: &str, drive: SoftwareDrive) {
        let (faults, drive) = (drive.faults(), Arc::new(Mutex::new(drive)));
        let holders = Arc::strong_count(&faults);
        let replace = |slot: &mut Slot| (slot.faults, slot.holders, slot.drive) = (faults, holders, drive);
        self.with(name, replace).expect("a slot of this name");
        self.put_back(name);
    }

    pub(super) fn set_takes_reset(&self, name: &str, takes_reset: bool) {
        self.with(name, |slot| slot.socket.lock().takes_reset = takes_reset);
    }
}

impl Attached {
    pub(super) fn function_level_reset(&self) {
        self.drive.lock().model().function_level_reset();
    }
}
