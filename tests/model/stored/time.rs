//! What time brings, and the end of a process.

use quell::{CauseKind, OnBusy, RunStatus, StopMode, limits};

use super::queue::Queue;
use super::rules::{ABORT_WAIT, Body, Rules, Run, Told};
use super::script::Gate;

impl Rules {
    /// When the next timer is due, if there is one.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.timers().map(|(_, until)| until).min()
    }

    /// Between which instants timers fire.
    pub(super) fn timers(&self) -> impl Iterator<Item = (u64, u64)> {
        let live = self.runs.iter().filter(|run| run.here && !run.status.is_terminal());
        live.flat_map(|run| {
            let escalates = run.scheduled.map(|scheduled| scheduled.escalate_at);
            let hard = run.hard.filter(|_| !run.aborted);
            let abandon = run.hard.map(|hard| hard + ABORT_WAIT);
            let exact = [hard, abandon, escalates].into_iter().flatten();
            exact.map(|at| (at, at)).chain(run.expires)
        })
    }

    /// Time goes on. What is due comes.
    pub(super) fn pass(&mut self, to: u64) {
        let near = |(from, until): &(u64, u64)| *from <= to && to <= *until;
        let is_in_doubt = |(from, until): (u64, u64)| from <= to && to < until;
        let due = self.timers().filter(near).count();
        self.is_vague |= due > 1 || self.timers().any(is_in_doubt);
        self.now = to;
        for run in 0..self.runs.len() {
            let Run { hard, aborted, scheduled, expires, .. } = self.runs[run].clone();
            if self.runs[run].status.is_terminal() || !self.runs[run].here {
                continue;
            }
            if let Some(scheduled) = scheduled.filter(|it| it.escalate_at <= to) {
                self.accept(run, StopMode::Cooperative, scheduled.cause);
            }
            if hard.is_some_and(|hard| hard <= to) && !aborted {
                self.met.note("the grace is over");
                self.abort(run);
            }
            if hard.is_some_and(|hard| hard + ABORT_WAIT <= to) {
                self.met.note("abandoned");
                self.give_up(run);
            }
            if expires.is_some_and(|(_, until)| until <= to) {
                self.met.note("a pause expires");
                self.accept(run, StopMode::Cooperative, CauseKind::Deadline);
            }
        }
    }

    /// What still runs of a run is waited for no longer.
    pub(super) fn give_up(&mut self, run: usize) {
        let status = match self.runs[run].cause {
            None => RunStatus::Failed,
            Some(CauseKind::Deadline) => RunStatus::TimedOut,
            Some(_) => RunStatus::Cancelled,
        };
        self.end(run, status);
    }

    /// The process is gone, and the next one decides what it has left: of a run it knows a body if
    /// its bit is set. Its clock says when a pause expires.
    pub(super) fn crash(&mut self, known: u16, expires: impl Fn(usize) -> Option<(u64, u64)>) {
        self.queue = Queue::new(self.bounds);
        let mut stay = Vec::new();
        for run in 0..self.runs.len() {
            let this = &mut self.runs[run];
            this.attempts.clear();
            if this.status.is_terminal() {
                this.here = false;
                if this.rollback && !this.gone {
                    // Something of it still executed.
                    this.gone = true;
                    self.met.note("left ended, and rolled back");
                }
                continue;
            }
            let is_known = (known >> (run % 16)) & 1 == 1;
            let since_pause = this.told.iter().rev().take_while(|told| **told != Told::Paused);
            let lost = since_pause.filter(|told| **told == Told::Started).count();
            // One that was lost too often may be why its processes end.
            let has_body = is_known
                && (this.status == RunStatus::Paused || lost <= limits::LOST_ATTEMPTS_MAX as usize);
            self.met.left(this, has_body);
            let stop = this.cause.or(this.scheduled_cause());
            let is_paused = this.status == RunStatus::Paused;
            let left_as = this.left_as.unwrap_or(this.status);
            let is_answered = left_as == RunStatus::Queued && this.answer.is_some();
            (this.body, this.children, this.work, this.order) = (Body::None, 0, 0, None);
            (this.hard, this.aborted, this.pause_asked) = (None, false, false);
            if stop.is_some() || !(is_paused || has_body) {
                if this.scheduled.is_some() {
                    this.told.push(Told::Stopping);
                }
                this.cause = stop;
                let timed_out = stop == Some(CauseKind::Deadline);
                let status = match stop {
                    None => RunStatus::Failed,
                    Some(_) if timed_out => RunStatus::TimedOut,
                    Some(_) => RunStatus::Cancelled,
                };
                self.end(run, status);
                self.runs[run].here = false;
                continue;
            }
            if is_paused {
                this.bodyless = !has_body;
                this.expires = this.expires.and(expires(run));
            } else {
                (this.status, this.left_as) = (RunStatus::Queued, Some(left_as));
                this.attempt += u32::from(!is_answered);
            }
            let has_started = left_as != RunStatus::Queued;
            stay.push((!is_paused, !is_answered, !has_started, run));
        }
        stay.sort_unstable();
        for (waits, _, _, run) in stay {
            let gate = self.runs[run].gate;
            if waits {
                let gate =
                    Gate { lane: gate.lane.map(|(lane, _)| (lane, OnBusy::Enqueue)), ..gate };
                let entered = self.queue.submit(run, gate, |_| false);
                debug_assert_eq!(entered, Ok(Vec::new()), "no bound refuses it");
                self.queue.release();
            } else {
                self.queue.enter_paused(run, gate);
            }
        }
    }
}
