//! What the program declares, by id: P4Info made ready to check messages against (P4Runtime 1.5.0 §6).

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_p4_proto::P4Info;
use gantry_p4_proto::config::{self, CounterSpec, MeterSpec, Preamble, action_ref, match_field, meter_spec, table};

use super::bytestring;
use super::entry::{ActionCall, Key};
use super::shape::Shape;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// The first byte of such ids (§6.3).
            pub const PREFIX: u8 = $prefix;
        }
    )*};
}

ids! {
    /// Of an action.
    ActionId 0x01
    /// Of a table.
    TableId 0x02
    /// Of a counter, direct or not.
    CounterId 0x12
    /// Of a meter, direct or not.
    MeterId 0x14
    /// Of a register.
    RegisterId 0x16
    /// Of a digest.
    DigestId 0x17
}

/// Why P4Info cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("P4Info: {0}")]
pub struct InvalidInfo(pub(super) String);

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MatchKind {
    Exact,
    Lpm,
    Ternary,
    Range,
    Optional,
}

/// A field of a key, a parameter of an action, or a field of a controller packet's header.
#[derive(Clone, Debug)]
pub(super) struct Field<K> {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) bits: u32,
    pub(super) kind: K,
}

/// Where a table may use an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In entries and as the default.
    Both,
    /// In entries only.
    Entries,
    /// As the default only.
    Default,
}

/// A name, and who but P4Runtime's clients may write.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) name: String,
    pub(super) alias: String,
    /// `@owner("control")`: clients may look, not touch.
    pub(super) owner: Option<String>,
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) object: Object,
    pub(super) fields: Vec<Field<MatchKind>>,
    pub(super) actions: BTreeMap<ActionId, Scope>,
    pub(super) const_default: bool,
    pub(super) initial_default: Option<ActionCall>,
    pub(super) size: usize,
    pub(super) counter: Option<CounterId>,
    pub(super) meter: Option<(MeterId, meter_spec::Type)>,
    pub(super) idle_timeout: bool,
    pub(super) is_const: bool,
}

impl Table {
    /// Its full name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.object.name
    }

    /// Entries it has room for.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Who programs it if not P4Runtime's clients: `control`, `program`.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.object.owner.as_deref()
    }

    /// Entries have a priority (§9.1).
    pub(super) fn has_priority(&self) -> bool {
        self.fields.iter().any(|field| !matches!(field.kind, MatchKind::Exact | MatchKind::Lpm))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Action {
    pub(super) object: Object,
    pub(super) parameters: Vec<Field<()>>,
}

/// Counters, meters or registers by index.
#[derive(Clone, Debug)]
pub(super) struct Array<S> {
    pub(super) object: Object,
    pub(super) size: u32,
    pub(super) spec: S,
}

#[derive(Clone, Debug)]
pub(super) struct Digest {
    pub(super) object: Object,
    pub(super) shape: Shape,
    /// How many values one has.
    pub(super) values: usize,
}

/// An entry that the program brings.
#[derive(Clone, Debug)]
pub struct Initial {
    /// In which table.
    pub table: TableId,
    /// Its key.
    pub key: Key,
    /// What it does.
    pub action: ActionCall,
    /// Clients cannot change it.
    pub is_const: bool,
}

/// A program's declarations.
#[derive(Clone, Debug)]
pub struct Pipeline {
    pub(super) info: Arc<P4Info>,
    pub(super) device_config: Vec<u8>,
    pub(super) tables: BTreeMap<TableId, Table>,
    pub(super) actions: BTreeMap<ActionId, Action>,
    pub(super) counters: BTreeMap<CounterId, Array<()>>,
    pub(super) meters: BTreeMap<MeterId, Array<meter_spec::Type>>,
    pub(super) registers: BTreeMap<RegisterId, Array<Shape>>,
    pub(super) digests: BTreeMap<DigestId, Digest>,
    pub(super) packet_in: Option<Vec<Field<()>>>,
    pub(super) packet_out: Option<Vec<Field<()>>>,
    pub(super) initial: Vec<Initial>,
}

pub(super) type Result<T> = std::result::Result<T, InvalidInfo>;

pub(super) fn bad<T>(message: impl Into<String>) -> Result<T> {
    Err(InvalidInfo(message.into()))
}

/// What a preamble says; its id has the right prefix.
fn object(preamble: Option<&Preamble>, prefix: u8) -> Result<(u32, Object)> {
    let Some(preamble) = preamble else { return bad("an object without preamble") };
    let Preamble { id, name, alias, annotations, .. } = preamble;
    if *id >> 24 != u32::from(prefix) {
        return bad(format!("{name} has the id {id:#010x}, whose first byte is not {prefix:#04x}"));
    }
    let alias = if alias.is_empty() { name } else { alias };
    let owner = annotations.iter().find_map(|annotation| owner(annotation));
    Ok((*id, Object { name: name.clone(), alias: alias.clone(), owner }))
}

/// The owner that `@owner("…")` names.
fn owner(annotation: &str) -> Option<String> {
    let body = annotation.trim().strip_prefix("@owner")?.trim().strip_prefix('(')?.strip_suffix(')')?;
    Some(body.trim().trim_matches('"').to_owned())
}

pub(super) fn bits(name: &str, bitwidth: i32) -> Result<u32> {
    match bitwidth {
        1..=128 => Ok(bitwidth.unsigned_abs()),
        0 => bad(format!("{name} is a string, or no width is given")),
        _ => bad(format!("{name} has {bitwidth} bits; 1 to 128 are possible")),
    }
}

fn unique<K>(of: &str, fields: &[Field<K>]) -> Result<()> {
    for (at, field) in fields.iter().enumerate() {
        if field.id == 0 || fields[..at].iter().any(|before| before.id == field.id) {
            return bad(format!("{of}: the id {} of {} is zero or taken", field.id, field.name));
        }
    }
    Ok(())
}

fn insert<I: Ord, T>(map: &mut BTreeMap<I, T>, id: I, value: T, name: &str) -> Result<()> {
    match map.insert(id, value) {
        None => Ok(()),
        Some(_) => bad(format!("the id of {name} is taken")),
    }
}

/// Cells of an array; P4Info's number is signed.
fn cells(name: &str, size: i64) -> Result<u32> {
    u32::try_from(size).ok().filter(|size| *size > 0).map_or_else(|| bad(format!("{name} has {size} cells")), Ok)
}

fn meter_type(name: &str, spec: Option<&MeterSpec>) -> Result<meter_spec::Type> {
    let Some(spec) = spec else { return bad(format!("{name} does not say what it meters")) };
    meter_spec::Type::try_from(spec.r#type).or_else(|_| bad(format!("{name} is of an unknown type of meters")))
}

fn known_unit(name: &str, spec: Option<&CounterSpec>) -> Result<()> {
    if spec.is_some() { Ok(()) } else { bad(format!("{name} does not say what it counts")) }
}

fn action(from: &config::Action) -> Result<(u32, Action)> {
    let (id, object) = object(from.preamble.as_ref(), ActionId::PREFIX)?;
    let parameters = from
        .params
        .iter()
        .map(|param| {
            Ok(Field { id: param.id, name: param.name.clone(), bits: bits(&param.name, param.bitwidth)?, kind: () })
        })
        .collect::<Result<Vec<_>>>()?;
    unique(&object.name, &parameters)?;
    Ok((id, Action { object, parameters }))
}

fn packet(from: &config::ControllerPacketMetadata) -> Result<Vec<Field<()>>> {
    let fields = from
        .metadata
        .iter()
        .map(|field| {
            Ok(Field { id: field.id, name: field.name.clone(), bits: bits(&field.name, field.bitwidth)?, kind: () })
        })
        .collect::<Result<Vec<_>>>()?;
    unique("a controller packet", &fields)?;
    Ok(fields)
}

impl Pipeline {
    /// From P4Info and what the device calls its program (any bytes, or none).
    ///
    /// # Errors
    /// If P4Info contradicts itself, or has what is not served here: action profiles, value sets, strings, values of more than
    /// 128 bits.
    pub fn new(info: P4Info, device_config: Vec<u8>) -> Result<Self> {
        let mut pipeline = Self {
            info: Arc::default(),
            device_config,
            tables: BTreeMap::new(),
            actions: BTreeMap::new(),
            counters: BTreeMap::new(),
            meters: BTreeMap::new(),
            registers: BTreeMap::new(),
            digests: BTreeMap::new(),
            packet_in: None,
            packet_out: None,
            initial: Vec::new(),
        };
        if !info.action_profiles.is_empty() || !info.value_sets.is_empty() {
            return bad("action profiles and value sets are not served");
        }
        for from in &info.actions {
            let (id, action) = action(from)?;
            let name = action.object.name.clone();
            insert(&mut pipeline.actions, ActionId(id), action, &name)?;
        }
        for from in &info.tables {
            let (id, table) = pipeline.table(from, &info)?;
            let name = table.object.name.clone();
            insert(&mut pipeline.tables, TableId(id), table, &name)?;
        }
        pipeline.externs(&info)?;
        for from in &info.controller_packet_metadata {
            match from.preamble.as_ref().map(|preamble| preamble.name.as_str()) {
                Some("packet_in") => pipeline.packet_in = Some(packet(from)?),
                Some("packet_out") => pipeline.packet_out = Some(packet(from)?),
                name => return bad(format!("a controller packet named {name:?}")),
            }
        }
        pipeline.info = Arc::new(info);
        Ok(pipeline)
    }

    /// With the entries that the program brings: P4Info does not tell them.
    ///
    /// # Errors
    /// If one is not of a table of the program, or a table has no room for its own.
    pub fn with_entries(mut self, initial: Vec<Initial>) -> Result<Self> {
        for (id, table) in &self.tables {
            let own = initial.iter().filter(|entry| entry.table == *id).count();
            if own > table.size {
                return bad(format!("{} has room for {}, and {own} entries of its own", table.object.name, table.size));
            }
        }
        for entry in &initial {
            let Some(table) = self.tables.get(&entry.table) else {
                return bad(format!("an entry of table {:#010x}, which does not exist", entry.table.0));
            };
            if entry.key.matches().len() != table.fields.len() || !table.actions.contains_key(&entry.action.action) {
                return bad(format!("an entry that cannot be one of {}", table.object.name));
            }
        }
        self.initial = initial;
        Ok(self)
    }

    /// The P4Info it was made of.
    #[must_use]
    pub fn info(&self) -> &P4Info {
        &self.info
    }

    /// A table by its id.
    #[must_use]
    pub fn table_by_id(&self, id: TableId) -> Option<&Table> {
        self.tables.get(&id)
    }

    /// Whether a table can have such an entry, as far as counts go.
    pub(super) fn knows(&self, table: TableId, key: &Key, call: &ActionCall) -> bool {
        let Some(table) = self.tables.get(&table) else { return false };
        key.matches().len() == table.fields.len() && self.fits(table, call)
    }

    /// Whether a table has that action, and it so many arguments.
    pub(super) fn fits(&self, table: &Table, call: &ActionCall) -> bool {
        table.actions.contains_key(&call.action) && self.actions[&call.action].parameters.len() == call.arguments.len()
    }

    /// Ids of tables, actions or externs that are called that, by full name or alias.
    pub(super) fn ids_of(&self, name: &str) -> Vec<u32> {
        let named = |object: &Object| object.name == name || object.alias == name;
        let tables = self.tables.iter().filter(|(_, of)| named(&of.object)).map(|(id, _)| id.0);
        let actions = self.actions.iter().filter(|(_, of)| named(&of.object)).map(|(id, _)| id.0);
        let counters = self.counters.iter().filter(|(_, of)| named(&of.object)).map(|(id, _)| id.0);
        let meters = self.meters.iter().filter(|(_, of)| named(&of.object)).map(|(id, _)| id.0);
        let registers = self.registers.iter().filter(|(_, of)| named(&of.object)).map(|(id, _)| id.0);
        let digests = self.digests.iter().filter(|(_, of)| named(&of.object)).map(|(id, _)| id.0);
        tables.chain(actions).chain(counters).chain(meters).chain(registers).chain(digests).collect()
    }

    fn table(&self, from: &config::Table, info: &P4Info) -> Result<(u32, Table)> {
        let (id, object) = object(from.preamble.as_ref(), TableId::PREFIX)?;
        let name = &object.name;
        if from.implementation_id != 0 {
            return bad(format!("{name} has an implementation; only direct tables are served"));
        }
        let fields = from.match_fields.iter().map(field).collect::<Result<Vec<_>>>()?;
        unique(name, &fields)?;
        let mut actions = BTreeMap::new();
        for reference in &from.action_refs {
            let scope = match action_ref::Scope::try_from(reference.scope) {
                Ok(action_ref::Scope::TableAndDefault) => Scope::Both,
                Ok(action_ref::Scope::TableOnly) => Scope::Entries,
                Ok(action_ref::Scope::DefaultOnly) => Scope::Default,
                Err(_) => return bad(format!("{name}: an action of unknown scope")),
            };
            if !self.actions.contains_key(&ActionId(reference.id)) {
                return bad(format!("{name} has the action {:#010x}, which does not exist", reference.id));
            }
            insert(&mut actions, ActionId(reference.id), scope, name)?;
        }
        let find = |id: u32| from.direct_resource_ids.contains(&id);
        let counter =
            info.direct_counters.iter().find(|counter| counter.preamble.as_ref().is_some_and(|of| find(of.id)));
        let meter = info.direct_meters.iter().find(|meter| meter.preamble.as_ref().is_some_and(|of| find(of.id)));
        let counter = match counter {
            None => None,
            Some(counter) => {
                known_unit(name, counter.spec.as_ref())?;
                Some(CounterId(self::object(counter.preamble.as_ref(), 0x13)?.0))
            }
        };
        let meter = match meter {
            None => None,
            Some(meter) => {
                let id = MeterId(self::object(meter.preamble.as_ref(), 0x15)?.0);
                Some((id, meter_type(name, meter.spec.as_ref())?))
            }
        };
        let initial_default = self.initial_default(name, from)?;
        let Ok(size) = usize::try_from(from.size) else { return bad(format!("{name} has a size of {}", from.size)) };
        let idle_timeout = from.idle_timeout_behavior == table::IdleTimeoutBehavior::NotifyControl as i32;
        let (const_default, is_const) = (from.const_default_action_id != 0, from.is_const_table);
        let table = Table {
            object,
            fields,
            actions,
            const_default,
            initial_default,
            size,
            counter,
            meter,
            idle_timeout,
            is_const,
        };
        Ok((id, table))
    }

    fn initial_default(&self, name: &str, from: &config::Table) -> Result<Option<ActionCall>> {
        let (id, given) = match &from.initial_default_action {
            Some(call) => (call.action_id, call.arguments.as_slice()),
            None if from.const_default_action_id != 0 => (from.const_default_action_id, [].as_slice()),
            None => return Ok(None),
        };
        let Some(action) = self.actions.get(&ActionId(id)) else {
            return bad(format!("{name} has the default action {id:#010x}, which does not exist"));
        };
        let mut arguments = Vec::new();
        for parameter in &action.parameters {
            let value = given.iter().find(|argument| argument.param_id == parameter.id).map(|argument| &argument.value);
            // P4Info before 1.4 leaves the arguments of a constant default action out.
            let Some(value) = value else { return Ok(None) };
            let value = bytestring::decode(value, parameter.bits, &parameter.name);
            arguments.push(value.map_err(|refusal| InvalidInfo(format!("{name}: {}", refusal.message)))?);
        }
        Ok(Some(ActionCall { action: ActionId(id), arguments: arguments.into() }))
    }

    fn externs(&mut self, info: &P4Info) -> Result<()> {
        for from in &info.counters {
            let (id, object) = object(from.preamble.as_ref(), CounterId::PREFIX)?;
            known_unit(&object.name, from.spec.as_ref())?;
            let name = object.name.clone();
            let size = cells(&name, from.size)?;
            insert(&mut self.counters, CounterId(id), Array { object, size, spec: () }, &name)?;
        }
        for from in &info.meters {
            let (id, object) = object(from.preamble.as_ref(), MeterId::PREFIX)?;
            let name = object.name.clone();
            let (size, spec) = (cells(&name, from.size)?, meter_type(&name, from.spec.as_ref())?);
            insert(&mut self.meters, MeterId(id), Array { object, size, spec }, &name)?;
        }
        for from in &info.registers {
            let (id, object) = object(from.preamble.as_ref(), RegisterId::PREFIX)?;
            let name = object.name.clone();
            let size = cells(&name, i64::from(from.size))?;
            let shape = Shape::new(info, from.type_spec.as_ref(), &name, 0)?;
            if !matches!(shape, Shape::Bits(_) | Shape::Bool | Shape::Enum(_)) {
                return bad(format!("{name} has cells of more than one value"));
            }
            insert(&mut self.registers, RegisterId(id), Array { object, size, spec: shape }, &name)?;
        }
        for from in &info.digests {
            let (id, object) = object(from.preamble.as_ref(), DigestId::PREFIX)?;
            let name = object.name.clone();
            let shape = Shape::new(info, from.type_spec.as_ref(), &name, 0)?;
            let values = shape.values();
            insert(&mut self.digests, DigestId(id), Digest { object, shape, values }, &name)?;
        }
        Ok(())
    }
}

fn field(from: &config::MatchField) -> Result<Field<MatchKind>> {
    use match_field::MatchType;
    let Some(match_field::Match::MatchType(kind)) = from.r#match else {
        return bad(format!("{} is matched in a way of its own", from.name));
    };
    let kind = match MatchType::try_from(kind) {
        Ok(MatchType::Exact) => MatchKind::Exact,
        Ok(MatchType::Lpm) => MatchKind::Lpm,
        Ok(MatchType::Ternary) => MatchKind::Ternary,
        Ok(MatchType::Range) => MatchKind::Range,
        Ok(MatchType::Optional) => MatchKind::Optional,
        Ok(MatchType::Unspecified) | Err(_) => return bad(format!("how {} is matched is not said", from.name)),
    };
    Ok(Field { id: from.id, name: from.name.clone(), bits: bits(&from.name, from.bitwidth)?, kind })
}
