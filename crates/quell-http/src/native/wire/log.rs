//! [`LogPage`]: a part of the log of a run; [`event_text`] and [`sse_event`] write its events.

use quell::RunEvent;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;

use crate::sse_event::SseEvent;

/// Events of a run and of those below it, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogPage {
    /// Those within the limit.
    #[schema(value_type = Vec<Value>)]
    pub(crate) events: Vec<Box<RawValue>>,
    /// What `after` is to be for the events behind.
    pub(crate) after: u64,
    /// Whether there are such events already.
    pub(crate) has_more: bool,
    /// When the run was accepted, as everywhere: of a later run that has its id it is another time.
    pub(crate) queued_at: String,
    /// If `last=true` asks for it, there are such events already and others may come: the number of
    /// the last one that there is by now. Who wants no later ones reads up to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<u64>,
}

/// Writes an event of the log, with every digit of what a body said.
pub(crate) fn event_text(event: &RunEvent) -> Box<RawValue> {
    to_raw_value(event).unwrap_or_default()
}

/// Writes an event of the log for a stream. A mark that events are missing is not in the log and
/// has no id.
pub(crate) fn sse_event(event: &RunEvent) -> SseEvent {
    let text = event_text(event);
    let name = serde_json::from_str(text.get()).map_or("event", |Named { event }| event);
    let sse_event = SseEvent::new(name, text.get());
    if event.seq == 0 { sse_event } else { sse_event.id(event.seq.to_string()) }
}

/// The name of an event, in its JSON.
#[derive(Deserialize)]
struct Named<'a> {
    event: &'a str,
}
