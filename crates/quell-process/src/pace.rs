//! How fast a process is read while somebody reads its events.

use std::time::{Duration, Instant};

use quell::RunContext;

/// Holds a process up while who reads its events is behind: the log forgets, a pipe can wait.
///
/// A reader that takes nothing for [`PATIENCE`] is no reason to wait any longer, until all have
/// read everything once more.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    events: u64,
    bytes: u64,
    /// When what was written since has to have been read.
    ahead: bool,
    waits_since: Option<Instant>,
    has_given_up: bool,
}

impl Pace {
    /// Counts what was written in all.
    pub(crate) fn count(&mut self, events: u64, bytes: u64) {
        if events - self.events < AHEAD_EVENTS && bytes - self.bytes < AHEAD_BYTES {
            return;
        }
        (self.events, self.bytes) = (events, bytes);
        self.ahead = true;
    }

    /// Waits until all is read that was written, if that is much.
    ///
    /// # Cancel safety
    ///
    /// It can be dropped and called again.
    pub(crate) async fn wait(&mut self, ctx: &RunContext) {
        if !self.ahead {
            return;
        }
        while !ctx.is_read() {
            let since = *self.waits_since.get_or_insert_with(Instant::now);
            if self.has_given_up || since.elapsed() >= PATIENCE {
                self.has_given_up = true;
                self.ahead = false;
                return;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        *self = Self { events: self.events, bytes: self.bytes, ..Self::default() };
    }
}

/// What may be written before all of it has to be read: well within what a log holds.
const AHEAD_EVENTS: u64 = 256;
const AHEAD_BYTES: u64 = 512 << 10;

/// How long a reader may be behind.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(1);
