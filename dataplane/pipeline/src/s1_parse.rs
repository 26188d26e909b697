//! s1, parser: packet.p4's parser over every frame of a burst. What it refuses packet.p4's control drops.

use gantry::packet::{self, Packet};

use crate::port::{BURST, RxFrame};
use crate::ways;

/// Parses a burst that came by a port with this number and Ethernet address.
#[inline(never)]
pub fn run<'p, F: RxFrame>(port: u16, mac: [u8; 6], burst: &[F], packets: &'p mut [Packet; BURST]) -> &'p mut [Packet] {
    let mac = ways::mac(mac);
    parse(burst, packets, |packet| {
        packet.metadata.input_port = port.into();
        packet.metadata.istd_input_port = port.into();
        packet.metadata.port_mac = mac;
    })
}

/// Parses a burst that other lcores have let in, and handed over.
#[inline(never)]
pub fn crossed<'p, F: RxFrame>(burst: &[F], packets: &'p mut [Packet; BURST]) -> &'p mut [Packet] {
    parse(burst, packets, |packet| packet.metadata.istd_recirculated = true)
}

fn parse<'p, F: RxFrame>(
    burst: &[F],
    packets: &'p mut [Packet; BURST],
    tell: impl Fn(&mut Packet),
) -> &'p mut [Packet] {
    let packets = &mut packets[..burst.len()];
    for (frame, packet) in burst.iter().zip(&mut *packets) {
        packet.reset();
        tell(packet);
        // Its reason is in the metadata, for the control.
        let _ = packet::parse(frame.bytes(), packet);
    }
    packets
}
