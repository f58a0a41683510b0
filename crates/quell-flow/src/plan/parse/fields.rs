//! [`Table`] and the functions here read single values of a plan, or yield the fault of each.

use std::sync::Arc;
use std::time::Duration;

use super::fault::Fault;
use super::keys::{PLAN_KEYS, STEP_KEYS};
use super::tree::{Key, Node, Value};
use crate::excerpt::excerpt;
use crate::guess::guess;
use crate::plan::format::PlanFormat;
use crate::plan::variable::is_variable;

/// Reads a whole number of at least `min`.
pub(super) fn count(node: &Node, what: &str, min: usize) -> Result<usize, Fault> {
    let right = if min == 0 { "a whole number" } else { "a whole number above 0" };
    let Value::Number(number) = &node.value else {
        let right = match meant_count(node).filter(|count| *count >= min) {
            Some(count) => format!("{right} without quotes: `{count}`"),
            None => format!("{right} such as `3`"),
        };
        return Err(wrong_type(node, &right).of(what));
    };
    number
        .as_u64()
        .and_then(|count| usize::try_from(count).ok())
        .filter(|count| *count >= min)
        .ok_or_else(|| Fault::new(node.at, format!("{what} `{number}`; expected {right}")))
}

/// Refuses a count, or anything else, in the place of a table with the key of that count.
pub(super) fn check_counting(node: &Node, format: PlanFormat, key: &str) -> Result<(), Fault> {
    if let Value::Table(_) = node.value {
        return Ok(());
    }
    let count = meant_count(node).filter(|count| *count > 0).unwrap_or(3);
    let example = entry(format, key, &count.to_string());
    Err(wrong_type(node, &format!("a table such as `{example}`")))
}

/// Yields the whole number that a value is, or is in its quotes.
fn meant_count(node: &Node) -> Option<usize> {
    match &node.value {
        Value::Text(text) => text.trim().parse().ok(),
        Value::Number(number) => usize::try_from(number.as_u64()?).ok(),
        _ => None,
    }
}

/// Reads one of a few words, and yields its meaning.
pub(super) fn word<T: Copy>(node: &Node, words: &[(&str, T)]) -> Result<T, Fault> {
    let text = text(node)?;
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        unknown(node.at, "word", text, &known)
    })
}

pub(super) fn duration(node: &Node) -> Result<Duration, Fault> {
    if let Value::Number(number) = &node.value {
        let seconds = number.as_u64().filter(|number| *number > 0).unwrap_or(30);
        let right = format!("expected a time such as \"{seconds}s\" or \"500ms\"");
        return Err(Fault::new(node.at, format!("found a number without a unit; {right}")));
    }
    let Value::Text(text) = &node.value else {
        return Err(wrong_type(node, "a time such as \"30s\" or \"500ms\""));
    };
    let right = "expected a time above zero such as \"30s\" or \"500ms\"";
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => Err(Fault::new(node.at, format!("time is zero; {right}"))),
        Ok(_) if text.contains('M') => {
            let message = format!("`M` of `{}` is a month; expected `m`", excerpt(text));
            Err(Fault::new(node.at, format!("{message} for minutes, or `months`")))
        }
        Ok(time) => Ok(time),
        Err(_) => Err(Fault::new(node.at, format!("invalid time `{}`; {right}", excerpt(text)))),
    }
}

pub(super) fn text(node: &Node) -> Result<&str, Fault> {
    match &node.value {
        Value::Text(text) => Ok(text),
        _ => Err(wrong_type(node, "a string")),
    }
}

pub(super) fn boolean(node: &Node) -> Result<bool, Fault> {
    match &node.value {
        Value::Bool(is_set) => Ok(*is_set),
        _ => Err(wrong_type(node, "`true` or `false`")),
    }
}

/// Reads a text for the operating system: without NUL.
pub(super) fn argument(node: &Node) -> Result<&str, Fault> {
    let text = text(node)?;
    if text.contains('\0') {
        return Err(Fault::new(node.at, "text contains NUL, which no command takes"));
    }
    Ok(text)
}

pub(super) fn list(node: &Node) -> Result<&[Node], Fault> {
    match &node.value {
        Value::List(items) => Ok(items),
        _ => Err(wrong_type(node, "a list")),
    }
}

/// Takes a node as the list of steps that is below a key.
pub(super) fn steps<'n>(node: &'n Node, key: &str) -> Result<&'n [Node], Fault> {
    match &node.value {
        Value::List(items) => Ok(items),
        _ => Err(wrong_type(node, "a list of steps, each a table with its `name`").of(key)),
    }
}

pub(super) fn table(node: &Node) -> Result<&[(Key, Node)], Fault> {
    match &node.value {
        Value::Table(entries) => Ok(entries),
        _ => Err(wrong_type(node, "a table")),
    }
}

/// Says what a table with these keys is, in the place of something else.
fn right_table(node: &Node, keys: &[&str]) -> &'static str {
    match node.value {
        _ if keys.contains(&"parallel") => {
            ": a step, with its `name` and what it does, such as `run`"
        }
        Value::List(_) if *keys == PLAN_KEYS => {
            ": a plan has a `name`, and the list as its `steps`"
        }
        _ => "",
    }
}

/// Writes a table with one entry, as an example. The value is written as it stands.
pub(super) fn entry(format: PlanFormat, key: &str, value: &str) -> String {
    match format {
        PlanFormat::Toml => format!("{{ {key} = {value} }}"),
        PlanFormat::Json => format!("{{\"{key}\": {value}}}"),
        PlanFormat::Yaml => format!("{{ {key}: {value} }}"),
    }
}

pub(super) fn wrong_type(node: &Node, right: &str) -> Fault {
    Fault::new(node.at, format!("found {}; expected {right}", node.value.sort()))
}

pub(super) fn unknown(at: usize, what: &str, found: &str, known: &[&str]) -> Fault {
    let message = match guess(found, known.iter().copied()) {
        Some(meant) => guessed(what, found, meant),
        None => format!("unknown {what} `{}`; expected one of {}", excerpt(found), listed(known)),
    };
    Fault::new(at, message)
}

pub(super) fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// A table, and what its unknown keys are probably meant to be.
pub(super) struct Table<'a> {
    pub(super) at: usize,
    entries: &'a [(Key, Node)],
    /// Entries of unknown keys that are read as if the key were right, so that one fault causes no
    /// others.
    meant: Vec<(&'static str, &'a (Key, Node))>,
    /// Whether a key is unknown, and nobody can tell what it is meant to be.
    has_strange: bool,
}

impl<'a> Table<'a> {
    /// Takes a node as a table, and yields the fault of each unknown key, at most so many, with the
    /// name that messages may say.
    pub(super) fn of(
        node: &'a Node,
        keys: &[&'static str],
        max: usize,
        named: impl Fn(&'a Key) -> &'a str,
    ) -> Result<(Self, Vec<Fault>), Fault> {
        let entries = table(node).map_err(|mut fault| {
            fault.message.push_str(right_table(node, keys));
            fault
        })?;
        let mut table = Self { at: node.at, entries, meant: Vec::new(), has_strange: false };
        let mut faults = Vec::new();
        let is_empty_env = |(key, value): &(Key, Node)| key.name == "env" && value.is_null();
        let has_empty_env = entries.iter().any(is_empty_env);
        let strange = entries.iter().filter(|(key, _)| !keys.contains(&key.name.as_str()));
        for entry in strange.take(max) {
            let (key, _) = entry;
            let guessed = meant(&key.name, keys);
            match guessed {
                Some(known) => table.meant.push((known, entry)),
                None => table.has_strange = true,
            }
            let fault = unknown_key(key, named(key), guessed, keys);
            faults.push(match guessed {
                None if has_empty_env && is_variable(named(key)) => Fault {
                    message: format!("unknown key `{}`; {BELOW_ENV}", excerpt(named(key))),
                    ..fault
                },
                _ => fault,
            });
        }
        Ok((table, faults))
    }

    pub(super) fn entry(&self, name: &str) -> Option<&'a (Key, Node)> {
        let found = self.entries.iter().find(|(key, _)| key.name == name);
        let meant = || self.meant.iter().find(|(known, _)| *known == name);
        found.or_else(|| meant().map(|(_, entry)| *entry))
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Node> {
        self.entry(name).map(|(_, node)| node)
    }

    /// Reads the value of a key, if it is there.
    pub(super) fn read<T>(
        &self,
        name: &str,
        read: impl FnOnce(&'a Node) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.get(name).map(|node| read(node).map_err(|fault| fault.of(name))).transpose()
    }

    pub(super) fn need(&self, name: &str, owner: &str) -> Result<&'a Node, Fault> {
        let missing = || self.missing(self.at, format!("{owner} has no `{name}`"));
        self.get(name).ok_or_else(|| Fault { is_bare: true, ..missing() })
    }

    /// Makes the fault of a key that is not there. It is a consequence if a key is strange.
    pub(super) fn missing(&self, at: usize, message: String) -> Fault {
        Fault { is_consequence: self.has_strange, ..Fault::new(at, message) }
    }

    /// Reads the name. That of a misspelt key is empty: no message says it.
    pub(super) fn name(&self, owner: &str) -> Result<Arc<str>, Fault> {
        let node = self.need("name", owner)?;
        if self.meant.iter().any(|(known, _)| *known == "name") {
            return Ok(Arc::default());
        }
        name(node).map_err(|fault| fault.of("name"))
    }

    pub(super) fn place_of(node: &Node, name: &str) -> usize {
        let entries = table(node).unwrap_or_default();
        entries.iter().find(|(key, _)| key.name == name).map_or(node.at, |(_, node)| node.at)
    }
}

fn name(node: &Node) -> Result<Arc<str>, Fault> {
    let name = text(node)?;
    let max = quell::limits::LABEL_BYTES_MAX;
    if name.trim().is_empty() {
        return Err(Fault::new(node.at, "empty name; expected a text"));
    }
    if name.len() > max {
        let message = format!("name has {} bytes; expected at most {max}", name.len());
        return Err(Fault::new(node.at, message));
    }
    Ok(name.into())
}

/// Finds the key that an unknown one is meant to be: a misspelt one, or one of another tool.
pub(super) fn meant(name: &str, keys: &[&'static str]) -> Option<&'static str> {
    if TOLD.iter().any(|(word, _)| *word == name) {
        return None;
    }
    let foreign = || FOREIGN.iter().filter(|(_, key)| keys.contains(key));
    let words = keys.iter().copied().chain(foreign().map(|(word, _)| *word)).chain(ORDER);
    let word = guess(name, words)?;
    let key = keys.iter().find(|key| **key == word).copied();
    key.or_else(|| foreign().find(|(foreign, _)| *foreign == word).map(|(_, key)| *key))
}

fn unknown_key(key: &Key, named: &str, meant: Option<&str>, keys: &[&str]) -> Fault {
    let is_beside =
        |(name, _, known): &&(&str, &str, &str)| *name == key.name && keys.contains(known);
    if let Some((name, owner, _)) = BESIDE.iter().find(is_beside) {
        let message = format!("unknown key `{name}`; it stands beside `{owner}`, not in it");
        return Fault::new(key.at, message);
    }
    if key.name == "finally" && keys.contains(&"on_stop") {
        return Fault::new(key.at, format!("unknown key `finally`; {AT_END}"));
    }
    if *keys == PLAN_KEYS && STEP_KEYS.contains(&key.name.as_str()) {
        return Fault::new(
            key.at,
            format!("unknown key `{named}`; it is one of a step in `steps`"),
        );
    }
    let told = TOLD.iter().find(|(word, _)| *word == key.name && keys.contains(&"wait"));
    if let Some((word, right)) = told {
        return Fault::new(key.at, format!("unknown key `{word}`; {right}"));
    }
    if let Some(meant) = meant {
        return Fault::new(key.at, guessed("key", named, meant));
    }
    if keys.contains(&"parallel") && guess(&key.name, ORDER).is_some() {
        let message = match key.name.as_str() {
            "needs" => IN_ORDER.to_owned(),
            _ => format!("unknown key `{}`; {IN_ORDER}", excerpt(named)),
        };
        return Fault::new(key.at, message);
    }
    unknown(key.at, "key", named, keys)
}

fn guessed(what: &str, found: &str, meant: &str) -> String {
    format!("unknown {what} `{}`; did you mean `{meant}`?", excerpt(found))
}

/// Keys that stand beside the key of a kind, that key, and one that only its table has.
const BESIDE: [(&str, &str, &str); 4] = [
    ("branches", "parallel", "on_loser"),
    ("steps", "loop", "on_max"),
    ("members", "team", "leader"),
    ("input", "team", "leader"),
];

/// Keys of other tools, and what they are here.
const FOREIGN: [(&str, &str); 35] = [
    ("cmd", "run"),
    ("command", "run"),
    ("exec", "run"),
    ("script", "run"),
    ("plan", "workflow"),
    ("environment", "env"),
    ("variables", "env"),
    ("vars", "env"),
    ("secrets", "env"),
    ("agent", "component"),
    ("use", "component"),
    ("uses", "component"),
    ("dir", "cwd"),
    ("folder", "cwd"),
    ("working-directory", "cwd"),
    ("repeat", "loop"),
    ("directory", "cwd"),
    ("workdir", "cwd"),
    ("working_directory", "cwd"),
    ("stdin", "input"),
    ("when", "if"),
    ("condition", "if"),
    ("retries", "retry"),
    ("delay", "backoff"),
    ("on_error", "on_failure"),
    ("on_cancel", "on_stop"),
    ("tasks", "steps"),
    ("stages", "steps"),
    ("jobs", "steps"),
    ("do", "steps"),
    ("times", "count"),
    ("id", "name"),
    ("depends_on", "needs"),
    ("approval", "wait"),
    ("approve", "wait"),
];

/// Keys of other tools that are no single key here, and what is right instead.
const TOLD: [(&str, &str); 6] = [
    ("allow_failure", MAY_FAIL),
    ("continue_on_error", MAY_FAIL),
    ("continue-on-error", MAY_FAIL),
    ("ignore_errors", MAY_FAIL),
    ("comment", "a step has a `name` and no other words for people"),
    ("shell", "expected `run` with a list such as `[\"sh\", \"-c\", \"make | tee log\"]`"),
];

const MAY_FAIL: &str = "a step that may fail is a branch of a step with `parallel`, whose `policy` \
                        is `settle`";

/// Keys that put branches in an order. Other steps have none of them.
const ORDER: [&str; 2] = ["needs", "depends_on"];

const AT_END: &str = "nothing runs at every end: `on_failure` is for a failure, `on_stop` for a \
                      stop, and a last step for a success";

const BELOW_ENV: &str = "a variable is indented below its `env`";

const IN_ORDER: &str =
    "`needs` goes with the `branches` of `parallel`; other steps have an order of their own";
