//! The match-action tables of p4/packet.p4 and p4/command.p4: one set for all lcores.
//!
//! Housekeeping has the one [`Writer`]. What a transaction changes is staged at PREPARE, which is when it can fail, and
//! published at COMMIT; every lcore enters the new generation with the batch that belongs to it, so that it sees all of a
//! transaction, tables and its own QPs alike, or none. Each lcore has a [`Reader`].

use gantry::channel::operation::{NAMESPACE_READ_ONLY, NamespaceAdd};
use gantry::command::{self, NamespacesAction, NamespacesKey};
use gantry::packet::{self, LocalAddressesAction, LocalAddressesKey, QpsAction, QpsKey};
pub use gantry_table::mix;
use gantry_table::{EntryIndex, Generation, Lcore, StageError};

use crate::state::Sizes;

/// Changes that one round of housekeeping settles: what takes it less than a millisecond.
const RECLAIMED: usize = 4096;

/// Every address and namespace belongs to this tenant.
pub(crate) const TENANT: u16 = 0;

/// Handles to the tables of both programs; a clone is the same tables.
#[derive(Clone)]
pub struct Tables {
    /// Of packet.p4.
    pub packet: packet::Tables,
    /// Of command.p4.
    pub command: command::Tables,
}

/// Housekeeping's side.
pub struct Writer {
    pub(crate) tables: Tables,
    pub(crate) writer: gantry_table::Writer,
}

/// An lcore's side.
pub struct Reader {
    pub(crate) tables: Tables,
    pub(crate) packet_banks: packet::Banks,
    pub(crate) command_banks: command::Banks,
    /// What lookups see.
    pub(crate) generation: Generation,
    lcore: Lcore,
}

impl Writer {
    /// Tables for so many lcores of these sizes, with the entries that the programs bring. Nobody may guess the seed.
    ///
    /// # Panics
    /// If the programs' own entries do not fit the programs' own sizes.
    #[must_use]
    pub fn new(sizes: &Sizes, lcores: usize, seed: u64) -> Self {
        let mut writer = gantry_table::Writer::new(lcores, seed);
        let packet_sizes = packet::Sizes {
            local_addresses: sizes.addresses as usize,
            qps: sizes.qps as usize * lcores,
            ..packet::Sizes::default()
        };
        let command_sizes = command::Sizes { namespaces: sizes.namespaces as usize, ..command::Sizes::default() };
        let tables = Tables {
            packet: packet::Tables::new(&mut writer, &packet_sizes, lcores).expect("packet.p4's entries fit"),
            command: command::Tables::new(&mut writer, &command_sizes, lcores).expect("command.p4's entries fit"),
        };
        writer.publish();
        Self { tables, writer }
    }

    /// An lcore's side, in the current generation.
    ///
    /// # Panics
    /// When every lcore has one.
    #[must_use]
    pub fn reader(&self) -> Reader {
        let mut lcore = self.writer.lcore().expect("a seat for every lcore");
        let generation = lcore.enter();
        Reader {
            tables: self.tables.clone(),
            packet_banks: self.tables.packet.banks().expect("banks for every lcore"),
            command_banks: self.tables.command.banks().expect("banks for every lcore"),
            generation,
            lcore,
        }
    }

    /// Entries for so many QPs that no lcore has, under QPNs from `first` on, published: what large tables cost is measured with
    /// them.
    ///
    /// # Errors
    /// When there is no room, or a QPN is taken.
    pub fn add_strangers(&mut self, first: u32, count: u32) -> Result<(), StageError> {
        for qpn in first..first + count {
            self.add_qp(qpn, u16::MAX, 0)?;
        }
        self.publish();
        Ok(())
    }

    /// A port's address.
    pub(crate) fn add_address(&mut self, port: u16, vlan: u16, ip: [u8; 16]) -> Result<(), StageError> {
        let key = LocalAddressesKey { port: port.into(), vid: vlan, address: u128::from_be_bytes(ip) };
        let action = LocalAddressesAction::Local { tenant: TENANT };
        match self.tables.packet.local_addresses.insert(&mut self.writer, &key, &action) {
            Err(StageError::Exists) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// A QP's place.
    pub(crate) fn add_qp(&mut self, qpn: u32, lcore: u16, slot: u32) -> Result<(), StageError> {
        let action = QpsAction::ToQp { lcore, qp: slot };
        self.tables.packet.qps.insert(&mut self.writer, &QpsKey { qpn }, &action).map(|_| ())
    }

    /// No packet reaches the QP any more.
    pub(crate) fn remove_qp(&mut self, qpn: u32) -> Result<(), StageError> {
        gone(self.tables.packet.qps.remove(&mut self.writer, &QpsKey { qpn }).map(|_| ()))
    }

    /// A controller's namespace, new or other than it was.
    pub(crate) fn set_namespace(&mut self, add: &NamespaceAdd) -> Result<(), StageError> {
        let key = NamespacesKey { cntlid: add.cntlid.get(), nsid: add.nsid.get() };
        let action = NamespacesAction::BlocksOf {
            drive: add.drive.get(),
            drive_nsid: add.drive_nsid.get(),
            base: add.lba_base.get(),
            count: add.lba_count.get(),
            protected: u8::from(add.flags.get() & NAMESPACE_READ_ONLY != 0),
            tenant: TENANT,
        };
        let namespaces = &self.tables.command.namespaces;
        match namespaces.insert(&mut self.writer, &key, &action) {
            Err(StageError::Exists) => namespaces.modify(&mut self.writer, &key, &action).map(|_| ()),
            other => other.map(|_| ()),
        }
    }

    /// The controller has the namespace no longer, if it had it.
    pub(crate) fn remove_namespace(&mut self, cntlid: u16, nsid: u32) -> Result<(), StageError> {
        gone(self.tables.command.namespaces.remove(&mut self.writer, &NamespacesKey { cntlid, nsid }).map(|_| ()))
    }

    /// Where a controller's namespace is in its table, if `fields` are a key of it.
    pub(crate) fn namespace_index(&self, fields: &[u128]) -> Option<EntryIndex> {
        let [cntlid, nsid] = fields else { return None };
        let key = NamespacesKey { cntlid: u16::try_from(*cntlid).ok()?, nsid: u32::try_from(*nsid).ok()? };
        let namespaces = &self.tables.command.namespaces;
        namespaces.lookup(self.writer.current(), &key, namespaces.hash(&key)).map(|(index, _)| index)
    }

    pub(crate) fn current(&self) -> Generation {
        self.writer.current()
    }

    /// Takes back what died and no lcore sees any more, a bounded part of it at a time.
    pub(crate) fn reclaim(&mut self) {
        self.writer.reclaim(RECLAIMED);
    }

    pub(crate) fn publish(&mut self) -> Generation {
        self.writer.publish()
    }

    pub(crate) fn rollback(&mut self) {
        self.writer.rollback();
    }
}

/// What is to go may have gone.
fn gone(removed: Result<(), StageError>) -> Result<(), StageError> {
    match removed {
        Err(StageError::Missing) => Ok(()),
        other => other,
    }
}

impl Reader {
    /// Looks up in `generation` from now on.
    pub(crate) fn enter(&mut self, generation: Generation) {
        self.generation = self.lcore.enter_at(generation);
    }

    /// Entries of QPs and of namespaces, those of every lcore.
    #[must_use]
    pub fn entries(&self) -> (usize, usize) {
        (self.tables.packet.qps.len(), self.tables.command.namespaces.len())
    }

    /// The blocks of a controller's namespace: which of a drive's, and how many.
    pub(crate) fn blocks(&self, cntlid: u16, nsid: u32) -> Option<(u64, u64)> {
        let namespaces = &self.tables.command.namespaces;
        let key = NamespacesKey { cntlid, nsid };
        match namespaces.lookup(self.generation, &key, namespaces.hash(&key)) {
            Some((_, NamespacesAction::BlocksOf { base, count, .. })) => Some((base, count)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_entries_that_every_lcore_sees_and_none_has() {
        let mut tables = Writer::new(&Sizes::default(), 2, 1);
        tables.add_strangers(0x1000, 100).expect("there is room");
        let reader = tables.reader();
        assert_eq!(reader.entries(), (100, 0));
        let qps = &reader.tables.packet.qps;
        for qpn in [0xfff, 0x1000, 0x1063, 0x1064] {
            let key = QpsKey { qpn };
            let found = qps.lookup(reader.generation, &key, qps.hash(&key));
            let stranger = matches!(found, Some((_, QpsAction::ToQp { lcore: u16::MAX, .. })));
            assert_eq!(stranger, (0x1000..0x1064).contains(&qpn), "{qpn:#x}");
        }
        assert!(tables.add_strangers(0x1063, 1).is_err(), "there already");
    }
}
