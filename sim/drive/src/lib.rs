//! The software drive: a model of a real NVMe controller, with registers, doorbells, queues, PRP and SGL,
//! Identify, logs and faults on demand. It stands where a PCIe drive stands: the driver (gantry-nvme) sees
//! a BAR and reaches memory by "DMA", which here is an [`AddressSpace`](gantry_dma::AddressSpace).
//! NVMe Base 2.0, PCIe Transport 1.0, NVM Command Set 1.0; it claims version 1.4.
//!
//! [`Model`] is sans-IO: the simulator steps it on its own clock. [`SoftwareDrive::spawn`] gives it a thread
//! for use as the embedded default of the data plane.
//!
//! | URI | what it is |
//! |---|---|
//! | `mem:64M` | memory, sparse; gone with the process |
//! | `file:/path,size=10G` | a file or block device; `size` is needed when the file does not exist yet |
//!
//! Options, after commas: `block=512` or `4096`, `namespaces=N` (equal parts), `mdts=BYTES`, `entries=N` (2 to 65536: the
//! longest I/O queue, CAP.MQES + 1; 1024 when left out), `queues=N` (1 to 1024 I/O queue pairs that it grants; 64 when left
//! out), and for memory `cache=volatile` and `identity=NAME` (two drives of one identity stand for one that is reached twice).
//! What else a drive may be made as is in [`Traits`], an option a field.
//!
//! **Durability of `mem:`**: a completed write outlives [`Model::lose_power`]. With `cache=volatile` it does so once a Flush
//! of its namespace or its own FUA was answered, or when the host had turned the write cache off (feature 06h); of other
//! blocks each survives or not, as a seed says. Identify says so (VWC).
//!
//! **Durability of `file:`**: a completed write is in the page cache, so it outlives the process but not a
//! power loss. Only Flush, FUA, and every write while the host has turned the write cache off (feature 06h)
//! are durable; Identify says so (VWC).
//!
//! **Identity** (serial, NGUID, EUI64, UUID): a file has 16 random bytes in `<path>.identity` beside it, made
//! on first use: they stay when the path is renamed together with it, and a copy made without it is another
//! drive. A block device's follow from the machine's id and its canonical path, a `mem:` drive's from its name.

#![forbid(unsafe_code)]

mod cache;
mod chance;
mod error;
mod faults;
mod file;
mod identity;
mod media;
mod model;
mod software;
mod traits;
mod uri;

pub use cache::CachedMemory;
pub use error::Error;
pub use faults::{Action, Busy, Faults, Latency, MediaChance, MediaError, Rule};
pub use file::FileMedia;
pub use identity::Identity;
pub use media::{Media, MemoryMedia};
pub use model::{Model, Shape};
pub use software::{Running, SoftwareDrive, null, open, open_with};
pub use traits::{Defect, SglSupport, Traits};
pub use uri::{Medium, Uri};
