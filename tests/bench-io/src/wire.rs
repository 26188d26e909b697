//! The wire: two net_ring ports, one for each direction. A port of one ring receives what it sent, so that the lcore has the
//! receiving end of one and the sending end of the other, and the hosts the rest.

use std::sync::Arc;

use arrayvec::ArrayVec;
use gantry_cpu::Cpu;
use gantry_poller::port::DpdkQueue;
use gantry_sim::host::Host;
use parking_lot::Mutex;
use rte_rs::{BURST, Eal, HEADROOM, Mbuf, Mempool, Port, PortConfig, RxQueue, SocketId, TxQueue};

/// Largest IP packet in bytes: it holds an IB path MTU of 4096.
pub const MTU: u16 = 4200;

/// As gantry-dataplane has it: mbufs of a pool, and of an lcore's cache.
const MBUFS: u32 = 4095;
const CACHE: u32 = 128;

/// Bytes of an mbuf's data.
fn data_room() -> u16 {
    (HEADROOM + usize::from(MTU) + 64).next_multiple_of(64) as u16
}

/// Makes wires. Their pools stay, for DPDK keeps a ring when its port is detached, with the frames that are in it.
pub struct Wires {
    eal: Eal,
    pools: Vec<Mempool>,
}

impl Wires {
    /// None yet.
    #[must_use]
    pub fn new(eal: &Eal) -> Self {
        Self { eal: eal.clone(), pools: Vec::new() }
    }

    /// DPDK.
    #[must_use]
    pub fn eal(&self) -> &Eal {
        &self.eal
    }

    fn open(&mut self, number: usize) -> Result<(Port, RxQueue, TxQueue, Mempool), rte_rs::Error> {
        while self.pools.len() <= number {
            let name = format!("wire{}", self.pools.len());
            self.pools.push(Mempool::create(&self.eal, &name, MBUFS, CACHE, data_room(), SocketId::ANY)?);
        }
        let pool = self.pools[number].clone();
        let mut port = Port::attach(&self.eal, &format!("net_ring{number}"))?;
        port.configure(PortConfig {
            rx_pools: vec![pool.clone()],
            tx_queues: 1,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            mtu: MTU,
            promiscuous: false,
        })?;
        port.start()?;
        let (mut rx, tx) = (port.rx_queue(0)?, port.tx_queue(0)?);
        let mut left: ArrayVec<Mbuf, BURST> = ArrayVec::new();
        while rx.rx_burst(&mut left) > 0 {
            left.clear();
        }
        Ok((port, rx, tx, pool))
    }

    /// The wire of lcore `number`, of which there is one at a time: its end, and the hosts'.
    ///
    /// # Errors
    /// DPDK's.
    pub fn make(&mut self, number: usize) -> Result<(DpdkQueue, HostEnd), rte_rs::Error> {
        let (there, rx, host_tx, there_pool) = self.open(2 * number)?;
        let (back, host_rx, tx, back_pool) = self.open(2 * number + 1)?;
        let lcore = DpdkQueue::new(rx, tx, back_pool, Arc::new(Mutex::new(there)));
        let host = HostEnd {
            rx: host_rx,
            tx: host_tx,
            pool: there_pool,
            received: ArrayVec::new(),
            outgoing: ArrayVec::new(),
            frame: Vec::new(),
            loss: Loss::default(),
            arrived: 0,
            cpu: Cpu::detect(),
            _port: back,
        };
        Ok((lcore, host))
    }
}

/// Frames that get lost, in either direction, by a generator of their own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loss {
    /// Of a million.
    pub of_million: u32,
    seed: u64,
    /// How many were.
    pub lost: u64,
}

impl Loss {
    fn strikes(&mut self) -> bool {
        if self.of_million == 0 {
            return false;
        }
        self.seed = gantry_pipeline::tables::mix(self.seed.wrapping_add(1));
        let strikes = self.seed % 1_000_000 < u64::from(self.of_million);
        self.lost += u64::from(strikes);
        strikes
    }
}

/// The hosts' end of the wire.
pub struct HostEnd {
    rx: RxQueue,
    tx: TxQueue,
    pool: Mempool,
    received: ArrayVec<Mbuf, BURST>,
    outgoing: ArrayVec<Mbuf, BURST>,
    frame: Vec<u8>,
    /// What gets lost.
    pub loss: Loss,
    /// The timestamp counter before the last burst that brought anything.
    pub arrived: u64,
    cpu: Cpu,
    _port: Port,
}

/// The last two bytes of a host's MAC address are those of its IP address: its number.
pub const FIRST_HOST: usize = 256;

/// Which host a frame is for; none when it is for all.
fn addressee(frame: &[u8]) -> Option<usize> {
    let number = usize::from(u16::from_be_bytes([*frame.get(4)?, *frame.get(5)?]));
    if frame[0] & 1 != 0 { None } else { number.checked_sub(FIRST_HOST) }
}

impl HostEnd {
    /// Hosts take all that has arrived; whether there was anything.
    pub fn receive(&mut self, hosts: &mut [Host], mut now_ns: impl FnMut() -> u64) -> bool {
        let mut busy = false;
        loop {
            let asked = self.cpu.timestamp();
            if self.rx.rx_burst(&mut self.received) == 0 {
                return busy;
            }
            (busy, self.arrived) = (true, asked);
            let now_ns = now_ns();
            for mbuf in self.received.drain(..) {
                let frame = mbuf.as_slice();
                if self.loss.strikes() {
                    continue;
                }
                match addressee(frame).map(|at| hosts.get_mut(at)) {
                    Some(Some(host)) => host.handle_frame(now_ns, frame),
                    Some(None) => {}
                    None => hosts.iter_mut().for_each(|host| host.handle_frame(now_ns, frame)),
                }
            }
        }
    }

    /// A host sends all that it has, as far as the ring takes it; whether there was anything.
    pub fn send(&mut self, host: &mut Host, now_ns: u64) -> bool {
        let mut busy = false;
        loop {
            while !self.outgoing.is_full() && host.poll_frame(now_ns, &mut self.frame) {
                busy = true;
                if self.loss.strikes() {
                    continue;
                }
                let mut mbuf = self.pool.alloc().expect("the pool holds more than the ring");
                mbuf.append(self.frame.len()).expect("a frame fits an mbuf").copy_from_slice(&self.frame);
                self.outgoing.push(mbuf);
            }
            if self.outgoing.is_empty() {
                return busy;
            }
            self.tx.tx_burst(&mut self.outgoing);
            if !self.outgoing.is_empty() {
                // The ring is full: the rest goes next time.
                return busy;
            }
        }
    }
}
