//! Ports: attach and detach, bursts, what stays when a port takes less, typed refusals.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use arrayvec::ArrayVec;
use rte_rs::{BURST, Eal, Errno, Error, HEADROOM, Mbuf, Mempool, Port, PortConfig, SocketId, ring};

/// Counts what this thread allocates.
struct Counting;

thread_local!(static ALLOCATIONS: Cell<u64> = const { Cell::new(0) });

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

type Burst = ArrayVec<Mbuf, BURST>;

const POOL: u32 = 2047;

fn config(pools: &[&Mempool], tx_queues: u16, mtu: u16) -> PortConfig {
    PortConfig {
        rx_pools: pools.iter().copied().cloned().collect(),
        tx_queues,
        rx_descriptors: 256,
        tx_descriptors: 256,
        mtu,
        promiscuous: true,
    }
}

/// Frames that differ in length and in every byte.
fn frames(pool: &Mempool, n: usize, length: usize) -> Burst {
    let mut burst = Burst::new();
    assert_eq!(pool.alloc_bulk(&mut burst, n), n);
    for (i, mbuf) in burst.iter_mut().enumerate() {
        let data = mbuf.append(length - i).expect("room for a jumbo frame");
        data.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * 31 + i * 7) as u8);
    }
    burst
}

fn check(i: usize, length: usize, mbuf: &Mbuf) {
    assert!(mbuf.is_contiguous());
    assert_eq!(mbuf.len(), length - i);
    assert!(mbuf.as_slice().iter().enumerate().all(|(at, &byte)| byte == (at * 31 + i * 7) as u8), "frame {i}");
}

#[test]
fn from_attach_to_detach() {
    let args = ["--no-huge", "--no-shconf", "-m", "128", "--no-pci", "-l", "0"];
    let eal = Eal::init(&args.map(String::from)).unwrap();
    let pool = Mempool::create(&eal, "ports", POOL, 0, 10_240, SocketId::ANY).unwrap();
    a_bad_device_is_refused_by_reason(&eal);
    a_port_is_configured_within_reason(&eal, &pool);
    frames_come_back_over_a_ring(&eal, &pool);
    what_a_full_port_does_not_take_stays(&eal, &pool);
    each_queue_is_taken_once_and_keeps_the_port(&eal, &pool);
    bursts_allocate_nothing(&eal, &pool);
    assert_eq!(pool.available(), POOL, "no mbuf is lost");
}

fn a_bad_device_is_refused_by_reason(eal: &Eal) {
    let refused = |device: &str| Port::attach(eal, device).unwrap_err();
    let device = |device: &str, errno| Error::Device { device: device.to_owned(), errno };
    assert_eq!(refused("net_nonsense0"), device("net_nonsense0", Errno::NotFound));
    assert_eq!(refused("0000:ff:1f.7"), device("0000:ff:1f.7", Errno::NotFound));
    assert_eq!(refused("net_vhost0"), device("net_vhost0", Errno::Unspecified), "a driver that misses an argument");
    let absent = "net_virtio_user0,path=/nonexistent/x.sock";
    assert_eq!(refused(absent), device(absent, Errno::Unspecified), "a guest's side without its host");
    assert!(matches!(refused("net_ring0,nodeaction=nonsense"), Error::Device { .. }));
    assert_eq!(refused(""), Error::Name(String::new()));
    assert_eq!(refused("net_ring0\0"), Error::Name("net_ring0\\u{0}".to_owned()));
    // No trace is left of what was refused.
    let port = Port::attach(eal, "net_ring0").unwrap();
    assert_eq!(port.id().0, 0);
    assert_eq!(refused("net_ring0"), device("net_ring0", Errno::Exists));
    drop(port);
    drop(Port::attach(eal, "net_ring0").expect("detached, so it can come again"));
}

fn a_port_is_configured_within_reason(eal: &Eal, pool: &Mempool) {
    let mut port = Port::attach(eal, "net_ring0").unwrap();
    let able = port.capabilities().unwrap();
    assert_eq!(able.driver, "net_ring");
    assert_eq!(port.start(), Err(Error::PortState), "not configured");
    assert_eq!(port.rx_queue(0).err(), Some(Error::Queue(0)), "not started");

    let small = Mempool::create(eal, "small", 63, 0, 2048, SocketId::ANY).unwrap();
    let needed = HEADROOM + 9000 + 22;
    assert_eq!(port.configure(config(&[&small], 1, 9000)).err(), Some(Error::DataRoom { needed, found: 2048 }));
    let (wanted, offered) = (able.tx_queues_max + 1, able.tx_queues_max.into());
    let many = config(&[pool], wanted, 9000);
    assert_eq!(port.configure(many).err(), Some(Error::Queues { wanted: wanted.into(), offered }));
    assert_eq!(port.configure(config(&[], 1, 9000)).err().map(|e| matches!(e, Error::Queues { .. })), Some(true));

    let configured = port.configure(config(&[pool], 1, 9000)).expect("set_mtu that is not there is no error");
    assert!(configured.mtu <= 9000 && !configured.rss, "{configured:?}");
    assert_eq!(port.configure(config(&[pool], 1, 9000)).err(), Some(Error::PortState));
    port.start().unwrap();
    assert_eq!(port.start(), Err(Error::PortState));
    assert!(port.link_up().unwrap());
    port.mac().unwrap();
}

/// A started port and its first queues.
fn started(eal: &Eal, device: &str, pool: &Mempool) -> (Port, rte_rs::RxQueue, rte_rs::TxQueue) {
    let mut port = Port::attach(eal, device).unwrap();
    port.configure(config(&[pool], 1, 9000)).unwrap();
    port.start().unwrap();
    let (rx, tx) = (port.rx_queue(0).unwrap(), port.tx_queue(0).unwrap());
    (port, rx, tx)
}

fn frames_come_back_over_a_ring(eal: &Eal, pool: &Mempool) {
    // A net_ring port receives what it sends.
    let (port, mut rx, mut tx) = started(eal, "net_ring0", pool);
    for length in [64, 1500, 4200, 9000] {
        let mut burst = frames(pool, 32, length);
        assert_eq!(tx.tx_burst(&mut burst), 32);
        assert!(burst.is_empty());
        assert_eq!(pool.available(), POOL - 32, "the port owns them now");
        assert_eq!(rx.rx_burst(&mut burst), 32);
        burst.iter().enumerate().for_each(|(i, mbuf)| check(i, length, mbuf));
        assert_eq!(rx.rx_burst(&mut burst), 0, "no room is no burst");
        Mbuf::free_bulk(&mut burst);
        assert_eq!(rx.rx_burst(&mut burst), 0, "nothing more came");
    }
    assert_eq!(tx.tx_burst(&mut Burst::new()), 0);
    let stats = port.stats().unwrap();
    assert_eq!((stats.tx_frames, stats.rx_frames), (4 * 32, 4 * 32));

    // A burst into what is not empty goes behind it.
    tx.tx_burst(&mut frames(pool, 10, 300));
    let mut burst = frames(pool, 5, 100);
    assert_eq!(rx.rx_burst(&mut burst), 10);
    check(4, 100, &burst[4]);
    check(0, 300, &burst[5]);
    check(9, 300, &burst[14]);
}

fn what_a_full_port_does_not_take_stays(eal: &Eal, pool: &Mempool) {
    let (port, mut rx, mut tx) = started(eal, "net_ring0", pool);
    let mut sent = 0;
    let mut rest = Burst::new();
    while rest.is_empty() {
        rest = frames(pool, 30, 100);
        let taken = tx.tx_burst(&mut rest);
        assert_eq!(taken + rest.len(), 30);
        sent += taken;
    }
    let first = 30 - rest.len();
    assert!(first > 0, "bursts of 30 end inside the ring's power of two");
    rest.iter().enumerate().for_each(|(i, mbuf)| check(first + i, 100, mbuf));
    assert_eq!(pool.available(), POOL - (sent + rest.len()) as u32);
    let left = rest.len();
    assert_eq!((tx.tx_burst(&mut rest), rest.len()), (0, left), "full is full");
    assert_eq!(port.stats().unwrap().tx_frames, sent as u64);

    let mut received = 0;
    let mut burst = Burst::new();
    while rx.rx_burst(&mut burst) > 0 {
        received += burst.len();
        burst.clear();
    }
    assert_eq!(received, sent);
    assert_eq!(tx.tx_burst(&mut rest), left);
    assert_eq!(rx.rx_burst(&mut burst), left);
}

fn each_queue_is_taken_once_and_keeps_the_port(eal: &Eal, pool: &Mempool) {
    let mut port = Port::attach(eal, "net_ring0").unwrap();
    let two = Mempool::create(eal, "two", 127, 0, 10_240, SocketId::ANY).unwrap();
    port.configure(config(&[pool, &two], 2, 1500)).unwrap();
    port.start().unwrap();
    let mut rx = port.rx_queue(1).unwrap();
    let mut tx = port.tx_queue(1).unwrap();
    assert_eq!(port.rx_queue(1).err(), Some(Error::Queue(1)));
    assert_eq!(port.tx_queue(1).err(), Some(Error::Queue(1)));
    assert_eq!(port.rx_queue(2).err(), Some(Error::Queue(2)));
    port.rx_queue(0).unwrap();
    drop(port);
    drop(two);
    // The port is still there, and the queues go to another thread.
    let pool = pool.clone();
    std::thread::spawn(move || {
        let mut burst = frames(&pool, 3, 1000);
        assert_eq!(tx.tx_burst(&mut burst), 3);
        assert_eq!(rx.rx_burst(&mut burst), 3);
        (rx.queue(), tx.queue())
    })
    .join()
    .unwrap();
    drop(Port::attach(eal, "net_ring0").expect("detached with its last queue"));
}

fn bursts_allocate_nothing(eal: &Eal, pool: &Mempool) {
    let (_port, mut rx, mut tx) = started(eal, "net_ring0", pool);
    let (producer, mut consumer) = ring(eal, "quiet", 64, SocketId::ANY).unwrap();
    let mut burst = Burst::new();
    let before = ALLOCATIONS.get();
    for _ in 0..100 {
        assert_eq!(pool.alloc_bulk(&mut burst, 32), 32);
        burst.iter_mut().for_each(|mbuf| mbuf.append(64).unwrap().fill(1));
        assert_eq!(tx.tx_burst(&mut burst), 32);
        assert_eq!(rx.rx_burst(&mut burst), 32);
        assert_eq!(producer.enqueue_burst(&mut burst), 32);
        assert_eq!(consumer.dequeue_burst(&mut burst), 32);
        drop(burst.pop());
        Mbuf::free_bulk(&mut burst);
    }
    assert_eq!(ALLOCATIONS.get(), before);
    drop(vec![0u8; 1]);
    assert_eq!(ALLOCATIONS.get(), before + 1, "the counter counts");
}
