//! The invariant CRC's masked headers (IBA 1.5 §7.8.1 and annex A17.3.3).
//!
//! The ICRC is the finalized zlib-style CRC-32 over eight bytes of ones (the local route header that RoCE
//! lacks), then the packet from its IP header to the end of its pad, with every field that may change on the
//! way set to ones; it is written little-endian. Only the headers up to the BTH hold such fields: whoever sums a
//! packet begins with [`START`], takes its headers under the [`mask`] of its IP version and goes on as it lies.

/// Bytes of ones that stand for the local route header.
const LRH: usize = 8;
/// Bytes of an IPv4 header without options, and with all that there may be (RFC 791 §3.1).
const IPV4: usize = 20;
const IPV4_MAX: usize = 60;
/// Bytes of an IPv6 header (RFC 8200 §3).
const IPV6: usize = 40;
/// Bytes of a UDP header (RFC 768).
const UDP: usize = 8;
/// Bytes of the base transport header, which the prefix ends with.
const BTH: usize = 12;
/// Room for the longest prefix, in bytes: IPv4 with all its options.
pub const MASKED_MAX: usize = LRH + IPV4_MAX + UDP + BTH;
/// Bytes of a mask: room for the longest headers up to the payload, which are 28 bytes behind such a prefix (AtomicETH).
pub const MASK_BYTES: usize = 128;

/// The CRC-32 of the ones that stand for the local route header.
pub const START: u32 = {
    let mut sum = u32::MAX;
    let mut bit = 0;
    while bit < 8 * LRH {
        sum ^= 1;
        sum = sum >> 1 ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
        bit += 1;
    }
    !sum
};

/// A mask in its own cache lines: those of IPv4 without options and of IPv6 use one each.
#[repr(align(64))]
struct Mask([u8; MASK_BYTES]);

/// IPv4's by the header's length in words, IPv6's in the place of a length that there is not.
static MASKS: [Mask; 16] = {
    let mut masks = [const { Mask([0; MASK_BYTES]) }; 16];
    let mut words = IPV4 / 4;
    while words < 16 {
        // Type of service, time to live, header checksum.
        masks[words] = Mask(masked(4 * words, &[1, 8, 10, 11]));
        words += 1;
    }
    // Traffic class and flow label, hop limit.
    let mut ipv6 = masked(IPV6, &[1, 2, 3, 7]);
    ipv6[0] = 0x0f;
    masks[0] = Mask(ipv6);
    masks
};

/// Ones in the fields that may change of an IP header of `ip` bytes, and of UDP and BTH behind it.
const fn masked(ip: usize, variant: &[usize]) -> [u8; MASK_BYTES] {
    let mut mask = [0; MASK_BYTES];
    let mut i = 0;
    while i < variant.len() {
        mask[variant[i]] = 0xff;
        i += 1;
    }
    // UDP checksum.
    mask[ip + 6] = 0xff;
    mask[ip + 7] = 0xff;
    // BTH resv8a: FECN, BECN, reserved.
    mask[ip + UDP + 4] = 0xff;
    mask
}

/// Ones in what may change on the way of a packet whose IP header has `first` as its first byte. Nothing when that is neither
/// IPv4 nor IPv6.
#[inline]
#[must_use]
pub fn mask(first: u8) -> Option<&'static [u8; MASK_BYTES]> {
    match (first >> 4, usize::from(first & 0xf)) {
        (4, words) if words >= IPV4 / 4 => Some(&MASKS[words].0),
        (6, _) => Some(&MASKS[0].0),
        _ => None,
    }
}

/// Writes the masked prefix of a packet whose IP header `l3` begins with. Answers its length; the CRC goes on
/// at `l3[length - 8..]`, behind the BTH. Nothing when the headers do not fit in `l3`.
pub fn masked_prefix(l3: &[u8], out: &mut [u8; MASKED_MAX]) -> Option<usize> {
    let first = *l3.first()?;
    let mask = mask(first)?;
    let ip = if first >> 4 == 6 { IPV6 } else { usize::from(first & 0xf) * 4 };
    let headers = l3.get(..ip + UDP + BTH)?;
    out[..LRH].fill(0xff);
    for ((out, byte), mask) in out[LRH..].iter_mut().zip(headers).zip(mask) {
        *out = byte | mask;
    }
    Some(LRH + headers.len())
}
