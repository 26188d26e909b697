//! The Internet checksum (RFC 1071) and the sum of IPv6's pseudo-header (RFC 8200 §8.1): what is computed over payload,
//! which packet.p4 does not read. s2 checks echo requests with them.

/// The Internet checksum over `bytes`, on top of `sum_before` (see [`sum`]); 0 when `bytes` hold a right checksum.
pub fn checksum(sum_before: u32, bytes: &[u8]) -> u16 {
    !(sum(sum_before, bytes) as u16)
}

/// The folded one's complement sum of `bytes` as 16-bit big-endian words, an odd last byte padded with 0.
/// At most 16 bits are used, so that sums can be chained.
pub fn sum(before: u32, bytes: &[u8]) -> u32 {
    let mut sum = u64::from(before);
    let mut words = bytes.chunks_exact(2);
    for word in &mut words {
        sum += u64::from(u16::from_be_bytes([word[0], word[1]]));
    }
    if let [last] = words.remainder() {
        sum += u64::from(*last) << 8;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u32
}

/// The pseudo-header's sum, to begin an upper layer's [`checksum`] with. `length` is the upper layer's, in bytes.
pub fn pseudo_header_sum(source: &[u8; 16], destination: &[u8; 16], length: u16, next_header: u8) -> u32 {
    let before = sum(u32::from(length) + u32::from(next_header), source);
    sum(before, destination)
}

#[cfg(test)]
mod tests {
    use super::{checksum, pseudo_header_sum, sum};

    /// The example of RFC 1071 §3.
    const EXAMPLE: [u8; 8] = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];

    #[test]
    fn the_example_of_the_specification() {
        assert_eq!(sum(0, &EXAMPLE), 0xddf2);
        assert_eq!(checksum(0, &EXAMPLE), 0x220d);
        let mut sealed = [0; 10];
        sealed[..8].copy_from_slice(&EXAMPLE);
        sealed[8..].copy_from_slice(&checksum(0, &EXAMPLE).to_be_bytes());
        assert_eq!(checksum(0, &sealed), 0);
    }

    #[test]
    fn sums_chain_and_an_odd_byte_is_padded() {
        assert_eq!(sum(sum(0, &EXAMPLE[..2]), &EXAMPLE[2..]), sum(0, &EXAMPLE));
        assert_eq!(sum(0, &[0x12, 0x34, 0x56]), 0x1234 + 0x5600);
        assert_eq!(sum(0xffff, &[0xff; 4]), 0xffff, "a full sum stays one");
    }

    #[test]
    fn the_pseudo_header_is_what_it_stands_for() {
        let (source, destination) = ([0xfe; 16], core::array::from_fn(|at| at as u8 * 17));
        let mut spelled = [0; 40];
        spelled[..16].copy_from_slice(&source);
        spelled[16..32].copy_from_slice(&destination);
        spelled[32..36].copy_from_slice(&0x1234u32.to_be_bytes());
        spelled[39] = 58;
        assert_eq!(pseudo_header_sum(&source, &destination, 0x1234, 58), sum(0, &spelled));
    }
}
