//! A control, cut at its tables: stretches of plain statements, each of which ends at a table or at the control's end.
//!
//! Control flow is forward only and a table is applied in one place, so the tables have an order in which a burst can visit
//! them, each packet skipping those that are not on its way.

use crate::ir::{ActionId, Control, Expr, Outcome, Stmt, TableId};

use super::walk;

/// A control in pieces.
#[derive(Default)]
pub(super) struct Split<'p> {
    /// What is done before the first table.
    pub(super) start: Vec<Node<'p>>,
    /// The tables in the order of the program.
    pub(super) sites: Vec<Site<'p>>,
    /// What several ways lead to.
    pub(super) joins: Vec<Join<'p>>,
}

/// Where a table is applied.
pub(super) struct Site<'p> {
    pub(super) table: TableId,
    pub(super) after: After<'p>,
}

/// What is done after a table.
pub(super) enum After<'p> {
    Any(Vec<Node<'p>>),
    Hit { hit: Vec<Node<'p>>, miss: Vec<Node<'p>> },
    Action { cases: Vec<(&'p [ActionId], Vec<Node<'p>>)>, otherwise: Vec<Node<'p>> },
}

/// A piece that several ways lead to.
pub(super) struct Join<'p> {
    /// The table that it comes after, for its name.
    pub(super) table: TableId,
    pub(super) body: Vec<Node<'p>>,
}

/// A statement of a piece. The last one of every list, and only that, says where to go.
pub(super) enum Node<'p> {
    /// A statement without tables in it.
    Plain(&'p Stmt),
    /// An `if` with tables in it.
    If { condition: &'p Expr, then: Vec<Node<'p>>, otherwise: Vec<Node<'p>> },
    /// To the table of this place in [`Split::sites`].
    Site(usize),
    /// To this place of [`Split::joins`].
    Join(usize),
    /// Out of the control.
    Done,
}

/// Where a piece leads if nothing says otherwise.
#[derive(Clone, Copy)]
enum Tail {
    Done,
    Join(usize),
    Site(usize),
}

impl Split<'_> {
    /// Number of nodes of a kind.
    pub(super) fn count(&self, wanted: &impl Fn(&Node<'_>) -> bool) -> usize {
        let of_sites = self.sites.iter().map(|site| match &site.after {
            After::Any(nodes) => count(nodes, wanted),
            After::Hit { hit, miss } => count(hit, wanted) + count(miss, wanted),
            After::Action { cases, otherwise } => {
                cases.iter().map(|(_, nodes)| count(nodes, wanted)).sum::<usize>() + count(otherwise, wanted)
            }
        });
        let of_joins = self.joins.iter().map(|join| count(&join.body, wanted));
        count(&self.start, wanted) + of_sites.chain(of_joins).sum::<usize>()
    }
}

fn count(nodes: &[Node<'_>], wanted: &impl Fn(&Node<'_>) -> bool) -> usize {
    let each = nodes.iter().map(|node| {
        let inside = match node {
            Node::If { then, otherwise, .. } => count(then, wanted) + count(otherwise, wanted),
            _ => 0,
        };
        inside + usize::from(wanted(node))
    });
    each.sum()
}

/// Number of statements in nodes, those inside of others too.
pub(super) fn statements(nodes: &[Node<'_>]) -> usize {
    let each = nodes.iter().map(|node| match node {
        Node::Plain(stmt) => {
            let mut inside = 0;
            walk::nested(std::slice::from_ref(*stmt), &mut |_| inside += 1);
            inside
        }
        Node::If { then, otherwise, .. } => 1 + statements(then) + statements(otherwise),
        Node::Site(_) | Node::Join(_) | Node::Done => 0,
    });
    each.sum()
}

/// Cuts a control.
pub(super) fn split(control: &Control) -> Split<'_> {
    let mut order = Vec::new();
    walk::nested(&control.body, &mut |stmt| {
        if let Stmt::Apply { table, .. } = stmt {
            assert!(!order.contains(table), "a table is applied in one place");
            order.push(*table);
        }
    });
    let mut cutter = Cutter { sites: order.iter().map(|_| None).collect(), order, joins: Vec::new() };
    let start = cutter.cut(&control.body, Tail::Done);
    let sites = cutter.sites.into_iter().map(|site| site.expect("every table was met")).collect();
    Split { start, sites, joins: cutter.joins }
}

struct Cutter<'p> {
    order: Vec<TableId>,
    sites: Vec<Option<Site<'p>>>,
    joins: Vec<Join<'p>>,
}

impl<'p> Cutter<'p> {
    fn cut(&mut self, stmts: &'p [Stmt], tail: Tail) -> Vec<Node<'p>> {
        let mut nodes = Vec::new();
        for (at, stmt) in stmts.iter().enumerate() {
            match stmt {
                Stmt::Return | Stmt::Exit => {
                    nodes.push(Node::Done);
                    return nodes;
                }
                Stmt::Apply { table, then } => {
                    let tail = self.rest(&stmts[at + 1..], *table, tail);
                    let after = match then {
                        Outcome::Any => After::Any(self.cut(&[], tail)),
                        Outcome::Hit { hit, miss } => {
                            After::Hit { hit: self.cut(hit, tail), miss: self.cut(miss, tail) }
                        }
                        Outcome::Action { cases, otherwise } => After::Action {
                            cases: cases.iter().map(|(of, body)| (of.as_slice(), self.cut(body, tail))).collect(),
                            otherwise: self.cut(otherwise, tail),
                        },
                    };
                    let place = self.order.iter().position(|other| other == table).expect("in the order");
                    self.sites[place] = Some(Site { table: *table, after });
                    nodes.push(Node::Site(place));
                    return nodes;
                }
                Stmt::If { condition, then, otherwise } if applies(stmt).is_some() => {
                    let last = applies(stmt).expect("a table");
                    let tail = self.rest(&stmts[at + 1..], last, tail);
                    let (then, otherwise) = (self.cut(then, tail), self.cut(otherwise, tail));
                    nodes.push(Node::If { condition, then, otherwise });
                    return nodes;
                }
                plain => nodes.push(Node::Plain(plain)),
            }
        }
        nodes.push(match tail {
            Tail::Done => Node::Done,
            Tail::Join(join) => Node::Join(join),
            Tail::Site(site) => Node::Site(site),
        });
        nodes
    }

    /// What follows a statement with tables becomes a piece of its own: every way through the statement leads to it.
    fn rest(&mut self, rest: &'p [Stmt], table: TableId, tail: Tail) -> Tail {
        if rest.is_empty() {
            return tail;
        }
        let body = self.cut(rest, tail);
        // What only leads on needs no piece.
        match body[..] {
            [Node::Done] => return Tail::Done,
            [Node::Join(join)] => return Tail::Join(join),
            [Node::Site(site)] => return Tail::Site(site),
            _ => {}
        }
        let join = self.joins.len();
        self.joins.push(Join { table, body });
        Tail::Join(join)
    }
}

/// The last table inside a statement.
fn applies(stmt: &Stmt) -> Option<TableId> {
    let mut last = None;
    walk::nested(std::slice::from_ref(stmt), &mut |stmt| {
        if let Stmt::Apply { table, .. } = stmt {
            last = Some(*table);
        }
    });
    last
}
