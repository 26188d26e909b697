//! Packed fields do not disturb each other; bytes from outside are refused with the reason.

use super::*;
use core::net::IpAddr;

#[test]
fn packed_fields_keep_to_their_bits() {
    let mut req = Req::new();
    req.set_local_qpn(0xabcdef).set_responder_resources(0x12);
    req.set_starting_psn(0xffffff).set_local_cm_response_timeout(0).set_retry_count(7);
    req.set_remote_cm_response_timeout(20).set_transport_service_type(0).set_end_to_end_flow_control(1);
    req.set_path_mtu(3).set_rdc_exists(0).set_rnr_retry_count(7);
    req.primary.set_flow_label(0xfffff).set_packet_rate(0);
    req.primary.set_sl(0xf).set_subnet_local(0).set_local_ack_timeout(19);
    assert_eq!((req.local_qpn(), req.responder_resources()), (0xabcdef, 0x12));
    assert_eq!((req.starting_psn(), req.local_cm_response_timeout(), req.retry_count()), (0xffffff, 0, 7));
    assert_eq!(
        (req.remote_cm_response_timeout(), req.transport_service_type(), req.end_to_end_flow_control()),
        (20, 0, 1)
    );
    assert_eq!((req.path_mtu(), req.path_mtu_bytes(), req.rdc_exists(), req.rnr_retry_count()), (3, Some(1024), 0, 7));
    assert_eq!((req.primary.flow_label(), req.primary.packet_rate()), (0xfffff, 0));
    assert_eq!((req.primary.sl(), req.primary.subnet_local(), req.primary.local_ack_timeout()), (0xf, 0, 19));

    // Overwriting leaves the neighbours alone.
    req.set_local_qpn(0).set_retry_count(0);
    assert_eq!((req.responder_resources(), req.starting_psn(), req.retry_count()), (0x12, 0xffffff, 0));

    let mut rep = Rep::new();
    rep.set_target_ack_delay(15).set_end_to_end_flow_control(1).set_rnr_retry_count(7);
    assert_eq!((rep.target_ack_delay(), rep.failover_accepted(), rep.end_to_end_flow_control()), (15, 0, 1));
    assert_eq!((rep.rnr_retry_count(), rep.srq()), (7, 0));
}

#[test]
#[should_panic(expected = "does not fit in 5 bits")]
fn a_value_too_wide_is_our_own_mistake() {
    Mra::new().set_service_timeout(32);
}

#[test]
fn a_path_mtu_without_meaning_has_no_bytes() {
    let mut req = Req::new();
    for (code, bytes) in [(0, None), (1, Some(256)), (2, Some(512)), (4, Some(2048)), (5, Some(4096)), (6, None)] {
        assert_eq!(req.set_path_mtu(code).path_mtu_bytes(), bytes);
    }
}

#[test]
fn what_is_emitted_parses() {
    let mut rej = Rej::new();
    rej.local_comm_id = 7.into();
    rej.remote_comm_id = 9.into();
    rej.set_message_rejected(Rejected::Req as u8).set_reason(Reason::CONSUMER_REJECT).set_private_data(&[0, 0, 4, 0]);
    let mad = emit(0x1122_3344_5566_7788, &rej);
    let message = Message::parse(&mad).unwrap();
    assert_eq!(message.transaction_id(), 0x1122_3344_5566_7788);
    assert_eq!((message.body.local_comm_id(), message.body.remote_comm_id()), (7, Some(9)));
    let Body::Rej(parsed) = message.body else { panic!("{message:?}") };
    assert_eq!(parsed, &rej);
    assert_eq!(parsed.reason().text(), "consumer reject");
    assert_eq!(message.body.emit(message.transaction_id()), mad);
}

#[test]
fn bytes_that_are_no_message_are_refused_with_the_reason() {
    let good = emit(1, &Rtu::new());
    assert_eq!(Message::parse(&good[..255]).unwrap_err(), Malformed::Length(255));
    assert_eq!(Message::parse(&[]).unwrap_err(), Malformed::Length(0));
    for (offset, value, error) in [
        (0, 2, Malformed::Class),
        (1, 4, Malformed::Class),
        (2, 1, Malformed::Class),
        (3, 0x83, Malformed::Method(0x83)),
        (17, 0x19, Malformed::Attribute(0x19)),
    ] {
        let mut bad = good;
        bad[offset] = value;
        assert_eq!(Message::parse(&bad).unwrap_err(), error);
    }
}

#[test]
fn ip_cm_holds_both_families_and_refuses_others() {
    for (source, destination) in [("10.9.0.2", "10.9.0.1"), ("fd00::2", "fd00::1")] {
        let (source, destination): (IpAddr, IpAddr) = (source.parse().unwrap(), destination.parse().unwrap());
        let header = IpCm::new(source, 40000, destination);
        let bytes = header.as_bytes();
        assert_eq!(bytes.len(), IP_CM_LEN);
        let (parsed, rest) = IpCm::parse(bytes).unwrap();
        assert_eq!((parsed.source(), parsed.destination(), parsed.source_port.get()), (source, destination, 40000));
        assert!(rest.is_empty());
        assert_eq!(IpCm::parse(&bytes[..35]).unwrap_err(), Malformed::IpCm);
        let mut other = header;
        other.ip_version = 0x50;
        assert_eq!(IpCm::parse(other.as_bytes()).unwrap_err(), Malformed::IpCm);
        other = header;
        other.version = 0x10;
        assert_eq!(IpCm::parse(other.as_bytes()).unwrap_err(), Malformed::IpCm);
    }
}

#[test]
fn service_ids_and_source_ports() {
    assert_eq!(service_id(4420), 0x0106_1144);
    assert_eq!(port_of(0x0106_1144), Some(4420));
    assert_eq!(port_of(0x0111_1144), None);
    assert_eq!(port_of(0x1_0106_1144), None);
    assert_eq!(udp_source_port(0x05896), 0xd897);
    assert_eq!(udp_source_port(0), 0xc000);
    assert_eq!(udp_source_port(0xfffff), 0xc000 | (0x3fff ^ 0x3f));
}
