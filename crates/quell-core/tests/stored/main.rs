//! What is stored can be read back: events, reports and what is in them, as JSON.
#![cfg(feature = "serde")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so and stops")]

mod faults;
mod round_trips;
mod values;
