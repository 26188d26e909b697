//! What control must know of the tables, as constants.

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};

use crate::emit::rust::headers::hex;
use crate::emit::rust::names::last;
use crate::emit::rust::plan::Plan;
use crate::ir::{ActionScope, ExternKind};

/// `TABLES`: what control must know of them.
pub(in crate::emit::rust) fn info(plan: &Plan<'_>) -> TokenStream {
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
        let owned = table.notes.annotations.iter().any(|annotation| annotation.starts_with("@owner"));
        quote! {
            TableInfo {
                name: #name,
                id: #id,
                size: #size,
                keys: &[#(#keys),*],
                actions: &[#(#actions),*],
                const_entries: #const_entries,
                const_default: #const_default,
                owned: #owned,
            }
        }
    });
    let of_kind = |wanted: fn(&ExternKind) -> bool| {
        let all = plan.program.externs.iter().filter(move |of| wanted(&of.kind));
        all.map(|of| {
            let (name, id) = (&of.name, hex(of.id.into()));
            quote!(ExternInfo { name: #name, id: #id })
        })
    };
    let digests = of_kind(|kind| matches!(kind, ExternKind::Digest { .. }));
    let meters = of_kind(|kind| matches!(kind, ExternKind::Meter { .. }));
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
            /// It has an `@owner`: P4Runtime's clients may look and not touch.
            pub owned: bool,
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

        /// An extern's instance, for control.
        #[derive(Clone, Copy, Debug)]
        pub struct ExternInfo {
            /// Its name.
            pub name: &'static str,
            /// Its P4Runtime id.
            pub id: u32,
        }

        /// The program's digests.
        pub static DIGESTS: &[ExternInfo] = &[#(#digests),*];

        /// The program's meters, of cells and not of entries.
        pub static METERS: &[ExternInfo] = &[#(#meters),*];
    }
}
