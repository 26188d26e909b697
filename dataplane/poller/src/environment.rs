//! What housekeeping opens: DPDK ports and drives.

use std::sync::Arc;

use gantry_dma::Region;
use gantry_drive::Running;
use gantry_pipeline::housekeeping::{Attachment, Bar, Environment, OpenPort};
use rte_rs::{Eal, HEADROOM, Mempool, Port, PortConfig, SocketId};

use crate::port::DpdkQueue;

/// The process's devices.
pub(crate) struct Devices {
    eal: Eal,
    lcores: usize,
}

/// Descriptors of each queue; a device takes what it can.
const DESCRIPTORS: u16 = 1024;

/// Mbufs of one lcore and port in each direction: its descriptors, a burst on the way and the cache.
const MBUFS: u32 = 4095;

/// Mbufs that an lcore keeps to itself.
const CACHE: u32 = 128;

/// Link header, VLAN tag, FCS, and what PMDs round up to.
const FRAME_OVERHEAD: usize = 64;

impl Devices {
    /// Devices for this many lcores.
    pub(crate) fn new(eal: Eal, lcores: usize) -> Self {
        Self { eal, lcores }
    }

    fn open(&self, number: u16, mtu: u16, device: &str) -> Result<OpenPort<DpdkQueue>, rte_rs::Error> {
        let mut port = Port::attach(&self.eal, device)?;
        let capabilities = port.capabilities()?;
        let queues = self.lcores.min(capabilities.rx_queues_max.into()).min(capabilities.tx_queues_max.into());
        let data_room = (HEADROOM + usize::from(mtu) + FRAME_OVERHEAD).next_multiple_of(64) as u16;
        let pool = |way: &str, queue: usize| {
            let name = format!("{way}{number}_{queue}");
            Mempool::create(&self.eal, &name, MBUFS, CACHE, data_room, SocketId::ANY)
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
        let queues = ends
            .into_iter()
            .zip(tx_pools)
            .enumerate()
            .map(|(lcore, ((rx, tx), pool))| (lcore, DpdkQueue::new(rx, tx, pool, port.clone())))
            .collect();
        Ok(OpenPort { mac, queues })
    }
}

/// A locally administered address that stays the same for a device string.
fn local_mac(device: &str) -> [u8; 6] {
    let hash = device.bytes().fold(0, |hash, byte| gantry_pipeline::tables::mix(hash ^ u64::from(byte)));
    let [a, b, c, d, e, ..] = hash.to_le_bytes();
    [0x02, a, b, c, d, e]
}

impl Environment for Devices {
    type Queue = DpdkQueue;

    fn open_port(&mut self, number: u16, mtu: u16, device: &str) -> Result<OpenPort<DpdkQueue>, String> {
        let opened = self.open(number, mtu, device);
        match &opened {
            Ok(open) => tracing::info!(port = number, device, queues = open.queues.len(), "port open"),
            Err(error) => tracing::error!(port = number, device, %error, "port not opened"),
        }
        opened.map_err(|error| format!("port {number} ({device}): {error}"))
    }

    fn open_drive(&mut self, name: &str, uri: &str) -> Result<Box<dyn Attachment>, String> {
        let drive = gantry_drive::open(uri, name)
            .and_then(gantry_drive::SoftwareDrive::spawn)
            .map_err(|error| format!("drive {name} ({uri}): {error}"))?;
        tracing::info!(drive = name, uri, "drive open");
        Ok(Box::new(Attached { drive }))
    }

    fn random(&mut self) -> u64 {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("the kernel's random numbers");
        u64::from_le_bytes(bytes)
    }
}

/// A software drive and the thread that steps it.
struct Attached {
    drive: Running,
}

impl Attachment for Attached {
    fn bar(&self) -> Bar {
        self.drive.bar().into()
    }

    fn map(&self, region: Arc<Region>) -> Result<(), String> {
        self.drive.map(region).map_err(|error| error.to_string())
    }

    fn unmap(&self, region: &Arc<Region>) {
        self.drive.space().unmap(region);
    }
}
