//! Who a host is: its addresses, its names, its habits.

use gantry_host_wire::ethernet::Mac;
use gantry_wire::fabrics::DISCOVERY_PORT;
use std::net::IpAddr;

/// Bytes of headers that RoCE puts around a payload, at most; an IB MTU must fit beside them.
const ROCE_OVERHEAD: u16 = 80;

/// Who the host is and whom it talks to.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Its MAC address.
    pub mac: Mac,
    /// Its address.
    pub ip: IpAddr,
    /// The target's MAC address; none to ask for it by ARP (IPv4 only).
    pub target_mac: Option<Mac>,
    /// The target's address, of the same version.
    pub target_ip: IpAddr,
    /// The target's port in the TCP port space.
    pub port: u16,
    /// 802.1Q VLAN id; zero for untagged frames.
    pub vlan: u16,
    /// Largest IP packet in bytes; the path MTU follows from it.
    pub mtu: u16,
    /// The host's NQN.
    pub hostnqn: String,
    /// The host's identifier.
    pub hostid: [u8; 16],
    /// Put data into the capsule where the target offers room for it, as Linux does; else all data is keyed.
    pub in_capsule: bool,
    /// Ask for remote invalidation, as Linux does unless `register_always=N`.
    pub remote_invalidate: bool,
    /// How long after an association has failed, or the target has ended it, the host connects again, with other QPNs,
    /// PSNs and communication ids; in milliseconds. It never gives up. None: it does not. Linux calls it
    /// reconnect_delay and has 10 s.
    pub reconnect_ms: Option<u64>,
    /// Seed of all that is drawn: ids, PSNs, flow labels, addresses.
    pub seed: u64,
}

impl HostConfig {
    /// A host that speaks to port 4420 of `target_ip`, untagged, MTU 1500, MAC address from its address.
    ///
    /// # Panics
    /// When the addresses' versions differ.
    pub fn new(ip: IpAddr, target_ip: IpAddr) -> HostConfig {
        assert_eq!(ip.is_ipv4(), target_ip.is_ipv4(), "both ends have the same IP version");
        let tail = match ip {
            IpAddr::V4(v4) => v4.octets(),
            IpAddr::V6(v6) => v6.octets()[12..].try_into().expect("four bytes"),
        };
        let mut hostid = [0x11; 16];
        hostid[12..].copy_from_slice(&tail);
        HostConfig {
            mac: [0x52, 0x54, tail[0], tail[1], tail[2], tail[3]],
            ip,
            target_mac: None,
            target_ip,
            port: DISCOVERY_PORT,
            vlan: 0,
            mtu: 1500,
            hostnqn: format!(
                "nqn.2014-08.org.nvmexpress:uuid:11111111-1111-4111-8111-1111{:08x}",
                u32::from_be_bytes(tail)
            ),
            hostid,
            in_capsule: true,
            remote_invalidate: true,
            reconnect_ms: None,
            seed: u32::from_be_bytes(tail).into(),
        }
    }

    /// The path MTU in bytes: the largest of InfiniBand's that fits.
    pub fn path_mtu(&self) -> u16 {
        let room = self.mtu.saturating_sub(ROCE_OVERHEAD);
        [4096, 2048, 1024, 512].into_iter().find(|&mtu| mtu <= room).unwrap_or(256)
    }
}
