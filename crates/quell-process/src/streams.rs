//! What a process reads and writes.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::sync::mpsc::Sender;
use std::task::{Context, Poll, ready};

use quell::{RunContext, Work};
use tokio::io::AsyncWrite as _;
use tokio::net::unix::pipe;

use crate::ProcessOutput;
use crate::account::{Account, Lost};
use crate::output::Written;
use crate::pace::Pace;
use crate::stream::{READ_BYTES, Stream};

/// Our ends of the pipes of a process.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) stderr: Option<ChildStderr>,
    /// Where those go that somebody out of reach still holds on to.
    pub(crate) held: Sender<OwnedFd>,
}

/// Moves what a process reads and writes: stdin from its input, stdout and stderr to events, to
/// records of the run and to its output.
///
/// When it is dropped before the end was reported, what is in the pipes is still read, and becomes
/// the output of the run.
#[derive(Debug)]
pub(crate) struct Streams {
    stdin: Option<Input>,
    stdout: Stream,
    stderr: Stream,
    account: Account,
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
            stdout: Stream::stdout(pipes.stdout.map(OwnedFd::from), stdout_kept_max)?,
            stderr: Stream::stderr(pipes.stderr.map(OwnedFd::from))?,
            account: Account::new(ctx.clone(), Work::Process, stdout_kept_max),
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
        while self.stdout.is_open() || self.stderr.is_open() {
            self.turn().await;
        }
    }

    /// Makes what is known the output of the run.
    pub(crate) fn report(&mut self, status: Option<ExitStatus>) -> ProcessOutput {
        let (stdout, stdout_bytes) = self.stdout.channel().printed();
        let stderr = self.stderr.channel();
        let written = Written {
            stdout: &stdout,
            stdout_bytes,
            stderr_tail: stderr.tail().text(),
            stderr_bytes: stderr.bytes(),
            stderr_truncated: stderr.tail().is_truncated(),
            result: self.account.result().ok().flatten().cloned(),
            content: self.account.content().clone(),
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

    /// Yields why what the program said last is its output is none; none if nothing is wrong.
    pub(crate) fn lost_result(&self) -> Option<&Lost> {
        self.account.result().err()
    }

    /// Hands over stdout and stderr if they are not closed by everybody else: whoever holds on to
    /// them is of the program, and alive.
    pub(crate) fn hand_over(&mut self) {
        self.read_rest();
        for stream in [&mut self.stdout, &mut self.stderr] {
            if let Some(pipe) = stream.give_away() {
                // Nobody takes it if the order to reap has come first.
                let _ = self.held.send(pipe);
            }
        }
    }

    /// Makes what is known the output of the run, and nothing after it. Tool calls that are open
    /// get their outcome, for which it counts whether something of the program may execute.
    pub(crate) fn close(
        &mut self,
        status: Option<ExitStatus>,
        nothing_executes: bool,
    ) -> ProcessOutput {
        self.read_rest();
        self.stdin = None;
        self.stdout.close(&mut self.account);
        self.stderr.close(&mut self.account);
        self.account.give_up_calls(nothing_executes);
        self.is_reported = true;
        self.report(status)
    }

    /// Reads what is in the pipes now: the runtime may have had no time for it.
    fn read_rest(&mut self) {
        for stream in [&mut self.stdout, &mut self.stderr] {
            stream.read_rest(&mut self.account);
        }
    }

    /// Yields the last lines that say something: of stderr, or else of stdout.
    pub(crate) fn gist(&self) -> Vec<String> {
        let gist = self.stderr.channel().tail().gist();
        if gist.is_empty() { self.stdout.channel().tail().gist() } else { gist }
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
        let bytes = self.stdout.channel().bytes() + self.stderr.channel().bytes();
        self.pace.count(self.account.events(), bytes);
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
        for stream in [&mut self.stdout, &mut self.stderr] {
            if stream.poll(cx, &mut buf, &mut self.account).is_ready() {
                poll = Poll::Ready(());
            }
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
        // It is killed, but not reaped yet.
        self.close(None, false);
    }
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
