//! [`Search`] and [`Meant`]: which threads a search means, and what it shows of them (contract,
//! section 4).

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::time::SystemTime;

use quell::Payload;
use serde_json::Value;
use uuid::Uuid;

use crate::wire::create::{choice, given, object, typed};
use crate::wire::exact::Keys;
use crate::wire::refusal::Refusal;
use crate::wire::rows::ThreadParts;
use crate::wire::status::thread_status;

/// Which threads are meant: those to which every condition applies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meant {
    pub(crate) ids: Option<HashSet<Uuid>>,
    metadata: Keys,
    values: Keys,
    status: Option<&'static str>,
}

/// A search: which threads are meant, in which order, and which part of them is shown.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    pub(crate) meant: Meant,
    pub(crate) limit: usize,
    pub(crate) offset: usize,
    order: Order,
    /// The keys of a row that are shown; all if there are none.
    pub(crate) select: BTreeSet<String>,
}

/// The order of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    by: By,
    is_ascending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Id,
    Status,
    Created,
    Updated,
    StateUpdated,
}

/// The place of a thread in the order of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    status: &'static str,
    at: Option<SystemTime>,
    id: Uuid,
}

impl Meant {
    /// Reads the conditions of a search, or of a count.
    pub(crate) fn read(body: &Keys) -> Result<Self, Refusal> {
        let ids: Option<Vec<String>> = typed(body, "ids", IDS)?;
        let parsed = |ids: Vec<String>| ids.iter().map(|id| Uuid::try_parse(id)).collect();
        let ids: Option<Result<HashSet<Uuid>, _>> = ids.filter(|ids| !ids.is_empty()).map(parsed);
        let ids = ids.transpose().map_err(|_| Refusal::invalid(format!("ids: {IDS}")))?;
        if ids.as_ref().is_some_and(|ids| ids.len() > IDS_MAX) {
            return Err(Refusal::invalid(format!("ids: {IDS_MAX} at most")));
        }
        let status = match given(body, "status") {
            Some(_) => Some(choice(body, "status", STATUSES)?),
            None => None,
        };
        let (metadata, values) = (object(body, "metadata")?, object(body, "values")?);
        Ok(Self { ids, metadata, values, status })
    }

    /// Tells whether a thread is meant. Once the work is used up none is.
    pub(crate) fn has(&self, thread: &ThreadParts<'_>, work: &mut Work) -> bool {
        if self.ids.as_ref().is_some_and(|ids| !ids.contains(&thread.id))
            || self.status.is_some_and(|status| thread_status(thread.facts) != status)
        {
            return false;
        }
        let has_metadata = self.metadata.is_empty()
            || thread.metadata.parse().is_ok_and(|keys| work.has_all(&keys, &self.metadata));
        let values = thread.values;
        let mut has_values = || values.is_some_and(|values| work.has_all(values, &self.values));
        has_metadata && (self.values.is_empty() || has_values())
    }

    /// Tells whether a thread may be meant that was given this. What its runs add is not known.
    pub(crate) fn may_have(&self, metadata: &Keys, work: &mut Work) -> bool {
        let is_of_runs = |key: &str| matches!(key, "graph_id" | "assistant_id");
        let given = self.metadata.iter().filter(|(key, _)| !is_of_runs(key));
        let given: Keys = given.map(|(key, value)| (key.clone(), value.clone())).collect();
        work.has_all(metadata, &given)
    }

    /// Tells whether it looks into threads.
    pub(crate) fn compares(&self) -> bool {
        !self.metadata.is_empty() || !self.values.is_empty()
    }

    /// What its conditions take as text.
    pub(crate) fn bytes(&self) -> usize {
        self.metadata.values().chain(self.values.values()).map(Payload::len).sum()
    }
}

impl Search {
    /// Reads the keys of a body. Unknown keys are ignored.
    pub(crate) fn read(body: &Keys) -> Result<Self, Refusal> {
        let meant = Meant::read(body)?;
        let limit = typed(body, "limit", LIMIT)?.unwrap_or(10);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Refusal::invalid(format!("limit: {LIMIT}")));
        }
        let offset = typed(body, "offset", "must be a whole number")?.unwrap_or(0);
        let by = match given(body, "sort_by") {
            Some(_) => By::of(choice(body, "sort_by", ORDERS)?),
            None => By::Updated,
        };
        let is_ascending = choice(body, "sort_order", ["desc", "asc"])? == "asc";
        let select: Vec<String> = typed(body, "select", SELECT)?.unwrap_or_default();
        if select.iter().any(|key| !ROW.contains(&key.as_str())) {
            return Err(Refusal::invalid(format!("select: {SELECT}: {}", ROW.join(", "))));
        }
        let select = BTreeSet::from_iter(select);
        Ok(Self { meant, limit, offset, order: Order { by, is_ascending }, select })
    }

    pub(crate) const fn order(&self) -> Order {
        self.order
    }
}

impl Order {
    /// Yields the place of a thread.
    pub(crate) fn place(self, thread: &ThreadParts<'_>) -> Place {
        let at = match self.by {
            By::Id | By::Status => None,
            By::Created => Some(thread.created_at),
            By::Updated => Some(thread.updated_at),
            By::StateUpdated => Some(thread.state_updated_at),
        };
        let status = if self.by == By::Status { thread_status(thread.facts) } else { "" };
        Place { status, at, id: thread.id }
    }

    /// Compares two places as they are listed.
    pub(crate) fn of(self, one: &Place, other: &Place) -> Ordering {
        if self.is_ascending { one.cmp(other) } else { other.cmp(one) }
    }
}

impl By {
    fn of(name: &str) -> Self {
        match name {
            "thread_id" => Self::Id,
            "status" => Self::Status,
            "created_at" => Self::Created,
            "state_updated_at" => Self::StateUpdated,
            _ => Self::Updated,
        }
    }
}

/// What objects are to have, read.
pub(crate) struct Wanted(Vec<(String, (Payload, Option<Value>))>);

impl Wanted {
    pub(crate) fn of(keys: &Keys) -> Self {
        let read =
            |(key, value): (&String, &Payload)| (key.clone(), (value.clone(), value.parse().ok()));
        Self(keys.iter().map(read).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How much may still be compared: lists within lists take more than their length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work(usize);

impl Default for Work {
    fn default() -> Self {
        Self(WORK_MAX)
    }
}

impl Work {
    /// Refuses a search that has used it up.
    pub(crate) fn check(self) -> Result<(), Refusal> {
        if self.0 > 0 { Ok(()) } else { Err(Refusal::invalid("values: too much to compare")) }
    }

    /// Tells whether an object has what another one has: objects and lists may have more.
    pub(crate) fn has_all(&mut self, object: &Keys, wanted: &Keys) -> bool {
        self.has(object, &Wanted::of(wanted))
    }

    /// As [`Work::has_all`], of what is read once for many objects.
    pub(crate) fn has(&mut self, object: &Keys, Wanted(wanted): &Wanted) -> bool {
        let mut holds = |value: &Payload, (text, wanted): &(Payload, Option<Value>)| {
            // A number that no value can hold is the same only if it is spelt the same.
            let read = || value.parse().ok().zip(wanted.as_ref());
            value == text || read().is_some_and(|(value, wanted)| self.contains(&value, wanted))
        };
        wanted.iter().all(|(key, wanted)| object.get(key).is_some_and(|it| holds(it, wanted)))
    }

    /// Tells whether a value contains another one, as `@>` of PostgreSQL does, with which upstream
    /// looks for them. Both are of a depth that a body may have.
    fn contains(&mut self, value: &Value, wanted: &Value) -> bool {
        self.0 = self.0.saturating_sub(1);
        match (value, wanted) {
            _ if self.0 == 0 => false,
            (Value::Object(value), Value::Object(wanted)) => wanted
                .iter()
                .all(|(key, wanted)| value.get(key).is_some_and(|it| self.contains(it, wanted))),
            (Value::Array(value), Value::Array(wanted)) => {
                wanted.iter().all(|wanted| value.iter().any(|it| self.contains(it, wanted)))
            }
            _ => is_equal(value, wanted),
        }
    }
}

/// Tells whether two values are equal; of numbers whether they are as numbers, as 1 and 1.0 are.
pub(crate) fn is_equal(value: &Value, other: &Value) -> bool {
    match (value, other) {
        (Value::Number(value), Value::Number(other)) => match (value.as_i128(), other.as_i128()) {
            (None, None) => value.as_f64() == other.as_f64(),
            (Some(whole), None) => other.as_f64().is_some_and(|other| is_whole(other, whole)),
            (None, Some(whole)) => value.as_f64().is_some_and(|value| is_whole(value, whole)),
            (value, other) => value == other,
        },
        _ => value == other,
    }
}

/// Tells whether a number is this one, without loss: hardly any beyond 2 to the 53rd is.
#[expect(clippy::cast_possible_truncation, reason = "whole numbers of JSON have 64 bits")]
fn is_whole(value: f64, whole: i128) -> bool {
    value.fract() == 0.0 && value as i128 == whole
}

pub(crate) const STATUSES: [&str; 4] = ["idle", "busy", "interrupted", "error"];
pub(crate) const ORDERS: [&str; 5] =
    ["thread_id", "status", "created_at", "updated_at", "state_updated_at"];
const IDS: &str = "must be a list of UUIDs";
pub(crate) const LIMIT: &str = "must be a whole number from 1 to 1000";
const SELECT: &str = "must be a list of keys of a row";

/// Threads that one search may name: as many as one without looks at in a store. Each is read.
const IDS_MAX: usize = 10_000;

/// The most rows of an answer. More is refused, as upstream does.
pub(crate) const LIMIT_MAX: usize = 1_000;

/// Values that one search compares. More is refused.
const WORK_MAX: usize = 10_000_000;

/// The keys of a row that may be selected.
pub(crate) const ROW: [&str; 9] = [
    "thread_id",
    "created_at",
    "updated_at",
    "state_updated_at",
    "metadata",
    "config",
    "status",
    "values",
    "interrupts",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(value: &Value) -> Keys {
        Payload::from(value.clone()).parse().unwrap()
    }

    #[test]
    fn a_search_is_refused_with_the_key_that_is_wrong() {
        let many: Vec<_> = (0..=IDS_MAX).map(|nr| Uuid::from_u128(nr as u128)).collect();
        let many: Vec<_> = many.iter().map(Uuid::to_string).collect();
        for body in [
            json!({ "ids": ["x"] }),
            json!({ "ids": 1 }),
            json!({ "ids": many }),
            json!({ "status": "x" }),
            json!({ "metadata": [] }),
            json!({ "values": 1 }),
            json!({ "limit": 0 }),
            json!({ "limit": 1001 }),
            json!({ "limit": "x" }),
            json!({ "offset": -1 }),
            json!({ "sort_by": "x" }),
            json!({ "sort_order": "x" }),
            json!({ "select": ["x"] }),
            json!({ "select": 1 }),
        ] {
            let key = body.as_object().unwrap().keys().next().unwrap();
            let refusal = Search::read(&keys(&body)).unwrap_err();
            assert!(refusal.status == 422 && refusal.detail.starts_with(key), "{body} {refusal:?}");
        }
        let search = Search::read(&keys(&json!({ "ids": [], "status": null }))).unwrap();
        assert_eq!((search.limit, search.offset, search.order.by), (10, 0, By::Updated));
        assert!(search.meant.ids.is_none() && !search.order.is_ascending);
    }

    #[test]
    fn numbers_are_equal_as_numbers_and_without_loss() {
        let near = [1_234_567_890_123_456_788_u64, 1_234_567_890_123_456_789];
        for (one, other, are) in [
            (json!(near[0]), json!(near[1]), false),
            (json!(near[0]), json!(near[0]), true),
            (json!(near[0]), json!(1_234_567_890_123_456_788.0), false),
            (json!(9_007_199_254_740_992_u64), json!(9_007_199_254_740_992.0), true),
            (json!(-3), json!(-3.0), true),
            (json!(u64::MAX), json!(-1), false),
            (json!(1.5), json!(1), false),
            (json!(1e300), json!(u64::MAX), false),
            (json!(0), json!(-0.0), true),
            (json!("1"), json!(1), false),
        ] {
            assert!(
                is_equal(&one, &other) == are && is_equal(&other, &one) == are,
                "{one} {other}"
            );
        }
    }

    #[test]
    fn an_object_has_what_is_asked_for_and_may_have_more() {
        let object = keys(&json!({ "a": { "b": [1, { "c": 2.0 }], "d": 3 }, "e": null, "n": 7 }));
        for (wanted, expected) in [
            (json!({}), true),
            (json!({ "a": { "d": 3 } }), true),
            (json!({ "a": { "b": [{ "c": 2 }] }, "e": null }), true),
            (json!({ "a": { "b": [1] }, "n": 8 }), false),
            (json!({ "a": { "b": 1 } }), false),
            (json!({ "x": null }), false),
        ] {
            let mut work = Work::default();
            assert_eq!(work.has_all(&object, &keys(&wanted)), expected, "{wanted}");
        }
        let long = format!("{{\"n\":{}7}}", "9".repeat(40));
        let long: Keys = Payload::from_json_text(&long).unwrap().parse().unwrap();
        assert!(Work::default().has_all(&long, &long));
        let (many, others) = (json!({ "a": vec![1; 5_000] }), json!({ "a": vec![2; 5_000] }));
        let mut work = Work(4_000);
        assert!(!work.has_all(&keys(&many), &keys(&others)));
        assert!(work.check().is_err() && Work::default().check().is_ok());
    }
}
