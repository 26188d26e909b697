//! The control, over a burst: what comes before the first table for every packet, then table by table, for the packets that are
//! at that table, all keys, then all lookups, then all actions.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote};

use crate::ir::{ActionId, ExternKind, Match, Stmt, Table, TableId, Type};

use super::expression::{Values, plain};
use super::function::{Block, Function};
use super::names::{last, snake, upper};
use super::parser::tuple;
use super::plan::{Plan, doc, mentioned_by, natural, used_actions};
use super::split::{After, Node, Site};
use super::tables::{Engine, beside, engine, struct_fields, variants};
use super::{names, walk};

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
    let visits = split.sites.iter().map(|site| emit_visit(plan, site));
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
    let (pattern, all) = each(plan, false);
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
fn framed(plan: &Plan<'_>, tokens: TokenStream) -> TokenStream {
    if has_frames(plan) { tokens } else { TokenStream::new() }
}

/// A loop over the packets of a burst, with their work at a table: its pattern and its iterator.
fn each(plan: &Plan<'_>, work: bool) -> (TokenStream, TokenStream) {
    let pattern = match (has_frames(plan), work) {
        (true, true) => quote!((((at, packet), frame), work)),
        (true, false) => quote!(((at, packet), frame)),
        (false, true) => quote!(((at, packet), work)),
        (false, false) => quote!((at, packet)),
    };
    let frames = framed(plan, quote!(.zip(frames)));
    let works = work.then(|| quote!(.zip(&mut works)));
    (pattern, quote!(at.iter_mut().zip(packets.iter_mut())#frames #works))
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

fn site_name(plan: &Plan<'_>, table: TableId) -> Ident {
    names::ident(&format!("AT_{}", upper(&plan.tables[table.index()].0.to_string())))
}

fn visit_name(plan: &Plan<'_>, table: TableId) -> Ident {
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
fn nodes(function: &mut Function<'_, '_>, list: &[Node<'_>]) -> TokenStream {
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
fn inner(function: &mut Function<'_, '_>, list: &[Node<'_>]) -> TokenStream {
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

fn exits(plan: &Plan<'_>, action: ActionId) -> bool {
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

/// The loops over a burst for one table.
fn emit_visit(plan: &Plan<'_>, site: &Site<'_>) -> TokenStream {
    let table = &plan.program.tables[site.table.index()];
    let (field, key_type, action_type) = &plan.tables[site.table.index()];
    let (at, visit) = (site_name(plan, site.table), visit_name(plan, site.table));
    let (default, idle) = beside(plan, site.table);
    let engine = engine(table);
    let key_of = format_ident!("key_of_{field}");
    let after = format_ident!("apply_{field}");
    let about = doc(&format!("`{}`, for the packets that are there.", table.name));
    let (frames, frame_parameter, frame) =
        (framed(plan, quote!(frames: &[&[u8]],)), framed(plan, quote!(frame: &[u8],)), framed(plan, quote!(frame,)));
    let applied = emit_apply(plan, site, &after);
    if engine == Engine::Keyless {
        let (pattern, all) = each(plan, false);
        return quote! {
            #applied

            #about
            fn #visit<X: Externs>(at: &mut [u8; BURST], packets: &mut [Packet], #frames run: &mut Run<'_, X>, from: usize) {
                if !at.contains(&#at) {
                    return;
                }
                let action = run.tables.#default.read(run.generation);
                for (place, #pattern) in #all.enumerate() {
                    if *at == #at {
                        *at = #after(packet, #frame run, from + place, 0, false, action);
                    }
                }
            }
        };
    }

    if is_constant(table) {
        let (find, found) = emit_find(plan, site.table);
        let (pattern, all) = each(plan, false);
        return quote! {
            #find

            #applied

            #about
            fn #visit<X: Externs>(at: &mut [u8; BURST], packets: &mut [Packet], #frames run: &mut Run<'_, X>, from: usize) {
                if !at.contains(&#at) {
                    return;
                }
                let miss = run.tables.#default.read(run.generation);
                for (place, #pattern) in #all.enumerate() {
                    if *at == #at {
                        *at = match #found(packet, #frame) {
                            Some(action) => #after(packet, #frame run, from + place, 0, true, action),
                            None => #after(packet, #frame run, from + place, 0, false, miss),
                        };
                    }
                }
            }
        };
    }

    let fields = struct_fields(table);
    let values = Values::new(plan);
    let parts = fields.iter().map(|(at, name, _)| {
        let value = values.given(&table.keys[*at].expr);
        quote!(#name: #value)
    });
    let exact = if fields.is_empty() { quote!([]) } else { quote!(#key_type { #(#parts),* }) };
    let exact_type = if fields.is_empty() { quote!([u64; 0]) } else { quote!(#key_type) };
    let zero = if fields.is_empty() { quote!([]) } else { quote!(#key_type::ZERO) };
    let (key, ty, zero) = match engine {
        Engine::Lpm(at) => {
            let of = &table.keys[at].expr;
            let value = values.rust(of).tokens;
            let value = if of.ty == Type::Bits(128) { value } else { quote!(u128::from(#value)) };
            (quote!((#exact, #value)), quote!((#exact_type, u128)), quote!((#zero, 0)))
        }
        _ => (exact, exact_type, zero),
    };
    let (prefetch, lookup) = match engine {
        Engine::Exact => (
            quote! {
                work.hash = table.hash(&work.key);
                run.externs.prefetch(table.bucket(work.hash));
            },
            quote!(table.lookup(run.generation, &work.key, work.hash)),
        ),
        Engine::Lpm(_) => (
            quote! {
                let hash = table.hash(&work.key.0, work.key.1);
                run.externs.prefetch(table.bucket(hash));
            },
            quote!(table.lookup(run.generation, &work.key.0, work.key.1)),
        ),
        Engine::Ternary => (
            quote!(table.lines(&work.key, |line| run.externs.prefetch(line));),
            quote!(table.lookup(run.generation, &work.key)),
        ),
        Engine::Keyless => unreachable!("returned above"),
    };
    let (hash_field, hash_zero) =
        if engine == Engine::Exact { (quote!(hash: u64,), quote!(hash: 0,)) } else { (quote!(), quote!()) };
    let touched = table.idle_timeout.then(|| quote!(run.tables.#idle.touch(entry, run.now_ns);));
    let (pattern, all) = each(plan, true);
    quote! {
        /// What is looked up.
        #[inline]
        fn #key_of(packet: &Packet, #frame_parameter) -> #ty {
            #key
        }

        #applied

        #about
        fn #visit<X: Externs>(at: &mut [u8; BURST], packets: &mut [Packet], #frames run: &mut Run<'_, X>, from: usize) {
            #[derive(Clone, Copy)]
            struct Work {
                key: #ty,
                #hash_field
                found: Option<(gantry_table::EntryIndex, #action_type)>,
            }

            if !at.contains(&#at) {
                return;
            }
            let table = &run.tables.#field;
            let mut works = [Work { key: #zero, #hash_zero found: None }; BURST];
            for #pattern in #all {
                if *at == #at {
                    work.key = #key_of(packet, #frame);
                    #prefetch
                }
            }
            for (at, work) in at.iter().zip(&mut works) {
                if *at == #at {
                    work.found = #lookup;
                }
            }
            let miss = (table.index_limit(), run.tables.#default.read(run.generation));
            for (place, #pattern) in #all.enumerate() {
                if *at == #at {
                    *at = match work.found {
                        Some((entry, action)) => {
                            #touched
                            #after(packet, #frame run, from + place, entry.index(), true, action)
                        }
                        None => #after(packet, #frame run, from + place, miss.0, false, miss.1),
                    };
                }
            }
        }
    }
}

/// A table whose entries are known when it is compiled, and of which nothing is counted by entry: a `match` finds them.
fn is_constant(table: &Table) -> bool {
    engine(table) == Engine::Exact && table.const_entries && table.direct.is_empty() && !table.idle_timeout
}

/// The lookup in such a table as a function, and its name.
fn emit_find(plan: &Plan<'_>, id: TableId) -> (TokenStream, Ident) {
    let table = &plan.program.tables[id.index()];
    let (field, _, action_type) = &plan.tables[id.index()];
    let (name, variants, values) = (format_ident!("find_{field}"), variants(plan, table), Values::new(plan));
    let arms = table.entries.iter().map(|entry| {
        let wanted = entry.matches.iter().zip(&table.keys).map(|(wanted, key)| match wanted {
            Match::Value(value) => plain(*value, key.expr.ty),
            other => unreachable!("an exact key with {other:?}"),
        });
        let wanted: Vec<_> = wanted.collect();
        let variant =
            variants.iter().find(|variant| variant.action == entry.action.index()).expect("an action of the table");
        let fields = variant.parameters.iter().zip(&entry.arguments).map(|((name, var), value)| {
            let value = plain(*value, plan.program.vars[var.index()].ty);
            quote!(#name: #value)
        });
        let fields: Vec<_> = fields.collect();
        let (case, pattern) = (&variant.name, tuple(&wanted));
        let with = (!fields.is_empty()).then(|| quote!({ #(#fields),* }));
        quote!(#pattern => Some(#action_type::#case #with),)
    });
    let keys: Vec<_> = table.keys.iter().map(|key| values.rust(&key.expr).tokens).collect();
    let (key, frame) = (tuple(&keys), framed(plan, quote!(frame: &[u8],)));
    let about = doc(&format!("The entry of `{}`, all of which the program brings.", table.name));
    let find = quote! {
        #about
        #[inline]
        fn #name(packet: &Packet, #frame) -> Option<#action_type> {
            match #key {
                #(#arms)*
                _ => None,
            }
        }
    };
    (find, name)
}

/// The action that a table found, and what depends on the outcome.
fn emit_apply(plan: &Plan<'_>, site: &Site<'_>, name: &Ident) -> TokenStream {
    let table = &plan.program.tables[site.table.index()];
    let action_type = &plan.tables[site.table.index()].2;
    let variants = variants(plan, table);
    let any_exits = variants.iter().any(|variant| exits(plan, ActionId(variant.action as u32)));
    let frame = framed(plan, quote!(frame,));
    let arms = variants.iter().map(|variant| {
        let (action, case) = (&plan.actions[variant.action], &variant.name);
        let fields: Vec<_> = variant.parameters.iter().map(|(field, _)| field).collect();
        let pattern = if fields.is_empty() { quote!() } else { quote!({ #(#fields),* }) };
        let call = quote!(#action(packet, #frame run, index, entry #(, #fields)*));
        let call = match (any_exits, exits(plan, ActionId(variant.action as u32))) {
            (true, false) => quote!({ #call; false }),
            _ => quote!(#call),
        };
        quote!(#action_type::#case #pattern => #call,)
    });
    let act = quote!(match action { #(#arms)* });
    let act = if any_exits { quote!(let exited = #act; if exited { return DONE; }) } else { quote!(#act) };
    let mut function = Function::new(plan, Block::Control);
    let after = match &site.after {
        After::Any(list) => nodes(&mut function, list),
        After::Hit { hit, miss } => {
            let declared = function.declare([mentioned_by(hit), mentioned_by(miss)].concat());
            let (hit, miss) = (inner(&mut function, hit), inner(&mut function, miss));
            quote!(#declared if hit { #hit } else { #miss })
        }
        After::Action { cases, otherwise } => {
            let mut vars = mentioned_by(otherwise);
            cases.iter().for_each(|(_, body)| vars.extend(mentioned_by(body)));
            let declared = function.declare(vars);
            let arms = cases.iter().map(|(of, body)| {
                let patterns = of.iter().filter_map(|action| {
                    let variant = variants.iter().find(|variant| variant.action == action.index())?;
                    let case = &variant.name;
                    let ignored = if variant.parameters.is_empty() { quote!() } else { quote!({ .. }) };
                    Some(quote!(#action_type::#case #ignored))
                });
                let patterns: Vec<_> = patterns.collect();
                let body = inner(&mut function, body);
                quote!(#(#patterns)|* => { #body })
            });
            let arms: Vec<_> = arms.collect();
            let otherwise = inner(&mut function, otherwise);
            quote!(#declared match action { #(#arms)* _ => { #otherwise } })
        }
    };
    let frame_parameter = framed(plan, quote!(frame: &[u8],));
    let about = doc(&format!("What `{}` found is done; gives the table to go to.", snake(last(&table.name))));
    quote! {
        #about
        #[inline]
        fn #name<X: Externs>(
            packet: &mut Packet,
            #frame_parameter
            run: &mut Run<'_, X>,
            index: usize,
            entry: usize,
            hit: bool,
            action: #action_type,
        ) -> u8 {
            #act
            #after
        }
    }
}
