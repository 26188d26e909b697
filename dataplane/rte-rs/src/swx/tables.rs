//! What the tables of a pipeline hold, and what its registers count.

use std::ffi::c_void;

use super::{Pipeline, TableShape};
use crate::error::{Errno, Error, c_name, check};

/// An entry of a table.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The key's bytes, from its first field to its last: a header's in network order, the metadata's in the processor's.
    pub key: &'a [u8],
    /// The bits that count, in as many bytes; none in an exact table.
    pub mask: Option<&'a [u8]>,
    /// The least wins. Exact tables have no use for it.
    pub priority: u32,
    /// The action's name.
    pub action: &'a str,
    /// Its arguments' bytes, one behind the other, in the processor's order.
    pub arguments: &'a [u8],
}

/// An entry as SWX wants it, with copies of what it points to.
struct Owned {
    key: Vec<u8>,
    mask: Option<Vec<u8>>,
    arguments: Vec<u8>,
    priority: u32,
    action: u64,
}

impl Owned {
    fn raw(&mut self) -> dpdk_sys::rte_swx_table_entry {
        dpdk_sys::rte_swx_table_entry {
            node: dpdk_sys::rte_swx_table_entry__bindgen_ty_1 {
                tqe_next: std::ptr::null_mut(),
                tqe_prev: std::ptr::null_mut(),
            },
            key: self.key.as_mut_ptr(),
            key_mask: self.mask.as_mut().map_or(std::ptr::null_mut(), |mask| mask.as_mut_ptr()),
            key_signature: 0,
            key_priority: self.priority,
            action_id: self.action,
            action_data: self.arguments.as_mut_ptr(),
        }
    }
}

fn invalid(operation: &'static str) -> Error {
    Error::Call { operation, errno: Errno::Invalid }
}

impl Pipeline {
    fn shape(&self, table: &str) -> Result<(usize, &TableShape), Error> {
        let found = self.tables.iter().position(|shape| shape.name.as_bytes() == table.as_bytes());
        found.map(|at| (at, &self.tables[at])).ok_or_else(|| Error::Name(table.to_owned()))
    }

    fn action(&self, table: &TableShape, name: &str, arguments: &[u8]) -> Result<(u64, Vec<u8>), Error> {
        let found = table.actions.iter().copied().find(|at| self.actions[*at].0 == name);
        let action = found.ok_or_else(|| Error::Name(name.to_owned()))?;
        if self.actions[action].1 != arguments.len() {
            return Err(invalid("an action's arguments"));
        }
        // Tables copy as many bytes as their largest action has.
        let mut padded = arguments.to_vec();
        padded.resize(table.argument_bytes.max(1), 0);
        Ok((action as u64, padded))
    }

    fn owned(&self, table: &TableShape, entry: &Entry<'_>) -> Result<Owned, Error> {
        let fits = |bytes: &[u8]| bytes.len() == table.key_bytes;
        if !fits(entry.key)
            || entry.key.is_empty()
            || !entry.mask.is_none_or(fits)
            || entry.mask.is_none() != table.exact
        {
            return Err(invalid("an entry's key"));
        }
        let (action, arguments) = self.action(table, entry.action, entry.arguments)?;
        Ok(Owned {
            key: entry.key.to_vec(),
            mask: entry.mask.map(<[u8]>::to_vec),
            arguments,
            priority: entry.priority,
            action,
        })
    }

    /// Puts an entry in, or gives one that is there another action; in force from [`Self::commit`] on. SWX compares it with all
    /// others: for many there is [`Self::fill`].
    ///
    /// # Errors
    /// [`Error::Name`] for a table or action that is not there; [`Error::Call`]: `Invalid` for what does not fit, `NoMemory`.
    pub fn add(&mut self, table: &str, entry: &Entry<'_>) -> Result<(), Error> {
        let (_, shape) = self.shape(table)?;
        let mut owned = self.owned(shape, entry)?;
        let mut raw = owned.raw();
        // SAFETY: key, mask and arguments have the table's sizes; SWX copies them.
        check("rte_swx_ctl_pipeline_table_entry_add", unsafe {
            let control = self.control.as_ptr();
            dpdk_sys::rte_swx_ctl_pipeline_table_entry_add(control, shape.name.as_ptr(), &raw mut raw)
        })?;
        Ok(())
    }

    /// Takes the entry with this key and mask out, if it is there; in force from [`Self::commit`] on.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn delete(&mut self, table: &str, entry: &Entry<'_>) -> Result<(), Error> {
        let (_, shape) = self.shape(table)?;
        let mut owned = self.owned(shape, entry)?;
        let mut raw = owned.raw();
        // SAFETY: as in add; nothing is kept.
        check("rte_swx_ctl_pipeline_table_entry_delete", unsafe {
            let control = self.control.as_ptr();
            dpdk_sys::rte_swx_ctl_pipeline_table_entry_delete(control, shape.name.as_ptr(), &raw mut raw)
        })?;
        Ok(())
    }

    /// Changes what is done on a miss; in force from [`Self::commit`] on.
    ///
    /// # Errors
    /// As [`Self::add`]; `Invalid` also where it is constant.
    pub fn set_default(&mut self, table: &str, action: &str, arguments: &[u8]) -> Result<(), Error> {
        let (_, shape) = self.shape(table)?;
        let (action, arguments) = self.action(shape, action, arguments)?;
        let mut owned = Owned { key: Vec::new(), mask: None, arguments, priority: 0, action };
        let mut raw = owned.raw();
        // SAFETY: arguments have the table's size; a default's key is not looked at.
        check("rte_swx_ctl_pipeline_table_default_entry_add", unsafe {
            let control = self.control.as_ptr();
            dpdk_sys::rte_swx_ctl_pipeline_table_default_entry_add(control, shape.name.as_ptr(), &raw mut raw)
        })?;
        Ok(())
    }

    /// Puts into force what was added, deleted and set since the last time: all of it, or on an error nothing.
    ///
    /// # Errors
    /// [`Error::Call`]: `NoSpace` for a table that is full, `NoMemory`.
    pub fn commit(&mut self) -> Result<(), Error> {
        // SAFETY: the pipeline is built, and nobody runs it meanwhile.
        check("rte_swx_ctl_pipeline_commit", unsafe {
            dpdk_sys::rte_swx_ctl_pipeline_commit(self.control.as_ptr(), 1)
        })?;
        Ok(())
    }

    /// The tables as packets see them, in the order of their registration.
    pub(super) fn states(&self) -> Result<*mut dpdk_sys::rte_swx_table_state, Error> {
        let mut states = std::ptr::null_mut();
        // SAFETY: the pipeline is built; a place for the pointer.
        check("rte_swx_pipeline_table_state_get", unsafe {
            dpdk_sys::rte_swx_pipeline_table_state_get(self.as_ptr(), &raw mut states)
        })?;
        Ok(states)
    }

    /// How a table takes one entry more; none if it is made anew for every change.
    pub(super) fn adds(&self, table: usize) -> Result<dpdk_sys::rte_swx_table_add_t, Error> {
        let mut operations = std::mem::MaybeUninit::<dpdk_sys::rte_swx_table_ops>::zeroed();
        let mut stub = 0;
        // SAFETY: the pipeline has this table, for tables have the numbers of their registration; places to write to. All zero is
        // a value of the operations, which are optional functions.
        let operations = unsafe {
            check("rte_swx_ctl_table_ops_get", {
                dpdk_sys::rte_swx_ctl_table_ops_get(self.as_ptr(), table as u32, operations.as_mut_ptr(), &raw mut stub)
            })?;
            operations.assume_init()
        };
        Ok(operations.add.filter(|_| stub == 0))
    }

    /// Puts entries into an exact table without looking through those that are there, and commits what else there is to commit.
    ///
    /// # Errors
    /// As [`Self::add`]; `NotSupported` for a table with masks; `NoSpace` when it is full: what came before stays.
    pub fn fill<'e, E>(&mut self, table: &str, entries: E) -> Result<(), Error>
    where
        E: IntoIterator<Item = Entry<'e>> + Clone,
    {
        const OPERATION: &str = "rte_swx_table_exact_match_ops.add";
        let (at, _) = self.shape(table)?;
        let Some(add) = self.adds(at)? else {
            return Err(Error::Call { operation: OPERATION, errno: Errno::NotSupported });
        };
        // There are two of each, which a commit swaps.
        for _ in 0..2 {
            let (at, shape) = self.shape(table)?;
            // SAFETY: as many states as tables.
            let object: *mut c_void = unsafe { (*self.states()?.add(at)).obj };
            for entry in entries.clone() {
                let mut owned = self.owned(shape, &entry)?;
                let mut raw = owned.raw();
                // SAFETY: a live table of this kind that nobody looks into meanwhile, and an entry of its sizes, which it copies.
                check(OPERATION, unsafe { add(object, &raw mut raw) })?;
            }
            self.commit()?;
        }
        Ok(())
    }

    /// What a cell of a register array holds.
    ///
    /// # Errors
    /// [`Error::Call`]: `Invalid` for an array that is not there, or a cell that it has not.
    pub fn register(&self, name: &str, cell: u32) -> Result<u64, Error> {
        let name = c_name(name, super::NAME_SIZE)?;
        let mut value = 0;
        // SAFETY: a NUL-terminated name and a place for the value; SWX checks the cell.
        check("rte_swx_ctl_pipeline_regarray_read", unsafe {
            dpdk_sys::rte_swx_ctl_pipeline_regarray_read(self.as_ptr(), name.as_ptr(), cell, &raw mut value)
        })?;
        Ok(value)
    }
}
