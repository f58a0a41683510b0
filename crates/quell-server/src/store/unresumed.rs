//! [`Unresumed`]: paused runs of an earlier process that this one cannot go on with, and why.

use std::collections::BTreeMap;

use quell::RunStatus;
use quell::store::RunRecord;
use quell_flow::Catalog;
use quell_report::text::{cut, printable};

use super::runs::id;

/// Paused runs that take no answer here, by the reason.
#[derive(Debug, Default)]
pub(crate) struct Unresumed(BTreeMap<String, Found>);

/// The first ids of some runs, and how many there are.
#[derive(Debug, Default)]
struct Found {
    ids: Vec<String>,
    count: usize,
}

impl Unresumed {
    /// Notes a run with which the catalog does not go on, if it is paused.
    pub(crate) fn note(&mut self, run: &RunRecord, catalog: &Catalog) {
        let accepted = &run.accepted;
        if run.status != RunStatus::Paused || accepted.parent.is_some() {
            return;
        }
        let (labels, annotations) = (&accepted.labels, &accepted.annotations);
        let why = catalog.why_not_resumed(accepted.kind, Some(labels), Some(annotations));
        if let Some(why) = why {
            let found = self.0.entry(why).or_default();
            found.count += 1;
            if found.ids.len() < SHOWN_MAX {
                found.ids.push(cut(&printable(&id(run)), ID_CHARS_MAX));
            }
        }
    }

    /// Yields a line for each reason.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(why, Found { ids, count })| {
            let more = count - ids.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("paused, and takes no answer here: {}{more}: {why}", ids.join(", "))
        })
    }
}

/// How many ids are shown for each reason. The others are counted.
const SHOWN_MAX: usize = 5;

/// The longest id that is shown.
const ID_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use quell::store::{Accepted, Epoch};
    use quell::{RunId, RunKind};

    use super::*;

    #[test]
    fn paused_runs_that_take_no_answer_are_named_with_the_reason_and_others_are_not() {
        let mut unresumed = Unresumed::default();
        for nth in 0..7 {
            let (run, at) = (RunId::from_text(&nth.to_string()), SystemTime::UNIX_EPOCH);
            let accepted = Accepted::new(run, RunKind::Workflow, "a".into(), Epoch::new(1, 1), at);
            let mut record = RunRecord::new(accepted);
            record.accepted.labels.insert(quell_flow::COMPONENT.to_owned(), "ship".to_owned());
            unresumed.note(&record, &Catalog::new());
            record.status = RunStatus::Paused;
            unresumed.note(&record, &Catalog::new());
        }
        let lines: Vec<_> = unresumed.lines().collect();
        let first = format!("paused, and takes no answer here: {}, ", RunId::from_text("0"));
        let end = " and 2 more: `workflow/ship` is no longer in the configuration: put it back \
                   and restart, or cancel the run";
        assert!(lines.len() == 1 && lines[0].starts_with(&first), "{lines:?}");
        assert!(lines[0].ends_with(end), "{lines:?}");
    }
}
