//! Machines for tests: a text makes a small tree of sysfs, procfs, /dev and /etc in a folder, and a kernel that answers as
//! the text says. The machines are in `tests/machines`; their format:
//!
//! ```text
//! base healthy-x86                     the machine that this one differs from
//! names hugepages.none                 what the doctor has to name, and nothing else
//! remedy vm.nr_hugepages               what the remedy has to contain
//! pci 0000:01:00.0 class=0x010802 driver=nvme group=14 numa_node=0       a PCI function and its attributes
//! /proc/swaps = one line               a file
//! /proc/meminfo                        a file of the lines that follow and begin with a bar
//! | MemTotal: 1 kB
//! /sys/class/block/x -> ../y           a symbolic link
//! - /sys/kernel/mm                     not there, with all that is below
//! claim /dev/nvme0n1 = busy            who opens it exclusively hears busy, or denied
//! refuse /sys/bus/pci/drivers_probe    a write to it fails
//! untaken vfio-pci                     this driver takes no device
//! offered 0000:06:00.0 = 18            its IOMMU group from when a driver was offered it
//! run modprobe vfio-pci = 1 no such module       what a program answers: its status and words
//! unrun gantryd --check                no such program after all
//! mode /run/gantry/channel = 600       permissions
//! process 712 gantry-dataplan = /usr/bin/gantry-dataplane --lcores 2     its name and command line
//! stats /run/gantry/channel.stats = 1 712       a statistics segment: layout version, process
//! also dataplane.stopped               what the doctor may name besides, because it follows
//! ```

use crate::machine::{Kernel, Machine};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Error, ErrorKind};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A machine made from its description.
pub(crate) struct Described {
    folder: tempfile::TempDir,
    /// What the doctor has to name: a fault's code and a part of its remedy.
    pub(crate) named: Option<(String, String)>,
    /// What it may name besides.
    pub(crate) also: Vec<String>,
    claims: BTreeMap<PathBuf, ErrorKind>,
    refused: RefCell<BTreeSet<PathBuf>>,
    untaken: BTreeSet<String>,
    offered: BTreeMap<String, String>,
    answers: BTreeMap<String, (bool, String)>,
    /// Every write, in order: path without the root, text.
    pub(crate) writes: RefCell<Vec<(String, String)>>,
}

/// Where the machines are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machines")
}

impl Described {
    /// The machine `name` of `tests/machines`.
    pub(crate) fn named(name: &str) -> Self {
        Self::new(&fs::read_to_string(folder().join(format!("{name}.machine"))).unwrap())
    }

    pub(crate) fn new(text: &str) -> Self {
        let mut machine = Self {
            // In memory where there is such a place: a machine is a hundred small files.
            folder: tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap(),
            named: None,
            also: Vec::new(),
            claims: BTreeMap::new(),
            refused: RefCell::default(),
            untaken: BTreeSet::new(),
            offered: BTreeMap::new(),
            answers: BTreeMap::new(),
            writes: RefCell::default(),
        };
        machine.add(text);
        machine
    }

    pub(crate) fn machine(&self) -> Machine<'_> {
        Machine::new(self.folder.path(), self)
    }

    fn at(&self, path: &str) -> PathBuf {
        assert!(path.starts_with('/'), "{path} is not absolute");
        self.folder.path().join(&path[1..])
    }

    /// Adds what `text` says to the machine.
    pub(crate) fn add(&mut self, text: &str) {
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let pair = || rest.split_once(" = ").unwrap_or_else(|| panic!("{line}: no ` = `"));
            match word {
                "" | "#" => {}
                "base" => self.add(&fs::read_to_string(folder().join(format!("{rest}.machine"))).unwrap()),
                "names" => self.named = Some((rest.to_owned(), String::new())),
                "remedy" => self.named.as_mut().expect("names comes first").1 = rest.to_owned(),
                "pci" => self.pci(rest),
                "-" => {
                    match fs::symlink_metadata(self.at(rest)).unwrap_or_else(|_| panic!("{line}: not there")).is_dir() {
                        true => fs::remove_dir_all(self.at(rest)).unwrap(),
                        false => fs::remove_file(self.at(rest)).unwrap(),
                    }
                }
                "claim" => {
                    let (path, why) = pair();
                    let kind = if why == "busy" { ErrorKind::ResourceBusy } else { ErrorKind::PermissionDenied };
                    self.claims.insert(self.at(path), kind);
                }
                "refuse" => {
                    self.refused.borrow_mut().insert(self.at(rest));
                }
                "offered" => {
                    let (address, group) = pair();
                    self.offered.insert(address.to_owned(), group.to_owned());
                }
                "untaken" => {
                    self.untaken.insert(rest.to_owned());
                }
                "run" => {
                    let (command, answer) = pair();
                    let (status, said) = answer.split_once(' ').unwrap_or((answer, ""));
                    self.answers.insert(command.to_owned(), (status == "0", said.to_owned()));
                }
                "unrun" => {
                    self.answers.remove(rest).expect("it answered");
                }
                "also" => self.also.push(rest.to_owned()),
                "process" => {
                    let ((pid, name), command) = (pair().0.split_once(' ').unwrap(), pair().1);
                    self.file(&format!("/proc/{pid}/comm"), &format!("{name}\n"));
                    self.file(&format!("/proc/{pid}/cmdline"), &(command.replace(' ', "\0") + "\0"));
                }
                "stats" => {
                    let (path, (version, pid)) = (pair().0, pair().1.split_once(' ').unwrap());
                    self.statistics(path, version.parse().unwrap(), pid.parse().unwrap());
                }
                "mode" => {
                    let (path, mode) = pair();
                    let mode = u32::from_str_radix(mode, 8).unwrap();
                    fs::set_permissions(self.at(path), Permissions::from_mode(mode)).unwrap();
                }
                _ if line.contains(" -> ") => {
                    let (path, target) = line.split_once(" -> ").unwrap();
                    self.link(path, target);
                }
                _ if line.starts_with('/') && line.contains(" = ") => {
                    let (path, text) = line.split_once(" = ").unwrap();
                    self.file(path, &format!("{text}\n"));
                }
                _ if line.starts_with('/') => {
                    let mut text = String::new();
                    while let Some(line) = lines.next_if(|line| line.starts_with('|')) {
                        text += line[1..].strip_prefix(' ').unwrap_or(&line[1..]);
                        text.push('\n');
                    }
                    match line.strip_suffix('/') {
                        Some(folder) => fs::create_dir_all(self.at(folder)).unwrap(),
                        None => self.file(line, &text),
                    }
                }
                _ => panic!("{line}: not understood"),
            }
        }
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        symlink(target, &path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    fn pci(&self, line: &str) {
        let mut words = line.split(' ');
        let address = words.next().unwrap();
        let folder = format!("/sys/bus/pci/devices/{address}");
        for (name, value) in words.map(|word| word.split_once('=').unwrap()) {
            match name {
                "driver" => {
                    fs::create_dir_all(self.at(&format!("/sys/bus/pci/drivers/{value}"))).unwrap();
                    self.link(&format!("{folder}/driver"), &format!("../../drivers/{value}"));
                }
                "group" => {
                    self.link(&format!("{folder}/iommu_group"), &format!("../../../kernel/iommu_groups/{value}"));
                    self.link(&format!("/sys/kernel/iommu_groups/{value}/devices/{address}"), "../../x");
                }
                _ => self.file(&format!("{folder}/{name}"), &format!("{value}\n")),
            }
        }
    }

    /// A segment of one lcore and no counter.
    fn statistics(&self, path: &str, version: u32, pid: u32) {
        use gantry::stats::{MAGIC, Preamble};
        use zerocopy::{FromZeros, IntoBytes};
        let mut preamble = Preamble::new_zeroed();
        (preamble.magic, preamble.version, preamble.pid) = (MAGIC.into(), version.into(), pid.into());
        (preamble.lcores, preamble.rows) = (1.into(), 64.into());
        fs::write(self.at(path), preamble.as_bytes()).unwrap();
    }

    /// What the bus does when it is asked to find a driver for `address`.
    fn probe(&self, address: &str) {
        let folder = self.at(&format!("/sys/bus/pci/devices/{address}"));
        if let Some(group) = self.offered.get(address) {
            self.pci(&format!("{address} group={group}"));
        }
        let named = fs::read_to_string(folder.join("driver_override")).unwrap_or_default();
        let driver = if named.trim().is_empty() { "nvme" } else { named.trim() };
        let there = self.at(&format!("/sys/bus/pci/drivers/{driver}")).is_dir();
        if there && !self.untaken.contains(driver) && !folder.join("driver").exists() {
            symlink(format!("../../drivers/{driver}"), folder.join("driver")).unwrap();
        }
    }
}

impl Kernel for Described {
    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        let shown = format!("/{}", path.strip_prefix(self.folder.path()).unwrap().display());
        self.writes.borrow_mut().push((shown.clone(), text.to_owned()));
        if self.refused.borrow().contains(path) {
            return Err(Error::other("planted"));
        }
        if shown.ends_with("/drivers_probe") {
            self.probe(text);
        } else if shown.ends_with("/unbind") {
            fs::remove_file(self.at(&format!("/sys/bus/pci/devices/{text}/driver")))?;
        } else {
            fs::write(path, text)?;
        }
        Ok(())
    }

    fn claim(&self, path: &Path) -> io::Result<File> {
        match self.claims.get(path) {
            Some(kind) => Err((*kind).into()),
            None => File::open(path),
        }
    }

    fn run(&self, program: &str, arguments: &[&str]) -> io::Result<(bool, String)> {
        let command = [&[program], arguments].concat().join(" ");
        let answer = self.answers.get(&command).cloned().ok_or(ErrorKind::NotFound)?;
        if answer.0 && program == "modprobe" {
            fs::create_dir_all(self.at(&format!("/sys/bus/pci/drivers/{}", arguments[0])))?;
        }
        Ok(answer)
    }
}
