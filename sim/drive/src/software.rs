//! A drive from its URI, and the thread that steps its model: the shell around [`Model`].

use crate::cache::CachedMemory;
use crate::media::{Media, MemoryMedia};
use crate::model::{Model, Shape};
use crate::uri::{Medium, Uri};
use crate::{Error, Faults, FileMedia, Identity};
use gantry_dma::{AddressSpace, Region};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A drive whose model nobody steps yet.
pub struct SoftwareDrive {
    name: String,
    model: Model,
}

/// Opens the drive that `uri` describes. `name` is the operator's for it; a memory drive's identity follows
/// from it.
///
/// # Errors
/// What is wrong, and the remedy.
pub fn open(uri: &str, name: &str) -> Result<SoftwareDrive, Error> {
    open_with(uri, name, |media| media)
}

/// As [`open`], with `wrap`'s medium between the controller and the URI's: it sees each executed command once, as the
/// medium's offset and bytes, outside a `cache=volatile`, and passes every call on.
///
/// Namespace `n` of `N` lies at `(n - 1) / N` of the medium, whole blocks.
///
/// # Errors
/// What is wrong, and the remedy.
pub fn open_with(
    uri: &str,
    name: &str,
    wrap: impl FnOnce(Box<dyn Media>) -> Box<dyn Media>,
) -> Result<SoftwareDrive, Error> {
    let uri = Uri::parse(uri)?;
    let (media, bytes, identity): (Box<dyn Media>, u64, Identity) = match &uri.medium {
        &Medium::Memory { bytes } => {
            let media: Box<dyn Media> = match uri.volatile_cache {
                true => Box::new(CachedMemory::new(bytes, uri.block_shift)),
                false => Box::new(MemoryMedia::new(bytes)),
            };
            (media, bytes, Identity::of_name("mem", uri.identity.as_deref().unwrap_or(name)))
        }
        Medium::File { path, bytes } => {
            let (media, bytes, identity) = FileMedia::open(path, *bytes)?;
            (Box::new(media), bytes, identity)
        }
    };
    let mut shape = Shape::equal_parts(identity, bytes, uri.namespaces, uri.block_shift, uri.mdts)?;
    (shape.entries, shape.io_queues) = (uri.entries, uri.queues);
    shape.traits = uri.traits;
    Ok(SoftwareDrive { name: name.into(), model: Model::new(shape, wrap(media))? })
}

/// A drive of `bytes` that completes reads and writes without moving a byte, to measure what is around it. No URI leads to it:
/// whoever reads from it is shown what pages held before.
///
/// # Errors
/// When it is too small, or the system has no memory for its registers.
pub fn null(bytes: u64, name: &str) -> Result<SoftwareDrive, Error> {
    let mut shape = Shape::equal_parts(Identity::of_name("null", name), bytes, 1, 9, Uri::MDTS_DEFAULT)?;
    shape.null = true;
    // Sparse, so that nothing is held.
    Ok(SoftwareDrive { name: name.into(), model: Model::new(shape, Box::new(MemoryMedia::new(bytes)))? })
}

impl SoftwareDrive {
    /// Its registers and doorbells.
    #[must_use]
    pub fn bar(&self) -> Arc<Region> {
        self.model.bar()
    }

    /// PCI vendor and device that it says it is.
    #[must_use]
    pub fn make(&self) -> (u16, u16) {
        self.model.shape().traits.make
    }

    /// Lets the drive reach `region` by DMA.
    ///
    /// # Errors
    /// When its device addresses are mapped already.
    pub fn map(&self, region: Arc<Region>) -> Result<(), gantry_dma::Error> {
        self.model.space().map(region)
    }

    /// All that the drive reaches.
    #[must_use]
    pub fn space(&self) -> Arc<AddressSpace> {
        self.model.space()
    }

    /// What is to go wrong.
    #[must_use]
    pub fn faults(&self) -> Arc<Mutex<Faults>> {
        self.model.faults()
    }

    /// The model, for whoever steps it on a clock of their own.
    pub fn model(&mut self) -> &mut Model {
        &mut self.model
    }

    /// Power is lost and comes back: see [`Model::lose_power`].
    pub fn lose_power(&mut self, survives_seed: u64) {
        self.model.lose_power(survives_seed);
    }

    /// Gives the model a thread.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub fn spawn(self) -> Result<Running, Error> {
        let SoftwareDrive { name, mut model } = self;
        let (bar, space, faults, make) = (model.bar(), model.space(), model.faults(), model.shape().traits.make);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || {
            let mut idle = Idle::default();
            let start = Instant::now();
            while !stopped.load(Ordering::Acquire) {
                let now = start.elapsed();
                if model.step(now.as_nanos() as u64) { idle.worked() } else { idle.wait(now) }
            }
        };
        let thread = thread::Builder::new().name(format!("drive-{name}")).spawn(run).map_err(Error::Thread)?;
        Ok(Running { bar, make, space, faults, stop, thread: Some(thread) })
    }
}

/// A drive that runs; dropping it stops and joins its thread.
pub struct Running {
    bar: Arc<Region>,
    make: (u16, u16),
    space: Arc<AddressSpace>,
    faults: Arc<Mutex<Faults>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// PCI vendor and device that it says it is.
    #[must_use]
    pub fn make(&self) -> (u16, u16) {
        self.make
    }

    /// Its registers and doorbells.
    #[must_use]
    pub fn bar(&self) -> Arc<Region> {
        Arc::clone(&self.bar)
    }

    /// Lets the drive reach `region` by DMA.
    ///
    /// # Errors
    /// When its device addresses are mapped already.
    pub fn map(&self, region: Arc<Region>) -> Result<(), gantry_dma::Error> {
        self.space.map(region)
    }

    /// All that the drive reaches.
    #[must_use]
    pub fn space(&self) -> Arc<AddressSpace> {
        Arc::clone(&self.space)
    }

    /// What is to go wrong.
    #[must_use]
    pub fn faults(&self) -> Arc<Mutex<Faults>> {
        Arc::clone(&self.faults)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(panic)) = ended
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// How the thread waits: it spins while more work is likely, then sleeps ever longer.
#[derive(Default)]
struct Idle {
    since: Option<Duration>,
    sleep: Duration,
}

impl Idle {
    const SPIN: Duration = Duration::from_micros(20);
    const SLEEP_MIN: Duration = Duration::from_micros(5);
    const SLEEP_MAX: Duration = Duration::from_micros(100);

    fn worked(&mut self) {
        *self = Idle::default();
    }

    fn wait(&mut self, now: Duration) {
        let since = *self.since.get_or_insert(now);
        if now.saturating_sub(since) < Self::SPIN {
            std::hint::spin_loop();
        } else {
            self.sleep = (self.sleep * 2).clamp(Self::SLEEP_MIN, Self::SLEEP_MAX);
            thread::sleep(self.sleep);
        }
    }
}
