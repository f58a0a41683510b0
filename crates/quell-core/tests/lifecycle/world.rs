//! Plays a history on a lifecycle as the engine would, and keeps books of its own.
//!
//! The world never asks the lifecycle what it has counted: children, work, hooks and the body are
//! counted here too, so that the two can be compared.

use std::time::{Duration, Instant};

use quell_core::StopMode;
use quell_core::lifecycle::{
    BodyAction, BodyEnd, Effects, HookAction, Input, Lifecycle, Stage, StopInput, later,
};

use crate::ancestor::Ancestor;
use crate::history::{Change, ChildEnd, Finish, History, Op, changed, new_limits};
use crate::seen::{Body, Books, Seen, Step, Trace};

/// One run and everything around it.
pub(crate) struct World {
    pub(crate) life: Lifecycle,
    pub(crate) now: Instant,
    books: Books,
    ancestor: Option<Ancestor>,
    /// How many timers were served at this instant.
    served: (Instant, u32),
    trace: Trace,
}

/// Plays a history to the end of its run, and beyond.
pub(crate) fn play(history: &History) -> Trace {
    let mut world = World::new(history);
    for op in &history.ops {
        world.perform(*op);
    }
    world.finish();
    world.trace
}

impl World {
    pub(crate) fn new(history: &History) -> Self {
        let (now, limits) = (Instant::now(), history.setup.limits());
        Self {
            life: Lifecycle::new(&history.setup.rules(), now),
            now,
            books: Books { active_at: Some(now), limits, ..Books::default() },
            ancestor: None,
            served: (now, 0),
            trace: Trace {
                setup: history.setup,
                stuck: false,
                punctual: history.is_punctual(),
                born: now,
                steps: Vec::new(),
            },
        }
    }

    pub(crate) const fn books(&self) -> &Books {
        &self.books
    }

    pub(crate) fn perform(&mut self, op: Op) {
        let books = self.books;
        let is_live = !self.life.status().is_terminal();
        let has_context = books.body != Body::Waiting;
        match op {
            Op::Wait(time) => self.pass(time),
            Op::Oversleep(time) => self.now = later(self.now, time),
            Op::Start { parks } if books.body == Body::Waiting => {
                self.start();
                if parks {
                    self.park();
                }
            }
            Op::Park if books.body == Body::Running => self.park(),
            Op::Listen if books.body == Body::Running => self.books.listens = true,
            Op::Emit if is_live && has_context => self.books.active_at = Some(self.now),
            Op::AddChild { shielded } if has_context => self.add_child(shielded),
            Op::EndChild(end) if books.children > 0 => self.end_child(end),
            Op::DisownChild if books.failures_held > 0 => {
                self.books.failures_held -= 1;
                self.feed(Input::ChildDisowned);
            }
            Op::DetachChild if books.children > 0 && !self.life.is_fenced(false) => {
                self.books.children -= 1;
                self.feed(Input::ChildLeft);
            }
            Op::QuiesceChild if books.non_quiescent > 0 => {
                self.books.non_quiescent -= 1;
                self.feed(Input::ChildQuiesced);
            }
            Op::AddWork { shielded } if has_context => self.add_work(shielded),
            Op::EndWork if books.works > 0 => {
                self.books.works -= 1;
                self.feed(Input::WorkEnded);
            }
            Op::AddHook { at_end } if has_context => self.add_hook(at_end),
            Op::EndBody(end) => self.end_body(end),
            Op::Stop(stop) => self.stop(stop),
            Op::ParentStop { grace, wait, mode, own_grace } => {
                self.stop_parent(grace, wait, mode, own_grace);
            }
            Op::Checkpoint if has_context => {
                self.books.listens = true;
                self.feed(Input::Checkpoint);
            }
            Op::SetLimits(changes) => self.set_limits(changes),
            Op::SpuriousTick => self.tick(),
            _ => {}
        }
    }

    /// Lets time pass; whatever falls due is served at its instant, or now if that is over.
    fn pass(&mut self, time: Duration) {
        let until = later(self.now, time);
        while self.serve_next(until) {}
        self.now = self.now.max(until);
    }

    /// Serves the timer that is due first; false if none is due by then.
    fn serve_next(&mut self, until: Instant) -> bool {
        let own = self.life.next_wakeup().filter(|at| *at <= until);
        let ancestor = self.ancestor.and_then(|a| a.next_at()).filter(|at| *at <= until);
        let ancestors_turn = match (own, ancestor) {
            (None, None) => return false,
            (Some(own), Some(at)) if own == at => self.trace.setup.ancestor_first,
            (Some(own), Some(at)) => at < own,
            (None, Some(_)) => true,
            (Some(_), None) => false,
        };
        let due = if ancestors_turn { ancestor } else { own };
        self.now = due.map_or(self.now, |due| due.max(self.now));
        self.served = (self.now, if self.served.0 == self.now { self.served.1 + 1 } else { 0 });
        if self.served.1 > SERVED_AT_ONCE_MAX {
            self.trace.stuck = true;
            return false;
        }
        if ancestors_turn {
            let stage = self.ancestor.as_mut().and_then(|a| a.advance(self.now));
            if let Some(stage) = stage {
                self.reach(stage);
            }
        } else {
            self.tick();
        }
        true
    }

    fn tick(&mut self) {
        self.feed_and_reach(Input::Tick { active_at: self.books.active_at.unwrap_or(self.now) });
    }

    fn set_limits(&mut self, changes: [Change; 3]) {
        if !self.life.is_stopping() && !self.life.status().is_terminal() {
            self.books.limits = changed(self.books.limits, changes);
        }
        let active_at = self.books.active_at.unwrap_or(self.now);
        let (limits, queued_at) = (new_limits(changes), self.trace.born);
        self.feed_and_reach(Input::LimitsChanged { limits, queued_at, active_at });
    }

    fn feed_and_reach(&mut self, input: Input) {
        if let Some(stage) = self.feed(input).ladder {
            self.reach(stage);
        }
    }

    /// The subtree reaches a stage, leaves first: at the last one no child is live any more.
    fn reach(&mut self, stage: Stage) {
        while stage == Stage::Abandon && self.books.children > 0 {
            self.books.children -= 1;
            self.books.non_quiescent += 1;
            self.feed(Input::ChildEnded { unseen_failure: false, non_quiescent: true });
        }
        self.feed(Input::Ladder(stage));
        self.books.stage = self.books.stage.max(Some(stage));
        self.correct_books();
    }

    fn start(&mut self) {
        if !self.feed(Input::Started).refused {
            self.books.body = Body::Running;
            self.books.active_at = Some(self.now);
            self.correct_books();
        }
    }

    fn add_child(&mut self, shielded: bool) {
        if !self.feed(Input::ChildAdded { shielded }).refused {
            self.books.children += 1;
            self.correct_books();
        }
    }

    fn add_work(&mut self, shielded: bool) {
        self.books.listens = true;
        if !self.feed(Input::WorkAdded { shielded }).refused {
            self.books.works += 1;
            self.correct_books();
        }
    }

    fn add_hook(&mut self, at_end: bool) {
        // Entered before: with it the run may have all that it waits for to run its hooks.
        let before = self.books;
        self.books.hooks += 1;
        self.books.end_hooks += u32::from(at_end);
        let fx = self.feed(Input::HookAdded { at_end });
        if fx.refused || fx.hooks == HookAction::RunNew {
            (self.books.hooks, self.books.end_hooks) = (before.hooks, before.end_hooks);
            self.correct_books();
        }
    }

    fn end_child(&mut self, end: ChildEnd) {
        let non_quiescent = matches!(end, ChildEnd::NonQuiescent | ChildEnd::NonQuiescentOvertaken);
        let unseen_failure = matches!(end, ChildEnd::FailedUnseen);
        if matches!(end, ChildEnd::NonQuiescentOvertaken) {
            self.feed(Input::ChildQuiesced);
        }
        self.books.children -= 1;
        self.books.failures_held += u32::from(matches!(end, ChildEnd::FailedSeen));
        self.books.non_quiescent += u32::from(matches!(end, ChildEnd::NonQuiescent));
        self.feed(Input::ChildEnded { unseen_failure, non_quiescent });
    }

    fn end_body(&mut self, end: BodyEnd) {
        let legal = match (self.books.body, end) {
            (Body::Running, BodyEnd::Dropped) => self.books.wanted != BodyAction::Leave,
            // Its start was refused.
            (Body::Waiting, BodyEnd::Dropped) => self.life.is_stopping(),
            // It returned or panicked; unstarted, its runtime is gone.
            (Body::Running, BodyEnd::Ok) | (Body::Running | Body::Waiting, BodyEnd::Err) => true,
            (_, BodyEnd::Paused { .. }) | (Body::Waiting, BodyEnd::Ok) | (Body::Ended, _) => false,
        };
        if legal {
            self.books.body = Body::Ended;
            self.feed(Input::BodyEnded(end));
        }
    }

    fn stop(&mut self, stop: StopInput) {
        self.feed(Input::Stop(stop));
    }

    /// An ancestor is stopped, or stopped again: it tells only what is news.
    fn stop_parent(
        &mut self,
        grace: Duration,
        wait: Duration,
        mode: StopMode,
        own: Option<Duration>,
    ) {
        let grace = if mode == StopMode::Abort { Duration::ZERO } else { grace };
        let hard = later(self.now, grace);
        let Some(told) = Ancestor::told(self.ancestor, hard, wait, mode) else { return };
        self.ancestor = Some(told);
        let Ancestor { hard, wait, mode, .. } = told;
        self.feed(Input::ParentStopped { hard, wait, mode, own_grace: own });
    }

    pub(crate) fn feed(&mut self, input: Input) -> Effects {
        let before = self.see();
        let is_asked = matches!(input, Input::Stop(_) | Input::LimitsChanged { .. });
        let shown = is_asked.then(|| format!("{:?}", self.life));
        let fx = self.life.on(input, self.now);
        self.note(&fx);
        let unchanged = shown.is_some_and(|shown| shown == format!("{:?}", self.life));
        let after = self.see();
        self.trace.steps.push(Step {
            born: self.trace.born,
            at: self.now,
            input,
            before,
            fx,
            after,
            unchanged,
        });
        if fx.accepted.is_some() {
            self.judge();
        }
        fx
    }

    /// The first poll of the body returns.
    fn park(&mut self) {
        self.books.parked = true;
        if self.life.is_stopping() {
            self.judge();
        }
    }

    /// Says whether a body listens as soon as it can be known.
    fn judge(&mut self) {
        let Books { listens, parked, .. } = self.books;
        if listens || parked {
            self.feed(Input::Judged { listens });
        }
    }

    /// Enters what the lifecycle asked for.
    fn note(&mut self, fx: &Effects) {
        let books = &mut self.books;
        books.wanted = books.wanted.max(fx.body);
        let skips = fx.hooks == HookAction::Skip && books.end_hooks > 0;
        let ends = fx.hooks == HookAction::Run || skips;
        books.winds_down |= fx.accepted.is_some() || fx.cascade.is_some() || ends;
        if fx.accepted.is_some() || fx.scheduled {
            books.active_at = Some(self.now);
        }
        match fx.hooks {
            HookAction::Leave | HookAction::AbortRunning | HookAction::SkipNew => {}
            HookAction::Run => {
                books.works += 1;
                (books.hooks, books.end_hooks) = (0, 0);
            }
            HookAction::RunNew => books.works += 1,
            // What is dropped is work as well.
            HookAction::Abort | HookAction::Skip => {
                books.works += u32::from(books.hooks > 0);
                (books.hooks, books.end_hooks) = (0, 0);
            }
        }
    }

    /// Makes the last step show what was entered after it.
    fn correct_books(&mut self) {
        if let Some(step) = self.trace.steps.last_mut() {
            step.after.books = self.books;
        }
    }

    fn see(&self) -> Seen {
        Seen {
            status: self.life.status(),
            stopping: self.life.is_stopping(),
            fenced: self.life.is_fenced(false),
            fenced_shielded: self.life.is_fenced(true),
            aborting: self.life.is_aborting(),
            hard: self.life.hard_deadline(),
            timeout_at: self.life.timeout_at(),
            quiescent: self.life.is_quiescent(),
            live_children: self.life.live_children(),
            next: self.life.next_wakeup(),
            books: self.books,
        }
    }

    /// Brings the run to its end, then lets end what goes on, then knocks once more at every door.
    fn finish(&mut self) {
        if self.trace.setup.finish == Finish::Naturally {
            self.end_naturally();
        } else {
            self.serve_all();
            self.stop(COOPERATIVE);
        }
        self.serve_all();
        self.perform(Op::EndBody(BodyEnd::Err));
        self.end_naturally();
        for mode in [StopMode::AfterStep, StopMode::Cooperative, StopMode::Abort] {
            self.stop(StopInput { mode, ..COOPERATIVE });
        }
        self.perform(Op::Start { parks: true });
        self.feed(Input::ChildAdded { shielded: true });
        self.feed(Input::WorkAdded { shielded: true });
        self.feed(Input::HookAdded { at_end: true });
        self.tick();
        self.feed(Input::Ladder(Stage::Abandon));
    }

    /// Serves timers until there are none.
    fn serve_all(&mut self) {
        let end = later(self.now, Duration::from_hours(1));
        while self.serve_next(end) {}
    }

    fn end_naturally(&mut self) {
        self.perform(Op::Start { parks: true });
        self.perform(Op::EndBody(BodyEnd::Dropped));
        self.perform(Op::EndBody(BodyEnd::Ok));
        while self.books.children > 0 {
            self.end_child(ChildEnd::Quietly);
        }
        while self.books.works > 0 {
            self.perform(Op::EndWork);
        }
        while self.books.non_quiescent > 0 {
            self.perform(Op::QuiesceChild);
        }
    }
}

const COOPERATIVE: StopInput = StopInput {
    mode: StopMode::Cooperative,
    grace: None,
    wait: None,
    escalate_after: Duration::ZERO,
};

/// The own deadline, three stages, those of an ancestor, and some to spare.
const SERVED_AT_ONCE_MAX: u32 = 12;
