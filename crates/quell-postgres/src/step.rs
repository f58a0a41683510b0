//! [`Step`]: what becomes of a record, statement by statement.

use quell_core::store::{Accepted, Record, StopAccepted, StoredPause};
use quell_core::{EventKind, Payload, RunEvent, RunId, RunReport, RunStatus};
use quell_durable::{
    Write, bits, key_ttl_ms, millis, mode_number, number, owner_text, span, status_number,
};
use tokio_postgres::types::ToSql;

use crate::sql::Sql;
use crate::text::kept;

/// A value of a statement.
pub(crate) type Value<'a> = Box<dyn ToSql + Sync + Send + 'a>;

/// One statement of a record.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(crate) sql: Sql,
    pub(crate) values: Vec<Value<'a>>,
    /// Whether the record is refused if no row comes of it.
    pub(crate) needs_row: bool,
    /// How many bytes are stored by it. What takes bytes away yields how many.
    pub(crate) bytes: i64,
}

impl<'a> Step<'a> {
    fn new(sql: Sql, values: Vec<Value<'a>>) -> Self {
        Self { sql, values, needs_row: true, bytes: 0 }
    }

    fn with_bytes(mut self, bytes: usize) -> Self {
        self.bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self
    }

    fn without_need(mut self) -> Self {
        self.needs_row = false;
        self
    }

    /// Tells whether it yields how many bytes it has taken away, and how many keys it has left.
    pub(crate) fn frees(&self) -> bool {
        matches!(self.sql, Sql::Forget | Sql::RollBack)
    }
}

/// Adds the statements of a record, which a store of a name writes.
pub(crate) fn steps<'a>(write: &'a Write, node: &'a str, all: &mut Vec<Step<'a>>) {
    if write.is_stored_by_another() {
        return;
    }
    let record = &write.record;
    let (id, epoch) = (id(record.run()), number(record.epoch()));
    let first = |sql, mut rest: Vec<Value<'a>>| {
        let mut values: Vec<Value<'a>> = vec![Box::new(id), Box::new(epoch)];
        values.append(&mut rest);
        Step::new(sql, values)
    };
    match record {
        Record::Accepted(accepted) => accept(accepted, write, node, all),
        Record::Started { at, .. } => all.push(first(Sql::Start, vec![Box::new(millis(*at))])),
        Record::Event { event, .. } => {
            let values: Vec<Value<'_>> = vec![Box::new(seq_of(event)), Box::new(&*write.text)];
            all.push(first(Sql::Event, values).with_bytes(write.text.len() + ROW_BYTES));
            if matches!(event.kind, EventKind::Detached { .. }) {
                let of = self::id(event.run);
                all.push(Step::new(Sql::Detach, vec![Box::new(of)]).without_need());
            }
        }
        Record::StopAccepted(stop) => all.push(stopped(first, stop, write)),
        Record::Paused { pause, .. } => all.push(paused(first, pause)),
        Record::Resumed { attempt, answer, stood, .. } => {
            let bytes = answer.len();
            let values: Vec<Value<'_>> = vec![
                Box::new(answer.as_json()),
                Box::new(span(*stood)),
                Box::new(i64::from(*attempt)),
                Box::new(length(bytes)),
            ];
            all.push(first(Sql::Resume, values).with_bytes(bytes));
        }
        Record::Checkpoint { lane, state, at, .. } => {
            let values: Vec<Value<'_>> =
                vec![Box::new(kept(lane)), Box::new(millis(*at)), Box::new(state.as_json())];
            all.push(first(Sql::Save, values).with_bytes(state.len() + ROW_BYTES));
        }
        Record::HoldBegan { hold, .. } => {
            let values: Vec<Value<'_>> = vec![
                Box::new(i64::from(hold.nr)),
                Box::new(hold.what.as_str()),
                Box::new(kept(&hold.name)),
            ];
            all.push(first(Sql::HoldBegan, values));
        }
        Record::HoldEnded { nr, .. } => {
            all.push(first(Sql::HoldEnded, vec![Box::new(i64::from(*nr))]));
        }
        Record::Ended { report, rollback, .. } => {
            all.push(ended(first, report, write));
            if *rollback {
                all.push(Step::new(Sql::RollBack, vec![Box::new(id)]).without_need());
            }
        }
        Record::Quiesced { at, .. } => all.push(first(Sql::Quiesce, vec![Box::new(millis(*at))])),
        Record::Forgotten { at, .. } => all.push(first(Sql::Forget, vec![Box::new(millis(*at))])),
    }
}

fn accept<'a>(run: &'a Accepted, write: &'a Write, node: &'a str, all: &mut Vec<Step<'a>>) {
    let bytes = write.record.bytes();
    let text = |text: &'a str| (!text.is_empty()).then_some(text);
    let payload = |payload: &'a Option<Payload>| payload.as_ref().map(Payload::as_json);
    let values: Vec<Value<'a>> = vec![
        Box::new(id(run.run)),
        Box::new((run.root != run.run).then(|| id(run.root))),
        Box::new(run.parent.map(id)),
        Box::new(number(run.epoch)),
        Box::new(run.kind.as_str()),
        Box::new(kept(&run.name)),
        Box::new(run.owner.as_deref().map(kept)),
        Box::new(run.lane.as_deref().map(kept)),
        Box::new(text(&write.text)),
        Box::new(text(&write.annotations)),
        Box::new(run.key.as_ref().map(|key| kept(&key.key))),
        Box::new(run.key.as_ref().map(|key| &key.payload[..])),
        Box::new(payload(&run.spec)),
        Box::new(payload(&run.input)),
        Box::new(millis(run.at)),
        Box::new(run.due.map(millis)),
        Box::new(length(bytes)),
        Box::new(node),
    ];
    all.push(Step::new(Sql::Accept, values).with_bytes(bytes));
    if let Some(key) = &run.key {
        let values: Vec<Value<'a>> = vec![
            Box::new(key_owner(run)),
            Box::new(kept(&key.key)),
            Box::new(&key.payload[..]),
            Box::new(id(run.run)),
            Box::new(millis(run.at) - key_ttl_ms()),
        ];
        all.push(Step::new(Sql::Claim, values));
    }
    if !run.labels.is_empty() {
        let (keys, values): (Vec<_>, Vec<_>) =
            run.labels.iter().map(|(key, value)| (kept(key), kept(value))).unzip();
        let values: Vec<Value<'a>> = vec![Box::new(id(run.run)), Box::new(keys), Box::new(values)];
        all.push(Step::new(Sql::Label, values).without_need());
    }
}

fn stopped<'a>(
    first: impl FnOnce(Sql, Vec<Value<'a>>) -> Step<'a>,
    stop: &'a StopAccepted,
    write: &'a Write,
) -> Step<'a> {
    let bytes = write.text.len();
    let values: Vec<Value<'a>> = vec![
        Box::new(&*write.text),
        Box::new(mode_number(stop.mode)),
        Box::new(stop.hard_deadline.map(millis)),
        Box::new(stop.rollback),
        Box::new(length(bytes)),
    ];
    first(Sql::Stop, values).with_bytes(bytes)
}

fn paused<'a>(
    first: impl FnOnce(Sql, Vec<Value<'a>>) -> Step<'a>,
    pause: &'a StoredPause,
) -> Step<'a> {
    let bytes = pause.request.len();
    let values: Vec<Value<'a>> = vec![
        Box::new(pause.request.as_json()),
        Box::new(millis(pause.at)),
        Box::new(pause.asked_by.map(id)),
        Box::new(pause.expires_at.map(millis)),
        Box::new(pause.timeout.map(span)),
        Box::new(pause.timeout_stands),
        Box::new(i64::from(pause.attempt)),
        Box::new(status_number(RunStatus::Paused)),
        Box::new(length(bytes)),
    ];
    first(Sql::Pause, values).with_bytes(bytes)
}

fn ended<'a>(
    first: impl FnOnce(Sql, Vec<Value<'a>>) -> Step<'a>,
    report: &'a RunReport,
    write: &'a Write,
) -> Step<'a> {
    let bytes = write.text.len();
    let own = report.rows.first();
    let values: Vec<Value<'a>> = vec![
        Box::new(status_number(report.status)),
        Box::new(report.quiescent),
        Box::new(own.and_then(|row| row.quiesced_at).map(millis)),
        Box::new(&*write.text),
        Box::new(own.and_then(|row| row.ended_at).map(millis)),
        Box::new(write.started.map(millis)),
        Box::new(length(bytes)),
    ];
    first(Sql::End, values).with_bytes(bytes)
}

/// Yields the number of an event. A gap stands under the last number that it replaces.
pub(crate) fn seq_of(event: &RunEvent) -> i64 {
    match event.kind {
        EventKind::Lagged { to, .. } => bits(to),
        _ => bits(event.seq),
    }
}

/// Yields the owner of a key as its column keeps it.
pub(crate) fn key_owner(run: &Accepted) -> String {
    kept(&owner_text(run.owner.as_deref())).into_owned()
}

/// Yields an id as its column keeps it.
pub(crate) fn id(run: RunId) -> uuid::Uuid {
    run.as_uuid()
}

fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A row of a table besides its text, about. The statements that take rows away count as much.
const ROW_BYTES: usize = 64;
