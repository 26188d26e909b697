//! EAL, lcores, mempools, mbufs, rings and DMA memory: one EAL, one process, one test that walks through them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};

use arrayvec::ArrayVec;
use rte_rs::{BURST, Eal, Errno, Error, HEADROOM, LcoreId, Mbuf, Mempool, SocketId, ring};

fn eal(lcores: &str) -> Eal {
    let args = ["--no-huge", "--no-shconf", "-m", "128", "--no-pci", "--lcores", lcores];
    Eal::init(&args.map(String::from)).expect("the EAL starts without root or hugepages")
}

#[test]
fn from_start_to_end() {
    // Two lcores on one CPU, so that a small machine will do.
    let eal = eal("0@0,1@0,2@0");
    starts_once_and_tells_of_itself(&eal);
    lcores_run_what_they_are_given(&eal);
    a_pool_runs_dry_and_fills_again(&eal);
    an_mbuf_grows_and_shrinks_at_both_ends(&eal);
    a_pool_outlives_its_handle_while_mbufs_are_out(&eal);
    a_ring_keeps_order_and_loses_nothing(&eal);
    a_ring_takes_from_many_lcores(&eal);
    dma_memory_is_where_the_device_sees_it(&eal);
}

fn starts_once_and_tells_of_itself(eal: &Eal) {
    assert_eq!(Eal::init(&[]).unwrap_err(), Error::Initialized);
    assert!(eal.version().starts_with("DPDK "), "{}", eal.version());
    assert!(eal.timestamp_hz() > 1_000_000);
    assert_eq!(eal.main_lcore(), LcoreId(0));
    assert_eq!(LcoreId::current(), Some(LcoreId(0)));
    assert_eq!(std::thread::spawn(LcoreId::current).join().unwrap(), None);
    assert_eq!(eal.worker_lcores(), [LcoreId(1), LcoreId(2)]);
}

fn lcores_run_what_they_are_given(eal: &Eal) {
    let (tell, told) = mpsc::channel();
    for lcore in eal.worker_lcores() {
        let tell = tell.clone();
        eal.launch(lcore, Box::new(move || tell.send(LcoreId::current()).unwrap())).unwrap();
    }
    for lcore in eal.worker_lcores() {
        eal.wait(lcore).unwrap();
    }
    drop(tell);
    let mut seen: Vec<_> = told.iter().map(Option::unwrap).collect();
    seen.sort();
    assert_eq!(seen, eal.worker_lcores());

    let (go, wait) = mpsc::channel::<()>();
    let run = Box::new(move || wait.recv().unwrap());
    eal.launch(LcoreId(1), run).unwrap();
    assert_eq!(eal.launch(LcoreId(1), Box::new(|| ())), Err(Error::LcoreBusy(LcoreId(1))));
    go.send(()).unwrap();
    eal.wait(LcoreId(1)).unwrap();
    eal.wait(LcoreId(1)).expect("nothing to wait for");
    for not_worker in [0, 3, 127, 128, u32::MAX] {
        let lcore = LcoreId(not_worker);
        assert_eq!(eal.launch(lcore, Box::new(|| ())), Err(Error::NotWorker(lcore)));
    }

    // A panic is told, and the lcore can be used again.
    eal.launch(LcoreId(2), Box::new(|| panic!("meant to, in a test"))).unwrap();
    assert_eq!(eal.wait(LcoreId(2)), Err(Error::Panicked(LcoreId(2))));
    eal.launch(LcoreId(2), Box::new(|| ())).unwrap();
    eal.wait(LcoreId(2)).unwrap();
}

fn a_pool_runs_dry_and_fills_again(eal: &Eal) {
    let pool = Mempool::create(eal, "dry", 63, 0, 2048 + HEADROOM as u16, SocketId::ANY).unwrap();
    assert_eq!((pool.available(), pool.count()), (63, 63));
    let mut first: ArrayVec<Mbuf, BURST> = ArrayVec::new();
    let mut second: ArrayVec<Mbuf, BURST> = ArrayVec::new();
    assert_eq!(pool.alloc_bulk(&mut first, 99), 32, "as many as there is room for");
    assert_eq!(pool.alloc_bulk(&mut first, 1), 0);
    assert_eq!(pool.alloc_bulk(&mut second, 32), 31, "as many as there are");
    assert!(pool.alloc().is_none());
    assert_eq!(pool.available(), 0);

    drop(second.pop());
    assert_eq!(pool.available(), 1);
    let one = pool.alloc().expect("the one that came back");
    assert_eq!(pool.available(), 0);
    drop(one);
    Mbuf::free_bulk(&mut first);
    assert!(first.is_empty());
    assert_eq!(pool.available(), 33);
    drop(second);
    assert_eq!(pool.available(), 63);

    let clash = Mempool::create(eal, "dry", 63, 0, 2048, SocketId::ANY).unwrap_err();
    assert_eq!(clash, Error::Call { operation: "rte_pktmbuf_pool_create", errno: Errno::Exists });
    let over = Mempool::create(eal, "cache", 63, 600, 2048, SocketId::ANY).unwrap_err();
    assert_eq!(over, Error::Call { operation: "rte_pktmbuf_pool_create", errno: Errno::Invalid });
    let vast = Mempool::create(eal, "vast", 1 << 24, 0, 9000, SocketId::ANY).unwrap_err();
    assert_eq!(vast, Error::Call { operation: "rte_pktmbuf_pool_create", errno: Errno::NoMemory });
    let long = "a name that is far too long for a mempool".to_owned();
    assert_eq!(Mempool::create(eal, &long, 63, 0, 2048, SocketId::ANY).unwrap_err(), Error::Name(long));

    // Freed with its last handle: the name is free again.
    drop(pool);
    drop(Mempool::create(eal, "dry", 63, 0, 2048, SocketId::ANY).unwrap());
}

fn an_mbuf_grows_and_shrinks_at_both_ends(eal: &Eal) {
    let pool = Mempool::create(eal, "ends", 31, 0, 1000 + HEADROOM as u16, SocketId::ANY).unwrap();
    let mut mbuf = pool.alloc().unwrap();
    assert!(mbuf.is_empty() && mbuf.is_contiguous());
    assert_eq!((mbuf.headroom(), mbuf.tailroom(), mbuf.data_room()), (HEADROOM, 1000, 1000 + HEADROOM));
    mbuf.append(4).unwrap().copy_from_slice(b"data");
    mbuf.prepend(6).unwrap().copy_from_slice(b"header");
    mbuf.append(3).unwrap().copy_from_slice(b"end");
    assert_eq!(mbuf.as_slice(), b"headerdataend");
    assert_eq!((mbuf.len(), mbuf.frame_len()), (13, 13));
    assert_eq!((mbuf.headroom(), mbuf.tailroom()), (HEADROOM - 6, 993));
    mbuf.as_mut_slice()[0] = b'H';
    mbuf.trim_front(3);
    mbuf.set_len(7);
    assert_eq!(mbuf.as_slice(), b"derdata");
    assert_eq!(mbuf.segments().collect::<Vec<_>>(), [b"derdata"]);

    assert!(mbuf.prepend(mbuf.headroom() + 1).is_none());
    assert!(mbuf.append(mbuf.tailroom() + 1).is_none());
    assert_eq!(mbuf.as_slice(), b"derdata", "a refusal changes nothing");
    let all = mbuf.tailroom();
    assert_eq!(mbuf.append(all).unwrap().len(), all);
    assert_eq!(mbuf.tailroom(), 0);
    let mut refuses =
        |f: &mut dyn FnMut(&mut Mbuf)| std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| f(&mut mbuf))).is_err();
    assert!(refuses(&mut |m| m.set_len(m.len() + 1)));
    assert!(refuses(&mut |m| m.trim_front(m.len() + 1)));

    // Whatever was done to it, it is fresh when it comes again.
    drop(mbuf);
    let all: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(all.len(), 31);
    assert!(all.iter().all(|m| m.is_empty() && m.headroom() == HEADROOM));
}

fn a_pool_outlives_its_handle_while_mbufs_are_out(eal: &Eal) {
    let pool = Mempool::create(eal, "outlived", 31, 0, 2048, SocketId::ANY).unwrap();
    let mut mbuf = pool.alloc().unwrap();
    drop(pool);
    mbuf.append(5).unwrap().copy_from_slice(b"alive");
    assert_eq!(mbuf.as_slice(), b"alive");
    drop(mbuf);
    let taken = Mempool::create(eal, "outlived", 31, 0, 2048, SocketId::ANY).unwrap_err();
    assert_eq!(taken, Error::Call { operation: "rte_pktmbuf_pool_create", errno: Errno::Exists });
}

fn a_ring_keeps_order_and_loses_nothing(eal: &Eal) {
    let pool = Mempool::create(eal, "ordered", 127, 0, 2048, SocketId::ANY).unwrap();
    let (producer, mut consumer) = ring(eal, "ordered", 40, SocketId::ANY).unwrap();
    let numbered = |from: u8| -> ArrayVec<Mbuf, BURST> {
        let number = |i: u8| {
            let mut mbuf = pool.alloc().unwrap();
            mbuf.append(1).unwrap()[0] = from + i;
            mbuf
        };
        (0..32).map(number).collect()
    };
    let numbers = |burst: &ArrayVec<Mbuf, BURST>| burst.iter().map(|m| m.as_slice()[0]).collect::<Vec<u8>>();

    assert_eq!(producer.enqueue_burst(&mut numbered(0)), 32);
    let mut rest = numbered(32);
    assert_eq!(producer.enqueue_burst(&mut rest), 8, "exactly the capacity");
    assert_eq!(numbers(&rest), (40..64).collect::<Vec<u8>>(), "what did not fit stays, in order");
    assert_eq!((producer.enqueue_burst(&mut rest), rest.len()), (0, 24));
    assert_eq!((producer.occupied(), consumer.occupied()), (40, 40));

    let mut out = ArrayVec::new();
    assert_eq!(consumer.dequeue_burst(&mut out), 32);
    assert_eq!(numbers(&out), (0..32).collect::<Vec<u8>>());
    assert_eq!(consumer.dequeue_burst(&mut out), 0, "no room");
    Mbuf::free_bulk(&mut out);
    assert_eq!(producer.enqueue_burst(&mut rest), 24);
    assert!(rest.is_empty());
    assert_eq!(producer.enqueue_burst(&mut rest), 0);
    assert_eq!(consumer.dequeue_burst(&mut out), 32);
    assert_eq!(numbers(&out), (32..64).collect::<Vec<u8>>());
    drop(out);
    assert_eq!(pool.available(), 127);

    // What is left in a ring when both ends go returns to the pool.
    producer.enqueue_burst(&mut numbered(0));
    assert_eq!(pool.available(), 95);
    let clash = ring(eal, "ordered", 8, SocketId::ANY).unwrap_err();
    assert_eq!(clash, Error::Call { operation: "rte_ring_create", errno: Errno::Exists });
    drop(consumer);
    assert_eq!(pool.available(), 95);
    drop(producer);
    assert_eq!(pool.available(), 127);
    let none = ring(eal, "ordered", 0, SocketId::ANY).unwrap_err();
    assert_eq!(none, Error::Call { operation: "rte_ring_create", errno: Errno::Invalid });
}

fn a_ring_takes_from_many_lcores(eal: &Eal) {
    const EACH: u32 = 5000;
    let pool = Mempool::create(eal, "many", 255, 0, 256, SocketId::ANY).unwrap();
    let (producer, mut consumer) = ring(eal, "many", 64, SocketId::ANY).unwrap();
    let sent = Arc::new(AtomicU32::new(0));
    for lcore in eal.worker_lcores() {
        let (pool, producer, sent) = (pool.clone(), producer.clone(), Arc::clone(&sent));
        let produce = move || {
            let mut burst: ArrayVec<Mbuf, BURST> = ArrayVec::new();
            let mut next = 0;
            while next < EACH || !burst.is_empty() {
                while next < EACH && !burst.is_full() {
                    let Some(mut mbuf) = pool.alloc() else { break };
                    mbuf.append(4).unwrap().copy_from_slice(&lcore.0.to_le_bytes());
                    mbuf.append(4).unwrap().copy_from_slice(&next.to_le_bytes());
                    burst.push(mbuf);
                    next += 1;
                }
                let put = producer.enqueue_burst(&mut burst);
                sent.fetch_add(put as u32, Ordering::Relaxed);
                if put == 0 {
                    std::thread::yield_now();
                }
            }
        };
        eal.launch(lcore, Box::new(produce)).unwrap();
    }
    let mut expected = [0u32; 3];
    let mut out: ArrayVec<Mbuf, BURST> = ArrayVec::new();
    while expected[1] + expected[2] < 2 * EACH {
        if consumer.dequeue_burst(&mut out) == 0 {
            std::thread::yield_now();
        }
        for mbuf in out.drain(..) {
            let word = |at: usize| u32::from_le_bytes(mbuf.as_slice()[at..at + 4].try_into().unwrap());
            let lcore = word(0) as usize;
            assert_eq!(word(4), expected[lcore], "each producer's own order holds");
            expected[lcore] += 1;
        }
    }
    for lcore in eal.worker_lcores() {
        eal.wait(lcore).unwrap();
    }
    assert_eq!(sent.load(Ordering::Relaxed), 2 * EACH);
    assert_eq!(pool.available(), 255);
}

fn dma_memory_is_where_the_device_sees_it(eal: &Eal) {
    let region = eal.dma_memory(100_000, 4096, SocketId::ANY).unwrap();
    assert_eq!(region.length(), 100_000);
    assert_eq!((region.base() as usize % 4096, region.iova(0) % 4096), (0, 0));
    // Without hugepages the EAL runs in virtual addresses.
    assert_eq!(region.iova(77), region.base() as u64 + 77);
    assert!(region.compare(0, &vec![0; 100_000]));
    region.fill(0, 100_000, 0xff);
    let at = region.iova(0);
    drop(region);
    let again = eal.dma_memory(100_000, 4096, SocketId::ANY).unwrap();
    assert_eq!(again.iova(0), at, "freed, so the same place serves again");
    assert!(again.compare(0, &vec![0; 100_000]), "and zeroed");
    for (length, align, errno) in [(0, 64, Errno::Invalid), (64, 3, Errno::Invalid), (1 << 30, 64, Errno::NoMemory)] {
        let refused = eal.dma_memory(length, align, SocketId::ANY).unwrap_err();
        assert_eq!(refused, Error::Call { operation: "rte_memzone_reserve_aligned", errno }, "{length} {align}");
    }
}
