//! The last frames of a network, and a pcapng file of them that Wireshark opens (draft-ietf-opsawg-pcapng: section header
//! §4.1, interface description §4.2, enhanced packet §4.3).

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use pcap_file::pcapng::PcapNgBlock;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError};

use super::{Fate, StationId, Way};

/// if_tsresol: timestamps count units of 10^-9 seconds.
const NANOSECONDS: u8 = 9;
/// epb_flags, bits 0 and 1: received by the interface.
const INBOUND: u32 = 1;
/// epb_flags, bits 0 and 1: sent by the interface.
const OUTBOUND: u32 = 2;

/// One frame, seen at a station.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When.
    pub at_ns: u64,
    /// Where.
    pub station: StationId,
    /// [`Way::Up`]: as the station sent it, with what becomes of it before the switch. [`Way::Down`]: as it arrived, or
    /// would have, with all that befell it.
    pub way: Way,
    /// What befell it.
    pub fate: Fate,
    /// All of it but the FCS.
    pub bytes: Vec<u8>,
}

/// A ring of the last frames.
#[derive(Clone, Debug)]
pub struct Capture {
    records: VecDeque<Record>,
    frames_max: usize,
    bytes: usize,
    bytes_max: usize,
}

impl Capture {
    /// A ring of at most so many frames and so many bytes of frames.
    #[must_use]
    pub fn new(frames_max: usize, bytes_max: usize) -> Self {
        Self { records: VecDeque::new(), frames_max, bytes: 0, bytes_max }
    }

    /// What is held, oldest first.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.iter()
    }

    pub(super) fn record(&mut self, at_ns: u64, station: StationId, way: Way, fate: Fate, bytes: &[u8]) {
        let mut buffer = Vec::new();
        self.bytes += bytes.len();
        while self.records.len() >= self.frames_max.max(1) || self.bytes > self.bytes_max {
            let Some(oldest) = self.records.pop_front() else { break };
            self.bytes -= oldest.bytes.len();
            buffer = oldest.bytes;
        }
        if self.frames_max == 0 || self.bytes > self.bytes_max {
            self.bytes -= bytes.len();
            return;
        }
        buffer.clear();
        buffer.extend_from_slice(bytes);
        self.records.push_back(Record { at_ns, station, way, fate, bytes: buffer });
    }
}

/// Writes records as a pcapng file, with an interface for each name.
pub(super) fn write_pcapng<'a>(
    out: impl io::Write,
    names: impl Iterator<Item = &'a str>,
    records: impl Iterator<Item = &'a Record>,
) -> io::Result<()> {
    write(out, names, records).map_err(|error| match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    })
}

fn write<'a>(
    out: impl io::Write,
    names: impl Iterator<Item = &'a str>,
    records: impl Iterator<Item = &'a Record>,
) -> Result<(), PcapError> {
    // One byte order everywhere: the same run writes the same file.
    let application = SectionHeaderOption::UserApplication(Cow::Borrowed("gantry-sim"));
    let section =
        SectionHeaderBlock { endianness: Endianness::Little, options: vec![application], ..Default::default() };
    let mut writer = PcapNgWriter::with_section_header(out, section)?;
    for name in names {
        let mut interface = InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0);
        interface.options = vec![
            InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        writer.write_block(&interface.into_block())?;
    }
    for record in records {
        let direction = if record.way == Way::Up { OUTBOUND } else { INBOUND };
        let mut options = vec![EnhancedPacketOption::Flags(direction)];
        if record.fate != Fate::PLAIN {
            options.push(EnhancedPacketOption::Comment(Cow::Owned(record.fate.to_string())));
        }
        let packet = EnhancedPacketBlock {
            interface_id: record.station.0,
            timestamp: Duration::from_nanos(record.at_ns),
            original_len: record.bytes.len() as u32,
            data: Cow::Borrowed(&record.bytes),
            options,
        };
        writer.write_block(&packet.into_block())?;
    }
    Ok(())
}
