//! Who is left of trees that are stopping, as any member reads it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell_core::store::{Accepted, Record, Store as _, StoredHold, TreeAsk, TreeNow};
use quell_core::{
    Abandoned, Cause, CauseKind, Counts, Payload, RunId, RunKind, RunReport, RunRow, RunStatus,
    Work,
};
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
        let left = |row: &mut RunRow| {
            row.quiescent = false;
            row.abandoned = vec![Abandoned::new(row.run, "tidy up".into(), Work::Hook)];
        };
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
        let aborted: Vec<_> = tree.aborted.iter().map(|(_, name)| &**name).collect();
        let abandoned: Vec<_> = tree.abandoned.iter().map(|left| &*left.name).collect();
        assert_eq!((aborted, abandoned), (vec!["aborted"], vec!["tidy up"]));
        assert_eq!(read[1..], [TreeNow::default(), TreeNow::default()]);
        for member in [a, b] {
            member.close().await.unwrap();
        }
    });
}

#[test]
fn whatever_a_run_gave_no_name_is_hidden_by_that_and_none_is_invented() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let top = RunId::from_text("top");
        a.append(vec![accept(top, epoch(&*a))]).await.unwrap();
        let said = [
            r#"{"aborted":true,"queued_at":1,"rows":[{"aborted":true}]}"#,
            r#""\u0000 \\u0000 \ud83d\ude00 \\\" \"aborted\":true""#,
            r#"{"aborted":true,"\u0000":"\ud83d\ude00 \\\u0000","abandoned":[{"what":"hook"}]}"#,
        ];
        let large =
            format!(r#"{{"aborted":true,"abandoned":[{{}}],"text":"{}"}}"#, "x".repeat(99_999));
        let said: Vec<_> = said.into_iter().chain([&*large]).collect();
        let (mut tree, mut ends, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for nth in 0..130 {
            let said = Payload::from_json_text(said[nth % said.len()]).unwrap();
            // Of those that only say so there are more than are named.
            let sort = nth.checked_sub(120).map_or(0, |nth| 1 + nth % 2);
            let name = format!("{} {nth}", ["says so", "aborted", "executes"][sort]);
            tree.push(below(&a, &name, "top", 1));
            ends.push(ended(&a, &name, |row| {
                (row.partial, row.aborted, row.quiescent) = (Some(said), sort == 1, sort != 2);
                let hook = Abandoned::new(row.run, format!("hook\\ {nth}").into(), Work::Hook);
                let program = Abandoned::new(row.run, "sh (pid 7)".into(), Work::Process);
                row.abandoned = vec![hook, program];
            }));
            names.push(name);
        }
        a.append(tree).await.unwrap();
        a.append(ends).await.unwrap();
        let [read, rule] = both(&b, &["top"], &names).await;
        assert_eq!(read, rule);
        let aborted: Vec<_> = read[0].aborted.iter().map(|(_, name)| &**name).collect();
        assert_eq!(aborted, [120, 122, 124, 126, 128].map(|nth| format!("aborted {nth}")));
        let abandoned: Vec<_> = read[0].abandoned.iter().map(|left| &*left.name).collect();
        assert_eq!(abandoned, [121, 123, 125, 127, 129].map(|nth| format!("hook\\ {nth}")));
        assert_eq!(read[0].omitted, 0);
        for member in [a, b] {
            member.close().await.unwrap();
        }
    });
}

#[test]
fn what_is_abandoned_is_what_is_held_still() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let (top, run, own) = (RunId::from_text("top"), RunId::from_text("r"), epoch(&*a));
        a.append(vec![accept(top, own), below(&a, "r", "top", 1)]).await.unwrap();
        let works = [
            (0, Work::Process, "sh\0 \\ä", "sh\0 \\ä (pid 7)"),
            (1, Work::Remote, "import", "import"),
            (2, Work::Process, "make", "make (pid 8)"),
            (3, Work::Process, "make", "make (pid 9)"),
            (4, Work::Node, "lost", "lost"),
            (5, Work::Node, "lost", "lost"),
        ];
        let begun = works.map(|(nr, what, name, _)| {
            let hold = StoredHold::new(nr, what, name.into());
            Record::HoldBegan { run, epoch: own, hold }
        });
        a.append(begun.into()).await.unwrap();
        let end = ended(&a, "r", |row| {
            let left = works.map(|(_, what, _, name)| Abandoned::new(run, name.into(), what));
            (row.quiescent, row.abandoned) = (false, left.into());
            Abandoned::name_nodes_once(&mut row.abandoned);
            row.abandoned.push(Abandoned::new(run, "crunch".into(), Work::Blocking));
        });
        a.append(vec![end]).await.unwrap();
        let told = async || {
            let [read, rule] = both(&b, &["top"], &["r".to_owned()]).await;
            assert_eq!(read, rule);
            let names = read[0].abandoned.iter().map(|left| left.name.to_string());
            names.collect::<Vec<_>>()
        };
        let all = ["sh\0 \\ä (pid 7)", "import", "make (pid 8)", "make (pid 9)", "crunch", "lost"];
        assert_eq!(told().await, all);
        a.append(vec![Record::HoldEnded { run, epoch: own, nr: 0 }]).await.unwrap();
        assert_eq!(told().await, all[1..]);
        // Of two of one name nobody knows which it was.
        a.append(vec![Record::HoldEnded { run, epoch: own, nr: 2 }]).await.unwrap();
        assert_eq!(told().await, ["import", "crunch", "make", "lost"]);
        a.append(vec![Record::Quiesced { run, epoch: own, at: later(30) }]).await.unwrap();
        assert_eq!(told().await, [""; 0]);
        for member in [a, b] {
            member.close().await.unwrap();
        }
    });
}

#[test]
fn small_trees_are_read_though_a_large_one_cannot_be() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let roots = ["top", "small", "other"].map(RunId::from_text);
        a.append(roots.map(|root| accept(root, epoch(&*a))).into()).await.unwrap();
        let mut runs: Vec<_> =
            (0..1_100).map(|nth| below(&a, &format!("run {nth}"), "top", 1)).collect();
        for (nth, root) in [(0, roots[1]), (1, roots[2])] {
            if let Record::Accepted(accepted) = &mut runs[nth] {
                (accepted.root, accepted.parent) = (root, Some(root));
            }
        }
        a.append(runs).await.unwrap();
        a.append(vec![ended(&a, "run 7", |row| row.aborted = true)]).await.unwrap();
        place.sql("update run set report = '{\"aborted\":true' where name = 'run 7'");
        let ask = |root| TreeAsk { root, stopped_at: later(10) };
        let read = b.trees_now(roots.map(ask).into()).await.unwrap();
        assert_eq!(read[0], TreeNow::unknown());
        let live: Vec<_> = read.iter().map(|tree| (tree.live, tree.more)).collect();
        assert_eq!(live[1..], [(1, false), (1, false)]);
        assert!(b.trees_now(vec![ask(roots[0])]).await.is_err(), "nothing was read");
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
