//! A host: its MADs, its Connect, and its commands.

use super::{HOST, HOST_ID, LOCAL, Plane, REMOTE};
use gantry_wire::cm::{self, Body, Dreq, Message, Req, Rtu};
use gantry_wire::fabrics::{CmRequest, Connect, ConnectData, PropertyGet, PropertySet};
use gantry_wire::nvme::{Cid, Nsid, Sqe};
use std::net::{IpAddr, Ipv4Addr};
use zerocopy::IntoBytes;

/// A host's end of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) ip: Ipv4Addr,
    pub(crate) comm_id: u32,
    pub(crate) target_comm_id: u32,
    pub(crate) qpn: u32,
}

/// A host.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) nqn: String,
    pub(crate) id: [u8; 16],
    pub(crate) ip: Ipv4Addr,
    pub(crate) next: u32,
}

impl Default for Host {
    fn default() -> Self {
        Self { nqn: HOST.into(), id: HOST_ID, ip: REMOTE, next: 0x100 }
    }
}

impl Host {
    /// A REQ as a Linux host sends it, for queue `qid`.
    pub(crate) fn req(&mut self, qid: u16) -> Req {
        self.next += 1;
        let entries: u16 = if qid == 0 { 32 } else { 128 };
        let mut req = Req::new();
        req.local_comm_id = self.next.into();
        req.service_id = cm::service_id(4420).into();
        req.local_ca_guid = u64::from(u32::from(self.ip)).into();
        req.set_local_qpn(self.next)
            .set_responder_resources(128)
            .set_remote_cm_response_timeout(20)
            .set_local_cm_response_timeout(20)
            .set_starting_psn(0x00c9_60e5)
            .set_retry_count(7)
            .set_path_mtu(3)
            .set_rnr_retry_count(7)
            .set_max_cm_retries(15);
        req.pkey = 0xffff.into();
        req.primary.local_port_gid = self.ip.to_ipv6_mapped().octets();
        req.primary.remote_port_gid = LOCAL.to_ipv6_mapped().octets();
        req.primary.set_flow_label(0x58).set_local_ack_timeout(19);
        req.primary.hop_limit = 64;
        let ip_cm = cm::IpCm::new(IpAddr::V4(self.ip), 0x866e, IpAddr::V4(LOCAL));
        let request = CmRequest::new(qid, entries, entries - 1, 0);
        req.set_private_data(&[ip_cm.as_bytes(), request.as_bytes()].concat());
        req
    }

    /// Opens a connection for queue `qid`, RTU included.
    pub(crate) fn open(&mut self, plane: &mut Plane, qid: u16) -> Link {
        let req = self.req(qid);
        plane.mad(self.ip, &cm::emit(1, &req));
        let link = self.replied(plane, &req);
        plane.mad(self.ip, &cm::emit(1, &link.rtu()));
        link
    }

    /// Reads the REP to a REQ.
    pub(crate) fn replied(&self, plane: &mut Plane, req: &Req) -> Link {
        let mad = plane.expect_mad(cm::attribute::REP);
        let Body::Rep(rep) = Message::parse(&mad).unwrap().body else { unreachable!() };
        let comm_id = req.local_comm_id.get();
        assert_eq!(rep.remote_comm_id.get(), comm_id);
        Link { ip: self.ip, comm_id, target_comm_id: rep.local_comm_id.get(), qpn: rep.local_qpn() }
    }

    pub(crate) fn connect_data(&self, cntlid: u16, nqn: &str) -> ConnectData {
        ConnectData::new(self.id, cntlid, nqn, &self.nqn)
    }

    /// Connects queue 0 of a new connection to `nqn`: the link and the CNTLID.
    pub(crate) fn connect_admin(&mut self, plane: &mut Plane, nqn: &str) -> (Link, u16) {
        let link = self.open(plane, 0);
        let data = self.connect_data(0xffff, nqn);
        let (answer, _) = plane.capsule(link.qpn, connect(0).as_bytes(), data.as_bytes(), 0).expect("an answer");
        assert_eq!(answer.status.get(), 0, "dw0 {:#x}", answer.dw0.get());
        (link, answer.dw0.get() as u16)
    }

    /// A controller that is enabled, with `queues` I/O queues.
    pub(crate) fn connect_all(&mut self, plane: &mut Plane, nqn: &str, queues: u16) -> (Link, Vec<Link>, u16) {
        let (admin, cntlid) = self.connect_admin(plane, nqn);
        set_cc(plane, admin.qpn, 0x0046_0061);
        let io = (1..=queues).map(|qid| self.connect_io(plane, nqn, cntlid, qid)).collect();
        (admin, io, cntlid)
    }

    pub(crate) fn connect_io(&mut self, plane: &mut Plane, nqn: &str, cntlid: u16, qid: u16) -> Link {
        let link = self.open(plane, qid);
        let data = self.connect_data(cntlid, nqn);
        let (answer, _) = plane.capsule(link.qpn, connect(qid).as_bytes(), data.as_bytes(), 0).expect("an answer");
        assert_eq!((answer.status.get(), answer.dw0.get()), (0, u32::from(cntlid)));
        link
    }
}

impl Link {
    pub(crate) fn rtu(&self) -> Rtu {
        let mut rtu = Rtu::new();
        rtu.local_comm_id = self.comm_id.into();
        rtu.remote_comm_id = self.target_comm_id.into();
        rtu
    }

    pub(crate) fn dreq(&self) -> Dreq {
        let mut dreq = Dreq::new();
        dreq.local_comm_id = self.comm_id.into();
        dreq.remote_comm_id = self.target_comm_id.into();
        dreq.set_remote_qpn(self.qpn);
        dreq
    }

    /// The host ends the connection and gets its DREP.
    pub(crate) fn close(&self, plane: &mut Plane) {
        plane.mad(self.ip, &cm::emit(9, &self.dreq()));
        // It comes when the QP is gone, and so behind the DREQs of what goes with it.
        let is_drep = |mad: &[u8; 256]| Message::parse(mad).unwrap().header.attribute_id.get() == cm::attribute::DREP;
        let at = plane.injected.iter().position(|(_, mad)| is_drep(mad)).expect("a DREP");
        let (_, mad) = plane.injected.remove(at).unwrap();
        let message = Message::parse(&mad).unwrap();
        assert_eq!(message.transaction_id(), 9);
        assert_eq!(message.body.local_comm_id(), self.target_comm_id);
        assert_eq!(message.body.remote_comm_id(), Some(self.comm_id));
    }
}

pub(crate) fn connect(qid: u16) -> Connect {
    let mut connect = Connect::new();
    connect.qid = qid.into();
    connect.sqsize = if qid == 0 { 31 } else { 127 }.into();
    connect.kato = if qid == 0 { 5000 } else { 0 }.into();
    connect
}

pub(crate) fn set_property(plane: &mut Plane, qpn: u32, ofst: u32, attrib: u8, value: u64) -> u16 {
    let mut set = PropertySet::new();
    (set.ofst, set.attrib, set.value) = (ofst.into(), attrib, value.into());
    plane.capsule(qpn, set.as_bytes(), &[], 0).expect("an answer").0.status.get()
}

pub(crate) fn property(plane: &mut Plane, qpn: u32, ofst: u32, attrib: u8) -> Result<u64, u16> {
    let mut get = PropertyGet::new();
    (get.ofst, get.attrib) = (ofst.into(), attrib);
    let (answer, _) = plane.capsule(qpn, get.as_bytes(), &[], 0).expect("an answer");
    let value = u64::from(answer.dw0.get()) | u64::from(answer.dw1.get()) << 32;
    if answer.status.get() == 0 { Ok(value) } else { Err(answer.status.get()) }
}

pub(crate) fn set_cc(plane: &mut Plane, qpn: u32, value: u64) {
    assert_eq!(set_property(plane, qpn, 0x14, 0, value), 0);
}

pub(crate) fn csts(plane: &mut Plane, qpn: u32) -> u64 {
    property(plane, qpn, 0x1c, 0).unwrap()
}

/// An Admin command.
pub(crate) fn command(opcode: u8, nsid: u32, cdw10: u32, cdw11: u32) -> Sqe {
    let mut sqe = Sqe::new(opcode, Cid(0x77), Nsid(nsid));
    (sqe.cdw10, sqe.cdw11) = (cdw10.into(), cdw11.into());
    sqe
}

/// Issues an Admin command that is answered at once: status, dword 0, data.
pub(crate) fn admin(plane: &mut Plane, qpn: u32, sqe: Sqe, wanted: usize) -> (u16, u32, Vec<u8>) {
    let (answer, data) = plane.capsule(qpn, sqe.as_bytes(), &[], wanted).expect("an answer");
    (answer.status.get(), answer.dw0.get(), data)
}
