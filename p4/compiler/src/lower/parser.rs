//! Parsers (P4_16 1.2.4 §13): states in an order in which each comes before its successors.

use std::collections::HashMap;
use std::rc::Rc;

use super::Lowering;
use super::expression::Value;
use super::types::Ty;
use crate::ast::{self, ExprKind, Name};
use crate::diagnostics::Diagnostic;
use crate::ir::{Match, State, StateId, Stmt, Target, Transition};

/// Where a transition leads, before states have their final places.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    State(usize),
    Accept,
    Reject,
}

/// The states of a parser by their names.
struct States<'a> {
    all: &'a [ast::State],
    places: HashMap<Rc<str>, usize>,
    /// Where each leads, in order of its cases.
    next: Vec<Vec<Next>>,
}

impl<'a> Lowering<'a> {
    pub(super) fn parser(&mut self, parser: &'a ast::Parser) -> Vec<State> {
        let states = self.states(parser);
        let order = self.order(&states, parser);
        self.scoped(|this| {
            this.block_parameters(&parser.signature.parameters);
            let ((), first) = this.collect(|this| this.locals(&parser.locals));
            let mut first = Some(first);
            let mut made = Vec::new();
            for &place in &order {
                let mut state = this.state(&states, place, &order);
                // First values of the parser's variables; `start` is where every packet begins, and only once.
                if let Some(mut first) = first.take() {
                    first.append(&mut state.body);
                    state.body = first;
                }
                made.push(state);
            }
            for place in (0..states.all.len()).filter(|place| !order.contains(place)) {
                this.check_only(|this| {
                    this.state(&states, place, &order);
                });
            }
            made
        })
    }

    fn states(&mut self, parser: &'a ast::Parser) -> States<'a> {
        let mut places = HashMap::new();
        for (place, state) in parser.states.iter().enumerate() {
            let name = &state.name;
            if matches!(&*name.text, "accept" | "reject") {
                self.tell(Diagnostic::new(name.span, format!("state `{name}` is there by itself (P4_16 §13.1)")));
            } else if let Some(first) = places.insert(name.text.clone(), place) {
                let first = parser.states[first].name.span;
                let message = format!("state `{name}` is declared twice");
                self.tell(Diagnostic::new(name.span, message).mark(first, "declared here"));
            }
        }
        let mut states = States { all: &parser.states, places, next: Vec::new() };
        for state in &parser.states {
            let next = match &state.transition {
                None => Vec::new(),
                Some(ast::Transition::To(name)) => vec![self.next(&states, name)],
                Some(ast::Transition::Select { cases, .. }) => {
                    cases.iter().map(|case| self.next(&states, &case.target)).collect()
                }
            };
            states.next.push(next);
        }
        states
    }

    fn next(&mut self, states: &States<'a>, name: &Name) -> Next {
        match &*name.text {
            "accept" => Next::Accept,
            "reject" => Next::Reject,
            text => match states.places.get(text) {
                Some(place) => Next::State(*place),
                None => {
                    self.tell(
                        Diagnostic::new(name.span, format!("there is no state `{name}`"))
                            .remedy("states are those of this parser, accept and reject"),
                    );
                    Next::Reject
                }
            },
        }
    }

    /// The states that `start` leads to, each before its successors; told if they go round.
    fn order(&mut self, states: &States<'a>, parser: &'a ast::Parser) -> Vec<usize> {
        let Some(start) = states.places.get("start").copied() else {
            self.tell(
                Diagnostic::new(parser.signature.name.span, "the parser has no state `start`")
                    .remedy("parsing begins there (P4_16 §13.1)"),
            );
            return Vec::new();
        };
        // Depth first without recursion; a state is done when all it leads to is, and the order is the reverse of that.
        let mut done = Vec::new();
        let mut seen = vec![false; states.all.len()];
        let mut path = vec![(start, states.next[start].len())];
        seen[start] = true;
        while let Some((state, left)) = path.last_mut() {
            let state = *state;
            if *left == 0 {
                done.push(state);
                path.pop();
                continue;
            }
            // The last case first: reversed, the first case comes first.
            *left -= 1;
            let Next::State(next) = states.next[state][*left] else { continue };
            if let Some(from) = path.iter().position(|(on_path, _)| *on_path == next) {
                let round: Vec<usize> = path[from..].iter().map(|(state, _)| *state).collect();
                self.tell_loop(states, &round);
            } else if !seen[next] {
                seen[next] = true;
                path.push((next, states.next[next].len()));
            }
        }
        done.reverse();
        done
    }

    fn tell_loop(&mut self, states: &States<'a>, round: &[usize]) {
        let name = |place: usize| states.all[place].name.text.to_string();
        let mut names: Vec<String> = round.iter().map(|place| name(*place)).collect();
        names.extend(names.first().cloned());
        let message = format!("the parser goes round: {}", names.join(" -> "));
        let mut diagnostic = Diagnostic::new(states.all[round[0]].name.span, message)
            .remedy("repeat the state under other names, as often as it may occur");
        for place in &round[1..] {
            diagnostic = diagnostic.mark(states.all[*place].name.span, "on the way round");
        }
        self.tell(diagnostic);
    }

    fn state(&mut self, states: &States<'a>, place: usize, order: &[usize]) -> State {
        let declared = &states.all[place];
        let target = |next: Next| match next {
            Next::Accept => Target::Accept,
            Next::Reject => Target::Reject,
            Next::State(place) => {
                let id = order.iter().position(|known| *known == place).unwrap_or_default();
                Target::State(StateId(u32::try_from(id).expect("fewer states than bytes")))
            }
        };
        let (transition, body) = self.collect(|this| {
            this.scoped(|this| {
                this.statements(&declared.body);
                match &declared.transition {
                    None => Transition::To(Target::Reject),
                    Some(ast::Transition::To(_)) => Transition::To(target(states.next[place][0])),
                    Some(ast::Transition::Select { keys, cases, .. }) => {
                        let targets = states.next[place].iter().map(|next| target(*next)).collect();
                        this.select(keys, cases, targets)
                    }
                }
            })
        });
        State { name: declared.name.text.to_string(), body: fold_verify(body), transition }
    }

    fn select(&mut self, keys: &'a [ast::Expr], cases: &'a [ast::SelectCase], targets: Vec<Target>) -> Transition {
        let (mut exprs, mut types) = (Vec::new(), Vec::new());
        let mut values: Vec<Value> = Vec::new();
        for key in keys {
            let mark = self.code.len();
            let value = self.expr(key);
            self.keep_before(mark, values.iter_mut(), key.span);
            values.push(value);
        }
        for (key, value) in keys.iter().zip(values) {
            let ty = self.type_of(&value).unwrap_or(Ty::Unknown);
            match (value, self.representation(&ty)) {
                (Value::Scalar { expr, .. }, Some(_)) => exprs.push(expr),
                (Value::Wrong, _) => {}
                (other, _) => {
                    let message =
                        format!("a select looks at bits, bools, enums or errors, not at {}", self.describe(&other));
                    self.tell(Diagnostic::new(key.span, message).remedy("name its parts: `select(x.a, x.b)`"));
                }
            }
            types.push(ty);
        }
        let mut made = Vec::new();
        for (case, target) in cases.iter().zip(targets) {
            let all = |it: &ast::Expr| matches!(it.kind, ExprKind::Default | ExprKind::Any);
            let matches: Vec<Option<Match>> = match case.matches.as_slice() {
                [one] if all(one) => vec![Some(Match::Any); keys.len()],
                several if several.len() == keys.len() => {
                    several.iter().zip(&types).map(|(it, ty)| self.matching(it, ty)).collect()
                }
                several => {
                    let message = format!("the select has {} keys, the case {}", keys.len(), several.len());
                    self.tell(Diagnostic::new(case.span, message).remedy("write `_` for a key that does not matter"));
                    continue;
                }
            };
            if let Some(matches) = matches.into_iter().collect::<Option<Vec<Match>>>() {
                made.push((matches, target));
            }
        }
        // What comes behind a case for everything is never reached.
        if let Some(last) = made.iter().position(|(matches, _)| matches.iter().all(|it| *it == Match::Any)) {
            made.truncate(last + 1);
        }
        match made.as_slice() {
            [(matches, target)] if matches.iter().all(|it| *it == Match::Any) => Transition::To(*target),
            _ => Transition::Select { keys: exprs, cases: made },
        }
    }
}

/// Nothing follows a `verify` that never holds.
fn fold_verify(mut body: Vec<Stmt>) -> Vec<Stmt> {
    let never =
        |stmt: &Stmt| matches!(stmt, Stmt::Verify { condition, .. } if super::constant::value(condition) == Some(0));
    if let Some(place) = body.iter().position(never) {
        body.truncate(place + 1);
    }
    body
}
