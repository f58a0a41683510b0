//! A [`Stream`] is stdout or stderr of a process: what is read of it, and what is kept.

use std::borrow::Cow;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use quell::Payload;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::unix::pipe;

use crate::account::Account;
use crate::event::Event;
use crate::lines::{Line, Lines};
use crate::tail::Tail;
use crate::told::{Hears, Told};

/// Stdout or stderr.
#[derive(Debug)]
pub(crate) struct Stream {
    name: &'static str,
    /// None once it is closed.
    pipe: Option<pipe::Receiver>,
    bytes: u64,
    lines: Lines,
    remains: Remains,
}

/// What is kept of a stream.
#[derive(Debug)]
struct Remains {
    tail: Tail,
    /// What was printed on stdout, without events; none for stderr.
    printed: Option<Printed>,
}

/// What was printed, byte for byte up to a bound.
#[derive(Debug)]
struct Printed {
    kept: Vec<u8>,
    kept_max: usize,
    bytes: u64,
}

impl Stream {
    /// Makes stdout, of which so many bytes are kept beside its last lines.
    pub(crate) fn stdout(pipe: Option<OwnedFd>, kept_max: usize) -> io::Result<Self> {
        Self::new("stdout", pipe, Some(Printed { kept: Vec::new(), kept_max, bytes: 0 }))
    }

    /// Makes stderr, of which the last lines are kept.
    pub(crate) fn stderr(pipe: Option<OwnedFd>) -> io::Result<Self> {
        Self::new("stderr", pipe, None)
    }

    fn new(
        name: &'static str,
        pipe: Option<OwnedFd>,
        printed: Option<Printed>,
    ) -> io::Result<Self> {
        let pipe = pipe.map(pipe::Receiver::from_owned_fd).transpose()?;
        let remains = Remains { tail: Tail::default(), printed };
        Ok(Self { name, pipe, bytes: 0, lines: Lines::default(), remains })
    }

    /// Reads something, or closes the stream at its end.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
        account: &mut Account,
    ) -> Poll<()> {
        let Some(pipe) = &mut self.pipe else { return Poll::Pending };
        let mut read = ReadBuf::new(buf);
        // A pipe that cannot be read has no more to say than one that is at its end.
        let _ = ready!(Pin::new(pipe).poll_read(cx, &mut read));
        self.take(read.filled(), account);
        if read.filled().is_empty() {
            self.close(account);
        }
        Poll::Ready(())
    }

    /// Reads what is there now, and not what is written meanwhile: a process that is still alive
    /// cannot keep the thread.
    pub(crate) fn read_rest(&mut self, account: &mut Account) {
        let mut buf = [0; READ_BYTES];
        let left = self.pipe.as_ref().map(rustix::io::ioctl_fionread);
        let mut left = left.and_then(Result::ok).unwrap_or_default();
        while left > 0
            && let Some(bytes) = self.read_now(&mut buf, account)
        {
            left = left.saturating_sub(bytes);
        }
    }

    /// Reads what is there at once, without asking the reactor, which may not have heard of it.
    /// Yields how much it was, if it was something.
    fn read_now(&mut self, buf: &mut [u8], account: &mut Account) -> Option<u64> {
        let pipe = self.pipe.as_ref()?;
        let bytes = rustix::io::retry_on_intr(|| rustix::io::read(pipe, &mut *buf)).ok()?;
        self.take(&buf[..bytes], account);
        (bytes > 0).then_some(bytes as u64)
    }

    fn take(&mut self, read: &[u8], account: &mut Account) {
        self.bytes += read.len() as u64;
        let mut told = Told::of(self.name, read, Hearing { account, remains: &mut self.remains });
        self.lines.push(read, |line| told.take(line));
        told.flush();
    }

    /// Closes our end, and takes a last line without a newline.
    pub(crate) fn close(&mut self, account: &mut Account) {
        self.pipe = None;
        let mut told = Told::of(self.name, &[], Hearing { account, remains: &mut self.remains });
        self.lines.finish(|line| told.take(line));
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Gives our end away, if it is not closed.
    pub(crate) fn give_away(&mut self) -> Option<OwnedFd> {
        self.pipe.take()?.into_nonblocking_fd().ok()
    }

    /// Yields how many bytes were read.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) const fn tail(&self) -> &Tail {
        &self.remains.tail
    }

    /// Yields what was printed without events as far as it is kept, and how much it was. A line
    /// that has no end yet is part of it.
    pub(crate) fn printed(&self) -> (Cow<'_, [u8]>, u64) {
        let pending = self.lines.pending();
        let Some(printed) = &self.remains.printed else { return (Cow::Borrowed(&[]), 0) };
        let bytes = printed.bytes + pending.len() as u64;
        if pending.is_empty() {
            return (Cow::Borrowed(&printed.kept), bytes);
        }
        let room = printed.room();
        (Cow::Owned([&printed.kept, &pending[..pending.len().min(room)]].concat()), bytes)
    }
}

impl Printed {
    const fn room(&self) -> usize {
        self.kept_max.saturating_sub(self.kept.len())
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.kept.extend_from_slice(&bytes[..bytes.len().min(self.room())]);
    }
}

/// Where the lines of a stream go.
struct Hearing<'a> {
    account: &'a mut Account,
    remains: &'a mut Remains,
}

impl Hears for Hearing<'_> {
    fn hear(&mut self, event: Event) -> Result<(), String> {
        self.account.hear(event)
    }

    fn note_event(&mut self, line: Line<'_>) {
        // Stderr is for people, who may look for what an event says: a library's log has them too.
        if self.remains.printed.is_none() {
            line.pieces(|piece| self.remains.tail.push(piece.text().into_owned()));
        }
    }

    fn print(&mut self, line: Line<'_>) {
        if line.is_cut_result() {
            self.account.cut_result();
        }
        self.remains.tail.push(line.text().into_owned());
        if let Some(printed) = &mut self.remains.printed {
            line.written(|bytes| printed.push(bytes));
        }
    }

    fn emit(&mut self, lines: Payload) {
        self.account.emit(lines);
    }
}

/// How much is read at a time.
pub(crate) const READ_BYTES: usize = 8 << 10;
