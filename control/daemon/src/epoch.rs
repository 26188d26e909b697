//! The session's epoch: grows with every start, so that the data plane tells a newer control from an older one.
//!
//! It is the wall clock in nanoseconds, or one more than the last epoch when the clock was set back. The last one is kept in
//! a file beside the channel's socket, which lives as long as the data plane's epoch does: until the machine starts anew.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tracing::warn;

/// The epoch of this start. Without the file the clock alone decides, which is noticed and nothing worse.
pub(crate) fn next(channel: &Path) -> u64 {
    let clock_ns = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64);
    let file = file(channel);
    let last: u64 = match std::fs::read_to_string(&file) {
        Ok(text) => text.trim().parse().unwrap_or_else(|_| {
            warn!("{}: no epoch, and not believed", file.display());
            0
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => {
            warn!("{}: {error}", file.display());
            0
        }
    };
    let epoch = clock_ns.max(last.saturating_add(1));
    if let Err(error) = keep(&file, epoch) {
        warn!(
            "{}: {error}; a clock that is set back could make the next start look older than this one",
            file.display()
        );
    }
    epoch
}

fn file(channel: &Path) -> PathBuf {
    let mut name = channel.as_os_str().to_owned();
    name.push(".epoch");
    name.into()
}

/// Whole or not at all: a start that is killed in the middle leaves the last epoch.
fn keep(file: &Path, epoch: u64) -> io::Result<()> {
    let mut new = file.as_os_str().to_owned();
    new.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(new);
    std::fs::write(&new, format!("{epoch}\n"))?;
    std::fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_grow_also_when_the_clock_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let channel = folder.path().join("channel");
        let first = next(&channel);
        assert!(first > 1_700_000_000_000_000_000, "nanoseconds since 1970");
        // A start in the far future, after which the clock was set right.
        let ahead = u64::MAX / 2;
        std::fs::write(file(&channel), format!("{ahead}\n")).unwrap();
        assert_eq!((next(&channel), next(&channel)), (ahead + 1, ahead + 2));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn without_a_usable_file_the_clock_decides() {
        let folder = tempfile::tempdir().unwrap();
        let channel = folder.path().join("channel");
        std::fs::write(file(&channel), "a fairy tale").unwrap();
        let first = next(&channel);
        assert!(first > 1_700_000_000_000_000_000);
        let nowhere = folder.path().join("nowhere/channel");
        assert!(next(&nowhere) >= first);
    }
}
