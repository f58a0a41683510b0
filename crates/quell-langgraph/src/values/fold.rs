//! [`Fold`]: the values of a thread, and how a run changes them.
//!
//! A body speaks of its own run: the `Values` that it emits are its input with its changes. They
//! are laid over what the thread had when the run started, each key as the reducers of the graph
//! say: it is overwritten, or appended to. What a body emits after a stop was accepted is not
//! merged (contract, section 10). A value that is not an object is stored under the key
//! [`OUTPUT`](super::OUTPUT).
//! What it answers with in words is added under the key [`MESSAGES`] at its end, unless it said
//! itself what stands there.

use std::sync::Arc;
use std::time::SystemTime;

use quell::{EventKind, Payload, RunEvent, RunId, RunStatus};
use quell_flow::{Emit, Reducer};
use quell_http::{LogPosition, RunView, Unread};

use super::overlay::{given, keyed, messages_of, overlay};
use super::steps::{Keep, Step};
use crate::messages::{
    MESSAGES, Messages, joined, keys_of_messages, may_have_messages, returned, returned_more,
    spoken,
};
use crate::wire::exact::{Keys, finite, written};
use crate::wire::rows::About;

/// The values of a thread or of a run, each as it was spelt: no digit of a number is lost.
pub(crate) type Values = Keys;

/// The values of one run, folded from its events.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Fold {
    /// The last event that is in.
    pub(crate) position: LogPosition,
    pub(super) base: Option<Arc<Values>>,
    pub(super) current: Option<Arc<Values>>,
    /// What the body returned, if it said nothing of a state or of nodes before.
    pub(super) answer: Option<Arc<Values>>,
    /// What the values of the body are laid over, if it is not what the thread had: its input added
    /// messages to that, under keys that the graph declares so.
    pub(super) ground: Option<Arc<Values>>,
    /// The messages on which it started, if its input had some.
    pub(super) asked: Option<Payload>,
    /// The messages with which it answered; empty until it has ended.
    pub(super) said: Messages,
    /// The body said itself what the messages are.
    pub(super) has_messages: bool,
    pub(super) is_finished: bool,
    pub(super) has_started: bool,
    pub(super) is_stopping: bool,
    /// When the run stopped, if the event of its stop was dropped before it was read.
    pub(super) stopped_at: Option<SystemTime>,
    pub(super) has_spoken: bool,
    pub(super) has_updated: bool,
    /// Events were dropped from the log before they were read, or were too large for it: what it
    /// said may be among them.
    pub(super) has_gap: bool,
    /// The number and the time of the event of its start.
    pub(super) started: Option<(u64, SystemTime)>,
    /// The last step of its nodes.
    pub(super) step: Option<Arc<Step>>,
    /// There may have been later ones: their events were dropped, or too large.
    pub(super) is_step_old: bool,
    /// The steps that somebody asks for.
    pub(super) keep: Option<Box<Keep>>,
}

impl Fold {
    /// Tells whether the run has started.
    pub(crate) const fn has_started(&self) -> bool {
        self.has_started
    }

    /// Yields the values so far; none before the start, or once they were let go.
    pub(crate) const fn current(&self) -> Option<&Arc<Values>> {
        self.current.as_ref()
    }

    /// Yields what the run started on.
    pub(crate) const fn base(&self) -> Option<&Arc<Values>> {
        self.base.as_ref()
    }

    /// Yields what the body returned, if that is all that it said.
    pub(crate) const fn answer(&self) -> Option<&Arc<Values>> {
        self.answer.as_ref()
    }

    /// Yields the messages of the run itself, of one that has ended: the last one is its answer.
    pub(crate) fn own_messages(&self) -> &[Payload] {
        &self.said.own
    }

    /// Yields the messages on which the run has started.
    pub(crate) fn messages_before(&self) -> Option<&Payload> {
        self.asked.as_ref().or_else(|| self.base.as_ref()?.get(MESSAGES))
    }

    /// Yields what the run changed as a node: what its body returned, if that is all that it said,
    /// and its messages.
    pub(crate) fn update(&self) -> Option<Arc<Values>> {
        if self.said.own.is_empty() || self.has_messages {
            return self.answer.clone();
        }
        let mut update = self.answer.as_deref().cloned().unwrap_or_default();
        update.insert(MESSAGES.to_owned(), written(&self.said.own));
        Some(Arc::new(update))
    }

    /// Takes in an event of the run's tree; tells whether the values are new, or the same again.
    pub(crate) fn take(
        &mut self,
        run: &RunView,
        event: &RunEvent,
        about: &About,
        base: impl FnOnce() -> Option<Arc<Values>>,
    ) -> bool {
        match self.position.pass(event) {
            Some(Unread::Event) if event.run == run.id() => {}
            Some(Unread::Gap) => {
                self.skip(run, about, base);
                return false;
            }
            _ => return false,
        }
        match &event.kind {
            EventKind::Started => {
                // A later attempt goes on with what the one before it said.
                if !self.has_started {
                    self.started = Some((event.seq, event.at));
                    self.start(run.id(), about, base());
                }
                true
            }
            EventKind::Stopping(_) => {
                self.is_stopping = true;
                self.fall_back();
                false
            }
            EventKind::Ended(status) if *status != RunStatus::Completed => {
                self.fall_back();
                false
            }
            EventKind::Emitted(payload) => self.take_emit(event, payload, about),
            EventKind::Refused { what, .. } if &**what == "event" => {
                self.has_refused();
                false
            }
            _ => false,
        }
    }

    fn start(&mut self, run: RunId, about: &About, base: Option<Arc<Values>>) {
        self.has_started = true;
        self.base = base;
        let own = given(&about.input);
        let base = self.base.as_deref();
        let mut messages = messages_of(&about.reducers, base, &own, run);
        if own.contains_key(MESSAGES) {
            let joined = messages.get(MESSAGES).cloned();
            let else_taken = || overlay(&about.reducers, base, &own).remove(MESSAGES);
            self.asked = joined.or_else(else_taken);
        }
        messages.retain(|key, _| about.reducers.of(key) == Reducer::Messages);
        if !messages.is_empty() {
            let mut ground = base.cloned().unwrap_or_default();
            ground.extend(messages);
            self.ground = Some(Arc::new(ground));
        }
        self.fill(about);
    }

    fn ground(&self) -> Option<&Values> {
        self.ground.as_deref().or(self.base.as_deref())
    }

    /// Makes the values on which it started, if it has and they were let go.
    pub(crate) fn fill(&mut self, about: &About) {
        if self.has_started && self.current.is_none() && !self.is_empty(about) {
            let mut values = overlay(&about.reducers, self.ground(), &given_besides(about));
            values.extend(self.asked.clone().map(|asked| (MESSAGES.to_owned(), asked)));
            self.current = Some(Arc::new(values));
        }
    }

    /// Tells whether it goes on in a thread that has no values, and where nothing comes next.
    pub(super) fn is_empty(&self, about: &About) -> bool {
        let has_values = self.base.as_ref().is_some_and(|base| !base.is_empty());
        about.goes_on && !has_values && about.input.is_null() && about.nodes.next.is_empty()
    }

    /// Lets the values go that follow from the input of the run: it may live for long before
    /// somebody asks for them (bench `http/background`). Whoever does makes them again.
    pub(crate) fn thin(&mut self) {
        if !self.has_spoken && !self.is_finished && self.step.is_none() {
            self.current = None;
        }
    }

    /// Goes on after events that the log no longer holds. The row of the run still has what they
    /// said of its life.
    fn skip(&mut self, run: &RunView, about: &About, base: impl FnOnce() -> Option<Arc<Values>>) {
        let row = run.row();
        if row.started_at.is_none() {
            return;
        }
        if !self.has_started {
            self.start(run.id(), about, base());
        }
        self.has_refused();
        self.stopped_at = row.stopped_at;
    }

    /// Goes on after an event that was too large for the log: it may have been a state.
    const fn has_refused(&mut self) {
        self.has_gap = true;
        self.is_step_old = self.step.is_some();
    }

    fn take_emit(&mut self, event: &RunEvent, payload: &Payload, about: &About) -> bool {
        let is_late = self.is_stopping || self.stopped_at.is_some_and(|at| event.at >= at);
        if is_late || !self.has_started {
            return false;
        }
        match Emit::read(&finite(payload)) {
            Some(Emit::Values { values }) => {
                self.has_spoken = true;
                self.lay(about, &said(about, event.run, &values));
                true
            }
            Some(Emit::Updates { .. }) => {
                self.has_updated = true;
                false
            }
            Some(Emit::Step { values, next }) => {
                self.has_spoken |= values.is_some();
                if let Some(values) = &values {
                    self.lay(about, &said(about, event.run, values));
                }
                if about.has_nodes {
                    self.take_step(event, next, about);
                }
                values.is_some()
            }
            _ => false,
        }
    }

    fn lay(&mut self, about: &About, over: &Values) {
        self.has_messages = over.contains_key(MESSAGES);
        let mut values = overlay(&about.reducers, self.ground(), over);
        let asked = self.asked.clone().filter(|_| !self.has_messages);
        values.extend(asked.map(|asked| (MESSAGES.to_owned(), asked)));
        self.current = Some(Arc::new(values));
    }

    /// Takes in what a run that has ended returned and said, once: its output, if it emitted no
    /// values, and its messages, which are asked for with whether what it returned is its answer.
    pub(crate) fn finish(
        &mut self,
        run: RunId,
        output: Option<&Payload>,
        about: &About,
        messages: impl FnOnce(bool) -> Messages,
    ) {
        if std::mem::replace(&mut self.is_finished, true) {
            return;
        }
        self.fill(about);
        let is_answer = !self.has_spoken && !self.has_updated;
        self.finish_output(run, output, about);
        self.said = messages(is_answer);
        if self.said.all.is_empty() || self.has_messages {
            return;
        }
        let mut all = match &self.asked {
            None => spoken(&about.input, run).into_iter().collect(),
            Some(_) => Vec::new(),
        };
        all.append(&mut self.said.all);
        let all = written(&joined(self.messages_before(), all));
        let mut values = self.current.take().map(Arc::unwrap_or_clone).unwrap_or_default();
        values.insert(MESSAGES.to_owned(), all);
        self.current = Some(Arc::new(values));
    }

    fn finish_output(&mut self, run: RunId, output: Option<&Payload>, about: &About) {
        let is_known = self.has_spoken && !self.has_gap;
        let output = output.filter(|output| !is_known && !output.is_null());
        let Some(output) = output else { return };
        if self.has_gap && !output.as_json().starts_with('{') && self.has_spoken {
            return;
        }
        let output = said(about, run, &finite(output));
        self.has_messages |= output.contains_key(MESSAGES);
        if self.has_gap {
            // Its last state may be among the dropped events. Then its output is that state.
            let mut state = given_besides(about);
            state.extend(output.clone());
            self.lay(about, &state);
        } else {
            let so_far = self.current.take();
            self.current = Some(Arc::new(overlay(&about.reducers, so_far.as_deref(), &output)));
        }
        // A graph with nodes that was held before the first one has changed nothing as one.
        if !self.has_spoken && !self.has_updated && self.step.is_none() {
            self.answer = Some(Arc::new(output));
        }
        (self.has_spoken, self.has_gap) = (true, false);
    }
}

/// Yields what the input puts into the values, but for the messages that are added to others.
fn given_besides(about: &About) -> Values {
    let mut own = given(&about.input);
    own.retain(|key, _| about.reducers.of(key) != Reducer::Messages);
    own
}

/// Yields a change that a body said of a run, with its messages as the values have them.
pub(crate) fn change_said(about: &About, run: RunId, change: Payload) -> Payload {
    let is_object = change.as_json().trim_start().starts_with('{');
    if is_object && may_have_messages(&about.reducers, &change) {
        return written(&said(about, run, &change));
    }
    change
}

/// Yields what a body said of a run: its messages as they stand in the values.
fn said(about: &About, run: RunId, values: &Payload) -> Values {
    let mut said = keyed(values);
    for key in keys_of_messages(&about.reducers) {
        let Some(messages) = said.get_mut(key) else { continue };
        if about.reducers.of(key) == Reducer::Messages {
            *messages = returned_more(messages, run);
        } else if let Some(read) = returned(messages, run) {
            *messages = read;
        }
    }
    said
}
