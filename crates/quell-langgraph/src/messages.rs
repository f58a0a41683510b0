//! [`Messages`]: what a completed run answered, as messages; and the messages of a caller, as they
//! stand in the values (contract, section 7).

use std::collections::{HashMap, HashSet};

use quell::{Payload, RunId, RunKind, RunRef, RunStatus};
use quell_flow::{Component, Reducer};
use quell_http::{Principal, Service, Transcript};
use serde_json::Value;
use uuid::Uuid;

use crate::options::CONTRACT;
use crate::wire::exact::{Keys, finite, written};
use crate::wire::message::{Origin, Parts, human};
use crate::wire::refusal::Refusal;
use crate::wire::rows::About;

/// The key of the messages in the values.
pub(crate) const MESSAGES: &str = "messages";

/// The messages with which a run answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Messages {
    /// Those of the run itself: its tool calls and what they gave, and last what it said.
    pub(crate) own: Vec<Payload>,
    /// These, and those of its nodes, in the order in which they began to say something.
    pub(crate) all: Vec<Payload>,
}

impl Messages {
    /// Puts together what a run said; nothing of one that did not complete.
    ///
    /// `is_answer` tells whether what the body returned is its answer: it said nothing of a state.
    /// If nothing but runs within the run said text then, these messages are the answer.
    pub(crate) fn of(
        service: &Service,
        run: &RunRef,
        output: Option<&Payload>,
        about: &About,
        is_answer: bool,
    ) -> Self {
        if run.row().status != RunStatus::Completed {
            return Self::default();
        }
        let view = service.view(CONTRACT, Principal::anonymous());
        Self::of_said(view.tree_transcripts(run), run.id(), output, about, is_answer)
    }

    /// As [`Messages::of`], of a completed run with these transcripts.
    pub(crate) fn of_said(
        mut said: Vec<Transcript>,
        root: RunId,
        output: Option<&Payload>,
        about: &About,
        is_answer: bool,
    ) -> Self {
        let within = within_subgraphs(&said, root);
        // One that says nothing before its end comes last.
        said.sort_by_key(|said| (said.first_text_at.is_none(), said.first_text_at));
        let write = |said: &Transcript, text: &str| {
            let speaker = said.run.to_string();
            let run = root.to_string();
            let origin = Origin { about, run: &run, speaker: &speaker, node: &said.name };
            origin.messages(&Parts::of(said, text))
        };
        let mut all = Self::default();
        for said in said.iter().filter(|said| !within.contains(&said.run)) {
            if said.run == root {
                let text = answer_of(output.filter(|_| is_answer || !is_blank(said)), said);
                all.own = text.map(|text| write(said, &text)).unwrap_or_default();
                all.all.extend_from_slice(&all.own);
            } else if !is_blank(said) {
                all.all.extend(write(said, &said.text));
            }
        }
        if all.all.is_empty() && is_answer {
            let inner = said.iter().filter(|said| within.contains(&said.run) && !is_blank(said));
            all.all.extend(inner.flat_map(|said| write(said, &said.text)));
        }
        all
    }
}

/// Yields the text with which a run answers: what it returned, if that is no object and no list;
/// otherwise what it said, unless that is the same object or list.
pub(crate) fn answer_of(output: Option<&Payload>, said: &Transcript) -> Option<String> {
    let output = output.filter(|output| !output.is_null());
    let returned = output.filter(|output| !output.as_json().trim_start().starts_with(['{', '[']));
    if let Some(returned) = returned {
        let text = returned.as_text().map_or_else(|| finite(returned).to_string(), String::from);
        return Some(text).filter(|text| !text.trim().is_empty());
    }
    let is_state = output.is_some_and(|output| {
        let same = |value: Value| output.parse::<Value>().is_ok_and(|state| state == value);
        said.text.trim_start().starts_with(['{', '['])
            && serde_json::from_str(&said.text).is_ok_and(same)
    });
    (!is_state && !is_blank(said)).then(|| said.text.clone())
}

fn is_blank(said: &Transcript) -> bool {
    said.text.trim().is_empty()
}

/// Finds the runs that are within another agent, team or workflow than the root.
fn within_subgraphs(all: &[Transcript], root: RunId) -> HashSet<RunId> {
    let mut within = HashSet::new();
    // Parents come before their children.
    for said in all.iter().filter(|said| said.run != root) {
        let is_graph = matches!(said.kind, RunKind::Agent | RunKind::Team | RunKind::Workflow);
        if is_graph || said.parent.is_some_and(|parent| within.contains(&parent)) {
            within.insert(said.run);
        }
    }
    within
}

/// Reads the messages of an input: one or a list, in the forms of `LangChain`'s clients
/// ([`keys_of`]). Each gets the type that its role means, and an id, if it has none. None if the
/// key means something else.
pub(crate) fn asked(input: &Keys, run: RunId) -> Option<Vec<Payload>> {
    let given = to_list(input.get(MESSAGES)?);
    given.iter().enumerate().map(|(nth, item)| read(item, run, nth)).collect()
}

/// Refuses an input with a message that is none: the graph would be asked about something else, and
/// what the thread has would be gone. A graph that appends to the key takes anything.
pub(crate) fn check_messages(graph: &Component, input: &Payload) -> Result<(), Refusal> {
    // Few inputs are taken apart for nothing: the key may be escaped.
    let may_have = |text: &str| text.contains(MESSAGES) || text.contains(r"\u");
    if graph.reducers().of(MESSAGES) == Reducer::Append || !may_have(input.as_json()) {
        return Ok(());
    }
    let given = input.parse::<Keys>().ok().and_then(|mut keys| keys.remove(MESSAGES));
    let given = given.as_ref().map(to_list).unwrap_or_default();
    let Some(nth) = given.iter().position(|item| !is_message(item)) else { return Ok(()) };
    Err(Refusal::invalid(format!(
        "input.messages.{nth}: must be text, a pair of a role and what it says, or an object with \
         `content` and the `type` or `role` {}",
        ROLES.map(|(role, _)| role).join(", ")
    )))
}

fn is_message(item: &Payload) -> bool {
    let is_known = |keys: &Keys| {
        let role = text_of(keys, "role").filter(|_| text_of(keys, "type").is_none());
        role.is_none_or(|role| role.is_empty() || ROLES.iter().any(|(known, _)| *known == role))
    };
    item.as_text().is_some() || keys_of(item).is_some_and(|keys| is_known(&keys))
}

fn read(item: &Payload, run: RunId, nth: usize) -> Option<Payload> {
    let id = || id_of(run, nth);
    if let Some(text) = item.as_text() {
        return Some(human(&text, &id()));
    }
    let mut keys = keys_of(item)?;
    if text_of(&keys, "type").is_none() {
        let role = text_of(&keys, "role").unwrap_or_default();
        let known = ROLES.iter().find(|(known, _)| *known == role);
        let kind = known.map_or(if role.is_empty() { "human" } else { &role }, |(_, kind)| kind);
        keys.insert("type".into(), kind.into());
    }
    if text_of(&keys, "id").is_none() {
        keys.insert("id".into(), id().into());
    }
    Some(written(&keys))
}

/// Yields the keys of a message: of an object with `content`, which may be null, as of one with
/// tool calls; of a pair of a role and what it says; or of an instance of a class of `LangChain`,
/// as its JavaScript writes it.
fn keys_of(item: &Payload) -> Option<Keys> {
    if let Ok([role, content]) = item.parse::<[Payload; 2]>() {
        role.as_text()?;
        return Some(Keys::from([("role".into(), role), ("content".into(), content)]));
    }
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
    Some(human(&text, &id_of(run, 0)))
}

/// Adds messages to others. One with the id of another replaces it.
pub(crate) fn joined(before: Option<&Payload>, more: Vec<Payload>) -> Vec<Payload> {
    let id = |message: &Payload| message.parse::<Keys>().ok()?.remove("id").as_ref().map(spelt);
    let before = before.map(to_list).unwrap_or_default();
    let mut all: Vec<_> = before.into_iter().map(Some).collect();
    let mut places = HashMap::new();
    for (at, message) in all.iter().enumerate() {
        // Of two with one id the first one is replaced.
        if let Some(own) = message.as_ref().and_then(id) {
            places.entry(own).or_insert(at);
        }
    }
    for message in more {
        let mut keys = message.parse::<Keys>().unwrap_or_default();
        let (is_removal, own) = (is_removal(&keys), keys.remove("id").as_ref().map(spelt));
        if is_removal && own.as_ref().is_some_and(|own| own == REMOVE_ALL) {
            all.clear();
            places.clear();
            continue;
        }
        if is_removal {
            let known = own.and_then(|own| places.get(&own)).and_then(|at| all.get_mut(*at));
            known.map(Option::take);
            continue;
        }
        let at = own.map_or(all.len(), |own| *places.entry(own).or_insert(all.len()));
        match all.get_mut(at) {
            Some(known) => *known = Some(message),
            None => all.push(Some(message)),
        }
    }
    all.into_iter().flatten().collect()
}

/// Yields an id as it is compared: clients escape texts in several ways.
fn spelt(id: &Payload) -> String {
    id.as_text().map_or_else(|| id.as_json().to_owned(), String::from)
}

/// Tells whether what stands for a message says that the one with its id goes.
fn is_removal(message: &Keys) -> bool {
    message.get("type").is_some_and(|kind| kind.as_text().as_deref() == Some("remove"))
}

/// The id of such a one with which all go that were before.
const REMOVE_ALL: &str = "__remove_all__";

/// Yields a value as a list: null is none, and anything else but a list is one.
pub(crate) fn to_list(value: &Payload) -> Vec<Payload> {
    match value.parse() {
        Ok(items) => items,
        Err(_) if value.is_null() => Vec::new(),
        Err(_) => vec![value.clone()],
    }
}

fn id_of(run: RunId, nth: usize) -> String {
    Uuid::new_v5(&run.as_uuid(), format!("message {nth}").as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As many as a request may have: each was compared with each.
    #[test]
    fn messages_are_joined_by_their_ids_however_many_there_are() {
        let message = |nr: usize| Payload::from(json!({ "id": nr.to_string(), "content": nr }));
        let some = written(&[message(1), json!({ "content": "none" }).into(), message(1)]);
        let replaced: Payload = json!({ "id": "1", "content": "new" }).into();
        let all = joined(Some(&some), vec![replaced.clone(), message(2)]);
        let expected = [replaced, json!({ "content": "none" }).into(), message(1), message(2)];
        assert_eq!(all, expected);
        let many: Vec<_> = (0..80_000).map(message).collect();
        let twice = [many.clone(), many.clone()].concat();
        assert_eq!(joined(None, twice), many);
    }

    #[test]
    fn what_is_removed_goes() {
        let message = |id: &str| Payload::from(json!({ "id": id, "content": "c", "type": "ai" }));
        let remove = |id: &str| Payload::from(json!({ "id": id, "content": "", "type": "remove" }));
        let list = |ids: &[&str]| ids.iter().map(|id| message(id)).collect::<Vec<_>>();
        let before = Payload::from(json!([message("a"), message("b"), message("c")]));
        for (more, left) in [
            (vec![remove("b")], list(&["a", "c"])),
            (
                vec![Payload::from_json_text(r#"{"type":"remove","id":"\u0062"}"#).unwrap()],
                list(&["a", "c"]),
            ),
            (vec![remove("b"), remove("b"), remove("x"), message("d")], list(&["a", "c", "d"])),
            // As upstream: one that comes anew is where it was.
            (vec![remove("b"), message("b")], list(&["a", "b", "c"])),
            (vec![message("d"), remove("d")], list(&["a", "b", "c"])),
            (vec![message("d"), remove("__remove_all__"), message("b")], list(&["b"])),
        ] {
            assert_eq!(joined(Some(&before), more.clone()), left, "{more:?}");
        }
        // Clients leave out what is empty.
        let bare =
            Keys::from([(MESSAGES.to_owned(), json!([{ "type": "remove", "id": "a" }]).into())]);
        let read = asked(&bare, RunId::from_text("r")).unwrap();
        assert_eq!(joined(Some(&before), read), list(&["b", "c"]));
    }

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
        assert!(check_messages(&graph, &input).is_ok());
        let read = asked(&input.parse().unwrap(), run).unwrap();
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
            let refusal = check_messages(&graph, &input).unwrap_err();
            assert!(refusal.detail.starts_with("input.messages.1: must be text"), "{refusal:?}");
            assert!(check_messages(&appends, &input).is_ok());
        }
        let escaped = Payload::from_json_text(r#"{"m\u0065ssages":[5]}"#).unwrap();
        assert!(check_messages(&graph, &escaped).is_err());
    }
}
