//! Floods of what keeps neighbours alive: ARP (RFC 826), neighbour discovery (RFC 4861), echo (RFC 792, RFC 4443).

use gantry_host_wire::arp::{self, Arp};
use gantry_host_wire::{ethernet, ipv4};
use gantry_wire::ip;
use zerocopy::IntoBytes;

use super::{Rogue, RogueKind, Sender};
use crate::host::Exposed;

/// Frames of one flood.
const FLOOD: usize = 16;

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const ECHO_REQUEST_6: u8 = 128;
const ECHO_REQUEST_4: u8 = 8;

impl Rogue {
    pub(super) fn greet(&mut self, kind: RogueKind, sender: &Sender, victim: &Exposed) -> Vec<Vec<u8>> {
        (0..FLOOD)
            .map(|_| match kind {
                RogueKind::ArpFlood => self.arp(sender, victim),
                RogueKind::NeighborFlood => self.neighbor(sender),
                _ => self.echo(sender),
            })
            .collect()
    }

    /// A question or an answer in which the sender is the victim, the target, or anybody.
    fn arp(&mut self, sender: &Sender, victim: &Exposed) -> Vec<u8> {
        let drawn = self.next().to_le_bytes();
        let anybody = [drawn[0], drawn[1], drawn[2], drawn[3]];
        let known = |ip: &[u8; 16]| ipv4::unmapped(ip).unwrap_or(anybody);
        let addresses = [anybody, known(&victim.ip), known(&victim.target_ip), [0; 4], [255; 4]];
        let message = Arp {
            hardware: self.one_of(&[1u16, 1, 1, 6]).into(),
            protocol: self.one_of(&[ethernet::IPV4, ethernet::IPV4, ethernet::IPV6]).into(),
            hardware_length: self.one_of(&[6, 6, 6, 0, 255]),
            protocol_length: self.one_of(&[4, 4, 4, 16]),
            operation: self.one_of(&[arp::REQUEST, arp::REQUEST, 2, 3, 0]).into(),
            sender_mac: sender.mac,
            sender_ip: self.one_of(&addresses),
            target_mac: self.one_of(&[[0; 6], sender.target_mac, [0xff; 6]]),
            target_ip: self.one_of(&addresses),
        };
        let mut frame = self.frame_of(sender, ethernet::ARP);
        frame.extend(message.as_bytes());
        let cut = self.one_of(&[0, 0, 0, 0, 1, 27]);
        frame.truncate(frame.len() - cut);
        frame
    }

    fn neighbor(&mut self, sender: &Sender) -> Vec<u8> {
        let kind = self.one_of(&[SOLICITATION, SOLICITATION, ADVERTISEMENT, 133, 137]);
        let mut message = vec![kind, self.one_of(&[0, 0, 0, 1]), 0, 0, 0, 0, 0, 0];
        let target = if self.below(2) == 0 { sender.target_ip } else { self.bytes(16).try_into().expect("16 bytes") };
        message.extend(target);
        // An option: the source's address, of no length, or longer than the message.
        message.extend([1, self.one_of(&[1, 1, 0, 200])]);
        message.extend(sender.mac);
        let hop_limit = self.one_of(&[255, 255, 64]);
        let length = message.len() - self.one_of(&[0, 0, 1, 8, 20]);
        message.truncate(length);
        self.icmp(sender, false, hop_limit, message)
    }

    fn echo(&mut self, sender: &Sender) -> Vec<u8> {
        let v4 = sender.is_ipv4();
        let mut message = vec![if v4 { ECHO_REQUEST_4 } else { ECHO_REQUEST_6 }, 0, 0, 0];
        let length = self.one_of(&[0, 1, 4, 57, 1000, 4400]);
        message.extend(self.bytes(length));
        self.icmp(sender, v4, 64, message)
    }

    /// An ICMP message whose checksum is right three times of four.
    fn icmp(&mut self, sender: &Sender, v4: bool, hop_limit: u8, mut message: Vec<u8>) -> Vec<u8> {
        let mut frame = self.frame_of(sender, if v4 { ethernet::IPV4 } else { ethernet::IPV6 });
        let l3 = frame.len();
        let length = message.len() as u16;
        let before = if v4 {
            frame.extend([0x45, 0]);
            frame.extend((length + 20).to_be_bytes());
            frame.extend([0, 0, 0x40, 0, hop_limit, ipv4::ICMP, 0, 0]);
            frame.extend(&sender.ip[12..]);
            frame.extend(&sender.target_ip[12..]);
            0
        } else {
            frame.extend([0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([58, hop_limit]);
            frame.extend(sender.ip);
            frame.extend(sender.target_ip);
            let pseudo = [&frame[l3 + 8..], &u32::from(length).to_be_bytes(), &[0, 0, 0, 58]].concat();
            ip::sum(0, &pseudo)
        };
        let sum = ip::checksum(before, &message);
        if self.below(4) != 0 && message.len() >= 4 {
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        if v4 {
            let sum = ip::checksum(0, &frame[l3..]);
            frame[l3 + 10..l3 + 12].copy_from_slice(&sum.to_be_bytes());
        }
        frame.extend(message);
        frame
    }

    /// An Ethernet header. Only the target is greeted: what it makes of it is the question, not what other hosts do.
    fn frame_of(&self, sender: &Sender, ether_type: u16) -> Vec<u8> {
        let mut frame = vec![0; 18];
        let length = ethernet::emit(sender.target_mac, sender.mac, sender.vlan, ether_type, &mut frame);
        frame.truncate(length);
        frame
    }
}
