//! [`lines`] and [`line`]: a stop that is under way, from its acceptance until nothing executes.

use std::time::SystemTime;

use quell_report::text::{cut, printable, span};

use super::answers::{At, Standing, Stop, StopCause, Work};

/// Draws a stop as lines, one for each part of it. `now` is by the clock of the server.
pub(super) fn lines(stop: &Stop, now: SystemTime) -> Vec<String> {
    let title = format!("stop of {}", who(stop));
    let parts = parts(stop, now).into_iter().map(|(part, words)| format!("  {part:<17}  {words}"));
    std::iter::once(title).chain(parts).collect()
}

/// Draws a stop as one line.
pub(super) fn line(stop: &Stop, now: SystemTime) -> String {
    let parts = parts(stop, now).into_iter().map(|(part, words)| format!(" │ {part}: {words}"));
    std::iter::once(format!("stop of {}", who(stop))).chain(parts).collect()
}

/// Yields what is news if it changes: all but the time that passes.
pub(super) fn news(stop: &Stop) -> String {
    line(stop, stop.accepted_at.map_or(SystemTime::UNIX_EPOCH, |at| at.0))
}

fn who(stop: &Stop) -> String {
    let (id, name) = (shown(&stop.id), shown(&stop.name));
    if id == name { id } else { format!("{id} ({name})") }
}

/// Yields the parts that there are, in the order in which a stop proceeds.
fn parts(stop: &Stop, now: SystemTime) -> Vec<(&'static str, String)> {
    let mut parts = Vec::new();
    let cause = stop.cause.as_ref().map_or_else(|| "a stop".to_owned(), StopCause::words);
    parts.push(match stop.accepted_at {
        Some(at) => ("accepted", format!("{cause}, {} ago", since(at, now))),
        None => ("recorded", format!("{cause}; the node of the run has not decided it yet")),
    });
    if let Some(node) = &stop.node {
        parts.push(("node", shown(node)));
    }
    if let Some(standing) = &stop.standing {
        proceeding(standing, now, &mut parts);
    }
    parts
}

fn proceeding(standing: &Standing, now: SystemTime, parts: &mut Vec<(&'static str, String)>) {
    let Standing { live, signalled, .. } = standing;
    if *live > 0 {
        let of_cleanup = if signalled < live { "; the others clean up" } else { "" };
        let more = if standing.more { ", and there may be more" } else { "" };
        parts.push(("signalled", format!("{signalled} of {live} runs{of_cleanup}{more}")));
    }
    let is_over = |at: At| at.0 <= now;
    if !standing.cleaning_up.is_empty() {
        let all = standing.cleaning_up.iter();
        let all = all.map(|work| match work.since {
            Some(at) => format!("{} for {}", named(work), since(at, now)),
            None => named(work),
        });
        parts.push(("still cleaning up", listed(all, standing.cleaning_up.len())));
    }
    if let Some(at) = standing.hard_deadline.filter(|at| !is_over(*at)) {
        let words = format!("in {}: what has not ended by then is aborted", until(at, now));
        parts.push(("hard deadline", words));
    }
    if let Some(at) = standing.given_up_at.filter(|at| !is_over(*at)) {
        let words = format!("in {}: what still executes is given up, by name", until(at, now));
        parts.push(("given up", words));
    }
    if !standing.aborted.is_empty() {
        let names = standing.aborted.iter().map(|run| shown(&run.name));
        parts.push(("aborted", listed(names, standing.aborted.len())));
    }
    if !standing.abandoned.is_empty() {
        let all = listed(standing.abandoned.iter().map(named), standing.abandoned.len());
        parts.push(("abandoned", format!("{all}: nobody waits for it, and it executes still")));
    }
    if standing.omitted > 0 {
        parts.push(("left out", format!("{} more names", standing.omitted)));
    }
    if standing.of_store {
        let words = "as far as the store tells; hooks and closures its node alone names";
        parts.push(("told", words.to_owned()));
    }
}

fn named(work: &Work) -> String {
    format!("{} ({})", shown(&work.name), shown(&work.what))
}

/// Lists the first names of so many.
fn listed(names: impl Iterator<Item = String>, count: usize) -> String {
    let mut all: Vec<_> = names.take(NAMES_MAX).collect();
    if count > all.len() {
        all.push(format!("and {} more", count - all.len()));
    }
    all.join(", ")
}

fn since(at: At, now: SystemTime) -> String {
    span(now.duration_since(at.0).unwrap_or_default())
}

fn until(at: At, now: SystemTime) -> String {
    span(at.0.duration_since(now).unwrap_or_default())
}

fn shown(text: &str) -> String {
    cut(&printable(text), NAME_CHARS_MAX)
}

/// The names of one part that are shown.
const NAMES_MAX: usize = 8;

/// The longest name that is shown whole.
const NAME_CHARS_MAX: usize = 60;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stop(standing: &serde_json::Value) -> Stop {
        let at = "2026-01-01T00:00:00.000Z";
        let uuid = "d8e2f31a-0564-59f3-b87d-db0bae667f80";
        let stop = json!({ "id": "s1", "uuid": uuid, "name": "deaf\u{7}", "root": "s1",
            "cause": { "kind": "user-request", "message": "because", "by": "ann" },
            "accepted_at": at, "node": null, "standing": standing });
        serde_json::from_value(stop).expect("a stop")
    }

    fn after(ms: u64) -> SystemTime {
        let at = humantime::parse_rfc3339("2026-01-01T00:00:00Z").expect("a time");
        at + std::time::Duration::from_millis(ms)
    }

    #[test]
    fn each_part_of_a_stop_is_told_until_it_is_over() {
        let work = json!([{ "name": "deaf", "what": "body", "since": "2026-01-01T00:00:01.000Z" }]);
        let standing = |work: &serde_json::Value, abandoned: &serde_json::Value| {
            json!({ "hard_deadline": "2026-01-01T00:00:05.000Z", "live": 2, "signalled": 2,
                "given_up_at": "2026-01-01T00:00:06.000Z", "cleaning_up": work,
                "aborted": [{ "name": "deaf" }], "abandoned": abandoned, "omitted": 0 })
        };
        let at_work = stop(&standing(&work, &json!([])));
        let right = [
            "stop of s1 (deaf\\u{7})",
            "  accepted           user-request by ann: because, 2.00 s ago",
            "  signalled          2 of 2 runs",
            "  still cleaning up  deaf (body) for 1.00 s",
            "  hard deadline      in 3.00 s: what has not ended by then is aborted",
            "  given up           in 4.00 s: what still executes is given up, by name",
            "  aborted            deaf",
        ];
        assert_eq!(lines(&at_work, after(2_000)), right);
        assert_eq!(news(&at_work), news(&at_work));
        let given_up = stop(&standing(&json!([]), &work));
        assert_ne!(news(&at_work), news(&given_up));
        let words = line(&given_up, after(7_000));
        assert!(words.ends_with(
            " │ aborted: deaf │ abandoned: deaf (body): nobody waits for it, and it executes still"
        ));
        assert!(!words.contains("deadline") && !words.contains("given up"), "{words}");
    }

    #[test]
    fn of_many_names_the_first_ones_are_shown() {
        let names = (0..100).map(|n| n.to_string());
        assert_eq!(listed(names, 100), "0, 1, 2, 3, 4, 5, 6, 7, and 92 more");
    }
}
