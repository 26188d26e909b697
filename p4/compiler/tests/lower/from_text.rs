//! Programs written as text in tests.

use std::path::Path;

use gantry_p4c::diagnostics::Diagnostic;
use gantry_p4c::ir::Program;
use gantry_p4c::lower::lower;
use gantry_p4c::preprocess::Options;
use gantry_p4c::source::Sources;
use gantry_p4c::{parse, parse_text};

/// The folder of the project's programs.
pub(crate) fn programs() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn options() -> Options {
    Options { include_folders: vec![programs().join("include")], defines: Vec::new() }
}

/// A program's intermediate form, or what is wrong with it.
pub(crate) fn lowered(text: &str) -> Result<Program, Vec<Diagnostic>> {
    let mut sources = Sources::default();
    let program =
        parse_text("test.p4", text, &options(), &mut sources).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    lower(&program, &sources, "test")
}

/// A program that must be accepted.
pub(crate) fn accepted(text: &str) -> Program {
    lowered(text).unwrap_or_else(|mistakes| panic!("refused: {mistakes:#?}"))
}

/// The messages about a program that must be refused, in order.
pub(crate) fn refused(text: &str) -> Vec<String> {
    match lowered(text) {
        Ok(_) => panic!("accepted"),
        Err(mistakes) => mistakes.into_iter().map(|it| it.message).collect(),
    }
}

/// One of the project's programs.
pub(crate) fn of_file(name: &str) -> Program {
    let mut sources = Sources::default();
    let program = parse(&programs().join(name), &options(), &mut sources);
    let lowered = program.and_then(|program| lower(&program, &sources, name.trim_end_matches(".p4")));
    lowered.unwrap_or_else(|mistakes| panic!("{}", gantry_p4c::diagnostics::render(&mistakes, &sources, false)))
}

/// A program of one control over `m`, with these declarations before it, in it, and these statements.
pub(crate) fn in_control(before: &str, locals: &str, body: &str) -> String {
    format!(
        "#include <core.p4>
#include <pna.p4>
header h_t {{ bit<8> a; bit<8> b; }}
struct inner_t {{ bit<16> p; bit<16> q; }}
struct m_t {{ bit<8> x; bit<8> y; bit<16> w; bit<32> d; bool f; bit<128> big; inner_t one; inner_t two; h_t h; h_t g; }}
{before}
control BlockT<M>(inout M m);
package Pipe<M>(BlockT<M> block);
control C(inout m_t m) {{
{locals}
apply {{
{body}
}}
}}
Pipe(C()) main;
"
    )
}

/// What the control does with these statements.
pub(crate) fn body(locals: &str, statements: &str) -> String {
    crate::show::control(&accepted(&in_control("", locals, statements)))
}

/// What is told about these statements.
pub(crate) fn wrong(statements: &str) -> Vec<String> {
    refused(&in_control("", "", statements))
}

/// A program of PNA's three blocks with these states, after these declarations.
pub(crate) fn in_parser(before: &str, locals: &str, states: &str) -> String {
    format!(
        "#include <core.p4>
#include <pna.p4>
{before}
header a_t {{ bit<8> kind; bit<8> len; bit<16> more; }}
header b_t {{ bit<32> v; }}
struct headers_t {{ a_t a; b_t b; b_t c; }}
struct meta_t {{ bit<16> w; bit<8> x; }}
parser P(packet_in pkt, out headers_t hdr, inout meta_t meta, in pna_main_parser_input_metadata_t istd) {{
{locals}
{states}
}}
control C(inout headers_t hdr, inout meta_t meta, in pna_main_input_metadata_t istd, inout pna_main_output_metadata_t ostd) {{
apply {{ }}
}}
control D(packet_out pkt, in headers_t hdr, in meta_t meta, in pna_main_output_metadata_t ostd) {{
apply {{ pkt.emit(hdr); }}
}}
PNA_NIC(P(), C(), D()) main;
"
    )
}
