//! What the runs of a tree have emitted whose process is gone: the partial output of those that
//! left nothing else, as in the process that had them (I17).

use std::collections::{HashMap, HashSet, VecDeque};

use quell_core::store::{Store, StoreError};
use quell_core::{EventKind, Payload, RunId, limits};

use crate::engine::left_behind::{Fate, LeftTree};
use crate::engine::left_log::LeftLog;
use crate::node::outputs::listed;

impl LeftTree {
    /// Puts what runs have emitted into the rows of those that end and have left nothing else.
    /// Yields what a root has emitted that does not end.
    pub(super) async fn take_emitted(
        &mut self,
        store: &dyn Store,
        log: &LeftLog,
    ) -> Result<Vec<Payload>, StoreError> {
        let root = self.root.run();
        let goes_on = !matches!(self.fate, Fate::Ends) && self.root.so_far().partial.is_none();
        let ends = self.ends.iter().filter(|(_, row)| row.partial.is_none());
        let runs = ends.map(|(_, row)| row.run).chain(goes_on.then_some(root));
        let first = runs.filter_map(|run| Some((run, log.first_emitted(run)?)));
        let first: HashMap<RunId, u64> = first.collect();
        // Most trees have none, and their log is not read a second time.
        let Some(from) = first.values().min() else { return Ok(Vec::new()) };
        let runs = first.keys().copied().collect();
        let mut emitted = emitted(store, (root, from.saturating_sub(1)), &runs).await?;
        for (_, row) in &mut self.ends {
            if let Some(said) = emitted.remove(&row.run) {
                let said = listed(said);
                // It is written once, for the report and for the record.
                said.len();
                row.partial = Some(said);
            }
        }
        Ok(emitted.remove(&root).unwrap_or_default())
    }
}

/// Reads what these runs have emitted behind a number of the log of a root, the newest of it: as
/// much as a log in memory holds.
async fn emitted(
    store: &dyn Store,
    (root, mut after): (RunId, u64),
    runs: &HashSet<RunId>,
) -> Result<HashMap<RunId, Vec<Payload>>, StoreError> {
    let (mut said, mut bytes) = (VecDeque::new(), 0_usize);
    loop {
        let before = after;
        for event in store.events(root, before, limits::STORE_PAGE_MAX).await? {
            let event = match event {
                Ok(event) => event,
                Err(lost) => {
                    after = after.max(lost.seq.unwrap_or_default());
                    continue;
                }
            };
            after = after.max(event.last_seq());
            if let EventKind::Emitted(payload) = event.kind
                && runs.contains(&event.run)
            {
                bytes += payload.len();
                said.push_back((event.run, payload));
            }
            while said.len() > limits::EVENTS_PER_ROOT_MAX
                || bytes > limits::EVENTS_PER_ROOT_BYTES_MAX
            {
                let Some((_, oldest)) = said.pop_front() else { break };
                bytes -= oldest.len();
            }
        }
        if after == before {
            break;
        }
    }
    let mut of_runs: HashMap<RunId, Vec<Payload>> = HashMap::new();
    for (run, payload) in said {
        of_runs.entry(run).or_default().push(payload);
    }
    Ok(of_runs)
}
