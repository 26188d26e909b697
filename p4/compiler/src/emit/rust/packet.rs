//! What is known of a packet: which headers are valid and where, the values that the program changes, its metadata.

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};

use crate::ir::{HeaderId, Type, VarId};

use super::externs;
use super::plan::{Home, Plan, doc, natural};

/// `Metadata`, `Packet` and what reads headers.
pub(super) fn emit(plan: &Plan<'_>) -> TokenStream {
    let metadata = metadata(plan);
    let valid_type = plan.valid_type();
    let bits = plan.headers.iter().enumerate().map(|(index, header)| {
        let (name, bit) = (&header.valid, Literal::usize_unsuffixed(index));
        let about = doc(&format!("`{}` is valid.", plan.program.headers[index].name));
        quote!(#about pub const #name: #valid_type = 1 << #bit;)
    });
    let places = plan.headers.iter().enumerate().map(|(index, header)| {
        let name = &header.at;
        let about = doc(&format!("Where `{}` is in the frame.", plan.program.headers[index].name));
        quote!(#about pub #name: u16,)
    });
    let absent = plan.headers.iter().map(|header| {
        let name = &header.at;
        quote!(#name: ABSENT,)
    });
    let stored = plan.stored().map(|(var, name, ty)| {
        let (about, ty) = (about_var(plan, var), natural(ty));
        quote!(#about pub #name: #ty,)
    });
    let zeros = plan.stored().map(|(_, name, ty)| {
        let zero = zero(ty);
        quote!(#name: #zero,)
    });
    let sums = externs::checksums(plan).map(|of| {
        let name = externs::sum(plan, of);
        let about = doc(&format!("The sum of `{}`, in ones' complement.", plan.program.externs[of.index()].name));
        quote!(#about pub #name: u16,)
    });
    let sum_zeros = externs::checksums(plan).map(|of| {
        let name = externs::sum(plan, of);
        quote!(#name: 0,)
    });
    let places_again = plan.headers.iter().map(|header| &header.at);
    let local_zeros = plan.stored().filter(|(var, _, _)| plan.field_of(*var).is_none()).map(|(_, name, ty)| {
        let zero = zero(ty);
        quote!(self.#name = #zero;)
    });
    let sum_resets = externs::checksums(plan).map(|of| {
        let name = externs::sum(plan, of);
        quote!(self.#name = 0;)
    });
    let reads = (0..plan.headers.len() as u32).map(|index| reads(plan, HeaderId(index)));
    quote! {
        #metadata

        #(#bits)*

        /// Where a header is that is not in the frame.
        const ABSENT: u16 = u16::MAX;

        /// What is known of a packet. Fields that the program only reads are not here: they are read from the frame.
        #[derive(Clone, Copy, Debug)]
        pub struct Packet {
            /// Which headers are valid.
            pub valid: #valid_type,
            /// Which headers have values here that count instead of those in the frame.
            pub changed: #valid_type,
            /// Bytes of the whole packet: what counters and meters count.
            pub length: u32,
            /// Where the frame's bytes begin that the parser did not look at.
            pub payload_at: u16,
            #(#places)*
            #(#stored)*
            #(#sums)*
            /// The parameters of the program's blocks.
            pub metadata: Metadata,
        }

        impl Default for Packet {
            fn default() -> Self {
                Self {
                    valid: 0,
                    changed: 0,
                    length: 0,
                    payload_at: 0,
                    #(#absent)*
                    #(#zeros)*
                    #(#sum_zeros)*
                    metadata: Metadata::default(),
                }
            }
        }

        impl Packet {
            /// As [`Packet::default`], in place and without what counts only for headers that are changed.
            #[inline]
            pub fn reset(&mut self) {
                self.valid = 0;
                self.changed = 0;
                self.length = 0;
                self.payload_at = 0;
                #(self.#places_again = ABSENT;)*
                #(#local_zeros)*
                #(#sum_resets)*
                self.metadata = Metadata::default();
            }

            /// Whether a header is valid.
            #[inline]
            #[must_use]
            pub const fn is_valid(&self, header: #valid_type) -> bool {
                self.valid & header != 0
            }

            /// Whether the program changed a header.
            #[inline]
            #[must_use]
            pub const fn is_changed(&self, header: #valid_type) -> bool {
                self.changed & header != 0
            }

            #(#reads)*
        }
    }
}

/// Zero.
pub(super) fn zero(ty: Type) -> TokenStream {
    super::expression::plain(0, ty)
}

fn about_var(plan: &Plan<'_>, var: VarId) -> TokenStream {
    let declared = &plan.program.vars[var.index()];
    let of_enum = declared.of_enum.map(|of| format!(", a [`{}`]", plan.enums[of as usize])).unwrap_or_default();
    let bits = match declared.ty {
        Type::Bits(bits) if bits != super::plan::natural_bits(bits) => format!(", {bits} bits"),
        _ => String::new(),
    };
    doc(&format!("`{}`{bits}{of_enum}.", declared.name))
}

fn metadata(plan: &Plan<'_>) -> TokenStream {
    let fields = plan.homes.iter().enumerate().filter_map(|(index, home)| match home {
        Home::Metadata(name) => {
            let var = VarId(index as u32);
            let (about, ty) = (about_var(plan, var), natural(plan.program.vars[index].ty));
            Some(quote!(#about pub #name: #ty,))
        }
        _ => None,
    });
    quote! {
        /// Parameters of the program's blocks other than headers: what the architecture tells and is told, and the program's own.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Metadata {
            #(#fields)*
        }
    }
}

/// What reads a header from the frame, makes it valid, and gives it with what the program changed.
fn reads(plan: &Plan<'_>, id: HeaderId) -> TokenStream {
    let instance = &plan.headers[id.index()];
    let layout = plan.layout(id);
    let (name, ty, at, bit) = (&instance.name, &layout.name, &instance.at, &instance.valid);
    let path = &plan.program.headers[id.index()].name;
    let stored = plan.stored_fields(id);
    let about = doc(&format!("`{path}` as it is in the frame; zeros if it is not there."));
    let read = quote! {
        #about
        #[inline]
        #[must_use]
        pub fn #name<'f>(&self, frame: &'f [u8]) -> &'f #ty {
            header(frame, usize::from(self.#at)).unwrap_or(&#ty::ZERO)
        }
    };
    let sets = stored.iter().map(|(field, from)| {
        let var = plan.program.headers[id.index()].fields[*field].var;
        let set = &layout.fields[*field].1;
        match plan.program.vars[var.index()].ty {
            Type::Bool => quote!(header.#set(u8::from(self.#from));),
            Type::Bits(_) => quote!(header.#set(self.#from);),
        }
    });
    let whole_name = format_ident!("whole_{name}");
    let about = doc(&format!("`{path}` with what the program changed in it."));
    let (header, changes) = if stored.is_empty() {
        (quote!(header), quote!())
    } else {
        (quote!(mut header), quote!(if self.is_changed(#bit) { #(#sets)* }))
    };
    let whole = quote! {
        #about
        #[inline]
        #[must_use]
        pub fn #whole_name(&self, frame: &[u8]) -> #ty {
            let #header = *self.#name(frame);
            #changes
            header
        }
    };
    let getters = stored.iter().map(|(field, from)| {
        let declared = &plan.program.headers[id.index()].fields[*field];
        let ty = natural(plan.program.vars[declared.var.index()].ty);
        let reads = &layout.fields[*field].0;
        let about = doc(&format!("`{path}.{}` as it is now.", declared.name));
        let value = match plan.program.vars[declared.var.index()].ty {
            Type::Bool => quote!(self.#name(frame).#reads() != 0),
            Type::Bits(_) => quote!(self.#name(frame).#reads()),
        };
        quote! {
            #about
            #[inline]
            #[must_use]
            pub fn #from(&self, frame: &[u8]) -> #ty {
                if self.is_changed(#bit) { self.#from } else { #value }
            }
        }
    });
    let getters: TokenStream = getters.collect();
    let change = (!stored.is_empty()).then(|| {
        let change_name = format_ident!("change_{name}");
        let about = doc(&format!(
            "Takes the fields of `{path}` that the program changes out of the frame, if they are there still."
        ));
        let loads = stored.iter().map(|(_, to)| quote!(self.#to = self.#to(frame);));
        quote! {
            #about
            pub fn #change_name(&mut self, frame: &[u8]) {
                if !self.is_changed(#bit) {
                    #(#loads)*
                    self.changed |= #bit;
                }
            }
        }
    });
    let make = instance.made.then(|| {
        let make_name = format_ident!("make_{name}");
        let about = doc(&format!("`setValid` of `{path}`: its fields are zero if it was not valid."));
        let clears = stored.iter().map(|(field, to)| {
            let var = plan.program.headers[id.index()].fields[*field].var;
            let zero = zero(plan.program.vars[var.index()].ty);
            quote!(self.#to = #zero;)
        });
        quote! {
            #about
            pub fn #make_name(&mut self) {
                if !self.is_valid(#bit) {
                    self.valid |= #bit;
                    self.changed |= #bit;
                    self.#at = ABSENT;
                    #(#clears)*
                }
            }
        }
    });
    quote!(#read #getters #whole #change #make)
}
