//! Drives that differ under hosts that do not care: every command works on every drive that has it, in pieces where the drive
//! takes less, and what a drive lacks, leaves out or shares is said. NVM Command Set 1.0 §3.2, §4.1.5.

mod story;

use gantry_control::{DriveState, Notice};
use gantry_pipeline::counters::Counter;
use gantry_sim::host::{Command, Data, Done, Io, IoKind};
use gantry_sim::world::World;
use gantry_wire::nvme::{Cid, DsmRange, Nsid, Sqe, Status, nvm};
use story::{SECOND, configuration, connect, settled, sizes, world, world_of};
use zerocopy::IntoBytes;

fn ended(world: &mut World, host: usize) -> Done {
    let mut done = None;
    world.run_until(10 * SECOND, |world| {
        done = world.host(host).poll_completion();
        done.is_some()
    });
    done.expect("the command ends")
}

fn run(world: &mut World, host: usize, kind: IoKind, slba: u64, blocks: u32, data: Vec<u8>) -> Done {
    world.host(host).submit(Io { queue: 1, kind, nsid: 1, slba, blocks, data, tag: 1 }).unwrap();
    ended(world, host)
}

fn send(world: &mut World, host: usize, sqe: Sqe, data: Data) -> Status {
    world.host(host).submit_command(Command { queue: 1, sqe, data, tag: 1 }).unwrap();
    ended(world, host).status
}

/// NVMe commands that went to drives.
fn submitted(world: &mut World) -> u64 {
    world.card().lcore(0).core().counters.value(Counter::Submitted)
}

fn deallocate(world: &mut World, host: usize, ranges: &[(u64, u32)]) -> Status {
    let mut list: Vec<u8> = ranges.iter().flat_map(|(at, n)| DsmRange::new(*at, *n).as_bytes().to_vec()).collect();
    list.resize(4096, 0);
    let mut sqe = Sqe::new(nvm::DATASET_MANAGEMENT, Cid(0), Nsid(1));
    sqe.cdw10 = (ranges.len() as u32 - 1).into();
    sqe.cdw11 = Sqe::CDW11_AD.into();
    send(world, host, sqe, Data::ToController(list))
}

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31) ^ (at >> 8) as u8 ^ seed).collect()
}

/// In the capsule and fetched, aligned and not, whole and in pieces: what is written is read, zeroed and compared.
#[test]
fn every_command_on_every_drive() {
    for options in [
        "",
        "sgl=dword",
        "sgl=none",
        "sgl=off",
        "mdts=8K",
        "mdts=8K,sgl=none",
        "mdts=16K,defect=short-write-zeroes",
        "dstrd=4,mdts=1M",
        "version=2.0,wzsl=1,dmrl=1",
        "version=1.0,entries=2",
        "block=4096",
        "block=4096,mdts=8K,sgl=none",
    ] {
        let uri = format!("mem:64M,{options}");
        let mut world = world(uri.trim_end_matches(','), 70);
        let host = connect(&mut world, 4200, 1, 32);
        let block = if options.contains("block=4096") { 4096 } else { 512 };
        for (round, bytes) in [512usize, 4096, 8192, 8192 + 4096, 65_536, 131_072].into_iter().enumerate() {
            let blocks = (bytes / block).max(1) as u32;
            let bytes = blocks as usize * block;
            let data = pattern(bytes, round as u8);
            let slba = round as u64 * 1000;
            let write = run(&mut world, host, IoKind::Write, slba, blocks, data.clone());
            assert_eq!(write.status, Status::SUCCESS, "{uri}, {bytes} bytes");
            let read = run(&mut world, host, IoKind::Read, slba, blocks, Vec::new());
            assert_eq!(read.status, Status::SUCCESS, "{uri}, {bytes} bytes");
            assert!(read.data == data, "{uri}, {bytes} bytes");
            let same = run(&mut world, host, IoKind::Compare, slba, blocks, data.clone());
            assert_eq!(same.status, Status::SUCCESS, "{uri}, {bytes} bytes");
            // Around it as well, and more than a drive takes at once.
            let zeroes = run(&mut world, host, IoKind::WriteZeroes, slba, blocks.max(900), Vec::new());
            assert_eq!(zeroes.status, Status::SUCCESS, "{uri}, {bytes} bytes");
            let other = run(&mut world, host, IoKind::Compare, slba, blocks, data.clone());
            assert_eq!(other.status.code(), Status::COMPARE_FAILURE.code(), "{uri}, {bytes} bytes");
            let read = run(&mut world, host, IoKind::Read, slba, blocks, Vec::new());
            assert!(read.data.iter().all(|byte| *byte == 0), "{uri}, {bytes} bytes");
            assert_eq!(run(&mut world, host, IoKind::Write, slba, blocks, data).status, Status::SUCCESS);
            let gone = deallocate(&mut world, host, &[(slba, 1), (slba + 1, blocks), (slba + 2, 0)]);
            assert_eq!(gone, Status::SUCCESS, "{uri}, {bytes} bytes");
            let read = run(&mut world, host, IoKind::Read, slba, 1, Vec::new());
            assert!(read.data.iter().all(|byte| *byte == 0), "{uri}, {bytes} bytes");
            assert_eq!(run(&mut world, host, IoKind::Flush, 0, 1, Vec::new()).status, Status::SUCCESS);
        }
        assert_eq!(world.host(host).violations(), [], "{uri}");
        world.host(host).disconnect();
        world.run_for(SECOND);
        settled(&mut world);
    }
}

#[test]
fn zeroes_and_range_lists_go_in_as_many_pieces_as_the_drive_wants() {
    let mut world = world("mem:64M,version=2.0,wzsl=1,dmrl=2,dmrsl=100,dmsl=150", 71);
    let host = connect(&mut world, 1500, 1, 32);
    let pieces = |world: &mut World, run: &dyn Fn(&mut World) -> Status| {
        let before = submitted(world);
        (run(world), submitted(world) - before)
    };
    let zeroes = |blocks| move |world: &mut World| run(world, host, IoKind::WriteZeroes, 5, blocks, Vec::new()).status;
    assert_eq!(pieces(&mut world, &zeroes(16)), (Status::SUCCESS, 1));
    assert_eq!(pieces(&mut world, &zeroes(17)), (Status::SUCCESS, 2));
    assert_eq!(pieces(&mut world, &zeroes(65_536)), (Status::SUCCESS, 4096));
    let ranges = |ranges: &'static [(u64, u32)]| move |world: &mut World| deallocate(world, host, ranges);
    assert_eq!(pieces(&mut world, &ranges(&[(0, 100), (200, 50)])), (Status::SUCCESS, 1));
    let five = [(0, 10), (20, 10), (40, 10), (60, 10), (80, 10)];
    let data = pattern(100 * 512, 7);
    assert_eq!(run(&mut world, host, IoKind::Write, 0, 100, data).status, Status::SUCCESS);
    let before = submitted(&mut world);
    assert_eq!((deallocate(&mut world, host, &five), submitted(&mut world) - before), (Status::SUCCESS, 3));
    let read = run(&mut world, host, IoKind::Read, 0, 100, Vec::new()).data;
    for (at, block) in read.chunks(512).enumerate() {
        assert_eq!(block.iter().all(|byte| *byte == 0), at / 10 % 2 == 0, "block {at}");
    }
    // A range that is longer than the drive takes, and ranges that are together.
    let refused = (Status::COMMAND_SIZE_LIMIT_EXCEEDED.with_dnr(), 0);
    assert_eq!(pieces(&mut world, &ranges(&[(0, 101)])), refused);
    assert_eq!(pieces(&mut world, &ranges(&[(0, 100), (200, 51)])), refused);
    assert_eq!(world.card().lcore(0).core().counters.value(Counter::DriveErrors), 0);
    world.host(host).disconnect();
    world.run_for(SECOND);
    settled(&mut world);
}

#[test]
fn what_a_drive_lacks_is_refused_and_not_sent() {
    let mut world = world("mem:64M,lacks=compare+dsm+zeroes", 72);
    let host = connect(&mut world, 1500, 1, 32);
    let before = submitted(&mut world);
    for kind in [IoKind::Compare, IoKind::Dsm, IoKind::WriteZeroes] {
        let data = if kind == IoKind::Compare { vec![0; 512] } else { Vec::new() };
        let status = run(&mut world, host, kind, 0, 1, data).status;
        assert_eq!(status, Status::INVALID_OPCODE.with_dnr(), "{kind:?}");
    }
    assert_eq!(submitted(&mut world), before);
    assert_eq!(run(&mut world, host, IoKind::Write, 0, 1, vec![1; 512]).status, Status::SUCCESS);
    world.host(host).disconnect();
    world.run_for(SECOND);
    settled(&mut world);
}

#[test]
fn protection_information_is_refused_where_there_is_none() {
    let mut world = world("mem:64M", 73);
    let host = connect(&mut world, 1500, 1, 32);
    for bit in [26, 27, 28, 29] {
        for (opcode, data) in [
            (nvm::READ, Data::ToHost(512)),
            (nvm::WRITE, Data::ToController(vec![1; 512])),
            (nvm::COMPARE, Data::ToController(vec![1; 512])),
            (nvm::WRITE_ZEROES, Data::None),
        ] {
            let mut sqe = Sqe::new(opcode, Cid(0), Nsid(1));
            sqe.cdw12 = (1u32 << bit).into();
            let status = send(&mut world, host, sqe, data);
            assert_eq!(status, Status::INVALID_PROTECTION_INFORMATION.with_dnr(), "opcode {opcode:#x}, bit {bit}");
        }
    }
    assert_eq!(submitted(&mut world), 0, "partition tables are not read by this host");
    world.host(host).disconnect();
    world.run_for(SECOND);
    settled(&mut world);
}

fn remarks(world: &World) -> Vec<(String, String)> {
    let of = |notice: &Notice| match notice {
        Notice::DriveRemark { drive, text } => Some((drive.clone(), text.clone())),
        _ => None,
    };
    world.notices().iter().filter_map(of).collect()
}

#[test]
fn the_operator_hears_what_is_left_out_what_is_known_and_what_is_reached_twice() {
    let mut configuration = configuration("mem:64M,identity=one,shared=on,cntlid=1");
    let more = [
        ("d1", "mem:64M,identity=one,shared=on,cntlid=2"),
        ("d2", "mem:64M,namespaces=2,set=zoned"),
        ("d3", "mem:64M,pci=1987:5019"),
    ];
    let drives = more.map(|(name, uri)| gantry_control::Drive { name: name.into(), uri: uri.into() });
    configuration.drives.extend(drives);
    let mut world = world_of(configuration, 1, sizes(), 74);
    let said = remarks(&world);
    let has = |drive: &str, text: &str| said.iter().any(|(of, line)| of == drive && line.contains(text));
    assert!(has("d3", "known of its make: Write Zeroes is not used"), "{said:?}");
    let twice = ["d0", "d1"].map(|drive| has(drive, "namespace 1 as well (two controllers of one subsystem)"));
    assert!(twice[0] || twice[1], "{said:?}");
    let status = world.status();
    let DriveState::Failed(why) = &status.drives[2].state else { panic!("{status:?}") };
    assert!(why.contains("namespace 1, 2 is left out: it is zoned"), "{why}");
    let notices = world.notices();
    assert!(
        notices.iter().any(|notice| notice.to_string().contains("no namespace that can be served; namespace 1, 2"))
    );
    assert_eq!(status.drives[3].remarks.len(), 1);
}
