//! A run as its row says.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell_core::store::{
    Accepted, ClaimedKey, Epoch, RunRecord, StopAccepted, StoreError, Stored, StoredPause,
    Unreadable,
};
use quell_core::{Payload, RunId, RunReport};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use uuid::Uuid;

use crate::bind::status_of;
use crate::encode::{KINDS, MODES, instant};
use crate::fault::fault;
use crate::{hold, plain, schema};

/// Something that was read, with its place in the list and its bytes.
pub(crate) struct Listed<T> {
    pub(crate) place: i64,
    pub(crate) bytes: usize,
    pub(crate) value: Stored<T>,
}

/// The columns of a run, in the order in which [`run_of`] takes them: the first ones. A large text
/// is fetched from where it stands.
const COLUMNS: &str = "ord, id, root, parent, run.epoch, kind, name, owner, lane, labels,
    iif(annotations = 0, (select text from large where run = ord and what = 4), annotations),
    run.key, payload,
    iif(spec = 0, (select text from large where run = ord and what = 0), spec),
    iif(input = 0, (select text from large where run = ord and what = 1), input),
    at, due, status, started, stop_epoch, stop_mode, stop_cause, stop_deadline,
    stop_rollback,
    iif(paused = 0, (select text from large where run = ord and what = 2), paused),
    iif(report = 0, (select text from large where run = ord and what = 3), report),
    quiescent, quiesced";

/// Further ones, that a file of schema 1 lacks.
const COLUMNS_OF_PAUSES: &str =
    "iif(answer = 0, (select text from large where run = ord and what = 5), answer),
    attempt, stood, paused_at, pause_by, pause_expires, pause_timeout, pause_stands";

/// What they are in such a file. A pause had no instant.
const NO_PAUSES: &str = "null, null, 0, coalesce(started, at), null, null, null, 0";

/// Yields the columns of a run, as they are in a file.
///
/// # Errors
///
/// Fails if the file cannot be read.
pub(crate) fn columns(on: &Connection) -> Result<String, StoreError> {
    let schema = schema::number(on)?;
    let of_pauses = if schema < 2 { NO_PAUSES } else { COLUMNS_OF_PAUSES };
    // Schema 3 has them.
    let (of_holds, ended) = if schema < 3 { ("null", "null") } else { (hold::COLUMN, "run.ended") };
    Ok(format!("{COLUMNS}, {of_pauses}, {of_holds}, {ended}"))
}

/// Reads a run.
pub(crate) fn run_of(row: &Row<'_>) -> Result<Listed<RunRecord>, StoreError> {
    let place: i64 = row.get(0).map_err(|error| fault(&error))?;
    let mut columns = Columns { row, next: 1, bytes: 0 };
    let value = match columns.take("id") {
        Ok(bytes) => read(id(bytes), &mut columns).map_err(|mut unreadable| {
            unreadable.run = Some(id(bytes));
            unreadable
        }),
        Err(error) => Err(unreadable(&format!("id of the run in row {place}"), &error.fault)),
    };
    Ok(Listed { place, bytes: columns.bytes, value })
}

fn read(run: RunId, columns: &mut Columns<'_, '_>) -> Stored<RunRecord> {
    let root = columns.take::<Option<[u8; 16]>>("root")?.map_or(run, id);
    let parent = columns.take::<Option<[u8; 16]>>("parent")?.map(id);
    let epoch = Epoch::from_u64(columns.take::<i64>("epoch")?.cast_unsigned());
    let kind = columns.text("kind")?.unwrap_or_default();
    let kind =
        KINDS.into_iter().find(|it| it.as_str() == kind).ok_or_else(|| unknown("kind", kind))?;
    let name = columns.text("name")?.unwrap_or_default().into();
    let owner = columns.text("owner")?.map(Arc::from);
    let lane = columns.text("lane")?.map(Arc::from);
    let labels = columns.text("labels")?.map(|text| parsed("labels", text)).transpose()?;
    let annotations = columns.text("annotations")?;
    let annotations = annotations.map(|text| parsed("annotations", text)).transpose()?;
    let key = columns.text("key")?.map(Arc::from);
    let payload: Option<[u8; 32]> = columns.take("payload")?;
    let (spec, input) = (columns.payload("spec")?, columns.payload("input")?);
    let at = columns.instant("at")?.ok_or_else(|| unknown("instant", "nothing"))?;
    let mut accepted = Accepted::new(run, kind, name, epoch, at);
    (accepted.root, accepted.parent, accepted.owner, accepted.lane) = (root, parent, owner, lane);
    accepted.labels = labels.unwrap_or_default();
    accepted.annotations = annotations.unwrap_or_default();
    accepted.key = key.zip(payload).map(|(key, payload)| ClaimedKey { key, payload });
    (accepted.spec, accepted.input) = (spec, input);
    accepted.due = columns.instant("due")?;
    let mut record = RunRecord::new(accepted);
    let status: i64 = columns.take("status")?;
    record.status = status_of(status).ok_or_else(|| unknown("status", &status.to_string()))?;
    record.started_at = columns.instant("start")?;
    record.stop = stop(run, columns)?;
    let request = columns.payload("request")?;
    let report = columns.report()?;
    record.quiescent = columns.take("quiescence")?;
    record.quiesced_at = columns.instant("quiescence")?;
    pause(request, &mut record, columns)?;
    if let Some(text) = columns.text("work that was under way")? {
        let holds: Vec<hold::Texts> = parsed("work that was under way", text)?;
        record.holds = holds.into_iter().map(hold::of).collect();
    }
    let ended_at = columns.instant("end")?;
    record.report = match report {
        Report::None => None,
        Report::Full(text) => Some(Arc::new(parsed("report", text)?)),
        Report::Plain(output) => Some(Arc::new(plain_report(&record, ended_at, output))),
    };
    Ok(record)
}

/// Makes a plain report of what the row says.
fn plain_report(
    record: &RunRecord,
    ended_at: Option<SystemTime>,
    output: Option<Payload>,
) -> RunReport {
    let Accepted { run, kind, name, at: queued_at, .. } = &record.accepted;
    plain::report_of(plain::Facts {
        run: *run,
        kind: *kind,
        name: Arc::clone(name),
        queued_at: *queued_at,
        started_at: record.started_at,
        ended_at,
        quiesced_at: record.quiesced_at,
        output,
    })
}

/// Reads what belongs to pauses. That of the last one stays in the row when it is over.
fn pause(
    request: Option<Payload>,
    record: &mut RunRecord,
    columns: &mut Columns<'_, '_>,
) -> Stored<()> {
    record.answer = columns.payload("answer")?;
    let attempt: Option<u32> = columns.take("attempt")?;
    record.attempt = attempt.unwrap_or_default().max(record.epoch.attempt());
    record.stood = columns.span("pauses")?.unwrap_or_default();
    let at = columns.instant("pause")?;
    let asked_by = columns.take::<Option<[u8; 16]>>("pause")?.map(id);
    let expires_at = columns.instant("pause")?;
    let timeout = columns.span("pause")?;
    let timeout_stands = columns.take("pause")?;
    let Some(request) = request else { return Ok(()) };
    let at = at.ok_or_else(|| unknown("instant of the pause", "nothing"))?;
    let mut pause = StoredPause::new(request, record.attempt, at);
    (pause.asked_by, pause.expires_at) = (asked_by, expires_at);
    (pause.timeout, pause.timeout_stands) = (timeout, timeout_stands);
    record.paused = Some(pause);
    Ok(())
}

fn stop(run: RunId, columns: &mut Columns<'_, '_>) -> Stored<Option<StopAccepted>> {
    let epoch: Option<i64> = columns.take("stop")?;
    let mode: Option<i64> = columns.take("stop")?;
    let cause = columns.text("cause")?;
    let deadline = columns.instant("deadline")?;
    let rollback = columns.take("rollback")?;
    let (Some(epoch), Some(mode), Some(cause)) = (epoch, mode, cause) else { return Ok(None) };
    let named = usize::try_from(mode).ok().and_then(|nth| MODES.get(nth).copied());
    let named = named.ok_or_else(|| unknown("mode", &mode.to_string()))?;
    let epoch = Epoch::from_u64(epoch.cast_unsigned());
    let cause = Arc::new(parsed("cause", cause)?);
    let mut stop = StopAccepted::new(run, epoch, named, cause);
    (stop.hard_deadline, stop.rollback) = (deadline, rollback);
    Ok(Some(stop))
}

/// What a row has of a report.
enum Report<'a> {
    None,
    /// Its text.
    Full(&'a str),
    /// The output of a plain one.
    Plain(Option<Payload>),
}

/// The columns of a row, one after the other.
struct Columns<'a, 's> {
    row: &'a Row<'s>,
    next: usize,
    /// Bytes of the texts so far.
    bytes: usize,
}

impl<'a> Columns<'a, '_> {
    fn take<T: rusqlite::types::FromSql>(&mut self, what: &str) -> Stored<T> {
        self.next += 1;
        self.row.get(self.next - 1).map_err(|error| unreadable(what, &error))
    }

    fn text(&mut self, what: &str) -> Stored<Option<&'a str>> {
        self.next += 1;
        let value = self.row.get_ref(self.next - 1).map_err(|error| unreadable(what, &error))?;
        let text = value.as_str_or_null().map_err(|error| unreadable(what, &error))?;
        self.bytes += text.map_or(0, str::len);
        Ok(text)
    }

    fn report(&mut self) -> Stored<Report<'a>> {
        let value = self.row.get_ref(self.next).map_err(|error| unreadable("report", &error))?;
        let ValueRef::Blob(output) = value else {
            return Ok(self.text("report")?.map_or(Report::None, Report::Full));
        };
        self.next += 1;
        self.bytes += output.len() + PLAIN_BYTES;
        let text = str::from_utf8(output).map_err(|error| unreadable("report", &error))?;
        let output = (!text.is_empty()).then(|| Payload::from_json_text(text)).transpose();
        Ok(Report::Plain(output.map_err(|error| unreadable("report", &error))?))
    }

    fn payload(&mut self, what: &str) -> Stored<Option<Payload>> {
        let payload =
            |text| Payload::from_json_text(text).map_err(|error| unreadable(what, &error));
        self.text(what)?.map(payload).transpose()
    }

    fn span(&mut self, what: &str) -> Stored<Option<Duration>> {
        let Some(millis) = self.take::<Option<i64>>(what)? else { return Ok(None) };
        let millis = u64::try_from(millis).map_err(|error| unreadable(what, &error))?;
        Ok(Some(Duration::from_millis(millis)))
    }

    fn instant(&mut self, what: &str) -> Stored<Option<SystemTime>> {
        let Some(millis) = self.take::<Option<i64>>(what)? else { return Ok(None) };
        instant(millis).map(Some).ok_or_else(|| unknown(what, &millis.to_string()))
    }
}

fn id(bytes: [u8; 16]) -> RunId {
    RunId::from_uuid(Uuid::from_bytes(bytes))
}

fn parsed<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Stored<T> {
    serde_json::from_str(text).map_err(|error| unreadable(what, &error))
}

fn unreadable(what: &str, fault: &dyn std::fmt::Display) -> Unreadable {
    Unreadable::new(None, what, fault)
}

fn unknown(what: &str, found: &str) -> Unreadable {
    unreadable(what, &format!("unknown: {found}"))
}

/// What a plain report has besides its output once it is made, about.
const PLAIN_BYTES: usize = 512;
