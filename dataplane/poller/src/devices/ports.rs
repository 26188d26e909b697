//! DPDK ports: attached, configured with a queue pair an lcore, started.

use std::sync::Arc;

use gantry_pipeline::housekeeping::OpenPort;
use rte_rs::{Eal, Epoll, HEADROOM, Mempool, Port, PortConfig, SocketId};

use gantry_poller::port::DpdkQueue;

/// Descriptors of each queue; a device takes what it can.
const DESCRIPTORS: u16 = 1024;

/// Mbufs of one lcore and port in each direction: its descriptors, a burst on the way and the cache.
const MBUFS: u32 = 4095;

/// Mbufs that an lcore keeps to itself.
const CACHE: u32 = 128;

/// Link header, VLAN tag, FCS, and what PMDs round up to.
const FRAME_OVERHEAD: usize = 64;

/// Opens the DPDK port that `device` names, with a queue pair for each lcore, if it has as many; and whether its receive
/// interrupts wake their lcores at `epolls`.
pub(super) fn open(
    eal: &Eal,
    epolls: &[Epoll],
    number: u16,
    mtu: u16,
    device: &str,
) -> Result<(OpenPort<DpdkQueue>, bool), rte_rs::Error> {
    let mut port = Port::attach(eal, device)?;
    let capabilities = port.capabilities()?;
    let queues = epolls.len().min(capabilities.rx_queues_max.into()).min(capabilities.tx_queues_max.into());
    let data_room = (HEADROOM + usize::from(mtu) + FRAME_OVERHEAD).next_multiple_of(64) as u16;
    let pool = |way: &str, queue: usize| {
        let name = format!("{way}{number}_{queue}");
        Mempool::create(eal, &name, MBUFS, CACHE, data_room, SocketId::ANY)
    };
    let rx_pools = (0..queues).map(|queue| pool("rx", queue)).collect::<Result<Vec<_>, _>>()?;
    let tx_pools = (0..queues).map(|queue| pool("tx", queue)).collect::<Result<Vec<_>, _>>()?;
    port.configure(PortConfig {
        rx_pools,
        tx_queues: queues as u16,
        rx_descriptors: DESCRIPTORS,
        tx_descriptors: DESCRIPTORS,
        mtu,
        promiscuous: false,
    })?;
    port.start()?;
    let mac = match capabilities.driver.as_str() {
        // These have one address for all their ports, or none.
        "net_vhost" | "net_ring" | "net_memif" => local_mac(device),
        _ => port.mac()?,
    };
    let ends = (0..queues as u16)
        .map(|queue| Ok((port.rx_queue(queue)?, port.tx_queue(queue)?)))
        .collect::<Result<Vec<_>, rte_rs::Error>>()?;
    let port = Arc::new(parking_lot::Mutex::new(port));
    let mut queues: Vec<(usize, DpdkQueue)> = ends
        .into_iter()
        .zip(tx_pools)
        .enumerate()
        .map(|(lcore, ((rx, tx), pool))| (lcore, DpdkQueue::new(rx, tx, pool, port.clone())))
        .collect();
    // A PMD without interrupts refuses the first.
    let interrupts = queues.iter_mut().all(|(lcore, queue)| queue.attach(&epolls[*lcore]).is_ok());
    Ok((OpenPort { mac, queues }, interrupts))
}

/// A locally administered address that stays the same for a device string.
fn local_mac(device: &str) -> [u8; 6] {
    let hash = device.bytes().fold(0, |hash, byte| gantry_pipeline::tables::mix(hash ^ u64::from(byte)));
    let [a, b, c, d, e, ..] = hash.to_le_bytes();
    [0x02, a, b, c, d, e]
}
