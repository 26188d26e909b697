//! Which kernel modules a machine needs, and the tables by which `modprobe` finds them in it.
//!
//! The package holds no modules.dep (depmod runs when it is installed), so the closure is taken from what
//! each module says of itself in its `.modinfo` section: `depends=`, `softdep=` and `alias=`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Error, Kernel, Result};

/// What every machine is made of.
const MACHINE: &[&str] = &["virtio_pci", "virtio_console", "virtio_rng", "configfs"];

/// What a host, a foreign target and a lossy link are made of.
pub(super) const HOST: &[&str] = &[
    "virtio_net",
    // RoCE v2 and NVMe over it.
    "rdma_rxe",
    "rdma_cm",
    "rdma_ucm",
    "ib_uverbs",
    "nvme_rdma",
    // What is done with a drive.
    "ext4",
    "crc32_generic",
    "crc32_pclmul",
    "crc32c_generic",
    "crc32c_intel",
    "crc64_rocksoft_generic",
    "crct10dif_generic",
    "8021q",
    // A link that loses packets.
    "sch_netem",
    "sch_ingress",
    "ifb",
    "cls_matchall",
    "act_mirred",
    // The kernel's own target.
    "nvmet",
    "nvmet_rdma",
    "brd",
    "null_blk",
];

/// What a host with drives of its own is made of.
pub(super) const PCI_HOST: &[&str] = &[
    "nvme",
    "ext4",
    "crc32_generic",
    "crc32_pclmul",
    "crc32c_generic",
    "crc32c_intel",
    "crc64_rocksoft_generic",
    "crct10dif_generic",
];

/// What gives devices to programs.
pub(super) const CARD: &[&str] = &["vfio_pci", "vfio_iommu_type1", "uio_pci_generic", "nvme"];

/// Both, and what is put upon a drive.
pub(super) const MOVER: &[&str] =
    &["vfio_pci", "vfio_iommu_type1", "nvme", "ext4", "crc32c_generic", "crc32c_intel", "crct10dif_generic", "loop"];

/// What gives devices to programs, and the drivers from which they come.
pub(super) const OWN_DRIVERS: &[&str] = &["vfio_pci", "vfio_iommu_type1", "nvme", "virtio_net"];

/// A module's file and what it says of itself.
struct Module {
    path: PathBuf,
    needs: Vec<String>,
    aliases: Vec<String>,
}

/// What a machine needs, with all that this needs in turn, and the tables for it.
pub(super) struct Modules {
    /// Path below `lib/modules/<release>` and where the file is now.
    pub(super) files: Vec<(String, PathBuf)>,
    /// modules.dep.
    pub(super) dependencies: String,
    /// modules.alias.
    pub(super) aliases: String,
}

/// Names differ in '-' and '_' only between a file and a reference to it.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

impl Modules {
    /// Reads `wanted`, and what every machine needs, out of `kernel`.
    pub(super) fn of(kernel: &Kernel, wanted: &[&str]) -> Result<Self> {
        let wanted: BTreeSet<String> = MACHINE.iter().chain(wanted).map(|name| canonical(name)).collect();
        let mut index = BTreeMap::new();
        let mut folders = vec![kernel.modules.join("kernel")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(Error::on("reading", &folder))?.flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "ko") {
                    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                    index.insert(canonical(&name), path);
                }
            }
        }
        let built_in = fs::read_to_string(kernel.modules.join("modules.builtin")).unwrap_or_default();
        let built_in: BTreeSet<String> =
            built_in.lines().filter_map(|line| Some(canonical(Path::new(line).file_stem()?.to_str()?))).collect();

        let mut found: BTreeMap<String, Module> = BTreeMap::new();
        let mut pending: Vec<String> = wanted.iter().cloned().collect();
        while let Some(name) = pending.pop() {
            if found.contains_key(&name) || built_in.contains(&name) {
                continue;
            }
            let Some(path) = index.get(&name) else {
                // A soft dependency names an alias or a module that this kernel does without; a wanted one is ours.
                if wanted.contains(&name) {
                    return Err(Error::Unexpected(format!("kernel {} has no module {name}", kernel.release)));
                }
                continue;
            };
            let bytes = fs::read(path).map_err(Error::on("reading", path))?;
            let (needs, soft, aliases) = about(&bytes);
            pending.extend(needs.iter().cloned());
            pending.extend(soft);
            found.insert(name, Module { path: path.clone(), needs, aliases });
        }
        Self::tables(kernel, &found)
    }

    fn tables(kernel: &Kernel, found: &BTreeMap<String, Module>) -> Result<Self> {
        let inside = |module: &Module| {
            module.path.strip_prefix(&kernel.modules).unwrap_or(&module.path).to_string_lossy().into_owned()
        };
        let mut files = Vec::new();
        let mut dependencies = String::new();
        let mut aliases = String::new();
        for (name, module) in found {
            // modules.dep lists the whole closure, each module before those that it needs in turn.
            let mut closure: Vec<&str> = Vec::new();
            let mut pending: Vec<&str> = module.needs.iter().map(String::as_str).collect();
            while let Some(need) = pending.pop() {
                let Some(needed) = found.get(need) else { continue };
                closure.retain(|seen| *seen != need);
                closure.push(need);
                pending.extend(needed.needs.iter().map(String::as_str));
            }
            write!(dependencies, "{}:", inside(module)).expect("a String takes all");
            for need in closure {
                write!(dependencies, " {}", inside(&found[need])).expect("a String takes all");
            }
            dependencies.push('\n');
            for alias in &module.aliases {
                writeln!(aliases, "alias {alias} {name}").expect("a String takes all");
            }
            files.push((inside(module), module.path.clone()));
        }
        Ok(Self { files, dependencies, aliases })
    }
}

/// (`depends`, pre and post `softdep`, `alias`) of a module's file. The section is a run of NUL-terminated
/// `key=value`; scanning the whole file for them spares an ELF reader.
fn about(bytes: &[u8]) -> (Vec<String>, Vec<String>, Vec<String>) {
    let (mut needs, mut soft, mut aliases) = (Vec::new(), Vec::new(), Vec::new());
    for text in bytes.split(|byte| *byte == 0).filter_map(|text| std::str::from_utf8(text).ok()) {
        if let Some(list) = text.strip_prefix("depends=") {
            needs.extend(list.split(',').filter(|name| !name.is_empty()).map(canonical));
        } else if let Some(list) = text.strip_prefix("softdep=") {
            let names = list.split_whitespace().filter(|word| !word.ends_with(':'));
            soft.extend(names.map(|name| canonical(name.trim_start_matches("crypto-"))));
        } else if let Some(alias) = text.strip_prefix("alias=") {
            aliases.push(alias.to_owned());
        }
    }
    (needs, soft, aliases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_needs() {
        let section =
            b"\x7fELF\0depends=ib_uverbs,udp-tunnel\0softdep=pre: crypto-crc32c\0alias=rdma-link-rxe\0depends=\0";
        let (needs, soft, aliases) = about(section);
        assert_eq!(needs, ["ib_uverbs", "udp_tunnel"]);
        assert_eq!(soft, ["crc32c"]);
        assert_eq!(aliases, ["rdma-link-rxe"]);
    }
}
