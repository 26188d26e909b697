//! Memory whose device addresses are physical addresses, for functions without an IOMMU: hugepages, which stay where they are,
//! put one behind the other as they lie in the machine (Linux Documentation/admin-guide/mm/pagemap.rst, hugetlbpage.rst).

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use gantry_dma::Region;
use parking_lot::Mutex;

use super::Error;

/// Bytes that one entry of pagemap is for.
const PAGE: usize = 4096;

/// Where there is physical memory of [`physical_memory`]'s: first address, bytes.
static LIVE: Mutex<Vec<(u64, usize)>> = Mutex::new(Vec::new());

/// Whether a device that nothing translates for reaches `region` at its device addresses.
pub(super) fn is_physical(region: &Region) -> bool {
    LIVE.lock().contains(&(region.iova(0), region.length()))
}

/// Hugepages, mapped in the order of their physical addresses. Given back when dropped.
struct Hugepages {
    base: NonNull<u8>,
    bytes: usize,
    entry: (u64, usize),
}

// SAFETY: an address and a length; what is there is reached by raw copies and atomics only.
unsafe impl Send for Hugepages {}
// SAFETY: as above.
unsafe impl Sync for Hugepages {}

impl Drop for Hugepages {
    fn drop(&mut self) {
        LIVE.lock().retain(|entry| *entry != self.entry);
        unmap(self.base, self.bytes);
    }
}

/// Zeroed memory of `length` bytes, contiguous in the machine: the region's device addresses are physical ones. It takes whole hugepages
/// of the kernel's default size, and for a moment all that are free. It cannot be handed to another process.
///
/// # Errors
/// [`Error::Hugepages`] when there are not as many, or not one behind the other; [`Error::Physical`] for a process that may not see
/// physical addresses; [`Error::System`].
pub fn physical_memory(length: usize) -> Result<Arc<Region>, Error> {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |name| number(&meminfo, name).unwrap_or(0);
    let (page, free) = (kib("Hugepagesize:") << 10, kib("HugePages_Free:"));
    let wanted = if page == 0 { usize::MAX } else { length.div_ceil(page) };
    let short = |free| Error::Hugepages { length, page, wanted, free };
    if length == 0 || wanted > free {
        return Err(short(free));
    }
    // SAFETY: a NUL-terminated name and flags; the result is checked.
    let file = unsafe { libc::memfd_create(c"gantry-physical".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_HUGETLB) };
    if file < 0 {
        return Err(failed("memfd_create")(io::Error::last_os_error()));
    }
    // SAFETY: a descriptor just opened, owned by nobody else.
    let file = unsafe { OwnedFd::from_raw_fd(file) };

    // Which pages come is the kernel's choice: first as many as are needed, then all, of which a run is kept.
    for count in [wanted, free] {
        let found = survey(&file, page, count).map_err(|error| match error {
            Survey::Short => short(free),
            Survey::Hidden => Error::Physical,
            Survey::Failed(operation, error) => failed(operation)(error),
        })?;
        let Some((first, offsets)) = run_of(found.clone(), page as u64, wanted) else { continue };
        for (_, offset) in found.iter().filter(|(_, offset)| !offsets.contains(offset)) {
            let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            // SAFETY: a plain call on a descriptor that is open. A page that is kept in vain is kept in vain.
            unsafe { libc::fallocate(file.as_raw_fd(), mode, *offset as libc::off_t, page as libc::off_t) };
        }
        let base = map_in_order(&file, page, &offsets).map_err(failed("mapping hugepages"))?;
        let entry = (first, length);
        let owner = Hugepages { base, bytes: page * wanted, entry };
        LIVE.lock().push(entry);
        // SAFETY: mapped for at least `length` bytes until its owner drops; no reference to it exists.
        let region = unsafe { Region::from_raw(base.as_ptr(), length, first, Box::new(owner)) };
        region.fill(0, length, 0);
        return Ok(region);
    }
    Err(short(free))
}

fn failed(operation: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::system("physical memory", operation, &error)
}

/// The number behind `name` in /proc/meminfo.
fn number(meminfo: &str, name: &str) -> Option<usize> {
    meminfo.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// Why the pages of a file are not known.
enum Survey {
    Short,
    Hidden,
    Failed(&'static str, io::Error),
}

/// Fills `file` with `count` pages: the physical address of each, and where it is in the file.
fn survey(file: &OwnedFd, page: usize, count: usize) -> Result<Vec<(u64, usize)>, Survey> {
    let bytes = page * count;
    // SAFETY: plain calls on a descriptor that is open.
    let filled = unsafe {
        libc::ftruncate(file.as_raw_fd(), bytes as libc::off_t) == 0
            && libc::fallocate(file.as_raw_fd(), 0, 0, bytes as libc::off_t) == 0
    };
    if !filled {
        let error = io::Error::last_os_error();
        let short = matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::ENOMEM));
        return Err(if short { Survey::Short } else { Survey::Failed("filling hugepages", error) });
    }
    let offsets: Vec<usize> = (0..count).map(|at| at * page).collect();
    let base = map_in_order(file, page, &offsets).map_err(|error| Survey::Failed("mapping hugepages", error))?;
    let told = (|| {
        let pagemap = File::open("/proc/self/pagemap").map_err(|_| Survey::Hidden)?;
        let mut found = Vec::with_capacity(count);
        for offset in offsets {
            // SAFETY: inside the mapping. An entry is there for a page that was touched.
            let at = unsafe { base.add(offset) };
            // SAFETY: as above; nobody else has the memory.
            unsafe { at.write_volatile(0) };
            let mut entry = [0; 8];
            let place = (at.addr().get() / PAGE * entry.len()) as u64;
            pagemap.read_exact_at(&mut entry, place).map_err(|_| Survey::Hidden)?;
            let frame = frame_of(u64::from_le_bytes(entry)).ok_or(Survey::Hidden)?;
            found.push((frame * PAGE as u64, offset));
        }
        Ok(found)
    })();
    unmap(base, bytes);
    told
}

/// The page frame number in an entry of pagemap: bits 54:0 of a page that is present (bit 63). 0 is told to those without
/// CAP_SYS_ADMIN.
fn frame_of(entry: u64) -> Option<u64> {
    let frame = entry & ((1 << 55) - 1);
    (entry >> 63 == 1 && frame != 0).then_some(frame)
}

/// `wanted` of these pages that lie one behind the other: the first's physical address, and where all are in their file.
fn run_of(mut pages: Vec<(u64, usize)>, page: u64, wanted: usize) -> Option<(u64, Vec<usize>)> {
    pages.sort_unstable();
    let run = pages.windows(wanted).find(|run| run[wanted - 1].0 - run[0].0 == page * (wanted as u64 - 1))?;
    Some((run[0].0, run.iter().map(|(_, offset)| *offset).collect()))
}

/// Maps the pages of `file` at `offsets`, one behind the other.
fn map_in_order(file: &OwnedFd, page: usize, offsets: &[usize]) -> io::Result<NonNull<u8>> {
    let (bytes, none) = (page * offsets.len(), libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
    // SAFETY: a new mapping at an address of the kernel's choice. A page more, so that there is an aligned place in it.
    let span = unsafe { libc::mmap(ptr::null_mut(), bytes + page, libc::PROT_NONE, none, -1, 0) };
    if span == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let lead = span.addr().next_multiple_of(page) - span.addr();
    // SAFETY: inside the span.
    let base = unsafe { span.cast::<u8>().add(lead) };
    let base = NonNull::new(base).expect("mmap gave null");
    // SAFETY: what is before and behind the place belongs to the span just mapped, and nobody uses it.
    unsafe {
        if lead > 0 {
            libc::munmap(span, lead);
        }
        libc::munmap(base.as_ptr().add(bytes).cast(), page - lead);
    }
    for (at, offset) in offsets.iter().enumerate() {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_FIXED);
        // SAFETY: inside the place.
        let place = unsafe { base.as_ptr().add(at * page) };
        // SAFETY: replaces a page of the place just mapped, which nobody uses yet.
        let mapped =
            unsafe { libc::mmap(place.cast(), page, protection, flags, file.as_raw_fd(), *offset as libc::off_t) };
        if mapped == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            unmap(base, bytes);
            return Err(error);
        }
    }
    // A child of a fork must not share a device's memory by accident. A refusal costs nothing but the hint.
    // SAFETY: the span was mapped just above.
    unsafe { libc::madvise(base.as_ptr().cast(), bytes, libc::MADV_DONTFORK) };
    Ok(base)
}

fn unmap(base: NonNull<u8>, bytes: usize) {
    // SAFETY: the mapping was made by `map_in_order` with this length, and no pointer to it outlives its owner.
    unsafe { libc::munmap(base.as_ptr().cast(), bytes) };
}

/// Memory that passes for physical in a test, for devices that are none.
#[cfg(test)]
pub(super) fn pretend(region: &Region) {
    LIVE.lock().push((region.iova(0), region.length()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_pages_is_found_in_any_order() {
        let page = 2 << 20;
        let pages = |addresses: &[u64]| addresses.iter().map(|at| at * page).zip((0..).step_by(10)).collect::<Vec<_>>();
        // As the kernel gives them: backwards, with a hole.
        let found = run_of(pages(&[9, 8, 7, 5, 4, 3, 2]), page, 3);
        assert_eq!(found, Some((2 * page, vec![60, 50, 40])));
        assert_eq!(run_of(pages(&[9, 8, 7, 5, 4, 3, 2]), page, 5), None);
        assert_eq!(run_of(pages(&[9]), page, 1), Some((9 * page, vec![0])));
        assert_eq!(run_of(pages(&[]), page, 1), None);
    }

    #[test]
    fn physical_addresses_that_are_hidden_are_none() {
        assert_eq!(frame_of(1 << 63 | 0x1234), Some(0x1234));
        // Without CAP_SYS_ADMIN; not present; with flags beside.
        assert_eq!(frame_of(1 << 63), None);
        assert_eq!(frame_of(0x1234), None);
        assert_eq!(frame_of(1 << 63 | 1 << 61 | 1 << 55 | 7), Some(7));
    }

    #[test]
    fn meminfo_is_read() {
        let text = "MemTotal: 1 kB\nHugePages_Free:       12\nHugepagesize:       2048 kB\n";
        assert_eq!((number(text, "HugePages_Free:"), number(text, "Hugepagesize:")), (Some(12), Some(2048)));
        assert_eq!(number(text, "HugePages_Rsvd:"), None);
    }

    #[test]
    fn more_than_there_is_is_refused_with_its_remedy() {
        let refused = physical_memory(1 << 50).unwrap_err().to_string();
        assert!(refused.contains("hugepages"), "{refused}");
    }
}
