//! The data plane's side of the channel, frame by frame: sessions, versions, epochs, transactions that are refused whole.

use gantry::channel::operation::{AddressAdd, Answer, ControllerAdd, DriveAdd, PortAdd, QpCreate, QpDestroy};
use gantry::channel::session::{Hello, Reason, Refused, Reservation, Welcome};
use gantry::channel::slow_path::Punt;
use gantry::channel::state::ControllerState;
use gantry::channel::{self, Frame, Kind, Name, Path, VERSION};
use gantry_pipeline::state::Sizes;
use gantry_sim::card::Card;
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

const SIZES: Sizes = Sizes { qps: 4, commands: 64, pages: 64, namespaces: 8, addresses: 4 };

/// An operation: its kind, its body and tail.
type Operation = (Kind, Vec<u8>);

/// A card whose channel a test holds.
struct Channel {
    card: Card,
    now_ns: u64,
}

impl Channel {
    fn new() -> Self {
        Self { card: Card::new(0, 1, SIZES, 5, 1), now_ns: 1 }
    }

    fn say(&mut self, kind: Kind, transaction: u64, body: &[u8], tail: &[u8]) -> bool {
        let frame = channel::emit(kind, transaction, body, tail);
        self.card.housekeeping.handle_frame(self.now_ns, &frame)
    }

    /// Lets everything happen and takes what the data plane has said.
    fn hear(&mut self) -> Vec<(Kind, u64, Vec<u8>)> {
        for _ in 0..200 {
            self.now_ns += 1_000_000;
            self.card.poll_lcores(self.now_ns);
            self.card.step_drives(self.now_ns);
            self.card.keep_house(self.now_ns);
        }
        let frames = std::iter::from_fn(|| self.card.housekeeping.poll_frame());
        frames
            .map(|bytes| {
                let frame = Frame::parse(&bytes).unwrap();
                (frame.kind, frame.transaction, frame.bytes.to_vec())
            })
            .collect()
    }

    fn kinds(&mut self) -> Vec<Kind> {
        self.hear().into_iter().map(|(kind, ..)| kind).collect()
    }

    fn hello(&mut self, minor: u16, epoch: u64) -> bool {
        self.say(Kind::Hello, 0, hello(VERSION.0, minor, epoch).as_bytes(), &[])
    }

    /// One transaction with these operations, up to PREPARE; what was said.
    fn prepare(&mut self, id: u64, operations: &[Operation]) -> Vec<(Kind, u64, Vec<u8>)> {
        self.say(Kind::Begin, id, &[], &[]);
        for (kind, bytes) in operations {
            self.say(*kind, id, bytes, &[]);
        }
        self.say(Kind::Prepare, id, &[], &[]);
        self.hear()
    }

    /// A session with an open port.
    fn with_port() -> Self {
        let mut channel = Self::new();
        assert!(channel.hello(VERSION.1, 1));
        assert_eq!(
            channel.prepare(1, &[port(), address(1)])[..2].iter().map(|f| f.0).collect::<Vec<_>>()[0],
            Kind::Welcome
        );
        channel.say(Kind::Commit, 1, &[], &[]);
        assert_eq!(channel.kinds(), [Kind::Event, Kind::Committed]);
        channel
    }
}

fn hello(major: u16, minor: u16, epoch: u64) -> Hello {
    Hello { major: U16::new(major), minor: U16::new(minor), reserved: U32::ZERO, epoch: U64::new(epoch) }
}

fn port() -> Operation {
    let body = PortAdd { port: U16::new(0), mtu: U16::new(1500), name: Name::new("wire0") };
    (Kind::PortAdd, [body.as_bytes(), b"wire:net0"].concat())
}

fn address(last: u8) -> Operation {
    let mut ip = [0; 16];
    (ip[10], ip[11], ip[12], ip[15]) = (0xff, 0xff, 10, last);
    (Kind::AddressAdd, AddressAdd { port: U16::new(0), vlan: U16::ZERO, ip }.as_bytes().to_vec())
}

fn qp(port: u16) -> Operation {
    let path = Path {
        port: U16::new(port),
        vlan: U16::ZERO,
        local_mac: [2; 6],
        remote_mac: [4; 6],
        local_ip: [0; 16],
        remote_ip: [0; 16],
        udp_source: U16::new(0xc000),
        traffic_class: 0,
        hop_limit: 64,
    };
    let body = QpCreate {
        path,
        remote_qpn: U32::new(0x11),
        send_psn: U32::new(7),
        pkey: U16::new(0xffff),
        mtu: U16::new(1024),
        ack_timeout: 14,
        retry_count: 7,
        rnr_retry_count: 7,
        reads: 16,
        depth: U16::new(32),
        qid: U16::ZERO,
    };
    (Kind::QpCreate, [body.as_bytes(), b"what control remembers"].concat())
}

fn controller(cntlid: u16) -> Operation {
    let body = ControllerAdd { cntlid: U16::new(cntlid), reserved: U16::ZERO, keep_alive_ms: U32::new(5_000) };
    (Kind::ControllerAdd, body.as_bytes().to_vec())
}

fn refused(frames: &[(Kind, u64, Vec<u8>)]) -> (u32, Option<Reason>) {
    let (kind, _, bytes) = frames.last().expect("an answer");
    assert_eq!(*kind, Kind::Refused, "{frames:?}");
    let refused: &Refused = zerocopy::FromBytes::ref_from_prefix(bytes).unwrap().0;
    (refused.operation.get(), Reason::from_u16(refused.reason.get()))
}

#[test]
fn a_control_of_the_previous_version_is_spoken_to_in_its_own() {
    let mut channel = Channel::with_port();
    let state = channel.prepare(2, &[qp(0), controller(9)]);
    assert_eq!(state.last().unwrap().0, Kind::Prepared);
    channel.say(Kind::Commit, 2, &[], &[]);
    channel.hear();
    // Its HELLO says 1.0: it hears of ports, as it always did, and of nothing that it does not know.
    assert!(channel.hello(0, 2));
    let frames = channel.hear();
    let welcome: &Welcome = zerocopy::FromBytes::ref_from_bytes(&frames[0].2).unwrap();
    assert_eq!((welcome.major.get(), welcome.minor.get()), (1, 0));
    assert_eq!(frames.iter().map(|frame| frame.0).collect::<Vec<_>>(), [Kind::Welcome, Kind::Event]);
    // One of today hears all.
    assert!(channel.hello(VERSION.1, 3));
    let all = [Kind::Welcome, Kind::Event, Kind::QpState, Kind::ControllerState, Kind::Synchronized];
    let frames = channel.hear();
    assert_eq!(frames.iter().map(|frame| frame.0).collect::<Vec<_>>(), all);
    assert!(frames[2].2.ends_with(b"what control remembers"));
    let state: &ControllerState = zerocopy::FromBytes::ref_from_prefix(&frames[3].2).unwrap().0;
    assert_eq!((state.cntlid.get(), state.keep_alive_ms.get(), state.flags.get()), (9, 5_000, 0));
}

#[test]
fn another_major_version_and_an_older_epoch_are_refused_and_disturb_nobody() {
    let mut channel = Channel::with_port();
    assert!(channel.hello(VERSION.1, 8));
    channel.hear();
    for (hello, reason) in [(hello(2, 0, 9), Reason::Version), (hello(1, 1, 7), Reason::Fenced)] {
        let frame = channel::emit(Kind::Hello, 0, hello.as_bytes(), &[]);
        let refusal = channel.card.housekeeping.refusal_of(&frame).expect("it is refused");
        let frame = Frame::parse(&refusal).unwrap();
        assert_eq!(refused(&[(frame.kind, 0, frame.bytes.to_vec())]), (u32::MAX, Some(reason)));
    }
    let begin = channel::emit(Kind::Begin, 1, &[], &[]);
    assert!(channel.card.housekeeping.refusal_of(&begin).is_some(), "a session begins with HELLO");
    let newer = channel::emit(Kind::Hello, 0, hello(1, 1, 9).as_bytes(), &[]);
    assert!(channel.card.housekeeping.refusal_of(&newer).is_none());
    // The session that was there goes on.
    assert_eq!(channel.prepare(5, &[address(2)]).last().unwrap().0, Kind::Prepared);
}

#[test]
fn a_refused_transaction_leaves_nothing_behind() {
    let mut channel = Channel::with_port();
    // The fifth QP does not fit; the four before it go back, though each was reserved.
    let five = vec![qp(0); 5];
    assert_eq!(refused(&channel.prepare(2, &five)), (4, Some(Reason::Full)));
    let four = channel.prepare(3, &five[..4]);
    let (kind, _, bytes) = four.last().unwrap();
    assert_eq!((*kind, bytes.len()), (Kind::Prepared, 4 * size_of::<Reservation>()));
    // So do those of a transaction that control gives up, or that it dies with.
    channel.say(Kind::Rollback, 3, &[], &[]);
    assert_eq!(channel.prepare(4, &five[..4]).last().unwrap().0, Kind::Prepared);
    channel.card.housekeeping.disconnected();
    assert!(channel.hello(VERSION.1, 2));
    channel.hear();
    assert_eq!(channel.prepare(5, &five[..4]).last().unwrap().0, Kind::Prepared);
    channel.say(Kind::Commit, 5, &[], &[]);
    assert_eq!(channel.kinds(), [Kind::Committed]);
}

#[test]
fn what_does_not_exist_is_refused_by_name() {
    let mut channel = Channel::with_port();
    let destroy = QpDestroy { qpn: U32::new(99) };
    let answer = Answer {
        qpn: U32::new(99),
        punt: U32::ZERO,
        status: U16::ZERO,
        reserved: U16::ZERO,
        dw0: U32::ZERO,
        dw1: U32::ZERO,
    };
    let drive = DriveAdd { drive: U16::new(0), reserved: U16::ZERO, name: Name::new("d0") };
    let cases: [(Vec<Operation>, u32, Reason); 6] = [
        (vec![qp(7)], 0, Reason::NotFound),
        (vec![(Kind::QpDestroy, destroy.as_bytes().to_vec())], 0, Reason::NotFound),
        // An answer to nothing takes with it what it would have made true.
        (vec![controller(3), (Kind::Answer, answer.as_bytes().to_vec())], 1, Reason::NotFound),
        (vec![controller(0xfff0)], 0, Reason::Invalid),
        (vec![(Kind::DriveAdd, [drive.as_bytes(), b"tape:0"].concat())], 0, Reason::Device),
        (vec![(Kind::QpCreate, vec![0; 3])], 0, Reason::Malformed),
    ];
    for (id, (operations, at, reason)) in (2..).zip(cases) {
        let frames = channel.prepare(id, &operations);
        assert_eq!(refused(&frames), (at, Some(reason)), "{operations:?}");
    }
    assert!(channel.hello(VERSION.1, 2));
    assert_eq!(channel.kinds(), [Kind::Welcome, Kind::Event, Kind::Synchronized], "nothing came of any of it");
}

/// A control that does not know what its predecessor did says all of it again.
#[test]
fn what_exists_may_be_asked_for_again_but_not_otherwise() {
    let mut channel = Channel::with_port();
    let drive = |number: u16, uri: &str| {
        let body = DriveAdd { drive: U16::new(number), reserved: U16::ZERO, name: Name::new("d0") };
        (Kind::DriveAdd, [body.as_bytes(), uri.as_bytes()].concat())
    };
    let port_as = |mtu: u16, device: &str| {
        let body = PortAdd { port: U16::new(0), mtu: U16::new(mtu), name: Name::new("wire0") };
        (Kind::PortAdd, [body.as_bytes(), device.as_bytes()].concat())
    };
    let all = [port(), address(1), drive(0, "mem:64M")];
    for id in 2..4 {
        assert_eq!(channel.prepare(id, &all).last().unwrap().0, Kind::Prepared);
        channel.say(Kind::Commit, id, &[], &[]);
        assert!(channel.kinds().contains(&Kind::Committed));
    }
    let cases = [
        (port_as(1500, "wire:net1"), Reason::Exists),
        (port_as(1501, "wire:net0"), Reason::Exists),
        (drive(0, "mem:65M"), Reason::Exists),
        (drive(256, "mem:64M"), Reason::Invalid),
    ];
    for (id, (operation, reason)) in (10..).zip(cases) {
        assert_eq!(refused(&channel.prepare(id, &[operation])), (0, Some(reason)));
    }
    assert!(channel.hello(VERSION.1, 2));
    let told = channel.kinds();
    let events = [Kind::Event; 4];
    let expected = [&[Kind::Welcome], &events[..], &[Kind::Synchronized]].concat();
    assert_eq!(told, expected, "one port, one drive and its two logs");
}

#[test]
fn noise_is_refused_and_changes_nothing() {
    let mut channel = Channel::with_port();
    for length in 0..64 {
        channel.card.housekeeping.handle_frame(1, &vec![0xa5; length]);
    }
    channel.say(Kind::Commit, 77, &[], &[]);
    channel.say(Kind::PortAdd, 78, &[1; 10], &[]);
    channel.say(Kind::Welcome, 0, &[0; 40], &[]);
    channel.hear();
    assert!(channel.hello(VERSION.1, 2));
    assert_eq!(channel.kinds(), [Kind::Welcome, Kind::Event, Kind::Synchronized]);
}

/// A flood of MADs while control does not read costs memory for some thousands of them, and no more.
#[test]
fn a_flood_of_datagrams_is_bounded() {
    let mut channel = Channel::with_port();
    let (_, create) = qp(0);
    let path: &Path = zerocopy::FromBytes::ref_from_prefix(&create).unwrap().0;
    let body = Punt { path: *path, source_qpn: U32::new(1), qkey: U32::new(0x8001_0000) };
    let punt = channel::emit(Kind::Punt, 0, body.as_bytes(), &[0; 256]);
    for _ in 0..100_000 {
        channel.card.housekeeping.handle_report(1, 0, &punt);
    }
    let waiting = channel.hear().len();
    assert!((1_000..10_000).contains(&waiting), "{waiting} frames waited");
    // A new control gets the recent ones again, and those are fewer still.
    assert!(channel.hello(VERSION.1, 2));
    let again = channel.hear().len();
    assert!((100..1_000).contains(&again), "{again} frames began its session");
}
