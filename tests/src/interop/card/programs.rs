//! What is put into the card: Gantry's programs, and the parts of DPDK that it loads by their path.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::interop::gantry::find_program;
use crate::vm::{Contents, Error, Result};

/// What the EAL loads from its plugin folder: buses, mempools and the port's driver (with names cut before the version).
const PLUGINS: &[&str] = &["librte_bus_pci", "librte_bus_vdev", "librte_mempool_ring", "librte_net_virtio"];

/// Programs for a card, by the name that they have there.
#[derive(Clone, Debug)]
pub struct Programs {
    contents: Contents,
}

impl Programs {
    /// Gantry's own, and what the scenarios need.
    pub fn gantry() -> Result<Self> {
        let mut programs = Self { contents: Contents::card("card") }.with_plugins()?;
        for (variable, name) in [
            ("GANTRY_DATAPLANE", "gantry-dataplane"),
            ("GANTRYD", "gantryd"),
            ("GANTRYCTL", "gantryctl"),
            ("GANTRY_STRAY", "stray"),
        ] {
            programs = programs.with(name, &find_program(variable, name)?);
        }
        Ok(programs)
    }

    /// None yet, but what DPDK loads; the archive of this machine is kept apart from the suite's.
    pub fn none() -> Result<Self> {
        Self { contents: Contents::card("oncard") }.with_plugins()
    }

    /// One more program of this machine, with its libraries.
    #[must_use]
    pub fn with(self, name: &str, path: &Path) -> Self {
        Self { contents: self.contents.program(name, path) }
    }

    pub(super) fn contents(self) -> Contents {
        self.contents
    }

    fn with_plugins(mut self) -> Result<Self> {
        let folder = plugin_folder()?;
        for name in PLUGINS {
            let start = format!("{name}.so");
            let entries = fs::read_dir(&folder).map_err(Error::on("reading", &folder))?;
            let found = entries.flatten().map(|entry| entry.path()).find(|path| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start)) && !path.is_symlink()
            });
            let path = found.ok_or_else(|| Error::Unexpected(format!("no {start} in {}", folder.display())))?;
            self.contents = self.contents.plugin(&path);
        }
        Ok(self)
    }
}

/// Where the EAL looks by itself: `dpdk/pmds-<ABI>` in the folder of DPDK's libraries.
fn plugin_folder() -> Result<PathBuf> {
    let output = Command::new("pkg-config").args(["--variable=libdir", "libdpdk"]).output();
    let output = output.map_err(Error::doing("starting pkg-config"))?;
    let folder = Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("dpdk");
    let entries = fs::read_dir(&folder).map_err(Error::on("reading", &folder))?;
    let plugins = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pmds-"));
    let mut found = entries.flatten().map(|entry| entry.path()).filter(plugins);
    found.next().ok_or_else(|| Error::Unexpected(format!("DPDK's drivers are not in {}", folder.display())))
}
