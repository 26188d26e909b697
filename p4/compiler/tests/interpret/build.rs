//! Programs in the intermediate form, written down shortly.

use gantry_p4c::ir::{
    Action, ActionId, ActionScope, Argument, BinaryOp, Control, Deparser, Expr, ExprKind, Extern, ExternId, ExternKind,
    Field, Header, HeaderId, Key, Match, MatchKind, Notes, Outcome, Parser, Place, Program, State, Stmt, Table,
    TableAction, TableId, Target, Transition, Type, Var, VarId, VarKind,
};
use gantry_p4c::source::Span;

/// A program that grows.
pub(crate) struct Build {
    pub(crate) program: Program,
}

impl Build {
    /// With the errors of core.p4 that the parser itself raises, and one more.
    pub(crate) fn new() -> Self {
        let errors = ["NoError", "PacketTooShort", "NoMatch", "OwnError"].map(str::to_owned).to_vec();
        Self { program: Program { name: "example".into(), package: "PNA_NIC".into(), errors, ..Program::default() } }
    }

    pub(crate) fn var(&mut self, name: &str, ty: Type, kind: VarKind) -> VarId {
        self.program.vars.push(Var { name: name.into(), ty, kind, of_enum: None, span: Span::default() });
        VarId(self.program.vars.len() as u32 - 1)
    }

    pub(crate) fn local(&mut self, name: &str, bits: u8) -> VarId {
        self.var(name, Type::Bits(bits), VarKind::Local)
    }

    pub(crate) fn header(&mut self, name: &str, fields: &[(&str, u8)]) -> HeaderId {
        let header = HeaderId(self.program.headers.len() as u32);
        let mut declared = Vec::new();
        let mut offset = 0;
        for (index, (field, bits)) in (0..).zip(fields) {
            let kind = VarKind::Field { header, field: index };
            let var = self.var(&format!("{name}.{field}"), Type::Bits(*bits), kind);
            declared.push(Field { name: (*field).into(), var, offset, bits: *bits });
            offset += u32::from(*bits);
        }
        let type_name = name.replace("hdr.", "") + "_h";
        self.program.headers.push(Header {
            name: name.into(),
            type_name,
            fields: declared,
            bits: offset,
            doc: String::new(),
        });
        header
    }

    pub(crate) fn field(&self, header: HeaderId, name: &str) -> VarId {
        self.program.headers[header.index()].fields.iter().find(|field| field.name == name).expect("declared").var
    }

    /// The expression that reads a variable.
    pub(crate) fn read(&self, var: VarId) -> Expr {
        Expr { kind: ExprKind::Var(var), ty: self.program.vars[var.index()].ty }
    }

    /// With parameters, from which its body follows.
    pub(crate) fn action(
        &mut self,
        name: &str,
        parameters: &[(&str, u8)],
        body: impl FnOnce(&Self, &[VarId]) -> Vec<Stmt>,
    ) -> ActionId {
        let action = ActionId(self.program.actions.len() as u32);
        let named = (0..).zip(parameters);
        let vars: Vec<_> = named
            .map(|(index, (name, bits))| self.var(name, Type::Bits(*bits), VarKind::Parameter { action, index }))
            .collect();
        self.program.actions.push(Action {
            name: name.into(),
            id: 0x0100_0001 + action.0,
            parameter_notes: vec![Notes::default(); vars.len()],
            body: body(self, &vars),
            parameters: vars,
            notes: Notes::default(),
        });
        action
    }

    /// Without entries; the first action is what is done on a miss.
    pub(crate) fn table(&mut self, name: &str, keys: &[(VarId, MatchKind)], actions: &[ActionId]) -> TableId {
        let keys = keys.iter().map(|(var, kind)| Key {
            name: self.program.vars[var.index()].name.clone(),
            expr: self.read(*var),
            kind: *kind,
            notes: Notes::default(),
        });
        let table = TableId(self.program.tables.len() as u32);
        self.program.tables.push(Table {
            name: name.into(),
            id: 0x0200_0001 + table.0,
            keys: keys.collect(),
            actions: actions.iter().map(|&action| TableAction { action, scope: ActionScope::Both }).collect(),
            default_action: (actions[0], Vec::new()),
            const_default: false,
            entries: Vec::new(),
            const_entries: false,
            size: 1024,
            direct: Vec::new(),
            idle_timeout: false,
            notes: Notes::default(),
            span: Span::default(),
        });
        table
    }

    pub(crate) fn declared(&mut self, table: TableId) -> &mut Table {
        &mut self.program.tables[table.index()]
    }

    pub(crate) fn instance(&mut self, name: &str, id: u32, kind: ExternKind) -> ExternId {
        self.program.externs.push(Extern {
            name: name.into(),
            id,
            kind,
            notes: Notes::default(),
            span: Span::default(),
        });
        ExternId(self.program.externs.len() as u32 - 1)
    }

    pub(crate) fn parser(&mut self, states: Vec<(&str, Vec<Stmt>, Transition)>) {
        let states = states.into_iter().map(|(name, body, transition)| State { name: name.into(), body, transition });
        self.program.parser = Some(Parser { name: "P".into(), states: states.collect(), doc: String::new() });
    }

    pub(crate) fn control(&mut self, body: Vec<Stmt>) {
        self.program.control = Some(Control { name: "C".into(), body, doc: String::new() });
    }

    pub(crate) fn deparser(&mut self, headers: &[HeaderId]) {
        let body = headers.iter().map(|header| Stmt::Emit(*header)).collect();
        self.program.deparser = Some(Deparser { name: "D".into(), body });
    }
}

pub(crate) const BOOL: Type = Type::Bool;

pub(crate) fn bits(bits: u8) -> Type {
    Type::Bits(bits)
}

pub(crate) fn num(value: u128, bits: u8) -> Expr {
    Expr { kind: ExprKind::Const(value), ty: Type::Bits(bits) }
}

pub(crate) fn truth(value: bool) -> Expr {
    Expr { kind: ExprKind::Const(value.into()), ty: BOOL }
}

pub(crate) fn expr(kind: ExprKind, ty: Type) -> Expr {
    Expr { kind, ty }
}

pub(crate) fn binary(op: BinaryOp, left: Expr, right: Expr) -> Expr {
    use BinaryOp::{Eq, Ge, Gt, Le, LogicalAnd, LogicalOr, Lt, Ne};
    let ty = if matches!(op, Eq | Ne | Lt | Le | Gt | Ge | LogicalAnd | LogicalOr) { BOOL } else { left.ty };
    expr(ExprKind::Binary { op, left: left.into(), right: right.into() }, ty)
}

pub(crate) fn assign(var: VarId, value: Expr) -> Stmt {
    Stmt::Assign { place: whole(var), value }
}

pub(crate) fn whole(var: VarId) -> Place {
    Place { var, slice: None }
}

pub(crate) fn call(
    instance: Option<ExternId>,
    function: &str,
    arguments: Vec<Argument>,
    result: Option<VarId>,
) -> Stmt {
    let result = result.map(whole);
    Stmt::Call { instance, function: function.into(), arguments, result, span: Span::default() }
}

pub(crate) fn apply(table: TableId) -> Stmt {
    Stmt::Apply { table, then: Outcome::Any }
}

pub(crate) fn to(state: u32) -> Target {
    Target::State(gantry_p4c::ir::StateId(state))
}

pub(crate) fn value(value: u128) -> Match {
    Match::Value(value)
}
