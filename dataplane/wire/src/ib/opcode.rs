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

    /// One of reliable connection's.
    pub const fn is_rc(self) -> bool {
        (self as u8) < 0x20
    }

    /// One of unreliable datagram's.
    pub const fn is_ud(self) -> bool {
        matches!(self, Opcode::UdSendOnly | Opcode::UdSendOnlyImmediate)
    }

    /// A reliable connection's request: for the responder.
    pub const fn is_request(self) -> bool {
        self.is_send() || self.is_write() || self.is_atomic() || matches!(self, Opcode::ReadRequest)
    }

    /// A reliable connection's response or acknowledgement: for the requester.
    pub const fn is_response(self) -> bool {
        self.is_read_response() || matches!(self, Opcode::Acknowledge | Opcode::AtomicAcknowledge)
    }

    /// A reliable connection's SEND.
    pub const fn is_send(self) -> bool {
        matches!(self as u8, 0x00..=0x05 | 0x16 | 0x17)
    }

    /// An RDMA WRITE.
    pub const fn is_write(self) -> bool {
        matches!(self as u8, 0x06..=0x0b)
    }

    /// An RDMA READ response.
    pub const fn is_read_response(self) -> bool {
        matches!(self as u8, 0x0d..=0x10)
    }

    /// An ATOMIC request.
    pub const fn is_atomic(self) -> bool {
        matches!(self, Opcode::CompareSwap | Opcode::FetchAdd)
    }

    /// The first of several packets of a message.
    pub const fn is_first(self) -> bool {
        matches!(self, Opcode::SendFirst | Opcode::WriteFirst | Opcode::ReadResponseFirst)
    }

    /// Neither the first nor the last of a message's packets.
    pub const fn is_middle(self) -> bool {
        matches!(self, Opcode::SendMiddle | Opcode::WriteMiddle | Opcode::ReadResponseMiddle)
    }

    /// The last of several packets of a message.
    pub const fn is_last(self) -> bool {
        matches!(self as u8, 0x02 | 0x03 | 0x08 | 0x09 | 0x0f | 0x16)
    }

    /// A message of one packet: neither first, middle nor last.
    pub const fn is_only(self) -> bool {
        !self.is_first() && !self.is_middle() && !self.is_last()
    }

    /// Begins a message: first or only.
    pub const fn begins(self) -> bool {
        self.is_first() || self.is_only()
    }

    /// Ends a message: last or only.
    pub const fn ends(self) -> bool {
        self.is_last() || self.is_only()
    }

    /// Carries a RETH.
    pub const fn has_reth(self) -> bool {
        matches!(self as u8, 0x06 | 0x0a..=0x0c)
    }

    /// Carries an AETH.
    pub const fn has_aeth(self) -> bool {
        matches!(self as u8, 0x0d | 0x0f..=0x12)
    }

    /// Carries a DETH.
    pub const fn has_deth(self) -> bool {
        self.is_ud()
    }

    /// Carries immediate data.
    pub const fn has_immediate(self) -> bool {
        matches!(self as u8, 0x03 | 0x05 | 0x09 | 0x0b | 0x65)
    }

    /// Carries an IETH.
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
