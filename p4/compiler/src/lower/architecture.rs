//! The package's instance `main` (P4_16 1.2.4 §15, §17): which blocks there are, whether they are what the architecture asks for,
//! and the storage of their parameters. Nothing here knows one architecture from another.

use super::notes::notes;
use super::scope::Symbol;
use super::storage::Storage;
use super::types::{Bindings, Ty};
use super::{Lowering, Place};
use crate::ast::{self, Declaration, Direction, ExprKind, Parameter, Signature, TypeKind};
use crate::diagnostics::Diagnostic;
use crate::ir::{self, VarKind};
use crate::source::Span;

/// A block of the package.
#[derive(Clone, Copy)]
enum Block<'a> {
    Parser(&'a ast::Parser),
    Control(&'a ast::Control),
}

impl<'a> Block<'a> {
    fn signature(self) -> &'a Signature {
        match self {
            Self::Parser(it) => &it.signature,
            Self::Control(it) => &it.signature,
        }
    }
}

/// What the architecture does with metadata of one type.
#[derive(Clone, Copy, Default)]
struct Use {
    input: bool,
    output: bool,
}

impl<'a> Lowering<'a> {
    /// Whether an instance is one of a package.
    pub(super) fn is_package(&self, declared: &ast::Instance) -> bool {
        let path = match &declared.ty.kind {
            TypeKind::Named(path) => path,
            TypeKind::Specialised { generic, .. } => generic,
            _ => return false,
        };
        matches!(self.globals.find(&path.name.text), Some((Symbol::Package(_), _)))
    }

    /// Where the program's instance is; the start of the program if it has none.
    pub(super) fn main_span(&self) -> Span {
        self.globals.find("main").map_or_else(Span::default, |(_, span)| *span)
    }

    /// Lowers the program from its package's instance on.
    pub(super) fn package(&mut self, program: &'a ast::Program) {
        let instances = program.declarations.iter().filter_map(|declaration| match declaration {
            Declaration::Instance(it) if self.is_package(it) => Some(it),
            _ => None,
        });
        let instances: Vec<&'a ast::Instance> = instances.collect();
        let mains: Vec<_> = instances.iter().filter(|it| &*it.name.text == "main").collect();
        for other in instances.iter().filter(|it| &*it.name.text != "main") {
            self.tell(Diagnostic::new(other.name.span, "the program's package must be called `main` (P4_16 §17)"));
        }
        let Some(main) = mains.first().copied().copied() else {
            if instances.is_empty() {
                let end = program.declarations.last().map_or_else(Span::default, Declaration::span);
                self.tell(
                    Diagnostic::new(end, "the program has no package instance `main`")
                        .remedy("end it with one: `PNA_NIC(MyParser(), MyControl(), MyDeparser()) main;`"),
                );
            }
            return;
        };
        let (TypeKind::Named(path) | TypeKind::Specialised { generic: path, .. }) = &main.ty.kind else { return };
        let Symbol::Package(package) = self.lookup(path) else { return };
        self.made.ir.package = package.name.text.to_string();
        self.made.ir.notes = notes(&main.preamble, &[]);
        let Some(blocks) = self.blocks(package, main) else { return };
        self.metadata(&blocks);
        for block in &blocks {
            self.lower_block(*block);
        }
        self.parser_error(&blocks);
    }

    /// The blocks that are the package's arguments, checked against what it asks for.
    fn blocks(&mut self, package: &'a ast::Package, main: &'a ast::Instance) -> Option<Vec<Block<'a>>> {
        let parameters: Vec<&Parameter> = package.parameters.iter().collect();
        let arguments =
            self.arguments(&format!("package `{}`", package.name), &parameters, &main.arguments, main.span)?;
        let mut bindings = Bindings::free(&package.type_parameters);
        if let TypeKind::Specialised { arguments, .. } = &main.ty.kind {
            if arguments.len() != package.type_parameters.len() {
                let (takes, given) = (package.type_parameters.len(), arguments.len());
                let message = format!("package `{}` takes {takes} type arguments, not {given}", package.name);
                self.tell(Diagnostic::new(main.ty.span, message));
                return None;
            }
            for (name, written) in package.type_parameters.iter().zip(arguments) {
                let ty = self.resolve(written, &Bindings::default());
                if !matches!(ty, Ty::Parameter(_)) {
                    bindings.bind(&name.text, ty);
                }
            }
        }
        let mut blocks = Vec::new();
        for (parameter, argument) in parameters.iter().zip(arguments) {
            let argument = argument?;
            let block = self.block_of(argument)?;
            self.check_block(block, parameter, &mut bindings, argument.span);
            blocks.push(block);
        }
        Some(blocks)
    }

    fn block_of(&mut self, argument: &'a ast::Expr) -> Option<Block<'a>> {
        let form = "blocks are given as `MyControl()`";
        let ExprKind::Call { callee, arguments, .. } = &argument.kind else {
            self.tell(Diagnostic::new(argument.span, "this is no block").remedy(form));
            return None;
        };
        let ExprKind::Name(path) = &callee.kind else {
            self.tell(Diagnostic::new(argument.span, "this is no block").remedy(form));
            return None;
        };
        let (block, takes) = match self.lookup(path) {
            Symbol::Parser(it) => (Block::Parser(it), &it.constructor),
            Symbol::Control(it) => (Block::Control(it), &it.constructor),
            Symbol::Wrong => return None,
            other => {
                self.tell(
                    Diagnostic::new(path.span, format!("`{path}` is {}, not a block", other.noun())).remedy(form),
                );
                return None;
            }
        };
        if !takes.is_empty() || !arguments.is_empty() {
            self.tell(
                Diagnostic::new(argument.span, "blocks take no constructor arguments here")
                    .remedy("use constants of the program"),
            );
        }
        Some(block)
    }

    /// Holds a block's parameters to those that the architecture gives to it.
    fn check_block(&mut self, block: Block<'a>, parameter: &'a Parameter, bindings: &mut Bindings, span: Span) {
        let (path, written) = match &parameter.ty.kind {
            TypeKind::Named(path) => (path, &[][..]),
            TypeKind::Specialised { generic, arguments } => (generic, arguments.as_slice()),
            _ => {
                self.tell(Diagnostic::new(parameter.ty.span, "a package's parameters are parsers and controls"));
                return;
            }
        };
        let Symbol::Signature(wanted) = self.lookup(path) else {
            self.tell(Diagnostic::new(parameter.ty.span, "a package's parameters are parsers and controls"));
            return;
        };
        let has = block.signature();
        if wanted.parameters.len() != has.parameters.len() {
            let (takes, given) = (wanted.parameters.len(), has.parameters.len());
            let message = format!("`{}` has {given} parameters, `{}` asks for {takes}", has.name, wanted.name);
            self.tell(
                Diagnostic::new(has.name.span, message)
                    .mark(wanted.name.span, "declared here")
                    .mark(span, "given here"),
            );
            return;
        }
        // The signature's type parameters are the package's, by the arguments that it has there.
        for (wanted, has) in wanted.parameters.iter().zip(&has.parameters) {
            let ty = self.resolve(&has.ty, &Bindings::default());
            let expected = self.expected(&wanted.ty, block_parameters(self, path), written, bindings);
            let expected = match expected {
                Expected::Ty(ty) => ty,
                Expected::Free(name) => {
                    bindings.bind(&name, ty.clone());
                    ty.clone()
                }
            };
            if ty != expected && ty != Ty::Unknown && expected != Ty::Unknown {
                let message = format!(
                    "parameter `{}` is of type {}, the architecture's of {}",
                    has.name,
                    self.show(&ty),
                    self.show(&expected)
                );
                self.tell(Diagnostic::new(has.span, message).mark(wanted.span, "declared here"));
            }
            if has.direction != wanted.direction {
                let message = format!(
                    "parameter `{}` is {}, the architecture's {}",
                    has.name,
                    direction(has.direction),
                    direction(wanted.direction)
                );
                self.tell(Diagnostic::new(has.span, message).mark(wanted.span, "declared here"));
            }
        }
    }

    /// The type that the architecture asks for: of a signature's parameter, whose type may be one of the package's parameters.
    fn expected(
        &mut self,
        written: &'a ast::TypeRef,
        own: &'a [ast::Name],
        given: &'a [ast::TypeRef],
        bindings: &Bindings,
    ) -> Expected {
        if let TypeKind::Named(path) = &written.kind
            && let Some(place) = own.iter().position(|name| name.text == path.name.text)
        {
            let Some(given) = given.get(place) else { return Expected::Ty(Ty::Unknown) };
            if let TypeKind::Named(path) = &given.kind
                && let Some(known) = bindings.find(&path.name.text)
            {
                return known.clone().map_or_else(|| Expected::Free(path.name.text.clone()), Expected::Ty);
            }
            return Expected::Ty(self.resolve(given, bindings));
        }
        Expected::Ty(self.resolve(written, bindings))
    }

    /// Makes the storage of everything that the blocks share. Of what the first block that has it reads, the architecture sets the
    /// value; what any block may write, it looks at.
    fn metadata(&mut self, blocks: &[Block<'a>]) {
        let mut uses: Vec<((Ty, String), Use, &'a Parameter)> = Vec::new();
        for block in blocks {
            let parameters = &block.signature().parameters;
            for (place, parameter) in parameters.iter().enumerate() {
                let ty = self.resolve(&parameter.ty, &Bindings::default());
                if matches!(ty, Ty::Extern(..) | Ty::Unknown) {
                    continue;
                }
                let key = self.sharing(&ty, &parameters[..place], parameter);
                let reads = matches!(parameter.direction, Direction::In | Direction::InOut | Direction::None);
                let writes = matches!(parameter.direction, Direction::Out | Direction::InOut);
                match uses.iter_mut().find(|(known, ..)| *known == key) {
                    Some((_, known, _)) => known.output |= writes,
                    None => uses.push((key, Use { input: reads, output: writes }, parameter)),
                }
            }
        }
        let mut names: Vec<String> = Vec::new();
        for ((ty, told), how, parameter) in uses {
            let mut name = parameter.name.text.to_string();
            if names.contains(&name) {
                // Two structs under one name in two blocks: the type tells them apart.
                name = format!("{name}_{}", self.show(&ty));
            }
            names.push(name.clone());
            let kind = VarKind::Metadata { input: how.input, output: how.output };
            let storage = self.storage(&ty, &name, kind, parameter.name.span);
            self.shared.insert((ty, told), storage);
        }
    }

    /// What tells storage apart: the type, and the parameter's name where the type alone does not do: of plain values, and where
    /// one block has two of a type.
    fn sharing(&mut self, ty: &Ty, before: &'a [Parameter], parameter: &Parameter) -> (Ty, String) {
        let plain = !matches!(ty, Ty::Struct(_) | Ty::Header(_));
        let again = before.iter().any(|other| self.resolve(&other.ty, &Bindings::default()) == *ty);
        let name = if plain || again { parameter.name.text.to_string() } else { String::new() };
        (ty.clone(), name)
    }

    pub(super) fn parameter_storage(&mut self, ty: &Ty, before: &'a [Parameter], parameter: &Parameter) -> Storage {
        if let Ty::Extern(index, _) = ty {
            let name = &self.extern_objects[*index as usize].name;
            return match &*name.text {
                "packet_in" | "packet_out" => Storage::Packet { ty: ty.clone() },
                _ => {
                    let message = format!("a block cannot be given instances of `{name}` here");
                    self.tell(
                        Diagnostic::new(parameter.span, message).remedy("declare the instance inside of the block"),
                    );
                    Storage::Wrong
                }
            };
        }
        let key = self.sharing(ty, before, parameter);
        self.shared.get(&key).cloned().unwrap_or(Storage::Wrong)
    }

    fn lower_block(&mut self, block: Block<'a>) {
        let signature = block.signature();
        let (name, span) = (signature.name.text.to_string(), signature.name.span);
        if let Some(parameter) = signature.type_parameters.first() {
            self.tell(Diagnostic::new(parameter.span, "blocks take no type parameters (P4_16 §13.2, §14)"));
        }
        self.block = signature.name.text.clone();
        let doc = signature.preamble.doc.to_string();
        match block {
            Block::Parser(it) => {
                if self.made.ir.parser.is_some() {
                    self.tell(Diagnostic::new(span, "a package has one parser at most here"));
                    return;
                }
                self.place = Place::Parser;
                let states = self.parser(it);
                self.made.ir.parser = Some(ir::Parser { name, states, doc });
            }
            Block::Control(it) => {
                let deparser = it.signature.parameters.iter().any(|it| self.is_packet_out(&it.ty));
                self.place = if deparser { Place::Deparser } else { Place::Control };
                let body = self.control(it);
                let again = if deparser { self.made.ir.deparser.is_some() } else { self.made.ir.control.is_some() };
                if again {
                    let what = if deparser { "deparser" } else { "control" };
                    self.tell(
                        Diagnostic::new(span, format!("a package has one {what} at most here"))
                            .remedy("make one of them, one part after the other"),
                    );
                } else if deparser {
                    self.made.ir.deparser = Some(ir::Deparser { name, body });
                } else {
                    self.made.ir.control = Some(ir::Control { name, body, doc });
                }
            }
        }
        self.place = Place::Declarations;
        self.block = "".into();
    }

    fn is_packet_out(&self, ty: &ast::TypeRef) -> bool {
        matches!(&ty.kind, TypeKind::Named(path) if &*path.name.text == "packet_out")
    }

    fn control(&mut self, control: &'a ast::Control) -> Vec<ir::Stmt> {
        let (tables, actions) = (self.made.tables.len(), self.made.actions.len());
        let ((), body) = self.scoped(|this| {
            this.block_parameters(&control.signature.parameters);
            this.collect(|this| {
                this.locals(&control.locals);
                this.block(&control.body.statements);
                for index in tables..this.made.tables.len() {
                    this.check_table(index);
                }
                for index in actions..this.made.actions.len() {
                    if this.made.actions[index].lowered.is_none() {
                        this.check_only(|this| this.check_action(index));
                    }
                }
            })
        });
        body
    }

    /// Metadata that tells the control how the parser ended: the first `in` value of type `error` that the control has.
    fn parser_error(&mut self, blocks: &[Block<'a>]) {
        let (Some(_), Some(control)) = (&self.made.ir.parser, &self.made.ir.control) else { return };
        let name = control.name.clone();
        let Some(block) = blocks.iter().find(|it| *it.signature().name.text == *name) else { return };
        let parameters = &block.signature().parameters;
        for (place, parameter) in parameters.iter().enumerate().filter(|(_, it)| it.direction == Direction::In) {
            let ty = self.resolve(&parameter.ty, &Bindings::default());
            let key = self.sharing(&ty, &parameters[..place], parameter);
            if let Some(storage) = self.shared.get(&key)
                && let Some(var) = error_in(storage)
            {
                self.made.ir.parser_error = Some(var);
                return;
            }
        }
    }
}

/// What a parameter's type is to be.
enum Expected {
    Ty(Ty),
    /// Whatever it is: a type parameter of the package that nothing is known of yet.
    Free(std::rc::Rc<str>),
}

/// Type parameters of the signature that a path names.
fn block_parameters<'a>(lowering: &Lowering<'a>, path: &ast::Path) -> &'a [ast::Name] {
    match lowering.globals.find(&path.name.text) {
        Some((Symbol::Signature(it), _)) => &it.type_parameters,
        _ => &[],
    }
}

fn error_in(storage: &Storage) -> Option<ir::VarId> {
    match storage {
        Storage::Scalar { place, ty: Ty::Error } => Some(place.var),
        Storage::Struct { fields, .. } => fields.iter().find_map(error_in),
        _ => None,
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::None => "without a direction",
        Direction::In => "`in`",
        Direction::Out => "`out`",
        Direction::InOut => "`inout`",
    }
}
