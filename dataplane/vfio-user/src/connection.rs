//! One end of a socket: whole messages in and out, with their descriptors, and never longer than until a deadline. What comes
//! in is bounded before it is stored. vfio-user protocol, "Message format"; descriptors as unix(7) SCM_RIGHTS.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::Error;
use crate::message::{Header, flag};
use crate::version::{DATA_MAX, FDS_MAX};

/// Bytes of a message at most: its data, and more than any structure before it.
const MESSAGE_MAX: usize = Header::LEN + DATA_MAX + 4096;

/// A message that has come in.
#[derive(Debug)]
pub struct Message {
    /// What it begins with.
    pub header: Header,
    /// What follows: `header.size` less the header.
    pub body: Vec<u8>,
    /// Descriptors that came with it, at most [`FDS_MAX`].
    pub fds: Vec<OwnedFd>,
}

/// A connected socket.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    /// A message of which a part has come, header included.
    partial: Vec<u8>,
    fds: Vec<OwnedFd>,
    /// What the socket had no room for.
    unsent: Vec<u8>,
}

impl Connection {
    /// Connects to who listens on `path`, without waiting for one that does not accept.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub fn connect(path: &Path) -> Result<Self, Error> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let socket = socket.map_err(Error::Connect)?;
        let address = SocketAddrUnix::new(path).map_err(Error::Connect)?;
        rustix::net::connect(&socket, &address).map_err(Error::Connect)?;
        Ok(Self::new(socket))
    }

    /// One that is connected; `socket` does not have to be non-blocking.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, partial: Vec::new(), fds: Vec::new(), unsent: Vec::new() }
    }

    /// The socket, to wait on.
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends `header`, of which `size` is filled in, and `parts` behind it.
    ///
    /// # Errors
    /// [`Error::Silent`] when the other end does not read, else what the socket says.
    pub fn send(
        &mut self,
        header: Header,
        parts: &[&[u8]],
        fds: &[BorrowedFd<'_>],
        deadline: Instant,
    ) -> Result<(), Error> {
        let begun = Instant::now();
        while !self.flush()? {
            self.wait(PollFlags::OUT, begun, deadline)?;
        }
        while !self.begin(header, parts, fds)? {
            self.wait(PollFlags::OUT, begun, deadline)?;
        }
        while !self.flush()? {
            self.wait(PollFlags::OUT, begun, deadline)?;
        }
        Ok(())
    }

    /// Sends a message without waiting; `false` when the other end reads too slowly for it now.
    ///
    /// # Errors
    /// What the socket says.
    pub fn post(&mut self, header: Header, parts: &[&[u8]]) -> Result<bool, Error> {
        if !self.flush()? {
            return Ok(false);
        }
        self.begin(header, parts, &[])
    }

    /// Hands the whole of a message over, part of it perhaps to `unsent`; `false` when not a byte of it left.
    fn begin(&mut self, mut header: Header, parts: &[&[u8]], fds: &[BorrowedFd<'_>]) -> Result<bool, Error> {
        let size = Header::LEN + parts.iter().map(|part| part.len()).sum::<usize>();
        header.size = (size as u32).into();
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(header.as_bytes());
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        let Some(sent) = self.write(&bytes, fds)? else { return Ok(false) };
        self.unsent.extend_from_slice(&bytes[sent..]);
        Ok(true)
    }

    /// Sends what is left of earlier messages; whether nothing is.
    fn flush(&mut self) -> Result<bool, Error> {
        while !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            let sent = self.write(&unsent, &[])?;
            self.unsent = unsent[sent.unwrap_or(0)..].to_vec();
            if sent.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many of `bytes` the socket took, if it had room.
    fn write(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<Option<usize>, Error> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)), "{} descriptors in one message", fds.len());
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            match rustix::net::sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, flags) {
                Ok(sent) => return Ok(Some(sent)),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => return Err(Error::Closed),
                Err(error) => return Err(Error::Socket(error)),
            }
        }
    }

    /// The next message, as soon as all of it is there.
    ///
    /// # Errors
    /// [`Error::Silent`] when it is not by `deadline`; [`Error::Closed`]; [`Error::Protocol`] for what is no message.
    pub fn receive(&mut self, deadline: Instant) -> Result<Message, Error> {
        let begun = Instant::now();
        loop {
            if let Some(message) = self.try_receive()? {
                return Ok(message);
            }
            self.wait(PollFlags::IN, begun, deadline)?;
        }
    }

    /// The next message, if all of it is there.
    ///
    /// # Errors
    /// As [`Connection::receive`], without waiting.
    pub fn try_receive(&mut self) -> Result<Option<Message>, Error> {
        loop {
            let wanted = match self.header()? {
                None => Header::LEN,
                Some(header) if self.partial.len() == header.size.get() as usize => {
                    let mut body = std::mem::take(&mut self.partial);
                    body.drain(..Header::LEN);
                    return Ok(Some(Message { header, body, fds: std::mem::take(&mut self.fds) }));
                }
                Some(header) => header.size.get() as usize,
            };
            if !self.read_to(wanted)? {
                return Ok(None);
            }
        }
    }

    /// The header of the message that is coming in, once it is there.
    fn header(&self) -> Result<Option<Header>, Error> {
        let Ok((header, _)) = Header::read_from_prefix(&self.partial) else { return Ok(None) };
        match header.size.get() as usize {
            ..Header::LEN => Err(Error::Protocol("a message shorter than its header")),
            size if size > MESSAGE_MAX => Err(Error::Protocol("a message longer than was agreed on")),
            _ if header.flags.get() & flag::TYPE > flag::REPLY => Err(Error::Protocol("neither a command nor a reply")),
            _ => Ok(Some(header)),
        }
    }

    /// Reads until `partial` has `wanted` bytes, never more: what follows may bring its own descriptors. Whether there was
    /// anything.
    fn read_to(&mut self, wanted: usize) -> Result<bool, Error> {
        let had = self.partial.len();
        self.partial.resize(wanted, 0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut into = [IoSliceMut::new(&mut self.partial[had..])];
        let read = rustix::net::recvmsg(&self.socket, &mut into, &mut control, flags);
        let count = read.as_ref().map_or(0, |read| read.bytes);
        self.partial.truncate(had + count);
        match read {
            Ok(read) if read.flags.contains(ReturnFlags::CTRUNC) => {
                return Err(Error::Protocol("more descriptors than were agreed on"));
            }
            Ok(read) if read.bytes == 0 => return Err(Error::Closed),
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(Errno::CONNRESET | Errno::NOTCONN) => return Err(Error::Closed),
            Err(error) => return Err(Error::Socket(error)),
        }
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        if self.fds.len() > FDS_MAX {
            return Err(Error::Protocol("more descriptors than were agreed on"));
        }
        Ok(true)
    }

    /// Waits until something can be done, or `deadline`.
    fn wait(&self, what: PollFlags, begun: Instant, deadline: Instant) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Silent(begun.elapsed()));
        }
        self.ready(what, left);
        Ok(())
    }

    /// Waits until there may be something to read, at most `patience`.
    pub fn wait_readable(&self, patience: Duration) {
        self.ready(PollFlags::IN, patience);
    }

    fn ready(&self, what: PollFlags, patience: Duration) {
        let patience = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: i64::from(patience.subsec_nanos()) };
        // A failure is found by who reads or writes next.
        let _ = rustix::event::poll(&mut [PollFd::new(&self.socket, what)], Some(&patience));
    }
}
