//! I/O commands: checked in full, then executed. NVM Command Set 1.0 §3, Base 2.0 §7.1 (Flush).

use super::transfer::locate;
use super::{Model, Part};
use crate::Defect;
use crate::faults::MediaFault;
use gantry_wire::nvme::feature::fid;
use gantry_wire::nvme::identify::oncs;
use gantry_wire::nvme::{DsmRange, Nsid, Sqe, Status, nvm};
use std::io;
use zerocopy::FromBytes;

impl Model {
    pub(super) fn nvm(&mut self, sqe: &Sqe) -> Status {
        self.nvm_checked(sqe).err().unwrap_or(Status::SUCCESS)
    }

    fn nvm_checked(&mut self, sqe: &Sqe) -> Result<(), Status> {
        let oncs = self.shape.traits.oncs;
        let known = match sqe.opcode {
            nvm::FLUSH | nvm::WRITE | nvm::READ => true,
            nvm::COMPARE => oncs & oncs::COMPARE != 0,
            nvm::WRITE_ZEROES => oncs & oncs::WRITE_ZEROES != 0,
            nvm::DATASET_MANAGEMENT => oncs & oncs::DSM != 0,
            _ => false,
        };
        if !known {
            return Err(Status::INVALID_OPCODE.with_dnr());
        }
        if sqe.opcode == nvm::FLUSH && sqe.nsid() == Nsid::ALL {
            return self.media.flush().map_err(|_| Status::INTERNAL_ERROR);
        }
        let part = self.part(sqe.nsid()).ok_or(Status::INVALID_NAMESPACE.with_dnr())?;
        match sqe.opcode {
            nvm::FLUSH => self.flush(part),
            nvm::DATASET_MANAGEMENT => self.dataset_management(sqe, part),
            opcode => {
                let blocks = u64::from(sqe.blocks());
                in_range(part, sqe.slba(), blocks)?;
                let at = part.first_byte + (sqe.slba() << self.shape.block_shift);
                if opcode == nvm::WRITE_ZEROES {
                    self.within_limit(blocks << self.shape.block_shift)?;
                    return self.write_zeroes(sqe, at, blocks << self.shape.block_shift);
                }
                let length = (blocks as usize) << self.shape.block_shift;
                if length > self.shape.mdts_bytes() {
                    return Err(Status::INVALID_FIELD.with_dnr());
                }
                match opcode {
                    nvm::READ | nvm::WRITE if self.shape.null => {
                        locate(&self.space, sqe, length, self.shape.traits.sgl, &mut self.spans)
                    }
                    nvm::READ => self.read(sqe, at, length),
                    nvm::COMPARE => self.compare(sqe, at, length),
                    _ => self.write(sqe, at, length),
                }
            }
        }
    }

    /// Whether a Write Zeroes may be so long: by WZSL, or as a make takes it that says more than it does.
    fn within_limit(&self, length: u64) -> Result<(), Status> {
        let traits = &self.shape.traits;
        let limited = traits.wzsl != 0 && length > 1 << (u32::from(traits.wzsl) + traits.page_shift());
        let short = traits.has(Defect::ShortWriteZeroes) && length > self.shape.mdts_bytes() as u64;
        if limited || short || traits.has(Defect::NoWriteZeroes) {
            return Err(Status::INVALID_FIELD.with_dnr());
        }
        Ok(())
    }

    fn read(&mut self, sqe: &Sqe, at: u64, length: usize) -> Result<(), Status> {
        // What is wrong with the command comes before what is wrong with the medium.
        locate(&self.space, sqe, length, self.shape.traits.sgl, &mut self.spans)?;
        self.read_fault(sqe)?;
        // NVM Command Set 1.0 §3.2.4: with FUA, what is read is durable first.
        if sqe.fua() && self.media.has_cache() {
            self.media.flush_range(at, length as u64).map_err(|_| Status::UNRECOVERED_READ_ERROR)?;
        }
        self.buffer.resize(length, 0);
        self.media.read(at, &mut self.buffer).map_err(|_| Status::UNRECOVERED_READ_ERROR)?;
        self.store_data(sqe)?;
        self.log.read(length);
        Ok(())
    }

    fn write(&mut self, sqe: &Sqe, at: u64, length: usize) -> Result<(), Status> {
        // All of it is here before any of it is written.
        self.fetch_data(sqe, length)?;
        let fault = self.write_fault(sqe);
        let written = fault.map_or(length, |blocks| (blocks as usize) << self.shape.block_shift);
        if written > 0 {
            self.media.write(at, &self.buffer[..written]).map_err(|why| write_status(&why))?;
        }
        if fault.is_some() {
            return Err(Status::WRITE_FAULT);
        }
        self.make_durable(sqe.fua(), at, length as u64)?;
        self.log.written(length);
        Ok(())
    }

    fn write_zeroes(&mut self, sqe: &Sqe, at: u64, length: u64) -> Result<(), Status> {
        let fault = self.write_fault(sqe);
        let zeroed = fault.map_or(length, |blocks| blocks << self.shape.block_shift);
        if zeroed > 0 {
            self.media.zero(at, zeroed, sqe.deac()).map_err(|why| write_status(&why))?;
        }
        if fault.is_some() {
            return Err(Status::WRITE_FAULT);
        }
        self.make_durable(sqe.fua(), at, length)
    }

    fn compare(&mut self, sqe: &Sqe, at: u64, length: usize) -> Result<(), Status> {
        self.fetch_data(sqe, length)?;
        self.read_fault(sqe)?;
        let mut kept = vec![0; length];
        self.media.read(at, &mut kept).map_err(|_| Status::UNRECOVERED_READ_ERROR)?;
        if kept == self.buffer { Ok(()) } else { Err(Status::COMPARE_FAILURE.with_dnr()) }
    }

    fn dataset_management(&mut self, sqe: &Sqe, part: Part) -> Result<(), Status> {
        let ranges = usize::from(sqe.dsm_ranges());
        self.fetch_data(sqe, ranges * DsmRange::LEN)?;
        let range = |i: usize, buffer: &[u8]| {
            DsmRange::read_from_bytes(&buffer[i * DsmRange::LEN..][..DsmRange::LEN]).expect("16 bytes")
        };
        let (traits, mut blocks) = (&self.shape.traits, 0);
        let over = |limit: u64, value: u64| limit != 0 && value > limit;
        for i in 0..ranges {
            let range = range(i, &self.buffer);
            in_range(part, range.slba.get(), u64::from(range.nlb.get()))?;
            blocks += u64::from(range.nlb.get());
            if over(traits.dmrsl.into(), range.nlb.get().into()) {
                return Err(Status::COMMAND_SIZE_LIMIT_EXCEEDED.with_dnr());
            }
        }
        if over(traits.dmrl.into(), ranges as u64) || over(traits.dmsl, blocks) {
            return Err(Status::COMMAND_SIZE_LIMIT_EXCEEDED.with_dnr());
        }
        if !sqe.dsm_deallocate() {
            return Ok(());
        }
        for i in 0..ranges {
            let range = range(i, &self.buffer);
            let at = part.first_byte + (range.slba.get() << self.shape.block_shift);
            let length = u64::from(range.nlb.get()) << self.shape.block_shift;
            self.media.zero(at, length, true).map_err(|why| write_status(&why))?;
        }
        // The ranges lie anywhere in the namespace.
        self.make_durable(false, part.first_byte, part.blocks << self.shape.block_shift)
    }

    /// Of this namespace: what others wrote to theirs need not become durable.
    fn flush(&mut self, part: Part) -> Result<(), Status> {
        let length = part.blocks << self.shape.block_shift;
        self.media.flush_range(part.first_byte, length).map_err(|_| Status::INTERNAL_ERROR)
    }

    /// After a write: with FUA, or with the write cache turned off, it is durable before it completes.
    fn make_durable(&mut self, fua: bool, at: u64, length: u64) -> Result<(), Status> {
        let cache_on = self.features.get(&fid::VOLATILE_WRITE_CACHE).is_none_or(|value| value & 1 == 1);
        if fua || self.media.has_cache() && !cache_on {
            return self.media.flush_range(at, length).map_err(|_| Status::WRITE_FAULT);
        }
        Ok(())
    }

    fn read_fault(&mut self, sqe: &Sqe) -> Result<(), Status> {
        self.media_fault(sqe, false).map_or(Ok(()), |_| Err(Status::UNRECOVERED_READ_ERROR))
    }

    /// Of a write that fails, how many of its first blocks are written all the same.
    fn write_fault(&mut self, sqe: &Sqe) -> Option<u64> {
        self.media_fault(sqe, true).map(|fault| match fault {
            MediaFault::Write(blocks) => blocks,
            MediaFault::Read => unreachable!("a write does not fail as a read"),
        })
    }

    fn media_fault(&mut self, sqe: &Sqe, write: bool) -> Option<MediaFault> {
        let number = self.reached_media;
        self.reached_media += 1;
        self.faults.lock().media_fault(number, sqe.nsid(), sqe.slba(), u64::from(sqe.blocks()), write)
    }
}

/// Whether the namespace has these blocks.
fn in_range(part: Part, slba: u64, blocks: u64) -> Result<(), Status> {
    match slba.checked_add(blocks) {
        Some(end) if end <= part.blocks => Ok(()),
        _ => Err(Status::LBA_OUT_OF_RANGE.with_dnr()),
    }
}

fn write_status(why: &io::Error) -> Status {
    match why.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Status::CAPACITY_EXCEEDED,
        _ => Status::WRITE_FAULT,
    }
}
