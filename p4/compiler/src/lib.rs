//! The compiler of p4/*.p4: a subset of P4_16 (1.2.4) and of the Portable NIC Architecture (0.7).
//!
//! ```text
//! source -> preprocess -> lex -> parse -> ast -> lower (names, types, constants) -> ir -> emit/*, interpret
//! ```

#![forbid(unsafe_code)]

pub mod ast;
pub mod diagnostics;
pub mod emit;
pub mod interpret;
pub mod ir;
mod lexer;
pub mod lower;
mod parser;
pub mod preprocess;
pub mod source;

use std::path::Path;

use diagnostics::{Diagnostic, in_order};
use preprocess::{Options, Preprocessed};
use source::Sources;

/// Compiles a program to its intermediate form. Its main file and those that it includes are added to `sources`, which
/// [`diagnostics::render`] needs, and which list what a build depends on.
///
/// # Errors
/// What is wrong with it, in the order of the text.
pub fn compile(file: &Path, options: &Options, sources: &mut Sources) -> Result<ir::Program, Vec<Diagnostic>> {
    let tree = parse(file, options, sources)?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    lower::lower(&tree, sources, &name)
}

/// Reads a program's syntax tree from its main file and those that it includes, which are added to `sources`.
///
/// # Errors
/// What is wrong with its text, in order.
pub fn parse(file: &Path, options: &Options, sources: &mut Sources) -> Result<ast::Program, Vec<Diagnostic>> {
    let preprocessed = preprocess::preprocess(file, options, sources);
    parse_tokens(preprocessed, sources)
}

/// As [`parse`], for a main file that is in memory: `name` is what diagnostics call it.
///
/// # Errors
/// What is wrong with its text, in order.
pub fn parse_text(
    name: &str,
    text: &str,
    options: &Options,
    sources: &mut Sources,
) -> Result<ast::Program, Vec<Diagnostic>> {
    let preprocessed = preprocess::preprocess_text(name, text, options, sources);
    parse_tokens(preprocessed, sources)
}

fn parse_tokens(preprocessed: Preprocessed, sources: &Sources) -> Result<ast::Program, Vec<Diagnostic>> {
    let Preprocessed { tokens, mut mistakes, incomplete } = preprocessed;
    if incomplete {
        return Err(in_order(mistakes));
    }
    let (program, more) = parser::parse(&tokens, sources);
    mistakes.extend(more);
    if mistakes.is_empty() { Ok(program) } else { Err(in_order(mistakes)) }
}
