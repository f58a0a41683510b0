//! [`Event`]: a line that says something of the run, and what is wrong with one that does not.

use std::collections::BTreeMap;

use quell::{Failure, Payload, ToolCall, Usage, check_json, limits};
use serde::de::DeserializeOwned;

/// A line that is a JSON object with the key `event`.
#[derive(Debug)]
pub(crate) struct Event {
    /// The object as it stands.
    pub(crate) line: Payload,
    pub(crate) meaning: Meaning,
}

/// What an event says.
#[derive(Debug)]
pub(crate) enum Meaning {
    /// It is emitted as it stands: the embedder knows what it says.
    Said,
    /// A piece of the answer's text. It is emitted as it stands, too.
    Content(String),
    Progress(f32),
    Used(Usage),
    ToolStarted(ToolCall),
    ToolEnded(String, Result<Payload, Failure>),
    /// The output of the program.
    Result(Payload),
    /// An output that cannot be read again, with what is wrong.
    Unreadable(String),
}

impl Event {
    /// Reads a line. None if it is no event; a fault if it is of a kind whose fields it has not.
    pub(crate) fn read(line: &[u8]) -> Option<Result<Self, String>> {
        if !line.trim_ascii_start().starts_with(b"{") {
            return None;
        }
        let text = str::from_utf8(line).ok()?;
        let mut all: BTreeMap<String, Payload> = serde_json::from_str(text).ok()?;
        let kind = all.remove("event")?;
        if let Err(error) = check_json(text, limits::OUTPUT_LEVELS_MAX) {
            let fault = error.to_string();
            let is_result = kind.as_text().as_deref() == Some("result");
            let unreadable = Self { line: null(), meaning: Meaning::Unreadable(fault.clone()) };
            return Some(if is_result { Ok(unreadable) } else { Err(fault) });
        }
        let line = Payload::from_json_text(text).ok()?;
        let meaning = match kind.as_text() {
            Some(kind) => Fields { kind: &kind, all }.meaning(),
            None => Ok(Meaning::Said),
        };
        Some(meaning.map(|meaning| Self { line, meaning }))
    }
}

/// Tells whether a line begins as a `result` does whose first key is `event`.
pub(crate) fn begins_result(line: &[u8]) -> bool {
    let tokens: [&[u8]; 4] = [b"{", br#""event""#, b":", br#""result""#];
    let rest =
        tokens.iter().try_fold(line, |rest, token| rest.trim_ascii_start().strip_prefix(*token));
    rest.is_some()
}

/// The fields of an event but its kind.
struct Fields<'a> {
    kind: &'a str,
    all: BTreeMap<String, Payload>,
}

impl Fields<'_> {
    fn meaning(mut self) -> Result<Meaning, String> {
        match self.kind {
            "content" => return self.read("text", "a text").map(Meaning::Content),
            "reasoning" => self.texts(&["text"])?,
            "model.started" => self.texts(&["model", "provider"])?,
            "model.ended" => {
                self.texts(&["model", "provider"])?;
                self.number("input_tokens")?;
                self.number("output_tokens")?;
            }
            "values" => drop(self.any("values")?),
            "updates" => {
                self.texts(&["node"])?;
                self.any("values")?;
            }
            "step" => drop(self.read::<Vec<String>>("next", "a list of texts")?),
            "custom" => drop(self.any("data")?),
            "progress" => return self.progress(),
            "usage" => return self.used(),
            "tool.started" => return self.tool_started(),
            "tool.ended" => return self.tool_ended(),
            "result" => return self.any("output").map(Meaning::Result),
            _ => {}
        }
        Ok(Meaning::Said)
    }

    fn progress(mut self) -> Result<Meaning, String> {
        let fraction: f32 = self.read("fraction", "a number")?;
        if (0.0..=1.0).contains(&fraction) {
            return Ok(Meaning::Progress(fraction));
        }
        Err("`fraction` of `progress` is not from 0 to 1".to_owned())
    }

    fn used(mut self) -> Result<Meaning, String> {
        const KEYS: [&str; 3] = ["input_tokens", "output_tokens", "cost_micros"];
        if !KEYS.iter().any(|key| self.all.contains_key(*key)) {
            let keys = KEYS.map(|key| format!("`{key}`")).join(", ");
            return Err(format!("`usage` has none of {keys}"));
        }
        let mut number = |key| if self.all.contains_key(key) { self.number(key) } else { Ok(0) };
        let [input_tokens, output_tokens, cost_micros] = KEYS;
        Ok(Meaning::Used(Usage {
            input_tokens: number(input_tokens)?,
            output_tokens: number(output_tokens)?,
            cost_micros: number(cost_micros)?,
        }))
    }

    fn tool_started(mut self) -> Result<Meaning, String> {
        let (id, name) = (self.short("id")?, self.short("name")?);
        let input = self.all.remove("input").unwrap_or_else(null);
        Ok(Meaning::ToolStarted(ToolCall::new(id, name, input)))
    }

    fn tool_ended(mut self) -> Result<Meaning, String> {
        let id = self.short("id")?;
        let output = self.all.remove("output");
        if !self.all.contains_key("error") {
            return Ok(Meaning::ToolEnded(id, Ok(output.unwrap_or_else(null))));
        }
        if output.is_some() {
            return Err("`tool.ended` has both `output` and `error`".to_owned());
        }
        let error: String = self.read("error", "a text")?;
        Ok(Meaning::ToolEnded(id, Err(Failure::new(error))))
    }

    fn any(&mut self, key: &str) -> Result<Payload, String> {
        self.all.remove(key).ok_or_else(|| format!("`{}` has no `{key}`", self.kind))
    }

    fn read<T: DeserializeOwned>(&mut self, key: &str, what: &str) -> Result<T, String> {
        let value = self.any(key)?.parse();
        value.map_err(|_| format!("`{key}` of `{}` is not {what}", self.kind))
    }

    fn texts(&mut self, keys: &[&str]) -> Result<(), String> {
        keys.iter().try_for_each(|key| self.read::<String>(key, "a text").map(drop))
    }

    fn number(&mut self, key: &str) -> Result<u64, String> {
        self.read(key, "a whole number from 0 on")
    }

    /// Yields the id of a call, or the name of its tool.
    fn short(&mut self, key: &str) -> Result<String, String> {
        let text: String = self.read(key, "a text")?;
        if text.len() <= limits::TOOL_NAME_BYTES_MAX {
            return Ok(text);
        }
        Err(format!(
            "`{key}` of `{}` has {} bytes, the limit is {}",
            self.kind,
            text.len(),
            limits::TOOL_NAME_BYTES_MAX
        ))
    }
}

fn null() -> Payload {
    serde_json::Value::Null.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(line: &str) -> String {
        let read = Event::read(line.as_bytes()).expect("it is an event");
        read.expect_err("it has a fault")
    }

    #[test]
    fn what_an_event_lacks_is_said() {
        let long = "x".repeat(limits::TOOL_NAME_BYTES_MAX + 1);
        let long_id = format!(r#"{{"event":"tool.started","id":"{long}","name":"n"}}"#);
        let number = "not a whole number from 0 on";
        for (line, words) in [
            (r#"{"event":"content"}"#, "`content` has no `text`"),
            (r#"{"event":"reasoning","text":1}"#, "`text` of `reasoning` is not a text"),
            (r#"{"event":"model.started","model":"m"}"#, "`model.started` has no `provider`"),
            (r#"{"event":"updates","values":{}}"#, "`updates` has no `node`"),
            (r#"{"event":"updates","node":"n"}"#, "`updates` has no `values`"),
            (r#"{"event":"values"}"#, "`values` has no `values`"),
            (r#"{"event":"step","values":{}}"#, "`step` has no `next`"),
            (r#"{"event":"step","next":"a"}"#, "`next` of `step` is not a list of texts"),
            (r#"{"event":"custom","dat":1}"#, "`custom` has no `data`"),
            (r#"{"event":"progress","fraction":"1"}"#, "`fraction` of `progress` is not a number"),
            (r#"{"event":"progress","fraction":1.1}"#, "`fraction` of `progress` is not from 0"),
            (r#"{"event":"progress","fraction":-1}"#, "`fraction` of `progress` is not from 0"),
            (r#"{"event":"usage","tokens":1}"#, "`usage` has none of `input_tokens`"),
            (r#"{"event":"usage","cost_micros":-1}"#, number),
            (r#"{"event":"usage","input_tokens":1.5}"#, number),
            (r#"{"event":"tool.started","id":"1"}"#, "`tool.started` has no `name`"),
            (r#"{"event":"tool.started","id":1,"name":"n"}"#, "`id` of `tool.started` is not"),
            (&long_id, "has 1025 bytes, the limit is 1024"),
            (r#"{"event":"tool.ended"}"#, "`tool.ended` has no `id`"),
            (r#"{"event":"tool.ended","id":"1","error":{}}"#, "`error` of `tool.ended` is not"),
            (r#"{"event":"tool.ended","id":"1","error":"e","output":1}"#, "both"),
            (r#"{"event":"result","text":"x"}"#, "`result` has no `output`"),
        ] {
            assert!(fault(line).contains(words), "{line}: {}", fault(line));
        }
    }

    #[test]
    fn a_kind_that_is_not_known_and_keys_besides_are_no_fault() {
        for line in [
            r#"{"event":"saved"}"#,
            r#"{"event":1}"#,
            r#"{"event":null,"text":1}"#,
            r#"{"event":"content","text":"a","id":7}"#,
        ] {
            let event = Event::read(line.as_bytes()).expect("an event").expect("no fault");
            assert_eq!(event.line.as_json(), line);
            assert!(matches!(event.meaning, Meaning::Said | Meaning::Content(_)), "{event:?}");
        }
    }

    #[test]
    fn other_json_is_no_event() {
        for line in [r#"{"events":1}"#, r#"["event"]"#, "{", "{}", r#"{"event":1}x"#, "null"] {
            assert!(Event::read(line.as_bytes()).is_none(), "{line}");
        }
        let line = format!("{{\"event\":{}", "[".repeat(limits::EVENT_BYTES_MAX - 20));
        assert!(Event::read(line.as_bytes()).is_none(), "nesting without end");
    }

    #[test]
    fn the_output_is_kept_as_it_is_spelt() {
        let line = br#"{"event":"result","output":{"n":1e400,"x":0.1000}}"#;
        let event = Event::read(line).expect("an event").expect("no fault");
        let output = match &event.meaning {
            Meaning::Result(output) => output.as_json(),
            other => unreachable!("{other:?}"),
        };
        assert_eq!(output, r#"{"n":1e400,"x":0.1000}"#);
    }

    #[test]
    fn the_begin_of_a_result_is_told() {
        assert!(begins_result(br#" { "event" : "result", "output": "xx"#));
        for other in [r#"{"event":"results""#, r#"{"output":1,"event":"result"}"#, "", "{"] {
            assert!(!begins_result(other.as_bytes()), "{other}");
        }
    }
}
