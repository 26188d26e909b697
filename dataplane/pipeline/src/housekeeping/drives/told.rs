//! A drive told to a successor, and taken up there (see [`crate::handover`]).

use gantry_nvme::{ControllerState, IoQueue, IoQueueState};

use super::*;
use crate::handover::{Handed, Refused, Regions, must};

/// A drive, told.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::housekeeping) struct DriveState {
    name: String,
    uri: String,
    memory: u32,
    /// While it is there; its attachment is handed over beside the state then.
    controller: Option<ControllerState>,
    state: State,
    known: Option<Known>,
    looks: u32,
    failures: u32,
    failure: String,
    /// By identifier.
    logs: BTreeMap<u8, Vec<u8>>,
    logs_at_ns: u64,
    cut_off: bool,
    stopping: bool,
    leave_by_ns: Option<u64>,
}

impl DriveState {
    /// Its name and its URI, when it is there.
    pub(in crate::housekeeping) fn device(&self) -> Option<(&str, &str)> {
        self.controller.as_ref().map(|_| (&*self.name, &*self.uri))
    }

    /// Makes the drive of it, without touching it.
    pub(in crate::housekeeping) fn take_up(
        self,
        attachment: Option<Box<dyn Attachment>>,
        lcores: usize,
        regions: &mut Handed,
    ) -> Result<Drive, Refused> {
        let Self {
            name,
            uri,
            memory,
            controller,
            state,
            known,
            looks,
            failures,
            failure,
            logs,
            logs_at_ns,
            cut_off,
            stopping,
            leave_by_ns,
        } = self;
        let memory = regions.take(memory)?;
        let right = Drive::config(&uri, lcores);
        must(!matches!(state, State::Leaving { .. }), || format!("{uri} was on its way back from the lcores"))?;
        must(matches!(state, State::Absent { .. }) == controller.is_none(), || format!("{uri} is there and is not"))?;
        must(known.is_some() || !matches!(state, State::Ready { .. }), || format!("{uri} serves and is not known"))?;
        let attached = match (controller, attachment) {
            (None, None) => None,
            (Some(controller), Some(attachment)) => {
                let config = *controller.config();
                must(config.io_queues == right.io_queues && config.io_entries <= right.io_entries, || {
                    format!("{uri} has other queues than lcores")
                })?;
                let controller = controller.take_up(attachment.bar(), memory.clone(), 0)?;
                Some(Attached { attachment, controller })
            }
            (None, Some(_)) => return Err(Refused::Unfit(format!("{uri} was handed over and is not there"))),
            (Some(_), None) => return Err(Refused::Unfit(format!("{uri} was not handed over"))),
        };
        let length = Controller::memory_needed(right.io_queues, right.io_entries);
        must(memory.length() >= length, || format!("the memory of {uri}'s queues is too short"))?;
        Ok(Drive {
            name,
            uri,
            memory,
            attached,
            state,
            known,
            looks,
            failures,
            failure,
            logs,
            logs_at_ns,
            cut_off,
            stopping,
            leave_by_ns,
        })
    }
}

impl Drive {
    /// Tells a successor everything but the attachment, which it is handed.
    pub(in crate::housekeeping) fn tell(&self, regions: &mut Regions) -> DriveState {
        let Self { name, uri, memory, attached, state, known, failure, logs, .. } = self;
        let Self { looks, failures, logs_at_ns, cut_off, stopping, leave_by_ns, .. } = *self;
        DriveState {
            name: name.clone(),
            uri: uri.clone(),
            memory: regions.number(memory),
            controller: attached.as_ref().map(|attached| attached.controller.tell()),
            state: state.clone(),
            known: known.clone(),
            looks,
            failures,
            failure: failure.clone(),
            logs: logs.clone(),
            logs_at_ns,
            cut_off,
            stopping,
            leave_by_ns,
        }
    }

    /// An lcore's queue pair; none of a drive that is not there.
    pub(in crate::housekeeping) fn queue(&self, told: IoQueueState) -> Result<IoQueue, Refused> {
        let attached = self.attached.as_ref();
        let attached =
            attached.ok_or_else(|| Refused::Inconsistent(format!("a queue of {}, which is gone", self.uri)))?;
        Ok(attached.controller.take_up_queue(told)?)
    }

    /// Whether as many lcores have a way to it, and hold a queue pair of it, as its state says.
    pub(in crate::housekeeping) fn is_held_by(&self, lcores: usize) -> bool {
        match (&self.state, &self.attached) {
            (State::Ready { .. }, Some(Attached { controller, .. })) => {
                lcores == usize::from(controller.config().io_queues) && controller.taken() == controller.granted()
            }
            _ => lcores == 0,
        }
    }
}
