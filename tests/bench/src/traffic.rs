//! Frames that a host would send: RC SENDs of a capsule over IPv4, as they are when s1 gets them.

use crate::numbers::Numbers;

/// Where the card is, and where hosts are.
pub const CARD: [u8; 4] = [10, 0, 0, 1];
/// A host's address.
pub const HOST: [u8; 4] = [10, 0, 0, 2];

/// An IPv4 address as the program's tables have it: mapped into IPv6 (RFC 4291 §2.5.5.2).
#[must_use]
pub fn mapped(address: [u8; 4]) -> u128 {
    0xffff_0000_0000 | u128::from(u32::from_be_bytes(address))
}

/// QPNs that cannot be guessed, as the product gives them: all different, in no order. Below 2^24.
#[must_use]
pub fn qpn(n: u32) -> u32 {
    n.wrapping_mul(0x9e_3779).wrapping_add(2) & 0xff_ffff
}

/// What a RoCE packet of a host says.
#[derive(Clone, Copy, Debug)]
pub struct Says {
    /// BTH's opcode.
    pub opcode: u8,
    /// The card's QP, 24 bits.
    pub qpn: u32,
    /// Its IPv4 destination.
    pub destination: [u8; 4],
    /// ECN's bits (RFC 3168 §5).
    pub ecn: u8,
    /// A VLAN tag's identifier, 0 for no tag.
    pub vid: u16,
}

impl Says {
    /// A SEND of a capsule to a QP.
    #[must_use]
    pub fn send(qpn: u32) -> Self {
        Self { opcode: 0x04, qpn, destination: CARD, ecn: 2, vid: 0 }
    }
}

/// Bytes between the beginnings of two frames: whole cache lines.
const STRIDE: usize = 192;
/// An SQE.
const PAYLOAD: usize = 64;

/// Frames in one piece of memory, each at a cache line of its own.
pub struct Frames {
    bytes: Vec<u8>,
    lengths: Vec<usize>,
}

impl Frames {
    /// A frame for each of what is said.
    #[must_use]
    pub fn new(said: &[Says]) -> Self {
        let mut frames = Self { bytes: vec![0; said.len() * STRIDE], lengths: Vec::new() };
        for (says, space) in said.iter().zip(frames.bytes.chunks_exact_mut(STRIDE)) {
            let frame = frame(says);
            space[..frame.len()].copy_from_slice(&frame);
            frames.lengths.push(frame.len());
        }
        frames
    }

    /// So many SENDs.
    #[must_use]
    pub fn sends(count: usize) -> Self {
        Self::new(&vec![Says::send(2); count])
    }

    /// Writes other QPNs into frames without a VLAN tag: what was received last is warm, and says something new.
    pub fn readdress(&mut self, mut qpn: impl FnMut() -> u32) {
        for space in self.bytes.chunks_exact_mut(STRIDE) {
            space[47..50].copy_from_slice(&qpn().to_be_bytes()[1..]);
        }
    }

    /// The frames.
    #[must_use]
    pub fn views(&self) -> Vec<&[u8]> {
        self.bytes.chunks_exact(STRIDE).zip(&self.lengths).map(|(space, length)| &space[..*length]).collect()
    }
}

fn frame(says: &Says) -> Vec<u8> {
    // Extension headers (IBTA Vol 1 §9.3): RETH 16, AETH 4, DETH 8, immediate and IETH 4, atomic 28.
    let extension = match says.opcode {
        0x06 | 0x0a | 0x0c => 16,
        0x0b => 20,
        0x03 | 0x05 | 0x09 | 0x0d | 0x0f..=0x11 | 0x16 | 0x17 => 4,
        0x12 => 12,
        0x13 | 0x14 => 28,
        0x64 => 8,
        0x65 => 12,
        _ => 0,
    };
    let datagram = 8 + 12 + extension + PAYLOAD + 4;
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if says.vid != 0 {
        frame.extend([0x81, 0]);
        frame.extend(says.vid.to_be_bytes());
    }
    frame.extend([8, 0]);
    let ip = frame.len();
    frame.extend([0x45, says.ecn]);
    frame.extend((20 + datagram as u16).to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 17, 0, 0]);
    frame.extend(HOST);
    frame.extend(says.destination);
    let sum: u32 = frame[ip..].chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let sum = (sum >> 16) + (sum & 0xffff);
    frame[ip + 10..ip + 12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    frame.extend([0xc0, 1, 0x12, 0xb7]);
    frame.extend((datagram as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend([says.opcode, 0, 0xff, 0xff, 0]);
    frame.extend(&says.qpn.to_be_bytes()[1..]);
    frame.extend([0x80, 0, 0, 7]);
    frame.resize(frame.len() + extension + PAYLOAD + 4, 0);
    frame
}

/// RoCE of all kinds, some of which is wrong: what engines have to agree about. Every thirtieth byte of the headers of one in
/// three frames is another.
#[must_use]
pub fn assorted(count: usize, known: u32, numbers: &mut Numbers) -> Frames {
    let said: Vec<_> = (0..count)
        .map(|_| Says {
            opcode: match numbers.below(4) {
                0 => numbers.below(256) as u8,
                _ => numbers.below(0x18) as u8,
            },
            // Some have no entry.
            qpn: qpn(numbers.below(known + known / 8 + 1)),
            destination: [10, 0, 0, 1 + (numbers.below(8) / 7) as u8 * 8],
            ecn: numbers.below(4) as u8,
            vid: if numbers.below(8) == 0 { 1 + numbers.below(2) as u16 } else { 0 },
        })
        .collect();
    let mut frames = Frames::new(&said);
    for (space, length) in frames.bytes.chunks_exact_mut(STRIDE).zip(&mut frames.lengths) {
        match numbers.below(6) {
            0 => space[12 + numbers.below(50) as usize] = numbers.below(256) as u8,
            1 => *length = numbers.below(*length as u32 + 1) as usize,
            _ => {}
        }
    }
    frames
}
