//! What runs say as messages, while they say it (contract, section 8).

use quell::{Payload, RunId};
use quell_http::{Principal, SseEvent, Transcript};
use serde_json::json;

use crate::options::CONTRACT;
use crate::stream::late::Late;
use crate::stream::stream::Render;
use crate::wire::event_id::Slot;
use crate::wire::exact::with;
use crate::wire::message::{Origin, Parts};

impl Render {
    /// Says a piece of text.
    pub(super) fn push_text(
        &mut self,
        frames: &mut Vec<Late>,
        run: RunId,
        text: &str,
        name: impl Fn(&str) -> String,
    ) {
        self.hear(run, name("messages/complete"));
        let is_first = self.announced.insert(run);
        if self.modes.has("messages-tuple") {
            self.push_piece(frames, run, |origin| origin.piece(text));
        } else if is_first && self.modes.has("messages") {
            let frame = self.with_origin(run, |origin| {
                SseEvent::json(name("messages/metadata"), &origin.announced())
            });
            frames.push(Late::made(Slot::Announced, frame));
        }
    }

    /// Notes that a run says something: its message is shown under this name.
    pub(super) fn hear(&mut self, run: RunId, name: String) {
        self.speakers.insert(run, name);
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

    /// Says the whole message of a run that has ended: in the mode that shows it so, and as the
    /// update of a node, if that has a name.
    pub(super) fn push_message(
        &mut self,
        frames: &mut Vec<Late>,
        run: RunId,
        update: Option<String>,
    ) {
        self.announced.remove(&run);
        let Some(name) = self.speakers.remove(&run) else { return };
        let is_whole = self.modes.has("messages") && !self.modes.has("messages-tuple");
        let update = update.filter(|_| self.modes.has("updates"));
        if !is_whole && update.is_none() {
            return;
        }
        let Some(said) = self.transcript(run) else { return };
        let own = self.fold.message().filter(|_| run == self.run.id()).cloned();
        let message = own.unwrap_or_else(|| {
            self.with_origin(run, |origin| origin.message(&Parts::of(&said, &said.text)))
        });
        if is_whole {
            frames.push(Late::made(Slot::Message, SseEvent::json(name, &[&message])));
        }
        if let Some(name) = update {
            let change = with(json!({}), "messages", &[&message]);
            let frame = SseEvent::json(name, &with(json!({}), &said.name, &change));
            frames.push(Late::made(Slot::Updates, frame));
        }
    }

    fn transcript(&self, run: RunId) -> Option<Transcript> {
        let view = self.app.service().view(CONTRACT, Principal::anonymous());
        self.find(run).map(|run| view.transcript(&run))
    }

    fn with_origin<T>(&self, run: RunId, write: impl FnOnce(Origin<'_>) -> T) -> T {
        let (root, speaker) = (self.run.id().to_string(), run.to_string());
        let node = self.find(run).map_or_else(String::new, |run| run.name().to_owned());
        let about = &self.tracked.about;
        write(Origin { about, run: &root, speaker: &speaker, node: &node })
    }
}
