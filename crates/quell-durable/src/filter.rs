//! [`meant`]: what a filter means, as a condition of SQL.

use quell_core::{RunFilter, RunKind, RunStatus};

use crate::numbers::status_number;

/// Writes the condition that holds of a row of the table `run` if the filter means it; none if it
/// means no run at all. `bind` takes the texts that stand in it, in their order, and yields the
/// placeholder of each.
pub fn meant(filter: &RunFilter, mut bind: impl FnMut(&str) -> String) -> Option<String> {
    let statuses = RunStatus::ALL.into_iter().filter(|status| filter.lets_through(*status));
    let numbers: Vec<_> = statuses.map(|status| status_number(status).to_string()).collect();
    if numbers.is_empty() {
        return None;
    }
    // One that lets all through also means a row of which the status is unknown: it is named.
    let is_any = numbers.len() == RunStatus::ALL.len();
    let status =
        if is_any { "true".to_owned() } else { format!("status in ({})", numbers.join(",")) };
    let mut all = vec![status];
    if filter.is_of_roots() {
        all.push("parent is null".into());
    }
    let kind = filter.asked_kind().map(RunKind::as_str);
    let texts = [("kind", kind), ("name", filter.asked_name()), ("owner", filter.asked_owner())];
    for (column, text) in texts {
        if let Some(text) = text {
            all.push(format!("{column} = {}", bind(text)));
        }
    }
    for (key, value) in filter.asked_labels() {
        let (key, value) = (bind(key), bind(value));
        all.push(format!(
            "(select 1 from label m where m.run = run.ord and m.key = {key}
                and m.value = {value} limit 1) is not null"
        ));
    }
    Some(all.join(" and "))
}
