//! P4Runtime clients from PyPI as programs: tests/p4runtime has what they do, `cargo xtask` makes their environments.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::vm::process::{Process, Scratch};
use crate::vm::{Error, Output, Result};

/// A client may take so long: Python starts slowly beside an emulated machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Names the folder of the virtual environments.
const ENVIRONMENTS: &str = "GANTRY_VENVS";

/// A client library, and the program that drives it.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// As PyPI has it; also its environment's.
    pub name: &'static str,
    script: &'static str,
}

/// Those that people use.
pub const CLIENTS: [Client; 2] =
    [Client { name: "p4runtime-shell", script: "with_shell.py" }, Client { name: "finsy", script: "with_finsy.py" }];

impl Client {
    /// Lets it do `arguments` with the card that serves P4Runtime at `card`; how it ended, and what it said.
    pub fn run(&self, card: SocketAddr, arguments: &[&str]) -> Result<Output> {
        let python = self.python()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("p4runtime").join(self.script);
        let scratch = Scratch::new()?;
        let (said, errors) = (scratch.join("said"), scratch.join("errors"));
        let create = |path: &PathBuf| File::create(path).map_err(Error::on("making", path));
        let (out, err) = (create(&said)?, create(&errors)?);
        let process = Process::spawn(self.name, &python, |command| {
            // Nothing of the user's own Python, and nothing beside the scripts.
            command.args(["-E", "-s", "-B"]).arg(&script).arg(card.to_string()).args(arguments);
            command.stdin(Stdio::null()).stdout(out).stderr(err);
            // gRPC would ask a proxy for this machine, too.
            for proxy in ["grpc_proxy", "http_proxy", "https_proxy"] {
                command.env_remove(proxy);
            }
        })?;
        let status = process.wait_for(LIMIT);
        process.kill();
        let read = |path: &PathBuf| fs::read_to_string(path).map_err(Error::on("reading", path));
        let (stdout, stderr) = (read(&said)?, read(&errors)?);
        match status {
            // One that a signal has ended has no code.
            Some(status) => Ok(Output { status: status.code().unwrap_or(-1), stdout, stderr }),
            None => Err(Error::Unexpected(format!(
                "{} {} did not end in {LIMIT:?}; it said:\n{stdout}{stderr}",
                self.name,
                arguments.join(" ")
            ))),
        }
    }

    /// [`Self::run`] that must end well: what it said.
    pub fn run_ok(&self, card: SocketAddr, arguments: &[&str]) -> Result<String> {
        let output = self.run(card, arguments)?;
        if output.ok() {
            return Ok(output.stdout);
        }
        Err(Error::Unexpected(format!("{} {} {output}", self.name, arguments.join(" "))))
    }

    /// Waits, at most `limit`, until the server there has a data plane to speak for.
    pub fn wait_until_served(&self, card: SocketAddr, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let output = self.run(card, &["list"])?;
            if output.ok() {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(Error::Unexpected(format!("{} list, tried for {limit:?}, {output}", self.name)));
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn python(&self) -> Result<PathBuf> {
        let folder = std::env::var_os(ENVIRONMENTS).map(PathBuf::from);
        let python = folder.map(|folder| folder.join(self.name).join("bin/python3")).filter(|python| python.exists());
        python.ok_or_else(|| {
            Error::Unexpected(format!(
                "no {} in the folder that {ENVIRONMENTS} names: `cargo xtask test --only clients` makes it",
                self.name
            ))
        })
    }
}

/// A loopback address at whose port nobody listens.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::doing("finding a free port"))?;
    listener.local_addr().map_err(Error::doing("finding a free port"))
}

/// Waits until somebody takes connections at `address`, as long as `healthy` finds nothing wrong.
pub fn wait_for_listener(address: SocketAddr, limit: Duration, healthy: &dyn Fn() -> Result<()>) -> Result<()> {
    let end = Instant::now() + limit;
    while let Err(error) = std::net::TcpStream::connect(address) {
        healthy()?;
        if Instant::now() >= end {
            return Err(Error::Unexpected(format!("nobody listens at {address} after {limit:?}: {error}")));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// What stands behind `name=` in the first of `lines` that holds every one of `words`.
pub fn number(lines: &str, words: &[&str], name: &str) -> Result<u64> {
    let line = lines.lines().find(|line| words.iter().all(|word| line.split(' ').any(|other| other == *word)));
    let value = line.and_then(|line| line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('=')));
    let number = value.and_then(|value| value.parse().ok());
    number.ok_or_else(|| Error::Unexpected(format!("no {name}=NUMBER beside {words:?} in:\n{lines}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_line_and_name() {
        let lines = "entry action=deny packets=3 bytes=300\ndrops reason=DENIED packets=7 bytes=x\n";
        assert_eq!(number(lines, &["drops", "reason=DENIED"], "packets").expect("a number"), 7);
        assert_eq!(number(lines, &["entry"], "bytes").expect("a number"), 300);
        for (words, name) in [(["drops"], "bytes"), (["reason"], "packets"), (["entry"], "pack")] {
            assert!(number(lines, &words, name).is_err(), "{words:?} {name}");
        }
    }

    #[test]
    fn a_listener_is_waited_for() {
        let address = free_address().expect("a port");
        let brief = Duration::from_millis(50);
        assert!(wait_for_listener(address, brief, &|| Ok(())).is_err());
        let trouble = || Err(Error::Unexpected("it has ended".to_owned()));
        let told = wait_for_listener(address, Duration::from_secs(60), &trouble).expect_err("what is wrong");
        assert_eq!(told.to_string(), "it has ended");
        let _listener = TcpListener::bind(address).expect("the port is free");
        wait_for_listener(address, brief, &trouble).expect("somebody listens");
    }
}
