//! A process that runs, from its start to its end.

use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use quell::{Failure, RunContext, limits};

use crate::ProcessOutput;
use crate::group::Group;
use crate::streams::{Pipes, Streams};
use crate::survivors::Strays;

/// A process that runs.
///
/// The order of the fields is the order in which they are dropped: the group is killed first, then
/// what it had written is read.
#[derive(Debug)]
pub(crate) struct Running {
    group: Group,
    streams: Streams,
    ctx: RunContext,
}

impl Running {
    pub(crate) fn new(
        group: Group,
        pipes: Pipes,
        input: Vec<u8>,
        output_bytes_max: usize,
        ctx: RunContext,
    ) -> io::Result<Self> {
        let streams = Streams::new(pipes, input, output_bytes_max, ctx.clone())?;
        Ok(Self { group, streams, ctx })
    }

    /// Waits for the end, or brings it about when the run is stopped.
    ///
    /// # Cancel safety
    ///
    /// As [`Process::run`](crate::Process::run).
    pub(crate) async fn finish(mut self, program: &str) -> Result<ProcessOutput, Failure> {
        let Left { is_in_doubt, is_nothing } = self.until_nothing_is_alive().await;
        let Self { group, mut streams, ctx } = self;
        let status = group.reap(is_in_doubt).await;
        let output = streams.close(status.as_ref().ok().copied(), is_nothing);
        tracing::debug!(%program, ?status, "process ended");
        match status {
            // A run that is stopped does not fail.
            _ if ctx.is_stopping() => Ok(output),
            Ok(status) if status.success() && streams.is_refused() => {
                Err(refused(program, &output))
            }
            Ok(status) if status.success() => match streams.lost_result() {
                Some(lost) => Err(Failure::new(format!("`{program}` ended well, but {lost}"))),
                None => Ok(output),
            },
            Ok(status) => Err(failure(program, status, &streams.gist())),
            Err(error) => {
                Err(Failure::new(format!("`{program}` ended, its exit status is lost: {error}")))
            }
        }
    }

    /// Moves what the process reads and writes until everything that could be found is dead.
    /// Yields what may be left.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost, and it is not resumed: whoever drops it drops the group.
    async fn until_nothing_is_alive(&mut self) -> Left {
        let Self { group, streams, ctx } = self;
        let end_or_stop = async {
            tokio::select! {
                // A program that ended by itself has ended, stop or not.
                biased;
                () = group.ended() => false,
                _ = ctx.stopped() => true,
            }
        };
        let is_stopped = streams.pump_while(end_or_stop).await;
        let mut strays = Strays::default();
        let mut patience = if is_stopped {
            streams.report(None);
            Patience::stop(ctx)
        } else {
            Patience::rest(Instant::now())
        };
        // Parents tell whose those are that hide, as long as they are not asked to end. That look
        // takes a second at most, or a quarter of the time until SIGKILL.
        let left = patience.kill_at(ctx).saturating_duration_since(Instant::now());
        let look = tokio::time::timeout(left / 4, group.find_hidden(&mut strays));
        let mut is_in_doubt = if let Ok(Some(is_in_doubt)) = streams.pump_while(look).await {
            is_in_doubt
        } else {
            patience.begin(Instant::now());
            group.terminate(&mut strays);
            streams.pump_while(group.end(&mut strays, || patience.kill_at(ctx))).await
        };
        let mut drained = tokio::time::timeout(patience.drain_wait(ctx), streams.drain()).await;
        if drained.is_err() && !ctx.is_stopping() {
            // Whoever holds on to a pipe and carries the mark now has slipped through the looks.
            is_in_doubt = streams.pump_while(group.end(&mut strays, Instant::now)).await;
            drained = tokio::time::timeout(CLOSE_WAIT, streams.drain()).await;
        }
        // Whoever holds on to a pipe now is out of reach, and keeps a stopped run from being
        // quiescent, as does what is in doubt. A program that ended by itself does not wait for
        // what it left behind.
        let is_stopping = ctx.is_stopping();
        if drained.is_err() && is_stopping {
            streams.hand_over();
        }
        let is_nothing = !is_in_doubt && drained.is_ok();
        Left { is_in_doubt: is_in_doubt && is_stopping, is_nothing }
    }
}

/// What may be left of a program when everything that could be found is dead.
struct Left {
    /// Whether a run that is stopped waits for something that may have left the group.
    is_in_doubt: bool,
    /// Whether nothing of the program executes.
    is_nothing: bool,
}

/// How long a group may take to end after SIGTERM.
#[derive(Debug, PartialEq, Eq)]
enum Patience {
    /// Until a fixed instant.
    Until(Instant),
    /// Until this long before the hard deadline of the run.
    BeforeHardDeadline { hard: Instant, time: Duration },
}

impl Patience {
    fn stop(ctx: &RunContext) -> Self {
        let now = Instant::now();
        Self::before(ctx.deadline().unwrap_or(now), now)
    }

    /// Waits for the rest of a group whose leader has ended.
    fn rest(now: Instant) -> Self {
        Self::Until(now + REST_WAIT)
    }

    /// Counts from here: SIGTERM is sent now, and the look before it took a while.
    fn begin(&mut self, now: Instant) {
        if matches!(self, Self::Until(_)) {
            *self = Self::rest(now);
        }
    }

    /// Waits until shortly before a hard deadline that is known from now on.
    fn before(hard: Instant, now: Instant) -> Self {
        let grace = hard.saturating_duration_since(now);
        Self::BeforeHardDeadline { hard, time: (grace / 10).min(COLLECT_TIME_MAX) }
    }

    fn kill_at(&mut self, ctx: &RunContext) -> Instant {
        let now = Instant::now();
        self.follow(ctx.deadline().unwrap_or(now), now);
        match *self {
            Self::Until(at) => at,
            Self::BeforeHardDeadline { hard, time } => hard.checked_sub(time).unwrap_or(now),
        }
    }

    /// Hears which hard deadline the run has. When it has moved closer, the grace is what is left.
    fn follow(&mut self, closer: Instant, now: Instant) {
        if matches!(self, Self::BeforeHardDeadline { hard, .. } if closer < *hard) {
            *self = Self::before(closer, now);
        }
    }

    /// Yields how long to go on reading although everything that could be found is dead.
    fn drain_wait(&mut self, ctx: &RunContext) -> Duration {
        let kill_at = self.kill_at(ctx);
        match *self {
            Self::Until(_) => DRAIN_WAIT,
            // Half of what is left for the body after SIGKILL.
            Self::BeforeHardDeadline { time, .. } => {
                (kill_at + time / 2).saturating_duration_since(Instant::now()).min(DRAIN_WAIT)
            }
        }
    }
}

fn refused(program: &str, output: &ProcessOutput) -> Failure {
    Failure::new(format!(
        "`{program}` ended well, but its output is refused: with {} bytes of stdout it is over the \
         limit of {} bytes, or over what runs may hold",
        output.stdout_bytes,
        limits::PAYLOAD_BYTES_MAX,
    ))
}

fn failure(program: &str, status: ExitStatus, gist: &[String]) -> Failure {
    if gist.is_empty() {
        return Failure::new(format!("`{program}` ended with {status}"));
    }
    Failure::new(format!("`{program}` ended with {status}: {}", gist.join("\n")))
}

/// What is left of a group when its leader has ended by itself may take this long after SIGTERM.
const REST_WAIT: Duration = Duration::from_millis(500);

/// When everything that could be found is dead, whoever holds on to a pipe may take this long.
const DRAIN_WAIT: Duration = Duration::from_secs(1);

/// How long it may take to read what those have written who are dead by now.
const CLOSE_WAIT: Duration = Duration::from_millis(200);

/// SIGKILL comes this long before the hard deadline, or a tenth of the grace if that is less: time
/// to read what was written, and to reap, before the engine drops the body.
const COLLECT_TIME_MAX: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_group_has_its_time_from_sigterm_on() {
        let now = Instant::now();
        let asked_at = now + Duration::from_millis(125);
        let mut patience = Patience::rest(now);
        patience.begin(asked_at);
        assert_eq!(patience, Patience::Until(asked_at + REST_WAIT));
        // The hard deadline of a run that is stopped does not move.
        let mut patience = Patience::before(now + Duration::from_mins(1), now);
        patience.begin(asked_at);
        assert_eq!(patience, Patience::before(now + Duration::from_mins(1), now));
    }

    #[test]
    fn a_deadline_that_moves_closer_is_a_grace_of_its_own() {
        let now = Instant::now();
        let mut patience = Patience::before(now + Duration::from_mins(1), now);
        let closer = now + Duration::from_millis(400);
        for later in [0, 200] {
            patience.follow(closer, now + Duration::from_millis(later));
            let time = Duration::from_millis(40);
            assert_eq!(patience, Patience::BeforeHardDeadline { hard: closer, time }, "{later}");
        }
    }
}
