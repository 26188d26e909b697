//! What a table's entries do: an enum of its actions with their parameters, and how they become words.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote};

use crate::emit::rust::expression::plain;
use crate::emit::rust::headers::hex;
use crate::emit::rust::pack::Packing;
use crate::emit::rust::plan::{Plan, doc, natural};
use crate::ir::{Table, Type, VarId};

use super::variants;

/// The enum.
pub(super) fn emit(plan: &Plan<'_>, index: usize, table: &Table) -> TokenStream {
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
