//! Drives of made-up machines: what is told of them, what is refused, and what a failed step leaves behind.

use super::bind::{Back, BindError, Done, bind, unbind};
use super::list::{drives, shown};
use super::pci::Address;
use super::uses::Look;
use crate::described::Described;

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

/// The machine of drives, with `more`.
fn machine(more: &str) -> Described {
    let mut described = Described::named("drives");
    described.add(more);
    described
}

/// What `bind` says of a drive that it refuses; nothing may have been written.
fn refused(more: &str, drive: &str) -> String {
    let described = machine(more);
    let error = bind(&described.machine(), address(drive), false).unwrap_err();
    assert_eq!(described.writes.take(), [], "{error}");
    error.to_string()
}

#[test]
fn each_drive_is_shown_with_its_driver_group_and_users() {
    let described = machine("");
    let text = shown(&drives(&described.machine(), Look::Only));
    let expected = "\
0000:01:00.0  144d:a80a  SAMSUNG MZQL21T9HCJR-00A07  S64GNE0R700001  nvme0
              the kernel's driver nvme; IOMMU group 14 alone, NUMA node 0
              in use: nvme0n1p1 is mounted at /boot/with space
              in use: nvme0n1p2 is part of dm-0 (vg-root)
              in use: dm-0 (vg-root) holds the root file system
              in use: nvme0n1p2 is part of dm-1 (vg-swap)
              in use: dm-1 (vg-swap) is swap space
0000:02:00.0  1b36:0010  QEMU NVMe Ctrl  twopaths  nvme1
              the kernel's driver nvme; IOMMU group 15 with 0000:00:1c.0 (pcieport), NUMA node 1
              nvme1c1n1 is a path of nvme1n1
              free
0000:03:00.0  8086:0a54
              driver vfio-pci; IOMMU group 16 alone, NUMA node 1
              in use: 0000:03:00.0 is open in gantry-dataplan (process 712)
0000:04:00.0  8086:0a54
              no driver; IOMMU group 17 with 0000:04:00.1 (i40e)
              free
0000:05:00.0  1e0f:0007  nvme3
              the kernel's driver nvme; no IOMMU group
              free
";
    assert_eq!(text, expected);
}

#[test]
fn json_says_the_same() {
    let described = machine("");
    let json = serde_json::to_value(drives(&described.machine(), Look::Only)).unwrap();
    assert_eq!(json[0]["address"], "0000:01:00.0");
    assert_eq!(json[0]["in_use"][1]["by"], "is part of dm-0 (vg-root)");
    assert_eq!(json[0]["numa_node"], 0);
    assert_eq!(json[1]["paths"][0]["head"], "nvme1n1");
    assert_eq!(json[1]["group_shared_with"][0]["driver"], "pcieport");
    assert_eq!(json[3]["driver"], serde_json::Value::Null);
    assert_eq!(json[4]["iommu_group"], serde_json::Value::Null);
    assert_eq!(json.as_array().unwrap().len(), 5);
}

#[test]
fn a_machine_without_drives_says_so() {
    let described = Described::new("");
    assert_eq!(shown(&drives(&described.machine(), Look::Only)), "there is no NVMe drive on the PCI bus\n");
}

#[test]
fn a_free_drive_goes_to_vfio_and_back() {
    let described = machine("");
    let machine = described.machine();
    let drive = address("02:00.0");
    let moved = |from: &str, to: &str| Done::Moved { from: Some(from.to_owned()), to: to.to_owned() };
    assert_eq!(bind(&machine, drive, false).unwrap(), moved("nvme", "vfio-pci"));
    assert_eq!(bind(&machine, drive, false).unwrap(), Done::Already);
    assert_eq!(unbind(&machine, drive).unwrap(), moved("vfio-pci", "nvme"));
    assert_eq!(unbind(&machine, drive).unwrap(), Done::Already);
    let folder = "/sys/bus/pci/devices/0000:02:00.0/driver_override";
    let writes: Vec<_> = described.writes.take();
    let written: Vec<(&str, &str)> = writes.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let expected = [
        (folder, "vfio-pci"),
        ("/sys/bus/pci/drivers/nvme/unbind", "0000:02:00.0"),
        ("/sys/bus/pci/drivers_probe", "0000:02:00.0"),
        (folder, "nvme"),
        ("/sys/bus/pci/drivers/vfio-pci/unbind", "0000:02:00.0"),
        ("/sys/bus/pci/drivers_probe", "0000:02:00.0"),
        (folder, "\n"),
    ];
    assert_eq!(written, expected);
}

#[test]
fn a_drive_in_use_stays_and_its_users_are_named() {
    let said = refused("", "0000:01:00.0");
    assert!(said.contains("nvme0n1p1 is mounted at /boot/with space"), "{said}");
    assert!(said.contains("dm-0 (vg-root) holds the root file system"), "{said}");
    // Each kind of use by itself.
    let uses = [
        ("/proc/self/mountinfo = 30 1 259:8 / /srv rw - xfs /dev/nvme1n1 rw", "nvme1n1 is mounted at /srv"),
        // A file system of its own device numbers names its source.
        ("/proc/self/mountinfo = 30 1 0:40 / /srv rw - btrfs /dev/nvme1n1 rw", "nvme1n1 is mounted at /srv"),
        ("/proc/swaps\n| Filename\n| /dev/nvme1n1 partition 1 0 -2", "nvme1n1 is swap space"),
        ("/sys/class/block/nvme1n1/holders/md127 -> ../../md127", "nvme1n1 is part of md127"),
        ("/sys/class/block/loop3/loop/backing_file = /dev/nvme1n1", "nvme1n1 is behind loop3"),
        (
            "/sys/kernel/config/nvmet/subsystems/nqn.x/namespaces/1/device_path = /dev/nvme1n1",
            "namespace 1 of the kernel's",
        ),
        ("claim /dev/nvme1n1 = busy", "nvme1n1 is held exclusively"),
        ("/proc/9/comm = fio\n/proc/9/fd/3 -> /dev/nvme1n1", "nvme1 is open in fio (process 9)"),
        ("/proc/9/comm = nvme\n/proc/9/fd/3 -> /dev/nvme1", "nvme1 is open in nvme (process 9)"),
    ];
    for (more, said) in uses {
        let told = refused(more, "0000:02:00.0");
        assert!(told.contains(said) && told.contains("0000:02:00.0 is in use"), "{more}: {told}");
    }
    let told = refused("claim /dev/nvme1n1 = denied", "0000:02:00.0");
    assert!(told.contains("run gantryctl as root"), "{told}");
}

#[test]
fn holders_that_go_in_a_circle_end() {
    let circle =
        "/sys/class/block/nvme1n1/holders/dm-5 -> ../../dm-5\n/sys/class/block/dm-5/holders/nvme1n1 -> ../../nvme1n1";
    assert!(refused(circle, "0000:02:00.0").contains("nvme1n1 is part of dm-5"));
}

#[test]
fn what_is_no_drive_or_cannot_be_held_within_bounds_is_refused() {
    assert!(refused("", "0000:99:00.0").contains("there is no such PCI device"));
    assert!(refused("", "0000:00:1f.2").contains("not an NVMe controller (class 0x010601)"));
    let said = refused("", "0000:04:00.0");
    assert!(said.contains("IOMMU group 17") && said.contains("0000:04:00.1 (i40e)"), "{said}");
    let said = refused("", "0000:05:00.0");
    assert!(said.contains("no IOMMU group") && said.contains("--without-iommu"), "{said}");
    let said = refused(
        "- /sys/bus/pci/drivers/vfio-pci\nrun modprobe vfio-pci = 1 FATAL: Module vfio-pci not found",
        "0000:02:00.0",
    );
    assert!(said.contains("no driver vfio-pci (FATAL: Module vfio-pci not found)"), "{said}");
}

#[test]
fn a_drive_that_no_driver_was_offered_gets_its_group_with_vfio() {
    let fresh = "pci 0000:06:00.0 class=0x010802 vendor=0x1b36 device=0x0010\n";
    let drive = address("06:00.0");
    let left = |more: &str| {
        let described = machine(&format!("{fresh}{more}"));
        let done = bind(&described.machine(), drive, false);
        (done, drive.driver(&described.machine()), described.machine().text(&drive.attribute("driver_override")))
    };
    let (done, driver, _) = left("offered 0000:06:00.0 = 18");
    assert_eq!(done.unwrap(), Done::Moved { from: None, to: "vfio-pci".to_owned() });
    assert_eq!(driver.as_deref(), Some("vfio-pci"));
    // It has none then either, or one with a device of the kernel's: as before.
    for (more, said) in [("", "no IOMMU group"), ("offered 0000:06:00.0 = 17", "0000:04:00.1 (i40e)")] {
        let (done, driver, driver_override) = left(more);
        let error = done.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert_eq!((driver, driver_override.as_deref()), (None, Some("")), "{more}");
    }
}

#[test]
fn a_missing_module_is_loaded() {
    let described = machine("- /sys/bus/pci/drivers/vfio-pci\nrun modprobe vfio-pci = 0");
    bind(&described.machine(), address("02:00.0"), false).unwrap();
}

#[test]
fn without_an_iommu_only_who_says_so() {
    let described = machine("/sys/bus/pci/drivers/uio_pci_generic/new_id = x");
    let (machine, drive) = (described.machine(), address("05:00.0"));
    let error = bind(&machine, drive, false).unwrap_err();
    assert!(matches!(error, BindError::NoIommu { .. }), "{error}");
    let moved = |from: &str, to: &str| Done::Moved { from: Some(from.to_owned()), to: to.to_owned() };
    assert_eq!(bind(&machine, drive, true).unwrap(), moved("nvme", "uio_pci_generic"));
    assert_eq!(bind(&machine, drive, true).unwrap(), Done::Already);
    assert_eq!(unbind(&machine, drive).unwrap(), moved("uio_pci_generic", "nvme"));
    // Where there is an IOMMU it is used.
    assert_eq!(bind(&machine, address("02:00.0"), true).unwrap(), moved("nvme", "vfio-pci"));
    // One that is in use stays, and its file is not opened to find out.
    let node = "pci 0000:05:00.0 driver=uio_pci_generic\n/sys/bus/pci/devices/0000:05:00.0/uio/uio0/name = uio_pci_generic\n\
                /proc/712/fd/11 -> /dev/uio0\nclaim /dev/uio0 = busy";
    let described = self::machine(node);
    let said = unbind(&described.machine(), drive).unwrap_err().to_string();
    assert!(said.contains("is open in gantry-dataplan (process 712)") && !said.contains("held through"), "{said}");
}

#[test]
fn a_step_that_fails_is_undone() {
    let drive = address("02:00.0");
    let failures = [
        ("refuse /sys/bus/pci/devices/0000:02:00.0/driver_override", "driver_override: planted", false),
        ("refuse /sys/bus/pci/drivers/nvme/unbind", "nvme/unbind: planted", true),
        ("untaken vfio-pci", "vfio-pci did not take it", true),
    ];
    for (more, said, restored) in failures {
        let described = machine(more);
        let error = bind(&described.machine(), drive, false).unwrap_err();
        assert!(error.to_string().contains(said), "{more}: {error}");
        assert_eq!(drive.driver(&described.machine()).as_deref(), Some("nvme"), "{more}");
        if restored {
            assert!(error.to_string().ends_with("everything is as it was"), "{error}");
            assert_eq!(described.machine().text(&drive.attribute("driver_override")).as_deref(), Some(""));
        }
    }
}

#[test]
fn what_cannot_be_undone_is_said() {
    let described = machine("untaken vfio-pci\nuntaken nvme");
    let error = bind(&described.machine(), address("02:00.0"), false).unwrap_err();
    let BindError::NotTaken { back: Back::No(why), .. } = &error else { panic!("{error}") };
    assert_eq!(why, "it is with no driver");
}

#[test]
fn a_drive_that_a_data_plane_has_stays_with_vfio() {
    let unbound = |more: &str, drive: &str| {
        let described = machine(more);
        let error = unbind(&described.machine(), address(drive)).unwrap_err();
        assert_eq!(described.writes.take(), [], "{error}");
        error.to_string()
    };
    let said = unbound("", "0000:03:00.0");
    assert!(said.contains("is open in gantry-dataplan (process 712)"), "{said}");
    // The process is hidden; the group is busy all the same.
    let said = unbound("- /proc/712/fd/9\nclaim /dev/vfio/16 = busy", "0000:03:00.0");
    assert!(said.contains("is held through /dev/vfio/16"), "{said}");
    let said = unbound("- /proc/712/fd/9\nclaim /dev/vfio/16 = denied", "0000:03:00.0");
    assert!(said.contains("as root"), "{said}");
    let new = "/sys/bus/pci/devices/0000:03:00.0/vfio-dev/vfio0/dev = 511:0\n- /proc/712/fd/9\n/proc/712/fd/9 -> /dev/vfio/devices/vfio0";
    assert!(unbound(new, "0000:03:00.0").contains("is open in gantry-dataplan"));
    let other = "pci 0000:02:00.0 driver=igb_uio";
    assert!(unbound(other, "0000:02:00.0").contains("has the driver igb_uio"));
}

#[test]
fn looking_claims_nothing_unless_it_is_asked_to() {
    let described = machine("claim /dev/nvme1n1 = busy\nclaim /dev/vfio/16 = busy\n- /proc/712/fd/9");
    let uses = |how| drives(&described.machine(), how).iter().map(|drive| drive.in_use.len()).collect::<Vec<_>>();
    assert_eq!(uses(Look::Only), [5, 0, 0, 0, 0]);
    assert_eq!(uses(Look::AndClaim), [5, 1, 1, 0, 0]);
}
