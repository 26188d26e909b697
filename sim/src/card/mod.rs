//! A card in one thread: the product's lcores, housekeeping and drives, stepped by whoever holds it.

mod slots;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use arrayvec::ArrayVec;
use gantry::channel::FRAME_MAX;
use gantry_cpu::Cpu;
use gantry_dma::Region;
use gantry_drive::{Faults, Media};
use gantry_pipeline::Lcore;
use gantry_pipeline::exchange::{Batch, Exchange, Liveness};
use gantry_pipeline::handover::{self, Exported, Passed, Refused, Told};
use gantry_pipeline::housekeeping::{Attachment, Environment, Housekeeping, OpenPort};
use gantry_pipeline::port::BURST;
use gantry_pipeline::state::{Core, Sizes};
use gantry_pipeline::tables::Writer;
use gantry_wire::nvme::Nsid;
use parking_lot::Mutex;

use slots::Slots;

use crate::wire::{Buffer, Depth, Queue, Wire};

#[derive(Default)]
struct Mail {
    batches: VecDeque<Box<Batch<Queue>>>,
    spent: VecDeque<Box<Batch<Queue>>>,
    reports: VecDeque<(usize, Box<[u8; FRAME_MAX]>)>,
    empty: Vec<Box<[u8; FRAME_MAX]>>,
    crossed: VecDeque<Buffer>,
    crossed_max: usize,
}

/// How much a card's rings and pools hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// Of a port.
    pub port: Depth,
    /// Buffers that an lcore has for its reports.
    pub reports: usize,
    /// Frames on their way to an lcore from others.
    pub crossed: usize,
}

impl Default for Rings {
    fn default() -> Self {
        Self { port: Depth { buffers: 4096, tx: 1024 }, reports: 256, crossed: 1024 }
    }
}

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
        if mail.crossed.len() >= mail.crossed_max {
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

/// Wraps a drive's medium, by the drive's name: an oracle that sees each command executed.
pub type Observe = Rc<dyn Fn(&str, Box<dyn Media>) -> Box<dyn Media>>;

/// What housekeeping opens, and what a successor is handed: `wire:NAME` ports and software drives, which the card steps
/// itself.
#[derive(Clone)]
pub struct Devices {
    wires: Vec<(String, Wire)>,
    slots: Slots,
    observe: Option<Observe>,
    rings: Rings,
    /// Of the card: its MAC addresses follow from it.
    number: u8,
    random: u64,
    lcores: usize,
}

impl Devices {
    /// The wire of this name that was opened last: one of a transaction that was rolled back is nobody's.
    fn wire(&self, name: &str) -> Option<&Wire> {
        self.wires.iter().rev().find(|(known, _)| known == name).map(|(_, wire)| wire)
    }
}

impl Environment for Devices {
    type Queue = Queue;

    fn open_port(&mut self, _port: u16, _mtu: u16, device: &str) -> Result<OpenPort<Queue>, String> {
        let Some(name) = device.strip_prefix("wire:") else {
            return Err(format!("{device}: a simulated card has ports named wire:NAME"));
        };
        let wire = Wire::new(self.lcores, self.rings.port);
        let number = self.wires.len() as u8;
        let queues = (0..self.lcores).map(|lcore| (lcore, wire.queue(lcore))).collect();
        self.wires.push((name.to_owned(), wire));
        Ok(OpenPort { mac: mac(self.number, number), queues })
    }

    fn check_drive(&self, name: &str, uri: &str) -> Result<(), String> {
        gantry_drive::Uri::parse(uri).map(drop).map_err(|error| format!("drive {name} ({uri}): {error}"))
    }

    fn open_drive(&mut self, name: &str, uri: &str) -> Result<Box<dyn Attachment>, String> {
        if self.slots.is_empty(name) {
            return Err(format!("drive {name} ({uri}): its slot is empty"));
        }
        if let Some(attached) = self.slots.attach(name) {
            // Nobody has it open any more: what the kernel does then.
            attached.function_level_reset();
            return Ok(Box::new(attached));
        }
        let observe = |media| match &self.observe {
            Some(observe) => observe(name, media),
            None => media,
        };
        let drive = gantry_drive::open_with(uri, name, observe);
        let drive = drive.map_err(|error| format!("drive {name} ({uri}): {error}"))?;
        self.slots.insert(name, drive);
        Ok(Box::new(self.slots.attach(name).expect("it was put in")))
    }

    fn random(&mut self) -> u64 {
        self.random = gantry_pipeline::tables::mix(self.random.wrapping_add(1));
        self.random
    }
}

fn mac(card: u8, port: u8) -> [u8; 6] {
    [2, 0, 0, card, 1, port]
}

/// One card.
pub struct Card {
    lcores: Vec<Lcore<Queue, MailEnd>>,
    mail: Rc<[RefCell<Mail>]>,
    sizes: Sizes,
    slots: Slots,
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
        let tables = Writer::new(&sizes, lcores, seed);
        let mail = mailboxes(lcores, Rings::default());
        let mut memory = Vec::new();
        let mut polled = Vec::new();
        for lcore in 0..lcores {
            let region = Region::shared(sizes.dma_bytes()).expect("memory for an lcore");
            memory.push(region.clone());
            let core = Core::new(cpu, (lcore as u16, tables.reader()), sizes, region, liveness.clone(), now_ns);
            polled.push(Lcore::new(core, MailEnd { lcore, mail: mail.clone() }));
        }
        let slots = Slots::default();
        let devices = Devices {
            wires: Vec::new(),
            slots: slots.clone(),
            observe: None,
            rings: Rings::default(),
            number,
            random: seed,
            lcores,
        };
        let housekeeping = Housekeeping::new(devices, sizes, liveness, memory, tables);
        Self { lcores: polled, mail, sizes, slots, housekeeping }
    }

    /// A successor takes over: this card becomes the one that it makes of the exported state, of the regions' files and of
    /// the devices. The channel to control is broken. Answers how many bytes the state took.
    ///
    /// # Panics
    /// When the successor refuses.
    pub fn hand_over(&mut self, now_ns: u64) -> usize {
        let exported = self.export(now_ns);
        let successor = self.successor(now_ns, &exported).unwrap_or_else(|refused| panic!("{refused}"));
        for (old, new) in self.mail.iter().zip(successor.mail.iter()) {
            // The rings between lcores are like a port's queue: what is in them waits for whoever polls next.
            new.borrow_mut().crossed.append(&mut old.borrow_mut().crossed);
        }
        *self = successor;
        exported.bytes.len()
    }

    /// Stops every lcore between two bursts, takes in what came back, and tells a successor everything. The channel to
    /// control is broken; otherwise the card may go on as if nothing had been asked.
    pub fn export(&mut self, now_ns: u64) -> Exported {
        self.housekeeping.disconnected();
        loop {
            self.give_out();
            for lcore in &mut self.lcores {
                lcore.stop(now_ns);
            }
            // What comes back may lead to more.
            if !self.take_in(now_ns) {
                break;
            }
        }
        handover::tell(now_ns, &mut self.lcores, &self.housekeeping, &Cpu::detect())
    }

    /// What a successor makes of a state, of regions and of this card's devices: it maps every region anew, as another
    /// process would. No device is touched until it is polled.
    ///
    /// # Errors
    /// Why it refuses.
    ///
    /// # Panics
    /// When the system does not map a region again.
    pub fn successor(&mut self, now_ns: u64, exported: &Exported) -> Result<Self, Refused> {
        let cpu = Cpu::detect();
        let told = Told::read(&exported.bytes, &cpu)?;
        let regions = exported.regions.iter().map(|region| {
            let file = region.fd().expect("all memory is of a file");
            Region::handed_over(file, region.length(), region.iova(0)).expect("a second mapping")
        });
        let (lcores, sizes) = (self.lcores.len(), self.sizes);
        let devices = self.housekeeping.environment().clone();
        let (slots, rings) = (devices.slots.clone(), devices.rings);
        let ports = told.ports().filter_map(|(number, device, polled)| {
            let wire = devices.wire(device.strip_prefix("wire:")?)?;
            let polled = polled.iter().map(|lcore| usize::from(*lcore)).filter(|lcore| *lcore < lcores);
            Some((number, polled.map(|lcore| (lcore, wire.queue(lcore))).collect()))
        });
        let drives = told.drives().filter_map(|(number, name, _)| {
            let attached: Box<dyn Attachment> = Box::new(devices.slots.attach(name)?);
            Some((number, attached))
        });
        let passed = Passed { regions: regions.collect(), ports: ports.collect(), drives: drives.collect() };
        let successor = told.take_up(now_ns, (lcores, sizes), devices, passed, cpu)?;
        let mail = mailboxes(lcores, rings);
        let resume = |(lcore, resumed)| Lcore::resume(resumed, MailEnd { lcore, mail: mail.clone() });
        let lcores = successor.lcores.into_iter().enumerate().map(resume).collect();
        Ok(Self { lcores, mail, sizes, slots, housekeeping: successor.housekeeping })
    }

    /// The MAC address of a card's first port.
    #[must_use]
    pub fn mac(number: u8) -> [u8; 6] {
        mac(number, 0)
    }

    /// The data plane dies and another starts. As the kernel does when a process dies, drives are reset and reach its
    /// memory no more; what they hold stays.
    pub fn restart(&mut self, sizes: Sizes, seed: u64, now_ns: u64) {
        let Devices { number, slots, observe, rings, .. } = self.housekeeping.environment();
        let (number, slots, observe, rings) = (*number, slots.clone(), observe.take(), *rings);
        slots.function_level_reset();
        *self = Self::new(number, self.lcores.len(), sizes, seed, now_ns);
        self.slots = slots.clone();
        let devices = self.housekeeping.environment();
        (devices.slots, devices.observe) = (slots, observe);
        self.set_rings(rings);
    }

    /// How much rings and pools hold, from the beginning on: no port is open yet.
    pub fn set_rings(&mut self, rings: Rings) {
        self.housekeeping.environment().rings = rings;
        for (mail, new) in self.mail.iter().zip(mailboxes(self.lcores.len(), rings).iter()) {
            let mut mail = mail.borrow_mut();
            mail.empty = std::mem::take(&mut new.borrow_mut().empty);
            mail.crossed_max = rings.crossed;
        }
    }

    /// Lets `observe` wrap the medium of every drive that is opened from now on.
    pub fn observe(&mut self, observe: Observe) {
        self.housekeeping.environment().observe = Some(observe);
    }

    /// When a drive next does something by itself.
    #[must_use]
    pub fn drives_next_ns(&self) -> u64 {
        self.slots.next_ns()
    }

    /// A drive's power is lost and comes back; the seed says what of its volatile cache survives.
    pub fn lose_power(&mut self, name: &str, survives_seed: u64) {
        if let Some(drive) = self.slots.find(name) {
            drive.lock().lose_power(survives_seed);
        }
    }

    /// A drive is pulled out of its slot without a word: its registers read all ones, it reaches no memory, and it has lost
    /// power; the seed says what of its volatile cache survives. One that has never been opened is not there from the
    /// beginning.
    pub fn remove_drive(&mut self, name: &str, survives_seed: u64) {
        self.slots.remove(name, survives_seed);
    }

    /// Somebody wants a drive that is there back, and waits until it is let go of.
    pub fn ask_for_drive(&mut self, name: &str) {
        self.slots.ask_for(name);
    }

    /// Whether nobody has a drive open.
    #[must_use]
    pub fn has_let_go_of(&self, name: &str) -> bool {
        self.slots.has_let_go_of(name)
    }

    /// A drive that was removed, or asked for, is there again.
    pub fn return_drive(&mut self, name: &str) {
        self.slots.put_back(name);
    }

    /// Another drive is put where one was removed: `uri` as of a drive named `as_name`, from which its identity follows.
    ///
    /// # Panics
    /// When there is no such slot, or the URI is none.
    pub fn replace_drive(&mut self, name: &str, uri: &str, as_name: &str) {
        self.slots.replace(name, gantry_drive::open(uri, as_name).expect("a drive of the simulator"));
    }

    /// A drive's namespace is detached, or attached, by an administrator elsewhere.
    pub fn set_active(&mut self, name: &str, nsid: Nsid, active: bool) {
        if let Some(drive) = self.slots.find(name) {
            drive.lock().model().set_active(nsid, active);
        }
    }

    /// A drive raises critical warnings (SMART / Health), and reports them to whoever asked for that.
    pub fn warn(&mut self, name: &str, critical_warning: u8) {
        if let Some(drive) = self.slots.find(name) {
            drive.lock().model().warn(critical_warning);
        }
    }

    /// A drive's namespace gets another size, no larger than it was made with.
    pub fn set_blocks(&mut self, name: &str, nsid: Nsid, blocks: u64) {
        if let Some(drive) = self.slots.find(name) {
            drive.lock().model().set_blocks(nsid, blocks);
        }
    }

    /// Whether a function-level reset revives a drive that does nothing at all.
    pub fn set_takes_reset(&mut self, name: &str, takes_reset: bool) {
        self.slots.set_takes_reset(name, takes_reset);
    }

    /// The far end of a port's wire, once the port is open.
    #[must_use]
    pub fn wire(&mut self, name: &str) -> Option<Wire> {
        self.housekeeping.environment().wire(name).cloned()
    }

    /// A drive's faults, once the drive is open.
    #[must_use]
    pub fn faults(&mut self, name: &str) -> Option<Arc<Mutex<Faults>>> {
        self.slots.lend_faults(name)
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
        self.slots.step(now_ns)
    }

    /// What the housekeeping thread does in one round; whether it did something.
    pub fn keep_house(&mut self, now_ns: u64) -> bool {
        let taken = self.take_in(now_ns);
        self.housekeeping.poll(now_ns);
        self.give_out() | taken
    }

    /// Batches and reports that lcores have given back; whether there were any.
    fn take_in(&mut self, now_ns: u64) -> bool {
        let mut busy = false;
        for (lcore, mail) in self.mail.iter().enumerate() {
            let mut mail = mail.borrow_mut();
            while let Some(batch) = mail.spent.pop_front() {
                busy = true;
                self.housekeeping.handle_applied(now_ns, *batch);
            }
            while let Some((length, buffer)) = mail.reports.pop_front() {
                busy = true;
                self.housekeeping.handle_report(now_ns, lcore, &buffer[..length]);
                mail.empty.push(buffer);
            }
        }
        busy
    }

    /// Batches for lcores; whether there were any.
    fn give_out(&mut self) -> bool {
        let mut busy = false;
        for (lcore, mail) in self.mail.iter().enumerate() {
            while let Some(batch) = self.housekeeping.poll_batch(lcore) {
                busy = true;
                mail.borrow_mut().batches.push_back(batch);
            }
        }
        busy
    }
}

fn mailboxes(lcores: usize, rings: Rings) -> Rc<[RefCell<Mail>]> {
    let Rings { reports, crossed, .. } = rings;
    let mailbox = move |_| {
        RefCell::new(Mail {
            batches: VecDeque::with_capacity(1024),
            spent: VecDeque::with_capacity(1024),
            reports: VecDeque::with_capacity(reports),
            empty: (0..reports).map(|_| Box::new([0; FRAME_MAX])).collect(),
            crossed: VecDeque::with_capacity(crossed),
            crossed_max: crossed,
        })
    };
    (0..lcores).map(mailbox).collect()
}
