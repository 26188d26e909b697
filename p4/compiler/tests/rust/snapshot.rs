//! The text of a small program's module, as a reader sees it. `GANTRY_SNAPSHOT=update cargo test -p gantry-p4c --test rust` writes
//! it anew.

use std::path::Path;

use gantry_p4c::emit::rust;

use crate::programs;

#[test]
fn the_text_is_what_it_was() {
    let told = rust::emit(&programs::roce());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rust/golden/roce.rs.txt");
    if std::env::var("GANTRY_SNAPSHOT").is_ok_and(|value| value == "update") {
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(&file, &told).expect("the text is written");
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    let advice = "If that is better: GANTRY_SNAPSHOT=update cargo test -p gantry-p4c --test rust";
    assert!(told == expected, "the module of roce is another than {}. {advice}", file.display());
    assert!(!told.contains("unsafe") && !told.contains("unwrap()") && !told.contains("panic!"));
}
