//! What a role may do (P4Runtime 1.5.0 §5.2): everything, or what its `gantry.p4runtime.RoleConfig` names.

use std::collections::BTreeSet;

use gantry_p4_proto::{Any, Message as _, RoleConfig};

use super::pipeline::{ActionId, Object, Pipeline};
use super::status::{Refusal, denied, invalid};

const TYPE: &str = "gantry.p4runtime.RoleConfig";

/// What a role may do.
#[derive(Clone, Debug, Default)]
pub(super) enum Authority {
    /// Everything that clients may.
    #[default]
    Whole,
    /// What is named.
    Part {
        /// Tables and externs.
        ids: BTreeSet<u32>,
        /// Actions; none is all of them.
        actions: BTreeSet<u32>,
        packet_in: bool,
        packet_out: bool,
    },
}

impl Authority {
    /// From a role's config.
    pub(super) fn new(config: Option<&Any>, pipeline: Option<&Pipeline>) -> Result<Self, Refusal> {
        let Some(config) = config else { return Ok(Self::Whole) };
        if config.type_url.rsplit('/').next() != Some(TYPE) {
            return Err(invalid(format!("role config: {} instead of {TYPE}", config.type_url)));
        }
        let config =
            RoleConfig::decode(config.value.as_slice()).map_err(|error| invalid(format!("role config: {error}")))?;
        let Some(pipeline) = pipeline else { return Err(invalid("role config: there is no program to name parts of")) };
        let find = |names: &[String], kind: &str, prefixes: &[u32]| {
            let mut found = BTreeSet::new();
            for name in names {
                let ids = pipeline.ids_of(name);
                let before = found.len();
                found.extend(ids.into_iter().filter(|id| prefixes.contains(&(id >> 24))));
                if found.len() == before {
                    return Err(invalid(format!("role config: no {kind} is called {name}, or it is named twice")));
                }
            }
            Ok(found)
        };
        let mut ids = find(&config.tables, "table", &[0x02])?;
        ids.extend(find(&config.externs, "counter, meter, register or digest", &[0x12, 0x14, 0x16, 0x17])?);
        let actions = find(&config.actions, "action", &[0x01])?;
        Ok(Self::Part { ids, actions, packet_in: config.packet_in, packet_out: config.packet_out })
    }

    /// A table or extern is in the role's charge.
    pub(super) fn covers(&self, id: u32) -> bool {
        match self {
            Self::Whole => true,
            Self::Part { ids, .. } => ids.contains(&id),
        }
    }

    /// Whether the role may write that object.
    pub(super) fn may_write(&self, id: u32, object: &Object) -> Result<(), Refusal> {
        if let Some(owner) = &object.owner {
            return Err(denied(format!("{} belongs to {owner}: it can only be read", object.name)));
        }
        if !self.covers(id) {
            return Err(denied(format!("{} is not in the role's charge", object.name)));
        }
        Ok(())
    }

    /// Whether the role may use that action.
    pub(super) fn may_use(&self, action: ActionId, name: &str) -> Result<(), Refusal> {
        match self {
            Self::Part { actions, .. } if !actions.is_empty() && !actions.contains(&action.0) => {
                Err(denied(format!("{name} is not an action in the role's charge")))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn packet_in(&self) -> bool {
        matches!(self, Self::Whole | Self::Part { packet_in: true, .. })
    }

    pub(super) fn packet_out(&self) -> bool {
        matches!(self, Self::Whole | Self::Part { packet_out: true, .. })
    }
}
