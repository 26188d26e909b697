//! `return` out of an action that is inlined: the intermediate form's `Return` would leave the caller too, so what follows is put
//! where it is reached otherwise.

use super::constant::{not, truth, var};
use crate::ir::{Expr, Place, Stmt, Type, VarId};

/// Whether control may leave by a `return` in here.
pub(super) fn may_return(code: &[Stmt]) -> bool {
    code.iter().any(|stmt| match stmt {
        Stmt::Return => true,
        Stmt::If { then, otherwise, .. } => may_return(then) || may_return(otherwise),
        _ => false,
    })
}

/// Whether control always leaves by a `return` or an `exit`.
fn never_ends(code: &[Stmt]) -> bool {
    match code.last() {
        Some(Stmt::Return | Stmt::Exit) => true,
        Some(Stmt::If { then, otherwise, .. }) => never_ends(then) && never_ends(otherwise),
        _ => false,
    }
}

/// The same without `return`. `flag` gives a `bool` variable, false at first, where the shape alone does not do; it is asked once
/// at most.
pub(super) fn without_returns(code: Vec<Stmt>, flag: &mut dyn FnMut() -> VarId) -> Vec<Stmt> {
    let mut made = None;
    strip(code, &mut || *made.get_or_insert_with(&mut *flag))
}

fn strip(code: Vec<Stmt>, flag: &mut dyn FnMut() -> VarId) -> Vec<Stmt> {
    let mut out = Vec::new();
    let mut rest = code.into_iter();
    while let Some(stmt) = rest.next() {
        match stmt {
            Stmt::Return => return out,
            Stmt::If { condition, mut then, mut otherwise } if may_return(&then) || may_return(&otherwise) => {
                let behind: Vec<Stmt> = rest.collect();
                if behind.is_empty() {
                    let (then, otherwise) = (strip(then, flag), strip(otherwise, flag));
                    out.push(Stmt::If { condition, then, otherwise });
                } else if never_ends(&then) {
                    otherwise.extend(behind);
                    let (then, otherwise) = (strip(then, flag), strip(otherwise, flag));
                    out.push(Stmt::If { condition, then, otherwise });
                } else if never_ends(&otherwise) {
                    then.extend(behind);
                    let (then, otherwise) = (strip(then, flag), strip(otherwise, flag));
                    out.push(Stmt::If { condition, then, otherwise });
                } else {
                    let var = flag();
                    let (then, otherwise) = (marked(then, var), marked(otherwise, var));
                    let (then, otherwise) = (strip(then, flag), strip(otherwise, flag));
                    out.push(Stmt::If { condition, then, otherwise });
                    let then = strip(behind, flag);
                    out.push(Stmt::If { condition: left(var), then, otherwise: Vec::new() });
                }
                return out;
            }
            other => out.push(other),
        }
    }
    out
}

/// It has not been left yet.
fn left(flag: VarId) -> Expr {
    not(var(flag, Type::Bool))
}

/// Notes in the flag that it is being left, before every `return`.
fn marked(code: Vec<Stmt>, flag: VarId) -> Vec<Stmt> {
    let mut out = Vec::new();
    for stmt in code {
        match stmt {
            Stmt::Return => {
                out.push(Stmt::Assign { place: Place { var: flag, slice: None }, value: truth(true) });
                out.push(Stmt::Return);
            }
            Stmt::If { condition, then, otherwise } => {
                let (then, otherwise) = (marked(then, flag), marked(otherwise, flag));
                out.push(Stmt::If { condition, then, otherwise });
            }
            other => out.push(other),
        }
    }
    out
}
