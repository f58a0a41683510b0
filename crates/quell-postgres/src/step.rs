//! [`Step`]: a statement, and those that a record has for itself.

use quell_core::store::{Accepted, Record, StopAccepted, StoredPause};
use quell_core::{EventKind, Payload, RunId, RunStatus};
use quell_durable::{
    Write, key_ttl_ms, millis, mode_number, number, owner_text, span, status_number, usage_text,
};
use tokio_postgres::types::ToSql;

use crate::lanes::rule_of;
use crate::sql::Sql;
use crate::text::kept;

/// A value of a statement.
pub(crate) type Value<'a> = Box<dyn ToSql + Sync + Send + 'a>;

/// One statement of a record.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(crate) sql: Sql,
    pub(crate) values: Vec<Value<'a>>,
    /// How many rows come of it, or a record is refused. Zero is for those that refuse none.
    pub(crate) rows: u64,
    /// How many bytes are stored by it. What takes bytes away yields how many.
    pub(crate) bytes: i64,
}

impl<'a> Step<'a> {
    fn new(sql: Sql, values: Vec<Value<'a>>) -> Self {
        Self::of_rows(sql, values, 1)
    }

    pub(crate) fn of_rows(sql: Sql, values: Vec<Value<'a>>, rows: usize) -> Self {
        Self { sql, values, rows: rows as u64, bytes: 0 }
    }

    pub(crate) fn with_bytes(mut self, bytes: usize) -> Self {
        self.bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self
    }

    fn without_need(mut self) -> Self {
        self.rows = 0;
        self
    }

    /// Tells whether it yields rows: how many bytes it has taken away, and how many keys it has
    /// left; or stops; or how a root stands in its lane.
    pub(crate) fn yields(&self) -> bool {
        matches!(self.sql, Sql::Forget | Sql::RollBack | Sql::Come | Sql::AcceptInLane)
    }
}

/// Adds the statements of a record, which a store of a name writes, but for those that several
/// share: [`crate::gather`] makes these.
pub(crate) fn steps<'a>(write: &'a Write, node: &'a str, all: &mut Vec<Step<'a>>) {
    let record = &write.record;
    let (id, epoch) = (id(record.run()), number(record.epoch()));
    let first = |sql, mut rest: Vec<Value<'a>>| {
        let mut values: Vec<Value<'a>> = vec![Box::new(id), Box::new(epoch)];
        values.append(&mut rest);
        Step::new(sql, values)
    };
    match record {
        Record::Accepted(accepted) => accept(accepted, write, node, all),
        Record::Annotated { .. } => {
            let (text, bytes) = (&write.annotations, write.annotations.len());
            let kept = (!text.is_empty()).then_some(&**text);
            let values: Vec<Value<'_>> = vec![Box::new(kept), Box::new(length(bytes))];
            all.push(first(Sql::Annotate, values).with_bytes(bytes));
        }
        Record::Started { at, .. } => all.push(first(Sql::Start, vec![Box::new(millis(*at))])),
        Record::Event { event, .. } => {
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
        Record::Ended { rollback, .. } => {
            if *rollback {
                all.push(Step::new(Sql::RollBack, vec![Box::new(id)]).without_need());
            }
        }
        Record::Quiesced { at, .. } => all.push(first(Sql::Quiesce, vec![Box::new(millis(*at))])),
        Record::Forgotten { at, .. } => {
            let values: Vec<Value<'_>> =
                vec![Box::new(millis(*at)), Box::new(key_ttl_ms()), Box::new(node)];
            all.push(first(Sql::Forget, values));
        }
    }
}

fn accept<'a>(run: &'a Accepted, write: &'a Write, node: &'a str, all: &mut Vec<Step<'a>>) {
    let bytes = write.record.bytes();
    let text = |text: &'a str| (!text.is_empty()).then_some(text);
    let payload = |payload: &'a Option<Payload>| payload.as_ref().map(Payload::as_json);
    let mut values: Vec<Value<'a>> = vec![
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
    let rule = rule_of(run).map(|(_, rule)| rule);
    values.extend(rule.map(|rule| Box::new(rule) as Value<'a>));
    let sql = if rule.is_some() { Sql::AcceptInLane } else { Sql::Accept };
    all.push(Step::new(sql, values).with_bytes(bytes));
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
        let values: Vec<Value<'a>> = vec![
            Box::new(id(run.run)),
            Box::new(keys),
            Box::new(values),
            Box::new(number(run.epoch)),
            Box::new(millis(run.at)),
        ];
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
    let so_far = &pause.so_far;
    let bytes = pause.request.len() + so_far.bytes();
    let text = |said: &'a Option<Payload>| said.as_ref().map(Payload::as_json);
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
        Box::new(text(&so_far.partial)),
        Box::new(text(&so_far.summary)),
        Box::new(usage_text(so_far.used)),
    ];
    first(Sql::Pause, values).with_bytes(bytes)
}

/// Yields the owner of a key as its column keeps it.
pub(crate) fn key_owner(run: &Accepted) -> String {
    kept(&owner_text(run.owner.as_deref())).into_owned()
}

/// Yields an id as its column keeps it.
pub(crate) fn id(run: RunId) -> uuid::Uuid {
    run.as_uuid()
}

pub(crate) fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A row of a table besides its text, about. The statements that take rows away count as much.
pub(crate) const ROW_BYTES: usize = 64;
