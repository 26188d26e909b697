//! A successor takes a running data plane over, and every host continues.
//!
//! ```text
//! predecessor                                    successor
//! lcores stop between two bursts
//! batches are applied, reports taken in
//! [`tell`]: bytes ---------------------------->  [`Told::read`]: which regions, ports, drives
//! regions, ports, drives beside them --------->  [`Told::take_up`]: checks everything, touches no device
//! ends without touching a device                 polls
//! ```
//! The bytes are all that lives on a heap. What devices and lcores share stays where it is: regions, which the state
//! numbers; ports and drives, under the numbers that control gave them. Frames in a port's queue and completions in a
//! drive's wait for whoever polls next. To control it is the same data plane (the boot id stays): its channel breaks and it
//! adopts what runs, as in every session. Times are of the machine's monotonic clock, which all processes share.
//!
//! What follows from something else is not told: free lists, lists' links, tables that housekeeping's records fill, sums.
//! So most of what bytes from outside could break cannot be said in them; the rest is checked before anything is made.
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | [`FORMAT`], little-endian |
//! | 4..8 | CRC-32 of what follows |
//! | 8.. | the state in `postcard`'s encoding |

mod drives;
mod lcore;
pub(crate) mod told;

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use gantry_cpu::Cpu;
use gantry_dma::Region;
use serde::{Deserialize, Serialize};

use crate::Lcore;
use crate::exchange::{Exchange, Liveness};
use crate::housekeeping::{Attachment, Environment, Housekeeping, HousekeepingState};
use crate::lcore::PortSlot;
use crate::port::Port;
use crate::state::{Core, Sizes};
use drives::Lending;
use lcore::LcoreState;

/// The format of the bytes. Every change to what is told, or to its order, is another one.
pub const FORMAT: u32 = 5;

/// Most bytes that are read: an upper bound for what a successor makes of them.
pub const BYTES_MAX: usize = 1 << 28;

/// Bytes before the state: the format and the CRC.
const HEADER: usize = 8;

/// Why a state was not taken up. Nothing has happened then: no device was touched, and the predecessor can go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Of another release.
    #[error("the state is of handover format {0}, this release takes format {FORMAT}")]
    Format(u32),
    /// Not what a predecessor wrote.
    #[error("the state is damaged: {0}")]
    Damaged(&'static str),
    /// A state, but not one for this data plane with these regions and devices.
    #[error("the state does not fit: {0}")]
    Unfit(String),
    /// A state that cannot be.
    #[error("the state contradicts itself: {0}")]
    Inconsistent(String),
}

impl From<gantry_roce::Inconsistent> for Refused {
    fn from(what: gantry_roce::Inconsistent) -> Self {
        Self::Inconsistent(what.0.to_owned())
    }
}

impl From<gantry_nvme::Inconsistent> for Refused {
    fn from(what: gantry_nvme::Inconsistent) -> Self {
        Self::Inconsistent(what.0.to_owned())
    }
}

/// Refuses a state that cannot be, unless `holds`.
pub(crate) fn must(holds: bool, what: impl FnOnce() -> String) -> Result<(), Refused> {
    if holds { Ok(()) } else { Err(Refused::Inconsistent(what())) }
}

/// Everything, told.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    now_ns: u64,
    sizes: Sizes,
    /// By number.
    regions: Vec<RegionState>,
    housekeeping: HousekeepingState,
    lcores: Vec<LcoreState>,
}

/// A region as its device knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionState {
    /// Bytes.
    pub length: u64,
    /// Where its device sees its first byte.
    pub iova: u64,
}

/// A state, and what is handed over beside it.
pub struct Exported {
    /// The state.
    pub bytes: Vec<u8>,
    /// Regions by number.
    pub regions: Vec<Arc<Region>>,
}

/// Collects regions and numbers them.
pub(crate) struct Regions(Vec<Arc<Region>>);

impl Regions {
    /// The number under which a region is handed over; each is handed over once.
    pub(crate) fn number(&mut self, region: &Arc<Region>) -> u32 {
        self.0.push(region.clone());
        self.0.len() as u32 - 1
    }
}

/// The regions that were handed over, each to be taken once: nothing may have two owners.
pub(crate) struct Handed(Vec<Option<Arc<Region>>>);

impl Handed {
    pub(crate) fn take(&mut self, number: u32) -> Result<Arc<Region>, Refused> {
        let region = self.0.get_mut(number as usize).and_then(Option::take);
        region.ok_or_else(|| Refused::Inconsistent(format!("region {number} is none, or has two owners")))
    }
}

/// Tells a successor everything. The lcores have stopped ([`Lcore::stop`]), in order, and housekeeping has taken in what
/// came back of it and has nothing under way ([`Housekeeping::is_at_rest`]).
///
/// # Panics
/// When housekeeping is not at rest.
#[must_use]
pub fn tell<P: Port, X: Exchange<P>, E: Environment<Queue = P>>(
    now_ns: u64,
    lcores: &mut [Lcore<P, X>],
    housekeeping: &Housekeeping<E>,
    cpu: &Cpu,
) -> Exported {
    assert!(housekeeping.is_at_rest(), "a handover begins when nothing is on its way to an lcore");
    lcores.iter_mut().for_each(Lcore::take_lent);
    lcores.iter_mut().for_each(Lcore::take_answered);
    let mut regions = Regions(Vec::new());
    let lcores = lcores.iter().map(|lcore| lcore::tell(lcore, &mut regions)).collect();
    let housekeeping_state = housekeeping.tell(&mut regions);
    let described = regions.0.iter().map(|region| RegionState { length: region.length() as u64, iova: region.iova(0) });
    let state = State {
        now_ns,
        sizes: *housekeeping.sizes(),
        regions: described.collect(),
        housekeeping: housekeeping_state,
        lcores,
    };
    let mut bytes = Vec::from([0; HEADER]);
    bytes[..4].copy_from_slice(&FORMAT.to_le_bytes());
    let mut bytes = postcard::to_extend(&state, bytes).expect("memory takes what it is given");
    let crc = cpu.crc32(0, &bytes[HEADER..]);
    bytes[4..HEADER].copy_from_slice(&crc.to_le_bytes());
    Exported { bytes, regions: regions.0 }
}

/// A state that has been read, and not looked into yet.
pub struct Told(State);

/// What a successor is handed beside the state.
pub struct Passed<P> {
    /// By number, as [`Told::regions`] asks for them.
    pub regions: Vec<Arc<Region>>,
    /// Ports by number, with queue pairs and the lcores that they are for.
    pub ports: Vec<(u16, Vec<(usize, P)>)>,
    /// Drives by number.
    pub drives: Vec<(u16, Box<dyn Attachment>)>,
}

/// An lcore's state that waits for its edges: see [`Lcore::resume`].
pub struct Resumed<P: Port> {
    pub(crate) core: Core,
    pub(crate) ports: Vec<PortSlot<P>>,
    pub(crate) datagram_psn: u32,
}

/// A data plane that goes on.
pub struct Successor<E: Environment>
where
    E::Queue: Port,
{
    /// Its lcores, in order.
    pub lcores: Vec<Resumed<E::Queue>>,
    /// Its housekeeping.
    pub housekeeping: Housekeeping<E>,
}

impl Told {
    /// Reads a state.
    ///
    /// # Errors
    /// [`Refused::Format`] and [`Refused::Damaged`].
    pub fn read(bytes: &[u8], cpu: &Cpu) -> Result<Self, Refused> {
        let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(Refused::Damaged("it has no header"));
        };
        let [f0, f1, f2, f3, c0, c1, c2, c3] = *header;
        let format = u32::from_le_bytes([f0, f1, f2, f3]);
        if format != FORMAT {
            return Err(Refused::Format(format));
        }
        if bytes.len() > BYTES_MAX {
            return Err(Refused::Damaged("it is too long"));
        }
        if cpu.crc32(0, body) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(Refused::Damaged("its CRC does not hold"));
        }
        match postcard::take_from_bytes(body) {
            Ok((state, [])) => Ok(Self(state)),
            Ok(_) => Err(Refused::Damaged("bytes are left over")),
            Err(_) => Err(Refused::Damaged("it cannot be read")),
        }
    }

    /// The regions that must be handed over, by number.
    #[must_use]
    pub fn regions(&self) -> &[RegionState] {
        &self.0.regions
    }

    /// The ports that must be handed over: number, device, lcores that poll it.
    pub fn ports(&self) -> impl Iterator<Item = (u16, &str, &[u16])> {
        self.0.housekeeping.ports()
    }

    /// The drives that must be handed over, those that are there: number, name, URI.
    pub fn drives(&self) -> impl Iterator<Item = (u16, &str, &str)> {
        self.0.housekeeping.drives()
    }

    /// Sizes of the predecessor's lcores.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        self.0.sizes
    }

    /// How many lcores the predecessor had.
    #[must_use]
    pub fn lcores(&self) -> usize {
        self.0.lcores.len()
    }

    /// Makes a data plane of it that goes on at `now_ns` with `lcores` of these `sizes`. No device is touched.
    ///
    /// # Errors
    /// [`Refused::Unfit`] and [`Refused::Inconsistent`]. `passed` and `environment` are dropped then.
    pub fn take_up<E: Environment>(
        self,
        now_ns: u64,
        (lcores, sizes): (usize, Sizes),
        environment: E,
        passed: Passed<E::Queue>,
        cpu: Cpu,
    ) -> Result<Successor<E>, Refused>
    where
        E::Queue: Port,
    {
        let State { now_ns: then_ns, sizes: told_sizes, regions, housekeeping, lcores: told } = self.0;
        if told_sizes != sizes || told.len() != lcores {
            let text = format!("{} lcores of {told_sizes:?}, here {lcores} of {sizes:?}", told.len());
            return Err(Refused::Unfit(text));
        }
        if then_ns > now_ns {
            return Err(Refused::Unfit(format!("it was told at {then_ns} ns, here it is {now_ns} ns: another clock")));
        }
        let handed = passed.regions.iter();
        let handed = handed.map(|region| RegionState { length: region.length() as u64, iova: region.iova(0) });
        if !handed.eq(regions.iter().copied()) {
            return Err(Refused::Unfit(String::from("its regions are not those that were handed over")));
        }
        let mut regions = Handed(passed.regions.into_iter().map(Some).collect());
        let mut memory = Vec::with_capacity(lcores);
        for told in &told {
            let region = regions.take(told.memory())?;
            if region.length() < sizes.dma_bytes() || !region.is_writable() {
                return Err(Refused::Unfit(String::from("an lcore's memory is too short, or only to be read")));
            }
            memory.push(region);
        }
        let liveness = Liveness::new();
        let housekeeping = Housekeeping::take_up(
            housekeeping,
            environment,
            sizes,
            liveness.clone(),
            memory.clone(),
            passed.drives,
            &mut regions,
        )?;
        let mut ports = passed.ports;
        let mut numbers = BTreeSet::new();
        if !ports.iter().all(|(number, _)| numbers.insert(*number)) || !housekeeping.port_numbers().eq(numbers) {
            return Err(Refused::Unfit(String::from("its ports are not those that were handed over")));
        }
        let mut lending = Lending::of(&told, &housekeeping)?;
        let mut resumed = Vec::with_capacity(lcores);
        for (lcore, (told, region)) in told.into_iter().zip(memory).enumerate() {
            let place = (lcore as u16, housekeeping.reader());
            let core = Core::new(cpu, place, sizes, region, liveness.clone(), now_ns);
            let mut queues = Vec::new();
            for (number, of_port) in &mut ports {
                if let Some(at) = of_port.iter().position(|(of, _)| *of == lcore) {
                    queues.push((*number, of_port.swap_remove(at).1));
                }
            }
            resumed.push(lcore::take_up(told, core, queues, &housekeeping, &mut regions, &mut lending)?);
        }
        lending.must_agree(&resumed)?;
        housekeeping.must_agree_with(resumed.iter().map(|resumed| &resumed.core))?;
        Ok(Successor { lcores: resumed, housekeeping })
    }
}
