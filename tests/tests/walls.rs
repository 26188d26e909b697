//! The walls of the house, guarded: which crate may know which, where unsafe code lives, how large a file grows,
//! which words stay out, and that nothing lies around unused.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each crate may depend on in this workspace. A crate that is not here fails the test.
const ARROWS: &[(&str, &[&str])] = &[
    // The compiler makes it, when it is built.
    ("gantry", &["gantry-table", "gantry-p4c"]),
    ("gantry-wire", &[]),
    // Frames by hand, which no product crate may know: a test has p4/ on one of its sides only.
    ("gantry-host-wire", &["gantry-wire"]),
    ("gantry-p4-proto", &[]),
    ("gantry-p4c", &["gantry-p4-proto"]),
    ("gantry-table", &["gantry-cpu"]),
    ("gantry-api", &["gantry-p4-proto", "gantry", "gantry-control"]),
    ("gantry-cpu", &[]),
    ("gantry-dma", &["gantry-cpu"]),
    ("gantry-roce", &["gantry-wire"]),
    ("gantry-nvme", &["gantry-wire", "gantry-dma", "gantry-cpu"]),
    ("gantry-vfio-user", &["gantry-nvme", "gantry-wire", "gantry-dma"]),
    (
        "gantry-pipeline",
        &["gantry", "gantry-table", "gantry-wire", "gantry-roce", "gantry-nvme", "gantry-dma", "gantry-cpu"],
    ),
    ("dpdk-sys", &[]),
    ("rte-rs", &["dpdk-sys", "gantry-dma", "gantry-cpu"]),
    (
        "gantry-poller",
        &[
            "gantry-pipeline",
            "gantry",
            "gantry-nvme",
            "gantry-dma",
            "gantry-cpu",
            "rte-rs",
            "gantry-drive",
            "gantry-vfio-user",
            "gantry-wire",
        ],
    ),
    ("gantry-drive", &["gantry-wire", "gantry-dma", "gantry-cpu"]),
    ("gantry-serve", &["gantry-drive", "gantry-vfio-user", "gantry-wire", "gantry-dma"]),
    ("gantry-control", &["gantry", "gantry-wire"]),
    ("gantryd", &["gantry", "gantry-control", "gantry-wire", "gantry-api", "gantry-p4-proto"]),
    ("gantryctl", &["gantry"]),
    (
        "gantry-sim",
        &[
            "gantry",
            "gantry-wire",
            "gantry-roce",
            "gantry-cpu",
            "gantry-dma",
            "gantry-nvme",
            "gantry-pipeline",
            "gantry-drive",
            "gantry-serve",
            "gantry-vfio-user",
            "gantry-host-wire",
            "gantry-control",
        ],
    ),
    ("gantry-bench", &["gantry", "gantry-table", "gantry-cpu"]),
    (
        "gantry-bench-io",
        &[
            "gantry-bench",
            "gantry-control",
            "gantry-cpu",
            "gantry-dma",
            "gantry-drive",
            "gantry-nvme",
            "gantry-pipeline",
            "gantry-poller",
            "gantry-sim",
            "gantry-wire",
            "rte-rs",
        ],
    ),
    ("xtask", &["gantry-tests", "gantry-bench"]),
];

/// Crates that tests alone may use: a dev-dependency on one of these is no arrow.
const TEST_ONLY: &[&str] = &[
    "gantry-nvme",
    "gantry-drive",
    "gantry-serve",
    "gantry-sim",
    "gantry-control",
    "gantry",
    "gantry-p4c",
    "gantry-table",
    "gantry-host-wire",
    "gantry-pipeline",
];

/// The package that may know everything, and that nothing but xtask knows.
const TESTS: &str = "gantry-tests";

/// Where unsafe code lives.
const UNSAFE: &[&str] = &["dpdk-sys", "rte-rs", "gantry-cpu", "gantry-dma"];

/// Longest source file, in lines.
const FILE_LINES: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// A package of the workspace.
struct Package {
    name: String,
    folder: PathBuf,
    manifest: toml::Table,
}

fn packages() -> Vec<Package> {
    let root = root();
    let manifest: toml::Table = read(&root.join("Cargo.toml")).parse().expect("the workspace's manifest");
    let members = manifest["workspace"]["members"].as_array().expect("a list of members").clone();
    let mut folders = vec![root.clone()];
    folders.extend(members.iter().map(|member| root.join(member.as_str().expect("a member is a path"))));
    folders
        .into_iter()
        .map(|folder| {
            let manifest: toml::Table = read(&folder.join("Cargo.toml")).parse().expect("a manifest");
            let name = manifest["package"]["name"].as_str().expect("a package has a name").to_owned();
            Package { name, folder, manifest }
        })
        .collect()
}

/// Names under `[<table>]` and `[target.*.<table>]`.
fn dependencies(manifest: &toml::Table, table: &str) -> BTreeSet<String> {
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let conditional = targets.into_iter().flat_map(|targets| targets.values()).filter_map(|target| target.get(table));
    let lists = manifest.get(table).into_iter().chain(conditional).filter_map(toml::Value::as_table);
    let renamed = |(name, value): (&String, &toml::Value)| {
        value.get("package").and_then(toml::Value::as_str).unwrap_or(name).to_owned()
    };
    lists.flat_map(|list| list.iter().map(renamed)).collect()
}

/// Every file below `folder` that `git` keeps or would keep.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if name == "target" || name.to_string_lossy().starts_with('.') {
                continue;
            }
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<PathBuf> {
    files(&root()).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The package whose folder holds `path` most closely.
fn owner<'a>(packages: &'a [Package], path: &Path) -> &'a Package {
    let inside = packages.iter().filter(|package| path.starts_with(&package.folder));
    inside.max_by_key(|package| package.folder.as_os_str().len()).expect("the root package holds everything")
}

/// `source` without comments and the insides of strings and characters; line breaks stay.
fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let skip = if rest.starts_with(b"//") {
            rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            let mut depth = 0;
            let mut length = 0;
            loop {
                if rest[length..].starts_with(b"/*") {
                    (depth, length) = (depth + 1, length + 2);
                } else if rest[length..].starts_with(b"*/") {
                    (depth, length) = (depth - 1, length + 2);
                } else {
                    length += 1;
                }
                if depth == 0 || length >= rest.len() {
                    break length.min(rest.len());
                }
            }
        } else if let Some(hashes) = raw_string(rest, out.last().copied()) {
            let open = 2 + hashes;
            let close: Vec<u8> = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
            let end = rest[open..].windows(close.len()).position(|window| window == close);
            end.map_or(rest.len(), |end| open + end + close.len())
        } else if rest[0] == b'"' {
            let mut length = 1;
            while length < rest.len() && rest[length] != b'"' {
                length += if rest[length] == b'\\' { 2 } else { 1 };
            }
            (length + 1).min(rest.len())
        } else if rest.starts_with(b"'\\") {
            // An escaped character; its quote may itself be escaped.
            3 + rest[3..].iter().position(|byte| *byte == b'\'').map_or(0, |end| end + 1)
        } else if rest.len() > 2 && rest[0] == b'\'' && rest[2] == b'\'' {
            3
        } else {
            out.push(rest[0]);
            at += 1;
            continue;
        };
        out.extend(rest[..skip].iter().filter(|byte| **byte == b'\n'));
        // Something stands where the skipped text stood, so that its neighbours do not join.
        out.push(b' ');
        at += skip;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Hashes of a raw string that begins here, if one does.
fn raw_string(rest: &[u8], before: Option<u8>) -> Option<usize> {
    if rest[0] != b'r' || before.is_some_and(|byte| byte.is_ascii_alphanumeric() && byte != b'b' || byte == b'_') {
        return None;
    }
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    (rest.get(1 + hashes) == Some(&b'"')).then_some(hashes)
}

/// The identifiers of `code`.
fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

fn none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn arrows_point_one_way() {
    let packages = packages();
    let members: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in packages.iter().filter(|package| package.name != TESTS) {
        let Some(allowed) = arrows.get(package.name.as_str()) else {
            wrong.push(format!("{} has no line in ARROWS", package.name));
            continue;
        };
        for table in ["dependencies", "build-dependencies", "dev-dependencies"] {
            for dependency in dependencies(&package.manifest, table) {
                let in_tests = table == "dev-dependencies" && TEST_ONLY.contains(&dependency.as_str());
                if members.contains(dependency.as_str()) && !allowed.contains(&dependency.as_str()) && !in_tests {
                    wrong.push(format!("{} may not know {dependency} ([{table}])", package.name));
                }
            }
        }
    }
    none(wrong);
}

#[test]
fn unsafe_code_has_four_addresses() {
    let packages = packages();
    let mut wrong = Vec::new();
    for path in sources() {
        if UNSAFE.contains(&owner(&packages, &path).name.as_str()) {
            continue;
        }
        let code = code_only(&read(&path));
        if words(&code).any(|word| word == "unsafe") {
            wrong.push(format!("{} says unsafe", shown(&path)));
        }
    }
    for package in packages.iter().filter(|package| !UNSAFE.contains(&package.name.as_str())) {
        // What is built into a product; the tests' own roots are held by the word alone.
        let product = |path: &PathBuf| {
            !["tests", "benches", "examples"].iter().any(|folder| path.starts_with(package.folder.join(folder)))
        };
        for path in crate_roots(package).into_iter().filter(product) {
            if !read(&path).contains("#![forbid(unsafe_code)]") {
                wrong.push(format!("{} lacks #![forbid(unsafe_code)]", shown(&path)));
            }
        }
    }
    none(wrong);
}

#[test]
fn a_file_is_read_in_one_sitting() {
    let long = sources().into_iter().filter_map(|path| {
        let lines = read(&path).lines().count();
        (lines > FILE_LINES).then(|| format!("{} has {lines} lines, more than {FILE_LINES}", shown(&path)))
    });
    none(long.collect());
}

#[test]
fn every_source_file_opens_with_what_it_is() {
    let silent = sources().into_iter().filter(|path| {
        let text = read(path);
        let start = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!"));
        !start.is_some_and(|line| line.starts_with("//"))
    });
    none(silent.map(|path| format!("{} does not say what it is", shown(&path))).collect());
}

/// Files that cargo compiles by themselves.
fn crate_roots(package: &Package) -> Vec<PathBuf> {
    let mut roots = Vec::new();
    let mut push = |path: PathBuf| {
        if path.is_file() && !roots.contains(&path) {
            roots.push(path);
        }
    };
    let targets = ["lib", "bin", "test", "bench", "example"].iter().filter_map(|kind| package.manifest.get(*kind));
    for target in targets {
        let listed = target.as_array().map_or(std::slice::from_ref(target), Vec::as_slice);
        for path in listed.iter().filter_map(|target| target.get("path")?.as_str()) {
            push(package.folder.join(path));
        }
    }
    for path in ["src/lib.rs", "src/main.rs", "build.rs"] {
        push(package.folder.join(path));
    }
    for folder in ["src/bin", "tests", "benches", "examples"] {
        let Ok(entries) = fs::read_dir(package.folder.join(folder)) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            push(if path.is_dir() { path.join("main.rs") } else { path });
        }
    }
    // The root package's `tests` is the package gantry-tests, whose own roots are its own.
    roots.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    roots
}

/// `name` of each `mod name;` in `code`, with the path that `#[path]` gives it.
fn declared(source: &str, code: &str) -> Vec<(String, Option<String>)> {
    let paths: Vec<&str> = source.split("#[path = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let mut modules: Vec<(String, Option<String>)> = Vec::new();
    let all: Vec<&str> = words(code).collect();
    for pair in all.windows(2).filter(|pair| pair[0] == "mod") {
        modules.push((pair[1].to_owned(), None));
    }
    modules.extend(paths.into_iter().map(|path| (String::new(), Some(path.to_owned()))));
    modules
}

#[test]
fn no_source_file_is_dead() {
    let mut reached = BTreeSet::new();
    let mut pending: Vec<(PathBuf, PathBuf)> = Vec::new();
    for package in packages() {
        for root in crate_roots(&package) {
            let folder = root.parent().expect("a file has a folder").to_owned();
            pending.push((root, folder));
        }
    }
    while let Some((path, folder)) = pending.pop() {
        if !reached.insert(path.clone()) {
            continue;
        }
        let source = read(&path);
        // `mod tests { mod deep; }` would look in `tests/`: inline modules are tried as folders too.
        let modules = declared(&source, &code_only(&source));
        let inline: Vec<PathBuf> = modules.iter().map(|(name, _)| folder.join(name)).collect();
        for (name, given) in &modules {
            let candidates = match given {
                Some(given) => vec![path.with_file_name(given)],
                None => {
                    let places = std::iter::once(&folder).chain(&inline);
                    places
                        .flat_map(|place| [place.join(format!("{name}.rs")), place.join(name).join("mod.rs")])
                        .collect()
                }
            };
            for candidate in candidates.into_iter().filter(|candidate| candidate.is_file()) {
                let inner = match candidate.file_name().is_some_and(|file| file == "mod.rs") {
                    true => candidate.parent().expect("a file has a folder").to_owned(),
                    false => candidate.with_extension(""),
                };
                pending.push((candidate, inner));
            }
        }
        // include!("part.rs") and include_str! of Rust make a file live as well.
        for part in source.split("include").skip(1) {
            if let Some(name) = part.split('"').nth(1).filter(|name| name.ends_with(".rs")) {
                reached.insert(path.with_file_name(name));
            }
        }
    }
    let dead = sources().into_iter().filter(|path| !reached.contains(path));
    none(dead.map(|path| format!("{} is compiled by nobody", shown(&path))).collect());
}

#[test]
fn every_page_is_linked() {
    let root = root();
    let docs = root.join("docs");
    if !docs.is_dir() {
        return;
    }
    let entrances: String =
        ["README.md", "ARCHITECTURE.md"].iter().filter_map(|name| fs::read_to_string(root.join(name)).ok()).collect();
    let unlinked = files(&docs).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let unlinked = unlinked.map(|path| shown(&path)).filter(|path| !entrances.contains(&format!("({path}")));
    none(unlinked.map(|path| format!("{path} is linked from neither README.md nor ARCHITECTURE.md")).collect());
}

#[test]
fn every_link_leads_somewhere() {
    let root = root();
    let mut wrong = Vec::new();
    for path in files(&root).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        for link in read(&path).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            if !path.parent().expect("a file has a folder").join(target).exists() {
                wrong.push(format!("{} links to {target}, which is not there", shown(&path)));
            }
        }
    }
    none(wrong);
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not hold what it looks for.
    let marks = ["TO\u{44}O", "FIX\u{4d}E", "XX\u{58}", "HAC\u{4b}"];
    let calls = ["todo", "unimplemented", "dbg"];
    let text = ["rs", "toml", "md", "sh", "p4", "yml", "c", "h"];
    let mut wrong = Vec::new();
    for path in files(&root()) {
        let Some(extension) = path.extension().and_then(|extension| extension.to_str()) else { continue };
        if !text.contains(&extension) {
            continue;
        }
        let source = read(&path);
        let code = if extension == "rs" { code_only(&source) } else { String::new() };
        for mark in marks {
            if words(&source).any(|word| word == mark) {
                wrong.push(format!("{} says {mark}", shown(&path)));
            }
        }
        for call in calls {
            if code.contains(&format!("{call}!(")) {
                wrong.push(format!("{} calls {call}!", shown(&path)));
            }
        }
        if code.contains("#[ignore") {
            wrong.push(format!("{} ignores a test", shown(&path)));
        }
    }
    none(wrong);
}

#[test]
fn code_is_told_from_comments_and_strings() {
    let source = "let a = \"unsafe // \\\" x\"; // unsafe\n/* unsafe /* unsafe */ */ let c = '\"'; r#\"unsafe\"#; fn safe<'a>() {} '\\'' b";
    let code = code_only(source);
    let left: Vec<&str> = words(&code).collect();
    assert_eq!(left, ["let", "a", "let", "c", "fn", "safe", "a", "b"]);
}
