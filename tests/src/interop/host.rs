//! The Linux host: nvme-cli and what surrounds it, as calls.

use std::time::Duration;

use crate::vm::{Error, Machine, Output, Result};

use super::Fio;
use super::fio::Report;

/// Words of the kernel about NVMe that none of its lines may hold when nothing was to be noticed.
const TROUBLE: &[&str] = &[
    "timeout",
    "timed out",
    "reset",
    "econnect",
    "recovery",
    "error",
    "failed",
    "identifiers changed",
    "keep",
    "not found",
    "command_id",
    "mismatch",
];

/// A connected namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The controller's character device: "/dev/nvme0".
    pub controller: String,
    /// The namespace's block device: "/dev/nvme0n1".
    pub block: String,
}

impl Device {
    /// A loop in the host's shell that leaves in `$stat` where the kernel counts this disk's I/Os (kernel:
    /// Documentation/block/stat.rst).
    pub(super) fn find_stat(&self) -> String {
        let name = self.block.trim_start_matches("/dev/");
        // With native multipath, nvme0n1 is the head of paths like nvme0c0n1, and only these count.
        let (controller, namespace) = name.rsplit_once('n').unwrap_or((name, ""));
        format!(
            "for stat in /sys/block/{controller}c*n{namespace}/stat /sys/block/{name}/stat; do [ ! -e $stat ] || break; done\n"
        )
    }
}

/// What the host's kernel did by itself since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Messages that its rxe sent again as a requester.
    pub retransmissions: u64,
    /// NVMe commands that timed out.
    pub timeouts: u64,
}

/// A machine with an RoCE device, and the target that it speaks to.
pub struct Host {
    machine: Machine,
    address: String,
    retransmissions_seen: u64,
}

impl Host {
    /// `address` is the target's.
    pub fn new(machine: Machine, address: &str) -> Self {
        Self { machine, address: address.to_owned(), retransmissions_seen: 0 }
    }

    /// The machine itself.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// `nvme discover`: the NQNs that the target offers.
    pub fn discover(&self) -> Result<Vec<String>> {
        let text = self.machine.run_ok(&format!("nvme discover -t rdma -a {} -s 4420", self.address))?;
        Ok(text.lines().filter_map(|line| line.strip_prefix("subnqn:")).map(|nqn| nqn.trim().to_owned()).collect())
    }

    /// `nvme connect` as it is, to look at how it fails.
    pub fn try_connect(&self, nqn: &str, port: u16) -> Result<Output> {
        self.nvme_connect(nqn, port, "")
    }

    fn nvme_connect(&self, nqn: &str, port: u16, more: &str) -> Result<Output> {
        self.machine.run_for(
            &format!(
                "nvme connect -t rdma -a {} -s {port} -n {nqn} --keep-alive-tmo=5 --ctrl-loss-tmo=60 {more}",
                self.address
            ),
            Duration::from_secs(150),
        )
    }

    /// Connects and waits for the namespace.
    pub fn connect(&self, nqn: &str) -> Result<Device> {
        self.connect_with(nqn, "")
    }

    /// [`Self::connect`] with more options of `nvme connect`.
    pub fn connect_with(&self, nqn: &str, more: &str) -> Result<Device> {
        let output = self.nvme_connect(nqn, 4420, more)?;
        if !output.ok() {
            let dmesg = self.machine.run_ok("dmesg | tail -20")?;
            return Err(Error::Unexpected(format!("nvme connect {nqn} {output}\n{dmesg}")));
        }
        // With native multipath the block device belongs to the subsystem.
        let found = self.machine.run_ok(&format!(
            "tries=0
            while [ $tries -lt 100 ]; do
                for subsystem in /sys/class/nvme-subsystem/*; do
                    [ \"$(cat $subsystem/subsysnqn 2>/dev/null)\" = {nqn} ] || continue
                    controller= block=
                    for child in $subsystem/nvme*; do
                        name=${{child##*/}}
                        case $name in
                        nvme*c*n*) ;;
                        nvme*n*) [ -b /dev/$name ] && [ \"$(cat /sys/block/$name/size)\" -gt 0 ] && block=$name ;;
                        nvme*) [ \"$(cat $child/state)\" = live ] && controller=$name ;;
                        esac
                    done
                    [ -n \"$controller\" ] && [ -n \"$block\" ] && echo /dev/$controller /dev/$block && exit 0
                done
                tries=$((tries + 1)); sleep 0.1
            done
            echo no live namespace of {nqn} after ten seconds >&2; dmesg | tail -20 >&2; exit 1"
        ))?;
        let mut words = found.split_whitespace().map(str::to_owned);
        match (words.next(), words.next()) {
            (Some(controller), Some(block)) => Ok(Device { controller, block }),
            _ => Err(Error::Unexpected(format!("no device in {found:?}"))),
        }
    }

    /// Disconnects from `nqn`; fails unless exactly one controller was there.
    pub fn disconnect(&self, nqn: &str) -> Result<()> {
        let said = self.machine.run_ok(&format!("nvme disconnect -n {nqn}"))?;
        if said.contains("disconnected 1 controller") {
            return Ok(());
        }
        Err(Error::Unexpected(format!("nvme disconnect -n {nqn} said {:?}", said.trim())))
    }

    /// Disconnects from everything, whatever is there.
    pub fn disconnect_all(&self) -> Result<()> {
        self.machine.run_ok_for("nvme disconnect-all", Duration::from_secs(150)).map(drop)
    }

    /// Runs fio and reads its report; a verification failure is an error.
    pub fn fio(&self, fio: &Fio) -> Result<Report> {
        self.fio_with(fio, &mut |_| {})
    }

    /// [`Self::fio`] with a report every second while it runs.
    pub fn fio_with(&self, fio: &Fio, on_report: &mut dyn FnMut(Report)) -> Result<Report> {
        fio.run(&self.machine, on_report)
    }

    /// Loads nvme_rdma again with `register_always=N` (or Y, its default).
    pub fn register_always(&self, always: bool) -> Result<()> {
        let value = if always { 'Y' } else { 'N' };
        self.machine.run_ok(&format!("rmmod nvme_rdma && modprobe nvme_rdma register_always={value}")).map(drop)
    }

    /// Makes this host's wire worse, in the words of netem ("loss 2%", "duplicate 2%"), for packets to the target and
    /// from it. Two empty strings make it whole again.
    pub fn set_wire(&self, to_target: &str, to_host: &str) -> Result<()> {
        self.machine.run_ok(
            "/sbin/tc qdisc del dev eth0 root 2>/dev/null
             /sbin/tc qdisc del dev eth0 ingress 2>/dev/null
             /sbin/ip link del ifb0 2>/dev/null; true",
        )?;
        if !to_target.is_empty() {
            self.machine.run_ok(&format!("/sbin/tc qdisc add dev eth0 root netem limit 4000 {to_target}"))?;
        }
        if !to_host.is_empty() {
            // netem works on what leaves a device, so what arrives is sent through another one first.
            self.machine.run_ok(&format!(
                "set -e
                 modprobe ifb numifbs=0
                 /sbin/ip link add ifb0 type ifb
                 /sbin/ip link set ifb0 up
                 /sbin/tc qdisc add dev ifb0 root netem limit 4000 {to_host}
                 /sbin/tc qdisc add dev eth0 ingress
                 /sbin/tc filter add dev eth0 parent ffff: matchall action mirred egress redirect dev ifb0"
            ))?;
        }
        Ok(())
    }

    /// Packets that [`Self::set_wire`] has lost since: (to the target, to this host).
    pub fn lost(&self) -> Result<(u64, u64)> {
        let count = |device: &str| -> Result<u64> {
            let text = self
                .machine
                .run_ok(&format!("/sbin/tc -s qdisc show dev {device} 2>/dev/null | grep -A2 netem; true"))?;
            // " Sent 1042 bytes 12 pkt (dropped 3, overlimits 0 requeues 0)"
            let dropped = text.split_once("(dropped ").and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
            Ok(dropped.unwrap_or(0))
        };
        Ok((count("eth0")?, count("ifb0")?))
    }

    /// Writes a line into the kernel's log, from which [`Self::log_since`] reads.
    pub fn mark(&self, mark: &str) -> Result<()> {
        self.machine.run_ok(&format!("echo 'gantry: {mark}' >/dev/kmsg")).map(drop)
    }

    /// The kernel's log since `mark`.
    pub fn log_since(&self, mark: &str) -> Result<String> {
        let log = self.machine.run_ok("dmesg")?;
        let mark = format!("gantry: {mark}");
        Ok(log.rsplit_once(&mark).map_or(log.as_str(), |(_, since)| since).to_owned())
    }

    /// The lines of the kernel since `mark` that speak of trouble with NVMe or a block device.
    pub fn trouble_since(&self, mark: &str) -> Result<Vec<String>> {
        let log = self.log_since(mark)?;
        let about = |line: &&str| ["nvme", "I/O error", "rxe"].iter().any(|word| line.contains(word));
        let bad = |line: &&str| {
            let line = line.to_lowercase();
            TROUBLE.iter().any(|word| line.contains(word))
        };
        Ok(log.lines().filter(about).filter(bad).map(str::to_owned).collect())
    }

    /// What the kernel did by itself since `mark` (timeouts) and since the last call (retransmissions).
    pub fn evidence_since(&mut self, mark: &str) -> Result<Evidence> {
        // rxe counts every time its completer makes the requester go back.
        let total = self.machine.run_ok("cat /sys/class/infiniband/rxe0/ports/1/hw_counters/completer_retry_err")?;
        let total = total.trim().parse().unwrap_or(0);
        let timeouts = self.log_since(mark)?.lines().filter(|line| is_timeout(line)).count() as u64;
        let retransmissions = total - std::mem::replace(&mut self.retransmissions_seen, total);
        Ok(Evidence { retransmissions, timeouts })
    }
}

/// "nvme nvme0: I/O 12 QID 1 timeout", "nvme nvme0: I/O 12 (Read) QID 1 timeout, aborting" and their like.
fn is_timeout(line: &str) -> bool {
    line.contains("nvme") && line.contains("QID") && line.contains("timeout")
}
