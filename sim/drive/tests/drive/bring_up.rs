//! From reset to ready, and every way not to get there. NVMe Base 2.0 §3.5.

use crate::rig::{CONFIG, Rig};
use gantry_dma::Region;
use gantry_drive::{MemoryMedia, Model, Shape, open};
use gantry_nvme::{Config, Controller, Event, Failure, Reason};
use gantry_wire::nvme::Nsid;
use gantry_wire::nvme::identify::oncs;
use gantry_wire::nvme::register::{self, Cap, Cc, Csts};
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[test]
fn the_inventory_is_what_the_drive_is() {
    let rig = Rig::new("mem:64M,block=4096,namespaces=2,mdts=256K");
    let inventory = rig.controller.inventory();
    assert_eq!(inventory.model, "Gantry software drive");
    assert_eq!((inventory.serial.len(), inventory.version), (20, 0x0001_0400));
    assert_eq!((inventory.mdts_bytes, inventory.io_entries), (256 << 10, 64));
    assert!(inventory.takes_sgl() && !inventory.has_write_cache());
    assert!(inventory.supports(oncs::COMPARE | oncs::DSM | oncs::WRITE_ZEROES));
    assert!(!inventory.supports(oncs::COPY));
    assert_eq!((inventory.namespaces.len(), inventory.left_out.len()), (2, 0));
    let (first, second) = (inventory.namespaces[0], inventory.namespaces[1]);
    assert_eq!((first.nsid, first.block_shift, first.blocks), (Nsid(1), 12, 32 << 20 >> 12));
    assert_eq!((second.nsid, second.blocks), (Nsid(2), first.blocks));
    assert!(first.zeroes_after_deallocate);
    assert_ne!(first.nguid, second.nguid);
    assert_ne!((first.uuid, first.eui64), ([0; 16], [0; 8]));
    assert_eq!((inventory.blocks_max(&first), rig.controller.admin_counters().unknown_cid), (64, 0));
}

#[test]
fn a_name_is_an_identity() {
    let identity = |name| {
        let mut rig = Rig::cold(open("mem:1M", name).unwrap(), CONFIG);
        assert_eq!(rig.event(), Event::Ready);
        rig.controller.inventory().namespaces[0].nguid
    };
    assert_eq!(identity("a"), identity("a"));
    assert_ne!(identity("a"), identity("b"));
}

/// More namespaces than one list entry could show at once, with gaps.
#[test]
fn inactive_namespaces_are_not_there() {
    let mut drive = open("mem:128M,namespaces=128", "test").unwrap();
    for nsid in (1..=128).filter(|nsid| nsid % 3 == 0) {
        drive.model().set_active(Nsid(nsid), false);
    }
    let mut rig = Rig::cold(drive, CONFIG);
    assert_eq!(rig.event(), Event::Ready);
    let found: Vec<u32> = rig.controller.inventory().namespaces.iter().map(|namespace| namespace.nsid.0).collect();
    assert_eq!(found, (1..=128).filter(|nsid| nsid % 3 != 0).collect::<Vec<_>>());
}

#[test]
fn deeper_queues_than_the_drive_has_are_cut() {
    let rig = Rig::with("mem:1M", Config { io_queues: 1, io_entries: 4096, ..CONFIG });
    assert_eq!(rig.controller.inventory().io_entries, 1024);
}

#[test]
fn as_many_queue_pairs_as_were_asked_for_and_fewer() {
    let rig = Rig::with("mem:1M", Config { io_queues: 64, io_entries: 8, ..CONFIG });
    assert_eq!(rig.controller.granted(), 64);
    // One more doorbell fits the BAR of this drive, but it grants no more queues.
    let rig = Rig::with("mem:1M", Config { io_queues: 65, io_entries: 8, ..CONFIG });
    assert_eq!(rig.controller.granted(), 64);
    let mut rig = Rig::with("mem:1M,queues=1", Config { io_queues: 4, io_entries: 8, ..CONFIG });
    assert_eq!((rig.controller.granted(), rig.controller.take_io_queue(0).qid()), (1, 1));
}

/// A driver that was killed left the controller enabled, with queues and a backlog.
#[test]
fn a_drive_left_running_is_reset() {
    let first = Rig::new("mem:1M");
    let mut second = Rig::cold(first.drive, CONFIG);
    drop(first.memory);
    assert_eq!(second.event(), Event::Ready);
}

#[test]
fn shutdown_ends_disabled_and_can_be_followed_by_a_start() {
    let mut rig = Rig::new("mem:1M");
    rig.controller.shutdown(rig.now_ns);
    assert_eq!(rig.event(), Event::ShutDown);
    let bar = rig.drive.bar();
    rig.tick();
    assert_eq!(Cc(bar.load_u32(register::CC, Ordering::Relaxed)).en(), 0);
    assert_eq!(Csts(bar.load_u32(register::CSTS, Ordering::Relaxed)).rdy(), 0);
    rig.controller.restart();
    assert_eq!(rig.event(), Event::Ready);
}

#[test]
#[should_panic(expected = "were not given back")]
fn a_restart_needs_the_queues_back() {
    let mut rig = Rig::new("mem:1M");
    let _queue = rig.controller.take_io_queue(0);
    rig.controller.shutdown(rig.now_ns);
    rig.event();
    rig.controller.restart();
}

/// Registers that nobody is behind, as a test wants them.
fn registers(cap: Cap, csts: u32, length: usize) -> (Arc<Region>, Controller) {
    let bar = Region::shared(length).unwrap();
    bar.store_u64(register::CAP, cap.0, Ordering::Relaxed);
    bar.store_u32(register::CSTS, csts, Ordering::Relaxed);
    let needed = Controller::memory_needed(2, 64);
    let memory = Region::shared(needed).unwrap();
    (Arc::clone(&bar), Controller::new(bar, memory, 0, needed, CONFIG))
}

fn failure(controller: &mut Controller) -> Failure {
    for tick in 0..100_000u64 {
        match controller.poll(tick * 1_000_000) {
            Some(Event::Failed(failure)) => return failure,
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    }
    panic!("no failure");
}

#[test]
fn registers_that_cannot_be_driven_are_named() {
    let good = Cap::default().with_css(1).with_mqes(63).with_to(2);
    let reason = |cap, csts, length| {
        let failure = failure(&mut registers(cap, csts, length).1);
        (failure.reason, failure.stopped)
    };
    assert_eq!(reason(Cap(u64::MAX), u32::MAX, 0x2000), (Reason::Removed, false));
    assert_eq!(reason(good.with_mpsmin(1), 0, 0x2000), (Reason::PageSize { mpsmin: 1 }, true));
    assert_eq!(reason(good.with_css(0x80), 0, 0x2000), (Reason::CommandSet { css: 0x80 }, true));
    // Doorbells of 4 << 15 bytes are further away than this BAR is long.
    let needed = 0x1000 + 5 * (4 << 15) + 4;
    assert_eq!(reason(good.with_dstrd(15), 0, 0x2000), (Reason::BarTooShort { needed, length: 0x2000 }, true));
    let timeout_ns = 1_000_000_000;
    assert_eq!(reason(good, 0, 0x2000), (Reason::NotReady { timeout_ns }, true));
    assert_eq!(reason(good, 1, 0x2000), (Reason::NotDisabled { timeout_ns }, false));
    assert_eq!(reason(good.with_to(0), 0, 0x2000).0, Reason::NotReady { timeout_ns: 500_000_000 });
}

/// At CAP.TO to the tick: still waiting just before, failed then.
#[test]
fn the_ready_timeout_is_the_registers() {
    let (_bar, mut controller) = registers(Cap::default().with_css(1).with_to(3), 0, 0x2000);
    assert_eq!((controller.poll(0), controller.poll(0)), (None, None), "reset, then enable");
    assert_eq!(controller.poll(1_499_999_999), None);
    assert_eq!(controller.poll(1_500_000_000), None, "expired: it is being disabled");
    assert!(matches!(controller.poll(1_500_000_001), Some(Event::Failed(_))));
}

#[test]
fn a_drive_pulled_out_while_it_runs() {
    let mut rig = Rig::new("mem:1M");
    rig.faults(|faults| faults.stopped = true);
    rig.drive.bar().fill(0, 0x40, 0xff);
    assert_eq!(rig.event(), Event::Failed(Failure { reason: Reason::Removed, stopped: false }));
}

/// As many as one list shows, and one more: the driver asks on, and says what it leaves out.
#[test]
fn more_namespaces_than_are_kept_are_left_out_and_named() {
    let most = gantry_nvme::Inventory::NAMESPACES_MAX as u32;
    for (count, left_out) in [(most, vec![]), (most + 1, vec![(Nsid(most + 1), gantry_nvme::Unusable::TooMany)])] {
        let identity = gantry_drive::Identity::of_name("mem", "many");
        let bytes = u64::from(count) * 512;
        let shape = Shape::equal_parts(identity, bytes, count, 9, 5).unwrap();
        let mut model = Model::new(shape, Box::new(MemoryMedia::new(bytes))).unwrap();
        let needed = Controller::memory_needed(CONFIG.io_queues, CONFIG.io_entries);
        let memory = Region::shared(needed).unwrap();
        model.space().map(Arc::clone(&memory)).unwrap();
        let mut controller = Controller::new(model.bar(), memory, 0, needed, CONFIG);
        let ready = (0..1_000_000).find_map(|now| {
            model.step(now);
            controller.poll(now)
        });
        assert_eq!(ready, Some(Event::Ready));
        let inventory = controller.inventory();
        assert_eq!((inventory.namespaces.len(), &inventory.left_out), (most as usize, &left_out), "of {count}");
    }
}

#[test]
fn a_model_without_namespaces_is_ready_too() {
    let identity = gantry_drive::Identity::of_name("mem", "none");
    let traits = gantry_drive::Traits::default();
    let shape =
        Shape { identity, block_shift: 9, blocks: vec![], mdts: 0, io_queues: 1, entries: 2, traits, null: false };
    let mut model = Model::new(shape, Box::new(MemoryMedia::new(0))).unwrap();
    let config = Config { io_queues: 1, ..CONFIG };
    let needed = Controller::memory_needed(config.io_queues, config.io_entries);
    let memory = Region::shared(needed).unwrap();
    model.space().map(Arc::clone(&memory)).unwrap();
    let mut controller = Controller::new(model.bar(), memory, 0, needed, config);
    let ready = (0..1000).find_map(|now| {
        model.step(now);
        controller.poll(now)
    });
    assert_eq!(ready, Some(Event::Ready));
    assert_eq!((controller.inventory().namespaces.len(), controller.inventory().io_entries), (0, 2));
    assert_eq!(controller.inventory().mdts_bytes, gantry_nvme::Inventory::MDTS_MAX);
}
