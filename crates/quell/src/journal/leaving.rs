//! [`Leaving`] counts what is under way that takes roots out of the store.

use std::collections::HashMap;
use std::sync::Arc;

use quell_core::RunId;
use quell_core::cluster::RunMeant;
use quell_core::store::RunRecord;

use crate::sync::RandomState;

/// Roots that were forgotten, and that the store may still have. Each is counted: a further run
/// with the id of one may be forgotten before the first has left.
///
/// Another run may have the id in the store: one that another node has made since that one was
/// deleted elsewhere, or which the store had before a root was refused. It is hidden from nobody.
/// A root that was forgotten is hidden also if another process has written its record last, whose
/// work this one has taken over; and so, of an engine without other nodes, is what is below it.
///
/// A copy shares the ids. They are copied once if they change while somebody has one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leaving(Arc<HashMap<RunId, Count, RandomState>>);

/// What takes a root out of the store.
#[derive(Clone, Debug, Default)]
struct Count {
    /// All of it.
    all: usize,
    /// The roots that these forget which the store has, mostly one, until all of them have left;
    /// the others are of refused ones.
    forgets: Vec<RunMeant>,
}

impl Leaving {
    /// Tells whether a run is of a root that is leaving; `is_own` says whether this engine writes
    /// with a boot, or has: that of whoever has the run now. `is_alone` says that there are no
    /// other nodes.
    pub(crate) fn hides(
        &self,
        record: &RunRecord,
        is_own: impl FnOnce(u32) -> bool,
        is_alone: bool,
    ) -> bool {
        let forgets = |it: &RunMeant| is_alone || *it == RunMeant::from(record);
        let is_of =
            |count: &Count| count.forgets.iter().any(forgets) || is_own(record.epoch.boot());
        self.0.get(&record.accepted.root).is_some_and(is_of)
    }

    /// Tells whether a root is leaving, or was refused and may be.
    pub(crate) fn contains(&self, root: RunId) -> bool {
        self.0.contains_key(&root)
    }

    /// Counts one in; `forgets` is that root if the store has it, so that it was not refused.
    pub(super) fn add(&mut self, root: RunId, forgets: Option<RunMeant>) {
        let count = Arc::make_mut(&mut self.0).entry(root).or_default();
        count.all += 1;
        count.forgets.extend(forgets);
    }

    /// Counts out one of those that were added.
    pub(super) fn remove(&mut self, root: RunId) {
        let roots = Arc::make_mut(&mut self.0);
        if let Some(count) = roots.get_mut(&root) {
            count.all -= 1;
            if count.all == 0 {
                roots.remove(&root);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use quell_core::RunKind;
    use quell_core::store::{Accepted, Epoch};

    use super::*;

    #[test]
    fn what_is_forgotten_is_hidden_and_no_other_run_that_has_its_id() {
        let (root, of_others) = (RunId::from_text("r"), Epoch::new(1, 1));
        let at = SystemTime::now();
        let accepted = |run| Accepted::new(run, RunKind::Agent, "r".into(), of_others, at);
        let record = RunRecord::new(accepted(root));
        let mut below = RunRecord::new(accepted(RunId::from_text("below")));
        below.accepted.root = root;
        let this = RunMeant::from(&record);
        let later = RunMeant::accepted_at(root, at + Duration::from_millis(1));
        // Of an earlier process, or of another node; forgotten, or refused as that one has its id.
        for (forgets, is_alone, hides) in [
            (Some(this), true, [true, true]),
            (Some(this), false, [true, false]),
            (Some(later), false, [false, false]),
            (None, true, [false, false]),
            (None, false, [false, false]),
        ] {
            let mut leaving = Leaving::default();
            leaving.add(root, forgets);
            leaving.add(root, None);
            // A further one of its id is forgotten before the first has left.
            leaving.add(root, forgets.map(|_| later));
            let told =
                |boot| [&record, &below].map(|it| leaving.hides(it, |of| of == boot, is_alone));
            assert_eq!(told(2), hides, "{forgets:?} {is_alone}");
            assert_eq!(told(1), [true, true]);
        }
    }

    #[test]
    fn a_root_that_leaves_twice_is_leaving_until_both_have_left() {
        let (mut leaving, root) = (Leaving::default(), RunId::from_text("r"));
        leaving.add(root, None);
        leaving.add(root, None);
        leaving.remove(root);
        assert!(leaving.contains(root));
        let before = leaving.clone();
        leaving.remove(root);
        assert!(!leaving.contains(root));
        assert!(before.contains(root), "a copy is of its time");
    }
}
