//! [`App::states_in`]: the states that one run has left.

use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt as _;
use quell::{Payload, RunId};
use quell_http::{RunView, View};
use serde_json::json;

use crate::app::App;
use crate::app::find::{Found, Located};
use crate::app::history::State;
use crate::app::left::{From, Known};
use crate::messages::{asked, keys_of_messages};
use crate::threads::{Thread, Tracked};
use crate::values::{Fold, Keep, START, Step};
use crate::wire::asked::base_of;
use crate::wire::exact::{Keys, written};
use crate::wire::refusal::Refusal;

/// Which states of a run are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Which {
    /// The one that it has left at its end, too.
    has_end: bool,
    /// Those of its steps up to this event; none for all.
    until: Option<u64>,
    most: usize,
}

impl Which {
    pub(super) const fn all() -> Self {
        Self { has_end: true, until: None, most: 1 }
    }

    pub(super) const fn until(seq: u64) -> Self {
        Self { has_end: false, until: Some(seq), most: 1 }
    }

    /// Those before the last one of these.
    pub(super) const fn before(self) -> Self {
        let until = match self.until {
            Some(seq) => Some(seq.saturating_sub(1)),
            None => None,
        };
        Self { has_end: false, until, ..self }
    }

    pub(super) const fn most(self, most: usize) -> Self {
        Self { most, ..self }
    }
}

impl App {
    /// Lists the states that a run has left, the newest first; none if so many of them are too
    /// large to be held at once. The first one that it has left has no parent, unless the run has
    /// forked.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read, or has not all of it.
    pub(super) async fn states_in(
        &self,
        view: &View,
        thread: &Arc<Thread>,
        known: &Known,
        which: Which,
    ) -> Result<Option<Vec<State>>, Refusal> {
        let mut parts = known.parts.clone();
        let run = match known.from {
            From::Run(run) | From::Start(run) => RunId::from_uuid(run),
            From::Thread => {
                let (_, values) = thread.left_values(self.engine());
                return Ok(Some(vec![(parts, values)]));
            }
            From::Base => return Ok(Some(vec![(parts, thread.card().base)])),
        };
        // One more: the parent of the last one.
        let has_steps = known.has_steps();
        let keep = Keep::new(which.until, if has_steps { which.most.saturating_add(1) } else { 0 });
        let fold = self.fold_of(view, thread, (known, run), &keep).await?;
        let Some((mut fold, tracked)) = fold else {
            // It is gone by now, with what it has left.
            return Ok(Some(Vec::new()));
        };
        let next = match fold.next(known.status, &tracked.about) {
            Some(next) if !matches!(known.from, From::Start(_)) => next,
            // It is the only one of the run.
            _ if !which.has_end => return Ok(Some(Vec::new())),
            next => return Ok(Some(vec![started_on(known, &fold, &tracked, next.is_none())])),
        };
        parts.next = next;
        let is_live = known.mark.is_none() && parts.interrupt.is_none();
        if !has_steps {
            parts.parent = parts.parent.or(known.fork);
            return Ok(Some(vec![(parts, fold.current().cloned())]));
        }
        let Some(mut steps) = fold.kept() else { return Ok(None) };
        // The log may hold nothing of the last one any more.
        let last_step = fold.step().filter(|step| which.until.is_none_or(|seq| step.seq <= seq));
        if let Some(step) = last_step.filter(|_| steps.is_empty()) {
            steps.push(Arc::clone(step));
        }
        let last = fold.step().map(|step| step.seq);
        let has_end = which.has_end && !is_live && known.mark.is_some() && fold.has_own_end();
        let has_end = has_end || which.has_end && !is_live && last.is_none();
        let mut states = Vec::new();
        let mut parent = None;
        for step in &steps {
            let id = step.id(run);
            let mut state = Self::state_of(known, step, &tracked);
            state.0.id = id;
            state.0.parent = parent.or(known.fork.filter(|_| is_first(step, &tracked)));
            if Some(step.seq) != last || has_end {
                (state.0.interrupt, state.0.error) = (None, None);
            }
            parent = Some(id);
            states.push(state);
        }
        if has_end {
            parts.parent = parent.or(known.fork);
            let number = fold.step().map_or(0, |step| step.number + 1);
            parts.metadata.set("step", json!(number));
            states.push((parts, fold.current().cloned()));
        }
        states.reverse();
        states.truncate(which.most);
        Ok(Some(states))
    }

    /// Makes the state of a step.
    fn state_of(known: &Known, step: &Step, tracked: &Tracked) -> State {
        let mut parts = known.parts.clone();
        (parts.next, parts.at) = (step.next.clone(), step.at);
        parts.metadata.set("step", json!(step.number));
        let is_start = step.next == [START] && step.number < 0;
        let is_fork = known.fork.is_some() && is_first(step, tracked);
        if is_start || is_fork {
            let source = if is_start { "input" } else { "fork" };
            parts.metadata.set("source", json!(source));
        }
        parts.input = is_start.then(|| input_again(tracked));
        (parts, step.values.clone())
    }

    /// Folds the log of a run, and keeps these of its steps.
    async fn fold_of(
        &self,
        view: &View,
        thread: &Arc<Thread>,
        (known, run): (&Known, RunId),
        keep: &Keep,
    ) -> Result<Option<(Fold, Arc<Tracked>)>, Refusal> {
        let run = run.as_uuid();
        let kept = self.find(view, Some(thread.id), run).and_then(Located::kept);
        if let Some(found) = kept {
            let tracked = Arc::clone(&found.tracked);
            if let Some(thread) = &found.thread {
                let fold = thread.look(self.engine(), &found.tracked, &found.run);
                let fold = Box::pin(self.refolded(fold, known, &found, keep)).await;
                return Ok(Some((fold, tracked)));
            }
            return Ok(Some(Box::pin(self.lost(view, thread, &found, keep)).await));
        }
        let stored = self.find_stored(view, Some(thread.id), run).await?;
        let Some(stored) = stored else { return Ok(None) };
        let fold = Box::pin(self.folded_keeping(view, &stored, Some(keep))).await;
        let fold = self.unless_gone(stored.run.id(), fold).await?;
        Ok(fold.map(|fold| (fold, stored.tracked)))
    }

    /// Folds the log of a run that its thread has lost: it may keep itself what it has started on.
    async fn lost(
        &self,
        view: &View,
        thread: &Thread,
        found: &Found,
        keep: &Keep,
    ) -> (Fold, Arc<Tracked>) {
        let view_of = RunView::from(&found.run);
        let within = self.within(thread.id, view.component_of(&found.run));
        let tracked = Tracked::of(&view_of, within);
        let tracked = if base_of(&view_of).is_some() { tracked.adopted() } else { tracked };
        *tracked.fold.lock() = Fold::keeping(Some(keep.clone()));
        tracked.catch_up_alone(&self.all(), &found.run).await;
        let row = found.run.row();
        let mut fold = tracked.fold.lock().clone();
        if row.status.is_terminal() {
            let (service, output) = (tracked.service.as_ref(), row.output.as_ref());
            tracked.finish(service, &mut fold, &found.run, output);
        }
        (fold, Arc::new(tracked))
    }

    /// Folds the log of a run in memory again, if it has steps, for those that are to be kept.
    async fn refolded(&self, mut fold: Fold, known: &Known, found: &Found, keep: &Keep) -> Fold {
        if !known.has_nodes || fold.step().is_none() {
            return fold;
        }
        let (mut again, of) = (Fold::keeping(Some(keep.clone())), RunView::from(&found.run));
        let mut events = pin!(self.all().events_by_now(&found.run));
        while let Some(event) = events.next().await {
            again.take(&of, &event, &found.tracked.about, || fold.base().cloned());
        }
        if known.mark.is_none() && again.step().is_some() {
            return again;
        }
        fold.keep_as(again);
        fold
    }
}

/// Makes the state before the input of a run; or, of one that was cut before it went on, that which
/// it has left: all is as where it started.
fn started_on(known: &Known, fold: &Fold, tracked: &Tracked, is_cut: bool) -> State {
    let mut parts = known.parts.clone();
    parts.parent = known.fork;
    if is_cut {
        parts.next = tracked.next_at_start(&known.next_kept);
        return (parts, fold.base().cloned());
    }
    parts.input = Some(input_again(tracked));
    (parts, Some(fold.at_start(&tracked.about)))
}

/// Yields the input of a run for another one: its messages have the ids that they have got in this
/// one, so that whoever shows them knows them again.
fn input_again(tracked: &Tracked) -> Payload {
    let (input, reducers) = (&tracked.about.input, &tracked.about.reducers);
    let mut keys: Keys = input.parse().unwrap_or_default();
    let read = |key: &str| {
        let asked = asked(key, keys.get(key)?, tracked.id)?;
        Some((key.to_owned(), written(&asked)))
    };
    let messages: Keys = keys_of_messages(reducers).filter_map(read).collect();
    if messages.is_empty() {
        return input.clone();
    }
    keys.extend(messages);
    written(&keys)
}

/// Tells whether a step is the first one of its run.
fn is_first(step: &Step, tracked: &Tracked) -> bool {
    step.number < i64::from(tracked.about.goes_on)
}
