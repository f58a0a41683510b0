//! [`parallel`] reads the options of a parallel step, [`retry`] those of a retry.

use std::time::Duration;

use humantime::format_duration;
use quell::Payload;

use super::fault::Fault;
use super::fields::{
    Table, check_counting, count, duration, entry, text, unknown, word, wrong_type,
};
use super::names::Names;
use super::reader::Reader;
use super::tree::{Key, Node, Value};
use crate::plan::expression::Expression;
use crate::plan::parallel::{ParallelOptions, PlanPolicy, PlanRetry};
use crate::plan::step::Action;
use crate::{Backoff, OnCancelled, OnLoser, OnTimeout, StartNext};

pub(super) fn parallel(reader: &mut Reader<'_>, node: &Node) -> Result<ParallelOptions, Fault> {
    let options = reader.table(node, &PARALLEL_KEYS)?;
    let on_branch_timeout =
        options.get("on_branch_timeout").map(|node| on_timeout(reader, node)).transpose();
    let on_branch_timeout = on_branch_timeout.map_err(|fault| fault.of("on_branch_timeout"));
    Ok(ParallelOptions {
        policy: policy(reader, &options),
        limit: reader.noted(options.get("limit").map(|node| count(node, "limit", 1)).transpose()),
        branch_timeout: reader.noted(options.read("branch_timeout", duration)),
        branch_grace: reader.noted(options.read("branch_grace", duration)),
        branch_idle: reader.noted(options.read("branch_idle", duration)),
        on_branch_timeout: reader.noted(on_branch_timeout).unwrap_or_default(),
        on_branch_cancelled: one_of(reader, &options, "on_branch_cancelled", &ON_CANCELLED),
        on_loser: one_of(reader, &options, "on_loser", &ON_LOSER),
        start_next: one_of(reader, &options, "start_next", &START_NEXT),
    })
}

/// Refuses a policy that needs more branches than there are.
pub(super) fn check_counts(node: &Node, policy: &PlanPolicy, branches: usize) -> Result<(), Fault> {
    let (key, wanted) = match *policy {
        PlanPolicy::Quorum { quorum } => ("quorum", quorum),
        PlanPolicy::BestEffort { min, .. } => ("min", min),
        _ => return Ok(()),
    };
    if wanted <= branches {
        return Ok(());
    }
    let message = format!("{key} `{wanted}` of {branches} branches; expected at most {branches}");
    Err(Fault::new(Table::place_of(node, key), message))
}

/// Reads the retry of a step.
pub(super) fn retry(reader: &mut Reader<'_>, node: &Node) -> Result<PlanRetry, Fault> {
    check_counting(node, reader.format, "attempts").map_err(|mut fault| {
        fault.message.push_str(", where the first attempt counts too");
        fault.of("retry")
    })?;
    let table = reader.table(node, &RETRY_KEYS)?;
    let backoff = reader.noted(table.read("backoff", duration));
    let cap = table.read("cap", duration);
    let longest = cap.as_ref().ok().map(|cap| cap.unwrap_or(Backoff::CAP));
    let cap = reader.noted(cap);
    let min = reader.noted(table.read("min", |node| shortest(node, longest)));
    let attempt_timeout = reader.noted(table.read("attempt_timeout", duration));
    let attempts = table.need("attempts", "retry")?;
    let too_many = |_| {
        let message = format!("too many attempts; expected at most {}", u32::MAX);
        Fault::new(attempts.at, message)
    };
    let attempts = u32::try_from(count(attempts, "attempts", 1)?).map_err(too_many)?;
    Ok(PlanRetry { attempts, backoff, cap, min, attempt_timeout })
}

/// Reads the shortest pause of a retry, which is no longer than the longest one. Nothing is known
/// of that if it has a fault.
fn shortest(node: &Node, longest: Option<Duration>) -> Result<Duration, Fault> {
    let min = duration(node)?;
    if let Some(cap) = longest
        && min > cap
    {
        let (min, cap) = (format_duration(min), format_duration(cap));
        let message = format!("min `{min}` is above the longest pause, `{cap}`; expected a `cap`");
        return Err(Fault::new(node.at, message + " that is not below it"));
    }
    Ok(min)
}

/// Refuses the retry of a step whose successor may start before the step has ended.
pub(super) fn check_retry(node: &Node, action: &Action) -> Result<(), Fault> {
    if let Action::Parallel(step) = action
        && step.options.start_next == StartNext::Decided
    {
        let message = "`retry` does not go with `start_next = \"decided\"`: \
                       an attempt is over when it is settled";
        return Err(Fault::new(node.at, message));
    }
    Ok(())
}

/// Refuses the cleanup of a step whose successor may start before the step has ended.
pub(super) fn check_cleanup(key: &Key, action: &Action) -> Result<(), Fault> {
    if let Action::Parallel(step) = action
        && step.options.start_next == StartNext::Decided
    {
        let message = format!(
            "`{}` does not go with `start_next = \"decided\"`: \
             a step is over when it is settled",
            key.name
        );
        return Err(Fault::new(key.at, message));
    }
    Ok(())
}

/// Reads the policy with its keys, and refuses the keys of other policies.
fn policy(reader: &mut Reader<'_>, options: &Table<'_>) -> PlanPolicy {
    let name = match options.read("policy", text) {
        Ok(name) => name.unwrap_or("all"),
        Err(fault) => {
            reader.note(fault);
            return PlanPolicy::default();
        }
    };
    let policy = policy_named(options, name);
    // The keys of an unknown policy are not known either.
    if POLICIES.contains(&name) {
        for (owner, key) in GOES_WITH {
            if owner != name
                && let Some((found, _)) = options.entry(key)
            {
                let message = format!("`{key}` goes with policy `{owner}`; this one is `{name}`");
                reader.note(Fault::new(found.at, message));
            }
        }
    }
    reader.noted(policy)
}

fn policy_named(options: &Table<'_>, name: &str) -> Result<PlanPolicy, Fault> {
    let need = |key: &str, right: &str| {
        let missing = || format!("policy `{name}` has no `{key}`; expected {right}");
        options.get(key).ok_or_else(|| {
            let at = options.get("policy").map_or(options.at, |node| node.at);
            Fault::new(at, missing())
        })
    };
    Ok(match name {
        "all" => PlanPolicy::All,
        "settle" => PlanPolicy::Settle,
        "first_success" => PlanPolicy::FirstSuccess,
        "first_settled" => PlanPolicy::FirstSettled,
        "quorum" => {
            let node = need("quorum", "how many branches have to succeed")?;
            PlanPolicy::Quorum { quorum: count(node, "quorum", 1)? }
        }
        "best_effort" => PlanPolicy::BestEffort {
            deadline: duration(need("deadline", "a time such as \"30s\"")?)?,
            min: options.get("min").map_or(Ok(1), |node| count(node, "min", 0))?,
        },
        "hedge" => {
            PlanPolicy::Hedge { delay: duration(need("delay", "a time such as \"500ms\"")?)? }
        }
        "until" => {
            let node = need("until", "an expression over `ok`, `failed`, `ended`, `values`")?;
            let text = text(node)?;
            Names::of_policy().check(text, node.at)?;
            PlanPolicy::Until { until: Expression::new(text) }
        }
        other => {
            let at = options.get("policy").map_or(options.at, |node| node.at);
            return Err(unknown(at, "policy", other, &POLICIES));
        }
    })
}

fn one_of<T: Copy + Default>(
    reader: &mut Reader<'_>,
    options: &Table<'_>,
    key: &str,
    words: &[(&str, T)],
) -> T {
    reader.noted(options.read(key, |node| word(node, words))).unwrap_or_default()
}

fn on_timeout(reader: &mut Reader<'_>, node: &Node) -> Result<OnTimeout<Payload>, Fault> {
    if let Value::Table(_) = node.value {
        let value = reader.table(node, &["default"])?.need("default", "table")?;
        let payload =
            value.to_payload().map_err(|error| Fault::new(value.at, error.to_string()))?;
        return Ok(OnTimeout::Default(payload));
    }
    let default = entry(reader.format, "default", "…");
    let Value::Text(word) = &node.value else {
        return Err(wrong_type(node, &format!("a string or a table `{default}`")));
    };
    match word.as_str() {
        "fail" => Ok(OnTimeout::Fail),
        "skip" => Ok(OnTimeout::Skip),
        "partial" => Ok(OnTimeout::Partial),
        other => {
            let mut fault = unknown(node.at, "word", other, &["fail", "skip", "partial"]);
            if !fault.message.ends_with('?') {
                fault.message.extend([", or a table `", &default, "`"]);
            }
            Err(fault)
        }
    }
}

pub(super) const RETRY_KEYS: [&str; 5] = ["attempts", "backoff", "cap", "min", "attempt_timeout"];

pub(super) const POLICIES: [&str; 8] =
    ["all", "settle", "first_success", "first_settled", "quorum", "until", "best_effort", "hedge"];

const GOES_WITH: [(&str, &str); 5] = [
    ("quorum", "quorum"),
    ("until", "until"),
    ("best_effort", "deadline"),
    ("best_effort", "min"),
    ("hedge", "delay"),
];

const ON_CANCELLED: [(&str, OnCancelled); 3] =
    [("fail", OnCancelled::Fail), ("skip", OnCancelled::Skip), ("partial", OnCancelled::Partial)];

const ON_LOSER: [(&str, OnLoser); 3] =
    [("cancel", OnLoser::Cancel), ("let_finish", OnLoser::LetFinish), ("detach", OnLoser::Detach)];

const START_NEXT: [(&str, StartNext); 2] =
    [("settled", StartNext::Settled), ("decided", StartNext::Decided)];

pub(super) const PARALLEL_KEYS: [&str; 14] = [
    "policy",
    "quorum",
    "until",
    "deadline",
    "min",
    "delay",
    "limit",
    "branch_timeout",
    "branch_grace",
    "branch_idle",
    "on_branch_timeout",
    "on_branch_cancelled",
    "on_loser",
    "start_next",
];
