//! Connection management that nobody should send: MADs that are none, floods and absurd terms, and the end of
//! connections that are not the sender's. IBA vol. 1 §12.6; the private data as NVMe RDMA Transport 1.0 §3.2 has it.

use std::net::IpAddr;

use gantry_host_wire::ipv4;
use gantry_roce::{Psn, Qpn};
use gantry_wire::cm::{self, IpCm, MAD_LEN, Reason};
use gantry_wire::fabrics::{CmRequest, DISCOVERY_PORT};
use gantry_wire::ib::{Deth, Opcode, Transport};
use zerocopy::IntoBytes;

use super::{Rogue, RogueKind, Sender};
use crate::host::ExposedQueue;

/// REQs of one flood.
const FLOOD: usize = 8;

impl Rogue {
    pub(super) fn manage(&mut self, kind: RogueKind, sender: &Sender, queue: Option<&ExposedQueue>) -> Vec<Vec<u8>> {
        match kind {
            RogueKind::MalformedMad => vec![self.malformed(sender)],
            RogueKind::WildDatagram => {
                let mad = self.release(None);
                let (qpn, qkey) =
                    self.one_of(&[(0, cm::QKEY), (2, cm::QKEY), (0xff_ffff, cm::QKEY), (1, 0), (1, 0x1111_1111)]);
                vec![self.datagram(sender, Qpn::new(qpn), qkey, &mad)]
            }
            RogueKind::ReqFlood => (0..FLOOD)
                .map(|_| {
                    let req = self.req(sender);
                    self.send_req(sender, &req)
                })
                .collect(),
            RogueKind::AbsurdReq => {
                let req = self.absurd(sender);
                vec![self.send_req(sender, &req)]
            }
            RogueKind::StaleReq => {
                let queue = queue.expect("a connection to be stale");
                let mut req = self.req(sender);
                if self.below(2) == 0 {
                    req.local_comm_id = queue.local_comm_id.into();
                }
                if self.below(2) == 0 {
                    req.set_local_qpn(queue.local_qpn.value());
                }
                vec![self.send_req(sender, &req)]
            }
            _ => {
                let mad = self.release(queue);
                vec![self.mad(sender, &mad)]
            }
        }
    }

    /// DREQ, RTU, REJ, MRA or DREP, of this connection or of none.
    fn release(&mut self, queue: Option<&ExposedQueue>) -> [u8; MAD_LEN] {
        let drawn = self.next();
        let (local, remote, qpn) = match queue {
            Some(queue) => (queue.local_comm_id, queue.remote_comm_id, queue.remote_qpn.value()),
            None => (drawn as u32 | 1, (drawn >> 32) as u32, drawn as u32 & 0xff_ffff),
        };
        let transaction = self.next();
        match self.below(5) {
            0 => {
                let mut dreq = cm::Dreq::new();
                (dreq.local_comm_id, dreq.remote_comm_id) = (local.into(), remote.into());
                dreq.set_remote_qpn(qpn);
                cm::emit(transaction, &dreq)
            }
            1 => {
                let mut rtu = cm::Rtu::new();
                (rtu.local_comm_id, rtu.remote_comm_id) = (local.into(), remote.into());
                cm::emit(transaction, &rtu)
            }
            2 => {
                let mut rej = cm::Rej::new();
                (rej.local_comm_id, rej.remote_comm_id) = (local.into(), remote.into());
                let reason = Reason(self.below(40) as u16);
                rej.set_message_rejected(self.below(4) as u8).set_reason(reason);
                cm::emit(transaction, &rej)
            }
            3 => {
                let mut mra = cm::Mra::new();
                (mra.local_comm_id, mra.remote_comm_id) = (local.into(), remote.into());
                mra.set_message_mraed(self.below(4) as u8).set_service_timeout(self.below(32) as u8);
                cm::emit(transaction, &mra)
            }
            _ => {
                let mut drep = cm::Drep::new();
                (drep.local_comm_id, drep.remote_comm_id) = (local.into(), remote.into());
                cm::emit(transaction, &drep)
            }
        }
    }

    /// A lawful REQ for the admin queue, with ids that nobody has had.
    fn req(&mut self, sender: &Sender) -> cm::Req {
        let mut req = cm::Req::new();
        req.local_comm_id = (self.next() as u32 | 1).into();
        req.service_id = cm::service_id(DISCOVERY_PORT).into();
        req.local_ca_guid = self.next().into();
        // Above all that a host of this simulator comes to.
        req.set_local_qpn(0x80_0000 | self.next() as u32 & 0x7f_ffff).set_responder_resources(128);
        req.set_remote_cm_response_timeout(20).set_end_to_end_flow_control(1);
        req.set_starting_psn(self.next() as u32 & 0xff_ffff).set_retry_count(7).set_local_cm_response_timeout(20);
        req.pkey = gantry_wire::ib::PKEY_DEFAULT.into();
        req.set_path_mtu(3).set_rnr_retry_count(7).set_max_cm_retries(15);
        req.primary.local_port_lid = 0xffff.into();
        req.primary.remote_port_lid = 0xffff.into();
        req.primary.local_port_gid = sender.ip;
        req.primary.remote_port_gid = sender.target_ip;
        req.primary.hop_limit = 64;
        req.primary.set_flow_label(self.next() as u32 & 0xf_ffff).set_local_ack_timeout(19);
        self.private_data(sender, &mut req, 0, 32, 31);
        req
    }

    fn private_data(&mut self, sender: &Sender, req: &mut cm::Req, qid: u16, hrqsize: u16, hsqsize: u16) {
        let ip = IpCm::new(address(sender.ip), 0xc000 | self.next() as u16, address(sender.target_ip));
        let nvme = CmRequest::new(qid, hrqsize, hsqsize, 0);
        req.set_private_data(&[ip.as_bytes(), nvme.as_bytes()].concat());
    }

    /// A REQ of which one thing is absurd.
    fn absurd(&mut self, sender: &Sender) -> cm::Req {
        let mut req = self.req(sender);
        match self.below(16) {
            0 => {
                req.set_path_mtu(self.one_of(&[0, 6, 7, 15]));
            }
            1 => {
                req.set_path_mtu(self.one_of(&[1, 2, 5]));
            }
            2 => {
                req.set_responder_resources(self.one_of(&[0, 1, 255]));
            }
            3 => {
                req.set_initiator_depth(255);
            }
            4 => req.service_id = self.next().into(),
            5 => req.service_id = cm::service_id(self.one_of(&[0, 1, 4421, 0xffff])).into(),
            6 => {
                req.set_local_qpn(self.one_of(&[0, 1, 0xff_ffff]));
            }
            7 => {
                req.set_transport_service_type(1 + self.below(3) as u8);
            }
            8 => {
                req.primary.set_local_ack_timeout(self.one_of(&[0, 1, 31])).set_flow_label(0).set_sl(15);
            }
            9 => {
                req.set_retry_count(0).set_rnr_retry_count(0).set_max_cm_retries(0);
            }
            10 => req.pkey = self.one_of(&[0, 1, 0x7fff, 0x8001]).into(),
            11 => {
                let (qid, receive, send) = self.one_of(&[
                    (0, 0, 0),
                    (0, 1, 0xffff),
                    (0, 0xffff, 0xffff),
                    (0, 0xffff, 0),
                    (1, 32, 31),
                    (0xffff, 32, 31),
                    (0, 8, 4000),
                ]);
                self.private_data(sender, &mut req, qid, receive, send);
            }
            12 => {
                let garbage = self.bytes(92);
                req.set_private_data(&garbage);
            }
            13 => req.private_data[0] = self.next() as u8,
            14 => {
                req.primary.local_port_gid = self.bytes(16).try_into().expect("16 bytes");
                req.primary.remote_port_gid = self.bytes(16).try_into().expect("16 bytes");
            }
            _ => {
                req.set_remote_cm_response_timeout(31).set_local_cm_response_timeout(0);
            }
        }
        req
    }

    /// A MAD whose header is wrong in one place, or that has not its length, or is nothing at all.
    fn malformed(&mut self, sender: &Sender) -> Vec<u8> {
        let mut mad = self.release(None).to_vec();
        match self.below(4) {
            0 => {
                let at = self.one_of(&[0, 1, 2, 3, 16, 17]);
                mad[at] ^= 1 + self.below(255) as u8;
            }
            1 => mad.truncate(4 * self.below(64) as usize),
            2 => mad.extend(vec![0; 4 + 4 * self.below(64) as usize]),
            _ => mad = self.bytes(MAD_LEN),
        }
        self.datagram(sender, Qpn::GSI, cm::QKEY, &mad)
    }

    fn send_req(&mut self, sender: &Sender, req: &cm::Req) -> Vec<u8> {
        let transaction = self.next();
        self.mad(sender, &cm::emit(transaction, req))
    }

    fn mad(&mut self, sender: &Sender, mad: &[u8]) -> Vec<u8> {
        self.datagram(sender, Qpn::GSI, cm::QKEY, mad)
    }

    fn datagram(&mut self, sender: &Sender, qpn: Qpn, qkey: u32, payload: &[u8]) -> Vec<u8> {
        let mut transport = Transport::new(Opcode::UdSendOnly, qpn, Psn::new(self.next() as u32));
        transport.deth = Some(Deth { qkey, source_qpn: Qpn::GSI });
        self.roce(sender, &transport, payload)
    }
}

fn address(ip: [u8; 16]) -> IpAddr {
    ipv4::unmapped(&ip).map_or_else(|| ip.into(), Into::into)
}
