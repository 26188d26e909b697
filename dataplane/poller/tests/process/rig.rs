//! The data plane, control and a host: three processes' worth of parts, the last two stepped here in real time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use gantry::channel::FRAME_MAX;
use gantry::stats::{CounterName, MAGIC, Preamble, VERSION};
use gantry_control::{Configuration, Control, Drive, Hosts, Namespace, Port};
use gantry_sim::host::{Host, HostConfig, State};
use gantry_sim::workload::{Plan, Workload};
use rte_rs::{BURST, Eal, Mbuf, Mempool, PortConfig, RxQueue, SocketId, TxQueue};
use socket2::{Domain, SockAddr, Socket, Type};
use zerocopy::FromBytes;

use crate::data_plane::{DataPlane, Folder, PATIENCE};

pub(crate) const NQN: &str = "nqn.2026-11.io.gantry:process";

/// NSIDs of the two drives, each of 16 MiB.
pub(crate) const MEM: u32 = 1;
pub(crate) const FILE: u32 = 2;
pub(crate) const DRIVE_BYTES: u64 = 16 << 20;

/// What is between the data plane and the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// vhost-user: the data plane has the device's side, the host the driver's (virtio_user). MTU 4200.
    Vhost,
    /// memif: shared rings. MTU 1500, all that it admits to.
    Memif,
}

impl Link {
    fn mtu(self) -> u16 {
        if self == Link::Vhost { 4200 } else { 1500 }
    }

    fn plane_device(self, socket: &Path, queues: u16) -> String {
        let socket = socket.display();
        match self {
            Link::Vhost => format!("net_vhost0,iface={socket},queues={queues}"),
            Link::Memif => format!("net_memif0,role=server,socket={socket},socket-abstract=no"),
        }
    }

    fn host_device(self, socket: &Path, queues: u16) -> String {
        let socket = socket.display();
        match self {
            Link::Vhost => format!("net_virtio_user0,path={socket},queues={queues},queue_size=1024,mrg_rxbuf=1"),
            Link::Memif => format!("net_memif1,role=client,socket={socket},socket-abstract=no"),
        }
    }
}

/// This process's own DPDK, started once.
fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let anywhere = format!("--lcores=0@(0-{})", cores - 1);
        let own = format!("gantry-process-{}", std::process::id());
        let prefix = format!("--file-prefix={own}");
        let list = ["--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-m", "64", &prefix, &anywhere];
        let eal = Eal::init(&list.map(String::from)).unwrap();
        // It makes a folder of this name although it is asked for no files.
        for runtime in ["/run/dpdk", "/tmp/dpdk"] {
            let _ = std::fs::remove_dir(Path::new(runtime).join(&own));
        }
        eal
    })
}

/// The host's port.
struct Wire {
    port: rte_rs::Port,
    rx: Vec<RxQueue>,
    /// The first: a host whose frames all come by one way.
    tx: TxQueue,
    pool: Mempool,
    received: ArrayVec<Mbuf, BURST>,
    outgoing: ArrayVec<Mbuf, BURST>,
    frame: Vec<u8>,
}

impl Wire {
    fn attach(device: &str, mtu: u16, queues: u16) -> Self {
        let pool = Mempool::create(eal(), "host", 8191, 0, 4608, SocketId::ANY).unwrap();
        let mut port = rte_rs::Port::attach(eal(), device).unwrap();
        let config = PortConfig {
            rx_pools: vec![pool.clone(); queues.into()],
            tx_queues: queues,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            mtu,
            promiscuous: false,
        };
        port.configure(config).unwrap();
        port.start().unwrap();
        let rx = (0..queues).map(|queue| port.rx_queue(queue).unwrap()).collect();
        let tx = port.tx_queue(0).unwrap();
        let (received, outgoing) = (ArrayVec::new(), ArrayVec::new());
        Self { port, rx, tx, pool, received, outgoing, frame: Vec::new() }
    }

    fn turn(&mut self, host: &mut Host, now_ns: u64) -> bool {
        let mut busy = false;
        for rx in &mut self.rx {
            busy |= rx.rx_burst(&mut self.received) > 0;
            for mbuf in self.received.drain(..) {
                assert!(mbuf.is_contiguous(), "a frame fits an mbuf");
                host.handle_frame(now_ns, mbuf.as_slice());
            }
        }
        if host.deadline_ns() <= now_ns {
            host.on_deadline(now_ns);
            busy = true;
        }
        while !self.outgoing.is_full() && host.poll_frame(now_ns, &mut self.frame) {
            let mut mbuf = self.pool.alloc().expect("the pool holds more than the queues");
            mbuf.append(self.frame.len()).expect("a frame fits an mbuf").copy_from_slice(&self.frame);
            self.outgoing.push(mbuf);
            busy = true;
        }
        self.tx.tx_burst(&mut self.outgoing);
        busy
    }
}

/// Control's end of the channel.
struct Session {
    socket: Socket,
    unsent: Option<Vec<u8>>,
    buffer: Box<[u8; FRAME_MAX]>,
}

impl Session {
    fn connect(channel: &Path) -> Self {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        socket.connect(&SockAddr::unix(channel).unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, unsent: None, buffer: Box::new([0; FRAME_MAX]) }
    }

    fn turn(&mut self, control: &mut Control, now_ns: u64) -> bool {
        let mut busy = false;
        loop {
            match self.socket.read(&mut self.buffer[..]) {
                Ok(0) => panic!("the data plane has ended control's session"),
                Ok(length) => control.handle_frame(now_ns, &self.buffer[..length]).expect("a frame of the contract"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("the channel: {error}"),
            }
            busy = true;
        }
        if control.deadline_ns() <= now_ns {
            control.on_deadline(now_ns);
        }
        while let Some(frame) = self.unsent.take().or_else(|| control.poll_frame()) {
            match self.socket.write(&frame) {
                Ok(length) => assert_eq!(length, frame.len(), "a datagram leaves whole"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.unsent = Some(frame);
                    break;
                }
                Err(error) => panic!("the channel: {error}"),
            }
            busy = true;
        }
        busy
    }
}

/// All of it.
pub(crate) struct Rig {
    start: Instant,
    pub(crate) plane: DataPlane,
    control: Control,
    session: Option<Session>,
    wire: Option<Wire>,
    pub(crate) host: Host,
    pub(crate) notices: Vec<String>,
    folder: Folder,
    before: BTreeSet<String>,
}

impl Rig {
    /// Starts a data plane of one lcore, lets control give it a port and two drives, and plugs the host in.
    pub(crate) fn start(link: Link, folder: Folder, environment: &[(&str, &Path)]) -> Self {
        Self::start_lcores(1, link, folder, environment)
    }

    /// The same with more lcores.
    pub(crate) fn start_lcores(lcores: u16, link: Link, folder: Folder, environment: &[(&str, &Path)]) -> Self {
        let file = folder.path("drive.img");
        let uris = [format!("mem:{DRIVE_BYTES}"), format!("file:{},size={DRIVE_BYTES}", file.display())];
        Self::start_on(link, lcores, folder, environment, uris)
    }

    /// The same, with other drives in place of [`MEM`] and [`FILE`].
    pub(crate) fn start_on(
        link: Link,
        lcores: u16,
        folder: Folder,
        environment: &[(&str, &Path)],
        uris: [String; 2],
    ) -> Self {
        let before = folder.names();
        let (channel, wire) = (folder.path("channel"), folder.path("wire"));
        let plane = DataPlane::start(&channel, lcores, environment);
        let names = ["memory", "file"];
        let drives = names.into_iter().zip(uris).map(|(name, uri)| Drive { name: name.into(), uri }).collect();
        let namespaces = names.into_iter().zip([MEM, FILE]);
        let namespaces = namespaces.map(|(name, nsid)| Namespace {
            nsid,
            drive: name.into(),
            drive_nsid: None,
            uuid: [nsid as u8; 16],
            read_only: false,
        });
        let configuration = Configuration {
            epoch: 1,
            ports: vec![Port {
                name: "wire".into(),
                device: link.plane_device(&wire, lcores),
                mtu: link.mtu(),
                vlan: 0,
                addresses: vec![[10, 0, 0, 1].into()],
            }],
            drives,
            subsystems: vec![gantry_control::Subsystem {
                nqn: NQN.into(),
                hosts: Hosts::Any,
                namespaces: namespaces.collect(),
            }],
        };
        let mut config = HostConfig::new([10, 0, 0, 2].into(), [10, 0, 0, 1].into());
        config.mtu = link.mtu();
        let mut rig = Self {
            start: Instant::now(),
            plane,
            control: Control::new(configuration, 1),
            session: None,
            wire: None,
            host: Host::new(config, 0),
            notices: Vec::new(),
            folder,
            before,
        };
        rig.open_session();
        rig.until("the data plane's port", |rig| rig.plane.told().contains("port open"));
        rig.wire = Some(Wire::attach(&link.host_device(&wire, lcores), link.mtu(), lcores));
        // A drive on a file is there when its length is on disk, which a busy machine may take seconds for.
        for name in names {
            let ready = format!("drive {name} is ready");
            rig.until(&ready, |rig| rig.notices.iter().any(|notice| notice.starts_with(&ready)));
        }
        rig.until("a link", |rig| rig.wire.as_ref().is_some_and(|wire| wire.port.link_up().unwrap()));
        rig
    }

    fn now_ns(&self) -> u64 {
        1_000_000_000 + self.start.elapsed().as_nanos() as u64
    }

    /// Control comes, or comes back.
    pub(crate) fn open_session(&mut self) {
        self.session = Some(Session::connect(&self.folder.path("channel")));
        self.control.connected(self.now_ns());
    }

    /// Control's socket closes, as when its process is killed.
    pub(crate) fn drop_session(&mut self) {
        self.session = None;
        self.control.disconnected(self.now_ns());
    }

    /// Control and the host do what is due, without haste.
    pub(crate) fn turn(&mut self) {
        if !self.step() {
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    /// The same at once. Whether there was anything.
    pub(crate) fn step(&mut self) -> bool {
        let now_ns = self.now_ns();
        let mut busy = self.session.as_mut().is_some_and(|session| session.turn(&mut self.control, now_ns));
        while let Some(notice) = self.control.poll_notice() {
            self.notices.push(notice.to_string());
        }
        busy |= self.wire.as_mut().is_some_and(|wire| wire.turn(&mut self.host, now_ns));
        busy
    }

    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            self.turn();
            let state = self.host.state();
            let late = begun.elapsed() > PATIENCE || matches!(state, State::Failed(_));
            assert!(!late, "{what} did not come: {state:?}\n{}", self.seen());
            assert!(self.plane.is_running(), "the data plane has ended");
        }
    }

    /// What each part has seen, for whoever looks for a failure's cause.
    fn seen(&self) -> String {
        let frames = self.wire.as_ref().map(|wire| wire.port.stats().unwrap());
        let host = self.host.counters();
        format!("{:#?}\n{:#?}\n{host:#?}\n{frames:#?}", self.notices, self.counters())
    }

    /// The lcore's counters that are not zero, from the statistics segment.
    pub(crate) fn counters(&self) -> BTreeMap<String, u64> {
        let bytes = std::fs::read(self.folder.path("channel.stats")).unwrap();
        let (preamble, names) = Preamble::read_from_prefix(&bytes).unwrap();
        assert_eq!((preamble.magic.get(), preamble.version.get()), (MAGIC, VERSION));
        let count = preamble.names.get() as usize;
        let values = bytes[preamble.rows.get() as usize..].chunks_exact(8).take(count);
        let values = values.map(|value| u64::from_le_bytes(value.try_into().unwrap()));
        let names = names.chunks_exact(size_of::<CounterName>()).take(count);
        let names = names.map(|name| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned());
        names.zip(values).filter(|(_, value)| *value > 0).collect()
    }

    /// The host connects with two I/O queues of 32 entries.
    pub(crate) fn connect(&mut self, kato_ms: u32) {
        self.host.connect(NQN, 2, 32, kato_ms);
        self.until("the connection", |rig| *rig.host.state() == State::Ready);
        let namespaces = self.host.namespaces().iter().map(|namespace| namespace.nsid).collect::<Vec<_>>();
        assert_eq!(namespaces, [MEM, FILE]);
    }

    pub(crate) fn disconnect(&mut self) {
        self.host.disconnect();
        self.until("the host's leaving", |rig| *rig.host.state() == State::Disconnected);
    }

    /// Nothing happens but what time brings.
    pub(crate) fn rest(&mut self, length: Duration) {
        let begun = Instant::now();
        self.until("rest", |_| begun.elapsed() > length);
    }

    /// I/O for so long, to its last response.
    pub(crate) fn run(&mut self, workload: &mut Workload, length: Duration) {
        let (begun, before) = (Instant::now(), workload.completed);
        self.until("the I/O", |rig| {
            workload.turn(&mut rig.host);
            begun.elapsed() > length
        });
        self.until("the last response", |rig| workload.drain(&mut rig.host));
        assert_eq!(workload.errors.iter().take(5).collect::<Vec<_>>(), Vec::<&String>::new());
        assert_eq!(self.host.violations(), []);
        assert_eq!(*self.host.state(), State::Ready);
        assert!(workload.completed > before, "commands complete");
    }

    /// Unplugs the host, ends the data plane, and finds what neither may leave behind. `kept` is what may stay.
    pub(crate) fn stop(mut self, kept: &[&str]) -> Folder {
        assert_eq!(self.host.violations(), []);
        drop(self.wire.take());
        let (pid, told) = (self.plane.pid(), self.plane.stop());
        assert!(told.contains("data plane has stopped"), "{told}");
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "the process is gone");
        let mut left = self.folder.names();
        left.retain(|name| !self.before.contains(name) && !kept.contains(&name.as_str()));
        assert_eq!(left, Default::default(), "left behind");
        self.folder
    }
}

/// Every length and both directions, on the whole of a drive.
pub(crate) fn workload(nsid: u32) -> Workload {
    Workload::new(Plan {
        nsid,
        blocks: DRIVE_BYTES / 512,
        block_size: 512,
        queues: 2,
        depth: 24,
        lengths: vec![512, 1024, 4096, 4608, 16_384, 65_536, 131_072],
        reads: 50,
        seed: u64::from(nsid) << 8,
    })
}
