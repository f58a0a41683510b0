//! How values are read whose shape is often mistaken: components, keys, commands, variables, times.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use quell_flow::limits::HISTORY_RUNS_MAX;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::times;

pub(super) fn some_time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    times::deserialize(from).map(Some)
}

/// Reads a time that would stop a run before it starts if it were zero.
pub(super) fn time_above_zero<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Duration>, D::Error> {
    let time = times::deserialize(from)?;
    if time.is_zero() {
        let words = "time is zero; expected a time above zero such as \"30s\" or \"500ms\"";
        return Err(D::Error::custom(words));
    }
    Ok(Some(time))
}

/// Reads how many runs of a session a later one gets.
pub(super) fn history<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    from.deserialize_u64(History)
}

struct History;

impl Visitor<'_> for History {
    type Value = usize;

    fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(text, "0 to {HISTORY_RUNS_MAX} runs")
    }

    fn visit_i64<E: Error>(self, runs: i64) -> Result<usize, E> {
        let bounded = usize::try_from(runs).ok().filter(|runs| *runs <= HISTORY_RUNS_MAX);
        let words = || format!("found {runs}; expected 0 to {HISTORY_RUNS_MAX} runs");
        bounded.ok_or_else(|| E::custom(words()))
    }
}

/// Reads the name of a component that people read.
pub(super) fn display_name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let name = String::deserialize(from)?;
    let wrong = if name.trim().is_empty() {
        "empty name".to_owned()
    } else if name.len() > NAME_BYTES_MAX {
        format!("name of {} bytes", name.len())
    } else if name.chars().any(char::is_control) {
        "name with a control character".to_owned()
    } else {
        return Ok(Some(name));
    };
    let right = "expected a line of at most 256 bytes, such as \"The writer\"";
    Err(D::Error::custom(format!("{wrong}; {right}")))
}

/// The longest name of a component that people read.
const NAME_BYTES_MAX: usize = 256;

/// Reads a list of a program and its arguments.
pub(super) fn command<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    from.deserialize_any(Command).map(Some)
}

/// What a command is.
const RIGHT_COMMAND: &str =
    "a list such as `[\"make\", \"all\"]`, or `[\"sh\", \"-c\", \"…\"]` for a shell";

/// Refuses a command line with the list that it should be.
struct Command;

impl<'de> Visitor<'de> for Command {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(RIGHT_COMMAND)
    }

    fn visit_str<E: Error>(self, _line: &str) -> Result<Vec<String>, E> {
        // The line may have a secret among its words.
        Err(E::custom(format!("found a string; expected {RIGHT_COMMAND}")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<String>, A::Error> {
        let mut command = Vec::new();
        while let Some(Argument(word)) = items.next_element()? {
            command.push(word);
        }
        Ok(command)
    }
}

/// Reads the folder of a program.
pub(super) fn folder<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    Argument::deserialize(from).map(|Argument(text)| Some(text.into()))
}

/// Reads the variables of a program.
pub(super) fn variables<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let right = "a table such as `{ LANG = \"C\", PORT = \"8000\" }`";
    let all: BTreeMap<Variable, Argument> = from.deserialize_map(Table::new(right))?;
    Ok(all.into_iter().map(|(Variable(name), Argument(value))| (name, value)).collect())
}

/// A text for the operating system: without NUL.
struct Argument(String);

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text.contains('\0') {
            return Err(D::Error::custom("text contains NUL, which no program takes"));
        }
        Ok(Self(text))
    }
}

/// The name of a variable.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Variable(String);

impl<'de> Deserialize<'de> for Variable {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        if name.is_empty() || name.contains(['=', '\0']) {
            // What stands there may be a secret.
            return Err(D::Error::custom("name of a variable is empty or contains `=` or NUL"));
        }
        Ok(Self(name))
    }
}

/// Reads components by their ids.
pub(super) fn components<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    let right = "a table for each, such as `[agents.writer]` or `[teams.desk]`";
    let entries: BTreeMap<String, Entry<T>> = from.deserialize_map(Table::new(right))?;
    Ok(entries.into_iter().map(|(id, Entry(entry))| (id, entry)).collect())
}

/// Reads keys, or issuers of tokens.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    from.deserialize_seq(List(PhantomData))
}

/// A component. The reader would take a list for the values of its keys in their order.
struct Entry<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entry<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let right = "a table such as `{ run = [\"make\", \"all\"] }`; each component has one of \
                     its own, such as `[agents.writer]`";
        from.deserialize_map(Table::new(right)).map(Self)
    }
}

/// Reads a table, and refuses all else with what is right.
struct Table<T> {
    right: &'static str,
    read: PhantomData<T>,
}

impl<T> Table<T> {
    const fn new(right: &'static str) -> Self {
        Self { right, read: PhantomData }
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Table<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.right)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(entries))
    }
}

/// Reads a list, and refuses all else with how one is written.
struct List<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list, each entry below two brackets, such as `[[keys]]`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Vec<T>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(items))
    }
}
