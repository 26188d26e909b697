//! The server: what it keeps, and who may write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gantry_p4_proto::runtime::{CapabilitiesRequest, CapabilitiesResponse, Uint128};

use super::arbitration::{RoleState, Stream, StreamId};
use super::calls::Calls;
use super::digest::Digests;
use super::entry::{ActionCall, Key};
use super::pipeline::{Pipeline, TableId};
use super::plane::{Change, Plane, Ticket, Told};
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
    /// Calls that wait for those before them.
    pub calls: usize,
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
            calls: 64,
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
    pub(super) calls: Calls,
    /// Questions of Reads, with what the data plane has said to them.
    pub(super) asked: BTreeMap<Ticket, Option<Told>>,
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
            calls: Calls::default(),
            asked: BTreeMap::new(),
        }
    }

    /// The program is this one, and its tables are as it leaves them. Roles' configs keep the meaning they had.
    ///
    /// # Panics
    /// While a call is under way.
    pub fn load(&mut self, pipeline: Pipeline) {
        assert!(!self.is_busy(), "what is under way is over before the program is another");
        self.store = Store::new(&pipeline);
        self.pipeline = Some(Arc::new(pipeline));
        self.digests.follow(&self.store);
    }

    /// What clients want is this from now on: what the data plane has kept of it, or nothing. Insertions come before what belongs
    /// to them. What the program does not have, or has no room for, is left out; how much that is is the answer.
    ///
    /// # Panics
    /// While a call is under way.
    pub fn adopt(&mut self, state: &[Change]) -> usize {
        assert!(!self.is_busy(), "what is under way is over before the data plane is adopted");
        let Some(pipeline) = self.pipeline.clone() else { return state.len() };
        let owned = |id: &TableId| pipeline.tables[id].owner().is_some();
        let mut store = Store::new(&pipeline);
        // Control's and the program's own are none of this.
        let before = std::mem::take(&mut self.store.tables);
        store.tables.extend(before.into_iter().filter(|(id, _)| owned(id)));
        let left_out = state.iter().filter(|change| store.adopt(&pipeline, change).is_none()).count();
        self.store = store;
        self.digests.follow(&self.store);
        left_out
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
        let known = |action: &ActionCall| pipeline.fits(declared, action);
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
