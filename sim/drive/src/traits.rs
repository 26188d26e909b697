//! What real drives differ in, as the model can be made: what a controller offers, how little of it, and what some makes get
//! wrong. Each is an option of a drive's URI. NVMe Base 2.0 §3.1.3, §5.17; NVM Command Set 1.0 §4.1.5.

use gantry_wire::nvme::identify::oncs;

/// What a drive is like. The default is the software drive as it is without options.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Traits {
    /// PCI vendor and device it says it is; 0 and 0 for none.
    pub make: (u16, u16),
    /// VS and VER: major in 31:16, minor in 15:8.
    pub version: u32,
    /// CAP.DSTRD: a doorbell is 4 << DSTRD bytes.
    pub dstrd: u8,
    /// CAP.MPSMIN and MPSMAX: memory pages are 4096 << MPSMIN bytes. MDTS and WZSL count in them.
    pub mpsmin: u8,
    /// SGLS.
    pub sgl: SglSupport,
    /// The command set of its namespaces (CSI): 0 NVM, 1 key value, 2 zoned.
    pub command_set: u8,
    /// Bytes of metadata of a block, in the format in use.
    pub metadata: u16,
    /// Type of protection information in use, 0 for none.
    pub protection: u8,
    /// ONCS. A command that it lacks is refused.
    pub oncs: u16,
    /// WZSL, memory pages as a power of two; 0 for no limit.
    pub wzsl: u8,
    /// DMRL: ranges of a Dataset Management; 0 for no limit below 256.
    pub dmrl: u8,
    /// DMRSL: blocks of a range; 0 for no limit.
    pub dmrsl: u32,
    /// DMSL: blocks of all ranges; 0 for no limit.
    pub dmsl: u64,
    /// From CC.EN to CSTS.RDY.
    pub ready_ns: u64,
    /// CAP.TO, in units of 500 ms.
    pub to: u8,
    /// CRTO.CRWMT, in units of 500 ms; 0 for a controller without ready modes.
    pub crto: u16,
    /// CNTRLTYPE: 1 I/O, 2 discovery, 3 administrative, 0 not told.
    pub cntrltype: u8,
    /// CNTLID.
    pub cntlid: u16,
    /// The subsystem has other controllers, which share its namespaces (CMIC, NMIC).
    pub shared: bool,
    /// ACL: Aborts outstanding at most, less one.
    pub acl: u8,
    /// AERL: Asynchronous Event Requests outstanding at most, less one.
    pub aerl: u8,
    /// AWUN and AWUPF: blocks of an atomic write, less one.
    pub atomic: u16,
    /// NOIOB: optimal I/O boundary in blocks; 0 for none.
    pub boundary: u16,
    /// NPWG: blocks of a write that suits it, less one; 0 says nothing.
    pub granularity: u16,
    /// NN, when it is not as many as there are.
    pub nn: Option<u32>,
    /// What it gets wrong.
    pub defects: Vec<Defect>,
}

/// How far SGLs are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SglSupport {
    /// Not at all: PRPs only.
    None,
    /// Addresses and lengths are multiples of 4.
    Dword,
    /// At any byte.
    Byte,
}

/// What a make gets wrong. Each is found in a drive that is sold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Defect {
    /// Says that it is disabled at once, and breaks when it is enabled within two seconds.
    EarlyDisabled,
    /// CAP.MQES is 0, though its queues are longer.
    UntoldEntries,
    /// Breaks when a queue holds two commands.
    OneCommand,
    /// Never answers an Identify of anything but a namespace or the controller.
    PlainIdentify,
    /// Never answers an Identify of identification descriptors.
    NoDescriptors,
    /// NGUID, EUI64 and UUID are the same in all drives of the make.
    BogusIds,
    /// ONCS names Write Zeroes, which fails.
    NoWriteZeroes,
    /// Write Zeroes fails for more than MDTS.
    ShortWriteZeroes,
}

impl Defect {
    /// All, by their name in a URI.
    pub const ALL: [(&'static str, Defect); 8] = [
        ("early-disabled", Defect::EarlyDisabled),
        ("untold-entries", Defect::UntoldEntries),
        ("one-command", Defect::OneCommand),
        ("plain-identify", Defect::PlainIdentify),
        ("no-descriptors", Defect::NoDescriptors),
        ("bogus-ids", Defect::BogusIds),
        ("no-write-zeroes", Defect::NoWriteZeroes),
        ("short-write-zeroes", Defect::ShortWriteZeroes),
    ];
}

impl Default for Traits {
    fn default() -> Self {
        Self {
            make: (0, 0),
            version: 0x0001_0400,
            dstrd: 0,
            mpsmin: 0,
            sgl: SglSupport::Byte,
            command_set: 0,
            metadata: 0,
            protection: 0,
            oncs: oncs::COMPARE | oncs::DSM | oncs::WRITE_ZEROES,
            wzsl: 0,
            dmrl: 0,
            dmrsl: 0,
            dmsl: 0,
            ready_ns: 0,
            to: 20,
            crto: 0,
            cntrltype: 1,
            cntlid: 1,
            shared: false,
            acl: 3,
            aerl: 7,
            atomic: 0,
            boundary: 0,
            granularity: 0,
            nn: None,
            defects: Vec::new(),
        }
    }
}

impl Traits {
    /// Whether it gets this wrong.
    #[must_use]
    pub fn has(&self, defect: Defect) -> bool {
        self.defects.contains(&defect)
    }

    /// Whether it knows I/O command sets (CAP.CSS bit 6).
    pub(crate) fn command_sets(&self) -> bool {
        self.command_set != 0
    }

    /// Bytes of a memory page as a power of two.
    pub(crate) fn page_shift(&self) -> u32 {
        12 + u32::from(self.mpsmin)
    }

    /// Takes an option of a URI; `None` when it is none of these, else what it should be, when it is not.
    pub(crate) fn take(&mut self, option: &str, value: &str) -> Option<Result<(), &'static str>> {
        fn number<T: TryFrom<u64>>(field: &mut T, value: &str, most: u64) -> Option<()> {
            let number = value.parse().ok().filter(|number| *number <= most)?;
            *field = T::try_from(number).ok()?;
            Some(())
        }
        let (taken, remedy) = match option {
            "pci" => (make(value).map(|make| self.make = make), "it is vendor:device, as in 144d:a822"),
            "version" => {
                let known = ["1.0", "1.1", "1.2", "1.3", "1.4", "2.0"].contains(&value);
                let version = value.split_once('.').filter(|_| known);
                let parts = version.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
                let set = parts.map(|(major, minor): (u32, u32)| self.version = major << 16 | minor << 8);
                (set, "it is 1.0 to 1.4, or 2.0")
            }
            "dstrd" => (number(&mut self.dstrd, value, 10), "it is 0 to 10"),
            "mpsmin" => (number(&mut self.mpsmin, value, 4), "it is 0 to 4"),
            "sgl" => {
                let support = match value {
                    // What the driver does, not the drive.
                    "off" => return Some(Ok(())),
                    "none" => Some(SglSupport::None),
                    "dword" => Some(SglSupport::Dword),
                    "byte" => Some(SglSupport::Byte),
                    _ => None,
                };
                (
                    support.map(|support| self.sgl = support),
                    "it is none, dword or byte, or off for a driver without SGLs",
                )
            }
            "set" => {
                let csi = ["nvm", "kv", "zoned"].iter().position(|set| *set == value);
                (csi.map(|csi| self.command_set = csi as u8), "it is nvm, kv or zoned")
            }
            "metadata" => (number(&mut self.metadata, value, 64), "it is 0 to 64"),
            "protection" => (number(&mut self.protection, value, 3), "it is 0 to 3"),
            "lacks" => {
                let bit = |name: &str| match name {
                    "compare" => Some(oncs::COMPARE),
                    "dsm" => Some(oncs::DSM),
                    "zeroes" => Some(oncs::WRITE_ZEROES),
                    _ => None,
                };
                let bits = value.split('+').try_fold(0, |bits, name| Some(bits | bit(name)?));
                (bits.map(|bits| self.oncs &= !bits), "it is compare, dsm, zeroes, or several with + between")
            }
            "wzsl" => (number(&mut self.wzsl, value, 16), "it is 0 to 16"),
            "dmrl" => (number(&mut self.dmrl, value, 255), "it is 0 to 255"),
            "dmrsl" => (number(&mut self.dmrsl, value, u32::MAX.into()), "it is a number of blocks"),
            "dmsl" => (number(&mut self.dmsl, value, u64::MAX), "it is a number of blocks"),
            "ready" => {
                let ms = value.parse::<u64>().ok().filter(|ms| *ms <= 600_000);
                (ms.map(|ms| self.ready_ns = ms * 1_000_000), "it is up to 600000 ms")
            }
            "to" => (number(&mut self.to, value, 255), "it is 0 to 255"),
            "crto" => (number(&mut self.crto, value, 65_535), "it is 0 to 65535"),
            "type" => (number(&mut self.cntrltype, value, 3), "it is 0 to 3"),
            "cntlid" => (number(&mut self.cntlid, value, 0xffef), "it is 0 to 65519"),
            "shared" => ((value == "on").then(|| self.shared = true), "it is on, or left out"),
            "acl" => (number(&mut self.acl, value, 255), "it is 0 to 255"),
            "aerl" => (number(&mut self.aerl, value, 255), "it is 0 to 255"),
            "atomic" => (number(&mut self.atomic, value, 65_535), "it is 0 to 65535"),
            "boundary" => (number(&mut self.boundary, value, 65_535), "it is 0 to 65535"),
            "granularity" => (number(&mut self.granularity, value, 65_535), "it is 0 to 65535"),
            "nn" => {
                let nn = value.parse::<u32>().ok().filter(|nn| *nn > 0);
                (nn.map(|nn| self.nn = Some(nn)), "it is a number above 0")
            }
            "defect" => {
                let defect = Defect::ALL.iter().find(|(name, _)| *name == value);
                (defect.map(|(_, defect)| self.defects.push(*defect)), "see the names in docs/drives.md")
            }
            _ => return None,
        };
        Some(taken.ok_or(remedy))
    }
}

/// Two hexadecimal numbers, as lspci writes them.
fn make(value: &str) -> Option<(u16, u16)> {
    let (vendor, device) = value.split_once(':')?;
    let number = |text: &str| (text.len() == 4).then(|| u16::from_str_radix(text, 16).ok()).flatten();
    Some((number(vendor)?, number(device)?))
}
