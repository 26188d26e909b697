//! NVMe controllers on the PCI bus, as sysfs has them (Linux Documentation/ABI/testing/sysfs-bus-pci).

use crate::machine::Machine;
use std::fmt;
use std::str::FromStr;

/// Where PCI functions are.
pub(crate) const DEVICES: &str = "sys/bus/pci/devices";

/// Class code of an NVM Express controller: mass storage, non-volatile memory, NVMe (PCI Code and ID Assignment, 1.8).
const NVME_CLASS: &str = "0x010802";

/// A PCI function's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

/// A text that is no address.
#[derive(Debug, thiserror::Error)]
#[error("not a PCI address: write 0000:01:00.0, as `lspci -D` and `gantryctl drive list` do")]
pub(crate) struct NoAddress;

impl FromStr for Address {
    type Err = NoAddress;

    /// `0000:01:00.0`, or `01:00.0` in domain 0.
    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let hex = |text: &str, digits: std::ops::RangeInclusive<usize>| {
            let plain = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain.then(|| u32::from_str_radix(text, 16).ok()).flatten().ok_or(NoAddress)
        };
        let (place, function) = text.rsplit_once('.').ok_or(NoAddress)?;
        let mut parts = place.rsplit(':');
        let (device, bus) = (parts.next().ok_or(NoAddress)?, parts.next().ok_or(NoAddress)?);
        let (domain, rest) = (parts.next().unwrap_or("0000"), parts.next());
        let (device, function) = (hex(device, 2..=2)?, hex(function, 1..=1)?);
        if rest.is_some() || device > 31 || function > 7 {
            return Err(NoAddress);
        }
        let (domain, bus) = (hex(domain, 4..=8)?, hex(bus, 2..=2)? as u8);
        Ok(Self { domain, bus, device: device as u8, function: function as u8 })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{:x}", self.domain, self.bus, self.device, self.function)
    }
}

impl Address {
    /// An attribute of this function.
    pub(crate) fn attribute(self, name: &str) -> String {
        format!("{DEVICES}/{self}/{name}")
    }

    /// The driver that has it.
    pub(crate) fn driver(self, machine: &Machine<'_>) -> Option<String> {
        machine.link(&self.attribute("driver"))
    }

    /// Its IOMMU group.
    pub(crate) fn group(self, machine: &Machine<'_>) -> Option<u32> {
        machine.link(&self.attribute("iommu_group"))?.parse().ok()
    }

    /// Its NUMA node, on a machine that has several.
    pub(crate) fn node(self, machine: &Machine<'_>) -> Option<u32> {
        machine.number::<i32>(&self.attribute("numa_node"))?.try_into().ok()
    }

    /// The function at the other end of its link: the folder above its own.
    pub(crate) fn upstream(self, machine: &Machine<'_>) -> Option<Address> {
        let target = machine.target(&format!("{DEVICES}/{self}"))?;
        target.rsplit('/').nth(1)?.parse().ok()
    }

    pub(crate) fn is_nvme(self, machine: &Machine<'_>) -> bool {
        machine.text(&self.attribute("class")).as_deref() == Some(NVME_CLASS)
    }
}

/// Every function of an IOMMU group.
pub(crate) fn group_members(machine: &Machine<'_>, group: u32) -> Vec<Address> {
    let names = machine.names(&format!("sys/kernel/iommu_groups/{group}/devices"));
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// Every PCI function.
pub(crate) fn functions(machine: &Machine<'_>) -> Vec<Address> {
    let mut addresses: Vec<Address> = machine.names(DEVICES).iter().filter_map(|name| name.parse().ok()).collect();
    addresses.sort_unstable();
    addresses
}

/// The controller's name with the kernel's own driver, `nvme0`, when that driver has it.
pub(crate) fn kernel_name(machine: &Machine<'_>, address: Address) -> Option<String> {
    machine.names(&address.attribute("nvme")).into_iter().find(|name| name.starts_with("nvme"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, same) in
            [("0000:01:00.0", "0000:01:00.0"), ("a1:1f.7", "0000:a1:1f.7"), ("10001:02:03.4", "10001:02:03.4")]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), same);
        }
        for text in ["", "nvme0", "01:00", "01:00.8", "01:20.0", "0:01:00.0", "1:0000:01:00.0", "+1:00.0", "01:00.0 "] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
