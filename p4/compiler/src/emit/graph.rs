//! A drawing of a program in Graphviz's dot: the parser's states, and the order of the control's tables. The order of its lines
//! follows the program, so that the same program gives the same text.

use std::fmt::Write as _;

use super::notation;
use crate::ir::{Outcome, Parser, Program, Stmt, TableId, Target, Transition};

/// The drawing.
#[must_use]
pub fn emit(program: &Program) -> String {
    let mut dot = format!("digraph {} {{\n", quoted(&program.name));
    dot.push_str("    rankdir=TB;\n    node [fontname=\"sans-serif\", fontsize=10];\n");
    dot.push_str("    edge [fontname=\"sans-serif\", fontsize=9];\n");
    if let Some(parser) = &program.parser {
        let mut graph = Graph::default();
        states(program, parser, &mut graph);
        graph.write(&mut dot, "parser", &parser.name);
    }
    if let Some(control) = &program.control {
        let mut walk = Walk { program, graph: Graph::default(), conditions: 0 };
        walk.graph.node("begin", "", "circle");
        let open = walk.body(&control.body, vec![("begin".to_owned(), String::new())]);
        walk.finish(open);
        walk.graph.write(&mut dot, "control", &control.name);
    }
    dot.push_str("}\n");
    dot
}

/// Nodes and edges, each once, in the order in which they were found.
#[derive(Default)]
struct Graph {
    nodes: Vec<(String, String, &'static str)>,
    edges: Vec<(String, String, Vec<String>)>,
}

impl Graph {
    fn node(&mut self, id: &str, label: &str, shape: &'static str) {
        if !self.nodes.iter().any(|(other, ..)| other == id) {
            self.nodes.push((id.to_owned(), label.to_owned(), shape));
        }
    }

    /// Several reasons for one way are one edge with several lines.
    fn edge(&mut self, from: &str, to: &str, label: &str) {
        let at = self.edges.iter().position(|(a, b, _)| a == from && b == to).unwrap_or_else(|| {
            self.edges.push((from.to_owned(), to.to_owned(), Vec::new()));
            self.edges.len() - 1
        });
        let labels = &mut self.edges[at].2;
        if !label.is_empty() && !labels.iter().any(|other| other == label) {
            labels.push(label.to_owned());
        }
    }

    fn write(&self, dot: &mut String, prefix: &str, title: &str) {
        let id = |node: &str| quoted(&format!("{prefix} {node}"));
        let mut line = |text: String| writeln!(dot, "    {text}").expect("a String takes everything");
        line(format!("subgraph {} {{", quoted(&format!("cluster {prefix}"))));
        line(format!("    label={};", quoted(title)));
        for (node, label, shape) in &self.nodes {
            line(format!("    {} [label={}, shape={shape}];", id(node), quoted(label)));
        }
        for (from, to, labels) in &self.edges {
            let label =
                if labels.is_empty() { String::new() } else { format!(" [label={}]", quoted(&labels.join("\n"))) };
            line(format!("    {} -> {}{label};", id(from), id(to)));
        }
        line("}".to_owned());
    }
}

fn states(program: &Program, parser: &Parser, graph: &mut Graph) {
    for state in &parser.states {
        graph.node(&format!("state {}", state.name), &state.name, "box");
    }
    let draw = |graph: &mut Graph, from: &str, target: Target, label: &str| {
        let (id, shape) = match target {
            Target::State(state) => (format!("state {}", parser.states[state.index()].name), "box"),
            Target::Accept => ("accept".to_owned(), "doublecircle"),
            Target::Reject => ("reject".to_owned(), "doublecircle"),
        };
        graph.node(&id, &id, shape);
        graph.edge(from, &id, label);
    };
    for state in &parser.states {
        let from = format!("state {}", state.name);
        match &state.transition {
            Transition::To(target) => draw(graph, &from, *target, ""),
            Transition::Select { keys, cases } => {
                for (wanted, target) in cases {
                    let each = wanted.iter().zip(keys).map(|(wanted, key)| notation::matching(program, *wanted, key));
                    draw(graph, &from, *target, &each.collect::<Vec<_>>().join(", "));
                }
            }
        }
    }
}

/// Ways that are still open: from which node, and on what condition.
type Open = Vec<(String, String)>;

/// A walk through the control's statements.
struct Walk<'p> {
    program: &'p Program,
    graph: Graph,
    conditions: usize,
}

impl Walk<'_> {
    fn body(&mut self, body: &[Stmt], mut open: Open) -> Open {
        for stmt in body.iter().filter(|stmt| decides(stmt)) {
            open = self.statement(stmt, open);
        }
        open
    }

    fn statement(&mut self, stmt: &Stmt, open: Open) -> Open {
        match stmt {
            Stmt::If { condition, then, otherwise } => {
                let id = format!("if {}", self.conditions);
                self.conditions += 1;
                self.graph.node(&id, &notation::expression(self.program, condition), "diamond");
                self.join(open, &id);
                let mut rest = self.body(then, vec![(id.clone(), "true".to_owned())]);
                rest.extend(self.body(otherwise, vec![(id, "false".to_owned())]));
                rest
            }
            Stmt::Apply { table, then } => self.apply(*table, then, open),
            Stmt::Return | Stmt::Exit => {
                self.finish(open);
                Open::new()
            }
            _ => unreachable!("other statements decide nothing"),
        }
    }

    fn apply(&mut self, table: TableId, then: &Outcome, open: Open) -> Open {
        let program = self.program;
        let declared = &program.tables[table.index()];
        let id = format!("table {}", declared.name);
        self.graph.node(&id, &declared.name, "box");
        self.join(open, &id);
        for listed in &declared.actions {
            let action = &program.actions[listed.action.index()];
            if action.body.iter().any(exits) {
                self.finish(vec![(id.clone(), format!("{}: exit", action.name))]);
            }
        }
        let from = |label: &str| vec![(id.clone(), label.to_owned())];
        match then {
            Outcome::Any => from(""),
            Outcome::Hit { hit, miss } => {
                let mut rest = self.body(hit, from("hit"));
                rest.extend(self.body(miss, from("miss")));
                rest
            }
            Outcome::Action { cases, otherwise } => {
                let mut rest = Open::new();
                for (actions, body) in cases {
                    let names: Vec<_> = actions.iter().map(|id| program.actions[id.index()].name.as_str()).collect();
                    rest.extend(self.body(body, from(&names.join("\n"))));
                }
                rest.extend(self.body(otherwise, from("other actions")));
                rest
            }
        }
    }

    fn join(&mut self, open: Open, to: &str) {
        for (from, label) in open {
            self.graph.edge(&from, to, &label);
        }
    }

    fn finish(&mut self, open: Open) {
        if !open.is_empty() {
            self.graph.node("end", "", "doublecircle");
            self.join(open, "end");
        }
    }
}

/// Whether a statement decides which table is next.
fn decides(stmt: &Stmt) -> bool {
    match stmt {
        Stmt::Apply { .. } | Stmt::Return | Stmt::Exit => true,
        Stmt::If { then, otherwise, .. } => then.iter().chain(otherwise).any(decides),
        _ => false,
    }
}

fn exits(stmt: &Stmt) -> bool {
    match stmt {
        Stmt::Exit => true,
        Stmt::If { then, otherwise, .. } => then.iter().chain(otherwise).any(exits),
        _ => false,
    }
}

/// As dot writes strings.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
