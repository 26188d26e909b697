//! The statistics segment: a file beside the channel that anyone with the right to read it may map.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gantry::stats::{CounterName, MAGIC, Preamble, VERSION};
use gantry_dma::Region;
use gantry_pipeline::counters::NAMES;
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U32, U64};

/// The segment and its file.
pub(crate) struct Statistics {
    region: Arc<Region>,
    path: PathBuf,
    rows: usize,
}

/// Bytes from one row to the next: a multiple of a cache line (128 bytes on arm64).
fn stride_bytes() -> usize {
    (NAMES.len() * 8).next_multiple_of(128)
}

impl Statistics {
    /// Creates the file `<channel>.stats` for this many lcores.
    pub(crate) fn create(channel: &Path, lcores: usize) -> io::Result<Self> {
        let mut path = channel.as_os_str().to_owned();
        path.push(".stats");
        let path = PathBuf::from(path);
        let _ = std::fs::remove_file(&path);
        let rows = (size_of::<Preamble>() + NAMES.len() * size_of::<CounterName>()).next_multiple_of(128);
        let length = rows + lcores * stride_bytes();
        let file: File = OpenOptions::new().read(true).write(true).create_new(true).mode(0o644).open(&path)?;
        file.set_len(length as u64)?;
        let region = Region::file(&file, length, true).map_err(io::Error::other)?;
        let preamble = Preamble {
            magic: U64::ZERO,
            version: U32::new(VERSION),
            lcores: U32::new(lcores as u32),
            names: U32::new(NAMES.len() as u32),
            rows: U32::new(rows as u32),
            stride: U32::new((stride_bytes() / 8) as u32),
            pid: U32::new(std::process::id()),
            reserved: [0; 32],
        };
        region.write(0, preamble.as_bytes());
        for (index, name) in NAMES.iter().enumerate() {
            let mut field: CounterName = [0; 64];
            field[..name.len()].copy_from_slice(name.as_bytes());
            region.write(size_of::<Preamble>() + index * size_of::<CounterName>(), &field);
        }
        region.store_u64(0, MAGIC.to_le(), Ordering::Release);
        Ok(Self { region, path, rows })
    }

    /// The segment, and where an lcore's row begins.
    pub(crate) fn row(&self, lcore: usize) -> (Arc<Region>, usize) {
        (self.region.clone(), self.rows + lcore * stride_bytes())
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
