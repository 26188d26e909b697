//! Every scenario finds nothing wrong, and the goodput table is the one that is kept.

use std::path::Path;

use gantry_sim::scenario::Scenario;

/// Plays a scenario; its text.
fn play(name: &str) -> String {
    let scenario = Scenario::find(name).expect("a scenario of this name");
    let report = scenario.play(&mut |_| ());
    println!("{}", report.text);
    assert_eq!(report.wrong, Vec::<String>::new());
    assert_ne!(report.digest, 0);
    report.text
}

#[test]
fn hosts_and_drives() {
    play("hosts-and-drives");
}

#[test]
fn noisy_neighbour() {
    play("noisy-neighbour");
}

#[test]
fn incast() {
    play("incast");
}

#[test]
fn link_flap() {
    play("link-flap");
}

#[test]
fn control_killed() {
    play("control-killed");
}

/// A change that moves a figure has to say why: the table is checked in, and the commit that changes it tells.
#[test]
fn goodput_is_as_it_was() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goodput/table.txt");
    let found = play("goodput");
    if std::env::var("GANTRY_SNAPSHOT").is_ok_and(|value| value == "update") {
        std::fs::write(&path, &found).expect("the table's folder is there");
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let changed: Vec<String> = kept
        .lines()
        .zip(found.lines())
        .filter(|(kept, found)| kept != found)
        .map(|(kept, found)| format!("- {kept}\n+ {found}"))
        .collect();
    assert!(
        kept == found,
        "goodput has changed:\n{}\nIf that is meant, write the table anew and let the commit explain it:\n  \
         GANTRY_SNAPSHOT=update cargo test -p gantry-sim --test scenarios goodput",
        changed.join("\n")
    );
}
