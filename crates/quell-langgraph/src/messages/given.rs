//! [`asked`], [`returned`] and [`check_messages`]: the forms in which callers and bodies write
//! messages (contract, section 7).

use std::collections::HashMap;

use quell::{Payload, RunId};
use quell_flow::{Component, Reducer, Reducers};
use uuid::Uuid;

use crate::messages::MESSAGES;
use crate::messages::joined::{is_removal, to_list};
use crate::wire::exact::{Keys, written};
use crate::wire::message::human;
use crate::wire::refusal::Refusal;

/// Reads the messages under a key of an input: one or a list, in the forms of `LangChain`'s clients
/// ([`keys_of`]). Each gets the type that its role means, and an id, if it has none. None if the
/// key means something else.
pub(crate) fn asked(key: &str, given: &Payload, run: RunId) -> Option<Vec<Payload>> {
    let given = to_list(given);
    given.iter().enumerate().map(|(nth, item)| read(item, || id_of(run, key, nth))).collect()
}

/// Lists the keys under which a graph has messages: those that it declares, and [`MESSAGES`] unless
/// it says that something else stands there.
pub(crate) fn keys_of_messages(reducers: &Reducers) -> impl Iterator<Item = &str> {
    let declared = reducers.keys().filter(|(_, reducer)| *reducer == Reducer::Messages);
    let is_declared = reducers.keys().any(|(key, _)| key == MESSAGES);
    declared.map(|(key, _)| key).chain((!is_declared).then_some(MESSAGES))
}

/// Tells whether a graph says itself how the key [`MESSAGES`] is taken, so that anything may stand
/// there.
pub(crate) fn is_of_graph(reducers: &Reducers) -> bool {
    keys_of_messages(reducers).all(|key| key != MESSAGES)
}

/// Reads the messages that a body returned or said: each object gets a type and an id as one of a
/// caller does. The id is that of whose it is and how it begins, and of how many before it are
/// alike and have no id either: said again by the run, or with more, it is the same message. None
/// if they have both, or are something else than a list of objects that are messages.
pub(crate) fn returned(said: &Payload, run: RunId) -> Option<Payload> {
    let given: Vec<Payload> = said.parse().ok()?;
    let all: Vec<Keys> = given.iter().map(keys_of_object).collect::<Option<_>>()?;
    let is_whole = |keys: &Keys| ["type", "id"].iter().all(|key| text_of(keys, key).is_some());
    (!all.iter().all(is_whole)).then(|| whole(all, run))
}

/// As [`returned`], where they are added to others: one or a list, in the forms that callers have
/// as well. What is none is left out: without an id it would be added again each time it is said.
pub(crate) fn returned_more(said: &Payload, run: RunId) -> Payload {
    let keys = |item: &Payload| match item.as_text() {
        Some(_) => Some(Keys::from([("content".into(), item.clone())])),
        None => keys_of(item),
    };
    let said = to_list(said);
    whole(said.iter().filter(|item| is_message(item)).filter_map(keys).collect(), run)
}

/// Writes messages of a run as a list, each with a type and an id.
fn whole(all: Vec<Keys>, run: RunId) -> Payload {
    let mut seen = HashMap::new();
    let mut id = |keys: &Keys| {
        let whose = text_of(keys, "type").or_else(|| text_of(keys, "role")).unwrap_or_default();
        let said = format!("{whose}{}", begin_of(keys));
        let nth = *seen.entry(said.clone()).and_modify(|nth| *nth += 1).or_insert(0);
        Uuid::new_v5(&run.as_uuid(), format!("returned {nth} {said}").as_bytes()).to_string()
    };
    let all: Vec<_> = all.into_iter().map(|keys| complete(keys, &mut id)).collect();
    written(&all)
}

/// Yields how a message begins: its text, or that of the first of its parts that has any; or else
/// the JSON of what it has in place of it, as tool calls.
fn begin_of(keys: &Keys) -> String {
    let content = keys.get("content");
    let parts: Vec<Keys> = content.and_then(|parts| parts.parse().ok()).unwrap_or_default();
    let of_parts = || parts.iter().find_map(|part| text_of(part, "text"));
    let text = content.and_then(Payload::as_text).map(String::from).or_else(of_parts);
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        return text.chars().take(BEGIN).collect();
    }
    let else_said = [keys.get("tool_calls"), content];
    else_said.into_iter().flatten().map(Payload::as_json).collect()
}

/// So many characters of what it says tell a message from others: one that is said piece by piece
/// has another id until it has them.
const BEGIN: usize = 16;

/// Refuses an input with a message that is none: the graph would be asked about something else, and
/// what the thread has would be gone.
pub(crate) fn check_messages(
    graph: &Component,
    (within, input): (&str, &Payload),
) -> Result<(), Refusal> {
    if !may_have_messages(graph.reducers(), input) {
        return Ok(());
    }
    let given = input.parse::<Keys>().unwrap_or_default();
    for key in keys_of_messages(graph.reducers()) {
        let given = given.get(key).map(to_list).unwrap_or_default();
        if let Some(nth) = given.iter().position(|item| !is_message(item)) {
            return Err(Refusal::invalid(format!(
                "{within}.{key}.{nth}: must be text, a pair of a role and what it says, or an \
                 object with `content` and the `type` or `role` {}",
                ROLES.map(|(role, _)| role).join(", ")
            )));
        }
    }
    Ok(())
}

/// Tells whether keys may have messages: few are taken apart for nothing. A key may be escaped, in
/// some way of those that JSON has for its characters.
pub(crate) fn may_have_messages(reducers: &Reducers, keys: &Payload) -> bool {
    let has = |key: &str| keys.as_json().contains(key);
    let is_plain = |key: &str| !key.contains(|it: char| it.is_control() || "\"\\/".contains(it));
    let may_be_there = |key| has(key) || has(if is_plain(key) { r"\u" } else { r"\" });
    keys_of_messages(reducers).any(may_be_there)
}

fn is_message(item: &Payload) -> bool {
    let is_known = |keys: &Keys| {
        let role = text_of(keys, "role").filter(|_| text_of(keys, "type").is_none());
        role.is_none_or(|role| role.is_empty() || ROLES.iter().any(|(known, _)| *known == role))
    };
    item.as_text().is_some() || keys_of(item).is_some_and(|keys| is_known(&keys))
}

/// Reads a message, which gets this id if it has none.
fn read(item: &Payload, id: impl FnOnce() -> String) -> Option<Payload> {
    if let Some(text) = item.as_text() {
        return Some(human(&text, &id()));
    }
    Some(complete(keys_of(item)?, |_| id()))
}

/// Gives a message the type that its role means, and this id, if it has none.
fn complete(mut keys: Keys, id: impl FnOnce(&Keys) -> String) -> Payload {
    let id = text_of(&keys, "id").is_none().then(|| id(&keys));
    if text_of(&keys, "type").is_none() {
        let role = text_of(&keys, "role").unwrap_or_default();
        let known = ROLES.iter().find(|(known, _)| *known == role);
        let kind = known.map_or(if role.is_empty() { "human" } else { &role }, |(_, kind)| kind);
        keys.insert("type".into(), kind.into());
    }
    keys.extend(id.map(|id| ("id".into(), id.into())));
    written(&keys)
}

/// Yields the keys of a message: of an object with `content`, which may be null, as of one with
/// tool calls; of a pair of a role and what it says; or of an instance of a class of `LangChain`,
/// as its JavaScript writes it.
fn keys_of(item: &Payload) -> Option<Keys> {
    if let Ok([role, content]) = item.parse::<[Payload; 2]>() {
        role.as_text()?;
        let content = if content.is_null() { "".into() } else { content };
        return Some(Keys::from([("role".into(), role), ("content".into(), content)]));
    }
    keys_of_object(item)
}

fn keys_of_object(item: &Payload) -> Option<Keys> {
    let mut keys: Keys = item.parse().ok()?;
    if text_of(&keys, "type").as_deref() == Some("constructor") && keys.contains_key("lc") {
        let path: Vec<String> = keys.get("id")?.parse().ok()?;
        let class = path.last()?.trim_end_matches("Chunk");
        let (_, kind) = CLASSES.iter().find(|(known, _)| *known == class)?;
        keys = keys.get("kwargs")?.parse().ok()?;
        keys.insert("type".into(), (*kind).into());
    }
    let is_null = keys.get("content").map(Payload::is_null);
    if is_null == Some(true) {
        keys.insert("content".into(), "".into());
    }
    // As upstream: a number is taken for its text.
    let id = keys.get("id").map(|id| id.as_json().trim().to_owned());
    if let Some(number) = id.filter(|id| id.starts_with(|it: char| it == '-' || it.is_numeric())) {
        keys.insert("id".into(), number.into());
    }
    (is_null.is_some() || is_removal(&keys)).then_some(keys)
}

/// Yields the text under a key of a message.
pub(crate) fn text_of(keys: &Keys, key: &str) -> Option<String> {
    keys.get(key)?.as_text().map(String::from)
}

/// The roles that a message may have, and the types that they mean (`convert_to_messages` of
/// `LangChain`).
const ROLES: [(&str, &str); 9] = [
    ("human", "human"),
    ("user", "human"),
    ("ai", "ai"),
    ("assistant", "ai"),
    ("system", "system"),
    ("developer", "system"),
    ("tool", "tool"),
    ("function", "function"),
    ("remove", "remove"),
];

/// The classes of messages of `LangChain`, and their types.
const CLASSES: [(&str, &str); 7] = [
    ("HumanMessage", "human"),
    ("AIMessage", "ai"),
    ("SystemMessage", "system"),
    ("ToolMessage", "tool"),
    ("FunctionMessage", "function"),
    ("RemoveMessage", "remove"),
    ("ChatMessage", "chat"),
];

/// Makes the message of a caller who gave none as such: the input if it is text, or its `message`.
pub(crate) fn spoken(input: &Payload, run: RunId) -> Option<Payload> {
    let keyed = || input.parse::<Keys>().ok()?.remove("message")?.as_text().map(String::from);
    let text = input.as_text().map(String::from).or_else(keyed)?;
    Some(human(&text, &id_of(run, MESSAGES, 0)))
}

fn id_of(run: RunId, key: &str, nth: usize) -> String {
    let whose = if key == MESSAGES { "" } else { key };
    Uuid::new_v5(&run.as_uuid(), format!("message {nth}{whose}").as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::messages::joined;

    #[test]
    fn messages_come_in_every_form_that_clients_write() {
        let run = RunId::from_text("r");
        let all = json!([
            "text",
            ["user", "pair"],
            ["assistant", [{ "type": "text", "text": "part" }]],
            { "role": "developer", "content": "rules" },
            { "role": "assistant", "content": null, "tool_calls": [] },
            { "type": "human", "content": "typed", "id": "mine" },
            { "lc": 1, "type": "constructor",
              "id": ["langchain_core", "messages", "HumanMessage"],
              "kwargs": { "content": "of a class", "additional_kwargs": {} } },
            { "lc": 1, "type": "constructor",
              "id": ["langchain_core", "messages", "AIMessageChunk"],
              "kwargs": { "content": "a piece", "id": "c" } },
            { "type": "remove", "id": "gone" },
        ]);
        let graph = || Component::workflow("g", async |_ctx, input: Payload| Ok(input));
        let (graph, appends) = (graph(), graph().reducer(MESSAGES, Reducer::Append));
        let input = Payload::from(json!({ "messages": all }));
        assert!(check_messages(&graph, ("input", &input)).is_ok());
        let read = asked(MESSAGES, &all.into(), run).unwrap();
        let read: Vec<Value> = read.iter().map(|it| it.parse().unwrap()).collect();
        let told = |it: &Value| (it["type"].clone(), it["content"].clone());
        let expected = json!([
            ["human", "text"],
            ["human", "pair"],
            ["ai", [{ "type": "text", "text": "part" }]],
            ["system", "rules"],
            ["ai", ""],
            ["human", "typed"],
            ["human", "of a class"],
            ["ai", "a piece"],
            ["remove", null],
        ]);
        for (it, expected) in read.iter().zip(expected.as_array().unwrap()) {
            assert_eq!(told(it), (expected[0].clone(), expected[1].clone()));
            assert!(it["id"].is_string());
        }
        assert_eq!((&read[5]["id"], &read[7]["id"]), (&json!("mine"), &json!("c")));
        // What is none is refused: it would take the place of all that the thread has.
        for none in [
            json!(5),
            json!(["user"]),
            json!([1, "x"]),
            json!({ "role": "user" }),
            json!({ "role": "robot", "content": "x" }),
            json!({ "lc": 1, "type": "constructor", "id": ["Other"], "kwargs": {} }),
        ] {
            let input = Payload::from(json!({ "messages": ["fine", none] }));
            let refusal = check_messages(&graph, ("input", &input)).unwrap_err();
            assert!(refusal.detail.starts_with("input.messages.1: must be text"), "{refusal:?}");
            assert!(check_messages(&appends, ("input", &input)).is_ok());
        }
        let escaped = Payload::from_json_text(r#"{"m\u0065ssages":[5]}"#).unwrap();
        assert!(check_messages(&graph, ("values", &escaped)).is_err());
    }

    #[test]
    fn what_is_said_again_under_a_declared_key_is_the_same_in_whatever_form_it_was() {
        let (run, later) = (RunId::from_text("r"), RunId::from_text("later"));
        let robot = json!({ "role": "robot", "content": "x" });
        let none = [json!(5), json!({ "a": 1 }), json!(["hello", "world"]), robot];
        let said = json!(["text", ["assistant", "pair"], { "content": "bare" }]);
        let said = json!([said.as_array().unwrap().as_slice(), &none].concat());
        let all = returned_more(&said.into(), run);
        let told = |it: &Keys| ["type", "content", "id"].map(|key| text_of(it, key).unwrap());
        let read: Vec<Keys> = all.parse().unwrap();
        let kinds = read.iter().map(told).map(|[kind, content, _]| [kind, content]);
        let expected = [["human", "text"], ["ai", "pair"], ["human", "bare"]];
        assert_eq!(kinds.collect::<Vec<_>>(), expected);
        let again = returned_more(&all, later);
        assert_eq!(joined(Some(&all), to_list(&again)), to_list(&all));
        let one = to_list(&returned_more(&"text".into(), run));
        assert_eq!(joined(Some(&all), one), to_list(&all), "alone it has the same id");
        assert_eq!(to_list(&returned_more(&Payload::from(Value::Null), run)), []);
    }

    #[test]
    fn the_id_of_a_message_may_be_a_number_and_what_it_says_null() {
        let run = RunId::from_text("r");
        let said = json!([{ "type": "ai", "content": "c", "id": -7 }, ["user", null]]);
        let all = returned_more(&said.into(), run);
        let read: Vec<Keys> = all.parse().unwrap();
        assert_eq!(text_of(&read[0], "id").unwrap(), "-7");
        assert_eq!(text_of(&read[1], "content").unwrap(), "");
        let gone = returned_more(&json!([{ "type": "remove", "id": -7 }]).into(), run);
        assert_eq!(joined(Some(&all), to_list(&gone)), to_list(&all)[1..]);
    }

    #[test]
    fn keys_with_messages_are_found_however_they_are_escaped() {
        let graph = Component::workflow("g", async |_ctx, input: Payload| Ok(input));
        let graph = graph.reducer("a/b", Reducer::Messages).reducer("\"", Reducer::Messages);
        for text in [r#"{"a/b":[5]}"#, r#"{"a\/b":[5]}"#, r#"{"\"":5}"#, r#"{"a\u002fb":5}"#] {
            let input = Payload::from_json_text(text).unwrap();
            assert!(check_messages(&graph, ("input", &input)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_message_without_an_id_has_one_id_alone_and_behind_those_that_have_one() {
        let run = RunId::from_text("r");
        let ids = |said: Value| -> Vec<String> {
            let said = returned(&Payload::from(said), run).unwrap();
            let all: Vec<Keys> = said.parse().unwrap();
            all.iter().map(|keys| text_of(keys, "id").unwrap()).collect()
        };
        let blocks = |text| json!([{ "type": "text", "text": text }]);
        let call = |name| json!({ "type": "ai", "content": "", "tool_calls": [{ "id": name }] });
        let ai = |content| json!({ "type": "ai", "content": content });
        let long = "Here is the answer to question one";
        for new in [ai(json!("ok")), ai(json!(long)), ai(blocks("ok")), call("c")] {
            let mut known = new.clone();
            known["id"] = "known".into();
            let alone = ids(json!([new])).remove(0);
            assert_eq!(ids(json!([known, new])), ["known", &alone]);
            let both = ids(json!([new, new]));
            assert!(both[0] == alone && both[1] != alone);
        }
        let begun = json!([ai(json!(long)), ai(blocks("one")), ai(blocks("two")), call("c")]);
        let mut apart = ids(begun);
        apart.extend(ids(json!([call("d")])));
        apart.sort();
        apart.dedup();
        assert_eq!(apart.len(), 5);
        assert_eq!(
            ids(json!([ai(json!(long))])),
            ids(json!([ai(json!(format!("{long} and two")))]))
        );
    }
}
