//! One entry of a table through a running gantry-dataplane: from control's BEGIN to COMMITTED, which says that every lcore sees it.
//! `cargo bench -p gantry-poller --bench update` prints percentiles, beside the same transaction without an entry.
//!
//! The process has one lcore here, which sleeps when it is idle; so a second figure is taken with updates one behind the other,
//! and a third with a pause between them, in which everybody falls asleep.

#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gantry::channel::session::Hello;
use gantry::channel::table::{Field, FieldKind, Verb, emit_entry};
use gantry::channel::{FRAME_MAX, Frame, Kind, VERSION, emit};
use gantry::packet;
use socket2::{Domain, SockAddr, Socket, Type};
use zerocopy::IntoBytes;

const UPDATES: usize = 5_000;
const PAUSED: usize = 500;
const PAUSE: Duration = Duration::from_millis(2);

struct Session {
    socket: Socket,
    buffer: Vec<u8>,
    transaction: u64,
}

impl Session {
    fn open(path: &Path) -> Self {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).expect("a socket");
        socket.connect(&SockAddr::unix(path).expect("a path")).expect("the data plane listens");
        let mut this = Self { socket, buffer: vec![0; FRAME_MAX], transaction: 0 };
        let (major, minor) = VERSION;
        let hello = Hello { major: major.into(), minor: minor.into(), reserved: 0.into(), epoch: 1.into() };
        this.send(Kind::Hello, hello.as_bytes());
        this.until(Kind::Synchronized);
        this
    }

    fn send(&mut self, kind: Kind, body: &[u8]) {
        self.socket.write_all(&emit(kind, self.transaction, body, &[])).expect("the session is open");
    }

    fn until(&mut self, wanted: Kind) {
        loop {
            let length = self.socket.read(&mut self.buffer).expect("the session is open");
            let frame = Frame::parse(&self.buffer[..length]).expect("a frame of the contract");
            assert_ne!(frame.kind, Kind::Refused, "{}", String::from_utf8_lossy(frame.bytes));
            if frame.kind == wanted {
                return;
            }
        }
    }

    /// A transaction of one entry, or of none; how long it took.
    fn transact(&mut self, entry: Option<&[u8]>) -> Duration {
        self.transaction += 1;
        let begun = Instant::now();
        self.send(Kind::Begin, &[]);
        if let Some(entry) = entry {
            self.send(Kind::TableWrite, entry);
        }
        self.send(Kind::Prepare, &[]);
        self.until(Kind::Prepared);
        self.send(Kind::Commit, &[]);
        self.until(Kind::Committed);
        begun.elapsed()
    }
}

/// Insertion or removal of an access rule.
fn rule(verb: Verb, source: u128) -> Vec<u8> {
    let table = packet::TABLES.iter().find(|table| table.name == "PacketControl.access").expect("it is there");
    let deny = table.actions.iter().find(|action| action.name == "PacketControl.deny").expect("it is there");
    let any = Field::new(FieldKind::Any, 0, 0, 0);
    let fields = [any, Field::new(FieldKind::Mask, 0, source, u128::MAX), any, any, any];
    let mut bytes = Vec::new();
    let action = if verb == Verb::Delete { 0 } else { deny.id };
    emit_entry(&mut bytes, verb, table.id, 1, &fields, action, [].into_iter(), 0, &[]);
    bytes
}

fn tell(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_nanos() as f64 / 1000.0;
    println!("{what:<44} p50 {:7.1} us   p90 {:7.1} us   p99 {:7.1} us", at(0.5), at(0.9), at(0.99));
}

/// Ended with the bench, however that ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

fn main() {
    let folder = std::env::temp_dir().join(format!("gantry-update-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder of its own");
    let channel = folder.join("channel");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gantry-dataplane"));
    command.arg("--channel").arg(&channel).args(["--lcores", "1", "--no-huge", "--memory", "128", "--eal=--no-pci"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let process = Process(child);
    while !channel.exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_secs(1));
    let mut session = Session::open(&channel);
    let update = |session: &mut Session, at: usize| {
        let verb = if at.is_multiple_of(2) { Verb::Insert } else { Verb::Delete };
        session.transact(Some(&rule(verb, (at / 2) as u128)))
    };
    // Alternately, so that whatever else the machine does is in both.
    let (mut entries, mut empty) = (Vec::new(), Vec::new());
    for at in 0..UPDATES {
        entries.push(update(&mut session, at));
        empty.push(session.transact(None));
    }
    tell("one entry, visible on the lcore", entries);
    tell("no entry: the channel alone", empty);
    let paused = (0..PAUSED).map(|at| {
        std::thread::sleep(PAUSE);
        update(&mut session, at)
    });
    tell("one entry, after everybody has fallen asleep", paused.collect());
    drop(process);
    let _ = std::fs::remove_dir_all(&folder);
}
