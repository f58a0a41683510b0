//! A run's ancestor that stops: all that the run sees of it.

use std::time::{Duration, Instant};

use quell_core::StopMode;
use quell_core::lifecycle::{Stage, later};

/// An ancestor that stops, and walks over the run at its own stages.
#[derive(Clone, Copy)]
pub(crate) struct Ancestor {
    pub(crate) hard: Instant,
    pub(crate) wait: Duration,
    pub(crate) mode: StopMode,
    aborted_at: Option<Instant>,
    next: Option<Stage>,
}

impl Ancestor {
    /// Asks an ancestor to stop, for the first time or again. None if that is no news.
    pub(crate) fn told(
        known: Option<Self>,
        hard: Instant,
        wait: Duration,
        mode: StopMode,
    ) -> Option<Self> {
        let Some(known) = known else {
            return Some(Self { hard, wait, mode, aborted_at: None, next: Some(Stage::Abort) });
        };
        if hard >= known.hard && mode <= known.mode {
            return None;
        }
        let wait = if hard < known.hard { known.wait.min(wait) } else { known.wait };
        let (hard, mode) = (known.hard.min(hard), known.mode.max(mode));
        Some(Self { hard, wait, mode, ..known })
    }

    /// When the next stage is due.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        match self.next? {
            Stage::Signalled | Stage::Abort => Some(self.hard),
            Stage::AbortAll => Some(later(self.aborted_at?, self.wait / 2)),
            Stage::Abandon => Some(later(self.aborted_at?, self.wait)),
        }
    }

    /// Reaches the next stage.
    pub(crate) fn advance(&mut self, now: Instant) -> Option<Stage> {
        let reached = self.next?;
        self.aborted_at.get_or_insert(now);
        self.next = match reached {
            Stage::Signalled => Some(Stage::Abort),
            Stage::Abort => Some(Stage::AbortAll),
            Stage::AbortAll => Some(Stage::Abandon),
            Stage::Abandon => None,
        };
        Some(reached)
    }
}
