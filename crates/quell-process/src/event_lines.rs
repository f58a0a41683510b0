//! [`EventLines`]: what somebody else than a process says of a run, in the events of programs.

use std::borrow::Cow;

use quell::{Failure, Payload, RunContext, Work};

use crate::account::Account;
use crate::channel::Channel;
use crate::pace::Pace;

/// Lines that say something of a run, from wherever they come: the answer of a service, for
/// instance.
///
/// They are read as those of a program on stdout: the same events, the same bounds, and the same
/// faults (see the [crate](crate#what-a-process-writes)). The tool calls that are open when this is
/// dropped are recorded as `unknown`.
///
/// # Examples
///
/// ```
/// use quell::{Engine, RunSpec, Work};
/// use quell_process::EventLines;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let engine = Engine::new();
/// let run = engine.submit(RunSpec::step("ask"), async |ctx| {
///     let mut lines = EventLines::new(ctx, "answer", Work::Remote, 1 << 20);
///     lines.push(b"{\"event\":\"progress\",\"fraction\":0.5}\n{\"event\":\"result\",");
///     lines.push(b"\"output\":7}\nbye");
///     lines.finish();
///     assert_eq!(lines.printed().0, &b"bye"[..]);
///     lines.end_calls(true);
///     Ok(lines.result()?.cloned())
/// }).unwrap();
/// let output = run.outcome().await.into_value().unwrap();
/// assert_eq!(output, Some(7.into()));
/// # });
/// ```
#[derive(Debug)]
pub struct EventLines {
    ctx: RunContext,
    account: Account,
    channel: Channel,
    pace: Pace,
}

impl EventLines {
    /// Makes what reads lines for a run. Lines that are no events are emitted with the name of the
    /// stream; so many bytes of them are kept, and of the text of events `content`. Tool calls are
    /// executed by work of this sort.
    pub fn new(ctx: RunContext, stream: &'static str, what: Work, kept_max: usize) -> Self {
        Self {
            account: Account::new(ctx.clone(), what, kept_max),
            channel: Channel::of_output(stream, kept_max),
            pace: Pace::default(),
            ctx,
        }
    }

    /// Takes bytes, and does what the lines say that are complete with them.
    pub fn push(&mut self, bytes: &[u8]) {
        self.channel.take(bytes, &mut self.account);
        self.pace.count(self.account.events(), self.channel.bytes());
    }

    /// Takes the last line, if no newline followed it.
    pub fn finish(&mut self) {
        self.channel.finish(&mut self.account);
    }

    /// Waits while readers of the run are behind, for 5 s at most: the sender can wait, the log
    /// forgets. To be called before more is read.
    ///
    /// # Cancel safety
    ///
    /// It can be dropped and called again.
    pub async fn wait_for_readers(&mut self) {
        self.pace.wait(&self.ctx).await;
    }

    /// Ends the tool calls that are open: as `cancelled` if nothing executes them any more,
    /// otherwise as `unknown`.
    pub fn end_calls(&mut self, nothing_executes: bool) {
        self.account.give_up_calls(nothing_executes);
    }

    /// Yields the output of the last event `result`, if there was one.
    ///
    /// # Errors
    ///
    /// Fails if the last one was too long, or its JSON is such that it cannot be read again.
    pub fn result(&self) -> Result<Option<&Payload>, Failure> {
        self.account.result().map_err(|lost| Failure::new(lost.to_string()))
    }

    /// Yields the joined text of the events `content`, as far as it is kept without a gap, and how
    /// many bytes it has in all.
    pub fn content(&self) -> (&str, u64) {
        let content = self.account.content();
        (&content.text, content.bytes)
    }

    /// Yields the lines that are no events, as far as they are kept, and how many bytes they have
    /// in all.
    pub fn printed(&self) -> (Cow<'_, [u8]>, u64) {
        self.channel.printed()
    }
}
