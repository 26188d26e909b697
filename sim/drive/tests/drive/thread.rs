//! The drive with a thread of its own, against a driver on the real clock.

use gantry_dma::Region;
use gantry_drive::open;
use gantry_nvme::{Config, Controller, Event, command};
use gantry_wire::nvme::{Cid, Nsid};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

#[test]
fn a_running_drive_serves_and_stops_when_dropped() {
    let drive = open("mem:1M,block=4096", "thread").unwrap();
    let config = Config { io_queues: 1, io_entries: 32, command_timeout_ns: 5_000_000_000, sgl: true };
    let needed = Controller::memory_needed(config.io_queues, config.io_entries);
    let memory = Region::shared(needed + 32 * 4096).unwrap();
    let running = drive.spawn().unwrap();
    running.map(Arc::clone(&memory)).unwrap();
    let start = Instant::now();
    let now = || start.elapsed().as_nanos() as u64;
    let mut controller = Controller::new(running.bar(), Arc::clone(&memory), 0, needed, config);
    let ready = loop {
        if let Some(event) = controller.poll(now()) {
            break event;
        }
        std::thread::sleep(Duration::from_micros(50));
        assert!(start.elapsed() < Duration::from_secs(20));
    };
    assert_eq!(ready, Event::Ready);
    let mut queue = controller.take_io_queue(0);
    let page = |i: u16| needed + usize::from(i) * 4096;
    // Each CID writes its page, then reads it back; thirty at a time; checked against tearing and loss.
    for round in 0..200u64 {
        for phase in 0..2 {
            for cid in 0..30 {
                let (slba, prps) = (u64::from(cid) * 8 + round % 8, (memory.iova(page(cid)), 0));
                if phase == 0 {
                    memory.fill(page(cid), 4096, (round as u8).wrapping_mul(31) ^ cid as u8);
                    queue.submit(&command::write(Nsid(1), Cid(cid), slba, 1, prps, false)).unwrap();
                } else {
                    memory.fill(page(cid), 4096, 0xfe);
                    queue.submit(&command::read(Nsid(1), Cid(cid), slba, 1, prps, false)).unwrap();
                }
            }
            queue.ring();
            while queue.outstanding() > 0 {
                while let Some(cqe) = queue.poll() {
                    assert!(cqe.status().is_success());
                    let cid = cqe.cid().0;
                    let expected = [(round as u8).wrapping_mul(31) ^ cid as u8; 4096];
                    assert!(phase == 0 || memory.compare(page(cid), &expected), "round {round} CID {cid}");
                }
                queue.release();
                assert!(start.elapsed() < Duration::from_secs(60));
                std::thread::yield_now();
            }
        }
    }
    assert_eq!((queue.counters().completed, queue.counters().unknown_cid), (12_000, 0));
    let space: Weak<_> = Arc::downgrade(&running.space());
    drop(running);
    assert!(space.upgrade().is_none(), "the thread and its model are gone");
}
