//! [`NodesWanted`]: what a request says of checkpoints and of the nodes of its graph (contract,
//! section 5).

use std::collections::HashSet;

use quell::Payload;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::wire::create::{given, object, typed};
use crate::wire::exact::{Keys, written};
use crate::wire::query::checkpoint_id;
use crate::wire::refusal::{Refusal, quoted};

/// What a request says of checkpoints and nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodesWanted {
    /// The state on which it starts; none for the last one.
    pub(crate) checkpoint: Option<Uuid>,
    pub(crate) interrupt_before: Vec<String>,
    pub(crate) interrupt_after: Vec<String>,
    /// The nodes that run besides those which come next.
    pub(crate) goto: Vec<String>,
    /// Of a change of the values: the node that has made it.
    pub(crate) as_node: Option<String>,
    /// What comes behind that in its graph.
    pub(crate) behind: Option<Vec<String>>,
    /// It goes on where its thread is: there is no new input, or a command.
    pub(crate) goes_on: bool,
}

impl NodesWanted {
    /// Reads the body of a request that makes a run, and what its command changes, if it has one.
    pub(crate) fn read(body: &Keys) -> Result<(Self, Option<Payload>), Refusal> {
        let command = object(body, "command")?;
        let resumes = given(&command, "resume").is_some();
        // Clients write a command with all of its keys: what is empty says nothing.
        let is_empty = |value: &Payload| {
            let list = value.parse::<Vec<Payload>>().map(|list| list.is_empty());
            list.or_else(|_| value.parse().map(|keys: Keys| keys.is_empty())).unwrap_or(false)
        };
        let says = |value: &&Payload| !is_empty(value);
        let (update, goto) = (given(&command, "update"), given(&command, "goto"));
        let (update, goto) = (update.filter(says), goto.filter(says));
        if resumes && (update.is_some() || goto.is_some()) {
            return Err(Refusal::invalid(RESUMES_ALONE));
        }
        let update = update.map(update_of).transpose()?;
        let goto = goto.map(goto_of).transpose()?;
        let update = update.or_else(|| goto.is_some().then(Keys::new)).map(|it| written(&it));
        let wanted = Self {
            checkpoint: checkpoint_in(body)?,
            interrupt_before: names(body, "interrupt_before")?,
            interrupt_after: names(body, "interrupt_after")?,
            goto: goto.unwrap_or_default(),
            as_node: None,
            behind: None,
            goes_on: update.is_some() || given(body, "input").is_none(),
        };
        Ok((wanted, update))
    }
}

/// Reads the checkpoint that a body names by its id, or as an object.
pub(crate) fn checkpoint_in(body: &Keys) -> Result<Option<Uuid>, Refusal> {
    match typed::<String>(body, "checkpoint_id", "must be text")? {
        Some(id) => checkpoint_id(&id).map(Some),
        None => named_in(body, "checkpoint"),
    }
}

/// Reads the id of the checkpoint that an object under a key names; none of the last one.
pub(crate) fn named_in(keys: &Keys, key: &str) -> Result<Option<Uuid>, Refusal> {
    let checkpoint = object(keys, key)?;
    // Clients send it as they have it, or within a config.
    let within = object(&checkpoint, "configurable")?;
    let of = if within.is_empty() { &checkpoint } else { &within };
    let id: Option<String> = typed(of, "checkpoint_id", "must be text")?;
    id.as_deref().map(checkpoint_id).transpose()
}

/// Reads `"*"` or a list of names.
fn names(body: &Keys, key: &str) -> Result<Vec<String>, Refusal> {
    let Some(value) = given(body, key) else { return Ok(Vec::new()) };
    if value.as_text().as_deref() == Some("*") {
        return Ok(vec!["*".to_owned()]);
    }
    some(read(value, || format!("{key}: must be \"*\" or a list of names"))?, key)
}

/// Takes names once each, and no more than a graph may sensibly have nodes: each is compared with
/// each, and stands in every state that a run leaves.
fn some(mut names: Vec<String>, key: &str) -> Result<Vec<String>, Refusal> {
    if names.len() > NAMES_MAX {
        return Err(Refusal::invalid(format!("{key}: {NAMES_MAX} names at most")));
    }
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Ok(names)
}

/// Reads the changes of a command: an object, or a list of pairs. Each key has one value: of two
/// one would be lost.
fn update_of(value: &Payload) -> Result<Keys, Refusal> {
    if let Ok(pairs) = value.parse::<Vec<(String, Payload)>>() {
        let mut seen = HashSet::new();
        if let Some((key, _)) = pairs.iter().find(|(key, _)| !seen.insert(key)) {
            let text = "comes twice: one value for a key, with all that is added as its list";
            return Err(Refusal::invalid(format!("command.update: '{}' {text}", quoted(key))));
        }
        return Ok(pairs.into_iter().collect());
    }
    read(value, || "command.update: must be an object or a list of pairs".to_owned())
}

/// Reads one name, or a list of them.
fn goto_of(value: &Payload) -> Result<Vec<String>, Refusal> {
    if let Some(name) = value.as_text() {
        return Ok(vec![name.to_string()]);
    }
    let names = read(value, || "command.goto: must be a name or a list of names".to_owned())?;
    some(names, "command.goto")
}

const RESUMES_ALONE: &str = "command: `resume` goes without `update` and `goto`: the run that \
    waits goes on with its own values. Change them when it has ended, or with a run of their own";

/// Names that one key of a request has.
const NAMES_MAX: usize = 1_000;

fn read<T: DeserializeOwned>(
    value: &Payload,
    refusal: impl FnOnce() -> String,
) -> Result<T, Refusal> {
    value.parse().map_err(|_| Refusal::invalid(refusal()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn names_of_nodes_are_few_and_each_counts_once() {
        let twice =
            json!({ "interrupt_before": ["a", "b", "a"], "command": { "goto": ["b", "b"] } });
        assert!(read(&twice).is_ok());
        assert_eq!(some(vec!["a".into(), "b".into(), "a".into()], "x").unwrap(), ["a", "b"]);
        let many = vec!["a"; NAMES_MAX + 1];
        for body in [json!({ "interrupt_after": many }), json!({ "command": { "goto": many } })] {
            assert!(read(&body).unwrap_err().detail.ends_with("1000 names at most"), "{body}");
        }
    }

    fn read(body: &Value) -> Result<(NodesWanted, Option<Payload>), Refusal> {
        NodesWanted::read(&Payload::from(body.clone()).parse().unwrap())
    }

    #[test]
    fn what_a_body_says_of_nodes_is_read_or_refused_with_its_key() {
        let id = "0b9f8c39-5c5c-4b0f-9d4c-222222222222";
        let (wanted, update) = read(&json!({
            "input": {}, "interrupt_before": "*", "interrupt_after": ["a", "b"],
            "checkpoint": {"checkpoint_id": id},
        }))
        .unwrap();
        assert_eq!(wanted.interrupt_before, ["*"]);
        assert_eq!(wanted.interrupt_after, ["a", "b"]);
        assert_eq!(wanted.checkpoint.unwrap().to_string(), id);
        assert!(!wanted.goes_on && update.is_none());
        assert!(read(&json!({"input": null})).unwrap().0.goes_on);
        // As a command is written with all of its keys.
        for empty in [json!([]), json!({}), json!(null)] {
            let all = json!({ "resume": "yes", "goto": empty, "update": empty, "graph": null });
            assert!(read(&json!({ "command": all })).is_ok(), "{all}");
        }
        let spaced = r#"{"command":{"resume":1,"goto":[ ],"update":{ }}}"#;
        let spaced = Payload::from_json_text(spaced).unwrap();
        assert!(NodesWanted::read(&spaced.parse().unwrap()).is_ok());
        for (key, more) in
            [("goto", json!(["a"])), ("goto", json!("a")), ("update", json!({"a": 1}))]
        {
            let both = json!({ "command": { "resume": "yes", key: more } });
            assert_eq!(read(&both).unwrap_err().detail, RESUMES_ALONE, "{both}");
        }
        for (command, goto, update) in [
            (json!({"goto": "a"}), vec!["a"], Some(json!({}))),
            (
                json!({"goto": ["a", "b"], "update": {"x": 1}}),
                vec!["a", "b"],
                Some(json!({"x": 1})),
            ),
            (json!({"update": [["x", 2]]}), vec![], Some(json!({"x": 2}))),
            (json!({"resume": 1}), vec![], None),
            (json!({"update": {}, "goto": [], "resume": null}), vec![], None),
        ] {
            let (wanted, told) = read(&json!({"input": {}, "command": command})).unwrap();
            assert_eq!(wanted.goto, goto);
            assert_eq!(wanted.goes_on, update.is_some());
            assert_eq!(told.map(|told| told.parse::<Value>().unwrap()), update);
        }
        for (body, key) in [
            (json!({"interrupt_before": "slow"}), "interrupt_before"),
            (json!({"interrupt_after": 1}), "interrupt_after"),
            (json!({"checkpoint": "x"}), "checkpoint"),
            (json!({"checkpoint": {"checkpoint_id": 1}}), "checkpoint_id"),
            (json!({"checkpoint_id": "x"}), "Invalid checkpoint ID"),
            (json!({"command": {"goto": {"node": "a", "input": 1}}}), "command.goto"),
            (json!({"command": {"update": 1}}), "command.update"),
            (
                json!({"command": {"update": [["x", 1], ["x", 2]]}}),
                "command.update: 'x' comes twice",
            ),
            (json!({"command": {"resume": 1, "update": {"x": 1}}}), "command: `resume`"),
            (json!({"command": {"resume": 1, "goto": "a"}}), "command: `resume`"),
        ] {
            let refusal = read(&body).unwrap_err();
            assert_eq!(refusal.status.as_u16(), 422, "{body}");
            assert!(refusal.detail.starts_with(key), "{body}: {}", refusal.detail);
        }
    }
}
