//! Who uses a drive: mounted file systems, swap, device-mapper, md, loop devices, the kernel's NVMe target, programs.
//!
//! A use of a partition, or of what is built upon it, is a use of the drive. Last, before a drive is moved, the kernel itself is
//! asked by an exclusive open, which catches whatever has no line here (another container's mounts, ZFS).

use super::pci::{Address, kernel_name};
use crate::machine::Machine;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;

/// One use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Use {
    /// What is used: `nvme0n1p2`, or what is built upon it, `dm-0 (vg-root)`.
    pub(crate) device: String,
    /// By what, to be read behind the device: "is mounted at /srv".
    pub(crate) by: String,
}

/// How hard to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Disturb nobody.
    Only,
    /// Claim what nobody seems to use, for as long as the result lives: whoever wants it meanwhile, be it a mount, is refused.
    AndClaim,
}

/// What is known of a drive's users.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    pub(crate) found: Vec<Use>,
    /// Namespaces that are paths of a multipath head, with the head: `nvme0c1n1`, `nvme0n1`.
    pub(crate) paths: Vec<(String, String)>,
    /// Exclusive opens of the block devices: while they last nobody can mount one.
    pub(crate) claims: Vec<File>,
    /// A block device that this process may not open: what is said of its use may be too little.
    pub(crate) unseen: Option<String>,
}

/// Who uses the drive at `address`.
pub(crate) fn of(machine: &Machine<'_>, address: Address, how: Look) -> Uses {
    let mut uses = Uses::default();
    let Some(controller) = kernel_name(machine, address) else { return uses };
    let folder = address.attribute("nvme");
    let mut nodes = vec![format!("/dev/{controller}")];
    let mut disks = Vec::new();
    for name in machine.names(&format!("{folder}/{controller}")) {
        if let Some((subsystem, rest)) = split_namespace(&name) {
            match rest.split_once('n').filter(|_| rest.starts_with('c')) {
                Some((_, namespace)) => {
                    let head = format!("{subsystem}n{namespace}");
                    disks.push(head.clone());
                    uses.paths.push((name, head));
                }
                None => disks.push(name),
            }
        } else if name.starts_with("ng") {
            nodes.push(format!("/dev/{name}"));
        }
    }
    let mounts = mounts(machine);
    for disk in disks {
        let mut search =
            Search { machine, mounts: &mounts, seen: BTreeSet::new(), found: Vec::new(), nodes: Vec::new() };
        search.at(&disk, &disk);
        let Search { mut found, nodes: block_nodes, .. } = search;
        nodes.extend(block_nodes);
        let claimed = match how {
            Look::Only => Err(ErrorKind::Unsupported.into()),
            Look::AndClaim => machine.kernel().claim(&machine.at(&format!("dev/{disk}"))),
        };
        match claimed {
            Ok(claim) => uses.claims.push(claim),
            Err(error) if error.kind() == ErrorKind::ResourceBusy && found.is_empty() => {
                let by = "is held exclusively, by a program or a part of the kernel that leaves no other trace here";
                found.push(Use { device: disk.clone(), by: by.to_owned() });
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => uses.unseen = Some(disk.clone()),
            // Not asked, gone meanwhile, no node in this container, read-only: the other traces have to do.
            Err(_) => {}
        }
        uses.found.extend(found);
    }
    let openers = machine.openers(&nodes).into_iter();
    uses.found.extend(openers.map(|who| Use { device: controller.clone(), by: format!("is open in {who}") }));
    uses
}

/// `nvme0n1` as `nvme0` and `n1`, `nvme0c1n1` as `nvme0` and `c1n1`.
fn split_namespace(name: &str) -> Option<(&str, &str)> {
    let digits = name.strip_prefix("nvme")?;
    let end = digits.find(|c: char| !c.is_ascii_digit())?;
    let (subsystem, rest) = name.split_at("nvme".len() + end);
    let known = rest.starts_with('n') || rest.starts_with('c') && rest.contains('n');
    (end > 0 && known).then_some((subsystem, rest))
}

/// A mounted file system: the device's numbers, where, and what was named as its source.
struct Mount {
    numbers: String,
    point: String,
    source: String,
}

/// Lines of mountinfo (proc(5)): "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw".
fn mounts(machine: &Machine<'_>) -> Vec<Mount> {
    let text = machine.text("proc/self/mountinfo").or_else(|| machine.text("proc/1/mountinfo")).unwrap_or_default();
    let parse = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(2);
        let (numbers, point) = (fields.next()?.to_owned(), unescape(fields.nth(1)?));
        Some(Mount { numbers, point, source: unescape(after.split(' ').nth(1)?) })
    };
    text.lines().filter_map(parse).collect()
}

/// Spaces and the like are written `\040` there.
fn unescape(field: &str) -> String {
    let mut text = String::new();
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|octal| u8::from_str_radix(octal, 8).ok());
        text.push(code.map_or('\\', char::from));
        rest = &rest[at + if code.is_some() { 4 } else { 1 }..];
    }
    text + rest
}

struct Search<'a> {
    machine: &'a Machine<'a>,
    mounts: &'a [Mount],
    seen: BTreeSet<String>,
    found: Vec<Use>,
    nodes: Vec<String>,
}

impl Search<'_> {
    /// Uses of the block device `name`, called `shown`, and of all that is upon it.
    fn at(&mut self, name: &str, shown: &str) {
        if !self.seen.insert(name.to_owned()) {
            return;
        }
        let machine = self.machine;
        let folder = format!("sys/class/block/{name}");
        let node = format!("/dev/{name}");
        let mapped = machine.text(&format!("{folder}/dm/name")).map(|name| format!("/dev/mapper/{name}"));
        let is_node = |path: &str| path == node || Some(path) == mapped.as_deref();
        let numbers = machine.text(&format!("{folder}/dev"));
        for mount in self.mounts {
            if Some(&mount.numbers) == numbers.as_ref() || is_node(&mount.source) {
                let by = match mount.point.as_str() {
                    "/" => "holds the root file system".to_owned(),
                    point => format!("is mounted at {point}"),
                };
                self.add(shown, by);
            }
        }
        let swaps = machine.text("proc/swaps").unwrap_or_default();
        if swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()).any(is_node) {
            self.add(shown, "is swap space".to_owned());
        }
        for other in machine.names("sys/class/block").iter().filter(|other| other.starts_with("loop")) {
            let file = machine.text(&format!("sys/class/block/{other}/loop/backing_file"));
            if file.as_deref().is_some_and(is_node) {
                self.add(shown, format!("is behind {other}"));
                self.at(other, other);
            }
        }
        const TARGET: &str = "sys/kernel/config/nvmet/subsystems";
        for subsystem in machine.names(TARGET) {
            for nsid in machine.names(&format!("{TARGET}/{subsystem}/namespaces")) {
                let path = machine.text(&format!("{TARGET}/{subsystem}/namespaces/{nsid}/device_path"));
                if path.as_deref().is_some_and(is_node) {
                    self.add(shown, format!("is namespace {nsid} of the kernel's NVMe target {subsystem}"));
                }
            }
        }
        for holder in machine.names(&format!("{folder}/holders")) {
            let known = machine.text(&format!("sys/class/block/{holder}/dm/name"));
            let called = known.map_or_else(|| holder.clone(), |known| format!("{holder} ({known})"));
            self.add(shown, format!("is part of {called}"));
            self.at(&holder, &called);
        }
        for partition in machine.names(&folder) {
            if machine.exists(&format!("{folder}/{partition}/partition")) {
                self.at(&partition, &partition);
            }
        }
        self.nodes.extend([node].into_iter().chain(mapped));
    }

    fn add(&mut self, device: &str, by: String) {
        let new = Use { device: device.to_owned(), by };
        if !self.found.contains(&new) {
            self.found.push(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_mountinfo_are_undone() {
        assert_eq!(unescape(r"/mnt/a\040b\134c"), r"/mnt/a b\c");
        assert_eq!(unescape(r"\"), r"\");
        assert_eq!(unescape(r"\04"), r"\04");
        assert_eq!(unescape("\\é0"), "\\é0");
    }

    #[test]
    fn namespaces_are_told_from_other_names() {
        assert_eq!(split_namespace("nvme0n1"), Some(("nvme0", "n1")));
        assert_eq!(split_namespace("nvme10c3n21"), Some(("nvme10", "c3n21")));
        for name in ["nvme0", "nvmen1", "ng0n1", "power", "nvme0x", "hwmon3", "nvme0c1"] {
            assert_eq!(split_namespace(name), None, "{name}");
        }
    }
}
