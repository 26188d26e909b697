//! The AETH's syndrome: ACK, RNR NAK or NAK (IBA 1.5 §9.7.5.1.1, tables 43 to 46).

/// What an acknowledgement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Syndrome {
    /// Everything up to the packet's PSN is received. `credits` is the encoded end-to-end credit count, 31: none.
    Ack {
        /// Encoded credit count, 5 bits.
        credits: u8,
    },
    /// Receiver not ready: repeat after the encoded delay, see [`rnr_timer_ns`].
    Rnr {
        /// Encoded delay, 5 bits.
        timer: u8,
    },
    /// The request at the packet's PSN is refused.
    Nak(NakCode),
    /// A value that the specification reserves.
    Reserved(u8),
}

/// Why a request is refused (table 45).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NakCode {
    /// A PSN is missing: repeat from it.
    PsnSequenceError = 0,
    /// The request is not one the responder takes.
    InvalidRequest = 1,
    /// The R_Key, address or length is not permitted.
    RemoteAccessError = 2,
    /// The responder failed.
    RemoteOperationalError = 3,
    /// Reliable datagram only.
    InvalidRdRequest = 4,
}

impl NakCode {
    const ALL: [NakCode; 5] = [
        NakCode::PsnSequenceError,
        NakCode::InvalidRequest,
        NakCode::RemoteAccessError,
        NakCode::RemoteOperationalError,
        NakCode::InvalidRdRequest,
    ];
}

impl Syndrome {
    /// An ACK without credits, as RoCE hosts send it: 0x1f.
    pub const ACK: Syndrome = Syndrome::Ack { credits: 31 };

    /// The syndrome of a byte.
    #[inline]
    pub fn of(value: u8) -> Syndrome {
        let low = value & 0x1f;
        match value >> 5 {
            0b000 => Syndrome::Ack { credits: low },
            0b001 => Syndrome::Rnr { timer: low },
            0b011 => match NakCode::ALL.get(usize::from(low)) {
                Some(&code) => Syndrome::Nak(code),
                None => Syndrome::Reserved(value),
            },
            _ => Syndrome::Reserved(value),
        }
    }

    /// The byte of a syndrome.
    #[inline]
    pub fn value(self) -> u8 {
        match self {
            Syndrome::Ack { credits } => credits & 0x1f,
            Syndrome::Rnr { timer } => 0x20 | timer & 0x1f,
            Syndrome::Nak(code) => 0x60 | code as u8,
            Syndrome::Reserved(value) => value,
        }
    }
}

/// The delay that an RNR NAK's timer code asks for, in nanoseconds (table 46).
pub fn rnr_timer_ns(timer: u8) -> u64 {
    // In units of 10 µs. Code 0 is the longest.
    const TEN_US: [u64; 32] = [
        65536, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072,
        4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152,
    ];
    TEN_US[usize::from(timer & 0x1f)] * 10_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_round_trips() {
        for value in 0..=255 {
            assert_eq!(Syndrome::of(value).value(), value);
        }
        assert_eq!(Syndrome::of(0x1f), Syndrome::ACK);
        assert_eq!(Syndrome::of(0x60), Syndrome::Nak(NakCode::PsnSequenceError));
        assert_eq!(Syndrome::of(0x2e), Syndrome::Rnr { timer: 14 });
    }

    #[test]
    fn timers_of_the_table() {
        assert_eq!(rnr_timer_ns(0), 655_360_000);
        assert_eq!(rnr_timer_ns(1), 10_000);
        assert_eq!(rnr_timer_ns(14), 1_280_000);
        assert_eq!(rnr_timer_ns(31), 491_520_000);
    }
}
