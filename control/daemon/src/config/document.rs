//! Tables of the file with their places: typed access to keys, and which keys are nobody's.

use super::problem::Found;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// A table and what it is called in messages.
pub(super) struct Section<'a> {
    pub(super) what: &'static str,
    pub(super) span: Range<usize>,
    table: &'a DeTable<'a>,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<'a> Section<'a> {
    pub(super) fn root(table: &'a DeTable<'a>) -> Self {
        Self { what: "the file", span: 0..0, table }
    }

    /// Complains about keys that are none of `known`.
    pub(super) fn only(&self, known: &[&str], found: &mut Found) {
        for key in self.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref();
            let remedy = match nearest(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the keys here are {}", listed(known)),
            };
            found.add(key.span(), format!("unknown key `{name}` in {}", self.what), remedy);
        }
    }

    fn value(&self, key: &str) -> Option<At<&'a DeValue<'a>>> {
        self.table.get(key).map(|value| At { value: value.get_ref(), span: value.span() })
    }

    fn required(&self, key: &str, remedy: &str, found: &mut Found) -> Option<At<&'a DeValue<'a>>> {
        let value = self.value(key);
        if value.is_none() {
            found.add(self.span.clone(), format!("{} has no `{key}`", self.what), remedy);
        }
        value
    }

    /// A text that must be there.
    pub(super) fn text(&self, key: &str, remedy: &str, found: &mut Found) -> Option<At<String>> {
        let At { value, span } = self.required(key, remedy, found)?;
        match value.as_str() {
            Some(text) => Some(At { value: text.to_owned(), span }),
            None => {
                found.add(span, format!("`{key}` is text in quotes, not {}", article(value)), remedy);
                None
            }
        }
    }

    /// An integer in a range, if it is there.
    pub(super) fn integer(
        &self,
        key: &str,
        range: std::ops::RangeInclusive<u64>,
        found: &mut Found,
    ) -> Option<At<u64>> {
        let At { value, span } = self.value(key)?;
        let (least, most) = range.clone().into_inner();
        let number = value.as_integer().and_then(|integer| u64::from_str_radix(integer.as_str(), integer.radix()).ok());
        if let Some(value) = number.filter(|number| range.contains(number)) {
            return Some(At { value, span });
        }
        found.add(
            span,
            format!("`{key}` is not a number from {least} to {most}"),
            format!("write `{key} = {least}`, say"),
        );
        None
    }

    /// `true` or `false`; false when it is not there.
    pub(super) fn flag(&self, key: &str, found: &mut Found) -> bool {
        let Some(At { value, span }) = self.value(key) else { return false };
        value.as_bool().unwrap_or_else(|| {
            let message = format!("`{key}` is true or false, not {}", article(value));
            found.add(span, message, format!("write `{key} = true`, or leave it out"));
            false
        })
    }

    /// Whether the key is there at all.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A list that must be there.
    pub(super) fn list(&self, key: &str, remedy: &str, found: &mut Found) -> Option<At<Vec<At<&'a DeValue<'a>>>>> {
        let At { value, span } = self.required(key, remedy, found)?;
        let Some(list) = value.as_array() else {
            found.add(span, format!("`{key}` is a list, not {}", article(value)), remedy);
            return None;
        };
        let items = list.iter().map(|item| At { value: item.get_ref(), span: item.span() }).collect();
        Some(At { value: items, span })
    }

    /// The table `[key]`, which must be there.
    pub(super) fn table(&self, key: &str, what: &'static str, remedy: &str, found: &mut Found) -> Option<Section<'a>> {
        let Some(At { value, span }) = self.value(key) else {
            found.add(0..0, format!("there is no {what}"), remedy);
            return None;
        };
        let table = value.as_table();
        if table.is_none() {
            found.add(span.clone(), format!("`{key}` is not the table {what}"), remedy);
        }
        table.map(|table| Section { what, span, table })
    }

    /// The table `[key]`, if it is there.
    pub(super) fn table_if_any(&self, key: &str, what: &'static str, found: &mut Found) -> Option<Section<'a>> {
        let At { value, span } = self.value(key)?;
        section(value, span, what, &format!("write `{what}`"), found)
    }

    /// The tables `[[key]]`, of which there may be none.
    pub(super) fn tables(&self, key: &str, what: &'static str, found: &mut Found) -> Vec<Section<'a>> {
        let Some(At { value, span }) = self.value(key) else { return Vec::new() };
        let Some(list) = value.as_array() else {
            found.add(span, format!("`{key}` is {}, not a list of tables", article(value)), format!("write {what}"));
            return Vec::new();
        };
        list.iter()
            .filter_map(|item| section(item.get_ref(), item.span(), what, &format!("write {what}"), found))
            .collect()
    }
}

/// A table in a list.
pub(super) fn section<'a>(
    value: &'a DeValue<'a>,
    span: Range<usize>,
    what: &'static str,
    remedy: &str,
    found: &mut Found,
) -> Option<Section<'a>> {
    let table = value.as_table();
    if table.is_none() {
        found.add(span.clone(), format!("{} where a table belongs", article(value)), remedy);
    }
    table.map(|table| Section { what, span, table })
}

/// A kind of value as prose has it.
pub(super) fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The name of `known` that `name` was meant to be, if one is close.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let close = known.iter().map(|candidate| (distance(name, candidate), *candidate));
    let (distance, candidate) = close.min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + candidate.len() / 4).then_some(candidate)
}

/// Edits (insert, delete, replace) from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().take(64).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
