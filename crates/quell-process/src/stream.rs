//! A [`Stream`] is stdout or stderr of a process.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::unix::pipe;

use crate::account::Account;
use crate::channel::Channel;

/// Stdout or stderr.
#[derive(Debug)]
pub(crate) struct Stream {
    /// None once it is closed.
    pipe: Option<pipe::Receiver>,
    channel: Channel,
}

impl Stream {
    /// Makes stdout, of which so many bytes are kept beside its last lines.
    pub(crate) fn stdout(pipe: Option<OwnedFd>, kept_max: usize) -> io::Result<Self> {
        Self::new(pipe, Channel::of_output("stdout", kept_max))
    }

    /// Makes stderr, of which the last lines are kept.
    pub(crate) fn stderr(pipe: Option<OwnedFd>) -> io::Result<Self> {
        Self::new(pipe, Channel::of_notes("stderr"))
    }

    fn new(pipe: Option<OwnedFd>, channel: Channel) -> io::Result<Self> {
        let pipe = pipe.map(pipe::Receiver::from_owned_fd).transpose()?;
        Ok(Self { pipe, channel })
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
        self.channel.take(read.filled(), account);
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
        self.channel.take(&buf[..bytes], account);
        (bytes > 0).then_some(bytes as u64)
    }

    /// Closes our end, and takes a last line without a newline.
    pub(crate) fn close(&mut self, account: &mut Account) {
        self.pipe = None;
        self.channel.finish(account);
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Gives our end away, if it is not closed.
    pub(crate) fn give_away(&mut self) -> Option<OwnedFd> {
        self.pipe.take()?.into_nonblocking_fd().ok()
    }

    /// Yields what was read, as far as it is kept.
    pub(crate) const fn channel(&self) -> &Channel {
        &self.channel
    }
}

/// How much is read at a time.
pub(crate) const READ_BYTES: usize = 8 << 10;
