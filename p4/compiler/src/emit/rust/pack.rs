//! How keys and actions become words: fields packed into as few 64-bit words as they need.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::quote;

use crate::ir::Type;

use super::expression::plain;
use super::headers::mask;
use super::plan::natural;

/// Bits of a field in a word.
struct Piece {
    field: usize,
    /// Its lowest bit in the field.
    from: usize,
    bits: usize,
    word: usize,
    /// Its lowest bit in the word.
    at: usize,
}

/// Where each field is.
pub(super) struct Packing {
    pieces: Vec<Piece>,
    pub(super) words: usize,
}

impl Packing {
    /// Packs fields of these types; the first word's low bits are taken already.
    pub(super) fn new(fields: &[Type], taken: usize) -> Self {
        let mut pieces = Vec::new();
        for (field, ty) in fields.iter().enumerate() {
            let bits = usize::from(ty.bits());
            let mut from = 0;
            while from < bits {
                let length = (bits - from).min(64);
                pieces.push(Piece { field, from, bits: length, word: 0, at: 0 });
                from += length;
            }
        }
        // The longest first, each where it first fits.
        pieces.sort_by_key(|piece| std::cmp::Reverse(piece.bits));
        let mut used = if taken > 0 { vec![taken] } else { Vec::new() };
        for piece in &mut pieces {
            let word = used.iter().position(|used| used + piece.bits <= 64).unwrap_or_else(|| {
                used.push(0);
                used.len() - 1
            });
            (piece.word, piece.at) = (word, used[word]);
            used[word] += piece.bits;
        }
        Self { pieces, words: used.len() }
    }

    /// Each of `words` words, from expressions of the fields.
    pub(super) fn pack(&self, fields: &[(TokenStream, Type)], words: usize, tag: Option<u8>) -> Vec<TokenStream> {
        let word = |word: usize| {
            let tag = tag.filter(|tag| word == 0 && *tag > 0).map(|tag| {
                let tag = Literal::u8_unsuffixed(tag);
                quote!(#tag)
            });
            let parts = self.pieces.iter().filter(|piece| piece.word == word).map(|piece| {
                let (value, ty) = &fields[piece.field];
                let value = match piece.from {
                    0 => value.clone(),
                    from => {
                        let from = Literal::usize_unsuffixed(from);
                        quote!((#value >> #from))
                    }
                };
                let value = if ty.bits() > 64 { quote!((#value as u64)) } else { quote!(u64::from(#value)) };
                match piece.at {
                    0 => value,
                    at => {
                        let at = Literal::usize_unsuffixed(at);
                        quote!(#value << #at)
                    }
                }
            });
            let parts: Vec<_> = tag.into_iter().chain(parts).collect();
            if parts.is_empty() { quote!(0) } else { quote!(#(#parts)|*) }
        };
        (0..words).map(word).collect()
    }

    /// A field, from an array of words.
    pub(super) fn unpack(&self, field: usize, ty: Type, words: &Ident) -> TokenStream {
        let whole = natural(ty);
        let pieces: Vec<_> = self.pieces.iter().filter(|piece| piece.field == field).collect();
        let parts = pieces.iter().map(|piece| {
            let word = Literal::usize_unsuffixed(piece.word);
            let mut value = quote!(#words[#word]);
            if piece.at > 0 {
                let at = Literal::usize_unsuffixed(piece.at);
                value = quote!((#value >> #at));
            }
            if ty == Type::Bool {
                return quote!(#value & 1 != 0);
            }
            if piece.at + piece.bits < 64 && !matches!(piece.bits, 8 | 16 | 32) {
                let mask = mask(piece.bits);
                value = quote!((#value & #mask));
            }
            value = quote!(#value as #whole);
            match piece.from {
                0 => value,
                from => {
                    let from = Literal::usize_unsuffixed(from);
                    quote!(((#value) << #from))
                }
            }
        });
        let parts: Vec<_> = parts.collect();
        if parts.is_empty() { plain(0, ty) } else { quote!(#(#parts)|*) }
    }

    /// Where a field is: words, lowest bits there, lengths.
    pub(super) fn places(&self, field: usize) -> Vec<(usize, usize, usize)> {
        let pieces = self.pieces.iter().filter(|piece| piece.field == field);
        pieces.map(|piece| (piece.word, piece.at, piece.bits)).collect()
    }
}
