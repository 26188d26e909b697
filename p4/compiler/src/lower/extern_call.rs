//! Calls of externs (P4_16 1.2.4 §7.2.10, §8.20): overloads by the number of arguments, types inferred, arguments flattened.

use super::Lowering;
use super::expression::Value;
use super::storage::Storage;
use super::types::{Bindings, Ty};
use crate::ast::{self, Direction, Method, TypeRef};
use crate::diagnostics::Diagnostic;
use crate::ir::{self, Argument, ExternId, Stmt};
use crate::source::Span;

/// An argument before it is flattened.
enum Passed {
    In(Value),
    Out(Storage),
}

impl<'a> Lowering<'a> {
    /// A call of a method or a function of which these are the overloads.
    #[expect(clippy::too_many_arguments, reason = "what a call is written with")]
    pub(super) fn extern_call(
        &mut self,
        instance: Option<ExternId>,
        name: &ast::Name,
        overloads: &[&'a Method],
        mut bindings: Bindings,
        type_arguments: &'a [TypeRef],
        arguments: &'a [ast::Argument],
        span: Span,
    ) -> Value {
        let fits = |it: &&&'a Method| {
            let needed = it.parameters.iter().filter(|it| it.default.is_none()).count();
            (needed..=it.parameters.len()).contains(&arguments.len())
        };
        let Some(method) = overloads.iter().find(fits).copied() else {
            let counts: Vec<_> = overloads.iter().map(|it| it.parameters.len().to_string()).collect();
            let message = format!("`{name}` takes {} arguments, not {}", counts.join(" or "), arguments.len());
            let mut diagnostic = Diagnostic::new(span, message);
            if let Some(first) = overloads.first() {
                diagnostic = diagnostic.mark(first.name.span, "declared here");
            }
            self.tell(diagnostic);
            return Value::Wrong;
        };
        bindings.extend(self.bind_explicit(method, type_arguments, span));
        let parameters: Vec<&ast::Parameter> = method.parameters.iter().collect();
        let given = self.arguments(&format!("`{name}`"), &parameters, arguments, span);
        let Some(given) = given else { return Value::Wrong };
        let mut passed = Vec::new();
        let known = self.diagnostics.len();
        for (parameter, given) in parameters.iter().zip(given) {
            let Some(given) = given.or(parameter.default.as_ref()) else { continue };
            let mark = self.code.len();
            let value = self.passed(parameter, given, &mut bindings);
            let before = passed.iter_mut().filter_map(|it| match it {
                Passed::In(value) => Some(value),
                Passed::Out(_) => None,
            });
            self.keep_before(mark, before, span);
            passed.push(value);
        }
        let returns = self.resolve(&method.returns, &bindings);
        if self.diagnostics.len() > known {
            return Value::Wrong;
        }
        let mut flat = Vec::new();
        for it in passed {
            match it {
                Passed::In(value) => flatten(value, &mut flat),
                Passed::Out(storage) => flatten_places(&storage, &mut flat),
            }
        }
        if let Ty::Parameter(parameter) = &returns {
            let message = format!("the type `{parameter}` that this call gives is not known");
            self.tell(Diagnostic::new(span, message).remedy(format!("write it: `{name}<bit<32>>(…)`")));
            return Value::Wrong;
        }
        let (result, value) = match returns {
            Ty::Void => (None, Value::Void),
            ty => match self.result(&ty, &name.text, span) {
                Some((place, value)) => (Some(place), value),
                None => return Value::Wrong,
            },
        };
        let function = name.text.to_string();
        self.code.push(Stmt::Call { instance, function, arguments: flat, result, span });
        value
    }

    /// Type arguments that are written, for the method's own type parameters.
    fn bind_explicit(&mut self, method: &'a Method, written: &'a [TypeRef], span: Span) -> Bindings {
        if written.is_empty() {
            return Bindings::free(&method.type_parameters);
        }
        if written.len() != method.type_parameters.len() {
            let (takes, given) = (method.type_parameters.len(), written.len());
            let message = format!("`{}` takes {takes} type arguments, not {given}", method.name);
            self.tell(Diagnostic::new(span, message));
            return Bindings::free(&method.type_parameters);
        }
        let types: Vec<Ty> = written.iter().map(|ty| self.resolve(ty, &Bindings::default())).collect();
        let mut bindings = Bindings::free(&method.type_parameters);
        for (name, ty) in method.type_parameters.iter().zip(types) {
            if !matches!(ty, Ty::Parameter(_)) {
                bindings.bind(&name.text, ty);
            }
        }
        bindings
    }

    fn passed(&mut self, parameter: &'a ast::Parameter, argument: &'a ast::Expr, bindings: &mut Bindings) -> Passed {
        let wanted = self.resolve(&parameter.ty, bindings);
        if matches!(parameter.direction, Direction::Out | Direction::InOut) {
            return Passed::Out(self.passed_out(&wanted, argument, bindings));
        }
        let value = self.expr(argument);
        let value = match (&wanted, value) {
            (_, Value::Wrong) => Value::Wrong,
            (Ty::Parameter(name), value) => {
                let value = self.with_own_type(value, argument.span);
                if let Some(ty) = self.type_of(&value) {
                    bindings.bind(name, ty);
                }
                value
            }
            (wanted, value) => self.coerce(value, wanted, argument.span),
        };
        if matches!(value, Value::String) {
            self.tell(
                Diagnostic::new(argument.span, "strings cannot be passed to externs here")
                    .remedy("use an enum, or a constant of bits"),
            );
        }
        Passed::In(value)
    }

    /// A value for a parameter of any type: it must have one by itself, lists become tuples.
    fn with_own_type(&mut self, value: Value, span: Span) -> Value {
        match value {
            Value::List(parts) => {
                let parts: Vec<Value> = parts.into_iter().map(|(part, span)| self.with_own_type(part, span)).collect();
                let types: Option<Vec<Ty>> = parts.iter().map(|part| self.type_of(part)).collect();
                match types {
                    Some(types) => {
                        Value::Struct { ty: Ty::Tuple(types), fields: parts, valid: super::constant::truth(true) }
                    }
                    None => Value::Wrong,
                }
            }
            Value::Record(parts) => {
                let parts = parts.into_iter().map(|(name, part)| (part, name.span)).collect();
                self.with_own_type(Value::List(parts), span)
            }
            Value::Int(value) => {
                self.tell(
                    Diagnostic::new(span, format!("how wide {value} is meant to be is not known"))
                        .remedy(format!("give it a width: `16w{value}`")),
                );
                Value::Wrong
            }
            other => other,
        }
    }

    fn passed_out(&mut self, wanted: &Ty, argument: &'a ast::Expr, bindings: &mut Bindings) -> Storage {
        let target = if matches!(argument.kind, ast::ExprKind::Any) && !matches!(wanted, Ty::Parameter(_)) {
            self.temporary(wanted, "unused", argument.span)
        } else {
            self.target(argument)
        };
        if matches!(target, Storage::Wrong) {
            return target;
        }
        match wanted {
            Ty::Parameter(name) => bindings.bind(name, target.ty()),
            wanted if *wanted != target.ty() => {
                let (is, wanted) = (self.show(&target.ty()), self.show(wanted));
                self.tell(
                    Diagnostic::new(argument.span, format!("this is {is} where {wanted} is expected"))
                        .remedy("what is written to must have exactly the parameter's type"),
                );
            }
            _ => {}
        }
        target
    }

    /// A method of an extern's instance.
    pub(super) fn instance_method(
        &mut self,
        id: ExternId,
        member: &'a ast::Name,
        type_arguments: &'a [TypeRef],
        arguments: &'a [ast::Argument],
        span: Span,
    ) -> Value {
        let instance = self.made.instances[id.index()].clone();
        let overloads: Vec<&'a Method> =
            instance.object.methods.iter().filter(|it| it.name.text == member.text).collect();
        if overloads.is_empty() {
            let message = format!("`{}` has no method `{member}`", instance.object.name);
            self.tell(Diagnostic::new(member.span, message).mark(instance.object.name.span, "declared here"));
            return Value::Wrong;
        }
        let bindings = Bindings::of(&instance.object.type_parameters, &instance.types);
        self.extern_call(Some(id), member, &overloads, bindings, type_arguments, arguments, span)
    }
}

fn flatten(value: Value, into: &mut Vec<Argument>) {
    match value {
        Value::Scalar { expr, .. } => into.push(Argument::In(expr)),
        Value::Struct { fields, .. } => fields.into_iter().for_each(|field| flatten(field, into)),
        _ => {}
    }
}

fn flatten_places(storage: &Storage, into: &mut Vec<Argument>) {
    match storage {
        Storage::Scalar { place, .. } => into.push(Argument::Out(*place)),
        Storage::Struct { fields, .. } | Storage::Header { fields, .. } => {
            fields.iter().for_each(|field| flatten_places(field, into));
        }
        Storage::Packet { .. } | Storage::Wrong => {}
    }
}

/// Instances that a block of statements calls.
pub(super) fn instances(code: &[Stmt], into: &mut Vec<(ExternId, Span)>) {
    for stmt in code {
        match stmt {
            Stmt::Call { instance: Some(id), span, .. } => into.push((*id, *span)),
            Stmt::If { then, otherwise, .. } => {
                instances(then, into);
                instances(otherwise, into);
            }
            Stmt::Apply { then, .. } => match then {
                ir::Outcome::Any => {}
                ir::Outcome::Hit { hit, miss } => {
                    instances(hit, into);
                    instances(miss, into);
                }
                ir::Outcome::Action { cases, otherwise } => {
                    cases.iter().for_each(|(_, code)| instances(code, into));
                    instances(otherwise, into);
                }
            },
            _ => {}
        }
    }
}
