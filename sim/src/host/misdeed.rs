//! Capsules that break the rules, sent by the host itself through its own queues, and what somebody who sees its traffic
//! knows of it. For tests of a target: its answer is an error status, or the end of the association, and disturbs
//! nobody else. NVMe Base 2.0 §3.3, §4.1 (SQE, SGL), NVMe-oF 1.1 §2.3 (capsules), §3.3 (Connect), §3.6 (Property Set).

use super::association::sqe_bytes;
use super::queue::Purpose;
use super::{Busy, Command, Data, Host};
use gantry_host_wire::ethernet::Mac;
use gantry_roce::{Psn, Qpn, Rkey};
use gantry_wire::fabrics::{CNTLID_DYNAMIC, Connect, ConnectData, PROPERTY_4_BYTES, PROPERTY_8_BYTES};
use gantry_wire::fabrics::{PropertyGet, PropertySet};
use gantry_wire::nvme::register::{self, Cc};
use gantry_wire::nvme::{Cid, Nsid, Sgl, Sqe, admin, nvm};
use zerocopy::{FromBytes, IntoBytes};

/// What somebody who sees all of a host's traffic knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    /// The host's MAC address.
    pub mac: Mac,
    /// The target's.
    pub target_mac: Mac,
    /// The host's address; a mapped one is IPv4.
    pub ip: [u8; 16],
    /// The target's.
    pub target_ip: [u8; 16],
    /// 802.1Q VLAN id; zero for none.
    pub vlan: u16,
    /// Path MTU in bytes.
    pub path_mtu: u16,
    /// Its established connections, admin first.
    pub queues: Vec<ExposedQueue>,
}

/// One connection of an [`Exposed`] host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExposedQueue {
    /// NVMe queue id.
    pub qid: u16,
    /// The host's QPN.
    pub local_qpn: Qpn,
    /// The target's.
    pub remote_qpn: Qpn,
    /// PSN of the next new request of the host.
    pub send_psn: Psn,
    /// PSN of the next new request of the target.
    pub receive_psn: Psn,
    /// UDP source port of the host's packets.
    pub udp_source: u16,
    /// The host's communication id.
    pub local_comm_id: u32,
    /// The target's.
    pub remote_comm_id: u32,
    /// A key to memory of the host that a command in flight has given the target.
    pub rkey: Option<Rkey>,
}

/// How a capsule of [`Host::violate`] breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CapsuleKind {
    /// SGL of a reserved descriptor type, or of one that capsules have no use for.
    SglType,
    /// Keyed SGL of a reserved subtype.
    SglSubtype,
    /// A read with an SGL of no bytes.
    SglEmpty,
    /// A read with an SGL of the largest 24-bit length, and as many blocks as fit.
    SglLongest,
    /// A write of in-capsule data at an offset.
    SglOffset,
    /// A write of more in-capsule data than there is.
    SglBeyondCapsule,
    /// A read into memory that the host has not registered.
    ReadWildKey,
    /// A write from memory that the host has not registered.
    WriteWildKey,
    /// PRPs, or the reserved PSDT.
    Psdt,
    /// A read of more than MDTS.
    OverMdts,
    /// An NSID that is not there, or zero, or everyone's.
    Namespace,
    /// A read that begins before the end of the namespace and ends behind it.
    LbaAtEnd,
    /// A read from far behind the end, or one that wraps.
    LbaBeyond,
    /// 65536 blocks with an SGL of 4096 bytes.
    NlbHuge,
    /// A reserved I/O opcode.
    IoOpcode,
    /// A reserved admin opcode.
    AdminOpcode,
    /// Half of a fused operation.
    Fused,
    /// Two commands of one CID at a time.
    DuplicateCid,
    /// A SEND too short for an SQE.
    Short,
    /// A SEND longer than a capsule can be.
    Long,
    /// An Abort of a command and a queue that are not there.
    AbortNothing,
    /// Connect on an I/O queue that has joined.
    ConnectAgain,
    /// Connect with another CNTLID, queue id or size, on a queue that has joined.
    ConnectOther,
    /// Connect on the admin queue that has joined.
    ConnectAdminAgain,
    /// Property Get on an I/O queue.
    PropertyOnIo,
    /// Property Get of an offset that is none, or with the wrong size.
    PropertyOffset,
    /// Property Set of CAP, which cannot be set.
    PropertyReadOnly,
    /// CC.EN set once more.
    EnableAgain,
    /// CC.EN cleared under load.
    Disable,
    /// CC.SHN under load.
    Shutdown,
}

impl CapsuleKind {
    /// Every kind.
    pub const ALL: [CapsuleKind; 30] = [
        CapsuleKind::SglType,
        CapsuleKind::SglSubtype,
        CapsuleKind::SglEmpty,
        CapsuleKind::SglLongest,
        CapsuleKind::SglOffset,
        CapsuleKind::SglBeyondCapsule,
        CapsuleKind::ReadWildKey,
        CapsuleKind::WriteWildKey,
        CapsuleKind::Psdt,
        CapsuleKind::OverMdts,
        CapsuleKind::Namespace,
        CapsuleKind::LbaAtEnd,
        CapsuleKind::LbaBeyond,
        CapsuleKind::NlbHuge,
        CapsuleKind::IoOpcode,
        CapsuleKind::AdminOpcode,
        CapsuleKind::Fused,
        CapsuleKind::DuplicateCid,
        CapsuleKind::Short,
        CapsuleKind::Long,
        CapsuleKind::AbortNothing,
        CapsuleKind::ConnectAgain,
        CapsuleKind::ConnectOther,
        CapsuleKind::ConnectAdminAgain,
        CapsuleKind::PropertyOnIo,
        CapsuleKind::PropertyOffset,
        CapsuleKind::PropertyReadOnly,
        CapsuleKind::EnableAgain,
        CapsuleKind::Disable,
        CapsuleKind::Shutdown,
    ];

    /// Whether the target may end the association over it, or must.
    pub fn may_end_association(self) -> bool {
        matches!(
            self,
            CapsuleKind::ReadWildKey
                | CapsuleKind::WriteWildKey
                | CapsuleKind::Short
                | CapsuleKind::Long
                | CapsuleKind::Disable
                | CapsuleKind::Shutdown
        )
    }

    /// Whether a success would be the target's fault.
    pub fn must_fail(self) -> bool {
        // An Abort of nothing and two equal CIDs may end well; the rest of these is lawful, if out of place.
        !matches!(
            self,
            CapsuleKind::DuplicateCid
                | CapsuleKind::AbortNothing
                | CapsuleKind::EnableAgain
                | CapsuleKind::Disable
                | CapsuleKind::Shutdown
        )
    }

    /// It goes out on the admin queue.
    pub fn is_admin(self) -> bool {
        use CapsuleKind::*;
        matches!(
            self,
            AdminOpcode
                | AbortNothing
                | ConnectAdminAgain
                | PropertyOffset
                | PropertyReadOnly
                | EnableAgain
                | Disable
                | Shutdown
        )
    }
}

/// In-capsule data of a capsule that breaks no rule by its length.
const IN_CAPSULE: u32 = 4096;

/// What goes out: a command that the host completes as it does any other, or bytes as they are.
enum Misdeed {
    Command(Sqe, Data),
    Raw(Vec<u8>),
}

impl Host {
    /// What somebody who sees all of this host's traffic knows; none before it has found the target.
    pub fn exposed(&self) -> Option<Exposed> {
        Some(Exposed {
            mac: self.config.mac,
            target_mac: self.link.target_mac?,
            ip: self.link.ip,
            target_ip: self.link.target_ip,
            vlan: self.config.vlan,
            path_mtu: self.config.path_mtu(),
            queues: self.queues.iter().filter_map(super::Queue::exposed).collect(),
        })
    }

    /// Sends a capsule that breaks the rules, drawn from the host's seed. It ends as any command does: with an error
    /// status where [`CapsuleKind::must_fail`] says so, or as aborted with the association.
    pub fn violate(&mut self, kind: CapsuleKind, tag: u64) -> Result<(), Busy> {
        let queues = u64::from(self.io_queues());
        if !kind.is_admin() && queues == 0 {
            return Err(Busy::NotReady);
        }
        let queue = if kind.is_admin() { 0 } else { 1 + (tag % queues) as u16 };
        let index = self.user_queue(queue).ok_or(Busy::NotReady)?;
        if self.queues[index].room() < 2 {
            return Err(Busy::QueueFull);
        }
        match self.misdeed(kind, queue) {
            Misdeed::Command(sqe, data) => self.submit_command(Command { queue, sqe, data, tag })?,
            Misdeed::Raw(mut capsule) => {
                self.counters.commands += 1;
                self.attention.get_mut().touch(index);
                let twice = kind == CapsuleKind::DuplicateCid;
                self.queues[index].send_raw(self.now_ns, Purpose::User(tag), twice, |cid| {
                    if let Some(field) = capsule.get_mut(2..4) {
                        field.copy_from_slice(&cid.to_le_bytes());
                    }
                    capsule
                });
            }
        }
        Ok(())
    }

    fn misdeed(&mut self, kind: CapsuleKind, queue: u16) -> Misdeed {
        use CapsuleKind::*;
        let dice = self.random.next();
        let namespace = self.association.namespaces.first();
        let (nsid, size) = namespace.map_or((1, 1 << 32), |namespace| (namespace.nsid, namespace.blocks));
        let block_size = namespace.map_or(512, |namespace| namespace.block_size);
        let in_capsule = self.queues[usize::from(queue)].sgl_rules.in_capsule;
        let io = |opcode, slba, blocks| {
            let mut sqe = Sqe::new(opcode, Cid(0), Nsid(nsid));
            sqe.set_slba(slba);
            sqe.set_blocks(blocks);
            sqe
        };
        let read = io(nvm::READ, 0, 8);
        let one_page = Data::ToHost(8 * block_size);
        let key = dice as u32;
        let invalidate = matches!(kind, ReadWildKey | WriteWildKey) && dice & 1 << 40 != 0;
        let wild = Sgl::Keyed { address: self.random.page(), length: 8 * block_size, key, invalidate };
        let raw = |sqe: Sqe, sgl: [u8; 16], data: usize| {
            let mut capsule = sqe_bytes(&sqe).to_vec();
            capsule[1] |= Sqe::FLAGS_SGL;
            capsule[24..40].copy_from_slice(&sgl);
            capsule.resize(capsule.len() + data, dice as u8);
            Misdeed::Raw(capsule)
        };
        let choose = |choices: &[u64]| choices[(dice >> 32) as usize % choices.len()];
        match kind {
            SglType => {
                let mut sgl = wild.emit();
                sgl[15] = choose(&[0x00, 0x10, 0x20, 0x30, 0x50, 0x5f, 0x60, 0x70, 0xe0, 0xf0]) as u8;
                raw(read, sgl, 0)
            }
            SglSubtype => {
                let mut sgl = wild.emit();
                sgl[15] = choose(&[0x41, 0x42, 0x43, 0x4a, 0x4e]) as u8;
                raw(read, sgl, 0)
            }
            SglEmpty => raw(read, Sgl::Keyed { address: 0, length: 0, key: 0, invalidate: false }.emit(), 0),
            SglLongest => {
                let sgl = Sgl::Keyed { address: 0, length: 0xff_ffff, key, invalidate: false };
                raw(io(nvm::READ, 0, 0xff_ffff / block_size), sgl.emit(), 0)
            }
            SglOffset => {
                let sgl = Sgl::InCapsule { offset: choose(&[1, 4, 64, 512, u64::MAX]), length: IN_CAPSULE };
                raw(io(nvm::WRITE, 0, IN_CAPSULE / block_size), sgl.emit(), IN_CAPSULE as usize)
            }
            SglBeyondCapsule => {
                let sgl = Sgl::InCapsule { offset: 0, length: IN_CAPSULE };
                raw(io(nvm::WRITE, 0, IN_CAPSULE / block_size), sgl.emit(), IN_CAPSULE as usize / 2)
            }
            ReadWildKey => raw(read, wild.emit(), 0),
            WriteWildKey => raw(io(nvm::WRITE, size - 8, 8), wild.emit(), 0),
            Psdt => {
                let Misdeed::Raw(mut capsule) = raw(read, wild.emit(), 0) else { unreachable!("made one above") };
                capsule[1] = choose(&[0x00, 0x80, 0xc0]) as u8;
                Misdeed::Raw(capsule)
            }
            OverMdts => {
                let mdts = self.controller().map_or(5, |controller| controller.mdts).clamp(1, 8);
                let blocks = (4096 << mdts) / block_size + 1;
                Misdeed::Command(io(nvm::READ, 0, blocks), Data::ToHost(blocks * block_size))
            }
            Namespace => {
                let mut sqe = read;
                sqe.nsid = (choose(&[0, 0xffff_ffff, 0xffff_fffe, 0x1_0000 + (dice & 0xffff)]) as u32).into();
                Misdeed::Command(sqe, one_page)
            }
            LbaAtEnd => Misdeed::Command(io(nvm::READ, size - 1 - dice % 7, 8), one_page),
            LbaBeyond => {
                Misdeed::Command(io(nvm::READ, choose(&[size, size << 20, u64::MAX - 3, u64::MAX]), 8), one_page)
            }
            NlbHuge => Misdeed::Command(io(nvm::READ, 0, 0x1_0000), one_page),
            IoOpcode => {
                Misdeed::Command(io(choose(&[0x03, 0x06, 0x0a, 0x10, 0x40, 0x7e, 0xff]) as u8, 0, 8), Data::None)
            }
            AdminOpcode => {
                let opcode = choose(&[0x03, 0x07, 0x0b, 0x0f, 0x20, 0x7e, 0xbf, 0xff]) as u8;
                Misdeed::Command(Sqe::new(opcode, Cid(0), Nsid(0)), Data::None)
            }
            Fused => {
                let mut sqe = read;
                sqe.flags |= choose(&[1, 2, 3]) as u8;
                Misdeed::Command(sqe, one_page)
            }
            DuplicateCid => raw(
                Sqe::new(nvm::FLUSH, Cid(0), Nsid(nsid)),
                Sgl::Keyed { address: 0, length: 0, key: 0, invalidate: false }.emit(),
                0,
            ),
            Short => Misdeed::Raw(vec![dice as u8; (dice >> 8) as usize % Sqe::LEN]),
            Long => {
                raw(io(nvm::WRITE, 0, 8), wild.emit(), in_capsule as usize + (1 << 14) + (dice >> 8) as usize % 4096)
            }
            AbortNothing => {
                let mut sqe = Sqe::new(admin::ABORT, Cid(0), Nsid(0));
                sqe.cdw10 = (dice as u32).into();
                Misdeed::Command(sqe, Data::None)
            }
            ConnectAgain | ConnectOther | ConnectAdminAgain => self.connect_again_on(queue, kind == ConnectOther, dice),
            PropertyOnIo => Misdeed::Command(property_get(register::CSTS as u32, PROPERTY_4_BYTES), Data::None),
            PropertyOffset => {
                let (offset, size) = match dice % 3 {
                    0 => (0x1000 + (dice >> 8) as u32 % 0x1000, PROPERTY_4_BYTES),
                    1 => (register::CAP as u32 + 3, PROPERTY_8_BYTES),
                    _ => (register::CSTS as u32, 7),
                };
                Misdeed::Command(property_get(offset, size), Data::None)
            }
            PropertyReadOnly => {
                Misdeed::Command(property_set(register::CAP as u32, PROPERTY_8_BYTES, dice), Data::None)
            }
            EnableAgain => self.set_cc_to(|cc| cc.with_en(1)),
            Disable => self.set_cc_to(|cc| cc),
            Shutdown => self.set_cc_to(|cc| cc.with_en(1).with_shn(1)),
        }
    }

    fn connect_again_on(&self, queue: u16, other: bool, dice: u64) -> Misdeed {
        let mut cntlid = if queue == 0 { CNTLID_DYNAMIC } else { self.association.cntlid };
        let mut connect = Connect::new();
        connect.qid = queue.into();
        connect.sqsize = (self.queues[usize::from(queue)].ring.entries - 1).into();
        match dice % 3 {
            0 if other => cntlid ^= 1 + (dice >> 8) as u16 % 0x7fff,
            1 if other => connect.qid = (queue + 1 + (dice >> 8) as u16 % 100).into(),
            _ if other => connect.sqsize = ((dice >> 8) as u16 | 0x8000).into(),
            _ => {}
        }
        let data =
            ConnectData::new(self.config.hostid, cntlid, &self.association.wanted().subnqn, &self.config.hostnqn);
        let sqe = Sqe::read_from_bytes(connect.as_bytes()).expect("64 bytes");
        Misdeed::Command(sqe, Data::ToController(data.as_bytes().to_vec()))
    }

    fn set_cc_to(&self, change: impl FnOnce(Cc) -> Cc) -> Misdeed {
        Misdeed::Command(property_set(register::CC as u32, PROPERTY_4_BYTES, change(self.cc()).0.into()), Data::None)
    }
}

fn property_get(offset: u32, size: u8) -> Sqe {
    let mut get = PropertyGet::new();
    get.attrib = size;
    get.ofst = offset.into();
    Sqe::read_from_bytes(get.as_bytes()).expect("64 bytes")
}

fn property_set(offset: u32, size: u8, value: u64) -> Sqe {
    let mut set = PropertySet::new();
    set.attrib = size;
    set.ofst = offset.into();
    set.value = value.into();
    Sqe::read_from_bytes(set.as_bytes()).expect("64 bytes")
}
