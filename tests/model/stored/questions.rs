//! What is asked of the [`Rules`] by those who draw a story, and play it.

use quell::{OnBusy, RunStatus};

use super::rules::{Body, Rules};
use super::script::{Bounds, Command, Gate};

impl Rules {
    /// The bounds at the beginning.
    pub(super) fn first_bounds(&self) -> Bounds {
        self.bounds
    }

    pub(super) fn status(&self, run: usize) -> RunStatus {
        self.runs[run].status
    }

    /// The status of the run that is to be resumed or stopped.
    pub(super) fn of(&self, command: Command) -> Option<RunStatus> {
        match command {
            Command::Resume(run) | Command::Cancel(run, ..) => Some(self.status(run)),
            _ => None,
        }
    }

    pub(super) fn children(&self, run: usize) -> usize {
        self.runs[run].children
    }

    pub(super) fn work(&self, run: usize) -> usize {
        self.runs[run].work
    }

    pub(super) fn has_order(&self, run: usize) -> bool {
        self.runs[run].order.is_some()
    }

    /// Tells whether the lane has runs, and all of them are stopping.
    pub(super) fn only_stops(&self, gate: Gate) -> bool {
        let runs = gate.lane.map(|(lane, _)| self.queue.lane(lane)).unwrap_or_default();
        !runs.is_empty() && runs.iter().all(|run| self.runs[*run].is_stopping())
    }

    /// Tells whether a client has asked for a pause.
    pub(super) fn pause_is_asked(&self, run: usize) -> bool {
        self.runs[run].pause_asked
    }

    /// Tells whether a stop waits for the next step of a run.
    pub(super) fn stop_waits(&self, run: usize) -> bool {
        self.runs[run].scheduled.is_some()
    }

    /// Tells whether there is a body that waits for orders.
    pub(super) fn takes_orders(&self, run: usize) -> bool {
        let run = &self.runs[run];
        run.body == Body::Runs && run.order.is_none() && (run.stubborn || !run.is_stopping())
    }

    /// Picks one of the runs that this process has and that are meant.
    pub(super) fn pick(&self, target: u8, is_meant: impl Fn(usize) -> bool) -> Option<usize> {
        let meant = (0..self.runs.len()).filter(|run| self.runs[*run].here && is_meant(*run));
        let meant: Vec<_> = meant.collect();
        let nth = usize::from(target) % meant.len().max(1);
        meant.get(nth).copied()
    }

    /// The answer that a resumed run is given next.
    pub(super) fn next_answer(&self) -> String {
        format!("answer {}", self.answers)
    }

    /// Tells whether everything comes to rest before and after a command: time goes on, the process
    /// ends, or a root is stopped that was resumed and waits. That one has a lane and no slot. When
    /// it ends, the lane is free and no slot is; so it matters what else ends before it.
    pub(super) fn needs_rest(&self, command: Command) -> bool {
        let supersedes =
            |(_, on_busy)| matches!(on_busy, OnBusy::CancelExisting | OnBusy::RollbackExisting);
        match command {
            Command::Pass | Command::Crash { .. } => true,
            Command::Cancel(run, ..) => self.queue.waits_again(run),
            Command::Submit { gate, .. } => {
                gate.lane.filter(|lane| supersedes(*lane)).is_some_and(|(lane, _)| {
                    self.queue.lane(lane).into_iter().any(|run| self.queue.waits_again(run))
                })
            }
            _ => false,
        }
    }

    /// Tells whether a run is stopped and has not ended, or has its answer and has not started.
    pub(super) fn is_delicate(&self) -> bool {
        self.runs
            .iter()
            .any(|run| run.is_stopping() || run.status == RunStatus::Queued && run.answer.is_some())
    }
}
