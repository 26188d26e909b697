//! A shell on a machine, over its second serial line.

use std::io::{IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::{io, thread};

use gantry_tests::vm::{Error, Result};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Ctrl-], as in telnet.
const LEAVE: u8 = 0x1d;

/// Connects the terminal to `socket` until Ctrl-] or the machine's end.
pub(crate) fn run(socket: &Path) -> Result<()> {
    let stream = UnixStream::connect(socket).map_err(Error::on("connecting to", socket))?;
    let mut sender = stream.try_clone().map_err(Error::on("using", socket))?;
    eprintln!("connected; Enter wakes the shell, Ctrl-] leaves it");
    let raw = Raw::enter();
    if let Ok(size) = tcgetwinsize(io::stdin()) {
        let _ = writeln!(sender, "stty rows {} cols {}", size.ws_row, size.ws_col);
    }
    // The thread ends with the process: nothing can interrupt its read of the terminal.
    thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut bytes = [0; 1024];
        while let Ok(count @ 1..) = stdin.read(&mut bytes) {
            let typed = &bytes[..count];
            if typed.contains(&LEAVE) || sender.write_all(typed).is_err() {
                break;
            }
        }
        let _ = sender.shutdown(std::net::Shutdown::Both);
    });
    let mut receiver = &stream;
    let mut stdout = io::stdout().lock();
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = receiver.read(&mut bytes) {
        stdout
            .write_all(&bytes[..count])
            .and_then(|()| stdout.flush())
            .map_err(Error::doing("writing to the terminal"))?;
    }
    drop(raw);
    eprintln!("\nleft; the machine runs on");
    Ok(())
}

/// The terminal without line editing or signals; as it was when dropped.
struct Raw {
    before: Option<Termios>,
}

impl Raw {
    fn enter() -> Self {
        let stdin = io::stdin();
        let before = stdin.is_terminal().then(|| tcgetattr(&stdin).ok()).flatten();
        if let Some(mut raw) = before.clone() {
            raw.make_raw();
            let _ = tcsetattr(&stdin, OptionalActions::Now, &raw);
        }
        Self { before }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}
