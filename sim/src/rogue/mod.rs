//! A rogue: frames with a sound ICRC that violate the protocols, drawn from a seed, in the name of a host that is
//! connected or of a stranger who has overheard it. It owns no connection and hears no answer: whoever steps the world
//! puts its frames on the wire beside the hosts'. Capsules that break the rules are the host's own doing
//! ([`Host::violate`](crate::host::Host::violate)).
//!
//! | file | what |
//! |---|---|
//! | `kind.rs` | what a rogue does, and whom it may cost something |
//! | `transport.rs` | packets of a reliable connection |
//! | `header.rs` | what lies below it: Ethernet, IP, UDP, ICRC |
//! | `management.rs` | connection management |
//! | `neighbor.rs` | ARP, neighbour discovery, echo |

mod header;
mod kind;
mod management;
mod neighbor;
mod transport;

pub use kind::{As, RogueKind};

use gantry_cpu::Cpu;
use gantry_host_wire::ethernet::Mac;
use gantry_host_wire::ipv4;
use gantry_host_wire::packet::{HEADER_MAX, RoceHeaders};
use gantry_pipeline::tables::mix;
use gantry_wire::ib::{ICRC_LEN, Transport};
use gantry_wire::icrc;

use crate::host::{Exposed, ExposedQueue};

/// Draws frames. One seed, one sequence.
pub struct Rogue {
    cpu: Cpu,
    seed: u64,
    drawn: u64,
}

impl Rogue {
    /// A rogue that has drawn nothing yet.
    #[must_use]
    pub fn new(seed: u64) -> Rogue {
        Rogue { cpu: Cpu::detect(), seed: mix(seed), drawn: 0 }
    }

    /// Frames to send, in order, that do `kind` to a host of which so much is known. None when the host has no connection
    /// and `kind` needs one.
    pub fn frame(&mut self, kind: RogueKind, victim: &Exposed, as_: As) -> Vec<Vec<u8>> {
        use RogueKind::*;
        let sender = self.sender(victim, as_);
        match kind {
            MalformedMad | WildDatagram | ReqFlood | AbsurdReq | ForeignRelease => self.manage(kind, &sender, None),
            ArpFlood | NeighborFlood | EchoFlood => self.greet(kind, &sender, victim),
            Garbage => self.garbage(&sender),
            _ if victim.queues.is_empty() => Vec::new(),
            _ => {
                let queue = victim.queues[self.below(victim.queues.len() as u64) as usize];
                let sender = Sender { udp_source: queue.udp_source, ..sender };
                match kind {
                    OwnRelease | StaleReq => self.manage(kind, &sender, Some(&queue)),
                    BadIcrc | BadIpHeader | BadIpLength | BadUdpLength | IpOptions | Fragment | VlanTagged
                    | Truncated => self.misframe(kind, &sender, &queue),
                    _ => self.misuse(kind, &sender, &queue),
                }
            }
        }
    }

    fn next(&mut self) -> u64 {
        self.drawn += 1;
        mix(self.seed ^ self.drawn)
    }

    /// From zero to one less than `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    fn sender(&mut self, victim: &Exposed, as_: As) -> Sender {
        let mut sender = Sender {
            mac: victim.mac,
            target_mac: victim.target_mac,
            ip: victim.ip,
            target_ip: victim.target_ip,
            vlan: victim.vlan,
            path_mtu: victim.path_mtu,
            udp_source: 0xc000 | self.next() as u16,
            ip_id: self.next() as u16,
        };
        if as_ == As::Stranger {
            // From the networks that are set aside for tests and for documents (RFC 2544, RFC 3849).
            let drawn = self.next().to_le_bytes();
            sender.mac = [0x06, 0x66, drawn[0], drawn[1], drawn[2], drawn[3]];
            sender.ip = match ipv4::unmapped(&victim.ip) {
                Some(_) => ipv4::mapped([198, 18, drawn[4], drawn[5]]),
                None => [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, drawn[4], drawn[5], drawn[6], 1],
            };
        }
        sender
    }

    /// A frame with a sound ICRC.
    fn roce(&self, sender: &Sender, transport: &Transport, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; HEADER_MAX];
        let emitted = sender.headers().emit_roce(transport, payload.len(), &mut frame);
        frame.truncate(emitted.header_len);
        frame.extend_from_slice(payload);
        frame.resize(frame.len() + usize::from(transport.pad) + ICRC_LEN, 0);
        self.seal(&mut frame, emitted.l3);
        frame
    }

    /// Makes the ICRC right, of a frame whose IP header begins at `l3`.
    fn seal(&self, frame: &mut [u8], l3: usize) {
        let end = frame.len() - ICRC_LEN;
        let mut masked = [0; icrc::MASKED_MAX];
        if let Some(length) = icrc::masked_prefix(&frame[l3..end], &mut masked) {
            let crc = self.cpu.crc32(0, &masked[..length]);
            let crc = self.cpu.crc32(crc, &frame[l3 + length - 8..end]);
            frame[end..].copy_from_slice(&crc.to_le_bytes());
        }
    }
}

/// Who seems to send.
struct Sender {
    mac: Mac,
    target_mac: Mac,
    ip: [u8; 16],
    target_ip: [u8; 16],
    vlan: u16,
    path_mtu: u16,
    udp_source: u16,
    ip_id: u16,
}

impl Sender {
    fn headers(&self) -> RoceHeaders {
        RoceHeaders {
            source_mac: self.mac,
            dest_mac: self.target_mac,
            vlan: self.vlan,
            source_ip: self.ip,
            dest_ip: self.target_ip,
            traffic_class: 0,
            hop_limit: 64,
            ip_id: self.ip_id,
            udp_source: self.udp_source,
        }
    }

    fn is_ipv4(&self) -> bool {
        ipv4::unmapped(&self.ip).is_some()
    }

    /// Where the IP header begins.
    fn l3(&self) -> usize {
        if self.vlan == 0 { 14 } else { 18 }
    }

    /// Where the UDP header begins, without options.
    fn l4(&self) -> usize {
        self.l3() + if self.is_ipv4() { 20 } else { 40 }
    }
}

/// A PSN `distance` from a queue's next one.
fn near(queue: &ExposedQueue, distance: i32) -> gantry_roce::Psn {
    queue.send_psn.add(distance as u32)
}
