//! Notices: what the shell logs. Typed, so that tests and later APIs read them too. What a peer can provoke at will is
//! limited to a rate, with a count of what was left out.

use crate::ns::SECOND_NS;
use gantry_wire::cm;
use gantry_wire::nvme::Status;
use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;

/// Something an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The session with the data plane is open.
    SessionOpened {
        /// The data plane's boot id.
        boot_id: u64,
        /// Whether it is another run of the data plane than the session before.
        fresh: bool,
        /// Its lcores.
        lcores: u16,
    },
    /// The channel is gone.
    SessionLost,
    /// The data plane refuses the session.
    SessionRefused {
        /// Its words.
        text: String,
    },
    /// The data plane refused something of the configuration.
    Refused {
        /// What was asked for.
        what: String,
        /// The data plane's words.
        text: String,
    },
    /// Something that an earlier control left, and that nobody can take over: it is taken down.
    Unclaimed {
        /// What.
        what: String,
        /// Why not.
        text: String,
    },
    /// A port is open.
    PortUp {
        /// Its name.
        port: String,
        /// Its MAC address.
        mac: [u8; 6],
    },
    /// A drive is up.
    DriveReady {
        /// Its name.
        drive: String,
        /// Its model.
        model: String,
        /// Blocks of its first namespace.
        blocks: u64,
        /// log2 of its block size.
        block_shift: u8,
    },
    /// Something about a drive that is up: namespaces that are left out, what its make gets wrong, another drive with the same.
    DriveRemark {
        /// Its name.
        drive: String,
        /// The data plane's words.
        text: String,
    },
    /// A drive could not be brought up, or failed.
    DriveFailed {
        /// Its name.
        drive: String,
        /// The data plane's words.
        text: String,
    },
    /// A drive is not there; it is waited for.
    DriveAbsent {
        /// Its name.
        drive: String,
        /// The data plane's words.
        text: String,
    },
    /// A drive has kept a command for too long and is asked to abort it.
    DriveSlow {
        /// Its name.
        drive: String,
    },
    /// A host has a controller.
    Connected {
        /// The controller.
        cntlid: u16,
        /// The subsystem's NQN.
        subsystem: String,
        /// The host's NQN.
        host: String,
        /// The host's address.
        address: IpAddr,
    },
    /// A controller has one more I/O queue.
    QueueConnected {
        /// The controller.
        cntlid: u16,
        /// The queue.
        qid: u16,
    },
    /// A controller ends; its QPs drain.
    Ended {
        /// The controller.
        cntlid: u16,
        /// Why.
        why: EndReason,
    },
    /// A Connect was refused.
    ConnectRefused {
        /// The host's address.
        address: IpAddr,
        /// The host's NQN; empty when the Connect carried none that can be read.
        host: String,
        /// The subsystem's NQN, likewise.
        subsystem: String,
        /// The answer.
        status: Status,
        /// Its dword 0.
        dw0: u32,
    },
    /// A CM REQ was rejected.
    RequestRejected {
        /// The host's address.
        address: IpAddr,
        /// REJ's reason.
        reason: cm::Reason,
    },
    /// Bytes that make no sense came in.
    Malformed {
        /// What they should have been.
        what: Malformed,
        /// What is wrong with them.
        text: String,
    },
    /// A connection went silent while it was being set up.
    SetupTimedOut {
        /// The host's address.
        address: IpAddr,
    },
    /// Notices that were left out since the last one.
    Suppressed {
        /// How many.
        count: u64,
    },
}

/// Why a controller ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The host disconnected.
    HostLeft,
    /// Its keep-alive timeout expired.
    KeepAliveExpired,
    /// One of its QPs failed; [`QpFailure`](gantry::channel::event::QpFailure) as a number.
    QpFailed(u16),
    /// The host came back as if the connection had never been.
    Stale,
    /// The data plane refused what the controller needs.
    Refused,
    /// The configuration has changed: its subsystem is gone, or its host may not use it any more.
    NotAdmitted,
    /// An earlier control left it, and nobody can take it over.
    Unclaimed,
}

/// What malformed bytes should have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A frame of the channel.
    Frame,
    /// A MAD.
    Mad,
    /// A capsule.
    Capsule,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SessionOpened { boot_id, fresh, lcores } => {
                let which = if *fresh { "a fresh data plane" } else { "the data plane that was running" };
                write!(f, "session open with {which}, {lcores} lcores, boot id {boot_id:016x}")
            }
            Self::SessionLost => write!(f, "the channel to the data plane is gone"),
            Self::SessionRefused { text } => write!(f, "the data plane refuses the session: {text}"),
            Self::Refused { what, text } => write!(f, "{what}: refused by the data plane: {text}"),
            Self::Unclaimed { what, text } => write!(f, "{what} is taken down: {text}"),
            Self::PortUp { port, mac: [a, b, c, d, e, g] } => {
                write!(f, "port {port} is up, {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
            }
            Self::DriveReady { drive, model, blocks, block_shift } => {
                let bytes = 1u64.checked_shl(u32::from(*block_shift)).unwrap_or(0);
                write!(f, "drive {drive} is ready: {model}, {blocks} blocks of {bytes} bytes")
            }
            Self::DriveRemark { drive, text } => write!(f, "drive {drive}: {text}"),
            Self::DriveFailed { drive, text } => write!(f, "drive {drive} failed: {text}"),
            Self::DriveAbsent { drive, text } => write!(f, "drive {drive} is not there: {text}"),
            Self::DriveSlow { drive } => write!(f, "drive {drive} is slow: a command is aborted"),
            Self::Connected { cntlid, subsystem, host, address } => {
                write!(f, "controller {cntlid}: {host} at {address} connected to {subsystem}")
            }
            Self::QueueConnected { cntlid, qid } => write!(f, "controller {cntlid}: I/O queue {qid} connected"),
            Self::Ended { cntlid, why } => write!(f, "controller {cntlid} ends: {why}"),
            Self::ConnectRefused { address, host, subsystem, status, dw0 } => {
                write!(f, "Connect of {host:?} at {address} to {subsystem:?} refused: {status}, dw0 {dw0:#010x}")
            }
            Self::RequestRejected { address, reason } => write!(f, "connection from {address} rejected: {reason}"),
            Self::Malformed { what, text } => write!(f, "malformed {what}: {text}"),
            Self::SetupTimedOut { address } => write!(f, "{address} went silent while connecting"),
            Self::Suppressed { count } => write!(f, "{count} notices left out"),
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostLeft => write!(f, "the host disconnected"),
            Self::KeepAliveExpired => write!(f, "keep-alive timeout"),
            Self::QpFailed(reason) => write!(f, "a queue pair failed ({})", failure(*reason)),
            Self::Stale => write!(f, "the host connects anew"),
            Self::Refused => write!(f, "the data plane cannot hold it"),
            Self::NotAdmitted => write!(f, "the configuration admits its host no more"),
            Self::Unclaimed => write!(f, "left by an earlier control, and unclaimed"),
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frame => "frame from the data plane",
            Self::Mad => "MAD",
            Self::Capsule => "capsule",
        })
    }
}

fn failure(reason: u16) -> &'static str {
    use gantry::channel::event::QpFailure::*;
    const NAMES: [(u16, &str); 6] = [
        (RetryExceeded as u16, "retries exceeded"),
        (RnrRetryExceeded as u16, "RNR retries exceeded"),
        (Nak as u16, "NAK from the host"),
        (Protocol as u16, "the host broke the protocol"),
        (Drive as u16, "a drive failed"),
        (KeepAlive as u16, "keep-alive timeout"),
    ];
    NAMES.iter().find(|(n, _)| *n == reason).map_or("unknown reason", |(_, name)| name)
}

/// Most notices that wait for the shell.
const WAITING_MAX: usize = 1024;
/// Most notices a second of those that a peer can provoke.
const NOISY_PER_SECOND: u32 = 20;

/// The queue towards the shell.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    waiting: VecDeque<Notice>,
    second: u64,
    noisy: u32,
    suppressed: u64,
}

impl Notices {
    pub(crate) fn push(&mut self, notice: Notice) {
        if self.waiting.len() >= WAITING_MAX {
            self.suppressed += 1;
            return;
        }
        if self.suppressed > 0 {
            let count = std::mem::take(&mut self.suppressed);
            self.waiting.push_back(Notice::Suppressed { count });
        }
        self.waiting.push_back(notice);
    }

    /// For what a peer can provoke as often as it likes.
    pub(crate) fn push_noisy(&mut self, now_ns: u64, notice: Notice) {
        let second = now_ns / SECOND_NS;
        if second != self.second {
            (self.second, self.noisy) = (second, 0);
        }
        if self.noisy >= NOISY_PER_SECOND {
            self.suppressed += 1;
            return;
        }
        self.noisy += 1;
        self.push(notice);
    }

    pub(crate) fn pop(&mut self) -> Option<Notice> {
        self.waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_provokes_is_limited_and_what_is_left_out_is_counted() {
        let mut notices = Notices::default();
        for _ in 0..100 {
            notices.push_noisy(5, Notice::Malformed { what: Malformed::Mad, text: "x".into() });
        }
        let first = std::iter::from_fn(|| notices.pop()).count();
        assert_eq!(first, NOISY_PER_SECOND as usize);
        notices.push_noisy(SECOND_NS, Notice::SessionLost);
        assert_eq!(notices.pop(), Some(Notice::Suppressed { count: 80 }));
        assert_eq!(notices.pop(), Some(Notice::SessionLost));
        assert_eq!(notices.pop(), None);
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut notices = Notices::default();
        (0..5000).for_each(|_| notices.push(Notice::SessionLost));
        assert!(notices.waiting.len() <= WAITING_MAX + 1);
    }
}
