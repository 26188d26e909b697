//! Controllers that run already, from what the data plane tells of them.

use super::events::Events;
use super::features::Features;
use super::property::Properties;
use super::{Controller, Entry, Subsystem};
use crate::Control;
use crate::blob::ControllerBlob;
use gantry_wire::fabrics::DISCOVERY_NQN;
use gantry_wire::nvme::register::Cc;
use std::collections::BTreeMap;

impl Control {
    /// Takes a controller over. `admin_qpn` is zero when it has no admin queue; `blob` is none when nobody knows whose it
    /// is: it must end, and until then no host may begin what it could still overtake.
    pub(crate) fn adopt_controller(
        &mut self,
        cntlid: u16,
        admin_qpn: u32,
        blob: Option<&ControllerBlob>,
        told: (u32, Vec<u8>),
        attached: BTreeMap<u32, Entry>,
    ) {
        let controller = match blob {
            None => Controller {
                subsystem: Subsystem::Unknown,
                host_nqn: String::new(),
                host_id: [0; 16],
                admin_qpn,
                keep_alive_ms: told.0,
                attached,
                properties: Properties::default(),
                features: Features::new(1),
                events: Events::default(),
                ending: false,
                told: None,
            },
            Some(blob) => Controller {
                subsystem: self.subsystem_of(&blob.subsystem_nqn),
                host_nqn: blob.host_nqn.clone(),
                host_id: blob.host_id,
                admin_qpn,
                keep_alive_ms: blob.keep_alive_ms,
                attached,
                properties: Properties {
                    cc: Cc(blob.cc),
                    ready: blob.ready,
                    resetting: blob.resetting,
                    shutdown: blob.shutdown,
                },
                features: Features::adopted(&blob.features),
                events: Events::adopted(&blob.pending, &blob.masked, blob.changed.as_deref(), &blob.inaccessible),
                ending: false,
                told: Some(told),
            },
        };
        self.controllers.by_cntlid.insert(cntlid, controller);
    }

    fn subsystem_of(&self, nqn: &str) -> Subsystem {
        if nqn == DISCOVERY_NQN {
            return Subsystem::Discovery;
        }
        let at = self.configuration.subsystems.iter().position(|subsystem| subsystem.nqn == nqn);
        at.map_or(Subsystem::Gone, Subsystem::Nvm)
    }

    /// Whether the configuration admits the host of an adopted controller.
    pub(crate) fn admits(&self, cntlid: u16) -> bool {
        self.controllers.find(cntlid).is_some_and(|controller| match controller.subsystem {
            Subsystem::Discovery => true,
            Subsystem::Nvm(at) => self.configuration.subsystems[at].hosts.admit(&controller.host_nqn),
            Subsystem::Gone | Subsystem::Unknown => false,
        })
    }
}
