//! Between messages and numbers, with every check that a message alone allows (P4Runtime 1.5.0 §9.1).

use gantry_p4_proto::config::meter_spec;
use gantry_p4_proto::runtime::{
    Action, CounterData, FieldMatch, Index, MeterConfig, MeterCounterData, TableAction, TableEntry, action,
    field_match, field_match::FieldMatchType, table_action,
};

use super::bytestring::{decode, encode, ones};
use super::entry::{ActionCall, Counts, Key, Match, Rates};
use super::pipeline::{ActionId, Field, MatchKind, Pipeline, Scope, Table};
use super::plane::Colours;
use super::role::Authority;
use super::status::{Refusal, denied, invalid, out_of_range};

/// The key of an entry that is no default entry.
pub(super) fn key(table: &Table, entry: &TableEntry) -> Result<Key, Refusal> {
    let name = &table.object.name;
    if table.fields.is_empty() {
        return Err(invalid(format!("{name} has no key, only a default entry")));
    }
    if table.has_priority() && entry.priority <= 0 {
        return Err(invalid(format!("{name}: the priority is {}; it has to be positive", entry.priority)));
    }
    if !table.has_priority() && entry.priority != 0 {
        return Err(invalid(format!("{name}: entries have no priority, and it is {}", entry.priority)));
    }
    Ok(Key::new(entry.priority, matches(table, &entry.r#match)?))
}

/// A match for each field of the table.
fn matches(table: &Table, given: &[FieldMatch]) -> Result<Box<[Match]>, Refusal> {
    let name = &table.object.name;
    let mut matches: Vec<Option<Match>> = vec![None; table.fields.len()];
    for one in given {
        let Some(at) = table.fields.iter().position(|field| field.id == one.field_id) else {
            return Err(invalid(format!("{name}: no field has the id {}", one.field_id)));
        };
        if matches[at].is_some() {
            return Err(invalid(format!("{name}: the field {} comes twice", table.fields[at].name)));
        }
        matches[at] = Some(field(&table.fields[at], one.field_match_type.as_ref())?);
    }
    let settle = |(field, found): (&Field<MatchKind>, Option<Match>)| match found {
        Some(found) => Ok(found),
        None if field.kind == MatchKind::Exact => {
            Err(invalid(format!("{name}: the exact field {} is missing", field.name)))
        }
        None => Ok(Match::Any),
    };
    table.fields.iter().zip(matches).map(settle).collect()
}

fn field(field: &Field<MatchKind>, given: Option<&FieldMatchType>) -> Result<Match, Refusal> {
    let Field { name, bits, kind, .. } = field;
    let value = |bytes: &[u8]| decode(bytes, *bits, name);
    let left_out = || Err(invalid(format!("{name}: a match of anything is told by leaving the field out")));
    match (kind, given) {
        (MatchKind::Exact, Some(FieldMatchType::Exact(exact))) => Ok(Match::Value(value(&exact.value)?)),
        (MatchKind::Optional, Some(FieldMatchType::Optional(optional))) => Ok(Match::Value(value(&optional.value)?)),
        (MatchKind::Lpm, Some(FieldMatchType::Lpm(lpm))) => {
            let length = u8::try_from(lpm.prefix_len).ok().filter(|length| u32::from(*length) <= *bits);
            let Some(length) = length else {
                return Err(invalid(format!("{name}: a prefix of {} of {bits} bits", lpm.prefix_len)));
            };
            if length == 0 {
                return left_out();
            }
            let value = value(&lpm.value)?;
            if value & (ones(*bits) >> length) != 0 && u32::from(length) < *bits {
                return Err(invalid(format!("{name}: bits behind the prefix are set")));
            }
            Ok(Match::Prefix { value, length })
        }
        (MatchKind::Ternary, Some(FieldMatchType::Ternary(ternary))) => {
            let (value, mask) = (value(&ternary.value)?, value(&ternary.mask)?);
            if mask == 0 {
                return left_out();
            }
            if value & !mask != 0 {
                return Err(invalid(format!("{name}: bits outside the mask are set")));
            }
            Ok(Match::Mask { value, mask })
        }
        (MatchKind::Range, Some(FieldMatchType::Range(range))) => {
            let (low, high) = (value(&range.low)?, value(&range.high)?);
            if low > high {
                return Err(invalid(format!("{name}: the range ends before it begins")));
            }
            if low == 0 && high == ones(*bits) {
                return left_out();
            }
            Ok(Match::Range { low, high })
        }
        (_, None) => Err(invalid(format!("{name}: how it is matched is not said"))),
        (kind, Some(_)) => {
            Err(invalid(format!("{name}: the table has it {kind:?}, the entry has another kind of match")))
        }
    }
}

/// A key as the entry's message has it: fields that match anything are left out.
pub(super) fn key_message(table: &Table, key: &Key) -> Vec<FieldMatch> {
    let pairs = table.fields.iter().zip(key.matches());
    pairs
        .filter_map(|(field, found)| {
            let found = match (*found, field.kind) {
                (Match::Any, _) => return None,
                (Match::Value(value), MatchKind::Optional) => {
                    FieldMatchType::Optional(field_match::Optional { value: encode(value) })
                }
                (Match::Value(value), _) => FieldMatchType::Exact(field_match::Exact { value: encode(value) }),
                (Match::Prefix { value, length }, _) => {
                    FieldMatchType::Lpm(field_match::Lpm { value: encode(value), prefix_len: i32::from(length) })
                }
                (Match::Mask { value, mask }, _) => {
                    FieldMatchType::Ternary(field_match::Ternary { value: encode(value), mask: encode(mask) })
                }
                (Match::Range { low, high }, _) => {
                    FieldMatchType::Range(field_match::Range { low: encode(low), high: encode(high) })
                }
            };
            Some(FieldMatch { field_id: field.id, field_match_type: Some(found) })
        })
        .collect()
}

/// An entry's action, if it has one; `default` tells of which entry.
pub(super) fn action_call(
    pipeline: &Pipeline,
    table: &Table,
    authority: &Authority,
    given: Option<&TableAction>,
    default: bool,
) -> Result<Option<ActionCall>, Refusal> {
    let name = &table.object.name;
    let given = match given {
        None => return Ok(None),
        Some(TableAction { r#type: Some(table_action::Type::Action(given)) }) => given,
        Some(TableAction { r#type: None }) => return Err(invalid(format!("{name}: the action is empty"))),
        Some(_) => return Err(invalid(format!("{name}: it has no action profile; the entry has to name an action"))),
    };
    let id = ActionId(given.action_id);
    let Some(scope) = table.actions.get(&id) else {
        return Err(invalid(format!("{name}: {:#010x} is none of its actions", id.0)));
    };
    let action = &pipeline.actions[&id];
    match (scope, default) {
        (Scope::Entries, true) => return Err(denied(format!("{name}: {} is for entries only", action.object.name))),
        (Scope::Default, false) => {
            return Err(denied(format!("{name}: {} is for the default only", action.object.name)));
        }
        _ => {}
    }
    authority.may_use(id, &action.object.name)?;
    if given.params.len() > action.parameters.len() {
        return Err(invalid(format!("{}: {} arguments", action.object.name, given.params.len())));
    }
    let mut arguments = Vec::with_capacity(action.parameters.len());
    for parameter in &action.parameters {
        let mut found = given.params.iter().filter(|argument| argument.param_id == parameter.id);
        let (Some(argument), None) = (found.next(), found.next()) else {
            return Err(invalid(format!("{}: {} is missing, or comes twice", action.object.name, parameter.name)));
        };
        arguments.push(decode(&argument.value, parameter.bits, &parameter.name)?);
    }
    Ok(Some(ActionCall { action: id, arguments: arguments.into() }))
}

/// An action as the entry's message has it.
pub(super) fn action_message(pipeline: &Pipeline, call: &ActionCall) -> TableAction {
    let parameters = pipeline.actions[&call.action].parameters.iter();
    let params = parameters
        .zip(&call.arguments)
        .map(|(parameter, value)| action::Param { param_id: parameter.id, value: encode(*value) })
        .collect();
    TableAction { r#type: Some(table_action::Type::Action(Action { action_id: call.action.0, params })) }
}

/// A meter's rates (§9.4).
pub(super) fn rates(of: &str, kind: meter_spec::Type, given: &MeterConfig) -> Result<Rates, Refusal> {
    let number = |value: i64| u64::try_from(value).map_err(|_| invalid(format!("{of}: a rate or burst is negative")));
    let rates = Rates {
        cir: number(given.cir)?,
        cburst: number(given.cburst)?,
        pir: number(given.pir)?,
        pburst: number(given.pburst)?,
        eburst: number(given.eburst)?,
    };
    let single = rates.pir == rates.cir && rates.pburst == rates.cburst;
    match kind {
        meter_spec::Type::TwoRateThreeColor if rates.eburst != 0 => {
            Err(invalid(format!("{of}: a meter of two rates has no excess burst")))
        }
        meter_spec::Type::TwoRateThreeColor if rates.pir < rates.cir => {
            Err(invalid(format!("{of}: the peak rate is below the committed one")))
        }
        meter_spec::Type::SingleRateThreeColor | meter_spec::Type::SingleRateTwoColor if !single => {
            Err(invalid(format!("{of}: a meter of one rate has peak and committed rates alike")))
        }
        meter_spec::Type::SingleRateTwoColor if rates.eburst != 0 => {
            Err(invalid(format!("{of}: a meter of two colours has no excess burst")))
        }
        _ => Ok(rates),
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A meter's rates as messages have them.
pub(super) fn rates_message(rates: Rates) -> MeterConfig {
    MeterConfig {
        cir: signed(rates.cir),
        cburst: signed(rates.cburst),
        pir: signed(rates.pir),
        pburst: signed(rates.pburst),
        eburst: signed(rates.eburst),
    }
}

/// A counter's value.
pub(super) fn counts(of: &str, given: &CounterData) -> Result<Counts, Refusal> {
    match (u64::try_from(given.byte_count), u64::try_from(given.packet_count)) {
        (Ok(bytes), Ok(packets)) => Ok(Counts { bytes, packets }),
        _ => Err(invalid(format!("{of}: a count is negative"))),
    }
}

/// A counter's value as messages have it.
pub(super) fn counts_message(counts: Counts) -> CounterData {
    CounterData { byte_count: signed(counts.bytes), packet_count: signed(counts.packets) }
}

/// Counts by colour as messages have them.
pub(super) fn colours_message([green, yellow, red]: Colours) -> MeterCounterData {
    MeterCounterData {
        green: Some(counts_message(green)),
        yellow: Some(counts_message(yellow)),
        red: Some(counts_message(red)),
    }
}

/// A cell's index, none being all of them (§9.3.2).
pub(super) fn index(of: &str, given: Option<&Index>, size: u32) -> Result<Option<u32>, Refusal> {
    let Some(Index { index }) = given else { return Ok(None) };
    if *index < 0 {
        return Err(invalid(format!("{of}: the index {index} is negative")));
    }
    match u32::try_from(*index) {
        Ok(index) if index < size => Ok(Some(index)),
        _ => Err(out_of_range(format!("{of}: the index {index} of {size} cells"))),
    }
}

/// A cell's index as messages have it.
pub(super) fn index_message(index: u32) -> Option<Index> {
    Some(Index { index: i64::from(index) })
}
