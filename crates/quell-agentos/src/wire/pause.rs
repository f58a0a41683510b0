//! [`paused`], [`continued`] and [`add`]: what is shown of a run that waits for an answer, and
//! [`said`], what the clients answer to a step that waits (contract, section 7).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

use quell::Payload;
use quell_flow::{WaitAsked, wait_asked};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::json;
use serde_json::value::RawValue;

use crate::wire::event::Line;
use crate::wire::exact::{Json, Object, is_object};
use crate::wire::kinds::names_of;
use crate::wire::position::{Position, Role};
use crate::wire::run::Tree;

/// Makes the event of a pause.
pub(crate) fn paused(tree: &Tree, request: &Payload) -> Line {
    let run = tree.own();
    let mut own = Object::default();
    if run.position.role == Role::Workflow {
        own.set("status", json!("PAUSED"));
        own.set("content", json!(tree.content(0)));
        own.set("metadata", json!({}));
        own.set("step_results", json!(tree.step_results(0)));
        own.set("step_executor_runs", tree.executor_runs(0, 0));
    } else {
        own.set("tools", Vec::new());
    }
    add(&mut own, run.position.role, request);
    own.set("quell", &run.state);
    (format!("{}Paused", names_of(run.position.kind()).prefix), own)
}

/// Makes the event that tells that a run goes on; the contract has none for workflows.
pub(crate) fn continued(position: &Position) -> Option<String> {
    let is_told = matches!(position.role, Role::Agent | Role::Team);
    is_told.then(|| format!("{}Continued", names_of(position.kind()).prefix))
}

/// Adds what a run asks: as it is, and what the clients of the contract look for, if the request is
/// an object that has it.
pub(crate) fn add(out: &mut Object, role: Role, request: &Payload) {
    let mut given: BTreeMap<String, Payload> = request.parse().unwrap_or_default();
    let name = if role == Role::Workflow { STEP_REQUIREMENTS } else { "requirements" };
    let list = given.remove(name).and_then(|list| objects(&list));
    let asked = || wait_asked(request).filter(|_| role == Role::Workflow);
    let list = list.or_else(|| asked().map(|asked| vec![requirement(&asked)]));
    out.set(name, list.unwrap_or_default());
    if role != Role::Workflow
        && let Some(tools) = given.remove("tools").and_then(|list| objects(&list))
    {
        out.set("tools", tools);
    }
    out.set("request", request);
}

/// Makes what the clients of the contract look for of a step of a plan that waits.
fn requirement(asked: &WaitAsked) -> Object {
    let WaitAsked { step, ask, approve, .. } = asked;
    let mut shown = Object::from(json!({
        "step_id": step, "step_name": step, "step_type": "Step",
    }));
    if *approve {
        shown.set("on_reject", json!("cancel"));
        shown.set("requires_confirmation", json!(true));
        shown.set("confirmation_message", json!(ask));
    } else {
        let schema = json!([{ "name": ANSWER, "field_type": "str", "required": true }]);
        shown.set("requires_user_input", json!(true));
        shown.set("user_input_message", json!(ask));
        shown.set("user_input_schema", schema);
    }
    shown
}

/// What a client has said of a step of a plan that waits, in the form of what it was shown.
pub(crate) enum Said {
    /// The answer, as the step takes it.
    Answer(Payload),
    /// The step is rejected. Its run is cancelled for that: `on_reject` has shown so.
    Rejected { step: String },
}

/// Yields what is said of a step of a plan in the form of the clients: the list of what they were
/// shown, confirmed or not, or with what somebody has put in. None if it has another form: it is
/// the answer as it is.
///
/// # Errors
///
/// Fails if it is such a list and nobody has put anything in. One that is neither confirmed nor
/// rejected the run itself refuses.
pub(crate) fn said(
    field: &str,
    request: &Payload,
    answer: &Payload,
) -> Result<Option<Said>, NotPutIn> {
    let Some(asked) = wait_asked(request).filter(|_| field == STEP_REQUIREMENTS) else {
        return Ok(None);
    };
    let Ok(list) = answer.parse::<Vec<Resolved>>() else { return Ok(None) };
    let is_it = |one: &Resolved| one.step_id.as_ref().is_none_or(|step| *step == asked.step);
    let mut resolved = list.into_iter().filter(is_it);
    if asked.approve {
        return Ok(match resolved.find_map(|one| one.confirmed) {
            Some(true) => Some(Said::Answer(true.into())),
            Some(false) => Some(Said::Rejected { step: asked.step }),
            None => None,
        });
    }
    let Some(one) = resolved.find(|one| one.requires_user_input) else { return Ok(None) };
    one.put_in().map(|answer| Some(Said::Answer(answer))).ok_or(NotPutIn { step: asked.step })
}

/// What the clients say of a step that waits.
#[derive(Deserialize)]
struct Resolved {
    step_id: Option<String>,
    confirmed: Option<bool>,
    #[serde(default)]
    requires_user_input: bool,
    user_input: Option<BTreeMap<String, Payload>>,
    user_input_schema: Option<Vec<InputField>>,
}

/// A field that was shown, and what was put in.
#[derive(Deserialize)]
struct InputField {
    name: String,
    value: Option<Payload>,
}

impl Resolved {
    /// Yields what was put in: of the one field that is shown its value, otherwise all fields.
    fn put_in(self) -> Option<Payload> {
        let mut fields = self.user_input.unwrap_or_default();
        for InputField { name, value } in self.user_input_schema.unwrap_or_default() {
            if let Some(value) = value {
                fields.entry(name).or_insert(value);
            }
        }
        fields.retain(|_, value| value.as_json() != "null");
        match fields.len() {
            0 => None,
            1 if fields.contains_key(ANSWER) => fields.remove(ANSWER),
            _ => Payload::json(&fields).ok(),
        }
    }
}

/// Nobody has put in what a step waits for.
#[derive(Debug, thiserror::Error)]
#[error("step `{step}` waits for `user_input`")]
pub(crate) struct NotPutIn {
    step: String,
}

/// Tells whether an answer, the list of this field, names questions, and none of those that are
/// asked. None that names nothing does. It takes time for as many bytes as both have, and memory
/// for the questions alone.
pub(crate) fn is_to_others(field: &str, request: &Payload, answer: &Payload) -> bool {
    names_asked(field, request, answer) == Some(false)
}

/// Tells whether an answer names one of the questions that are asked; none if either names nothing.
fn names_asked(field: &str, request: &Payload, answer: &Payload) -> Option<bool> {
    let key = match field {
        "tools" => "tool_call_id",
        "requirements" => "id",
        _ => "step_id",
    };
    let step = wait_asked(request).filter(|_| field == STEP_REQUIREMENTS);
    let mut asked: HashSet<Cow<'_, str>> =
        step.iter().map(|asked| Cow::from(&*asked.step)).collect();
    if asked.is_empty() {
        let mut request = serde_json::Deserializer::from_str(request.as_json());
        let list = ValueOf(field).deserialize(&mut request).ok()??;
        let is_list = each_id(key, list, |id| {
            asked.insert(unescaped(id));
        });
        if !is_list || asked.is_empty() {
            return None;
        }
    }
    let (mut is_named, mut is_asked) = (false, false);
    let is_list = each_id(key, answer.as_json(), |id| {
        (is_named, is_asked) = (true, is_asked || asked.contains(&unescaped(id)));
    });
    (is_list && is_named).then_some(is_asked)
}

/// Yields the text of an id from its JSON: clients spell it in their own way. Of one that is no
/// text it is the JSON.
fn unescaped(id: &str) -> Cow<'_, str> {
    serde_json::from_str::<String>(id).map_or(Cow::Borrowed(id), Cow::Owned)
}

/// Hands out the texts that a list of objects has under this key. Tells whether it is such a list:
/// anything else names nothing.
fn each_id<'a>(key: &str, list: &'a str, take: impl FnMut(&'a str)) -> bool {
    let mut from = serde_json::Deserializer::from_str(list);
    EachId { key, take }.deserialize(&mut from).is_ok()
}

/// Reads a list, and keeps nothing of it.
struct EachId<'k, F> {
    key: &'k str,
    take: F,
}

impl<'de, F: FnMut(&'de str)> DeserializeSeed<'de> for EachId<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(&'de str)> Visitor<'de> for EachId<'_, F> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(id) = list.next_element_seed(ValueOf(self.key))? {
            id.into_iter().for_each(&mut self.take);
        }
        Ok(())
    }
}

/// Reads an object, and keeps the text of what it has under this key.
struct ValueOf<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for ValueOf<'_> {
    type Value = Option<&'de str>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ValueOf<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = object.next_key::<Cow<'_, str>>()? {
            if key == self.0 {
                found = Some(object.next_value::<&RawValue>()?.get());
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Yields the objects of a list of objects. The clients fail on anything else.
fn objects(list: &Payload) -> Option<Vec<Object>> {
    let list: Vec<Payload> = list.parse().ok()?;
    if !list.iter().all(is_object) {
        return None;
    }
    let object = |item: &Payload| {
        let keys: BTreeMap<String, Payload> = item.parse().ok()?;
        let mut object = Object::default();
        for (key, value) in keys {
            object.set(key, Json::from(&value));
        }
        Some(object)
    };
    list.iter().map(object).collect()
}

/// The field of what the steps of a workflow wait for.
const STEP_REQUIREMENTS: &str = "step_requirements";

/// The field of what a step waits for that takes any answer.
const ANSWER: &str = "answer";
