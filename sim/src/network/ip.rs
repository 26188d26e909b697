//! What a switch looks at in a frame behind its Ethernet header: the length, and the ECN codepoint (RFC 3168 §5).

use gantry_host_wire::ethernet;

const ECN: u8 = 3;
const NOT_ECT: u8 = 0;
const CE: u8 = 3;

/// Where what the Ethernet header and its tag carry begins.
fn l3(frame: &[u8]) -> usize {
    let tagged = frame.get(12..14) == Some(&ethernet::VLAN.to_be_bytes());
    ethernet::LEN + if tagged { ethernet::VLAN_LEN } else { 0 }
}

/// Bytes behind the Ethernet header and its tag.
pub(super) fn packet_len(frame: &[u8]) -> usize {
    frame.len().saturating_sub(l3(frame))
}

/// Sets CE in an IP packet's header; with `anyway` even where it says Not-ECT. Whether anything was changed. An IPv4
/// header whose checksum was right keeps a right one, one whose was wrong a wrong one (RFC 1624 §3). The ICRC masks all
/// of these bits.
pub(super) fn mark(frame: &mut [u8], anyway: bool) -> bool {
    let l3 = l3(frame);
    let may = |ecn: u8| ecn != CE && (anyway || ecn != NOT_ECT);
    let Some(ether_type) = frame.get(l3 - 2..l3).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]])) else {
        return false;
    };
    match (ether_type, &mut frame[l3..]) {
        (ethernet::IPV4, [version, service, rest @ ..]) if *version >> 4 == 4 && rest.len() >= 18 => {
            if !may(*service & ECN) {
                return false;
            }
            let added = CE - (*service & ECN);
            *service |= CE;
            // The word grew by `added`, so the complement of the sum shrinks by it, in one's complement.
            let checksum = u16::from_be_bytes([rest[8], rest[9]]);
            let (sum, carry) = (!checksum).overflowing_add(u16::from(added));
            let checksum = !(sum + u16::from(carry));
            rest[8..10].copy_from_slice(&checksum.to_be_bytes());
            true
        }
        (ethernet::IPV6, [version, class, ..]) if *version >> 4 == 6 => {
            if !may(*class >> 4 & ECN) {
                return false;
            }
            *class |= CE << 4;
            true
        }
        _ => false,
    }
}
