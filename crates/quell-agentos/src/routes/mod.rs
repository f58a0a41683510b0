//! The routes: parse, one engine call, render.

mod caller;
mod cancel;
mod create;
mod discover;
mod extract;
mod given_before;
mod go_on;
mod read;
mod resume;
mod router;
mod run_response;
mod session_runs;
mod sessions;
mod socket;
mod streamed;

pub use discover::info;
pub use router::{absent, router, routes};
