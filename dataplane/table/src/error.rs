//! Why a change cannot be staged.

/// Why a change cannot be staged. Nothing has changed then; what was staged before stays staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// Insertion of what is there.
    #[error("there is an entry with this key")]
    Exists,
    /// Modification or removal of what is not there.
    #[error("there is no entry with this key")]
    Missing,
    /// The table holds as many entries as it was built for.
    #[error("the table is full")]
    TableFull,
    /// There is room for the entry, but not beside all versions that lcores may still see or that this transaction ends: publish
    /// or roll back, [`reclaim`](crate::Writer::reclaim) when lcores have moved on, and try again.
    #[error("old versions still take the room")]
    NoRoomYet,
    /// An lcore is still in a generation so old that its number would soon be ambiguous: see
    /// [`Writer`](crate::Writer) on the window.
    #[error("an lcore is too many generations behind")]
    ReadersBehind,
    /// A range whose low end is above its high end, or a prefix longer than its key.
    #[error("the match is not well formed")]
    BadMatch,
}
