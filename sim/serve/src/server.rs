//! The socket: one client at a time, its commands, and the model's steps between them.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gantry_drive::SoftwareDrive;
use gantry_vfio_user::message::{Header, command, flag};
use gantry_vfio_user::{Connection, Message, version};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::os::fd::AsFd;

use crate::memory::MAPPINGS_MAX;
use crate::{Function, Options};

/// What a client gets to take an answer, or to say who it is.
const PATIENCE: Duration = Duration::from_secs(2);

/// Commands taken before the model has its turn.
const BURST: usize = 32;

/// Why a drive cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There cannot be a socket.
    #[error("socket {path}: {error}", path = path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Somebody serves there already.
    #[error("socket {}: another process serves there; end it, or name another socket", .0.display())]
    Taken(PathBuf),
}

/// What happens to a server, for its operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// A client has come.
    Connected,
    /// It has gone, in order ([`gantry_vfio_user::Error::Closed`]) or not.
    Gone(gantry_vfio_user::Error),
    /// Another one came meanwhile and was turned away.
    TurnedAway,
}

/// A served drive. Dropping it removes the socket.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    function: Function,
    client: Option<Connection>,
    start: Instant,
    idle: Idle,
}

impl Server {
    /// Serves `drive` on a socket at `path`. One that a process has left behind is replaced.
    ///
    /// # Errors
    /// [`Error`], as a line for the operator.
    pub fn bind(path: &Path, drive: SoftwareDrive, options: Options) -> Result<Self, Error> {
        let failed = |error| Error::Socket { path: path.to_owned(), error };
        if path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket()) {
            if UnixStream::connect(path).is_ok() {
                return Err(Error::Taken(path.to_owned()));
            }
            std::fs::remove_file(path).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let function = Function::new(drive, options);
        let (start, idle) = (Instant::now(), Idle::default());
        Ok(Self { listener, path: path.to_owned(), function, client: None, start, idle })
    }

    /// The function that is served.
    pub fn function(&mut self) -> &mut Function {
        &mut self.function
    }

    /// Serves until `stop`, one client after the other; `notice` hears what happens.
    pub fn run(&mut self, stop: &AtomicBool, mut notice: impl FnMut(Notice)) {
        while !stop.load(Ordering::Acquire) {
            self.turn(&mut notice);
        }
    }

    /// Does what there is to do, or waits a little for it.
    pub fn turn(&mut self, notice: &mut impl FnMut(Notice)) {
        let Some(mut client) = self.client.take() else {
            self.await_client(notice);
            return;
        };
        match self.serve(&mut client) {
            Ok(worked) => {
                if worked {
                    self.idle.worked();
                } else {
                    self.turn_away(notice);
                    self.idle.wait(&client);
                }
                self.client = Some(client);
            }
            Err(error) => self.end(error, notice),
        }
    }

    fn serve(&mut self, client: &mut Connection) -> Result<bool, gantry_vfio_user::Error> {
        let mut worked = false;
        for _ in 0..BURST {
            let Some(message) = client.try_receive()? else { break };
            worked = true;
            let asked = message.header;
            let answer = if asked.is_reply() {
                return Err(gantry_vfio_user::Error::Protocol("a reply that nobody asked for"));
            } else {
                self.function.handle(self.start.elapsed().as_nanos() as u64, message)
            };
            if asked.wants_no_reply() {
                continue;
            }
            let mut header = reply_to(&asked);
            let deadline = Instant::now() + PATIENCE;
            match answer {
                Ok(answer) => {
                    let fds: Vec<_> = answer.fds.iter().map(AsFd::as_fd).collect();
                    client.send(header, &[&answer.body], &fds, deadline)?;
                }
                Err(errno) => {
                    header.flags = (flag::REPLY | flag::ERROR).into();
                    header.error = (errno.raw_os_error() as u32).into();
                    client.send(header, &[], &[], deadline)?;
                }
            }
        }
        worked |= self.function.step(self.start.elapsed().as_nanos() as u64);
        Ok(worked)
    }

    /// Waits a little for a client, and agrees with it on a version.
    fn await_client(&mut self, notice: &mut impl FnMut(Notice)) {
        let patience = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        // Whatever ends the wait, accept says more.
        let _ = rustix::event::poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], Some(&patience));
        let Ok((socket, _)) = self.listener.accept() else { return };
        let mut client = Connection::new(socket.into());
        match negotiate(&mut client) {
            Ok(()) => {
                notice(Notice::Connected);
                self.client = Some(client);
            }
            Err(error) => notice(Notice::Gone(error)),
        }
    }

    fn turn_away(&mut self, notice: &mut impl FnMut(Notice)) {
        if let Ok((socket, _)) = self.listener.accept() {
            drop(socket);
            notice(Notice::TurnedAway);
        }
    }

    fn end(&mut self, error: gantry_vfio_user::Error, notice: &mut impl FnMut(Notice)) {
        self.function.power_on();
        notice(Notice::Gone(error));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn reply_to(asked: &Header) -> Header {
    Header { id: asked.id, command: asked.command, flags: flag::REPLY.into(), ..Header::default() }
}

/// VERSION, which comes first.
fn negotiate(client: &mut Connection) -> Result<(), gantry_vfio_user::Error> {
    let deadline = Instant::now() + PATIENCE;
    let Message { header, body, .. } = client.receive(deadline)?;
    if header.command.get() != command::VERSION || header.is_reply() {
        return Err(gantry_vfio_user::Error::Protocol("something else before its version"));
    }
    let theirs = version::parse(&body)?;
    let ours = version::emit(theirs.minor.min(version::MINOR), Some(MAPPINGS_MAX));
    client.send(reply_to(&header), &[&ours], &[], deadline)
}

/// How the server waits: it looks again at once while more is likely, then ever later. Doorbells that are mapped wake nobody.
#[derive(Default)]
struct Idle {
    since: Option<Instant>,
    patience: Duration,
}

impl Idle {
    const SPIN: Duration = Duration::from_micros(20);
    const PATIENCE_MIN: Duration = Duration::from_micros(5);
    const PATIENCE_MAX: Duration = Duration::from_micros(100);

    fn worked(&mut self) {
        *self = Idle::default();
    }

    fn wait(&mut self, client: &Connection) {
        if self.since.get_or_insert_with(Instant::now).elapsed() >= Self::SPIN {
            self.patience = (self.patience * 2).clamp(Self::PATIENCE_MIN, Self::PATIENCE_MAX);
            client.wait_readable(self.patience);
        }
    }
}
