//! [`joined`]: messages added to others.

use std::collections::HashMap;

use quell::Payload;

use crate::wire::exact::Keys;

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
pub(super) fn is_removal(message: &Keys) -> bool {
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
    use quell::RunId;
    use serde_json::json;

    use super::*;
    use crate::messages::{MESSAGES, asked};
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
        let bare = json!([{ "type": "remove", "id": "a" }]).into();
        let read = asked(MESSAGES, &bare, RunId::from_text("r")).unwrap();
        assert_eq!(joined(Some(&before), read), list(&["b", "c"]));
    }
}
