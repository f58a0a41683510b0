//! What is seen of a story in memory and in its store, and what the rules say of both.

use std::fmt::{Debug, Write as _};

use quell::store::{ImpliedEvents, Page, RunRecord};
use quell::{CauseKind, EventKind, RunEvent, RunId, RunStatus, testing};

use super::actors::Seen;
use super::rules::{Body, Rules, Told};
use super::stage::Stage;

/// What is seen of a run in the present process.
#[derive(Debug, PartialEq, Eq)]
struct View {
    status: RunStatus,
    cause: Option<CauseKind>,
    quiescent: bool,
    asks: Option<String>,
    /// It waits for its lane or a slot.
    waits: bool,
    /// The engine finds it by its id.
    found: bool,
    seen: Seen,
}

/// What is stored of a run.
#[derive(Debug, PartialEq, Eq)]
struct Stored {
    status: RunStatus,
    cause: Option<CauseKind>,
    attempt: u32,
    quiescent: bool,
    asks: Option<String>,
    answer: Option<String>,
}

/// The lanes of all stories.
const LANES: [u8; 2] = [0, 1];

/// Compares what is seen now.
pub(super) fn seen_now(stage: &Stage, rules: &Rules) -> Result<(), String> {
    let mut differences = String::new();
    for run in 0..rules.runs.len() {
        let (Some(seen), Some(expected)) = (seen_of(stage, run), expected_of(rules, run)) else {
            continue;
        };
        differ(&mut differences, &format!("run {run}"), &seen, &expected);
    }
    for lane in LANES {
        let runs = stage.engine().lane(&lane_key(lane));
        let runs: Vec<_> = runs.iter().filter_map(|run| number(rules, run.id())).collect();
        differ(&mut differences, &format!("lane {lane}"), &runs, &rules.queue.lane(lane));
    }
    if differences.is_empty() { Ok(()) } else { Err(differences) }
}

fn differ<T: Debug + PartialEq>(differences: &mut String, what: &str, engine: &T, rules: &T) {
    if engine != rules {
        let _ = writeln!(differences, "{what}:\n  engine {engine:?}\n  rules  {rules:?}");
    }
}

fn seen_of(stage: &Stage, run: usize) -> Option<View> {
    let found = stage.run(run)?;
    let report = found.report();
    Some(View {
        status: report.status,
        cause: report.cause.as_ref().map(|cause| cause.kind),
        quiescent: report.quiescent && report.status.is_terminal(),
        asks: found.pause_request().and_then(|asks| Some(asks.as_text()?.into_owned())),
        waits: found.queue_position().is_some(),
        found: stage.engine().get(id(run)).is_some(),
        seen: stage.seen(run),
    })
}

fn expected_of(rules: &Rules, run: usize) -> Option<View> {
    let this = rules.runs.get(run).filter(|run| run.here)?;
    let seen = Seen {
        attempts: this.attempts.clone(),
        bodies: usize::from(this.body == Body::Runs),
        children: this.children,
        ..Seen::default()
    };
    Some(View {
        status: this.status,
        cause: this.cause,
        quiescent: this.quiescent,
        asks: this.asks.clone(),
        waits: rules.queue.waits(run),
        found: !this.gone,
        seen,
    })
}

/// Compares what is stored now, after all that was decided is.
pub(super) async fn stored_now(stage: &Stage, rules: &Rules) -> Result<(), String> {
    let mut differences = String::new();
    for (run, this) in rules.runs.iter().enumerate() {
        let expected = (!this.gone).then(|| Stored {
            status: this.status,
            cause: this.cause.or(this.scheduled_cause()),
            attempt: this.attempt,
            quiescent: this.quiescent,
            asks: this.asks.clone(),
            answer: this.answer.clone(),
        });
        let record = stage.store().get(id(run)).await.map_err(|error| error.to_string())?;
        let stored = record.map(|record| {
            let row = record.row();
            let text =
                |payload: &quell::Payload| payload.as_text().unwrap_or_default().into_owned();
            Stored {
                status: if this.left_as == Some(record.status) {
                    this.status
                } else {
                    record.status
                },
                cause: row.cause.as_ref().map(|cause| cause.kind),
                attempt: record.attempt,
                quiescent: record.quiescent,
                asks: record.paused.as_ref().map(|pause| text(&pause.request)),
                answer: record.answer.as_ref().map(text),
            }
        });
        differ(&mut differences, &format!("stored run {run}"), &stored, &expected);
    }
    for history in histories(rules) {
        let key = history.map_or_else(|run| id(run).to_string(), lane_key);
        let states = stage.store().checkpoints(key, Page::first(1_000)).await;
        let states = states.map_err(|error| error.to_string())?.items.into_iter();
        let states: Result<Vec<_>, _> = states
            .map(|state| state.map(|state| state.state.as_text().unwrap_or_default().into_owned()))
            .collect();
        let states = states.map_err(|fault| format!("{fault:?}"))?;
        let newest_first = rules.saves.iter().rev();
        let is_there = |run: usize| history_of(rules, run) == history;
        let expected = newest_first.filter(|save| is_there(save.run));
        let expected: Vec<_> = expected.map(|save| save.text.clone()).collect();
        differ(&mut differences, &format!("history {history:?}"), &states, &expected);
    }
    if differences.is_empty() { Ok(()) } else { Err(differences) }
}

/// The lanes that are read, and the runs that have a history of their own.
fn histories(rules: &Rules) -> Vec<Result<u8, usize>> {
    let own = (0..rules.runs.len()).map(|run| history_of(rules, run)).filter(Result::is_err);
    LANES.into_iter().map(Ok).chain(own).collect()
}

/// In which history the states of a run are: that of its lane, or its own.
fn history_of(rules: &Rules, run: usize) -> Result<u8, usize> {
    rules.runs[run].gate.lane.map(|(lane, _)| lane).ok_or(run)
}

/// Compares the logs of all trees that are left with the rules, and with what memory says of those
/// that have had one process. All runs have ended.
pub(super) async fn logs_at_the_end(stage: &Stage, rules: &Rules) -> Result<(), String> {
    for (run, this) in rules.runs.iter().enumerate().filter(|(_, run)| !run.gone) {
        let record = stage.store().get(id(run)).await.map_err(|error| error.to_string())?;
        let record = record.ok_or_else(|| format!("{run} is not stored"))?;
        let stored = log(stage, &record).await?;
        let wrong = |what: &str| Err(format!("log of {run}: {what}:\n{}", lines(&stored)));
        if !stored.iter().zip(1..).all(|(event, seq)| event.seq == seq) {
            return wrong("its numbers have gaps");
        }
        let own = stored.iter().filter(|event| event.run == id(run));
        let told: Vec<_> = own.filter_map(|event| told_by(&event.kind)).collect();
        if told != this.told {
            return wrong(&format!("{told:?}, not {:?}", this.told));
        }
        let Some(found) = stage.run(run).filter(|_| stage.has_whole_log(run)) else { continue };
        let trace = testing::trace(&found).await;
        testing::check_trace(&trace).map_err(|what| format!("trace of {run}: {what}"))?;
        if lines(&trace) != lines(&stored) {
            return wrong(&format!("memory has\n{}and the store", lines(&trace)));
        }
    }
    Ok(())
}

/// Tells what events say, but for the instants of causes: a record has them to the millisecond.
fn lines(events: &[RunEvent]) -> String {
    let of = |event: &RunEvent| {
        let RunEvent { seq, run, kind, .. } = event;
        match kind {
            EventKind::Stopping(cause) | EventKind::StopRequested(cause) => {
                format!("  {seq} {run} stop: {:?} {:?}\n", cause.kind, cause.message)
            }
            kind => format!("  {seq} {run} {kind:?}\n"),
        }
    };
    events.iter().map(of).collect()
}

/// Reads the whole log of a tree, with what follows from the record of its root.
async fn log(stage: &Stage, record: &RunRecord) -> Result<Vec<RunEvent>, String> {
    let events = stage.store().events(record.run(), 0, 100_000).await;
    let events: Result<Vec<_>, _> =
        events.map_err(|error| error.to_string())?.into_iter().collect();
    let mut events = events.map_err(|fault| format!("{fault:?}"))?;
    let mut implied = ImpliedEvents::new(record.run());
    for event in &events {
        implied.saw(event);
    }
    events.extend(implied.missing(record));
    Ok(events)
}

fn told_by(kind: &EventKind) -> Option<Told> {
    Some(match kind {
        EventKind::Started => Told::Started,
        EventKind::Paused { .. } => Told::Paused,
        EventKind::Resumed { attempt } => Told::Resumed(*attempt),
        EventKind::Stopping(_) => Told::Stopping,
        EventKind::Ended(status) => Told::Ended(*status),
        EventKind::Quiesced => Told::Quiesced,
        _ => return None,
    })
}

/// The id of a run, the same in every process.
pub(super) fn id(run: usize) -> RunId {
    RunId::from_text(&format!("stored {run}"))
}

pub(super) fn number(rules: &Rules, id: RunId) -> Option<usize> {
    (0..rules.runs.len()).find(|run| self::id(*run) == id)
}

pub(super) fn lane_key(lane: u8) -> String {
    format!("lane {lane}")
}
