//! [`TreeNow`]: what a store has of the runs below a root that is stopping.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use crate::store::{RunRecord, StoredHold};
use crate::{Abandoned, RunId, StopMode};

/// A root that is stopping, of whose tree a store [is asked](crate::store::Store::trees_now).
///
/// # Examples
///
/// ```
/// use std::time::SystemTime;
/// use quell_core::RunId;
/// use quell_core::store::TreeAsk;
///
/// let (root, stopped_at) = (RunId::from_text("order-7"), SystemTime::now());
/// let ask = TreeAsk { root, stopped_at };
/// # let _ = ask;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "who asks says all that a store needs to know")]
pub struct TreeAsk {
    /// The root.
    pub root: RunId,
    /// When its stop was accepted.
    pub stopped_at: SystemTime,
}

/// What a store has of the runs below a root that is stopping: who has not ended, and what those
/// have left that have. The root itself is not among them.
///
/// # Examples
///
/// ```
/// use std::time::SystemTime;
/// use quell_core::RunId;
/// use quell_core::store::{TreeAsk, TreeNow};
///
/// let (root, stopped_at) = (RunId::from_text("order-7"), SystemTime::now());
/// let now = TreeNow::of(&TreeAsk { root, stopped_at }, [].iter());
/// assert_eq!((now.live, now.more), (0, false));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "stores make them, and this is all there is")]
pub struct TreeNow {
    /// Runs that have not ended.
    pub live: usize,
    /// Those of them that the stop has reached: they were there when it was accepted, or have one
    /// of their own. Others are of cleanup.
    pub signalled: usize,
    /// Runs that have not ended and of which no child is live, or that have work of their own, in
    /// the order in which they were accepted; at most [`TreeNow::NAMES_MAX`].
    pub working: Vec<RunNow>,
    /// Runs that were aborted since the stop, by name; at most [`TreeNow::NAMES_MAX`].
    pub aborted: Vec<(RunId, Arc<str>)>,
    /// What still executes of runs that have ended ([`RunRecord::left`]); at most
    /// [`TreeNow::NAMES_MAX`].
    pub abandoned: Vec<Abandoned>,
    /// How much is left out of these lists.
    pub omitted: usize,
    /// Whether the tree has more than is told: more runs than the store looks at, or it was not
    /// looked at.
    pub more: bool,
}

/// A run below a root that is stopping, which has not ended.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "stores make them, and this is all there is")]
pub struct RunNow {
    /// The run.
    pub run: RunId,
    /// Its name.
    pub name: Arc<str>,
    /// Since when it stops; of one of cleanup, since when it has been there.
    pub since: SystemTime,
    /// Whether no child of it is live.
    pub is_leaf: bool,
    /// Work of it that does not end with its process, and has not ended.
    pub holds: Vec<StoredHold>,
}

impl TreeNow {
    /// Runs in each list.
    pub const NAMES_MAX: usize = 100;

    /// Runs of one tree at which a store looks for one answer.
    pub const ROWS_MAX: usize = 10_000;

    /// Trees of which a store is asked at once.
    pub const TREES_MAX: usize = 100;

    /// What is said of a tree that was not looked at.
    pub fn unknown() -> Self {
        Self { more: true, ..Self::default() }
    }

    /// Makes it of the records of the runs below the root, in the order in which they were
    /// accepted. A store that has them at hand needs no more.
    pub fn of<'a>(ask: &TreeAsk, below: impl Iterator<Item = &'a RunRecord> + Clone) -> Self {
        let all = below.clone().take(Self::ROWS_MAX);
        let mut now = Self { more: below.count() > Self::ROWS_MAX, ..Self::default() };
        let live = all.clone().filter(|record| !record.status.is_terminal());
        let parents: HashSet<_> = live.clone().filter_map(|it| it.accepted.parent).collect();
        for record in live {
            let own = record.stop.as_ref().filter(|stop| stop.mode != StopMode::AfterStep);
            let is_of_cleanup = own.is_none() && record.accepted.at > ask.stopped_at;
            now.live += 1;
            now.signalled += usize::from(!is_of_cleanup);
            let is_leaf = !parents.contains(&record.run());
            if !is_leaf && record.holds.is_empty() {
                continue;
            }
            let since = if is_of_cleanup { record.accepted.at } else { ask.stopped_at };
            let (name, holds) = (Arc::clone(&record.accepted.name), record.holds.clone());
            let since = own.map_or(since, |stop| stop.cause.at.min(since));
            now.working.push(RunNow { run: record.run(), name, since, is_leaf, holds });
        }
        for record in all.filter(|record| record.status.is_terminal()) {
            let own = record.report.as_deref().and_then(|report| report.rows.first());
            let is_late = own.and_then(|row| row.ended_at).is_some_and(|at| at >= ask.stopped_at);
            if is_late && own.is_some_and(|row| row.aborted) {
                now.aborted.push((record.run(), Arc::clone(&record.accepted.name)));
            }
            now.abandoned.extend(record.left());
        }
        let lists = [now.working.len(), now.aborted.len(), now.abandoned.len()];
        now.omitted = lists.iter().map(|names| names.saturating_sub(Self::NAMES_MAX)).sum();
        now.working.truncate(Self::NAMES_MAX);
        now.aborted.truncate(Self::NAMES_MAX);
        now.abandoned.truncate(Self::NAMES_MAX);
        now
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::{Accepted, Epoch, Record};
    use crate::{Counts, RunKind, RunReport, RunRow, RunStatus, Work};

    const EPOCH: Epoch = Epoch::new(1, 1);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// A run below another one, accepted so late.
    fn run(name: &str, parent: &str, seconds: u64) -> RunRecord {
        let (run, kind) = (RunId::from_text(name), RunKind::Step);
        let mut accepted = Accepted::new(run, kind, name.into(), EPOCH, at(seconds));
        (accepted.root, accepted.parent) =
            (RunId::from_text("root"), Some(RunId::from_text(parent)));
        RunRecord::new(accepted)
    }

    fn ended(mut record: RunRecord, edit: impl FnOnce(&mut RunRow)) -> RunRecord {
        let (run, accepted) = (record.run(), &record.accepted);
        let name = Arc::clone(&accepted.name);
        let mut row = RunRow::new(run, RunKind::Step, name, RunStatus::Cancelled, accepted.at);
        (row.quiescent, row.ended_at) = (true, Some(at(20)));
        edit(&mut row);
        let report = Arc::new(RunReport::new(vec![row], Counts::default()));
        record.apply(&Record::Ended { run, epoch: EPOCH, report, rollback: false });
        record
    }

    fn ask() -> TreeAsk {
        TreeAsk { root: RunId::from_text("root"), stopped_at: at(10) }
    }

    #[test]
    fn those_are_named_that_work_or_were_aborted_or_have_left_something() {
        let mut programs = run("programs", "root", 2);
        let hold = StoredHold::new(0, Work::Process, "sh (pid 7)".into());
        programs.apply(&Record::HoldBegan { run: programs.run(), epoch: EPOCH, hold });
        let all = [
            run("between", "root", 1),
            programs,
            run("deaf", "between", 3),
            run("of-cleanup", "programs", 11),
            ended(run("gone", "root", 4), |_| {}),
            ended(run("aborted", "root", 4), |row| row.aborted = true),
            ended(run("aborted-before", "root", 4), |row| {
                (row.aborted, row.ended_at) = (true, Some(at(5)));
            }),
            ended(run("executes", "root", 4), |row| {
                (row.aborted, row.ended_at, row.quiescent) = (true, Some(at(5)), false);
                row.abandoned = vec![Abandoned::new(row.run, "tidy up".into(), Work::Hook)];
            }),
        ];
        let now = TreeNow::of(&ask(), all.iter());
        assert_eq!((now.live, now.signalled, now.omitted, now.more), (4, 3, 0, false));
        let working = now.working.iter();
        let working: Vec<_> =
            working.map(|run| (&*run.name, run.since, run.is_leaf, run.holds.len())).collect();
        let right = [
            ("programs", at(10), false, 1),
            ("deaf", at(10), true, 0),
            ("of-cleanup", at(11), true, 0),
        ];
        assert_eq!(working, right);
        let aborted: Vec<_> = now.aborted.iter().map(|(_, name)| &**name).collect();
        let abandoned: Vec<_> = now.abandoned.iter().map(|left| &*left.name).collect();
        assert_eq!((aborted, abandoned), (vec!["aborted"], vec!["tidy up"]));
    }

    #[test]
    fn of_many_the_first_ones_are_named_and_the_others_counted() {
        let all: Vec<_> = (0..130).map(|nth| run(&format!("run {nth}"), "root", 1)).collect();
        let now = TreeNow::of(&ask(), all.iter());
        assert_eq!((now.live, now.working.len(), now.omitted), (130, 100, 30));
        assert_eq!(&*now.working[99].name, "run 99");
    }
}
