//! The server: what it keeps, and who may write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gantry_p4_proto::runtime::{CapabilitiesRequest, CapabilitiesResponse, Uint128};

use super::arbitration::{RoleState, Stream, StreamId};
use super::digest::Digests;
use super::entry::{ActionCall, Key};
use super::pipeline::{Pipeline, TableId};
use super::plane::{Plane, Refused};
use super::role::Authority;
use super::status::{Refusal, denied, exhausted, invalid, not_found};
use super::store::{Entry, Store};

/// Bounds of what clients can make the server keep.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Streams open at the same time.
    pub streams: usize,
    /// Roles ever heard of.
    pub roles: usize,
    /// Messages that wait for a client to read them.
    pub messages_a_stream: usize,
    /// Bytes of such messages.
    pub bytes_a_stream: usize,
    /// Entities in one message.
    pub entities_a_message: usize,
    /// Things that one Read may find.
    pub entities_a_read: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 64,
            roles: 64,
            messages_a_stream: 1024,
            bytes_a_stream: 4 << 20,
            entities_a_message: 512,
            entities_a_read: 2 << 20,
        }
    }
}

/// A P4Runtime server for one device, without sockets and clocks. Times are nanoseconds since 1970 that never go back.
pub struct Server<P> {
    pub(super) device_id: u64,
    pub(super) limits: Limits,
    pub(super) plane: P,
    pub(super) pipeline: Option<Arc<Pipeline>>,
    pub(super) cookie: Option<u64>,
    pub(super) store: Store,
    pub(super) roles: BTreeMap<String, RoleState>,
    pub(super) streams: BTreeMap<StreamId, Stream>,
    pub(super) streams_ever: u64,
    pub(super) ready: BTreeSet<StreamId>,
    pub(super) digests: Digests,
}

impl<P: Plane> Server<P> {
    /// For that device. Without a pipeline, clients can arbitrate and no more.
    pub fn new(device_id: u64, limits: Limits, plane: P, pipeline: Option<Pipeline>) -> Self {
        let store = pipeline.as_ref().map(Store::new).unwrap_or_default();
        Self {
            device_id,
            limits,
            plane,
            pipeline: pipeline.map(Arc::new),
            cookie: None,
            store,
            roles: BTreeMap::new(),
            streams: BTreeMap::new(),
            streams_ever: 0,
            ready: BTreeSet::new(),
            digests: Digests::default(),
        }
    }

    /// The program is this one, and its tables are as it leaves them: the data plane is new. Roles' configs keep the meaning they
    /// had.
    pub fn load(&mut self, pipeline: Pipeline) {
        self.store = Store::new(&pipeline);
        self.pipeline = Some(Arc::new(pipeline));
        self.digests.follow(&self.store);
    }

    /// The data plane is another one that runs the same program and has none of what clients wrote: it gets all of that in one
    /// transaction. Tables with an owner are their owner's business.
    ///
    /// # Errors
    /// If the data plane does not take it; it then has nothing still.
    pub fn refill(&mut self) -> Result<(), Refused> {
        let Some(pipeline) = self.pipeline.clone() else { return Ok(()) };
        let changes = self.store.filling(&pipeline);
        if changes.is_empty() { Ok(()) } else { self.plane.commit(&changes) }
    }

    /// The program.
    pub fn pipeline(&self) -> Option<&Pipeline> {
        self.pipeline.as_deref()
    }

    /// What clients want.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The data plane's side.
    pub fn plane_mut(&mut self) -> &mut P {
        &mut self.plane
    }

    /// Control has made, changed or (none) removed an entry of a table that it programs itself: clients can read it from now on.
    /// The data plane is told nothing.
    ///
    /// # Errors
    /// If the table is none of those with an owner, has no such key or action, or is full.
    pub fn mirror(&mut self, table: TableId, key: &Key, action: Option<ActionCall>) -> Result<(), Refusal> {
        let pipeline = self.pipeline.clone().ok_or_else(super::write::no_pipeline)?;
        let Some(declared) = pipeline.tables.get(&table).filter(|table| table.owner().is_some()) else {
            return Err(invalid(format!("there is no table {:#010x} that has an owner", table.0)));
        };
        let known = |action: &ActionCall| {
            declared.actions.contains_key(&action.action)
                && pipeline.actions[&action.action].parameters.len() == action.arguments.len()
        };
        if key.matches().len() != declared.fields.len() || !action.as_ref().is_none_or(known) {
            return Err(invalid(format!("{} has no such entry", declared.name())));
        }
        let entries = &mut self.store.of(table).entries;
        match action {
            None => drop(entries.remove(key)),
            Some(_) if entries.len() >= declared.size && !entries.contains_key(key) => {
                return Err(exhausted(format!("{} has its {} entries", declared.name(), declared.size)));
            }
            Some(action) => {
                let entry = Entry { is_const: true, ..Entry::new(Some(action)) };
                drop(entries.insert(key.clone(), Arc::new(entry)));
            }
        }
        Ok(())
    }

    /// Capabilities (§17).
    ///
    /// # Errors
    /// If the device is another one.
    pub fn capabilities(&self, request: &CapabilitiesRequest) -> Result<CapabilitiesResponse, Refusal> {
        // Clients of versions before 1.5 cannot name a device.
        if request.device_id != 0 {
            self.is_ours(request.device_id)?;
        }
        Ok(CapabilitiesResponse { p4runtime_api_version: "1.5.0".into(), ..CapabilitiesResponse::default() })
    }

    pub(super) fn is_ours(&self, device_id: u64) -> Result<(), Refusal> {
        if device_id == self.device_id {
            return Ok(());
        }
        Err(not_found(format!("there is no device {device_id}; this is device {}", self.device_id)))
    }

    /// What the client may do that names itself so, if it is a primary (§12, §14).
    pub(super) fn writer(
        &self,
        device_id: u64,
        role_id: u64,
        role: &str,
        election_id: Option<&Uint128>,
    ) -> Result<Authority, Refusal> {
        self.is_ours(device_id)?;
        if role_id != 0 {
            return Err(not_found(format!("roles have names; there is none with the number {role_id}")));
        }
        let Some(state) = self.roles.get(role) else {
            return Err(if role.is_empty() {
                denied("the client is not the primary: nobody is")
            } else {
                not_found(format!("no client has the role {role:?}"))
            });
        };
        let primary = state.primary.is_some_and(|_| election_id.map(number) == state.highest);
        if !primary {
            let who = if state.primary.is_some() { "another client is" } else { "nobody is" };
            return Err(denied(format!("the client is not the primary: {who}")));
        }
        Ok(state.authority.clone())
    }
}

/// An election id as a number.
pub(super) fn number(id: &Uint128) -> u128 {
    u128::from(id.high) << 64 | u128::from(id.low)
}

/// A number as an election id.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn election_id(number: u128) -> Uint128 {
    Uint128 { high: (number >> 64) as u64, low: number as u64 }
}
