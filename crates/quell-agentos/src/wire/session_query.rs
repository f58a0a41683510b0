//! [`ListQuery`] and [`RunsQuery`]: what a request asks of sessions and of their runs (contract,
//! section 10).

use std::cmp::Ordering;
use std::collections::BTreeSet;

use axum::http::StatusCode;
use quell_flow::ComponentKind;
use serde_json::{Value, json};

use crate::wire::refusal::{Refusal, not_int_in};
use crate::wire::session::SessionParts;

/// Which sessions are meant, in which order, and which part of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ListQuery {
    pub(crate) part: Part,
    kind: Option<ComponentKind>,
    component: Option<String>,
    /// In lower case.
    name: Option<String>,
    by: SortKey,
    is_ascending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SortKey {
    CreatedAt,
    UpdatedAt,
    Id,
    Name,
}

impl ListQuery {
    /// Reads the parameters of a query.
    ///
    /// # Errors
    ///
    /// Fails with all that is wrong with them.
    pub(crate) fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, Refusal> {
        let mut faults = Vec::new();
        let kind = noted(kind(&get), &mut faults).flatten();
        let part = Part::read(&get, 20, &mut faults);
        let is_ascending = match get("sort_order").as_deref() {
            Some("asc") => true,
            None | Some("desc") => false,
            Some(other) => {
                faults.push(no_choice(&["query", "sort_order"], &["asc", "desc"], other));
                false
            }
        };
        let by = match get("sort_by").as_deref() {
            Some("updated_at") => SortKey::UpdatedAt,
            Some("session_id") => SortKey::Id,
            Some("session_name") => SortKey::Name,
            _ => SortKey::CreatedAt,
        };
        if !faults.is_empty() {
            return Err(Refusal::invalid(faults));
        }
        let (component, name) = (get("component_id"), get("session_name"));
        let name = name.map(|name| name.to_lowercase());
        Ok(Self { part, kind, component, name, by, is_ascending })
    }

    /// Tells whether a session is meant.
    pub(crate) fn means(&self, session: &SessionParts<'_>) -> bool {
        self.kind.is_none_or(|kind| kind == session.kind)
            && self.component.as_deref().is_none_or(|component| component == session.component)
            && self.name.as_deref().is_none_or(|part| session.name.to_lowercase().contains(part))
    }

    /// Yields which of two sessions comes first.
    pub(crate) fn order(&self, one: &SessionParts<'_>, other: &SessionParts<'_>) -> Ordering {
        let order = match self.by {
            SortKey::CreatedAt => one.created_at.cmp(&other.created_at),
            SortKey::UpdatedAt => one.updated_at.cmp(&other.updated_at),
            SortKey::Id => one.id.cmp(other.id),
            SortKey::Name => one.name.cmp(other.name),
        };
        let order = order.then_with(|| one.id.cmp(other.id));
        if self.is_ascending { order } else { order.reverse() }
    }
}

/// Which part of a list is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) limit: u64,
    /// From 1.
    pub(crate) page: u64,
}

impl Part {
    fn read(get: &impl Fn(&str) -> Option<String>, limit: u64, faults: &mut Vec<Value>) -> Self {
        let limit = noted(number(get, "limit", limit, 1), faults).unwrap_or(limit);
        let page = noted(number(get, "page", 1, 0), faults).unwrap_or(1);
        // Some count from zero: upstream takes that, too.
        Self { limit, page: page.max(1) }
    }

    /// Yields how many rows it has at most.
    pub(crate) fn limit(self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }

    /// Yields how many rows come before it.
    pub(crate) fn skipped(self) -> usize {
        let before = (self.page - 1).saturating_mul(self.limit);
        usize::try_from(before).unwrap_or(usize::MAX)
    }
}

/// Which runs of a session are meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RunsQuery {
    /// Counted from the newest run.
    pub(crate) part: Part,
    /// Any, if there are none.
    statuses: BTreeSet<String>,
    /// Whole seconds since 1970, both included.
    after: Option<i64>,
    before: Option<i64>,
}

impl RunsQuery {
    /// Means the newest runs, of any status.
    pub(crate) const fn newest() -> Self {
        let part = Part { limit: RUNS_MAX, page: 1 };
        Self { part, statuses: BTreeSet::new(), after: None, before: None }
    }

    /// Means runs of one status, as it is spelt; of any without one.
    ///
    /// # Errors
    ///
    /// Fails with what is wrong with the part that is meant.
    pub(crate) fn of_status(
        status: Option<String>,
        get: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Refusal> {
        let mut faults = Vec::new();
        let part = Self::part(&get, &mut faults);
        let statuses = status.into_iter().collect();
        if faults.is_empty() {
            return Ok(Self { part, statuses, ..Self::newest() });
        }
        Err(Refusal::invalid(faults))
    }

    fn part(get: &impl Fn(&str) -> Option<String>, faults: &mut Vec<Value>) -> Part {
        let part = Part::read(get, RUNS_MAX, faults);
        Part { limit: part.limit.min(RUNS_MAX), ..part }
    }

    /// Reads the parameters of a query.
    ///
    /// # Errors
    ///
    /// Fails with all that is wrong with them.
    pub(crate) fn read(
        get: impl Fn(&str) -> Option<String>,
        statuses: impl Iterator<Item = String>,
    ) -> Result<Self, Refusal> {
        let mut faults = Vec::new();
        noted(kind(&get), &mut faults);
        let part = Self::part(&get, &mut faults);
        let mut instant = |name: &str| {
            let text = get(name)?;
            let read = text.parse().map_err(|_| not_int_in("query", name, &text));
            noted(read, &mut faults)
        };
        let (after, before) = (instant("created_after"), instant("created_before"));
        if !faults.is_empty() {
            return Err(Refusal::invalid(faults));
        }
        let statuses: BTreeSet<String> = statuses.map(|it| it.to_uppercase()).collect();
        let unknown: Vec<_> =
            statuses.iter().filter(|it| !STATUSES.contains(&it.as_str())).collect();
        if !unknown.is_empty() {
            let (unknown, known) = (quoted(unknown), quoted(STATUSES));
            let text = format!("Invalid status value(s) {unknown}; expected one of {known}");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
        }
        Ok(Self { part, statuses, after, before })
    }

    /// Tells whether a run is meant that was made at this second.
    pub(crate) fn means(&self, status: &str, made_at: u64) -> bool {
        let made_at = i64::try_from(made_at).unwrap_or(i64::MAX);
        (self.statuses.is_empty() || self.statuses.contains(status))
            && self.after.is_none_or(|after| made_at >= after)
            && self.before.is_none_or(|before| made_at <= before)
    }
}

/// Reads the kind of sessions that a query means.
///
/// # Errors
///
/// Fails with what is wrong with it.
pub(crate) fn kind(get: impl Fn(&str) -> Option<String>) -> Result<Option<ComponentKind>, Value> {
    get("type").map(|word| kind_of(&["query", "type"], &word)).transpose()
}

/// Reads a kind of sessions.
///
/// # Errors
///
/// Fails with what is wrong with it.
pub(crate) fn kind_of(loc: &[&str], word: &str) -> Result<ComponentKind, Value> {
    let found = ComponentKind::ALL.into_iter().find(|kind| kind.as_str() == word);
    found.ok_or_else(|| no_choice(loc, &["agent", "team", "workflow"], word))
}

/// Reads which part of a list a query means: how many rows at most, and which page, from 1.
///
/// # Errors
///
/// Fails with all that is wrong with it.
pub(crate) fn page_of(get: impl Fn(&str) -> Option<String>) -> Result<(u64, u64), Refusal> {
    let mut faults = Vec::new();
    let Part { limit, page } = Part::read(&get, 20, &mut faults);
    if faults.is_empty() { Ok((limit, page)) } else { Err(Refusal::invalid(faults)) }
}

/// Runs of a session that one answer shows, and shows if it is not asked for fewer.
const RUNS_MAX: u64 = 1_000;

fn number(
    get: impl Fn(&str) -> Option<String>,
    name: &str,
    default: u64,
    min: u64,
) -> Result<u64, Value> {
    let Some(text) = get(name) else { return Ok(default) };
    let digits = text.strip_prefix('-').unwrap_or(&text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(not_int_in("query", name, &text));
    }
    // What is too large for a number is as good as the largest one.
    let number = digits.parse().unwrap_or(u64::MAX);
    if number < min || text.starts_with('-') && number > 0 {
        return Err(json!({
            "type": "greater_than_equal",
            "loc": ["query", name],
            "msg": format!("Input should be greater than or equal to {min}"),
            "input": text,
            "ctx": { "ge": min },
        }));
    }
    Ok(number)
}

/// Complains about a word that is none of those that there are.
fn no_choice(loc: &[&str], words: &[&str], input: &str) -> Value {
    let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    let expected = match quoted.split_last() {
        Some((last, first)) if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => quoted.concat(),
    };
    json!({
        "type": "enum",
        "loc": loc,
        "msg": format!("Input should be {expected}"),
        "input": input,
        "ctx": { "expected": expected },
    })
}

fn noted<T>(read: Result<T, Value>, faults: &mut Vec<Value>) -> Option<T> {
    read.map_err(|fault| faults.push(fault)).ok()
}

fn quoted(words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let words = words.into_iter().map(|word| format!("'{}'", word.as_ref()));
    format!("[{}]", words.collect::<Vec<_>>().join(", "))
}

/// The statuses that upstream has, in the order of the alphabet.
const STATUSES: [&str; 7] =
    ["CANCELLED", "COMPLETED", "ERROR", "PAUSED", "PENDING", "REGENERATED", "RUNNING"];

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn of(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn a_query_is_refused_with_all_that_is_wrong_in_upstreams_words() {
        let bad: &[(&str, &str)] =
            &[("type", "bogus"), ("limit", "0"), ("page", "-1"), ("sort_order", "up")];
        let faults = ListQuery::read(of(bad)).unwrap_err().detail;
        let messages: Vec<_> =
            faults.as_array().unwrap().iter().map(|fault| fault["msg"].as_str().unwrap()).collect();
        let expected = [
            "Input should be 'agent', 'team' or 'workflow'",
            "Input should be greater than or equal to 1",
            "Input should be greater than or equal to 0",
            "Input should be 'asc' or 'desc'",
        ];
        assert_eq!(messages, expected);
        let faults = ListQuery::read(of(&[("limit", "x")])).unwrap_err().detail;
        assert_eq!(
            (&faults[0]["type"], &faults[0]["loc"]),
            (&json!("int_parsing"), &json!(["query", "limit"]))
        );
        let huge = "99999999999999999999999";
        let query = ListQuery::read(of(&[("limit", "99999999999999999999999"), ("page", "0")]));
        assert_eq!(query.map(|it| (it.part.limit, it.part.page)), Ok((u64::MAX, 1)), "{huge}");
        let refusal = RunsQuery::read(of(&[]), ["odd".to_owned()].into_iter()).unwrap_err();
        let text = refusal.detail.as_str().unwrap();
        assert!(
            text.starts_with("Invalid status value(s) ['ODD']; expected one of ['CANCELLED', ")
        );
    }

    #[test]
    fn sessions_are_meant_by_all_that_is_asked_and_come_in_the_order_that_is() {
        let at = |secs| UNIX_EPOCH + Duration::from_secs(secs);
        let session = |id, name, made, changed| SessionParts {
            id,
            name,
            kind: ComponentKind::Agent,
            component: "a",
            user: None,
            created_at: at(made),
            updated_at: at(changed),
        };
        let (one, two) = (session("s1", "Weather in Rome", 1, 9), session("s2", "a", 2, 3));
        let order = |pairs| ListQuery::read(of(pairs)).unwrap().order(&one, &two);
        assert_eq!(order(&[]), Ordering::Greater);
        assert_eq!(order(&[("sort_order", "asc")]), Ordering::Less);
        assert_eq!(order(&[("sort_by", "updated_at")]), Ordering::Less);
        assert_eq!(order(&[("sort_by", "session_name"), ("sort_order", "asc")]), Ordering::Less);
        let means = |pairs| ListQuery::read(of(pairs)).unwrap().means(&one);
        assert!(means(&[("session_name", "in rome"), ("type", "agent"), ("component_id", "a")]));
        assert!(!means(&[("component_id", "b")]) && !means(&[("type", "team")]));
        assert!(!means(&[("session_name", "paris")]));
        let part = ListQuery::read(of(&[("limit", "7"), ("page", "3")])).unwrap();
        assert_eq!(part.part.skipped(), 14);
    }
}
