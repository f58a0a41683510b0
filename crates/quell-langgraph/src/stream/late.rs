//! [`Late`]: an event of a stream that is made when it is written.

use quell_http::SseEvent;

/// A frame of a stream. One that may be large is made only when it is written: the end of a run
/// shows what it returned in several modes, and frames that wait are not counted.
pub(crate) struct Late {
    frame: When,
    id: Option<String>,
}

enum When {
    Now(SseEvent),
    Later(Box<dyn FnOnce() -> SseEvent + Send>),
}

impl Late {
    pub(crate) fn new(make: impl FnOnce() -> SseEvent + Send + 'static) -> Self {
        Self { frame: When::Later(Box::new(make)), id: None }
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
        Self { frame: When::Now(frame), id: None }
    }
}
