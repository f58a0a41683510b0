//! What the tests of several packages share: seeds, races, witnesses, and requests to a router.
//!
//! Unpublished: other packages name it in their dev-dependencies only, without a version, so that
//! what they publish does not mention it. What one package alone needs is in its own `support`.
#![expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and names its seed"
)]

mod counted;
#[cfg(feature = "http")]
mod documented;
mod gate;
mod heard;
#[cfg(feature = "http")]
mod http;
mod patience;
#[cfg(unix)]
mod pooler;
mod postgres;
pub mod records;
mod seeds;
mod servo;
mod valve;
mod witness;
mod writers;

pub use counted::{Catch, Counted};
#[cfg(feature = "http")]
pub use documented::{assert_schemas_are_named, documented, operations, routes_of, with_ids};
pub use gate::{Gate, OpenAtEnd};
pub use heard::heard;
#[cfg(feature = "http")]
pub use http::{Answer, answer_to_a_panic, send, serve};
pub use patience::{eventually, ms, secs, soon, soon_in_real_time, within};
#[cfg(unix)]
pub use pooler::Pooler;
pub use postgres::PostgresServer;
pub use seeds::{Seed, is_repeat, seeds};
pub use servo::Servo;
pub use valve::{Flow, Valve};
pub use witness::{Inside, Witness};
pub use writers::Writers;
