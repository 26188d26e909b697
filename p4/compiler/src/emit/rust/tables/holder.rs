//! `Tables`: all of a program's tables, counters and meters, with the entries that the program brings.

use proc_macro2::{Literal, TokenStream};
use quote::quote;

use crate::emit::rust::headers::hex;
use crate::emit::rust::plan::{Plan, doc};
use crate::ir::{ExternKind, Match, Table, TableId};

use super::{Engine, beside, cells, changes, counts, engine};

/// The type of a table, if it has entries.
fn table_type(plan: &Plan<'_>, index: usize, table: &Table) -> Option<TokenStream> {
    let (_, key, action) = &plan.tables[index];
    match engine(table) {
        Engine::Keyless => None,
        Engine::Exact => Some(quote!(gantry_table::ExactTable<#key, #action>)),
        Engine::Lpm(_) if table.keys.len() == 1 => Some(quote!(gantry_table::LpmTable<[u64; 0], #action>)),
        Engine::Lpm(_) => Some(quote!(gantry_table::LpmTable<#key, #action>)),
        Engine::Ternary => Some(quote!(gantry_table::TernaryTable<#key, #action>)),
    }
}

/// `Sizes`, `Tables` and `Banks`.
pub(super) fn emit(plan: &Plan<'_>) -> TokenStream {
    let (mut sizes, mut fields, mut lets, mut names) = (vec![], vec![], vec![], vec![]);
    let (mut counters_of, mut meters_of, mut idle_of) = (vec![], vec![], vec![]);
    let mut usual = vec![];
    for (index, table) in plan.program.tables.iter().enumerate() {
        let (field, _, action) = &plan.tables[index];
        let (default, idle) = beside(plan, TableId(index as u32));
        if let Some(ty) = table_type(plan, index, table) {
            let size = Literal::u32_unsuffixed(table.size);
            let about = doc(&format!("Entries of `{}`.", table.name));
            sizes.push(quote!(#about pub #field: usize,));
            usual.push(quote!(#field: #size,));
            fields.push(quote!(#about pub #field: #ty,));
            let engine_name = match engine(table) {
                Engine::Exact | Engine::Keyless => quote!(ExactTable::new(writer, sizes.#field)),
                Engine::Lpm(at) => {
                    let width = Literal::u8_unsuffixed(table.keys[at].expr.ty.bits());
                    quote!(LpmTable::new(writer, sizes.#field, #width))
                }
                Engine::Ternary => quote!(TernaryTable::new(writer, sizes.#field)),
            };
            lets.push(quote!(let #field = gantry_table::#engine_name;));
            names.push(quote!(#field,));
            if table.idle_timeout {
                let about = doc(&format!("When entries of `{}` were hit.", table.name));
                fields.push(quote!(#about pub #idle: gantry_table::Idle,));
                lets.push(quote!(let #idle = gantry_table::Idle::new(#field.index_limit());));
                names.push(quote!(#idle,));
                let id = hex(table.id.into());
                idle_of.push(quote!(#id => Some(&self.#idle),));
            }
        }
        if !table.const_default {
            let about = doc(&format!("The default action of `{}`.", table.name));
            fields.push(quote!(#about pub #default: gantry_table::Versioned<#action>,));
            names.push(quote!(#default: gantry_table::Versioned::new(writer, &#action::DEFAULT),));
        }
    }
    let mut banks = vec![];
    let mut taken = vec![];
    for (of, kind) in cells(plan) {
        let (field, declared) = (&plan.externs[of.index()], &plan.program.externs[of.index()]);
        let count = match kind {
            ExternKind::Counter { size, .. } | ExternKind::Meter { size, .. } => {
                let size = Literal::u32_unsuffixed(*size);
                quote!(#size)
            }
            // One more than entries have: the default action's.
            ExternKind::DirectCounter { table, .. } | ExternKind::DirectMeter { table, .. } => {
                let of = &plan.program.tables[table.index()];
                let table = &plan.tables[table.index()].0;
                if engine(of) == Engine::Keyless { quote!(1) } else { quote!(#table.index_limit() + 1) }
            }
            _ => unreachable!("counters and meters"),
        };
        let direct = matches!(kind, ExternKind::DirectCounter { .. } | ExternKind::DirectMeter { .. });
        let by = if direct { " By entry index; the last cell is the default action's." } else { "" };
        let about = doc(&format!("`{}`.{by}", declared.name));
        let id = hex(match kind {
            ExternKind::DirectCounter { table, .. } | ExternKind::DirectMeter { table, .. } => {
                plan.program.tables[table.index()].id.into()
            }
            _ => declared.id.into(),
        });
        if counts(kind) {
            fields.push(quote!(#about pub #field: gantry_table::Counters,));
            lets.push(quote!(let #field = gantry_table::Counters::new(#count, lcores);));
            names.push(quote!(#field,));
            banks.push(quote!(#about pub #field: gantry_table::CounterBank,));
            taken.push(quote!(#field: self.#field.bank()?,));
            counters_of.push(quote!(#id => Some(&self.#field),));
        } else {
            fields.push(quote!(#about pub #field: gantry_table::Meters,));
            lets.push(quote!(let #field = gantry_table::Meters::new(#count);));
            names.push(quote!(#field,));
            meters_of.push(quote!(#id => Some(&self.#field),));
        }
    }
    let entries = own_entries(plan);
    let changes = changes::emit(plan);
    quote! {
        /// An entry that the program brings, by P4Runtime ids.
        #[derive(Clone, Copy, Debug)]
        pub struct EntryInfo {
            /// Its table.
            pub table: u32,
            /// Its key.
            pub matches: &'static [Match],
            /// Its priority; 0 where there is none.
            pub priority: i32,
            /// Its action.
            pub action: u32,
            /// The action's arguments.
            pub arguments: &'static [u128],
        }

        /// The entries that the program brings.
        pub static ENTRIES: &[EntryInfo] = &[#(#entries),*];

        /// Entries that there is room for in each table.
        #[derive(Clone, Copy, Debug)]
        pub struct Sizes { #(#sizes)* }

        impl Default for Sizes {
            fn default() -> Self { Self { #(#usual)* } }
        }

        /// The program's tables, counters and meters: handles, whose clones are the same tables. Lcores read, one writer writes.
        #[derive(Clone)]
        pub struct Tables { #(#fields)* }

        /// An lcore's banks of counters.
        pub struct Banks { #(#banks)* }

        impl Tables {
            /// Tables of a writer, with counters for so many lcores. Entries that the program brings are staged: they are there when
            /// the writer publishes.
            ///
            /// # Errors
            /// If the program's entries do not fit the sizes.
            pub fn new(writer: &mut gantry_table::Writer, sizes: &Sizes, lcores: usize) -> Result<Self, EntryError> {
                #(#lets)*
                let tables = Self { #(#names)* };
                for own in ENTRIES {
                    tables.insert(writer, own.table, own.matches, own.priority, own.action, own.arguments)?;
                }
                Ok(tables)
            }

            /// Banks of counters that no lcore has yet; none when all are taken.
            #[must_use]
            pub fn banks(&self) -> Option<Banks> { Some(Banks { #(#taken)* }) }

            /// The counters with a P4Runtime id; the direct ones of the entries of the table with that id.
            #[must_use]
            pub fn counters(&self, id: u32) -> Option<&gantry_table::Counters> {
                match id { #(#counters_of)* _ => None }
            }

            /// The meters with a P4Runtime id; the direct ones of the entries of the table with that id.
            #[must_use]
            pub fn meters(&self, id: u32) -> Option<&gantry_table::Meters> {
                match id { #(#meters_of)* _ => None }
            }

            /// When entries of the table with a P4Runtime id were hit, if that is noted.
            #[must_use]
            pub fn idle(&self, id: u32) -> Option<&gantry_table::Idle> {
                match id { #(#idle_of)* _ => None }
            }

            #changes
        }
    }
}

/// The entries that the program brings.
fn own_entries(plan: &Plan<'_>) -> Vec<TokenStream> {
    let mut entries = Vec::new();
    for table in &plan.program.tables {
        for entry in &table.entries {
            let matches = entry.matches.iter().map(|wanted| match wanted {
                Match::Any => quote!(Match::Any),
                Match::Value(value) => {
                    let value = hex(*value);
                    quote!(Match::Value(#value))
                }
                Match::Mask { value, mask } => {
                    let (value, mask) = (hex(*value), hex(*mask));
                    quote!(Match::Mask { value: #value, mask: #mask })
                }
                Match::Range { low, high } => {
                    let (low, high) = (hex(*low), hex(*high));
                    quote!(Match::Range { low: #low, high: #high })
                }
                Match::Prefix { value, length } => {
                    let (value, length) = (hex(*value), Literal::u8_unsuffixed(*length));
                    quote!(Match::Prefix { value: #value, length: #length })
                }
            });
            let (table, priority) = (hex(table.id.into()), Literal::i32_unsuffixed(entry.priority));
            let action = hex(plan.program.actions[entry.action.index()].id.into());
            let arguments = entry.arguments.iter().map(|value| hex(*value));
            entries.push(quote! {
                EntryInfo {
                    table: #table,
                    matches: &[#(#matches),*],
                    priority: #priority,
                    action: #action,
                    arguments: &[#(#arguments),*],
                }
            });
        }
    }
    entries
}
