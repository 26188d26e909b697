//! The host's network side: whole Ethernet frames in and out, the target's MAC address by ARP, ICRC and header checks.
//! Annex A17 (RoCE v2), RFC 826.

use super::{HostConfig, Violation};
use gantry_cpu::Cpu;
use gantry_host_wire::arp::{self, Arp};
use gantry_host_wire::ethernet::{self, Mac};
use gantry_host_wire::ipv4;
use gantry_host_wire::packet::{HEADER_MAX, Packet, Roce, RoceHeaders};
use gantry_roce::{Qpn, Transport};
use gantry_wire::ib::{ICRC_LEN, Opcode};
use gantry_wire::{cm, icrc};
use std::net::IpAddr;
use zerocopy::IntoBytes;

/// UDP source port of everything on QP1, as Linux has it.
pub(super) const MAD_SOURCE_PORT: u16 = 55410;
const BROADCAST: Mac = [0xff; 6];
const HOP_LIMIT: u8 = 64;

/// One port with one address, talking to one target.
pub(super) struct Link {
    cpu: Cpu,
    mac: Mac,
    pub(super) ip: [u8; 16],
    pub(super) target_ip: [u8; 16],
    pub(super) target_mac: Option<Mac>,
    vlan: u16,
    ip_id: u16,
    ud_psn: u32,
}

impl Link {
    pub(super) fn new(config: &HostConfig) -> Link {
        Link {
            cpu: Cpu::detect(),
            mac: config.mac,
            ip: address(config.ip),
            target_ip: address(config.target_ip),
            target_mac: config.target_mac,
            vlan: config.vlan,
            ip_id: config.seed as u16,
            ud_psn: 0,
        }
    }

    /// Writes a RoCE frame into `out`.
    pub(super) fn emit_roce(&mut self, transport: &Transport, payload: &[u8], udp_source: u16, out: &mut Vec<u8>) {
        let headers = RoceHeaders {
            source_mac: self.mac,
            dest_mac: self.target_mac.expect("nothing is sent before the target is found"),
            vlan: self.vlan,
            source_ip: self.ip,
            dest_ip: self.target_ip,
            traffic_class: 0,
            hop_limit: HOP_LIMIT,
            ip_id: self.ip_id,
            udp_source,
        };
        self.ip_id = self.ip_id.wrapping_add(1);
        out.clear();
        out.resize(HEADER_MAX, 0);
        let emitted = headers.emit_roce(transport, payload.len(), out);
        out.truncate(emitted.header_len);
        out.extend_from_slice(payload);
        out.resize(out.len() + usize::from(transport.pad), 0);
        let icrc = self.icrc(&out[emitted.l3..]).expect("headers of our own");
        out.extend_from_slice(&icrc.to_le_bytes());
    }

    /// The frame of a MAD.
    pub(super) fn mad_frame(&mut self, mad: &[u8; cm::MAD_LEN]) -> Vec<u8> {
        let psn = gantry_roce::Psn::new(self.ud_psn);
        self.ud_psn += 1;
        let mut transport = Transport::new(Opcode::UdSendOnly, Qpn::GSI, psn);
        transport.ack_request = true; // as Linux does; of no meaning
        transport.deth = Some(gantry_wire::ib::Deth { qkey: cm::QKEY, source_qpn: Qpn::GSI });
        let mut frame = Vec::new();
        self.emit_roce(&transport, mad, MAD_SOURCE_PORT, &mut frame);
        frame
    }

    /// Asks who has the target's address. Only IPv4 is asked for.
    pub(super) fn arp_request(&self) -> Option<Vec<u8>> {
        let request = Arp {
            hardware: 1.into(),
            protocol: ethernet::IPV4.into(),
            hardware_length: 6,
            protocol_length: 4,
            operation: arp::REQUEST.into(),
            sender_mac: self.mac,
            sender_ip: ipv4::unmapped(&self.ip)?,
            target_mac: [0; 6],
            target_ip: ipv4::unmapped(&self.target_ip)?,
        };
        let mut frame = vec![0; ethernet::LEN + ethernet::VLAN_LEN + arp::LEN];
        let at = ethernet::emit(BROADCAST, self.mac, self.vlan, ethernet::ARP, &mut frame);
        frame[at..at + arp::LEN].copy_from_slice(request.as_bytes());
        frame.truncate(at + arp::LEN);
        Some(frame)
    }

    /// Takes an ARP message: learns from the target's, answers a question for our address.
    pub(super) fn handle_arp(&mut self, packet: &Packet, frame: &[u8]) -> Option<Vec<u8>> {
        let message = Arp::of(packet, frame);
        let (ours, target) = (ipv4::unmapped(&self.ip)?, ipv4::unmapped(&self.target_ip)?);
        if message.sender_ip == target && message.target_ip == ours {
            self.target_mac = Some(message.sender_mac);
        }
        if message.target_ip != ours || message.operation.get() != arp::REQUEST {
            return None;
        }
        let mut reply = vec![0; ethernet::LEN + ethernet::VLAN_LEN + arp::LEN];
        let length = arp::emit_reply(packet, frame, self.mac, &mut reply)?;
        reply.truncate(length);
        Some(reply)
    }

    /// Whether a frame is for this host at all: its MAC address or everyone's, on its VLAN.
    pub(super) fn is_ours(&self, packet: &Packet) -> bool {
        (packet.dest_mac == self.mac || packet.dest_mac == BROADCAST) && packet.vlan == self.vlan
    }

    /// Whether a RoCE packet travels between the target and this host.
    pub(super) fn is_of_target(&self, packet: &Packet, frame: &[u8]) -> bool {
        packet.addresses(frame) == (self.target_ip, self.ip)
    }

    /// Checks what annex A17 asks of the headers below the transport, and the ICRC.
    pub(super) fn check(&self, packet: &Packet, roce: &Roce, frame: &[u8]) -> Result<(), Violation> {
        let (l3, icrc) = (usize::from(packet.l3), usize::from(roce.icrc));
        let found = u32::from_le_bytes(frame[icrc..icrc + ICRC_LEN].try_into().expect("four bytes"));
        if self.icrc(&frame[l3..icrc]) != Some(found) {
            return Err(Violation::Icrc);
        }
        if packet.ipv4(frame).is_some_and(|ip| ip.flags_fragment.get() != ipv4::DONT_FRAGMENT) {
            return Err(Violation::Header("fragmentation allowed"));
        }
        let l4 = usize::from(packet.l4);
        if frame[l4 + 6..l4 + 8] != [0, 0] {
            return Err(Violation::Header("a UDP checksum"));
        }
        if roce.transport.pkey != gantry_wire::ib::PKEY_DEFAULT {
            return Err(Violation::Header("another P_Key than 0xffff"));
        }
        if !(usize::from(roce.payload_len) + usize::from(roce.transport.pad)).is_multiple_of(4) {
            return Err(Violation::Header("a payload not padded to four bytes"));
        }
        Ok(())
    }

    /// The ICRC of a packet that begins with its IP header and ends before the ICRC.
    fn icrc(&self, l3: &[u8]) -> Option<u32> {
        let mut masked = [0; icrc::MASKED_MAX];
        let length = icrc::masked_prefix(l3, &mut masked)?;
        let crc = self.cpu.crc32(0, &masked[..length]);
        Some(self.cpu.crc32(crc, &l3[length - 8..]))
    }
}

/// An address as GIDs have it.
fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => ipv4::mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}
