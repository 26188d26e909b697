//! What lcores and the writer share, in every order that the memory model allows (loom), over the product's own sources; and
//! each of its orderings made relaxed, one at a time: does a story notice?
//!
//! It has a `main` of its own, for loom's atomics exist in a model only and the sources' unit tests run in none. loom shows no
//! load a store that comes after it in the program; where an ordering keeps loads before it, a store stands for them.

#![forbid(unsafe_code)]
// The sources are whole; a story uses some of them.
#![allow(dead_code, unreachable_pub, unused_imports)]

extern crate alloc;

mod atomic;
#[path = "../../src/counters.rs"]
mod counters;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/exact.rs"]
mod exact;
#[path = "../../src/generation.rs"]
mod generation;
#[path = "../../src/hashed.rs"]
mod hashed;
#[path = "../../src/readers.rs"]
mod readers;
#[path = "../../src/sequence.rs"]
mod sequence;
#[path = "../../src/slots.rs"]
mod slots;
#[path = "../../src/stamp.rs"]
mod stamp;
mod stories;
#[path = "../../src/versioned.rs"]
mod versioned;
#[path = "../../src/versions.rs"]
mod versions;
#[path = "../../src/words.rs"]
mod words;
#[path = "../../src/writer.rs"]
mod writer;

pub use counters::{CounterBank, CounterValue, Counters};
pub use error::StageError;
pub use exact::ExactTable;
pub use generation::Generation;
pub use readers::Lcore;
pub use slots::{EntryIndex, Line};
pub use words::{WordArray, Words};
pub use writer::{Savepoint, Writer};

use atomic::{Site, weakened};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

/// Source lines whose ordering nothing here misses, and why.
const BEYOND: &[&str] = &[
    // Whoever asks for a generation was told of it through a ring, which has ordered its stores already.
    "readers.rs: let published = self.readers.current.0.load(Ordering::Acquire);",
];

fn main() {
    let begun = Instant::now();
    let mut met: BTreeSet<Site> = BTreeSet::new();
    for (name, story) in stories::ALL {
        met.extend(weakened(None, story));
        println!("{name}: holds in every order");
    }
    // The stories' own orderings are the means, not the matter.
    met.retain(|(path, _)| path.contains("src/"));
    // What fails is meant to: its words would only be in the way.
    std::panic::set_hook(Box::new(|_| {}));
    let mut unnoticed = Vec::new();
    for &site in &met {
        let fails = |(_, story): &(&str, fn())| catch_unwind(AssertUnwindSafe(|| weakened(Some(site), story))).is_err();
        let line = source(site);
        match stories::ALL.iter().find(|story| fails(story)) {
            Some((name, _)) => println!("{}:{}: without `{line}` not: {name}", file(site), site.1),
            None => unnoticed.push(format!("{}: {line}", file(site))),
        }
    }
    // Not by a panic, whose words go nowhere now.
    if unnoticed != BEYOND || met.len() < 10 {
        println!(
            "{} orderings met; no story notices the absence of {unnoticed:#?}, of {BEYOND:#?} none should",
            met.len()
        );
        std::process::exit(1);
    }
    println!("{} orderings, {:.1} s", met.len(), begun.elapsed().as_secs_f32());
}

fn file(site: Site) -> String {
    Path::new(site.0).file_name().expect("a file").to_string_lossy().into_owned()
}

/// The source's line at a site.
fn source((path, line): Site) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(Path::new(path).file_name().expect("a file"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().nth(line as usize - 1).expect("a line").trim().to_owned()
}
