//! Arbitrary commands, registers and doorbells: the model never panics, and can be reset afterwards.

use crate::rig::{CONFIG, Rig};
use gantry_drive::{Action, Busy, Latency, MediaChance, Rule, open};
use gantry_nvme::Event;
use gantry_wire::nvme::register;
use gantry_wire::nvme::{Cid, Sqe};
use proptest::prelude::*;
use std::sync::atomic::Ordering;
use zerocopy::FromBytes;

/// A command of noise, biased to what is nearly right.
fn any_sqe() -> impl Strategy<Value = Sqe> {
    let bytes = prop::collection::vec(any::<u8>(), 64);
    (bytes, any::<[bool; 8]>(), 0u8..0x1a, 0u32..4, 0usize..40, any::<u16>()).prop_map(
        |(bytes, tame, opcode, nsid, page, small)| {
            let mut sqe = Sqe::read_from_bytes(&bytes[..]).unwrap();
            if tame[0] {
                sqe.opcode = opcode;
            }
            if tame[1] {
                sqe.flags &= 0x40;
            }
            if tame[2] {
                sqe.nsid = nsid.into();
            }
            if tame[3] {
                sqe.set_slba(u64::from(small));
            }
            if tame[4] {
                sqe.cdw12 = (sqe.cdw12.get() & 0xc200_001f).into();
            }
            if tame[5] {
                sqe.cdw10 = u32::from(small % 8).into();
            }
            // Marks the place where the test puts an address of its memory.
            sqe.mptr = if tame[6] { page as u64 } else { u64::MAX }.into();
            sqe
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_commands(sick in any::<bool>(), sqes in prop::collection::vec((any::<bool>(), any_sqe()), 1..120)) {
        let mut rig = Rig::new(if sick { "mem:1M,namespaces=2,cache=volatile" } else { "mem:1M,namespaces=2" });
        let mut queue = rig.controller.take_io_queue(0);
        let late = Rule { admin: false, opcode: Some(0), times: 5, action: Action::DelayNs(100_000) };
        rig.faults(|faults| {
            faults.rules.push(late);
            if sick {
                let tail_ns = 100_000;
                faults.latency = Some(Latency { seed: 1, base_ns: 0, jitter_ns: 30_000, tail_of_10_000: 500, tail_ns });
                faults.media_chance = Some(MediaChance { seed: 1, reads_of_10_000: 2000, writes_of_10_000: 2000 });
                faults.busy = Some(Busy { seed: 1, of_10_000: 1000 });
            }
        });
        for (cid, (is_admin, mut sqe)) in sqes.into_iter().enumerate() {
            if let Some(page) = rig.pages(0).nth(sqe.mptr.get() as usize) {
                let (prp1, prp2) = (page + u64::from(sqe.cdw13.get() & 0xffc), rig.memory.iova(rig.list()));
                sqe.dptr[..8].copy_from_slice(&prp1.to_le_bytes());
                sqe.dptr[8..15].copy_from_slice(&prp2.to_le_bytes()[..7]);
            }
            sqe.cid = (cid as u16).into();
            if is_admin {
                let _ = rig.controller.submit_admin(rig.now_ns, sqe);
            } else if queue.submit(&sqe).is_ok() {
                queue.ring();
            }
            for _ in 0..4 {
                rig.tick();
                while queue.poll().is_some() {}
                queue.release();
            }
        }
        rig.drive.lose_power(1);
        recovers(rig, Some(queue));
    }

    #[test]
    fn any_registers_and_doorbells(writes in prop::collection::vec((any::<bool>(), 0usize..0x60, any::<u32>(), 0u32..70), 1..200)) {
        let mut rig = Rig::new("mem:1M");
        let queue = rig.controller.take_io_queue(0);
        let bar = rig.drive.bar();
        for (doorbell, at, value, small) in writes {
            let value = if value & 1 == 0 { small } else { value };
            let at = if doorbell { register::DOORBELLS + at % 8 * 4 } else { at / 4 * 4 };
            if at != register::CSTS {
                bar.store_u32(at, value, Ordering::Relaxed);
            }
            rig.now_ns += 1000;
            rig.drive.model().step(rig.now_ns);
        }
        // What a real controller would not have let anyone write, as it would not CSTS.
        let fresh = open("mem:1M", "fresh").unwrap().bar();
        for at in [register::CAP, register::CAP + 4, register::VS] {
            bar.store_u32(at, fresh.load_u32(at, Ordering::Relaxed), Ordering::Relaxed);
        }
        recovers(rig, Some(queue));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// The drive scribbles over the driver's memory and registers: whatever the driver makes of it, it does not panic.
    #[test]
    fn any_bytes_from_a_drive(scribbles in prop::collection::vec((0u8..8, 0usize..0x3000, any::<u32>()), 1..300)) {
        let mut rig = Rig::cold(open("mem:1M,namespaces=3", "test").unwrap(), CONFIG);
        let (mut queue, mut next_cid) = (None, 0);
        for (kind, at, value) in scribbles {
            rig.now_ns += 1_000_000;
            rig.drive.model().step(rig.now_ns);
            match kind {
                // Admin queues and the Identify page.
                0 => rig.memory.write(at, &value.to_le_bytes()),
                // A completion that looks new.
                1 => rig.memory.write(0x1000 + at % 0x40 * 16 + 8, &(u64::from(value) << 32 | 1 << 48).to_le_bytes()),
                // The first I/O queue's completions.
                2 => rig.memory.write(0x4000 + at % 0x400, &value.to_le_bytes()),
                3 => rig.memory.write(0x4000 + at % 0x40 * 16 + 12, &(value & 0xff | 1 << 16).to_le_bytes()),
                4 if value < 1 << 30 => rig.drive.bar().store_u32(register::CSTS, value, Ordering::Relaxed),
                _ => {}
            }
            match rig.controller.poll(rig.now_ns) {
                Some(Event::Ready) => queue = Some(rig.controller.take_io_queue(0)),
                Some(Event::Failed(_)) => {
                    queue.take().into_iter().for_each(|queue| rig.controller.give_back(queue));
                    rig.controller.restart();
                }
                _ => {}
            }
            if let Some(queue) = &mut queue {
                // Fewer than there are CIDs: none is used twice.
                for _ in 0..queue.room().min(4) {
                    next_cid += 1;
                    queue.submit(&gantry_nvme::command::flush(gantry_wire::nvme::Nsid(1), Cid(next_cid))).unwrap();
                }
                queue.ring();
                while queue.poll().is_some() {}
                queue.release();
                queue.expired(rig.now_ns);
            }
        }
    }
}

/// A controller reset makes it a working drive again.
fn recovers(mut rig: Rig, queue: Option<gantry_nvme::IoQueue>) {
    rig.faults(|faults| *faults = gantry_drive::Faults::default());
    let bar = rig.drive.bar();
    // The driver may believe anything by now: start with a new one.
    queue.into_iter().for_each(|queue| rig.controller.give_back(queue));
    bar.store_u32(register::CC, 0, Ordering::Relaxed);
    rig.drive.model().step(rig.now_ns);
    let space = rig.drive.space();
    space.unmap(&rig.memory);
    let mut rig = Rig::cold(rig.drive, CONFIG);
    assert_eq!(rig.event(), Event::Ready);
    let mut queue = rig.controller.take_io_queue(0);
    let nsid = rig.controller.inventory().namespaces[0].nsid;
    let prps = rig.prps(0, 512);
    let read = gantry_nvme::command::read(nsid, Cid(1), 0, 1, prps, false);
    assert!(rig.run(&mut queue, &read).status().is_success());
}
