//! [`Pausing`] is what a run has that may be paused: its request, its answer, and what makes the
//! body of its next attempt.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use quell_core::{Payload, RunId};

use crate::failure::{Failure, RunError};
use crate::node::earlier::Earlier;
use crate::node::{Node, RareState, State, flags};
use crate::pause::{PauseAsked, PauseState};

/// Starts the next attempt of a run: makes its body, and spawns the task. It holds code of a user.
pub(crate) struct Maker(pub(crate) Start);

type Start = Box<dyn FnOnce(&Arc<Node>) + Send>;

impl fmt::Debug for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maker").finish_non_exhaustive()
    }
}

/// What a run has that may be paused.
#[derive(Debug, Default)]
pub(crate) struct Pausing {
    /// Starts the next attempt. There while an attempt runs and in the pause after it; taken out to
    /// be used, or to be dropped before the run ends.
    pub(crate) maker: Option<Maker>,
    /// What the run asks, from when it, or a client, has asked for the pause to the answer.
    pub(crate) request: Option<Payload>,
    /// How long that pause may be.
    pub(crate) expires_in: Option<Duration>,
    /// When the run became paused. Of its last pause, also after that.
    pub(crate) paused_at: Option<Instant>,
    /// When, if that was in an earlier process.
    pub(crate) since: Option<SystemTime>,
    /// The run whose body has asked: this one, or one below it. None if a client has.
    pub(crate) asked_by: Option<RunId>,
    /// How long its timeout has stood still in the pauses before that.
    pub(crate) stood: Duration,
    /// How much of its timeout it had used when this process took it over.
    pub(crate) used: Duration,
    /// The body has asked for the pause, or has met that of a client at a checkpoint: an error that
    /// it returns now pauses the run.
    pub(crate) is_due: bool,
    /// The answer to the last pause.
    pub(crate) answer: Option<Payload>,
    /// How often the run was resumed.
    pub(crate) resumed: u32,
    /// When the run was accepted, and when it started first, if an earlier process has stored that.
    pub(crate) began: (Option<SystemTime>, Option<SystemTime>),
    /// What has ended below it in earlier processes, if anything has.
    pub(crate) earlier: Option<Box<Earlier>>,
}

impl Failure {
    /// Yields the pause that the body has asked for, or passes on, if that is all it says.
    pub(crate) fn pause_asked(&self) -> Option<&PauseAsked> {
        let passed_on = self.downcast_ref().and_then(|error: &RunError| match error {
            RunError::Paused(asked) => Some(asked),
            _ => None,
        });
        self.downcast_ref().or(passed_on)
    }
}

impl RareState {
    pub(crate) fn pausing(&mut self) -> &mut Pausing {
        self.pausing.get_or_insert_default()
    }
}

impl State {
    /// Yields what a run that is paused asks.
    pub(crate) fn pause_request(&self) -> Option<&Payload> {
        let pausing = self.extra.as_ref()?.pausing.as_ref()?;
        pausing.request.as_ref().filter(|_| self.life.is_paused())
    }

    /// Takes out what would make the body of the next attempt.
    pub(crate) fn take_maker(&mut self) -> Option<Maker> {
        self.extra.as_mut()?.pausing.as_mut()?.maker.take()
    }
}

impl Node {
    /// Keeps what makes the body of the next attempt. Called before the task of this one is
    /// spawned.
    pub(crate) fn keep_maker(&self, maker: Maker) {
        let before = self.lock().extra().pausing().maker.replace(maker);
        debug_assert!(before.is_none(), "one attempt at a time");
        self.set(flags::RESUMABLE);
    }

    /// Tells whether the run may be paused as far as its bodies are concerned.
    pub(crate) fn is_resumable(&self) -> bool {
        self.flags() & flags::RESUMABLE != 0
    }

    /// Yields the number of the attempt that runs, or has run last.
    pub(crate) fn attempt_of(&self, state: &State) -> u32 {
        let pausing = state.extra.as_ref().and_then(|extra| extra.pausing.as_ref());
        self.attempt().saturating_add(pausing.map_or(0, |pausing| pausing.resumed))
    }

    /// Yields when the run was accepted, and when it started first, in whatever process.
    pub(crate) fn began(&self, state: &State) -> (SystemTime, Option<SystemTime>) {
        let pausing = state.extra.as_ref().and_then(|extra| extra.pausing.as_ref());
        let (queued, started) = pausing.map_or((None, None), |pausing| pausing.began);
        let wall = |at| self.shared.clock.wall_at(at);
        let queued = queued.unwrap_or_else(|| wall(state.times.queued));
        (queued, started.or_else(|| state.times.started.map(wall)))
    }

    /// Yields how often the run was resumed, and the answer to its last pause.
    pub(crate) fn resumed(&self) -> (u32, Option<Payload>) {
        let state = self.lock();
        let pausing = state.extra.as_ref().and_then(|extra| extra.pausing.as_ref());
        pausing.map_or((0, None), |pausing| (pausing.resumed, pausing.answer.clone()))
    }

    /// Yields the pause of the run, if it is paused.
    pub(crate) fn pause_state(&self) -> Option<PauseState> {
        let ((request, attempt), paused_at, since, expires_in) = {
            let state = self.lock();
            let asks = (state.pause_request()?.clone(), self.attempt_of(&state));
            let pausing = state.extra.as_ref()?.pausing.as_ref()?;
            (asks, pausing.paused_at?, pausing.since, pausing.expires_in)
        };
        let paused_at = since.unwrap_or_else(|| self.shared.clock.wall(paused_at));
        let expires_at = expires_in.and_then(|time| paused_at.checked_add(time));
        Some(PauseState { request, attempt, paused_at, expires_at })
    }
}
