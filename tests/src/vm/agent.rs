//! Commands in a machine, over one virtio-serial port. The other end is guest/agent.sh, which states the protocol.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Beyond a command's own limit, what an answer may need on a busy machine.
const GRACE: Duration = Duration::from_secs(20);

/// How often a silent port is looked at.
const POLL: Duration = Duration::from_millis(100);

/// What a command left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The shell's exit status.
    pub status: i32,
    /// What it wrote.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Output {
    /// Status 0.
    pub fn ok(&self) -> bool {
        self.status == 0
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ended with status {}", self.status)?;
        for text in [&self.stdout, &self.stderr] {
            if !text.trim().is_empty() {
                write!(f, "\n{}", text.trim_end())?;
            }
        }
        Ok(())
    }
}

/// Why there is no answer.
pub(super) enum Silence {
    /// The time is over.
    Late,
    /// The port is closed or the machine is gone.
    Dead,
}

/// One port: one command at a time.
pub(super) struct Agent {
    stream: UnixStream,
    received: Vec<u8>,
    nonce: u64,
    asked: u64,
}

impl Agent {
    /// Connects to the port's socket, which may not be there yet, and waits for the machine's first word.
    pub(super) fn connect(socket: &Path, deadline: Instant, alive: &dyn Fn() -> bool) -> Result<Self, Silence> {
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(_) if !alive() => return Err(Silence::Dead),
                Err(_) if Instant::now() >= deadline => return Err(Silence::Late),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        };
        stream.set_read_timeout(Some(POLL)).map_err(|_| Silence::Dead)?;
        let nonce = RandomState::new().hash_one(socket);
        Ok(Self { stream, received: Vec::new(), nonce, asked: 0 })
    }

    /// Waits until the guest's end is up.
    pub(super) fn greet(&mut self, deadline: Instant, alive: &dyn Fn() -> bool) -> Result<(), Silence> {
        while self.line(deadline, alive)? != b"ready" {}
        Ok(())
    }

    /// Runs `command` under the guest's shell, at most `limit`; each line of its output goes to `on_line` as it comes.
    pub(super) fn run(
        &mut self,
        command: &str,
        limit: Duration,
        alive: &dyn Fn() -> bool,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<Output, Silence> {
        self.asked += 1;
        let token = format!("{:016x}.{}", self.nonce, self.asked);
        let request = format!("{token} {} {}\n", limit.as_secs().max(1), escape(command));
        self.stream.write_all(request.as_bytes()).map_err(|_| Silence::Dead)?;

        let deadline = Instant::now() + limit + GRACE;
        let mut stdout = Vec::new();
        // The newline before the token is the agent's own: the last line before it is told once that is known.
        let mut held: Option<Vec<u8>> = None;
        let (status, error_bytes) = loop {
            let line = self.line(deadline, alive)?;
            if let Some(rest) = line.strip_prefix(token.as_bytes()) {
                break trailer(rest).ok_or(Silence::Dead)?;
            }
            if let Some(previous) = held.replace(line) {
                on_line(&String::from_utf8_lossy(&previous));
                stdout.extend_from_slice(&previous);
                stdout.push(b'\n');
            }
        };
        if let Some(last) = held.filter(|last| !last.is_empty()) {
            on_line(&String::from_utf8_lossy(&last));
            stdout.extend_from_slice(&last);
        }
        while self.received.len() < error_bytes {
            self.fill(deadline, alive)?;
        }
        let stderr: Vec<u8> = self.received.drain(..error_bytes).collect();
        Ok(Output {
            status,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        })
    }

    /// The next line, without its end.
    fn line(&mut self, deadline: Instant, alive: &dyn Fn() -> bool) -> Result<Vec<u8>, Silence> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.received[searched..].iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.received.drain(..=searched + end).collect();
                line.pop();
                return Ok(line);
            }
            searched = self.received.len();
            self.fill(deadline, alive)?;
        }
    }

    fn fill(&mut self, deadline: Instant, alive: &dyn Fn() -> bool) -> Result<(), Silence> {
        let mut bytes = [0; 16 << 10];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(Silence::Dead),
                Ok(count) => {
                    self.received.extend_from_slice(&bytes[..count]);
                    return Ok(());
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    if !alive() {
                        return Err(Silence::Dead);
                    }
                    if Instant::now() >= deadline {
                        return Err(Silence::Late);
                    }
                }
                Err(_) => return Err(Silence::Dead),
            }
        }
    }
}

/// One line that the guest's `printf %b` turns back into `command`.
fn escape(command: &str) -> String {
    command.replace('\\', "\\\\").replace('\n', "\\n")
}

/// " <status> <bytes of stderr>"
fn trailer(text: &[u8]) -> Option<(i32, usize)> {
    let mut words = std::str::from_utf8(text).ok()?.split_whitespace();
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::vm::process::Scratch;

    /// Stands for the machine: answers one request with `reply`, in which TOKEN is the request's.
    fn answer(listener: UnixListener, reply: &'static str) -> thread::JoinHandle<String> {
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.write_all(b"ready\n").expect("a greeting");
            let mut request = String::new();
            BufReader::new(stream.try_clone().expect("a clone")).read_line(&mut request).expect("a request");
            let token = request.split(' ').next().expect("a token").to_owned();
            stream.write_all(reply.replace("TOKEN", &token).as_bytes()).expect("an answer");
            request
        })
    }

    fn ask(reply: &'static str) -> (Output, Vec<String>, String) {
        let scratch = Scratch::new().expect("a folder");
        let socket = scratch.join("agent");
        let guest = answer(UnixListener::bind(&socket).expect("a socket"), reply);
        let deadline = Instant::now() + Duration::from_secs(10);
        let alive = || true;
        let Ok(mut agent) = Agent::connect(&socket, deadline, &alive) else { panic!("no connection") };
        assert!(agent.greet(deadline, &alive).is_ok());
        let mut lines = Vec::new();
        let output = agent.run("a\\b\nc", Duration::from_secs(3), &alive, &mut |line| lines.push(line.to_owned()));
        let Ok(output) = output else { panic!("no answer") };
        (output, lines, guest.join().expect("the guest ends well"))
    }

    #[test]
    fn output_status_and_stderr_arrive_apart() {
        let (output, lines, request) = ask("one\ntwo\n\nTOKEN 3 5\noops\n");
        assert_eq!(output, Output { status: 3, stdout: "one\ntwo\n".into(), stderr: "oops\n".into() });
        assert_eq!(lines, ["one", "two"]);
        assert!(request.ends_with(" 3 a\\\\b\\nc\n"), "{request}");
    }

    #[test]
    fn a_last_line_without_its_end_is_kept_as_it_was() {
        let (output, lines, _) = ask("one\n\npart\nTOKEN 0 0\n");
        assert_eq!(output, Output { status: 0, stdout: "one\n\npart".into(), stderr: String::new() });
        assert_eq!(lines, ["one", "", "part"]);
    }

    #[test]
    fn the_shell_reads_a_command_back_as_it_was() {
        let command = "printf 'a\\tb\\\\n' | tr a-z A-Z\necho \"$HOME\"\n";
        let shell = Command::new("sh")
            .args(["-c", "IFS= read -r line; printf '%b' \"$line\""])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut shell = shell.expect("sh starts");
        let request = format!("{}\n", escape(command));
        shell.stdin.take().expect("a pipe").write_all(request.as_bytes()).expect("sh reads");
        let output = shell.wait_with_output().expect("sh ends");
        assert_eq!(String::from_utf8_lossy(&output.stdout), command);
    }
}
