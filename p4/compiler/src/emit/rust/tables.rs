//! Tables: for each a key, an enum of what its entries do, and the runtime's table of its kind; counters and meters beside them.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote};

use crate::ir::{ActionScope, ExternId, ExternKind, Match, MatchKind, Table, TableId, Type, VarId};

use super::expression::plain;
use super::headers::hex;
use super::names::{Scope, camel, last, snake};
use super::pack::Packing;
use super::plan::{Home, Plan, doc, natural};

/// What holds a table's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    /// No key: there is only the default action.
    Keyless,
    Exact,
    /// The key at this place by its prefix, the others exactly.
    Lpm(usize),
    /// Masks, ranges, priorities.
    Ternary,
}

/// By the kinds of its keys.
pub(super) fn engine(table: &Table) -> Engine {
    let has = |kinds: &[MatchKind]| table.keys.iter().position(|key| kinds.contains(&key.kind));
    if table.keys.is_empty() {
        Engine::Keyless
    } else if has(&[MatchKind::Ternary, MatchKind::Range, MatchKind::Optional]).is_some() {
        Engine::Ternary
    } else {
        has(&[MatchKind::Lpm]).map_or(Engine::Exact, Engine::Lpm)
    }
}

/// A key's field in Rust and its type.
pub(super) fn key_fields(table: &Table) -> Vec<(Ident, Type)> {
    let mut scope = Scope::default();
    let field = |name: &str, ty| (scope.first(&[snake(last(name)), snake(name)]), ty);
    table
        .keys
        .iter()
        .map(|key| (key.name.as_str(), key.expr.ty))
        .map({
            let mut field = field;
            move |(name, ty)| field(name, ty)
        })
        .collect()
}

/// The fields that the key's struct has: not the one that is looked up by its prefix.
pub(super) fn struct_fields(table: &Table) -> Vec<(usize, Ident, Type)> {
    let prefix = match engine(table) {
        Engine::Lpm(at) => Some(at),
        _ => None,
    };
    let fields = key_fields(table).into_iter().enumerate().filter(|(at, _)| Some(*at) != prefix);
    fields.map(|(at, (name, ty))| (at, name, ty)).collect()
}

/// A variant of a table's enum of actions.
pub(super) struct Variant {
    pub(super) action: usize,
    pub(super) name: Ident,
    /// Its parameters: their names and variables.
    pub(super) parameters: Vec<(Ident, VarId)>,
}

/// The actions of a table, its default action among them.
pub(super) fn variants(plan: &Plan<'_>, table: &Table) -> Vec<Variant> {
    let mut scope = Scope::default();
    let mut actions: Vec<_> = table.actions.iter().map(|of| of.action).collect();
    if !actions.contains(&table.default_action.0) {
        actions.push(table.default_action.0);
    }
    let variant = |action: crate::ir::ActionId| {
        let declared = &plan.program.actions[action.index()];
        let parameters = declared.parameters.iter().map(|var| match &plan.homes[var.index()] {
            Home::Local(name) => (name.clone(), *var),
            _ => unreachable!("parameters are local to their action"),
        });
        let name = scope.first(&[camel(last(&declared.name)), camel(&declared.name)]);
        Variant { action: action.index(), name, parameters: parameters.collect() }
    };
    actions.into_iter().map(variant).collect()
}

/// The externs that have a field in `Tables`, with their types.
fn cells<'p>(plan: &Plan<'p>) -> impl Iterator<Item = (ExternId, &'p ExternKind)> {
    let all = plan.program.externs.iter().enumerate().map(|(at, of)| (ExternId(at as u32), &of.kind));
    all.filter(|(_, kind)| counts(kind) || meters(kind))
}

fn counts(kind: &ExternKind) -> bool {
    matches!(kind, ExternKind::Counter { .. } | ExternKind::DirectCounter { .. })
}

fn meters(kind: &ExternKind) -> bool {
    matches!(kind, ExternKind::Meter { .. } | ExternKind::DirectMeter { .. })
}

/// Everything about tables.
pub(super) fn emit(plan: &Plan<'_>) -> TokenStream {
    let each = plan.program.tables.iter().enumerate().map(|(index, table)| {
        let (key, action) = (emit_key(plan, index, table), emit_action(plan, index, table));
        quote!(#key #action)
    });
    let each: TokenStream = each.collect();
    let tables = emit_tables(plan);
    quote!(#each #tables)
}

fn emit_key(plan: &Plan<'_>, index: usize, table: &Table) -> TokenStream {
    let fields = struct_fields(table);
    if fields.is_empty() {
        return TokenStream::new();
    }
    let name = &plan.tables[index].1;
    let types: Vec<Type> = fields.iter().map(|(_, _, ty)| *ty).collect();
    let packing = Packing::new(&types, 0);
    let words = Ident::new("words", proc_macro2::Span::call_site());
    let declared = fields.iter().map(|(at, name, ty)| {
        let key = &table.keys[*at];
        let kind = format!("{:?}", key.kind).to_lowercase();
        let about = doc(&format!("`{}`: {kind}, {} bits.", key.name, ty.bits()));
        let ty = natural(*ty);
        quote!(#about pub #name: #ty,)
    });
    let values: Vec<_> = fields.iter().map(|(_, name, ty)| (quote!(self.#name), *ty)).collect();
    let packed = packing.pack(&values, packing.words, None);
    let unpacked = fields.iter().enumerate().map(|(at, (_, name, ty))| {
        let value = packing.unpack(at, *ty, &words);
        quote!(#name: #value,)
    });
    let zeros = fields.iter().map(|(_, name, ty)| {
        let zero = plain(0, *ty);
        quote!(#name: #zero,)
    });
    let count = Literal::usize_unsuffixed(packing.words);
    let about = doc(&format!("The key of `{}`.", table.name));
    let ternary = (engine(table) == Engine::Ternary).then(|| {
        let ranges = fields.iter().enumerate().filter(|(_, (at, _, _))| table.keys[*at].kind == MatchKind::Range);
        let ranges = ranges.map(|(field, _)| {
            let places = packing.places(field);
            let [(word, shift, bits)] = places[..] else { panic!("a range of more than 64 bits in {}", table.name) };
            let (word, shift, bits) =
                (Literal::usize_unsuffixed(word), Literal::usize_unsuffixed(shift), Literal::usize_unsuffixed(bits));
            quote!(gantry_table::RangeField { word: #word, shift: #shift, bits: #bits })
        });
        let ranges: Vec<_> = ranges.collect();
        if ranges.is_empty() {
            quote!(impl gantry_table::TernaryKey for #name {})
        } else {
            quote! {
                impl gantry_table::TernaryKey for #name {
                    const RANGES: &'static [gantry_table::RangeField] = &[#(#ranges),*];
                }
            }
        }
    });
    quote! {
        #about
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct #name { #(#declared)* }

        impl #name {
            /// All zeros.
            pub const ZERO: Self = Self { #(#zeros)* };
        }

        impl gantry_table::Words for #name {
            type Array = [u64; #count];

            #[inline]
            fn to_words(&self) -> Self::Array { [#(#packed),*] }

            #[inline]
            fn from_words(words: Self::Array) -> Self { Self { #(#unpacked)* } }
        }

        #ternary
    }
}

fn emit_action(plan: &Plan<'_>, index: usize, table: &Table) -> TokenStream {
    const TAG_BITS: usize = 8;
    let name = &plan.tables[index].2;
    let variants = variants(plan, table);
    let type_of = |var: VarId| plan.program.vars[var.index()].ty;
    let packings: Vec<_> = variants
        .iter()
        .map(|variant| {
            let types: Vec<Type> = variant.parameters.iter().map(|(_, var)| type_of(*var)).collect();
            Packing::new(&types, TAG_BITS)
        })
        .collect();
    let count = packings.iter().map(|packing| packing.words).max().unwrap_or(1);
    let words = Ident::new("words", proc_macro2::Span::call_site());
    let most = variants.iter().map(|variant| variant.parameters.len()).max().unwrap_or(0);

    let (mut declared, mut packed, mut unpacked, mut made, mut ids, mut arguments) =
        (vec![], vec![], vec![], vec![], vec![], vec![]);
    for (tag, (variant, packing)) in variants.iter().zip(&packings).enumerate() {
        let action = &plan.program.actions[variant.action];
        let about = doc(&format!("`{}`.", action.name));
        let (name, fields) = (&variant.name, variant.parameters.iter().map(|(name, _)| name).collect::<Vec<_>>());
        let types = variant.parameters.iter().map(|(field, var)| {
            let about = doc(&format!("`{}`, {} bits.", field, type_of(*var).bits()));
            let ty = natural(type_of(*var));
            quote!(#about #field: #ty)
        });
        let pattern = if fields.is_empty() { quote!() } else { quote!({ #(#fields),* }) };
        let shape = if fields.is_empty() { quote!() } else { quote!({ #(#types),* }) };
        declared.push(quote!(#about #name #shape,));
        let values: Vec<_> = variant.parameters.iter().map(|(field, var)| (quote!(#field), type_of(*var))).collect();
        let row = packing.pack(&values, count, Some(tag as u8));
        packed.push(quote!(Self::#name #pattern => [#(#row),*],));
        let parts = variant.parameters.iter().enumerate().map(|(at, (field, var))| {
            let value = packing.unpack(at, type_of(*var), &words);
            quote!(#field: #value)
        });
        let whole = if fields.is_empty() { quote!() } else { quote!({ #(#parts),* }) };
        let tag_pattern = if tag + 1 == variants.len() { quote!(_) } else { plain(tag as u128, Type::Bits(8)) };
        unpacked.push(quote!(#tag_pattern => Self::#name #whole,));
        let id = hex(action.id.into());
        let given = (0..fields.len()).map(|at| format_ident!("argument_{at}")).collect::<Vec<_>>();
        let taken = variant.parameters.iter().zip(&given).map(|((field, var), from)| {
            let (mask, ty) = (hex(type_of(*var).mask()), natural(type_of(*var)));
            let value = if type_of(*var) == Type::Bool { quote!(#from != 0) } else { quote!(#from as #ty) };
            quote!(#field: if #from <= #mask { #value } else { return None })
        });
        let whole = if fields.is_empty() { quote!() } else { quote!({ #(#taken),* }) };
        made.push(quote!((#id, &[#(#given),*]) => Some(Self::#name #whole),));
        let ignored = if fields.is_empty() { quote!() } else { quote!({ .. }) };
        ids.push(quote!(Self::#name #ignored => #id,));
        let shown = fields.iter().map(|field| quote!(u128::from(#field)));
        let rest = (fields.len()..most).map(|_| quote!(0));
        arguments.push(quote!(Self::#name #pattern => [#(#shown,)* #(#rest,)*],));
    }
    let (default, values) = &table.default_action;
    let default = variants.iter().find(|variant| variant.action == default.index()).expect("the default is an action");
    let (default_name, parts) = (
        &default.name,
        default.parameters.iter().zip(values).map(|((field, var), value)| {
            let value = plain(*value, type_of(*var));
            quote!(#field: #value)
        }),
    );
    let default_fields = if default.parameters.is_empty() { quote!() } else { quote!({ #(#parts),* }) };
    let (count, most) = (Literal::usize_unsuffixed(count), Literal::usize_unsuffixed(most));
    let about = doc(&format!("What an entry of `{}` does.", table.name));
    quote! {
        #about
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum #name { #(#declared)* }

        impl #name {
            /// What the program does on a miss.
            pub const DEFAULT: Self = Self::#default_name #default_fields;

            /// By P4Runtime id and arguments; none where they are not an action's of this table.
            #[must_use]
            pub fn new(action: u32, arguments: &[u128]) -> Option<Self> {
                match (action, arguments) {
                    #(#made)*
                    _ => None,
                }
            }

            /// Its P4Runtime id.
            #[must_use]
            pub const fn id(&self) -> u32 {
                match *self { #(#ids)* }
            }

            /// Its arguments, zeros behind them.
            #[must_use]
            pub fn arguments(&self) -> [u128; #most] {
                match *self { #(#arguments)* }
            }
        }

        impl gantry_table::Words for #name {
            type Array = [u64; #count];

            #[inline]
            fn to_words(&self) -> Self::Array {
                match *self { #(#packed)* }
            }

            #[inline]
            fn from_words(words: Self::Array) -> Self {
                match words[0] & 0xff { #(#unpacked)* }
            }
        }
    }
}

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

/// The field of a table's default action, and of its idle times.
pub(super) fn beside(plan: &Plan<'_>, table: TableId) -> (Ident, Ident) {
    let field = &plan.tables[table.index()].0;
    (format_ident!("{field}_default"), format_ident!("{field}_idle"))
}

fn emit_tables(plan: &Plan<'_>) -> TokenStream {
    let (mut sizes, mut fields, mut lets, mut names) = (vec![], vec![], vec![], vec![]);
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
            }
        }
        let about = doc(&format!("The default action of `{}`.", table.name));
        fields.push(quote!(#about pub #default: gantry_table::Versioned<#action>,));
        names.push(quote!(#default: gantry_table::Versioned::new(writer, &#action::DEFAULT),));
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
        if counts(kind) {
            fields.push(quote!(#about pub #field: gantry_table::Counters,));
            lets.push(quote!(let #field = gantry_table::Counters::new(#count, lcores);));
            names.push(quote!(#field,));
            banks.push(quote!(#about pub #field: gantry_table::CounterBank,));
            taken.push(quote!(#field: self.#field.bank()?,));
        } else {
            fields.push(quote!(#about pub #field: gantry_table::Meters,));
            lets.push(quote!(let #field = gantry_table::Meters::new(#count);));
            names.push(quote!(#field,));
        }
    }
    let entries = own_entries(plan);
    let changes = emit_changes(plan);
    quote! {
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
                #(#entries)*
                Ok(tables)
            }

            /// Banks of counters that no lcore has yet; none when all are taken.
            #[must_use]
            pub fn banks(&self) -> Option<Banks> { Some(Banks { #(#taken)* }) }

            #changes
        }
    }
}

/// Insertions of the entries that the program brings.
fn own_entries(plan: &Plan<'_>) -> Vec<TokenStream> {
    let mut inserts = Vec::new();
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
            inserts.push(quote! {
                tables.insert(writer, #table, &[#(#matches),*], #priority, #action, &[#(#arguments),*])?;
            });
        }
    }
    inserts
}

/// `insert`, `modify`, `remove`, `set_default`: changes by ids and numbers, as P4Runtime has them.
fn emit_changes(plan: &Plan<'_>) -> TokenStream {
    let (mut insert, mut modify, mut remove, mut default) = (vec![], vec![], vec![], vec![]);
    for (index, table) in plan.program.tables.iter().enumerate() {
        let (field, key, action) = &plan.tables[index];
        let id = hex(table.id.into());
        let (default_field, _) = beside(plan, TableId(index as u32));
        default.push(quote! {
            #id => {
                let action = #action::new(action, arguments).ok_or(EntryError::Action)?;
                Ok(self.#default_field.set(writer, &action)?)
            }
        });
        if engine(table) == Engine::Keyless {
            continue;
        }
        let names = (0..table.keys.len()).map(|at| format_ident!("match_{at}")).collect::<Vec<_>>();
        let matched = matched(table, key, &names);
        let matched = quote! {
            let [#(#names),*] = matches else { return Err(EntryError::Matches) };
            #matched
        };
        insert.push(quote! {
            #id => {
                #matched
                let action = #action::new(action, arguments).ok_or(EntryError::Action)?;
                Ok(self.#field.insert(writer, &matched, &action)?)
            }
        });
        modify.push(quote! {
            #id => {
                #matched
                let action = #action::new(action, arguments).ok_or(EntryError::Action)?;
                Ok(self.#field.modify(writer, &matched, &action)?)
            }
        });
        remove.push(quote! {
            #id => {
                #matched
                Ok(self.#field.remove(writer, &matched)?)
            }
        });
    }
    let change = |name: &str, about: &str, arms: &[TokenStream]| {
        let (name, about) = (format_ident!("{name}"), doc(about));
        quote! {
            #about
            ///
            /// # Errors
            /// If there is no such table, match or action, or the table cannot take the change now.
            pub fn #name(
                &self,
                writer: &mut gantry_table::Writer,
                table: u32,
                matches: &[Match],
                priority: i32,
                action: u32,
                arguments: &[u128],
            ) -> Result<gantry_table::EntryIndex, EntryError> {
                match table {
                    #(#arms)*
                    _ => Err(EntryError::Table),
                }
            }
        }
    };
    let insert = change(
        "insert",
        "Stages a new entry, by P4Runtime ids. Where no key needs a priority it does not count.",
        &insert,
    );
    let modify = change("modify", "Stages another action for an entry, by P4Runtime ids.", &modify);
    quote! {
        #insert
        #modify

        /// Stages an entry's end, by P4Runtime ids.
        ///
        /// # Errors
        /// If there is no such table, match or entry, or the table cannot take the change now.
        pub fn remove(
            &self,
            writer: &mut gantry_table::Writer,
            table: u32,
            matches: &[Match],
            priority: i32,
        ) -> Result<gantry_table::EntryIndex, EntryError> {
            match table {
                #(#remove)*
                _ => Err(EntryError::Table),
            }
        }

        /// Stages another default action, by P4Runtime ids.
        ///
        /// # Errors
        /// If there is no such table or action, or the table cannot take the change now.
        pub fn set_default(
            &self,
            writer: &mut gantry_table::Writer,
            table: u32,
            action: u32,
            arguments: &[u128],
        ) -> Result<(), EntryError> {
            match table {
                #(#default)*
                _ => Err(EntryError::Table),
            }
        }
    }
}

/// `matched`: what the table takes, from a match for each key.
fn matched(table: &Table, key: &Ident, names: &[Ident]) -> TokenStream {
    let field = |value: TokenStream, ty: Type| match ty {
        Type::Bool => quote!(#value != 0),
        Type::Bits(128) => value,
        Type::Bits(_) => {
            let ty = natural(ty);
            quote!(#value as #ty)
        }
    };
    let fields = struct_fields(table);
    let exact = |fields: &[(usize, Ident, Type)]| {
        let values = fields.iter().map(|(at, name, ty)| {
            let (from, bits) = (&names[*at], Literal::u8_unsuffixed(ty.bits()));
            let value = field(quote!(#from.exact(#bits)?), *ty);
            quote!(#name: #value)
        });
        quote!(#key { #(#values),* })
    };
    match engine(table) {
        Engine::Keyless => TokenStream::new(),
        Engine::Exact => {
            let key = exact(&fields);
            quote!(let matched = #key;)
        }
        Engine::Lpm(at) => {
            let (from, bits) = (&names[at], Literal::u8_unsuffixed(table.keys[at].expr.ty.bits()));
            let exact = if fields.is_empty() { quote!([]) } else { exact(&fields) };
            quote! {
                let (value, length) = #from.prefix(#bits)?;
                let matched = gantry_table::Prefix { exact: #exact, value, length };
            }
        }
        Engine::Ternary => {
            let (mut lets, mut values, mut masks) = (vec![], vec![], vec![]);
            for (at, name, ty) in &fields {
                let (from, bits) = (&names[*at], Literal::u8_unsuffixed(ty.bits()));
                let kind = if table.keys[*at].kind == MatchKind::Range { quote!(range) } else { quote!(mask) };
                let (value, mask) = (format_ident!("value_{at}"), format_ident!("mask_{at}"));
                lets.push(quote!(let (#value, #mask) = #from.#kind(#bits)?;));
                let (value, mask) = (field(quote!(#value), *ty), field(quote!(#mask), *ty));
                values.push(quote!(#name: #value));
                masks.push(quote!(#name: #mask));
            }
            quote! {
                #(#lets)*
                let matched = gantry_table::Match {
                    value: #key { #(#values),* },
                    mask: #key { #(#masks),* },
                    priority,
                };
            }
        }
    }
}

/// Types of entries by ids and numbers.
pub(super) fn matches() -> TokenStream {
    quote! {
        /// What an entry says of a key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Match {
            /// Nothing.
            Any,
            /// Exactly this.
            Value(u128),
            /// Bits under a mask.
            Mask {
                /// The bits.
                value: u128,
                /// Those that count.
                mask: u128,
            },
            /// Between two values.
            Range {
                /// The least.
                low: u128,
                /// The greatest.
                high: u128,
            },
            /// The first bits.
            Prefix {
                /// The value.
                value: u128,
                /// Bits of it that count.
                length: u8,
            },
        }

        /// Why an entry cannot be changed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum EntryError {
            /// There is no table with this id that has entries.
            Table,
            /// The matches are not those of the table's keys.
            Matches,
            /// Not an action of the table, or not its arguments.
            Action,
            /// The table cannot take the change.
            Stage(gantry_table::StageError),
        }

        impl From<gantry_table::StageError> for EntryError {
            fn from(error: gantry_table::StageError) -> Self {
                Self::Stage(error)
            }
        }

        impl Match {
            const fn ones(bits: u8) -> u128 {
                u128::MAX >> (128 - bits as u32)
            }

            fn exact(&self, bits: u8) -> Result<u128, EntryError> {
                match *self {
                    Self::Value(value) if value <= Self::ones(bits) => Ok(value),
                    _ => Err(EntryError::Matches),
                }
            }

            fn prefix(&self, bits: u8) -> Result<(u128, u8), EntryError> {
                match *self {
                    Self::Any => Ok((0, 0)),
                    Self::Value(value) if value <= Self::ones(bits) => Ok((value, bits)),
                    Self::Prefix { value, length } if value <= Self::ones(bits) && length <= bits => Ok((value, length)),
                    _ => Err(EntryError::Matches),
                }
            }

            fn mask(&self, bits: u8) -> Result<(u128, u128), EntryError> {
                let ones = Self::ones(bits);
                match *self {
                    Self::Any => Ok((0, 0)),
                    Self::Value(value) if value <= ones => Ok((value, ones)),
                    Self::Mask { value, mask } if value <= ones && mask <= ones => Ok((value & mask, mask)),
                    Self::Prefix { value, length } if value <= ones && length <= bits => {
                        let mask = ones & !ones.checked_shr(u32::from(length)).unwrap_or(0);
                        Ok((value & mask, mask))
                    }
                    _ => Err(EntryError::Matches),
                }
            }

            fn range(&self, bits: u8) -> Result<(u128, u128), EntryError> {
                match *self {
                    Self::Any => Ok((0, Self::ones(bits))),
                    Self::Value(value) if value <= Self::ones(bits) => Ok((value, value)),
                    Self::Range { low, high } if low <= high && high <= Self::ones(bits) => Ok((low, high)),
                    _ => Err(EntryError::Matches),
                }
            }
        }
    }
}

/// `TABLES`: what control must know of them.
pub(super) fn info(plan: &Plan<'_>) -> TokenStream {
    let tables = plan.program.tables.iter().map(|table| {
        let (name, id, size) = (&table.name, hex(table.id.into()), Literal::u32_unsuffixed(table.size));
        let keys = table.keys.iter().map(|key| {
            let (name, bits) = (&key.name, Literal::u8_unsuffixed(key.expr.ty.bits()));
            let kind = format_ident!("{}", format!("{:?}", key.kind));
            quote!(KeyInfo { name: #name, bits: #bits, kind: MatchKind::#kind })
        });
        let actions = table.actions.iter().map(|of| {
            let action = &plan.program.actions[of.action.index()];
            let (name, id) = (&action.name, hex(action.id.into()));
            let parameters = action.parameters.iter().map(|var| {
                let var = &plan.program.vars[var.index()];
                let (name, bits) = (last(&var.name), Literal::u8_unsuffixed(var.ty.bits()));
                quote!(ParameterInfo { name: #name, bits: #bits })
            });
            let (entries, default) = (of.scope != ActionScope::Default, of.scope != ActionScope::Entries);
            quote! {
                ActionInfo { name: #name, id: #id, parameters: &[#(#parameters),*], entries: #entries, default: #default }
            }
        });
        let (const_entries, const_default) = (table.const_entries, table.const_default);
        quote! {
            TableInfo {
                name: #name,
                id: #id,
                size: #size,
                keys: &[#(#keys),*],
                actions: &[#(#actions),*],
                const_entries: #const_entries,
                const_default: #const_default,
            }
        }
    });
    quote! {
        /// A table, for control.
        #[derive(Clone, Copy, Debug)]
        pub struct TableInfo {
            /// Its name.
            pub name: &'static str,
            /// Its P4Runtime id.
            pub id: u32,
            /// Entries that the program asks room for.
            pub size: u32,
            /// What is looked up.
            pub keys: &'static [KeyInfo],
            /// What entries do.
            pub actions: &'static [ActionInfo],
            /// The program brings all entries.
            pub const_entries: bool,
            /// The default action stays.
            pub const_default: bool,
        }

        /// A part of a key.
        #[derive(Clone, Copy, Debug)]
        pub struct KeyInfo {
            /// Its name.
            pub name: &'static str,
            /// Its width.
            pub bits: u8,
            /// How it is compared.
            pub kind: MatchKind,
        }

        /// How a key is compared.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum MatchKind {
            /// All bits.
            Exact,
            /// The longest prefix.
            Lpm,
            /// Under a mask.
            Ternary,
            /// Between two values.
            Range,
            /// All bits or none.
            Optional,
        }

        /// An action of a table.
        #[derive(Clone, Copy, Debug)]
        pub struct ActionInfo {
            /// Its name.
            pub name: &'static str,
            /// Its P4Runtime id.
            pub id: u32,
            /// What comes with it.
            pub parameters: &'static [ParameterInfo],
            /// Entries may have it.
            pub entries: bool,
            /// It may be the default action.
            pub default: bool,
        }

        /// A parameter of an action.
        #[derive(Clone, Copy, Debug)]
        pub struct ParameterInfo {
            /// Its name.
            pub name: &'static str,
            /// Its width.
            pub bits: u8,
        }

        /// The program's tables.
        pub static TABLES: &[TableInfo] = &[#(#tables),*];
    }
}
