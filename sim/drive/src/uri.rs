//! Drive URIs: `mem:64M[,option…]` and `file:/path[,option…]`.

use crate::{Error, Traits};
use std::path::PathBuf;

/// What a drive is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uri {
    /// Where its data lies.
    pub medium: Medium,
    /// Bytes of a block as a power of two: 9 or 12.
    pub block_shift: u8,
    /// Namespaces, equal parts of the medium.
    pub namespaces: u32,
    /// MDTS as Identify has it: 4 KiB pages as a power of two, 0 for no limit.
    pub mdts: u8,
    /// Entries of an I/O queue at most: MQES + 1.
    pub entries: u32,
    /// I/O queue pairs that it grants.
    pub queues: u16,
    /// Whether a memory drive has a volatile write cache.
    pub volatile_cache: bool,
    /// Whose identity a memory drive has, when it is not its name's.
    pub identity: Option<String>,
    /// What it is like.
    pub traits: Traits,
}

/// Where a drive's data lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Medium {
    /// In memory.
    Memory {
        /// How much.
        bytes: u64,
    },
    /// In a file or block device.
    File {
        /// Which.
        path: PathBuf,
        /// How large it is to be; `None` takes it as it is.
        bytes: Option<u64>,
    },
}

/// Largest `mem:` drive: what a sparse index still holds comfortably.
const MEMORY_MAX: u64 = 1 << 40;
/// Most namespaces of one drive.
const NAMESPACES_MAX: u32 = 128;

impl Uri {
    /// 128 KiB, a common drive's.
    pub(crate) const MDTS_DEFAULT: u8 = 5;
    const ENTRIES_DEFAULT: u32 = 1024;
    const QUEUES_DEFAULT: u16 = 64;

    /// Reads a URI.
    ///
    /// # Errors
    /// An [`Error`] that names the part that is wrong.
    pub fn parse(uri: &str) -> Result<Uri, Error> {
        let mut parts = uri.split(',');
        let head = parts.next().unwrap_or_default();
        let mut medium = if let Some(size) = head.strip_prefix("mem:") {
            Medium::Memory { bytes: size_of(uri, size)? }
        } else if let Some(path) = head.strip_prefix("file:") {
            if !path.starts_with('/') {
                return Err(Error::Path(uri.into()));
            }
            Medium::File { path: path.into(), bytes: None }
        } else {
            return Err(Error::Scheme(uri.into()));
        };
        let (mut block_shift, mut namespaces, mut mdts) = (9, 1, Self::MDTS_DEFAULT);
        let (mut entries, mut queues, mut volatile_cache) = (Self::ENTRIES_DEFAULT, Self::QUEUES_DEFAULT, false);
        let (mut identity, mut traits) = (None, Traits::default());
        for part in parts {
            let unknown = || Error::Option { uri: uri.into(), option: part.into() };
            let (option, value) = part.split_once('=').ok_or_else(unknown)?;
            let wrong = |option, remedy| Error::Value { uri: uri.into(), option, value: value.into(), remedy };
            match (option, &mut medium) {
                ("size", Medium::File { bytes, .. }) => *bytes = Some(size_of(uri, value)?),
                ("size", Medium::Memory { .. }) => return Err(wrong("size", "a memory drive has its size after mem:")),
                ("block", _) => {
                    block_shift = match value {
                        "512" => 9,
                        "4096" | "4K" | "4k" => 12,
                        _ => return Err(wrong("block", "it is 512 or 4096")),
                    }
                }
                ("namespaces", _) => {
                    let count = value.parse().ok().filter(|count| (1..=NAMESPACES_MAX).contains(count));
                    namespaces = count.ok_or_else(|| wrong("namespaces", "it is 1 to 128"))?;
                }
                ("mdts", _) => {
                    let bytes = size_of(uri, value)?;
                    let fits = bytes.is_power_of_two() && (1 << 13..=1 << 22).contains(&bytes);
                    let shift = fits.then(|| bytes.trailing_zeros() as u8 - 12);
                    mdts = shift.ok_or_else(|| wrong("mdts", "it is a power of two from 8K to 4M"))?;
                }
                ("entries", _) => {
                    let count = value.parse().ok().filter(|count| (2..=1 << 16).contains(count));
                    entries = count.ok_or_else(|| wrong("entries", "it is 2 to 65536"))?;
                }
                ("queues", _) => {
                    let count = value.parse().ok().filter(|count| (1..=1024).contains(count));
                    queues = count.ok_or_else(|| wrong("queues", "it is 1 to 1024"))?;
                }
                ("cache", Medium::Memory { .. }) if value == "volatile" => volatile_cache = true,
                ("cache", Medium::Memory { .. }) => return Err(wrong("cache", "it is volatile, or left out")),
                ("cache", Medium::File { .. }) => {
                    return Err(wrong("cache", "a file has the page cache; only a memory drive takes cache=volatile"));
                }
                ("identity", Medium::Memory { .. }) => identity = Some(value.to_owned()),
                _ => match traits.take(option, value) {
                    Some(Ok(())) => {}
                    Some(Err(remedy)) => {
                        let (uri, option, value) = (uri.into(), option.into(), value.into());
                        return Err(Error::Trait { uri, option, value, remedy });
                    }
                    None => return Err(unknown()),
                },
            }
        }
        if let Medium::Memory { bytes } = medium
            && bytes > MEMORY_MAX
        {
            return Err(Error::Value {
                uri: uri.into(),
                option: "mem:",
                value: bytes.to_string(),
                remedy: "a memory drive has 1T at most",
            });
        }
        Ok(Uri { medium, block_shift, namespaces, mdts, entries, queues, volatile_cache, identity, traits })
    }
}

/// A number of bytes, with K, M, G or T (powers of 1024).
fn size_of(uri: &str, value: &str) -> Result<u64, Error> {
    let wrong = || Error::Size { uri: uri.into(), value: value.into() };
    let (digits, shift) = match value.as_bytes().last().map(u8::to_ascii_uppercase) {
        Some(b'K') => (&value[..value.len() - 1], 10),
        Some(b'M') => (&value[..value.len() - 1], 20),
        Some(b'G') => (&value[..value.len() - 1], 30),
        Some(b'T') => (&value[..value.len() - 1], 40),
        _ => (value, 0),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).filter(|&bytes| bytes > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_meant() {
        let uri = Uri::parse("mem:64M,block=4096,namespaces=2").unwrap();
        assert_eq!(uri.medium, Medium::Memory { bytes: 64 << 20 });
        assert_eq!((uri.block_shift, uri.namespaces, uri.mdts), (12, 2, 5));
        assert_eq!((uri.entries, uri.volatile_cache), (1024, false));
        assert_eq!(uri.queues, 64);
        let uri = Uri::parse("mem:64M,queues=1").unwrap();
        assert_eq!(uri.queues, 1);
        let uri = Uri::parse("mem:64M,cache=volatile,entries=65536").unwrap();
        assert_eq!((uri.entries, uri.volatile_cache), (65_536, true));
        let uri = Uri::parse("file:/var/lib/a.img,size=10G,mdts=1M").unwrap();
        assert_eq!(uri.medium, Medium::File { path: "/var/lib/a.img".into(), bytes: Some(10 << 30) });
        assert_eq!((uri.block_shift, uri.namespaces, uri.mdts), (9, 1, 8));
        assert_eq!(Uri::parse("file:/a").unwrap().medium, Medium::File { path: "/a".into(), bytes: None });
    }

    #[test]
    fn an_error_names_the_part_and_the_remedy() {
        let text = |uri: &str| Uri::parse(uri).unwrap_err().to_string();
        assert!(text("nvme0").contains("write mem:64M or file:/path"));
        assert!(text("mem:lots").contains("'lots' is no size"));
        assert!(text("mem:0").contains("'0' is no size"));
        assert!(text("mem:99999999999999999999T").contains("no size"));
        assert!(text("mem:16777216T").contains("no size"), "more than 64 bits");
        assert!(text("mem:2T").contains("1T at most"));
        assert!(text("file:relative").contains("absolute path"));
        assert!(text("mem:1M,block=513").contains("block=513 cannot be; it is 512 or 4096"));
        assert!(text("mem:1M,namespaces=0").contains("namespaces=0"));
        assert!(text("mem:1M,mdts=12K").contains("mdts=12K"));
        for entries in ["1", "65537", "-2", "many"] {
            assert!(text(&format!("mem:1M,entries={entries}")).contains("it is 2 to 65536"), "{entries}");
        }
        assert!(text("mem:1M,queues=0").contains("queues=0 cannot be; it is 1 to 1024"));
        assert!(text("mem:1M,cache=none").contains("cache=none cannot be"));
        assert!(text("file:/a,cache=volatile").contains("only a memory drive"));
        assert!(text("mem:1M,colour=red").contains("unknown option 'colour=red'"));
        assert!(text("mem:1M,sgl=word").contains("sgl=word cannot be; it is none, dword or byte"));
        assert!(text("mem:1M,lacks=dsm+trim").contains("lacks=dsm+trim cannot be"));
        assert!(text("mem:1M,version=1.5").contains("1.0 to 1.4"));
        assert!(text("mem:1M,pci=144d").contains("vendor:device"));
        assert!(text("mem:1M,defect=rust").contains("defect=rust cannot be"));
        assert!(text("mem:1M,size=2M").contains("after mem:"));
        assert!(text("mem:é").contains("no size"), "any text is only text");
    }
}
