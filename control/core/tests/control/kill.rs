//! Control dies at any instant: around every frame of everything that a host can ask of it. The host's sequence ends as
//! it does without a kill, every command is answered once, and nothing is left behind.

use crate::plane::*;
use gantry::channel::event::EventKind;
use gantry_wire::cm::{self, Body, Drep, Message, attribute};
use gantry_wire::fabrics::{DISCOVERY_NQN, PropertyGet, PropertySet};
use gantry_wire::nvme::admin as opcode;
use zerocopy::IntoBytes;

/// How often a host repeats a MAD: each repetition is one kill that the last one did not survive.
const TRIES: usize = 6;

/// A host that repeats its MADs as hosts do, and what it was told.
struct Story {
    plane: Plane,
    host: Host,
    /// What the host's commands were answered with; CNTLIDs left out, for they differ.
    told: Vec<(u16, u32, Vec<u8>)>,
    /// QPs that the host has and has not let go.
    links: Vec<Link>,
}

impl Story {
    /// Sends a MAD until one of `attribute` comes back for it.
    fn ask(&mut self, mad: &[u8; 256], wanted: u16) -> [u8; 256] {
        let comm_id = Message::parse(mad).unwrap().body.local_comm_id();
        for _ in 0..TRIES {
            self.plane.mad(self.host.ip, mad);
            while let Some((_, mad)) = self.plane.injected.pop_front() {
                let message = Message::parse(&mad).unwrap();
                if message.body.remote_comm_id() == Some(comm_id) && message.header.attribute_id.get() == wanted {
                    return mad;
                }
                self.hear(&mad);
            }
        }
        panic!("no answer to {:?}", Message::parse(mad));
    }

    /// Something else from control: a DREQ is answered, whatever it is for.
    fn hear(&mut self, mad: &[u8; 256]) {
        let message = Message::parse(mad).unwrap();
        if let Body::Dreq(dreq) = message.body {
            let gone = self.links.iter().all(|link| link.target_comm_id != dreq.local_comm_id.get());
            assert!(gone, "a connection that its host uses is not ended");
            let mut drep = Drep::new();
            drep.local_comm_id = dreq.remote_comm_id;
            drep.remote_comm_id = dreq.local_comm_id;
            self.plane.mad(self.host.ip, &cm::emit(message.transaction_id(), &drep));
        }
    }

    fn open(&mut self, qid: u16) -> Link {
        let req = self.host.req(qid);
        let mad = self.ask(&cm::emit(u64::from(self.host.next), &req), attribute::REP);
        let Body::Rep(rep) = Message::parse(&mad).unwrap().body else { unreachable!() };
        let (comm_id, target_comm_id) = (req.local_comm_id.get(), rep.local_comm_id.get());
        let link = Link { ip: self.host.ip, comm_id, target_comm_id, qpn: rep.local_qpn() };
        self.plane.mad(self.host.ip, &cm::emit(1, &link.rtu()));
        self.links.push(link);
        link
    }

    fn close(&mut self, link: Link) {
        self.links.retain(|other| other.qpn != link.qpn);
        self.ask(&cm::emit(9, &link.dreq()), attribute::DREP);
        self.plane.retire_all();
    }

    /// A command that is answered at once.
    fn command(&mut self, link: Link, sqe: &[u8], data: &[u8], wanted: usize) -> u32 {
        let (answer, mut data) = self.plane.capsule(link.qpn, sqe, data, wanted).expect("an answer");
        let connect = sqe[0] == 0x7f && sqe[4] == 1;
        let identify = sqe[0] == opcode::IDENTIFY && sqe[40] == 1;
        if identify {
            data[78..80].fill(0);
        }
        self.told.push((answer.status.get(), if connect { 0 } else { answer.dw0.get() }, data));
        self.undisturbed();
        answer.dw0.get()
    }

    /// Every queue that the host has is there.
    fn undisturbed(&self) {
        for link in &self.links {
            assert!(self.plane.qps.contains_key(&link.qpn), "QP {:#x} is gone under its host", link.qpn);
        }
    }

    fn connect(&mut self, qid: u16, cntlid: u16, nqn: &str) -> (Link, u16) {
        let link = self.open(qid);
        let data = self.host.connect_data(cntlid, nqn);
        let cntlid = self.command(link, connect(qid).as_bytes(), data.as_bytes(), 0) as u16;
        assert_eq!(self.told.last().unwrap().0, 0);
        (link, cntlid)
    }

    fn set_cc(&mut self, link: Link, cc: u64) {
        let mut set = PropertySet::new();
        (set.ofst, set.value) = (0x14.into(), cc.into());
        self.command(link, set.as_bytes(), &[], 0);
    }

    fn csts(&mut self, link: Link) -> u32 {
        let mut get = PropertyGet::new();
        get.ofst = 0x1c.into();
        self.command(link, get.as_bytes(), &[], 0)
    }

    fn admin(&mut self, link: Link, opcode: u8, nsid: u32, cdw10: u32, cdw11: u32, wanted: usize) -> u32 {
        self.command(link, command(opcode, nsid, cdw10, cdw11).as_bytes(), &[], wanted)
    }

    /// An event request: its punt.
    fn request_event(&mut self, link: Link, cid: u16) -> u32 {
        let mut aer = command(opcode::ASYNC_EVENT_REQUEST, 0, 0, 0);
        aer.cid = cid.into();
        self.plane.post(link.qpn, aer.as_bytes(), &[], 0)
    }

    /// What a held request was answered with.
    fn event(&mut self, link: Link, punt: u32) {
        let (answer, data) = self.plane.answers.get(&(link.qpn, punt)).expect("it has happened").clone();
        self.told.push((answer.status.get(), answer.dw0.get(), data));
    }

    fn discover(&mut self) {
        let (link, _) = self.connect(0, 0xffff, DISCOVERY_NQN);
        self.set_cc(link, 0x0046_0061);
        self.admin(link, opcode::IDENTIFY, 0, 1, 0, 4096);
        self.admin(link, opcode::LOG_PAGE, 0, 0x00ff_0070, 0, 1024);
        self.set_cc(link, 0x0046_4061);
        self.close(link);
    }

    fn use_subsystem(&mut self) {
        let (admin, cntlid) = self.connect(0, 0xffff, S1);
        self.set_cc(admin, 0x0046_0061);
        assert_eq!(self.csts(admin), 1);
        self.admin(admin, opcode::IDENTIFY, 0, 1, 0, 4096);
        self.admin(admin, opcode::SET_FEATURES, 0, 0x07, 0x0001_0001, 0);
        let io: Vec<Link> = (1..=2).map(|qid| self.connect(qid, cntlid, S1).0).collect();
        self.admin(admin, opcode::SET_FEATURES, 0, 0x0b, 0x100, 0);
        let aers = [1, 2, 3].map(|cid| self.request_event(admin, cid));
        self.admin(admin, opcode::ABORT, 0, 2 << 16, 0, 0);
        self.event(admin, aers[1]);
        // The second drive comes up: one request is answered, the other stays held.
        self.plane.drive_ready(1);
        self.event(admin, aers[0]);
        self.admin(admin, opcode::IDENTIFY, 0, 2, 0, 4096);
        self.admin(admin, opcode::IDENTIFY, 2, 3, 0, 4096);
        self.admin(admin, opcode::LOG_PAGE, u32::MAX, 0x03ff_0004, 0, 4096);
        self.admin(admin, opcode::LOG_PAGE, u32::MAX, 0x03ff_0004, 0, 4096);
        self.admin(admin, opcode::SET_FEATURES, 0, 0x0f, 7_000, 0);
        self.admin(admin, opcode::GET_FEATURES, 0, 0x0f, 0, 0);
        self.admin(admin, opcode::GET_FEATURES, 0, 0x07, 0, 0);
        assert_eq!(self.plane.controllers[&cntlid], 7_000);
        let namespaces = self.plane.namespaces.keys().map(|(_, nsid)| *nsid).collect::<Vec<_>>();
        assert_eq!(namespaces, [1, 2]);
        // One I/O queue leaves alone, the other with the reset.
        self.close(io[0]);
        self.links.retain(|link| link.qpn != io[1].qpn);
        self.set_cc(admin, 0x0046_0060);
        self.event(admin, aers[2]);
        self.plane.retire_all();
        assert_eq!(self.csts(admin), 0);
        self.set_cc(admin, 0x0046_0061);
        assert_eq!(self.csts(admin), 1);
        let (again, _) = self.connect(1, cntlid, S1);
        // The admin queue takes the rest with it; the host comes back at once, while its old queues drain.
        self.links.retain(|link| link.qpn != again.qpn);
        self.links.retain(|link| link.qpn != admin.qpn);
        self.ask(&cm::emit(9, &admin.dreq()), attribute::DREP);
        let link = self.open(0);
        let data = self.host.connect_data(0xffff, S1);
        let punt = self.plane.post(link.qpn, connect(0).as_bytes(), data.as_bytes(), 0);
        if !self.plane.retire_at_once {
            assert!(!self.plane.answers.contains_key(&(link.qpn, punt)), "an old write may still land");
            assert!(self.plane.closing.contains(&cntlid));
        }
        self.plane.retire_all();
        let (answer, _) = &self.plane.answers[&(link.qpn, punt)];
        assert_eq!(answer.status.get(), 0);
        assert_ne!(answer.dw0.get() as u16, cntlid);
        self.close(link);
    }

    /// The whole story; how many moments it has.
    fn run(kill_at: &[u64], retire_at_once: bool) -> (Vec<(u16, u32, Vec<u8>)>, u64) {
        let mut plane = Plane::starting(configuration());
        plane.retire_at_once = retire_at_once;
        plane.drive_ready(0);
        plane.event(EventKind::DriveFailed, 1, 0, b"not yet");
        plane.moments = 0;
        plane.kill_at = kill_at.iter().copied().collect();
        let mut story = Self { plane, host: Host::default(), told: Vec::new(), links: Vec::new() };
        story.discover();
        story.use_subsystem();
        let moments = story.plane.moments;
        story.plane.kill_at.clear();
        story.nothing_is_left();
        (story.told, moments)
    }

    fn nothing_is_left(&mut self) {
        while let Some((_, mad)) = self.plane.injected.pop_front() {
            self.hear(&mad);
        }
        self.plane.retire_all();
        self.plane.pass(120 * SECOND_NS);
        self.plane.retire_all();
        let plane = &self.plane;
        assert!(plane.qps.is_empty() && plane.controllers.is_empty() && plane.namespaces.is_empty());
        assert!(plane.closing.is_empty() && plane.controller_blobs.is_empty() && plane.qp_blobs.is_empty());
        assert!(plane.unanswered.is_empty(), "every command has its answer");
        assert_eq!(plane.answers_refused, 0, "nothing was answered twice");
        let status = plane.control.status();
        assert_eq!((status.qps, status.connections, status.held_connects, status.waiting_transactions), (0, 0, 0, 0));
        assert!(status.subsystems.iter().all(|subsystem| subsystem.controllers.is_empty()));
        assert_eq!(status.counters.malformed_frames, 0);
    }
}

#[test]
fn at_every_moment_of_everything_a_host_asks() {
    for retire_at_once in [true, false] {
        let (told, moments) = Story::run(&[], retire_at_once);
        assert!(moments > 400, "{moments} moments");
        for moment in 1..=moments {
            let (with_kill, _) = Story::run(&[moment], retire_at_once);
            assert!(with_kill == told, "killed at moment {moment}: the host was told something else");
        }
    }
}

#[test]
fn at_several_moments_of_one_life() {
    let (told, moments) = Story::run(&[], false);
    for seed in 0..400u64 {
        let mut at = 0;
        let kills: Vec<u64> = (0..5)
            .map(|n| {
                // Close together at first: a new control dies while it adopts.
                let most = if n % 2 == 0 { moments / 3 } else { 40 };
                at += 1 + (seed * 7919 + n * 104_729 + seed * seed * 31) % most;
                at
            })
            .collect();
        let (with_kills, _) = Story::run(&kills, false);
        assert!(with_kills == told, "killed at {kills:?}: the host was told something else");
    }
}
