//! What subscribers of `tracing` are told: the transitions of runs.

use std::sync::Arc;

use quell_core::lifecycle::Effects;
use quell_core::{Cause, RunStatus};
use tracing::level_filters::LevelFilter;

use crate::foreign::couriers::Couriers;
use crate::foreign::{self, RunSpan};
use crate::node::{Node, State};
use crate::step::deferred::Deferred;

impl Node {
    /// Tells subscribers of `tracing`, if any wants to know.
    pub(crate) fn trace(self: &Arc<Self>, fx: &Effects, cause: Option<&Arc<Cause>>) {
        let level = if fx.aborted {
            LevelFilter::WARN
        } else if fx.ended.is_some() {
            if self.ended_non_quiescent() { LevelFilter::WARN } else { LevelFilter::INFO }
        } else if fx.accepted.is_some() {
            LevelFilter::DEBUG
        } else {
            return;
        };
        if self.is_left_to_next() {
            return;
        }
        let (fx, cause) = (*fx, cause.map(Arc::clone));
        self.tell(level, move |node| node.say(&fx, cause.as_deref()));
    }

    /// Tells subscribers of `tracing` of an error of the cleanup, or of the body, that came after
    /// the end of the run: the report is final, and says nothing of it.
    pub(crate) fn trace_late_error(self: &Arc<Self>, error: &str) {
        let error = error.to_owned();
        self.tell(LevelFilter::WARN, move |Self { id, name, .. }| {
            let words = "failed after the run had ended";
            tracing::warn!(run.uuid = %id, run.name = %name, error, "{words}");
        });
    }

    /// Keeps the span of the run until that ends, or is paused. One that has ended before, since it
    /// was stopped when it had just been accepted, is told so at once. The caller holds no lock.
    pub(crate) fn keep_span(&self, span: RunSpan) {
        let (ended, before) = {
            let mut state = self.lock();
            let before = state.span.replace(span);
            let is_over = state.life.status().is_terminal();
            (if is_over { self.take_span(&mut state) } else { None }, before)
        };
        if let Some(ended) = ended {
            ended.close(&self.shared.couriers);
        }
        foreign::run(&self.shared.couriers, move || drop(before));
    }

    /// Yields the span of the parent.
    pub(crate) fn span_above(&self) -> Option<RunSpan> {
        let parent = self.lock().parent.as_ref()?.upgrade()?;
        parent.lock().span.clone()
    }

    /// Leaves it to the end of the step to tell the span of the run that the run has ended or is
    /// paused. Called under the lock.
    pub(super) fn end_span(&self, state: &mut State, deferred: &mut Deferred) {
        if let Some(ended) = self.take_span(state) {
            deferred.rare().span = Some(ended);
        }
    }

    fn take_span(&self, state: &mut State) -> Option<EndedSpan> {
        let span = state.span.take()?;
        Some(EndedSpan { span, status: self.told_status(state), cause: state.cause.clone() })
    }

    /// Calls subscribers, if any wants to know: here, or with a courier if this is the control
    /// thread. The caller holds no lock.
    fn tell(self: &Arc<Self>, level: LevelFilter, say: impl FnOnce(&Self) + Send + 'static) {
        if level > LevelFilter::current() {
            return;
        }
        if foreign::is_barred() {
            let node = Arc::clone(self);
            self.shared.couriers.send_words(Box::new(move || say(&node)));
        } else {
            drop(foreign::catch_panic(|| say(self)));
        }
    }

    /// Yields the first names of what was abandoned of the run itself, and how many there are.
    fn abandoned(&self) -> (Vec<Arc<str>>, usize) {
        let state = self.lock();
        let left = state.extra.iter().flat_map(|extra| &extra.abandoned);
        let names = left.clone().take(ABANDONED_TRACED_MAX).map(|work| Arc::clone(&work.name));
        (names.collect(), left.count())
    }

    fn say(&self, fx: &Effects, cause: Option<&Cause>) {
        let (id, name) = (&self.id, &self.name);
        if fx.accepted.is_some() {
            let why = cause.map_or("", |cause| cause.kind.as_str());
            tracing::debug!(run.uuid = %id, run.name = %name, cause = why, "run is stopping");
        }
        if fx.aborted {
            tracing::warn!(run.uuid = %id, run.name = %name, "body was aborted");
        }
        if let Some(status) = fx.ended {
            if self.ended_non_quiescent() {
                let (abandoned, abandoned_count) = self.abandoned();
                tracing::warn!(
                    run.uuid = %id, run.name = %name, %status, ?abandoned, abandoned_count,
                    "run ended non-quiescent"
                );
            } else {
                tracing::info!(run.uuid = %id, run.name = %name, %status, "run ended");
            }
        }
    }
}

/// The span of a run that has ended, or is paused, and what it is to be told of that.
pub(crate) struct EndedSpan {
    /// The span, which what still executes of the run may hold as well.
    span: RunSpan,
    /// How the run has ended; `paused` if it has not.
    status: RunStatus,
    /// Why it was stopped, if it was.
    cause: Option<Arc<Cause>>,
}

impl EndedSpan {
    /// Records how the run has ended, and lets the span go: here, or with a courier if this is the
    /// control thread. It closes when nothing of the run executes any more. The caller holds no
    /// lock.
    pub(crate) fn close(self, couriers: &Couriers) {
        foreign::run(couriers, move || {
            self.span.record("run.status", self.status.as_str());
            if let Some(cause) = &self.cause {
                self.span.record("run.cause", cause.kind.as_str());
            }
        });
    }
}

/// How many names of abandoned work a subscriber is told of a run; the report has all. A run may
/// have thousands, each of up to 1 KiB.
const ABANDONED_TRACED_MAX: usize = 16;
