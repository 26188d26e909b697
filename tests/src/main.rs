//! x
#![forbid(unsafe_code)]
use gantry_tests::vm::{Machine, process};
fn main() {
    process::end_on_interrupt(|| eprintln!("interrupted")).unwrap();
    let m = Machine::builder("one").boot().unwrap();
    println!("boot {:?}", m.boot_time());
    for c in std::env::args().skip(1) {
        let t = std::time::Instant::now();
        let o = m.run(&c);
        println!("$ {c} [{:?}]", t.elapsed());
        match o { Ok(o) => println!("{o}"), Err(e) => println!("ERR {e}") }
    }
}
