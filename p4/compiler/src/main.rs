//! The compiler's command line: checks a program, writes what it is compiled to, draws it.
//!
//! Exit status: 0 if the program is right, 1 if it is not or nothing could be written, 2 for a wrong command line.

#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use gantry_p4c::diagnostics::render;
use gantry_p4c::preprocess::Options;
use gantry_p4c::source::Sources;
use gantry_p4c::{compile, emit, ir};

/// Compiles Gantry's subset of P4_16.
#[derive(Debug, Parser)]
#[command(name = "gantry-p4c", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says what is wrong with a program, if anything is.
    Check {
        #[command(flatten)]
        program: Program,
    },
    /// Writes what a program is compiled to.
    Emit {
        /// What to write.
        form: Form,
        #[command(flatten)]
        program: Program,
        /// The file to write it to; standard output if none is given.
        #[arg(short, long)]
        output: Option<PathBuf>,
    },
    /// Draws the parser and the tables, for Graphviz's `dot`.
    Graph {
        #[command(flatten)]
        program: Program,
        /// The file to write it to; standard output if none is given.
        #[arg(short, long)]
        output: Option<PathBuf>,
    },
}

/// What a program can be compiled to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// The Rust that the data plane runs and control fills.
    Rust,
    /// P4Info as a serialized protocol buffer.
    P4info,
    /// P4Info as text.
    P4infoText,
    /// The reference of tables, in Markdown.
    Docs,
}

#[derive(Debug, Args)]
struct Program {
    /// The program's main file.
    file: PathBuf,
    /// A folder in which included files are searched; may be given several times.
    #[arg(short = 'I', value_name = "FOLDER")]
    include: Vec<PathBuf>,
    /// Defines a macro, as 1 if no value is given; may be given several times.
    #[arg(short = 'D', value_name = "NAME[=VALUE]", value_parser = define)]
    define: Vec<(String, String)>,
}

/// `NAME=VALUE` or `NAME`.
fn define(argument: &str) -> Result<(String, String), String> {
    let (name, value) = argument.split_once('=').unwrap_or((argument, "1"));
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_name && !value.contains('\n') {
        Ok((name.to_owned(), value.to_owned()))
    } else {
        Err("a macro is NAME=VALUE, its name made of letters, digits and underscores".to_owned())
    }
}

fn main() -> ExitCode {
    let done = match CommandLine::parse().command {
        Command::Check { program } => program.compile().map(|_| ()),
        Command::Emit { form, program, output } => program.compile().and_then(|ir| {
            let bytes = match form {
                Form::Rust => emit::rust::emit(&ir).into_bytes(),
                Form::P4info => emit::p4info::binary(&ir),
                Form::P4infoText => emit::p4info::emit(&ir).into_bytes(),
                Form::Docs => emit::docs::emit(&ir).into_bytes(),
            };
            write(output.as_deref(), &bytes)
        }),
        Command::Graph { program, output } => {
            program.compile().and_then(|ir| write(output.as_deref(), emit::graph::emit(&ir).as_bytes()))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // A reader of standard error that has gone away needs no message.
            let _ = std::io::stderr().write_all(message.as_bytes());
            ExitCode::FAILURE
        }
    }
}

impl Program {
    /// The program's intermediate form, or what is wrong with it as text for people.
    fn compile(&self) -> Result<ir::Program, String> {
        let options = Options { include_folders: self.include.clone(), defines: self.define.clone() };
        let mut sources = Sources::default();
        compile(&self.file, &options, &mut sources).map_err(|diagnostics| {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let told = render(&diagnostics, &sources, colour);
            let count = match diagnostics.len() {
                1 => "one mistake".to_owned(),
                count => format!("{count} mistakes"),
            };
            format!("{told}{}: {count}\n", self.file.display())
        })
    }
}

fn write(output: Option<&Path>, bytes: &[u8]) -> Result<(), String> {
    let written = match output {
        Some(path) => std::fs::write(path, bytes),
        None => std::io::stdout().write_all(bytes),
    };
    let place = output.map_or("standard output".into(), Path::to_string_lossy);
    written.map_err(|error| format!("{place} cannot be written: {error}\n"))
}
