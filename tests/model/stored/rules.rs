//! [`Rules`]: what may be seen of a story, by the promises alone.
//!
//! What is asked takes effect at once; what the engine's tasks do of it, bodies that start, obey
//! and end, comes when they are let ([`super::settle`]); what time and crashes bring is in
//! [`super::time`].

use quell::{CauseKind, RunStatus, StopMode};

use super::met::Met;
use super::queue::{Queue, Refused};
use super::script::{Bounds, Command, Gate, Order, Rollback, Script};

/// The whole story so far.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Milliseconds of the paused clock since the beginning.
    pub(super) now: u64,
    pub(super) runs: Vec<Run>,
    pub(super) queue: Queue,
    /// What is saved, in its order.
    pub(super) saves: Vec<Save>,
    /// What holds of limits in a new process.
    pub(super) bounds: Bounds,
    pub(super) answers: usize,
    /// Two things are due at one instant, or one whose instant is not known: the story ends.
    pub(super) is_vague: bool,
    /// What has happened by them.
    pub(super) met: Met,
}

/// A state that is saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Save {
    pub(super) run: usize,
    pub(super) text: String,
}

/// A root.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Run {
    pub(super) gate: Gate,
    pub(super) stubborn: bool,
    pub(super) status: RunStatus,
    /// The attempt that runs, ran last, or comes next.
    pub(super) attempt: u32,
    /// The answer to its last pause; none while it is paused.
    pub(super) answer: Option<String>,
    /// Each attempt that has begun in the present process, and its answer.
    pub(super) attempts: Vec<(u32, Option<String>)>,
    pub(super) body: Body,
    /// Its body is over, and the engine has seen that.
    pub(super) is_left: bool,
    pub(super) children: usize,
    pub(super) work: usize,
    /// What its body is told and has not seen.
    pub(super) order: Option<Order>,
    pub(super) saved: usize,
    pub(super) cause: Option<CauseKind>,
    pub(super) mode: Option<StopMode>,
    pub(super) scheduled: Option<Scheduled>,
    pub(super) rollback: bool,
    /// What a client has asked.
    pub(super) pause_asked: bool,
    /// What it asks while it is paused.
    pub(super) asks: Option<String>,
    pub(super) quiescent: bool,
    /// It was taken back, and is forgotten.
    pub(super) gone: bool,
    /// How a former process has left it: its store says so until it starts again.
    pub(super) left_as: Option<RunStatus>,
    /// The present process has it.
    pub(super) here: bool,
    /// The present process does not know what makes its next body.
    pub(super) bodyless: bool,
    /// When the grace of its end is over.
    pub(super) hard: Option<u64>,
    /// It was over.
    pub(super) aborted: bool,
    /// What its log tells of it.
    pub(super) told: Vec<Told>,
    /// When its pause ends: not before the first instant, and by the second.
    pub(super) expires: Option<(u64, u64)>,
}

/// A stop at the next checkpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scheduled {
    pub(super) cause: CauseKind,
    pub(super) escalate_at: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// It was not made yet, or there is none at present.
    None,
    Runs,
    Over(End),
}

/// How an attempt ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Ok,
    Err,
    Asks { by: Asker, expires: bool },
}

/// Who asks for a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    Body,
    Child,
    Client,
}

/// What the log of a run tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Started,
    Paused,
    Resumed(u32),
    Stopping,
    Ended(RunStatus),
    Quiesced,
}

/// What is answered to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The runs whose place it takes, in order of their numbers.
    Submitted(Vec<usize>),
    Refused(Refused),
    Accepted,
    Scheduled,
    AlreadyStopping,
    Escalated,
    Terminal(RunStatus),
    Resumed,
    NotPaused,
    QueueFull,
    NoBody,
    Nothing,
}

impl Run {
    pub(super) fn new(gate: Gate, stubborn: bool) -> Self {
        Self {
            gate,
            stubborn,
            status: RunStatus::Queued,
            attempt: 1,
            answer: None,
            attempts: Vec::new(),
            body: Body::None,
            is_left: false,
            children: 0,
            work: 0,
            order: None,
            saved: 0,
            cause: None,
            mode: None,
            scheduled: None,
            rollback: false,
            pause_asked: false,
            asks: None,
            quiescent: false,
            gone: false,
            left_as: None,
            here: true,
            bodyless: false,
            hard: None,
            aborted: false,
            told: Vec::new(),
            expires: None,
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.status == RunStatus::Stopping
    }

    /// Why it stops at its next checkpoint, if it does.
    pub(super) fn scheduled_cause(&self) -> Option<CauseKind> {
        self.scheduled.map(|scheduled| scheduled.cause)
    }
}

impl Rules {
    pub(super) fn new(script: &Script) -> Self {
        let queue = Queue::new(script.bounds);
        let bounds = Bounds { queued: None, ..script.bounds };
        let (runs, saves, met) = (Vec::new(), Vec::new(), Met::default());
        Self { now: 0, runs, queue, saves, bounds, answers: 0, is_vague: false, met }
    }

    /// What is asked takes effect. A crash is [`Rules::crash`].
    pub(super) fn obey(&mut self, command: Command) -> Said {
        match command {
            Command::Submit { gate, stubborn } => return self.submit(gate, stubborn),
            Command::Limit(bounds) => {
                self.queue.bounds = bounds;
                self.queue.release();
            }
            Command::Order(run, order) => self.runs[run].order = Some(order),
            Command::EndChild(run) => self.runs[run].children -= 1,
            Command::EndWork(run) => self.end_work(run),
            Command::Pause(run) => self.runs[run].pause_asked = true,
            Command::Resume(run) => return self.resume(run),
            Command::Cancel(run, mode, rollback) => {
                return self.cancel(run, mode, rollback, CauseKind::UserRequest);
            }
            Command::Pass | Command::Crash { .. } => {}
        }
        Said::Nothing
    }

    pub(super) fn submit(&mut self, gate: Gate, stubborn: bool) -> Said {
        let run = self.runs.len();
        let is_stopping = |run: usize| self.runs[run].is_stopping();
        let is_busy = gate.lane.is_some_and(|(lane, _)| !self.queue.lane(lane).is_empty());
        let entered = self.queue.submit(run, gate, is_stopping);
        self.met.submit(gate, is_busy, &entered);
        let mut superseded = match entered {
            Ok(superseded) => superseded,
            Err(refused) => return Said::Refused(refused),
        };
        self.runs.push(Run::new(gate, stubborn));
        self.queue.release();
        let takes_back = matches!(gate.lane, Some((_, quell::OnBusy::RollbackExisting)));
        let rollback = if takes_back { Rollback::Yes } else { Rollback::No };
        superseded.sort_unstable();
        for other in &superseded {
            self.cancel(*other, StopMode::Cooperative, rollback, CauseKind::Superseded);
        }
        Said::Submitted(superseded)
    }

    pub(super) fn resume(&mut self, run: usize) -> Said {
        if self.runs[run].status != RunStatus::Paused {
            return Said::NotPaused;
        }
        if self.runs[run].bodyless {
            return Said::NoBody;
        }
        if !self.queue.resume(run) {
            return Said::QueueFull;
        }
        let answer = self.next_answer();
        self.answers += 1;
        let this = &mut self.runs[run];
        this.status = RunStatus::Queued;
        this.attempt += 1;
        this.told.push(Told::Resumed(this.attempt));
        (this.answer, this.asks, this.expires) = (Some(answer), None, None);
        self.queue.release();
        Said::Resumed
    }

    pub(super) fn cancel(
        &mut self,
        run: usize,
        mode: StopMode,
        rollback: Rollback,
        cause: CauseKind,
    ) -> Said {
        let now = self.now;
        let this = &mut self.runs[run];
        if this.status.is_terminal() {
            return Said::Terminal(this.status);
        }
        this.rollback |= rollback == Rollback::Yes;
        let is_under_way = this.body != Body::None;
        if this.is_stopping() {
            let before = this.mode.replace(this.mode.max(Some(mode)).unwrap_or(mode));
            if mode == StopMode::Abort {
                self.shorten(run);
            }
            return if Some(mode) > before { Said::Escalated } else { Said::AlreadyStopping };
        }
        if mode == StopMode::AfterStep && is_under_way {
            let scheduled = Scheduled { cause, escalate_at: now + ESCALATES };
            this.scheduled.get_or_insert(scheduled);
            return Said::Scheduled;
        }
        let was_scheduled = this.scheduled.is_some();
        self.accept(run, mode.max(StopMode::Cooperative), cause);
        if was_scheduled { Said::Escalated } else { Said::Accepted }
    }

    /// A stop is accepted: children give way at once.
    pub(super) fn accept(&mut self, run: usize, mode: StopMode, cause: CauseKind) {
        let has_started = self.runs[run].body != Body::None;
        if self.runs[run].status == RunStatus::Queued {
            self.queue.stop_waiting(run);
        }
        let now = self.now;
        let this = &mut self.runs[run];
        let was_paused = this.status == RunStatus::Paused;
        let scheduled = this.scheduled.take();
        this.status = RunStatus::Stopping;
        this.left_as = None;
        this.told.push(Told::Stopping);
        this.cause = Some(scheduled.map_or(cause, |scheduled| scheduled.cause));
        (this.mode, this.children) = (Some(mode), 0);
        (this.asks, this.expires) = (None, None);
        if has_started {
            let hard = now + GRACE;
            this.hard = Some(this.hard.map_or(hard, |before| before.min(hard)));
        }
        if !this.stubborn && this.body == Body::Runs {
            // The stop comes before an order that it has not seen.
            (this.body, this.order) = (Body::Over(End::Err), None);
        }
        if mode == StopMode::Abort {
            self.shorten(run);
        }
        if was_paused {
            // There is nothing of it that would have to end.
            self.end_if_over(run);
        }
        self.queue.release();
    }

    /// The grace is over.
    pub(super) fn shorten(&mut self, run: usize) {
        let now = self.now;
        let this = &mut self.runs[run];
        this.hard = this.hard.map(|hard| hard.min(now));
        self.abort(run);
    }

    pub(super) fn abort(&mut self, run: usize) {
        let this = &mut self.runs[run];
        (this.aborted, this.children) = (true, 0);
        if this.body == Body::Runs {
            (this.body, this.order) = (Body::Over(End::Err), None);
        }
    }
}

/// What a client asks for.
pub(super) const CLIENT: &str = "asked by a client";

/// The grace of each run, in milliseconds, and what follows it.
pub(super) const GRACE: u64 = 5_000;
pub(super) const ABORT_WAIT: u64 = 1_000;
/// When a stop at the next checkpoint comes at the latest.
const ESCALATES: u64 = 30_000;
