//! Draws from a seed, for faults and lost power: a hash of (seed, purpose, number), so that what one purpose draws never
//! moves what another does. The hash is the output function of SplitMix64 (Steele, Lea, Flood: "Fast Splittable
//! Pseudorandom Number Generators", 2014).

/// What a draw is for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Jitter = 1,
    Tail,
    Busy,
    BusyStatus,
    ReadError,
    WriteFault,
    Torn,
    Survivors,
    Survival,
}

/// Draw `number` from `seed`: 64 bits.
pub(crate) fn draw(seed: u64, purpose: Purpose, number: u64) -> u64 {
    const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
    let stream = mix(seed.wrapping_add((purpose as u64).wrapping_mul(GAMMA)));
    mix(stream.wrapping_add(number.wrapping_add(1).wrapping_mul(GAMMA)))
}

/// Draw `number`, brought to 0..=`most`.
pub(crate) fn draw_to(most: u64, seed: u64, purpose: Purpose, number: u64) -> u64 {
    ((u128::from(draw(seed, purpose, number)) * (u128::from(most) + 1)) >> 64) as u64
}

/// Whether draw `number` is one of the `of_10_000`.
pub(crate) fn hits(of_10_000: u32, seed: u64, purpose: Purpose, number: u64) -> bool {
    draw_to(9_999, seed, purpose, number) < u64::from(of_10_000)
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published sequence of SplitMix64 from seed 1234567: GAMMA is added before each output.
    #[test]
    fn the_output_function_is_the_published_one() {
        let mut state = 1_234_567u64;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(state)
        };
        assert_eq!([next(), next(), next()], [6457827717110365317, 3203168211198807973, 9817491932198370423]);
    }

    #[test]
    fn draws_fill_their_range_and_no_more() {
        for most in [0, 1, 9, u64::MAX] {
            let mut seen = (u64::MAX, 0);
            for number in 0..1000 {
                let drawn = draw_to(most, 7, Purpose::Jitter, number);
                assert!(drawn <= most);
                seen = (seen.0.min(drawn), seen.1.max(drawn));
            }
            assert!(seen.0 <= most / 100 && seen.1 >= most - most / 100, "{most}: {seen:?}");
        }
    }

    #[test]
    fn chances_are_kept_and_purposes_are_apart() {
        let count = |rate, purpose| (0..100_000).filter(|&number| hits(rate, 3, purpose, number)).count();
        assert_eq!((count(0, Purpose::Tail), count(10_000, Purpose::Tail)), (0, 100_000));
        assert!((900..1100).contains(&count(100, Purpose::Tail)));
        let both = |n| hits(5_000, 3, Purpose::Tail, n) == hits(5_000, 3, Purpose::Busy, n);
        let same = (0..100_000).filter(|&number| both(number)).count();
        assert!((49_000..51_000).contains(&same), "{same}");
    }
}
