//! The routes: parse, one call, render.

mod assistants;
mod batch;
mod body;
mod caller;
mod cancel;
mod cors;
mod create;
mod crons;
mod described;
mod graphs;
mod join;
mod listed;
mod metrics;
mod path;
mod response;
mod router;
mod runs;
mod states;
mod store;
mod system;
mod threads;
mod truncate;

pub use cors::allow as allow_origins;
pub use described::document;
pub use router::{in_its_words, no_such_method, not_found, router, routes};
pub use system::info;
