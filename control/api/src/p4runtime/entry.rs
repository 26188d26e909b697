//! Entries as numbers: what messages become once they are checked, and what the data plane is told.

use std::sync::Arc;

use super::pipeline::ActionId;

/// What one field of a key is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Match {
    /// Anything: the field was left out.
    Any,
    /// Exactly this; of an exact or optional field.
    Value(u128),
    /// The first `length` bits, at least one; the rest of `value` is zeros.
    Prefix {
        /// The bits.
        value: u128,
        /// How many of them count.
        length: u8,
    },
    /// The bits under the mask, which is not zero; `value` has no others.
    Mask {
        /// The bits.
        value: u128,
        /// Which of them count.
        mask: u128,
    },
    /// Both bounds included; not the whole range of the field.
    Range {
        /// The least.
        low: u128,
        /// The greatest.
        high: u128,
    },
}

/// What tells a table's entries apart: priority, and a match for each field in P4Info's order. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<(i32, Box<[Match]>)>);

impl Key {
    /// Priority 0 is for tables without ternary, range and optional fields.
    #[must_use]
    pub fn new(priority: i32, matches: impl Into<Box<[Match]>>) -> Self {
        Self(Arc::new((priority, matches.into())))
    }

    /// Greater is more important.
    #[must_use]
    pub fn priority(&self) -> i32 {
        self.0.0
    }

    /// A match for each field.
    #[must_use]
    pub fn matches(&self) -> &[Match] {
        &self.0.1
    }
}

/// An action with its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ActionCall {
    /// Which.
    pub action: ActionId,
    /// Arguments in the order of P4Info's parameters.
    pub arguments: Box<[u128]>,
}

/// What a client has put to an entry for itself; the data plane keeps it with the entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Note {
    /// Bytes.
    pub metadata: Vec<u8>,
    /// The form before 1.3.
    pub controller_metadata: u64,
}

/// A meter's configuration: per second, and bursts, in the meter's unit (RFC 2698).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Committed information rate.
    pub cir: u64,
    /// Committed burst size.
    pub cburst: u64,
    /// Peak information rate.
    pub pir: u64,
    /// Peak burst size.
    pub pburst: u64,
    /// Excess burst size, of single-rate meters (RFC 2697).
    pub eburst: u64,
}

/// What a counter counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
}
