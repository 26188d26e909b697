//! What sysfs tells of a PCI function before VFIO is asked, and who holds a file of VFIO's (procfs).

use std::fs;
use std::path::{Path, PathBuf};

use super::error::Holder;
use super::{Error, PciAddress};

/// The driver that VFIO binds PCI functions with.
const DRIVER: &str = "vfio-pci";

/// Drivers that the kernel lets a group's other members have: none of them does DMA (drivers/vfio: bridges' port
/// services and the stub).
const HARMLESS: [&str; 3] = [DRIVER, "pcieport", "pci-stub"];

/// An IOMMU group.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) number: u32,
    /// Members whose drivers stand in VFIO's way, and those drivers.
    pub(super) hindered_by: Vec<(String, String)>,
}

/// The driver that gives functions without an IOMMU to programs.
const UNGUARDED: &str = "uio_pci_generic";

/// A function of uio_pci_generic's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Uio {
    /// The function's folder.
    pub(super) folder: PathBuf,
    /// Its file's name in /dev.
    pub(super) name: String,
}

/// The function at `address`, when it is of class `class`, has no IOMMU, and uio_pci_generic has it.
pub(super) fn uio(sysfs: &Path, address: PciAddress, class: u32) -> Result<Uio, Error> {
    let folder = function(sysfs, address, class)?;
    if let Some(group) = link_name(&folder.join("iommu_group")) {
        return Err(Error::Guarded { address, group });
    }
    let driver = link_name(&folder.join("driver"));
    if driver.as_deref() != Some(UNGUARDED) {
        return Err(Error::NotUio { address, driver });
    }
    let nodes = fs::read_dir(folder.join("uio")).into_iter().flatten().flatten();
    let name = nodes.map(|node| node.file_name().to_string_lossy().into_owned()).next();
    name.map(|name| Uio { folder, name }).ok_or(Error::NoUio(address))
}

/// The folder of `address`, when it is of class `class`.
fn function(sysfs: &Path, address: PciAddress, class: u32) -> Result<PathBuf, Error> {
    let function = sysfs.join("bus/pci/devices").join(address.to_string());
    let Ok(text) = fs::read_to_string(function.join("class")) else { return Err(Error::Missing(address)) };
    let found = u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).unwrap_or(0);
    if found == class { Ok(function) } else { Err(Error::Class { address, found, wanted: class }) }
}

/// The group of `address`, when the function is of class `class` and VFIO has it.
pub(super) fn group(sysfs: &Path, address: PciAddress, class: u32) -> Result<Group, Error> {
    let function = function(sysfs, address, class)?;
    let driver = link_name(&function.join("driver"));
    if driver.as_deref() != Some(DRIVER) {
        return Err(Error::NotBound { address, driver });
    }
    let folder = function.join("iommu_group");
    let number = link_name(&folder).and_then(|name| name.parse().ok()).ok_or(Error::NoGroup(address))?;
    if fs::read_to_string(folder.join("name")).is_ok_and(|name| name.trim() == "vfio-noiommu") {
        return Err(Error::NoIommu(address));
    }
    let mut hindered_by = Vec::new();
    for member in fs::read_dir(folder.join("devices")).into_iter().flatten().flatten() {
        if let Some(driver) = link_name(&member.path().join("driver"))
            && !HARMLESS.contains(&driver.as_str())
        {
            hindered_by.push((member.file_name().to_string_lossy().into_owned(), driver));
        }
    }
    hindered_by.sort();
    Ok(Group { number, hindered_by })
}

/// The last name of what a link leads to.
fn link_name(link: &Path) -> Option<String> {
    Some(fs::read_link(link).ok()?.file_name()?.to_string_lossy().into_owned())
}

/// A process, another than this one, that has `file` open.
pub(super) fn holder(procfs: &Path, file: &Path) -> Option<Holder> {
    let own = std::process::id();
    for process in fs::read_dir(procfs).ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()).filter(|pid| *pid != own)
        else {
            continue;
        };
        let descriptors = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        if descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok()).any(|target| target == file) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default().trim().to_owned();
            return Some(Holder { pid, name });
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A sysfs of the test's own, removed with it.
    pub(in super::super) struct Tree(PathBuf);

    impl Tree {
        pub(in super::super) fn new() -> Tree {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let root = std::env::temp_dir().join(format!("gantry-sysfs-{}-{number}", std::process::id()));
            fs::create_dir_all(root.join("bus/pci/devices")).unwrap();
            Tree(root)
        }

        pub(in super::super) fn root(&self) -> &Path {
            &self.0
        }

        pub(in super::super) fn function(
            &self,
            address: &str,
            class: &str,
            driver: Option<&str>,
            group: Option<u32>,
        ) -> &Tree {
            let folder = self.0.join("bus/pci/devices").join(address);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("class"), format!("{class}\n")).unwrap();
            if let Some(driver) = driver {
                symlink(format!("../../../../bus/pci/drivers/{driver}"), folder.join("driver")).unwrap();
            }
            if let Some(group) = group {
                let groups = self.0.join(format!("kernel/iommu_groups/{group}"));
                fs::create_dir_all(groups.join("devices")).unwrap();
                symlink(&folder, groups.join("devices").join(address)).unwrap();
                symlink(groups, folder.join("iommu_group")).unwrap();
            }
            self
        }

        fn group(&self) -> Result<Group, Error> {
            group(&self.0, "0000:01:00.0".parse().unwrap(), Error::NVME)
        }

        /// The line that refuses it.
        fn refusal(&self) -> String {
            self.group().unwrap_err().to_string()
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const DRIVE: &str = "0000:01:00.0";
    const NVME: &str = "0x010802";

    #[test]
    fn a_drive_that_vfio_has_is_in_its_group() {
        let tree = Tree::new();
        tree.function(DRIVE, NVME, Some("vfio-pci"), Some(7)).function(
            "0000:00:1c.0",
            "0x060400",
            Some("pcieport"),
            Some(7),
        );
        tree.function("0000:01:00.1", "0x010802", None, Some(7)).function("0000:05:00.0", NVME, Some("nvme"), Some(8));
        assert_eq!(tree.group(), Ok(Group { number: 7, hindered_by: vec![] }));
    }

    #[test]
    fn what_stands_in_the_way_is_named_with_its_remedy() {
        let missing = Tree::new();
        assert_eq!(
            missing.refusal(),
            "there is no PCI device 0000:01:00.0: `gantryctl drive list` shows those there are"
        );

        let card = Tree::new();
        card.function(DRIVE, "0x020000", Some("vfio-pci"), Some(1));
        let line = "0000:01:00.0 has class 020000, not 010802: it is no NVMe controller; \
                    `gantryctl drive list` shows those there are";
        assert_eq!(card.refusal(), line);

        let kernels = Tree::new();
        kernels.function(DRIVE, NVME, Some("nvme"), Some(1));
        let line = "0000:01:00.0 is bound to the driver nvme: `gantryctl drive bind 0000:01:00.0` gives it to vfio-pci";
        assert_eq!(kernels.refusal(), line);

        let nobodys = Tree::new();
        nobodys.function(DRIVE, NVME, None, Some(1));
        let line = "0000:01:00.0 has no driver: `gantryctl drive bind 0000:01:00.0` gives it to vfio-pci";
        assert_eq!(nobodys.refusal(), line);

        let off = Tree::new();
        off.function(DRIVE, NVME, Some("vfio-pci"), None);
        let line = off.refusal();
        assert!(line.starts_with("0000:01:00.0 has no IOMMU group: turn the IOMMU on in the firmware ("), "{line}");
        assert!(line.contains(if cfg!(target_arch = "x86_64") { "`intel_iommu=on`" } else { "SMMU" }), "{line}");
    }

    #[test]
    fn a_group_without_an_iommu_is_refused() {
        let tree = Tree::new();
        tree.function(DRIVE, NVME, Some("vfio-pci"), Some(0));
        fs::write(tree.0.join("kernel/iommu_groups/0/name"), "vfio-noiommu\n").unwrap();
        assert!(tree.refusal().starts_with("0000:01:00.0 is in a no-IOMMU group, where a drive reaches all memory: "));
    }

    #[test]
    fn members_that_other_drivers_have_are_named() {
        let tree = Tree::new();
        tree.function(DRIVE, NVME, Some("vfio-pci"), Some(7)).function("0000:02:00.0", NVME, Some("nvme"), Some(7));
        tree.function("0000:02:00.1", "0x0c0330", Some("xhci_hcd"), Some(7));
        let Group { number, hindered_by } = tree.group().unwrap();
        let line = Error::NotViable { address: DRIVE.parse().unwrap(), group: number, others: hindered_by }.to_string();
        let expected = "0000:01:00.0 shares IOMMU group 7 with 0000:02:00.0 (driver nvme), 0000:02:00.1 (driver \
                        xhci_hcd): give them to vfio-pci as well (`gantryctl drive bind`), or leave none of the group to \
                        another driver";
        assert_eq!(line, expected);
    }

    #[test]
    fn garbage_in_sysfs_is_no_drive() {
        let tree = Tree::new();
        tree.function(DRIVE, "\u{fffd} 0x0108020000000", Some("vfio-pci"), Some(7));
        assert!(matches!(tree.group(), Err(Error::Class { found: 0, .. })));
    }

    #[test]
    fn who_holds_a_file_is_told() {
        let tree = Tree::new();
        let process = tree.0.join("4711");
        fs::create_dir_all(process.join("fd")).unwrap();
        fs::write(process.join("comm"), "qemu-system-x86\n").unwrap();
        symlink("/dev/vfio/7", process.join("fd/13")).unwrap();
        assert_eq!(holder(&tree.0, Path::new("/dev/vfio/8")), None);
        let holder = holder(&tree.0, Path::new("/dev/vfio/7"));
        let line = Error::Held { address: DRIVE.parse().unwrap(), group: 7, holder }.to_string();
        let expected = "0000:01:00.0 (IOMMU group 7) is held by qemu-system-x86 (process 4711): end that first";
        assert_eq!(line, expected);
    }
}
