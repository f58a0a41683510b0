//! The life of one run as a pure state machine: inputs and an instant in, effects out.
//!
//! ```text
//!  Waiting ──Started──► Executing ──BodyEnded(Ok)──► Completing ──► Completed
//!     │                     │  │                         │  └ a child's failure went unseen ┐
//!     │                     │  └─BodyEnded(Err)──────► Failing ◄───────────────────────────┘
//!     │                     │                            │  └────────────────────────► Failed
//!     └───── Stop ──────────┴──────────── Stop ──────────┘
//!                           ▼
//!       Signalled ──H──► Aborting ──H+W/2──► aborting all ──H+W──► abandoned
//!           └───────────────┴──── body, children and work ended ───────┴──► Cancelled | TimedOut
//! ```
//!
//! `H` is the hard deadline of the stop, `W` the abort wait. *Work* is what a run executes besides
//! its body and children: hooks, blocking closures, processes. A run that fails while children or
//! work are live *winds down* on the same ladder, without being stopped itself. So does a run that
//! has hooks of every end: one that fails from its failure on, one that completes from the start of
//! these hooks on, when nothing else of it executes.
//!
//! | state | public status | still admitted |
//! |---|---|---|
//! | waiting | `Queued` | children, work, hooks |
//! | executing, completing | `Running` | children, work, hooks |
//! | failing, or running hooks | `Running` | shielded children and work before `H`; hooks [^1] |
//! | signalled | `Stopping` | shielded children and work; hooks [^2] |
//! | aborting, aborting all | `Stopping` | nothing |
//! | paused | `Paused` | nothing |
//! | ended | `Completed`, `Failed`, `Cancelled`, `TimedOut` | nothing |
//!
//! [^1]: Those of every end run when body and children have ended, before `H`; later they are
//! skipped. The others are dropped, unless a stop follows before `H`: then they run.
//!
//! [^2]: They run at once; when the mode is `abort` they are skipped.
//!
//! A root whose body ends with [`BodyEnd::Paused`] completes as any other, hooks of every end
//! included, and waits for all of its subtree. Then it is paused instead of ended:
//! [`Input::Resumed`] has it wait for its next start, and a stop ends it.
//!
//! A stop with a grace of 2 s and an abort wait of 1 s, accepted at 0:
//!
//! ```text
//! 0 s      accepted: the fence falls, children are told; a body that does not listen and has no
//!          live children is dropped
//! 0..2 s   the grace: listeners clean up; when body and children have ended, hooks run
//! 2 s      H: bodies without live children are dropped (polled once more first if they had any);
//!          hooks are dropped, except those that wait for children alone
//! 2.5 s    H + W/2: every body is dropped at its next await; hooks that run are dropped, those
//!          that still wait are skipped
//! 3 s      H + W: the run ends; what still executes is reported as abandoned
//! later    the last of it ends: `quiesced`
//! ```
//!
//! To drive the machine: make one with [`Lifecycle::new`]; apply every input with [`Lifecycle::on`]
//! under one lock; carry out the [`Effects`] when the lock is released; and bring a
//! [`Input::Tick`] at [`Lifecycle::next_wakeup`], which may change with every input.
//!
//! Invariants of the machine, each with a test of its name below or in `tests/`:
//!
//! 1. No edge leads from an accepted stop to `Completed` or `Failed` (I9).
//! 2. `ended` is reported once; nothing but `quiesced` follows, and that at most once (I3).
//! 3. A run ends only when no child is live (I1), and, unless the ladder is exhausted, when its
//!    body and its work have ended (I4).
//! 4. After acceptance no child and no work is admitted, except shielded before `H` (I8).
//! 5. The mode only rises, `H` only shrinks (I7).
//! 6. A paused run is quiescent, and none that was stopped is resumed (I24).

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use crate::new_limits::NewLimit;
use crate::{NewLimits, RunStatus, StopDelivery, StopMode};

/// The state of one run. See the module for the diagram.
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
#[derive(Clone, Debug)]
pub struct Lifecycle {
    /// The grace of a stop that names none. From the rules; never changes.
    grace: Span,
    /// The abort wait of a stop that names none. From the rules; never changes.
    wait: Span,
    /// Time from the start to the run's own deadline. Inline, unlike the other timers, because many
    /// runs have one.
    timeout: Option<Span>,
    /// When the body started first: the timeout counts from here, whatever it is changed to. Moved
    /// by the length of a pause in which the timeout stands still.
    started_at: Option<Instant>,
    /// How a stop reaches the body. Under `Auto`, [`Input::Judged`] replaces it by what it found.
    stop_delivery: StopDelivery,
    /// How far the body is.
    body: Body,
    /// Attached children that are live. The run does not end before it is zero.
    children: u32,
    /// Pieces of work that were counted and have not ended.
    work: u32,
    /// Children that ended non-quiescent, less those that became quiescent since, and work that was
    /// abandoned and has not ended. Negative for a moment if a child's `ChildQuiesced` comes before
    /// its `ChildEnded`.
    non_quiescent: i32,
    /// A child was admitted at some time. At the hard deadline a body that had one is polled once
    /// more before it is dropped: it may have waited for that child.
    had_children: bool,
    /// The last child of a stopped run ended before it was known whether its body listens.
    owes_poll: bool,
    /// Children were live at the hard deadline: hooks that wait for them have time left.
    hooks_wait: bool,
    /// Hooks were registered and not handed out yet.
    hooks: bool,
    /// Among them are hooks that run at every end, not only after a stop.
    end_hooks: bool,
    /// The body has ended its attempt, and the run is to be paused when nothing of it executes.
    pausing: bool,
    /// The body failed, or a child did whose failure nobody saw.
    failed: bool,
    /// A child failed and nobody holds its handle (D5). Decides when the body has ended.
    child_failed: bool,
    /// The body kept the subtree from ending at the hard deadline. It is reported as aborted if the
    /// engine drops it.
    offender: bool,
    /// Timers that few runs have.
    timers: Option<Box<OptionalTimers>>,
    /// Set while the run winds down, by a stop or a failure, and from then on.
    ladder: Option<Ladder>,
    /// The final status. Set once.
    ended: Option<RunStatus>,
}

/// What the embedder set for one run, resolved against the engine's defaults.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Rules {
    /// Time between the acceptance of a stop and abort.
    pub grace: Duration,
    /// Time between abort and abandon.
    pub abort_wait: Duration,
    /// How a stop reaches the body.
    pub stop_delivery: StopDelivery,
    /// Time from the first start to the run's own deadline.
    pub timeout: Option<Duration>,
    /// Time from acceptance to the latest start.
    pub start_within: Option<Duration>,
    /// Time without any sign of life in the subtree.
    pub idle: Option<Duration>,
    /// The timeout stands still while the run is paused. Otherwise it goes on.
    pub timeout_stands: bool,
}

impl Rules {
    /// Takes the two bounds that every run has; no timeouts, [`StopDelivery::Auto`].
    pub const fn new(grace: Duration, abort_wait: Duration) -> Self {
        Self {
            grace,
            abort_wait,
            stop_delivery: StopDelivery::Auto,
            timeout: None,
            start_within: None,
            idle: None,
            timeout_stands: false,
        }
    }
}

/// What may happen to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// The body is about to be polled for the first time.
    Started,
    /// A child wants in; `shielded` if it is asked for inside a shield or a hook.
    ChildAdded {
        /// Whether it belongs to cleanup.
        shielded: bool,
    },
    /// An attached child became terminal.
    ChildEnded {
        /// It failed, and nobody holds its handle (D5).
        unseen_failure: bool,
        /// It ended non-quiescent.
        non_quiescent: bool,
    },
    /// The handle of a child that had failed was dropped unread (D5).
    ChildDisowned,
    /// An attached child was detached; it counts as ended here.
    ChildLeft,
    /// A child that had ended non-quiescent became quiescent.
    ChildQuiesced,
    /// A blocking closure or a process wants to start.
    WorkAdded {
        /// Whether it belongs to cleanup.
        shielded: bool,
    },
    /// A hook runner, a blocking closure or a process ended.
    WorkEnded,
    /// Nobody waits for work that was counted any more, because its end may never be known: the run
    /// may end, and is not quiescent.
    WorkAbandoned,
    /// Work ended for which nobody waited any more.
    AbandonedEnded,
    /// A hook was registered.
    HookAdded {
        /// It runs at every end, not only after a stop.
        at_end: bool,
    },
    /// The body ended and was dropped, destructors included.
    BodyEnded(BodyEnd),
    /// A paused run was given its answer: it waits for its next start.
    Resumed,
    /// A stop of this very run was asked for.
    Stop(StopInput),
    /// An ancestor stops or fails, and this run with it.
    ParentStopped {
        /// The ancestor's hard deadline.
        hard: Instant,
        /// The ancestor's abort wait.
        wait: Duration,
        /// The ancestor's mode.
        mode: StopMode,
        /// A grace of the run's own, if its spec names one: it can only be earlier.
        own_grace: Option<Duration>,
    },
    /// The body passed a checkpoint.
    Checkpoint,
    /// It is known whether the body of a stopped run listens. Follows every accepted stop: at once,
    /// or when the first poll of the body has returned, for what a body does in it counts.
    Judged {
        /// Whether the body has used the stop API.
        listens: bool,
    },
    /// An instant of [`Lifecycle::next_wakeup`] has come.
    Tick {
        /// The last sign of life in the subtree.
        active_at: Instant,
    },
    /// The ladder of this run or of an ancestor reached a stage.
    Ladder(Stage),
    /// The run is to have other limits. One that is over already stops it at once. Refused once a
    /// stop was accepted: its cause and its bounds stand.
    LimitsChanged {
        /// The limits.
        limits: NewLimits,
        /// When the run was accepted.
        queued_at: Instant,
        /// The last sign of life in the subtree.
        active_at: Instant,
    },
}

/// A stop of this very run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by the engine only")]
pub struct StopInput {
    /// How urgent.
    pub mode: StopMode,
    /// A grace of the request's own.
    pub grace: Option<Duration>,
    /// An abort wait of the request's own.
    pub wait: Option<Duration>,
    /// When an `after_step` request escalates.
    pub escalate_after: Duration,
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "made by the engine only")]
pub enum BodyEnd {
    /// It returned `Ok`.
    Ok,
    /// It returned an error, it or its destructor panicked, or its runtime went away.
    Err,
    /// The engine dropped it.
    Dropped,
    /// It has ended its attempt: the run, a root, is to be paused.
    Paused {
        /// How long it may be. Zero ends it at once.
        expires_in: Option<Duration>,
    },
}

/// A stage of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "made by the engine only")]
pub enum Stage {
    /// Signalled; the grace runs.
    Signalled,
    /// `H`: bodies are aborted bottom-up.
    Abort,
    /// `H + W/2`: whatever is left is aborted at once.
    AbortAll,
    /// `H + W`: what still runs is abandoned.
    Abandon,
}

/// What the engine has to do now. Everything is "nothing" by default.
#[expect(clippy::struct_excessive_bools, reason = "independent effects")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Effects {
    /// A fence refused what wanted to start, or new limits came too late.
    pub refused: bool,
    /// The answer to a [`Input::Stop`].
    pub answer: Option<Answer>,
    /// A stop was accepted: record its cause, say `Stopping`, signal.
    pub accepted: Option<Trigger>,
    /// A stop at the next checkpoint was recorded.
    pub scheduled: bool,
    /// The children have to be told.
    pub cascade: Option<Cascade>,
    /// What is to happen to the body.
    pub body: BodyAction,
    /// What is to happen to the hooks.
    pub hooks: HookAction,
    /// The stage that the subtree, this run included, has reached.
    pub ladder: Option<Stage>,
    /// The body that was just dropped was an offender.
    pub aborted: bool,
    /// The body had not ended when the run became terminal.
    pub body_abandoned: bool,
    /// The run became paused.
    pub paused: bool,
    /// The run comes to no further attempt, although its body has ended with a pause: what would
    /// have made its next body is to be dropped, which counts as one piece of work.
    pub drops_maker: bool,
    /// The run became terminal.
    pub ended: Option<RunStatus>,
    /// Nothing executes any more in the subtree of a run that had ended non-quiescent.
    pub quiesced: bool,
}

impl Effects {
    /// Tells whether there is nothing to do.
    #[inline]
    pub fn is_nothing(&self) -> bool {
        // What is most often there is asked first.
        self.ended.is_none() && *self == Self::default()
    }
}

/// What accepted a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the engine makes one cause of each")]
pub enum Trigger {
    /// The request at hand.
    Request,
    /// A request made earlier: at a checkpoint, when its time was over, or pre-empted by any stop.
    Scheduled,
    /// The run's own timeout.
    Timeout,
    /// The run did not start in time.
    StartWithin,
    /// The idle limit.
    Idle,
    /// The run was paused for too long.
    PauseExpired,
    /// A parent.
    Parent,
}

/// The answer to a stop; the engine adds the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the engine makes one disposition of each")]
pub enum Answer {
    /// Accepted now.
    Accepted {
        /// End of the grace.
        hard: Instant,
    },
    /// To be accepted at the next checkpoint.
    Scheduled {
        /// Or then.
        escalate_at: Instant,
    },
    /// Accepted before.
    AlreadyStopping {
        /// End of the grace.
        hard: Instant,
    },
    /// Asked before, less urgently.
    Escalated {
        /// The mode so far.
        from: StopMode,
        /// The mode from now on.
        to: StopMode,
    },
    /// Over.
    AlreadyTerminal(RunStatus),
}

/// What the children have to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by the machine only")]
pub struct Cascade {
    /// The hard deadline.
    pub hard: Instant,
    /// The abort wait.
    pub wait: Duration,
    /// The mode.
    pub mode: StopMode,
    /// Whether the parent fails rather than stops.
    pub failing: bool,
}

/// What is to happen to a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "the engine does one thing for each")]
pub enum BodyAction {
    /// Nothing.
    #[default]
    Leave,
    /// Poll it once more, then drop it if it is still pending.
    PollThenDrop,
    /// Drop it at its next await.
    Drop,
}

/// What is to happen to the hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the engine does one thing for each")]
pub enum HookAction {
    /// Nothing.
    #[default]
    Leave,
    /// Run those registered, in reverse order; their runner counts as one piece of work. Without a
    /// stop it runs those of every end. What it does not run is registered again, since a stop may
    /// follow.
    Run,
    /// Run the one just registered, at once; its runner counts as one piece of work.
    RunNew,
    /// Drop those that run, and start no more of their runners. Those that wait for descendants
    /// have time left.
    AbortRunning,
    /// Drop those that run and start none of those that wait. If any wait, dropping them counts as
    /// one piece of work: what they have captured is the run's code, too.
    Abort,
    /// Start none of those that wait, here and in runners: they have no time, or the run ends
    /// without a stop. Counts as with [`Abort`](Self::Abort).
    Skip,
    /// Skip the one just registered. It is the caller's, and counts as nothing.
    SkipNew,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// It waits for its first start, or for that of its next attempt.
    Waiting,
    Running,
    Ended,
    /// Between two attempts: there is none.
    Paused,
}

/// The winding down of a run: because it was stopped, or because it failed.
#[derive(Clone, Copy, Debug)]
struct Ladder {
    /// `H`, the end of the grace. Only comes earlier.
    hard: Instant,
    /// `W`, the time from the abort to abandon. Only shrinks.
    wait: Duration,
    /// How urgent the stop is. Only rises.
    mode: StopMode,
    /// A stop was accepted; otherwise the run fails and its children are stopped, or it completes
    /// and its hooks run.
    stop: bool,
    /// The run's own deadline or idle limit was the cause.
    timed_out: bool,
    /// This run's timer drives the stages; otherwise an ancestor's does.
    drives: bool,
    /// When the abort was announced; the later stages count from there.
    aborted_at: Option<Instant>,
    /// The stage that was reached here.
    stage: Stage,
    /// The next stage that this run's timer has to announce.
    next: Option<Stage>,
}

/// Timers that only some runs have.
#[derive(Clone, Copy, Debug, Default)]
struct OptionalTimers {
    /// The latest start. Without effect once the body runs.
    start_by: Option<Instant>,
    /// The time that the subtree may go without a sign of life.
    idle: Option<Duration>,
    /// When that time is over. Set when the run starts, moved by every tick.
    idle_at: Option<Instant>,
    /// A stop that waits for the next checkpoint.
    scheduled: Option<Scheduled>,
    /// The timeout stands still while the run is paused. From the rules; never changes.
    timeout_stands: bool,
    /// How long the pause that the body has asked for may be.
    expires_in: Option<Duration>,
    /// When the run was paused, and when that is over. Set while it is paused.
    paused: Option<(Instant, Option<Instant>)>,
}

/// A stop that takes hold at the next checkpoint.
#[derive(Clone, Copy, Debug)]
struct Scheduled {
    /// When it takes hold without a checkpoint.
    escalate_at: Instant,
    /// The grace that was asked for, if any.
    grace: Option<Duration>,
    /// The abort wait that was asked for, if any.
    wait: Option<Duration>,
}

impl Lifecycle {
    /// Accepts a run.
    pub fn new(rules: &Rules, now: Instant) -> Self {
        let timers = OptionalTimers {
            start_by: rules.start_within.map(|within| later(now, within)),
            idle: rules.idle,
            timeout_stands: rules.timeout_stands,
            ..OptionalTimers::default()
        };
        let has_timers =
            timers.start_by.is_some() || timers.idle.is_some() || timers.timeout_stands;
        Self {
            grace: rules.grace.into(),
            wait: rules.abort_wait.into(),
            timeout: rules.timeout.map(Span::from),
            started_at: None,
            stop_delivery: rules.stop_delivery,
            body: Body::Waiting,
            children: 0,
            work: 0,
            non_quiescent: 0,
            had_children: false,
            owes_poll: false,
            hooks_wait: false,
            hooks: false,
            end_hooks: false,
            pausing: false,
            failed: false,
            child_failed: false,
            offender: false,
            timers: has_timers.then(|| Box::new(timers)),
            ladder: None,
            ended: None,
        }
    }

    /// Takes in a run that was paused when its process ended, and still is. The rules have what is
    /// left of its timeout; the pause may have an end.
    pub fn paused(rules: &Rules, expires_at: Option<Instant>, now: Instant) -> Self {
        let mut life = Self::new(rules, now);
        (life.body, life.started_at) = (Body::Paused, Some(now));
        let timers = life.timers.get_or_insert_default();
        (timers.start_by, timers.paused) = (None, Some((now, expires_at)));
        life
    }

    /// Applies one input. Whatever is illegal in the present state is a no-op.
    pub fn on(&mut self, input: Input, now: Instant) -> Effects {
        let mut out = Effects::default();
        self.on_into(input, now, &mut out);
        out
    }

    /// As [`on`](Self::on), with the effects put where they are to be: `out` is the default before.
    pub fn on_into(&mut self, input: Input, now: Instant, out: &mut Effects) {
        match input {
            Input::Started => self.on_started(now, out),
            Input::ChildAdded { shielded } => {
                if self.admits(shielded) {
                    self.children += 1;
                    self.had_children = true;
                } else {
                    out.refused = true;
                }
            }
            Input::ChildEnded { unseen_failure, non_quiescent } => {
                self.child_failed |= unseen_failure;
                self.non_quiescent += i32::from(non_quiescent);
                self.on_child_gone(now, out);
            }
            Input::ChildLeft => self.on_child_gone(now, out),
            Input::ChildDisowned => self.on_child_failed(now, out),
            Input::ChildQuiesced | Input::AbandonedEnded => self.on_piece_quiesced(out),
            Input::WorkAdded { shielded } => {
                if self.admits(shielded) {
                    self.work += 1;
                } else {
                    out.refused = true;
                }
            }
            Input::WorkEnded => self.on_work_ended(out),
            Input::WorkAbandoned if self.work > 0 => {
                self.work -= 1;
                self.non_quiescent += 1;
            }
            Input::WorkAbandoned => {}
            Input::HookAdded { at_end } => self.on_hook_added(at_end, now, out),
            Input::BodyEnded(end) => self.on_body_ended(end, now, out),
            Input::Resumed => self.on_resumed(now, out),
            Input::Stop(stop) => self.on_stop(stop, now, out),
            Input::ParentStopped { hard, wait, mode, own_grace } => {
                let own = own_grace.map(|grace| later(now, grace)).filter(|own| *own < hard);
                let bounds =
                    Bounds { hard: own.unwrap_or(hard), wait, mode, drives: own.is_some() };
                self.on_parent_stopped(bounds, now, out);
            }
            Input::Checkpoint => self.on_checkpoint(now, out),
            Input::Judged { listens } => out.body = self.judge(listens),
            Input::Tick { active_at } => self.on_tick(active_at, now, out),
            Input::Ladder(stage) => self.on_ladder(stage, out),
            Input::LimitsChanged { limits, queued_at, active_at } => {
                self.on_limits_changed(limits, (queued_at, active_at), now, out);
            }
        }
        self.settle(now, out);
    }

    /// Applies [`Input::Judged`], and yields the one effect that it has: under `Auto` only a body
    /// that listens has the grace. The answer is latched.
    pub fn judge(&mut self, listens: bool) -> BodyAction {
        if !self.is_stopping() || self.stop_delivery != StopDelivery::Auto {
            return BodyAction::Leave;
        }
        self.stop_delivery = if listens { StopDelivery::Signal } else { StopDelivery::Drop };
        if listens || self.body != Body::Running || self.children > 0 || self.ended.is_some() {
            BodyAction::Leave
        } else if self.owes_poll {
            BodyAction::PollThenDrop
        } else {
            BodyAction::Drop
        }
    }

    /// Ends a run that was never accepted, so that its handle has something to show.
    pub fn refuse(&mut self, failed: bool) {
        self.body = Body::Ended;
        self.ended = Some(if failed { RunStatus::Failed } else { RunStatus::Cancelled });
    }

    /// Yields the status, derived from the state.
    pub fn status(&self) -> RunStatus {
        match self.ended {
            Some(status) => status,
            None if self.is_stopping() => RunStatus::Stopping,
            None if self.body == Body::Waiting => RunStatus::Queued,
            None if self.body == Body::Paused => RunStatus::Paused,
            None => RunStatus::Running,
        }
    }

    /// Tells whether a stop was accepted.
    pub fn is_stopping(&self) -> bool {
        self.ladder.is_some_and(|ladder| ladder.stop)
    }

    /// Tells whether a stop was accepted and the run has not ended.
    pub fn is_live_and_stopping(&self) -> bool {
        self.ended.is_none() && self.is_stopping()
    }

    /// Tells whether what wants to start now would be refused.
    pub fn is_fenced(&self, shielded: bool) -> bool {
        !self.admits(shielded)
    }

    /// Tells whether the hard deadline of an accepted stop has come.
    pub fn is_aborting(&self) -> bool {
        self.ladder.is_some_and(|ladder| ladder.stop && ladder.stage >= Stage::Abort)
    }

    /// Yields the hard deadline, if the run winds down.
    pub fn hard_deadline(&self) -> Option<Instant> {
        self.ladder.map(|ladder| ladder.hard)
    }

    /// Yields when what still executes is given up, if the run winds down: the abort wait after the
    /// hard deadline, or after the abort if that came later.
    pub fn given_up_at(&self) -> Option<Instant> {
        let ladder = self.ladder?;
        Some(later(ladder.aborted_at.unwrap_or(ladder.hard), ladder.wait))
    }

    /// Yields what the children of a run that winds down are told.
    pub fn cascade(&self) -> Option<Cascade> {
        self.ladder.map(|ladder| ladder.cascade())
    }

    /// Yields the run's own deadline, once it has started; none while it stands still.
    pub fn timeout_at(&self) -> Option<Instant> {
        let timeout = self.timeout?;
        if self.is_paused() && self.timeout_stands() {
            return None;
        }
        Some(later(self.started_at?, timeout.get()))
    }

    /// Yields the run's own timeout, which counts from its first start.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.map(Span::get)
    }

    /// Tells whether the timeout stands still while the run is paused.
    pub fn timeout_stands(&self) -> bool {
        self.timers.as_ref().is_some_and(|timers| timers.timeout_stands)
    }

    /// Yields when the run has been paused for too long, if it is paused and that has an end.
    pub fn pause_expires_at(&self) -> Option<Instant> {
        self.timers.as_ref()?.paused?.1
    }

    /// Tells whether the run has ended and nothing of its subtree executes.
    pub fn is_quiescent(&self) -> bool {
        self.ended.is_some()
            && self.non_quiescent == 0
            && self.work == 0
            && self.body == Body::Ended
            && self.children == 0
    }

    /// Tells whether the body has ended and was dropped, destructors included.
    pub fn is_body_over(&self) -> bool {
        matches!(self.body, Body::Ended | Body::Paused)
    }

    /// Tells whether the run is paused, and was not stopped.
    pub fn is_paused(&self) -> bool {
        self.body == Body::Paused
    }

    /// Yields how many attached children are live.
    pub const fn live_children(&self) -> u32 {
        self.children
    }

    /// Yields the next instant at which the machine wants a [`Input::Tick`].
    #[inline]
    pub fn next_wakeup(&self) -> Option<Instant> {
        // Most runs have none of these.
        let is_timed = self.ladder.is_some() || self.timeout.is_some() || self.timers.is_some();
        if is_timed { self.next_timer() } else { None }
    }

    fn next_timer(&self) -> Option<Instant> {
        if self.ended.is_some() {
            return None;
        }
        let ladder = self.ladder.and_then(|ladder| ladder.next_at());
        if self.is_stopping() {
            return ladder;
        }
        let due = match (ladder, self.timeout_at()) {
            (Some(ladder), Some(timeout)) => Some(ladder.min(timeout)),
            (ladder, timeout) => ladder.or(timeout),
        };
        let Some(timers) = self.timers.as_deref() else { return due };
        let start_by = timers.start_by.filter(|_| self.body == Body::Waiting);
        let escalate_at = timers.scheduled.map(|scheduled| scheduled.escalate_at);
        let expires_at = timers.paused.and_then(|(_, expires_at)| expires_at);
        [due, timers.idle_at, start_by, escalate_at, expires_at].into_iter().flatten().min()
    }

    fn admits(&self, shielded: bool) -> bool {
        self.ended.is_none()
            && !self.is_paused()
            && self.ladder.is_none_or(|ladder| shielded && ladder.stage < Stage::Abort)
    }

    fn on_started(&mut self, now: Instant, out: &mut Effects) {
        if self.body != Body::Waiting || self.ladder.is_some() || self.ended.is_some() {
            out.refused = true;
            return;
        }
        if self.timers.as_ref().is_some_and(|timers| timers.start_by.is_some_and(|by| by <= now)) {
            // Its timer is late: the time to start is over all the same.
            self.on_tick(now, now, out);
            out.refused = true;
            return;
        }
        self.body = Body::Running;
        self.started_at.get_or_insert(now);
        if let Some(timers) = &mut self.timers {
            timers.idle_at = timers.idle.map(|idle| later(now, idle));
        }
    }

    fn on_child_gone(&mut self, now: Instant, out: &mut Effects) {
        // It was live at the hard deadline, although the stage may be late.
        self.hooks_wait |= self.hooks && self.ladder.is_some_and(|ladder| now >= ladder.hard);
        self.children = self.children.saturating_sub(1);
        if self.children > 0 {
            return;
        }
        if self.child_failed && self.body == Body::Ended {
            self.on_child_failed(now, out);
        }
        let Some(ladder) = self.ladder.filter(|ladder| ladder.stop) else { return };
        if self.body != Body::Running {
            // The inner scope has ended: now the outer one cleans up.
            return self.release_hooks(now, out);
        }
        let is_deaf = self.stop_delivery == StopDelivery::Drop;
        self.owes_poll = self.stop_delivery == StopDelivery::Auto;
        self.offender |= ladder.stage >= Stage::Abort && !is_deaf;
        if is_deaf || self.offender {
            out.body = BodyAction::PollThenDrop;
        }
    }

    fn on_child_failed(&mut self, now: Instant, out: &mut Effects) {
        self.child_failed = true;
        if self.body == Body::Ended && !self.failed && self.ended.is_none() {
            self.fail(now, out);
        }
    }

    fn on_piece_quiesced(&mut self, out: &mut Effects) {
        // May precede the `ChildEnded` of the same child: the sum is what counts.
        self.non_quiescent -= 1;
        out.quiesced = self.is_quiescent();
    }

    fn on_work_ended(&mut self, out: &mut Effects) {
        self.work = self.work.saturating_sub(1);
        out.quiesced = self.is_quiescent();
    }

    fn on_hook_added(&mut self, at_end: bool, now: Instant, out: &mut Effects) {
        let is_late = at_end && self.ladder.is_some_and(|ladder| ladder.stage >= Stage::Abort);
        if self.ended.is_none() && !self.is_stopping() && !self.is_paused() && !is_late {
            self.hooks = true;
            self.end_hooks |= at_end;
        } else if self.ended.is_none()
            && self.ladder.is_some_and(|ladder| ladder.lets_hooks_start(false, now))
        {
            self.work += 1;
            out.hooks = HookAction::RunNew;
        } else {
            out.refused = true;
            out.hooks = HookAction::SkipNew;
        }
    }

    fn on_body_ended(&mut self, end: BodyEnd, now: Instant, out: &mut Effects) {
        if self.is_body_over() {
            return;
        }
        self.body = Body::Ended;
        if matches!(end, BodyEnd::Paused { .. }) && (self.ended.is_some() || self.is_stopping()) {
            // A stop was accepted before this end: it comes to no pause.
            self.drop_maker(out);
        }
        if self.ended.is_some() {
            out.quiesced = self.is_quiescent();
            return;
        }
        if self.is_stopping() {
            self.offender &= end == BodyEnd::Dropped;
            out.aborted = self.offender;
            self.release_hooks(now, out);
        } else if let BodyEnd::Paused { expires_in } = end {
            self.pausing = true;
            if expires_in.is_some() {
                self.timers.get_or_insert_default().expires_in = expires_in;
            }
            if self.child_failed {
                self.fail(now, out);
            }
        } else if end != BodyEnd::Ok || self.child_failed {
            self.fail(now, out);
        }
    }

    /// Has a paused run wait for its next start, unless a stop came first.
    fn on_resumed(&mut self, now: Instant, out: &mut Effects) {
        if !self.is_paused() {
            out.refused = true;
            return;
        }
        self.body = Body::Waiting;
        let Some(timers) = &mut self.timers else { return };
        let Some((paused_at, _)) = timers.paused.take() else { return };
        if timers.timeout_stands {
            let stood = now.saturating_duration_since(paused_at);
            self.started_at = self.started_at.map(|started| later(started, stood));
        }
    }

    fn on_stop(&mut self, stop: StopInput, now: Instant, out: &mut Effects) {
        if let Some(status) = self.ended {
            out.answer = Some(Answer::AlreadyTerminal(status));
            return;
        }
        let scheduled = self.scheduled();
        if self.is_stopping() {
            self.on_stop_again(stop, now, out);
        } else if stop.mode == StopMode::AfterStep && self.is_under_way() {
            self.schedule(stop, scheduled, now, out);
        } else {
            let mode = stop.mode.max(StopMode::Cooperative);
            let bounds = self.bounds(mode, stop.grace, stop.wait, now);
            self.accept(bounds, Trigger::Request, now, out);
            out.answer = Some(match scheduled {
                Some(_) => Answer::Escalated { from: StopMode::AfterStep, to: mode },
                // A run that fails already may have the earlier deadline.
                None => Answer::Accepted { hard: self.hard_deadline().unwrap_or(bounds.hard) },
            });
        }
    }

    fn on_stop_again(&mut self, stop: StopInput, now: Instant, out: &mut Effects) {
        let Some(ladder) = self.ladder else { return };
        let asked = match (stop.mode, stop.grace) {
            (StopMode::Abort, _) => Some(now),
            (StopMode::Cooperative, Some(grace)) => Some(later(now, grace)),
            // By then it would have escalated.
            (StopMode::AfterStep, Some(grace)) => {
                Some(later(later(now, stop.escalate_after), grace))
            }
            (StopMode::AfterStep | StopMode::Cooperative, None) => None,
        };
        let hard = asked.unwrap_or(ladder.hard);
        let wait = stop.wait.filter(|_| asked.is_some()).unwrap_or(ladder.wait);
        let bounds = Bounds { hard, wait, mode: stop.mode, drives: true };
        self.tighten(bounds, now, out);
        out.answer = Some(if stop.mode > ladder.mode {
            Answer::Escalated { from: ladder.mode, to: stop.mode }
        } else {
            Answer::AlreadyStopping { hard: ladder.hard.min(hard) }
        });
    }

    fn on_parent_stopped(&mut self, bounds: Bounds, now: Instant, out: &mut Effects) {
        debug_assert!(bounds.mode >= StopMode::Cooperative, "only accepted stops cascade");
        if self.ended.is_some() {
            return;
        }
        if self.is_stopping() {
            self.tighten(bounds, now, out);
        } else {
            self.accept(bounds, Trigger::Parent, now, out);
        }
    }

    fn on_checkpoint(&mut self, now: Instant, out: &mut Effects) {
        let scheduled = self.scheduled();
        if let Some(scheduled) = scheduled
            && self.ended.is_none()
            && !self.is_stopping()
        {
            let bounds = self.bounds(StopMode::Cooperative, scheduled.grace, scheduled.wait, now);
            self.accept(bounds, Trigger::Scheduled, now, out);
        }
    }

    fn on_tick(&mut self, active_at: Instant, now: Instant, out: &mut Effects) {
        if self.ended.is_some() {
            return;
        }
        if let Some(ladder) = &mut self.ladder {
            if ladder.next_at().is_some_and(|at| at <= now) {
                // One stage at a time: a late tick must not deny bodies the stage between.
                out.ladder = ladder.next;
                ladder.next = ladder.next.and_then(Stage::following);
                ladder.aborted_at.get_or_insert(now);
            }
            if ladder.stop {
                return;
            }
        }
        if let Some(timers) = &mut self.timers
            && let (Some(idle), Some(_)) = (timers.idle, timers.idle_at)
        {
            timers.idle_at = Some(later(active_at, idle));
        }
        let timers = self.timers.as_deref().copied().unwrap_or_default();
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let waiting = self.body == Body::Waiting;
        let trigger = if due(self.timeout_at()) {
            Trigger::Timeout
        } else if waiting && due(timers.start_by) {
            Trigger::StartWithin
        } else if due(timers.scheduled.map(|scheduled| scheduled.escalate_at)) {
            Trigger::Scheduled
        } else if due(timers.idle_at) {
            Trigger::Idle
        } else if due(timers.paused.and_then(|(_, expires_at)| expires_at)) {
            Trigger::PauseExpired
        } else {
            return;
        };
        let asked =
            timers.scheduled.unwrap_or(Scheduled { escalate_at: now, grace: None, wait: None });
        let bounds = self.bounds(StopMode::Cooperative, asked.grace, asked.wait, now);
        self.accept(bounds, trigger, now, out);
    }

    /// Cold, and not a part of [`on`](Self::on): it would make every other input dearer (callgrind,
    /// `cancel_tree/flat`).
    #[cold]
    fn on_limits_changed(
        &mut self,
        new: NewLimits,
        (queued_at, active_at): (Instant, Instant),
        now: Instant,
        out: &mut Effects,
    ) {
        if self.ended.is_some() || self.is_stopping() {
            out.refused = true;
            return;
        }
        if let NewLimit::Is(timeout) = new.timeout {
            self.timeout = timeout.map(Span::from);
        }
        if let NewLimit::Is(within) = new.start_within
            && self.body == Body::Waiting
            && self.started_at.is_none()
        {
            let start_by = within.map(|within| later(queued_at, within));
            self.timers.get_or_insert_default().start_by = start_by;
        }
        if let NewLimit::Is(idle) = new.idle {
            let idle_at = idle.filter(|_| self.is_under_way());
            let idle_at = idle_at.map(|idle| later(active_at, idle));
            let timers = self.timers.get_or_insert_default();
            (timers.idle, timers.idle_at) = (idle, idle_at);
        }
        // What is over by now is due now: the timer that was armed knows nothing of it.
        self.on_tick(active_at, now, out);
    }

    fn on_ladder(&mut self, stage: Stage, out: &mut Effects) {
        let Some(ladder) = &mut self.ladder else { return };
        if self.ended.is_some() || stage <= ladder.stage {
            return;
        }
        ladder.stage = stage;
        if self.body == Body::Running && ladder.stop {
            self.offender |= self.children == 0;
            out.body = match (stage, self.children, self.had_children) {
                (Stage::Abort, 0, true) => BodyAction::PollThenDrop,
                (Stage::Abort, 0, false) | (Stage::AbortAll | Stage::Abandon, _, _) => {
                    BodyAction::Drop
                }
                (Stage::Abort | Stage::Signalled, _, _) => BodyAction::Leave,
            };
        }
        // Hooks that wait for descendants alone have until the next stage. If this one is late they
        // may have done so until the hard deadline, and run now.
        self.hooks_wait |= self.children > 0;
        if stage == Stage::Abort && self.hooks_wait {
            if self.children > 0 || self.body == Body::Running {
                out.hooks = HookAction::AbortRunning;
            }
        } else {
            out.hooks = HookAction::Abort;
            self.let_go_of_hooks();
        }
    }

    /// Records a stop that takes hold at the next checkpoint; the earliest escalation wins.
    fn schedule(
        &mut self,
        stop: StopInput,
        before: Option<Scheduled>,
        now: Instant,
        out: &mut Effects,
    ) {
        let asked = later(now, stop.escalate_after);
        let escalate_at = before.map_or(asked, |before| before.escalate_at.min(asked));
        let shorter = |a: Option<Duration>, b: Option<Duration>| a.into_iter().chain(b).min();
        let grace = shorter(before.and_then(|before| before.grace), stop.grace);
        let wait = shorter(before.and_then(|before| before.wait), stop.wait);
        let timers = self.timers.get_or_insert_default();
        timers.scheduled = Some(Scheduled { escalate_at, grace, wait });
        out.scheduled = before.is_none();
        out.answer = Some(Answer::Scheduled { escalate_at });
    }

    /// Accepts a stop: the one edge into `Stopping`. Whether a body under `Auto` has the grace is
    /// said by the [`Input::Judged`] that follows.
    fn accept(&mut self, bounds: Bounds, trigger: Trigger, now: Instant, out: &mut Effects) {
        // The first cause wins, also when its own time has not come (I6).
        let scheduled = self.scheduled();
        let trigger = if scheduled.is_some() { Trigger::Scheduled } else { trigger };
        let mut ladder = match self.ladder {
            // It winds down already: it keeps its stage, and the earlier bounds.
            Some(mut before) => {
                before.merge(bounds, now);
                before
            }
            None => Ladder::new(bounds),
        };
        ladder.stop = true;
        ladder.timed_out = matches!(
            trigger,
            Trigger::Timeout | Trigger::StartWithin | Trigger::Idle | Trigger::PauseExpired
        );
        // What was scheduled would have come to an end by its own escalation. A stop that comes
        // first takes no more time: asked for again, what was scheduled changes nothing (I7).
        if let Some(bounds) = scheduled.and_then(|scheduled| scheduled.bounds(ladder.wait, now)) {
            ladder.merge(bounds, now);
        }
        self.ladder = Some(ladder);
        out.accepted = Some(trigger);
        out.cascade = Some(ladder.cascade());
        match self.body {
            Body::Waiting => out.body = BodyAction::Drop,
            Body::Running if self.stop_delivery == StopDelivery::Drop && self.children == 0 => {
                out.body = BodyAction::Drop;
            }
            Body::Running => {}
            Body::Ended => self.release_hooks(now, out),
            Body::Paused => {
                self.body = Body::Ended;
                self.drop_maker(out);
            }
        }
        if std::mem::take(&mut self.pausing) {
            self.drop_maker(out);
        }
        if ladder.mode == StopMode::Abort {
            self.let_go_of_hooks();
            out.hooks = HookAction::Skip;
        }
    }

    /// Merges a further stop into an accepted one.
    fn tighten(&mut self, bounds: Bounds, now: Instant, out: &mut Effects) {
        let Some(ladder) = &mut self.ladder else { return };
        let mode = ladder.mode;
        if ladder.merge(bounds, now) {
            out.cascade = Some(ladder.cascade());
        }
        if mode < StopMode::Abort && ladder.mode == StopMode::Abort {
            self.let_go_of_hooks();
            out.hooks = HookAction::Skip;
        }
    }

    /// The run fails. While children or work go on, or hooks are to be dropped, it winds down on a
    /// ladder of its own, and nothing more starts.
    fn fail(&mut self, now: Instant, out: &mut Effects) {
        self.failed = true;
        if std::mem::take(&mut self.pausing) {
            self.drop_maker(out);
        }
        if self.ladder.is_some() || (self.children == 0 && self.work == 0 && !self.hooks) {
            return;
        }
        let ladder = Ladder::new(self.bounds(StopMode::Cooperative, None, None, now));
        self.ladder = Some(ladder);
        out.cascade = Some(ladder.cascade());
    }

    /// The run winds down, and body and children have ended, in whatever order: hooks have their
    /// turn until the hard deadline. Those that waited for descendants alone when it came are in
    /// time until everything is aborted.
    fn release_hooks(&mut self, now: Instant, out: &mut Effects) {
        if self.children == 0 && self.let_go_of_hooks() {
            let waited = self.hooks_wait && !self.offender;
            let in_time = self.ladder.is_some_and(|ladder| ladder.lets_hooks_start(waited, now));
            out.hooks = if in_time { HookAction::Run } else { HookAction::Skip };
        }
    }

    /// The run ends without a stop: hooks of every end have their turn. A run that completes waits
    /// for its work before that, for as long as that takes. Once it winds down nothing else is left
    /// of it, so that the ladder bounds its cleanup and nothing besides.
    fn release_end_hooks(&mut self, now: Instant, out: &mut Effects) {
        if !self.end_hooks || self.body != Body::Ended || self.is_stopping() {
            return;
        }
        if self.ladder.is_none() {
            if self.work > 0 {
                return;
            }
            let bounds = self.bounds(StopMode::Cooperative, None, None, now);
            self.ladder = Some(Ladder::new(bounds));
        }
        self.release_hooks(now, out);
    }

    /// Hands out the hooks that wait, to be run or dropped: one piece of work.
    fn let_go_of_hooks(&mut self) -> bool {
        self.end_hooks = false;
        let waiting = std::mem::take(&mut self.hooks);
        self.work += u32::from(waiting);
        waiting
    }

    /// Ends the run if nothing keeps it: the one edge into a terminal status.
    fn settle(&mut self, now: Instant, out: &mut Effects) {
        if self.ended.is_some() || self.children > 0 {
            return;
        }
        self.release_end_hooks(now, out);
        let exhausted = self.ladder.is_some_and(|ladder| ladder.stage == Stage::Abandon);
        let over = self.body == Body::Ended && self.work == 0;
        if !over && !exhausted {
            return;
        }
        if self.let_go_of_hooks() {
            out.hooks = HookAction::Skip;
            if !exhausted {
                return;
            }
        }
        if self.pausing {
            if !over || self.non_quiescent != 0 {
                return;
            }
            if self.scheduled().is_none() {
                return self.pause(now, out);
            }
            // A pause is a checkpoint. What would have made the next body is dropped first.
            return self.on_checkpoint(now, out);
        }
        let status = match self.ladder.filter(|ladder| ladder.stop) {
            Some(ladder) if ladder.timed_out => RunStatus::TimedOut,
            Some(_) => RunStatus::Cancelled,
            None if self.failed => RunStatus::Failed,
            None => RunStatus::Completed,
        };
        out.body_abandoned = self.body != Body::Ended;
        out.quiesced = false;
        out.ended = Some(status);
        self.ended = Some(status);
    }

    /// Pauses the run: the one edge into `Paused`. The next attempt begins as the first one did.
    fn pause(&mut self, now: Instant, out: &mut Effects) {
        debug_assert!(self.children == 0 && self.work == 0, "nothing of it executes");
        self.body = Body::Paused;
        self.pausing = false;
        self.ladder = None;
        (self.had_children, self.owes_poll, self.hooks_wait) = (false, false, false);
        out.paused = true;
        // Without these it has no timer that a pause would change.
        let Some(timers) = &mut self.timers else { return };
        timers.paused = Some((now, timers.expires_in.take().map(|time| later(now, time))));
        (timers.start_by, timers.idle_at) = (None, None);
    }

    /// Has what would have made the next body dropped: one piece of work (I4).
    const fn drop_maker(&mut self, out: &mut Effects) {
        self.work += 1;
        out.drops_maker = true;
    }

    fn bounds(
        &self,
        mode: StopMode,
        grace: Option<Duration>,
        wait: Option<Duration>,
        now: Instant,
    ) -> Bounds {
        // Nobody hears the grace of a body that was never polled: there is none.
        let unheard = mode == StopMode::Abort || matches!(self.body, Body::Waiting | Body::Paused);
        let own = || self.grace.get();
        let grace = if unheard { Duration::ZERO } else { grace.unwrap_or_else(own) };
        let wait = wait.unwrap_or_else(|| self.wait.get());
        Bounds { hard: later(now, grace), wait, mode, drives: true }
    }

    /// Tells whether an attempt has started, and nothing has paused the run since.
    fn is_under_way(&self) -> bool {
        !matches!(self.body, Body::Waiting | Body::Paused)
    }

    fn scheduled(&self) -> Option<Scheduled> {
        self.timers.as_ref().and_then(|timers| timers.scheduled)
    }
}

/// What one stop allows.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// The end of its grace.
    hard: Instant,
    /// Its abort wait.
    wait: Duration,
    /// How urgent it is.
    mode: StopMode,
    /// The run keeps a timer for it. It keeps none for a stop of an ancestor, which does.
    drives: bool,
}

impl Ladder {
    /// The ladder of a run that fails, or completes. [`accept`](Lifecycle::accept) makes it one of
    /// a stop.
    fn new(bounds: Bounds) -> Self {
        Self {
            hard: bounds.hard,
            wait: bounds.wait,
            mode: bounds.mode,
            stop: false,
            timed_out: false,
            drives: bounds.drives,
            aborted_at: None,
            stage: Stage::Signalled,
            next: bounds.drives.then_some(Stage::Abort),
        }
    }

    /// Tells whether hooks may start. The instant decides, since the stage may come late, unless
    /// they waited for descendants at the hard deadline.
    fn lets_hooks_start(&self, waited: bool, now: Instant) -> bool {
        let in_time = if waited {
            self.stage < Stage::AbortAll
        } else {
            self.stage == Stage::Signalled && now < self.hard
        };
        in_time && self.mode < StopMode::Abort
    }

    /// Merges the bounds of a further stop: the mode only rises, the hard deadline and the end of
    /// the ladder only come earlier (I7). Tells whether the children have to be told.
    fn merge(&mut self, bounds: Bounds, now: Instant) -> bool {
        let earlier = bounds.hard < self.hard;
        let harder = bounds.mode > self.mode;
        self.mode = self.mode.max(bounds.mode);
        self.hard = self.hard.min(bounds.hard);
        // Keep our own timer once we have one: an ancestor's deadline may be later than ours.
        if earlier && bounds.drives && !self.drives && self.stage == Stage::Signalled {
            self.drives = true;
            self.next = Some(Stage::Abort);
        }
        // The earlier end of the two ladders stands, whichever hard deadline does. If the hard
        // deadline has passed and nothing was aborted, the abort is late: it comes no sooner than
        // now, and the abort wait counts from there.
        let from = self.aborted_at.unwrap_or(self.hard.max(now));
        let over = later(bounds.hard.max(from), bounds.wait);
        self.wait = self.wait.min(over.saturating_duration_since(from));
        earlier || harder
    }

    const fn cascade(&self) -> Cascade {
        Cascade { hard: self.hard, wait: self.wait, mode: self.mode, failing: !self.stop }
    }

    fn next_at(&self) -> Option<Instant> {
        match self.next? {
            Stage::Signalled | Stage::Abort => Some(self.hard),
            Stage::AbortAll => Some(later(self.aborted_at?, self.wait / 2)),
            Stage::Abandon => Some(later(self.aborted_at?, self.wait)),
        }
    }
}

impl Scheduled {
    /// Yields the bounds that its own escalation would set; none without a grace of its own, which
    /// is then that of the stop at hand. `wait` stands in for an abort wait that it does not name.
    fn bounds(self, wait: Duration, now: Instant) -> Option<Bounds> {
        let hard = later(self.escalate_at.max(now), self.grace?);
        let wait = self.wait.unwrap_or(wait);
        Some(Bounds { hard, wait, mode: StopMode::Cooperative, drives: true })
    }
}

impl Stage {
    /// What comes next.
    const fn following(self) -> Option<Self> {
        match self {
            Self::Signalled => Some(Self::Abort),
            Self::Abort => Some(Self::AbortAll),
            Self::AbortAll => Some(Self::Abandon),
            Self::Abandon => None,
        }
    }
}

/// A duration in eight bytes: nanoseconds, and one that none can reach for all that are longer.
#[derive(Clone, Copy, Debug)]
struct Span(NonZeroU64);

impl Span {
    const fn get(self) -> Duration {
        match self.0.get() {
            u64::MAX => Duration::MAX,
            nanos => Duration::from_nanos(nanos - 1),
        }
    }
}

impl From<Duration> for Span {
    fn from(time: Duration) -> Self {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }
}

/// Adds a time to an instant; a time beyond the end of the clock is thirty years.
pub fn later(at: Instant, time: Duration) -> Instant {
    at.checked_add(time).unwrap_or_else(|| at + Duration::from_hours(30 * 365 * 24))
}
