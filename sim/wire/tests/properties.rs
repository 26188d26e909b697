//! Whatever comes from outside is parsed or refused, never more; whatever is emitted parses to the same.

use gantry_host_wire::packet::{self, Class, HEADER_MAX, Icmp6, Malformed, RoceHeaders};
use gantry_host_wire::{arp, ib, icmp, ipv4};
use gantry_wire::ib::{Aeth, Deth, Opcode, Psn, Qpn, Reth, Rkey, Syndrome, Transport};
use gantry_wire::icrc::{MASKED_MAX, masked_prefix};
use proptest::prelude::*;

fn transport() -> impl Strategy<Value = Transport> {
    let opcode = proptest::sample::select(Opcode::ALL.to_vec());
    let flags = any::<(bool, bool, bool, bool)>();
    let numbers = (any::<u16>(), any::<u32>(), any::<u32>(), 0u8..4);
    let extensions = any::<(u64, u32, u32, u8, u32, u32, u32)>();
    (opcode, flags, numbers, extensions).prop_map(|(opcode, flags, numbers, extensions)| {
        let (virtual_address, rkey, dma_length, syndrome, msn, qkey, immediate) = extensions;
        Transport {
            opcode,
            solicited: flags.0,
            ack_request: flags.1,
            fecn: flags.2,
            becn: flags.3,
            pkey: numbers.0,
            dest_qpn: Qpn::new(numbers.1),
            psn: Psn::new(numbers.2),
            pad: numbers.3,
            reth: opcode.has_reth().then_some(Reth { virtual_address, rkey: Rkey(rkey), dma_length }),
            aeth: opcode.has_aeth().then_some(Aeth { syndrome: Syndrome::of(syndrome), msn: msn & 0xff_ffff }),
            deth: opcode.has_deth().then_some(Deth { qkey, source_qpn: Qpn::new(msn) }),
            immediate: opcode.has_immediate().then_some(immediate),
            invalidate: opcode.has_invalidate().then_some(Rkey(rkey)),
        }
    })
}

fn headers() -> impl Strategy<Value = RoceHeaders> {
    let ip = prop_oneof![
        any::<([u8; 4], [u8; 4])>().prop_map(|(source, dest)| (ipv4::mapped(source), ipv4::mapped(dest), true)),
        any::<([u8; 16], [u8; 16])>().prop_map(|(source, dest)| (source, dest, false)),
    ];
    let rest = (any::<([u8; 6], [u8; 6])>(), 0u16..4096, any::<(u8, u8, u16, u16)>());
    (ip, rest).prop_map(|((source_ip, dest_ip, is_v4), ((source_mac, dest_mac), vlan, rest))| RoceHeaders {
        source_mac,
        dest_mac,
        vlan,
        source_ip,
        dest_ip,
        traffic_class: rest.0,
        hop_limit: rest.1,
        ip_id: if is_v4 { rest.2 } else { 0 },
        udp_source: rest.3,
    })
}

/// A whole frame with its ICRC left zero, and where its headers end.
fn frame(headers: &RoceHeaders, transport: &Transport, payload: &[u8]) -> (Vec<u8>, usize) {
    let mut out = [0; HEADER_MAX];
    let emitted = headers.emit_roce(transport, payload.len(), &mut out);
    let mut frame = out[..emitted.header_len].to_vec();
    frame.extend_from_slice(payload);
    frame.extend(core::iter::repeat_n(0, usize::from(transport.pad) + 4));
    (frame, emitted.header_len)
}

/// Walks everything that reads a frame.
fn read_all(frame: &[u8]) -> Result<(), Malformed> {
    let packet = packet::parse(frame)?;
    assert!(packet.l3 <= packet.l4 && packet.l4 <= packet.end && usize::from(packet.end) <= frame.len());
    packet.addresses(frame);
    let mut out = vec![0; frame.len() + 128];
    let mac = [2, 0, 0, 0, 0, 9];
    match packet.class {
        Class::Arp => drop(arp::emit_reply(&packet, frame, mac, &mut out)),
        Class::EchoRequest4 | Class::Icmp6(Icmp6::EchoRequest) => {
            icmp::emit_echo_reply(&packet, frame, mac, &mut out).expect("an echo request has a reply");
        }
        Class::Icmp6(Icmp6::NeighborSolicitation) => {
            icmp::emit_neighbor_advertisement(&packet, frame, mac, &mut out).expect("a solicitation has an answer");
        }
        Class::Roce => {
            let roce = packet.roce(frame)?;
            let end = usize::from(roce.payload) + usize::from(roce.payload_len) + usize::from(roce.transport.pad);
            assert_eq!(end, usize::from(roce.icrc));
            masked_prefix(&frame[usize::from(packet.l3)..end], &mut [0; MASKED_MAX]).expect("headers fit");
        }
        Class::Other => {}
    }
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_all(&bytes);
        let _ = ib::parse(&bytes);
        masked_prefix(&bytes, &mut [0; MASKED_MAX]);
    }

    #[test]
    fn bent_frames_never_panic(
        (headers, transport) in (headers(), transport()),
        payload in proptest::collection::vec(any::<u8>(), 0..64),
        bends in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<proptest::sample::Index>(),
    ) {
        let (mut frame, _) = frame(&headers, &transport, &payload);
        for (at, value) in bends {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        let _ = read_all(&frame);
        frame.truncate(cut.index(frame.len() + 1));
        let _ = read_all(&frame);
    }

    #[test]
    fn transport_emits_what_it_parses(transport in transport(), behind in 0usize..8) {
        let mut bytes = [0xa5; ib::HEADER_MAX + 8];
        let len = ib::emit(&transport, &mut bytes);
        prop_assert_eq!(len, ib::header_len(transport.opcode));
        prop_assert_eq!(ib::parse(&bytes[..len + behind]), Ok((transport, len)));
        prop_assert_eq!(ib::parse(&bytes[..len - 1]), Err(Malformed::TransportLength));
    }

    #[test]
    fn frames_emit_what_they_parse(
        (headers, transport) in (headers(), transport()),
        payload in proptest::collection::vec(any::<u8>(), 0..64),
        padding in 0usize..32,
    ) {
        let (mut frame, header_len) = frame(&headers, &transport, &payload);
        let end = frame.len();
        frame.extend(core::iter::repeat_n(0xee, padding));
        let packet = packet::parse(&frame).expect("well-formed");
        prop_assert_eq!(packet.class, Class::Roce);
        prop_assert_eq!(usize::from(packet.end), end, "Ethernet padding is trimmed");
        prop_assert_eq!(packet.addresses(&frame), (headers.source_ip, headers.dest_ip));
        prop_assert_eq!(RoceHeaders::of(&packet, &frame), headers);
        let roce = packet.roce(&frame).expect("well-formed");
        prop_assert_eq!(roce.transport, transport);
        prop_assert_eq!(usize::from(roce.payload), header_len);
        prop_assert_eq!(usize::from(roce.payload_len), payload.len());
    }
}
