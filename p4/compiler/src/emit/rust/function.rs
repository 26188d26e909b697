//! Statements: the body of one function of the generated module.

use std::collections::BTreeSet;

use proc_macro2::{Ident, TokenStream};
use quote::quote;

use crate::ir::{Expr, ExprKind, HeaderId, Place, Stmt, VarId, VarKind};

use super::expression::{Values, plain};
use super::externs;
use super::plan::{Home, Plan, mentioned, natural};
use super::walk;

/// Which block a function belongs to: what `return` means there, and what is at hand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    /// A state of the parser.
    Parser,
    /// A piece of the control, which gives back the next table.
    Control,
    /// An action; one that may `exit` gives back whether it did.
    Action { exits: bool },
    /// The deparser, in a function that is left by falling out of it.
    Deparser,
}

/// A function being written.
pub(super) struct Function<'a, 'p> {
    pub(super) plan: &'a Plan<'p>,
    pub(super) values: Values<'a, 'p>,
    pub(super) block: Block,
    /// Locals with a binding already.
    declared: BTreeSet<VarId>,
    /// Locals that are assigned to more than once, or in places that may not be reached.
    changed: BTreeSet<VarId>,
}

impl<'a, 'p> Function<'a, 'p> {
    /// With these statements in it, wherever they stand.
    pub(super) fn new(plan: &'a Plan<'p>, block: Block) -> Self {
        let mut values = Values::new(plan);
        values.parsing = block == Block::Parser;
        Self { plan, values, block, declared: BTreeSet::new(), changed: BTreeSet::new() }
    }

    /// A local of this function that has no binding yet.
    fn is_new_local(&self, var: VarId) -> bool {
        let local = self.plan.program.vars[var.index()].kind == VarKind::Local;
        local && matches!(self.plan.homes[var.index()], Home::Local(_)) && !self.declared.contains(&var)
    }

    /// Statements at the top of the function: a local begins where it is first assigned to, or as zero before that.
    pub(super) fn top(&mut self, stmts: &[&Stmt]) -> TokenStream {
        let mut count = std::collections::BTreeMap::new();
        for stmt in stmts {
            walk::statement(stmt, &mut |_| {}, &mut |var| *count.entry(var).or_insert(0) += 1);
        }
        self.changed.extend(count.iter().filter(|(_, times)| **times > 1).map(|(var, _)| *var));
        let mut tokens = TokenStream::new();
        for stmt in stmts {
            if let Stmt::Assign { place: Place { var, slice: None }, value } = stmt
                && self.is_new_local(*var)
                && !super::plan::variables(value).contains(var)
            {
                tokens.extend(self.declare(mentioned_in(value)));
                let (name, value) = (self.local(*var), self.values.given(value));
                let ty = natural(self.plan.program.vars[var.index()].ty);
                let mutable = self.changed.contains(var).then(|| quote!(mut));
                self.declared.insert(*var);
                tokens.extend(quote!(let #mutable #name: #ty = #value;));
                continue;
            }
            tokens.extend(self.declare(mentioned(std::slice::from_ref(*stmt))));
            tokens.extend(self.statement(stmt));
        }
        tokens
    }

    /// Bindings for locals that are mentioned before anything was assigned to them: zero.
    pub(super) fn declare(&mut self, vars: Vec<VarId>) -> TokenStream {
        let mut tokens = TokenStream::new();
        for var in vars {
            if self.is_new_local(var) {
                let (name, ty) = (self.local(var), self.plan.program.vars[var.index()].ty);
                let (zero, ty) = (plain(0, ty), natural(ty));
                tokens.extend(quote!(let mut #name: #ty = #zero;));
                self.declared.insert(var);
            }
        }
        tokens
    }

    fn local(&self, var: VarId) -> Ident {
        match &self.plan.homes[var.index()] {
            Home::Local(name) => name.clone(),
            _ => unreachable!("a local of one function"),
        }
    }

    /// Statements of a nested block.
    pub(super) fn statements(&mut self, stmts: &[Stmt]) -> TokenStream {
        let (bound, changed) = (self.values.bound.clone(), self.values.changed.borrow().clone());
        let tokens = stmts.iter().map(|stmt| self.statement(stmt)).collect();
        // What is known only inside ends there.
        self.values.bound = bound;
        self.values.changed.replace(changed);
        tokens
    }

    pub(super) fn statement(&mut self, stmt: &Stmt) -> TokenStream {
        match stmt {
            Stmt::Assign { place, value } => self.values.assign_expr(*place, value),
            Stmt::SetValid { header, valid } => self.set_valid(*header, *valid),
            Stmt::If { condition, then, otherwise } => {
                let condition = self.values.given(condition);
                let (then, otherwise) = (self.statements(then), self.statements(otherwise));
                if otherwise.is_empty() {
                    quote!(if #condition { #then })
                } else if then.is_empty() {
                    quote!(if !(#condition) { #otherwise })
                } else {
                    quote!(if #condition { #then } else { #otherwise })
                }
            }
            Stmt::Call { instance, function, arguments, result, .. } => {
                externs::call(self, *instance, function, arguments, *result)
            }
            Stmt::Extract(header) => self.extract(*header),
            Stmt::Advance(bits) => self.advance(bits),
            Stmt::Verify { condition, error } => {
                let (condition, error) = (self.values.given(condition), &self.plan.errors[*error as usize]);
                quote!(if !(#condition) { return Err(ParserError::#error); })
            }
            Stmt::Emit(header) => {
                let instance = &self.plan.headers[header.index()];
                let (valid, name) = (&instance.valid, &self.plan.layout(*header).name);
                let whole = quote::format_ident!("whole_{}", instance.name);
                quote! {
                    if packet.is_valid(#valid) {
                        let header = packet.#whole(frame);
                        out.get_mut(at..at + #name::LENGTH)?.copy_from_slice(&header.0);
                        at += #name::LENGTH;
                    }
                }
            }
            Stmt::Return => match self.block {
                Block::Parser => unreachable!("no return in a parser"),
                Block::Control => quote!(return DONE;),
                Block::Action { exits: true } => quote!(return false;),
                Block::Action { exits: false } => quote!(return;),
                Block::Deparser => quote!(return Some(at);),
            },
            Stmt::Exit => match self.block {
                Block::Parser => unreachable!("no exit in a parser"),
                Block::Control => quote!(return DONE;),
                Block::Action { .. } => quote!(return true;),
                Block::Deparser => quote!(return Some(at);),
            },
            Stmt::Apply { .. } => unreachable!("tables are applied between functions"),
        }
    }

    fn set_valid(&mut self, header: HeaderId, valid: bool) -> TokenStream {
        let instance = &self.plan.headers[header.index()];
        let bit = &instance.valid;
        if !valid {
            return quote!(packet.valid &= !#bit;);
        }
        let make = quote::format_ident!("make_{}", instance.name);
        // A binding shows the header that is in the frame.
        self.values.bound.retain(|of| *of != header);
        quote!(packet.#make();)
    }

    fn extract(&mut self, header: HeaderId) -> TokenStream {
        let instance = &self.plan.headers[header.index()];
        let layout = self.plan.layout(header);
        let (name, ty, bit, place) = (&instance.name, &layout.name, &instance.valid, &instance.at);
        self.values.changed.borrow_mut().retain(|of| *of != header);
        // A parser that assigns to fields has to look where they are.
        let written = self.plan.written_in_parser(header);
        let unchanged = written.then(|| quote!(packet.changed &= !#bit;));
        if !written {
            self.values.bound.push(header);
        }
        quote! {
            let #name: &#ty = header(frame, at)?;
            packet.valid |= #bit;
            packet.#place = at as u16;
            #unchanged
            at += #ty::LENGTH;
            packet.payload_at = at as u16;
        }
    }

    fn advance(&self, bits: &Expr) -> TokenStream {
        let (short, invalid) = (self.plan.error("PacketTooShort"), self.plan.error("ParserInvalidArgument"));
        let check = quote! {
            if by > frame.len() - at {
                return Err(#short);
            }
            at += by;
            packet.payload_at = at as u16;
        };
        if let ExprKind::Const(bits) = bits.kind {
            assert!(bits % 8 == 0, "an advance by whole bytes");
            let by = plain(bits / 8, crate::ir::Type::Bits(128));
            return quote!({ let by: usize = #by; #check });
        }
        let bits = self.values.operand(bits);
        quote! {{
            let by = #bits;
            if by % 8 != 0 {
                return Err(#invalid);
            }
            let by = usize::try_from(by / 8).unwrap_or(usize::MAX);
            #check
        }}
    }
}

fn mentioned_in(value: &Expr) -> Vec<VarId> {
    super::plan::variables(value)
}
