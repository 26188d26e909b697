//! QEMU's own control socket (QMP: one JSON object a line).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Error, Result};

/// A connection past its greeting.
#[derive(Debug)]
pub(super) struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects to a socket that QEMU already listens on.
    pub(super) fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).map_err(Error::on("connecting to", socket))?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).map_err(Error::on("setting a timeout on", socket))?;
        let mut qmp = Self { reader: BufReader::new(stream) };
        qmp.receive()?;
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs one QMP command and gives its `return`.
    pub(super) fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.reader.get_mut(), "{request}").map_err(Error::doing("writing to QMP"))?;
        loop {
            let mut answer = self.receive()?;
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
            if let Some(error) = answer.get("error") {
                return Err(Error::Unexpected(format!("QMP {command}: {error}")));
            }
            // Anything else is an event.
        }
    }

    fn receive(&mut self) -> Result<Value> {
        let mut line = String::new();
        let count = self.reader.read_line(&mut line).map_err(Error::doing("reading from QMP"))?;
        if count == 0 {
            return Err(Error::Unexpected("QMP: QEMU closed the connection".to_owned()));
        }
        serde_json::from_str(&line).map_err(|error| Error::Unexpected(format!("QMP: {error} in {line}")))
    }
}
