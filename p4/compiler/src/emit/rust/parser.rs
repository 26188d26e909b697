//! The parser: a function for each state, which the compiler puts into one another, so that every path is straight code with known
//! offsets.

use proc_macro2::{Literal, TokenStream};
use quote::quote;

use crate::ir::{Expr, Match, Parser, State, StateId, Stmt, Target, Transition, Type};

use super::expression::plain;
use super::function::{Block, Function};
use super::headers::{bytes, hex};
use super::plan::{Home, Plan, variables};
use super::{externs, walk};

/// States put into one another along all paths are at most so many; with more of them each stays a function of its own.
const STATES_INLINE_MAX: usize = 96;

/// `parse` and its states.
pub(super) fn emit(plan: &Plan<'_>) -> TokenStream {
    let Some(parser) = &plan.program.parser else { return TokenStream::new() };
    let calls = externs::parser_calls(plan);
    let inline = if copies(parser) <= STATES_INLINE_MAX { quote!(#[inline(always)]) } else { quote!(#[inline]) };
    let states = parser.states.iter().enumerate().map(|(index, state)| {
        let name = &plan.states[index];
        let body = emit_state(plan, state, calls);
        let about = super::plan::doc(&format!("State `{}`.", state.name));
        let (generics, extra) = externs::parameters(calls);
        quote! {
            #about
            #inline
            fn #name #generics(frame: &[u8], mut at: usize, packet: &mut Packet #extra) -> Result<(), ParserError> {
                #body
            }
        }
    });
    let start = &plan.states[0];
    let told = plan.program.parser_error.map(|var| match &plan.homes[var.index()] {
        Home::Metadata(name) => {
            let ty = super::plan::natural(plan.program.vars[var.index()].ty);
            quote!(packet.metadata.#name = result.err().map_or(0, |error| error as #ty);)
        }
        _ => unreachable!("the parser's error is metadata"),
    });
    let (generics, extra) = externs::parameters(calls);
    let passed = externs::passed(calls);
    let about = super::plan::doc(&parser.doc);
    let longest = longest(plan, parser);
    let limit = longest.is_none().then(|| {
        quote! {
            // Offsets have 16 bits.
            let frame = frame.get(..usize::from(ABSENT) - 1).unwrap_or(frame);
        }
    });
    let walk = match longest {
        Some(longest) if copies(parser) <= STATES_INLINE_MAX => {
            let longest = Literal::usize_unsuffixed(longest);
            quote! {
                // Where the frame is as long as the longest path no header on it needs a check: the states are compiled twice.
                let result = if frame.len() >= #longest {
                    #start(frame, 0, packet #passed)
                } else {
                    #start(frame, 0, packet #passed)
                };
            }
        }
        _ => quote!(let result = #start(frame, 0, packet #passed);),
    };
    quote! {
        /// The `N` bits' bytes from `at` on, `length` of them, zeros behind.
        #[inline(always)]
        fn peek<const N: usize>(frame: &[u8], at: usize, length: usize) -> Result<[u8; N], ParserError> {
            let from = frame.get(at..at + length).ok_or(ParserError::PacketTooShort)?;
            let mut bytes = [0; N];
            bytes.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            Ok(bytes)
        }

        #(#states)*

        #about
        ///
        /// `packet` is as [`Packet::default`] or [`Packet::reset`] makes it, with the inputs of the architecture in its metadata.
        ///
        /// # Errors
        /// Why the parser rejects the frame; [`ParserError::NoError`] where a state leads to `reject` itself. What it found until then
        /// stays in `packet`.
        #[inline]
        pub fn parse #generics(frame: &[u8], packet: &mut Packet #extra) -> Result<(), ParserError> {
            packet.length = frame.len() as u32;
            #limit
            #walk
            #told
            result
        }
    }
}

fn emit_state(plan: &Plan<'_>, state: &State, calls: bool) -> TokenStream {
    let mut function = Function::new(plan, Block::Parser);
    let body: Vec<&Stmt> = state.body.iter().collect();
    let tokens = function.top(&body);
    match &state.transition {
        Transition::To(target) => {
            let target = to(plan, *target, calls);
            quote!(#tokens #target)
        }
        Transition::Select { keys, cases } => {
            let declared = function.declare(keys.iter().flat_map(variables).collect());
            let select = select(plan, &function, keys, cases, calls);
            quote!(#tokens #declared #select)
        }
    }
}

fn to(plan: &Plan<'_>, target: Target, calls: bool) -> TokenStream {
    match target {
        Target::State(StateId(state)) => {
            let (name, passed) = (&plan.states[state as usize], externs::passed(calls));
            quote!(#name(frame, at, packet #passed))
        }
        Target::Accept => quote!(Ok(())),
        Target::Reject => {
            let error = plan.error("NoError");
            quote!(Err(#error))
        }
    }
}

fn select(
    plan: &Plan<'_>,
    function: &Function<'_, '_>,
    keys: &[Expr],
    cases: &[(Vec<Match>, Target)],
    calls: bool,
) -> TokenStream {
    let names = (0..keys.len()).map(|key| quote::format_ident!("key_{key}")).collect::<Vec<_>>();
    let arms = cases.iter().map(|(matches, target)| {
        let mut guards = Vec::new();
        let patterns = matches.iter().zip(keys).zip(&names).map(|((wanted, key), name)| match *wanted {
            Match::Any => quote!(_),
            Match::Value(value) => plain(value, key.ty),
            Match::Range { low, high } => {
                let (low, high) = (plain(low, key.ty), plain(high, key.ty));
                quote!(#low..=#high)
            }
            Match::Mask { value, mask } => masked(key.ty, value, mask, name, &mut guards),
            Match::Prefix { value, length } => {
                let mask = key.ty.mask() & !key.ty.mask().checked_shr(length.into()).unwrap_or(0);
                masked(key.ty, value, mask, name, &mut guards)
            }
        });
        let patterns: Vec<_> = patterns.collect();
        let pattern = tuple(&patterns);
        let guard = (!guards.is_empty()).then(|| quote!(if #(#guards)&&*));
        let target = to(plan, *target, calls);
        quote!(#pattern #guard => #target,)
    });
    let arms: Vec<_> = arms.collect();
    let values: Vec<_> = keys.iter().map(|key| function.values.rust(key).tokens).collect();
    let value = tuple(&values);
    let ends = cases.iter().any(|(matches, _)| matches.iter().all(|wanted| *wanted == Match::Any));
    let none = (!ends).then(|| {
        let error = plan.error("NoMatch");
        quote!(_ => Err(#error),)
    });
    quote!(match #value { #(#arms)* #none })
}

fn masked(ty: Type, value: u128, mask: u128, name: &proc_macro2::Ident, guards: &mut Vec<TokenStream>) -> TokenStream {
    if ty == Type::Bool {
        // One bit counts or does not.
        return if mask == 0 { quote!(_) } else { plain(value & mask, ty) };
    }
    let (value, mask) = (hex(value & mask), hex(mask));
    guards.push(quote!(#name & #mask == #value));
    quote!(#name)
}

/// One thing is itself, several are a tuple.
pub(super) fn tuple(parts: &[TokenStream]) -> TokenStream {
    match parts {
        [one] => one.clone(),
        several => quote!((#(#several),*)),
    }
}

/// How many states there are when each is put in where it is gone to.
fn copies(parser: &Parser) -> usize {
    let mut copies = vec![0_usize; parser.states.len()];
    for (index, state) in parser.states.iter().enumerate().rev() {
        let targets: Vec<Target> = match &state.transition {
            Transition::To(target) => vec![*target],
            Transition::Select { cases, .. } => cases.iter().map(|(_, target)| *target).collect(),
        };
        let inside = targets.iter().map(|target| match target {
            Target::State(next) => copies[next.index()],
            _ => 0,
        });
        copies[index] = inside.fold(1, usize::saturating_add);
    }
    copies.first().copied().unwrap_or(0)
}

/// Bytes of the longest path, if none is skipped by a computed number or looked at ahead.
fn longest(plan: &Plan<'_>, parser: &Parser) -> Option<usize> {
    let mut longest = vec![0_usize; parser.states.len()];
    for (index, state) in parser.states.iter().enumerate().rev() {
        let mut own = 0;
        let mut fixed = true;
        walk::nested(&state.body, &mut |stmt| match stmt {
            Stmt::Extract(header) => own += bytes(&plan.program.headers[header.index()]),
            Stmt::Advance(bits) => match bits.kind {
                crate::ir::ExprKind::Const(bits) => own += (bits / 8).min(1 << 16) as usize,
                _ => fixed = false,
            },
            _ => {}
        });
        if !fixed {
            return None;
        }
        let targets: Vec<Target> = match &state.transition {
            Transition::To(target) => vec![*target],
            Transition::Select { cases, .. } => cases.iter().map(|(_, target)| *target).collect(),
        };
        let next = targets.iter().map(|target| match target {
            Target::State(next) => longest[next.index()],
            _ => 0,
        });
        longest[index] = own + next.max().unwrap_or(0);
    }
    let whole = longest.first().copied()?;
    (whole < usize::from(u16::MAX)).then_some(whole)
}
