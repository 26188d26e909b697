//! One table: how packets come to it, the loops over those that wait for it, and what follows from what it found.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use crate::ir::{ActionId, Match, Table, TableId, Type};

use super::control::{exits, framed, inlined, inner, nodes, reach_name, site_name, visit_name};
use super::expression::{Values, plain};
use super::function::{Block, Function};
use super::names::{last, snake};
use super::parser::tuple;
use super::plan::{Plan, doc, mentioned_by};
use super::split::{After, Node, Site};
use super::tables::{Engine, beside, engine, struct_fields, variants};

/// Keys of more bits than these cost more to hash and to look up than to compare with the last one.
const BITS_HASHED_ALWAYS: u32 = 64;

/// How a packet comes to one table, and the loop over the packets that wait for it.
pub(super) fn emit(plan: &Plan<'_>, site: &Site<'_>) -> TokenStream {
    let table = &plan.program.tables[site.table.index()];
    let applied = emit_apply(plan, site);
    let ways = if waits(table) {
        let (found, visit, reach) = (emit_found(plan, site), emit_visit(plan, site), emit_waiting_reach(plan, site));
        quote!(#found #visit #reach)
    } else if engine(table) == Engine::Keyless {
        let default = default_of(plan, site.table);
        emit_reach(plan, site, "Nothing is looked up", &quote!((false, #default)))
    } else {
        let (find, name) = emit_find(plan, site.table);
        let (default, frame) = (default_of(plan, site.table), framed(plan, quote!(frame,)));
        let found = quote! {
            match #name(packet, #frame) {
                Some(action) => (true, action),
                None => (false, #default),
            }
        };
        let reach = emit_reach(plan, site, "The program has all entries", &found);
        quote!(#find #reach)
    };
    quote!(#applied #ways)
}

/// Whether the last key is kept for the next packet.
fn is_wide(table: &Table) -> bool {
    let bits: u32 = table.keys.iter().map(|key| u32::from(key.expr.ty.bits())).sum();
    engine(table) != Engine::Exact || bits > BITS_HASHED_ALWAYS
}

/// What keeps the last key, in `Visits`.
fn last_name(plan: &Plan<'_>, id: TableId) -> Ident {
    format_ident!("last_{}", plan.tables[id.index()].0)
}

/// The type of a key, as it is looked up.
fn key_type(plan: &Plan<'_>, id: TableId) -> TokenStream {
    let table = &plan.program.tables[id.index()];
    let key = &plan.tables[id.index()].1;
    let exact = if struct_fields(table).is_empty() { quote!([u64; 0]) } else { quote!(#key) };
    if let Engine::Lpm(_) = engine(table) { quote!((#exact, u128)) } else { exact }
}

/// `Visits`: which packets wait, and the last keys.
pub(super) fn emit_visits(plan: &Plan<'_>) -> TokenStream {
    let wide = || {
        plan.split.sites.iter().map(|site| site.table).filter(|id| {
            let table = &plan.program.tables[id.index()];
            waits(table) && is_wide(table)
        })
    };
    let lasts = wide().map(|id| {
        let (last, key, action) = (last_name(plan, id), key_type(plan, id), &plan.tables[id.index()].2);
        let about =
            doc(&format!("The key looked up last in `{}`, and what was found.", plan.program.tables[id.index()].name));
        quote!(#about #last: Option<(#key, Option<(gantry_table::EntryIndex, #action)>)>,)
    });
    let nones = wide().map(|id| last_name(plan, id));
    quote! {
        /// What packets of a burst wait for, and what packets before them found.
        struct Visits {
            /// For each table that packets wait for a bit for each of them.
            waiting: [u32; VISITS],
            #(#lasts)*
        }

        impl Visits {
            #[inline(always)]
            fn new() -> Self {
                Self { waiting: [0; VISITS], #(#nones: None,)* }
            }

            /// Notes what a packet waits for, if it does.
            #[inline(always)]
            fn wait(&mut self, next: u8, place: usize) {
                if let Some(waiting) = self.waiting.get_mut(usize::from(next)) {
                    *waiting |= 1 << place;
                }
            }
        }
    }
}

/// A packet comes to a table that does not look anything up in memory.
fn emit_reach(plan: &Plan<'_>, site: &Site<'_>, why: &str, found: &TokenStream) -> TokenStream {
    let (after, frame) = (apply_name(plan, site.table), framed(plan, quote!(frame,)));
    let body = quote! {
        let (hit, action) = #found;
        #after(packet, #frame run, visits, index, 0, hit, action)
    };
    emit_reached(plan, site, why, &body)
}

/// The function that a packet goes through when it comes to a table: why it does what it does, and what.
fn emit_reached(plan: &Plan<'_>, site: &Site<'_>, why: &str, body: &TokenStream) -> TokenStream {
    let table = &plan.program.tables[site.table.index()];
    let about = doc(&format!("A packet comes to `{}`; gives the table to go to.\n\n{why}.", table.name));
    let (inline, reach) = (reach_inline(plan, site), reach_name(plan, site.table));
    let frame_parameter = framed(plan, quote!(frame: &[u8],));
    quote! {
        #about
        #inline
        fn #reach<X: Externs>(
            packet: &mut Packet,
            #frame_parameter
            run: &mut Run<'_, X>,
            visits: &mut Visits,
            index: usize,
        ) -> u8 {
            #body
        }
    }
}

/// A packet comes to a table that may have to be fetched.
fn emit_waiting_reach(plan: &Plan<'_>, site: &Site<'_>) -> TokenStream {
    let table = &plan.program.tables[site.table.index()];
    let field = &plan.tables[site.table.index()].0;
    let (found, at) = (format_ident!("found_{field}"), site_name(plan, site.table));
    let frame = framed(plan, quote!(frame,));
    let key_of = format_ident!("key_of_{field}");
    let lookup = lookup(table);
    let prefetch = match engine(table) {
        Engine::Exact => quote!(run.externs.prefetch(table.bucket(table.hash(&key)));),
        Engine::Lpm(_) => quote!(run.externs.prefetch(table.bucket(table.hash(&key.0, key.1)));),
        Engine::Ternary => quote!(table.lines(&key, |line| run.externs.prefetch(line));),
        Engine::Keyless => unreachable!("nothing waits for it"),
    };
    let (told, body) = if is_wide(table) {
        let last = last_name(plan, site.table);
        let body = quote! {
            let found = if table.is_vacant() {
                None
            } else {
                let key = #key_of(packet, #frame);
                match visits.#last {
                    Some((last, found)) if last == key => found,
                    Some(_) if !table.is_small() => {
                        #prefetch
                        return #at;
                    }
                    _ => {
                        let found = #lookup;
                        visits.#last = Some((key, found));
                        found
                    }
                }
            };
            #found(packet, #frame run, visits, index, found)
        };
        ("Where there are few entries or none, or with the last key, or first of its burst,", body)
    } else {
        let body = quote! {
            let found = if table.is_vacant() {
                None
            } else {
                let key = #key_of(packet, #frame);
                if !table.is_small() {
                    #prefetch
                    return #at;
                }
                #lookup
            };
            #found(packet, #frame run, visits, index, found)
        };
        ("Where there are few entries or none", body)
    };
    let body = quote! {
        let table = &run.tables.#field;
        #body
    };
    emit_reached(plan, site, &format!("{told} it goes through at once, else it waits"), &body)
}

fn reach_inline(plan: &Plan<'_>, site: &Site<'_>) -> TokenStream {
    inlined(plan, |node| matches!(node, Node::Site(at) if plan.split.sites[*at].table == site.table))
}

fn apply_name(plan: &Plan<'_>, id: TableId) -> Ident {
    format_ident!("apply_{}", plan.tables[id.index()].0)
}

/// What is found for a `key` in a `table`.
fn lookup(table: &Table) -> TokenStream {
    match engine(table) {
        Engine::Exact => quote!(table.lookup(run.generation, &key, table.hash(&key))),
        Engine::Lpm(_) => quote!(table.lookup(run.generation, &key.0, key.1)),
        _ => quote!(table.lookup(run.generation, &key)),
    }
}

/// The value of a table's default action.
fn default_of(plan: &Plan<'_>, id: TableId) -> TokenStream {
    let action_type = &plan.tables[id.index()].2;
    if plan.program.tables[id.index()].const_default {
        return quote!(#action_type::DEFAULT);
    }
    let (default, _) = beside(plan, id);
    quote!(run.tables.#default.read(run.generation))
}

/// What follows from an entry, or from none.
fn emit_found(plan: &Plan<'_>, site: &Site<'_>) -> TokenStream {
    let table = &plan.program.tables[site.table.index()];
    let (field, _, action_type) = &plan.tables[site.table.index()];
    let (found, after) = (format_ident!("found_{field}"), apply_name(plan, site.table));
    let (_, idle) = beside(plan, site.table);
    let (frame_parameter, frame) = (framed(plan, quote!(frame: &[u8],)), framed(plan, quote!(frame,)));
    let default = default_of(plan, site.table);
    // Only what is kept by entry asks where the default action's is.
    let limit = if table.direct.is_empty() { quote!(0) } else { quote!(run.tables.#field.index_limit()) };
    let touched = table.idle_timeout.then(|| quote!(run.tables.#idle.touch(entry, run.now_ns);));
    let about = doc(&format!("An entry of `{}` or none was found; gives the table to go to.", table.name));
    quote! {
        #about
        #[inline(always)]
        fn #found<X: Externs>(
            packet: &mut Packet,
            #frame_parameter
            run: &mut Run<'_, X>,
            visits: &mut Visits,
            index: usize,
            found: Option<(gantry_table::EntryIndex, #action_type)>,
        ) -> u8 {
            let (entry, hit, action) = match found {
                Some((entry, action)) => {
                    #touched
                    (entry.index(), true, action)
                }
                None => (#limit, false, #default),
            };
            #after(packet, #frame run, visits, index, entry, hit, action)
        }
    }
}

/// The key, and the loop over the packets that wait.
fn emit_visit(plan: &Plan<'_>, site: &Site<'_>) -> TokenStream {
    let table = &plan.program.tables[site.table.index()];
    let (field, key_name, _) = &plan.tables[site.table.index()];
    let (visit, found, at) =
        (visit_name(plan, site.table), format_ident!("found_{field}"), site_name(plan, site.table));
    let key_of = format_ident!("key_of_{field}");
    let about = doc(&format!("`{}`, for the packets that wait for it.", table.name));
    let (frames, frame_parameter, frame) =
        (framed(plan, quote!(frames: &[&[u8]],)), framed(plan, quote!(frame: &[u8],)), framed(plan, quote!(frame,)));
    let fields = struct_fields(table);
    let values = Values::new(plan);
    let parts = fields.iter().map(|(at, name, _)| {
        let value = values.given(&table.keys[*at].expr);
        quote!(#name: #value)
    });
    let exact = if fields.is_empty() { quote!([]) } else { quote!(#key_name { #(#parts),* }) };
    let key = match engine(table) {
        Engine::Lpm(at) => {
            let of = &table.keys[at].expr;
            let value = values.rust(of).tokens;
            let value = if of.ty == Type::Bits(128) { value } else { quote!(u128::from(#value)) };
            quote!((#exact, #value))
        }
        _ => exact,
    };
    let (ty, lookup) = (key_type(plan, site.table), lookup(table));
    let shown = framed(plan, quote!(let frame = frames[place];));
    let looked_up = if is_wide(table) {
        let last = last_name(plan, site.table);
        quote! {
            match visits.#last {
                Some((last, found)) if last == key => found,
                _ => {
                    let found = #lookup;
                    visits.#last = Some((key, found));
                    found
                }
            }
        }
    } else {
        lookup
    };
    quote! {
        /// What is looked up.
        #[inline(always)]
        fn #key_of(packet: &Packet, #frame_parameter) -> #ty {
            #key
        }

        #about
        fn #visit<X: Externs>(
            packets: &mut [Packet],
            #frames
            run: &mut Run<'_, X>,
            visits: &mut Visits,
            from: usize,
        ) {
            let table = &run.tables.#field;
            let mut waiting = visits.waiting[usize::from(#at)];
            while waiting != 0 {
                let place = waiting.trailing_zeros() as usize;
                waiting &= waiting - 1;
                let packet = &mut packets[place];
                #shown
                let key = #key_of(packet, #frame);
                let found = #looked_up;
                let next = #found(packet, #frame run, visits, from + place, found);
                visits.wait(next, place);
            }
        }
    }
}

/// Whether packets wait for a table, for its entries may have to be fetched.
pub(super) fn waits(table: &Table) -> bool {
    engine(table) != Engine::Keyless && !is_constant(table)
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
        #[inline(always)]
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
fn emit_apply(plan: &Plan<'_>, site: &Site<'_>) -> TokenStream {
    let name = apply_name(plan, site.table);
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
        #[inline(always)]
        fn #name<X: Externs>(
            packet: &mut Packet,
            #frame_parameter
            run: &mut Run<'_, X>,
            visits: &mut Visits,
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
