//! Frames that are wrong below the transport: IP, UDP, VLAN, length. Inside them is a capsule that would be next.

use gantry_host_wire::{ethernet, ipv4};
use gantry_wire::ib::ICRC_LEN;
use gantry_wire::ip;

use super::{Rogue, RogueKind, Sender};
use crate::host::ExposedQueue;

impl Rogue {
    pub(super) fn misframe(&mut self, kind: RogueKind, sender: &Sender, queue: &ExposedQueue) -> Vec<Vec<u8>> {
        use RogueKind::*;
        let mut frame = self.capsule_at(sender, queue.remote_qpn, queue.send_psn);
        let (l3, l4) = (sender.l3(), sender.l4());
        let v4 = sender.is_ipv4();
        match kind {
            BadIcrc => {
                let bit = self.below(32) as usize;
                let end = frame.len() - ICRC_LEN;
                frame[end + bit / 8] ^= 1 << (bit % 8);
            }
            BadIpHeader => match self.below(2) {
                0 if v4 => frame[l3 + 10] ^= 1 + self.below(255) as u8,
                // Another version; for IPv4 also a header shorter than it can be.
                _ => frame[l3] = if v4 { self.one_of(&[0x05, 0x55, 0x65, 0x44, 0x40, 0xf5]) } else { 0x05 },
            },
            BadIpLength => {
                let length = self.one_of(&[0u16, 1, 19, 20, 27, 28, 39, 40, 47, 5000, 0xffff]);
                let at = if v4 { l3 + 2 } else { l3 + 4 };
                let wrong = if v4 { length } else { length | 0x1000 };
                frame[at..at + 2].copy_from_slice(&wrong.to_be_bytes());
                self.checksum(sender, &mut frame);
            }
            BadUdpLength => {
                let right = u16::from_be_bytes([frame[l4 + 4], frame[l4 + 5]]);
                let wrong = self.one_of(&[0, 7, 8, 19, right - 4, right - 1, right + 1, right + 4, 0xffff]);
                frame[l4 + 4..l4 + 6].copy_from_slice(&wrong.to_be_bytes());
                self.seal(&mut frame, l3);
            }
            IpOptions => {
                if !v4 {
                    return Vec::new();
                }
                let words = 1 + self.below(10) as usize;
                // No operation, to the end.
                frame.splice(l4..l4, vec![1; words * 4]);
                frame[l3] = 0x45 + words as u8;
                let total = (frame.len() - l3) as u16;
                frame[l3 + 2..l3 + 4].copy_from_slice(&total.to_be_bytes());
                self.checksum(sender, &mut frame);
                self.seal(&mut frame, l3);
            }
            Fragment => {
                if v4 {
                    let flags = self.one_of(&[0x2000u16, 0x0001, 0x1fff, 0x3fff, 0x6000]);
                    frame[l3 + 6..l3 + 8].copy_from_slice(&flags.to_be_bytes());
                    self.checksum(sender, &mut frame);
                } else {
                    // A fragment header between IP and UDP.
                    let mut extension = vec![17, 0, 0, 1];
                    extension.extend(self.bytes(4));
                    frame[l3 + 6] = 44;
                    frame.splice(l4..l4, extension);
                    let length = (frame.len() - l4) as u16;
                    frame[l3 + 4..l3 + 6].copy_from_slice(&length.to_be_bytes());
                }
            }
            VlanTagged => {
                let tci = (sender.vlan + 1 + self.below(4000) as u16) & ethernet::VLAN_ID_MASK;
                let mut tag = ethernet::VLAN.to_be_bytes().to_vec();
                tag.extend(tci.max(1).to_be_bytes());
                match self.below(3) {
                    0 => drop(frame.splice(12..12, tag)),
                    1 => drop(frame.splice(12..12, [tag.clone(), tag].concat())),
                    _ => {
                        frame.splice(12.., tag);
                        frame.truncate(14 + self.below(4) as usize);
                    }
                }
            }
            Truncated => return self.truncated(sender, &frame),
            _ => unreachable!("{kind:?} is not about headers"),
        }
        vec![frame]
    }

    /// The frame cut off behind every header and inside the next, once as it is and once with lengths that fit.
    fn truncated(&mut self, sender: &Sender, frame: &[u8]) -> Vec<Vec<u8>> {
        let (l3, l4) = (sender.l3(), sender.l4());
        let transport = l4 + 8;
        let mut frames = Vec::new();
        for border in [14, l3, l4, transport, transport + 12, transport + 12 + 4, frame.len() - ICRC_LEN] {
            for length in [border, border + 1 + self.below(3) as usize] {
                let mut short = frame[..length.min(frame.len())].to_vec();
                frames.push(short.clone());
                // Less than the BTH and the ICRC: what claims to be whole is not.
                if length >= transport && length < transport + 16 {
                    let udp = (length - l4) as u16;
                    let (at, ip) = if sender.is_ipv4() { (l3 + 2, (length - l3) as u16) } else { (l3 + 4, udp) };
                    short[at..at + 2].copy_from_slice(&ip.to_be_bytes());
                    short[l4 + 4..l4 + 6].copy_from_slice(&udp.to_be_bytes());
                    self.checksum(sender, &mut short);
                    frames.push(short);
                }
            }
        }
        frames
    }

    pub(super) fn garbage(&mut self, sender: &Sender) -> Vec<Vec<u8>> {
        let types = [ethernet::IPV4, ethernet::IPV6, ethernet::ARP, ethernet::VLAN, 0x88cc, 0x8808, 0x0026];
        let ether_type = if self.below(8) == 0 { self.next() as u16 } else { self.one_of(&types) };
        let length = self.one_of(&[0, 1, 19, 28, 46, 64, 300, 1500]);
        let mut frame = [sender.target_mac, sender.mac].concat();
        frame.extend(ether_type.to_be_bytes());
        frame.extend(self.bytes(length));
        vec![frame]
    }

    /// Makes an IPv4 header's checksum right.
    pub(super) fn checksum(&self, sender: &Sender, frame: &mut [u8]) {
        let l3 = sender.l3();
        if !sender.is_ipv4() || frame.len() < l3 + ipv4::LEN {
            return;
        }
        let header = (usize::from(frame[l3] & 0xf) * 4).min(frame.len() - l3);
        frame[l3 + 10..l3 + 12].fill(0);
        let sum = ip::checksum(0, &frame[l3..l3 + header]);
        frame[l3 + 10..l3 + 12].copy_from_slice(&sum.to_be_bytes());
    }
}
