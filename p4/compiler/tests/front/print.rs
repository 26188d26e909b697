//! The syntax tree as text again: every operator in brackets, everything else as it was written.

use gantry_p4c::ast::*;

/// Prints trees; how a number is written is the caller's choice.
pub(crate) struct Printer<'f> {
    pub(crate) number: &'f dyn Fn(&Expr, Number) -> String,
}

impl Printer<'_> {
    pub(crate) fn program(&self, program: &Program) -> String {
        program.declarations.iter().map(|declaration| self.declaration(declaration) + "\n").collect()
    }

    fn declaration(&self, declaration: &Declaration) -> String {
        match declaration {
            Declaration::Const(it) => self.constant(it),
            Declaration::Typedef(it) => {
                let word = if it.distinct { "type" } else { "typedef" };
                format!("{}{word} {} {};", self.preamble(&it.preamble), self.ty(&it.ty), it.name)
            }
            Declaration::Header(it) => self.fields("header", it),
            Declaration::Struct(it) => self.fields("struct", it),
            Declaration::Enum(it) => {
                let representation = it.representation.as_ref().map(|ty| self.ty(ty) + " ").unwrap_or_default();
                let members = it.members.iter().map(|member| {
                    let value =
                        member.value.as_ref().map(|value| format!(" = {}", self.expr(value))).unwrap_or_default();
                    format!("{}{}{value},", self.preamble(&member.preamble), member.name)
                });
                let members: String = members.collect();
                format!("{}enum {representation}{} {{ {members} }}", self.preamble(&it.preamble), it.name)
            }
            Declaration::Error(it) => format!("error {{ {} }}", join(&it.names, Name::to_string)),
            Declaration::MatchKind(it) => format!("match_kind {{ {} }}", join(&it.names, Name::to_string)),
            Declaration::Extern(it) => {
                // Constructors first, whatever their order was.
                let constructors = it.constructors.iter().map(|it| {
                    format!("{}{}({});\n", self.preamble(&it.preamble), it.name, self.parameters(&it.parameters))
                });
                let methods = it.methods.iter().map(|it| self.method(it));
                let members: String = constructors.chain(methods).collect();
                let head = format!("{}extern {}{}", self.preamble(&it.preamble), it.name, types(&it.type_parameters));
                format!("{head} {{\n{members}}}")
            }
            Declaration::Function(it) => {
                let preamble = self.preamble(&it.preamble);
                format!("{preamble}extern {}", self.method(it).trim_start_matches(&preamble))
            }
            Declaration::Action(it) => self.action(it),
            Declaration::ParserType(it) => format!("{};", self.signature("parser", it)),
            Declaration::ControlType(it) => format!("{};", self.signature("control", it)),
            Declaration::Parser(it) => {
                let locals: String = it.locals.iter().map(|local| self.local(local)).collect();
                let states: String = it.states.iter().map(|state| self.state(state)).collect();
                let head = self.signature("parser", &it.signature);
                format!("{head}{} {{\n{locals}{states}}}", self.constructor(&it.constructor))
            }
            Declaration::Control(it) => {
                let locals: String = it.locals.iter().map(|local| self.local(local)).collect();
                let head = self.signature("control", &it.signature);
                let constructor = self.constructor(&it.constructor);
                let preamble = self.preamble(&it.body.preamble);
                format!("{head}{constructor} {{\n{locals}{preamble}apply {}}}", self.statements(&it.body))
            }
            Declaration::Package(it) => {
                let head = format!("{}package {}{}", self.preamble(&it.preamble), it.name, types(&it.type_parameters));
                format!("{head}({});", self.parameters(&it.parameters))
            }
            Declaration::Instance(it) => self.instance(it),
        }
    }

    fn preamble(&self, preamble: &Preamble) -> String {
        let doc: String = preamble.doc.lines().map(|line| format!("\n/// {line}")).collect();
        let doc = if doc.is_empty() { doc } else { doc + "\n" };
        doc + &preamble.annotations.iter().map(|annotation| format!("{} ", annotation.text)).collect::<String>()
    }

    /// The annotations that stand behind something.
    fn behind(&self, preamble: &Preamble) -> String {
        preamble.annotations.iter().map(|annotation| format!(" {}", annotation.text)).collect()
    }

    fn fields(&self, word: &str, it: &Fields) -> String {
        let field =
            |field: &Field| format!("{}{} {};\n", self.preamble(&field.preamble), self.ty(&field.ty), field.name);
        let fields: String = it.fields.iter().map(field).collect();
        format!("{}{word} {}{} {{\n{fields}}}", self.preamble(&it.preamble), it.name, types(&it.type_parameters))
    }

    fn constant(&self, it: &Const) -> String {
        format!("{}const {} {} = {};\n", self.preamble(&it.preamble), self.ty(&it.ty), it.name, self.expr(&it.value))
    }

    fn variable(&self, it: &Var) -> String {
        let value = it.value.as_ref().map(|value| format!(" = {}", self.expr(value))).unwrap_or_default();
        format!("{}{} {}{value};\n", self.preamble(&it.preamble), self.ty(&it.ty), it.name)
    }

    fn instance(&self, it: &Instance) -> String {
        format!("{}{}({}) {};\n", self.preamble(&it.preamble), self.ty(&it.ty), self.arguments(&it.arguments), it.name)
    }

    fn method(&self, it: &Method) -> String {
        let head = format!(
            "{}{} {}{}",
            self.preamble(&it.preamble),
            self.ty(&it.returns),
            it.name,
            types(&it.type_parameters)
        );
        format!("{head}({});\n", self.parameters(&it.parameters))
    }

    fn signature(&self, word: &str, it: &Signature) -> String {
        let head = format!("{}{word} {}{}", self.preamble(&it.preamble), it.name, types(&it.type_parameters));
        format!("{head}({})", self.parameters(&it.parameters))
    }

    fn constructor(&self, parameters: &[Parameter]) -> String {
        if parameters.is_empty() { String::new() } else { format!("({})", self.parameters(parameters)) }
    }

    fn parameters(&self, parameters: &[Parameter]) -> String {
        join(parameters, |it| {
            let direction = match it.direction {
                Direction::None => "",
                Direction::In => "in ",
                Direction::Out => "out ",
                Direction::InOut => "inout ",
            };
            let default = it.default.as_ref().map(|value| format!(" = {}", self.expr(value))).unwrap_or_default();
            format!("{}{direction}{} {}{default}", self.preamble(&it.preamble), self.ty(&it.ty), it.name)
        })
    }

    fn action(&self, it: &Action) -> String {
        let head = format!("{}action {}({})", self.preamble(&it.preamble), it.name, self.parameters(&it.parameters));
        format!("{head} {}", self.block(&it.body))
    }

    fn local(&self, local: &Local) -> String {
        match local {
            Local::Const(it) => self.constant(it),
            Local::Var(it) => self.variable(it),
            Local::Instance(it) => self.instance(it),
            Local::Action(it) => self.action(it),
            Local::Table(it) => self.table(it),
        }
    }

    fn table(&self, it: &Table) -> String {
        let constant = |constant: bool| if constant { "const " } else { "" };
        let mut text = format!("{}table {} {{\n", self.preamble(&it.preamble), it.name);
        if !it.keys.is_empty() {
            let keys = it.keys.iter().map(|key| {
                let doc = self.preamble(&Preamble { annotations: Vec::new(), ..key.preamble.clone() });
                format!("{doc}{} : {}{};\n", self.expr(&key.expr), key.match_kind, self.behind(&key.preamble))
            });
            text += &format!("key = {{\n{}}}\n", keys.collect::<String>());
        }
        let actions = it
            .actions
            .iter()
            .map(|action| format!("{}{};\n", self.preamble(&action.preamble), self.action_ref(action)));
        text += &format!("actions = {{\n{}}}\n", actions.collect::<String>());
        if let Some(default) = &it.default_action {
            text += &format!("{}default_action = {};\n", constant(default.constant), self.action_ref(&default.action));
        }
        if let Some(entries) = &it.entries {
            let entry = |entry: &Entry| {
                let priority = entry.priority.as_ref().map(|value| format!("priority = ({}): ", self.expr(value)));
                let doc = self.preamble(&Preamble { annotations: Vec::new(), ..entry.preamble.clone() });
                let head = format!("{doc}{}{}", constant(entry.constant), priority.unwrap_or_default());
                let action = self.action_ref(&entry.action);
                format!("{head}{} : {action}{};\n", self.matches(&entry.matches), self.behind(&entry.preamble))
            };
            let list: String = entries.entries.iter().map(entry).collect();
            text += &format!("{}entries = {{\n{list}}}\n", constant(entries.constant));
        }
        for property in &it.properties {
            let head = format!("{}{}{}", self.preamble(&property.preamble), constant(property.constant), property.name);
            text += &format!("{head} = {};\n", self.expr(&property.value));
        }
        text + "}\n"
    }

    fn action_ref(&self, it: &ActionRef) -> String {
        let arguments = it.arguments.as_ref().map(|arguments| format!("({})", self.arguments(arguments)));
        format!("{}{}", it.path, arguments.unwrap_or_default())
    }

    fn state(&self, it: &State) -> String {
        let body: String = it.body.iter().map(|statement| self.statement(statement)).collect();
        let transition = match &it.transition {
            None => String::new(),
            Some(Transition::To(target)) => format!("transition {target};\n"),
            Some(Transition::Select { keys, cases, .. }) => {
                let cases = cases.iter().map(|case| format!("{}: {};\n", self.matches(&case.matches), case.target));
                let keys = join(keys, |key| self.expr(key));
                format!("transition select({keys}) {{\n{}}}\n", cases.collect::<String>())
            }
        };
        format!("{}state {} {{\n{body}{transition}}}\n", self.preamble(&it.preamble), it.name)
    }

    fn matches(&self, matches: &[Expr]) -> String {
        format!("({})", join(matches, |one| self.expr(one)))
    }

    fn block(&self, it: &Block) -> String {
        format!("{}{}", self.preamble(&it.preamble), self.statements(it))
    }

    fn statements(&self, it: &Block) -> String {
        let statements: String = it.statements.iter().map(|statement| self.statement(statement)).collect();
        format!("{{\n{statements}}}\n")
    }

    fn statement(&self, statement: &Statement) -> String {
        match &statement.kind {
            StatementKind::Assign { target, value } => format!("{} = {};\n", self.expr(target), self.expr(value)),
            StatementKind::Call(call) => format!("{};\n", self.expr(call)),
            StatementKind::If { condition, then, otherwise } => {
                let otherwise = otherwise.as_ref().map(|it| format!("else {}", self.statement(it))).unwrap_or_default();
                format!("if ({}) {}{otherwise}", self.expr(condition), self.statement(then))
            }
            StatementKind::Switch { on, cases } => {
                let case = |case: &SwitchCase| {
                    let label = match &case.label {
                        Label::Value(value) => self.expr(value),
                        Label::Default(_) => "default".to_owned(),
                    };
                    format!("{label}: {}", case.body.as_ref().map(|body| self.block(body)).unwrap_or_default())
                };
                format!("switch ({}) {{\n{}}}\n", self.expr(on), cases.iter().map(case).collect::<String>())
            }
            StatementKind::Block(block) => self.block(block),
            StatementKind::Return(None) => "return;\n".to_owned(),
            StatementKind::Return(Some(value)) => format!("return {};\n", self.expr(value)),
            StatementKind::Exit => "exit;\n".to_owned(),
            StatementKind::Empty => ";\n".to_owned(),
            StatementKind::Const(it) => self.constant(it),
            StatementKind::Var(it) => self.variable(it),
        }
    }

    pub(crate) fn ty(&self, ty: &TypeRef) -> String {
        match &ty.kind {
            TypeKind::Bool => "bool".to_owned(),
            TypeKind::Bits(None) => "bit".to_owned(),
            TypeKind::Bits(Some(width)) => match width.kind {
                ExprKind::Number(_) => format!("bit<{}>", self.expr(width)),
                _ => format!("bit<({})>", self.expr(width)),
            },
            TypeKind::Int => "int".to_owned(),
            TypeKind::String => "string".to_owned(),
            TypeKind::Error => "error".to_owned(),
            TypeKind::MatchKind => "match_kind".to_owned(),
            TypeKind::Void => "void".to_owned(),
            TypeKind::Named(path) => path.to_string(),
            TypeKind::Specialised { generic, arguments } => format!("{generic}<{}>", join(arguments, |ty| self.ty(ty))),
            TypeKind::Tuple(members) => format!("tuple<{}>", join(members, |ty| self.ty(ty))),
            TypeKind::Any => "_".to_owned(),
        }
    }

    fn arguments(&self, arguments: &[Argument]) -> String {
        join(arguments, |argument| {
            let name = argument.name.as_ref().map(|name| format!("{name} = ")).unwrap_or_default();
            name + &self.expr(&argument.value)
        })
    }

    pub(crate) fn expr(&self, expr: &Expr) -> String {
        match &expr.kind {
            ExprKind::Number(number) => (self.number)(expr, *number),
            ExprKind::Bool(value) => value.to_string(),
            ExprKind::String(text) => format!("{text:?}"),
            ExprKind::Name(path) => path.to_string(),
            ExprKind::Error(name) => format!("error.{name}"),
            ExprKind::Member { of, member } => format!("{}.{member}", self.expr(of)),
            ExprKind::Slice { of, hi, lo } => format!("{}[{}:{}]", self.expr(of), self.expr(hi), self.expr(lo)),
            ExprKind::Index { of, index } => format!("{}[{}]", self.expr(of), self.expr(index)),
            ExprKind::Call { callee, type_arguments, arguments } => {
                let types = join(type_arguments, |ty| self.ty(ty));
                let types = if types.is_empty() { types } else { format!("<{types}>") };
                format!("{}{types}({})", self.expr(callee), self.arguments(arguments))
            }
            ExprKind::Cast { ty, of } => format!("(({}){})", self.ty(ty), self.expr(of)),
            ExprKind::Unary { op, of } => format!("({}{})", op.symbol(), self.expr(of)),
            ExprKind::Binary { op, left, right } => {
                format!("({} {} {})", self.expr(left), op.symbol(), self.expr(right))
            }
            ExprKind::Choice { condition, then, otherwise } => {
                format!("({} ? {} : {})", self.expr(condition), self.expr(then), self.expr(otherwise))
            }
            ExprKind::List(elements) => format!("{{{}}}", join(elements, |element| self.expr(element))),
            ExprKind::Struct(fields) => {
                format!("{{{}}}", join(fields, |(name, value)| format!("{name} = {}", self.expr(value))))
            }
            ExprKind::Mask { value, mask } => format!("{} &&& {}", self.expr(value), self.expr(mask)),
            ExprKind::Range { low, high } => format!("{} .. {}", self.expr(low), self.expr(high)),
            ExprKind::Default => "default".to_owned(),
            ExprKind::Any => "_".to_owned(),
            ExprKind::Rest => "...".to_owned(),
        }
    }
}

fn types(parameters: &[Name]) -> String {
    if parameters.is_empty() { String::new() } else { format!("<{}>", join(parameters, Name::to_string)) }
}

fn join<T>(elements: &[T], shown: impl Fn(&T) -> String) -> String {
    elements.iter().map(shown).collect::<Vec<_>>().join(", ")
}
