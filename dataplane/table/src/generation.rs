//! The number of a state of all tables of one writer.

/// A state of all tables of a [`Writer`](crate::Writer): they count up from 1 by one a publication, in 64 bits, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub(crate) u64);

impl Generation {
    /// Its number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}
