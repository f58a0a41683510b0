//! [`parse`] and [`deserialize`] read a time of the command line or of `quell.toml`, in the grammar
//! of plans; [`time`] writes an instant.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Deserializer;
use serde::de::{Error, Visitor};

use crate::quoted::quoted_word;

/// Reads a time such as `1h 30m`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    parse_as(text, RIGHT)
}

fn parse_as(text: &str, right: &str) -> Result<Duration, String> {
    // In this grammar `M` is a month: minutes are meant.
    if text.contains('M') {
        let text = quoted_word(text);
        return Err(format!("`M` of `{text}` is a month; expected `m` for minutes, or `months`"));
    }
    humantime::parse_duration(text)
        .map_err(|_| format!("invalid time `{}`; expected {right}", quoted_word(text)))
}

/// As [`parse`], of an option that deletes: zero needs its unit as well, and a time before now is
/// told from another option.
pub(crate) fn parse_kept(text: &str) -> Result<Duration, String> {
    if text.starts_with('-') {
        let text = quoted_word(text);
        return Err(format!("`{text}` is negative; expected {KEPT}, or \"0s\", which keeps none"));
    }
    if text == "0" {
        return Err(format!("`0` has no unit; expected \"0s\", which keeps none, or {KEPT}"));
    }
    parse_as(text, KEPT)
}

/// Reads a time from a text of a file.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    from.deserialize_str(Time(parse))
}

/// As [`deserialize`], of a key that may be left out.
pub(crate) fn deserialize_some<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Duration>, D::Error> {
    from.deserialize_str(Time(parse)).map(Some)
}

/// As [`deserialize`], of a key that deletes: see [`parse_kept`].
pub(crate) fn deserialize_kept<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Duration>, D::Error> {
    from.deserialize_str(Time(parse_kept)).map(Some)
}

/// Writes an instant: RFC 3339, UTC, milliseconds.
pub(crate) fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

struct Time(fn(&str) -> Result<Duration, String>);

impl Visitor<'_> for Time {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&RIGHT.replacen("one", "a text", 1))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        (self.0)(text).map_err(E::custom)
    }
}

const RIGHT: &str = "one such as \"500ms\", \"30s\" or \"1h 30m\"";

/// The same, of how long something is kept.
const KEPT: &str = "one such as \"30s\", \"1h 30m\" or \"30d\"";
