//! One P4Info for the programs of one device (P4Runtime 1.5.0 §6): what a controller asks for when a device runs several.

use std::collections::BTreeSet;

use gantry_p4_proto::Message as _;
use gantry_p4_proto::config::{P4Info, PkgInfo, Preamble};

use super::alias::Aliases;
use super::message;
use crate::ir::Program;

/// The programs' objects in one message, which is called `name`; version and architecture are the first program's. Aliases are
/// the shortest of all; of types that have one name and are not the same, a later program's stand behind its own name and a dot.
///
/// # Panics
/// If two objects of different programs have one id, which is a hash of their names: `@id` tells them apart.
#[must_use]
pub fn merged(programs: &[&Program], name: &str) -> P4Info {
    let mut whole = P4Info::default();
    for program in programs {
        let mut part = message(program);
        types(&mut whole, &mut part, &program.name);
        let package = PkgInfo { name: name.to_owned(), ..part.pkg_info.take().unwrap_or_default() };
        whole.pkg_info.get_or_insert(package);
        whole.tables.append(&mut part.tables);
        whole.actions.append(&mut part.actions);
        whole.counters.append(&mut part.counters);
        whole.direct_counters.append(&mut part.direct_counters);
        whole.meters.append(&mut part.meters);
        whole.direct_meters.append(&mut part.direct_meters);
        whole.registers.append(&mut part.registers);
        whole.digests.append(&mut part.digests);
        whole.externs.append(&mut part.externs);
        whole.controller_packet_metadata.append(&mut part.controller_packet_metadata);
    }
    let mut ids = BTreeSet::new();
    for preambles in kinds(&mut whole) {
        for preamble in &preambles {
            assert!(ids.insert(preamble.id), "{} has the id of another program's object", preamble.name);
        }
        let aliases =
            Aliases::of(preambles.iter().map(|each| each.name.clone()).collect::<Vec<_>>().iter().map(String::as_str));
        for preamble in preambles {
            preamble.alias = aliases.of_name(&preamble.name);
        }
    }
    whole
}

/// [`merged`] as bytes, the same for the same programs.
#[must_use]
pub fn merged_binary(programs: &[&Program], name: &str) -> Vec<u8> {
    merged(programs, name).encode_to_vec()
}

/// The preambles of each kind of object; aliases are told apart within a kind.
fn kinds(info: &mut P4Info) -> Vec<Vec<&mut Preamble>> {
    macro_rules! of {
        ($($kind:ident),*) => { vec![$(info.$kind.iter_mut().filter_map(|each| each.preamble.as_mut()).collect()),*] };
    }
    of!(
        tables,
        actions,
        counters,
        direct_counters,
        meters,
        direct_meters,
        registers,
        digests,
        controller_packet_metadata
    )
}

fn types(whole: &mut P4Info, part: &mut P4Info, program: &str) {
    let Some(more) = part.type_info.take() else { return };
    let Some(known) = &mut whole.type_info else {
        whole.type_info = Some(more);
        return;
    };
    macro_rules! take {
        ($($kind:ident),*) => { $(
            for (name, spec) in more.$kind {
                let clashes = known.$kind.get(&name).is_some_and(|other| *other != spec);
                known.$kind.insert(if clashes { format!("{program}.{name}") } else { name }, spec);
            }
        )* };
    }
    take!(structs, headers, header_unions, enums, serializable_enums, new_types);
    if let Some(error) = more.error {
        let known = &mut known.error.get_or_insert_default().members;
        known.extend(error.members.into_iter().filter(|member| !known.contains(member)).collect::<Vec<_>>());
    }
}
