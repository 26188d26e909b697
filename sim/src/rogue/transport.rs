//! Packets of a reliable connection that no sound peer sends (IBA 1.5 §9.7). The PSN is most often the expected one, so
//! that they arrive; what they ask for is refused, or ruins the connection that they seem to belong to.

use gantry_host_wire::ib::layout::Bth;
use gantry_roce::{Psn, Qpn, Rkey};
use gantry_wire::ib::{Aeth, NakCode, Opcode, Reth, Syndrome, Transport};
use gantry_wire::nvme::{Cid, Nsid, Sgl, Sqe, nvm};
use zerocopy::IntoBytes;

use super::{Rogue, RogueKind, Sender, near};
use crate::host::ExposedQueue;

/// PSNs are modulo 2^24; half of them are ahead, half behind.
const HALF: u64 = 1 << 23;
/// Packets of one message that is longer than any capsule.
const MANY: usize = 40;

impl Rogue {
    pub(super) fn misuse(&mut self, kind: RogueKind, sender: &Sender, queue: &ExposedQueue) -> Vec<Vec<u8>> {
        use RogueKind::*;
        let mtu = usize::from(sender.path_mtu);
        let qpn = queue.remote_qpn;
        let expected = queue.send_psn;
        match kind {
            PsnFarAhead => {
                let psn = expected.add((4096 + self.below(HALF - 8192)) as u32);
                vec![self.capsule_at(sender, qpn, psn)]
            }
            PsnFarBehind => {
                let psn = expected.sub((4096 + self.below(HALF - 8192)) as u32);
                vec![self.capsule_at(sender, qpn, psn)]
            }
            PsnNear => {
                let psn = near(queue, self.below(17) as i32 - 8);
                vec![self.capsule_at(sender, qpn, psn)]
            }
            MiddleWithoutFirst => {
                let opcode = self.one_of(&[Opcode::SendMiddle, Opcode::WriteMiddle]);
                vec![self.packet(sender, opcode, qpn, expected, mtu)]
            }
            LastWithoutFirst => {
                let opcodes = [Opcode::SendLast, Opcode::WriteLast, Opcode::SendLastImmediate];
                let opcode = self.one_of(&[opcodes[0], opcodes[1], opcodes[2], Opcode::SendLastInvalidate]);
                let length = 4 + 4 * self.below(mtu as u64 / 4) as usize;
                vec![self.packet(sender, opcode, qpn, expected, length)]
            }
            OnlyInsideMessage => vec![
                self.packet(sender, Opcode::SendFirst, qpn, expected, mtu),
                self.capsule_at(sender, qpn, expected.add(1)),
            ],
            FirstTwice => {
                let second = self.one_of(&[Opcode::SendFirst, Opcode::WriteFirst]);
                vec![
                    self.packet(sender, Opcode::SendFirst, qpn, expected, mtu),
                    self.packet(sender, second, qpn, expected.add(1), mtu),
                ]
            }
            PartialFirst => match self.below(2) {
                0 => {
                    let length = 4 * self.below(mtu as u64 / 4) as usize;
                    vec![self.packet(sender, Opcode::SendFirst, qpn, expected, length)]
                }
                _ => vec![
                    self.packet(sender, Opcode::SendFirst, qpn, expected, mtu),
                    self.packet(sender, Opcode::SendLast, qpn, expected.add(1), 0),
                ],
            },
            OversizedSend => (0..MANY)
                .map(|packet| {
                    let opcode = if packet == 0 { Opcode::SendFirst } else { Opcode::SendMiddle };
                    self.packet(sender, opcode, qpn, expected.add(packet as u32), mtu)
                })
                .collect(),
            OverlongPacket => {
                let length = mtu + 4 + 4 * self.below(64) as usize;
                let opcode = self.one_of(&[Opcode::SendOnly, Opcode::SendFirst, Opcode::ReadResponseOnly]);
                vec![self.packet(sender, opcode, qpn, expected, length)]
            }
            ShortCapsule => {
                let length = self.below(64) as usize;
                vec![self.packet(sender, Opcode::SendOnly, qpn, expected, length)]
            }
            BadPad => {
                // The pad is beyond the payload, or the payload is none of four bytes' multiples.
                let mut transport = Transport::new(Opcode::SendOnly, qpn, expected);
                let length = self.one_of(&[0, 1, 2, 61, 66, 67]);
                let payload = self.bytes(length);
                let mut frame = self.roce(sender, &transport, &payload);
                transport.pad = 1 + self.below(3) as u8;
                let flags = sender.l4() + 8 + 1;
                frame[flags] |= transport.pad << Bth::PAD_SHIFT;
                self.seal(&mut frame, sender.l3());
                vec![frame]
            }
            UnknownQpn => {
                let qpn = self.one_of(&[0, 2, 3, 0xff_ffff, 0xff_fffe]);
                let psn = Psn::new(self.next() as u32);
                vec![self.capsule_at(sender, Qpn::new(qpn), psn)]
            }
            OtherQpn => {
                let other = qpn.value().wrapping_add(self.one_of(&[1, 2, 3, 0xff_ffff, 0xff_fffe, 0xff_fffd]));
                let psn = near(queue, self.below(5) as i32 - 2);
                vec![self.capsule_at(sender, Qpn::new(other), psn)]
            }
            WildWrite | WildRead | WildAtomic => vec![self.wild(kind, sender, queue)],
            GhostAck => {
                let ahead = self.one_of(&[64, 1 << 12, 1 << 22]);
                let psn = queue.receive_psn.add(ahead + self.below(64) as u32);
                let syndrome = Syndrome::Ack { credits: self.below(32) as u8 };
                vec![self.answer(sender, queue, psn, syndrome)]
            }
            WildNak => {
                let code = self.one_of(&[
                    Syndrome::Nak(NakCode::PsnSequenceError),
                    Syndrome::Nak(NakCode::InvalidRequest),
                    Syndrome::Nak(NakCode::RemoteAccessError),
                    Syndrome::Nak(NakCode::RemoteOperationalError),
                    Syndrome::Nak(NakCode::InvalidRdRequest),
                    Syndrome::Reserved(0x7f),
                    Syndrome::Reserved(0xe0),
                ]);
                let psn = queue.receive_psn.add(self.below(8) as u32).sub(4);
                vec![self.answer(sender, queue, psn, code)]
            }
            RnrNak => (0..32)
                .map(|timer| {
                    let psn = queue.receive_psn.add(self.below(4) as u32).sub(2);
                    self.answer(sender, queue, psn, Syndrome::Rnr { timer })
                })
                .collect(),
            GhostReadResponse => {
                let opcode = self.one_of(&[
                    Opcode::ReadResponseFirst,
                    Opcode::ReadResponseMiddle,
                    Opcode::ReadResponseLast,
                    Opcode::ReadResponseOnly,
                ]);
                let off = self.one_of(&[0, 1, 8, 1000, 1 << 22]);
                let psn = queue.receive_psn.add(self.below(8) as u32).sub(off);
                vec![self.packet(sender, opcode, qpn, psn, mtu)]
            }
            Cnp => (0..8).map(|_| self.packet(sender, Opcode::Cnp, qpn, Psn::new(0), 0)).collect(),
            ReservedOpcode => {
                let mut frame = self.capsule_at(sender, qpn, expected);
                frame[sender.l4() + 8] = self.one_of(&[0x15, 0x18, 0x1f, 0x24, 0x44, 0x6a, 0x84, 0xa0, 0xc0, 0xff]);
                self.seal(&mut frame, sender.l3());
                vec![frame]
            }
            WrongPkey => {
                let pkey = self.one_of(&[0, 1, 0x8000, 0x8001, 0x7ffe, 0xfffe]);
                let transport = Transport { pkey, ..Transport::new(Opcode::SendOnly, qpn, expected) };
                let capsule = self.capsule();
                vec![self.roce(sender, &transport, &capsule)]
            }
            WrongVersion => {
                let mut frame = self.capsule_at(sender, qpn, expected);
                frame[sender.l4() + 9] |= 1 + self.below(15) as u8;
                self.seal(&mut frame, sender.l3());
                vec![frame]
            }
            _ => unreachable!("{kind:?} is no packet of a connection"),
        }
    }

    /// A capsule that asks for a read into memory that is not there: what a target does with it when it takes it is no
    /// harm to anybody's data.
    fn capsule(&mut self) -> Vec<u8> {
        let mut sqe = Sqe::new(nvm::READ, Cid(self.next() as u16), Nsid(1));
        sqe.set_slba(self.below(64));
        sqe.set_blocks(8);
        let (address, key) = (self.next(), self.next() as u32);
        sqe.set_sgl(Sgl::Keyed { address, length: 4096, key, invalidate: self.below(2) == 0 });
        sqe.as_bytes().to_vec()
    }

    pub(super) fn capsule_at(&mut self, sender: &Sender, qpn: Qpn, psn: Psn) -> Vec<u8> {
        let transport = Transport { ack_request: true, ..Transport::new(Opcode::SendOnly, qpn, psn) };
        let capsule = self.capsule();
        self.roce(sender, &transport, &capsule)
    }

    /// A packet of random bytes, with every extension that its opcode has.
    fn packet(&mut self, sender: &Sender, opcode: Opcode, qpn: Qpn, psn: Psn, length: usize) -> Vec<u8> {
        let mut transport = Transport::new(opcode, qpn, psn);
        transport.ack_request = self.below(2) == 0;
        transport.pad = (length.wrapping_neg() & 3) as u8;
        if opcode.has_reth() {
            transport.reth = Some(self.reth(length as u32 * 2));
        }
        if opcode.has_aeth() {
            transport.aeth =
                Some(Aeth { syndrome: Syndrome::Ack { credits: 31 }, msn: self.next() as u32 & 0xff_ffff });
        }
        if opcode.has_immediate() {
            transport.immediate = Some(self.next() as u32);
        }
        if opcode.has_invalidate() {
            transport.invalidate = Some(Rkey(self.next() as u32));
        }
        let payload = self.bytes(length);
        self.roce(sender, &transport, &payload)
    }

    fn reth(&mut self, dma_length: u32) -> Reth {
        let virtual_address = if self.below(2) == 0 { self.below(1 << 40) } else { self.next() };
        Reth { virtual_address, rkey: Rkey(self.next() as u32), dma_length }
    }

    /// A request for the target's memory. Its QPs grant none.
    fn wild(&mut self, kind: RogueKind, sender: &Sender, queue: &ExposedQueue) -> Vec<u8> {
        let (opcode, length) = match kind {
            RogueKind::WildWrite => {
                let opcode = self.one_of(&[Opcode::WriteOnly, Opcode::WriteFirst, Opcode::WriteOnlyImmediate]);
                (opcode, if opcode == Opcode::WriteFirst { usize::from(sender.path_mtu) } else { 64 })
            }
            RogueKind::WildRead => (Opcode::ReadRequest, 0),
            _ => (self.one_of(&[Opcode::CompareSwap, Opcode::FetchAdd]), 0),
        };
        // The expected PSN, or one that was used.
        let psn = queue.send_psn.sub(self.one_of(&[0, 0, 1, 100]));
        let mut transport = Transport::new(opcode, queue.remote_qpn, psn);
        transport.ack_request = true;
        if opcode.has_reth() {
            let dma_length = self.one_of(&[length as u32, 64, 4096, 1 << 31, u32::MAX]);
            let mut reth = self.reth(dma_length);
            if let Some(rkey) = queue.rkey.filter(|_| self.below(2) == 0) {
                reth.rkey = rkey;
            }
            transport.reth = Some(reth);
        }
        if opcode.has_immediate() {
            transport.immediate = Some(self.next() as u32);
        }
        let payload = self.bytes(length);
        let mut frame = self.roce(sender, &transport, &payload);
        if opcode.is_atomic() {
            // The extension is zeroes as emitted.
            let extension = self.bytes(28);
            let at = sender.l4() + 8 + 12;
            frame[at..at + 28].copy_from_slice(&extension);
            self.seal(&mut frame, sender.l3());
        }
        frame
    }

    fn answer(&mut self, sender: &Sender, queue: &ExposedQueue, psn: Psn, syndrome: Syndrome) -> Vec<u8> {
        let mut transport = Transport::new(Opcode::Acknowledge, queue.remote_qpn, psn);
        transport.aeth = Some(Aeth { syndrome, msn: self.next() as u32 & 0xff_ffff });
        self.roce(sender, &transport, &[])
    }
}
