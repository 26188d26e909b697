//! A vhost-user port and its guest's side (virtio_user), and two ends of a memif, in one process without root or
//! hugepages: a port that waits for its peer, jumbo frames both ways, a peer that goes and comes again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use rte_rs::{BURST, Eal, Mbuf, Mempool, Port, PortConfig, RxQueue, SocketId, TxQueue};

type Burst = ArrayVec<Mbuf, BURST>;

const POOL: u32 = 4095;
const PATIENCE: Duration = Duration::from_secs(20);

struct Side {
    port: Port,
    rx: RxQueue,
    tx: TxQueue,
}

fn start(eal: &Eal, device: &str, pool: &Mempool) -> Side {
    let mut port = Port::attach(eal, device).unwrap();
    let config = PortConfig {
        rx_pools: vec![pool.clone()],
        tx_queues: 1,
        rx_descriptors: 256,
        tx_descriptors: 256,
        mtu: 9000,
        promiscuous: true,
    };
    port.configure(config).unwrap();
    port.start().unwrap();
    let (rx, tx) = (port.rx_queue(0).unwrap(), port.tx_queue(0).unwrap());
    Side { port, rx, tx }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn fill(mbuf: &mut Mbuf, length: usize, number: usize) {
    let data = mbuf.append(length).expect("room for a jumbo frame");
    data.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * 13 + number * 7) as u8);
}

fn check(mbuf: &Mbuf, length: usize, number: usize) {
    assert!(mbuf.is_contiguous(), "a frame of {length} bytes fits one mbuf");
    assert_eq!(mbuf.len(), length);
    assert!(mbuf.as_slice().iter().enumerate().all(|(at, &byte)| byte == (at * 13 + number * 7) as u8));
}

/// Sends `count` frames from one side to the other and checks each.
fn run(pool: &Mempool, from: &mut TxQueue, to: &mut RxQueue, length: usize, count: usize) {
    let (mut queued, mut received) = (0, 0);
    let (mut outgoing, mut incoming) = (Burst::new(), Burst::new());
    until(&format!("{count} frames of {length} bytes"), || {
        for _ in 0..64 {
            while queued < count && !outgoing.is_full() {
                let mut mbuf = pool.alloc().expect("the pool suffices");
                fill(&mut mbuf, length, queued);
                outgoing.push(mbuf);
                queued += 1;
            }
            from.tx_burst(&mut outgoing);
            to.rx_burst(&mut incoming);
            for mbuf in incoming.drain(..) {
                check(&mbuf, length, received);
                received += 1;
            }
        }
        received == count
    });
}

/// As a peer that polls would: both sides give back what they hold for the other.
fn connected(host: &mut Side, guest: &mut Side) {
    until("a link", || host.port.link_up().unwrap() && guest.port.link_up().unwrap());
}

#[test]
fn frames_go_both_ways_between_peers() {
    let args = ["--no-huge", "--no-shconf", "-m", "256", "--no-pci", "-l", "0"];
    let eal = Eal::init(&args.map(String::from)).unwrap();
    let pool = Mempool::create(&eal, "peers", POOL, 0, 9728, SocketId::ANY).unwrap();
    over_vhost(&eal, &pool);
    assert_eq!(pool.available(), POOL, "no mbuf is lost");
    over_memif(&eal, &pool);
    assert_eq!(pool.available(), POOL, "no mbuf is lost");
}

fn socket(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("rte-rs-{}-{name}", std::process::id()))
}

fn over_vhost(eal: &Eal, pool: &Mempool) {
    // The product's own form: the port is the client, and starts before there is a server.
    let waits = socket("waits");
    let mut alone = start(eal, &format!("net_vhost9,iface={},client=1", waits.display()), pool);
    assert!(!alone.port.link_up().unwrap());
    assert_eq!(alone.rx.rx_burst(&mut Burst::new()), 0);
    let mut burst = Burst::new();
    pool.alloc_bulk(&mut burst, 3);
    assert_eq!((alone.tx.tx_burst(&mut burst), burst.len()), (0, 3), "nobody is there to take them");
    drop(burst);

    let path = socket("server");
    let mut host = start(eal, &format!("net_vhost0,iface={}", path.display()), pool);
    assert!(!host.port.link_up().unwrap(), "no peer yet");
    let guest_device = format!("net_virtio_user0,path={},queue_size=256,mrg_rxbuf=1", path.display());
    for _ in 0..2 {
        let mut guest = start(eal, &guest_device, pool);
        connected(&mut host, &mut guest);
        for length in [64, 1500, 4200, 9000] {
            run(pool, &mut host.tx, &mut guest.rx, length, 500);
            run(pool, &mut guest.tx, &mut host.rx, length, 500);
        }
        let stats = host.port.stats().unwrap();
        assert!(stats.rx_frames >= 2000 && stats.tx_frames >= 2000, "{stats:?}");
        drop(guest);
        until("the peer's leaving", || !host.port.link_up().unwrap());
        assert_eq!(host.rx.rx_burst(&mut Burst::new()), 0);
    }

    // The port's client form again, now that the server comes: it connects by itself.
    let guest_device = format!("net_virtio_user1,path={},server=1,queue_size=256,mrg_rxbuf=1", waits.display());
    let mut guest = start(eal, &guest_device, pool);
    connected(&mut alone, &mut guest);
    run(pool, &mut alone.tx, &mut guest.rx, 4200, 500);
    run(pool, &mut guest.tx, &mut alone.rx, 4200, 500);

    drop((alone, host, guest));
    let _ = std::fs::remove_file(waits);
    assert!(!path.exists(), "the port takes its socket away");
}

fn over_memif(eal: &Eal, pool: &Mempool) {
    let path = socket("memif");
    let device =
        |name: &str, role: &str| format!("{name},role={role},socket={},socket-abstract=no,bsize=10240", path.display());
    let mut server = start(eal, &device("net_memif0", "server"), pool);
    let mut client = start(eal, &device("net_memif1", "client"), pool);
    connected(&mut server, &mut client);
    // It admits to an MTU of 1500 only, and carries what its buffers hold.
    assert_eq!(server.port.capabilities().unwrap().mtu_max, 1500);
    for length in [64, 1500, 4200, 9000] {
        run(pool, &mut server.tx, &mut client.rx, length, 500);
        run(pool, &mut client.tx, &mut server.rx, length, 500);
    }
    drop(client);
    until("the peer's leaving", || !server.port.link_up().unwrap());
    drop(server);
    let _ = std::fs::remove_file(path);
}
