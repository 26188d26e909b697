//! Admin commands of the owner: features, logs, queues by hand; and asynchronous events.

use crate::rig::Rig;
use gantry_drive::{Action, Rule};
use gantry_nvme::{Event, Ticket, command};
use gantry_wire::nvme::feature::{AsyncEvent, fid};
use gantry_wire::nvme::log::{ErrorEntry, SmartHealth, lid};
use gantry_wire::nvme::{Cid, Cqe, Nsid, Sqe, Status, admin};
use zerocopy::FromBytes;

const ONE: Nsid = Nsid(1);

pub(crate) fn ask(rig: &mut Rig, sqe: Sqe) -> Cqe {
    let ticket = rig.controller.submit_admin(rig.now_ns, sqe).unwrap();
    match rig.event() {
        Event::AdminCompleted { ticket: answered, cqe } if answered == ticket => cqe,
        other => panic!("{other:?}"),
    }
}

fn feature(rig: &mut Rig, opcode: u8, cdw10: u32, cdw11: u32) -> (Status, u32) {
    let mut sqe = Sqe::new(opcode, Cid(0), Nsid(0));
    (sqe.cdw10, sqe.cdw11) = (cdw10.into(), cdw11.into());
    let cqe = ask(rig, sqe);
    (cqe.status(), cqe.dw0.get())
}

fn log(rig: &mut Rig, lid: u8, length: usize, offset: u32) -> (Status, Vec<u8>) {
    rig.paint(0xee);
    let mut sqe = Sqe::new(admin::LOG_PAGE, Cid(0), Nsid::ALL);
    let prps = rig.prps(0, length);
    sqe.set_prps(prps.0, prps.1);
    sqe.cdw10 = (u32::from(lid) | (length as u32 / 4 - 1) << 16).into();
    sqe.cdw12 = offset.into();
    let status = ask(rig, sqe).status();
    (status, rig.take(0, length))
}

#[test]
fn a_namespace_that_goes_and_comes_is_noticed() {
    let mut rig = Rig::new("mem:4M,namespaces=3");
    rig.quiet(10);
    rig.drive.model().set_active(Nsid(2), false);
    assert_eq!(rig.event(), Event::AsyncEvent(AsyncEvent::NAMESPACE_CHANGED));
    assert_eq!(rig.event(), Event::NamespacesChanged);
    let nsids =
        |rig: &Rig| rig.controller.inventory().namespaces.iter().map(|namespace| namespace.nsid.0).collect::<Vec<_>>();
    assert_eq!(nsids(&rig), [1, 3]);
    rig.quiet(100);
    // Its log was read: the drive says the next change too.
    rig.drive.model().set_active(Nsid(2), true);
    assert_eq!(rig.event(), Event::AsyncEvent(AsyncEvent::NAMESPACE_CHANGED));
    assert_eq!(rig.event(), Event::NamespacesChanged);
    assert_eq!(nsids(&rig), [1, 2, 3]);
}

#[test]
fn every_event_is_told_once() {
    let mut rig = Rig::new("mem:1M");
    let hot = AsyncEvent { kind: 1, information: 1, log: lid::SMART_HEALTH };
    let error = AsyncEvent { kind: 0, information: 3, log: lid::ERROR_INFORMATION };
    for _ in 0..20 {
        rig.drive.model().raise(hot);
        rig.drive.model().raise(error);
        let mut told = [rig.event(), rig.event()];
        told.sort_by_key(|event| *event != Event::AsyncEvent(hot));
        assert_eq!(told, [Event::AsyncEvent(hot), Event::AsyncEvent(error)]);
        rig.quiet(20);
    }
}

#[test]
fn features_are_kept_until_reset() {
    let (set, get) = (admin::SET_FEATURES, admin::GET_FEATURES);
    let mut rig = Rig::new("mem:1M");
    let threshold = u32::from(fid::TEMPERATURE_THRESHOLD);
    assert_eq!(feature(&mut rig, get, threshold, 0), (Status::SUCCESS, 358));
    assert_eq!(feature(&mut rig, set, threshold, 400).0, Status::SUCCESS);
    assert_eq!(feature(&mut rig, get, threshold, 0), (Status::SUCCESS, 400));
    assert_eq!(feature(&mut rig, get, threshold | 1 << 8, 0), (Status::SUCCESS, 358), "the default");
    assert_eq!(feature(&mut rig, get, threshold | 3 << 8, 0), (Status::SUCCESS, 4), "changeable");
    let save = feature(&mut rig, set, threshold | 1 << 31, 400).0;
    assert_eq!(save, Status::FEATURE_NOT_SAVEABLE.with_dnr());
    assert_eq!(feature(&mut rig, get, 0xc5, 0).0, Status::INVALID_FIELD.with_dnr());
    let queues = u32::from(fid::NUMBER_OF_QUEUES);
    assert_eq!(feature(&mut rig, get, queues, 0), (Status::SUCCESS, 0x0001_0001));
    assert_eq!(feature(&mut rig, set, queues, 0).0, Status::COMMAND_SEQUENCE_ERROR.with_dnr());
    // Without a cache there is none to turn off.
    assert_eq!(feature(&mut rig, set, u32::from(fid::VOLATILE_WRITE_CACHE), 0).0, Status::INVALID_FIELD.with_dnr());
    rig.controller.shutdown(rig.now_ns);
    assert_eq!(rig.event(), Event::ShutDown);
    rig.controller.restart();
    assert_eq!(rig.event(), Event::Ready);
    assert_eq!(feature(&mut rig, get, threshold, 0), (Status::SUCCESS, 358));
}

#[test]
fn logs_tell_what_happened() {
    let mut rig = Rig::new("mem:1M");
    let mut queue = rig.controller.take_io_queue(1);
    let (prps, cid) = (rig.prps(0, 4096), rig.cid());
    for _ in 0..200 {
        assert!(rig.run(&mut queue, &command::read(ONE, cid, 0, 8, prps, false)).status().is_success());
    }
    let beyond = command::read(ONE, cid, 2045, 8, prps, false);
    assert_eq!(rig.run(&mut queue, &beyond).status(), Status::LBA_OUT_OF_RANGE.with_dnr());

    let (status, page) = log(&mut rig, lid::SMART_HEALTH, 512, 0);
    let (smart, _) = SmartHealth::ref_from_prefix(&page).unwrap();
    assert!(status.is_success());
    assert_eq!((u128::from_le_bytes(smart.host_reads), u128::from_le_bytes(smart.error_entries)), (200, 1));
    // 200 × 4096 bytes are 1.6 thousand sectors: 2 units.
    assert_eq!(u128::from_le_bytes(smart.data_units_read), 2);

    let (status, page) = log(&mut rig, lid::ERROR_INFORMATION, 4096, 0);
    let (entry, _) = ErrorEntry::ref_from_prefix(&page).unwrap();
    assert!(status.is_success());
    assert_eq!((entry.error_count.get(), entry.sqid.get(), entry.cid.get()), (1, 2, cid.0));
    assert_eq!((entry.lba.get(), entry.nsid.get()), (2045, 1));
    assert_eq!(Status(entry.status.get() >> 1), Status::LBA_OUT_OF_RANGE.with_dnr());

    let (status, page) = log(&mut rig, lid::FIRMWARE_SLOT, 8, 8);
    assert!(status.is_success());
    assert_eq!(std::str::from_utf8(&page).unwrap().trim(), rig.controller.inventory().firmware);
    assert_eq!(log(&mut rig, 0x7e, 512, 0).0, Status::INVALID_LOG_PAGE.with_dnr());
    assert_eq!(log(&mut rig, lid::SMART_HEALTH, 512, 516).0, Status::INVALID_FIELD.with_dnr(), "past its end");
    assert_eq!(log(&mut rig, lid::SMART_HEALTH, 512, 2).0, Status::INVALID_FIELD.with_dnr(), "no dword");
}

#[test]
fn queues_by_hand_are_checked() {
    let mut rig = Rig::new("mem:1M");
    let page = rig.pages(0).next().unwrap();
    let mut create = |opcode, qid: u32, size: u32, at: u64, cdw11: u32| {
        let mut sqe = Sqe::new(opcode, Cid(0), Nsid(0));
        sqe.set_prps(at, 0);
        (sqe.cdw10, sqe.cdw11) = ((qid | size << 16).into(), cdw11.into());
        ask(&mut rig, sqe).status().code()
    };
    let (cq, sq) = (admin::CREATE_IO_CQ, admin::CREATE_IO_SQ);
    let (no_cq, no_sq) = (admin::DELETE_IO_CQ, admin::DELETE_IO_SQ);
    assert_eq!(create(cq, 0, 7, page, 1), Status::INVALID_QUEUE_ID.0, "the admin queue's");
    assert_eq!(create(cq, 1, 7, page, 1), Status::INVALID_QUEUE_ID.0, "in use");
    assert_eq!(create(cq, 3, 7, page, 1), Status::INVALID_QUEUE_ID.0, "not granted");
    assert_eq!(create(no_cq, 1, 0, 0, 0), Status::INVALID_QUEUE_DELETION.0, "a submission queue uses it");
    assert_eq!(create(no_sq, 3, 0, 0, 0), Status::INVALID_QUEUE_ID.0);
    assert_eq!(create(no_sq, 1, 0, 0, 0), 0);
    assert_eq!(create(no_cq, 1, 0, 0, 0), 0);
    assert_eq!(create(no_cq, 1, 0, 0, 0), Status::INVALID_QUEUE_ID.0);
    assert_eq!(create(cq, 1, 0, page, 1), Status::INVALID_QUEUE_SIZE.0);
    assert_eq!(create(cq, 1, 1024, page, 1), Status::INVALID_QUEUE_SIZE.0, "one above MQES");
    assert_eq!(create(cq, 1, 7, page, 0), Status::INVALID_FIELD.0, "not contiguous");
    assert_eq!(create(cq, 1, 7, page + 4, 1), Status::PRP_OFFSET_INVALID.0);
    assert_eq!(create(cq, 1, 7, page, 1 | 65 << 16), Status::INVALID_INTERRUPT_VECTOR.0, "vectors are 0 to 64");
    assert_eq!(create(sq, 1, 7, page, 1 | 1 << 16), Status::COMPLETION_QUEUE_INVALID.0, "there is none yet");
    assert_eq!(create(cq, 1, 7, page, 1), 0);
    assert_eq!(create(sq, 1, 7, page, 1), Status::COMPLETION_QUEUE_INVALID.0, "the admin queue's");
    assert_eq!(create(sq, 1, 7, page, 1 | 1 << 16), 0);
    assert_eq!(create(0x55, 0, 0, 0, 0), Status::INVALID_OPCODE.0);
    let mut sgl = Sqe::new(admin::IDENTIFY, Cid(0), Nsid(0));
    sgl.flags = Sqe::FLAGS_SGL;
    assert_eq!(ask(&mut rig, sgl).status(), Status::INVALID_FIELD.with_dnr());
}

#[test]
fn identify_refuses_what_is_not_there() {
    let mut rig = Rig::new("mem:1M,namespaces=2");
    rig.drive.model().set_active(Nsid(2), false);
    while rig.event() != Event::NamespacesChanged {}
    let prps = rig.prps(0, 4096);
    let mut identify = |cns: u32, nsid: u32| {
        let mut sqe = Sqe::new(admin::IDENTIFY, Cid(0), Nsid(nsid));
        sqe.set_prps(prps.0, prps.1);
        sqe.cdw10 = cns.into();
        ask(&mut rig, sqe).status().code()
    };
    let no_namespace = Status::INVALID_NAMESPACE.0;
    assert_eq!((identify(0, 1), identify(0, 2)), (0, 0), "an inactive namespace is all zero");
    assert_eq!((identify(0, 0), identify(0, 3), identify(0, u32::MAX)), (no_namespace, no_namespace, no_namespace));
    assert_eq!((identify(3, 1), identify(3, 2)), (0, no_namespace));
    assert_eq!((identify(2, 0xffff_fffd), identify(2, 0xffff_fffe)), (0, no_namespace));
    assert_eq!(identify(0x20, 0), Status::INVALID_FIELD.0);
}

/// An owner that takes every entry it is given does not crowd out events and the driver's own commands.
#[test]
fn the_admin_queue_keeps_a_reserve() {
    let mut rig = Rig::new("mem:4M,namespaces=2");
    rig.quiet(10);
    let slow = Action::DelayNs(50_000_000);
    let opcode = Some(admin::GET_FEATURES);
    rig.faults(|faults| faults.rules.push(Rule { admin: true, opcode, times: 1000, action: slow }));
    let mut submitted = 0;
    let mut fill = |rig: &mut Rig| {
        let ask = Sqe::new(admin::GET_FEATURES, Cid(0), Nsid(0));
        while let Ok(Ticket(ticket)) = rig.controller.submit_admin(rig.now_ns, ask) {
            submitted = ticket + 1;
        }
        submitted
    };
    assert!((40..64).contains(&fill(&mut rig)), "full, and not at once");
    // Three requests are answered at once: their entries are not the owner's.
    let model = rig.drive.model();
    model.raise(AsyncEvent { kind: 0, information: 3, log: lid::ERROR_INFORMATION });
    model.raise(AsyncEvent { kind: 1, information: 1, log: lid::SMART_HEALTH });
    model.set_active(Nsid(2), false);
    let (mut events, mut changed) = (0, false);
    for _ in 0..1000 {
        match rig.tick() {
            None => {}
            Some(Event::AsyncEvent(_)) => events += 1,
            Some(Event::NamespacesChanged) => changed = true,
            Some(other) => panic!("{other:?}"),
        }
        fill(&mut rig);
    }
    assert_eq!((events, changed, rig.controller.inventory().namespaces.len()), (3, true, 1));
    let submitted = fill(&mut rig);
    for _ in 0..submitted {
        assert!(matches!(rig.event(), Event::AdminCompleted { .. }));
    }
    rig.quiet(100);
}
