//! SWX pipelines (rte_swx_pipeline.h, DPDK 22.11): a program of SWX's own instructions, interpreted, between two rings.
//!
//! ```text
//! Builder: struct_type, header, metadata, action, table, registers ── build(instructions) ──> Pipeline
//! Pipeline: offer ──> ring ──> run (so many instructions) ──> ring ──> take
//!           add, delete, set_default, commit; fill
//! ```
//!
//! An engine to hold others to, and to measure beside them: no lcore of the data plane runs it.

mod tables;

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt;
use std::ptr::NonNull;

use arrayvec::ArrayVec;

use crate::error::{Errno, Error, c_name, check};
use crate::ring::with_flags;
use crate::{BURST, Consumer, Eal, Mbuf, Producer, SocketId};

pub use tables::Entry;

/// Longest name of anything, with its NUL (RTE_SWX_NAME_SIZE).
const NAME_SIZE: usize = 64;
/// Longest instruction, with its NUL.
const INSTRUCTION_SIZE: usize = 256;
/// Frames that each of the two rings has room for.
const RING_FRAMES: u32 = 256;

/// A table.
#[derive(Clone, Debug)]
pub struct Table<'a> {
    /// Its name.
    pub name: &'a str,
    /// The fields of its key: all of one header, `h.<header>.<field>`, or all of the metadata, `m.<field>`.
    pub keys: &'a [&'a str],
    /// Every field counts wholly: a hash table. If not, entries have masks and priorities.
    pub exact: bool,
    /// Actions by name, and whether each may be an entry's and the default.
    pub actions: &'a [(&'a str, bool, bool)],
    /// What is done on a miss.
    pub default: &'a str,
    /// Its arguments as SWX reads them: `name value name value`. None if it has none.
    pub default_arguments: Option<&'a str>,
    /// The default action cannot be changed.
    pub const_default: bool,
    /// Entries that there is room for.
    pub size: u32,
}

/// A pipeline in the making.
pub struct Builder {
    raw: Raw,
    /// Each struct's fields and their bits.
    structs: HashMap<String, Vec<(String, u32)>>,
    /// Each header's struct; the metadata's is under the empty name.
    headers: HashMap<String, String>,
    actions: Vec<(String, usize)>,
    tables: Vec<TableShape>,
    offered: Producer,
    taken: Consumer,
    /// SWX's own ends of the rings, which have to live as long.
    ends: (Consumer, Producer),
}

/// What has to be known of a table for entries to be checked.
struct TableShape {
    name: CString,
    exact: bool,
    key_bytes: usize,
    argument_bytes: usize,
    actions: Vec<usize>,
}

/// A pipeline that runs. One thread at a time has it.
pub struct Pipeline {
    control: NonNull<dpdk_sys::rte_swx_ctl_pipeline>,
    actions: Vec<(String, usize)>,
    tables: Vec<TableShape>,
    offered: Producer,
    taken: Consumer,
    raw: Raw,
    _ends: (Consumer, Producer),
}

struct Raw {
    pipeline: NonNull<dpdk_sys::rte_swx_pipeline>,
    _eal: Eal,
}

// SAFETY: SWX keeps nothing by thread; whoever has the value is the only one that calls.
unsafe impl Send for Pipeline {}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: the pipeline lives until this very call.
        unsafe { dpdk_sys::rte_swx_pipeline_free(self.pipeline.as_ptr()) }
    }
}

fn strings<S: AsRef<str>>(texts: &[S], longest: usize) -> Result<Vec<CString>, Error> {
    texts.iter().map(|text| c_name(text.as_ref(), longest)).collect()
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).collect()
}

impl Builder {
    /// An empty pipeline, with a ring to take frames from and one to put them on. `name` is that of the rings.
    ///
    /// # Errors
    /// [`Error::Name`]; [`Error::Call`]: `Exists`, `NoMemory`.
    pub fn new(eal: &Eal, name: &str) -> Result<Self, Error> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: a place for the pointer; no name, so nothing finds the pipeline but its owner.
        check("rte_swx_pipeline_config", unsafe {
            dpdk_sys::rte_swx_pipeline_config(&raw mut raw, std::ptr::null(), 0)
        })?;
        let failed = || Error::Call { operation: "rte_swx_pipeline_config", errno: Errno::NoMemory };
        let raw = Raw { pipeline: NonNull::new(raw).ok_or_else(failed)?, _eal: eal.clone() };
        let (into, out) = (format!("{name}_in"), format!("{name}_out"));
        // SWX takes from the one as its only consumer, and puts on the other as its only producer.
        let (offered, from) = with_flags(eal, &into, RING_FRAMES, SocketId::ANY, dpdk_sys::RING_F_MP_RTS_ENQ)?;
        let (to, taken) = with_flags(eal, &out, RING_FRAMES, SocketId::ANY, dpdk_sys::RING_F_SP_ENQ)?;
        let (into, out) = (c_name(&into, NAME_SIZE)?, c_name(&out, NAME_SIZE)?);
        let burst_size = BURST as u32;
        let mut reader = dpdk_sys::rte_swx_port_ring_reader_params { name: into.as_ptr(), burst_size };
        let mut writer = dpdk_sys::rte_swx_port_ring_writer_params { name: out.as_ptr(), burst_size };
        // SAFETY: SWX knows the port type by this name, and copies its parameters.
        check("rte_swx_pipeline_port_in_config", unsafe {
            let parameters = (&raw mut reader).cast::<c_void>();
            dpdk_sys::rte_swx_pipeline_port_in_config(raw.pipeline.as_ptr(), 0, c"ring".as_ptr(), parameters)
        })?;
        // SAFETY: as above.
        check("rte_swx_pipeline_port_out_config", unsafe {
            let parameters = (&raw mut writer).cast::<c_void>();
            dpdk_sys::rte_swx_pipeline_port_out_config(raw.pipeline.as_ptr(), 0, c"ring".as_ptr(), parameters)
        })?;
        Ok(Self {
            raw,
            structs: HashMap::new(),
            headers: HashMap::new(),
            actions: Vec::new(),
            tables: Vec::new(),
            offered,
            taken,
            ends: (from, to),
        })
    }

    fn as_ptr(&self) -> *mut dpdk_sys::rte_swx_pipeline {
        self.raw.pipeline.as_ptr()
    }

    /// A struct type: fields and their bits, a multiple of 8 up to 64.
    ///
    /// # Errors
    /// [`Error::Name`]; [`Error::Call`]: `Invalid`, `Exists`, `NoMemory`.
    pub fn struct_type(&mut self, name: &str, fields: &[(String, u32)]) -> Result<(), Error> {
        let c = c_name(name, NAME_SIZE)?;
        let names: Vec<_> = fields.iter().map(|(field, _)| field).collect();
        let names = strings(&names, NAME_SIZE)?;
        let each = names.iter().zip(fields);
        let mut raw: Vec<_> = each
            .map(|(name, (_, bits))| dpdk_sys::rte_swx_field_params { name: name.as_ptr(), n_bits: *bits })
            .collect();
        // SAFETY: NUL-terminated names and as many fields as is said, all copied.
        check("rte_swx_pipeline_struct_type_register", unsafe {
            let count = raw.len() as u32;
            dpdk_sys::rte_swx_pipeline_struct_type_register(self.as_ptr(), c.as_ptr(), raw.as_mut_ptr(), count, 0)
        })?;
        self.structs.insert(name.to_owned(), fields.to_vec());
        Ok(())
    }

    /// A header of a struct type.
    ///
    /// # Errors
    /// As [`Self::struct_type`].
    pub fn header(&mut self, name: &str, of: &str) -> Result<(), Error> {
        let (c, c_of) = (c_name(name, NAME_SIZE)?, c_name(of, NAME_SIZE)?);
        // SAFETY: NUL-terminated names.
        check("rte_swx_pipeline_packet_header_register", unsafe {
            dpdk_sys::rte_swx_pipeline_packet_header_register(self.as_ptr(), c.as_ptr(), c_of.as_ptr())
        })?;
        self.headers.insert(name.to_owned(), of.to_owned());
        Ok(())
    }

    /// The metadata's struct type.
    ///
    /// # Errors
    /// As [`Self::struct_type`].
    pub fn metadata(&mut self, of: &str) -> Result<(), Error> {
        let c = c_name(of, NAME_SIZE)?;
        // SAFETY: a NUL-terminated name.
        check("rte_swx_pipeline_packet_metadata_register", unsafe {
            dpdk_sys::rte_swx_pipeline_packet_metadata_register(self.as_ptr(), c.as_ptr())
        })?;
        self.headers.insert(String::new(), of.to_owned());
        Ok(())
    }

    /// An action; `arguments` is the struct type of what entries give it.
    ///
    /// # Errors
    /// As [`Self::struct_type`]; `Invalid` for an instruction that SWX does not take, too.
    pub fn action(&mut self, name: &str, arguments: Option<&str>, instructions: &[String]) -> Result<(), Error> {
        let c = c_name(name, NAME_SIZE)?;
        let of = arguments.map(|of| c_name(of, NAME_SIZE)).transpose()?;
        let lines = strings(instructions, INSTRUCTION_SIZE)?;
        let mut lines_raw = pointers(&lines);
        // SAFETY: NUL-terminated texts, as many as is said.
        check("rte_swx_pipeline_action_config", unsafe {
            dpdk_sys::rte_swx_pipeline_action_config(
                self.as_ptr(),
                c.as_ptr(),
                of.as_ref().map_or(std::ptr::null(), |of| of.as_ptr()),
                lines_raw.as_mut_ptr(),
                lines_raw.len() as u32,
            )
        })?;
        let bytes = arguments.and_then(|of| self.structs.get(of)).map_or(0, |fields| bytes(fields));
        self.actions.push((name.to_owned(), bytes));
        Ok(())
    }

    /// A table.
    ///
    /// # Errors
    /// [`Error::Name`] also for a field or action that is not there; [`Error::Call`]: `Invalid`, `Exists`, `NoMemory`.
    pub fn table(&mut self, table: &Table<'_>) -> Result<(), Error> {
        let key_bytes = self.key_bytes(table.keys)?;
        let mut actions = Vec::new();
        for (name, ..) in table.actions {
            let place = self.actions.iter().position(|(known, _)| known == name);
            actions.push(place.ok_or_else(|| Error::Name((*name).to_owned()))?);
        }
        let name = c_name(table.name, NAME_SIZE)?;
        let match_type = match table.exact {
            true => dpdk_sys::RTE_SWX_TABLE_MATCH_EXACT,
            false => dpdk_sys::RTE_SWX_TABLE_MATCH_WILDCARD,
        };
        let keys = strings(table.keys, 2 * NAME_SIZE)?;
        let mut fields: Vec<_> =
            keys.iter().map(|key| dpdk_sys::rte_swx_match_field_params { name: key.as_ptr(), match_type }).collect();
        let named: Vec<_> = table.actions.iter().map(|(name, ..)| *name).collect();
        let named = strings(&named, NAME_SIZE)?;
        let mut action_names = pointers(&named);
        let mut in_entries: Vec<c_int> = table.actions.iter().map(|(_, entry, _)| (*entry).into()).collect();
        let mut as_default: Vec<c_int> = table.actions.iter().map(|(.., default)| (*default).into()).collect();
        let default = c_name(table.default, NAME_SIZE)?;
        let arguments = table.default_arguments.map(|text| c_name(text, 4 * INSTRUCTION_SIZE)).transpose()?;
        let mut parameters = dpdk_sys::rte_swx_pipeline_table_params {
            fields: fields.as_mut_ptr(),
            n_fields: fields.len() as u32,
            action_names: action_names.as_mut_ptr(),
            action_is_for_table_entries: in_entries.as_mut_ptr(),
            action_is_for_default_entry: as_default.as_mut_ptr(),
            n_actions: action_names.len() as u32,
            default_action_name: default.as_ptr(),
            default_action_args: arguments.as_ref().map_or(std::ptr::null(), |text| text.as_ptr()),
            default_action_is_const: table.const_default.into(),
            hash_func_name: std::ptr::null(),
        };
        // SAFETY: every pointer is to as many NUL-terminated texts or numbers as is said, all copied.
        check("rte_swx_pipeline_table_config", unsafe {
            dpdk_sys::rte_swx_pipeline_table_config(
                self.as_ptr(),
                name.as_ptr(),
                &raw mut parameters,
                std::ptr::null(),
                std::ptr::null(),
                table.size,
            )
        })?;
        let argument_bytes = actions.iter().map(|action| self.actions[*action].1).max().unwrap_or(0);
        self.tables.push(TableShape { name, exact: table.exact, key_bytes, argument_bytes, actions });
        Ok(())
    }

    /// From the first byte of the first field to the last of the last.
    fn key_bytes(&self, keys: &[&str]) -> Result<usize, Error> {
        let (mut first, mut end) = (usize::MAX, 0);
        for key in keys {
            let missing = || Error::Name((*key).to_owned());
            let (parent, field) = key.rsplit_once('.').ok_or_else(missing)?;
            let of = self.headers.get(parent.strip_prefix("h.").unwrap_or("")).ok_or_else(missing)?;
            let fields = self.structs.get(of).ok_or_else(missing)?;
            let at = fields.iter().position(|(name, _)| name == field).ok_or_else(missing)?;
            first = first.min(bytes(&fields[..at]));
            end = end.max(bytes(&fields[..=at]));
        }
        Ok(end.saturating_sub(first))
    }

    /// A register array of numbers of 64 bits, zero at first; `size` is a power of two.
    ///
    /// # Errors
    /// As [`Self::struct_type`].
    pub fn registers(&mut self, name: &str, size: u32) -> Result<(), Error> {
        let c = c_name(name, NAME_SIZE)?;
        // SAFETY: a NUL-terminated name and numbers.
        check("rte_swx_pipeline_regarray_config", unsafe {
            dpdk_sys::rte_swx_pipeline_regarray_config(self.as_ptr(), c.as_ptr(), size, 0)
        })?;
        Ok(())
    }

    /// The pipeline, with its instructions from `rx` to `tx`.
    ///
    /// # Errors
    /// [`Error::Call`]: `Invalid` for an instruction that SWX does not take, `NoMemory` for tables that do not fit.
    ///
    /// # Safety
    /// SWX checks nothing of these while they run. They extract no more than a packet has; on no way through them and the actions
    /// is a field of a header touched that is not valid there; and an instruction names no field of the metadata, of a header or
    /// of arguments that begins beyond 255 bytes.
    pub unsafe fn build(self, instructions: &[String]) -> Result<Pipeline, Error> {
        let lines = strings(instructions, INSTRUCTION_SIZE)?;
        let mut raw = pointers(&lines);
        // SAFETY: NUL-terminated texts, as many as is said.
        check("rte_swx_pipeline_instructions_config", unsafe {
            dpdk_sys::rte_swx_pipeline_instructions_config(self.as_ptr(), raw.as_mut_ptr(), raw.len() as u32)
        })?;
        // SAFETY: the pipeline is configured; it is built once, for this consumes it.
        check("rte_swx_pipeline_build", unsafe { dpdk_sys::rte_swx_pipeline_build(self.as_ptr()) })?;
        // SAFETY: the pipeline is built.
        let control = unsafe { dpdk_sys::rte_swx_ctl_pipeline_create(self.as_ptr()) };
        let Self { raw, actions, tables, offered, taken, ends, .. } = self;
        let Some(control) = NonNull::new(control) else {
            // It has freed tables that the pipeline would free again.
            std::mem::forget(raw);
            return Err(Error::Call { operation: "rte_swx_ctl_pipeline_create", errno: Errno::NoMemory });
        };
        Ok(Pipeline { control, actions, tables, offered, taken, raw, _ends: ends })
    }
}

fn bytes(fields: &[(String, u32)]) -> usize {
    fields.iter().map(|(_, bits)| *bits as usize / 8).sum()
}

impl Pipeline {
    fn as_ptr(&self) -> *mut dpdk_sys::rte_swx_pipeline {
        self.raw.pipeline.as_ptr()
    }

    /// Puts frames, each in one segment, where the pipeline takes them from; returns how many fitted. The rest stay in `from`.
    #[inline]
    pub fn offer<const N: usize>(&mut self, from: &mut ArrayVec<Mbuf, N>) -> usize {
        self.offered.enqueue_burst(from)
    }

    /// Runs so many instructions, over several packets in turns.
    #[inline]
    pub fn run(&mut self, instructions: u32) {
        // SAFETY: the pipeline is built, what it runs is as `build` was promised, and nobody else calls it.
        unsafe { dpdk_sys::rte_swx_pipeline_run(self.as_ptr(), instructions) }
    }

    /// Hands out what waits for a whole burst.
    #[inline]
    pub fn flush(&mut self) {
        // The first call announces it, the second does it.
        for _ in 0..2 {
            // SAFETY: as in run.
            unsafe { dpdk_sys::rte_swx_pipeline_flush(self.as_ptr()) }
        }
    }

    /// Takes frames that the pipeline has sent, as many as there is room for, and returns how many.
    #[inline]
    pub fn take<const N: usize>(&mut self, into: &mut ArrayVec<Mbuf, N>) -> usize {
        self.taken.dequeue_burst(into)
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // What it has begun it ends, so that its mbufs are in the ring that gives them back.
        while self.offered.occupied() != 0 {
            self.run(10_000);
        }
        self.run(1_000_000);
        self.flush();
        if let Ok(states) = self.states() {
            for at in (0..self.tables.len()).filter(|at| self.adds(*at).is_ok_and(|add| add.is_none())) {
                // SAFETY: as many states as tables. Of a table that is made anew for every change SWX and its control side have
                // the same object, and both would free it: DPDK 22.11, rte_swx_ctl_pipeline_free.
                unsafe { (*states.add(at)).obj = std::ptr::null_mut() };
            }
        }
        // SAFETY: made by rte_swx_ctl_pipeline_create, and freed once, before the pipeline.
        unsafe { dpdk_sys::rte_swx_ctl_pipeline_free(self.control.as_ptr()) }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("actions", &self.actions).finish_non_exhaustive()
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("actions", &self.actions).finish_non_exhaustive()
    }
}
