//! Who is left of trees that are stopping, as any member reads it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell_core::store::{Accepted, Record, Store as _, StoredHold, TreeAsk, TreeNow};
use quell_core::{Cause, CauseKind, Counts, RunId, RunKind, RunReport, RunRow, RunStatus, Work};
use quell_postgres::PostgresNode;
use quell_test_support::records::{accept, at, epoch, stop};

use crate::crew::{join, on_threads};
use crate::fixture::Place;

fn later(seconds: u64) -> SystemTime {
    at() + Duration::from_secs(seconds)
}

/// Makes a run below another one of the tree of `top`, accepted so late.
fn below(of: &PostgresNode, name: &str, parent: &str, seconds: u64) -> Record {
    let run = RunId::from_text(name);
    let mut accepted = Accepted::new(run, RunKind::Step, name.into(), epoch(of), later(seconds));
    accepted.root = RunId::from_text("top");
    accepted.parent = Some(RunId::from_text(parent));
    Record::Accepted(accepted.into())
}

/// Makes the end of one that was stopped, 20 s behind the start of all.
fn ended(of: &PostgresNode, name: &str, edit: impl FnOnce(&mut RunRow)) -> Record {
    let run = RunId::from_text(name);
    let mut row = RunRow::new(run, RunKind::Step, name.into(), RunStatus::Cancelled, at());
    let mut cause = Cause::new(CauseKind::ParentStopped, later(10), run);
    cause.message = Some("nobody is \"aborted\":true here".into());
    (row.cause, row.quiescent, row.ended_at) = (Some(cause.into()), true, Some(later(20)));
    edit(&mut row);
    let report = Arc::new(RunReport::new(vec![row], Counts::default()));
    Record::Ended { run, epoch: epoch(of), report, rollback: false }
}

/// Yields what one member reads, and what the rule says of the records that it has.
async fn both(on: &PostgresNode, roots: &[&str], all: &[String]) -> [Vec<TreeNow>; 2] {
    let ask = |root: &&str| TreeAsk { root: RunId::from_text(root), stopped_at: later(10) };
    let asks: Vec<_> = roots.iter().map(ask).collect();
    let mut records = Vec::new();
    for name in all {
        records.extend(on.get(RunId::from_text(name)).await.unwrap());
    }
    let rule = asks.iter().map(|ask| {
        let is_below = |root: &RunId| *root == ask.root;
        TreeNow::of(ask, records.iter().filter(|record| is_below(&record.accepted.root)))
    });
    let rule = rule.collect();
    [on.trees_now(asks).await.unwrap(), rule]
}

#[test]
fn any_member_reads_who_works_still_and_who_was_aborted_or_has_left_something() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let own = epoch(&*a);
        let [top, other] = ["top", "other"].map(RunId::from_text);
        a.append(vec![accept(top, own), accept(other, own)]).await.unwrap();
        let odd = "deaf\0 \\ \"it\"";
        let tree = vec![
            below(&a, "between", "top", 1),
            below(&a, odd, "between", 2),
            below(&a, "programs", "top", 3),
            below(&a, "of cleanup", "programs", 11),
            below(&a, "stopped before", "top", 4),
            below(&a, "gone", "top", 4),
            below(&a, "aborted", "top", 4),
            below(&a, "aborted before", "top", 4),
            below(&a, "executes", "top", 4),
        ];
        a.append(tree).await.unwrap();
        let hold = StoredHold::new(3, Work::Process, "sh\0 (pid 7)".into());
        let programs = RunId::from_text("programs");
        let begun = Record::HoldBegan { run: programs, epoch: own, hold };
        a.append(vec![begun, stop(RunId::from_text("stopped before"), own)]).await.unwrap();
        let left = |row: &mut RunRow| row.quiescent = false;
        let ends = vec![
            ended(&a, "gone", |_| {}),
            ended(&a, "aborted", |row| row.aborted = true),
            ended(&a, "aborted before", |row| {
                (row.aborted, row.ended_at) = (true, Some(later(5)));
            }),
            ended(&a, "executes", left),
        ];
        a.append(ends).await.unwrap();
        let mut names: Vec<String> =
            ["between", odd, "programs", "of cleanup"].map(Into::into).into();
        names.extend(["stopped before", "gone", "aborted"].map(Into::into));
        names.extend(["aborted before", "executes"].map(Into::into));
        let [read, rule] = both(&b, &["top", "other", "unknown"], &names).await;
        assert_eq!(read, rule);
        let tree = &read[0];
        assert_eq!((tree.live, tree.signalled, tree.omitted, tree.more), (5, 4, 0, false));
        let works: Vec<_> = tree.working.iter().map(|run| (&*run.name, run.since)).collect();
        let all = [odd, "programs", "of cleanup", "stopped before"];
        assert_eq!(works, all.into_iter().zip([10, 10, 11, 0].map(later)).collect::<Vec<_>>());
        assert_eq!(&*tree.working[1].holds[0].name, "sh\0 (pid 7)");
        let left: Vec<_> = tree.left.iter().map(|row| &*row.name).collect();
        assert_eq!(left, ["aborted", "executes"]);
        assert_eq!(read[1..], [TreeNow::default(), TreeNow::default()]);
        for member in [a, b] {
            member.close().await.unwrap();
        }
    });
}

#[test]
fn of_a_tree_of_ten_thousand_a_hundred_names_are_read_and_the_others_counted() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        a.append(vec![accept(RunId::from_text("top"), epoch(&*a))]).await.unwrap();
        for part in 0..10 {
            let of_part = (0..1_000).map(|nth| part * 1_000 + nth);
            let runs = of_part.map(|nth| below(&a, &format!("run {nth}"), "top", 1));
            a.append(runs.collect()).await.unwrap();
        }
        let ask = TreeAsk { root: RunId::from_text("top"), stopped_at: later(10) };
        let read = async || b.trees_now(vec![ask]).await.unwrap().remove(0);
        let tree = read().await;
        assert_eq!((tree.live, tree.signalled, tree.more), (10_000, 10_000, false));
        assert_eq!((tree.working.len(), tree.omitted), (100, 9_900));
        assert_eq!((&*tree.working[99].name, tree.working[99].is_leaf), ("run 99", true));
        a.append(vec![below(&a, "one more", "top", 1)]).await.unwrap();
        assert!(read().await.more);
        for member in [a, b] {
            member.close().await.unwrap();
        }
    });
}
