//! [`millis`]: reads the durations in the options of a contract.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// Reads a time as a whole number of milliseconds, as the options of every contract write it.
///
/// # Errors
///
/// Fails if it is anything else.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Options {
///     #[serde(rename = "wait_ms", deserialize_with = "quell_http::millis")]
///     wait: Duration,
/// }
/// let options: Options = serde_json::from_str(r#"{"wait_ms": 1500}"#).unwrap();
/// assert_eq!(options.wait, Duration::from_millis(1500));
/// ```
pub fn millis<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    u64::deserialize(from).map(Duration::from_millis)
}
