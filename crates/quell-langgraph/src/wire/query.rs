//! [`Pairs`]: the query of a request, and the ids in its path.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{FromRequestParts, Query};
use axum::http::Uri;
use axum::http::request::Parts;
use serde_json::Value;
use uuid::Uuid;

use crate::wire::modes::Modes;
use crate::wire::refusal::Refusal;

/// The pairs of a query, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pairs(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Pairs {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.uri))
    }
}

impl Pairs {
    /// Reads the query of an address. What cannot be read is not there, and what is empty either:
    /// the Python client writes what it was not given as an empty value.
    pub(crate) fn of(uri: &Uri) -> Self {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
        let mut pairs = pairs.map_or_else(|_| Vec::new(), |Query(pairs)| pairs);
        pairs.retain(|(_, value)| !value.is_empty());
        Self(pairs)
    }

    /// Yields the last value of a key.
    pub(crate) fn get<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        self.all(key).last()
    }

    /// Yields every value of a key.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Yields every name of a key that lists names, with commas or one by one.
    pub(crate) fn names<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.all(key).flat_map(|names| names.split(',')).map(str::trim)
    }

    /// Reads a boolean: `1`, `true` and `yes` are true, everything else is false.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(is_true)
    }

    /// Reads a number of rows.
    pub(crate) fn count(&self, key: &str, default: usize) -> Result<usize, Refusal> {
        self.get(key).map_or(Ok(default), |text| {
            text.parse().map_err(|_| Refusal::invalid(format!("{key}: must be a whole number")))
        })
    }

    /// Reads modes: one, the key repeated, or a JSON array as text. None given: none.
    pub(crate) fn modes(&self) -> Result<Option<Modes>, Refusal> {
        let mut names: Vec<String> = Vec::new();
        for text in self.all("stream_mode") {
            match serde_json::from_str::<Value>(text) {
                Ok(Value::Array(list)) => {
                    names.extend(list.iter().map(|name| match name {
                        Value::String(name) => name.clone(),
                        other => other.to_string(),
                    }));
                }
                Ok(Value::String(name)) => names.push(name),
                _ => names.push(text.to_owned()),
            }
        }
        if names.is_empty() {
            return Ok(None);
        }
        Modes::of(names.iter().map(String::as_str)).map(Some).map_err(Refusal::invalid)
    }

    /// Reads `timeout` in seconds, decimals allowed.
    pub(crate) fn timeout(&self) -> Result<Option<Duration>, Refusal> {
        let Some(text) = self.get("timeout") else { return Ok(None) };
        let seconds = text.parse::<f64>().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
        match seconds {
            Some(time) => Ok(Some(time.min(Duration::from_hours(24)))),
            None => Err(Refusal::invalid("timeout: must be a number of seconds")),
        }
    }
}

pub(crate) fn is_true(text: &str) -> bool {
    matches!(text, "1" | "true" | "yes")
}

/// Reads the id of a thread in a path.
pub(crate) fn thread_id(text: &str) -> Result<Uuid, Refusal> {
    uuid(text, "Invalid thread ID: must be a UUID")
}

/// Reads the id of a run in a path.
pub(crate) fn run_id(text: &str) -> Result<Uuid, Refusal> {
    uuid(text, "Invalid run ID: must be a UUID")
}

/// Reads the id of an assistant in a path.
pub(crate) fn assistant_id(text: &str) -> Result<Uuid, Refusal> {
    uuid(text, "Invalid assistant ID: must be a UUID")
}

/// Reads the id of a cron in a path.
pub(crate) fn cron_id(text: &str) -> Result<Uuid, Refusal> {
    uuid(text, "Invalid cron ID: must be a UUID")
}

/// Reads the id of a state.
pub(crate) fn checkpoint_id(text: &str) -> Result<Uuid, Refusal> {
    uuid(text, "Invalid checkpoint ID: must be a UUID")
}

fn uuid(text: &str, detail: &'static str) -> Result<Uuid, Refusal> {
    Uuid::try_parse(text).map_err(|_| Refusal::invalid(detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(query: &str) -> Pairs {
        Pairs::of(&format!("/x?{query}").parse().unwrap())
    }

    #[test]
    fn booleans_are_what_both_clients_send() {
        let table = [("1", true), ("true", true), ("yes", true), ("0", false), ("false", false)];
        for (text, expected) in table {
            assert_eq!(pairs(&format!("wait={text}")).flag("wait"), expected, "{text}");
        }
        assert!(!pairs("").flag("wait"));
    }

    #[test]
    fn modes_come_repeated_or_as_a_json_array() {
        let both = Modes::of(["values", "custom"]).unwrap();
        for query in [
            "stream_mode=values&stream_mode=custom",
            "stream_mode=%5B%22values%22%2C%22custom%22%5D",
        ] {
            assert_eq!(pairs(query).modes().unwrap(), Some(both), "{query}");
        }
        for query in ["", "stream_mode="] {
            assert_eq!(pairs(query).modes().unwrap(), None);
        }
        assert_eq!(pairs("stream_mode=nope").modes().unwrap_err().status.as_u16(), 422);
    }

    #[test]
    fn a_timeout_is_a_number_of_seconds() {
        assert_eq!(pairs("timeout=0.5").timeout().unwrap(), Some(Duration::from_millis(500)));
        assert_eq!(pairs("").timeout().unwrap(), None);
        for bad in ["-1", "x", "NaN"] {
            assert!(pairs(&format!("timeout={bad}")).timeout().is_err(), "{bad}");
        }
        assert!(pairs("limit=x").count("limit", 10).is_err());
    }
}
