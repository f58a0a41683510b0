//! Values of everything that is stored, drawn.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use quell_core::{
    Abandoned, Cause, CauseKind, Counts, EventKind, HookOutcome, Payload, RunEvent, RunId, RunKind,
    RunReport, RunRow, RunStatus, ToolOutcome, Usage, Work,
};

pub(crate) fn id() -> impl Strategy<Value = RunId> {
    any::<u128>().prop_map(|bits| RunId::from_text(&format!("{bits:032x}")))
}

/// To the millisecond, as it is written.
pub(crate) fn instant() -> impl Strategy<Value = SystemTime> {
    (0..253_402_300_800_000_u64).prop_map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms))
}

fn text() -> impl Strategy<Value = Arc<str>> {
    any::<String>().prop_map(Arc::from)
}

/// Never null where it may be absent: both are one text.
fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        any::<String>().prop_map(Payload::from),
        any::<i64>().prop_map(Payload::from),
        any::<f64>().prop_map(|number| Payload::from(if number.is_finite() {
            number
        } else {
            0.0
        })),
        vec(any::<String>(), 0..4).prop_map(|texts| Payload::json(&texts).unwrap()),
        Just(Payload::from_json_text(r#"{"z":1e400,"a":0.1000,"z":[[[{}]]]}"#).unwrap()),
    ]
}

pub(crate) fn kind() -> impl Strategy<Value = RunKind> {
    prop_oneof![
        Just(RunKind::Agent),
        Just(RunKind::Team),
        Just(RunKind::Workflow),
        Just(RunKind::Step),
        Just(RunKind::Branch),
        Just(RunKind::Attempt),
    ]
}

pub(crate) fn status() -> impl Strategy<Value = RunStatus> {
    (0..RunStatus::ALL.len()).prop_map(|nth| RunStatus::ALL[nth])
}

fn work() -> impl Strategy<Value = Work> {
    prop_oneof![
        Just(Work::Body),
        Just(Work::Hook),
        Just(Work::Blocking),
        Just(Work::Process),
        Just(Work::Remote),
        Just(Work::Node),
    ]
}

fn cause_kind() -> impl Strategy<Value = CauseKind> {
    prop_oneof![
        Just(CauseKind::UserRequest),
        Just(CauseKind::ParentStopped),
        Just(CauseKind::ParentFailed),
        Just(CauseKind::SiblingFailed),
        Just(CauseKind::RaceLost),
        Just(CauseKind::QuorumReached),
        Just(CauseKind::Superseded),
        Just(CauseKind::Deadline),
        Just(CauseKind::IdleTimeout),
        Just(CauseKind::BudgetExceeded),
        Just(CauseKind::Disconnected),
        Just(CauseKind::Shutdown),
        Just(CauseKind::LeaseLost),
        Just(CauseKind::ExternalToken),
        Just(CauseKind::PauseRequested),
    ]
}

pub(crate) fn cause() -> impl Strategy<Value = Arc<Cause>> {
    (cause_kind(), instant(), id(), option::of(text()), option::of(text())).prop_map(
        |(kind, at, origin, message, by)| {
            let mut cause = Cause::new(kind, at, origin);
            (cause.message, cause.by) = (message, by);
            Arc::new(cause)
        },
    )
}

pub(crate) fn usage() -> impl Strategy<Value = Usage> {
    any::<[u64; 3]>().prop_map(|[input_tokens, output_tokens, cost_micros]| Usage {
        input_tokens,
        output_tokens,
        cost_micros,
    })
}

fn tool_outcome() -> impl Strategy<Value = ToolOutcome> {
    prop_oneof![
        option::of(payload()).prop_map(ToolOutcome::Result),
        text().prop_map(ToolOutcome::Error),
        Just(ToolOutcome::Cancelled),
        Just(ToolOutcome::Unknown),
    ]
}

fn hook_outcome() -> impl Strategy<Value = HookOutcome> {
    prop_oneof![
        Just(HookOutcome::Finished),
        Just(HookOutcome::Panicked),
        Just(HookOutcome::Aborted),
        Just(HookOutcome::Skipped),
    ]
}

/// One of each kind.
fn event_kind() -> impl Strategy<Value = EventKind> {
    let of_life = prop_oneof![
        (option::of(id()), kind(), text(), any::<bool>()).prop_map(
            |(parent, kind, name, shielded)| EventKind::Queued { parent, kind, name, shielded }
        ),
        Just(EventKind::Started),
        cause().prop_map(EventKind::StopRequested),
        cause().prop_map(EventKind::Stopping),
        (any::<u32>(), hook_outcome())
            .prop_map(|(hook, outcome)| EventKind::HookEnded { hook, outcome }),
        Just(EventKind::Aborted),
        (work(), text()).prop_map(|(what, name)| EventKind::Abandoned { what, name }),
        status().prop_map(EventKind::Ended),
        (id(), text()).prop_map(|(from, name)| EventKind::Detached { from, name }),
        Just(EventKind::Quiesced),
    ];
    let of_work = prop_oneof![
        payload().prop_map(EventKind::Emitted),
        payload().prop_map(|request| EventKind::Paused { request }),
        any::<u32>().prop_map(|attempt| EventKind::Resumed { attempt }),
        // Halves: an `f32` that is written as it is read.
        (0..=2_u8).prop_map(|halves| EventKind::Progress(f32::from(halves) / 2.0)),
        usage().prop_map(EventKind::Used),
        (text(), text(), payload()).prop_map(|(call, name, input)| EventKind::ToolStarted {
            call,
            name,
            input
        }),
        (text(), tool_outcome()).prop_map(|(call, outcome)| EventKind::ToolEnded { call, outcome }),
        (text(), text()).prop_map(|(name, unmet)| EventKind::Skipped { name, unmet }),
        (instant(), option::of(text()))
            .prop_map(|(decided_at, decided_by)| EventKind::Decided { decided_at, decided_by }),
        instant().prop_map(|settled_at| EventKind::Settled { settled_at }),
        (text(), any::<u32>(), any::<u32>()).prop_map(|(what, bytes, max)| EventKind::Refused {
            what,
            bytes: bytes as usize,
            bytes_max: max as usize
        }),
        any::<[u64; 2]>().prop_map(|[from, to]| EventKind::Lagged { from, to }),
    ];
    prop_oneof![of_life, of_work]
}

pub(crate) fn event() -> impl Strategy<Value = RunEvent> {
    (any::<u64>(), id(), id(), instant(), event_kind())
        .prop_map(|(seq, root, run, at, kind)| RunEvent::new(seq, root, run, at, kind))
}

fn abandoned() -> impl Strategy<Value = Abandoned> {
    (id(), text(), work(), option::of(text())).prop_map(|(run, name, what, site)| {
        let mut abandoned = Abandoned::new(run, name, what);
        abandoned.site = site;
        abandoned
    })
}

pub(crate) fn row() -> impl Strategy<Value = RunRow> {
    let names = (id(), kind(), text(), status(), option::of(id()), option::of(id()));
    let times = (instant(), vec(option::of(instant()), 4));
    let values = (vec(option::of(payload()), 3), option::of(text()), vec(text(), 0..3));
    let facts = (any::<[u32; 3]>(), any::<[bool; 2]>(), usage());
    let stop = (option::of(cause()), vec(abandoned(), 0..3));
    (names, times, values, facts, stop).prop_map(|(names, times, values, facts, stop)| {
        let (run, kind, name, status, parent, detached_from) = names;
        let mut row = RunRow::new(run, kind, name, status, times.0);
        (row.parent, row.detached_from) = (parent, detached_from);
        (row.started_at, row.stopped_at) = (times.1[0], times.1[1]);
        (row.ended_at, row.quiesced_at) = (times.1[2], times.1[3]);
        (row.output, row.partial) = (values.0[0].clone(), values.0[1].clone());
        (row.summary, row.error, row.cleanup_errors) = (values.0[2].clone(), values.1, values.2);
        [row.depth, row.hooks_skipped, row.late_output] = facts.0;
        [row.aborted, row.quiescent] = facts.1;
        row.usage = facts.2;
        (row.cause, row.abandoned) = stop;
        row
    })
}

pub(crate) fn report() -> impl Strategy<Value = RunReport> {
    (vec(row(), 1..4), vec(status(), 0..9)).prop_map(|(rows, omitted)| {
        let mut counts = Counts::default();
        for status in omitted {
            counts.add(status);
        }
        RunReport::new(rows, counts)
    })
}
