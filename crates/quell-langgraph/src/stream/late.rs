//! [`Late`]: an event of a stream that is made when it is written.

use quell_http::SseEvent;

use crate::wire::event_id::Slot;

/// A frame of a stream. One that may be large is made only when it is written: the end of a run
/// shows what it returned in several modes, and frames that wait are not counted.
pub(crate) struct Late {
    /// None of a frame that belongs to no event of the log.
    pub(super) slot: Option<Slot>,
    frame: When,
    id: Option<String>,
}

enum When {
    Now(SseEvent),
    Later(Box<dyn FnOnce() -> SseEvent + Send>),
}

impl Late {
    /// Takes the code that makes it.
    pub(crate) fn new(slot: Slot, make: impl FnOnce() -> SseEvent + Send + 'static) -> Self {
        Self { slot: Some(slot), frame: When::Later(Box::new(make)), id: None }
    }

    /// Takes one that is made.
    pub(crate) const fn made(slot: Slot, frame: SseEvent) -> Self {
        Self { slot: Some(slot), frame: When::Now(frame), id: None }
    }

    /// Adds an id.
    pub(crate) fn id(self, id: String) -> Self {
        Self { id: Some(id), ..self }
    }

    /// Makes it.
    pub(crate) fn frame(self) -> SseEvent {
        let frame = match self.frame {
            When::Now(frame) => frame,
            When::Later(make) => make(),
        };
        match self.id {
            Some(id) => frame.id(id),
            None => frame,
        }
    }
}

impl From<SseEvent> for Late {
    fn from(frame: SseEvent) -> Self {
        Self { slot: None, frame: When::Now(frame), id: None }
    }
}
