//! The channel's socket: one `SOCK_SEQPACKET` listener, one control at a time, the newest first.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrayvec::ArrayVec;
use gantry::channel::FRAME_MAX;
use gantry_poller::bell::Bell;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, SockAddr, Socket, Type};

/// The listening socket, the session, and who knocks.
pub(crate) struct Channel {
    path: PathBuf,
    listener: Socket,
    session: Option<Socket>,
    /// Connected, but its HELLO has not been heard: the session that is there goes on.
    candidate: Option<Socket>,
    buffer: Box<[u8; FRAME_MAX]>,
}

/// What a poll of the channel found.
pub(crate) enum Heard<'a> {
    /// A frame from control.
    Frame(&'a [u8]),
    /// The first frame of somebody who wants the session: [`Channel::admit`] or [`Channel::reject`].
    Knock(&'a [u8]),
    /// Control has gone.
    Closed,
    /// Nothing.
    Silence,
}

/// What one read of a socket gave.
enum Got {
    Frame(usize),
    Nothing,
    Gone,
}

fn read(socket: &mut Socket, buffer: &mut [u8]) -> Got {
    match socket.read(buffer) {
        Ok(0) => Got::Gone,
        Ok(length) => Got::Frame(length),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Got::Nothing,
        Err(_) => Got::Gone,
    }
}

impl Channel {
    /// Listens at `path`, for root and the owner's group only. A socket left behind by a process that has gone is replaced.
    pub(crate) fn listen(path: &Path) -> io::Result<Self> {
        if let Ok(metadata) = std::fs::symlink_metadata(path) {
            if !metadata.file_type().is_socket() {
                return Err(io::Error::new(ErrorKind::AlreadyExists, "it exists and is no socket; name another path"));
            }
            // A stream socket never gets through to a SEQPACKET listener, so that asking takes no session from control;
            // only a socket that nobody holds any more refuses it.
            let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            match probe.connect(&SockAddr::unix(path)?) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(error),
                _ => {
                    return Err(io::Error::new(
                        ErrorKind::AddrInUse,
                        "another gantry-dataplane answers there; stop it first",
                    ));
                }
            }
            std::fs::remove_file(path)?;
        }
        let listener = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        listener.bind(&SockAddr::unix(path)?)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        listener.listen(8)?;
        listener.set_nonblocking(true)?;
        Ok(Self { path: path.to_owned(), listener, session: None, candidate: None, buffer: Box::new([0; FRAME_MAX]) })
    }

    /// Takes what has come.
    pub(crate) fn poll(&mut self) -> Heard<'_> {
        if let Ok((socket, _)) = self.listener.accept()
            && socket.set_nonblocking(true).is_ok()
        {
            // A burst of punts then need not wait for control's next read; without it they only wait.
            let _ = socket.set_send_buffer_size(1 << 20);
            self.candidate = Some(socket);
        }
        if let Some(candidate) = &mut self.candidate {
            match read(candidate, &mut self.buffer[..]) {
                Got::Frame(length) => return Heard::Knock(&self.buffer[..length]),
                Got::Nothing => {}
                Got::Gone => self.candidate = None,
            }
        }
        let Some(session) = &mut self.session else { return Heard::Silence };
        match read(session, &mut self.buffer[..]) {
            Got::Frame(length) => Heard::Frame(&self.buffer[..length]),
            Got::Nothing => Heard::Silence,
            Got::Gone => {
                self.session = None;
                Heard::Closed
            }
        }
    }

    /// Waits until somebody writes or the bell is rung, for so long at most.
    pub(crate) fn wait(&self, bell: &Bell, at_most: Duration) {
        let sockets = [Some(&self.listener), self.session.as_ref(), self.candidate.as_ref()];
        let sockets = sockets.into_iter().flatten().map(|socket| PollFd::new(socket, PollFlags::IN));
        let mut waited: ArrayVec<_, 4> = sockets.chain([PollFd::new(bell, PollFlags::IN)]).collect();
        // Interrupted or refused: the next poll finds what there is.
        let _ = poll(&mut waited, Timespec::try_from(at_most).ok().as_ref());
    }

    /// Gives the session to who knocked; `farewell` is the last that the one before hears.
    pub(crate) fn admit(&mut self, farewell: &[u8]) {
        self.send(farewell);
        self.session = self.candidate.take();
    }

    /// Sends who knocked away with this frame.
    pub(crate) fn reject(&mut self, refusal: &[u8]) {
        if let Some(mut candidate) = self.candidate.take() {
            // Who does not wait for the refusal does not miss it.
            let _ = candidate.write(refusal);
        }
    }

    /// Whether a control is there.
    pub(crate) fn is_open(&self) -> bool {
        self.session.is_some()
    }

    /// Sends one frame; false when it has to wait.
    pub(crate) fn send(&mut self, frame: &[u8]) -> bool {
        let Some(session) = &mut self.session else { return false };
        match session.write(frame) {
            Ok(_) => true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => false,
            Err(_) => {
                // The next poll reads the end of the session.
                false
            }
        }
    }

    /// Ends the session.
    pub(crate) fn close(&mut self) {
        self.session = None;
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
