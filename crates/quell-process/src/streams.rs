//! What a process reads and writes.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::sync::mpsc::Sender;
use std::task::{Context, Poll, ready};

use quell::{Payload, RunContext};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::unix::pipe;

use crate::ProcessOutput;
use crate::lines::Lines;
use crate::output::Written;
use crate::pace::Pace;
use crate::tail::Tail;
use crate::told::Told;

/// Our ends of the pipes of a process.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) stderr: Option<ChildStderr>,
    /// Where those go that somebody out of reach still holds on to.
    pub(crate) held: Sender<OwnedFd>,
}

/// Moves what a process reads and writes: stdin from its input, stdout and stderr to events and to
/// the output of the run.
///
/// When it is dropped before the end was reported, what is in the pipes is still read, and becomes
/// the output of the run.
#[derive(Debug)]
pub(crate) struct Streams {
    stdin: Option<Input>,
    stdout: Stream,
    stderr: Stream,
    stdout_kept: Vec<u8>,
    stdout_kept_max: usize,
    is_reported: bool,
    held: Sender<OwnedFd>,
    /// Whether the output of the run was refused.
    is_refused: bool,
    pace: Pace,
    ctx: RunContext,
}

impl Streams {
    pub(crate) fn new(
        pipes: Pipes,
        input: Vec<u8>,
        stdout_kept_max: usize,
        ctx: RunContext,
    ) -> io::Result<Self> {
        let stdin = pipes.stdin.map(|stdin| Input::new(stdin.into(), input)).transpose()?;
        Ok(Self {
            stdin,
            stdout: Stream::new("stdout", pipes.stdout.map(OwnedFd::from))?,
            stderr: Stream::new("stderr", pipes.stderr.map(OwnedFd::from))?,
            stdout_kept: Vec::new(),
            stdout_kept_max,
            is_reported: false,
            held: pipes.held,
            is_refused: false,
            pace: Pace::default(),
            ctx,
        })
    }

    /// Moves bytes until something else is ready, and yields it.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn pump_while<F: Future>(&mut self, other: F) -> F::Output {
        let mut other = pin!(other);
        loop {
            tokio::select! {
                // Whatever the caller waits for comes before what a chatty process writes.
                biased;
                output = &mut other => return output,
                () = self.paced_turn() => {}
            }
        }
    }

    /// Moves bytes until stdout and stderr are closed by everybody else.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn drain(&mut self) {
        while self.stdout.pipe.is_some() || self.stderr.pipe.is_some() {
            self.turn().await;
        }
    }

    /// Makes what is known the output of the run.
    pub(crate) fn report(&mut self, status: Option<ExitStatus>) -> ProcessOutput {
        let written = Written {
            stdout: &self.stdout_kept,
            stdout_bytes: self.stdout.bytes,
            stderr_tail: self.stderr.tail.text(),
            stderr_bytes: self.stderr.bytes,
            stderr_truncated: self.stderr.tail.is_truncated(),
        };
        let (output, payload) = ProcessOutput::new(status, &written);
        self.is_refused = match payload {
            Some(payload) => self.ctx.set_output(payload) == quell::Written::TooLarge,
            None => true,
        };
        output
    }

    /// Tells whether the output of the run was refused, because it is too large or because runs
    /// hold too much.
    pub(crate) const fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Hands over stdout and stderr if they are not closed by everybody else: whoever holds on to
    /// them is of the program, and alive.
    pub(crate) fn hand_over(&mut self) {
        self.read_rest();
        for stream in [&mut self.stdout, &mut self.stderr] {
            if let Some(Ok(pipe)) = stream.pipe.take().map(pipe::Receiver::into_nonblocking_fd) {
                // Nobody takes it if the order to reap has come first.
                let _ = self.held.send(pipe);
            }
        }
    }

    /// Makes what is known the output of the run, and nothing after it.
    pub(crate) fn close(&mut self, status: Option<ExitStatus>) -> ProcessOutput {
        self.read_rest();
        self.stdin = None;
        self.stdout.close(&self.ctx);
        self.stderr.close(&self.ctx);
        self.is_reported = true;
        self.report(status)
    }

    /// Reads what is in the pipes now: the runtime may have had no time for it.
    fn read_rest(&mut self) {
        self.stdout.read_rest(&self.ctx, |read| {
            keep(&mut self.stdout_kept, self.stdout_kept_max, read);
        });
        self.stderr.read_rest(&self.ctx, |_| {});
    }

    /// Yields the last lines that say something: of stderr, or else of stdout.
    pub(crate) fn gist(&self) -> Vec<String> {
        let gist = self.stderr.tail.gist();
        if gist.is_empty() { self.stdout.tail.gist() } else { gist }
    }

    /// As [`turn`](Self::turn), but first waits for who reads the events: a pipe can wait, and a
    /// log forgets.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    async fn paced_turn(&mut self) {
        self.pace.wait(&self.ctx).await;
        self.turn().await;
        self.pace
            .count(self.stdout.events + self.stderr.events, self.stdout.bytes + self.stderr.bytes);
    }

    /// Moves at least one byte, or closes a pipe; then lets others have the thread.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    async fn turn(&mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        tokio::task::yield_now().await;
    }

    /// Polls every pipe, so that none starves.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut poll = Poll::Pending;
        if let Some(input) = &mut self.stdin
            && let Poll::Ready(is_over) = input.poll(cx)
        {
            poll = Poll::Ready(());
            if is_over {
                self.stdin = None;
            }
        }
        let mut buf = [0; READ_BYTES];
        if let Poll::Ready(read) = self.stdout.poll(cx, &mut buf, &self.ctx) {
            keep(&mut self.stdout_kept, self.stdout_kept_max, read);
            poll = Poll::Ready(());
        }
        if self.stderr.poll(cx, &mut buf, &self.ctx).is_ready() {
            poll = Poll::Ready(());
        }
        poll
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        if self.is_reported {
            return;
        }
        if self.ctx.is_stopping() {
            self.hand_over();
        }
        self.close(None);
    }
}

/// Stdout or stderr.
#[derive(Debug)]
struct Stream {
    name: &'static str,
    /// None once it is closed.
    pipe: Option<pipe::Receiver>,
    bytes: u64,
    /// How many events it has become.
    events: u64,
    lines: Lines,
    tail: Tail,
}

impl Stream {
    fn new(name: &'static str, pipe: Option<OwnedFd>) -> io::Result<Self> {
        let pipe = pipe.map(pipe::Receiver::from_owned_fd).transpose()?;
        let (lines, tail) = (Lines::default(), Tail::default());
        Ok(Self { name, pipe, bytes: 0, events: 0, lines, tail })
    }

    /// Reads something; nothing if the stream was closed with it.
    fn poll<'a>(
        &mut self,
        cx: &mut Context<'_>,
        buf: &'a mut [u8],
        ctx: &RunContext,
    ) -> Poll<&'a [u8]> {
        let Some(pipe) = &mut self.pipe else { return Poll::Pending };
        let mut read = ReadBuf::new(buf);
        // A pipe that cannot be read has no more to say than one that is at its end.
        let _ = ready!(Pin::new(pipe).poll_read(cx, &mut read));
        let bytes = read.filled().len();
        let read: &[u8] = &buf[..bytes];
        self.take(read, ctx);
        if read.is_empty() {
            self.close(ctx);
        }
        Poll::Ready(read)
    }

    /// Reads what is there now, and not what is written meanwhile: a process that is still alive
    /// cannot keep the thread.
    fn read_rest(&mut self, ctx: &RunContext, mut each: impl FnMut(&[u8])) {
        let mut buf = [0; READ_BYTES];
        let left = self.pipe.as_ref().map(rustix::io::ioctl_fionread);
        let mut left = left.and_then(Result::ok).unwrap_or_default();
        while left > 0
            && let Some(read) = self.read_now(&mut buf, ctx)
        {
            each(read);
            left = left.saturating_sub(read.len() as u64);
        }
    }

    /// Reads what is there at once, without asking the reactor, which may not have heard of it.
    fn read_now<'a>(&mut self, buf: &'a mut [u8], ctx: &RunContext) -> Option<&'a [u8]> {
        let pipe = self.pipe.as_ref()?;
        let bytes = rustix::io::retry_on_intr(|| rustix::io::read(pipe, &mut *buf));
        let read: &[u8] = &buf[..bytes.ok()?];
        self.take(read, ctx);
        (!read.is_empty()).then_some(read)
    }

    fn take(&mut self, bytes: &[u8], ctx: &RunContext) {
        self.bytes += bytes.len() as u64;
        let (events, tail) = (&mut self.events, &mut self.tail);
        let mut told = Told::of(self.name, bytes, |payload| emit(events, ctx, payload));
        self.lines.push(bytes, |line| {
            tail.push(line.text().into_owned());
            told.take(line);
        });
        told.flush();
    }

    fn close(&mut self, ctx: &RunContext) {
        self.pipe = None;
        let (events, tail) = (&mut self.events, &mut self.tail);
        let mut told = Told::of(self.name, &[], |payload| emit(events, ctx, payload));
        self.lines.finish(|line| {
            tail.push(line.text().into_owned());
            told.take(line);
        });
    }
}

fn emit(events: &mut u64, ctx: &RunContext, payload: Payload) {
    *events += 1;
    ctx.emit(payload);
}

fn keep(kept: &mut Vec<u8>, kept_max: usize, bytes: &[u8]) {
    let room = kept_max.saturating_sub(kept.len());
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// What is still to be written to stdin.
#[derive(Debug)]
struct Input {
    pipe: pipe::Sender,
    bytes: Vec<u8>,
    written: usize,
}

impl Input {
    fn new(pipe: OwnedFd, bytes: Vec<u8>) -> io::Result<Self> {
        Ok(Self { pipe: pipe::Sender::from_owned_fd(pipe)?, bytes, written: 0 })
    }

    /// Writes something; tells whether there was nothing left, or nobody to read it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let rest = &self.bytes[self.written..];
        if rest.is_empty() {
            return Poll::Ready(true);
        }
        let Ok(written) = ready!(Pin::new(&mut self.pipe).poll_write(cx, rest)) else {
            return Poll::Ready(true);
        };
        self.written += written;
        Poll::Ready(false)
    }
}

/// How much is read at a time.
const READ_BYTES: usize = 8 << 10;
