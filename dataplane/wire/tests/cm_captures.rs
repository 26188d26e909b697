//! Every MAD that real hosts and targets sent parses, says what the connection around it shows to be true, and comes
//! out again byte for byte: as a view, and built anew from its fields.

mod capture_files;

use capture_files::{Captured, roce_frames};
use gantry_wire::cm::{self, Body, Message, PathRecord, Reason, Rejected};
use gantry_wire::fabrics::{CmAccept, CmRequest};
use gantry_wire::ib::{Opcode, QKEY_QP1};
use std::collections::HashMap;
use std::net::IpAddr;
use zerocopy::IntoBytes;

const PORT: u16 = 4420;

/// Capture, and how many MADs it holds: REQ, REP, RTU, DREQ, DREP, REJ.
const CAPTURES: [(&str, [usize; 6]); 11] = [
    ("mtu1024/a_discover.pcap", [1, 1, 1, 1, 1, 0]),
    ("mtu1024/b_connect.pcap", [3, 3, 3, 0, 0, 0]),
    ("mtu1024/d_disconnect.pcap", [0, 0, 0, 3, 3, 0]),
    ("mtu1024/e_hostnotallowed.pcap", [1, 1, 1, 1, 1, 0]),
    ("mtu1024/e_noport.pcap", [1, 0, 0, 0, 0, 1]),
    ("mtu1024/e_wrongnqn.pcap", [1, 1, 1, 1, 1, 0]),
    ("mtu1024/f_reset.pcap", [3, 3, 3, 3, 3, 0]),
    ("mtu1024/p_cmtime.pcap", [20, 20, 20, 20, 20, 0]),
    ("mtu1024/p_rdma_client.pcap", [1, 1, 1, 2, 1, 0]),
    ("mtu1024/p_rping.pcap", [1, 1, 1, 1, 1, 0]),
    ("mtu4096/b_connect.pcap", [3, 3, 3, 0, 0, 0]),
];

fn mads(name: &str) -> (Vec<Captured>, Vec<Captured>) {
    roce_frames(name).into_iter().partition(|frame| frame.roce.transport.dest_qpn.value() == cm::QPN)
}

fn body_index(body: &Body<'_>) -> usize {
    match body {
        Body::Req(_) => 0,
        Body::Rep(_) => 1,
        Body::Rtu(_) => 2,
        Body::Dreq(_) => 3,
        Body::Drep(_) => 4,
        Body::Rej(_) => 5,
        Body::Mra(_) => panic!("no capture holds an MRA"),
    }
}

#[test]
fn every_mad_parses_and_comes_out_the_same() {
    for (name, expected) in CAPTURES {
        let mut counts = [0; 6];
        for frame in mads(name).0 {
            let place = &frame.place;
            assert_eq!(frame.roce.transport.opcode, Opcode::UdSendOnly, "{place}");
            assert_eq!(frame.roce.transport.deth.unwrap().qkey, cm::QKEY, "{place}");
            let message = Message::parse(&frame.payload).unwrap_or_else(|error| panic!("{place}: {error}"));
            counts[body_index(&message.body)] += 1;
            assert_eq!(message.body.emit(message.transaction_id())[..], frame.payload, "{place}");
            assert_eq!(rebuilt(&message)[..], frame.payload, "{place}");
        }
        assert_eq!(counts, expected, "{name}");
    }
    assert_eq!(cm::QKEY, QKEY_QP1);
}

/// The MAD again, from the values of its fields alone: what has no accessor must be zero.
fn rebuilt(message: &Message<'_>) -> [u8; cm::MAD_LEN] {
    let tid = message.transaction_id();
    match message.body {
        Body::Req(old) => {
            let mut req = cm::Req::new();
            req.local_comm_id = old.local_comm_id;
            req.service_id = old.service_id;
            req.local_ca_guid = old.local_ca_guid;
            req.local_qkey = old.local_qkey;
            req.set_local_qpn(old.local_qpn()).set_responder_resources(old.responder_resources());
            req.set_local_eecn(old.local_eecn()).set_initiator_depth(old.initiator_depth());
            req.set_remote_eecn(old.remote_eecn()).set_remote_cm_response_timeout(old.remote_cm_response_timeout());
            req.set_transport_service_type(old.transport_service_type());
            req.set_end_to_end_flow_control(old.end_to_end_flow_control());
            req.set_starting_psn(old.starting_psn()).set_retry_count(old.retry_count());
            req.set_local_cm_response_timeout(old.local_cm_response_timeout());
            req.pkey = old.pkey;
            req.set_path_mtu(old.path_mtu())
                .set_rdc_exists(old.rdc_exists())
                .set_rnr_retry_count(old.rnr_retry_count());
            req.set_max_cm_retries(old.max_cm_retries()).set_srq(old.srq());
            req.set_extended_transport_type(old.extended_transport_type());
            req.primary = path(&old.primary);
            req.alternate = path(&old.alternate);
            req.set_private_data(&old.private_data);
            cm::emit(tid, &req)
        }
        Body::Rep(old) => {
            let mut rep = cm::Rep::new();
            rep.local_comm_id = old.local_comm_id;
            rep.remote_comm_id = old.remote_comm_id;
            rep.local_qkey = old.local_qkey;
            rep.responder_resources = old.responder_resources;
            rep.initiator_depth = old.initiator_depth;
            rep.local_ca_guid = old.local_ca_guid;
            rep.set_local_qpn(old.local_qpn()).set_local_eecn(old.local_eecn()).set_starting_psn(old.starting_psn());
            rep.set_target_ack_delay(old.target_ack_delay()).set_failover_accepted(old.failover_accepted());
            rep.set_end_to_end_flow_control(old.end_to_end_flow_control());
            rep.set_rnr_retry_count(old.rnr_retry_count()).set_srq(old.srq()).set_private_data(&old.private_data);
            cm::emit(tid, &rep)
        }
        Body::Rtu(old) => {
            let mut rtu = cm::Rtu::new();
            rtu.local_comm_id = old.local_comm_id;
            rtu.remote_comm_id = old.remote_comm_id;
            cm::emit(tid, rtu.set_private_data(&old.private_data))
        }
        Body::Dreq(old) => {
            let mut dreq = cm::Dreq::new();
            dreq.local_comm_id = old.local_comm_id;
            dreq.remote_comm_id = old.remote_comm_id;
            cm::emit(tid, dreq.set_remote_qpn(old.remote_qpn()).set_private_data(&old.private_data))
        }
        Body::Drep(old) => {
            let mut drep = cm::Drep::new();
            drep.local_comm_id = old.local_comm_id;
            drep.remote_comm_id = old.remote_comm_id;
            cm::emit(tid, drep.set_private_data(&old.private_data))
        }
        Body::Rej(old) => {
            let mut rej = cm::Rej::new();
            rej.local_comm_id = old.local_comm_id;
            rej.remote_comm_id = old.remote_comm_id;
            rej.ari = old.ari;
            rej.set_message_rejected(old.message_rejected()).set_reject_info_length(old.reject_info_length());
            cm::emit(tid, rej.set_reason(old.reason()).set_private_data(&old.private_data))
        }
        Body::Mra(_) => panic!("no capture holds an MRA"),
    }
}

fn path(old: &PathRecord) -> PathRecord {
    let mut path = cm::Req::new().primary;
    path.local_port_lid = old.local_port_lid;
    path.remote_port_lid = old.remote_port_lid;
    path.local_port_gid = old.local_port_gid;
    path.remote_port_gid = old.remote_port_gid;
    path.traffic_class = old.traffic_class;
    path.hop_limit = old.hop_limit;
    path.set_flow_label(old.flow_label()).set_packet_rate(old.packet_rate());
    path.set_sl(old.sl()).set_subnet_local(old.subnet_local()).set_local_ack_timeout(old.local_ack_timeout());
    path
}

/// The PSNs, QPNs and UDP source ports that REQ and REP agree on are those of the packets that follow.
#[test]
fn what_a_connection_agrees_on_is_what_its_packets_do() {
    for (name, mtu) in [("mtu1024/b_connect.pcap", 1024), ("mtu4096/b_connect.pcap", 4096)] {
        let (mads, packets) = mads(name);
        let mut requests = HashMap::new();
        let mut connections = 0;
        for frame in &mads {
            let message = Message::parse(&frame.payload).unwrap();
            match message.body {
                Body::Req(req) => drop(requests.insert(req.local_comm_id.get(), (*req, frame.addresses))),
                Body::Rep(rep) => {
                    let (req, addresses) = &requests[&rep.remote_comm_id.get()];
                    assert_eq!(req.path_mtu_bytes(), Some(mtu), "{}", frame.place);
                    assert_eq!(req.primary.local_port_gid, addresses.0, "{}", frame.place);
                    assert_eq!(req.primary.remote_port_gid, addresses.1, "{}", frame.place);
                    let port = cm::udp_source_port(req.primary.flow_label());
                    // The first packet each way on these QPs: the host's Connect, and the target's first request. The
                    // two sides may have picked the same QPN.
                    for (to, qpn, psn) in [
                        (addresses.1, rep.local_qpn(), rep.starting_psn()),
                        (addresses.0, req.local_qpn(), req.starting_psn()),
                    ] {
                        let first = packets
                            .iter()
                            .find(|packet| {
                                let transport = &packet.roce.transport;
                                let there = packet.addresses.1 == to && transport.dest_qpn.value() == qpn;
                                there && transport.opcode.is_request()
                            })
                            .expect("the connection is used");
                        assert_eq!(first.roce.transport.psn.value(), psn, "{}", first.place);
                        assert_eq!(first.udp_source, port, "{}", first.place);
                    }
                    connections += 1;
                }
                _ => {}
            }
        }
        assert_eq!(connections, 3, "{name}");
    }
}

#[test]
fn a_request_names_addresses_and_an_nvme_queue() {
    let (mads, _) = mads("mtu1024/b_connect.pcap");
    let mut qids = Vec::new();
    for frame in &mads {
        let message = Message::parse(&frame.payload).unwrap();
        match message.body {
            Body::Req(req) => {
                assert_eq!(cm::port_of(req.service_id.get()), Some(PORT));
                assert_eq!((req.responder_resources(), req.initiator_depth()), (128, 0));
                assert_eq!((req.retry_count(), req.rnr_retry_count(), req.pkey.get()), (7, 7, 0xffff));
                assert_eq!((req.remote_cm_response_timeout(), req.local_cm_response_timeout()), (20, 20));
                assert_eq!((req.transport_service_type(), req.primary.local_ack_timeout()), (0, 19));
                assert_eq!((req.primary.local_port_lid.get(), req.primary.remote_port_lid.get()), (0xffff, 0xffff));
                let (ip, nvme) = cm::IpCm::parse(&req.private_data).unwrap();
                let (source, destination): (IpAddr, IpAddr) = ([10, 9, 0, 2].into(), [10, 9, 0, 1].into());
                assert_eq!((ip.source(), ip.destination()), (source, destination));
                assert_eq!(&cm::IpCm::new(source, ip.source_port.get(), destination), ip);
                let request = CmRequest::parse(nvme).unwrap();
                qids.push((request.qid.get(), request.hrqsize.get(), request.hsqsize.get(), request.cntlid.get()));
                let emitted = CmRequest::new(request.qid.get(), request.hrqsize.get(), request.hsqsize.get(), 0);
                assert_eq!(emitted.as_bytes(), &nvme[..32]);
            }
            Body::Rep(rep) => {
                assert_eq!((rep.responder_resources, rep.initiator_depth), (0, 128));
                assert_eq!((rep.target_ack_delay(), rep.rnr_retry_count()), (15, 7));
                let accept = CmAccept::parse(&rep.private_data).unwrap();
                assert_eq!(CmAccept::new(accept.crqsize.get()).as_bytes(), &rep.private_data[..32]);
            }
            _ => {}
        }
    }
    assert_eq!(qids, [(0, 32, 31, 0), (1, 128, 127, 0), (2, 128, 127, 0)]);
}

#[test]
fn without_a_listener_the_reason_is_the_service_id() {
    let (mads, _) = mads("mtu1024/e_noport.pcap");
    let [request, reject] = &mads[..] else { panic!("a REQ and a REJ") };
    let (request, reject) = (Message::parse(&request.payload).unwrap(), Message::parse(&reject.payload).unwrap());
    assert_eq!(request.transaction_id(), reject.transaction_id());
    assert_eq!(reject.body.remote_comm_id(), Some(request.body.local_comm_id()));
    let Body::Rej(rej) = reject.body else { panic!("{reject:?}") };
    assert_eq!((rej.reason(), rej.message_rejected()), (Reason::INVALID_SERVICE_ID, Rejected::Req as u8));
}
