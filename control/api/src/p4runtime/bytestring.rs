//! Numbers as bytes: big-endian, any leading zeros taken, none given (P4Runtime 1.5.0 §8.3).

use super::status::{Refusal, out_of_range};

/// The number, if it fits `bits`.
pub(super) fn decode(bytes: &[u8], bits: u32, what: &str) -> Result<u128, Refusal> {
    if bytes.is_empty() {
        return Err(out_of_range(format!("{what}: an empty byte string is no number")));
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let digits = &bytes[zeros..];
    let fits = digits.len() <= 16;
    let value = if fits { digits.iter().fold(0, |value, byte| value << 8 | u128::from(*byte)) } else { 0 };
    if !fits || value > ones(bits) {
        return Err(out_of_range(format!("{what}: does not fit {bits} bits")));
    }
    Ok(value)
}

/// The shortest bytes that hold it.
pub(super) fn encode(value: u128) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let zeros = (value.leading_zeros() / 8).min(15) as usize;
    bytes[zeros..].to_vec()
}

/// All ones; `bits` is 1 to 128.
pub(super) fn ones(bits: u32) -> u128 {
    u128::MAX >> (128 - bits)
}

#[cfg(test)]
mod tests {
    use super::super::Code;
    use super::*;

    #[test]
    fn the_specification_s_examples() {
        for (bits, bytes, value) in [
            (8, &[0x63][..], 0x63),
            (16, &[0, 0x63], 0x63),
            (16, &[0x30, 0x64], 0x3064),
            (16, &[0, 0x30, 0x64], 0x3064),
            (12, &[0, 0, 0x63], 0x63),
            (128, &[0xff; 16], u128::MAX),
        ] {
            assert_eq!(decode(bytes, bits, "x"), Ok(value));
        }
        for (bits, bytes) in [
            (8, &[1, 0x63][..]),
            (8, &[]),
            (16, &[1, 0, 0x63]),
            (12, &[0x10, 0x63]),
            (12, &[1, 0, 0x63]),
            (12, &[0, 0x40, 0x63]),
            (128, &[1; 17]),
        ] {
            assert_eq!(decode(bytes, bits, "x").map_err(|refusal| refusal.code), Err(Code::OutOfRange), "{bytes:?}");
        }
    }

    #[test]
    fn the_shortest_comes_out() {
        assert_eq!(encode(0), [0]);
        assert_eq!(encode(0x63), [0x63]);
        assert_eq!(encode(0x100), [1, 0]);
        assert_eq!(encode(u128::MAX), [0xff; 16]);
        for shift in 0..128 {
            let value = 1_u128 << shift;
            let bytes = encode(value);
            assert_ne!(bytes[0], 0);
            assert_eq!(decode(&bytes, 128, "x"), Ok(value));
        }
    }
}
