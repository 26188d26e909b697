//! The control, over a burst: each packet runs up to a table whose entries may have to be fetched, and waits there. Then table by
//! table, for the packets that wait, its lookup, its action and its way to the next. What is fetched for one packet arrives while
//! others are on their way.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote};

use crate::ir::{ActionId, ExternKind, Stmt, TableId};

use super::expression::Values;
use super::function::{Block, Function};
use super::names::upper;
use super::plan::{Plan, doc, mentioned_by, natural, used_actions};
use super::split::Node;
use super::{names, split, visit, walk};

/// Longer pieces are not put in everywhere, though one table alone leads there: its visit and its beginning both would have one.
const STATEMENTS_INLINE_MAX: usize = 24;

/// `control`, its tables' visits, its pieces and the actions.
pub(super) fn emit(plan: &Plan<'_>) -> TokenStream {
    let run = emit_run(plan);
    if plan.program.control.is_none() {
        return run;
    }
    let split = &plan.split;
    let waited = || split.sites.iter().filter(|site| visit::waits(&plan.program.tables[site.table.index()]));
    let sites = waited().enumerate().map(|(at, site)| {
        let (name, at) = (site_name(plan, site.table), Literal::usize_unsuffixed(at));
        let about = doc(&format!("Waits for `{}`.", plan.program.tables[site.table.index()].name));
        quote!(#about const #name: u8 = #at;)
    });
    let count = Literal::usize_unsuffixed(waited().count());
    let actions = used_actions(plan.program).into_iter().map(|id| emit_action(plan, id));
    let start = piece(
        plan,
        &format_ident!("start"),
        &quote!(#[inline]),
        "What comes before the first table; gives the table to go to.",
        &split.start,
    );
    let joins = split.joins.iter().zip(&plan.joins).enumerate().map(|(at, (join, name))| {
        let after = &plan.program.tables[join.table.index()].name;
        let about = format!("What follows `{after}` on every way; gives the table to go to.");
        let inline = inlined(plan, |node| matches!(node, Node::Join(to) if *to == at));
        let inline = if split::statements(&join.body) > STATEMENTS_INLINE_MAX { quote!(#[inline]) } else { inline };
        piece(plan, name, &inline, &about, &join.body)
    });
    let visits = split.sites.iter().map(|site| visit::emit(plan, site));
    let calls = waited().map(|site| {
        let (name, place) = (visit_name(plan, site.table), site_name(plan, site.table));
        let frames = framed(plan, quote!(frames,));
        quote! {
            if visits.waiting[usize::from(#place)] != 0 {
                #name(packets, #frames run, &mut visits, from);
            }
        }
    });
    let about = doc(plan.program.control.as_ref().map_or("", |control| &control.doc));
    let (frames, frame_zip) = if has_frames(plan) {
        (quote!(frames: &[&[u8]],), quote!(for (packets, frames) in burst.chunks_mut(BURST).zip(frames.chunks(BURST))))
    } else {
        (TokenStream::new(), quote!(for packets in burst.chunks_mut(BURST)))
    };
    let (pattern, all) = if has_frames(plan) {
        (quote!((packet, frame)), quote!(packets.iter_mut().zip(frames)))
    } else {
        (quote!(packet), quote!(packets.iter_mut()))
    };
    let frame = framed(plan, quote!(frame,));
    let waiting = visit::emit_visits(plan);
    quote! {
        /// Packets that a table is visited with at a time.
        pub const BURST: usize = 32;
        /// Through with the control.
        const DONE: u8 = u8::MAX;
        /// Tables that packets wait for.
        const VISITS: usize = #count;
        #(#sites)*

        #waiting

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
                let mut visits = Visits::new();
                for (place, #pattern) in #all.enumerate() {
                    let next = start(packet, #frame run, &mut visits, from + place);
                    visits.wait(next, place);
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

pub(super) fn reach_name(plan: &Plan<'_>, table: TableId) -> Ident {
    format_ident!("reach_{}", plan.tables[table.index()].0)
}

pub(super) fn visit_name(plan: &Plan<'_>, table: TableId) -> Ident {
    format_ident!("visit_{}", plan.tables[table.index()].0)
}

/// How a function is put in that nodes of a kind lead to: where one does, always, so that a packet's way is straight code; where
/// several do the text would double at every such place.
pub(super) fn inlined(plan: &Plan<'_>, leads: impl Fn(&Node<'_>) -> bool) -> TokenStream {
    if plan.split.count(&leads) == 1 { quote!(#[inline(always)]) } else { quote!(#[inline]) }
}

/// A piece as a function that gives the next table.
fn piece(plan: &Plan<'_>, name: &Ident, inline: &TokenStream, about: &str, body: &[Node<'_>]) -> TokenStream {
    let mut function = Function::new(plan, Block::Control);
    let (about, body) = (doc(about), nodes(&mut function, body));
    let frame = framed(plan, quote!(frame: &[u8],));
    quote! {
        #about
        #inline
        fn #name<X: Externs>(packet: &mut Packet, #frame run: &mut Run<'_, X>, visits: &mut Visits, index: usize) -> u8 {
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
                let (name, frame) = (reach_name(plan, plan.split.sites[*site].table), framed(plan, quote!(frame,)));
                quote!(#name(packet, #frame run, visits, index))
            }
            Node::Join(join) => {
                let (name, frame) = (&plan.joins[*join], framed(plan, quote!(frame,)));
                quote!(#name(packet, #frame run, visits, index))
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
