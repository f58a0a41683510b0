//! The policies of a parallel step, as plain functions over what has ended.

use std::sync::Arc;

use quell::CauseKind;

use super::{Decision, End, Ended, QuorumUnreachable, SoFar, Verdict};
use crate::limits;

pub(super) fn all<T>(so_far: &SoFar<'_, T>) -> Option<Decision> {
    if let Some(failed) = find(so_far, |end| matches!(end, End::Failed(_))) {
        return failure_of(failed, CauseKind::SiblingFailed);
    }
    so_far.all_ended().then(|| last_decides(so_far, Decision::values(CauseKind::SiblingFailed)))
}

pub(super) fn settle<T>(so_far: &SoFar<'_, T>) -> Option<Decision> {
    so_far.all_ended().then(|| last_decides(so_far, Decision::values(CauseKind::RaceLost)))
}

pub(super) fn first_success<T>(so_far: &SoFar<'_, T>) -> Option<Decision> {
    if let Some(first) = find(so_far, |end| matches!(end, End::Ok(_))) {
        return Some(Decision::values(CauseKind::RaceLost).by(first.branch));
    }
    so_far.all_ended().then(|| none_succeeded(so_far))
}

pub(super) fn first_settled<T>(so_far: &SoFar<'_, T>) -> Option<Decision> {
    match find(so_far, |end| !matches!(end, End::Skipped)) {
        Some(first) if matches!(first.end, End::Ok(_)) => {
            Some(Decision::values(CauseKind::RaceLost).by(first.branch))
        }
        Some(first) => failure_of(first, CauseKind::RaceLost),
        None => so_far.all_ended().then(|| none_succeeded(so_far)),
    }
}

/// The branch that decides is the one whose end made the difference: the last success that was
/// needed, or the first end without success that was one too many.
pub(super) fn quorum<T>(wanted: usize, so_far: &SoFar<'_, T>) -> Option<Decision> {
    let at = |nth: Option<usize>, is_ok: bool| {
        let mut ends = so_far.ended.iter().filter(|one| matches!(one.end, End::Ok(_)) == is_ok);
        nth.and_then(|nth| ends.nth(nth)).map(|ended| ended.branch)
    };
    if so_far.ok >= wanted {
        let by = at(wanted.checked_sub(1), true);
        return Some(Decision { by, ..Decision::values(CauseKind::QuorumReached) });
    }
    if so_far.ok + so_far.open() >= wanted {
        return None;
    }
    let unreachable = QuorumUnreachable {
        wanted,
        ok: so_far.ok,
        open: so_far.open(),
        branches: so_far.branches,
        errors: errors(so_far.ended).into(),
    };
    Some(Decision {
        verdict: Verdict::Unreachable(unreachable),
        losers: CauseKind::SiblingFailed,
        by: at(so_far.branches.checked_sub(wanted), false),
    })
}

pub(super) fn until<T>(is_enough: bool, so_far: &SoFar<'_, T>) -> Option<Decision> {
    if is_enough {
        return Some(last_decides(so_far, Decision::values(CauseKind::RaceLost)));
    }
    so_far.all_ended().then(|| {
        let start = format!("all of {} branches ended and it is not enough", so_far.branches);
        let words = with_errors(&start, so_far.ended);
        last_decides(so_far, Decision::failed(words, CauseKind::RaceLost))
    })
}

pub(super) fn best_effort<T>(min: usize, so_far: &SoFar<'_, T>) -> Option<Decision> {
    if !so_far.all_ended() && !so_far.is_over {
        return None;
    }
    let decision = if so_far.ok >= min {
        Decision::values(CauseKind::Deadline)
    } else {
        let (ok, branches) = (so_far.ok, so_far.branches);
        let start = format!("{ok} of {branches} branches succeeded in time, fewer than {min}");
        Decision::failed(with_errors(&start, so_far.ended), CauseKind::Deadline)
    };
    Some(if so_far.all_ended() { last_decides(so_far, decision) } else { decision })
}

/// Finds the first branch of a kind. The driver asks after every end, so only the last end can be
/// new; when all have ended, a policy that is tested on its own may see several for the first time.
fn find<'a, T>(so_far: &SoFar<'a, T>, is_wanted: impl Fn(&End<T>) -> bool) -> Option<&'a Ended<T>> {
    let last = so_far.ended.last().map_or(&[][..], std::slice::from_ref);
    let news = if so_far.all_ended() { so_far.ended } else { last };
    news.iter().find(|ended| is_wanted(&ended.end))
}

fn last_decides<T>(so_far: &SoFar<'_, T>, decision: Decision) -> Decision {
    Decision { by: so_far.ended.last().map(|last| last.branch), ..decision }
}

/// Decides for the failure of one branch.
fn failure_of<T>(failed: &Ended<T>, losers: CauseKind) -> Option<Decision> {
    let Ended { branch, name, end: End::Failed(error) } = failed else { return None };
    Some(Decision::failed(format!("branch `{name}` failed: {error}"), losers).by(*branch))
}

fn none_succeeded<T>(so_far: &SoFar<'_, T>) -> Decision {
    let start = format!("none of {} branches succeeded", so_far.ended.len());
    let words = with_errors(&start, so_far.ended);
    last_decides(so_far, Decision::failed(words, CauseKind::RaceLost))
}

fn with_errors<T>(start: &str, ended: &[Ended<T>]) -> String {
    match errors(ended) {
        none if none.is_empty() => start.to_owned(),
        errors => format!("{start}: {errors}"),
    }
}

/// Quotes the failures in the order of declaration, up to the bound.
fn errors<T>(ended: &[Ended<T>]) -> String {
    let mut failures: Vec<(usize, &Arc<str>, &Arc<str>)> = ended
        .iter()
        .filter_map(|ended| match &ended.end {
            End::Failed(error) => Some((ended.branch, &ended.name, error)),
            End::Ok(_) | End::Skipped => None,
        })
        .collect();
    failures.sort_unstable_by_key(|(branch, ..)| *branch);
    let quoted = failures.iter().take(limits::AGGREGATE_ERRORS_MAX);
    let mut parts: Vec<String> =
        quoted.map(|(_, name, error)| format!("`{name}`: {error}")).collect();
    if failures.len() > parts.len() {
        parts.push(format!("and {} more", failures.len() - parts.len()));
    }
    parts.join("; ")
}
