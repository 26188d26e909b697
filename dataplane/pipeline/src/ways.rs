//! The ways to hosts. A host's queue pairs share one: where it leads, and the lower headers that follow from it, are held once, so
//! that a QP is four cache lines and of many QPs few lines are in use.

use alloc::boxed::Box;

use gantry::channel::Path;
use serde::{Deserialize, Serialize};

use crate::command::NONE;
use crate::s9_transmit::Lower;
use crate::tables::mix;

/// The way to a host, as packet.p4 takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// The port's Ethernet address, 48 bits.
    pub local_mac: u64,
    /// The host's, or its router's.
    pub remote_mac: u64,
    /// VLAN id, 0 for none.
    pub vid: u16,
    /// Priority of the VLAN tag.
    pub pcp: u8,
    /// The card's address; an IPv4 one is mapped into IPv6.
    pub local_ip: u128,
    /// The host's.
    pub remote_ip: u128,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// UDP source port.
    pub udp_source: u16,
    /// IPv4 identification of the packet that was sent last.
    pub ip_id: u16,
}

impl Way {
    /// A way as control tells it.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let tag = path.vlan.get();
        Self {
            local_mac: mac(path.local_mac),
            remote_mac: mac(path.remote_mac),
            vid: tag & 0xfff,
            pcp: (tag >> 13) as u8,
            local_ip: u128::from_be_bytes(path.local_ip),
            remote_ip: u128::from_be_bytes(path.remote_ip),
            traffic_class: path.traffic_class,
            udp_source: path.udp_source.get(),
            ip_id: 0,
        }
    }

    /// Without what is each QP's own.
    #[must_use]
    pub fn common(self) -> Self {
        Self { udp_source: 0, ip_id: 0, ..self }
    }
}

/// An Ethernet address as a number.
#[must_use]
pub fn mac([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// A way that QPs have in common.
#[repr(align(64))]
pub struct SharedWay {
    /// Index of the port among the lcore's ports.
    pub port: usize,
    /// The way, without what is each QP's own.
    pub way: Way,
    /// The lower headers that follow from it and the tables.
    pub lower: Lower,
    /// QPs that go it; none while it is free.
    users: u32,
    /// The next of its chain, or the next free one.
    next: u32,
}

/// All ways of an lcore, found by what they are. A QP holds the number of its own.
pub struct Ways {
    entries: Box<[SharedWay]>,
    /// Chains of those in use, by hash.
    chains: Box<[u32]>,
    free: u32,
    seed: u64,
}

impl Ways {
    /// Room for a way for each of `count` QPs. Hosts choose their addresses: with the seed they cannot tell which chain they get into.
    #[must_use]
    pub fn new(count: u32, seed: u64) -> Self {
        let next = |index: u32| if index + 1 < count { index + 1 } else { NONE };
        let entry = |index| SharedWay { port: 0, way: Way::default(), lower: Lower::NONE, users: 0, next: next(index) };
        Self {
            entries: (0..count).map(entry).collect(),
            chains: (0..count.next_power_of_two()).map(|_| NONE).collect(),
            free: if count == 0 { NONE } else { 0 },
            seed,
        }
    }

    /// The number of a way by this port for one QP more.
    ///
    /// # Panics
    /// When there are more QPs than there is room for.
    pub fn enter(&mut self, port: usize, way: &Way) -> u32 {
        let way = way.common();
        let chain = self.chain(port, &way);
        let mut at = self.chains[chain];
        while at != NONE {
            let entry = &mut self.entries[at as usize];
            if (entry.port, entry.way) == (port, way) {
                entry.users += 1;
                return at;
            }
            at = entry.next;
        }
        let index = self.free;
        assert!(index != NONE, "more QPs than there is room for");
        let entry = &mut self.entries[index as usize];
        self.free = entry.next;
        *entry = SharedWay { port, way, lower: Lower::NONE, users: 1, next: self.chains[chain] };
        self.chains[chain] = index;
        index
    }

    /// A QP is gone that went this way.
    ///
    /// # Panics
    /// When none did.
    pub fn leave(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        assert!(entry.users > 0, "no QP goes way {index}");
        entry.users -= 1;
        if entry.users > 0 {
            return;
        }
        let (next, chain) = (entry.next, self.chain(self[index].port, &self[index].way));
        let mut at = self.chains[chain];
        if at == index {
            self.chains[chain] = next;
        } else {
            while self[at].next != index {
                at = self[at].next;
            }
            self.entries[at as usize].next = next;
        }
        self.entries[index as usize].next = self.free;
        self.free = index;
    }

    fn chain(&self, port: usize, way: &Way) -> usize {
        let Way { local_mac, remote_mac, vid, pcp, local_ip, remote_ip, traffic_class, udp_source: _, ip_id: _ } = *way;
        let small = u64::from(vid) | u64::from(pcp) << 16 | u64::from(traffic_class) << 24 | (port as u64) << 32;
        let halves = |ip: u128| [(ip >> 64) as u64, ip as u64];
        let words = [[local_mac, remote_mac], halves(local_ip), halves(remote_ip)];
        let hash = words.as_flattened().iter().fold(mix(self.seed ^ small), |hash, word| mix(hash ^ word));
        hash as usize & (self.chains.len() - 1)
    }
}

impl core::ops::Index<u32> for Ways {
    type Output = SharedWay;
    #[inline]
    fn index(&self, index: u32) -> &SharedWay {
        &self.entries[index as usize]
    }
}

impl core::ops::IndexMut<u32> for Ways {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut SharedWay {
        &mut self.entries[index as usize]
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn way(host: u8) -> Way {
        Way { remote_ip: host.into(), ..Way::default() }
    }

    #[test]
    fn qps_of_a_host_and_a_port_share_a_way_until_the_last_is_gone() {
        let mut ways = Ways::new(4, 1);
        let first = ways.enter(0, &way(1));
        assert_eq!(ways.enter(0, &Way { udp_source: 7, ip_id: 9, ..way(1) }), first, "those are a QP's own");
        let others = [ways.enter(1, &way(1)), ways.enter(0, &way(2))];
        assert!(!others.contains(&first) && others[0] != others[1]);
        assert_eq!((ways[first].way, ways[others[0]].port), (way(1), 1));
        ways.leave(first);
        assert_eq!(ways.enter(0, &way(1)), first);
        ways.leave(first);
        ways.leave(first);
        let last = [ways.enter(0, &way(3)), ways.enter(0, &way(4))];
        assert!(last.contains(&first), "a way that nobody goes is another's");
        assert_eq!((ways[last[0]].way, ways[last[1]].way), (way(3), way(4)));
    }

    #[test]
    fn ways_come_and_go_in_any_order() {
        let mut ways = Ways::new(64, 2);
        let mut held: Vec<(u8, u32)> = Vec::new();
        let mut random = 1;
        for _ in 0..10_000 {
            random = mix(random + 1);
            if held.len() < 64 && random % 3 != 0 {
                let host = (random >> 8) as u8 % 80;
                held.push((host, ways.enter(0, &way(host))));
            } else if let Some(at) = (random as usize >> 8).checked_rem(held.len()) {
                ways.leave(held.swap_remove(at).1);
            }
            for (host, index) in &held {
                assert_eq!(ways[*index].way, way(*host));
                let users = held.iter().filter(|(_, other)| other == index).count();
                assert_eq!(ways[*index].users as usize, users);
            }
        }
        assert!(!held.is_empty());
    }
}
