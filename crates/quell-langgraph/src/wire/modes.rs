//! Stream modes.

use serde_json::Value;

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

    /// Reads names; fails with the first that is none.
    pub(crate) fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut modes = 0;
        for name in names {
            modes |= bit(name).ok_or_else(|| unknown(name))?;
        }
        Ok(Self(modes))
    }

    /// Reads the value of a body: text or a list of texts. Yields them as a list, too.
    pub(crate) fn of_body(value: &Value) -> Result<(Self, Value), String> {
        let names: Vec<&str> = match value {
            Value::Null => vec!["values"],
            Value::String(name) => vec![name],
            Value::Array(names) => names
                .iter()
                .map(|name| name.as_str().ok_or("stream_mode: must be text or a list of texts"))
                .collect::<Result<_, _>>()?,
            _ => return Err("stream_mode: must be text or a list of texts".into()),
        };
        let modes = Self::of(names.iter().copied())?;
        Ok((modes, names.into()))
    }
}

fn unknown(name: &str) -> String {
    format!("stream_mode: '{name}' is none of {}", NAMES.join(", "))
}

fn bit(name: &str) -> Option<u16> {
    NAMES.iter().position(|known| *known == name).map(|place| 1 << place)
}

/// Every mode. Those that a body does not feed stay silent.
const NAMES: [&str; 9] = [
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
            (json!(null), Some(json!(["values"]))),
            (json!("custom"), Some(json!(["custom"]))),
            (json!(["values", "updates"]), Some(json!(["values", "updates"]))),
            (json!([]), Some(json!([]))),
            (json!("nope"), None),
            (json!(["values", 1]), None),
            (json!(1), None),
        ];
        for (value, expected) in table {
            assert_eq!(Modes::of_body(&value).ok().map(|(_, list)| list), expected, "{value}");
        }
        let (modes, _) = Modes::of_body(&json!(["custom", "updates"])).unwrap();
        assert!(modes.has("custom") && !modes.has("values") && !modes.has("nope"));
        assert_eq!(modes.and(Modes::ALL), modes);
    }
}
