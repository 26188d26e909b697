//! What this card is to do: the ports and drives of gantryd's configuration, and the data plane's options, from its process
//! when it runs, else their defaults.

use crate::machine::Machine;
use std::path::Path;

/// Bytes of a process's name in `/proc/N/comm` (proc(5): 16 with the terminating NUL).
const COMM: &str = "gantry-dataplan";
/// The data plane's option defaults that matter here: `gantry-dataplane --help`.
const LCORES: u64 = 1;
const MEMORY_MIB: u64 = 256;
const DATA_MEMORY_MIB: u64 = 32;
/// The channel when neither the configuration nor the process says.
const CHANNEL: &str = "/run/gantry/channel";

/// A `[[port]]`.
pub(super) struct PlannedPort {
    pub(super) name: String,
    /// The DPDK device string without its options: a PCI address, `auxiliary:mlx5_core.sf.4`, `net_vhost0`.
    pub(super) device: String,
    pub(super) mtu: u64,
}

/// A running gantry-dataplane.
pub(super) struct Process {
    pub(super) pid: String,
    arguments: Vec<String>,
}

/// What is planned.
pub(super) struct Plan {
    /// Whether there is a configuration that TOML can read.
    pub(super) configured: bool,
    pub(super) ports: Vec<PlannedPort>,
    /// Name and PCI address, as written, of each `pci:` drive.
    pub(super) drives: Vec<(String, String)>,
    /// Names of those that are to be driven without an IOMMU.
    pub(super) unguarded: Vec<String>,
    /// Name and socket of each `vfio-user:` drive.
    pub(super) sockets: Vec<(String, String)>,
    /// The channel of the configuration.
    pub(super) channel: String,
    pub(super) process: Option<Process>,
}

impl Plan {
    pub(super) fn read(machine: &Machine<'_>, config: &Path) -> Self {
        let table: Option<toml::Table> =
            config.to_str().and_then(|path| machine.text(path)).and_then(|text| text.parse().ok());
        let configured = table.is_some();
        let table = table.unwrap_or_default();
        let sections = |key: &str| {
            let list = table.get(key).and_then(toml::Value::as_array).cloned().unwrap_or_default();
            list.into_iter().filter_map(|section| section.as_table().cloned()).collect::<Vec<_>>()
        };
        let text = |section: &toml::Table, key: &str| {
            section.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_owned()
        };
        let port = |section: toml::Table| PlannedPort {
            name: text(&section, "name"),
            device: text(&section, "device").split(',').next().unwrap_or_default().to_owned(),
            mtu: section
                .get("mtu")
                .and_then(toml::Value::as_integer)
                .and_then(|mtu| mtu.try_into().ok())
                .unwrap_or(1500),
        };
        let drives = |scheme: &str| -> Vec<(String, String)> {
            let drive = |section: toml::Table| {
                let uri = text(&section, "uri");
                let place = uri.strip_prefix(scheme)?.split(',').next()?.to_owned();
                Some((text(&section, "name"), place))
            };
            sections("drive").into_iter().filter_map(drive).collect()
        };
        let unguarded = sections("drive").into_iter().filter(|section| {
            let uri = text(section, "uri");
            uri.starts_with("pci:") && uri.split(',').skip(1).any(|option| option == "iommu=off")
        });
        let unguarded = unguarded.map(|section| text(&section, "name")).collect();
        let channel = table.get("dataplane").and_then(|dataplane| dataplane.get("channel")?.as_str());
        Self {
            configured,
            ports: sections("port").into_iter().map(port).collect(),
            drives: drives("pci:"),
            unguarded,
            sockets: drives("vfio-user:"),
            channel: channel.unwrap_or(CHANNEL).to_owned(),
            process: Process::find(machine),
        }
    }

    /// Whether VFIO is needed: for `pci:` drives behind an IOMMU, and for ports that have no driver of their own vendor's.
    pub(super) fn needs_vfio(&self, machine: &Machine<'_>) -> bool {
        self.drives.len() > self.unguarded.len()
            || self.ports.iter().any(|port| super::ports::wants_vfio(machine, port))
    }

    /// Number of lcores.
    pub(super) fn lcores(&self) -> u64 {
        self.option("--lcores").and_then(|value| value.parse().ok()).unwrap_or(LCORES)
    }

    /// DPDK's memory, in MiB.
    pub(super) fn memory_mib(&self) -> u64 {
        self.option("--memory").and_then(|value| value.parse().ok()).unwrap_or(MEMORY_MIB)
    }

    /// All lcores' memory for data, in MiB.
    pub(super) fn data_memory_mib(&self) -> u64 {
        let each = self.option("--data-memory").and_then(|value| value.parse().ok()).unwrap_or(DATA_MEMORY_MIB);
        self.lcores().saturating_mul(each)
    }

    pub(super) fn without_hugepages(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.arguments.iter().any(|argument| argument == "--no-huge"))
    }

    /// Whether the running data plane, if there is one, was told of a PCI device that may become a port.
    pub(super) fn allows(&self, device: &str) -> bool {
        let Some(Process { arguments, .. }) = &self.process else { return true };
        let long = device.split_once('.').filter(|(place, _)| place.len() == 5).map(|_| format!("0000:{device}"));
        let same = |given: &str| given == device || Some(given) == long.as_deref() || format!("0000:{given}") == device;
        let values = arguments.windows(2).filter(|pair| pair[0] == "--pci").map(|pair| pair[1].as_str());
        let joined = arguments.iter().filter_map(|argument| argument.strip_prefix("--pci="));
        // An EAL argument may allow it too, in ways that are DPDK's matter.
        let through_eal = arguments.iter().any(|argument| argument.contains(device));
        values.chain(joined).any(same) || through_eal
    }

    /// The value of an option of the running data plane.
    pub(super) fn option(&self, name: &str) -> Option<&str> {
        let arguments = &self.process.as_ref()?.arguments;
        let at = arguments.iter().position(|argument| argument == name || argument.starts_with(&format!("{name}=")))?;
        arguments[at].split_once('=').map(|(_, value)| value).or_else(|| arguments.get(at + 1).map(String::as_str))
    }
}

impl Process {
    fn find(machine: &Machine<'_>) -> Option<Self> {
        let numbers = machine.names("proc").into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        let pid = numbers.into_iter().find(|pid| machine.text(&format!("proc/{pid}/comm")).as_deref() == Some(COMM))?;
        let line = machine.text(&format!("proc/{pid}/cmdline")).unwrap_or_default();
        Some(Self { pid, arguments: line.split('\0').map(str::to_owned).collect() })
    }

    /// A file of this process in procfs.
    pub(super) fn file(&self, name: &str) -> String {
        format!("proc/{}/{name}", self.pid)
    }

    /// A line of its status: `Uid`, `CapEff`.
    pub(super) fn status(&self, machine: &Machine<'_>, name: &str) -> Option<String> {
        let text = machine.text(&self.file("status"))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|line| line.trim().to_owned())
    }

    /// Its effective user id.
    pub(super) fn user(&self, machine: &Machine<'_>) -> Option<u32> {
        self.status(machine, "Uid")?.split_whitespace().nth(1)?.parse().ok()
    }

    /// Its groups' ids.
    pub(super) fn groups(&self, machine: &Machine<'_>) -> Vec<u32> {
        let fields = ["Gid", "Groups"].map(|name| self.status(machine, name).unwrap_or_default());
        fields.iter().flat_map(|field| field.split_whitespace()).filter_map(|id| id.parse().ok()).collect()
    }
}
