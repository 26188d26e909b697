//! Changes of entries by P4Runtime ids and numbers, as control has them.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote};

use crate::emit::rust::headers::hex;
use crate::emit::rust::plan::{Plan, doc, natural};
use crate::ir::{MatchKind, Table, TableId, Type};

use super::{Engine, beside, engine, struct_fields};

/// `insert`, `modify`, `remove`, `set_default`: changes by ids and numbers, as P4Runtime has them.
pub(super) fn emit(plan: &Plan<'_>) -> TokenStream {
    let (mut insert, mut modify, mut remove, mut default) = (vec![], vec![], vec![], vec![]);
    for (index, table) in plan.program.tables.iter().enumerate() {
        let (field, key, action) = &plan.tables[index];
        let id = hex(table.id.into());
        let (default_field, _) = beside(plan, TableId(index as u32));
        if !table.const_default {
            default.push(quote! {
                #id => {
                    let given = if action == 0 { Some(#action::DEFAULT) } else { #action::new(action, arguments) };
                    Ok(self.#default_field.set(writer, &given.ok_or(EntryError::Action)?)?)
                }
            });
        }
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

        /// Stages another default action, by P4Runtime ids; action 0 is what the program says.
        ///
        /// # Errors
        /// If there is no such table or action, the program's default action is constant (as if there were no such table), or the
        /// table cannot take the change now.
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
pub(in crate::emit::rust) fn matches() -> TokenStream {
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
