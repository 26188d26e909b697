//! The control, over a burst: what comes before the first table for every packet, then table by table, for the packets that are
//! at that table, all keys, then all lookups, then all actions.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote};

use crate::ir::{ActionId, ExternKind, Stmt, TableId};

use super::expression::Values;
use super::function::{Block, Function};
use super::names::upper;
use super::plan::{Plan, doc, mentioned_by, natural, used_actions};
use super::split::Node;
use super::{names, visit, walk};

/// `control`, its tables' visits, its pieces and the actions.
pub(super) fn emit(plan: &Plan<'_>) -> TokenStream {
    let run = emit_run(plan);
    if plan.program.control.is_none() {
        return run;
    }
    let split = &plan.split;
    let sites = split.sites.iter().enumerate().map(|(at, site)| {
        let (name, at) = (site_name(plan, site.table), Literal::usize_unsuffixed(at));
        let about = doc(&format!("At `{}`.", plan.program.tables[site.table.index()].name));
        quote!(#about const #name: u8 = #at;)
    });
    let actions = used_actions(plan.program).into_iter().map(|id| emit_action(plan, id));
    let start = piece(
        plan,
        &format_ident!("start"),
        "What comes before the first table; gives the table to go to.",
        &split.start,
    );
    let joins = split.joins.iter().zip(&plan.joins).map(|(join, name)| {
        let after = &plan.program.tables[join.table.index()].name;
        piece(plan, name, &format!("What follows `{after}` on every way; gives the table to go to."), &join.body)
    });
    let visits = split.sites.iter().map(|site| visit::emit(plan, site));
    let calls = split.sites.iter().map(|site| {
        let name = visit_name(plan, site.table);
        let frames = framed(plan, quote!(frames,));
        quote!(#name(&mut at, packets, #frames run, from);)
    });
    let about = doc(plan.program.control.as_ref().map_or("", |control| &control.doc));
    let (frames, frame_zip) = if has_frames(plan) {
        (quote!(frames: &[&[u8]],), quote!(for (packets, frames) in burst.chunks_mut(BURST).zip(frames.chunks(BURST))))
    } else {
        (TokenStream::new(), quote!(for packets in burst.chunks_mut(BURST)))
    };
    let (pattern, all) = visit::each(plan, false);
    let frame = framed(plan, quote!(frame,));
    quote! {
        /// Packets that a table is visited with at a time.
        pub const BURST: usize = 32;
        /// Through with the control.
        const DONE: u8 = u8::MAX;
        #(#sites)*

        #run

        #(#actions)*
        #start
        #(#joins)*
        #(#visits)*

        #about
        ///
        /// Runs over a burst, each packet with its frame as [`parse`] left it. Longer bursts than [`BURST`] are taken in parts.
        pub fn control<X: Externs>(burst: &mut [Packet], #frames run: &mut Run<'_, X>) {
            let mut from = 0;
            #frame_zip {
                let mut at = [DONE; BURST];
                for (place, #pattern) in #all.enumerate() {
                    *at = start(packet, #frame run, from + place);
                }
                #(#calls)*
                from += BURST;
            }
        }
    }
}

/// Whether pieces and actions are handed the frame: a program without headers has none.
pub(super) fn has_frames(plan: &Plan<'_>) -> bool {
    !plan.headers.is_empty()
}

/// The tokens, if there are frames.
pub(super) fn framed(plan: &Plan<'_>, tokens: TokenStream) -> TokenStream {
    if has_frames(plan) { tokens } else { TokenStream::new() }
}

/// What the control works with, and colours as the program has them.
fn emit_run(plan: &Plan<'_>) -> TokenStream {
    let metered = plan
        .program
        .externs
        .iter()
        .any(|of| matches!(of.kind, ExternKind::Meter { .. } | ExternKind::DirectMeter { .. }));
    let colors = metered.then(|| {
        let members =
            plan.program.enums.iter().filter(|of| of.name.ends_with("MeterColor_t")).flat_map(|of| &of.members);
        let value = |name: &str, other: u128| {
            let found = members.clone().find(|(member, _)| member == name).map_or(other, |(_, value)| *value);
            Literal::u128_unsuffixed(found)
        };
        let (red, green, yellow) = (value("RED", 0), value("GREEN", 1), value("YELLOW", 2));
        quote! {
            /// A meter's colour by the value that the program has for it.
            #[inline]
            const fn value_of(color: gantry_table::Color) -> u8 {
                match color {
                    gantry_table::Color::Red => #red,
                    gantry_table::Color::Green => #green,
                    gantry_table::Color::Yellow => #yellow,
                }
            }

            /// The colour with a value; what has none is red.
            #[inline]
            const fn color_of(value: u8) -> gantry_table::Color {
                match value {
                    #green => gantry_table::Color::Green,
                    #yellow => gantry_table::Color::Yellow,
                    _ => gantry_table::Color::Red,
                }
            }
        }
    });
    quote! {
        /// What a burst is run with.
        pub struct Run<'a, X> {
            /// The tables.
            pub tables: &'a Tables,
            /// The lcore's counters.
            pub banks: &'a mut Banks,
            /// The generation that the lcore has entered.
            pub generation: gantry_table::Generation,
            /// The instant, for meters and idle times.
            pub now_ns: u64,
            /// What the program calls.
            pub externs: &'a mut X,
        }

        #colors
    }
}

pub(super) fn site_name(plan: &Plan<'_>, table: TableId) -> Ident {
    names::ident(&format!("AT_{}", upper(&plan.tables[table.index()].0.to_string())))
}

pub(super) fn visit_name(plan: &Plan<'_>, table: TableId) -> Ident {
    format_ident!("visit_{}", plan.tables[table.index()].0)
}

/// A piece as a function that gives the next table.
fn piece(plan: &Plan<'_>, name: &Ident, about: &str, body: &[Node<'_>]) -> TokenStream {
    let mut function = Function::new(plan, Block::Control);
    let (about, body) = (doc(about), nodes(&mut function, body));
    let frame = framed(plan, quote!(frame: &[u8],));
    quote! {
        #about
        #[inline]
        fn #name<X: Externs>(packet: &mut Packet, #frame run: &mut Run<'_, X>, index: usize) -> u8 {
            #body
        }
    }
}

/// Nodes at the top of a function, the last of which is its value.
pub(super) fn nodes(function: &mut Function<'_, '_>, list: &[Node<'_>]) -> TokenStream {
    let plain: Vec<&Stmt> = list
        .iter()
        .map_while(|node| match node {
            Node::Plain(stmt) => Some(*stmt),
            _ => None,
        })
        .collect();
    let mut tokens = function.top(&plain);
    let rest = &list[plain.len()..];
    tokens.extend(function.declare(mentioned_by(rest)));
    tokens.extend(inner(function, rest));
    tokens
}

/// Nodes whose locals are declared.
pub(super) fn inner(function: &mut Function<'_, '_>, list: &[Node<'_>]) -> TokenStream {
    let plan = function.plan;
    let changed = function.values.changed.borrow().clone();
    let tokens = list
        .iter()
        .map(|node| match node {
            Node::Plain(stmt) => function.statement(stmt),
            Node::If { condition, then, otherwise } => {
                let condition = function.values.given(condition);
                let (then, otherwise) = (inner(function, then), inner(function, otherwise));
                quote!(if #condition { #then } else { #otherwise })
            }
            Node::Site(site) => {
                let name = site_name(plan, plan.split.sites[*site].table);
                quote!(#name)
            }
            Node::Join(join) => {
                let (name, frame) = (&plan.joins[*join], framed(plan, quote!(frame,)));
                quote!(#name(packet, #frame run, index))
            }
            Node::Done => quote!(DONE),
        })
        .collect();
    // What is known only on this way ends there.
    function.values.changed.replace(changed);
    tokens
}

pub(super) fn exits(plan: &Plan<'_>, action: ActionId) -> bool {
    walk::any(&plan.program.actions[action.index()].body, |stmt| matches!(stmt, Stmt::Exit))
}

/// An action as a function.
fn emit_action(plan: &Plan<'_>, id: ActionId) -> TokenStream {
    let action = &plan.program.actions[id.index()];
    let exits = exits(plan, id);
    let mut function = Function::new(plan, Block::Action { exits });
    let statements: Vec<&Stmt> = action.body.iter().collect();
    let body = function.top(&statements);
    let parameters = action.parameters.iter().map(|var| {
        let (name, ty) = (Values::new(plan).variable(*var), natural(plan.program.vars[var.index()].ty));
        let mutable = plan.written.contains(var).then(|| quote!(mut));
        quote!(#mutable #name: #ty)
    });
    let brief = &action.notes.brief;
    let about =
        doc(&if brief.is_empty() { format!("`{}`.", action.name) } else { format!("`{}`: {brief}", action.name) });
    let (name, frame) = (&plan.actions[id.index()], framed(plan, quote!(frame: &[u8],)));
    let result = exits.then(|| quote!(-> bool));
    let end = match statements.last() {
        Some(Stmt::Exit | Stmt::Return) => None,
        _ => exits.then(|| quote!(false)),
    };
    quote! {
        #about
        #[inline]
        fn #name<X: Externs>(
            packet: &mut Packet,
            #frame
            run: &mut Run<'_, X>,
            index: usize,
            entry: usize
            #(, #parameters)*
        ) #result {
            #body
            #end
        }
    }
}
