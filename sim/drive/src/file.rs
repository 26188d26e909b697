//! A file or a block device as a medium: pread, pwrite, holes where blocks are deallocated, one drive a file.

use crate::media::Media;
use crate::{Error, Identity};
use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

/// A file or a block device that this drive alone uses.
#[derive(Debug)]
pub struct FileMedia {
    file: File,
}

impl FileMedia {
    /// Opens `path`, or creates it with `bytes`; answers its size and identity too.
    ///
    /// # Errors
    /// See [`Error`]; the file is locked until the medium is dropped.
    pub fn open(path: &Path, bytes: Option<u64>) -> Result<(FileMedia, u64, Identity), Error> {
        let refused = |what| move |source| Error::File { path: path.into(), what, source };
        let create = bytes.is_some();
        let opened = OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path);
        let mut file = match opened {
            Err(why) if why.kind() == io::ErrorKind::NotFound && !create => return Err(Error::NoSize(path.into())),
            opened => opened.map_err(refused("open it for reading and writing"))?,
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(Error::InUse(path.into())),
            locked => locked.map_err(io::Error::from).map_err(refused("lock it"))?,
        }
        let kind = file.metadata().map_err(refused("examine it"))?.file_type();
        let found = file.seek(SeekFrom::End(0)).map_err(refused("measure it"))?;
        let size = match bytes {
            // Just created: sparse, and its length durable before a host believes in it.
            Some(wanted) if found == 0 && kind.is_file() => {
                file.set_len(wanted).map_err(refused("give it its size"))?;
                file.sync_all().map_err(refused("make its size durable"))?;
                wanted
            }
            Some(wanted) if wanted != found => return Err(Error::SizeDiffers { path: path.into(), found, wanted }),
            _ => found,
        };
        let identity = if kind.is_file() {
            identity_beside(path)?
        } else if kind.is_block_device() {
            let canonical = fs::canonicalize(path).map_err(refused("resolve its path"))?;
            let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
            Identity::of_name(machine.trim(), &canonical.to_string_lossy())
        } else {
            return Err(Error::Kind(path.into()));
        };
        Ok((FileMedia { file }, size, identity))
    }

    /// Zeroes by writing them, where the file system has no better way.
    fn write_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        let zeroes = [0; 1 << 16];
        let mut at = 0;
        while at < length {
            let part = zeroes.len().min((length - at) as usize);
            self.file.write_all_at(&zeroes[..part], offset + at)?;
            at += part as u64;
        }
        Ok(())
    }
}

impl Media for FileMedia {
    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn zero(&mut self, offset: u64, length: u64, deallocate: bool) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let how = if deallocate { FallocateFlags::PUNCH_HOLE } else { FallocateFlags::ZERO_RANGE };
        match rustix::fs::fallocate(&self.file, how | FallocateFlags::KEEP_SIZE, offset, length) {
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NODEV) => self.write_zeroes(offset, length),
            done => done.map_err(io::Error::from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn flush_range(&mut self, _offset: u64, _length: u64) -> io::Result<()> {
        self.flush()
    }

    fn has_cache(&self) -> bool {
        true
    }

    /// The drive loses power, not the machine: the page cache stays.
    fn lose_power(&mut self, _survives_seed: u64) {}
}

/// The identity kept beside a file; made, and durable, on first use.
fn identity_beside(path: &Path) -> Result<Identity, Error> {
    let beside = |suffix: &str| -> PathBuf {
        let mut name = OsString::from(path);
        name.push(suffix);
        name.into()
    };
    let kept = beside(".identity");
    match fs::read_to_string(&kept) {
        Ok(text) => return Identity::from_hex(text.trim()).ok_or(Error::Identity(kept)),
        Err(why) if why.kind() == io::ErrorKind::InvalidData => return Err(Error::Identity(kept)),
        Err(why) if why.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(Error::File { path: kept, what: "read the drive's identity", source }),
    }
    let make = || -> io::Result<Identity> {
        let mut bytes = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let identity = Identity(bytes);
        // Complete under its own name or not there at all.
        let new = beside(".identity.new");
        let mut file = File::create(&new)?;
        writeln!(file, "{}", identity.to_hex())?;
        file.sync_all()?;
        fs::rename(&new, &kept)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
        Ok(identity)
    };
    make().map_err(|source| Error::File { path: kept.clone(), what: "keep the drive's identity", source })
}
