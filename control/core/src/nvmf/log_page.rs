//! Get Log Page: 01, 02, 03, 04, 05, 0C and, on a discovery controller, 70. NVMe Base 2.0 §5.16.

use super::{Reply, Request, Subsystem};
use crate::Control;
use gantry::channel::CAPSULE_DATA_MAX;
use gantry_wire::nvme::identify::set_text;
use gantry_wire::nvme::log::{
    CHANGED_NAMESPACES_MAX, CHANGED_NAMESPACES_OVERFLOW, CommandsSupported, ErrorEntry, FirmwareSlot, effects, lid,
};
use gantry_wire::nvme::{Status, admin, nvm};
use std::collections::BTreeSet;
use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromZeros, IntoBytes};

impl Control {
    pub(super) fn get_log_page(&mut self, cntlid: u16, request: &Request<'_>) -> Reply {
        let sqe = request.sqe;
        let (length, offset) = (sqe.log_length(), sqe.log_offset());
        // Offsets are bytes in multiples of four, not indexes (dword 14 bit 23).
        if length > CAPSULE_DATA_MAX as u64 || offset % 4 != 0 || sqe.cdw14.get() & 1 << 23 != 0 {
            return Status::INVALID_FIELD.into();
        }
        if request.wanted < length as usize {
            return Status::SGL_LENGTH_INVALID.into();
        }
        let controller = self.controllers.find(cntlid).expect("a bound queue has its controller");
        let subsystem = controller.subsystem;
        let page = match (subsystem, sqe.lid()) {
            (Subsystem::Nvm(at), lid::ERROR_INFORMATION) => self.error_log(controller, at),
            (_, lid::ERROR_INFORMATION) => ErrorEntry::new_zeroed().as_bytes().to_vec(),
            (Subsystem::Discovery, lid::DISCOVERY) => self.discovery_log(&controller.host_nqn),
            (Subsystem::Nvm(at), lid::SMART_HEALTH) => match self.health_log(controller, at, sqe.nsid()) {
                Ok(log) => log,
                Err(status) => return status.into(),
            },
            (Subsystem::Nvm(_), lid::FIRMWARE_SLOT) => firmware_slot(),
            (Subsystem::Nvm(_), lid::CHANGED_NAMESPACES) => self.changed_namespaces(cntlid, sqe.log_retain()),
            (Subsystem::Nvm(at), lid::COMMANDS_SUPPORTED) => self.commands_supported(at),
            (Subsystem::Nvm(at), lid::ANA) if self.reports_access(subsystem) => {
                self.access_log(controller, at, (sqe.cdw10.get() >> 8) as u8 & 0x7f)
            }
            _ => return Status::INVALID_LOG_PAGE.into(),
        };
        let Some(rest) = usize::try_from(offset).ok().and_then(|offset| page.get(offset..)) else {
            return Status::INVALID_FIELD.into();
        };
        if !sqe.log_retain() {
            self.clear_event(cntlid, sqe.lid());
        }
        let mut data = rest[..rest.len().min(length as usize)].to_vec();
        data.resize(length as usize, 0);
        Reply::data(data)
    }

    /// NSIDs that changed since the list was read; reading clears it.
    fn changed_namespaces(&mut self, cntlid: u16, retain: bool) -> Vec<u8> {
        let controller = self.controllers.find_mut(cntlid).expect("the caller has it");
        let changed = &mut controller.events.changed;
        let mut list = vec![U32::ZERO; CHANGED_NAMESPACES_MAX];
        match &changed {
            Some(changed) => list.iter_mut().zip(changed).for_each(|(entry, nsid)| *entry = U32::new(*nsid)),
            None => list[0] = U32::new(CHANGED_NAMESPACES_OVERFLOW),
        }
        if !retain {
            *changed = Some(BTreeSet::new());
        }
        list.as_bytes().to_vec()
    }

    fn commands_supported(&self, at: usize) -> Vec<u8> {
        let mut log = CommandsSupported::new();
        let supported = [
            admin::LOG_PAGE,
            admin::IDENTIFY,
            admin::ABORT,
            admin::SET_FEATURES,
            admin::GET_FEATURES,
            admin::ASYNC_EVENT_REQUEST,
            admin::KEEP_ALIVE,
        ];
        for opcode in supported {
            log.acs[usize::from(opcode)] = U32::new(effects::CSUPP);
        }
        for (opcode, changes) in self.io_commands(at) {
            let changes = if changes { effects::LBCC } else { 0 };
            log.iocs[usize::from(opcode)] = U32::new(effects::CSUPP | changes);
        }
        log.as_bytes().to_vec()
    }

    /// I/O opcodes of a subsystem, and whether they change blocks.
    fn io_commands(&self, at: usize) -> Vec<(u8, bool)> {
        use gantry_wire::nvme::identify::oncs;
        let optional = [
            (oncs::COMPARE, (nvm::COMPARE, false)),
            (oncs::DSM, (nvm::DATASET_MANAGEMENT, true)),
            (oncs::WRITE_ZEROES, (nvm::WRITE_ZEROES, true)),
        ];
        let offered = self.optional_commands(at);
        let mut commands = vec![(nvm::FLUSH, false), (nvm::WRITE, true), (nvm::READ, false)];
        commands.extend(optional.iter().filter(|(bit, _)| offered & bit != 0).map(|(_, command)| *command));
        commands
    }
}

fn firmware_slot() -> Vec<u8> {
    let mut log = FirmwareSlot::new_zeroed();
    log.afi = 1;
    set_text(&mut log.frs[0], env!("CARGO_PKG_VERSION"));
    log.as_bytes().to_vec()
}
