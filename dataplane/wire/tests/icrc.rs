//! The ICRC's masked prefix against the ICRCs of real frames, and against the specification's list of what may change on
//! the way.

mod capture_files;

use capture_files::roce_frames;
use gantry_wire::icrc::{MASKED_MAX, START, mask, masked_prefix};
use proptest::prelude::*;

#[test]
fn captured_icrcs_hold() {
    let mut held = 0;
    for name in ["mtu1024/b_connect.pcap", "mtu1024/p_rping.pcap", "mtu4096/b_connect.pcap"] {
        for frame in roce_frames(name) {
            let mut prefix = [0; MASKED_MAX];
            let length = masked_prefix(&frame.l3, &mut prefix).expect("headers fit");
            let mut crc = crc32fast::Hasher::new();
            crc.update(&prefix[..length]);
            crc.update(&frame.l3[length - 8..]);
            assert_eq!(crc.finalize().to_le_bytes(), frame.icrc, "{}", frame.place);
            held += 1;
        }
    }
    assert!(held >= 605, "{held} frames");
}

#[test]
fn it_starts_behind_ones_of_a_local_route_header() {
    assert_eq!(START, crc32fast::hash(&[0xff; 8]));
}

/// IP header of either version, IPv4 with up to ten words of options, then UDP and BTH: anything but their lengths.
fn headers() -> impl Strategy<Value = (Vec<u8>, usize)> {
    let first = prop_oneof![0x45u8..0x50, 0x60u8..0x70];
    (first, proptest::collection::vec(any::<u8>(), 100)).prop_map(|(first, mut bytes)| {
        bytes[0] = first;
        let ip = if first >> 4 == 4 { usize::from(first & 0xf) * 4 } else { 40 };
        (bytes, ip)
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        masked_prefix(&bytes, &mut [0; MASKED_MAX]);
    }

    /// What a router or switch may change on the way leaves the masked prefix as it is; nothing else does.
    #[test]
    fn it_covers_all_that_may_not_change(
        (mut l3, ip) in headers(),
        bend in any::<proptest::sample::Index>(),
        bit in 0u8..8,
    ) {
        let covered = ip + 8 + 12;
        let (mut before, mut after) = ([0; MASKED_MAX], [0; MASKED_MAX]);
        prop_assert_eq!(masked_prefix(&l3, &mut before), Some(8 + covered));
        prop_assert_eq!(masked_prefix(&l3[..covered], &mut after), Some(8 + covered));
        prop_assert_eq!(masked_prefix(&l3[..covered - 1], &mut after), None, "headers that do not fit");
        prop_assert!(before[..8].iter().all(|&byte| byte == 0xff), "a local route header");
        let mask = mask(l3[0]).expect("IP");
        prop_assert!(before[8..].iter().zip(&l3).zip(mask).take(covered).all(|((out, byte), mask)| *out == byte | mask));
        prop_assert!(mask[covered..].iter().all(|&byte| byte == 0), "nothing of what follows may change");

        let v4 = l3[0] >> 4 == 4;
        let at = bend.index(covered);
        // Another version or header length is another packet.
        prop_assume!(at != 0 || !v4 && bit < 4);
        l3[at] ^= 1 << bit;
        masked_prefix(&l3, &mut after).expect("headers fit");
        let variant: &[usize] = if v4 { &[1, 8, 10, 11] } else { &[0, 1, 2, 3, 7] };
        let may_change = variant.contains(&at) || [ip + 6, ip + 7, ip + 8 + 4].contains(&at);
        prop_assert_eq!(before == after, may_change, "byte {}", at);
    }
}
