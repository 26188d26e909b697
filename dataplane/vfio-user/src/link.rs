//! The conversation with a server: commands and their replies, what the server asks meanwhile, and its end, which is for good.
//! vfio-user protocol, "Commands"; DMA_READ and DMA_WRITE are answered from the memory that was offered.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use gantry_dma::AddressSpace;
use rustix::io::Errno;
use zerocopy::{FromBytes, IntoBytes};

use crate::message::{DmaAccess, Header, RegionAccess, command, flag, region};
use crate::version::{self, DATA_MAX, Limits};
use crate::{Connection, Error, Message};

/// How long one reply is awaited, and once only: who lets it pass is gone.
pub const REPLY_LIMIT: Duration = Duration::from_millis(500);

/// What the server may ask before the caller goes on with something else.
const REQUESTS_MAX: usize = 64;

/// A server.
#[derive(Debug)]
pub(crate) struct Link {
    connection: Connection,
    next_id: u16,
    pub(crate) limits: Limits,
    /// Why it is over.
    broken: Option<Error>,
    /// What the server was offered.
    pub(crate) space: AddressSpace,
    /// Until when replies are awaited, where several commands share their time.
    until: Option<Instant>,
}

impl Link {
    /// Connects, agrees on a version, and lets all commands until [`Link::opened`] take `limit` together.
    pub(crate) fn open(path: &Path, limit: Duration) -> Result<Self, Error> {
        let mut link = Self {
            connection: Connection::connect(path)?,
            next_id: 0,
            limits: Limits::default(),
            broken: None,
            space: AddressSpace::new(),
            until: Some(Instant::now() + limit),
        };
        let reply = link.call(command::VERSION, &[&version::emit(version::MINOR, None)], &[])?;
        link.limits = version::parse(&reply.body)?;
        Ok(link)
    }

    /// From now on each command has its own time.
    pub(crate) fn opened(&mut self) {
        self.until = None;
    }

    /// Why the server is gone, if it is.
    pub(crate) fn broken(&self) -> Option<Error> {
        self.broken
    }

    /// Ends the conversation.
    pub(crate) fn close(&mut self) {
        let _ = self.judge::<()>(Err(Error::Closed));
    }

    /// Sends a command and gives the reply.
    pub(crate) fn call(&mut self, command: u16, parts: &[&[u8]], fds: &[BorrowedFd<'_>]) -> Result<Message, Error> {
        let result = self.exchange(command, parts, fds);
        self.judge(result)
    }

    /// Anything but a refusal ends the conversation: what comes later could not be told apart from noise.
    fn judge<R>(&mut self, result: Result<R, Error>) -> Result<R, Error> {
        if let Err(error) = &result
            && !matches!(error, Error::Refused { .. })
        {
            self.broken.get_or_insert(*error);
            let _ = rustix::net::shutdown(self.connection.socket(), rustix::net::Shutdown::Both);
        }
        result
    }

    fn exchange(&mut self, command: u16, parts: &[&[u8]], fds: &[BorrowedFd<'_>]) -> Result<Message, Error> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let deadline = self.until.unwrap_or_else(|| Instant::now() + REPLY_LIMIT);
        let header = self.header(command, flag::COMMAND);
        self.connection.send(header, parts, fds, deadline)?;
        for _ in 0..REQUESTS_MAX {
            let message = self.connection.receive(deadline)?;
            if !message.header.is_reply() {
                self.answer(&message, deadline)?;
                continue;
            }
            let Header { id, command: answered, flags, error, .. } = message.header;
            if id != header.id || answered != header.command {
                return Err(Error::Protocol("a reply to something else"));
            }
            if flags.get() & flag::ERROR != 0 {
                return Err(Error::Refused { command, errno: error.get() });
            }
            return Ok(message);
        }
        Err(Error::Protocol("one request after the other in place of a reply"))
    }

    fn header(&mut self, command: u16, flags: u32) -> Header {
        self.next_id = self.next_id.wrapping_add(1);
        Header { id: self.next_id.into(), command: command.into(), flags: flags.into(), ..Header::default() }
    }

    /// Answers what the server has asked since, and finds out whether it is there.
    pub(crate) fn hear(&mut self) {
        if self.broken.is_some() {
            return;
        }
        let heard = (0..REQUESTS_MAX).try_for_each(|_| match self.connection.try_receive()? {
            Some(message) if message.header.is_reply() => Err(Some(Error::Protocol("a reply that nobody asked for"))),
            Some(message) => Ok(self.answer(&message, Instant::now() + REPLY_LIMIT)?),
            None => Err(None),
        });
        if let Err(Some(error)) = heard {
            let _ = self.judge::<()>(Err(error));
        }
    }

    /// Answers a command of the server's.
    fn answer(&mut self, message: &Message, deadline: Instant) -> Result<(), Error> {
        let asked = message.header;
        let answer = self.serve(message);
        if asked.wants_no_reply() {
            return Ok(());
        }
        let mut header = Header { id: asked.id, command: asked.command, ..Header::default() };
        header.flags = flag::REPLY.into();
        match answer {
            Ok(body) => self.connection.send(header, &[&body], &[], deadline),
            Err(errno) => {
                header.flags = (flag::REPLY | flag::ERROR).into();
                header.error = (errno.raw_os_error() as u32).into();
                self.connection.send(header, &[], &[], deadline)
            }
        }
    }

    fn serve(&self, message: &Message) -> Result<Vec<u8>, Errno> {
        let (access, data) = DmaAccess::read_from_prefix(&message.body).map_err(|_| Errno::INVAL)?;
        let count = usize::try_from(access.count.get()).map_err(|_| Errno::INVAL)?;
        let mut body = access.as_bytes().to_vec();
        match message.header.command.get() {
            command::DMA_READ if count <= DATA_MAX => {
                let from = body.len();
                body.resize(from + count, 0);
                self.space.read(access.address.get(), &mut body[from..]).map_err(|_| Errno::FAULT)?;
                Ok(body)
            }
            command::DMA_WRITE if count == data.len() => {
                self.space.write(access.address.get(), data).map_err(|_| Errno::FAULT)?;
                Ok(body)
            }
            command::DMA_READ | command::DMA_WRITE => Err(Errno::INVAL),
            _ => Err(Errno::OPNOTSUPP),
        }
    }

    /// Reads `into.len()` bytes of a region.
    pub(crate) fn read(&mut self, region: u32, offset: u64, into: &mut [u8]) -> Result<(), Error> {
        let access = access(region, offset, into.len());
        let reply = self.call(command::REGION_READ, &[access.as_bytes()], &[])?;
        let data = reply.body.get(size_of::<RegionAccess>()..).unwrap_or_default();
        let checked = if data.len() == into.len() { Ok(()) } else { Err(Error::Protocol("a read of another length")) };
        self.judge(checked)?;
        into.copy_from_slice(data);
        Ok(())
    }

    /// Writes to a region and waits until it has been.
    pub(crate) fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), Error> {
        let access = access(region, offset, data.len());
        self.call(command::REGION_WRITE, &[access.as_bytes(), data], &[]).map(drop)
    }

    /// Writes 32 bits of BAR 0 and does not wait; `false` when the server reads too slowly for it now.
    pub(crate) fn post(&mut self, offset: usize, value: u32) -> Result<bool, Error> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let access = access(region::BAR0, offset as u64, 4);
        let header = self.header(command::REGION_WRITE, flag::COMMAND | flag::NO_REPLY);
        let posted = self.connection.post(header, &[access.as_bytes(), &value.to_le_bytes()]);
        self.judge(posted)
    }
}

fn access(region: u32, offset: u64, count: usize) -> RegionAccess {
    RegionAccess { offset: offset.into(), region: region.into(), count: (count as u32).into() }
}
