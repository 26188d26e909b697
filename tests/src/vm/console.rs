//! The kernel's console: kept in a file, watched for the lines that mean the kernel is in trouble.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::{Error, Result};

/// Lines remembered for messages.
const TAIL_LINES: usize = 40;

/// Marks of a kernel that has lost its way.
const TROUBLE: [&str; 7] = [
    "Kernel panic",
    "BUG: ",
    "Oops: ",
    "general protection fault",
    "blocked for more than",
    "soft lockup",
    "rcu_sched detected",
];

#[derive(Debug, Default)]
struct Seen {
    tail: VecDeque<String>,
    trouble: Vec<String>,
    lines: usize,
}

/// What the machine's kernel said on its console.
#[derive(Clone, Debug)]
pub struct Console {
    seen: Arc<Mutex<Seen>>,
    path: PathBuf,
}

impl Console {
    /// Reads `source` to its end on a thread of its own, copying to the file `path`.
    pub(super) fn watch(source: impl Read + Send + 'static, path: PathBuf) -> Result<Self> {
        let mut log = File::create(&path).map_err(Error::on("creating", &path))?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let console = Self { seen: Arc::clone(&seen), path };
        thread::Builder::new()
            .name("console".into())
            .spawn(move || {
                let mut source = BufReader::new(source);
                let mut line = Vec::new();
                while matches!(source.read_until(b'\n', &mut line), Ok(count) if count > 0) {
                    let _ = log.write_all(&line);
                    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                    line.clear();
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    if TROUBLE.iter().any(|mark| text.contains(mark)) {
                        seen.trouble.push(text.clone());
                    }
                    if seen.tail.len() == TAIL_LINES {
                        seen.tail.pop_front();
                    }
                    seen.tail.push_back(text);
                    seen.lines += 1;
                }
            })
            .map_err(Error::doing("starting the console's thread"))?;
        Ok(console)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last lines.
    pub fn tail(&self) -> String {
        Vec::from(self.seen().tail.clone()).join("\n")
    }

    /// Lines that say the kernel panicked, oopsed or hangs.
    pub fn trouble(&self) -> Vec<String> {
        self.seen().trouble.clone()
    }

    /// The file that holds all of it, while the machine lives.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::vm::process::Scratch;

    #[test]
    fn trouble_is_seen_and_everything_is_kept() {
        let scratch = Scratch::new().expect("a folder");
        let said = b"booting\r\n[  9.1] INFO: task fio:77 blocked for more than 120 seconds.\r\nfine\r\n";
        let console = Console::watch(&said[..], scratch.join("console")).expect("a console");
        while console.seen().lines < 3 {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(console.trouble().len(), 1);
        assert!(console.trouble()[0].contains("task fio:77"));
        assert!(console.tail().ends_with("fine"));
        assert_eq!(std::fs::read(console.path()).expect("the log"), said);
    }
}
