//! The statistics segment as a file: read whole, checked, summed over lcores. Its layout is [`gantry::stats`].

use gantry::stats::{CounterName, MAGIC, Preamble, VERSION};
use zerocopy::FromBytes;

/// Counters in the segment's order, summed over lcores.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counters {
    /// The process that writes them.
    pub(crate) pid: u32,
    /// Name and sum.
    pub(crate) sums: Vec<(String, u64)>,
}

/// Why a file is no segment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SegmentError {
    /// It cannot be read.
    #[error("{0}; is gantry-dataplane running, and is this its --channel with `.stats` behind it?")]
    Io(#[from] std::io::Error),
    /// The magic word is missing.
    #[error("not a statistics segment, or not ready yet")]
    Magic,
    /// Another layout.
    #[error("layout version {0}, this program reads {VERSION}")]
    Version(u32),
    /// It ends before what its preamble promises.
    #[error("the segment is cut short")]
    Short,
}

pub(crate) fn parse(bytes: &[u8]) -> Result<Counters, SegmentError> {
    let (preamble, after) = Preamble::ref_from_prefix(bytes).map_err(|_| SegmentError::Short)?;
    if preamble.magic.get() != MAGIC {
        return Err(SegmentError::Magic);
    }
    if preamble.version.get() != VERSION {
        return Err(SegmentError::Version(preamble.version.get()));
    }
    let count = preamble.names.get() as usize;
    let (names, _) = <[CounterName]>::ref_from_prefix_with_elems(after, count).map_err(|_| SegmentError::Short)?;
    let rows = bytes.get(preamble.rows.get() as usize..).ok_or(SegmentError::Short)?;
    let stride = (preamble.stride.get() as usize).checked_mul(8).ok_or(SegmentError::Short)?;
    let mut sums = vec![0u64; count];
    for lcore in 0..preamble.lcores.get() as usize {
        let row = lcore.checked_mul(stride).and_then(|at| rows.get(at..)).ok_or(SegmentError::Short)?;
        let words = row.get(..count * 8).ok_or(SegmentError::Short)?;
        for (sum, word) in sums.iter_mut().zip(words.chunks_exact(8)) {
            *sum = sum.wrapping_add(u64::from_le_bytes(word.try_into().expect("eight bytes")));
        }
    }
    let sums = names.iter().zip(sums).map(|(name, sum)| (text(name), sum)).collect();
    Ok(Counters { pid: preamble.pid.get(), sums })
}

/// A name without its padding, fit for a terminal.
fn text(name: &CounterName) -> String {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    name[..end].escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::{FromZeros, IntoBytes};

    /// Two lcores, two counters, rows of 16 words that begin at byte 256.
    fn segment() -> Vec<u8> {
        let mut preamble = Preamble::new_zeroed();
        preamble.magic = MAGIC.into();
        preamble.version = VERSION.into();
        (preamble.lcores, preamble.names) = (2.into(), 2.into());
        (preamble.rows, preamble.stride, preamble.pid) = (256.into(), 16.into(), 77.into());
        let mut bytes = preamble.as_bytes().to_vec();
        for name in ["s1_parse.Malformed", "s2_classify.Punt"] {
            let mut field = [0; 64];
            field[..name.len()].copy_from_slice(name.as_bytes());
            bytes.extend_from_slice(&field);
        }
        bytes.resize(256 + 2 * 128, 0);
        for (at, value) in [(256, 1u64), (264, 10), (384, 2), (392, 20)] {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn counters_are_summed_over_lcores() {
        let counters = parse(&segment()).unwrap();
        let sums = vec![("s1_parse.Malformed".to_owned(), 3), ("s2_classify.Punt".to_owned(), 30)];
        assert_eq!(counters, Counters { pid: 77, sums });
    }

    #[test]
    fn a_segment_that_is_cut_short_or_foreign_is_refused() {
        let good = segment();
        for end in 0..good.len() - 128 + 16 {
            assert!(parse(&good[..end]).is_err(), "{end} bytes");
        }
        let mut bad = good.clone();
        bad[0] ^= 1;
        assert!(matches!(parse(&bad), Err(SegmentError::Magic)));
        let mut newer = good.clone();
        newer[8] = 9;
        assert!(matches!(parse(&newer), Err(SegmentError::Version(9))));
        for field in 12..32 {
            let mut wild = good.clone();
            wild[field] = 0xff;
            let _ = parse(&wild);
        }
    }
}
