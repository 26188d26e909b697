//! Which vectors are raised, and when (PCIe Transport 1.0 §3.5; NVMe Base 2.0 §5.4).

use crate::events::ask;
use crate::rig::Rig;
use gantry_wire::nvme::register::{CC, Cc};
use gantry_wire::nvme::{Cid, Nsid, Sqe, Status, admin};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// Makes I/O queue pair 1 anew, with this of its completion queue's dword 11 beside "contiguous".
fn recreate(rig: &mut Rig, cdw11: u32) {
    let page = rig.pages(0).next().unwrap();
    for (opcode, cdw11) in [
        (admin::DELETE_IO_SQ, 0),
        (admin::DELETE_IO_CQ, 0),
        (admin::CREATE_IO_CQ, 1 | cdw11),
        (admin::CREATE_IO_SQ, 1 | 1 << 16),
    ] {
        let mut sqe = Sqe::new(opcode, Cid(0), Nsid(0));
        sqe.set_prps(page + if opcode == admin::CREATE_IO_SQ { 4096 } else { 0 }, 0);
        (sqe.cdw10, sqe.cdw11) = ((1 | 7 << 16).into(), cdw11.into());
        assert_eq!(ask(rig, sqe).status(), Status::SUCCESS);
    }
}

/// Raised by one command on I/O queue 1, whose answer nobody looks at.
fn raised_by_a_flush(rig: &mut Rig) -> BTreeSet<u16> {
    let _ = rig.drive.model().take_interrupts();
    let page = rig.pages(0).next().unwrap();
    let at = (page - rig.memory.iova(0)) as usize + 4096;
    let flush = Sqe::new(gantry_wire::nvme::nvm::FLUSH, Cid(1), Nsid(1));
    rig.memory.write(at, zerocopy::IntoBytes::as_bytes(&flush));
    rig.drive.bar().store_u32(gantry_wire::nvme::register::sq_doorbell(1, 0), 1, Ordering::Release);
    rig.quiet(3);
    rig.drive.model().take_interrupts()
}

#[test]
fn a_queue_raises_its_own_vector_when_it_was_asked_to() {
    let mut rig = Rig::new("mem:1M");
    assert_eq!(rig.drive.model().interrupt_vectors(), 65);
    recreate(&mut rig, 7 << 16);
    assert_eq!(raised_by_a_flush(&mut rig), BTreeSet::new(), "interrupts are not enabled");
    recreate(&mut rig, 7 << 16 | 1 << 1);
    assert_eq!(raised_by_a_flush(&mut rig), BTreeSet::from([7]));
    assert_eq!(rig.drive.model().take_interrupts(), BTreeSet::new(), "once");
}

#[test]
fn the_admin_queue_raises_vector_0_and_a_reset_takes_back_what_is_raised() {
    let mut rig = Rig::new("mem:1M");
    assert_eq!(rig.drive.model().take_interrupts(), BTreeSet::from([0]), "bring-up's commands");
    let mut sqe = Sqe::new(admin::GET_FEATURES, Cid(0), Nsid(0));
    sqe.cdw10 = 4.into();
    assert!(ask(&mut rig, sqe).status().is_success());
    let bar = rig.drive.bar();
    bar.store_u32(CC, Cc(bar.load_u32(CC, Ordering::Acquire)).with_en(0).0, Ordering::Release);
    rig.drive.model().step(rig.now_ns);
    assert_eq!(rig.drive.model().take_interrupts(), BTreeSet::new());
}

#[test]
fn a_device_reset_leaves_memory_mapped_and_a_function_level_reset_does_not() {
    let mut rig = Rig::new("mem:1M");
    let at = rig.memory.iova(0);
    rig.drive.model().device_reset();
    assert!(rig.drive.space().resolve(at, 1).is_some());
    assert_eq!(rig.drive.bar().load_u32(CC, Ordering::Acquire), 0);
    rig.drive.model().function_level_reset();
    assert!(rig.drive.space().resolve(at, 1).is_none());
}
