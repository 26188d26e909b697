//! Calls of externs: counters, meters and checksums are done here, all others are methods of the generated trait `Externs`.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote};

use crate::ir::{Argument, Expr, ExprKind, ExternId, ExternKind, Place, Stmt, Type, Unit};

use super::function::Function;
use super::names::{Scope, snake};
use super::plan::{Plan, bodies, doc, natural, natural_bits};
use super::walk;

/// A method of the trait: what is called, with what, for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Method {
    instance: Option<ExternId>,
    function: String,
    /// Types of the arguments, and whether the call may change them.
    arguments: Vec<(Type, bool)>,
    result: Option<Type>,
}

/// Whether the parser calls anything.
pub(super) fn parser_calls(plan: &Plan<'_>) -> bool {
    let mut states = plan.program.parser.iter().flat_map(|parser| &parser.states);
    states.any(|state| walk::any(&state.body, |stmt| is_outside(plan, stmt)))
}

/// Whether the deparser calls anything.
pub(super) fn deparser_calls(plan: &Plan<'_>) -> bool {
    plan.program.deparser.iter().any(|deparser| walk::any(&deparser.body, |stmt| is_outside(plan, stmt)))
}

/// A call that needs more than the packet.
fn is_outside(plan: &Plan<'_>, stmt: &Stmt) -> bool {
    match stmt {
        Stmt::Call { instance: Some(of), .. } => !is_checksum(plan, *of),
        Stmt::Call { .. } => true,
        _ => false,
    }
}

fn is_checksum(plan: &Plan<'_>, of: ExternId) -> bool {
    plan.program.externs[of.index()].kind == ExternKind::InternetChecksum
}

/// Generics and parameters that a function with calls has besides.
pub(super) fn parameters(calls: bool) -> (TokenStream, TokenStream) {
    if calls {
        (quote!(<X: Externs>), quote!(, run: &mut Run<'_, X>, index: usize))
    } else {
        (TokenStream::new(), TokenStream::new())
    }
}

/// What is passed for them.
pub(super) fn passed(calls: bool) -> TokenStream {
    if calls { quote!(, run, index) } else { TokenStream::new() }
}

/// The methods that the program needs, each under a name of its own.
pub(super) fn methods(plan: &Plan<'_>) -> Vec<(Method, Ident)> {
    let mut methods: Vec<(Method, Ident)> = Vec::new();
    let mut names = Scope::with(&["prefetch", "self"]);
    for body in bodies(plan.program) {
        walk::nested(body, &mut |stmt| {
            let Stmt::Call { instance, function, arguments, result, .. } = stmt else { return };
            let method = method(plan, *instance, function, arguments, *result);
            if !is_ours(plan, *instance) && !methods.iter().any(|(known, _)| *known == method) {
                let name = match instance {
                    Some(of) => format!("{}_{}", plan.externs[of.index()], snake(function)),
                    None => snake(function),
                };
                methods.push((method, names.take(&name)));
            }
        });
    }
    methods
}

/// Done by generated code and tables, not by the trait.
fn is_ours(plan: &Plan<'_>, instance: Option<ExternId>) -> bool {
    instance.is_some_and(|of| {
        matches!(
            plan.program.externs[of.index()].kind,
            ExternKind::Counter { .. }
                | ExternKind::DirectCounter { .. }
                | ExternKind::Meter { .. }
                | ExternKind::DirectMeter { .. }
                | ExternKind::InternetChecksum
        )
    })
}

fn method(
    plan: &Plan<'_>,
    instance: Option<ExternId>,
    function: &str,
    arguments: &[Argument],
    result: Option<Place>,
) -> Method {
    let arguments = arguments.iter().map(|argument| match argument {
        Argument::In(expr) => (expr.ty, false),
        Argument::Out(place) => (place_type(plan, *place), true),
    });
    let result = result.map(|place| place_type(plan, place));
    Method { instance, function: function.to_owned(), arguments: arguments.collect(), result }
}

fn place_type(plan: &Plan<'_>, place: Place) -> Type {
    match place.slice {
        None => plan.program.vars[place.var.index()].ty,
        Some((hi, lo)) => Type::Bits(hi - lo + 1),
    }
}

/// The trait.
pub(super) fn emit(plan: &Plan<'_>) -> TokenStream {
    let methods = methods(plan);
    let methods = methods.iter().map(|(method, name)| {
        let about = match method.instance {
            Some(of) => {
                let of = &plan.program.externs[of.index()];
                let what = match &of.kind {
                    ExternKind::Register { size, .. } => format!(" A register of {size} cells."),
                    ExternKind::Hash { algorithm, .. } => format!(" By {algorithm}, of the arguments' bits in order."),
                    ExternKind::Digest { fields, .. } => {
                        let fields: Vec<_> = fields.iter().map(|(name, _)| format!("`{name}`")).collect();
                        format!(" A digest of {}.", fields.join(", "))
                    }
                    ExternKind::Other { type_name, .. } => format!(" A `{type_name}`."),
                    _ => String::new(),
                };
                format!("`{}` of `{}`.{what}", method.function, of.name)
            }
            None => format!("`{}`.", method.function),
        };
        let about = doc(&about);
        let arguments = method.arguments.iter().enumerate().map(|(at, (ty, changed))| {
            let (name, ty) = (format_ident!("argument_{at}"), natural(*ty));
            if *changed { quote!(#name: &mut #ty) } else { quote!(#name: #ty) }
        });
        let result = method.result.map(|ty| {
            let ty = natural(ty);
            quote!(-> #ty)
        });
        quote! {
            #about
            fn #name(&mut self, index: usize #(, #arguments)*) #result;
        }
    });
    quote! {
        /// What the program calls and does not say how to do. `index` is the packet's place in its burst. Of values only the bits count
        /// that their type in the program has.
        pub trait Externs {
            /// Begins to fetch a line of a table that is looked at soon.
            fn prefetch(&mut self, line: &gantry_table::Line);

            #(#methods)*
        }
    }
}

/// A call.
pub(super) fn call(
    function: &Function<'_, '_>,
    instance: Option<ExternId>,
    name: &str,
    arguments: &[Argument],
    result: Option<Place>,
) -> TokenStream {
    let plan = function.plan;
    if let Some(of) = instance {
        let given = |at: usize| match &arguments[at] {
            Argument::In(expr) => expr,
            Argument::Out(_) => unreachable!("no out arguments here"),
        };
        let field = &plan.externs[of.index()];
        match &plan.program.externs[of.index()].kind {
            ExternKind::InternetChecksum => return checksum(function, of, name, arguments, result),
            ExternKind::Counter { .. } => {
                let cell = cell(function, given(0));
                return quote!(run.banks.#field.count(#cell, u64::from(packet.length)););
            }
            ExternKind::DirectCounter { .. } => {
                return quote!(run.banks.#field.count(entry, u64::from(packet.length)););
            }
            ExternKind::Meter { unit, .. } => {
                let cell = cell(function, given(0));
                return metered(function, (field, *unit), &cell, arguments.get(1), result);
            }
            ExternKind::DirectMeter { unit, .. } => {
                return metered(function, (field, *unit), &quote!(entry), arguments.first(), result);
            }
            _ => {}
        }
    }
    let wanted = method(plan, instance, name, arguments, result);
    let methods = methods(plan);
    let (_, method) = methods.iter().find(|(known, _)| *known == wanted).expect("every call has its method");
    let (mut before, mut after, mut passed) = (TokenStream::new(), TokenStream::new(), Vec::new());
    for (at, argument) in arguments.iter().enumerate() {
        match argument {
            Argument::In(expr) => passed.push(function.values.given(expr)),
            Argument::Out(place) => {
                let name = format_ident!("out_{at}");
                let value = function.values.read(*place);
                before.extend(quote!(let mut #name = #value;));
                let back = function.values.assign(*place, within(place_type(plan, *place), quote!(#name)), false);
                after.extend(back);
                passed.push(quote!(&mut #name));
            }
        }
    }
    let call = quote!(run.externs.#method(index #(, #passed)*));
    if before.is_empty() {
        return match result {
            Some(place) => function.values.assign(place, within(place_type(plan, place), call), false),
            None => quote!(#call;),
        };
    }
    // The result is stored last (P4_16 §6.8).
    match result {
        Some(place) => {
            let store = function.values.assign(place, within(place_type(plan, place), quote!(value)), false);
            quote!({ #before let value = #call; #after #store })
        }
        None => quote!({ #before #call; #after }),
    }
}

/// A value from outside, without bits that its type has not.
fn within(ty: Type, value: TokenStream) -> TokenStream {
    match ty {
        Type::Bits(bits) if natural_bits(bits) != bits => {
            let mask = super::headers::mask(bits.into());
            quote!(#value & #mask)
        }
        _ => value,
    }
}

/// The index of an indirect counter's or meter's cell, as the runtime wants it.
fn cell(function: &Function<'_, '_>, index: &Expr) -> TokenStream {
    let value = function.values.rust(index).tokens;
    match index.ty {
        Type::Bits(bits) if bits <= 16 => quote!(usize::from(#value)),
        Type::Bits(bits) if bits <= 32 => quote!((#value) as usize),
        _ => quote!(usize::try_from(#value).unwrap_or(usize::MAX)),
    }
}

/// A meter's colour of the packet, which may have one before.
fn metered(
    function: &Function<'_, '_>,
    (field, unit): (&Ident, Unit),
    cell: &TokenStream,
    before: Option<&Argument>,
    result: Option<Place>,
) -> TokenStream {
    let units = if unit == Unit::Packets { quote!(1) } else { quote!(u64::from(packet.length)) };
    let call = match before {
        Some(Argument::In(expr)) => {
            let value = function.values.rust(expr).tokens;
            quote!(run.tables.#field.execute_aware(#cell, color_of(#value), #units, run.now_ns))
        }
        _ => quote!(run.tables.#field.execute(#cell, #units, run.now_ns)),
    };
    match result {
        Some(place) => {
            let value = quote!(value_of(#call));
            let ty = place_type(function.plan, place);
            let value = if natural(ty) == "u8" {
                value
            } else {
                let ty = natural(ty);
                quote!(#ty::from(#value))
            };
            function.values.assign(place, value, false)
        }
        None => quote!(#call;),
    }
}

/// The field of the packet's state that holds a checksum's sum.
pub(super) fn sum(plan: &Plan<'_>, of: ExternId) -> Ident {
    format_ident!("sum_of_{}", plan.externs[of.index()])
}

/// Checksums of a program.
pub(super) fn checksums<'p>(plan: &Plan<'p>) -> impl Iterator<Item = ExternId> {
    (0..plan.program.externs.len() as u32).map(ExternId).filter(|of| is_checksum(plan, *of))
}

/// RFC 1071 over 16-bit words; zeros behind a last odd byte.
fn checksum(
    function: &Function<'_, '_>,
    of: ExternId,
    name: &str,
    arguments: &[Argument],
    result: Option<Place>,
) -> TokenStream {
    let sum = sum(function.plan, of);
    let values: Vec<&Expr> = arguments
        .iter()
        .filter_map(|argument| match argument {
            Argument::In(expr) => Some(expr),
            Argument::Out(_) => None,
        })
        .collect();
    let to = |value: TokenStream| result.map(|place| function.values.assign(place, value, false)).unwrap_or_default();
    match name {
        "clear" => quote!(packet.#sum = 0;),
        "get" => to(quote!(!packet.#sum)),
        "get_state" => to(quote!(packet.#sum)),
        "set_state" => {
            let state = function.values.given(values[0]);
            quote!(packet.#sum = #state;)
        }
        "add" => {
            let parts = match whole_bytes(function, &values) {
                Some(bytes) => vec![quote!(sum_of(#bytes))],
                None => words(function, &values),
            };
            quote!(packet.#sum = fold(u64::from(packet.#sum) #(+ #parts)*);)
        }
        "subtract" => {
            let parts = words(function, &values);
            let bits: u64 = values.iter().map(|value| u64::from(value.ty.bits())).sum();
            let most = Literal::u64_unsuffixed(bits.div_ceil(16) * 0xffff);
            quote!(packet.#sum = fold(u64::from(packet.#sum) + #most #(- #parts)*);)
        }
        other => unreachable!("InternetChecksum has no method {other}"),
    }
}

/// The bytes of a header in the frame that values are, one field behind the other: whole 16-bit words.
fn whole_bytes(function: &Function<'_, '_>, values: &[&Expr]) -> Option<TokenStream> {
    let plan = function.plan;
    let field = |expr: &Expr| match expr.kind {
        ExprKind::Var(var) => plan.field_of(var),
        _ => None,
    };
    let (header, first) = field(values.first()?)?;
    let follow = values.iter().enumerate().all(|(at, expr)| field(expr) == Some((header, first + at)));
    let fields = &plan.program.headers[header.index()].fields;
    let (begin, last) = (&fields[first], fields.get(first + values.len() - 1)?);
    let (begin, end) = (begin.offset, last.offset + u32::from(last.bits));
    if !follow || !function.values.bound.contains(&header) || begin % 8 != 0 || (end - begin) % 16 != 0 {
        return None;
    }
    let name = &plan.headers[header.index()].name;
    let (begin, end) = (Literal::u32_unsuffixed(begin / 8), Literal::u32_unsuffixed(end / 8));
    Some(quote!(&#name.0[#begin..#end]))
}

/// Each value's share in each 16-bit word of the data, as a `u64`.
fn words(function: &Function<'_, '_>, values: &[&Expr]) -> Vec<TokenStream> {
    let mut parts = Vec::new();
    let mut from = 0_usize;
    for expr in values {
        let bits = usize::from(expr.ty.bits());
        let end = from + bits;
        if matches!(expr.kind, ExprKind::Const(0)) {
            from = end;
            continue;
        }
        let value = function.values.operand(expr);
        for word in from / 16..end.div_ceil(16) {
            let (first, last) = (from.max(word * 16), end.min(word * 16 + 16));
            let (right, left) = (end - last, word * 16 + 16 - last);
            let (mut part, mut open) = (value.clone(), false);
            if right > 0 {
                let right = Literal::usize_unsuffixed(right);
                (part, open) = (quote!(#part >> #right), true);
            }
            if last - first < bits {
                let mask = super::headers::mask(last - first);
                part = if open { quote!((#part) & #mask) } else { quote!(#part & #mask) };
                open = true;
            }
            part = match (bits > 64, open) {
                (true, true) => quote!(((#part) as u64)),
                (true, false) => quote!((#part as u64)),
                (false, _) => quote!(u64::from(#part)),
            };
            if left > 0 {
                let left = Literal::usize_unsuffixed(left);
                part = quote!((#part << #left));
            }
            parts.push(part);
        }
        from = end;
    }
    parts
}

/// What checksums need.
pub(super) fn folding(plan: &Plan<'_>) -> TokenStream {
    if checksums(plan).next().is_none() {
        return TokenStream::new();
    }
    quote! {
        /// A sum of 16-bit words in ones' complement (RFC 1071).
        #[inline]
        const fn fold(sum: u64) -> u16 {
            let sum = (sum >> 32) + (sum & 0xffff_ffff);
            let sum = (sum >> 16) + (sum & 0xffff);
            let sum = (sum >> 16) + (sum & 0xffff);
            let sum = (sum >> 16) + (sum & 0xffff);
            sum as u16
        }

        /// The same sum of 16-bit words by two at a time, for [`fold`].
        #[inline(always)]
        fn sum_of(bytes: &[u8]) -> u64 {
            let (pairs, rest) = bytes.as_chunks::<4>();
            let last = rest.first_chunk().map_or(0, |word| u64::from(u16::from_be_bytes(*word)));
            pairs.iter().fold(last, |sum, pair| sum + u64::from(u32::from_be_bytes(*pair)))
        }
    }
}
