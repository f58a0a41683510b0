//! [`Modes`]: the stream modes of a request.

use quell::Payload;
use serde_json::Value;

use crate::wire::refusal::quoted;

/// A set of stream modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Modes(u16);

impl Modes {
    pub(crate) const ALL: Self = Self(u16::MAX);

    /// Tells whether a mode is in.
    pub(crate) fn has(self, name: &str) -> bool {
        bit(name).is_some_and(|bit| self.0 & bit != 0)
    }

    /// Those that are in both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Yields the names.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().filter(move |name| self.has(name))
    }

    /// Reads names; fails with the first that is none.
    pub(crate) fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut modes = 0;
        for name in names {
            modes |= bit(name).ok_or_else(|| unknown(name))?;
        }
        Ok(Self(modes))
    }

    /// Reads the value of a body: text or a list of texts; none, and an empty list, is `values`.
    /// Yields them as a list, too.
    pub(crate) fn of_body(value: Option<&Payload>) -> Result<(Self, Value), String> {
        let names: Vec<String> = match value {
            None => vec!["values".into()],
            Some(value) => {
                let one = value.parse().map(|name| vec![name]);
                one.or_else(|_| value.parse())
                    .map_err(|_| "stream_mode: must be text or a list of texts")?
            }
        };
        let names = if names.is_empty() { vec!["values".into()] } else { names };
        let modes = Self::of(names.iter().map(String::as_str))?;
        Ok((modes, names.into()))
    }
}

fn unknown(name: &str) -> String {
    format!("stream_mode: '{}' is none of {}", quoted(name), NAMES.join(", "))
}

fn bit(name: &str) -> Option<u16> {
    NAMES.iter().position(|known| *known == name).map(|index| 1 << index)
}

/// Every mode. Those that a body does not feed stay silent.
pub(crate) const NAMES: [&str; 9] = [
    "values",
    "updates",
    "custom",
    "messages",
    "messages-tuple",
    "events",
    "debug",
    "tasks",
    "checkpoints",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn modes_are_text_or_a_list_of_known_names() {
        let table = [
            (json!("custom"), Some(json!(["custom"]))),
            (json!(["values", "updates"]), Some(json!(["values", "updates"]))),
            (json!([]), Some(json!(["values"]))),
            (json!("nope"), None),
            (json!(["values", 1]), None),
            (json!(1), None),
        ];
        for (value, expected) in table {
            let read = Modes::of_body(Some(&value.clone().into())).ok();
            assert_eq!(read.map(|(_, list)| list), expected, "{value}");
        }
        assert_eq!(Modes::of_body(None).unwrap().1, json!(["values"]));
        let (modes, _) = Modes::of_body(Some(&json!(["custom", "updates"]).into())).unwrap();
        assert!(modes.has("custom") && !modes.has("values") && !modes.has("nope"));
        assert_eq!(modes.and(Modes::ALL), modes);
    }
}
