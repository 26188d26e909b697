//! Desired state: what the operator wants to exist. The daemon reads it from a file, tests write it down.

use gantry_wire::fabrics::{DISCOVERY_NQN, NQN_LEN_MAX};
use std::net::IpAddr;

/// Everything that control brings into being. Names are unique in their list, NQNs among subsystems, and every
/// namespace names a drive of the list: [`Control::new`](crate::Control::new) panics otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Session epoch: grows with every start of control, so that an older one is fenced.
    pub epoch: u64,
    /// Ports of the data plane.
    pub ports: Vec<Port>,
    /// Drives.
    pub drives: Vec<Drive>,
    /// NVM subsystems.
    pub subsystems: Vec<Subsystem>,
}

/// A port: a device and its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The operator's name for it, at most 32 bytes.
    pub name: String,
    /// DPDK device string.
    pub device: String,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// 802.1Q VLAN id of its addresses; zero for untagged frames.
    pub vlan: u16,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// A drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drive {
    /// The operator's name for it, at most 32 bytes.
    pub name: String,
    /// Where it is: `file:/path`, `mem:SIZE`.
    pub uri: String,
}

/// An NVM subsystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subsystem {
    /// Its NQN, which keeps the rules of [`check_nqn`](gantry_wire::fabrics::check_nqn).
    pub nqn: String,
    /// Who may connect.
    pub hosts: Hosts,
    /// Its namespaces.
    pub namespaces: Vec<Namespace>,
}

/// Which hosts may see and use a subsystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Everybody.
    Any,
    /// Those with these NQNs; an empty list is nobody.
    Only(Vec<String>),
}

/// A namespace: a whole drive, or one of the drive's own namespaces, under an NSID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// NSID, unique in the subsystem; neither zero nor the broadcast value.
    pub nsid: u32,
    /// Name of its drive.
    pub drive: String,
    /// Which of the drive's own namespaces, by the drive's NSID; without it the first that can be served.
    pub drive_nsid: Option<u32>,
    /// Its UUID in RFC 4122's byte order; hosts drop a namespace whose UUID changes.
    pub uuid: [u8; 16],
    /// Hosts may read it and change nothing (NVM Command Set 1.0 §4.1.5.1, NSATTR bit 0).
    pub read_only: bool,
}

/// A UUID in its text form (RFC 4122 §3), either case.
#[must_use]
pub fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 || [8, 13, 18, 23].iter().any(|&at| bytes[at] != b'-') {
        return None;
    }
    let mut digits = bytes.iter().filter(|b| **b != b'-').map(|b| char::from(*b).to_digit(16));
    let mut uuid = [0; 16];
    for byte in &mut uuid {
        *byte = (digits.next()?? << 4 | digits.next()??) as u8;
    }
    digits.next().is_none().then_some(uuid)
}

impl Hosts {
    /// Whether `host_nqn` is among them.
    #[must_use]
    pub fn admit(&self, host_nqn: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(hosts) => hosts.iter().any(|host| host == host_nqn),
        }
    }
}

impl Configuration {
    /// # Panics
    /// When the configuration breaks the rules of its documentation: whoever built it did not check it.
    pub(crate) fn assert_sound(&self) {
        let unique = |names: Vec<&str>, what: &str| {
            for (at, name) in names.iter().enumerate() {
                assert!(!names[..at].contains(name), "two {what}s named {name:?}");
            }
        };
        unique(self.ports.iter().map(|p| p.name.as_str()).collect(), "port");
        unique(self.drives.iter().map(|d| d.name.as_str()).collect(), "drive");
        unique(self.subsystems.iter().map(|s| s.nqn.as_str()).collect(), "subsystem");
        for subsystem in &self.subsystems {
            let nqn = &subsystem.nqn;
            assert!(nqn.len() <= NQN_LEN_MAX && nqn != DISCOVERY_NQN, "{nqn:?} is no subsystem's NQN");
            for (at, namespace) in subsystem.namespaces.iter().enumerate() {
                let Namespace { nsid, drive, .. } = namespace;
                assert!(!matches!(*nsid, 0 | u32::MAX), "NSID {nsid:#x} in {nqn}");
                assert!(subsystem.namespaces[..at].iter().all(|n| n.nsid != *nsid), "two namespaces {nsid} in {nqn}");
                assert!(self.drives.iter().any(|d| d.name == *drive), "namespace {nsid} of {nqn}: no drive {drive:?}");
            }
        }
    }

    /// The drive with this name, as its number on the channel.
    pub(crate) fn drive_number(&self, name: &str) -> u16 {
        let at = self.drives.iter().position(|d| d.name == name).expect("checked at construction");
        at as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids() {
        let uuid = parse_uuid("00112233-4455-6677-8899-AABBCCDDEEFF").unwrap();
        assert_eq!(uuid[..4], [0x00, 0x11, 0x22, 0x33]);
        assert_eq!(uuid[15], 0xff);
        for bad in ["", "00112233-4455-6677-8899-aabbccddeef", "00112233-4455-6677-8899-aabbccddeefg"] {
            assert_eq!(parse_uuid(bad), None, "{bad}");
        }
        assert_eq!(parse_uuid("0011223--4455-6677-8899-aabbccddeeff"), None);
        assert_eq!(parse_uuid("é0112233-4455-6677-8899-aabbccddeef"), None);
    }
}
