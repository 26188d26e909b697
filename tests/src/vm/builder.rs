//! What a machine is to be, and QEMU's command line for it.

use std::path::PathBuf;

use super::machine::AGENTS;
use super::platform::{Platform, X86_64};
use super::process::Scratch;
use super::{Contents, Emulator, Initramfs, Kernel, Machine, Nvme, Result};

/// Where the machine's network device ends.
#[derive(Clone, Debug, Default)]
pub enum Wire {
    /// No network device.
    #[default]
    None,
    /// One datagram is one Ethernet frame without FCS: QEMU binds `local` and sends to `remote`.
    Dgram {
        /// QEMU's end.
        local: PathBuf,
        /// The other end.
        remote: PathBuf,
    },
    /// QEMU listens on `socket`; a DPDK `net_vhost` port with `client=1` connects. Boot waits for it.
    VhostUser {
        /// The socket that QEMU makes.
        socket: PathBuf,
    },
}

/// A machine to be.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) name: String,
    platform: &'static Platform,
    emulator: Option<Emulator>,
    machine: Option<String>,
    devices: Vec<String>,
    memory_mb: u32,
    cpus: u32,
    kernel: Option<Kernel>,
    kernel_words: Vec<String>,
    pub(super) contents: Contents,
    iommu: bool,
    unguarded: bool,
    pub(super) drives: Vec<Nvme>,
    wire: Wire,
    mac: [u8; 6],
    mtu: u16,
    addresses: Vec<String>,
    vlan: Option<u16>,
    rdma: bool,
}

/// Device number of the wire's device on the root bus, behind an IOMMU.
const NET_SLOT: u8 = 0x8;

/// PCI address of the wire's device, in a machine that has an IOMMU.
pub const NET_ADDRESS: &str = "0000:00:08.0";

impl Builder {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            platform: &X86_64,
            emulator: None,
            machine: None,
            devices: Vec::new(),
            memory_mb: 1000,
            cpus: 1,
            kernel: None,
            kernel_words: Vec::new(),
            contents: Contents::host(),
            iommu: false,
            unguarded: false,
            drives: Vec::new(),
            wire: Wire::None,
            mac: [0x52, 0x54, 0, 0, 0, 2],
            mtu: 1500,
            addresses: Vec::new(),
            vlan: None,
            rdma: false,
        }
    }

    /// Guest memory in MiB; 1000 unless said.
    #[must_use]
    pub fn memory_mb(mut self, memory_mb: u32) -> Self {
        self.memory_mb = memory_mb;
        self
    }

    /// Virtual CPUs; 1 unless said.
    #[must_use]
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// Another processor than x86-64.
    #[must_use]
    pub fn platform(mut self, platform: &'static Platform) -> Self {
        self.platform = platform;
        self
    }

    /// Another program than this machine's own QEMU.
    #[must_use]
    pub fn emulator(mut self, emulator: Emulator) -> Self {
        self.emulator = Some(emulator);
        self
    }

    /// Another machine type (`-machine`) than the platform's.
    #[must_use]
    pub fn machine(mut self, machine: &str) -> Self {
        self.machine = Some(machine.to_owned());
        self
    }

    /// Adds a device, as `-device` takes it.
    #[must_use]
    pub fn device(mut self, device: &str) -> Self {
        self.devices.push(device.to_owned());
        self
    }

    /// Puts an IOMMU before the devices. The wire's device, at [`NET_ADDRESS`], is then for a driver in user space: no
    /// network is brought up.
    #[must_use]
    pub fn iommu(mut self) -> Self {
        self.iommu = true;
        self
    }

    /// As [`Builder::iommu`], on the same kind of machine, without an IOMMU: nothing stands between devices and memory.
    #[must_use]
    pub fn unguarded(mut self) -> Self {
        self.unguarded = true;
        self
    }

    /// Adds a controller: the first is at PCI address [`Machine::drive_address`]`(0)`.
    #[must_use]
    pub fn drive(mut self, drive: Nvme) -> Self {
        self.drives.push(drive);
        self
    }

    /// Adds a word to the kernel's command line.
    #[must_use]
    pub fn kernel_word(mut self, word: &str) -> Self {
        self.kernel_words.push(word.to_owned());
        self
    }

    /// What is in its root; [`Contents::host`] unless said.
    #[must_use]
    pub fn contents(mut self, contents: Contents) -> Self {
        self.contents = contents;
        self
    }

    /// Another kernel than [`Kernel::debian`].
    #[must_use]
    pub fn kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = Some(kernel);
        self
    }

    /// Where eth0 leads.
    #[must_use]
    pub fn wire(mut self, wire: Wire) -> Self {
        self.wire = wire;
        self
    }

    /// eth0's address; two machines on one wire need two.
    #[must_use]
    pub fn mac(mut self, mac: [u8; 6]) -> Self {
        self.mac = mac;
        self
    }

    /// eth0's MTU in bytes of IP packet; 1500 unless said.
    #[must_use]
    pub fn mtu(mut self, mtu: u16) -> Self {
        self.mtu = mtu;
        self
    }

    /// Adds an IP address with its prefix length, as in "10.0.0.2/24".
    #[must_use]
    pub fn address(mut self, address: &str) -> Self {
        self.addresses.push(address.to_owned());
        self
    }

    /// Puts the addresses on this VLAN of eth0.
    #[must_use]
    pub fn vlan(mut self, vlan: u16) -> Self {
        self.vlan = Some(vlan);
        self
    }

    /// Makes the RoCE device rxe0 over eth0.
    #[must_use]
    pub fn rdma(mut self) -> Self {
        self.rdma = true;
        self
    }

    /// Starts the machine and returns when it takes commands and its network is up.
    pub fn boot(self) -> Result<Machine> {
        self.boot_while(&|| Ok(()))
    }

    /// [`Self::boot`], given up as soon as `peer` fails: what the machine's wire leads to may have gone.
    pub fn boot_while(self, peer: &dyn Fn() -> Result<()>) -> Result<Machine> {
        Machine::start(self, peer)
    }

    pub(super) fn kernel_image(&self) -> Result<Kernel> {
        self.kernel.clone().map_or_else(Kernel::debian, Ok)
    }

    /// QEMU's program and its arguments, for files that lie in `scratch`.
    pub(super) fn command(&self, kernel: &Kernel, initramfs: &Initramfs, scratch: &Scratch) -> (PathBuf, Vec<String>) {
        let (platform, memory) = (self.platform, self.memory_mb);
        let mut arguments: Vec<String> = Vec::new();
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        let file = |name: &str| scratch.join(name).display().to_string();
        let machine = if self.iommu || self.unguarded { platform.iommu_machine } else { platform.machine };
        let machine = self.machine.as_deref().unwrap_or(machine);
        let mut words = format!(
            "console={} loglevel=5 panic=-1 mitigations=off random.trust_cpu=on net.ifnames=0",
            platform.console
        );
        for word in
            self.iommu.then_some(platform.iommu_kernel).into_iter().chain(self.kernel_words.iter().map(|word| &**word))
        {
            words += " ";
            words += word;
        }
        add("-accel", "tcg,thread=multi".into());
        add("-cpu", platform.cpu.into());
        add("-smp", self.cpus.to_string());
        add("-m", format!("{memory}M"));
        // Shared, because a vhost-user back end maps it.
        add("-object", format!("memory-backend-memfd,id=mem,size={memory}M,share=on"));
        add("-machine", format!("{machine},memory-backend=mem"));
        add("-kernel", kernel.image.display().to_string());
        add("-initrd", initramfs.path.display().to_string());
        add("-append", words);
        add("-display", "none".into());
        // Before the devices that are behind it.
        if let Some(device) = platform.iommu_device.filter(|_| self.iommu) {
            add("-device", device.into());
        }
        add("-chardev", "stdio,id=console,signal=off".into());
        add("-serial", "chardev:console".into());
        if platform.shell_line {
            add("-chardev", format!("socket,id=shell,path={},server=on,wait=off", file("shell")));
            add("-serial", "chardev:shell".into());
        }
        add("-qmp", format!("unix:{},server=on,wait=off", file("qmp")));
        add("-device", "virtio-rng-pci".into());
        add("-device", "virtio-serial-pci".into());
        for index in 0..AGENTS {
            let name = format!("agent{index}");
            add("-chardev", format!("socket,id={name},path={},server=on,wait=off", file(&name)));
            add("-device", format!("virtserialport,chardev={name},name={name}"));
        }
        let mac = self.mac.map(|byte| format!("{byte:02x}")).join(":");
        // Behind an IOMMU a driver in user space may have it: no legacy interface, addresses that the IOMMU translates.
        let behind = if self.iommu {
            format!(",disable-legacy=on,iommu_platform=on,ats=on,addr={NET_SLOT:#x}")
        } else if self.unguarded {
            format!(",disable-legacy=on,addr={NET_SLOT:#x}")
        } else {
            String::new()
        };
        match &self.wire {
            Wire::None => {}
            Wire::Dgram { local, remote } => {
                let (local, remote) = (local.display(), remote.display());
                add(
                    "-netdev",
                    format!("dgram,id=n0,local.type=unix,local.path={local},remote.type=unix,remote.path={remote}"),
                );
                add("-device", format!("virtio-net-pci,netdev=n0,mac={mac},romfile={behind}"));
            }
            Wire::VhostUser { socket } => {
                add("-chardev", format!("socket,id=vu,path={},server=on", socket.display()));
                add("-netdev", "vhost-user,id=n0,chardev=vu,queues=1".into());
                // QEMU 7.2 crashes on MSI-X notifiers when the guest's driver starts over vhost-user.
                add("-device", format!("virtio-net-pci,netdev=n0,mac={mac},vectors=0,romfile={behind}"));
            }
        }
        for (port, drive) in self.drives.iter().enumerate() {
            for (option, value) in drive.arguments(scratch.path(), port) {
                add(option, value);
            }
        }
        self.devices.iter().for_each(|device| add("-device", device.clone()));
        arguments.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(str::to_owned));
        match &self.emulator {
            Some(emulator) => (emulator.program.clone(), [emulator.arguments.clone(), arguments].concat()),
            None => (platform.emulator.into(), arguments),
        }
    }

    /// What the guest does to bring its network up.
    pub(super) fn network(&self) -> Option<String> {
        if self.iommu || self.unguarded || matches!(self.wire, Wire::None) {
            return None;
        }
        let mut script = format!("set -e\n/sbin/ip link set eth0 mtu {} up\n", self.mtu);
        let device = match self.vlan {
            None => "eth0".to_owned(),
            Some(vlan) => {
                script += &format!(
                    "modprobe 8021q\n/sbin/ip link add link eth0 name eth0.{vlan} type vlan id {vlan}\n\
                     /sbin/ip link set eth0.{vlan} up\n"
                );
                format!("eth0.{vlan}")
            }
        };
        for address in &self.addresses {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            script += &format!("/sbin/ip addr add {address} dev {device}{nodad}\n");
        }
        if self.rdma {
            script += "modprobe -a rdma_rxe rdma_cm\nrdma link add rxe0 type rxe netdev eth0\n";
            // Each address makes a GID a moment later; a connection before that finds no route. An IPv4 one shows
            // as ::ffff:a.b.c.d, and an IPv6 one is none of link-local (fe80::) or empty.
            let global = self.addresses.len();
            script += &format!(
                "tries=0\nuntil [ \"$(cat /sys/class/infiniband/rxe0/ports/1/gids/* 2>/dev/null | \
                 grep -vc -e '^fe80' -e '^0000:0000:0000:0000:0000:0000:0000:0000')\" -ge {global} ]; do\n\
                 tries=$((tries + 1)); [ $tries -lt 100 ] || {{ echo no GID >&2; exit 1; }}\nsleep 0.1\ndone\n"
            );
        }
        Some(script)
    }
}
