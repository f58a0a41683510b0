//! What an embedder holds: where runs are submitted, found and stopped.

mod acts;
mod doubt;
mod engine;
pub(crate) mod filter;
mod forgotten;
mod forgotten_elsewhere;
mod giving_up;
pub(crate) mod held_attempts;
mod in_the_way;
mod left_behind;
mod left_log;
mod left_paused;
mod left_rows;
mod left_said;
mod limit;
mod lost;
mod metrics;
pub(crate) mod nodes;
pub(crate) mod prune;
pub(crate) mod recover;
mod remembered;
mod resumable;
pub(crate) mod shutdown;
pub(crate) mod standing;
pub(crate) mod stops;
mod stops_elsewhere;
mod stored;
mod times;
mod writes;

pub use engine::Engine;
