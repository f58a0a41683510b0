use std::sync::Arc;
use std::time::SystemTime;

use quell::store::{Accepted, Epoch, StopAccepted};
use quell::{Cause, Counts, RunReport, RunRow, StopMode};

use super::super::memory::Recall;
use super::*;

/// A run below another one, with the place of its step if it has one.
fn run(name: &str, parent: &str, place: Option<&str>) -> RunRecord {
    let (run, at) = (RunId::from_text(name), SystemTime::UNIX_EPOCH);
    let kind = if place.is_some() { RunKind::Step } else { RunKind::Attempt };
    let name = name.rsplit('/').next().unwrap_or(name).into();
    let mut accepted = Accepted::new(run, kind, name, Epoch::new(1, 1), at);
    accepted.parent = Some(RunId::from_text(parent));
    accepted.annotations.extend(place.map(|place| (PLACE.to_owned(), place.into())));
    let mut record = RunRecord::new(accepted);
    record.started_at = Some(at);
    record
}

fn ended(mut record: RunRecord, status: RunStatus, says: &str) -> RunRecord {
    let (accepted, at) = (&record.accepted, SystemTime::UNIX_EPOCH);
    let name = Arc::clone(&accepted.name);
    let mut row = RunRow::new(record.run(), accepted.kind, name, status, at);
    match status {
        RunStatus::Completed => row.output = Some(says.into()),
        _ => row.error = Some(says.into()),
    }
    record.report = Some(RunReport::new(vec![row], Counts::default()).into());
    record
}

fn recall(records: &[RunRecord]) -> Recall {
    let records: Vec<_> = records.iter().cloned().map(Some).collect();
    Recall::of(Arc::new(memory_of(&records, &[])))
}

#[test]
fn what_completed_or_failed_by_itself_has_ended_and_what_was_lost_or_stopped_was_begun() {
    let top = recall(&[
        ended(run("a", "p", Some("/a")), RunStatus::Completed, "box"),
        ended(run("b", "p", Some("/b")), RunStatus::Failed, "exit code 1"),
        ended(run("c", "p", Some("/c")), RunStatus::Failed, "worker lost: its process ended"),
        ended(run("d", "p", Some("/d")), RunStatus::Cancelled, "stopped"),
        run("e", "p", Some("/e")),
    ]);
    assert_eq!(top.below("a").ended(), Some(Ended::Completed("box".into())));
    let failed = "step `b` failed: exit code 1";
    assert_eq!(top.below("b").ended(), Some(Ended::Failed(failed.into())));
    for (name, begun) in [("a", 0), ("b", 0), ("c", 1), ("d", 1), ("e", 1), ("f", 0)] {
        assert_eq!(top.below(name).begun(), begun, "{name}");
    }
    for name in ["c", "d", "e"] {
        assert_eq!(top.below(name).ended(), None, "{name}");
    }
}

#[test]
fn a_pause_that_names_a_place_has_no_step_run_again_that_ended_otherwise() {
    let records = [
        ended(run("a", "p", Some("/a")), RunStatus::Completed, "box"),
        ended(run("b", "p", Some("/b")), RunStatus::Failed, "exit code 1"),
        ended(run("c", "p", Some("/c")), RunStatus::Failed, "run `c` waits for an answer"),
    ];
    let at = |place: &str| Some(Place::of_text(place.to_owned()));
    let pauses = ["/a/x", "/b/x", "/c/x"].map(|place| Asked { at: at(place), begun: 3 });
    let records: Vec<_> = records.into_iter().map(Some).collect();
    let top = Recall::of(Arc::new(memory_of(&records, &pauses)));
    let is_known = ["a", "b", "c"].map(|name| top.below(name).ended().is_some());
    assert_eq!(is_known, [true, true, false]);
}

/// Has the run stop because of a stop that began at some run.
fn stopped(mut record: RunRecord, status: RunStatus, origin: &str) -> RunRecord {
    let origin = RunId::from_text(origin);
    let cause = Cause::new(CauseKind::Deadline, SystemTime::UNIX_EPOCH, origin);
    record = ended(record, status, "");
    let row = &mut Arc::make_mut(record.report.as_mut().unwrap()).rows[0];
    (row.cause, row.error) = (Some(cause.into()), None);
    record
}

/// Has the timeout of the run be over, and its process lost before its end.
fn stopping(mut record: RunRecord) -> RunRecord {
    let cause = Cause::new(CauseKind::Deadline, SystemTime::UNIX_EPOCH, record.run());
    let (epoch, mode) = (record.epoch, StopMode::Cooperative);
    record.stop = Some(StopAccepted::new(record.run(), epoch, mode, cause.into()));
    record
}

#[test]
fn what_timed_out_or_was_stopped_alone_has_ended_and_what_stopped_with_its_run_has_not() {
    let top = recall(&[
        stopped(run("a", "p", Some("/a")), RunStatus::TimedOut, "a"),
        stopped(run("b", "p", Some("/b")), RunStatus::Cancelled, "b"),
        stopped(run("c", "p", Some("/c")), RunStatus::Cancelled, "p"),
        stopping(run("d", "p", Some("/d"))),
    ]);
    for name in ["a", "b", "d"] {
        let words = format!("step `{name}` was stopped (deadline)");
        assert_eq!(top.below(name).ended(), Some(Ended::Failed(words.into())));
        assert_eq!(top.below(name).begun(), 0, "{name}");
    }
    assert_eq!((top.below("c").ended(), top.below("c").begun()), (None, 1));
}

#[test]
fn what_a_step_asked_in_has_not_ended_before_the_pause_of_its_root_is_stored() {
    let says = "run `inner` waits for an answer";
    let around = |name, place| {
        let mut record = ended(run(name, "p", Some(place)), RunStatus::Failed, says);
        record.accepted.annotations.insert(AROUND.to_owned(), true.into());
        record
    };
    // A program may say the same.
    let program = ended(run("a", "p", Some("/a")), RunStatus::Failed, says);
    let top = recall(&[around("seq", "/seq"), around("inner", "/seq/inner"), program]);
    assert_eq!(top.below("seq").ended(), None);
    assert_eq!(top.below("seq").below("inner").ended(), None);
    let failed = format!("step `a` failed: {says}");
    assert_eq!(top.below("a").ended(), Some(Ended::Failed(failed.into())));
}

#[test]
fn a_value_that_was_not_stored_is_a_failure_and_never_another_value() {
    let mut record = ended(run("a", "p", Some("/a")), RunStatus::Completed, "x");
    let report = Arc::make_mut(record.report.as_mut().unwrap());
    report.rows[0].output = None;
    let ended = recall(&[record]).below("a").ended();
    let begin = "step `a` failed: it had completed, and its output";
    let is_it = |ended: &Ended| matches!(ended, Ended::Failed(it) if it.starts_with(begin));
    assert!(ended.as_ref().is_some_and(is_it), "{ended:?}");
}

#[test]
fn attempts_go_on_counting_over_all_processes() {
    let lost = |record| ended(record, RunStatus::Failed, "worker lost: it is gone");
    let top = recall(&[
        lost(run("a", "p", Some("/a"))),
        ended(run("a/attempt 1", "a", None), RunStatus::Failed, "no"),
        lost(run("a/attempt 2", "a", None)),
        lost(run("b", "p", Some("/b"))),
        lost(run("b again", "p", Some("/b"))),
        run("b again/attempt 2", "b again", None),
        lost(run("c", "p", Some("/c"))),
        lost(run("c/attempt 1", "c", None)),
        lost(run("c again", "p", Some("/c"))),
        lost(run("c again/attempt 1", "c again", None)),
    ]);
    let begun = ["a", "b", "c"].map(|name| top.below(name).begun());
    assert_eq!(begun, [2, 2, 1]);
}
