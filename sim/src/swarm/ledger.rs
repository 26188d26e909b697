//! What every block of a namespace may hold: the oracle of data.
//!
//! A block is a register that many write. A read is right when it returns a write that no other write had certainly
//! replaced before the read began. A write whose fate is not known may take effect until it is *settled*: until its
//! command ended with an error, or its host has connected again (what must hold when things end). Once a read has
//! returned a write, it is certain. When a drive loses power, what was not durable becomes uncertain again.

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_pipeline::tables::mix;
use parking_lot::Mutex;

use super::watch::Watch;

/// Marks a block's first word, so that what no one wrote is told from an old version.
const MARK: u64 = 0x6a17 << 48;

/// Versions of one block that are kept before superseded ones are looked for, at least.
const KEPT: usize = 6;

/// A write, as a block remembers it.
#[derive(Clone, Copy, Debug)]
struct Write {
    id: u64,
    begun_ns: u64,
    /// After this it takes effect no more; `u64::MAX` while that is open.
    settled_ns: u64,
    /// By then it had certainly taken effect; `u64::MAX` when that is not known.
    certain_ns: u64,
    durable: bool,
    zeroes: bool,
    /// The drive has lost power since.
    shaken: bool,
}

/// What a write's command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It completed; whether it survives a loss of power by itself.
    Done {
        /// FUA, or a drive without a volatile cache.
        durable: bool,
    },
    /// It ended with an error: all, some or nothing of it is there, and nothing follows.
    Failed,
    /// Its association ended first: it may still take effect.
    Open,
}

/// All blocks of one namespace.
pub struct Ledger {
    space: u16,
    volatile: bool,
    /// Anything may be read: somebody forges writes.
    pub blind: bool,
    blocks: Vec<Vec<Write>>,
    /// When the drive last lost power.
    lost_ns: u64,
    /// When reads that have not ended began.
    reading: BTreeMap<u64, u32>,
    /// Who watches the medium, which must hold what is durable.
    pub(super) watch: Option<Arc<Mutex<Watch>>>,
}

impl Ledger {
    /// Namespace `space` of the world: so many blocks of zeroes, on a drive with or without a volatile cache.
    #[must_use]
    pub fn new(space: u16, blocks: u64, volatile: bool) -> Self {
        let zero =
            Write { id: 0, begun_ns: 0, settled_ns: 0, certain_ns: 0, durable: true, zeroes: true, shaken: false };
        let blocks = vec![vec![zero]; blocks as usize];
        Self { space, volatile, blind: false, lost_ns: 0, blocks, reading: BTreeMap::new(), watch: None }
    }

    /// Fills `block` with what write `id` puts at `lba`.
    pub fn fill(&self, lba: u64, id: u64, block: &mut [u8]) {
        pattern(self.space, lba, id, block);
    }

    /// Write `id` of `blocks` blocks is on its way.
    pub fn write_begins(&mut self, id: u64, slba: u64, blocks: u32, zeroes: bool, now_ns: u64) {
        let write = Write {
            id,
            begun_ns: now_ns,
            settled_ns: u64::MAX,
            certain_ns: u64::MAX,
            durable: false,
            zeroes,
            shaken: false,
        };
        for block in &mut self.blocks[slba as usize..][..blocks as usize] {
            block.push(write);
        }
    }

    /// Write `id` came to this.
    pub fn write_ends(&mut self, id: u64, slba: u64, blocks: u32, fate: Fate, now_ns: u64) {
        if let (Fate::Done { durable: true }, Some(watch)) = (fate, &self.watch) {
            watch.lock().must_be_durable(id, slba, blocks);
        }
        let quiet_ns = self.reading.first_key_value().map_or(now_ns, |(begun_ns, _)| *begun_ns);
        for block in &mut self.blocks[slba as usize..][..blocks as usize] {
            if let Some(write) = block.iter_mut().find(|write| write.id == id) {
                match fate {
                    Fate::Done { durable } => {
                        write.settled_ns = write.settled_ns.min(now_ns);
                        write.durable |= durable;
                        // It may have been executed before the power was lost, and lost with it.
                        if write.durable || !write.shaken {
                            write.certain_ns = write.certain_ns.min(now_ns);
                        }
                    }
                    Fate::Failed => write.settled_ns = write.settled_ns.min(now_ns),
                    Fate::Open => {}
                }
            }
            // So seldom that a block of which nothing can be forgotten costs no more than others.
            if block.len() > KEPT && block.len().is_power_of_two() {
                prune(block, quiet_ns, self.volatile);
            }
        }
    }

    /// A read begins. Tell [`Ledger::read_ends`].
    pub fn read_begins(&mut self, now_ns: u64) {
        *self.reading.entry(now_ns).or_default() += 1;
    }

    /// A read that began at `begun_ns` has ended, with or without data.
    pub fn read_ends(&mut self, begun_ns: u64) {
        if let Some(count) = self.reading.get_mut(&begun_ns) {
            *count -= 1;
            if *count == 0 {
                self.reading.remove(&begun_ns);
            }
        }
    }

    /// Whether a read may return `data`.
    ///
    /// # Errors
    /// What is wrong with the first block that is.
    pub fn check(&mut self, slba: u64, data: &[u8], size: usize, begun_ns: u64, now_ns: u64) -> Result<(), String> {
        if self.blind {
            return Ok(());
        }
        let mut expected = vec![0; size];
        for (lba, found) in (slba..).zip(data.chunks_exact(size)) {
            let (space, lost_ns) = (self.space, self.lost_ns);
            let block = &mut self.blocks[lba as usize];
            let id = if found.iter().all(|byte| *byte == 0) { 0 } else { id_of(found) };
            if id != 0 {
                pattern(space, lba, id, &mut expected);
                if found != expected {
                    return Err(format!("block {lba} of namespace {space} is no one's: {}", describe(found)));
                }
            }
            let is_it = |write: &Write| if id == 0 { write.zeroes } else { write.id == id && !write.zeroes };
            let may = |write: &&Write| is_it(write) && write.begun_ns <= now_ns && !is_replaced(block, write, begun_ns);
            let mut candidates = block.iter().filter(may).map(|write| write.id);
            let Some(first) = candidates.next() else {
                return Err(format!(
                    "block {lba} of namespace {space}: a read begun at {begun_ns} returned write {id}; known: {block:?}"
                ));
            };
            // A read that began before the power was lost may tell of what was lost.
            if candidates.next().is_none()
                && begun_ns >= lost_ns
                && let Some(write) = block.iter_mut().find(|write| write.id == first)
            {
                // What was over before power was lost, and is read after it, has survived it. What was under way may have been
                // executed only after it, into the cache.
                write.durable |= write.shaken && write.settled_ns <= lost_ns;
                write.certain_ns = write.certain_ns.min(now_ns);
                write.settled_ns = write.settled_ns.min(now_ns);
            }
        }
        Ok(())
    }

    /// A flush that began at `begun_ns` has completed: what had completed before it is durable.
    pub fn flushed(&mut self, begun_ns: u64) {
        if let Some(watch) = &self.watch {
            let of = |lba: u64, id: u64| self.blocks[lba as usize].iter().find(|write| write.id == id);
            watch.lock().must_be_flushed(|lba, id| of(lba, id).is_some_and(|write| write.certain_ns <= begun_ns));
        }
        for write in self.blocks.iter_mut().flatten() {
            write.durable |= write.certain_ns != u64::MAX && write.certain_ns <= begun_ns;
        }
    }

    /// The drive has lost power.
    pub fn power_lost(&mut self, now_ns: u64) {
        if !self.volatile {
            return;
        }
        self.lost_ns = now_ns;
        for write in self.blocks.iter_mut().flatten() {
            if !write.durable {
                write.certain_ns = u64::MAX;
                write.shaken = true;
            }
        }
    }
}

/// Whether another write has certainly replaced `write` before `begun_ns`.
fn is_replaced(block: &[Write], write: &Write, begun_ns: u64) -> bool {
    let end_ns = write.settled_ns.min(write.certain_ns);
    block.iter().any(|other| other.certain_ns < begun_ns && other.begun_ns > end_ns)
}

/// Forgets what no read can return any more, whatever happens to the drive.
fn prune(block: &mut Vec<Write>, quiet_ns: u64, volatile: bool) {
    // The latest to begin of those that last replaces whatever any of them does.
    let lasting = block.iter().filter(|write| (write.durable || !volatile) && write.certain_ns < quiet_ns);
    let latest_ns = lasting.map(|write| write.begun_ns).max().unwrap_or(0);
    block.retain(|write| write.settled_ns.min(write.certain_ns) >= latest_ns);
}

/// What write `id` of namespace `space` puts at `lba`.
fn pattern(space: u16, lba: u64, id: u64, block: &mut [u8]) {
    let start = mix(id << 20 ^ lba ^ u64::from(space) << 56);
    for (index, word) in block.chunks_exact_mut(8).enumerate() {
        let value = match index {
            0 => MARK | id,
            1 => u64::from(space) << 48 | lba,
            _ => start.wrapping_add((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        };
        word.copy_from_slice(&value.to_le_bytes());
    }
}

/// The write that a block says it is of; zero for none.
#[must_use]
pub fn id_of(block: &[u8]) -> u64 {
    let word = u64::from_le_bytes(block[..8].try_into().expect("a block is longer"));
    if word & 0xffff << 48 == MARK { word & !(0xffff << 48) } else { 0 }
}

/// The namespace and block that a block says it belongs to.
#[must_use]
pub fn place_of(block: &[u8]) -> (u16, u64) {
    let word = u64::from_le_bytes(block[8..16].try_into().expect("a block is longer"));
    ((word >> 48) as u16, word & !(0xffff << 48))
}

fn describe(block: &[u8]) -> String {
    let (space, lba) = place_of(block);
    match id_of(block) {
        0 => format!("{:02x?}", &block[..16]),
        id => format!("torn or misplaced, it says write {id} at block {lba} of namespace {space}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(ledger: &mut Ledger, id: u64, begun_ns: u64, now_ns: u64) -> bool {
        let mut block = [0; 512];
        if id != 0 {
            ledger.fill(0, id, &mut block);
        }
        ledger.check(0, &block, 512, begun_ns, now_ns).is_ok()
    }

    fn write(ledger: &mut Ledger, id: u64, begun_ns: u64, fate: Fate, ended_ns: u64) {
        ledger.write_begins(id, 0, 1, false, begun_ns);
        ledger.write_ends(id, 0, 1, fate, ended_ns);
    }

    const DONE: Fate = Fate::Done { durable: false };

    #[test]
    fn a_read_returns_the_newest_or_a_concurrent_write() {
        let mut ledger = Ledger::new(1, 1, false);
        assert!(read(&mut ledger, 0, 1, 2));
        write(&mut ledger, 1, 10, DONE, 20);
        assert!(!read(&mut ledger, 0, 21, 22), "zeroes were replaced");
        assert!(read(&mut ledger, 0, 15, 22), "the read began while the write was under way");
        ledger.write_begins(2, 0, 1, false, 30);
        assert!(read(&mut ledger, 1, 31, 32) && read(&mut ledger, 2, 33, 34), "either");
        assert!(!read(&mut ledger, 1, 35, 36), "it was seen already");
        assert!(!read(&mut ledger, 3, 35, 36), "nobody wrote that");
    }

    #[test]
    fn a_write_of_unknown_fate_lands_until_it_is_settled_and_not_after() {
        let mut ledger = Ledger::new(1, 1, false);
        ledger.write_begins(1, 0, 1, false, 10);
        ledger.write_ends(1, 0, 1, Fate::Open, 20);
        write(&mut ledger, 2, 30, DONE, 40);
        assert!(read(&mut ledger, 2, 50, 51) && read(&mut ledger, 1, 52, 53), "late, and not settled");
        let mut ledger = Ledger::new(1, 1, false);
        write(&mut ledger, 1, 10, Fate::Failed, 20);
        write(&mut ledger, 2, 30, DONE, 40);
        assert!(!read(&mut ledger, 1, 50, 51), "late");
        assert!(read(&mut ledger, 2, 52, 53));
    }

    #[test]
    fn what_was_under_way_when_power_was_lost_may_have_come_into_the_cache_after_it() {
        let mut ledger = Ledger::new(1, 1, true);
        write(&mut ledger, 1, 10, DONE, 20);
        ledger.flushed(25);
        ledger.write_begins(2, 0, 1, false, 30);
        ledger.power_lost(50);
        ledger.write_ends(2, 0, 1, DONE, 60);
        assert!(read(&mut ledger, 2, 70, 71));
        ledger.power_lost(80);
        assert!(read(&mut ledger, 1, 90, 91), "the cache is gone once more");
        assert!(!read(&mut ledger, 0, 92, 93));
    }

    #[test]
    fn power_takes_what_no_flush_has_kept() {
        let mut ledger = Ledger::new(1, 1, true);
        write(&mut ledger, 1, 10, DONE, 20);
        ledger.flushed(25);
        write(&mut ledger, 2, 30, DONE, 40);
        assert!(!read(&mut ledger, 1, 50, 51));
        ledger.power_lost(50);
        assert!(!read(&mut ledger, 0, 60, 61), "flushed");
        assert!(read(&mut ledger, 1, 60, 61) || read(&mut ledger, 2, 60, 61));
        let mut ledger = Ledger::new(1, 1, true);
        write(&mut ledger, 1, 10, Fate::Done { durable: true }, 20);
        ledger.power_lost(50);
        assert!(!read(&mut ledger, 0, 60, 61), "FUA");
        assert!(read(&mut ledger, 1, 60, 61));
    }

    #[test]
    fn what_was_torn_or_belongs_elsewhere_is_told() {
        let mut ledger = Ledger::new(1, 2, false);
        ledger.write_begins(1, 0, 2, false, 10);
        let mut block = [0; 512];
        ledger.fill(1, 1, &mut block);
        assert!(ledger.check(0, &block, 512, 11, 12).unwrap_err().contains("misplaced"), "block 1 at block 0");
        assert!(ledger.check(1, &block, 512, 11, 12).is_ok());
        block[511] ^= 1;
        assert!(ledger.check(1, &block, 512, 11, 12).unwrap_err().contains("torn"));
        pattern(2, 1, 1, &mut block);
        assert!(ledger.check(1, &block, 512, 11, 12).is_err(), "another namespace's");
    }

    #[test]
    fn versions_do_not_pile_up() {
        let mut ledger = Ledger::new(1, 1, false);
        for id in 1..1000 {
            write(&mut ledger, id, id * 10, DONE, id * 10 + 5);
        }
        assert!(ledger.blocks[0].len() <= 2 * KEPT);
        assert!(read(&mut ledger, 999, 20_000, 20_001) && !read(&mut ledger, 998, 20_000, 20_001));
    }
}
