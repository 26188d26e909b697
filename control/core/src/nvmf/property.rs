//! Property Get and Property Set: CAP, VS, CC, CSTS. NVMe-oF 1.1 §3.5, §3.6; NVMe Base 2.0 §3.1.3, §3.6 (shutdown).
//!
//! CSTS.RDY falls, and CSTS.SHST says complete, only when every I/O QP is retired: until then an accepted write may
//! still land.

use super::features::Features;
use super::{Controller, MAXCMD, Reply};
use crate::Control;
use gantry_wire::fabrics::{PROPERTY_4_BYTES, PROPERTY_8_BYTES, PropertyGet, PropertySet};
use gantry_wire::nvme::Status;
use gantry_wire::nvme::register::{self, Cap, Cc, Csts, Vs};

/// The version that controllers follow: 2.0.
pub(super) fn version() -> Vs {
    Vs::default().with_mjr(2)
}

/// CAP.CSS: the NVM command set, and that CC.CSS may ask for every supported set.
const CSS: u8 = 1 << 0 | 1 << 6;
/// CC.CSS: the NVM command set.
const CSS_NVM: u8 = 0;
/// CC.CSS: all supported I/O command sets.
const CSS_ALL: u8 = 6;
/// CAP.TO: RDY follows EN within 7.5 s, drains included.
const READY_TIMEOUT: u8 = 15;

fn capabilities() -> Cap {
    Cap::default().with_mqes(MAXCMD - 1).with_cqr(1).with_to(READY_TIMEOUT).with_css(CSS)
}

/// CC and what follows from it.
#[derive(Debug, Default)]
pub(crate) struct Properties {
    pub(super) cc: Cc,
    pub(super) ready: bool,
    /// CC.EN fell and I/O QPs still drain.
    pub(super) resetting: bool,
    /// CC.SHN asked for a shutdown; true once it is complete.
    pub(super) shutdown: Option<bool>,
}

impl Properties {
    /// CSTS.RDY, and not on its way down.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready && !self.resetting && self.shutdown.is_none()
    }

    /// CC.EN and CSTS.RDY: Admin commands are taken, during a shutdown too.
    pub(crate) fn is_enabled(&self) -> bool {
        self.ready && self.cc.en() == 1
    }

    fn csts(&self) -> Csts {
        let shst = match self.shutdown {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        };
        Csts::default().with_rdy(u8::from(self.ready)).with_shst(shst)
    }

    /// No I/O QP is left.
    pub(crate) fn io_drained(&mut self) {
        if std::mem::take(&mut self.resetting) {
            self.ready = false;
        }
        if let Some(complete) = &mut self.shutdown {
            *complete = true;
        }
    }
}

/// What a new value of CC starts.
struct Change {
    enable: bool,
    reset: bool,
    shutdown: bool,
}

impl Controller {
    /// Takes a new CC, or answers why not.
    fn configure(&mut self, cc: Cc) -> Result<Change, Status> {
        let old = self.properties.cc;
        if cc.en() == 1 {
            let sizes = cc.iosqes() == 6 && cc.iocqes() == 4;
            let set = matches!(cc.css(), CSS_NVM | CSS_ALL);
            if !sizes || !set || cc.mps() != 0 || cc.ams() != 0 {
                return Err(Status::INVALID_FIELD);
            }
            if self.properties.resetting {
                // RDY has not fallen yet (§3.1.3.5: EN is set only while RDY is 0).
                return Err(Status::COMMAND_SEQUENCE_ERROR);
            }
        }
        self.properties.cc = cc;
        Ok(Change {
            enable: old.en() == 0 && cc.en() == 1,
            reset: old.en() == 1 && cc.en() == 0,
            shutdown: cc.shn() != 0 && old.shn() == 0,
        })
    }
}

impl Control {
    pub(super) fn property_get(&self, cntlid: u16, get: &PropertyGet) -> Reply {
        let controller = self.controllers.find(cntlid).expect("a bound queue has its controller");
        let properties = &controller.properties;
        let size = get.attrib & 7;
        let value = match (get.ofst.get() as usize, size) {
            (register::CAP, PROPERTY_8_BYTES) => capabilities().0,
            (register::VS, PROPERTY_4_BYTES) => version().0.into(),
            (register::CC, PROPERTY_4_BYTES) => properties.cc.0.into(),
            (register::CSTS, PROPERTY_4_BYTES) => properties.csts().0.into(),
            _ => return Status::INVALID_FIELD.into(),
        };
        Reply { dw0: value as u32, dw1: (value >> 32) as u32, ..Reply::default() }
    }

    pub(super) fn property_set(&mut self, cntlid: u16, set: &PropertySet) -> Reply {
        if (set.ofst.get() as usize, set.attrib & 7) != (register::CC, PROPERTY_4_BYTES) {
            return Status::INVALID_FIELD.into();
        }
        let queues_max = self.queues_max();
        let controller = self.controllers.find_mut(cntlid).expect("a bound queue has its controller");
        let change = match controller.configure(Cc(set.value.get() as u32)) {
            Ok(change) => change,
            Err(status) => return status.into(),
        };
        if change.enable {
            controller.properties.ready = true;
            controller.properties.shutdown = None;
        }
        if change.reset {
            controller.properties.resetting = true;
            controller.properties.shutdown = None;
            controller.features = Features::new(queues_max);
        }
        if change.shutdown {
            controller.properties.shutdown = Some(false);
        }
        let mut reply = Reply::default();
        if change.reset || change.shutdown {
            if change.reset {
                reply.effects = self.abort_events(cntlid);
            }
            let io = self.io_qps_of(cntlid);
            reply.effects.append(&mut self.mark_ending(&io));
            self.settle(cntlid);
        }
        reply
    }
}
