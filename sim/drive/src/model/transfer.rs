//! Where a command's data lies in the host's memory, and moving it there. NVMe Base 2.0 §4.1.

use super::Model;
use crate::SglSupport;
use gantry_dma::AddressSpace;
use gantry_wire::nvme::prp_sgl::PAGE;
use gantry_wire::nvme::sqe::Psdt;
use gantry_wire::nvme::{Sgl, Sqe, Status};

/// A piece of the host's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) iova: u64,
    pub(super) length: usize,
}

/// Descriptors that one command may have.
const DESCRIPTORS_MAX: usize = 4096;

/// Finds the `length` bytes of `sqe`'s data: fills `spans`.
pub(super) fn locate(
    space: &AddressSpace,
    sqe: &Sqe,
    length: usize,
    sgls: SglSupport,
    spans: &mut Vec<Span>,
) -> Result<(), Status> {
    spans.clear();
    match sqe.psdt() {
        Psdt::Prp => prp(space, sqe.prps(), length, spans),
        Psdt::Sgl | Psdt::SglMetadataSgl if sgls != SglSupport::None => {
            sgl(space, sqe, length, spans)?;
            let odd = |span: &Span| span.iova & 3 != 0 || span.length & 3 != 0;
            if sgls == SglSupport::Dword && spans.iter().any(odd) {
                return Err(Status::SGL_GRANULARITY_INVALID.with_dnr());
            }
            Ok(())
        }
        Psdt::Sgl | Psdt::SglMetadataSgl | Psdt::Reserved => Err(Status::INVALID_FIELD.with_dnr()),
    }
}

/// §4.1.1.
fn prp(space: &AddressSpace, (prp1, prp2): (u64, u64), length: usize, spans: &mut Vec<Span>) -> Result<(), Status> {
    let offset_invalid = Err(Status::PRP_OFFSET_INVALID.with_dnr());
    if prp1 & 3 != 0 {
        return offset_invalid;
    }
    let first = length.min(PAGE - (prp1 as usize & (PAGE - 1)));
    spans.push(Span { iova: prp1, length: first });
    let mut left = length - first;
    if left == 0 {
        return Ok(());
    }
    if left <= PAGE {
        if prp2 as usize & (PAGE - 1) != 0 {
            return offset_invalid;
        }
        spans.push(Span { iova: prp2, length: left });
        return Ok(());
    }
    if prp2 & 7 != 0 {
        return offset_invalid;
    }
    let mut list = prp2;
    let mut entries = [0; PAGE];
    while left > 0 {
        // To the end of this page of the list, or as far as it is needed.
        let room = (PAGE - (list as usize & (PAGE - 1))) / 8;
        let wanted = left.div_ceil(PAGE).min(room);
        let entries = &mut entries[..wanted * 8];
        space.read(list, entries).map_err(|_| Status::DATA_TRANSFER_ERROR)?;
        for (i, entry) in entries.chunks_exact(8).enumerate() {
            let entry = u64::from_le_bytes(entry.try_into().expect("8 bytes"));
            if entry as usize & (PAGE - 1) != 0 {
                return offset_invalid;
            }
            if i + 1 == room && left > PAGE {
                list = entry;
                break;
            }
            let part = left.min(PAGE);
            spans.push(Span { iova: entry, length: part });
            left -= part;
        }
    }
    Ok(())
}

/// §4.1.2, with what SGLS claims: no bit buckets, no keys, no offsets, and exactly the command's length.
fn sgl(space: &AddressSpace, sqe: &Sqe, length: usize, spans: &mut Vec<Span>) -> Result<(), Status> {
    let mut left = length as u64;
    let mut seen = 0;
    let mut data = |sgl: Option<Sgl>| match sgl {
        Some(Sgl::DataBlock { address, length }) if u64::from(length) <= left => {
            left -= u64::from(length);
            if length > 0 {
                spans.push(Span { iova: address, length: length as usize });
            }
            Ok(None)
        }
        Some(Sgl::DataBlock { .. }) => Err(Status::SGL_LENGTH_INVALID.with_dnr()),
        Some(Sgl::Segment { address, length }) => Ok(Some((address, length, false))),
        Some(Sgl::LastSegment { address, length }) => Ok(Some((address, length, true))),
        _ => Err(Status::SGL_TYPE_INVALID.with_dnr()),
    };
    let mut segment = data(sqe.sgl())?;
    while let Some((address, bytes, last)) = segment.take() {
        let count = bytes as usize / Sgl::LEN;
        if count == 0 || !(bytes as usize).is_multiple_of(Sgl::LEN) {
            return Err(Status::INVALID_SGL_SEGMENT.with_dnr());
        }
        seen += count;
        if seen > DESCRIPTORS_MAX {
            return Err(Status::INVALID_SGL_COUNT.with_dnr());
        }
        for i in 0..count {
            let mut bytes = [0; Sgl::LEN];
            let at = address.wrapping_add((i * Sgl::LEN) as u64);
            space.read(at, &mut bytes).map_err(|_| Status::DATA_TRANSFER_ERROR)?;
            segment = data(Sgl::parse(&bytes))?;
            // A segment's last descriptor alone may lead on, and none of the last segment's.
            if segment.is_some() && (last || i + 1 < count) {
                return Err(Status::INVALID_SGL_SEGMENT.with_dnr());
            }
        }
        if !last && segment.is_none() {
            return Err(Status::INVALID_SGL_SEGMENT.with_dnr());
        }
    }
    if left != 0 { Err(Status::SGL_LENGTH_INVALID.with_dnr()) } else { Ok(()) }
}

impl Model {
    /// Reads `length` bytes of the command's data into the buffer.
    pub(super) fn fetch_data(&mut self, sqe: &Sqe, length: usize) -> Result<(), Status> {
        locate(&self.space, sqe, length, self.shape.traits.sgl, &mut self.spans)?;
        self.buffer.resize(length, 0);
        let mut at = 0;
        for span in &self.spans {
            let part = &mut self.buffer[at..at + span.length];
            self.space.read(span.iova, part).map_err(|_| Status::DATA_TRANSFER_ERROR)?;
            at += span.length;
        }
        Ok(())
    }

    /// Writes the buffer to where the command's data lies.
    pub(super) fn store_data(&mut self, sqe: &Sqe) -> Result<(), Status> {
        locate(&self.space, sqe, self.buffer.len(), self.shape.traits.sgl, &mut self.spans)?;
        let mut at = 0;
        for span in &self.spans {
            let part = &self.buffer[at..at + span.length];
            self.space.write(span.iova, part).map_err(|_| Status::DATA_TRANSFER_ERROR)?;
            at += span.length;
        }
        Ok(())
    }

    /// Answers an admin command with `data`, cut to what it asked for.
    pub(super) fn answer_data(&mut self, sqe: &Sqe, data: &[u8]) -> Status {
        self.buffer.clear();
        self.buffer.extend_from_slice(data);
        self.store_data(sqe).err().unwrap_or(Status::SUCCESS)
    }
}
