//! Instances of externs (P4_16 1.2.4 §11.3, PNA 0.7 §7), and which of them a table has for itself.

use num_traits::ToPrimitive;

use super::Lowering;
use super::constant;
use super::expression::Value;
use super::extern_call::instances;
use super::identifier::prefix_of;
use super::notes::notes;
use super::scope::Symbol;
use super::types::{Bindings, Ty};
use crate::ast;
use crate::diagnostics::Diagnostic;
use crate::ir::{self, ExternId, ExternKind, TableId, Type, Unit};
use crate::source::Span;

/// What a direct extern belongs to as long as no table has named it.
const NO_TABLE: TableId = TableId(u32::MAX);

/// An instance as it is declared.
#[derive(Clone)]
pub(super) struct Instance<'a> {
    pub(super) object: &'a ast::ExternObject,
    pub(super) types: Vec<Ty>,
}

impl<'a> Lowering<'a> {
    /// `Type(arguments) name;` in a block, or outside of any.
    pub(super) fn instance(&mut self, declared: &'a ast::Instance) {
        let ty = self.resolve(&declared.ty, &Bindings::default());
        let Ty::Extern(index, types) = ty else {
            if ty != Ty::Unknown {
                let message = format!("{} has no instances", self.show(&ty));
                self.tell(Diagnostic::new(declared.ty.span, message).remedy("declare a variable: `T name;`"));
            }
            self.declare(&declared.name, Symbol::Wrong);
            return;
        };
        let object = self.extern_objects[index as usize];
        let Some(kind) = self.kind(object, &types, declared) else {
            self.declare(&declared.name, Symbol::Wrong);
            return;
        };
        let within = self.block.clone();
        let name = self.control_plane_name(&declared.preamble, &declared.name, &within);
        let id = prefix_of(&kind).map_or(0, |prefix| self.explicit_id(&declared.preamble, prefix));
        let place = ExternId(u32::try_from(self.made.ir.externs.len()).expect("fewer externs than bytes"));
        let notes = notes(&declared.preamble, &[]);
        self.made.ir.externs.push(ir::Extern { name, id, kind, notes, span: declared.name.span });
        self.made.instances.push(Instance { object, types });
        self.declare(&declared.name, Symbol::Instance(place));
    }

    fn kind(&mut self, object: &'a ast::ExternObject, types: &[Ty], declared: &'a ast::Instance) -> Option<ExternKind> {
        let values = self.constructor(object, types, declared)?;
        let span = declared.span;
        Some(match &*object.name.text {
            "Counter" => ExternKind::Counter { size: self.cells(&values, span)?, unit: self.unit(&values, 1, span)? },
            "Meter" => ExternKind::Meter { size: self.cells(&values, span)?, unit: self.unit(&values, 1, span)? },
            "DirectCounter" => ExternKind::DirectCounter { unit: self.unit(&values, 0, span)?, table: NO_TABLE },
            "DirectMeter" => ExternKind::DirectMeter { unit: self.unit(&values, 0, span)?, table: NO_TABLE },
            "Register" => {
                if values.get(1).is_some_and(|value| scalar(value) != Some(0)) {
                    self.tell(Diagnostic::new(span, "registers start at zero").remedy("leave the initial value out"));
                }
                ExternKind::Register { size: self.cells(&values, span)?, bits: self.bits_of(types.first(), span)? }
            }
            "Hash" => ExternKind::Hash {
                algorithm: self.member_name(values.first()?)?,
                bits: self.bits_of(types.first(), span)?,
            },
            "InternetChecksum" => ExternKind::InternetChecksum,
            "Digest" => {
                let ty = types.first()?;
                let Ty::Struct(_) = ty else {
                    self.tell(
                        Diagnostic::new(declared.ty.span, "a digest's messages are structs")
                            .remedy("declare a struct of what is to be told"),
                    );
                    return None;
                };
                let mut fields = Vec::new();
                self.flat_fields(ty, "", &mut fields);
                ExternKind::Digest { fields, type_name: self.show(ty) }
            }
            name => {
                let mut arguments = Vec::new();
                for value in &values {
                    match scalar(value) {
                        Some(value) => arguments.push(value),
                        None => {
                            self.tell(Diagnostic::new(span, "arguments of this constructor are bits, bools or enums"));
                            return None;
                        }
                    }
                }
                ExternKind::Other { type_name: name.to_owned(), arguments }
            }
        })
    }

    /// The constructor's arguments, cast to the types of its parameters.
    fn constructor(
        &mut self,
        object: &'a ast::ExternObject,
        types: &[Ty],
        declared: &'a ast::Instance,
    ) -> Option<Vec<Value>> {
        let given = declared.arguments.len();
        let constructor = object.constructors.iter().find(|it| it.parameters.len() == given);
        let Some(constructor) = constructor else {
            let counts: Vec<_> = object.constructors.iter().map(|it| it.parameters.len().to_string()).collect();
            let takes = if counts.is_empty() {
                "has no constructor".to_owned()
            } else {
                format!("takes {} arguments, not {given}", counts.join(" or "))
            };
            let message = format!("`{}` {takes}", object.name);
            self.tell(Diagnostic::new(declared.span, message).mark(object.name.span, "declared here"));
            return None;
        };
        let bindings = Bindings::of(&object.type_parameters, types);
        let parameters: Vec<&ast::Parameter> = constructor.parameters.iter().collect();
        let arguments =
            self.arguments(&format!("`{}`", object.name), &parameters, &declared.arguments, declared.span)?;
        let mut values = Vec::new();
        for (parameter, argument) in parameters.iter().zip(arguments) {
            let argument = argument?;
            let ty = self.resolve(&parameter.ty, &bindings);
            let (value, _) = self.collect(|this| this.expr(argument));
            let value = self.coerce(value, &ty, argument.span);
            if !value.is_constant() {
                if !matches!(value, Value::Wrong) {
                    self.tell(Diagnostic::new(argument.span, "arguments of constructors must be constant"));
                }
                return None;
            }
            values.push(value);
        }
        Some(values)
    }

    fn cells(&mut self, values: &[Value], span: Span) -> Option<u32> {
        let size = scalar(values.first()?).and_then(|size| size.to_u32());
        match size {
            Some(size @ 1..) => Some(size),
            _ => {
                self.tell(Diagnostic::new(span, "the number of cells must be 1 or more and fit 32 bits"));
                None
            }
        }
    }

    fn unit(&mut self, values: &[Value], place: usize, span: Span) -> Option<Unit> {
        match self.member_name(values.get(place)?)?.as_str() {
            "PACKETS" => Some(Unit::Packets),
            "BYTES" => Some(Unit::Bytes),
            "PACKETS_AND_BYTES" => Some(Unit::PacketsAndBytes),
            other => {
                self.tell(
                    Diagnostic::new(span, format!("`{other}` is nothing to count"))
                        .remedy("count PACKETS, BYTES or PACKETS_AND_BYTES"),
                );
                None
            }
        }
    }

    /// The name of an enum's member that a value is.
    pub(super) fn member_name(&self, value: &Value) -> Option<String> {
        let Value::Scalar { expr, ty } = value else { return None };
        let declared = &self.made.ir.enums[self.enum_of(ty)? as usize];
        let value = constant::value(expr)?;
        declared.members.iter().find(|(_, known)| *known == value).map(|(name, _)| name.clone())
    }

    fn bits_of(&mut self, ty: Option<&Ty>, span: Span) -> Option<u8> {
        let ty = ty?;
        let representation = self.representation(ty);
        if representation.is_none() {
            let message = format!("values of type {} cannot be kept in one cell", self.show(ty));
            self.tell(Diagnostic::new(span, message).remedy("use one instance for each field"));
        }
        representation.map(Type::bits)
    }

    fn flat_fields(&self, ty: &Ty, before: &str, into: &mut Vec<(String, Type)>) {
        if let Some(representation) = self.representation(ty) {
            into.push((before.to_owned(), representation));
        } else if let Ty::Struct(index) | Ty::Header(index) = ty {
            for (name, ty) in &self.composites[*index as usize].fields {
                let name = if before.is_empty() { name.to_string() } else { format!("{before}.{name}") };
                self.flat_fields(ty, &name, into);
            }
        }
    }

    /// A table names a direct counter or meter.
    pub(super) fn attach(&mut self, value: &'a ast::Expr, table: TableId) -> Option<ExternId> {
        let ast::ExprKind::Name(path) = &value.kind else {
            self.tell(Diagnostic::new(value.span, "this property takes the name of an instance"));
            return None;
        };
        let id = match self.lookup(path) {
            Symbol::Instance(id) => id,
            Symbol::Wrong => return None,
            other => {
                self.tell(Diagnostic::new(value.span, format!("`{path}` is {}, not an instance", other.noun())));
                return None;
            }
        };
        let declared = &mut self.made.ir.externs[id.index()];
        let of = match &mut declared.kind {
            ExternKind::DirectCounter { table: of, .. } | ExternKind::DirectMeter { table: of, .. } => of,
            _ => {
                let diagnostic = Diagnostic::new(value.span, format!("`{path}` is no direct counter or meter"));
                self.tell(diagnostic.remedy("declare a DirectCounter or DirectMeter for the table"));
                return None;
            }
        };
        if *of != NO_TABLE {
            let diagnostic = Diagnostic::new(value.span, format!("`{path}` belongs to another table already"));
            self.tell(diagnostic.remedy("declare one for each table"));
            return None;
        }
        *of = table;
        Some(id)
    }

    /// Direct counters and meters belong to one table, and are called by its actions only (P4Runtime 1.5.0 §6.4.4).
    pub(super) fn direct_externs(&mut self) {
        let ir = &self.made.ir;
        let mut wrong = Vec::new();
        for it in &ir.externs {
            if let ExternKind::DirectCounter { table: NO_TABLE, .. } | ExternKind::DirectMeter { table: NO_TABLE, .. } =
                it.kind
            {
                let diagnostic = Diagnostic::new(it.span, format!("no table that is applied has `{}`", it.name));
                wrong.push(
                    diagnostic.remedy("name it in the table: `pna_direct_counter = …` or `pna_direct_meter = …`"),
                );
            }
        }
        let owner = |id: ExternId| match ir.externs[id.index()].kind {
            ExternKind::DirectCounter { table, .. } | ExternKind::DirectMeter { table, .. } => Some(table),
            _ => None,
        };
        let outside = "a direct counter or meter can only be used by the actions of its own table";
        for (index, action) in ir.actions.iter().enumerate() {
            let mut used = Vec::new();
            instances(&action.body, &mut used);
            for (id, span) in used {
                let Some(table) = owner(id) else { continue };
                let foreign = (0u32..).zip(&ir.tables).find(|(place, it)| {
                    TableId(*place) != table && it.actions.iter().any(|it| it.action.index() == index)
                });
                if let Some((_, foreign)) = foreign {
                    wrong.push(Diagnostic::new(span, outside).mark(foreign.span, "this table runs the action too"));
                }
            }
        }
        let mut used = Vec::new();
        for body in ir.control.iter().map(|it| &it.body).chain(ir.deparser.iter().map(|it| &it.body)) {
            instances(body, &mut used);
        }
        for state in ir.parser.iter().flat_map(|it| &it.states) {
            instances(&state.body, &mut used);
        }
        for (id, span) in used {
            if owner(id).is_some() {
                wrong.push(Diagnostic::new(span, outside));
            }
        }
        for diagnostic in wrong {
            self.tell(diagnostic);
        }
    }
}

fn scalar(value: &Value) -> Option<u128> {
    match value {
        Value::Scalar { expr, .. } => constant::value(expr),
        Value::Int(value) => value.to_u128(),
        _ => None,
    }
}
