//! Set Features and Get Features. NVMe Base 2.0 §5.15, §5.27.

use super::{Controller, Reply, Request, Subsystem};
use crate::Control;
use crate::blob::Feature;
use gantry_wire::nvme::Status;
use gantry_wire::nvme::feature::{NumberOfQueues, aec, fid};

/// KAS in milliseconds: keep-alive timeouts are rounded up to it.
pub(super) const KEEP_ALIVE_GRANULARITY_MS: u32 = 100;

/// Select of Get Features (figure 187): the current value.
const SELECT_CURRENT: u8 = 0;

/// Error Recovery: the time limit; no namespace has the error DULBE enables.
const ERROR_RECOVERY_TLER: u32 = 0xffff;

/// Temperature Threshold in its power-on state: never reached.
const TEMPERATURE_MAX: u32 = 0xffff;

pub(super) fn rounded_keep_alive_ms(ms: u32) -> u32 {
    ms.checked_next_multiple_of(KEEP_ALIVE_GRANULARITY_MS).unwrap_or(u32::MAX)
}

/// One controller's values.
#[derive(Debug)]
pub(crate) struct Features {
    queues_max: u16,
    queues: Option<u16>,
    async_event_configuration: u32,
    error_recovery: u32,
    temperature_threshold: u32,
    arbitration: u32,
    write_atomicity: u32,
}

impl Features {
    /// As they are after a reset.
    pub(super) fn new(queues_max: u16) -> Self {
        Self {
            queues_max,
            queues: None,
            async_event_configuration: 0,
            error_recovery: 0,
            temperature_threshold: TEMPERATURE_MAX,
            arbitration: 0,
            write_atomicity: 0,
        }
    }

    pub(super) fn remembered(&self) -> Feature {
        Feature {
            queues_max: self.queues_max.into(),
            queues: self.queues.unwrap_or(0).into(),
            async_event_configuration: self.async_event_configuration.into(),
            error_recovery: self.error_recovery.into(),
            temperature_threshold: self.temperature_threshold.into(),
            arbitration: self.arbitration.into(),
            write_atomicity: self.write_atomicity.into(),
        }
    }

    /// As an earlier control left them.
    pub(super) fn adopted(feature: &Feature) -> Self {
        Self {
            queues_max: feature.queues_max.get(),
            queues: Some(feature.queues.get()).filter(|queues| *queues != 0),
            async_event_configuration: feature.async_event_configuration.get(),
            error_recovery: feature.error_recovery.get(),
            temperature_threshold: feature.temperature_threshold.get(),
            arbitration: feature.arbitration.get(),
            write_atomicity: feature.write_atomicity.get(),
        }
    }

    /// I/O queues that the host may connect.
    pub(super) fn queues_granted(&self) -> u16 {
        self.queues.unwrap_or(self.queues_max)
    }

    pub(super) fn async_event_configuration(&self) -> u32 {
        self.async_event_configuration
    }

    fn number_of_queues(&self) -> u32 {
        let zero_based = self.queues_granted() - 1;
        NumberOfQueues { submission: zero_based, completion: zero_based }.emit()
    }
}

impl Controller {
    /// Features that a discovery controller has (NVMe-oF 1.1 §5.2).
    fn has_feature(&self, id: u8) -> bool {
        self.subsystem != Subsystem::Discovery || matches!(id, fid::ASYNC_EVENT_CONFIGURATION | fid::KEEP_ALIVE_TIMER)
    }
}

impl Control {
    /// What a controller supports of Asynchronous Event Configuration.
    pub(super) fn async_events(&self, subsystem: Subsystem) -> u32 {
        match subsystem {
            Subsystem::Discovery => aec::DISCOVERY_CHANGE,
            Subsystem::Nvm(_) if self.reports_access(subsystem) => aec::NAMESPACE_ATTRIBUTE | aec::ANA_CHANGE,
            Subsystem::Nvm(_) => aec::NAMESPACE_ATTRIBUTE,
            Subsystem::Gone | Subsystem::Unknown => 0,
        }
    }

    pub(super) fn set_features(&mut self, cntlid: u16, request: &Request<'_>) -> Reply {
        let (id, value) = (request.sqe.fid(), request.sqe.cdw11.get());
        let has_io_queues = !self.io_qps_of(cntlid).is_empty();
        let write_cache = self.write_cache(cntlid);
        let subsystem = self.controllers.find(cntlid).expect("a bound queue has its controller").subsystem;
        let supported_events = self.async_events(subsystem);
        let controller = self.controllers.find_mut(cntlid).expect("a bound queue has its controller");
        if !controller.has_feature(id) {
            return Status::INVALID_FIELD.into();
        }
        if request.sqe.feature_save() {
            return Status::FEATURE_NOT_SAVEABLE.into();
        }
        let features = &mut controller.features;
        match id {
            fid::NUMBER_OF_QUEUES => {
                let asked = NumberOfQueues::parse(value);
                if asked.submission == u16::MAX || asked.completion == u16::MAX {
                    return Status::INVALID_FIELD.into();
                }
                if has_io_queues {
                    return Status::COMMAND_SEQUENCE_ERROR.into();
                }
                let fewer = asked.submission.min(asked.completion) + 1;
                features.queues = Some(fewer.min(features.queues_max));
                return Reply::dw0(features.number_of_queues());
            }
            fid::ASYNC_EVENT_CONFIGURATION => {
                features.async_event_configuration = value & (supported_events | aec::SMART_MASK);
            }
            fid::KEEP_ALIVE_TIMER => {
                // The data plane hears of it with the answer, as of everything that a controller remembers.
                controller.keep_alive_ms = rounded_keep_alive_ms(value);
            }
            fid::VOLATILE_WRITE_CACHE => {
                // The drive's cache is everybody's: it can be confirmed, not turned off.
                match (write_cache, value & 1) {
                    (false, _) => return Status::INVALID_FIELD.into(),
                    (true, 0) => return Status::FEATURE_NOT_CHANGEABLE.into(),
                    (true, _) => {}
                }
            }
            fid::ARBITRATION => features.arbitration = value,
            fid::TEMPERATURE_THRESHOLD => features.temperature_threshold = value & 0xffff,
            fid::ERROR_RECOVERY => features.error_recovery = value & ERROR_RECOVERY_TLER,
            fid::WRITE_ATOMICITY => features.write_atomicity = value & 1,
            // Power state 0 and command set combination 0 are the only ones.
            fid::POWER_MANAGEMENT | fid::IO_COMMAND_SET_PROFILE if value & 0x1ff == 0 => {}
            // Connect set it (NVMe Base 2.0 §5.27.1.25).
            fid::HOST_IDENTIFIER => return Status::COMMAND_SEQUENCE_ERROR.into(),
            _ => return Status::INVALID_FIELD.into(),
        }
        Reply::default()
    }

    pub(super) fn get_features(&self, cntlid: u16, request: &Request<'_>) -> Reply {
        let id = request.sqe.fid();
        let controller = self.controllers.find(cntlid).expect("a bound queue has its controller");
        // ONCS promises no Select, so only the current value can be asked for.
        if !controller.has_feature(id) || request.sqe.feature_select() != SELECT_CURRENT {
            return Status::INVALID_FIELD.into();
        }
        let features = &controller.features;
        Reply::dw0(match id {
            fid::NUMBER_OF_QUEUES => features.number_of_queues(),
            fid::ASYNC_EVENT_CONFIGURATION => features.async_event_configuration,
            fid::KEEP_ALIVE_TIMER => controller.keep_alive_ms,
            fid::VOLATILE_WRITE_CACHE if self.write_cache(cntlid) => 1,
            fid::ARBITRATION => features.arbitration,
            // Thresholds other than the composite temperature's upper one do not exist.
            fid::TEMPERATURE_THRESHOLD if request.sqe.cdw11.get() & 0x003f_0000 == 0 => features.temperature_threshold,
            fid::ERROR_RECOVERY => features.error_recovery,
            fid::WRITE_ATOMICITY => features.write_atomicity,
            fid::POWER_MANAGEMENT | fid::IO_COMMAND_SET_PROFILE => 0,
            fid::HOST_IDENTIFIER => return host_identifier(controller, request),
            _ => return Status::INVALID_FIELD.into(),
        })
    }
}

/// The 128-bit form is the one of fabrics (EXHID in dword 11).
fn host_identifier(controller: &Controller, request: &Request<'_>) -> Reply {
    if request.sqe.cdw11.get() & 1 == 0 {
        return Status::INVALID_FIELD.into();
    }
    if request.wanted < controller.host_id.len() {
        return Status::SGL_LENGTH_INVALID.into();
    }
    Reply::data(controller.host_id)
}
