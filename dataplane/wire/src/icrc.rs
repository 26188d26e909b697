//! The invariant CRC's masked prefix (IBA 1.5 §7.8.1 and annex A17.3.3).
//!
//! The ICRC is the finalized zlib-style CRC-32 over eight bytes of ones (the local route header that RoCE
//! lacks), then the packet from its IP header to the end of its pad, with every field that may change on the
//! way set to ones; it is written little-endian. Only the headers hold such fields: the caller runs its CRC
//! over what [`masked_prefix`] writes and goes on over the rest of the packet as it lies.

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

/// Writes the masked prefix of a packet whose IP header `l3` begins with. Answers its length; the CRC goes on
/// at `l3[length - 8..]`, behind the BTH. Nothing when the headers do not fit in `l3`.
pub fn masked_prefix(l3: &[u8], out: &mut [u8; MASKED_MAX]) -> Option<usize> {
    let first = *l3.first()?;
    let ip_len = match first >> 4 {
        4 => usize::from(first & 0xf) * 4,
        6 => IPV6,
        _ => return None,
    };
    let len = ip_len + UDP + BTH;
    if ip_len < IPV4 || l3.len() < len {
        return None;
    }
    out[..LRH].fill(0xff);
    let masked = &mut out[LRH..LRH + len];
    masked.copy_from_slice(&l3[..len]);
    if first >> 4 == 6 {
        masked[0] |= 0x0f; // traffic class, flow label
        masked[1..4].fill(0xff);
        masked[7] = 0xff; // hop limit
    } else {
        masked[1] = 0xff; // type of service
        masked[8] = 0xff; // time to live
        masked[10..12].fill(0xff); // header checksum
    }
    masked[ip_len + 6..ip_len + 8].fill(0xff); // UDP checksum
    masked[ip_len + UDP + 4] = 0xff; // BTH resv8a: FECN, BECN, reserved
    Some(LRH + len)
}
