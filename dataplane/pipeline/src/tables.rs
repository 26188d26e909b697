//! Tables that the pipeline matches on, in the form that P4 gives them: an exact key, an entry.
//!
//! [`ExactTable`] is open addressing with linear probing over a fixed power-of-two array: a lookup
//! touches one cache line when the table is at most half full, and nothing allocates after construction.

use alloc::boxed::Box;

use gantry::channel::operation::{NAMESPACE_READ_ONLY, NamespaceAdd};

/// A key of an exact table: hashes itself to 64 well-mixed bits.
pub trait Key: Copy + PartialEq {
    /// The hash.
    fn hash(&self) -> u64;
}

/// Mixes a word so that its low bits depend on all of it (a multiply and a fold).
#[inline]
#[must_use]
pub fn mix(word: u64) -> u64 {
    let wide = u128::from(word ^ 0x9e37_79b9_7f4a_7c15) * u128::from(0xd6e8_feb8_6659_fd93_u64);
    (wide as u64) ^ (wide >> 64) as u64
}

impl Key for u32 {
    fn hash(&self) -> u64 {
        mix(u64::from(*self))
    }
}

/// Exact match, fixed capacity.
pub struct ExactTable<K, V> {
    slots: Box<[Option<(K, V)>]>,
    mask: usize,
    used: usize,
}

/// The table has no room for another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFull;

impl<K: Key, V: Copy> ExactTable<K, V> {
    /// Room for `capacity` entries.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let slots = (capacity.max(1) * 2).next_power_of_two();
        Self { slots: (0..slots).map(|_| None).collect(), mask: slots - 1, used: 0 }
    }

    /// Where the key's probe begins; what a burst prefetches.
    #[inline]
    #[must_use]
    pub fn bucket(&self, key: &K) -> &Option<(K, V)> {
        &self.slots[key.hash() as usize & self.mask]
    }

    /// The entry for a key.
    #[inline]
    #[must_use]
    pub fn lookup(&self, key: &K) -> Option<V> {
        let mut at = key.hash() as usize & self.mask;
        loop {
            match &self.slots[at] {
                None => return None,
                Some((k, v)) if k == key => return Some(*v),
                Some(_) => at = (at + 1) & self.mask,
            }
        }
    }

    /// Inserts or replaces.
    ///
    /// # Errors
    /// [`TableFull`] when the table is at its capacity.
    pub fn insert(&mut self, key: K, value: V) -> Result<(), TableFull> {
        let mut at = key.hash() as usize & self.mask;
        loop {
            match &self.slots[at] {
                Some((k, _)) if *k == key => break,
                Some(_) => at = (at + 1) & self.mask,
                None if self.used * 2 >= self.slots.len() => return Err(TableFull),
                None => {
                    self.used += 1;
                    break;
                }
            }
        }
        self.slots[at] = Some((key, value));
        Ok(())
    }

    /// Removes an entry and closes the gap it leaves in its probe run.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let mut at = key.hash() as usize & self.mask;
        let value = loop {
            match &self.slots[at] {
                None => return None,
                Some((k, v)) if k == key => break *v,
                Some(_) => at = (at + 1) & self.mask,
            }
        };
        let mut gap = at;
        loop {
            at = (at + 1) & self.mask;
            let Some((key, _)) = &self.slots[at] else { break };
            let home = key.hash() as usize & self.mask;
            // An entry may move back to the gap unless its home lies between gap and entry.
            if at.wrapping_sub(home) & self.mask >= at.wrapping_sub(gap) & self.mask {
                self.slots[gap] = self.slots[at];
                gap = at;
            }
        }
        self.slots[gap] = None;
        self.used -= 1;
        Some(value)
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }
}

/// Key of the local address table: where a frame came in and which address it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// Port number.
    pub port: u16,
    /// VLAN id, zero when untagged.
    pub vlan: u16,
    /// IP address, v4-mapped when IPv4.
    pub ip: [u8; 16],
}

impl Key for LocalAddress {
    fn hash(&self) -> u64 {
        let ip = u128::from_le_bytes(self.ip);
        mix(mix(ip as u64 ^ (u64::from(self.port) << 16 | u64::from(self.vlan))) ^ (ip >> 64) as u64)
    }
}

/// Entry of the QP table: where a QP lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QpPlace {
    /// The lcore that owns it.
    pub lcore: u16,
    /// Its slot there; meaningless on other lcores.
    pub slot: u32,
}

/// Key of the command table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceKey {
    /// Controller.
    pub cntlid: u16,
    /// NSID that the host used.
    pub nsid: u32,
}

impl Key for NamespaceKey {
    fn hash(&self) -> u64 {
        mix(u64::from(self.nsid) << 16 | u64::from(self.cntlid))
    }
}

/// Entry of the command table: blocks of a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceEntry {
    /// Drive number.
    pub drive: u16,
    /// The drive's own NSID.
    pub drive_nsid: u32,
    /// First block on the drive's namespace.
    pub lba_base: u64,
    /// Number of blocks.
    pub lba_count: u64,
    /// Writes are refused.
    pub read_only: bool,
}

impl NamespaceEntry {
    /// What an operation asks for.
    #[must_use]
    pub fn of(add: &NamespaceAdd) -> (NamespaceKey, Self) {
        let entry = Self {
            drive: add.drive.get(),
            drive_nsid: add.drive_nsid.get(),
            lba_base: add.lba_base.get(),
            lba_count: add.lba_count.get(),
            read_only: add.flags.get() & NAMESPACE_READ_ONLY != 0,
        };
        (NamespaceKey { cntlid: add.cntlid.get(), nsid: add.nsid.get() }, entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;

    /// The table against the standard map, through a long random history at full load.
    #[test]
    fn an_exact_table_agrees_with_a_map() {
        let mut table = ExactTable::new(64);
        let mut map = BTreeMap::new();
        let mut seed = 7_u64;
        for step in 0..200_000_u32 {
            seed = mix(seed.wrapping_add(u64::from(step)));
            let key = (seed >> 8) as u32 % 100;
            if seed & 3 == 0 {
                assert_eq!(table.remove(&key), map.remove(&key));
            } else if map.len() < 64 || map.contains_key(&key) {
                table.insert(key, step).unwrap();
                map.insert(key, step);
            } else {
                assert_eq!(table.insert(key, step), Err(TableFull));
            }
            assert_eq!(table.len(), map.len());
            let probe = (seed >> 40) as u32 % 100;
            assert_eq!(table.lookup(&probe), map.get(&probe).copied());
        }
        assert!(map.iter().all(|(k, v)| table.lookup(k) == Some(*v)));
    }
}
