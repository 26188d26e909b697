//! The card's drives and what of them the host sees: one subsystem, whose namespaces lie on four drives.

use std::fmt::Write as _;

use crate::vm::{Machine, Nvme};

use super::{FOLDER, Guard, MTU};
use crate::interop::subsystem;
use crate::vm::NET_ADDRESS;

/// Reads of these sectors fail: on the first drive, and on the one that takes little at once.
pub(super) const BAD_SECTORS: [u64; 2] = [20_000, 20_117];

/// The port of the drive that Gantry is not told of.
pub(super) const STRAY: usize = 4;

/// The port of the drive that is taken away and returned.
pub(super) const REMOVABLE: usize = 3;

/// A namespace as the host sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Served {
    pub(super) nsid: u32,
    /// The drive's port.
    pub(super) port: usize,
    /// The drive's own NSID.
    pub(super) drive_nsid: u32,
    pub(super) bytes: u64,
    pub(super) block_bytes: u32,
    pub(super) uuid: &'static str,
}

const fn served(
    nsid: u32,
    (port, drive_nsid): (usize, u32),
    bytes: u64,
    block_bytes: u32,
    uuid: &'static str,
) -> Served {
    Served { nsid, port, drive_nsid, bytes, block_bytes, uuid }
}

/// All of them.
pub(super) const SERVED: [Served; 6] = [
    served(1, (0, 1), 64 << 20, 512, subsystem::OPEN_UUID),
    served(2, (1, 1), 64 << 20, 4096, "3f6a1c52-08d4-4b0e-8a77-52c1e9d0b402"),
    served(3, (2, 1), 32 << 20, 512, "3f6a1c52-08d4-4b0e-8a77-52c1e9d0b403"),
    served(4, (2, 2), 16 << 20, 4096, "3f6a1c52-08d4-4b0e-8a77-52c1e9d0b404"),
    served(5, (2, 3), 16 << 20, 512, "3f6a1c52-08d4-4b0e-8a77-52c1e9d0b405"),
    served(6, (REMOVABLE, 1), 64 << 20, 512, "3f6a1c52-08d4-4b0e-8a77-52c1e9d0b406"),
];

/// The drives, in the order of their PCI addresses (the first is 0000:01:00.0).
pub fn drives() -> Vec<Nvme> {
    let mut drives: Vec<Nvme> = (0..=STRAY).map(|port| Nvme::new(&name(port))).collect();
    for served in &SERVED {
        let drive = drives[served.port].clone().namespace(served.bytes, served.block_bytes);
        drives[served.port] = match served.port {
            0 => drive.bad_sectors(&BAD_SECTORS),
            // 2^2 pages of 4 KiB in one command.
            REMOVABLE => drive.bad_sectors(&BAD_SECTORS).option("mdts", 2),
            _ => drive,
        };
    }
    drives[STRAY] = drives[STRAY].clone().namespace(16 << 20, 512);
    drives
}

fn name(port: usize) -> String {
    format!("d{port}")
}

/// Options of a drive's URI.
fn options(port: usize) -> &'static str {
    // As if it knew PRPs only.
    if port == REMOVABLE { ",sgl=off" } else { "" }
}

/// gantryd's configuration.
pub(super) fn configuration(guard: Guard) -> String {
    let mut text = format!(
        r#"[dataplane]
channel = "{FOLDER}/channel"

[[port]]
name = "wire0"
device = "{NET_ADDRESS}"
addresses = ["10.0.0.1/24"]
mtu = {MTU}
"#
    );
    for port in 0..STRAY {
        let (name, address, options) = (name(port), Machine::drive_address(port), options(port));
        let unguarded = if guard == Guard::None { ",iommu=off" } else { "" };
        write!(text, "\n[[drive]]\nname = \"{name}\"\nuri = \"pci:{address}{options}{unguarded}\"\n")
            .expect("a String takes all");
    }
    let nqn = subsystem::OPEN;
    write!(text, "\n[[subsystem]]\nnqn = \"{nqn}\"\nhosts = \"any\"\nnamespaces = [\n").expect("a String takes all");
    for Served { nsid, port, drive_nsid, uuid, .. } in SERVED {
        let drive = name(port);
        writeln!(text, "    {{ nsid = {nsid}, drive = \"{drive}\", drive_nsid = {drive_nsid}, uuid = \"{uuid}\" }},")
            .expect("a String takes all");
    }
    text + "]\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_toml_with_every_namespace() {
        let table: toml::Table = configuration(Guard::Iommu).parse().expect("valid TOML");
        assert_eq!(table["drive"].as_array().map(Vec::len), Some(STRAY));
        assert_eq!(table["drive"][REMOVABLE]["uri"].as_str(), Some("pci:0000:04:00.0,sgl=off"));
        let namespaces = table["subsystem"][0]["namespaces"].as_array().expect("a list");
        assert_eq!(namespaces.len(), SERVED.len());
        assert_eq!(namespaces[4]["drive_nsid"].as_integer(), Some(3));
    }
}
