//! Blobs that are not as they were written: what they spoil goes, and nothing else.

use crate::plane::*;
use gantry::channel::BLOB_MAX;
use proptest::prelude::*;

/// How one blob is spoilt.
#[derive(Clone, Debug)]
enum Spoil {
    Flip(usize, u8),
    Cut(usize),
    Replace(Vec<u8>),
    /// Another object's.
    Swap,
}

fn spoil() -> impl Strategy<Value = Spoil> {
    prop_oneof![
        (any::<usize>(), 0..8u8).prop_map(|(at, bit)| Spoil::Flip(at, bit)),
        any::<usize>().prop_map(Spoil::Cut),
        proptest::collection::vec(any::<u8>(), 0..BLOB_MAX).prop_map(Spoil::Replace),
        Just(Spoil::Swap),
    ]
}

fn spoilt(blob: &mut Vec<u8>, other: &[u8], how: &Spoil) {
    match how {
        Spoil::Flip(at, bit) => {
            let at = at % blob.len();
            blob[at] ^= 1 << bit;
        }
        Spoil::Cut(at) => blob.truncate(at % blob.len()),
        Spoil::Replace(bytes) => *blob = bytes.clone(),
        Spoil::Swap => *blob = other.to_vec(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the blobs say: no panic, what is spoilt goes, what is not stays, and a good host is served afterwards.
    #[test]
    fn spoilt_blobs_cost_their_objects_and_nothing_else(
        qps in proptest::collection::btree_map(0..6usize, spoil(), 0..4),
        controllers in proptest::collection::btree_map(0..2usize, spoil(), 0..2),
    ) {
        let mut plane = Plane::new(configuration());
        let mut host = Host::default();
        let mut associations = Vec::new();
        for _ in 0..2 {
            associations.push(host.connect_all(&mut plane, S1, 2));
        }
        let qpns: Vec<u32> = plane.qps.keys().copied().collect();
        let cntlids: Vec<u16> = associations.iter().map(|(_, _, cntlid)| *cntlid).collect();
        let good = plane.qp_blobs.clone();
        for (at, how) in &qps {
            let other = &good[&qpns[(at + 1) % qpns.len()]];
            spoilt(plane.qp_blobs.get_mut(&qpns[*at]).unwrap(), other, how);
        }
        let good = plane.controller_blobs.clone();
        for (at, how) in &controllers {
            spoilt(plane.controller_blobs.get_mut(&cntlids[*at]).unwrap(), &good[&cntlids[1 - at]], how);
        }
        plane.kill();
        plane.pump();
        for (at, (link, io, cntlid)) in associations.iter().enumerate() {
            let own: Vec<usize> = (at * 3..at * 3 + 3).collect();
            // A QP with another's blob may stand in the way of that other one; both hosts' are the same here.
            let swapped = qps.values().any(|how| matches!(how, Spoil::Swap));
            let bad_controller = controllers.get(&at).is_some_and(|how| !matches!(how, Spoil::Swap));
            let bad_qp = own.iter().any(|n| qps.get(n).is_some_and(|how| !matches!(how, Spoil::Swap)));
            if bad_controller || bad_qp {
                prop_assert!(!plane.controllers.contains_key(cntlid));
                prop_assert!(io.iter().chain([link]).all(|link| !plane.qps.contains_key(&link.qpn)));
            } else if !swapped {
                prop_assert!(plane.controllers.contains_key(cntlid));
                prop_assert!(io.iter().chain([link]).all(|link| plane.qps.contains_key(&link.qpn)));
            }
        }
        plane.pass(100 * SECOND_NS);
        plane.injected.clear();
        let mut good = Host { ip: [10, 9, 7, 7].into(), next: 0x70_0000, id: [9; 16], ..Host::default() };
        good.connect_all(&mut plane, S1, 2);
    }
}
