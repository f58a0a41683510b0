//! The native HTTP API of quell, and what every adapter shares.
#![doc = include_str!("guide.md")]
#![doc = include_str!("held.md")]
#![doc = include_str!("rooms.md")]

mod access;
mod before_events;
mod body;
mod bounded_map;
mod counted;
pub mod described;
mod events;
mod far_lane;
mod fold;
mod idempotency_key;
mod ids;
mod in_time;
mod ledger;
mod limits;
mod list;
mod list_cursor;
mod long_requests;
mod lookup_error;
mod lost;
mod meant;
mod millis;
mod native;
mod open_access;
mod owner_lane;
mod pace;
mod panics;
mod path_texts;
mod problem;
mod readers;
mod records;
mod render;
mod repeat;
mod report_part;
mod reserve;
mod run_log;
mod run_state;
mod run_view;
mod service;
mod sse_event;
mod start;
mod start_error;
mod stored_events;
mod stream;
mod submitted;
mod transcript;
mod wait;

pub use access::{
    ADMIN_SCOPES, Access, AccessError, AccessMode, ExposedListener, Issuer, Jwt, Key, KeyError,
    KeyMarks, KeySet, Principal, Teams,
};
pub use body::{BODY_BYTES_MAX, BodyError, Upload, offload_if_large};
pub use bounded_map::BoundedMap;
pub use counted::{Counted, WeakCounted, row_bytes, run_bytes};
pub use events::{LogPosition, RunEvents, Unread, answered, events_by_now, next_event};
pub use idempotency_key::{BadKey, idempotency_key};
pub use ids::{BadId, EXTERNAL_ID, ID_BYTES_MAX, RECORD, SESSION, external_id, parse_id, same_id};
pub use in_time::{READ_WITHIN, answer_in_time};
pub use ledger::{Charge, Ledger, Overdrawn};
pub use limits::ServiceLimits;
pub use list_cursor::{BadCursor, ListCursor, RunPage};
pub use long_requests::{LongRequestPermit, ShortRequestPermit};
pub use lookup_error::LookupError;
pub use lost::is_loss;
pub use millis::millis;
pub use native::{NoQuery, document, no_such_method, no_such_path, router, routes};
pub use open_access::{BodyKinds, OpenGuard, guard_open};
pub use panics::{answer_or, catch_panics};
pub use path_texts::PathTexts;
pub use problem::Problem;
pub use quell::{JSON_LEVELS_MAX, JsonError, check_json};
pub use render::{ROOM_WITHIN, newest};
pub use reserve::scope_of;
pub use run_state::{
    RunCause, RunState, disposition_name, status_name, whole_millis, write_headers,
};
pub use run_view::{RunView, StoredRun};
pub use service::{
    Batch, CancelOutcome, DisconnectGuard, NATIVE, NotDone, OnDisconnect, Reading, Service,
    StopNotStored, TreeSaid, View, Waiting,
};
pub use sse_event::{Cut, SseEvent};
pub use start::{Start, Started};
pub use start_error::StartError;
pub use stream::{EventForm, Heartbeat, event_texts, sse_response, stream_body};
pub use transcript::{ModelNote, ToolNote, Transcript};
pub use wait::{Wait, Waited};
