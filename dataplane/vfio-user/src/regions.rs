//! What a server says of a region: its size, and which of it can be mapped from which file. vfio-user protocol,
//! "VFIO_USER_DEVICE_GET_REGION_INFO"; capabilities as Linux's VFIO has them (struct vfio_info_cap_header).

use std::os::fd::OwnedFd;

use zerocopy::FromBytes;

use crate::message::{Area, Capability, RegionInfo, SparseMmap, region};
use crate::{Error, Message};

/// Capabilities that are looked at.
const CAPABILITIES_MAX: usize = 16;

/// A region of the device.
#[derive(Debug)]
pub(crate) struct RegionLayout {
    /// What the server said first.
    pub(crate) info: RegionInfo,
    /// What can be mapped, by offset in the region.
    pub(crate) areas: Vec<Area>,
    /// One for all areas, or one for each.
    fds: Vec<OwnedFd>,
}

impl RegionLayout {
    /// Reads a reply.
    pub(crate) fn parse(message: Message) -> Result<Self, Error> {
        let Message { body, fds, .. } = message;
        let (info, _) =
            RegionInfo::read_from_prefix(&body).map_err(|_| Error::Protocol("a region without a description"))?;
        let mut areas = Vec::new();
        if info.flags.get() & region::MMAP != 0 {
            areas = sparse(&info, &body)?.unwrap_or_else(|| vec![Area { offset: 0.into(), size: info.size }]);
        }
        Ok(Self { info, areas, fds })
    }

    /// The file of area `index`, and where in it the area begins.
    pub(crate) fn file(&self, index: usize) -> Option<(&OwnedFd, u64)> {
        let file = if self.fds.len() == 1 { self.fds.first() } else { self.fds.get(index) }?;
        Some((file, self.info.offset.get().checked_add(self.areas[index].offset.get())?))
    }
}

/// The areas of the sparse mmap capability; none when there is no such capability.
fn sparse(info: &RegionInfo, body: &[u8]) -> Result<Option<Vec<Area>>, Error> {
    let wrong = Error::Protocol("capabilities of a region that do not fit its description");
    let mut next = info.capabilities.get() as usize;
    if info.flags.get() & region::CAPS == 0 {
        next = 0;
    }
    for _ in 0..CAPABILITIES_MAX {
        if next == 0 {
            return Ok(None);
        }
        let bytes = body.get(next..).filter(|_| next >= size_of::<RegionInfo>()).ok_or(wrong)?;
        let (capability, rest) = Capability::read_from_prefix(bytes).map_err(|_| wrong)?;
        if capability.id.get() == Capability::SPARSE_MMAP {
            let (sparse, mut rest) = SparseMmap::read_from_prefix(rest).map_err(|_| wrong)?;
            let mut areas = Vec::new();
            // What it counts is read, not reserved for.
            for _ in 0..sparse.areas.get() {
                let (area, left) = Area::read_from_prefix(rest).map_err(|_| wrong)?;
                areas.push(area);
                rest = left;
            }
            return Ok(Some(areas));
        }
        next = capability.next.get() as usize;
    }
    Err(Error::Protocol("capabilities of a region without an end"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Header;
    use zerocopy::{FromZeros, IntoBytes};

    fn info(flags: u32, capabilities: u32) -> RegionInfo {
        let mut info = RegionInfo::new_zeroed();
        info.flags = flags.into();
        info.capabilities = capabilities.into();
        info.size = 0x4000.into();
        info.offset = 0x10000.into();
        info
    }

    fn layout(info: RegionInfo, rest: &[u8], fds: usize) -> Result<RegionLayout, Error> {
        let fd = || rustix::fs::memfd_create("t", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let body = [info.as_bytes(), rest].concat();
        RegionLayout::parse(Message { header: Header::default(), body, fds: (0..fds).map(|_| fd()).collect() })
    }

    fn capability(id: u16, next: u32, counted: u32, areas: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = Capability { id: id.into(), version: 1.into(), next: next.into() }.as_bytes().to_vec();
        bytes.extend_from_slice(SparseMmap { areas: counted.into(), reserved: 0.into() }.as_bytes());
        for &(offset, size) in areas {
            bytes.extend_from_slice(Area { offset: offset.into(), size: size.into() }.as_bytes());
        }
        bytes
    }

    const ALL: u32 = region::READ | region::WRITE | region::MMAP | region::CAPS;

    #[test]
    fn areas_have_the_region_s_file_or_each_its_own() {
        let two = capability(1, 0, 2, &[(0, 0x1000), (0x1000, 0x3000)]);
        let region = layout(info(ALL, 32), &two, 1).unwrap();
        assert_eq!(region.areas.len(), 2);
        let (one, at) = region.file(0).unwrap();
        let (other, next) = region.file(1).unwrap();
        assert!(std::ptr::eq(one, other));
        assert_eq!((at, next), (0x10000, 0x11000));
        let region = layout(info(ALL, 32), &two, 2).unwrap();
        assert!(!std::ptr::eq(region.file(0).unwrap().0, region.file(1).unwrap().0));
        assert!(layout(info(ALL, 32), &two, 0).unwrap().file(0).is_none());
        // Behind another capability, and without any.
        let behind = [capability(9, 48, 0, &[]), capability(1, 0, 1, &[(0x1000, 0x1000)])].concat();
        assert_eq!(layout(info(ALL, 32), &behind, 1).unwrap().areas[0].offset, 0x1000);
        let whole = layout(info(ALL & !region::CAPS, 32), &[], 1).unwrap();
        assert_eq!((whole.areas[0].offset.get(), whole.areas[0].size.get()), (0, 0x4000));
        assert!(layout(info(region::READ, 0), &[], 1).unwrap().areas.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let sparse = capability(1, 0, u32::MAX, &[(0, 0x1000)]);
        assert!(layout(info(ALL, 32), &sparse, 1).is_err(), "more areas than bytes");
        assert!(layout(info(ALL, 33), &sparse, 1).is_err(), "beside them");
        assert!(layout(info(ALL, 4), &sparse, 1).is_err(), "inside the description");
        assert!(layout(info(ALL, u32::MAX), &sparse, 1).is_err(), "outside the message");
        assert!(layout(info(ALL, 32), &capability(9, 32, 0, &[]), 1).is_err(), "a circle");
        let far = Message { header: Header::default(), body: vec![0; 31], fds: Vec::new() };
        assert!(RegionLayout::parse(far).is_err());
        let mut wraps = info(ALL & !region::CAPS, 0);
        wraps.offset = u64::MAX.into();
        let mut region = layout(wraps, &[], 1).unwrap();
        region.areas[0].offset = 1.into();
        assert!(region.file(0).is_none());
    }
}
