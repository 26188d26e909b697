//! A controller's blob: whose it is, its properties, features and events. What is in the command table and which QPs are
//! bound is told by the data plane itself; held event requests come back as unanswered capsules.

use super::{Unreadable, seal, unseal};
use gantry_wire::fabrics::NQN_LEN_MAX;
use gantry_wire::nvme::feature::AsyncEvent;
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Most changed NSIDs that are remembered; more of them are remembered as too many.
pub(crate) const CHANGED_MAX: usize = 256;
/// Most events of one list: there are a handful of kinds.
const EVENTS_MAX: usize = 32;

const READY: u8 = 1;
const RESETTING: u8 = 2;
const SHUTDOWN: u8 = 4;
const SHUTDOWN_COMPLETE: u8 = 8;
const CHANGED_OVERFLOW: u8 = 16;

/// Most inaccessible NSIDs that are remembered; a host may be told of the others once more.
const INACCESSIBLE_MAX: usize = 64;

/// Version 1: this, then the host's NQN, the subsystem's, pending events, masked ones, changed NSIDs, inaccessible ones, four
/// bytes each.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct Fixed {
    host_id: [u8; 16],
    cc: U32,
    /// The host's own; what the data plane enforces may differ.
    keep_alive_ms: U32,
    features: Feature,
    host_nqn: u8,
    subsystem_nqn: u8,
    flags: u8,
    pending: u8,
    masked: u8,
    inaccessible: u8,
    changed: U16,
}

/// Values of Set Features.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub(crate) struct Feature {
    /// I/O queues that the controller may have, and that were asked for: zero when nobody asked.
    pub(crate) queues_max: U16,
    pub(crate) queues: U16,
    pub(crate) async_event_configuration: U32,
    pub(crate) error_recovery: U32,
    pub(crate) temperature_threshold: U32,
    pub(crate) arbitration: U32,
    pub(crate) write_atomicity: U32,
}

/// What a blob says, in control's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ControllerBlob {
    pub(crate) host_nqn: String,
    pub(crate) host_id: [u8; 16],
    pub(crate) subsystem_nqn: String,
    pub(crate) keep_alive_ms: u32,
    pub(crate) cc: u32,
    pub(crate) ready: bool,
    pub(crate) resetting: bool,
    pub(crate) shutdown: Option<bool>,
    pub(crate) features: Feature,
    pub(crate) pending: Vec<AsyncEvent>,
    pub(crate) masked: Vec<AsyncEvent>,
    /// Changed NSIDs; none when there are too many to name.
    pub(crate) changed: Option<Vec<u32>>,
    /// NSIDs that the host knows to be inaccessible.
    pub(crate) inaccessible: Vec<u32>,
}

pub(crate) fn encode_controller(blob: &ControllerBlob) -> Vec<u8> {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let flags = flag(blob.ready, READY)
        | flag(blob.resetting, RESETTING)
        | flag(blob.shutdown.is_some(), SHUTDOWN)
        | flag(blob.shutdown == Some(true), SHUTDOWN_COMPLETE);
    let changed = blob.changed.as_deref().filter(|changed| changed.len() <= CHANGED_MAX);
    let events = |events: &[AsyncEvent]| -> Vec<U32> { events.iter().map(|event| U32::new(event.emit())).collect() };
    let (pending, masked) = (events(&blob.pending), events(&blob.masked));
    let nsids: Vec<U32> = changed.unwrap_or_default().iter().map(|nsid| U32::new(*nsid)).collect();
    let inaccessible = blob.inaccessible.iter().take(INACCESSIBLE_MAX);
    let inaccessible: Vec<U32> = inaccessible.map(|nsid| U32::new(*nsid)).collect();
    assert!(pending.len() <= EVENTS_MAX && masked.len() <= EVENTS_MAX, "each kind of event once");
    let fixed = Fixed {
        host_id: blob.host_id,
        cc: U32::new(blob.cc),
        keep_alive_ms: U32::new(blob.keep_alive_ms),
        features: blob.features,
        host_nqn: blob.host_nqn.len() as u8,
        subsystem_nqn: blob.subsystem_nqn.len() as u8,
        flags: flags | flag(changed.is_none(), CHANGED_OVERFLOW),
        pending: pending.len() as u8,
        masked: masked.len() as u8,
        inaccessible: inaccessible.len() as u8,
        changed: U16::new(nsids.len() as u16),
    };
    seal(&[
        fixed.as_bytes(),
        blob.host_nqn.as_bytes(),
        blob.subsystem_nqn.as_bytes(),
        pending.as_bytes(),
        masked.as_bytes(),
        nsids.as_bytes(),
        inaccessible.as_bytes(),
    ])
}

pub(crate) fn parse_controller(blob: &[u8]) -> Result<ControllerBlob, Unreadable> {
    parse(unseal(blob)?).ok_or(Unreadable::Damaged)
}

fn parse(content: &[u8]) -> Option<ControllerBlob> {
    let (fixed, rest) = Fixed::read_from_prefix(content).ok()?;
    let (host_nqn, rest) = nqn(rest, fixed.host_nqn)?;
    let (subsystem_nqn, rest) = nqn(rest, fixed.subsystem_nqn)?;
    let (pending, rest) = words(rest, fixed.pending.into(), EVENTS_MAX)?;
    let (masked, rest) = words(rest, fixed.masked.into(), EVENTS_MAX)?;
    let (changed, rest) = words(rest, fixed.changed.get().into(), CHANGED_MAX)?;
    let (inaccessible, rest) = words(rest, fixed.inaccessible.into(), INACCESSIBLE_MAX)?;
    let queues = fixed.features.queues_max.get() > 0 && fixed.features.queues <= fixed.features.queues_max;
    if !rest.is_empty() || !queues {
        return None;
    }
    let flag = |flag: u8| fixed.flags & flag != 0;
    let events = |words: &[U32]| words.iter().map(|word| AsyncEvent::parse(word.get())).collect();
    Some(ControllerBlob {
        host_nqn,
        host_id: fixed.host_id,
        subsystem_nqn,
        keep_alive_ms: fixed.keep_alive_ms.get(),
        cc: fixed.cc.get(),
        ready: flag(READY),
        resetting: flag(RESETTING),
        shutdown: flag(SHUTDOWN).then(|| flag(SHUTDOWN_COMPLETE)),
        features: fixed.features,
        pending: events(pending),
        masked: events(masked),
        changed: (!flag(CHANGED_OVERFLOW)).then(|| changed.iter().map(|nsid| nsid.get()).collect()),
        inaccessible: inaccessible.iter().map(|nsid| nsid.get()).collect(),
    })
}

/// A name as Connect takes it: its form is the host's affair.
fn nqn(bytes: &[u8], length: u8) -> Option<(String, &[u8])> {
    let length = usize::from(length);
    let (nqn, rest) = bytes.split_at_checked(length)?;
    let nqn = std::str::from_utf8(nqn).ok().filter(|_| (1..=NQN_LEN_MAX).contains(&length))?;
    Some((nqn.to_owned(), rest))
}

fn words(bytes: &[u8], count: usize, most: usize) -> Option<(&[U32], &[u8])> {
    if count > most {
        return None;
    }
    <[U32]>::ref_from_prefix_with_elems(bytes, count).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry::channel::BLOB_MAX;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;

    fn blob() -> impl Strategy<Value = ControllerBlob> {
        let event = any::<u32>().prop_map(AsyncEvent::parse);
        let event = move || vec(event.clone(), 0..=EVENTS_MAX);
        let changed = proptest::option::of(vec(any::<u32>(), 0..=CHANGED_MAX));
        let features = (1..=64u16, 0..=64u16, any::<[u32; 5]>()).prop_map(|(queues_max, queues, values)| Feature {
            queues_max: queues_max.into(),
            queues: queues.min(queues_max).into(),
            async_event_configuration: values[0].into(),
            error_recovery: values[1].into(),
            temperature_threshold: values[2].into(),
            arbitration: values[3].into(),
            write_atomicity: values[4].into(),
        });
        let inaccessible = vec(any::<u32>(), 0..=INACCESSIBLE_MAX);
        let state = (any::<u32>(), any::<u32>(), any::<bool>(), any::<bool>(), any::<Option<bool>>());
        ("[a-z]{1,200}", "[a-z]{1,200}", any::<[u8; 16]>(), state, features, (event(), event()), changed, inaccessible)
            .prop_map(
                |(
                    host,
                    subsystem,
                    host_id,
                    (keep_alive_ms, cc, ready, resetting, shutdown),
                    features,
                    (pending, masked),
                    changed,
                    inaccessible,
                )| {
                    ControllerBlob {
                        host_nqn: format!("nqn.2026-01.lab:{host}"),
                        host_id,
                        subsystem_nqn: format!("nqn.2026-01.lab:{subsystem}"),
                        keep_alive_ms,
                        cc,
                        ready,
                        resetting,
                        shutdown,
                        features,
                        pending,
                        masked,
                        changed,
                        inaccessible,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_remembered_comes_back(blob in blob()) {
            let bytes = encode_controller(&blob);
            prop_assert!(bytes.len() <= BLOB_MAX);
            prop_assert_eq!(parse_controller(&bytes), Ok(blob));
        }
    }

    #[test]
    fn too_many_changes_are_remembered_as_too_many() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let mut blob = blob().new_tree(&mut runner).unwrap().current();
        blob.changed = Some((0..CHANGED_MAX as u32 + 1).collect());
        let bytes = encode_controller(&blob);
        assert!(bytes.len() <= BLOB_MAX);
        assert_eq!(parse_controller(&bytes).unwrap().changed, None);
    }
}
