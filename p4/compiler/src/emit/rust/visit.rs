//! The visit of one table: its loops over a burst, and what follows from what it found.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use crate::ir::{ActionId, Match, Table, TableId, Type};

use super::control::{exits, framed, has_frames, inner, nodes, site_name, visit_name};
use super::expression::{Values, plain};
use super::function::{Block, Function};
use super::names::{last, snake};
use super::parser::tuple;
use super::plan::{Plan, doc, mentioned_by};
use super::split::{After, Site};
use super::tables::{Engine, beside, engine, struct_fields, variants};

/// A loop over the packets of a burst, with their work at a table: its pattern and its iterator.
pub(super) fn each(plan: &Plan<'_>, work: bool) -> (TokenStream, TokenStream) {
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

/// The loops over a burst for one table.
pub(super) fn emit(plan: &Plan<'_>, site: &Site<'_>) -> TokenStream {
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
                if !at.iter().fold(false, |any, at| any | (*at == #at)) {
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
                if !at.iter().fold(false, |any, at| any | (*at == #at)) {
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
    let lookup_one = match engine {
        Engine::Exact => quote!(table.lookup(run.generation, &key, table.hash(&key))),
        Engine::Lpm(_) => quote!(table.lookup(run.generation, &key.0, key.1)),
        _ => quote!(table.lookup(run.generation, &key)),
    };
    let one_frame = framed(plan, quote!(let frame = frames[0];));
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

            if !at.iter().fold(false, |any, at| any | (*at == #at)) {
                return;
            }
            let table = &run.tables.#field;
            // Nothing to overlap: what a whole burst needs would cost more than the lookup.
            if let ([packet], [at, ..]) = (&mut *packets, &mut *at) {
                #one_frame
                let key = #key_of(packet, #frame);
                *at = match #lookup_one {
                    Some((entry, action)) => {
                        #touched
                        #after(packet, #frame run, from, entry.index(), true, action)
                    }
                    None => {
                        let action = run.tables.#default.read(run.generation);
                        #after(packet, #frame run, from, table.index_limit(), false, action)
                    }
                };
                return;
            }
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
