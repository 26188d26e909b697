//! `scenario`: situations by name, each with its figures, its verdict and its digest.

use gantry_sim::scenario::{ALL, Scenario};

use super::live::Live;

/// Which.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Its name; without one, those that there are.
    name: Option<String>,
}

/// Runs one, or lists them.
pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let Some(name) = &arguments.name else {
        for scenario in ALL {
            println!("{:<18}{}", scenario.name, scenario.what);
        }
        return Ok(());
    };
    let names = || ALL.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
    let scenario = Scenario::find(name).ok_or_else(|| format!("no scenario '{name}'; there are {}", names()))?;
    let mut live = Live::new();
    let report = scenario.play(&mut |words| live.show(|| format!("{name}: {}", words())));
    live.end();
    print!("{}", report.text);
    if report.wrong.is_empty() {
        println!("verdict: ok, digest {:016x}", report.digest);
        return Ok(());
    }
    for wrong in report.wrong.iter().skip(1) {
        println!("also: {wrong}");
    }
    println!("verdict: {}, digest {:016x}", report.wrong[0], report.digest);
    Err(format!("scenario {name} failed"))
}
