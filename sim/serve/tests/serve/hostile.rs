//! Peers that mean no good, at either end: nothing panics, nothing is waited for beyond its limit.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use gantry_dma::Region;
use gantry_serve::{Function, Notice, Options};
use gantry_vfio_user::message::{DmaAccess, Header, RegionInfo, command, flag, region};
use gantry_vfio_user::{Connection, Doorbells, Drive, Error, Message, REPLY_LIMIT, Uri, version};
use gantry_wire::nvme::register;
use rustix::fs::MemfdFlags;
use zerocopy::{FromZeros, IntoBytes};

use crate::rig::{Driver, PATIENCE, Served, folder};

/// A stream of numbers from a seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A dword of the kind that finds mistakes.
    fn word(&mut self) -> u32 {
        match self.below(6) {
            0 => 0,
            1 => u32::MAX,
            2 => 1 << self.below(32),
            3 => self.below(64) as u32,
            4 => (self.below(8) * 0x1000) as u32,
            _ => self.next() as u32,
        }
    }

    fn body(&mut self) -> Vec<u8> {
        let length = self.below(80) as usize;
        let mut body: Vec<u8> = (0..length.div_ceil(4)).flat_map(|_| self.word().to_le_bytes()).collect();
        body.truncate(length);
        body
    }
}

fn file(flags: MemfdFlags) -> OwnedFd {
    let file = rustix::fs::memfd_create("x", MemfdFlags::CLOEXEC | flags).unwrap();
    rustix::fs::ftruncate(&file, 0x4000).unwrap();
    file
}

#[test]
fn the_function_takes_any_command() {
    let mut dice = Dice(7);
    for mapped in [true, false] {
        let drive = gantry_drive::open("mem:1M", "fuzz").unwrap();
        let mut function = Function::new(drive, Options { doorbells_mapped: mapped });
        let mut obeyed = 0;
        for round in 0..60_000u64 {
            let header = Header { command: (dice.below(17) as u16).into(), ..Header::default() };
            let fds = (0..dice.below(4)).map(|_| file(MemfdFlags::ALLOW_SEALING)).collect();
            let message = Message { header, body: dice.body(), fds };
            obeyed += u32::from(function.handle(round * 1000, message).is_ok());
            function.step(round * 1000);
        }
        assert!(obeyed > 1000, "{obeyed} of them made sense");
    }
}

#[test]
fn a_server_outlives_its_worst_clients() {
    let folder = folder();
    let served = Served::start(&folder.path().join("s"), "mem:4M", true);
    let mut dice = Dice(11);
    let mut given_up = 0;
    for client in 0..60 {
        let mut stream = UnixStream::connect(&served.path).unwrap();
        if client % 3 != 0 {
            let body = version::emit(1, None);
            let header = Header { command: 1.into(), size: (16 + body.len() as u32).into(), ..Header::default() };
            stream.write_all(&[header.as_bytes(), &body].concat()).unwrap();
        }
        for _ in 0..dice.below(20) {
            let body = dice.body();
            let size = if dice.below(4) == 0 { dice.word() } else { 16 + body.len() as u32 };
            let header = Header {
                id: (dice.next() as u16).into(),
                command: (dice.below(17) as u16).into(),
                size: size.into(),
                flags: (if dice.below(3) == 0 { dice.word() } else { 0 }).into(),
                error: 0.into(),
            };
            // It may have given up by now.
            if stream.write_all(&[header.as_bytes(), &body].concat()).is_err() {
                given_up += 1;
                break;
            }
        }
        drop(stream);
    }
    println!("{given_up} clients were given up while they wrote");
    let begun = Instant::now();
    let drive = loop {
        match Drive::open(&served.uri("")) {
            Ok(drive) => break drive,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
    };
    Driver::of(&drive).verify(2, || ());
    assert!(served.notices.try_iter().any(|notice| matches!(notice, Notice::Gone(Error::Protocol(_)))));
}

/// Listens at `path` and gives the client that comes to `peer`, in a thread.
fn peer(path: &Path, peer: impl FnOnce(Connection) + Send + 'static) -> (Uri, std::thread::JoinHandle<()>) {
    let listener = UnixListener::bind(path).unwrap();
    let thread = std::thread::spawn(move || peer(Connection::new(listener.accept().unwrap().0.into())));
    (Uri::parse(&format!("vfio-user:{}", path.display())).unwrap(), thread)
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn reply(client: &mut Connection, asked: &Header, body: &[u8], files: &[OwnedFd]) -> Result<(), Error> {
    let header = Header { id: asked.id, command: asked.command, flags: flag::REPLY.into(), ..Header::default() };
    let fds: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    client.send(header, &[body], &fds, soon())
}

/// Answers as a server would until `until` is asked for, which it leaves unanswered.
fn answer_until(client: &mut Connection, function: &mut Function, until: u16, skip: usize) -> Result<Header, Error> {
    let mut left = skip;
    loop {
        let message = client.receive(soon())?;
        let asked = message.header;
        if asked.command.get() == until {
            if left == 0 {
                return Ok(asked);
            }
            left -= 1;
        }
        if asked.command.get() == command::VERSION {
            reply(client, &asked, &version::emit(1, None), &[])?;
        } else if !asked.wants_no_reply() {
            let answer = function.handle(0, message).unwrap();
            reply(client, &asked, &answer.body, &answer.fds)?;
        }
        function.step(0);
    }
}

fn function() -> Function {
    Function::new(gantry_drive::open("mem:1M", "peer").unwrap(), Options { doorbells_mapped: false })
}

#[test]
fn a_peer_that_never_answers_costs_a_second_once() {
    let folder = folder();
    let (uri, thread) = peer(&folder.path().join("s"), |mut client| while client.receive(soon()).is_ok() {});
    let begun = Instant::now();
    assert!(matches!(Drive::open(&uri), Err(Error::Silent(_))));
    assert!(begun.elapsed() >= Duration::from_millis(900) && begun.elapsed() < Duration::from_secs(20));
    thread.join().unwrap();
}

#[test]
fn a_peer_that_falls_silent_costs_one_reply() {
    let folder = folder();
    let (uri, thread) = peer(&folder.path().join("s"), |mut client| {
        // CAP is read while the drive is opened; what is read next is not answered.
        let asked = answer_until(&mut client, &mut function(), command::REGION_READ, 2);
        assert!(asked.is_ok());
        while client.receive(soon()).is_ok() {}
    });
    let drive = Drive::open(&uri).unwrap();
    assert!(drive.poll());
    let registers = drive.bar().registers;
    let begun = Instant::now();
    assert_eq!(registers.load_u32(register::CSTS), u32::MAX);
    assert!(begun.elapsed() >= REPLY_LIMIT);
    // From then on nothing is waited for, however often it is asked.
    let begun = Instant::now();
    for _ in 0..1000 {
        assert_eq!(registers.load_u32(register::VS), u32::MAX);
        registers.store_u32(register::CC, 0);
        assert!(!drive.poll());
    }
    assert!(begun.elapsed() < REPLY_LIMIT, "{:?}", begun.elapsed());
    assert!(matches!(drive.failure(), Some(Error::Silent(_))));
    thread.join().unwrap();
}

#[test]
fn a_peer_that_does_not_accept_is_not_waited_for() {
    let folder = folder();
    let path = folder.path().join("s");
    let listener =
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&listener, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _first = UnixStream::connect(&path).unwrap();
    let uri = Uri::parse(&format!("vfio-user:{}", path.display())).unwrap();
    let begun = Instant::now();
    assert!(matches!(Drive::open(&uri), Err(Error::Connect(_))));
    assert!(begun.elapsed() < Duration::from_millis(500));
}

/// Whatever a peer says at whatever point, opening it ends, with a drive or with a reason.
#[test]
fn garbage_in_place_of_an_answer_is_an_error() {
    let folder = folder();
    let mut dice = Dice(23);
    for round in 0..200u64 {
        let seed = dice.next() | 1;
        let (uri, thread) = peer(&folder.path().join(format!("s{round}")), move |mut client| {
            let mut dice = Dice(seed);
            let commands = [
                command::VERSION,
                command::DEVICE_GET_INFO,
                command::REGION_READ,
                command::DEVICE_GET_REGION_INFO,
                command::REGION_WRITE,
            ];
            let until = commands[dice.below(5) as usize];
            let Ok(asked) = answer_until(&mut client, &mut function(), until, 0) else { return };
            let files: Vec<OwnedFd> = (0..dice.below(3)).map(|_| file(MemfdFlags::ALLOW_SEALING)).collect();
            for _ in 0..=dice.below(3) {
                let body = dice.body();
                let header = Header {
                    id: if dice.below(4) == 0 { (dice.next() as u16).into() } else { asked.id },
                    command: if dice.below(4) == 0 { (dice.below(17) as u16).into() } else { asked.command },
                    flags: (if dice.below(4) == 0 { dice.word() } else { flag::REPLY }).into(),
                    error: dice.word().into(),
                    size: 0.into(),
                };
                let fds: Vec<_> = files.iter().map(AsFd::as_fd).collect();
                if client.send(header, &[&body], &fds, soon()).is_err() {
                    return;
                }
            }
            // Goes, so that nobody waits for more.
        });
        if let Ok(drive) = Drive::open(&uri) {
            drive.bar().registers.load_u32(register::CSTS);
            drive.poll();
        }
        thread.join().unwrap();
    }
}

/// BARs, areas and files of every kind that a server may claim.
#[test]
fn a_bar_is_taken_only_as_far_as_it_can_be() {
    let folder = folder();
    let (seals, none) = (MemfdFlags::ALLOW_SEALING, MemfdFlags::empty());
    let claims = [
        (0, 0, 0, seals, "no BAR"),
        (0x1000, 0, 0, seals, "no doorbells"),
        (u64::MAX, 0, region::MMAP, seals, "larger than its file"),
        (0x4000, u64::MAX, region::MMAP, seals, "beyond its file"),
        (0x4000, 0x123, region::MMAP, seals, "between pages"),
        (0x4000, 0, region::MMAP, none, "it may shrink"),
        (0x4000, 0, region::MMAP, seals, "all of it mapped"),
        (0x4000, 0, region::MMAP, none, "it may shrink, and the operator knows"),
    ];
    for (at, (size, offset, flags, kind, what)) in claims.into_iter().enumerate() {
        let (mut uri, thread) = peer(&folder.path().join(format!("s{at}")), move |mut client| {
            let mut function = function();
            let Ok(asked) = answer_until(&mut client, &mut function, command::DEVICE_GET_REGION_INFO, 0) else {
                return;
            };
            let mut info = RegionInfo::new_zeroed();
            (info.argsz, info.flags) = (32.into(), (flags | region::READ | region::WRITE).into());
            (info.size, info.offset) = (size.into(), offset.into());
            let _ = reply(&mut client, &asked, info.as_bytes(), &[file(kind)]);
            let _ = answer_until(&mut client, &mut function, command::DEVICE_RESET, 0);
        });
        if at == 7 {
            uri.doorbells = Doorbells::Mapped;
        }
        match (Drive::open(&uri), at) {
            (Err(Error::NoBar), 0 | 1) => {}
            // Not to be mapped, so forwarded.
            (Ok(drive), 2..=5) => assert!(!drive.maps_doorbells(), "{what}"),
            (Ok(drive), _) => {
                assert!(drive.maps_doorbells(), "{what}");
                let bar = drive.bar();
                bar.registers.store_u32(register::CC, 5);
                assert_eq!(bar.doorbells.load_u32(register::CC, std::sync::atomic::Ordering::Acquire), 5);
            }
            (opened, _) => panic!("{what}: {opened:?}"),
        }
        thread.join().unwrap();
    }
}

/// A server that cannot map what it was offered asks for it by message: it gets that, and nothing else.
#[test]
fn a_server_may_ask_for_bytes_of_what_it_was_offered() {
    let folder = folder();
    let memory = Region::shared(8192).unwrap();
    let first = memory.iova(0);
    let (uri, thread) = peer(&folder.path().join("s"), move |mut client| {
        let mut function = function();
        let mapped = answer_until(&mut client, &mut function, command::DMA_MAP, 0).unwrap();
        reply(&mut client, &mapped, &[], &[]).unwrap();
        let mut ask = |command: u16, address: u64, count: u64, data: &[u8]| {
            let access = DmaAccess { address: address.into(), count: count.into() };
            let header = Header { id: 99.into(), command: command.into(), ..Header::default() };
            client.send(header, &[access.as_bytes(), data], &[], soon()).unwrap();
            let Message { header, body, .. } = client.receive(soon()).unwrap();
            assert_eq!((header.id.get(), header.is_reply()), (99, true));
            let refused = header.flags.get() & flag::ERROR != 0;
            if refused { Err(header.error.get()) } else { Ok(body[16..].to_vec()) }
        };
        let (read, write) = (command::DMA_READ, command::DMA_WRITE);
        assert_eq!(ask(read, first + 4096, 5, &[]).unwrap(), b"there");
        assert_eq!(ask(write, first + 8, 4, b"back").unwrap(), b"");
        // Beyond it, of another length, of no length that a message has, and something else altogether.
        let (fault, invalid, unknown) = (14, 22, 95);
        assert_eq!(ask(read, first + 8190, 5, &[]), Err(fault));
        assert_eq!(ask(write, first - 4, 4, b"over"), Err(fault));
        assert_eq!(ask(write, first, 9, b"less"), Err(invalid));
        assert_eq!(ask(read, first, u64::MAX, &[]), Err(invalid));
        assert_eq!(ask(command::REGION_READ, first, 1, &[]), Err(unknown));
    });
    let drive = Drive::open(&uri).unwrap();
    memory.write(4096, b"there");
    drive.map(memory.clone()).unwrap();
    let begun = Instant::now();
    while !thread.is_finished() {
        drive.poll();
        assert!(begun.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    thread.join().unwrap();
    assert!(memory.compare(8, b"back") && memory.compare(0, &[0; 8]));
}
