//! The native HTTP API of quell, and what every adapter shares.
#![doc = include_str!("guide.md")]
#![doc = include_str!("held.md")]

mod access;
mod body;
mod events;
mod frame;
mod guard;
mod idempotency;
mod ids;
mod json;
mod ledger;
mod limits;
mod millis;
mod native;
mod places;
mod problem;
mod readers;
mod records;
mod render;
mod reserve;
mod service;
mod shares;
mod start;
mod state;
mod stream;
mod transcript;
mod view;
mod wait;

pub use access::{
    ADMIN_SCOPES, Access, AccessError, AccessMode, BodyKinds, ExposedListener, Issuer, Jwt, Key,
    KeyError, Principal, Teams, guard_open,
};
pub use body::{BODY_BYTES_MAX, BodyError, Upload, aside};
pub use events::{RunEvents, next_event};
pub use frame::Frame;
pub use guard::{DisconnectGuard, OnDisconnect};
pub use idempotency::{IdempotencyKey, KEY_BYTES_MAX};
pub use ids::{BadId, EXTERNAL_ID, ID_BYTES_MAX, SESSION, external_id, parse_id, same_id};
pub use json::{JSON_LEVELS_MAX, JsonError, check_json};
pub use ledger::{Charge, Ledger, Overdrawn};
pub use limits::ServiceLimits;
pub use millis::millis;
pub use native::router;
pub use places::LongPlace;
pub use problem::Problem;
pub use render::{Counted, ROOM_WITHIN, WeakCounted, newest, row_bytes, run_bytes};
pub use reserve::scope_of;
pub use service::Service;
pub use shares::Shares;
pub use start::{Start, StartError, Started};
pub use state::{RunCause, State, disposition_name, status_name, write_headers};
pub use stream::{Heartbeat, sse_response, stream_body};
pub use transcript::{ModelNote, ToolNote, Transcript};
pub use view::{Cancelled, View};
pub use wait::{Wait, Waited};
