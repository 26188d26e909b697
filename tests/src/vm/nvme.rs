//! QEMU's NVMe controllers: each on a PCIe port of its own, from which it can be taken and to which it can be returned.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{Error, Result};

/// First device number of the ports on the root bus: behind whatever else QEMU puts there.
const FIRST_PORT: usize = 0x10;

/// One namespace, in a sparse file of the machine's own.
#[derive(Clone, Debug)]
struct Namespace {
    bytes: u64,
    block_bytes: u32,
    bad_sectors: Vec<u64>,
}

/// A controller to be.
#[derive(Clone, Debug)]
pub struct Nvme {
    name: String,
    namespaces: Vec<Namespace>,
    options: Map<String, Value>,
}

impl Nvme {
    /// A controller without a namespace; `name` is QEMU's id for it and its serial number.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), namespaces: Vec::new(), options: Map::new() }
    }

    /// One namespace more: NSID 1, 2 and so on. Only a controller with one can be taken away and returned.
    #[must_use]
    pub fn namespace(mut self, bytes: u64, block_bytes: u32) -> Self {
        self.namespaces.push(Namespace { bytes, block_bytes, bad_sectors: Vec::new() });
        self
    }

    /// Reads of these 512-byte sectors of the last namespace fail.
    ///
    /// # Panics
    /// Without a namespace.
    #[must_use]
    pub fn bad_sectors(mut self, sectors: &[u64]) -> Self {
        self.namespaces.last_mut().expect("a namespace first").bad_sectors.extend(sectors);
        self
    }

    /// One of QEMU's own options for it: `("mdts", 2)`.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.options.insert(name.to_owned(), value.into());
        self
    }

    /// QEMU's id for it.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn node(&self, index: usize) -> String {
        format!("{}n{}", self.name, index + 1)
    }

    /// The file of a namespace, counted from 0.
    pub(super) fn file(&self, folder: &Path, index: usize) -> PathBuf {
        folder.join(format!("{}.image", self.node(index)))
    }

    /// Makes the files of its namespaces.
    pub(super) fn make_files(&self, folder: &Path) -> Result<()> {
        for (index, namespace) in self.namespaces.iter().enumerate() {
            let path = self.file(folder, index);
            let file = File::create(&path).map_err(Error::on("creating", &path))?;
            file.set_len(namespace.bytes).map_err(Error::on("sizing", &path))?;
        }
        Ok(())
    }

    /// QEMU's arguments for it on port `port`.
    pub(super) fn arguments(&self, folder: &Path, port: usize) -> Vec<(&'static str, String)> {
        let mut arguments = Vec::new();
        for (index, namespace) in self.namespaces.iter().enumerate() {
            let file = self.file(folder, index).display().to_string();
            let mut node = json!({ "driver": "file", "filename": file, "cache": { "no-flush": true } });
            if !namespace.bad_sectors.is_empty() {
                let errors: Vec<Value> = namespace
                    .bad_sectors
                    .iter()
                    .map(|sector| json!({ "event": "none", "iotype": "read", "errno": 5, "sector": sector }))
                    .collect();
                node = json!({ "driver": "blkdebug", "image": node, "inject-error": errors });
            }
            node["node-name"] = self.node(index).into();
            arguments.push(("-blockdev", node.to_string()));
        }
        let device = FIRST_PORT + port;
        arguments
            .push(("-device", format!("pcie-root-port,id=port{port},chassis={0},slot={0},addr={device:#x}", port + 1)));
        arguments.push(("-device", self.device(port).to_string()));
        // One namespace belongs to the controller itself: a separate one could not be plugged while QEMU runs.
        if let [_, _, ..] = self.namespaces[..] {
            for (index, namespace) in self.namespaces.iter().enumerate() {
                let (node, bytes) = (self.node(index), namespace.block_bytes);
                let mut properties = json!({
                    "driver": "nvme-ns", "id": format!("{node}.ns"), "bus": self.name, "drive": node, "nsid": index + 1,
                });
                block_size(&mut properties, bytes);
                arguments.push(("-device", properties.to_string()));
            }
        }
        arguments
    }

    /// The controller's properties, for `-device` and `device_add` alike.
    pub(super) fn device(&self, port: usize) -> Value {
        let mut properties =
            json!({ "driver": "nvme", "id": self.name, "serial": self.name, "bus": format!("port{port}") });
        if let [namespace] = &self.namespaces[..] {
            properties["drive"] = self.node(0).into();
            block_size(&mut properties, namespace.block_bytes);
        }
        for (name, value) in &self.options {
            properties[name] = value.clone();
        }
        properties
    }
}

fn block_size(properties: &mut Value, bytes: u32) {
    properties["logical_block_size"] = bytes.into();
    properties["physical_block_size"] = bytes.into();
}

/// The PCI address, in the machine, of what is on port `port`: each port leads to the bus after the port's before it.
pub(super) fn address(port: usize) -> String {
    format!("0000:{:02x}:00.0", port + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_with_one_namespace_can_be_plugged() {
        let drive = Nvme::new("d0").namespace(1 << 20, 4096).bad_sectors(&[7]).option("mdts", 2);
        let device = drive.device(3);
        assert_eq!((device["drive"].as_str(), device["bus"].as_str()), (Some("d0n1"), Some("port3")));
        assert_eq!((device["logical_block_size"].as_u64(), device["mdts"].as_u64()), (Some(4096), Some(2)));
        let arguments = drive.arguments(Path::new("/x"), 3);
        let node: Value = serde_json::from_str(&arguments[0].1).expect("JSON");
        assert_eq!(node["inject-error"][0]["sector"].as_u64(), Some(7));
        assert_eq!(node["image"]["filename"].as_str(), Some("/x/d0n1.image"));
        assert!(arguments[1].1.contains("addr=0x13"));
        assert_eq!((arguments.len(), address(3).as_str()), (3, "0000:04:00.0"));
    }

    #[test]
    fn several_namespaces_are_devices_of_their_own() {
        let drive = Nvme::new("d1").namespace(1 << 20, 512).namespace(2 << 20, 4096);
        assert!(drive.device(0).get("drive").is_none());
        let arguments = drive.arguments(Path::new("/x"), 0);
        let last: Value = serde_json::from_str(&arguments[5].1).expect("JSON");
        assert_eq!((last["nsid"].as_u64(), last["bus"].as_str()), (Some(2), Some("d1")));
    }
}
