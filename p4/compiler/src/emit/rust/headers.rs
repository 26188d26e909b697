//! Header types: the bytes of the wire with an accessor for each field.

use proc_macro2::{Literal, TokenStream};
use quote::{ToTokens, format_ident, quote};

use crate::ir::{Field, Header, Type};

use super::plan::{Layout, Plan, doc, natural, natural_bits};

/// All header types of a program.
pub(super) fn emit(plan: &Plan<'_>) -> TokenStream {
    plan.layouts.iter().map(|layout| emit_type(plan, layout)).collect()
}

fn emit_type(plan: &Plan<'_>, layout: &Layout) -> TokenStream {
    let header = &plan.program.headers[layout.header.index()];
    let name = &layout.name;
    let length = Literal::usize_unsuffixed(bytes(header));
    let about = if header.doc.is_empty() { format!("`{}`.", header.type_name) } else { header.doc.clone() };
    let about = doc(&format!("{about}\n\n{} bytes, as they are on the wire.", bytes(header)));
    let accessors = header.fields.iter().zip(&layout.fields).map(|(field, (reads, writes))| {
        let ty = natural(field_type(field));
        let shown = doc(&format!("`{}`: {}.", field.name, place(field)));
        let write = if is_natural(field.bits) {
            doc(&format!("Sets `{}`.", field.name))
        } else {
            doc(&format!("Sets `{}` to the low bits of a value.", field.name))
        };
        let (get, set) = (get(header, field), set(header, field));
        quote! {
            #shown
            #[inline]
            #[must_use]
            pub const fn #reads(&self) -> #ty { #get }

            #write
            #[inline]
            pub fn #writes(&mut self, value: #ty) { #set }
        }
    });
    quote! {
        #about
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout, zerocopy::Immutable, zerocopy::Unaligned)]
        #[repr(transparent)]
        pub struct #name(pub [u8; #length]);

        impl #name {
            /// Its length in bytes.
            pub const LENGTH: usize = #length;
            /// All zeros.
            pub const ZERO: Self = Self([0; #length]);

            #(#accessors)*
        }
    }
}

/// The length of a header.
pub(super) fn bytes(header: &Header) -> usize {
    (header.bits / 8) as usize
}

/// The type of a field's value: `bool` fields are one bit.
fn field_type(field: &Field) -> Type {
    Type::Bits(field.bits)
}

fn is_natural(bits: u8) -> bool {
    matches!(bits, 8 | 16 | 32 | 64 | 128)
}

fn place(field: &Field) -> String {
    let (first, last) = (field.offset / 8, (field.offset + u32::from(field.bits) - 1) / 8);
    let bytes = if first == last { format!("byte {first}") } else { format!("bytes {first} to {last}") };
    let bits = if field.bits == 1 { "1 bit".to_owned() } else { format!("{} bits", field.bits) };
    if field.offset.is_multiple_of(8) && field.bits.is_multiple_of(8) {
        bytes
    } else {
        format!("{bits} from bit {} on, {bytes}", field.offset)
    }
}

/// A window of 1, 2, 4, 8 or 16 bytes with a field in it.
struct Window {
    /// Its first byte.
    at: usize,
    /// Its length.
    length: usize,
    /// Bits of it behind the field.
    shift: usize,
}

/// The window for some bits of a header; none if they touch 17 bytes or the header has no such window.
fn window(offset: usize, bits: usize, header: usize) -> Option<Window> {
    let (first, end) = (offset / 8, (offset + bits).div_ceil(8));
    let length = (end - first).next_power_of_two();
    if length > 16 || length > header {
        return None;
    }
    // One that ends with the field where there is room for it, else the first of the header.
    let at = end.saturating_sub(length);
    Some(Window { at, length, shift: (at + length) * 8 - offset - bits })
}

/// Bits of a value's top that a window does not show go here, the rest below.
const PIECE: usize = 8;

fn get(header: &Header, field: &Field) -> TokenStream {
    let (value, exact) = get_bits(header, field.offset as usize, usize::from(field.bits), &natural(field_type(field)));
    if exact { value } else { quote!((#value)) }
}

/// An expression of the type for some bits, and whether it needs no parentheses.
fn get_bits(header: &Header, offset: usize, bits: usize, ty: &proc_macro2::Ident) -> (TokenStream, bool) {
    let Some(Window { at, length, shift }) = window(offset, bits, bytes(header)) else {
        // In pieces: what is in the last byte, and what is before it.
        let low = match (offset + bits) % 8 {
            0 => PIECE,
            some => some,
        };
        let (above, _) = get_bits(header, offset, bits - low, ty);
        let (below, _) = get_bits(header, offset + bits - low, low, ty);
        let low = Literal::usize_unsuffixed(low);
        return (quote!(((#above) << #low) | (#below)), true);
    };
    let window = format_ident!("u{}", length * 8);
    let mut value = if length == 1 {
        let at = Literal::usize_unsuffixed(at);
        quote!(self.0[#at])
    } else {
        let indices = (at..at + length).map(Literal::usize_unsuffixed);
        if length <= 4 {
            quote!(#window::from_be_bytes([#(self.0[#indices]),*]))
        } else {
            let at = Literal::usize_unsuffixed(at);
            quote!(#window::from_be_bytes(part(&self.0, #at)))
        }
    };
    let mut atom = true;
    if shift > 0 {
        let shift = Literal::usize_unsuffixed(shift);
        value = quote!(#value >> #shift);
        atom = false;
    }
    if shift + bits < length * 8 {
        let mask = mask(bits);
        value = if atom { quote!(#value & #mask) } else { quote!((#value) & #mask) };
        atom = false;
    }
    if window != *ty {
        value = if atom { quote!(#value as #ty) } else { quote!((#value) as #ty) };
    }
    (value, true)
}

fn set(header: &Header, field: &Field) -> TokenStream {
    let mut pieces = Vec::new();
    set_bits(header, field, usize::from(field.bits), 0, &mut pieces);
    quote!(#(#pieces)*)
}

/// Statements that store `bits` bits of a field's `value`, from its bit `from` on.
fn set_bits(header: &Header, field: &Field, bits: usize, from: usize, pieces: &mut Vec<TokenStream>) {
    let offset = field.offset as usize + usize::from(field.bits) - bits - from;
    let value = if from == 0 {
        quote!(value)
    } else {
        let from = Literal::usize_unsuffixed(from);
        quote!((value >> #from))
    };
    if offset.is_multiple_of(8) && bits.is_multiple_of(8) {
        let (first, end) = (offset / 8, (offset + bits) / 8);
        let (at, to) = (Literal::usize_unsuffixed(first), Literal::usize_unsuffixed(end));
        pieces.push(if bits == 8 {
            quote!(self.0[#at] = #value as u8;)
        } else if is_natural(bits as u8) && from == 0 {
            quote!(self.0[#at..#to].copy_from_slice(&value.to_be_bytes());)
        } else {
            let natural = usize::from(natural_bits(field.bits)) / 8;
            let (skip, stop) = (Literal::usize_unsuffixed(natural - bits / 8), Literal::usize_unsuffixed(natural));
            quote!(self.0[#at..#to].copy_from_slice(&#value.to_be_bytes()[#skip..#stop]);)
        });
        return;
    }
    let Some(Window { at, length, shift }) = window(offset, bits, bytes(header)) else {
        let low = match (offset + bits) % 8 {
            0 => PIECE,
            some => some,
        };
        set_bits(header, field, bits - low, from + low, pieces);
        set_bits(header, field, low, from, pieces);
        return;
    };
    let ty = format_ident!("u{}", length * 8);
    let mask = mask(bits);
    let first = Literal::usize_unsuffixed(at);
    let old = if length == 1 { quote!(self.0[#first]) } else { quote!(#ty::from_be_bytes(part(&self.0, #first))) };
    let shifted = |value: TokenStream| match Literal::usize_unsuffixed(shift) {
        _ if shift == 0 => value,
        shift => quote!((#value << #shift)),
    };
    let (hole, filled) = (shifted(quote!(#mask)), shifted(quote!((#value as #ty & #mask))));
    let write = if length == 1 {
        quote!(self.0[#first] = (#old & !#hole) | #filled;)
    } else {
        let end = Literal::usize_unsuffixed(at + length);
        quote! {
            let changed = (#old & !#hole) | #filled;
            self.0[#first..#end].copy_from_slice(&changed.to_be_bytes());
        }
    };
    pieces.push(write);
}

/// So many ones, as Rust writes them.
pub(super) fn mask(bits: usize) -> TokenStream {
    let mask = u128::MAX >> (128 - bits);
    if mask < 10 { Literal::u128_unsuffixed(mask).to_token_stream() } else { hex(mask) }
}

/// A number in hexadecimal.
pub(super) fn hex(value: u128) -> TokenStream {
    format!("{value:#x}").parse().expect("a number")
}
