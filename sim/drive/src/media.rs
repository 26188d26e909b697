//! Where blocks are kept: the trait, and memory.

use std::io;
use std::ops::Range;

/// Bytes that a drive keeps. Offsets and lengths are within what it was made with. One that stands before another, to watch
/// it, passes every call on.
pub trait Media: Send {
    /// Reads at `offset`.
    ///
    /// # Errors
    /// The medium's; the drive answers Unrecovered Read Error.
    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Writes at `offset`.
    ///
    /// # Errors
    /// The medium's; the drive answers Write Fault, or Capacity Exceeded when there is no space.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes `length` bytes at `offset` read as zeroes; `deallocate` gives their space back where it can.
    ///
    /// # Errors
    /// As [`Media::write`].
    fn zero(&mut self, offset: u64, length: u64, deallocate: bool) -> io::Result<()>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// The medium's; the drive answers Internal Error.
    fn flush(&mut self) -> io::Result<()>;

    /// Makes what was written to `length` bytes at `offset` durable, and of the rest as much as it likes.
    ///
    /// # Errors
    /// As [`Media::flush`].
    fn flush_range(&mut self, offset: u64, length: u64) -> io::Result<()>;

    /// Whether writes need [`Media::flush`] to be durable: what VWC says.
    fn has_cache(&self) -> bool;

    /// Power is lost and comes back: of each block written and not durable, the seed says whether the write survives. A
    /// medium whose cache outlives the model, as the page cache does, keeps all.
    fn lose_power(&mut self, survives_seed: u64);
}

/// Bytes of a piece of [`MemoryMedia`].
const PIECE: u64 = 1 << 16;

/// Memory in pieces that exist once written to.
#[derive(Debug)]
pub struct MemoryMedia {
    pieces: Vec<Option<Box<[u8]>>>,
}

impl MemoryMedia {
    /// `bytes` of zeroes.
    #[must_use]
    pub fn new(bytes: u64) -> MemoryMedia {
        MemoryMedia { pieces: vec![None; bytes.div_ceil(PIECE) as usize] }
    }

    /// Whether the piece around `offset` was never written, or is zero again.
    pub(crate) fn is_hole(&self, offset: u64) -> bool {
        self.pieces[(offset / PIECE) as usize].is_none()
    }

    /// The first part of a span that is no hole, and lies in one piece.
    pub(crate) fn written(&self, span: Range<u64>) -> Option<Range<u64>> {
        if span.is_empty() {
            return None;
        }
        let pieces = span.start / PIECE..span.end.div_ceil(PIECE);
        let piece = pieces.into_iter().find(|&piece| self.pieces[piece as usize].is_some())?;
        Some(span.start.max(piece * PIECE)..span.end.min((piece + 1) * PIECE))
    }

    /// The piece, the offset in it and the length of each part of a span, with its place in the span.
    fn parts(offset: u64, length: u64) -> impl Iterator<Item = (usize, usize, usize, usize)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let position = offset + at;
            let within = position % PIECE;
            let part = (PIECE - within).min(length - at);
            let place = at as usize;
            at += part;
            (part > 0).then_some(((position / PIECE) as usize, within as usize, part as usize, place))
        })
    }
}

impl Media for MemoryMedia {
    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        for (piece, within, part, place) in Self::parts(offset, bytes.len() as u64) {
            let to = &mut bytes[place..place + part];
            match &self.pieces[piece] {
                Some(piece) => to.copy_from_slice(&piece[within..within + part]),
                None => to.fill(0),
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        for (piece, within, part, place) in Self::parts(offset, bytes.len() as u64) {
            let piece = self.pieces[piece].get_or_insert_with(|| vec![0; PIECE as usize].into_boxed_slice());
            piece[within..within + part].copy_from_slice(&bytes[place..place + part]);
        }
        Ok(())
    }

    fn zero(&mut self, offset: u64, length: u64, _deallocate: bool) -> io::Result<()> {
        for (piece, within, part, _) in Self::parts(offset, length) {
            let piece = &mut self.pieces[piece];
            if part == PIECE as usize {
                *piece = None;
            } else if let Some(piece) = piece {
                piece[within..within + part].fill(0);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn flush_range(&mut self, _offset: u64, _length: u64) -> io::Result<()> {
        Ok(())
    }

    fn has_cache(&self) -> bool {
        false
    }

    fn lose_power(&mut self, _survives_seed: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_cross_pieces_and_whole_pieces_are_given_back() {
        let mut media = MemoryMedia::new(5 * PIECE);
        let data: Vec<u8> = (0..3 * PIECE).map(|i| (i % 251) as u8).collect();
        media.write(1000, &data).unwrap();
        let mut back = vec![9; data.len() + 2];
        media.read(999, &mut back).unwrap();
        assert_eq!((back[0], &back[1..=data.len()], back[data.len() + 1]), (0, &data[..], 0));
        media.zero(PIECE - 1, PIECE + 2, true).unwrap();
        assert!(media.pieces[1].is_none() && media.pieces[0].is_some() && media.pieces[4].is_none());
        media.read(999, &mut back).unwrap();
        let (from, to) = ((PIECE - 1 - 999) as usize, (2 * PIECE + 1 - 999) as usize);
        assert!(back[from..to].iter().all(|&byte| byte == 0));
        assert_eq!(back[1..from], data[..from - 1]);
        assert_eq!(back[to..=data.len()], data[to - 1..]);
    }
}
