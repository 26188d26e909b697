//! Every I/O command, with its data checked, at many sizes and alignments; and every refusal.

use crate::rig::{CONFIG, Rig, pattern};
use gantry_dma::Region;
use gantry_nvme::{Event, command, split};
use gantry_wire::nvme::prp_sgl::PAGE;
use gantry_wire::nvme::{DsmRange, Nsid, Sgl, Sqe, Status, nvm};
use zerocopy::IntoBytes;

const ONE: Nsid = Nsid(1);

#[test]
fn data_comes_back_at_every_size_and_offset() {
    for (uri, shift) in [("mem:64M,mdts=2M", 9), ("mem:64M,block=4096,mdts=2M", 12)] {
        let mut rig = Rig::new(uri);
        let mut queue = rig.controller.take_io_queue(0);
        let mut seed = 0;
        for blocks in [1u32, 2, 7, 8, 9, 15, 16, 17, 31, 64, 100, 255, 256, 512] {
            for offset in [0usize, 4, 508, 512, 2048, 4092] {
                let length = (blocks as usize) << shift;
                if length > 2 << 20 {
                    continue;
                }
                seed += 1;
                let data = pattern(seed, length);
                let slba = seed * 3;
                rig.paint(0xee);
                rig.put(offset, &data);
                let (prps, cid) = (rig.prps(offset, length), rig.cid());
                let write = command::write(ONE, cid, slba, blocks, prps, seed % 2 == 0);
                assert_eq!(rig.run(&mut queue, &write).status(), Status::SUCCESS);
                rig.paint(0xdd);
                // Back to another alignment than it came from.
                let back = (offset + 1028) % PAGE;
                let (prps, cid) = (rig.prps(back, length), rig.cid());
                assert_eq!(
                    rig.run(&mut queue, &command::read(ONE, cid, slba, blocks, prps, false)).status(),
                    Status::SUCCESS
                );
                assert!(rig.take(back, length) == data, "{uri}: {blocks} blocks at offset {offset}");
                let touched = rig.all_data().iter().filter(|&&byte| byte != 0xdd).count();
                assert!(touched <= length, "{uri}: {blocks} blocks at offset {offset} wrote beside its buffer");
            }
        }
    }
}

/// It answers as any other, also what is wrong with a command, and touches no page.
#[test]
fn a_null_drive_moves_nothing() {
    let mut rig = Rig::cold(gantry_drive::null(1 << 20, "test").unwrap(), CONFIG);
    assert_eq!(rig.event(), Event::Ready);
    let mut queue = rig.controller.take_io_queue(0);
    let length = 8 * PAGE;
    rig.paint(0xee);
    for make in [command::write, command::read] {
        let (prps, cid) = (rig.prps(0, length), rig.cid());
        let sqe = make(ONE, cid, 0, (length / 512) as u32, prps, false);
        assert_eq!(rig.run(&mut queue, &sqe).status(), Status::SUCCESS);
        let cid = rig.cid();
        let past = make(ONE, cid, 2048, 1, prps, false);
        assert_eq!(rig.run(&mut queue, &past).status(), Status::LBA_OUT_OF_RANGE.with_dnr());
        let cid = rig.cid();
        let astray = make(ONE, cid, 0, 1, (1, 0), false);
        assert_eq!(rig.run(&mut queue, &astray).status(), Status::PRP_OFFSET_INVALID.with_dnr());
    }
    assert!(rig.all_data().iter().all(|&byte| byte == 0xee));
}

/// A PRP list longer than one page.
#[test]
fn a_transfer_over_a_chained_list() {
    let mut rig = Rig::new("mem:64M,mdts=4M");
    let mut queue = rig.controller.take_io_queue(0);
    let length = 599 * PAGE - 512;
    let data = pattern(1, length);
    rig.put(512, &data);
    let (prps, cid) = (rig.prps(512, length), rig.cid());
    let write = command::write(ONE, cid, 0, (length / 512) as u32, prps, false);
    assert_eq!(rig.run(&mut queue, &write).status(), Status::SUCCESS);
    rig.paint(0);
    let (prps, cid) = (rig.prps(0, length), rig.cid());
    let read = command::read(ONE, cid, 0, (length / 512) as u32, prps, false);
    assert_eq!(rig.run(&mut queue, &read).status(), Status::SUCCESS);
    assert!(rig.take(0, length) == data);
}

#[test]
fn namespaces_do_not_touch_each_other() {
    let mut rig = Rig::new("mem:64K,namespaces=2");
    let mut queue = rig.controller.take_io_queue(1);
    for (nsid, byte) in [(1, 0x11), (2, 0x22)] {
        rig.paint(byte);
        let (prps, cid) = (rig.prps(0, 32 << 10), rig.cid());
        assert!(rig.run(&mut queue, &command::write(Nsid(nsid), cid, 0, 64, prps, false)).status().is_success());
    }
    for (nsid, byte) in [(1, 0x11), (2, 0x22)] {
        let (prps, cid) = (rig.prps(0, 32 << 10), rig.cid());
        assert!(rig.run(&mut queue, &command::read(Nsid(nsid), cid, 0, 64, prps, false)).status().is_success());
        assert!(rig.take(0, 32 << 10).iter().all(|&found| found == byte));
        let cid = rig.cid();
        let past = command::write_zeroes(Nsid(nsid), cid, 64, 1, false, false);
        assert_eq!(rig.run(&mut queue, &past).status(), Status::LBA_OUT_OF_RANGE.with_dnr());
    }
}

#[test]
fn zeroes_deallocate_and_compare() {
    let mut rig = Rig::new("mem:1M");
    let mut queue = rig.controller.take_io_queue(0);
    let data = pattern(9, 128 << 10);
    rig.put(0, &data);
    let (prps, cid) = (rig.prps(0, data.len()), rig.cid());
    assert!(rig.run(&mut queue, &command::write(ONE, cid, 0, 256, prps, false)).status().is_success());
    let cid = rig.cid();
    assert!(rig.run(&mut queue, &command::compare(ONE, cid, 0, 256, prps, false)).status().is_success());

    let cid = rig.cid();
    assert!(rig.run(&mut queue, &command::write_zeroes(ONE, cid, 10, 20, false, false)).status().is_success());
    let cid = rig.cid();
    assert!(rig.run(&mut queue, &command::write_zeroes(ONE, cid, 50, 1, true, true)).status().is_success());
    let cid = rig.cid();
    let compare = command::compare(ONE, cid, 0, 256, prps, false);
    assert_eq!(rig.run(&mut queue, &compare).status(), Status::COMPARE_FAILURE.with_dnr());

    let ranges = [DsmRange::new(100, 30), DsmRange::new(0, 1), DsmRange::new(255, 1)];
    rig.paint(0);
    rig.put(4, ranges.as_bytes());
    let (prps, cid) = (rig.prps(4, ranges.as_bytes().len()), rig.cid());
    assert!(rig.run(&mut queue, &command::dsm(ONE, cid, 3, prps)).status().is_success());

    let mut expected = data;
    for (first, blocks) in [(10, 20), (50, 1), (100, 30), (0, 1), (255, 1)] {
        expected[first * 512..(first + blocks) * 512].fill(0);
    }
    let (prps, cid) = (rig.prps(0, expected.len()), rig.cid());
    assert!(rig.run(&mut queue, &command::read(ONE, cid, 0, 256, prps, false)).status().is_success());
    assert!(rig.take(0, expected.len()) == expected);
    for nsid in [ONE, Nsid::ALL] {
        let cid = rig.cid();
        assert!(rig.run(&mut queue, &command::flush(nsid, cid)).status().is_success());
    }
}

/// One bad range of 256 and none is deallocated; without AD nothing is.
#[test]
fn dsm_is_checked_as_a_whole() {
    let mut rig = Rig::new("mem:1M");
    let mut queue = rig.controller.take_io_queue(0);
    rig.paint(0x77);
    let (prps, cid) = (rig.prps(0, 512), rig.cid());
    assert!(rig.run(&mut queue, &command::write(ONE, cid, 0, 1, prps, false)).status().is_success());
    let mut ranges = [DsmRange::new(0, 1); DsmRange::MAX];
    ranges[255] = DsmRange::new(2048, 1);
    rig.put(0, ranges.as_bytes());
    let (prps, cid) = (rig.prps(0, 4096), rig.cid());
    let mut dsm = command::dsm(ONE, cid, 256, prps);
    assert_eq!(rig.run(&mut queue, &dsm).status(), Status::LBA_OUT_OF_RANGE.with_dnr());
    rig.put(255 * 16, DsmRange::new(2047, 1).as_bytes());
    dsm.cdw11 = 0.into();
    assert!(rig.run(&mut queue, &dsm).status().is_success());
    rig.paint(0x77);
    let (prps, cid) = (rig.prps(0, 512), rig.cid());
    assert!(rig.run(&mut queue, &command::compare(ONE, cid, 0, 1, prps, false)).status().is_success());
}

#[test]
fn a_long_range_goes_in_pieces_of_mdts() {
    let mut rig = Rig::new("mem:8M");
    let mut queue = rig.controller.take_io_queue(0);
    let namespace = rig.controller.inventory().namespaces[0];
    let limit = rig.controller.inventory().blocks_max(&namespace);
    assert_eq!(limit, 256);
    let data = pattern(3, 1 << 20);
    for (slba, blocks) in split::pieces(5, 2048, limit, 0) {
        let from = (slba - 5) as usize * 512;
        rig.put(0, &data[from..from + blocks as usize * 512]);
        let (prps, cid) = (rig.prps(0, blocks as usize * 512), rig.cid());
        assert!(rig.run(&mut queue, &command::write(ONE, cid, slba, blocks, prps, false)).status().is_success());
    }
    for (slba, blocks) in split::pieces(5, 2048, 100, 0) {
        let (prps, cid) = (rig.prps(0, blocks as usize * 512), rig.cid());
        assert!(rig.run(&mut queue, &command::read(ONE, cid, slba, blocks, prps, false)).status().is_success());
        let from = (slba - 5) as usize * 512;
        assert!(rig.take(0, blocks as usize * 512) == data[from..from + blocks as usize * 512]);
    }
    // One block more than MDTS.
    let (prps, cid) = (rig.prps(0, 257 * 512), rig.cid());
    let long = command::read(ONE, cid, 0, 257, prps, false);
    assert_eq!(rig.run(&mut queue, &long).status(), Status::INVALID_FIELD.with_dnr());
    // Write Zeroes moves no data: MDTS does not bound it.
    let cid = rig.cid();
    assert!(rig.run(&mut queue, &command::write_zeroes(ONE, cid, 0, 16384, false, false)).status().is_success());
}

#[test]
fn what_is_wrong_with_a_command_is_said() {
    let mut rig = Rig::new("mem:1M");
    let mut queue = rig.controller.take_io_queue(0);
    let (good, page) = (rig.prps(0, 512), rig.memory.iova(rig.list()));
    let length = 3 * PAGE;
    let base = |rig: &mut Rig| {
        let (prps, cid) = (rig.prps(0, length), rig.cid());
        command::read(ONE, cid, 0, (length / 512) as u32, prps, false)
    };
    type Damage = Box<dyn Fn(&mut Sqe)>;
    let cases: Vec<(&str, Status, Damage)> = vec![
        ("nothing", Status::SUCCESS, Box::new(|_| {})),
        ("opcode", Status::INVALID_OPCODE.with_dnr(), Box::new(|sqe| sqe.opcode = nvm::VERIFY)),
        ("fused", Status::INVALID_FIELD.with_dnr(), Box::new(|sqe| sqe.flags |= 1)),
        ("PSDT reserved", Status::INVALID_FIELD.with_dnr(), Box::new(|sqe| sqe.flags |= 0xc0)),
        ("namespace 0", Status::INVALID_NAMESPACE.with_dnr(), Box::new(|sqe| sqe.nsid = 0.into())),
        ("namespace 2", Status::INVALID_NAMESPACE.with_dnr(), Box::new(|sqe| sqe.nsid = 2.into())),
        ("every namespace", Status::INVALID_NAMESPACE.with_dnr(), Box::new(|sqe| sqe.nsid = u32::MAX.into())),
        ("last block", Status::SUCCESS, Box::new(|sqe| sqe.set_slba(2048 - 24))),
        ("past the end", Status::LBA_OUT_OF_RANGE.with_dnr(), Box::new(|sqe| sqe.set_slba(2048 - 23))),
        ("past 64 bits", Status::LBA_OUT_OF_RANGE.with_dnr(), Box::new(|sqe| sqe.set_slba(u64::MAX))),
        ("PRP1 odd", Status::PRP_OFFSET_INVALID.with_dnr(), Box::new(move |sqe| sqe.set_prps(good.0 + 2, page))),
        ("list odd", Status::PRP_OFFSET_INVALID.with_dnr(), Box::new(move |sqe| sqe.set_prps(good.0, page + 4))),
        ("list nowhere", Status::DATA_TRANSFER_ERROR, Box::new(move |sqe| sqe.set_prps(good.0, 0))),
        ("page nowhere", Status::DATA_TRANSFER_ERROR, Box::new(move |sqe| sqe.set_prps(0x1000, page))),
    ];
    for (what, status, damage) in cases {
        let mut sqe = base(&mut rig);
        damage(&mut sqe);
        assert_eq!(rig.run(&mut queue, &sqe).status(), status, "{what}");
    }
    // PRP2 as the second page, not aligned; an entry of the list, not aligned.
    let cid = rig.cid();
    let two = command::read(ONE, cid, 0, 16, (good.0, page + 8), false);
    assert_eq!(rig.run(&mut queue, &two).status(), Status::PRP_OFFSET_INVALID.with_dnr());
    let three = base(&mut rig);
    rig.memory.write(rig.list(), &(good.0 + 8).to_le_bytes());
    assert_eq!(rig.run(&mut queue, &three).status(), Status::PRP_OFFSET_INVALID.with_dnr());
}

/// A write whose last page the drive may not reach changes no block.
#[test]
fn dma_outside_what_is_mapped_is_refused_whole() {
    let mut rig = Rig::new("mem:1M");
    let mut queue = rig.controller.take_io_queue(0);
    rig.paint(0x55);
    let (good, cid) = (rig.prps(0, 8192), rig.cid());
    let outside = Region::shared(PAGE).unwrap();
    for prp2 in [outside.iova(0), rig.memory.iova(rig.memory.length()), 0, !0xfff] {
        let write = command::write(ONE, cid, 0, 16, (good.0, prp2), false);
        assert_eq!(rig.run(&mut queue, &write).status(), Status::DATA_TRANSFER_ERROR);
        let read = command::read(ONE, cid, 0, 16, (good.0, prp2), false);
        assert_eq!(rig.run(&mut queue, &read).status(), Status::DATA_TRANSFER_ERROR);
    }
    let read = command::read(ONE, cid, 0, 16, good, false);
    assert!(rig.run(&mut queue, &read).status().is_success());
    assert!(rig.take(0, 8192).iter().all(|&byte| byte == 0), "nothing had been written");
    // Mapped, it is reached; taken away again, it is not.
    rig.drive.map(std::sync::Arc::clone(&outside)).unwrap();
    let write = command::write(ONE, cid, 0, 16, (good.0, outside.iova(0)), false);
    assert!(rig.run(&mut queue, &write).status().is_success());
    assert!(rig.drive.space().unmap(&outside));
    assert_eq!(rig.run(&mut queue, &write).status(), Status::DATA_TRANSFER_ERROR);
}

#[test]
fn sgl_segments_and_what_is_wrong_with_them() {
    let mut rig = Rig::new("mem:1M");
    let mut queue = rig.controller.take_io_queue(0);
    let (list, at) = (rig.list(), rig.memory.iova(rig.list()));
    let pages: Vec<u64> = rig.pages(0).take(4).collect();
    let block = |address, length| Sgl::DataBlock { address, length };
    let segments = |rig: &Rig, place: usize, all: &[Sgl]| {
        for (i, sgl) in all.iter().enumerate() {
            rig.memory.write(list + place + i * 16, &sgl.emit());
        }
    };
    let data = pattern(4, 4096);
    for piece in [1, 3, 1000, 4095] {
        // Any byte boundary will do for an SGL.
        rig.paint(0);
        rig.memory.write((pages[0] - rig.memory.iova(0)) as usize + 1, &data[..piece]);
        rig.memory.write((pages[1] - rig.memory.iova(0)) as usize, &data[piece..]);
        let rest = (4096 - piece) as u32;
        segments(&rig, 0, &[block(pages[0] + 1, piece as u32), Sgl::LastSegment { address: at + 256, length: 32 }]);
        segments(&rig, 256, &[block(pages[2], 0), block(pages[1], rest)]);
        let mut sqe = Sqe::new(nvm::WRITE, rig.cid(), ONE);
        sqe.set_blocks(8);
        sqe.set_sgl(Sgl::Segment { address: at, length: 32 });
        assert_eq!(rig.run(&mut queue, &sqe).status(), Status::SUCCESS);
        let mut read = Sqe::new(nvm::READ, rig.cid(), ONE);
        read.set_blocks(8);
        read.set_sgl(block(pages[3], 4096));
        assert_eq!(rig.run(&mut queue, &read).status(), Status::SUCCESS);
        let mut found = vec![0; 4096];
        rig.memory.read((pages[3] - rig.memory.iova(0)) as usize, &mut found);
        assert!(found == data, "split at {piece}");
    }

    let last = |length| Sgl::LastSegment { address: at, length };
    let keyed = Sgl::Keyed { address: pages[0], length: 4096, key: 1, invalidate: false };
    type Case = (&'static str, Status, Sgl, Vec<Sgl>);
    let cases: Vec<Case> = vec![
        ("short", Status::SGL_LENGTH_INVALID.with_dnr(), block(pages[0], 4095), vec![]),
        ("long", Status::SGL_LENGTH_INVALID.with_dnr(), block(pages[0], 4097), vec![]),
        ("keyed", Status::SGL_TYPE_INVALID.with_dnr(), keyed, vec![]),
        ("bit bucket", Status::SGL_TYPE_INVALID.with_dnr(), Sgl::BitBucket { length: 4096 }, vec![]),
        ("in capsule", Status::SGL_TYPE_INVALID.with_dnr(), Sgl::InCapsule { offset: 0, length: 4096 }, vec![]),
        ("empty segment", Status::INVALID_SGL_SEGMENT.with_dnr(), last(0), vec![]),
        ("half a descriptor", Status::INVALID_SGL_SEGMENT.with_dnr(), last(24), vec![]),
        ("last leads on", Status::INVALID_SGL_SEGMENT.with_dnr(), last(16), vec![last(16)]),
        (
            "segment in the middle",
            Status::INVALID_SGL_SEGMENT.with_dnr(),
            last(32),
            vec![last(16), block(pages[0], 4096)],
        ),
        (
            "segment that is the last",
            Status::INVALID_SGL_SEGMENT.with_dnr(),
            Sgl::Segment { address: at, length: 16 },
            vec![block(pages[0], 4096)],
        ),
        (
            "segment that names itself",
            Status::INVALID_SGL_COUNT.with_dnr(),
            Sgl::Segment { address: at, length: 16 },
            vec![Sgl::Segment { address: at, length: 16 }],
        ),
        ("segment nowhere", Status::DATA_TRANSFER_ERROR, Sgl::LastSegment { address: 0, length: 16 }, vec![]),
        ("data nowhere", Status::DATA_TRANSFER_ERROR, block(u64::MAX - 100, 4096), vec![]),
    ];
    for (what, status, sgl, list) in cases {
        segments(&rig, 0, &list);
        let mut sqe = Sqe::new(nvm::READ, rig.cid(), ONE);
        sqe.set_blocks(8);
        sqe.set_sgl(sgl);
        assert_eq!(rig.run(&mut queue, &sqe).status(), status, "{what}");
    }
}

/// The largest command there is, on a drive without an MDTS of its own: 65536 blocks in one Write Zeroes.
#[test]
fn nlb_is_sixteen_bits() {
    let mut rig = Rig::with("mem:64M", CONFIG);
    let mut queue = rig.controller.take_io_queue(0);
    let cid = rig.cid();
    let zeroes = command::write_zeroes(ONE, cid, 131072 - 65536, 65536, true, false);
    assert!(rig.run(&mut queue, &zeroes).status().is_success());
}
