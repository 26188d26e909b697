//! The "newc" archive that the kernel unpacks as its first root (kernel: Documentation/driver-api/early-userspace/
//! buffer-format.rst).

use std::collections::BTreeMap;

/// File type bits of `st_mode`.
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// What lies at a path.
enum Entry {
    Directory,
    File { mode: u32, bytes: Vec<u8> },
    Symlink(String),
}

/// An archive being put together. Folders on the way to an entry are made by themselves.
#[derive(Default)]
pub(super) struct Archive {
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// Adds an empty folder.
    pub(super) fn directory(&mut self, path: &str) {
        self.add(path, Entry::Directory);
    }

    /// Adds a file.
    pub(super) fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        self.add(path, Entry::File { mode, bytes });
    }

    /// Adds a symbolic link at `path`.
    pub(super) fn symlink(&mut self, path: &str, target: &str) {
        self.add(path, Entry::Symlink(target.to_owned()));
    }

    /// Whether something has been added at `path`.
    pub(super) fn has(&self, path: &str) -> bool {
        self.entries.contains_key(path.trim_start_matches('/'))
    }

    fn add(&mut self, path: &str, entry: Entry) {
        let path = path.trim_start_matches('/');
        for (end, _) in path.match_indices('/') {
            self.entries.entry(path[..end].to_owned()).or_insert(Entry::Directory);
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// The archive's bytes. A folder sorts before what is in it, as the kernel needs.
    pub(super) fn emit(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (index, (path, entry)) in (1..).zip(&self.entries) {
            match entry {
                Entry::Directory => member(&mut out, index, DIRECTORY | 0o755, path, &[]),
                Entry::File { mode, bytes } => member(&mut out, index, REGULAR | mode, path, bytes),
                Entry::Symlink(target) => member(&mut out, index, SYMLINK | 0o777, path, target.as_bytes()),
            }
        }
        member(&mut out, 0, 0, "TRAILER!!!", &[]);
        out
    }
}

fn member(out: &mut Vec<u8>, inode: u32, mode: u32, path: &str, bytes: &[u8]) {
    let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
    let size = u32::try_from(bytes.len()).expect("a member is below 4 GiB");
    let name_size = u32::try_from(path.len() + 1).expect("a path is short");
    // magic, then thirteen fields of eight hexadecimal digits: ino, mode, uid, gid, nlink, mtime, filesize,
    // devmajor, devminor, rdevmajor, rdevminor, namesize, check.
    out.extend_from_slice(b"070701");
    for field in [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0] {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(bytes);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_is_laid_out_as_the_kernel_reads_it() {
        let mut archive = Archive::default();
        archive.file("/bin/hi", 0o755, b"hello".to_vec());
        assert!(archive.has("bin/hi"));
        let bytes = archive.emit();
        let text = String::from_utf8(bytes).expect("text only, here");
        let header = |inode, mode, links, size, name| {
            let zero = "00000000";
            format!("070701{inode}{mode}{zero}{zero}{links}{zero}{size}{zero}{zero}{zero}{zero}{name}{zero}")
        };
        let expected = [
            header("00000001", "000041ed", "00000002", "00000000", "00000004"),
            "bin\0\0\0".into(),
            header("00000002", "000081ed", "00000001", "00000005", "00000007"),
            "bin/hi\0\0\0\0".into(),
            "hello\0\0\0".into(),
            header("00000000", "00000000", "00000001", "00000000", "0000000b"),
            "TRAILER!!!\0\0\0\0".into(),
        ]
        .concat();
        assert_eq!(text, expected);
    }
}
