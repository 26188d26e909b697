//! Ports: attached by device string, configured once, started, detached when the last handle goes.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::Arc;

use dpdk_sys::{rte_eth_conf, rte_eth_dev_info};
use parking_lot::Mutex;

use crate::error::{Errno, Error, c_name, check, text};
use crate::{Eal, HEADROOM, Mempool, RxQueue, TxQueue};

/// A port, by DPDK's number: below 32 and used again after a detach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u16);

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}", self.0)
    }
}

/// The longest device string, in bytes.
const DEVICE_MAX: usize = 1024;

/// Link header and trailer that the MTU does not count: Ethernet, one VLAN tag, frame check sequence.
const FRAME_OVERHEAD: usize = 14 + 4 + 4;

/// Ports that have an owner in this process. Also held while a device comes or goes, so that a port which appears
/// meanwhile belongs to the device that is attached.
static OWNED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// What a port can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The PMD's name: `net_vhost`, `net_memif`, ...
    pub driver: String,
    /// Receive queues.
    pub rx_queues_max: u16,
    /// Transmit queues.
    pub tx_queues_max: u16,
    /// The largest MTU that the PMD admits to. Software ports may carry longer frames.
    pub mtu_max: u16,
    /// Whether it spreads UDP flows over receive queues by their hash.
    pub rss: bool,
    /// Whether frames of several segments can be sent.
    pub tx_segments: bool,
}

/// What is wanted of a port.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// One receive queue for each, filled from that pool.
    pub rx_pools: Vec<Mempool>,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Descriptors of each receive queue; adjusted to what the device takes.
    pub rx_descriptors: u16,
    /// Descriptors of each transmit queue; adjusted likewise.
    pub tx_descriptors: u16,
    /// Bytes of the longest IP packet, 1500 or more for jumbo frames.
    pub mtu: u16,
    /// Whether to receive frames for other addresses too. A PMD that cannot is not an error.
    pub promiscuous: bool,
}

/// What a port was configured to, where that may differ from what was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configured {
    /// The MTU that the PMD admitted to. A software port (memif, ring) that admits to less than was wanted still
    /// carries what fits its mbufs.
    pub mtu: u16,
    /// Descriptors of each receive queue.
    pub rx_descriptors: u16,
    /// Descriptors of each transmit queue.
    pub tx_descriptors: u16,
    /// Whether UDP flows are spread over the receive queues and mbufs carry the hash.
    pub rss: bool,
    /// Whether frames of several segments may be sent.
    pub tx_segments: bool,
}

/// Counters of a port, as the PMD keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames lost because a receive queue was full.
    pub rx_missed: u64,
    /// Frames received broken.
    pub rx_errors: u64,
    /// Times that a receive queue found its pool exhausted.
    pub rx_no_mbuf: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that could not be sent.
    pub tx_errors: u64,
}

/// A port of ours. Queues taken from it keep it attached after this handle is gone.
pub struct Port {
    attached: Arc<Attached>,
    state: State,
    config: Option<PortConfig>,
    rx_taken: BTreeSet<u16>,
    tx_taken: BTreeSet<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Attached,
    Configured,
    Started,
}

/// The device behind a port, detached with the last handle to it.
pub(crate) struct Attached {
    id: u16,
    device: *mut dpdk_sys::rte_device,
    /// What its queues receive into: freed after the device has let go.
    pools: Mutex<Vec<Mempool>>,
    _eal: Eal,
}

// SAFETY: `device` is passed to DPDK only, once, under OWNED's lock; ethdev's control functions are called through one
// Port handle (with `&mut`) or only read.
unsafe impl Send for Attached {}
// SAFETY: as above.
unsafe impl Sync for Attached {}

impl Port {
    /// Attaches a device: `net_vhost0,iface=/run/x.sock,client=1`, `net_memif0,...`, a PCI address. A device that the EAL
    /// found when it started is adopted.
    ///
    /// # Errors
    /// [`Error::Name`]; [`Error::Device`]: `NotFound` when no driver takes the string, `Exists` when it is attached by a
    /// Port already, and whatever the driver says of its arguments.
    pub fn attach(eal: &Eal, device: &str) -> Result<Port, Error> {
        let string = c_name(device, DEVICE_MAX)?;
        let refused = |errno| Error::Device { device: device.to_owned(), errno };
        let mut owned = OWNED.lock();
        let before = ports();
        // The device's own name: what stands before its arguments and behind its bus.
        let name = device.split(',').next().unwrap_or_default();
        let name = name.strip_prefix("pci:").or_else(|| name.strip_prefix("vdev:")).unwrap_or(name);
        let named = |id: &u16| device_info(*id).is_ok_and(|info| device_name(&info) == name);
        let id = match before.iter().copied().find(named) {
            Some(id) if owned.contains(&id) => return Err(refused(Errno::Exists)),
            Some(id) => id,
            None => {
                // SAFETY: a NUL-terminated string, which DPDK copies.
                let ret = unsafe { dpdk_sys::rte_dev_probe(string.as_ptr()) };
                match Errno::from_return(ret) {
                    _ if ret >= 0 => {}
                    // EFAULT: no bus and no driver knows the name.
                    Errno::Io if ret == -14 => return Err(refused(Errno::NotFound)),
                    errno => return Err(refused(errno)),
                }
                // A card with several ports shows more than one: the first is this one, the others can be attached by
                // their own.
                ports().into_iter().find(|id| !before.contains(id)).ok_or_else(|| refused(Errno::NotFound))?
            }
        };
        let info = device_info(id)?;
        owned.insert(id);
        let attached = Attached { id, device: info.device, pools: Mutex::default(), _eal: eal.clone() };
        Ok(Port {
            attached: Arc::new(attached),
            state: State::Attached,
            config: None,
            rx_taken: BTreeSet::new(),
            tx_taken: BTreeSet::new(),
        })
    }

    /// DPDK's number for the port.
    pub fn id(&self) -> PortId {
        self.attached.id()
    }

    /// What the port can do.
    pub fn capabilities(&self) -> Result<Capabilities, Error> {
        let info = device_info(self.attached.id)?;
        Ok(Capabilities {
            // SAFETY: the driver's static name.
            driver: unsafe { text(info.driver_name) },
            rx_queues_max: info.max_rx_queues,
            tx_queues_max: info.max_tx_queues,
            mtu_max: mtu_offered(&info, u16::MAX),
            rss: info.flow_type_rss_offloads & dpdk_sys::DPDK_SYS_RSS_NONFRAG_UDP != 0,
            tx_segments: info.tx_offload_capa & dpdk_sys::DPDK_SYS_TX_OFFLOAD_MULTI_SEGS != 0,
        })
    }

    /// Sets queues, descriptors, MTU and the offloads that the device has. Once, before [`Port::start`].
    ///
    /// # Errors
    /// [`Error::DataRoom`] when a frame of the MTU would not fit one mbuf; [`Error::Queues`]; [`Error::PortState`] the
    /// second time; [`Error::Call`].
    pub fn configure(&mut self, config: PortConfig) -> Result<Configured, Error> {
        if self.state != State::Attached {
            return Err(Error::PortState);
        }
        let id = self.attached.id;
        let info = device_info(id)?;
        for (wanted, offered) in [
            (config.rx_pools.len(), usize::from(info.max_rx_queues)),
            (config.tx_queues.into(), usize::from(info.max_tx_queues)),
        ] {
            if wanted == 0 || wanted > offered {
                return Err(Error::Queues { wanted, offered });
            }
        }
        let needed = HEADROOM + usize::from(config.mtu) + FRAME_OVERHEAD;
        if let Some(pool) = config.rx_pools.iter().find(|pool| usize::from(pool.data_room()) < needed) {
            return Err(Error::DataRoom { needed, found: pool.data_room().into() });
        }

        let rx_queues = config.rx_pools.len() as u16;
        let mtu = mtu_offered(&info, config.mtu);
        // SAFETY: plain data of which all zeros is DPDK's own default.
        let mut conf: rte_eth_conf = unsafe { MaybeUninit::zeroed().assume_init() };
        conf.rxmode.mtu = mtu.into();
        let rss_udp = info.flow_type_rss_offloads & dpdk_sys::DPDK_SYS_RSS_NONFRAG_UDP;
        let rss = rx_queues > 1 && rss_udp != 0;
        if rss {
            conf.rxmode.mq_mode = dpdk_sys::RTE_ETH_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_hf = rss_udp;
            conf.rxmode.offloads |= dpdk_sys::DPDK_SYS_RX_OFFLOAD_RSS_HASH & info.rx_offload_capa;
        }
        conf.txmode.offloads |= dpdk_sys::DPDK_SYS_TX_OFFLOAD_MULTI_SEGS & info.tx_offload_capa;
        let tx_segments = conf.txmode.offloads != 0;

        let (mut rx_descriptors, mut tx_descriptors) = (config.rx_descriptors, config.tx_descriptors);
        // SAFETY: the port is ours; DPDK reads what it is given during each call and validates it.
        unsafe {
            let configure = |conf| dpdk_sys::rte_eth_dev_configure(id, rx_queues, config.tx_queues, conf);
            // With receive interrupts, unless the PMD has none.
            conf.intr_conf.set_rxq(1);
            if configure(&conf) < 0 {
                conf.intr_conf.set_rxq(0);
                check("rte_eth_dev_configure", configure(&conf))?;
            }
            check(
                "rte_eth_dev_adjust_nb_rx_tx_desc",
                dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, &mut rx_descriptors, &mut tx_descriptors),
            )?;
            // The device may write to these pools from here to its end.
            self.attached.pools.lock().extend(config.rx_pools.iter().cloned());
            let socket = dpdk_sys::rte_eth_dev_socket_id(id) as u32;
            for (queue, pool) in (0..).zip(&config.rx_pools) {
                let conf = std::ptr::null();
                let pool = pool.as_raw();
                let ret = dpdk_sys::rte_eth_rx_queue_setup(id, queue, rx_descriptors, socket, conf, pool);
                check("rte_eth_rx_queue_setup", ret)?;
            }
            for queue in 0..config.tx_queues {
                let ret = dpdk_sys::rte_eth_tx_queue_setup(id, queue, tx_descriptors, socket, std::ptr::null());
                check("rte_eth_tx_queue_setup", ret)?;
            }
            // A PMD that admits to less than was wanted (af_packet) would shrink a jumbo interface that others set up.
            if mtu == config.mtu {
                optional("rte_eth_dev_set_mtu", dpdk_sys::rte_eth_dev_set_mtu(id, mtu))?;
            }
        }
        self.state = State::Configured;
        self.config = Some(config);
        Ok(Configured { mtu, rx_descriptors, tx_descriptors, rss, tx_segments })
    }

    /// Starts the device. Its queues can be taken from then on.
    pub fn start(&mut self) -> Result<(), Error> {
        let Some(config) = self.config.as_ref().filter(|_| self.state == State::Configured) else {
            return Err(Error::PortState);
        };
        let id = self.attached.id;
        // SAFETY: the port is ours and configured.
        unsafe {
            check("rte_eth_dev_start", dpdk_sys::rte_eth_dev_start(id))?;
            self.state = State::Started;
            // Neighbour solicitations come to multicast addresses.
            optional("rte_eth_allmulticast_enable", dpdk_sys::rte_eth_allmulticast_enable(id))?;
            if config.promiscuous {
                optional("rte_eth_promiscuous_enable", dpdk_sys::rte_eth_promiscuous_enable(id))?;
            }
        }
        Ok(())
    }

    /// The receive queue `queue`, once.
    ///
    /// # Errors
    /// [`Error::Queue`] when the port is not started, has no such queue, or it was taken.
    pub fn rx_queue(&mut self, queue: u16) -> Result<RxQueue, Error> {
        let queues = self.config.as_ref().map_or(0, |config| config.rx_pools.len());
        if self.state != State::Started || usize::from(queue) >= queues || !self.rx_taken.insert(queue) {
            return Err(Error::Queue(queue));
        }
        Ok(RxQueue::new(Arc::clone(&self.attached), queue))
    }

    /// The transmit queue `queue`, once. Errors as in [`Port::rx_queue`].
    pub fn tx_queue(&mut self, queue: u16) -> Result<TxQueue, Error> {
        let queues = self.config.as_ref().map_or(0, |config| config.tx_queues);
        if self.state != State::Started || queue >= queues || !self.tx_taken.insert(queue) {
            return Err(Error::Queue(queue));
        }
        Ok(TxQueue::new(Arc::clone(&self.attached), queue))
    }

    /// The port's MAC address.
    pub fn mac(&self) -> Result<[u8; 6], Error> {
        let mut mac = dpdk_sys::rte_ether_addr { addr_bytes: [0; 6] };
        // SAFETY: filled by the call.
        check("rte_eth_macaddr_get", unsafe { dpdk_sys::rte_eth_macaddr_get(self.attached.id, &mut mac) })?;
        Ok(mac.addr_bytes)
    }

    /// Whether there is a peer. Does not wait.
    pub fn link_up(&self) -> Result<bool, Error> {
        // SAFETY: a plain call.
        check("rte_eth_link_get_nowait", unsafe { dpdk_sys::dpdk_sys_link_up(self.attached.id) }).map(|up| up != 0)
    }

    /// The port's counters.
    pub fn stats(&self) -> Result<PortStats, Error> {
        // SAFETY: plain counters, of which all zeros is a value.
        let mut stats: dpdk_sys::rte_eth_stats = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: filled by the call.
        check("rte_eth_stats_get", unsafe { dpdk_sys::rte_eth_stats_get(self.attached.id, &mut stats) })?;
        Ok(PortStats {
            rx_frames: stats.ipackets,
            rx_bytes: stats.ibytes,
            rx_missed: stats.imissed,
            rx_errors: stats.ierrors,
            rx_no_mbuf: stats.rx_nombuf,
            tx_frames: stats.opackets,
            tx_bytes: stats.obytes,
            tx_errors: stats.oerrors,
        })
    }
}

impl Attached {
    pub(crate) fn id(&self) -> PortId {
        PortId(self.id)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut owned = OWNED.lock();
        // SAFETY: no handle is left, so nobody uses the port or its queues. A step that fails (a device that was pulled
        // out) leaves nothing to do but the next.
        unsafe {
            dpdk_sys::rte_eth_dev_stop(self.id);
            dpdk_sys::rte_eth_dev_close(self.id);
            // A card's other port may have an owner, or the device be gone already.
            let shared = ports().iter().any(|&id| device_info(id).is_ok_and(|info| info.device == self.device));
            if !shared {
                dpdk_sys::rte_dev_remove(self.device);
            }
        }
        owned.remove(&self.id);
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("id", &self.attached.id).field("state", &self.state).finish_non_exhaustive()
    }
}

/// The ports there are.
fn ports() -> Vec<u16> {
    // SAFETY: walks DPDK's table; the end is RTE_MAX_ETHPORTS.
    let next = |from: u32| unsafe { dpdk_sys::rte_eth_find_next(from as u16) };
    std::iter::successors(Some(next(0)), |&id| Some(next(u32::from(id) + 1)))
        .take_while(|&id| u32::from(id) < dpdk_sys::RTE_MAX_ETHPORTS)
        .collect()
}

fn device_info(id: u16) -> Result<rte_eth_dev_info, Error> {
    let mut info = MaybeUninit::<rte_eth_dev_info>::zeroed();
    // SAFETY: filled by the call; all zeros is a value of it besides.
    unsafe {
        check("rte_eth_dev_info_get", dpdk_sys::rte_eth_dev_info_get(id, info.as_mut_ptr()))?;
        Ok(info.assume_init())
    }
}

fn device_name(info: &rte_eth_dev_info) -> String {
    if info.device.is_null() {
        return String::new();
    }
    // SAFETY: a device of a port that exists has a NUL-terminated name.
    unsafe { CStr::from_ptr(dpdk_sys::rte_dev_name(info.device)) }.to_string_lossy().into_owned()
}

/// The MTU to configure: what is wanted, within what the PMD admits to, counted the way ethdev validates it.
fn mtu_offered(info: &rte_eth_dev_info, wanted: u16) -> u16 {
    let mut offered = wanted.min(if info.max_mtu == 0 { u16::MAX } else { info.max_mtu });
    if info.max_rx_pktlen != 0 && info.max_rx_pktlen != u32::MAX {
        let stated = info.max_mtu != u16::MAX && info.max_rx_pktlen > info.max_mtu.into();
        let overhead = if stated {
            info.max_rx_pktlen - u32::from(info.max_mtu)
        } else {
            dpdk_sys::RTE_ETHER_HDR_LEN + dpdk_sys::RTE_ETHER_CRC_LEN
        };
        let longest = info.max_rx_pktlen.saturating_sub(overhead);
        offered = offered.min(u16::try_from(longest).unwrap_or(u16::MAX));
    }
    offered.max(info.min_mtu)
}

/// As [`check`], for what a PMD may leave out.
fn optional(operation: &'static str, ret: i32) -> Result<(), Error> {
    match check(operation, ret) {
        Err(Error::Call { errno: Errno::NotSupported, .. }) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}
