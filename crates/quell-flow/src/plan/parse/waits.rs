//! [`wait`] reads a step that waits for an answer, and [`fault`] says where none may.

use super::fault::Fault;
use super::fields::{boolean, duration, entry, text, wrong_type};
use super::kinds::check_template;
use super::reader::Reader;
use super::tree::{Node, Value};
use crate::excerpt::excerpt;
use crate::plan::action::{WaitOptions, WaitStep};
use crate::plan::step::Action;

/// Reads a question, or a table with one.
pub(super) fn wait(reader: &mut Reader<'_>, node: &Node) -> Result<Action, Fault> {
    let options = match &node.value {
        Value::Text(_) => {
            let ask = question(reader, node).map_err(|fault| fault.of("wait"))?;
            if humantime::parse_duration(&ask).is_ok() {
                reader.warn(Fault::new(node.at, NO_PAUSE));
            }
            WaitOptions { ask, expires: None, approve: false }
        }
        Value::Table(_) => {
            let table = reader.table(node, &WAIT_KEYS)?;
            let ask = table.need("ask", "wait");
            let ask = ask.and_then(|node| question(reader, node).map_err(|it| it.of("ask")));
            let expires = reader.noted(table.read("expires", duration));
            let approve = reader.noted(table.read("approve", boolean)).unwrap_or_default();
            WaitOptions { ask: ask?, expires, approve }
        }
        _ => {
            let example = entry(reader.format, "ask", "\"deploy?\"");
            let right = format!("a question such as `\"deploy?\"`, or a table such as `{example}`");
            return Err(wrong_type(node, &right).of("wait"));
        }
    };
    Ok(Action::Wait(WaitStep { options, origin: reader.origin(node.at) }))
}

fn question(reader: &Reader<'_>, node: &Node) -> Result<String, Fault> {
    let ask = text(node)?;
    if ask.trim().is_empty() {
        return Err(Fault::new(node.at, "empty question; expected one such as `\"deploy?\"`"));
    }
    check_template(reader, node, ask)?;
    Ok(ask.to_owned())
}

/// Says why no step of the list below a key may wait; none if one may.
pub(super) fn never_in(key: &str) -> Option<&'static str> {
    PLACES.iter().find(|(place, _)| *place == key).map(|(_, words)| *words)
}

/// Says what is wrong with a step that waits, if anything is: where it stands, or the first of
/// these keys that it has.
pub(super) fn fault(never: Option<&str>, name: &str, keys: &[(&str, bool)]) -> Option<String> {
    let name = excerpt(name);
    if let Some(never) = never {
        return Some(format!("step `{name}` waits for an answer, which {never}"));
    }
    let (key, _) = keys.iter().find(|(_, is_there)| *is_there)?;
    let right = match *key {
        "timeout" | "idle" => "; expected `expires` in the table of `wait`",
        _ => "",
    };
    Some(format!("`{key}` does not go with `wait`: nothing of `{name}` runs meanwhile{right}"))
}

pub(super) const WAIT_KEYS: [&str; 3] = ["ask", "expires", "approve"];

/// What is said of a time in the place of a question.
const NO_PAUSE: &str = "`wait` asks a question, and this is a time; a pause is a step that runs \
                        `sleep`";

/// Where no step may wait, by the key of the list, and why.
const PLACES: [(&str, &str); 2] = [
    ("branches", "a branch cannot: the others would run on; expected it before or behind the step"),
    ("members", "a member of a team cannot; expected it before or behind the team"),
];

/// Why no step of cleanup may wait.
pub(super) const CLEANUP: &str = "cleanup cannot: it has the time of the grace only";
