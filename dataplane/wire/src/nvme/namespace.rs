//! Identify data of namespaces: the namespace itself, its identification descriptors, the list of active NSIDs.
//! NVM Command Set 1.0 §4.1.5.1 (figure 97); NVMe Base 2.0 §5.17 (figures 276 and 277).

use super::Nsid;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An LBA format (figure 98).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct LbaFormat {
    /// Metadata bytes of a block.
    pub ms: U16,
    /// Data bytes of a block as a power of two; below 9 the format is not available.
    pub lbads: u8,
    /// Relative performance, 0 best.
    pub rp: u8,
}

/// Identify Namespace of the NVM command set (CNS 00), 4096 bytes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct IdentifyNamespace {
    /// Namespace size, blocks; 0 when the NSID is inactive.
    pub nsze: U64,
    /// Namespace capacity, blocks.
    pub ncap: U64,
    /// Namespace utilization, blocks.
    pub nuse: U64,
    /// Features: bit 0 thin, bit 1 NAWUN, bit 3 NGUID and EUI never reused, bit 4 NPWG and the like valid.
    pub nsfeat: u8,
    /// Number of LBA formats, 0's based.
    pub nlbaf: u8,
    /// Formatted LBA size: index in 3:0 (and 6:5 above), bit 4 metadata at the end of data.
    pub flbas: u8,
    /// Metadata capabilities.
    pub mc: u8,
    /// Protection capabilities.
    pub dpc: u8,
    /// Protection settings.
    pub dps: u8,
    /// Sharing: bit 0 several controllers.
    pub nmic: u8,
    /// Reservation capabilities.
    pub rescap: u8,
    /// Format progress.
    pub fpi: u8,
    /// Deallocated blocks: 2:0 what they read as (1 zeroes), bit 3 write zeroes may deallocate.
    pub dlfeat: u8,
    /// Atomic write unit normal, 0's based blocks.
    pub nawun: U16,
    /// Atomic write unit power fail, 0's based blocks.
    pub nawupf: U16,
    /// Atomic compare and write unit, 0's based blocks.
    pub nacwu: U16,
    /// Atomic boundary size normal.
    pub nabsn: U16,
    /// Atomic boundary offset.
    pub nabo: U16,
    /// Atomic boundary size power fail.
    pub nabspf: U16,
    /// Optimal I/O boundary, blocks.
    pub noiob: U16,
    /// NVM capacity, bytes.
    pub nvmcap: [u8; 16],
    /// Preferred write granularity, 0's based blocks.
    pub npwg: U16,
    /// Preferred write alignment.
    pub npwa: U16,
    /// Preferred deallocate granularity.
    pub npdg: U16,
    /// Preferred deallocate alignment.
    pub npda: U16,
    /// Optimal write size.
    pub nows: U16,
    /// Maximum single source range length of Copy.
    pub mssrl: U16,
    /// Maximum copy length.
    pub mcl: U32,
    /// Maximum source ranges, 0's based.
    pub msrc: u8,
    /// Reserved.
    pub reserved81: [u8; 11],
    /// ANA group.
    pub anagrpid: U32,
    /// Reserved.
    pub reserved96: [u8; 3],
    /// Attributes: bit 0 write protected.
    pub nsattr: u8,
    /// NVM set.
    pub nvmsetid: U16,
    /// Endurance group.
    pub endgid: U16,
    /// Globally unique identifier, big-endian; 0 none.
    pub nguid: [u8; 16],
    /// IEEE extended unique identifier, big-endian; 0 none.
    pub eui64: [u8; 8],
    /// LBA formats.
    pub lbaf: [LbaFormat; 64],
    /// The vendor's.
    pub vs: [u8; 3712],
}

impl IdentifyNamespace {
    /// All zero, to be filled in; as it stands it says that the NSID is inactive.
    #[must_use]
    pub fn zeroed() -> IdentifyNamespace {
        FromZeros::new_zeroed()
    }

    /// A view of the first 4096 bytes; `None` when there are fewer.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<&IdentifyNamespace> {
        IdentifyNamespace::ref_from_prefix(bytes).ok().map(|(view, _)| view)
    }

    /// The format in use.
    #[must_use]
    pub fn format(&self) -> LbaFormat {
        self.lbaf[usize::from(self.flbas & 0xf | self.flbas >> 1 & 0x30)]
    }

    /// Block size as a power of two; `None` when the drive speaks of one that cannot be (NVM: 9 and up).
    #[must_use]
    pub fn block_shift(&self) -> Option<u8> {
        let shift = self.format().lbads;
        (9..=31).contains(&shift).then_some(shift)
    }
}

/// List of active NSIDs (CNS 02): ascending, ended by 0 or by the end of the page.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct NsidList {
    /// The entries.
    pub nsid: [U32; 1024],
}

impl NsidList {
    /// Those of `active` (any order is the caller's fault: they shall ascend) above `after`.
    #[must_use]
    pub fn of(active: impl IntoIterator<Item = Nsid>, after: Nsid) -> NsidList {
        let mut list: NsidList = FromZeros::new_zeroed();
        for (entry, nsid) in list.nsid.iter_mut().zip(active.into_iter().filter(|&nsid| nsid > after)) {
            *entry = nsid.0.into();
        }
        list
    }

    /// A view of the first 4096 bytes; `None` when there are fewer.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<&NsidList> {
        NsidList::ref_from_prefix(bytes).ok().map(|(view, _)| view)
    }

    /// The entries before the first 0.
    pub fn iter(&self) -> impl Iterator<Item = Nsid> + '_ {
        self.nsid.iter().map(|nsid| Nsid(nsid.get())).take_while(|nsid| nsid.0 != 0)
    }
}

/// A namespace identification descriptor (CNS 03, figure 277).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NamespaceId<'a> {
    /// NIDT 1: EUI64, big-endian.
    Eui64([u8; 8]),
    /// NIDT 2: NGUID, big-endian.
    Nguid([u8; 16]),
    /// NIDT 3: UUID in RFC 4122's byte order.
    Uuid([u8; 16]),
    /// NIDT 4: I/O command set, 0 NVM.
    Csi(u8),
    /// A type not known here, or a known one of the wrong length.
    Other(u8, &'a [u8]),
}

impl<'a> NamespaceId<'a> {
    /// The descriptors of a CNS 03 page, up to the first of length 0 or the end.
    pub fn parse_list(mut page: &'a [u8]) -> impl Iterator<Item = NamespaceId<'a>> {
        core::iter::from_fn(move || {
            let (&[nidt, nidl, _, _], rest) = page.split_first_chunk::<4>()?;
            if nidl == 0 || rest.len() < usize::from(nidl) {
                return None;
            }
            let (nid, rest) = rest.split_at(usize::from(nidl));
            page = rest;
            Some(Self::of(nidt, nid))
        })
    }

    fn of(nidt: u8, nid: &'a [u8]) -> NamespaceId<'a> {
        match (nidt, nid.len()) {
            (1, 8) => NamespaceId::Eui64(nid.try_into().expect("length matched")),
            (2, 16) => NamespaceId::Nguid(nid.try_into().expect("length matched")),
            (3, 16) => NamespaceId::Uuid(nid.try_into().expect("length matched")),
            (4, 1) => NamespaceId::Csi(nid[0]),
            _ => NamespaceId::Other(nidt, nid),
        }
    }

    /// Writes `ids` at the start of `page` and zeroes after them; answers the bytes used.
    ///
    /// # Panics
    /// When they do not fit.
    pub fn emit_list(ids: &[NamespaceId<'_>], page: &mut [u8]) -> usize {
        page.fill(0);
        let mut at = 0;
        for id in ids {
            let (nidt, nid): (u8, &[u8]) = match id {
                NamespaceId::Eui64(id) => (1, id),
                NamespaceId::Nguid(id) => (2, id),
                NamespaceId::Uuid(id) => (3, id),
                NamespaceId::Csi(csi) => (4, core::slice::from_ref(csi)),
                NamespaceId::Other(nidt, id) => (*nidt, id),
            };
            page[at] = nidt;
            page[at + 1] = u8::try_from(nid.len()).expect("an identifier fits its length byte");
            page[at + 4..at + 4 + nid.len()].copy_from_slice(nid);
            at += 4 + nid.len();
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::super::identify::LEN;
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn namespace_offsets_are_the_figures() {
        type N = IdentifyNamespace;
        assert_eq!((size_of::<N>(), size_of::<NsidList>()), (LEN, LEN));
        assert_eq!((offset_of!(N, flbas), offset_of!(N, dlfeat), offset_of!(N, nvmcap)), (26, 33, 48));
        assert_eq!((offset_of!(N, npwg), offset_of!(N, mcl), offset_of!(N, anagrpid)), (64, 76, 92));
        assert_eq!((offset_of!(N, nguid), offset_of!(N, eui64), offset_of!(N, lbaf)), (104, 120, 128));
    }

    #[test]
    fn block_shift_follows_flbas_and_refuses_nonsense() {
        let mut namespace = IdentifyNamespace::zeroed();
        assert_eq!(namespace.block_shift(), None);
        namespace.lbaf[0x12].lbads = 12;
        namespace.flbas = 0x22;
        assert_eq!(namespace.block_shift(), Some(12));
        namespace.lbaf[0x12].lbads = 200;
        assert_eq!(namespace.block_shift(), None);
    }

    #[test]
    fn nsid_list_starts_after_and_ends_at_zero() {
        let list = NsidList::of([1, 2, 5, 9].map(Nsid), Nsid(2));
        assert_eq!(list.iter().count(), 2);
        assert!(list.iter().eq([5, 9].map(Nsid)));
        assert_eq!(NsidList::of((1..=3000).map(Nsid), Nsid(0)).iter().count(), 1024);
    }

    #[test]
    fn descriptors_round_trip_and_stop_at_damage() {
        let ids =
            [NamespaceId::Uuid([7; 16]), NamespaceId::Nguid([1; 16]), NamespaceId::Eui64([2; 8]), NamespaceId::Csi(0)];
        let mut page = [0xff; 128];
        let used = NamespaceId::emit_list(&ids, &mut page);
        assert_eq!(used, 20 + 20 + 12 + 5);
        assert!(NamespaceId::parse_list(&page).eq(ids));
        assert_eq!(NamespaceId::parse_list(&page[..used - 1]).count(), 3, "a cut descriptor is not read");
        assert!(NamespaceId::parse_list(&[1, 2, 0, 0, 9, 9]).eq([NamespaceId::Other(1, &[9, 9])]));
    }
}
