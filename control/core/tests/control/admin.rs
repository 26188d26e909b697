//! Admin commands: properties, Identify, log pages, features, events, Abort.

use crate::plane::*;
use gantry::channel::Kind;
use gantry::channel::event::EventKind;
use gantry::channel::operation::{ControllerAdd, NamespaceAdd};
use gantry_wire::fabrics::DISCOVERY_NQN;
use gantry_wire::nvme::identify::{IdentifyControllerNvm, NamespaceId};
use gantry_wire::nvme::log::{CommandsSupported, FirmwareSlot, SmartHealth};
use gantry_wire::nvme::{IdentifyController, IdentifyNamespace, NsidList, admin as opcode};
use zerocopy::{FromBytes, IntoBytes};

/// An enabled controller of `s1`: its admin QPN and CNTLID.
fn enabled(plane: &mut Plane) -> (u32, u16) {
    let (admin, cntlid) = Host::default().connect_admin(plane, S1);
    set_cc(plane, admin.qpn, 0x0046_0061);
    (admin.qpn, cntlid)
}

fn identify(plane: &mut Plane, qpn: u32, cns: u32, nsid: u32) -> Result<Vec<u8>, u16> {
    match admin(plane, qpn, command(opcode::IDENTIFY, nsid, cns, 0), 4096) {
        (0, _, page) => Ok(page),
        (status, ..) => Err(status),
    }
}

#[test]
fn properties_in_the_order_a_host_uses_them() {
    let mut plane = Plane::new(configuration());
    let (link, _) = Host::default().connect_admin(&mut plane, S1);
    let qpn = link.qpn;
    // As nvmet's, which Linux is used to: 128 entries, contiguous, 7.5 s, NVM and all-sets.
    assert_eq!(property(&mut plane, qpn, 0, 1), Ok(0x0000_0820_0f01_007f));
    assert_eq!(property(&mut plane, qpn, 8, 0), Ok(0x0002_0000));
    set_cc(&mut plane, qpn, 0x0046_0060);
    assert_eq!((property(&mut plane, qpn, 0x14, 0), csts(&mut plane, qpn)), (Ok(0x0046_0060), 0));
    set_cc(&mut plane, qpn, 0x0046_0061);
    assert_eq!(csts(&mut plane, qpn), 1);
    set_cc(&mut plane, qpn, 0x0046_4061);
    assert_eq!(csts(&mut plane, qpn) & 0xc, 8, "shutdown complete");
    set_cc(&mut plane, qpn, 0x0046_0060);
    assert_eq!(csts(&mut plane, qpn), 0);
    set_cc(&mut plane, qpn, 0x0046_0001);
    assert_eq!(csts(&mut plane, qpn), 1, "enabled again, the NVM command set alone");
}

#[test]
fn properties_that_are_not_there_or_make_no_sense() {
    let mut plane = Plane::new(configuration());
    let (link, _) = Host::default().connect_admin(&mut plane, S1);
    for (ofst, attrib) in [(0x20, 0), (0, 0), (8, 1), (0x14, 1), (0x1c, 2), (0x24, 0), (2, 0), (0xffff_fff0, 0)] {
        assert_eq!(property(&mut plane, link.qpn, ofst, attrib), Err(0x4002), "offset {ofst:#x}");
    }
    for (ofst, attrib, value) in [(0x1c, 0, 1), (0x20, 0, 0x4e56_4d65), (0x14, 1, 0x0046_0061), (0, 1, 0)] {
        assert_eq!(set_property(&mut plane, link.qpn, ofst, attrib, value), 0x4002);
    }
    for cc in [0x0000_0001, 0x0045_0001, 0x0046_0071, 0x0046_0081, 0x0046_0801] {
        assert_eq!(set_property(&mut plane, link.qpn, 0x14, 0, cc), 0x4002, "CC {cc:#x}");
        assert_eq!(csts(&mut plane, link.qpn), 0);
    }
}

#[test]
fn admin_commands_need_an_enabled_controller() {
    let mut plane = Plane::new(configuration());
    let (link, _) = Host::default().connect_admin(&mut plane, S1);
    assert_eq!(identify(&mut plane, link.qpn, 1, 0), Err(0x400c));
}

#[test]
fn identify_controller() {
    let mut plane = Plane::new(configuration());
    let (qpn, cntlid) = enabled(&mut plane);
    let page = identify(&mut plane, qpn, 1, 0).unwrap();
    let page = IdentifyController::parse(&page).unwrap();
    assert_eq!((page.model(), page.cntlid.get(), page.cntrltype), ("Gantry", cntlid, 1));
    assert_eq!(page.serial().len(), 16);
    assert_eq!(page.mdts_bytes(0), Some(1 << 20), "the data plane's largest transfer");
    assert_eq!((page.maxcmd.get(), page.kas.get(), page.ioccsz.get(), page.iorcsz.get()), (128, 1, 260, 1));
    assert_eq!((page.icdoff.get(), page.msdbd, page.sqes, page.cqes), (0, 1, 0x66, 0x44));
    assert_eq!(page.sgls.get(), 1 | 1 << 2 | 1 << 20);
    assert_eq!(page.ctratt.get(), 1 | 1 << 6);
    assert_eq!((page.nn.get(), page.mnan.get()), (2, 2));
    assert_eq!(page.oncs.get(), 0x0c, "drive b offers no Compare, nobody offers more than the data plane carries");
    assert_eq!(page.vwc & 1, 1);
    assert_eq!((page.awun.get(), page.awupf.get()), (0, 0), "what holds for both: drive a promises one block");
    assert_eq!((page.aerl, page.lpa, page.oaes.get()), (3, 7, 1 << 8 | 1 << 11));
    assert_eq!((page.cmic, page.anacap, page.anagrpmax.get(), page.nanagrpid.get()), (0b1011, 0b101, 2, 2));
    assert_ne!(page.anatt, 0);
    assert_eq!(page.ver.get(), 0x0002_0000);

    // The same after a restart, another for another subsystem.
    let serial = page.serial().to_owned();
    let mut again = Plane::new(configuration());
    let (qpn, _) = enabled(&mut again);
    let page = identify(&mut again, qpn, 1, 0).unwrap();
    assert_eq!(IdentifyController::parse(&page).unwrap().serial(), serial);
}

#[test]
fn identify_namespaces() {
    let mut plane = Plane::new(configuration());
    let (qpn, _) = enabled(&mut plane);
    let page = identify(&mut plane, qpn, 0, 2).unwrap();
    let page = IdentifyNamespace::parse(&page).unwrap();
    assert_eq!((page.nsze.get(), page.ncap.get(), page.nuse.get()), (131_072, 131_072, 131_072));
    assert_eq!((page.block_shift(), page.nlbaf, page.flbas, page.nmic, page.dlfeat), (Some(12), 0, 0, 1, 1));
    assert_eq!((page.nguid, u128::from_le_bytes(page.nvmcap)), ([2; 16], 131_072 << 12));
    // What drive b says of its namespace; drive a says nothing.
    assert_eq!((page.nsfeat, page.nawun.get(), page.nawupf.get()), (1 << 1 | 1 << 4, 7, 3));
    assert_eq!((page.noiob.get(), page.npwg.get(), page.nows.get()), (32, 15, 0));
    let page = identify(&mut plane, qpn, 0, 1).unwrap();
    let page = IdentifyNamespace::parse(&page).unwrap();
    assert_eq!((page.nsfeat, page.nawun.get(), page.noiob.get()), (0, 0, 0));
    for (nsid, status) in [(0, 0x400b), (3, 0x400b), (u32::MAX, 0x400b)] {
        assert_eq!(identify(&mut plane, qpn, 0, nsid), Err(status));
    }

    let ids = identify(&mut plane, qpn, 3, 1).unwrap();
    let expected = [NamespaceId::Nguid([1; 16]), NamespaceId::Uuid(UUID), NamespaceId::Csi(0)];
    assert!(NamespaceId::parse_list(&ids).eq(expected));
    assert_eq!(identify(&mut plane, qpn, 3, 9), Err(0x400b));

    let list = |plane: &mut Plane, cns, after| {
        let page = identify(plane, qpn, cns, after).unwrap();
        NsidList::parse(&page).unwrap().iter().map(|nsid| nsid.0).collect::<Vec<_>>()
    };
    assert_eq!((list(&mut plane, 2, 0), list(&mut plane, 2, 1), list(&mut plane, 7, 2)), (vec![1, 2], vec![2], vec![]));
    assert_eq!(identify(&mut plane, qpn, 2, u32::MAX), Err(0x400b));
}

#[test]
fn identify_of_command_sets() {
    let mut plane = Plane::new(configuration());
    let (qpn, _) = enabled(&mut plane);
    let limits = identify(&mut plane, qpn, 6, 0).unwrap();
    let limits = IdentifyControllerNvm::parse(&limits).unwrap();
    assert_eq!((limits.wzsl, limits.dmrl, limits.dmrsl.get(), limits.dmsl.get()), (0, 8, 100, 200), "drive b's");
    assert_eq!(identify(&mut plane, qpn, 0x1c, 0).unwrap()[..9], [1, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(identify(&mut plane, qpn, 5, 1), Ok(vec![0; 4096]));
    let independent = identify(&mut plane, qpn, 8, 1).unwrap();
    assert_eq!((independent[1], independent[14]), (1, 1));
    let zoned = command(opcode::IDENTIFY, 0, 6, 2 << 24);
    assert_eq!(admin(&mut plane, qpn, zoned, 4096).0, 0x4002);
    assert_eq!(identify(&mut plane, qpn, 0x13, 0), Err(0x4002));
    let short = command(opcode::IDENTIFY, 0, 1, 0);
    assert_eq!(admin(&mut plane, qpn, short, 4095).0, 0x400f);
}

#[test]
fn unknown_commands_are_refused_and_counted() {
    let mut plane = Plane::new(configuration());
    let (qpn, _) = enabled(&mut plane);
    let before = plane.control.status().counters.commands_refused;
    for unknown in [opcode::FORMAT_NVM, opcode::CREATE_IO_SQ, opcode::SANITIZE, 0xc0] {
        assert_eq!(admin(&mut plane, qpn, command(unknown, 0, 0, 0), 0).0, 0x4001);
    }
    let mut fused = command(opcode::IDENTIFY, 0, 1, 0);
    fused.flags |= 1;
    assert_eq!(admin(&mut plane, qpn, fused, 4096).0, 0x4002);
    let mut auth = [0; 64];
    (auth[0], auth[4]) = (0x7f, 5);
    assert_eq!(plane.capsule(qpn, &auth, &[], 0).unwrap().0.status.get(), 0x4001);
    assert_eq!(plane.control.status().counters.commands_refused, before + 5);
}

fn log(plane: &mut Plane, qpn: u32, lid: u32, dwords: u32, offset: u32) -> Result<Vec<u8>, u16> {
    let mut sqe = command(opcode::LOG_PAGE, u32::MAX, lid | (dwords - 1) << 16, 0);
    sqe.cdw12 = offset.into();
    match admin(plane, qpn, sqe, dwords as usize * 4) {
        (0, _, page) => Ok(page),
        (status, ..) => Err(status),
    }
}

#[test]
fn log_pages() {
    let mut plane = Plane::new(configuration());
    let (qpn, _) = enabled(&mut plane);
    assert_eq!(log(&mut plane, qpn, 0x01, 16, 0), Ok(vec![0; 64]), "no errors");
    let smart = log(&mut plane, qpn, 0x02, 128, 0).unwrap();
    let smart = SmartHealth::read_from_bytes(&smart).unwrap();
    assert_eq!((smart.critical_warning, smart.available_spare, smart.composite_temperature.get()), (0, 100, 293));
    let firmware = log(&mut plane, qpn, 0x03, 128, 0).unwrap();
    let firmware = FirmwareSlot::read_from_bytes(&firmware).unwrap();
    assert_eq!((firmware.afi, &firmware.frs[0][..3]), (1, &b"0.1"[..]));
    assert_eq!(log(&mut plane, qpn, 0x04, 1024, 0), Ok(vec![0; 4096]), "nothing changed");
    let supported = log(&mut plane, qpn, 0x05, 1024, 0).unwrap();
    let supported = CommandsSupported::read_from_bytes(&supported).unwrap();
    let words = |words: &[zerocopy::little_endian::U32; 256]| {
        words.iter().enumerate().filter(|(_, w)| w.get() != 0).map(|(op, w)| (op, w.get())).collect::<Vec<_>>()
    };
    assert_eq!(words(&supported.acs), [(2, 1), (6, 1), (8, 1), (9, 1), (10, 1), (12, 1), (24, 1)]);
    assert_eq!(words(&supported.iocs), [(0, 1), (1, 3), (2, 1), (8, 3), (9, 3)]);
}

#[test]
fn log_pages_in_parts_and_beyond() {
    let mut plane = Plane::new(configuration());
    let (qpn, _) = enabled(&mut plane);
    let whole = log(&mut plane, qpn, 0x02, 128, 0).unwrap();
    let parts = [log(&mut plane, qpn, 0x02, 64, 0).unwrap(), log(&mut plane, qpn, 0x02, 64, 256).unwrap()].concat();
    assert_eq!(whole, parts);
    let beyond = log(&mut plane, qpn, 0x03, 256, 0).unwrap();
    assert_eq!((beyond.len(), &beyond[512..]), (1024, &[0; 512][..]), "zeroes behind the end");
    assert_eq!(log(&mut plane, qpn, 0x02, 1, 516), Err(0x4002));
    assert_eq!(log(&mut plane, qpn, 0x02, 1, 2), Err(0x4002));
    assert_eq!(log(&mut plane, qpn, 0x02, 1025, 0), Err(0x4002), "more than the channel carries");
    assert_eq!(log(&mut plane, qpn, 0x0d, 1, 0), Err(0x4109));
    assert_eq!(log(&mut plane, qpn, 0x70, 1, 0), Err(0x4109));
    let short = command(opcode::LOG_PAGE, u32::MAX, 0x007f_0002, 0);
    assert_eq!(admin(&mut plane, qpn, short, 511).0, 0x400f);
}

/// NSID and ANA state of each group, each of one namespace.
fn access(plane: &mut Plane, qpn: u32) -> Vec<(u32, u8)> {
    let log = log(plane, qpn, 0x0c, 22, 0).unwrap();
    let word = |at: usize| u32::from_le_bytes(log[at..at + 4].try_into().unwrap());
    assert_eq!((word(8), word(12)), (2, 0), "two groups");
    let group = |at: usize| {
        assert_eq!((word(at + 4), word(at)), (1, word(at + 32)), "a group of its own, numbered as its namespace");
        (word(at), log[at + 16])
    };
    vec![group(16), group(52)]
}

#[test]
fn access_follows_the_drives_and_hosts_are_told_once_they_ask() {
    let mut plane = Plane::new(configuration());
    let (qpn, _) = enabled(&mut plane);
    assert_eq!(access(&mut plane, qpn), [(1, 1), (2, 1)]);
    let groups = log(&mut plane, qpn, 0x010c, 20, 0).unwrap();
    assert_eq!((groups[20], groups[16 + 32]), (0, 2), "no NSIDs when only groups are asked for");
    let page = identify(&mut plane, qpn, 0, 2).unwrap();
    assert_eq!(IdentifyNamespace::parse(&page).unwrap().anagrpid.get(), 2);

    plane.event(EventKind::DriveStopped, 1, 0, &[]);
    assert_eq!(access(&mut plane, qpn), [(1, 1), (2, 3)]);
    plane.event(EventKind::DriveFailed, 1, 1, b"it is gone");
    assert_eq!(access(&mut plane, qpn), [(1, 1), (2, 3)]);
    let away = identify(&mut plane, qpn, 0, 2).unwrap();
    assert_eq!(away, page, "what it was is still told");
    plane.drive_ready(1);
    assert_eq!(access(&mut plane, qpn), [(1, 1), (2, 1)]);
}

fn set(plane: &mut Plane, qpn: u32, fid: u32, value: u32) -> (u16, u32) {
    let (status, dw0, _) = admin(plane, qpn, command(opcode::SET_FEATURES, 0, fid, value), 0);
    (status, dw0)
}

fn get(plane: &mut Plane, qpn: u32, fid: u32) -> (u16, u32) {
    let (status, dw0, _) = admin(plane, qpn, command(opcode::GET_FEATURES, 0, fid, 0), 0);
    (status, dw0)
}

#[test]
fn features() {
    let mut plane = Plane::new(configuration());
    let (qpn, cntlid) = enabled(&mut plane);
    assert_eq!(get(&mut plane, qpn, 0x07), (0, 0x003f_003f));
    assert_eq!(set(&mut plane, qpn, 0x07, 0x0fff_0fff), (0, 0x003f_003f));
    assert_eq!(set(&mut plane, qpn, 0x07, 0x0007_0003), (0, 0x0003_0003));
    assert_eq!(set(&mut plane, qpn, 0x07, 0xffff_0003), (0x4002, 0));
    assert_eq!(set(&mut plane, qpn, 0x0b, 0x0000_0b00), (0, 0));
    assert_eq!(get(&mut plane, qpn, 0x0b), (0, 0x0000_0900), "of what it asked, what there is");
    assert_eq!((set(&mut plane, qpn, 0x05, 0x0001_0005).0, get(&mut plane, qpn, 0x05)), (0, (0, 5)));
    assert_eq!((set(&mut plane, qpn, 0x04, 0x014d).0, get(&mut plane, qpn, 0x04)), (0, (0, 0x014d)));
    assert_eq!(get(&mut plane, qpn, 0x06), (0, 1));
    assert_eq!((set(&mut plane, qpn, 0x06, 1).0, set(&mut plane, qpn, 0x06, 0).0), (0, 0x410e));
    assert_eq!(set(&mut plane, qpn, 0x0f, 12_345), (0, 0));
    assert_eq!(get(&mut plane, qpn, 0x0f), (0, 12_400), "rounded up to KAS");
    let kept = plane.operations::<ControllerAdd>(Kind::ControllerAdd);
    let last = kept.last().unwrap();
    assert_eq!((last.cntlid.get(), last.keep_alive_ms.get()), (cntlid, 12_400));
    assert_eq!(set(&mut plane, qpn, 0x8000_000b, 0).0, 0x410d, "nothing is saved");
    assert_eq!(set(&mut plane, qpn, 0x81, 1).0, 0x400c, "Connect sets the host identifier");
    assert_eq!((get(&mut plane, qpn, 0x99).0, set(&mut plane, qpn, 0x99, 0).0), (0x4002, 0x4002));
    assert_eq!(get(&mut plane, qpn, 0x0107).0, 0x4002, "defaults are not told apart");
    let host_id = command(opcode::GET_FEATURES, 0, 0x81, 1);
    assert_eq!(admin(&mut plane, qpn, host_id, 16), (0, 0, HOST_ID.to_vec()));
    assert_eq!(admin(&mut plane, qpn, host_id, 8).0, 0x400f);
}

#[test]
fn the_number_of_queues_is_settled_before_there_are_any() {
    let mut plane = Plane::new(configuration());
    let (admin, _, _) = Host::default().connect_all(&mut plane, S1, 1);
    assert_eq!(set(&mut plane, admin.qpn, 0x07, 0), (0x400c, 0));
}

#[test]
fn a_drive_without_a_cache_has_no_cache_feature() {
    let mut configuration = configuration();
    configuration.subsystems[0].namespaces.truncate(1);
    let mut plane = Plane::new(configuration);
    let (qpn, _) = enabled(&mut plane);
    assert_eq!((get(&mut plane, qpn, 0x06).0, set(&mut plane, qpn, 0x06, 1).0), (0x4002, 0x4002));
    let page = identify(&mut plane, qpn, 1, 0).unwrap();
    let page = IdentifyController::parse(&page).unwrap();
    assert_eq!((page.vwc & 1, page.oncs.get()), (0, 0x0d));
}

#[test]
fn a_discovery_controller_offers_what_discovery_needs() {
    let mut plane = Plane::new(configuration());
    let (link, _) = Host::default().connect_admin(&mut plane, DISCOVERY_NQN);
    set_cc(&mut plane, link.qpn, 0x0046_0061);
    assert_eq!(set(&mut plane, link.qpn, 0x0b, 0x8000_0100), (0, 0));
    assert_eq!(get(&mut plane, link.qpn, 0x0b), (0, 0x8000_0000));
    assert_eq!(set(&mut plane, link.qpn, 0x07, 0).0, 0x4002);
    assert_eq!(identify(&mut plane, link.qpn, 2, 0), Err(0x4002));
    assert_eq!(log(&mut plane, link.qpn, 0x02, 128, 0), Err(0x4109));
    let stranger = &mut Host { nqn: "nqn.2026-01.lab:stranger".into(), next: 0x800, ..Host::default() };
    let (link, _) = stranger.connect_admin(&mut plane, DISCOVERY_NQN);
    set_cc(&mut plane, link.qpn, 0x0046_0061);
    let page = log(&mut plane, link.qpn, 0x70, 256, 0).unwrap();
    assert_eq!(page[8..16], [0; 8], "it may see no subsystem");
}

#[test]
fn a_drive_that_comes_up_late_is_announced() {
    let mut plane = Plane::starting(configuration());
    plane.drive_ready(0);
    plane.event(EventKind::DriveFailed, 1, 0, b"not yet");
    let (qpn, cntlid) = enabled(&mut plane);
    assert_eq!(set(&mut plane, qpn, 0x0b, 0x100), (0, 0));
    let punt = plane.post(qpn, command(opcode::ASYNC_EVENT_REQUEST, 0, 0, 0).as_bytes(), &[], 0);
    assert_eq!(identify(&mut plane, qpn, 3, 2), Err(0x400b));
    assert_eq!(identify(&mut plane, qpn, 0, 2), Ok(vec![0; 4096]), "a valid NSID that is not active");

    plane.drive_ready(1);
    let added = plane.operations::<NamespaceAdd>(Kind::NamespaceAdd);
    let last = added.last().unwrap();
    assert_eq!((last.cntlid.get(), last.nsid.get(), last.drive.get()), (cntlid, 2, 1));
    assert_eq!(plane.answers[&(qpn, punt)].0.dw0.get(), 0x0004_0002);
    let changed = log(&mut plane, qpn, 0x04, 1024, 0).unwrap();
    assert_eq!(changed[..8], [2, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(log(&mut plane, qpn, 0x04, 1024, 0), Ok(vec![0; 4096]), "reading clears it");
    assert!(identify(&mut plane, qpn, 3, 2).is_ok());
    // The drive's own reset is no news.
    plane.drive_ready(1);
    assert_eq!(plane.operations::<NamespaceAdd>(Kind::NamespaceAdd).len(), added.len());
}

#[test]
fn an_event_is_told_once_until_its_log_is_read() {
    let mut plane = Plane::starting(configuration());
    plane.event(EventKind::DriveFailed, 0, 0, b"not yet");
    plane.event(EventKind::DriveFailed, 1, 0, b"not yet");
    let (qpn, _) = enabled(&mut plane);
    assert_eq!(set(&mut plane, qpn, 0x0b, 0x100), (0, 0));
    let aer = command(opcode::ASYNC_EVENT_REQUEST, 0, 0, 0);
    plane.drive_ready(0);
    // The event was there first.
    let (answer, _) = plane.capsule(qpn, aer.as_bytes(), &[], 0).unwrap();
    assert_eq!(answer.dw0.get(), 0x0004_0002);
    assert!(plane.capsule(qpn, aer.as_bytes(), &[], 0).is_none());
    plane.drive_ready(1);
    assert_eq!(plane.unanswered.len(), 1, "masked until log 04 is read");
    let changed = log(&mut plane, qpn, 0x04, 1024, 0).unwrap();
    assert_eq!(changed[..8], [1, 0, 0, 0, 2, 0, 0, 0]);
}

#[test]
fn an_event_nobody_asked_for_is_not_told() {
    let mut plane = Plane::starting(configuration());
    plane.drive_ready(0);
    plane.event(EventKind::DriveFailed, 1, 0, b"not yet");
    let (qpn, _) = enabled(&mut plane);
    plane.post(qpn, command(opcode::ASYNC_EVENT_REQUEST, 0, 0, 0).as_bytes(), &[], 0);
    plane.drive_ready(1);
    assert_eq!(plane.unanswered.len(), 1);
}

#[test]
fn event_requests_are_held_up_to_the_limit_and_can_be_aborted() {
    let mut plane = Plane::new(configuration());
    let (qpn, _) = enabled(&mut plane);
    let mut aer = command(opcode::ASYNC_EVENT_REQUEST, 0, 0, 0);
    for cid in 0..4 {
        aer.cid = cid.into();
        assert!(plane.capsule(qpn, aer.as_bytes(), &[], 0).is_none());
    }
    aer.cid = 4.into();
    assert_eq!(plane.capsule(qpn, aer.as_bytes(), &[], 0).unwrap().0.status.get(), 0x4105);
    let mut abort = |sqid: u32, cid: u32| {
        let (status, dw0, _) = admin(&mut plane, qpn, command(opcode::ABORT, 0, cid << 16 | sqid, 0), 0);
        (status, dw0)
    };
    assert_eq!(abort(0, 99), (0, 1), "no such command: it was not aborted");
    assert_eq!(abort(1, 2), (0, 1), "on another queue");
    assert_eq!(abort(0, 2), (0, 0));
    assert_eq!(abort(0, 2), (0, 1));
    assert!(plane.applied.iter().all(|(kind, _)| *kind != Kind::Abort), "there is no queue 1");
    let aborted: Vec<u16> = plane.answers.values().map(|(a, _)| a.status.get()).filter(|s| *s == 7).collect();
    assert_eq!((aborted.len(), plane.unanswered.len()), (1, 3));
    assert!(plane.capsule(qpn, aer.as_bytes(), &[], 0).is_none(), "there is room for another");
}

#[test]
fn an_io_command_is_for_the_data_plane_to_abort() {
    let mut plane = Plane::new(configuration());
    let (link, io, _) = Host::default().connect_all(&mut plane, S1, 1);
    assert_eq!(admin(&mut plane, link.qpn, command(opcode::ABORT, 0, 0x55 << 16 | 1, 0), 0), (0, 1, vec![]));
    let aborts = plane.operations::<gantry::channel::operation::Abort>(Kind::Abort);
    assert_eq!(aborts.iter().map(|a| (a.qpn.get(), a.cid.get())).collect::<Vec<_>>(), [(io[0].qpn, 0x55)]);
}
