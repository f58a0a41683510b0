//! [`Messages`]: what a completed run answered, as messages, and how messages are joined
//! (contract, section 7).

mod given;

use std::collections::{HashMap, HashSet};

use quell::{Payload, RunId, RunKind, RunRef, RunStatus};
use quell_http::{Principal, Service, Transcript};
use serde_json::Value;

pub(crate) use given::{asked, check_messages, returned, spoken, text_of};

use crate::options::CONTRACT;
use crate::wire::exact::{Keys, finite};
use crate::wire::message::{Origin, Parts};
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::wire::exact::written;

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
}
