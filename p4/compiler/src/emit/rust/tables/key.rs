//! A table's key: its fields, and how they become words.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::quote;

use crate::emit::rust::expression::plain;
use crate::emit::rust::pack::Packing;
use crate::emit::rust::plan::{Plan, doc, natural};
use crate::ir::{MatchKind, Table, Type};

use super::{Engine, engine, struct_fields};

/// The struct of a key, if there is something in it.
pub(super) fn emit(plan: &Plan<'_>, index: usize, table: &Table) -> TokenStream {
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
