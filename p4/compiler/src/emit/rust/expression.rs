//! Expressions: each of them has the smallest integer of Rust that holds its bits, and no bits above those.

use std::cell::RefCell;

use proc_macro2::{Literal, TokenStream};
use quote::{ToTokens, format_ident, quote};

use crate::ir::{BinaryOp, Expr, ExprKind, HeaderId, Place, Type, VarId};

use super::headers::{hex, mask};
use super::names::ident;
use super::plan::{Home, Plan, natural, natural_bits};

/// Writes expressions for one function.
pub(super) struct Values<'a, 'p> {
    pub(super) plan: &'a Plan<'p>,
    /// Headers that the function has a binding of, as they are in the frame.
    pub(super) bound: Vec<HeaderId>,
    /// In the parser: headers that it does not write to are as they are in the frame.
    pub(super) parsing: bool,
    /// Headers whose values are known to be in the packet's state here.
    pub(super) changed: RefCell<Vec<HeaderId>>,
}

/// Rust for an expression.
pub(super) struct Rust {
    pub(super) tokens: TokenStream,
    /// It may stand beside any operator as it is.
    atom: bool,
}

impl Rust {
    fn atom(tokens: TokenStream) -> Self {
        Self { tokens, atom: true }
    }

    fn open(tokens: TokenStream) -> Self {
        Self { tokens, atom: false }
    }

    /// As an operand.
    fn closed(self) -> TokenStream {
        let tokens = self.tokens;
        if self.atom { tokens } else { quote!((#tokens)) }
    }

    /// Without the bits above a type's.
    fn cut(self, ty: Type) -> Self {
        if is_whole(ty) {
            return self;
        }
        let (value, mask) = (self.closed(), mask(ty.bits().into()));
        Self::open(quote!(#value & #mask))
    }
}

/// Every value of the Rust integer is one of the type.
fn is_whole(ty: Type) -> bool {
    match ty {
        Type::Bool => true,
        Type::Bits(bits) => natural_bits(bits) == bits,
    }
}

/// A constant where its type is known from what is around it.
pub(super) fn plain(value: u128, ty: Type) -> TokenStream {
    match ty {
        Type::Bool if value == 0 => quote!(false),
        Type::Bool => quote!(true),
        Type::Bits(_) if value < 10_000 => Literal::u128_unsuffixed(value).to_token_stream(),
        Type::Bits(_) => hex(value),
    }
}

/// A constant that says its type.
fn suffixed(value: u128, ty: Type) -> TokenStream {
    match ty {
        Type::Bool => plain(value, ty),
        Type::Bits(bits) => {
            let plain = plain(value, ty).to_string();
            format!("{plain}_u{}", natural_bits(bits)).parse().expect("a number")
        }
    }
}

impl<'a, 'p> Values<'a, 'p> {
    pub(super) fn new(plan: &'a Plan<'p>) -> Self {
        Self { plan, bound: Vec::new(), parsing: false, changed: RefCell::new(Vec::new()) }
    }

    /// Where the type is known from what is around it: a constant needs no suffix.
    pub(super) fn given(&self, expr: &Expr) -> TokenStream {
        match expr.kind {
            ExprKind::Const(value) => plain(value, expr.ty),
            _ => self.rust(expr).tokens,
        }
    }

    /// As an operand, or for a method to be called on.
    pub(super) fn operand(&self, expr: &Expr) -> TokenStream {
        self.rust(expr).closed()
    }

    /// A variable's value.
    pub(super) fn variable(&self, var: VarId) -> TokenStream {
        match &self.plan.homes[var.index()] {
            Home::Metadata(name) => quote!(packet.metadata.#name),
            Home::Local(name) => quote!(#name),
            Home::Packet(name) => match self.plan.field_of(var) {
                Some((header, field)) if self.bound.contains(&header) => {
                    let field = &self.plan.layout(header).fields[field].0;
                    let header = &self.plan.headers[header.index()].name;
                    self.as_declared(var, quote!(#header.#field()))
                }
                Some((header, field)) if self.parsing && !self.plan.written_in_parser(header) => {
                    let field = &self.plan.layout(header).fields[field].0;
                    let header = &self.plan.headers[header.index()].name;
                    self.as_declared(var, quote!(packet.#header(frame).#field()))
                }
                Some((header, _)) if !self.changed.borrow().contains(&header) => quote!(packet.#name(frame)),
                _ => quote!(packet.#name),
            },
            Home::Frame(header, field) => {
                let name = &self.plan.headers[header.index()].name;
                let value = if self.bound.contains(header) {
                    quote!(#name.#field())
                } else {
                    quote!(packet.#name(frame).#field())
                };
                self.as_declared(var, value)
            }
        }
    }

    /// A field's bits as the field's variable wants them: a field of type `bool` is one bit on the wire.
    pub(super) fn as_declared(&self, var: VarId, value: TokenStream) -> TokenStream {
        match self.plan.program.vars[var.index()].ty {
            Type::Bool => quote!((#value != 0)),
            Type::Bits(_) => value,
        }
    }

    /// Any expression.
    pub(super) fn rust(&self, expr: &Expr) -> Rust {
        let ty = expr.ty;
        match &expr.kind {
            ExprKind::Const(value) => Rust::atom(suffixed(*value, ty)),
            ExprKind::Var(var) => Rust::atom(self.variable(*var)),
            ExprKind::Valid(header) => {
                let valid = &self.plan.headers[header.index()].valid;
                Rust::atom(quote!(packet.is_valid(#valid)))
            }
            ExprKind::Slice { of, hi, lo } => self.slice(of, *hi, *lo, ty),
            ExprKind::Cast(of) => self.cast(of, ty),
            ExprKind::Not(of) => {
                let of = self.operand(of);
                Rust::open(quote!(!#of))
            }
            ExprKind::Complement(of) => {
                let of = self.operand(of);
                Rust::open(quote!(!#of)).cut(ty)
            }
            ExprKind::Negate(of) => {
                let of = self.operand(of);
                Rust::atom(quote!(#of.wrapping_neg())).cut(ty)
            }
            ExprKind::Binary { op, left, right } => self.binary(*op, left, right, ty),
            ExprKind::Concat(left, right) => {
                let low = Literal::u8_unsuffixed(right.ty.bits());
                let (left, right) = (self.cast(left, ty), self.cast(right, ty));
                let (left, right) = (left.closed(), right.closed());
                Rust::open(quote!((#left << #low) | #right))
            }
            ExprKind::Choice { condition, then, otherwise } => {
                let (condition, then, otherwise) =
                    (self.given(condition), self.rust(then).tokens, self.given(otherwise));
                Rust::open(quote!(if #condition { #then } else { #otherwise }))
            }
            ExprKind::Lookahead => lookahead(ty),
            ExprKind::Length => Rust::atom(quote!(packet.length)),
        }
    }

    fn slice(&self, of: &Expr, hi: u8, lo: u8, ty: Type) -> Rust {
        let mut value = self.rust(of);
        if lo > 0 {
            let (of, lo) = (value.closed(), Literal::u8_unsuffixed(lo));
            value = Rust::open(quote!(#of >> #lo));
        }
        if hi + 1 < of.ty.bits() && !is_whole(ty) {
            value = value.cut(ty);
        }
        converted(value, of.ty, ty)
    }

    fn cast(&self, of: &Expr, ty: Type) -> Rust {
        if let ExprKind::Const(value) = of.kind {
            return Rust::atom(suffixed(value & ty.mask(), ty));
        }
        let value = self.rust(of);
        match (of.ty, ty) {
            (Type::Bool, Type::Bool) => value,
            (_, Type::Bool) => {
                let value = value.closed();
                Rust::open(quote!(#value != 0))
            }
            (from, to) if from.bits() > to.bits() => converted(value.cut(to), from, to),
            (from, to) => converted(value, from, to),
        }
    }

    fn binary(&self, op: BinaryOp, left: &Expr, right: &Expr, ty: Type) -> Rust {
        let method = |name: &str| {
            let (left, right, name) = (self.operand(left), self.given(right), ident(name));
            Rust::atom(quote!(#left.#name(#right)))
        };
        let sign = |sign: TokenStream| {
            // One of two constants says what type they are of.
            let both = matches!((&left.kind, &right.kind), (ExprKind::Const(_), ExprKind::Const(_)));
            let side = |expr: &Expr| match expr.kind {
                ExprKind::Const(value) if !both => plain(value, expr.ty),
                _ => self.operand(expr),
            };
            let (left, right) = (side(left), side(right));
            Rust::open(quote!(#left #sign #right))
        };
        match op {
            BinaryOp::Add => method("wrapping_add").cut(ty),
            BinaryOp::Sub => method("wrapping_sub").cut(ty),
            BinaryOp::Mul => method("wrapping_mul").cut(ty),
            BinaryOp::AddSaturating if is_whole(ty) => method("saturating_add"),
            BinaryOp::AddSaturating => {
                let (sum, most) = (method("saturating_add").tokens, mask(ty.bits().into()));
                Rust::atom(quote!(#sum.min(#most)))
            }
            BinaryOp::SubSaturating => method("saturating_sub"),
            BinaryOp::And => sign(quote!(&)),
            BinaryOp::Or => sign(quote!(|)),
            BinaryOp::Xor => sign(quote!(^)),
            BinaryOp::Shl => self.shift(true, left, right, ty).cut(ty),
            BinaryOp::Shr => self.shift(false, left, right, ty),
            BinaryOp::Eq => sign(quote!(==)),
            BinaryOp::Ne => sign(quote!(!=)),
            BinaryOp::Lt => sign(quote!(<)),
            BinaryOp::Le => sign(quote!(<=)),
            BinaryOp::Gt => sign(quote!(>)),
            BinaryOp::Ge => sign(quote!(>=)),
            BinaryOp::LogicalAnd => sign(quote!(&&)),
            BinaryOp::LogicalOr => sign(quote!(||)),
        }
    }

    /// By the width or more is zero (P4_16 §8.6), where Rust would panic.
    fn shift(&self, left_shift: bool, left: &Expr, right: &Expr, ty: Type) -> Rust {
        let sign = if left_shift { quote!(<<) } else { quote!(>>) };
        let bits = u128::from(ty.bits());
        match right.kind {
            ExprKind::Const(by) if by >= bits => Rust::atom(suffixed(0, ty)),
            ExprKind::Const(by) => {
                let (left, by) = (self.operand(left), Literal::u128_unsuffixed(by));
                Rust::open(quote!(#left #sign #by))
            }
            _ => {
                let (left, by) = (self.operand(left), self.given(right));
                // What no shift amount of its type reaches needs no comparison.
                if u128::from(right.ty.bits()) < 8 && right.ty.mask() < bits {
                    let by = self.operand(right);
                    return Rust::open(quote!(#left #sign #by));
                }
                let bits = Literal::u128_unsuffixed(bits);
                let name = if left_shift { quote!(wrapping_shl) } else { quote!(wrapping_shr) };
                Rust::atom(quote!((match #by { by if by < #bits => #left.#name(by as u32), _ => 0 })))
            }
        }
    }

    /// What a variable's value is stored to, and what has to be done before: a header that is changed has its values in the
    /// packet's state from then on.
    fn target(&self, var: VarId) -> (TokenStream, TokenStream) {
        let mut change = TokenStream::new();
        let target = match &self.plan.homes[var.index()] {
            Home::Packet(name) => {
                if let Some((header, _)) = self.plan.field_of(var)
                    && !self.changed.borrow().contains(&header)
                {
                    let method = format_ident!("change_{}", self.plan.headers[header.index()].name);
                    change = quote!(packet.#method(frame););
                    self.changed.borrow_mut().push(header);
                }
                quote!(packet.#name)
            }
            Home::Metadata(name) => quote!(packet.metadata.#name),
            Home::Local(name) => quote!(#name),
            Home::Frame(..) => unreachable!("what is assigned to has a place in the packet's state"),
        };
        (change, target)
    }

    /// `place = value`.
    pub(super) fn assign(&self, place: Place, value: TokenStream, constant: bool) -> TokenStream {
        let (change, target) = self.target(place.var);
        let Some((hi, lo)) = place.slice else { return quote!(#change #target = #value;) };
        let ty = self.plan.program.vars[place.var.index()].ty;
        let whole = natural(ty);
        let bits = usize::from(hi - lo) + 1;
        let hole = hex((u128::MAX >> (128 - bits)) << lo);
        let value =
            if constant || natural(Type::Bits(hi - lo + 1)) == whole { value } else { quote!(#whole::from(#value)) };
        let value = if lo == 0 {
            quote!((#value))
        } else {
            let lo = Literal::u8_unsuffixed(lo);
            quote!(((#value) << #lo))
        };
        quote!(#change #target = (#target & !#hole) | #value;)
    }

    /// [`Self::assign`] of an expression.
    pub(super) fn assign_expr(&self, place: Place, value: &Expr) -> TokenStream {
        let constant = matches!(value.kind, ExprKind::Const(_));
        self.assign(place, self.given(value), constant)
    }

    /// What a place holds.
    pub(super) fn read(&self, place: Place) -> TokenStream {
        let ty = self.plan.program.vars[place.var.index()].ty;
        let whole = Expr { kind: ExprKind::Var(place.var), ty };
        match place.slice {
            None => self.given(&whole),
            Some((hi, lo)) => self.slice(&whole, hi, lo, Type::Bits(hi - lo + 1)).tokens,
        }
    }
}

/// From one Rust integer to another, when the value fits.
fn converted(value: Rust, from: Type, to: Type) -> Rust {
    let (narrow, ty) = (natural(from), natural(to));
    if narrow == ty {
        return value;
    }
    if from == Type::Bool || natural_bits(from.bits()) < natural_bits(to.bits()) {
        let value = value.tokens;
        return Rust::atom(quote!(#ty::from(#value)));
    }
    let value = value.closed();
    Rust::open(quote!(#value as #ty))
}

/// Bits from where the parser is.
fn lookahead(ty: Type) -> Rust {
    let bits = ty.bits();
    let unsigned = Type::Bits(natural_bits(bits));
    let (name, whole) = (natural(unsigned), unsigned.bits());
    let (length, needed) = (Literal::u8_unsuffixed(whole / 8), Literal::u8_unsuffixed(bits.div_ceil(8)));
    let value = quote!(#name::from_be_bytes(peek::<#length>(frame, at, #needed)?));
    let value = match whole - bits {
        0 => Rust::atom(value),
        some => {
            let some = Literal::u8_unsuffixed(some);
            Rust::open(quote!(#value >> #some))
        }
    };
    match ty {
        Type::Bool => {
            let value = value.closed();
            Rust::open(quote!(#value != 0))
        }
        Type::Bits(_) => value,
    }
}
