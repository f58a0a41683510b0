//! The routes: parse, one engine call, render.

mod caller;
mod cancel;
mod config;
mod create;
mod described;
mod discover;
mod extract;
mod follow_up;
mod given_before;
mod go_on;
mod nothing;
mod read;
mod resume;
mod router;
mod run_response;
mod session_runs;
mod sessions;
mod socket;
mod streamed;

pub use described::document;
pub use discover::info;
pub use router::{absent, router, routes};
