//! What a run consists of: who is there, what they do, what goes wrong. Drawn from a seed ([`super::draw`]) or read from
//! a file, and all that a replay needs.

use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What draws everything that the plan leaves open.
    pub seed: u64,
    /// How long hosts do I/O, and faults happen.
    pub length_ns: u64,
    /// Cards, each with its control.
    pub targets: Vec<Site>,
    /// Drives, each with one namespace in a subsystem of its own.
    pub drives: Vec<DrivePlan>,
    /// Hosts.
    pub hosts: Vec<HostPlan>,
    /// What goes wrong.
    #[serde(default)]
    pub faults: Vec<Fault>,
}

/// A port with fewer buffers loses frames of large transfers again and again, since go-back-N gets no more than a few across
/// in each timeout: what its hosts suffer is nobody's fault.
pub const BUFFERS_ENOUGH: u32 = 384;

/// A card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Its lcores.
    pub lcores: usize,
    /// Commands, and receive slots, of an lcore.
    pub commands: u32,
    /// Pages of an lcore.
    pub pages: u32,
    /// Buffers of its port.
    pub buffers: usize,
    /// Frames that its port holds to be sent.
    pub tx: usize,
    /// Buffers of an lcore for what it tells housekeeping.
    pub reports: usize,
    /// Frames that may be on their way to an lcore from others.
    pub crossed: usize,
}

/// More queue pairs than a card has lcores.
fn queues_enough() -> u16 {
    64
}

/// A drive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrivePlan {
    /// In which card.
    pub target: usize,
    /// Bytes of a block.
    pub block: u32,
    /// Blocks that hosts use.
    pub blocks: u64,
    /// It has a volatile write cache.
    pub volatile: bool,
    /// Entries of its queues at most.
    pub entries: u32,
    /// What a command takes, and at most beyond that.
    pub base_ns: u64,
    /// See `base_ns`.
    pub jitter_ns: u64,
    /// Most bytes of one of its commands, above which a host's go to it in pieces; 0 for 128 KiB, which is a host's most.
    #[serde(default)]
    pub mdts: u32,
    /// Its namespace is read-only.
    #[serde(default)]
    pub read_only: bool,
    /// What it is like beyond that: options of its URI, with commas between.
    #[serde(default)]
    pub options: String,
    /// I/O queue pairs that it grants: with fewer than the card has lcores, some lend it their commands through others.
    #[serde(default = "queues_enough")]
    pub queues: u16,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostPlan {
    /// Whose namespace it uses.
    pub drive: usize,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// I/O queues.
    pub queues: u16,
    /// Entries of each.
    pub entries: u16,
    /// Keep-alive timeout; 0 for none.
    pub kato_ms: u32,
    /// It asks for remote invalidation.
    pub remote_invalidate: bool,
    /// It speaks IPv6 to the card; else IPv4.
    #[serde(default)]
    pub ipv6: bool,
    /// What it does.
    pub load: Load,
}

/// What a host does. Shares are of 100; what is left are reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Commands in flight at most.
    pub depth: usize,
    /// Least time between two commands.
    pub pace_ns: u64,
    /// Blocks of a command, 1 to this many.
    pub blocks: u32,
    /// Writes.
    pub writes: u32,
    /// Writes with FUA.
    pub fua: u32,
    /// Flushes.
    pub flushes: u32,
    /// Write Zeroes.
    pub zeroes: u32,
    /// Deallocations.
    pub trims: u32,
}

impl Site {
    /// A card that runs short of nothing.
    #[must_use]
    pub fn roomy(lcores: usize) -> Self {
        Self { lcores, commands: 1024, pages: 2048, buffers: 4096, tx: 1024, reports: 256, crossed: 1024 }
    }
}

impl Plan {
    /// Spreads load and faults over another length.
    pub fn stretch(&mut self, length_ns: u64) {
        let scale = |ns: u64| (u128::from(ns) * u128::from(length_ns) / u128::from(self.length_ns.max(1))) as u64;
        for fault in &mut self.faults {
            fault.at_ns = scale(fault.at_ns);
        }
        for host in &mut self.hosts {
            host.load.pace_ns = scale(host.load.pace_ns).max(1);
        }
        self.length_ns = length_ns;
    }

    /// As it is written to a file.
    #[must_use]
    pub fn to_text(&self) -> String {
        toml::to_string(self).expect("a plan is a table of numbers")
    }

    /// Reads what [`Plan::to_text`] wrote, perhaps changed by hand.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let plan: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<(), String> {
        use super::fault::{What, Whom};
        let all = |ok: bool, what: &str| if ok { Ok(()) } else { Err(what.to_owned()) };
        let (targets, drives, hosts) = (self.targets.len(), self.drives.len(), self.hosts.len());
        all((1..=16).contains(&targets), "a plan has 1 to 16 targets")?;
        all(self.targets.iter().all(|t| (1..=16).contains(&t.lcores)), "a target has 1 to 16 lcores")?;
        let enough = |t: &Site| t.commands >= 64 && t.pages >= 96 && t.buffers >= 64 && t.tx >= 32 && t.reports >= 2;
        all(
            self.targets.iter().all(enough),
            "a target has 64 commands, 96 pages, 64 buffers, 32 tx, 2 reports at least",
        )?;
        all(self.drives.iter().all(|d| d.target < targets), "a drive is in a target of the plan")?;
        all(self.drives.iter().all(|d| matches!(d.block, 512 | 4096)), "a block has 512 or 4096 bytes")?;
        all(self.drives.iter().all(|d| (1..=65_536).contains(&d.blocks)), "hosts use 1 to 65536 blocks of a drive")?;
        let mdts = |d: &DrivePlan| d.mdts == 0 || d.mdts.is_power_of_two() && (8_192..=4 << 20).contains(&d.mdts);
        all(self.drives.iter().all(mdts), "a drive's mdts is 0 or a power of two from 8192 to 4194304")?;
        all(self.drives.iter().all(|d| (1..=1024).contains(&d.queues)), "a drive grants 1 to 1024 queue pairs")?;
        all(hosts <= 200, "a plan has 200 hosts at most")?;
        let whole =
            |h: &HostPlan| self.drives.get(h.drive).is_some_and(|d| (1..=d.blocks).contains(&h.load.blocks.into()));
        all(self.hosts.iter().all(whole), "a host uses a drive of the plan, and 1 to all of its blocks at a time")?;
        all(self.hosts.iter().all(|h| (1..=256).contains(&h.queues)), "a host has 1 to 256 queues")?;
        all(self.hosts.iter().all(|h| (4..=4096).contains(&h.entries)), "a queue has 4 to 4096 entries")?;
        let trespasses = self.faults.iter().filter(|fault| matches!(fault.what, What::Trespass { .. }));
        all(trespasses.count() <= 200, "a plan has 200 hosts that are not admitted at most")?;
        for fault in &self.faults {
            let known = match fault.whom() {
                Whom::Host(host) => host < hosts,
                Whom::Target(target) => target < targets,
                Whom::Drive(drive) => drive < drives,
            };
            all(known, &format!("{fault:?} is about somebody who is not in the plan"))?;
        }
        Ok(())
    }
}
