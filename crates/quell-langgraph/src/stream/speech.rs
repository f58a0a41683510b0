//! What runs say as messages, while they say it (contract, section 8).

use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt as _;
use quell::{EventKind, Payload, RunEvent, RunId, RunStatus};
use quell_flow::Emit;
use quell_http::{Principal, SseEvent, Transcript, View, events_by_now};
use serde_json::json;

use crate::options::CONTRACT;
use crate::stream::growth::Growth;
use crate::stream::late::Late;
use crate::stream::stream::Render;
use crate::wire::event_id::Slot;
use crate::wire::exact::with;
use crate::wire::message::{Origin, Parts};

/// A run that says text.
pub(super) struct Speaker {
    /// The name of the event that shows its whole message.
    name: String,
    /// How far its text has come; none if that is not known.
    growth: Option<Growth>,
}

impl Render {
    /// Learns who has begun to say something by this event, for a client that joins after it:
    /// messages are shown from their begin.
    pub(super) async fn catch_up(&mut self, view: &View, seq: u64) {
        let shows = ["messages", "messages-tuple", "updates"];
        let is_shown = seq > 0 && shows.iter().any(|mode| self.modes.has(mode));
        let Some(run) = self.run.live().filter(|_| is_shown).cloned() else { return };
        let mut events = pin!(view.events_by_now(&run));
        while let Some(event) = events.next().await.filter(|event| event.seq <= seq) {
            self.note_place(&event);
            match &event.kind {
                EventKind::Emitted(payload) => {
                    if let Some(Emit::Content { text }) = Emit::read(payload)
                        && let Some(name) = self.name_of(event.run, "messages/complete")
                    {
                        self.hear(&event, &text, name);
                    }
                }
                EventKind::Ended(_) => {
                    self.speakers.remove(&event.run);
                    self.spaces.remove(&event.run);
                    self.below.remove(&event.run);
                }
                EventKind::ToolStarted { call, name, .. } => {
                    self.note_call(event.run, call, name);
                }
                EventKind::ToolEnded { call, .. } => drop(self.end_call(event.run, call)),
                EventKind::Lagged { .. } => self.misses_begins = true,
                _ => {}
            }
        }
    }

    /// Notes the name of a tool call, which its end does not say.
    pub(super) fn note_call(&mut self, run: RunId, call: &Arc<str>, name: &Arc<str>) {
        if self.calls.len() < CALLS_MAX {
            self.calls.insert((run, Arc::clone(call)), Arc::clone(name));
        }
    }

    /// Yields the name of a tool call that has ended.
    pub(super) fn end_call(&mut self, run: RunId, call: &Arc<str>) -> Option<Arc<str>> {
        self.calls.remove(&(run, Arc::clone(call)))
    }

    /// Says a piece of text.
    pub(super) fn push_text(
        &mut self,
        frames: &mut Vec<Late>,
        event: &RunEvent,
        text: &str,
        name: impl Fn(&str) -> String,
    ) {
        let so_far = self.hear(event, text, name("messages/complete"));
        let is_first = self.announced.insert(event.run);
        if self.modes.has("messages-tuple") {
            return self.push_piece(frames, event.run, |origin| origin.piece(text));
        }
        if is_first && self.modes.has("messages") {
            let frame = self.with_origin(event.run, |origin| {
                SseEvent::json(name("messages/metadata"), &origin.announced(&origin.id()))
            });
            frames.push(Late::made(Slot::Announced, frame));
        }
        self.push_so_far(frames, event.run, so_far, &name("messages/partial"));
    }

    /// Says all that a run has said and that was not shown: it asks, and the stream ends.
    pub(super) fn push_rest(&mut self, frames: &mut Vec<Late>, run: RunId) {
        let rest = self.speakers.get(&run).and_then(|speaker| speaker.growth?.rest());
        if let Some(name) = self.name_of(run, "messages/partial") {
            self.push_so_far(frames, run, rest, &name);
        }
    }

    /// Says the message of a run as far as it has come.
    fn push_so_far(&self, frames: &mut Vec<Late>, run: RunId, bytes: Option<usize>, name: &str) {
        let Some(bytes) = bytes.filter(|_| self.shows_whole()) else { return };
        // If something is missing of what was said, how far it has come is not known.
        let said = self.transcript(run).filter(|said| !said.is_cut);
        if let Some(text) = said.as_ref().and_then(|said| said.text.get(..bytes)) {
            let message = self.with_origin(run, |origin| origin.message(&Parts::text(text)));
            frames.push(Late::made(Slot::Message, SseEvent::json(name, &[&message])));
        }
    }

    /// Tells whether messages are shown as they grow and whole, not piece by piece.
    fn shows_whole(&self) -> bool {
        self.modes.has("messages") && !self.modes.has("messages-tuple")
    }

    /// Notes that a run says something: its message is shown under this name. Yields the bytes of
    /// its text so far if this is to be shown.
    fn hear(&mut self, event: &RunEvent, text: &str, name: String) -> Option<usize> {
        if !self.speakers.contains_key(&event.run) {
            let begin = match self.misses_begins {
                false => Some(0),
                true if self.shows_whole() => self.said_before(event),
                // Nothing shows how far it has come.
                true => None,
            };
            let growth = begin.map(Growth::behind);
            self.speakers.insert(event.run, Speaker { name, growth });
        }
        let speaker = self.speakers.get_mut(&event.run)?;
        speaker.growth.as_mut()?.take(text.len(), event.at)
    }

    /// Yields the bytes that a run said before an event: all by now without what the log holds from
    /// there on. None if that is not known.
    fn said_before(&self, event: &RunEvent) -> Option<usize> {
        let said = self.transcript(event.run).filter(|said| !said.is_cut)?;
        let mut bytes = said.text.len();
        for since in events_by_now(self.run.live()?, event.seq.checked_sub(1)?) {
            match &since.kind {
                EventKind::Lagged { .. } => return None,
                _ if since.seq > said.read_to => break,
                EventKind::Emitted(payload) if since.run == event.run => {
                    if let Some(Emit::Content { text }) = Emit::read(payload) {
                        bytes = bytes.checked_sub(text.len())?;
                    }
                }
                _ => {}
            }
        }
        Some(bytes)
    }

    /// Says a piece of the message of a run, in the mode that shows pieces.
    pub(super) fn push_piece(
        &mut self,
        frames: &mut Vec<Late>,
        run: RunId,
        piece: impl FnOnce(Origin<'_>) -> Payload,
    ) {
        if self.modes.has("messages-tuple")
            && let Some(name) = self.name_of(run, "messages")
        {
            let piece = self.with_origin(run, piece);
            frames.push(Late::made(Slot::Piece, SseEvent::json(name, &piece)));
        }
    }

    /// Says the messages of a run that has ended: the last one, which is its own, in the mode that
    /// shows it whole, and all as the update of a node, if that has a name.
    pub(super) fn push_message(
        &mut self,
        frames: &mut Vec<Late>,
        run: RunId,
        update: Option<String>,
    ) {
        self.announced.remove(&run);
        let Some(Speaker { name, .. }) = self.speakers.remove(&run) else { return };
        let is_whole = self.shows_whole();
        let update = update.filter(|_| self.modes.has("updates"));
        if !is_whole && update.is_none() {
            return;
        }
        let Some(said) = self.transcript(run) else { return };
        let (own, is_root) = (self.fold.own_messages(), run == self.run.id());
        if is_root && own.is_empty() && self.run.status() == RunStatus::Completed {
            // What it said was a state, and is no message in the values.
            return;
        }
        let messages = if is_root && !own.is_empty() {
            own.to_vec()
        } else {
            self.with_origin(run, |origin| origin.messages(&Parts::of(&said, &said.text)))
        };
        if is_whole {
            let own: Vec<_> = messages.last().into_iter().collect();
            frames.push(Late::made(Slot::Message, SseEvent::json(name, &own)));
        }
        if let Some(name) = update {
            let change = with(json!({}), "messages", &messages);
            let frame = SseEvent::json(name, &with(json!({}), &said.name, &change));
            frames.push(Late::made(Slot::Updates, frame));
        }
    }

    fn transcript(&self, run: RunId) -> Option<Transcript> {
        if let Some(far) = &self.far {
            return far.said.transcript_of(run);
        }
        let view = self.app.service().view(CONTRACT, Principal::anonymous());
        match self.find(run) {
            Some(run) => Some(view.transcript(&run)),
            // An earlier process had it.
            None => view.transcript_in(self.run.live()?, run),
        }
    }

    fn with_origin<T>(&self, run: RunId, write: impl FnOnce(Origin<'_>) -> T) -> T {
        let (root, speaker) = (self.run.id().to_string(), run.to_string());
        let node = self.name_of_run(run);
        let about = &self.tracked.about;
        write(Origin { about, run: &root, speaker: &speaker, node: &node })
    }
}

/// Tool calls whose names a stream holds: the message of a later one has none.
const CALLS_MAX: usize = 1_024;
