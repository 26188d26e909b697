//! Datagrams on QP1 (IBA 1.5 §9.8.3, §13.5): they carry connection management's MADs. No state but a PSN that
//! counts what was sent; nothing is acknowledged, AckReq is ignored.

use gantry_wire::ib::{Deth, Opcode, PKEY_DEFAULT, Psn, QKEY_QP1, Qpn, Transport};

/// Length of a management datagram, in bytes.
pub const MAD_LEN: u32 = 256;

/// Why a datagram is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdDrop {
    /// Not an unreliable datagram to QP1.
    Opcode,
    /// The P_Key is not the default partition's.
    Pkey,
    /// The Q_Key is not QP1's.
    Qkey,
    /// The payload is no MAD.
    Length,
}

/// Checks a datagram for QP1; answers the QP that it comes from.
pub fn accept(t: &Transport, payload_len: u32) -> Result<Qpn, UdDrop> {
    let deth = t.deth.filter(|_| t.opcode.is_ud() && t.dest_qpn == Qpn::GSI).ok_or(UdDrop::Opcode)?;
    // The default partition, as full or limited member.
    if t.pkey & 0x7fff != PKEY_DEFAULT & 0x7fff {
        return Err(UdDrop::Pkey);
    }
    if deth.qkey != QKEY_QP1 {
        return Err(UdDrop::Qkey);
    }
    if payload_len != MAD_LEN || t.pad != 0 {
        return Err(UdDrop::Length);
    }
    Ok(deth.source_qpn)
}

/// Our side of QP1.
#[derive(Clone, Copy, Debug)]
pub struct Gsi {
    psn: Psn,
}

impl Gsi {
    /// QP1 that sends `first_psn` first.
    pub fn new(first_psn: Psn) -> Gsi {
        Gsi { psn: first_psn }
    }

    /// The headers of the next MAD to the peer's QP1.
    pub fn datagram(&mut self) -> Transport {
        let psn = self.psn;
        self.psn = psn.next();
        let deth = Deth { qkey: QKEY_QP1, source_qpn: Qpn::GSI };
        Transport { deth: Some(deth), ..Transport::new(Opcode::UdSendOnly, Qpn::GSI, psn) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_accepted_and_what_is_bent_is_not() {
        let mut gsi = Gsi::new(Psn::new(0xff_ffff));
        let first = gsi.datagram();
        assert_eq!(accept(&first, MAD_LEN), Ok(Qpn::GSI));
        assert_eq!(gsi.datagram().psn, Psn::new(0));

        let deth = first.deth.expect("a datagram has one");
        assert_eq!(accept(&Transport { pkey: 0x7fff, ..first }, MAD_LEN), Ok(Qpn::GSI));
        assert_eq!(accept(&Transport { pkey: 0x8001, ..first }, MAD_LEN), Err(UdDrop::Pkey));
        assert_eq!(accept(&Transport { deth: Some(Deth { qkey: 1, ..deth }), ..first }, MAD_LEN), Err(UdDrop::Qkey));
        assert_eq!(accept(&Transport { dest_qpn: Qpn::new(2), ..first }, MAD_LEN), Err(UdDrop::Opcode));
        assert_eq!(accept(&Transport { opcode: Opcode::SendOnly, ..first }, MAD_LEN), Err(UdDrop::Opcode));
        assert_eq!(accept(&first, 255), Err(UdDrop::Length));
    }
}
