//! The kernel's own target, in a second machine behind the switch: the harness is right when this one passes.

use crate::vm::{Error, Faults, Machine, Passed, Result, Switch, SwitchPort};

use super::target::{HOST_ADDRESS, Target, subsystem};

const HOST: SwitchPort = SwitchPort(0);
const TARGET: SwitchPort = SwitchPort(1);

/// nvmet-rdma over null_blk drives in memory.
pub struct Nvmet {
    // The machine ends before the wire that it is on.
    machine: Machine,
    switch: Switch,
}

impl Nvmet {
    /// Boots the target's machine; `seed` is for the wire's losses.
    pub fn start(seed: u64) -> Result<Self> {
        let switch = Switch::new(2, seed)?;
        let machine = Machine::builder("nvmet")
            .wire(switch.wire(TARGET))
            .mac([0x52, 0x54, 0, 0, 0, 1])
            .address("10.0.0.1/24")
            .rdma()
            .boot()?;
        machine.run_ok(&configuration())?;
        Ok(Self { machine, switch })
    }

    /// Faults on the wire itself, seeded: on frames to the target and on frames to the host.
    pub fn set_faults(&self, to_target: Faults, to_host: Faults) {
        self.switch.set_faults(HOST, to_target);
        self.switch.set_faults(TARGET, to_host);
    }

    /// What has passed: frames to the target, frames to the host.
    pub fn passed(&self) -> (Passed, Passed) {
        (self.switch.passed(HOST), self.switch.passed(TARGET))
    }

    /// The wire, for captures.
    pub fn switch(&self) -> &Switch {
        &self.switch
    }
}

/// Two subsystems as nvmet's configfs takes them.
fn configuration() -> String {
    let megabytes = subsystem::OPEN_BYTES >> 20;
    let mut script = "set -e\nmodprobe -a nvmet nvmet_rdma\nmodprobe null_blk nr_devices=0\n".to_owned();
    let parts = [
        ("open", subsystem::OPEN, subsystem::OPEN_UUID, megabytes, 1),
        ("private", subsystem::PRIVATE, subsystem::PRIVATE_UUID, 16, 0),
    ];
    for (drive, nqn, uuid, megabytes, any_host) in parts {
        script += &format!(
            "cd /sys/kernel/config/nullb\nmkdir {drive}\ncd {drive}
            echo {megabytes} >size; echo 1 >memory_backed; echo 512 >blocksize; echo 0 >irqmode
            echo 1 >discard; echo 1 >power
            cd /sys/kernel/config/nvmet/subsystems\nmkdir {nqn}\ncd {nqn}
            echo {any_host} >attr_allow_any_host
            mkdir namespaces/1
            disk=/dev/nullb$(cat /sys/kernel/config/nullb/{drive}/index)
            [ -b $disk ] || disk=/dev/{drive}
            echo -n $disk >namespaces/1/device_path
            echo {uuid} >namespaces/1/device_uuid
            echo 1 >namespaces/1/enable\n"
        );
    }
    script += "cd /sys/kernel/config/nvmet/ports\nmkdir 1\ncd 1
        echo rdma >addr_trtype; echo ipv4 >addr_adrfam; echo 10.0.0.1 >addr_traddr; echo 4420 >addr_trsvcid\n";
    for nqn in [subsystem::OPEN, subsystem::PRIVATE] {
        script += &format!("ln -s /sys/kernel/config/nvmet/subsystems/{nqn} subsystems/{nqn}\n");
    }
    script
}

impl Target for Nvmet {
    fn name(&self) -> &str {
        "nvmet"
    }

    fn address(&self) -> &str {
        "10.0.0.1"
    }

    fn boot_host(&mut self) -> Result<Machine> {
        Machine::builder("host").wire(self.switch.wire(HOST)).address(&format!("{HOST_ADDRESS}/24")).rdma().boot()
    }

    fn check_health(&self) -> Result<()> {
        self.machine.check_health()?;
        let passed = self.passed();
        if passed.0.undelivered > 0 {
            return Err(Error::Unexpected(format!("the wire lost frames by itself: {passed:?}")));
        }
        Ok(())
    }

    fn said(&self) -> String {
        self.machine.console().tail()
    }

    fn stop(self: Box<Self>) -> Result<()> {
        self.check_health()
    }
}
