//! The discovery log: one entry for every subsystem that the host may use and every address it can be reached at.
//! NVMe-oF 1.1 §5.3, §7.3.4.

use super::MAXCMD;
use crate::Control;
use gantry_wire::fabrics::{AddressFamily, DISCOVERY_PORT, DiscoveryEntry, DiscoveryHeader, SubsystemType};
use std::net::IpAddr;
use zerocopy::IntoBytes;

/// GENCTR: the configuration does not change while control runs.
const GENERATION: u64 = 1;

impl Control {
    /// The whole log as `host_nqn` sees it.
    pub(super) fn discovery_log(&self, host_nqn: &str) -> Vec<u8> {
        let mut entries = Vec::new();
        let mut count = 0;
        for subsystem in self.configuration.subsystems.iter().filter(|s| s.hosts.admit(host_nqn)) {
            for (number, port) in self.configuration.ports.iter().enumerate() {
                for address in &port.addresses {
                    let family = match address {
                        IpAddr::V4(_) => AddressFamily::Ipv4,
                        IpAddr::V6(_) => AddressFamily::Ipv6,
                    };
                    let entry = DiscoveryEntry::rdma(
                        SubsystemType::Nvm,
                        number as u16 + 1,
                        MAXCMD,
                        family,
                        &address.to_string(),
                        &DISCOVERY_PORT.to_string(),
                        &subsystem.nqn,
                    );
                    entries.extend_from_slice(entry.as_bytes());
                    count += 1;
                }
            }
        }
        let mut log = DiscoveryHeader::new(GENERATION, count).as_bytes().to_vec();
        log.append(&mut entries);
        log
    }
}
