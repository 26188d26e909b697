//! A small package with generated modules in it, built offline with the workspace's own lockfile.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gantry_p4c::emit::rust;
use gantry_p4c::ir::{ExternKind, Program, TableId, Type, VarId, VarKind};

/// A program, and the methods of its externs as the driver has them.
pub(crate) struct Driven {
    pub(crate) program: Program,
    pub(crate) methods: &'static str,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

/// A package that runs each of these programs as a script says.
pub(crate) struct Package(PathBuf);

impl Package {
    pub(crate) fn build(name: &str, programs: &[Driven]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(folder.join("src")).expect("a folder for the package");
        let table = root().join("dataplane/table");
        let manifest = format!(
            "[package]\nname = \"driven\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n\
             gantry-table = {{ path = {table:?} }}\nzerocopy = {{ version = \"0.8\", features = [\"derive\"] }}\n\n\
             [profile.dev]\nopt-level = 1\n\n[workspace]\n"
        );
        fs::write(folder.join("Cargo.toml"), manifest).expect("a manifest");
        fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).expect("the lockfile");
        let mut main = String::from("#![forbid(unsafe_code)]\n");
        // The modules in a crate of their own, which shows that they need nothing of std.
        let mut library = String::from("#![no_std]\n#![forbid(unsafe_code)]\n#![deny(missing_docs)]\n//! Modules.\n");
        let mut calls = String::new();
        for driven in programs {
            let name = &driven.program.name;
            fs::write(folder.join(format!("src/{name}_module.rs")), rust::emit(&driven.program)).expect("a module");
            writeln!(
                library,
                "#[allow(unused, clippy::all)]\n/// One.\npub mod {name} {{ include!(\"{name}_module.rs\"); }}"
            )
            .expect("text");
            main += &drive(driven);
            writeln!(calls, "        {name:?} => {name}_drive::run(&script),").expect("text");
        }
        write!(
            main,
            "fn main() {{\n    let arguments: Vec<_> = std::env::args().collect();\n    let script = \
             std::fs::read_to_string(&arguments[2]).unwrap();\n    match arguments[1].as_str() {{\n{calls}        \
             other => panic!(\"{{other}}\"),\n    }}\n}}\n"
        )
        .expect("text");
        fs::write(folder.join("src/lib.rs"), library).expect("a library");
        fs::write(folder.join("src/main.rs"), main).expect("a main file");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("driven-target");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--offline", "--target-dir"])
            .arg(&target)
            .current_dir(&folder)
            .env_remove("RUSTFLAGS")
            .output()
            .expect("cargo runs");
        assert!(built.status.success(), "generated code does not compile:\n{}", String::from_utf8_lossy(&built.stderr));
        let binary = folder.join("driven");
        fs::copy(target.join("debug/driven"), &binary).expect("the program is there");
        Self(folder)
    }

    /// What the program of this name says of a script.
    pub(crate) fn run(&self, name: &str, script: &str) -> Vec<String> {
        let file = self.0.join(format!("{name}.script"));
        fs::write(&file, script).expect("a script");
        let told = Command::new(self.0.join("driven")).arg(name).arg(&file).output().expect("it runs");
        assert!(told.status.success(), "{name} fails: {}", String::from_utf8_lossy(&told.stderr));
        String::from_utf8(told.stdout).expect("text").lines().map(str::to_owned).collect()
    }
}

/// The last part of a name.
pub(crate) fn short(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

/// Metadata by the names of their fields in Rust: without the parameter's name where that is enough.
pub(crate) fn metadata(program: &Program) -> Vec<(VarId, String)> {
    let mut taken = BTreeSet::new();
    let vars = (0..).map(VarId).zip(&program.vars);
    let metadata = vars.filter(|(_, var)| matches!(var.kind, VarKind::Metadata { .. }));
    let named = metadata.map(|(id, var)| {
        let last = var.name.split_once('.').map_or(var.name.as_str(), |(_, rest)| rest).replace('.', "_");
        let name = if taken.contains(&last) { var.name.replace('.', "_") } else { last };
        assert!(taken.insert(name.clone()), "two fields called {name}");
        (id, name)
    });
    named.collect()
}

/// Those of them that the architecture sets before the first block.
pub(crate) fn inputs(program: &Program) -> Vec<(VarId, String)> {
    let is_input = |id: VarId| matches!(program.vars[id.index()].kind, VarKind::Metadata { input: true, .. });
    let inputs = metadata(program).into_iter().filter(|(id, _)| is_input(*id) && program.parser_error != Some(*id));
    inputs.collect()
}

fn drive(driven: &Driven) -> String {
    let program = &driven.program;
    let shown = metadata(program)
        .into_iter()
        .map(|(_, name)| format!("format!(\"{name}={{:x}}\", u128::from(packet.metadata.{name}))"));
    let shown: Vec<_> = shown.collect();
    let inputs = inputs(program).into_iter().enumerate().map(|(at, (var, name))| {
        let value = match program.vars[var.index()].ty {
            Type::Bool => "!= 0".to_owned(),
            Type::Bits(bits) => format!("as {}", natural(bits)),
        };
        format!("packet.metadata.{name} = hex(words[{}]) {value};", at + 2)
    });
    let inputs: Vec<_> = inputs.collect();
    let mut counters = String::new();
    for counter in &program.externs {
        let field = short(&counter.name);
        match counter.kind {
            ExternKind::Counter { size, .. } => writeln!(
                counters,
                "for cell in 0..{size} {{ println!(\"{field} {{cell}} {{:?}}\", tables.{field}.read(cell).unwrap()); }}"
            )
            .expect("text"),
            ExternKind::DirectCounter { table: TableId(table), .. } => {
                let of = &program.tables[table as usize];
                let (id, table) = (of.id, short(&of.name));
                writeln!(
                    counters,
                    "for (_, cell) in entries.iter().filter(|(of, _)| *of == {id}) {{ println!(\"{field} {{:?}}\", \
                     tables.{field}.read(*cell).unwrap()); }} println!(\"{field} default {{:?}}\", \
                     tables.{field}.read(tables.{table}.index_limit()).unwrap());"
                )
                .expect("text");
            }
            _ => {}
        }
    }
    let framed = !program.headers.is_empty();
    include_str!("drive.rs.txt")
        .replace("MODULE", &program.name)
        .replace("METHODS", driven.methods)
        .replace("INPUTS", &inputs.join("\n"))
        .replace(
            "HOW_PARSED",
            if program.parser.is_some() { "parse(frame, packet)" } else { "Ok::<(), ParserError>(())" },
        )
        .replace("FRAMES", if framed { "&frames," } else { "" })
        .replace(
            "HOW_EMITTED",
            if program.deparser.is_some() { "deparse(packet, frame, &mut out).unwrap()" } else { "0" },
        )
        .replace("METADATA", &shown.join(", "))
        .replace("COUNTERS", &counters)
}

fn natural(bits: u8) -> String {
    format!("u{}", bits.next_power_of_two().max(8))
}
