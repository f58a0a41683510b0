//! [`Setting`]: `--set section.key=value`.

use std::fmt;
use std::str::FromStr;

use quell_flow::{PlanError, excerpt, path_text};
use serde::Deserialize as _;
use toml::{Table, Value};

use super::Config;
use super::harmless::{begin_of, hides_number};
use super::words::in_words;

/// One setting of the command line.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    path: Vec<String>,
    value: Value,
    text: String,
}

impl FromStr for Setting {
    type Err = String;

    /// Reads `section.key=value`. A value that is not TOML is text.
    fn from_str(text: &str) -> Result<Self, String> {
        let (path, value) = text
            .split_once('=')
            .ok_or("expected section.key=value, for instance agentos.os_id=mine")?;
        let path: Vec<_> = path.split('.').map(|key| key.trim().to_owned()).collect();
        if path.iter().any(String::is_empty) {
            return Err("a key is empty; expected section.key=value".into());
        }
        let parsed = format!("value = {value}").parse::<Table>().ok();
        let parsed = parsed.filter(|table| table.len() == 1).and_then(|mut t| t.remove("value"));
        let value = parsed.unwrap_or_else(|| Value::String(value.to_owned()));
        Ok(Self { path, value, text: text.to_owned() })
    }
}

impl Setting {
    /// Puts it into a table. Where text is expected, a value needs no quotes, whatever it looks
    /// like.
    ///
    /// # Errors
    ///
    /// Fails if a part of the path is not a section, or if the result is not a configuration.
    pub(super) fn put(&self, table: &Table) -> Result<Table, String> {
        let checked = |value| {
            let mut table = table.clone();
            self.insert(&mut table, value)?;
            let config = Config::deserialize(table.clone());
            config.map(|_| table).map_err(|error| in_words(&error))
        };
        checked(self.value.clone())
            .or_else(|error| checked(Value::String(self.raw().to_owned())).map_err(|_| error))
            .map_err(|error| error + self.hint())
    }

    /// Yields what may be wrong with a value that looks like a list and is none.
    fn hint(&self) -> &'static str {
        match self.value {
            Value::String(_) if self.raw().starts_with('[') => {
                "; texts of a list need quotes, which a shell takes: --set 'KEY=[\"a\", \"b\"]'"
            }
            _ => "",
        }
    }

    /// Tells whether it sets what has these keys, or something around it.
    pub(super) fn is_around(&self, keys: &[&str]) -> bool {
        keys.len() >= self.path.len() && self.path.iter().zip(keys).all(|(set, key)| set == key)
    }

    /// Tells whether it sets a part of what has these keys.
    pub(super) fn is_within(&self, keys: &[&str]) -> bool {
        self.path.len() > keys.len() && self.path.iter().zip(keys).all(|(set, key)| set == key)
    }

    /// Tells whether the last key of its path is this one.
    pub(super) fn sets(&self, key: &str) -> bool {
        self.path.last().is_some_and(|last| last == key)
    }

    /// Makes a fault of it.
    pub(super) fn fault(&self, message: &str) -> PlanError {
        PlanError::new(format!("--set {self}: {message}"))
    }

    fn insert(&self, table: &mut Table, value: Value) -> Result<(), String> {
        let Some((last, sections)) = self.path.split_last() else { return Ok(()) };
        let mut table = table;
        for section in sections {
            let inner = table.entry(section.clone()).or_insert_with(|| Table::new().into());
            table = inner.as_table_mut().ok_or_else(|| format!("`{section}` is no section"))?;
        }
        table.insert(last.clone(), value);
        Ok(())
    }

    fn raw(&self) -> &str {
        self.text.split_once('=').map_or("", |(_, value)| value)
    }
}

/// Shows the setting as it was written, without what may be a secret of its value.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let raw = self.raw();
        let begin = match self.value {
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) if hides_number(&self.path) => {
                ""
            }
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => raw,
            _ => begin_of(&self.path, raw),
        };
        let mut shown = excerpt(begin);
        if begin.len() < raw.len() && !shown.ends_with('…') {
            shown.push('…');
        }
        write!(f, "{}={shown}", path_text(self.path.join(".")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        text.parse::<Setting>().expect("a setting").value
    }

    #[test]
    fn what_is_no_toml_value_is_text() {
        assert_eq!(value("a.b=true"), Value::Boolean(true));
        assert_eq!(value("a.b=12"), Value::Integer(12));
        assert_eq!(value("a.b=[\"x\"]"), Value::Array(vec![Value::String("x".into())]));
        for text in ["x y", "127.0.0.1:7777", "1s", "", "a=b", "1\nx = 2"] {
            assert_eq!(value(&format!("a.b={text}")), Value::String(text.into()), "{text}");
        }
    }

    #[test]
    fn a_list_whose_quotes_a_shell_took_says_how_they_stay() {
        let fault = |text: &str| {
            let setting: Setting = text.parse().expect("a setting");
            setting.put(&Table::new()).expect_err(text)
        };
        assert!(fault("langgraph.webhook_hosts=[a:1]").contains("need quotes"));
        assert!(!fault("langgraph.webhook_hosts=a:1").contains("need quotes"));
    }

    #[test]
    fn what_is_no_setting_says_what_would_be() {
        for bad in ["", "a.b", "=1", "a.=1", ".b=1", "a..b=1"] {
            let error = bad.parse::<Setting>().expect_err(bad);
            assert!(error.contains("section.key=value"), "{bad}: {error}");
        }
    }

    #[test]
    fn text_that_looks_like_a_number_is_text_where_text_is_wanted() {
        let put = |text: &str| text.parse::<Setting>().expect("a setting").put(&Table::new());
        let table = put("agentos.os_id=12").expect("a text");
        assert_eq!(table["agentos"]["os_id"].as_str(), Some("12"));
        assert!(put("langgraph.settle_ms=twelve").is_err());
    }

    #[test]
    fn a_secret_is_not_shown() {
        let setting: Setting = "agentos.security_key=hush".parse().expect("a setting");
        assert_eq!(setting.to_string(), "agentos.security_key=…");
        for (text, right) in [
            ("langgraph.settle_ms=-1", "langgraph.settle_ms=-1"),
            ("langgraph.settle_ms=hush", "langgraph.settle_ms=…"),
            ("listen=A=hush", "listen=A=…"),
            ("listen=curl -u a:hush", "listen=curl -u…"),
            ("server.grace=2hUsh", "server.grace=…"),
            ("server.grace=a --token hush", "server.grace=…"),
            ("server.grace=1h 30m", "server.grace=1h 30m"),
            ("listen=127.0.0.1:x", "listen=127.0.0.1:x"),
        ] {
            assert_eq!(text.parse::<Setting>().expect("a setting").to_string(), right);
        }
        let refused = setting.put(&Table::new()).expect_err("an inline secret");
        assert!(refused.contains("security_key_env") && !refused.contains("hush"), "{refused}");
    }
}
