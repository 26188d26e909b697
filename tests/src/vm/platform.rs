//! What of a machine depends on its processor: QEMU's program and machine types, the IOMMU, names of serial lines. An
//! architecture is one [`Platform`]; nothing else here knows any of it.

/// A processor architecture as QEMU emulates it.
#[derive(Debug)]
pub struct Platform {
    /// QEMU's program.
    pub(super) emulator: &'static str,
    /// `-machine` without an IOMMU.
    pub(super) machine: &'static str,
    /// `-machine` with one.
    pub(super) iommu_machine: &'static str,
    /// `-device` of the IOMMU, where the machine type does not bring it.
    pub(super) iommu_device: Option<&'static str>,
    /// What the kernel's command line needs so that devices are behind the IOMMU.
    pub(super) iommu_kernel: &'static str,
    /// `-cpu`.
    pub(super) cpu: &'static str,
    /// The kernel's name for the first serial line.
    pub(super) console: &'static str,
    /// Whether there is a second serial line, for the login shell.
    pub(super) shell_line: bool,
}

/// x86-64: "pc" without an IOMMU; q35 with Intel's, which remaps interrupts (VFIO insists), tells QEMU of every mapping
/// (caching mode) and serves ATS (device-iotlb).
pub static X86_64: Platform = Platform {
    emulator: "qemu-system-x86_64",
    machine: "pc,usb=off,vmport=off",
    iommu_machine: "q35,kernel-irqchip=split,usb=off,vmport=off",
    iommu_device: Some("intel-iommu,intremap=on,caching-mode=on,device-iotlb=on"),
    // On a machine so busy that QEMU gets no turn for some ticks the kernel would take its timer's interrupt for lost.
    iommu_kernel: "intel_iommu=on no_timer_check",
    cpu: "max",
    console: "ttyS0",
    shell_line: true,
};

/// 64-bit Arm: "virt" with a SMMUv3, which its firmware tables put before the PCI bus.
pub static AARCH64: Platform = Platform {
    emulator: "qemu-system-aarch64",
    machine: "virt,gic-version=3",
    iommu_machine: "virt,gic-version=3,iommu=smmuv3",
    iommu_device: None,
    iommu_kernel: "iommu.passthrough=0",
    // Pointer authentication as its architecture has it takes a third of the emulation's time.
    cpu: "max,pauth-impdef=on",
    console: "ttyAMA0",
    shell_line: false,
};
