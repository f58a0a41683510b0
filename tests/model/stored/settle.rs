//! What the engine's tasks do when they are let: runs start, obey, end and are paused.

use quell::{CauseKind, RunStatus, StopMode};

use super::actors::{EXPIRES, question, save_text};
use super::rules::{Asker, Body, CLIENT, End, GRACE, Rules, Save, Told};
use super::script::Order;

impl Rules {
    /// Everything that is under way comes to rest.
    pub(super) fn settle(&mut self) {
        loop {
            let before = self.runs.clone();
            self.queue.release();
            for run in 0..self.runs.len() {
                self.start(run);
                self.take_order(run);
                self.end_if_over(run);
            }
            if self.runs == before {
                break;
            }
        }
        for run in &mut self.runs {
            run.is_left = matches!(run.body, Body::Over(_));
        }
        if self.queue.waits_for_a_slot() {
            self.met.note("waits for a slot");
        }
    }

    /// Work outside of a body ends. It takes what waited for it along, if that was the last.
    pub(super) fn end_work(&mut self, run: usize) {
        let this = &mut self.runs[run];
        this.work -= 1;
        if this.is_left || this.status.is_terminal() {
            self.end_if_over(run);
            self.queue.release();
        }
    }

    pub(super) fn start(&mut self, run: usize) {
        let this = &mut self.runs[run];
        if this.status == RunStatus::Queued && self.queue.is_released(run) {
            (this.status, this.body, this.saved) = (RunStatus::Running, Body::Runs, 0);
            this.attempts.push((this.attempt, this.answer.clone()));
            this.told.push(Told::Started);
            this.left_as = None;
        }
    }

    pub(super) fn take_order(&mut self, run: usize) {
        let this = &mut self.runs[run];
        let Some(order) = this.order.take() else { return };
        let stopping = this.is_stopping();
        let end = match order {
            Order::Save | Order::SaveBelow => {
                this.saved += 1;
                // Under a run that stops no child starts.
                if order == Order::Save || !stopping {
                    let text = save_text(run, this.attempt, this.saved);
                    self.saves.push(Save { run, text });
                }
                return;
            }
            Order::Spawn => {
                this.children += usize::from(!stopping);
                return;
            }
            Order::Work => {
                this.work += usize::from(!stopping);
                return;
            }
            Order::Checkpoint if stopping => End::Err,
            Order::Checkpoint => {
                if let Some(scheduled) = this.scheduled {
                    this.body = Body::Over(End::Err);
                    return self.accept(run, StopMode::Cooperative, scheduled.cause);
                }
                if !this.pause_asked {
                    return;
                }
                End::Asks { by: Asker::Client, expires: false }
            }
            Order::Ask { expires } => End::Asks { by: Asker::Body, expires },
            Order::AskBelow => End::Asks { by: Asker::Child, expires: false },
            Order::Return => End::Ok,
            Order::Fail | Order::Panic => End::Err,
        };
        this.body = Body::Over(end);
    }

    pub(super) fn end_if_over(&mut self, run: usize) {
        let now = self.now;
        let this = &mut self.runs[run];
        if this.status.is_terminal() {
            if this.work == 0 && !this.quiescent && this.here {
                this.quiescent = true;
                this.told.push(Told::Quiesced);
                this.gone = this.rollback;
                self.queue.leave(run, true);
            }
            return;
        }
        if this.is_stopping() {
            let is_over = this.body != Body::Runs && this.children == 0 && this.work == 0;
            if is_over {
                let timed_out = this.cause == Some(CauseKind::Deadline);
                let status = if timed_out { RunStatus::TimedOut } else { RunStatus::Cancelled };
                self.end(run, status);
            }
            return;
        }
        let Body::Over(end) = this.body.clone() else { return };
        if end == End::Err {
            // It fails: its children give way, and its work has the grace.
            this.children = 0;
            if this.work > 0 {
                this.hard.get_or_insert(now + GRACE);
            }
        }
        if this.children > 0 || this.work > 0 {
            return;
        }
        match end {
            End::Ok => self.end(run, RunStatus::Completed),
            End::Err => self.end(run, RunStatus::Failed),
            End::Asks { by, expires } => {
                if let Some(scheduled) = this.scheduled {
                    self.accept(run, StopMode::Cooperative, scheduled.cause);
                    // Nothing of it is left that would have to end.
                    return self.end_if_over(run);
                }
                (this.status, this.body) = (RunStatus::Paused, Body::None);
                this.answer = None;
                let request = match by {
                    Asker::Client => CLIENT.to_owned(),
                    Asker::Body | Asker::Child => question(run, this.attempt),
                };
                (this.asks, this.pause_asked) = (Some(request), false);
                this.told.push(Told::Paused);
                this.expires = expires.then_some((now + EXPIRES, now + EXPIRES));
                self.queue.pause(run);
                self.met.pause(by, expires);
            }
        }
    }

    pub(super) fn end(&mut self, run: usize, status: RunStatus) {
        let this = &mut self.runs[run];
        (this.status, this.left_as) = (status, None);
        this.told.push(Told::Ended(status));
        this.quiescent = this.work == 0;
        (this.body, this.order, this.scheduled) = (Body::None, None, None);
        (this.hard, this.aborted) = (None, false);
        // One that ends by itself keeps what it has saved.
        this.rollback &= this.cause.is_some();
        this.gone = this.rollback && this.quiescent;
        if this.rollback {
            let before = self.saves.len();
            self.saves.retain(|save| save.run != run);
            if self.saves.len() < before {
                self.met.note("states are rolled back");
            }
        }
        let quiescent = self.runs[run].quiescent;
        self.met.end(status);
        self.queue.leave(run, quiescent);
    }
}
