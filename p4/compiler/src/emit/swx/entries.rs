//! Entries as bytes: keys, masks, priorities and arguments as SWX's tables want them. A range becomes the prefixes that make it up.

use super::{Pipeline, Table};
use crate::ir::{ActionId, Entry, Match, Program, TableId, Type};

/// The least important that DPDK's classifier takes; P4Runtime's priorities from here on are all alike.
const PRIORITY_MAX: u32 = (1 << 28) - 2;

/// Where a part of a key lies.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Which of the table's keys it is of.
    pub(super) key: usize,
    /// Bytes before it.
    pub(super) offset: usize,
    /// Its length.
    pub(super) bytes: usize,
    /// The upper half of a key of more than 64 bits.
    pub(super) upper: bool,
    /// In a header; in the metadata numbers lie as the processor has them.
    pub(super) network_order: bool,
}

/// What a table compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupKey {
    /// The bytes wanted.
    pub key: Vec<u8>,
    /// The bits that count; an exact table has no use for it.
    pub mask: Option<Vec<u8>>,
    /// 0 wins over 1.
    pub priority: u32,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryBytes {
    /// The keys that it takes: several where a range is not one prefix.
    pub keys: Vec<LookupKey>,
    /// Its action's name.
    pub action: String,
    /// The action's arguments.
    pub arguments: Vec<u8>,
}

impl Pipeline {
    /// A table by the program's.
    #[must_use]
    pub fn table(&self, id: TableId) -> Option<&Table> {
        self.tables.iter().find(|table| table.id == id)
    }

    /// An entry of a table. None if the table or action is not lowered.
    #[must_use]
    pub fn entry(&self, program: &Program, table: TableId, entry: &Entry) -> Option<EntryBytes> {
        let lowered = self.table(table)?;
        Some(EntryBytes {
            keys: lowered.lookup_keys(program, entry),
            action: self.actions.iter().find(|action| action.id == entry.action)?.name.clone(),
            arguments: self.arguments(program, entry.action, &entry.arguments)?,
        })
    }

    /// An action's arguments as they lie in an entry.
    #[must_use]
    pub fn arguments(&self, program: &Program, action: ActionId, values: &[u128]) -> Option<Vec<u8>> {
        let Some(of) = &self.actions.iter().find(|of| of.id == action)?.arguments else { return Some(Vec::new()) };
        let fields = &self.structs.iter().find(|each| each.name == *of)?.fields;
        let (mut bytes, mut fields) = (Vec::new(), fields.iter());
        for (var, value) in program.actions[action.index()].parameters.iter().zip(values) {
            let bits = program.vars[var.index()].ty.bits();
            if bits > 64 {
                put(&mut bytes, value >> 64, fields.next()?.1);
            }
            put(&mut bytes, u128::from(*value as u64), fields.next()?.1);
        }
        Some(bytes)
    }
}

/// Arguments lie as the processor has them.
fn put(bytes: &mut Vec<u8>, value: u128, bits: u32) {
    bytes.extend(in_order(value, bits as usize / 8, false));
}

fn in_order(value: u128, bytes: usize, network_order: bool) -> Vec<u8> {
    let all = value.to_be_bytes();
    let mut own = all[16 - bytes..].to_vec();
    if !network_order && cfg!(target_endian = "little") {
        own.reverse();
    }
    own
}

impl Table {
    fn lookup_keys(&self, program: &Program, entry: &Entry) -> Vec<LookupKey> {
        let declared = &program.tables[self.id.index()];
        let mut combined: Vec<Vec<(u128, u128)>> = vec![Vec::new()];
        for (wanted, key) in entry.matches.iter().zip(&declared.keys) {
            let choices = masks(*wanted, key.expr.ty);
            combined = combined
                .iter()
                .flat_map(|before| choices.iter().map(|choice| [before.as_slice(), &[*choice]].concat()))
                .collect();
        }
        let length = self.layout.iter().map(|part| part.offset + part.bytes).max().unwrap_or(0);
        // More important is greater in P4Runtime, and less in SWX.
        let priority = PRIORITY_MAX.saturating_sub(entry.priority.unsigned_abs());
        let key = |values: Vec<(u128, u128)>| {
            let (mut key, mut mask) = (vec![0; length], vec![0; length]);
            for part in &self.layout {
                let (value, counts) = values[part.key];
                let half = |whole: u128| if part.upper { whole >> 64 } else { whole & low_bits(part.bytes) };
                let place = part.offset..part.offset + part.bytes;
                key[place.clone()].copy_from_slice(&in_order(half(value), part.bytes, part.network_order));
                mask[place].copy_from_slice(&in_order(half(counts), part.bytes, part.network_order));
            }
            LookupKey { key, mask: (!self.exact).then_some(mask), priority }
        };
        combined.into_iter().map(key).collect()
    }
}

fn low_bits(bytes: usize) -> u128 {
    Type::Bits(bytes as u8 * 8).mask()
}

/// The values and masks that a match is made of. Bits above the key's type are zero in every packet, and do not count.
fn masks(wanted: Match, ty: Type) -> Vec<(u128, u128)> {
    let all = ty.mask();
    match wanted {
        Match::Any => vec![(0, 0)],
        Match::Value(value) => vec![(value, all)],
        Match::Mask { value, mask } => vec![(value & mask, mask)],
        Match::Prefix { value, length } => {
            let mask = all & !all.checked_shr(length.into()).unwrap_or(0);
            vec![(value & mask, mask)]
        }
        Match::Range { low, high } => prefixes(low, high, ty),
    }
}

/// The prefixes that make up a range: from its low end the largest aligned block that fits, again and again.
fn prefixes(low: u128, high: u128, ty: Type) -> Vec<(u128, u128)> {
    let (mut at, mut found) = (low, Vec::new());
    loop {
        let mut block = 0_u32;
        while block < u32::from(ty.bits())
            && at & Type::Bits(block as u8 + 1).mask() == 0
            && at | Type::Bits(block as u8 + 1).mask() <= high
        {
            block += 1;
        }
        let below = if block == 0 { 0 } else { Type::Bits(block as u8).mask() };
        found.push((at, ty.mask() & !below));
        if at | below >= high {
            return found;
        }
        at = (at | below) + 1;
    }
}

impl Pipeline {
    /// Changes one mask of the program: the `at`-th instruction that has one loses its lowest bit. None if there are not as many.
    /// For tests, which have to show that they would notice.
    #[must_use]
    pub fn with_a_mistake(&self, at: usize) -> Option<Self> {
        let mut wrong = self.clone();
        let masks = wrong.instructions.iter_mut().filter(|line| line.contains("and m.tmp_"));
        let line = masks.into_iter().nth(at)?;
        let (before, number) = line.rsplit_once("0x")?;
        let mask = u64::from_str_radix(number, 16).ok()?;
        *line = format!("{before}{:#x}", mask & mask.wrapping_sub(1));
        Some(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_its_prefixes() {
        for (low, high) in [(0, 255), (0, 0), (255, 255), (1, 254), (5, 9), (128, 255), (0, 127), (7, 8)] {
            let parts = prefixes(low, high, Type::Bits(8));
            for value in 0..=255 {
                let hits = parts.iter().filter(|(wanted, mask)| value & mask == *wanted).count();
                assert_eq!(hits, usize::from((low..=high).contains(&value)), "{value} in {low}..{high}: {parts:?}");
            }
        }
        assert_eq!(prefixes(0, u128::MAX, Type::Bits(128)), [(0, 0)]);
        assert_eq!(prefixes(0, u64::MAX.into(), Type::Bits(64)), [(0, 0)]);
    }
}
