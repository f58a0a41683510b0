//! The events of a run as server-sent events (section 8).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use futures::{Stream, StreamExt, future, stream};
use quell::{EventKind, Payload, RunEvent, RunId, RunKind, RunRef, RunStatus};
use quell_flow::Emit;
use quell_http::Frame;
use serde_json::{Value, json};

use crate::app::{App, Found};
use crate::threads::{Thread, Tracked};
use crate::values::Fold;
use crate::wire::modes::Modes;

/// From where a stream begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// From the first event that is held.
    Start,
    /// After the one with this id.
    After(String),
    /// From now on.
    Now,
}

/// Yields the frames of a run.
pub(crate) fn frames(
    app: &App,
    found: &Found,
    modes: Modes,
    from: From,
) -> impl Stream<Item = Frame> + Send + 'static + use<> {
    let (run, tracked) = (&found.run, &found.tracked);
    let fold = match &found.thread {
        Some(thread) => thread.look(app.engine(), tracked, run),
        None => Fold::default(),
    };
    let (after, floor) = match from {
        From::Start => (0, None),
        From::After(id) => (0, Some(id)),
        From::Now => (fold.seq.max(last_seq(found)), None),
    };
    let render = Render {
        app: app.clone(),
        run: run.clone(),
        tracked: Arc::clone(tracked),
        thread: found.thread.clone(),
        modes: modes.and(tracked.modes),
        fold: if after == 0 { Fold::default() } else { fold },
        floor,
        spaces: HashMap::new(),
        is_first: true,
        is_over: false,
    };
    let events = app.service().events(run, after);
    let frames = events.scan(render, |render, event| future::ready(render.frames(&event)));
    frames.flat_map(stream::iter)
}

/// Where the log of a run is that no thread follows.
fn last_seq(found: &Found) -> u64 {
    use futures::FutureExt;
    if found.thread.is_some() {
        return 0;
    }
    let mut events = found.run.events();
    let mut last = 0;
    for _ in 0..=quell::limits::EVENTS_PER_ROOT_MAX {
        let Some(Some(event)) = events.next().now_or_never() else { break };
        last = event.seq.max(last);
    }
    last
}

struct Render {
    app: App,
    run: RunRef,
    tracked: Arc<Tracked>,
    thread: Option<Arc<Thread>>,
    modes: Modes,
    fold: Fold,
    floor: Option<String>,
    /// The namespaces of live runs of the tree: none at the top.
    spaces: HashMap<RunId, Option<Arc<str>>>,
    is_first: bool,
    is_over: bool,
}

impl Render {
    /// Yields the frames of an event; none to end the stream.
    fn frames(&mut self, event: &RunEvent) -> Option<Vec<Frame>> {
        if let EventKind::Lagged { .. } = event.kind {
            // A slow reader is disconnected, never waited for; of a replay the start may be gone.
            return std::mem::take(&mut self.is_first).then(Vec::new);
        }
        self.is_first = false;
        if self.is_over {
            return None;
        }
        let mut frames = Vec::new();
        let is_new = self.take(event);
        match &event.kind {
            EventKind::Started if event.run == self.run.id() => {
                let data = json!({ "run_id": event.run.to_string(), "attempt": 1 });
                frames.push(Frame::json("metadata", &data));
                self.push_values(&mut frames);
            }
            EventKind::Emitted(payload) => self.push_emit(&mut frames, event, payload, is_new),
            EventKind::Ended(status) if event.run == self.run.id() => {
                self.is_over = true;
                self.push_end(&mut frames, *status);
            }
            EventKind::Ended(_) => drop(self.spaces.remove(&event.run)),
            _ => {}
        }
        Some(self.numbered(event, frames))
    }

    fn take(&mut self, event: &RunEvent) -> bool {
        let (app, thread, tracked, run) = (&self.app, &self.thread, &self.tracked, &self.run);
        let base = || {
            let look = thread.as_ref()?.look(app.engine(), tracked, run);
            look.base().map(Arc::clone)
        };
        self.fold.take(run.id(), event, &tracked.about.input, base)
    }

    fn push_values(&self, frames: &mut Vec<Frame>) {
        if let Some(values) = self.fold.current().filter(|_| self.modes.has("values")) {
            frames.push(Frame::json("values", &**values));
        }
    }

    fn push_emit(
        &mut self,
        frames: &mut Vec<Frame>,
        event: &RunEvent,
        payload: &Payload,
        is_new: bool,
    ) {
        let Some(emit) = Emit::read(payload) else { return };
        let space = self.space(event.run);
        if space.is_some() && !self.tracked.has_subgraphs {
            return;
        }
        let name = |mode: &str| match &space {
            Some(space) => format!("{mode}|{space}"),
            None => mode.to_owned(),
        };
        match emit {
            Emit::Values { .. } if is_new => self.push_values(frames),
            Emit::Values { values } if space.is_some() && self.modes.has("values") => {
                frames.push(Frame::json(name("values"), &values));
            }
            Emit::Updates { node, values } if self.modes.has("updates") => {
                let mut update = serde_json::Map::new();
                update.insert(node, values);
                frames.push(Frame::json(name("updates"), &Value::Object(update)));
            }
            Emit::Custom { data } if self.modes.has("custom") => {
                frames.push(Frame::json(name("custom"), &data));
            }
            _ => {}
        }
    }

    fn push_end(&mut self, frames: &mut Vec<Frame>, status: RunStatus) {
        let report = self.run.report();
        if status == RunStatus::Completed && self.fold.finish(report.output.as_ref()) {
            self.push_values(frames);
        }
        if let Some(error) = self.app.error_of(&report, &self.tracked) {
            frames.push(Frame::json("error", &error));
        }
        if self.app.options().end_event {
            frames.push(Frame::new("end", "null"));
        }
        // The end of the stream is the end: a read right after it must not find what is deleted.
        if let Some(thread) = &self.thread {
            self.app.bury_if_over(thread, &self.tracked);
        }
    }

    /// Gives ids to the frames of a resumable stream, and leaves out those that the client has.
    fn numbered(&self, event: &RunEvent, frames: Vec<Frame>) -> Vec<Frame> {
        if !self.tracked.is_resumable {
            return frames;
        }
        let since = event.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let frames = frames.into_iter().zip(0..).filter_map(|(frame, place)| {
            let id = event_id(ms, event.seq, place);
            let is_known = self.floor.as_ref().is_some_and(|floor| id <= *floor);
            (!is_known).then(|| frame.id(id))
        });
        frames.collect()
    }

    /// Yields the namespace of a run: the subgraphs in which it is.
    fn space(&mut self, run: RunId) -> Option<Arc<str>> {
        if run == self.run.id() {
            return None;
        }
        if let Some(space) = self.spaces.get(&run) {
            return space.clone();
        }
        let known = self.app.engine().get(run).or_else(|| below(&self.run, run));
        let space = known.and_then(|run| space_of(&run));
        self.spaces.insert(run, space.clone());
        space
    }
}

/// Finds a run of a tree that the engine has forgotten.
fn below(root: &RunRef, id: RunId) -> Option<RunRef> {
    let mut open = root.children();
    while let Some(run) = open.pop() {
        if run.id() == id {
            return Some(run);
        }
        open.extend(run.children());
    }
    None
}

/// A child that is a graph of its own is a subgraph: `<node>:<its id>`.
fn space_of(run: &RunRef) -> Option<Arc<str>> {
    let mut names = Vec::new();
    let mut at = run.clone();
    while let Some(parent) = at.parent() {
        if matches!(at.kind(), RunKind::Agent | RunKind::Team | RunKind::Workflow) {
            names.push(format!("{}:{}", at.name(), at.id()));
        }
        at = parent;
    }
    names.reverse();
    (!names.is_empty()).then(|| names.join("|").into())
}

/// Makes an event id: `<13-digit ms>-<6-digit sequence>`, strictly rising per run, also as text.
///
/// The sequence counts frames; each time it is through, the instant is one millisecond later.
fn event_id(ms: u64, seq: u64, place: u64) -> String {
    let number = seq.saturating_mul(FRAMES_PER_EVENT).saturating_add(place);
    let ms = ms.saturating_add(number / SEQUENCE_MAX);
    format!("{ms:013}-{:06}", number % SEQUENCE_MAX)
}

/// Frames of one event, at most.
const FRAMES_PER_EVENT: u64 = 4;

const SEQUENCE_MAX: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_rise_as_text_also_when_the_sequence_is_through() {
        assert_eq!(event_id(1_795_155_873_614, 10, 2), "1795155873614-000042");
        let mut last = String::new();
        for seq in (0..400).chain(249_900..250_100).chain(499_990..500_010) {
            for place in 0..FRAMES_PER_EVENT {
                let id = event_id(1_795_155_873_614, seq, place);
                assert!(id > last, "{id} {last}");
                last = id;
            }
        }
    }
}
