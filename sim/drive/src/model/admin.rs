//! Admin commands. NVMe Base 2.0 §5.

use super::{Model, Outcome};
use crate::Defect;
use gantry_wire::nvme::feature::{NumberOfQueues, fid};
use gantry_wire::nvme::identify::cns;
use gantry_wire::nvme::prp_sgl::PAGE;
use gantry_wire::nvme::sqe::Psdt;
use gantry_wire::nvme::{Cid, Nsid, Sqe, Status, admin};

/// CSI of the key value command set.
const KEY_VALUE: u8 = 1;

impl Model {
    pub(super) fn admin(&mut self, sqe: &Sqe) -> Outcome {
        // Admin commands over memory take PRPs only (§4.1.2).
        if sqe.psdt() != Psdt::Prp {
            return Outcome::Done(Status::INVALID_FIELD.with_dnr(), 0);
        }
        let mut result = 0;
        let done = match sqe.opcode {
            admin::ASYNC_EVENT_REQUEST => return self.async_event_request(sqe),
            admin::IDENTIFY if self.is_lost_on(sqe.cns()) => {
                self.queues.swallow(0);
                return Outcome::Kept;
            }
            admin::IDENTIFY => self.identify(sqe),
            admin::LOG_PAGE => self.log_page(sqe),
            admin::CREATE_IO_CQ => self.create_cq(sqe),
            admin::CREATE_IO_SQ => self.create_sq(sqe),
            admin::DELETE_IO_SQ => self.delete_sq(sqe),
            admin::DELETE_IO_CQ => self.delete_cq(sqe),
            admin::SET_FEATURES => self.set_features(sqe).map(|value| result = value),
            admin::GET_FEATURES => self.features(sqe).map(|value| result = value),
            admin::ABORT => {
                result = u64::from(!self.abort(sqe));
                Ok(())
            }
            _ => Err(Status::INVALID_OPCODE),
        };
        match done {
            Ok(()) => Outcome::Done(Status::SUCCESS, result),
            // The data could not be moved: that may well go better another time. The rest will not.
            Err(Status::DATA_TRANSFER_ERROR) => Outcome::Done(Status::DATA_TRANSFER_ERROR, 0),
            Err(status) => Outcome::Done(status.with_dnr(), 0),
        }
    }

    fn async_event_request(&mut self, sqe: &Sqe) -> Outcome {
        if self.listening.len() > usize::from(self.shape.traits.aerl) {
            return Outcome::Done(Status::ASYNC_EVENT_LIMIT_EXCEEDED.with_dnr(), 0);
        }
        self.listening.push_back(sqe.cid());
        Outcome::Kept
    }

    /// Whether an Identify is never answered.
    fn is_lost_on(&self, cns: u8) -> bool {
        let traits = &self.shape.traits;
        cns > cns::CONTROLLER && traits.has(Defect::PlainIdentify)
            || cns == cns::NAMESPACE_DESCRIPTORS && traits.has(Defect::NoDescriptors)
    }

    /// §5.17.
    fn identify(&mut self, sqe: &Sqe) -> Result<(), Status> {
        let nsid = sqe.nsid();
        let known = |model: &Model| nsid.0 >= 1 && nsid.0 as usize <= model.parts.len();
        let traits = &self.shape.traits;
        let since = |version| {
            if traits.version >= version || traits.command_sets() { Ok(()) } else { Err(Status::INVALID_FIELD) }
        };
        let page = match sqe.cns() {
            cns::CONTROLLER => self.identify_controller(),
            // A zoned namespace has what the NVM command set says of it as well; a key value one has not.
            cns::NAMESPACE if known(self) && traits.command_set == KEY_VALUE => return Err(Status::INVALID_FIELD),
            cns::NAMESPACE if known(self) => self.identify_namespace(nsid),
            cns::ACTIVE_NSIDS if nsid.0 < 0xffff_fffe => {
                since(0x0001_0100)?;
                self.active_nsids(nsid)
            }
            cns::NAMESPACE_DESCRIPTORS if self.part(nsid).is_some() => {
                since(0x0001_0300)?;
                self.namespace_descriptors(nsid)
            }
            cns::NAMESPACE | cns::ACTIVE_NSIDS | cns::NAMESPACE_DESCRIPTORS => return Err(Status::INVALID_NAMESPACE),
            cns::IO_CONTROLLER if sqe.cdw11.get() >> 24 == 0 => {
                since(0x0002_0000)?;
                self.identify_limits()
            }
            _ => return Err(Status::INVALID_FIELD),
        };
        done(self.answer_data(sqe, &page))
    }

    /// §5.16.
    fn log_page(&mut self, sqe: &Sqe) -> Result<(), Status> {
        let length = usize::try_from(sqe.log_length()).ok().filter(|&length| length <= self.shape.mdts_bytes());
        let length = length.ok_or(Status::INVALID_FIELD)?;
        let page = self.log_bytes(sqe.lid()).ok_or(Status::INVALID_LOG_PAGE)?;
        let offset = usize::try_from(sqe.log_offset()).ok().filter(|&at| at <= page.len() && at % 4 == 0);
        let offset = offset.ok_or(Status::INVALID_FIELD)?;
        let mut data = page[offset..].to_vec();
        data.resize(length, 0);
        done(self.answer_data(sqe, &data))?;
        if !sqe.log_retain() {
            self.log_was_read(sqe.lid());
        }
        Ok(())
    }

    /// §5.4.
    fn create_cq(&mut self, sqe: &Sqe) -> Result<(), Status> {
        let (qid, entries, base) = self.queue_asked(sqe)?;
        if qid > self.queues_granted.map_or(0, |(_, completion)| completion) || self.queues.has_cq(qid) {
            return Err(Status::INVALID_QUEUE_ID);
        }
        let vector = (sqe.cdw11.get() >> 16) as u16;
        if vector >= self.interrupt_vectors() {
            return Err(Status::INVALID_INTERRUPT_VECTOR);
        }
        let interrupts = sqe.cdw11.get() >> 1 & 1 == 1;
        self.clear_doorbell(gantry_wire::nvme::register::cq_doorbell(qid, self.shape.traits.dstrd));
        self.queues.create_cq(qid, base, entries, interrupts.then_some(vector));
        Ok(())
    }

    /// §5.5.
    fn create_sq(&mut self, sqe: &Sqe) -> Result<(), Status> {
        let (qid, entries, base) = self.queue_asked(sqe)?;
        if qid > self.queues_granted.map_or(0, |(submission, _)| submission) || self.queues.has_sq(qid) {
            return Err(Status::INVALID_QUEUE_ID);
        }
        let cqid = (sqe.cdw11.get() >> 16) as u16;
        if cqid == 0 || !self.queues.has_cq(cqid) {
            return Err(Status::COMPLETION_QUEUE_INVALID);
        }
        self.clear_doorbell(gantry_wire::nvme::register::sq_doorbell(qid, self.shape.traits.dstrd));
        self.queues.create_sq(qid, base, entries, cqid);
        Ok(())
    }

    /// What both create commands ask for: identifier, entries, address.
    fn queue_asked(&self, sqe: &Sqe) -> Result<(u16, u32, u64), Status> {
        let qid = sqe.cdw10.get() as u16;
        let size = sqe.cdw10.get() >> 16;
        if qid == 0 {
            return Err(Status::INVALID_QUEUE_ID);
        }
        if size == 0 || size >= self.shape.entries {
            return Err(Status::INVALID_QUEUE_SIZE);
        }
        // CAP.CQR: physically contiguous only. The entry sizes come from CC.
        if sqe.cdw11.get() & 1 == 0 || self.cc.iosqes() != 6 || self.cc.iocqes() != 4 {
            return Err(Status::INVALID_FIELD);
        }
        let base = sqe.prps().0;
        if base as usize & (PAGE - 1) != 0 {
            return Err(Status::PRP_OFFSET_INVALID);
        }
        Ok((qid, size + 1, base))
    }

    fn clear_doorbell(&self, at: usize) {
        self.bar.store_u32(at, 0, std::sync::atomic::Ordering::Release);
    }

    /// §5.7: what is held is answered, then the queue is gone.
    fn delete_sq(&mut self, sqe: &Sqe) -> Result<(), Status> {
        let qid = sqe.cdw10.get() as u16;
        if qid == 0 || !self.queues.has_sq(qid) {
            return Err(Status::INVALID_QUEUE_ID);
        }
        for held in self.held.remove_queue(qid) {
            self.complete(qid, &held, Status::ABORTED_SQ_DELETION, 0);
        }
        self.queues.delete_sq(qid);
        Ok(())
    }

    /// §5.6.
    fn delete_cq(&mut self, sqe: &Sqe) -> Result<(), Status> {
        let qid = sqe.cdw10.get() as u16;
        if qid == 0 || !self.queues.has_cq(qid) {
            return Err(Status::INVALID_QUEUE_ID);
        }
        if self.queues.cq_in_use(qid) {
            return Err(Status::INVALID_QUEUE_DELETION);
        }
        self.queues.delete_cq(qid);
        Ok(())
    }

    /// §5.1: whether the command was found and aborted.
    fn abort(&mut self, sqe: &Sqe) -> bool {
        let (qid, cid) = (sqe.cdw10.get() as u16, Cid((sqe.cdw10.get() >> 16) as u16));
        if let Some(held) = self.held.remove(qid, cid) {
            self.complete(qid, &held, Status::ABORT_REQUESTED, 0);
            return true;
        }
        let listening = self.listening.iter().position(|&waiting| qid == 0 && waiting == cid);
        let Some(at) = listening else { return false };
        self.listening.remove(at);
        let request = Sqe::new(admin::ASYNC_EVENT_REQUEST, cid, Nsid(0));
        self.complete(0, &request, Status::ABORT_REQUESTED, 0);
        true
    }

    /// §5.27.
    fn set_features(&mut self, sqe: &Sqe) -> Result<u64, Status> {
        let value = sqe.cdw11.get();
        if default_of(sqe.fid()).is_none() {
            return Err(Status::INVALID_FIELD);
        }
        if sqe.feature_save() {
            return Err(Status::FEATURE_NOT_SAVEABLE);
        }
        match sqe.fid() {
            fid::NUMBER_OF_QUEUES => return self.number_of_queues(NumberOfQueues::parse(value)),
            fid::VOLATILE_WRITE_CACHE if !self.media.has_cache() => return Err(Status::INVALID_FIELD),
            fid::POWER_MANAGEMENT if value & 0x1f != 0 => return Err(Status::INVALID_FIELD),
            _ => {}
        }
        self.features.insert(sqe.fid(), value);
        Ok(0)
    }

    /// §5.27.1.5: before there are I/O queues, and once granted it stays until reset.
    fn number_of_queues(&mut self, asked: NumberOfQueues) -> Result<u64, Status> {
        if asked.submission == 0xffff || asked.completion == 0xffff {
            return Err(Status::INVALID_FIELD);
        }
        if self.queues.has_io_queues() {
            return Err(Status::COMMAND_SEQUENCE_ERROR);
        }
        let granted = |asked: u16| (asked + 1).min(self.shape.io_queues);
        let (submission, completion) = (granted(asked.submission), granted(asked.completion));
        self.queues_granted = Some((submission, completion));
        Ok(u64::from(NumberOfQueues { submission: submission - 1, completion: completion - 1 }.emit()))
    }

    /// §5.15.
    fn features(&mut self, sqe: &Sqe) -> Result<u64, Status> {
        let fid = sqe.fid();
        let default = default_of(fid).ok_or(Status::INVALID_FIELD)?;
        if fid == fid::VOLATILE_WRITE_CACHE && !self.media.has_cache() {
            return Err(Status::INVALID_FIELD);
        }
        let current = match (fid, self.queues_granted) {
            (fid::NUMBER_OF_QUEUES, Some((submission, completion))) => {
                NumberOfQueues { submission: submission - 1, completion: completion - 1 }.emit()
            }
            _ => self.features.get(&fid).copied().unwrap_or(default),
        };
        match sqe.feature_select() {
            0 => Ok(u64::from(current)),
            1 | 2 => Ok(u64::from(default)),
            // Changeable, neither saveable nor a namespace's own.
            3 => Ok(1 << 2),
            _ => Err(Status::INVALID_FIELD),
        }
    }
}

/// The value of a feature after a reset; `None` for those there are not.
fn default_of(fid: u8) -> Option<u32> {
    match fid {
        fid::VOLATILE_WRITE_CACHE => Some(1),
        // 85 °C, over.
        fid::TEMPERATURE_THRESHOLD => Some(358),
        fid::ARBITRATION
        | fid::POWER_MANAGEMENT
        | fid::ERROR_RECOVERY
        | fid::NUMBER_OF_QUEUES
        | fid::INTERRUPT_COALESCING
        | fid::INTERRUPT_VECTOR
        | fid::WRITE_ATOMICITY
        | fid::ASYNC_EVENT_CONFIGURATION => Some(0),
        _ => None,
    }
}

fn done(status: Status) -> Result<(), Status> {
    if status.is_success() { Ok(()) } else { Err(status) }
}
