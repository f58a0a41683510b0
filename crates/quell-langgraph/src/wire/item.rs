//! [`KeyedValue`]: a value under a key, within a namespace, and what a search looks for (contract,
//! section 4).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use quell::Payload;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::wire::asked::micros;
use crate::wire::create::{given, object, typed};
use crate::wire::exact::{Keys, with_all, written};
use crate::wire::refusal::{Refusal, quoted};
use crate::wire::rows::time;
use crate::wire::search::is_equal;

/// A value under a key, within a namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeyedValue {
    version: u32,
    pub(crate) namespace: Vec<String>,
    pub(crate) key: String,
    value: Payload,
    pub(crate) created_us: u64,
    updated_us: u64,
    /// How long it is there after it was written or read, and until when.
    ttl_us: Option<u64>,
    expires_us: Option<u64>,
}

/// What a body puts into the store.
#[derive(Debug)]
pub(crate) struct Put {
    pub(crate) place: Place,
    value: Payload,
    ttl: Option<Duration>,
}

/// Where an item is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    namespace: Vec<String>,
    key: String,
}

impl Place {
    /// Reads where an item is that a body names.
    pub(crate) fn read(body: &Keys) -> Result<Self, Refusal> {
        let namespace = labels(body, "namespace")?;
        let namespace = namespace.ok_or_else(|| Refusal::invalid("namespace: field required"))?;
        let key = typed(body, "key", "must be text")?;
        let key = key.ok_or_else(|| Refusal::invalid("key: field required"))?;
        Ok(Self { namespace, key })
    }

    /// Reads where an item is that a query names: the labels with periods between them.
    pub(crate) fn of_query(namespace: Option<&str>, key: Option<&str>) -> Result<Self, Refusal> {
        let labels = namespace.unwrap_or_default().split('.').map(str::to_owned);
        let namespace = checked(labels.collect())?;
        let key = key.ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "Key is required"))?;
        Ok(Self { namespace, key: key.to_owned() })
    }

    /// Yields the id of the item of an owner: each has a store of their own.
    pub(crate) fn id(&self, owner: Option<&str>) -> Uuid {
        let name = written(&(owner, &self.namespace, &self.key));
        Uuid::new_v5(&ITEMS, name.as_json().as_bytes())
    }
}

impl Put {
    /// Reads a body.
    pub(crate) fn read(body: &Keys) -> Result<Self, Refusal> {
        let place = Place::read(body)?;
        match place.namespace.first().map(String::as_str) {
            None => {
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "Namespace cannot be empty."));
            }
            Some("langgraph") => {
                let text = "Root label for namespace cannot be \"langgraph\".";
                return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
            }
            Some(_) => {}
        }
        let value = body.get("value").ok_or_else(|| Refusal::invalid("value: field required"))?;
        if value.parse::<Keys>().is_err() {
            return Err(Refusal::invalid("value: must be an object"));
        }
        check_index(body)?;
        let minutes: Option<f64> = typed(body, "ttl", TTL)?;
        let ttl = minutes.map(|minutes| {
            let time = Duration::try_from_secs_f64(minutes * 60.0).ok();
            let time = time.filter(|time| time.as_micros() > 0 && *time <= TTL_MAX);
            time.ok_or_else(|| Refusal::invalid(format!("ttl: {TTL}")))
        });
        Ok(Self { place, value: value.clone(), ttl: ttl.transpose()? })
    }

    /// Makes the item, in the place of the one before it.
    pub(crate) fn item(&self, before: Option<&KeyedValue>, now: SystemTime) -> KeyedValue {
        let us = micros(now).unwrap_or_default();
        let ttl_us = self.ttl.and_then(|ttl| ttl.as_micros().try_into().ok());
        KeyedValue {
            version: FORM,
            namespace: self.place.namespace.clone(),
            key: self.place.key.clone(),
            value: self.value.clone(),
            created_us: before.map_or(us, |before| before.created_us),
            updated_us: us,
            ttl_us,
            expires_us: ttl_us.map(|ttl| us.saturating_add(ttl)),
        }
    }
}

/// Without an embedding nothing is indexed, but what is no index is refused as upstream does.
fn check_index(body: &Keys) -> Result<(), Refusal> {
    let Some(index) = given(body, "index") else { return Ok(()) };
    let is_no = index.parse::<bool>().is_ok_and(|index| !index);
    let is_index = is_no || index.parse::<Vec<String>>().is_ok();
    let refusal = || Refusal::invalid("index: must be false or a list of texts");
    if is_index { Ok(()) } else { Err(refusal()) }
}

impl KeyedValue {
    /// Reads what is kept of one; none of a later form.
    pub(crate) fn of(body: &Payload) -> Option<Self> {
        body.parse().ok().filter(|item: &Self| item.version == FORM)
    }

    pub(crate) fn is_over(&self, now: SystemTime) -> bool {
        self.expires_us.is_some_and(|at| micros(now).is_none_or(|now| now >= at))
    }

    /// Yields when its time is over; none if it never is.
    pub(crate) fn until(&self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_micros(self.expires_us?))
    }

    /// Has its time begin anew; none if it has none, or that was so a moment ago.
    pub(crate) fn refreshed(&self, now: SystemTime) -> Option<Self> {
        let at = micros(now)?.saturating_add(self.ttl_us?);
        let is_later = at.saturating_sub(self.expires_us?) >= REFRESH_US;
        is_later.then(|| Self { expires_us: Some(at), ..self.clone() })
    }

    /// Writes it; in a search with its score, of which nothing is known without an embedding.
    pub(crate) fn row(&self, is_found: bool) -> Payload {
        let at = |us| time(UNIX_EPOCH + Duration::from_micros(us));
        let row = json!({
            "namespace": self.namespace,
            "key": self.key,
            "created_at": at(self.created_us),
            "updated_at": at(self.updated_us),
        });
        let mut more = Keys::from([("value".to_owned(), self.value.clone())]);
        if is_found {
            more.insert("score".into(), Value::Null.into());
        }
        with_all(row, more)
    }

    pub(crate) fn place(&self) -> Place {
        Place { namespace: self.namespace.clone(), key: self.key.clone() }
    }

    /// Tells whether reading it has its time begin anew.
    pub(crate) const fn has_ttl(&self) -> bool {
        self.ttl_us.is_some()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.value.len() + self.key.len() + self.namespace.iter().map(String::len).sum::<usize>()
    }
}

/// Which items a search means, and which part of them it shows.
#[derive(Debug)]
pub(crate) struct ItemSearch {
    prefix: Vec<String>,
    filter: Vec<(String, Value)>,
    pub(crate) limit: usize,
    pub(crate) offset: usize,
    pub(crate) refreshes: bool,
}

impl ItemSearch {
    /// Reads a body.
    pub(crate) fn read(body: &Keys) -> Result<Self, Refusal> {
        let prefix = labels(body, "namespace_prefix")?;
        let prefix = prefix.ok_or_else(|| Refusal::invalid("namespace_prefix: field required"))?;
        let filter = object(body, "filter")?.into_iter();
        let filter = filter.map(|(key, value)| Some((key, value.parse().ok()?)));
        let filter: Option<Vec<_>> = filter.collect();
        let filter = filter.ok_or_else(|| Refusal::invalid("filter: has a number too long"))?;
        if filter.len() > FILTER_MAX {
            return Err(Refusal::invalid(format!("filter: {FILTER_MAX} keys at most")));
        }
        filter.iter().try_for_each(|(_, wanted)| check_operators(wanted))?;
        typed::<String>(body, "query", "must be text")?;
        let limit = match typed(body, "limit", LIMIT)? {
            None | Some(0) => 10,
            Some(limit) if limit <= LIMIT_MAX => limit,
            Some(_) => return Err(Refusal::invalid(format!("limit: {LIMIT}"))),
        };
        let offset = typed(body, "offset", "must be a whole number")?.unwrap_or(0);
        let refreshes = typed(body, "refresh_ttl", "must be a boolean")?.unwrap_or(true);
        Ok(Self { prefix, filter, limit, offset, refreshes })
    }

    /// Tells whether an item is meant.
    pub(crate) fn has(&self, item: &KeyedValue) -> bool {
        if !item.namespace.starts_with(&self.prefix) {
            return false;
        }
        if self.filter.is_empty() {
            return true;
        }
        let value: Value = item.value.parse().unwrap_or_default();
        self.filter.iter().all(|(key, wanted)| is_met(value.get(key), wanted))
    }
}

fn check_operators(wanted: &Value) -> Result<(), Refusal> {
    let Value::Object(wanted) = wanted else { return Ok(()) };
    for (key, value) in wanted {
        if key.starts_with('$') && !OPERATORS.contains(&key.as_str()) {
            let text = format!("Unsupported operator: {}", quoted(key));
            return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
        }
        check_operators(value)?;
    }
    Ok(())
}

/// Tells whether a value meets a condition; one that is not there is null.
fn is_met(value: Option<&Value>, wanted: &Value) -> bool {
    let value = value.unwrap_or(&Value::Null);
    let Value::Object(conditions) = wanted else { return is_equal(value, wanted) };
    conditions.iter().all(|(key, wanted)| match key.strip_prefix('$') {
        Some(operator) => is_so(value, operator, wanted),
        None => value.is_object() && is_met(value.get(key), wanted),
    })
}

fn is_so(value: &Value, operator: &str, wanted: &Value) -> bool {
    let both = number(value).zip(number(wanted));
    match operator {
        "eq" => is_equal(value, wanted),
        "ne" => !is_equal(value, wanted),
        "gt" => both.is_some_and(|(value, wanted)| value > wanted),
        "gte" => both.is_some_and(|(value, wanted)| value >= wanted),
        "lt" => both.is_some_and(|(value, wanted)| value < wanted),
        _ => both.is_some_and(|(value, wanted)| value <= wanted),
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// Which namespaces a list means, and which part of them it shows.
#[derive(Debug)]
pub(crate) struct Namespaces {
    prefix: Vec<String>,
    suffix: Vec<String>,
    depth: usize,
    limit: usize,
    offset: usize,
}

impl Namespaces {
    /// Reads a body.
    pub(crate) fn read(body: &Keys) -> Result<Self, Refusal> {
        let count = |key| typed(body, key, LIMIT);
        let limit = count("limit")?.unwrap_or(100);
        if limit > LIMIT_MAX {
            return Err(Refusal::invalid(format!("limit: {LIMIT}")));
        }
        Ok(Self {
            prefix: labels(body, "prefix")?.unwrap_or_default(),
            suffix: labels(body, "suffix")?.unwrap_or_default(),
            depth: count("max_depth")?.unwrap_or(usize::MAX),
            limit,
            offset: count("offset")?.unwrap_or(0),
        })
    }

    /// Lists those that are meant, each once, as far down as they are shown.
    pub(crate) fn of(&self, items: &[KeyedValue]) -> Vec<Vec<String>> {
        let mut found: Vec<_> = items.iter().map(|item| &item.namespace).collect();
        found.retain(|it| starts_with(it.iter(), self.prefix.iter()));
        found.retain(|it| starts_with(it.iter().rev(), self.suffix.iter().rev()));
        let mut found: Vec<Vec<_>> =
            found.into_iter().map(|it| it.iter().take(self.depth).cloned().collect()).collect();
        found.sort();
        found.dedup();
        found.into_iter().skip(self.offset).take(self.limit).collect()
    }
}

/// Tells whether labels begin as is wanted: `*` is any label.
fn starts_with<'a>(
    mut labels: impl Iterator<Item = &'a String>,
    mut wanted: impl Iterator<Item = &'a String>,
) -> bool {
    wanted.all(|wanted| labels.next().is_some_and(|label| wanted == "*" || wanted == label))
}

fn labels(body: &Keys, key: &str) -> Result<Option<Vec<String>>, Refusal> {
    typed(body, key, "must be a list of texts")?.map(checked).transpose()
}

fn checked(labels: Vec<String>) -> Result<Vec<String>, Refusal> {
    match labels.iter().find(|label| label.is_empty() || label.contains('.')) {
        None => Ok(labels),
        Some(label) => Err(Refusal::invalid(format!(
            "Namespace label '{}' must be a non-empty string without periods",
            quoted(label)
        ))),
    }
}

const OPERATORS: [&str; 6] = ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"];

/// Keys of a filter: each is looked up in each item.
pub(crate) const FILTER_MAX: usize = 100;

const TTL: &str = "must be a number of minutes, ten years at most";
const LIMIT: &str = "must be a whole number, 10000 at most";

/// The most rows of an answer: as many as a search looks at.
pub(crate) const LIMIT_MAX: usize = 10_000;

/// The longest time of an item. A longer one is refused.
const TTL_MAX: Duration = Duration::from_hours(10 * 366 * 24);

/// What is read again within a second is not written again.
const REFRESH_US: u64 = 1_000_000;

/// The ids of items.
const ITEMS: Uuid = Uuid::from_u128(0x7175_656c_6c2d_6974_656d_732d_6974_656d);

/// Counted up when the form changes so that this reader would misread it.
const FORM: u32 = 1;
