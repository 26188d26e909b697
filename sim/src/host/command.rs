//! What a user of the host model submits and gets back. NVMe Base 2.0 §3.3.3, NVM Command Set 1.0 §3.2.

use gantry_wire::nvme::{Cid, DsmRange, Nsid, Sqe, Status, nvm};
use zerocopy::IntoBytes;

/// Bytes of the range list that a host sends with Dataset Management, whatever the count.
const RANGE_LIST_LEN: usize = DsmRange::MAX * DsmRange::LEN;

/// An I/O.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Io {
    /// NVMe queue id, 1 to the number of I/O queues.
    pub queue: u16,
    /// What to do.
    pub kind: IoKind,
    /// Namespace.
    pub nsid: u32,
    /// First block.
    pub slba: u64,
    /// Number of blocks, 1 to 65536; ignored by Flush.
    pub blocks: u32,
    /// Data of a Write, with FUA or without, or a Compare: `blocks` blocks. Empty for all else.
    pub data: Vec<u8>,
    /// Comes back in [`Done::tag`].
    pub tag: u64,
}

/// What an [`Io`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IoKind {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Write with FUA: a success says that the data outlives a loss of power.
    WriteFua,
    /// Flush.
    Flush,
    /// Write Zeroes.
    WriteZeroes,
    /// Dataset Management: deallocates one range.
    Dsm,
    /// Compare.
    Compare,
}

impl IoKind {
    /// Every kind.
    pub const ALL: [IoKind; 7] = [
        IoKind::Read,
        IoKind::Write,
        IoKind::WriteFua,
        IoKind::Flush,
        IoKind::WriteZeroes,
        IoKind::Dsm,
        IoKind::Compare,
    ];

    /// Whether [`Io::data`] goes along.
    pub fn carries_data(self) -> bool {
        matches!(self, IoKind::Write | IoKind::WriteFua | IoKind::Compare)
    }
}

/// Any command, with the data that goes along. CID, PSDT and SGL are the host's to fill in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// NVMe queue id; zero is the admin queue.
    pub queue: u16,
    /// The command.
    pub sqe: Sqe,
    /// Its data.
    pub data: Data,
    /// Comes back in [`Done::tag`].
    pub tag: u64,
}

/// A command's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// None.
    None,
    /// For the controller: in the capsule when it fits there, else for it to be READ.
    ToController(Vec<u8>),
    /// From the controller: so many bytes.
    ToHost(u32),
}

/// A command that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// As submitted.
    pub tag: u64,
    /// NVMe queue id.
    pub queue: u16,
    /// The CID it had.
    pub cid: u16,
    /// How it ended; [`Status::ABORTED_BY_HOST`] when the association ended first.
    pub status: Status,
    /// Dwords 0 and 1 of the completion.
    pub result: u64,
    /// Data from the controller.
    pub data: Vec<u8>,
    /// From the capsule's hand-over to the transport until the response, in nanoseconds.
    pub latency_ns: u64,
}

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// The queue has all the commands outstanding that it may have.
    QueueFull,
    /// There is no such queue now.
    NotReady,
}

impl Io {
    /// The command, for a namespace of `block_size` bytes a block.
    pub(super) fn command(self, block_size: u32) -> Command {
        let (opcode, data) = match self.kind {
            IoKind::Read => (nvm::READ, Data::ToHost(self.blocks * block_size)),
            IoKind::Write | IoKind::WriteFua => (nvm::WRITE, Data::ToController(self.data)),
            IoKind::Flush => (nvm::FLUSH, Data::None),
            IoKind::WriteZeroes => (nvm::WRITE_ZEROES, Data::None),
            IoKind::Dsm => {
                let mut list = DsmRange::new(self.slba, self.blocks).as_bytes().to_vec();
                list.resize(RANGE_LIST_LEN, 0);
                (nvm::DATASET_MANAGEMENT, Data::ToController(list))
            }
            IoKind::Compare => (nvm::COMPARE, Data::ToController(self.data)),
        };
        let mut sqe = Sqe::new(opcode, Cid(0), Nsid(self.nsid));
        match self.kind {
            IoKind::Flush => {}
            // One range, zero-based, to be deallocated.
            IoKind::Dsm => sqe.cdw11 = Sqe::CDW11_AD.into(),
            IoKind::Read | IoKind::Write | IoKind::WriteFua | IoKind::WriteZeroes | IoKind::Compare => {
                sqe.set_slba(self.slba);
                sqe.set_blocks(self.blocks);
                sqe.set_fua(self.kind == IoKind::WriteFua);
            }
        }
        Command { queue: self.queue, sqe, data, tag: self.tag }
    }
}
