//! BTH opcodes: every one of reliable connection, unreliable datagram's SENDs, and CNP
//! (IBA 1.5 table 38, annex A17.9.3).

/// What a packet is. The value is the BTH's OpCode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the specification's own names
pub enum Opcode {
    SendFirst = 0x00,
    SendMiddle = 0x01,
    SendLast = 0x02,
    SendLastImmediate = 0x03,
    SendOnly = 0x04,
    SendOnlyImmediate = 0x05,
    WriteFirst = 0x06,
    WriteMiddle = 0x07,
    WriteLast = 0x08,
    WriteLastImmediate = 0x09,
    WriteOnly = 0x0a,
    WriteOnlyImmediate = 0x0b,
    ReadRequest = 0x0c,
    ReadResponseFirst = 0x0d,
    ReadResponseMiddle = 0x0e,
    ReadResponseLast = 0x0f,
    ReadResponseOnly = 0x10,
    Acknowledge = 0x11,
    AtomicAcknowledge = 0x12,
    CompareSwap = 0x13,
    FetchAdd = 0x14,
    SendLastInvalidate = 0x16,
    SendOnlyInvalidate = 0x17,
    UdSendOnly = 0x64,
    UdSendOnlyImmediate = 0x65,
    Cnp = 0x81,
}

// Sets of the reliable connection's opcodes, a bit for each: a question is one test, for every packet asks several.
const SENDS: u32 = 0x3f | 1 << 0x16 | 1 << 0x17;
const WRITES: u32 = 0x3f << 0x06;
const READ_RESPONSES: u32 = 0xf << 0x0d;
const ATOMICS: u32 = 0x3 << 0x13;
const FIRSTS: u32 = 1 << 0x00 | 1 << 0x06 | 1 << 0x0d;
const MIDDLES: u32 = 1 << 0x01 | 1 << 0x07 | 1 << 0x0e;
const LASTS: u32 = 0x3 << 0x02 | 0x3 << 0x08 | 1 << 0x0f | 1 << 0x16;

impl Opcode {
    /// Every opcode, in the order of their values.
    pub const ALL: [Opcode; 26] = [
        Opcode::SendFirst,
        Opcode::SendMiddle,
        Opcode::SendLast,
        Opcode::SendLastImmediate,
        Opcode::SendOnly,
        Opcode::SendOnlyImmediate,
        Opcode::WriteFirst,
        Opcode::WriteMiddle,
        Opcode::WriteLast,
        Opcode::WriteLastImmediate,
        Opcode::WriteOnly,
        Opcode::WriteOnlyImmediate,
        Opcode::ReadRequest,
        Opcode::ReadResponseFirst,
        Opcode::ReadResponseMiddle,
        Opcode::ReadResponseLast,
        Opcode::ReadResponseOnly,
        Opcode::Acknowledge,
        Opcode::AtomicAcknowledge,
        Opcode::CompareSwap,
        Opcode::FetchAdd,
        Opcode::SendLastInvalidate,
        Opcode::SendOnlyInvalidate,
        Opcode::UdSendOnly,
        Opcode::UdSendOnlyImmediate,
        Opcode::Cnp,
    ];

    /// The opcode of a value, unless Gantry speaks no such thing.
    #[inline]
    pub const fn of(value: u8) -> Option<Opcode> {
        match value {
            0x00..=0x14 => Some(Opcode::ALL[value as usize]),
            0x16 => Some(Opcode::SendLastInvalidate),
            0x17 => Some(Opcode::SendOnlyInvalidate),
            0x64 => Some(Opcode::UdSendOnly),
            0x65 => Some(Opcode::UdSendOnlyImmediate),
            0x81 => Some(Opcode::Cnp),
            _ => None,
        }
    }

    /// Whether it is one of the reliable connection's opcodes in `set`, a bit for each.
    #[inline]
    const fn is_in(self, set: u32) -> bool {
        self.is_rc() && set >> (self as u8) & 1 != 0
    }

    /// One of reliable connection's.
    #[inline]
    pub const fn is_rc(self) -> bool {
        (self as u8) < 0x20
    }

    /// One of unreliable datagram's.
    #[inline]
    pub const fn is_ud(self) -> bool {
        matches!(self, Opcode::UdSendOnly | Opcode::UdSendOnlyImmediate)
    }

    /// A reliable connection's request: for the responder.
    #[inline]
    pub const fn is_request(self) -> bool {
        self.is_in(SENDS | WRITES | ATOMICS | 1 << 0x0c)
    }

    /// A reliable connection's response or acknowledgement: for the requester.
    #[inline]
    pub const fn is_response(self) -> bool {
        self.is_in(READ_RESPONSES | 1 << 0x11 | 1 << 0x12)
    }

    /// A reliable connection's SEND.
    #[inline]
    pub const fn is_send(self) -> bool {
        self.is_in(SENDS)
    }

    /// An RDMA WRITE.
    #[inline]
    pub const fn is_write(self) -> bool {
        self.is_in(WRITES)
    }

    /// An RDMA READ response.
    #[inline]
    pub const fn is_read_response(self) -> bool {
        self.is_in(READ_RESPONSES)
    }

    /// An ATOMIC request.
    #[inline]
    pub const fn is_atomic(self) -> bool {
        self.is_in(ATOMICS)
    }

    /// The first of several packets of a message.
    #[inline]
    pub const fn is_first(self) -> bool {
        self.is_in(FIRSTS)
    }

    /// Neither the first nor the last of a message's packets.
    #[inline]
    pub const fn is_middle(self) -> bool {
        self.is_in(MIDDLES)
    }

    /// The last of several packets of a message.
    #[inline]
    pub const fn is_last(self) -> bool {
        self.is_in(LASTS)
    }

    /// A message of one packet: neither first, middle nor last.
    #[inline]
    pub const fn is_only(self) -> bool {
        !self.is_in(FIRSTS | MIDDLES | LASTS)
    }

    /// Begins a message: first or only.
    #[inline]
    pub const fn begins(self) -> bool {
        !self.is_in(MIDDLES | LASTS)
    }

    /// Ends a message: last or only.
    #[inline]
    pub const fn ends(self) -> bool {
        !self.is_in(FIRSTS | MIDDLES)
    }

    /// Carries a RETH.
    #[inline]
    pub const fn has_reth(self) -> bool {
        matches!(self as u8, 0x06 | 0x0a..=0x0c)
    }

    /// Carries an AETH.
    #[inline]
    pub const fn has_aeth(self) -> bool {
        matches!(self as u8, 0x0d | 0x0f..=0x12)
    }

    /// Carries a DETH.
    #[inline]
    pub const fn has_deth(self) -> bool {
        self.is_ud()
    }

    /// Carries immediate data.
    #[inline]
    pub const fn has_immediate(self) -> bool {
        matches!(self as u8, 0x03 | 0x05 | 0x09 | 0x0b | 0x65)
    }

    /// Carries an IETH.
    #[inline]
    pub const fn has_invalidate(self) -> bool {
        matches!(self, Opcode::SendLastInvalidate | Opcode::SendOnlyInvalidate)
    }
}

#[cfg(test)]
mod tests {
    use super::Opcode;

    #[test]
    fn value_and_opcode_are_one() {
        let known = (0..=255).filter_map(Opcode::of);
        assert!(known.eq(Opcode::ALL));
        assert!(Opcode::ALL.iter().all(|&opcode| Opcode::of(opcode as u8) == Some(opcode)));
    }

    #[test]
    fn classes_do_not_overlap() {
        for opcode in Opcode::ALL {
            let places = [opcode.is_first(), opcode.is_middle(), opcode.is_last(), opcode.is_only()];
            assert_eq!(places.iter().filter(|&&is| is).count(), 1, "{opcode:?}");
            assert_eq!(opcode.is_rc(), opcode.is_request() != opcode.is_response(), "{opcode:?}");
        }
    }
}
