//! Digests on their way to clients: gathered into lists, not told twice before they are acknowledged (P4Runtime 1.5.0 §9.8).

use std::collections::{BTreeMap, HashSet, VecDeque};

use gantry_p4_proto::runtime::{DigestList, DigestListAck, StreamMessageResponse, stream_message_response};

use super::pipeline::{DigestId, Pipeline};
use super::plane::Plane;
use super::server::Server;
use super::status::{Refusal, invalid};
use super::store::Store;

/// A list is no longer than this even if the client does not mind.
const LIST_MAX: usize = 1024;
/// So many digests may be waiting to be acknowledged; the oldest are forgotten, and may be told again.
const SENT_MAX: usize = 16 * 1024;

/// In what portions a digest is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestConfig {
    /// A list is sent when its first has waited for so long.
    pub max_timeout_ns: u64,
    /// Most digests of a list; 0 is no limit.
    pub max_list_size: u32,
    /// A digest is told again when its list was not acknowledged for so long.
    pub ack_timeout_ns: u64,
}

type Values = Box<[u128]>;

struct Sent {
    list_id: u64,
    at_ns: u64,
    values: Vec<Values>,
}

struct Gathering {
    config: DigestConfig,
    list: Vec<Values>,
    /// When the list's first came.
    since_ns: u64,
    sent: VecDeque<Sent>,
    /// All values in `list` and `sent`.
    known: HashSet<Values>,
}

/// A list that is to be sent.
pub(super) struct List {
    pub(super) digest: DigestId,
    list_id: u64,
    values: Vec<Values>,
}

/// All digests that are wanted.
#[derive(Default)]
pub(super) struct Digests {
    of: BTreeMap<DigestId, Gathering>,
    lists: u64,
}

impl Digests {
    /// Takes up and drops what the store has and has not.
    pub(super) fn follow(&mut self, store: &Store) {
        self.of.retain(|digest, _| store.digests.contains_key(digest));
        for (digest, config) in &store.digests {
            let fresh = || Gathering {
                config: *config,
                list: Vec::new(),
                since_ns: 0,
                sent: VecDeque::new(),
                known: HashSet::new(),
            };
            self.of.entry(*digest).or_insert_with(fresh).config = *config;
        }
    }

    /// One more; the list that it fills.
    fn take(&mut self, now_ns: u64, digest: DigestId, values: &[u128]) -> Option<List> {
        let gathering = self.of.get_mut(&digest)?;
        gathering.forget(now_ns);
        if !gathering.known.insert(values.into()) {
            return None;
        }
        if gathering.list.is_empty() {
            gathering.since_ns = now_ns;
        }
        gathering.list.push(values.into());
        let limit = match gathering.config.max_list_size {
            0 => LIST_MAX,
            limit => (limit as usize).min(LIST_MAX),
        };
        let full = gathering.list.len() >= limit || gathering.config.max_timeout_ns == 0;
        full.then(|| gathering.send(now_ns, digest, &mut self.lists))
    }

    /// Lists whose first has waited long enough.
    fn due(&mut self, now_ns: u64) -> Vec<List> {
        let mut due = Vec::new();
        for (digest, gathering) in &mut self.of {
            gathering.forget(now_ns);
            if gathering.deadline_ns().is_some_and(|deadline| deadline <= now_ns) {
                due.push(gathering.send(now_ns, *digest, &mut self.lists));
            }
        }
        due
    }

    /// When a list is due next.
    fn deadline_ns(&self) -> Option<u64> {
        self.of.values().filter_map(Gathering::deadline_ns).min()
    }

    fn acknowledge(&mut self, digest: DigestId, list_id: u64) {
        let Some(gathering) = self.of.get_mut(&digest) else { return };
        if let Some(at) = gathering.sent.iter().position(|sent| sent.list_id == list_id)
            && let Some(sent) = gathering.sent.remove(at)
        {
            for values in &sent.values {
                gathering.known.remove(values);
            }
        }
    }
}

impl Gathering {
    fn deadline_ns(&self) -> Option<u64> {
        (!self.list.is_empty()).then(|| self.since_ns.saturating_add(self.config.max_timeout_ns))
    }

    /// Forgets what was sent too long ago.
    fn forget(&mut self, now_ns: u64) {
        while let Some(oldest) = self.sent.front()
            && (oldest.at_ns.saturating_add(self.config.ack_timeout_ns) <= now_ns || self.known.len() > SENT_MAX)
        {
            for values in &oldest.values {
                self.known.remove(values);
            }
            self.sent.pop_front();
        }
    }

    fn send(&mut self, now_ns: u64, digest: DigestId, lists: &mut u64) -> List {
        *lists += 1;
        let values = std::mem::take(&mut self.list);
        if self.config.ack_timeout_ns == 0 {
            for values in &values {
                self.known.remove(values);
            }
        } else {
            self.sent.push_back(Sent { list_id: *lists, at_ns: now_ns, values: values.clone() });
        }
        List { digest, list_id: *lists, values }
    }
}

impl List {
    fn message(self, pipeline: &Pipeline, now_ns: u64) -> StreamMessageResponse {
        let shape = &pipeline.digests[&self.digest].shape;
        let list = DigestList {
            digest_id: self.digest.0,
            list_id: self.list_id,
            data: self.values.iter().map(|values| shape.data(&mut values.iter().copied())).collect(),
            timestamp: i64::try_from(now_ns).unwrap_or(i64::MAX),
        };
        StreamMessageResponse { update: Some(stream_message_response::Update::Digest(list)) }
    }
}

impl<P: Plane> Server<P> {
    /// A digest from the data plane: its fields' values in order, those of structs inside it one after the other. Nothing happens
    /// if nobody wants it.
    ///
    /// # Panics
    /// If the program has no such digest, or the values are not as many as it has.
    pub fn handle_digest(&mut self, now_ns: u64, digest: DigestId, values: &[u128]) {
        let Some(pipeline) = self.pipeline.clone() else { return };
        assert_eq!(
            values.len(),
            pipeline.digests[&digest].values,
            "values of {}",
            pipeline.digests[&digest].object.name
        );
        if let Some(list) = self.digests.take(now_ns, digest, values) {
            self.tell_digest(now_ns, &pipeline, list);
        }
    }

    /// Does what time brings: lists of digests that have waited long enough. To be called again at the time it gives, in
    /// nanoseconds, if any; and after [`Server::write`] and [`Server::handle_digest`].
    pub fn poll(&mut self, now_ns: u64) -> Option<u64> {
        if let Some(pipeline) = self.pipeline.clone() {
            for list in self.digests.due(now_ns) {
                self.tell_digest(now_ns, &pipeline, list);
            }
        }
        self.digests.deadline_ns()
    }

    fn tell_digest(&mut self, now_ns: u64, pipeline: &Pipeline, list: List) {
        let digest = list.digest;
        let message = list.message(pipeline, now_ns);
        self.tell_primaries(|authority| authority.covers(digest.0), &message);
    }

    pub(super) fn digest_ack(&mut self, ack: &DigestListAck) -> Result<(), Refusal> {
        let digest = DigestId(ack.digest_id);
        if !self.pipeline.as_ref().is_some_and(|pipeline| pipeline.digests.contains_key(&digest)) {
            return Err(invalid(format!("there is no digest {:#010x}", digest.0)));
        }
        self.digests.acknowledge(digest, ack.list_id);
        Ok(())
    }
}
