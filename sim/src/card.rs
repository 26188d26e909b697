//! A card in one thread: the product's lcores, housekeeping and drives, stepped by whoever holds it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use arrayvec::ArrayVec;
use gantry::channel::FRAME_MAX;
use gantry_cpu::Cpu;
use gantry_dma::Region;
use gantry_drive::{Faults, SoftwareDrive};
use gantry_pipeline::Lcore;
use gantry_pipeline::exchange::{Batch, Exchange, Liveness};
use gantry_pipeline::housekeeping::{Attachment, Environment, Housekeeping, OpenPort};
use gantry_pipeline::port::BURST;
use gantry_pipeline::state::{Core, Place, Sizes};
use parking_lot::Mutex;

use crate::wire::{Buffer, Queue, Wire};

/// Buffers that an lcore has for its reports.
const REPORTS: usize = 256;

#[derive(Default)]
struct Mail {
    batches: VecDeque<Box<Batch<Queue>>>,
    spent: VecDeque<Box<Batch<Queue>>>,
    reports: VecDeque<(usize, Box<[u8; FRAME_MAX]>)>,
    empty: Vec<Box<[u8; FRAME_MAX]>>,
    crossed: VecDeque<Buffer>,
}

/// Frames on their way from other lcores.
const CROSSED: usize = 1024;

/// An lcore's end of the exchange.
pub struct MailEnd {
    lcore: usize,
    /// Of all lcores.
    mail: Rc<[RefCell<Mail>]>,
}

impl MailEnd {
    fn own(&self) -> std::cell::RefMut<'_, Mail> {
        self.mail[self.lcore].borrow_mut()
    }
}

impl Exchange<Queue> for MailEnd {
    fn take_batch(&mut self) -> Option<Box<Batch<Queue>>> {
        self.own().batches.pop_front()
    }

    fn return_batch(&mut self, batch: Box<Batch<Queue>>) {
        self.own().spent.push_back(batch);
    }

    fn report(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let mut mail = self.own();
        let Some(mut buffer) = mail.empty.pop() else { return false };
        let length = fill(&mut buffer[..]);
        mail.reports.push_back((length, buffer));
        true
    }

    fn cross(&mut self, lcore: u16, frame: Buffer) -> Result<(), Buffer> {
        let mut mail = self.mail[usize::from(lcore)].borrow_mut();
        if mail.crossed.len() == CROSSED {
            return Err(frame);
        }
        mail.crossed.push_back(frame);
        Ok(())
    }

    fn take_crossed(&mut self, into: &mut ArrayVec<Buffer, BURST>) {
        let mut mail = self.own();
        while !into.is_full() {
            let Some(frame) = mail.crossed.pop_front() else { return };
            into.push(frame);
        }
    }
}

type Stepped = Arc<Mutex<SoftwareDrive>>;

/// What housekeeping opens: `wire:NAME` ports and software drives, which the card steps itself.
pub struct Devices {
    wires: Vec<(String, Wire)>,
    drives: Vec<(String, Stepped)>,
    /// Of the card: its MAC addresses follow from it.
    number: u8,
    random: u64,
    lcores: usize,
}

impl Environment for Devices {
    type Queue = Queue;

    fn open_port(&mut self, _port: u16, _mtu: u16, device: &str) -> Result<OpenPort<Queue>, String> {
        let Some(name) = device.strip_prefix("wire:") else {
            return Err(format!("{device}: a simulated card has ports named wire:NAME"));
        };
        let wire = Wire::new(self.lcores);
        let number = self.wires.len() as u8;
        let queues = (0..self.lcores).map(|lcore| (lcore, wire.queue(lcore))).collect();
        self.wires.push((name.to_owned(), wire));
        Ok(OpenPort { mac: mac(self.number, number), queues })
    }

    fn open_drive(&mut self, name: &str, uri: &str) -> Result<Box<dyn Attachment>, String> {
        let drive = gantry_drive::open(uri, name).map_err(|error| format!("drive {name} ({uri}): {error}"))?;
        let drive = Arc::new(Mutex::new(drive));
        self.drives.push((name.to_owned(), drive.clone()));
        Ok(Box::new(Attached(drive)))
    }

    fn random(&mut self) -> u64 {
        self.random = gantry_pipeline::tables::mix(self.random.wrapping_add(1));
        self.random
    }
}

fn mac(card: u8, port: u8) -> [u8; 6] {
    [2, 0, 0, card, 1, port]
}

struct Attached(Stepped);

impl Attachment for Attached {
    fn bar(&self) -> Arc<Region> {
        self.0.lock().bar()
    }

    fn map(&self, region: Arc<Region>) {
        self.0.lock().map(region).expect("a region is mapped once");
    }

    fn unmap(&self, region: &Arc<Region>) {
        self.0.lock().space().unmap(region);
    }
}

/// One card.
pub struct Card {
    lcores: Vec<Lcore<Queue, MailEnd>>,
    mail: Rc<[RefCell<Mail>]>,
    /// The housekeeping thread's state: the channel's far end.
    pub housekeeping: Housekeeping<Devices>,
}

impl Card {
    /// Card `number` with this many lcores; `seed` draws its QPNs and PSNs.
    ///
    /// # Panics
    /// When the system has no memory for it.
    #[must_use]
    pub fn new(number: u8, lcores: usize, sizes: Sizes, seed: u64, now_ns: u64) -> Self {
        let cpu = Cpu::detect();
        let liveness = Liveness::new();
        let mail: Rc<[RefCell<Mail>]> = (0..lcores)
            .map(|_| {
                RefCell::new(Mail {
                    batches: VecDeque::with_capacity(1024),
                    spent: VecDeque::with_capacity(1024),
                    reports: VecDeque::with_capacity(REPORTS),
                    empty: (0..REPORTS).map(|_| Box::new([0; FRAME_MAX])).collect(),
                    crossed: VecDeque::with_capacity(CROSSED),
                })
            })
            .collect();
        let mut memory = Vec::new();
        let mut polled = Vec::new();
        for lcore in 0..lcores {
            let region = Region::shared(sizes.dma_bytes()).expect("memory for an lcore");
            memory.push(region.clone());
            let place = Place { lcore: lcore as u16, lcores: lcores as u16 };
            let core = Core::new(cpu, place, sizes, region, liveness.clone(), now_ns);
            polled.push(Lcore::new(core, MailEnd { lcore, mail: mail.clone() }));
        }
        let devices = Devices { wires: Vec::new(), drives: Vec::new(), number, random: seed, lcores };
        Self { lcores: polled, mail, housekeeping: Housekeeping::new(devices, sizes, liveness, memory) }
    }

    /// Stops at a burst boundary, and lets a successor go on from the exported state; the channel to control breaks.
    /// Answers how many bytes the state took.
    pub fn hand_over(&mut self, now_ns: u64) -> usize {
        self.keep_house(now_ns);
        self.housekeeping.disconnected();
        0
    }

    /// The MAC address of a card's first port.
    #[must_use]
    pub fn mac(number: u8) -> [u8; 6] {
        mac(number, 0)
    }

    /// The data plane dies and another starts.
    pub fn restart(&mut self, sizes: Sizes, seed: u64, now_ns: u64) {
        let number = self.housekeeping.environment().number;
        *self = Self::new(number, self.lcores.len(), sizes, seed, now_ns);
    }

    /// When a drive next does something by itself.
    #[must_use]
    pub fn drives_next_ns(&self) -> u64 {
        u64::MAX
    }

    /// The far end of a port's wire, once the port is open.
    #[must_use]
    pub fn wire(&mut self, name: &str) -> Option<Wire> {
        let wires = &self.housekeeping.environment().wires;
        wires.iter().find(|(known, _)| known == name).map(|(_, wire)| wire.clone())
    }

    /// A drive's faults, once the drive is open.
    #[must_use]
    pub fn faults(&mut self, name: &str) -> Option<Arc<Mutex<Faults>>> {
        let drives = &self.housekeeping.environment().drives;
        drives.iter().find(|(known, _)| known == name).map(|(_, drive)| drive.lock().faults())
    }

    /// How many lcores there are.
    #[must_use]
    pub fn lcores(&self) -> usize {
        self.lcores.len()
    }

    /// One lcore.
    pub fn lcore(&mut self, index: usize) -> &mut Lcore<Queue, MailEnd> {
        &mut self.lcores[index]
    }

    /// Polls every lcore once; whether any did something. Nothing in here allocates once I/O runs.
    pub fn poll_lcores(&mut self, now_ns: u64) -> bool {
        self.lcores.iter_mut().fold(false, |busy, lcore| lcore.poll(now_ns) | busy)
    }

    /// Steps every drive once; whether any did something.
    pub fn step_drives(&mut self, now_ns: u64) -> bool {
        let drives = &self.housekeeping.environment().drives;
        drives.iter().fold(false, |busy, (_, drive)| drive.lock().model().step(now_ns) | busy)
    }

    /// What the housekeeping thread does in one round; whether it did something.
    pub fn keep_house(&mut self, now_ns: u64) -> bool {
        let mut busy = false;
        for (lcore, mail) in self.mail.iter().enumerate() {
            let mut mail = mail.borrow_mut();
            while let Some(batch) = mail.spent.pop_front() {
                busy = true;
                self.housekeeping.handle_applied(*batch);
            }
            while let Some((length, buffer)) = mail.reports.pop_front() {
                busy = true;
                self.housekeeping.handle_report(now_ns, lcore, &buffer[..length]);
                mail.empty.push(buffer);
            }
        }
        self.housekeeping.poll(now_ns);
        for (lcore, mail) in self.mail.iter().enumerate() {
            while let Some(batch) = self.housekeeping.poll_batch(lcore) {
                busy = true;
                mail.borrow_mut().batches.push_back(batch);
            }
        }
        busy
    }
}
