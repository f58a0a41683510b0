//! Ids of components: each is a part of names such as `agent/writer`, and of paths of requests.

use quell_flow::{PlanError, limits};

use super::file::Config;

impl Config {
    /// Finds the ids that are empty, or that a name and a path would be split at.
    pub(super) fn id_faults(&self) -> Vec<PlanError> {
        let of_table = |table: &'static str| {
            let bad = self.ids_of(table).into_iter().filter_map(|id| Some((words_of(&id)?, id)));
            let faults = bad.map(|(words, id)| self.fault(&[table, &id], words));
            faults.collect::<Vec<_>>()
        };
        let all = ["agents", "teams", "workflows"].into_iter().flat_map(of_table);
        all.take(limits::PLAN_FAULTS_MAX).collect()
    }
}

fn words_of(id: &str) -> Option<&'static str> {
    match id {
        "" => Some("empty id; expected a word such as `writer`"),
        id if id.contains('/') => {
            Some("an id has no `/`, which stands between a kind and an id: `agent/writer`")
        }
        _ => None,
    }
}
