//! Controller registers: where they lie in the BAR and what their bits mean. Over fabrics the same ones
//! are read and written as properties. NVMe Base 2.0 §3.1.3; doorbells: PCIe Transport 1.0 §3.1.2.

/// Controller Capabilities, 64 bits.
pub const CAP: usize = 0x00;
/// Version, 32 bits.
pub const VS: usize = 0x08;
/// Interrupt Mask Set, 32 bits.
pub const INTMS: usize = 0x0c;
/// Interrupt Mask Clear, 32 bits.
pub const INTMC: usize = 0x10;
/// Controller Configuration, 32 bits.
pub const CC: usize = 0x14;
/// Controller Status, 32 bits.
pub const CSTS: usize = 0x1c;
/// NVM Subsystem Reset, 32 bits.
pub const NSSR: usize = 0x20;
/// Admin Queue Attributes, 32 bits.
pub const AQA: usize = 0x24;
/// Admin Submission Queue base address, 64 bits.
pub const ASQ: usize = 0x28;
/// Admin Completion Queue base address, 64 bits.
pub const ACQ: usize = 0x30;
/// Controller Memory Buffer Location, 32 bits.
pub const CMBLOC: usize = 0x38;
/// Controller Memory Buffer Size, 32 bits.
pub const CMBSZ: usize = 0x3c;
/// Controller Ready Timeouts, 32 bits; there when CAP.CRMS is not 0.
pub const CRTO: usize = 0x68;
/// First doorbell.
pub const DOORBELLS: usize = 0x1000;

/// Offset of a submission queue's tail doorbell.
#[must_use]
pub const fn sq_doorbell(qid: u16, dstrd: u8) -> usize {
    DOORBELLS + 2 * (qid as usize) * (4usize << dstrd)
}

/// Offset of a completion queue's head doorbell.
#[must_use]
pub const fn cq_doorbell(qid: u16, dstrd: u8) -> usize {
    DOORBELLS + (2 * (qid as usize) + 1) * (4usize << dstrd)
}

/// A register as a newtype: each field a reader and a `with_` writer, `high:low` as the figures have them.
macro_rules! register {
    ($(#[$doc:meta])* $name:ident($word:ty) { $($(#[$field_doc:meta])* $field:ident, $with:ident: $high:literal : $low:literal as $ty:ty;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct $name(pub $word);

        impl $name {
            $(
                $(#[$field_doc])*
                #[must_use]
                pub const fn $field(self) -> $ty {
                    (self.0 >> $low & mask(1 + $high - $low) as $word) as $ty
                }

                #[doc = concat!("Writes [`", stringify!($name), "::", stringify!($field), "`]; bits that do not fit are cut.")]
                #[must_use]
                pub const fn $with(self, value: $ty) -> $name {
                    let mask = mask(1 + $high - $low) as $word;
                    $name(self.0 & !(mask << $low) | (value as $word & mask) << $low)
                }
            )*

            #[cfg(test)]
            const FIELDS: &'static [(&'static str, u32, u32, fn($name) -> u64, fn($name, u64) -> $name)] = &[
                $((stringify!($field), $high, $low, |r| u64::from(r.$field()), |r, v| r.$with(v as $ty)),)*
            ];
        }
    };
}

const fn mask(bits: u32) -> u64 {
    if bits == 64 { u64::MAX } else { (1 << bits) - 1 }
}

register! {
    /// Controller Capabilities (§3.1.3.1).
    Cap(u64) {
        /// Maximum Queue Entries Supported, 0's based.
        mqes, with_mqes: 15:0 as u16;
        /// Contiguous Queues Required.
        cqr, with_cqr: 16:16 as u8;
        /// Arbitration Mechanism Supported.
        ams, with_ams: 18:17 as u8;
        /// Timeout for CSTS.RDY to follow CC.EN, in units of 500 ms.
        to, with_to: 31:24 as u8;
        /// Doorbell Stride: a doorbell is 4 << DSTRD bytes.
        dstrd, with_dstrd: 35:32 as u8;
        /// NVM Subsystem Reset Supported.
        nssrs, with_nssrs: 36:36 as u8;
        /// Command Sets Supported: bit 0 NVM, bit 6 one or more I/O command sets, bit 7 none but admin.
        css, with_css: 44:37 as u8;
        /// Boot Partition Support.
        bps, with_bps: 45:45 as u8;
        /// Memory Page Size Minimum: 4096 << MPSMIN.
        mpsmin, with_mpsmin: 51:48 as u8;
        /// Memory Page Size Maximum: 4096 << MPSMAX.
        mpsmax, with_mpsmax: 55:52 as u8;
        /// Persistent Memory Region Supported.
        pmrs, with_pmrs: 56:56 as u8;
        /// Controller Memory Buffer Supported.
        cmbs, with_cmbs: 57:57 as u8;
        /// Controller Ready Modes Supported: bit 0 with media, bit 1 independent of media.
        crms, with_crms: 60:59 as u8;
    }
}

register! {
    /// Version (§3.1.3.2).
    Vs(u32) {
        /// Major.
        mjr, with_mjr: 31:16 as u16;
        /// Minor.
        mnr, with_mnr: 15:8 as u8;
        /// Tertiary.
        ter, with_ter: 7:0 as u8;
    }
}

register! {
    /// Controller Configuration (§3.1.3.5).
    Cc(u32) {
        /// Enable.
        en, with_en: 0:0 as u8;
        /// I/O Command Set Selected: 0 NVM, 6 all supported, 7 admin only.
        css, with_css: 6:4 as u8;
        /// Memory Page Size: 4096 << MPS.
        mps, with_mps: 10:7 as u8;
        /// Arbitration Mechanism Selected.
        ams, with_ams: 13:11 as u8;
        /// Shutdown Notification: 0 none, 1 normal, 2 abrupt.
        shn, with_shn: 15:14 as u8;
        /// I/O Submission Queue Entry Size, a power of two: 6.
        iosqes, with_iosqes: 19:16 as u8;
        /// I/O Completion Queue Entry Size, a power of two: 4.
        iocqes, with_iocqes: 23:20 as u8;
        /// Controller Ready Independent of Media Enable.
        crime, with_crime: 24:24 as u8;
    }
}

register! {
    /// Controller Status (§3.1.3.6).
    Csts(u32) {
        /// Ready.
        rdy, with_rdy: 0:0 as u8;
        /// Controller Fatal Status.
        cfs, with_cfs: 1:1 as u8;
        /// Shutdown Status: 0 normal operation, 1 occurring, 2 complete.
        shst, with_shst: 3:2 as u8;
        /// NVM Subsystem Reset Occurred.
        nssro, with_nssro: 4:4 as u8;
        /// Processing Paused.
        pp, with_pp: 5:5 as u8;
        /// Shutdown Type: 1 after an NVM subsystem shutdown.
        st, with_st: 6:6 as u8;
    }
}

register! {
    /// Admin Queue Attributes (§3.1.3.8).
    Aqa(u32) {
        /// Admin Submission Queue Size, 0's based.
        asqs, with_asqs: 11:0 as u16;
        /// Admin Completion Queue Size, 0's based.
        acqs, with_acqs: 27:16 as u16;
    }
}

register! {
    /// Controller Ready Timeouts (§3.1.3.21), in units of 500 ms.
    Crto(u32) {
        /// Until the controller is ready and its media too.
        crwmt, with_crwmt: 15:0 as u16;
        /// Until the controller is ready.
        crimt, with_crimt: 31:16 as u16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! round_trip {
        ($name:ident, $word:ty) => {
            for &(field, high, low, read, with) in $name::FIELDS {
                let all = mask(1 + high - low);
                let set = with($name(0), u64::MAX);
                assert_eq!(set.0, (all << low) as $word, "{field} writes its bits and no others");
                assert_eq!(read(set), all, "{field} reads what was written");
                assert_eq!(read($name(!set.0)), 0, "{field} reads no other bits");
                assert_eq!(with($name(<$word>::MAX), 0).0, !set.0, "{field} clears its bits and no others");
                for &(other, other_high, other_low, ..) in $name::FIELDS {
                    assert!(other == field || other_low > high || other_high < low, "{field} overlaps {other}");
                }
            }
        };
    }

    #[test]
    fn every_field_round_trips_and_overlaps_none() {
        round_trip!(Cap, u64);
        round_trip!(Vs, u32);
        round_trip!(Cc, u32);
        round_trip!(Csts, u32);
        round_trip!(Aqa, u32);
        round_trip!(Crto, u32);
    }

    /// The CC values that a Linux host writes: prepare, enable, shut down.
    #[test]
    fn cc_as_linux_writes_it() {
        let cc = Cc::default().with_iosqes(6).with_iocqes(4);
        assert_eq!(cc.0, 0x0046_0000);
        assert_eq!(cc.with_en(1).with_css(6).0, 0x0046_0061);
        assert_eq!(cc.with_en(1).with_css(6).with_shn(1).0, 0x0046_4061);
        assert_eq!(Csts::default().with_shst(2).0, 0x8);
    }

    #[test]
    fn versions_and_doorbells() {
        assert_eq!(Vs::default().with_mjr(2).0, 0x0002_0000);
        assert_eq!((sq_doorbell(0, 0), cq_doorbell(0, 0), sq_doorbell(3, 0)), (0x1000, 0x1004, 0x1018));
        assert_eq!((sq_doorbell(1, 2), cq_doorbell(1, 2)), (0x1020, 0x1030));
    }
}
