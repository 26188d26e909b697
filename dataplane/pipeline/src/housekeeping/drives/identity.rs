//! Which drive it is: hosts write to a drive, not to the slot that it is in. What comes up after a drive has been away is
//! compared with what served there before, and a namespace with the one that had its NSID.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use gantry_nvme::{Inventory, Namespace};
use serde::{Deserialize, Serialize};

use super::describe;

/// A drive that has served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// With every namespace that it had.
    inventory: Inventory,
    /// NSIDs of namespaces that it has no more.
    gone: Vec<u32>,
}

impl Known {
    pub(super) fn new(inventory: Inventory) -> Self {
        Self { inventory, gone: Vec::new() }
    }

    /// What is there now, when it is the same drive; else what is different, in words.
    pub(super) fn again(&self, now: &Inventory) -> Result<Self, String> {
        let was = &self.inventory;
        if (&was.serial, &was.model) != (&now.serial, &now.model) {
            let text = |inventory: &Inventory| format!("{} SN {}", inventory.model, inventory.serial);
            return Err(format!("another drive is there, {}, where {} was", text(now), text(was)));
        }
        let mut again = Self::new(now.clone());
        for old in &was.namespaces {
            if now.namespace(old.nsid).is_some_and(|new| is_same(old, new)) {
                continue;
            }
            again.inventory.namespaces.retain(|new| new.nsid != old.nsid);
            again.inventory.namespaces.push(*old);
            again.gone.push(old.nsid.0);
        }
        again.inventory.namespaces.sort_by_key(|namespace| namespace.nsid);
        Ok(again)
    }

    /// log2 of the block size of each namespace that is there, by NSID - 1.
    pub(super) fn block_shifts(&self) -> Vec<u8> {
        let nsid_max = self.inventory.namespaces.iter().map(|namespace| namespace.nsid.0).max().unwrap_or(0);
        let mut block_shifts = alloc::vec![0; nsid_max as usize];
        for namespace in self.inventory.namespaces.iter().filter(|namespace| !self.is_gone(namespace)) {
            block_shifts[namespace.nsid.0 as usize - 1] = namespace.block_shift;
        }
        block_shifts
    }

    /// For control: a [`DriveReady`](gantry::channel::event::DriveReady) and its namespaces; one that is gone has no blocks.
    pub(super) fn describe(&self, remarks: &[String]) -> Vec<u8> {
        describe::tail(&self.inventory, |namespace| self.is_gone(namespace), remarks)
    }

    /// What it said of itself, with every namespace that it had.
    pub(super) fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    fn is_gone(&self, namespace: &Namespace) -> bool {
        self.gone.contains(&namespace.nsid.0)
    }
}

/// Whether a namespace is the one that had its NSID. Without any identifier its size must vouch for it; otherwise it may have
/// grown or shrunk.
fn is_same(old: &Namespace, new: &Namespace) -> bool {
    let ids = |namespace: &Namespace| (namespace.nguid, namespace.eui64, namespace.uuid);
    let vouched = ids(old) != ([0; 16], [0; 8], [0; 16]);
    ids(old) == ids(new) && old.block_shift == new.block_shift && (vouched || old.blocks == new.blocks)
}
