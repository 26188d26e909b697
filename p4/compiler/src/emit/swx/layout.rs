//! Where each variable lies: in a header's containers, in the metadata, in an action's arguments.

use std::collections::{BTreeMap, BTreeSet};

use super::{Refused, Struct};
use crate::ir::{ActionId, HeaderId, Program, VarId, VarKind};

/// Bytes of a struct that instructions reach: their operands' offsets have 8 bits.
pub(super) const REACH: u32 = 256;

/// Where a variable lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A whole field of SWX.
    Whole(String),
    /// Bits of a header's container, from `shift` on.
    Part {
        /// The container and its bits.
        container: String,
        container_bits: u32,
        /// Bits below.
        shift: u32,
    },
    /// More than 64 bits: the upper ones, and the lower 64.
    Halves(String, String),
}

/// All variables' places. Those in the metadata get theirs when they are first asked for.
pub(super) struct Layout {
    fields: BTreeMap<VarId, Place>,
    headers: Vec<Struct>,
    metadata: Vec<(String, u32)>,
    /// Variables in the metadata, in order.
    held: Vec<VarId>,
    /// Zero when a packet comes, besides variables.
    zeroed: BTreeSet<String>,
    arguments: BTreeMap<ActionId, Vec<(String, u32)>>,
    temporaries: u32,
}

impl Layout {
    pub(super) fn new(program: &Program, refused: &mut Vec<Refused>) -> Self {
        let mut layout = Self {
            fields: BTreeMap::new(),
            headers: Vec::new(),
            metadata: vec![("rx_port".to_owned(), 32)],
            held: Vec::new(),
            zeroed: BTreeSet::new(),
            arguments: BTreeMap::new(),
            temporaries: 0,
        };
        for header in (0..program.headers.len() as u32).map(HeaderId) {
            layout.header(program, header, refused);
        }
        layout
    }

    /// Groups a header's fields to containers of whole bytes.
    fn header(&mut self, program: &Program, id: HeaderId, refused: &mut Vec<Refused>) {
        let header = &program.headers[id.index()];
        let name = last(&header.name).to_owned();
        let mut fields = Vec::new();
        let mut group: Vec<(VarId, u32)> = Vec::new();
        for field in &header.fields {
            let bits = u32::from(field.bits);
            if group.is_empty() && bits.is_multiple_of(8) {
                let place = if bits > 64 {
                    let (hi, lo) = (format!("{}_hi", field.name), format!("{}_lo", field.name));
                    fields.extend([(hi.clone(), bits - 64), (lo.clone(), 64)]);
                    Place::Halves(format!("h.{name}.{hi}"), format!("h.{name}.{lo}"))
                } else {
                    fields.push((field.name.clone(), bits));
                    Place::Whole(format!("h.{name}.{}", field.name))
                };
                self.fields.insert(field.var, place);
                continue;
            }
            group.push((field.var, bits));
            let total: u32 = group.iter().map(|(_, bits)| bits).sum();
            if total > 64 {
                let what = format!("{}.{}", header.name, field.name);
                refused.push(Refused { what, why: "fields that share bytes have at most 64 bits together" });
                return;
            }
            if total.is_multiple_of(8) {
                let container = format!("with_{}", last(&program.vars[group[0].0.index()].name));
                let full = format!("h.{name}.{container}");
                fields.push((container, total));
                let mut shift = total;
                for (var, bits) in group.drain(..) {
                    shift -= bits;
                    self.fields.insert(var, Place::Part { container: full.clone(), container_bits: total, shift });
                }
            }
        }
        self.headers.push(Struct { name, fields });
    }

    /// Whether a variable has its place already.
    pub(super) fn is_placed(&self, var: VarId) -> bool {
        self.fields.contains_key(&var)
    }

    /// Where a variable lies.
    pub(super) fn place(&mut self, program: &Program, var: VarId) -> Place {
        if let Some(place) = self.fields.get(&var) {
            return place.clone();
        }
        let declared = &program.vars[var.index()];
        let bits = u32::from(declared.ty.bits()).next_multiple_of(8);
        let (space, name) = match declared.kind {
            VarKind::Parameter { action, .. } => {
                // All of them, so that their order is that of the program.
                self.arguments.entry(action).or_default();
                ("t", declared.name.clone())
            }
            _ => ("m", declared.name.clone()),
        };
        let mut name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        name.truncate(40);
        let taken = |fields: &[(String, u32)], name: &str| {
            fields.iter().any(|(other, _)| other.strip_suffix("_hi").unwrap_or(other) == name)
        };
        let fields = match declared.kind {
            VarKind::Parameter { action, .. } => self.arguments.entry(action).or_default(),
            _ => {
                self.held.push(var);
                &mut self.metadata
            }
        };
        if taken(fields, &name) {
            name = format!("{name}_{}", var.0);
        }
        let place = if bits > 64 {
            fields.extend([(format!("{name}_hi"), bits - 64), (format!("{name}_lo"), 64)]);
            Place::Halves(format!("{space}.{name}_hi"), format!("{space}.{name}_lo"))
        } else {
            fields.push((name.clone(), bits));
            Place::Whole(format!("{space}.{name}"))
        };
        self.fields.insert(var, place.clone());
        place
    }

    /// A field of the metadata that no variable of the program is; made when it is first asked for.
    pub(super) fn own(&mut self, name: &str, bits: u32, zeroed: bool) -> String {
        if !self.has(name) {
            self.metadata.push((name.to_owned(), bits));
        }
        let full = format!("m.{name}");
        if zeroed {
            self.zeroed.insert(full.clone());
        }
        full
    }

    /// Whether the metadata has a field of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.metadata.iter().any(|(other, _)| other == name)
    }

    /// An intermediate value of 64 bits: the `at`-th that is in use at once.
    pub(super) fn temporary(&mut self, at: u32) -> String {
        self.temporaries = self.temporaries.max(at + 1);
        self.own(&format!("tmp_{at}"), 64, false)
    }

    /// Variables in the metadata.
    pub(super) fn held(&self) -> &[VarId] {
        &self.held
    }

    /// Other fields that are zero when a packet comes.
    pub(super) fn zeroed(&self) -> impl Iterator<Item = &String> {
        self.zeroed.iter()
    }

    /// The containers of a header.
    pub(super) fn containers(&self, header: HeaderId) -> Vec<String> {
        let Struct { name, fields } = &self.headers[header.index()];
        fields.iter().map(|(field, _)| format!("h.{name}.{field}")).collect()
    }

    /// A header's name: `h.bth`.
    pub(super) fn header_name(&self, header: HeaderId) -> String {
        format!("h.{}", self.headers[header.index()].name)
    }

    pub(super) fn header_names(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|header| header.name.as_str())
    }

    /// Bytes until the last field begins.
    pub(super) fn metadata_bytes(&self) -> u32 {
        self.metadata.iter().map(|(_, bits)| bits / 8).sum()
    }

    pub(super) fn structs(&self) -> Vec<Struct> {
        self.headers.clone()
    }

    pub(super) fn metadata_struct(&self) -> Struct {
        let mut fields = self.metadata.clone();
        // A field at the end is read as 8 bytes.
        fields.push(("spare".to_owned(), 64));
        Struct { name: "metadata".to_owned(), fields }
    }

    /// Bytes before a field of the metadata, or of a header.
    pub(super) fn offset(&self, field: &str) -> u32 {
        let (parent, name) = field.rsplit_once('.').expect("a field is of something");
        let fields = match parent.strip_prefix("h.") {
            Some(header) => &self.headers.iter().find(|of| of.name == header).expect("a header").fields,
            None => &self.metadata,
        };
        fields.iter().take_while(|(other, _)| other != name).map(|(_, bits)| bits / 8).sum()
    }

    /// Names an action's arguments, in the program's order.
    pub(super) fn arguments(&mut self, program: &Program, action: ActionId) -> Vec<(String, u32)> {
        for var in &program.actions[action.index()].parameters {
            self.place(program, *var);
        }
        self.arguments.get(&action).cloned().unwrap_or_default()
    }

    pub(super) fn argument_structs(&self, actions: impl Iterator<Item = ActionId>) -> Vec<Struct> {
        let named = |id: ActionId| {
            let fields = self.arguments.get(&id).filter(|fields| !fields.is_empty())?;
            Some(Struct { name: argument_struct(id), fields: fields.clone() })
        };
        actions.filter_map(named).collect()
    }
}

/// The struct of an action's arguments.
pub(super) fn argument_struct(action: ActionId) -> String {
    format!("arguments_{}", action.0)
}

/// The last part of a name.
pub(super) fn last(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

/// A name as SWX takes it.
pub(super) fn plain(name: &str) -> String {
    name.replace('.', "_")
}
