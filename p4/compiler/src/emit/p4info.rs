//! P4Info: what a P4Runtime controller has to know about a program (P4Runtime 1.5.0 §6), as a message, its bytes and its text.

mod alias;
mod merged;
mod types;

pub use merged::{merged, merged_binary};

use gantry_p4_proto::config::{
    ActionRef, ControllerPacketMetadata, Counter, CounterSpec, Digest, DirectCounter, DirectMeter, Documentation,
    Extern, ExternInstance, MatchField, Meter, MeterSpec, P4Info, PkgInfo, Preamble, Register, Table, TableActionCall,
    action, action_ref, controller_packet_metadata, counter_spec, match_field, meter_spec, table, table_action_call,
};
use gantry_p4_proto::{Message as _, config, text};

use super::annotation;
use crate::ir::{self, ActionId, ActionScope, ControllerHeader, ExternKind, MatchKind, Notes, Program, TableId, Unit};
use alias::Aliases;

/// P4Info as text (protocol buffers' text format), a field a line.
#[must_use]
pub fn emit(program: &Program) -> String {
    let head = "# proto-file: p4/config/v1/p4info.proto\n# proto-message: p4.config.v1.P4Info\n\n";
    head.to_owned() + &text::to_text(&message(program))
}

/// P4Info as bytes, the same for the same program.
#[must_use]
pub fn binary(program: &Program) -> Vec<u8> {
    message(program).encode_to_vec()
}

/// P4Info as a message. Objects are in the order of the program; what is `@hidden` (P4_16 §20.3.3) is left out.
#[must_use]
pub fn message(program: &Program) -> P4Info {
    let mut info = P4Info {
        pkg_info: Some(package(program)),
        tables: tables(program),
        actions: actions(program),
        controller_packet_metadata: program.controller_headers.iter().map(controller_header).collect(),
        type_info: types::type_info(program),
        ..P4Info::default()
    };
    externs(program, &mut info);
    info
}

/// §6.2: what `@pkginfo` says; name and architecture are known without it.
fn package(program: &Program) -> PkgInfo {
    let said = |key: &str| annotation::package_value(&program.notes.annotations, key).unwrap_or_default();
    let own_name = said("name");
    let rest = program.notes.annotations.iter().filter(|each| annotation::name(each) != "pkginfo");
    PkgInfo {
        name: if own_name.is_empty() { program.name.clone() } else { own_name },
        version: said("version"),
        doc: documentation(&program.notes),
        annotations: rest.cloned().collect(),
        // What the specification's examples and other compilers call it.
        arch: if program.package == "PNA_NIC" { "pna".to_owned() } else { program.package.clone() },
        organization: said("organization"),
        contact: said("contact"),
        url: said("url"),
        ..PkgInfo::default()
    }
}

fn documentation(notes: &Notes) -> Option<Documentation> {
    let said = !notes.brief.is_empty() || !notes.description.is_empty();
    said.then(|| Documentation { brief: notes.brief.clone(), description: notes.description.clone() })
}

fn preamble(id: u32, name: &str, alias: String, notes: &Notes) -> Option<Preamble> {
    Some(Preamble {
        id,
        name: alias::absolute(name).to_owned(),
        alias,
        annotations: annotation::shown(&notes.annotations),
        doc: documentation(notes),
        ..Preamble::default()
    })
}

fn hidden(notes: &Notes) -> bool {
    notes.annotations.iter().any(|each| annotation::name(each) == "hidden")
}

/// Tables that controllers see, with their places.
fn visible(program: &Program) -> impl Iterator<Item = (TableId, &ir::Table)> {
    (0_u32..).map(TableId).zip(&program.tables).filter(|(_, table)| !hidden(&table.notes))
}

/// §6.4.1.
fn tables(program: &Program) -> Vec<Table> {
    let aliases = Aliases::of(visible(program).map(|(_, table)| table.name.as_str()));
    visible(program).map(|(_, declared)| table(program, declared, &aliases)).collect()
}

fn table(program: &Program, declared: &ir::Table, aliases: &Aliases) -> Table {
    let action_id = |action: ActionId| program.actions[action.index()].id;
    let (default, arguments) = &declared.default_action;
    let refs = declared.actions.iter().map(|each| ActionRef {
        id: action_id(each.action),
        scope: match each.scope {
            ActionScope::Both => action_ref::Scope::TableAndDefault,
            ActionScope::Entries => action_ref::Scope::TableOnly,
            ActionScope::Default => action_ref::Scope::DefaultOnly,
        }
        .into(),
        ..ActionRef::default()
    });
    let direct = declared.direct.iter().map(|id| &program.externs[id.index()]).filter(|each| !hidden(&each.notes));
    Table {
        preamble: preamble(declared.id, &declared.name, aliases.of_name(&declared.name), &declared.notes),
        match_fields: (1_u32..).zip(&declared.keys).map(|(place, key)| match_field(program, place, key)).collect(),
        action_refs: refs.collect(),
        const_default_action_id: if declared.const_default { action_id(*default) } else { 0 },
        initial_default_action: Some(action_call(program, *default, arguments)),
        direct_resource_ids: direct.map(|each| each.id).collect(),
        size: declared.size.into(),
        idle_timeout_behavior: if declared.idle_timeout {
            table::IdleTimeoutBehavior::NotifyControl
        } else {
            table::IdleTimeoutBehavior::NoTimeout
        }
        .into(),
        // Clients that delete all they find leave out what is constant to them.
        is_const_table: declared.const_entries || annotation::parts(&declared.notes.annotations, "owner").is_some(),
        has_initial_entries: !declared.entries.is_empty(),
        ..Table::default()
    }
}

fn match_field(program: &Program, place: u32, key: &ir::Key) -> MatchField {
    let kind = match key.kind {
        MatchKind::Exact => match_field::MatchType::Exact,
        MatchKind::Lpm => match_field::MatchType::Lpm,
        MatchKind::Ternary => match_field::MatchType::Ternary,
        MatchKind::Range => match_field::MatchType::Range,
        MatchKind::Optional => match_field::MatchType::Optional,
    };
    MatchField {
        id: annotation::id(&key.notes.annotations).unwrap_or(place),
        name: key.name.clone(),
        annotations: annotation::shown(&key.notes.annotations),
        bitwidth: types::width(program, &key.notes, key.expr.ty),
        r#match: Some(match_field::Match::MatchType(kind.into())),
        doc: documentation(&key.notes),
        type_name: types::named(&key.notes),
        ..MatchField::default()
    }
}

fn action_call(program: &Program, action: ActionId, arguments: &[u128]) -> TableActionCall {
    let declared = &program.actions[action.index()];
    let arguments = (1_u32..).zip(&declared.parameter_notes).zip(arguments).map(|((place, notes), value)| {
        let param_id = annotation::id(&notes.annotations).unwrap_or(place);
        table_action_call::Argument { param_id, value: types::bytes(*value) }
    });
    TableActionCall { action_id: declared.id, arguments: arguments.collect() }
}

/// §6.4.2: actions of tables that controllers see; what is only called by the program is its own affair.
fn actions(program: &Program) -> Vec<config::Action> {
    let used = |id: ActionId| {
        visible(program)
            .any(|(_, table)| table.default_action.0 == id || table.actions.iter().any(|listed| listed.action == id))
    };
    let shown: Vec<_> = (0_u32..).map(ActionId).zip(&program.actions).filter(|(id, _)| used(*id)).collect();
    let aliases = Aliases::of(shown.iter().map(|(_, action)| action.name.as_str()));
    shown.iter().map(|(_, action)| self::action(program, action, &aliases)).collect()
}

fn action(program: &Program, declared: &ir::Action, aliases: &Aliases) -> config::Action {
    assert_eq!(
        declared.parameters.len(),
        declared.parameter_notes.len(),
        "notes for each parameter of {}",
        declared.name
    );
    let params =
        (1_u32..).zip(declared.parameters.iter().zip(&declared.parameter_notes)).map(|(place, (var, notes))| {
            let var = &program.vars[var.index()];
            action::Param {
                id: annotation::id(&notes.annotations).unwrap_or(place),
                name: alias::last(&var.name).to_owned(),
                annotations: annotation::shown(&notes.annotations),
                bitwidth: types::width(program, notes, var.ty),
                doc: documentation(notes),
                type_name: types::named(notes),
                ..action::Param::default()
            }
        });
    config::Action {
        preamble: preamble(declared.id, &declared.name, aliases.of_name(&declared.name), &declared.notes),
        params: params.collect(),
    }
}

/// §6.4.6.
fn controller_header(header: &ControllerHeader) -> ControllerPacketMetadata {
    let metadata = (1_u32..).zip(&header.fields).map(|(id, (name, bits))| controller_packet_metadata::Metadata {
        id,
        name: name.clone(),
        bitwidth: (*bits).into(),
        ..controller_packet_metadata::Metadata::default()
    });
    let notes = Notes { annotations: vec![format!("@controller_header({:?})", header.name)], ..Notes::default() };
    ControllerPacketMetadata {
        preamble: preamble(header.id, &header.name, header.name.clone(), &notes),
        metadata: metadata.collect(),
    }
}

/// §6.4.4, §6.4.5, §6.4.8, §6.4.9: each kind in its own list, aliases unique in it.
fn externs(program: &Program, info: &mut P4Info) {
    let shown = || program.externs.iter().filter(|each| each.id != 0 && !hidden(&each.notes));
    let mut kinds: Vec<(u32, Vec<&str>)> = Vec::new();
    for each in shown() {
        match kinds.iter_mut().find(|(prefix, _)| *prefix == each.id >> 24) {
            Some((_, names)) => names.push(&each.name),
            None => kinds.push((each.id >> 24, vec![&each.name])),
        }
    }
    let aliases: Vec<_> = kinds.into_iter().map(|(prefix, names)| (prefix, Aliases::of(names))).collect();

    for each in shown() {
        let (_, aliases) = aliases.iter().find(|(prefix, _)| *prefix == each.id >> 24).expect("each kind was seen");
        let preamble = preamble(each.id, &each.name, aliases.of_name(&each.name), &each.notes);
        let table_id = |table: TableId| program.tables[table.index()].id;
        match &each.kind {
            ExternKind::Counter { size, unit } => {
                let (spec, size) = (Some(counter_spec(*unit)), i64::from(*size));
                info.counters.push(Counter { preamble, spec, size, index_type_name: None });
            }
            ExternKind::DirectCounter { unit, table } => {
                let (spec, direct_table_id) = (Some(counter_spec(*unit)), table_id(*table));
                info.direct_counters.push(DirectCounter { preamble, spec, direct_table_id });
            }
            ExternKind::Meter { size, unit } => {
                let (spec, size) = (Some(meter_spec(*unit)), i64::from(*size));
                info.meters.push(Meter { preamble, spec, size, index_type_name: None });
            }
            ExternKind::DirectMeter { unit, table } => {
                let (spec, direct_table_id) = (Some(meter_spec(*unit)), table_id(*table));
                info.direct_meters.push(DirectMeter { preamble, spec, direct_table_id });
            }
            ExternKind::Register { size, bits } => {
                let size = i32::try_from(*size).expect("P4Info counts a register's cells in 31 bits");
                let type_spec = Some(types::data(ir::Type::Bits(*bits)));
                info.registers.push(Register { preamble, type_spec, size, index_type_name: None });
            }
            ExternKind::Digest { type_name, .. } => {
                info.digests.push(Digest { preamble, type_spec: Some(types::structure(type_name)) });
            }
            ExternKind::Other { type_name, .. } => instance(info, each.id, type_name, preamble),
            ExternKind::Hash { .. } | ExternKind::InternetChecksum => {
                unreachable!("{} is nothing that a controller has a message for", each.name);
            }
        }
    }
}

/// §6.4.10: instances of one type are together.
fn instance(info: &mut P4Info, id: u32, type_name: &str, preamble: Option<Preamble>) {
    let instance = ExternInstance { preamble, info: None };
    match info.externs.iter_mut().find(|each| each.extern_type_name == type_name) {
        Some(each) => each.instances.push(instance),
        None => info.externs.push(Extern {
            extern_type_id: id >> 24,
            extern_type_name: type_name.to_owned(),
            instances: vec![instance],
        }),
    }
}

fn counter_spec(unit: Unit) -> CounterSpec {
    let unit = match unit {
        Unit::Packets => counter_spec::Unit::Packets,
        Unit::Bytes => counter_spec::Unit::Bytes,
        Unit::PacketsAndBytes => counter_spec::Unit::Both,
    };
    CounterSpec { unit: unit.into() }
}

/// Two rates and three colours (RFC 2698), which are all the meters there are.
fn meter_spec(unit: Unit) -> MeterSpec {
    let unit = match unit {
        Unit::Packets => meter_spec::Unit::Packets,
        Unit::Bytes => meter_spec::Unit::Bytes,
        Unit::PacketsAndBytes => panic!("a meter has one unit"),
    };
    MeterSpec { unit: unit.into(), r#type: meter_spec::Type::TwoRateThreeColor.into() }
}
