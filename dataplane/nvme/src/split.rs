//! One range of blocks as the pieces that a drive takes: no longer than its limit (MDTS or NLB's 16 bits),
//! and not across its optimal boundary. NVMe Base 2.0 §5.17.2.1 (MDTS), NVM Command Set 1.0 (NOIOB).

/// Pieces (SLBA, blocks) of `blocks` from `slba`. `limit_blocks` is as
/// [`Inventory::blocks_max`](crate::Inventory::blocks_max) has it; `boundary_blocks` 0 is none.
///
/// # Panics
/// When `limit_blocks` is 0 or above 65536, or the range runs past the end of 64 bits.
#[must_use]
pub fn pieces(slba: u64, blocks: u64, limit_blocks: u32, boundary_blocks: u16) -> Pieces {
    assert!((1..=1 << 16).contains(&limit_blocks), "a limit of {limit_blocks} blocks");
    let end = slba.checked_add(blocks).expect("a range within 64 bits");
    Pieces { slba, end, limit_blocks, boundary_blocks }
}

/// The iterator of [`pieces`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pieces {
    slba: u64,
    end: u64,
    limit_blocks: u32,
    boundary_blocks: u16,
}

impl Iterator for Pieces {
    type Item = (u64, u32);

    fn next(&mut self) -> Option<(u64, u32)> {
        let left = self.end - self.slba;
        if left == 0 {
            return None;
        }
        let mut blocks = left.min(u64::from(self.limit_blocks));
        if self.boundary_blocks != 0 {
            let boundary = u64::from(self.boundary_blocks);
            blocks = blocks.min(boundary - self.slba % boundary);
        }
        let piece = (self.slba, blocks as u32);
        self.slba += blocks;
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn at_the_limit_and_one_past_it() {
        let all = |slba, blocks| pieces(slba, blocks, 256, 0).collect::<Vec<_>>();
        assert_eq!(all(0, 0), []);
        assert_eq!(all(7, 256), [(7, 256)]);
        assert_eq!(all(7, 257), [(7, 256), (263, 1)]);
        assert_eq!(pieces(6, 10, 256, 8).collect::<Vec<_>>(), [(6, 2), (8, 8)]);
    }

    proptest! {
        #[test]
        fn pieces_cover_the_range_in_order(slba in 0..u64::MAX / 2, blocks in 0u64..10_000, limit in 1u32..=65536, boundary in 0u16..300) {
            let mut at = slba;
            for (piece, count) in pieces(slba, blocks, limit, boundary) {
                prop_assert_eq!(piece, at);
                prop_assert!(count >= 1 && count <= limit);
                if boundary != 0 {
                    let boundary = u64::from(boundary);
                    prop_assert_eq!(piece / boundary, (piece + u64::from(count) - 1) / boundary);
                }
                at += u64::from(count);
            }
            prop_assert_eq!(at, slba + blocks);
        }
    }
}
