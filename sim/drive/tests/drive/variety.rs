//! Drives that differ: what each offers is discovered and kept to, and what makes get wrong is worked around, or the test says
//! what would happen without. NVMe Base 2.0 §3.1.3, §3.5, §5.17; NVM Command Set 1.0 §4.1.5.

use crate::rig::{CONFIG, Rig, pattern};
use gantry_dma::Region;
use gantry_drive::{Action, Rule, SoftwareDrive, open};
use gantry_nvme::{Bar, Config, Controller, Device, Event, Failure, Limits, QueueFull, Reason, Unusable, command};
use gantry_wire::nvme::identify::oncs;
use gantry_wire::nvme::register::{self, Cap};
use gantry_wire::nvme::{Cid, DsmRange, Nsid, Sgl, Sqe, Status, admin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use zerocopy::IntoBytes;

const ONE: Nsid = Nsid(1);

/// The drive of a URI, driven as its own make; or, when `known` is false, as one that nothing is known of.
fn rig(uri: &str, known: bool, config: Config) -> Rig {
    let drive = open(uri, "test").unwrap();
    let (vendor, device) = if known { drive.make() } else { (0, 0) };
    let device = Device { vendor, device, ..Device::default() };
    let bar = |drive: &SoftwareDrive| Bar { device, ..drive.bar().into() };
    Rig::over(drive, bar, config)
}

fn event(uri: &str, known: bool) -> Event {
    rig(uri, known, CONFIG).event()
}

fn is_ready(uri: &str, known: bool) -> bool {
    event(uri, known) == Event::Ready
}

/// Writes, reads back and flushes.
fn serves(rig: &mut Rig) {
    let mut queue = rig.controller.take_io_queue(1);
    let data = pattern(3, 16 << 10);
    rig.put(0, &data);
    let (prps, cid) = (rig.prps(0, data.len()), rig.cid());
    assert_eq!(rig.run(&mut queue, &command::write(ONE, cid, 8, 32, prps, false)).status(), Status::SUCCESS);
    rig.paint(0);
    let cid = rig.cid();
    assert_eq!(rig.run(&mut queue, &command::read(ONE, cid, 8, 32, prps, false)).status(), Status::SUCCESS);
    assert!(rig.take(0, data.len()) == data);
    let cid = rig.cid();
    assert_eq!(rig.run(&mut queue, &command::flush(ONE, cid)).status(), Status::SUCCESS);
}

#[test]
fn doorbells_any_stride_apart() {
    for stride in 0..=10 {
        let mut rig = Rig::new(&format!("mem:1M,dstrd={stride}"));
        assert_eq!(Cap(rig.drive.bar().load_u64(register::CAP, Ordering::Relaxed)).dstrd(), stride);
        serves(&mut rig);
        let tail = rig.drive.bar().load_u32(register::sq_doorbell(2, stride), Ordering::Relaxed);
        assert_eq!(tail, 3, "queue 2 had three commands, stride {stride}");
    }
}

#[test]
fn larger_memory_pages_than_ours_are_refused_in_words() {
    let Event::Failed(Failure { reason, .. }) = event("mem:1M,mpsmin=2", true) else { panic!("it was driven") };
    assert_eq!(reason, Reason::PageSize { mpsmin: 2 });
    assert!(reason.to_string().contains("16384 bytes; 4096 are needed"));
}

/// MDTS and the queues' length, as the drive has them.
#[test]
fn small_drives_are_kept_to() {
    let rig = Rig::new("mem:1M,mdts=8K,entries=3");
    let inventory = rig.controller.inventory();
    assert_eq!((inventory.mdts_bytes, inventory.io_entries), (8192, 3));
    assert_eq!(inventory.blocks_max(&inventory.namespaces[0]), 16);
}

#[test]
fn a_drive_takes_its_time_to_be_ready() {
    // CAP.TO says one second, CRTO five.
    assert!(!is_ready("mem:1M,to=2,ready=1500", true));
    assert!(is_ready("mem:1M,to=2,ready=900", true));
    assert!(is_ready("mem:1M,to=2,crto=10,ready=4900", true));
    let failed = Event::Failed(Failure { reason: Reason::NotReady { timeout_ns: 5_000_000_000 }, stopped: true });
    assert_eq!(event("mem:1M,to=2,crto=10,ready=5100", true), failed);
    assert!(is_ready("mem:1M,to=20,crto=1,ready=5100", true), "CRTO is below CAP.TO on some drives");
}

#[test]
fn only_io_controllers_are_drives() {
    for (cntrltype, text) in [(2, "a discovery controller"), (3, "an administrative one")] {
        let Event::Failed(Failure { reason, .. }) = event(&format!("mem:1M,type={cntrltype}"), true) else { panic!() };
        assert_eq!(reason, Reason::ControllerType { cntrltype });
        assert!(reason.to_string().contains(text));
    }
    assert!(is_ready("mem:1M,type=0", true), "from before there were types");
}

#[test]
fn old_drives_are_asked_what_they_know() {
    for version in ["1.0", "1.1", "1.2", "1.3", "1.4", "2.0"] {
        let mut drive = open(&format!("mem:1M,namespaces=3,version={version}"), "test").unwrap();
        drive.model().set_active(Nsid(2), false);
        let mut rig = Rig::cold(drive, CONFIG);
        // What a drive is asked and does not know ends up in its error log.
        assert_eq!(rig.event(), Event::Ready, "{version}");
        let found: Vec<Nsid> = rig.controller.inventory().namespaces.iter().map(|namespace| namespace.nsid).collect();
        assert_eq!(found, [Nsid(1), Nsid(3)], "{version}");
        assert_eq!(rig.controller.inventory().left_out, [], "{version}");
        assert_eq!(errors(&mut rig), 0, "{version}");
    }
}

/// Errors that the drive has counted.
fn errors(rig: &mut Rig) -> u8 {
    let mut sqe = Sqe::new(admin::LOG_PAGE, Cid(0), Nsid::ALL);
    let prps = rig.prps(0, 512);
    sqe.set_prps(prps.0, prps.1);
    sqe.cdw10 = (1 | 127 << 16u32).into();
    rig.controller.submit_admin(rig.now_ns, sqe).unwrap();
    assert!(matches!(rig.event(), Event::AdminCompleted { cqe, .. } if cqe.status().is_success()));
    rig.take(0, 1)[0]
}

#[test]
fn a_list_that_is_refused_is_walked_and_no_further_than_is_kept() {
    let mut drive = open("mem:1M,namespaces=2,version=1.0,nn=4294967295", "test").unwrap();
    drive.model().set_active(Nsid(1), false);
    let mut rig = Rig::cold(drive, CONFIG);
    assert_eq!(rig.event(), Event::Ready);
    let inventory = rig.controller.inventory();
    assert_eq!((inventory.namespaces.len(), inventory.namespaces[0].nsid), (1, Nsid(2)));
    assert_eq!(inventory.left_out, [(Nsid(1025), Unusable::TooMany)]);
    // One that should have the list, and refuses it.
    let mut rig = Rig::cold(open("mem:1M,namespaces=2", "test").unwrap(), CONFIG);
    let wait = Rule { admin: true, opcode: Some(admin::IDENTIFY), times: 1, action: Action::DelayNs(0) };
    let refuse = Rule { action: Action::Answer(Status::INVALID_FIELD), ..wait };
    rig.faults(|faults| faults.rules.extend([wait, refuse]));
    assert_eq!(rig.event(), Event::Ready);
    assert_eq!(rig.controller.inventory().namespaces.len(), 2);
}

#[test]
fn namespaces_that_are_not_served_say_why() {
    for (option, why, words) in [
        ("set=zoned", Unusable::Zoned, "zoned"),
        ("set=kv", Unusable::KeyValue, "key value"),
        ("metadata=8", Unusable::Metadata, "metadata"),
        ("metadata=8,protection=1", Unusable::Protection, "protection information"),
    ] {
        let rig = Rig::new(&format!("mem:1M,namespaces=2,{option}"));
        let inventory = rig.controller.inventory();
        assert_eq!(inventory.left_out, [(Nsid(1), why), (Nsid(2), why)], "{option}");
        assert_eq!(inventory.namespaces, [], "{option}");
        assert!(why.to_string().contains(words));
    }
}

#[test]
fn limits_are_those_of_the_command_set() {
    let limits = |uri: &str| Rig::new(uri).controller.inventory().limits;
    let none = Limits { write_zeroes_bytes: 128 << 10, ..Limits::default() };
    assert_eq!(limits("mem:1M"), none, "before NVMe 2.0 a drive does not say; MDTS stands in for Write Zeroes");
    assert_eq!(limits("mem:1M,wzsl=1,dmrl=3"), none, "and is not asked");
    assert_eq!(limits("mem:1M,version=2.0"), none);
    let small = Limits { write_zeroes_bytes: 8192, dsm_ranges: 3, dsm_range_blocks: 5, dsm_blocks: 9 };
    assert_eq!(limits("mem:1M,version=2.0,wzsl=1,dmrl=3,dmrsl=5,dmsl=9"), small);
}

/// The model keeps to the limits that it tells.
#[test]
fn a_drive_refuses_what_is_above_its_limits() {
    let mut rig = Rig::new("mem:1M,version=2.0,wzsl=1,dmrl=3,dmrsl=5,dmsl=9");
    let mut queue = rig.controller.take_io_queue(0);
    let mut zeroes = |blocks| {
        let cid = rig.cid();
        rig.run(&mut queue, &command::write_zeroes(ONE, cid, 0, blocks, false, false)).status()
    };
    assert_eq!((zeroes(16), zeroes(17)), (Status::SUCCESS, Status::INVALID_FIELD.with_dnr()));
    let mut deallocate = |blocks: &[u32]| {
        let list: Vec<u8> = blocks.iter().flat_map(|blocks| DsmRange::new(0, *blocks).as_bytes().to_vec()).collect();
        rig.put(0, &list);
        let (prps, cid) = (rig.prps(0, list.len()), rig.cid());
        rig.run(&mut queue, &command::dsm(ONE, cid, blocks.len() as u16, prps)).status()
    };
    let limited = Status::COMMAND_SIZE_LIMIT_EXCEEDED.with_dnr();
    assert_eq!((deallocate(&[5, 4]), deallocate(&[1, 1, 1])), (Status::SUCCESS, Status::SUCCESS));
    assert_eq!((deallocate(&[6]), deallocate(&[5, 5]), deallocate(&[1; 4])), (limited, limited, limited));
}

#[test]
fn an_optional_command_that_is_not_there_is_refused_by_the_drive() {
    let mut rig = Rig::new("mem:1M,lacks=compare+dsm+zeroes");
    assert_eq!(rig.controller.inventory().oncs, 0);
    let mut queue = rig.controller.take_io_queue(0);
    let prps = rig.prps(0, 512);
    for make in [
        |cid, prps| command::compare(ONE, cid, 0, 1, prps, false),
        |cid, _| command::write_zeroes(ONE, cid, 0, 1, false, false),
        |cid, prps| command::dsm(ONE, cid, 1, prps),
    ] {
        let cid = rig.cid();
        assert_eq!(rig.run(&mut queue, &make(cid, prps)).status(), Status::INVALID_OPCODE.with_dnr());
    }
    assert!(Rig::new("mem:1M,lacks=dsm").controller.inventory().supports(oncs::COMPARE | oncs::WRITE_ZEROES));
}

#[test]
fn sgls_are_taken_as_sgls_says() {
    let status = |uri: &str, offset: u64| {
        let mut rig = Rig::new(uri);
        let takes = rig.controller.inventory().takes_sgl();
        let mut queue = rig.controller.take_io_queue(0);
        let (address, cid) = (rig.prps(0, 4096).0 + offset, rig.cid());
        let mut read = command::read(ONE, cid, 0, 1, (0, 0), false);
        read.set_sgl(Sgl::DataBlock { address, length: 512 });
        (takes, rig.run(&mut queue, &read).status())
    };
    assert_eq!(status("mem:1M", 1), (true, Status::SUCCESS));
    assert_eq!(status("mem:1M,sgl=dword", 4), (true, Status::SUCCESS));
    assert_eq!(status("mem:1M,sgl=dword", 2), (true, Status::SGL_GRANULARITY_INVALID.with_dnr()));
    assert_eq!(status("mem:1M,sgl=none", 0), (false, Status::INVALID_FIELD.with_dnr()));
}

#[test]
fn hints_and_atomic_units_and_who_shares() {
    let rig = Rig::new("mem:1M,shared=on,cntlid=7,atomic=31,boundary=16,granularity=3,acl=0");
    let inventory = rig.controller.inventory();
    let namespace = inventory.namespaces[0];
    assert!(inventory.several_controllers && namespace.shared);
    assert_eq!((inventory.cntlid, inventory.aborts_max), (7, 1));
    assert_eq!((namespace.atomic_blocks, namespace.power_fail_blocks), (32, 32));
    assert_eq!((namespace.boundary_blocks, namespace.preferred.write_granularity), (16, 3));
    let plain = Rig::new("mem:1M");
    let inventory = plain.controller.inventory();
    assert!(!inventory.several_controllers && !inventory.namespaces[0].shared);
}

#[test]
fn a_drive_is_asked_for_no_more_aborts_than_it_takes() {
    for acl in [0, 3] {
        let mut rig = Rig::new(&format!("mem:1M,acl={acl}"));
        let slow = Rule { admin: true, opcode: Some(admin::ABORT), times: 9, action: Action::DelayNs(1_000_000) };
        rig.faults(|faults| faults.rules.push(slow));
        let abort = || Sqe::new(admin::ABORT, Cid(0), Nsid(0));
        for _ in 0..2 {
            for _ in 0..=acl {
                rig.controller.submit_admin(rig.now_ns, abort()).unwrap();
            }
            assert_eq!(rig.controller.submit_admin(rig.now_ns, abort()), Err(QueueFull), "ACL {acl}");
            for _ in 0..=acl {
                assert!(matches!(rig.event(), Event::AdminCompleted { cqe, .. } if cqe.status().is_success()));
            }
        }
    }
}

#[test]
fn no_more_event_requests_than_the_drive_holds() {
    let mut rig = Rig::new("mem:1M,aerl=0");
    rig.quiet(20);
    assert_eq!(errors(&mut rig), 0, "a request too many would be an error");
}

/// Which make has which defect; and that it cannot be driven, or lies, when nothing is known of it.
#[test]
fn a_drive_that_calls_itself_disabled_too_early() {
    let uri = "mem:1M,pci=1c58:0003,defect=early-disabled";
    for (known, second) in [(true, true), (false, false)] {
        let mut rig = rig(uri, known, CONFIG);
        assert_eq!(rig.event(), Event::Ready, "nobody had enabled it");
        rig.controller.shutdown(rig.now_ns);
        rig.event();
        rig.controller.restart();
        assert_eq!(rig.event() == Event::Ready, second, "known {known}");
    }
}

#[test]
fn a_drive_that_does_not_tell_how_long_its_queues_are() {
    let uri = "mem:1M,pci=144d:a821,defect=untold-entries,entries=64";
    let entries = |known| {
        let rig = rig(uri, known, Config { io_entries: 256, ..CONFIG });
        let mut rig = rig;
        assert_eq!(rig.event(), Event::Ready);
        rig.controller.inventory().io_entries
    };
    assert_eq!((entries(true), entries(false)), (64, 2));
}

#[test]
fn a_drive_that_takes_one_command_at_a_time() {
    let uri = "mem:1M,pci=106b:2001,defect=one-command";
    for known in [true, false] {
        let mut rig = rig(uri, known, CONFIG);
        assert_eq!(rig.event(), Event::Ready);
        let mut queue = rig.controller.take_io_queue(0);
        let mut submitted = 0;
        while queue.room() > 0 {
            queue.submit(&command::flush(ONE, Cid(submitted))).unwrap();
            submitted += 1;
        }
        queue.ring();
        if known {
            assert_eq!(submitted, 1);
            assert!(rig.answer(&mut queue).status().is_success());
        } else {
            assert!(matches!(rig.event(), Event::Failed(Failure { reason: Reason::Fatal, .. })));
        }
    }
}

#[test]
fn drives_that_do_not_survive_a_question() {
    for (uri, found) in [
        ("mem:1M,pci=8086:5845,version=1.1,namespaces=2,defect=plain-identify", 2),
        ("mem:1M,pci=126f:2263,namespaces=2,defect=no-descriptors", 2),
    ] {
        let mut known = rig(uri, true, CONFIG);
        assert_eq!(known.event(), Event::Ready);
        assert_eq!(known.controller.inventory().namespaces.len(), found);
        assert!(matches!(event(uri, false), Event::Failed(Failure { reason: Reason::Timeout { .. }, .. })), "{uri}");
    }
}

#[test]
fn identifiers_that_a_whole_make_shares_are_not_believed() {
    let uri = "mem:1M,pci=1e4b:1602,defect=bogus-ids";
    let ids = |uri: &str, known| {
        let mut rig = rig(uri, known, CONFIG);
        assert_eq!(rig.event(), Event::Ready);
        let namespace = rig.controller.inventory().namespaces[0];
        (namespace.nguid, namespace.eui64, namespace.uuid)
    };
    assert_eq!(ids(uri, true), ([0; 16], [0; 8], [0; 16]));
    assert_eq!(ids(uri, false), ([1; 16], [0, 1, 0, 2, 0, 3, 0, 4], [2; 16]));
    // Two namespaces of one drive with the same: no table is needed to see that.
    assert_eq!(ids("mem:1M,namespaces=2,defect=bogus-ids", false), ([0; 16], [0; 8], [0; 16]));
}

#[test]
fn write_zeroes_that_fails_is_not_offered() {
    let uri = "mem:1M,pci=1987:5019,defect=no-write-zeroes";
    for known in [true, false] {
        let mut rig = rig(uri, known, CONFIG);
        assert_eq!(rig.event(), Event::Ready);
        assert_eq!(rig.controller.inventory().supports(oncs::WRITE_ZEROES), !known);
        let mut queue = rig.controller.take_io_queue(0);
        let cid = rig.cid();
        let zeroes = command::write_zeroes(ONE, cid, 0, 1, false, false);
        assert!(!rig.run(&mut queue, &zeroes).status().is_success(), "what a host would run into");
    }
}

#[test]
fn a_stripe_is_a_boundary_for_hosts() {
    let boundary = |known| {
        let mut rig = rig("mem:1M,pci=8086:0a55", known, CONFIG);
        assert_eq!(rig.event(), Event::Ready);
        rig.controller.inventory().namespaces[0].boundary_blocks
    };
    assert_eq!((boundary(true), boundary(false)), (256, 0));
}

#[test]
fn a_make_with_another_dialect_is_refused_before_it_is_touched() {
    let mut rig = rig("mem:1M,pci=106b:2005", true, CONFIG);
    assert_eq!(rig.event(), Event::Failed(Failure { reason: Reason::WideEntries, stopped: true }));
    assert_eq!(rig.drive.bar().load_u32(register::CC, Ordering::Relaxed), 0);
}

/// What a successor takes up knows the make as well.
#[test]
fn a_quirk_goes_along_in_a_handover() {
    let uri = "mem:1M,pci=1c58:0003,defect=early-disabled";
    let mut rig = rig(uri, true, CONFIG);
    assert_eq!(rig.event(), Event::Ready);
    let device = Device { vendor: 0x1c58, device: 3, ..Device::default() };
    let bar = Bar { device, ..rig.drive.bar().into() };
    let memory: Arc<Region> = Arc::clone(&rig.memory);
    let told = rig.controller.tell();
    let successor: Controller = told.take_up(bar, memory, 0).unwrap();
    rig.controller = successor;
    assert_eq!((rig.controller.device(), rig.controller.quirks().slow_disable), (device, true));
    rig.controller.fail(rig.now_ns, Reason::Requested);
    assert!(matches!(rig.event(), Event::Failed(_)));
    rig.controller.restart();
    assert_eq!(rig.event(), Event::Ready);
}
