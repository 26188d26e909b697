//! The lower headers of a way (Ethernet, VLAN, IP, UDP), made by packet.p4 once a generation of tables and kept: from packet to packet
//! only lengths, the UDP source port and IPv4's identification and checksum differ (RFC 791 §3.1, RFC 8200 §3, RFC 768).

use gantry::packet::{Bth, Ethernet, Ipv4, Ipv6, Udp, Vlan};
use gantry_table::Generation;
use gantry_wire::ib::{Opcode, Psn, Qpn, Transport};

use super::headers::{TRANSPORT_MAX, headers, write};
use crate::icrc::ICRC_BYTES;
use crate::state::Core;
use crate::ways::Way;

/// The longest lower headers in bytes.
const LOWER_MAX: usize = Ethernet::LENGTH + Vlan::LENGTH + Ipv6::LENGTH + Udp::LENGTH;

/// Lower headers of the packets on a way, all but what differs from packet to packet.
#[derive(Clone, Copy, Debug)]
pub struct Lower {
    bytes: [u8; LOWER_MAX],
    length: u8,
    l3: u8,
    /// Of an IPv4 header without length and identification: its words' sum in ones' complement. Nothing for IPv6.
    sum: Option<u16>,
    /// Of the tables that they were made from.
    generation: Option<Generation>,
}

impl Lower {
    /// Not made yet.
    pub const NONE: Self = Self { bytes: [0; LOWER_MAX], length: 0, l3: 0, sum: None, generation: None };

    /// As packet.p4 makes them now for packets on this way by this port.
    pub fn of(core: &mut Core, port: u16, way: &Way) -> Self {
        let way = way.common();
        let mut space = [0; LOWER_MAX + TRANSPORT_MAX];
        let transport = Transport::new(Opcode::SendOnly, Qpn::new(0), Psn::new(0));
        let (l3, end) = headers(core, (port, &way), &transport, 0, &mut space);
        let length = end - Bth::LENGTH;
        let is_v4 = length - l3 == Ipv4::LENGTH + Udp::LENGTH;
        let sum = is_v4.then(|| {
            let word = |at: usize| u32::from(u16::from_be_bytes([space[l3 + at], space[l3 + at + 1]]));
            fold((0..Ipv4::LENGTH).step_by(2).filter(|at| !matches!(at, 2 | 4 | 10)).map(word).sum())
        });
        let mut bytes = [0; LOWER_MAX];
        bytes.copy_from_slice(&space[..LOWER_MAX]);
        Self { bytes, length: length as u8, l3: l3 as u8, sum, generation: Some(core.reader.generation) }
    }

    /// Whether they were made from this generation of tables.
    #[inline]
    #[must_use]
    pub fn is_of(&self, generation: Generation) -> bool {
        self.generation == Some(generation)
    }

    /// Where the IP header begins.
    #[inline]
    #[must_use]
    pub fn l3(&self) -> usize {
        self.l3.into()
    }

    /// Writes all headers of a packet of `length` bytes from a QP's own UDP source port and with its IPv4 identification; where its
    /// payload goes.
    ///
    /// # Panics
    /// When `space` has no room for the longest headers that there are.
    #[inline]
    #[must_use]
    pub fn write(
        &self,
        (udp_source, ip_id): (u16, u16),
        transport: &Transport,
        length: usize,
        space: &mut [u8],
    ) -> usize {
        let (lower, l3) = (usize::from(self.length), usize::from(self.l3));
        let room: &mut [u8; LOWER_MAX + TRANSPORT_MAX] =
            space.first_chunk_mut().expect("a frame has room for its headers");
        // Whole, for a copy of known length is a few stores: the transport's headers go over what is too much.
        room[..LOWER_MAX].copy_from_slice(&self.bytes);
        let own = room[lower..].first_chunk_mut().expect("behind the longest lower headers");
        let own = write(transport, own);
        let udp_bytes = (Udp::LENGTH + own + length + usize::from(transport.pad) + ICRC_BYTES) as u16;
        let mut put = |at: usize, value: u16| room[at..at + 2].copy_from_slice(&value.to_be_bytes());
        match self.sum {
            Some(sum) => {
                let total = Ipv4::LENGTH as u16 + udp_bytes;
                put(l3 + 2, total);
                put(l3 + 4, ip_id);
                put(l3 + 10, !fold(u32::from(sum) + u32::from(total) + u32::from(ip_id)));
            }
            None => put(l3 + 4, udp_bytes),
        }
        put(lower - Udp::LENGTH, udp_source);
        put(lower - Udp::LENGTH + 4, udp_bytes);
        lower + own
    }
}

/// A sum of at most 2^16 words in ones' complement (RFC 1071).
#[inline]
fn fold(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    (sum + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use gantry::packet;
    use gantry_table::CounterValue;
    use gantry_wire::ib::{Aeth, Reth, Rkey, Syndrome};

    use super::*;
    use crate::s5_command::tests::core;

    const V4: u128 = 0xffff << 32;

    fn ways() -> Vec<Way> {
        let way = Way {
            local_mac: 0x0200_0000_0100,
            remote_mac: 0x0200_0000_0200,
            local_ip: V4 | 0x0a00_0001,
            remote_ip: V4 | 0xc0a8_fffe,
            traffic_class: 0x6a,
            udp_source: 0xc123,
            ..Way::default()
        };
        let v6 = Way { local_ip: 0xfe80 << 112 | 1, remote_ip: 0x2001 << 112 | u128::from(u64::MAX), ..way };
        let tagged = |way| Way { vid: 5, pcp: 3, ..way };
        Vec::from([way, v6, tagged(way), tagged(v6)])
    }

    fn transports() -> Vec<Transport> {
        let new =
            |opcode| Transport { ack_request: true, ..Transport::new(opcode, Qpn::new(0x0bcdef), Psn::new(0xfedcba)) };
        let reth = Reth { virtual_address: 0x1234_5678_9abc_def0, rkey: Rkey(0x8765_4321), dma_length: 131_072 };
        Vec::from([
            new(Opcode::WriteMiddle),
            Transport { reth: Some(reth), ..new(Opcode::WriteOnly) },
            Transport { reth: Some(reth), immediate: Some(7), ..new(Opcode::WriteOnlyImmediate) },
            Transport { aeth: Some(Aeth { syndrome: Syndrome::ACK, msn: 0x010203 }), ..new(Opcode::Acknowledge) },
            Transport { invalidate: Some(Rkey(9)), ..new(Opcode::SendOnlyInvalidate) },
        ])
    }

    #[test]
    fn what_is_kept_is_what_the_program_makes_of_each_packet() {
        let (mut core, _, _tables) = core();
        let mut compared = 0;
        for way in ways() {
            let lower = Lower::of(&mut core, 0, &way);
            for transport in transports() {
                for (length, pad) in [(0, 0), (16, 0), (509, 3), (4096, 0)] {
                    for ip_id in [0, 1, 0x8000, 0xfffe, 0xffff] {
                        let (mut kept, mut made) = ([0xaa; 256], [0xaa; 256]);
                        let (way, transport) = (Way { ip_id, ..way }, Transport { pad, ..transport });
                        let start = lower.write((way.udp_source, ip_id), &transport, length, &mut kept);
                        let (l3, at) = headers(&mut core, (0, &way), &transport, length, &mut made);
                        assert_eq!((lower.l3(), start), (l3, at));
                        assert_eq!(kept[..start], made[..at], "{way:?} {transport:?} {length}");
                        compared += 1;
                    }
                }
            }
        }
        assert_eq!(compared, 400);
    }

    #[test]
    fn the_program_counts_nothing_on_the_way_out() {
        let (mut core, _, _tables) = core();
        for way in ways() {
            Lower::of(&mut core, 0, &way);
        }
        // All that there are: what is kept would be counted once a generation.
        let packet::Banks { drops: _, admitted: _, access_hits: _ } = &core.reader.packet_banks;
        let packet::Tables { drops, admitted, access_hits, .. } = &core.reader.tables.packet;
        for counters in [drops, admitted, access_hits] {
            assert!((0..counters.len()).all(|cell| counters.read(cell) == Some(CounterValue::default())));
        }
    }
}
