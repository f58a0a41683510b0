//! A run as its row says.

use std::sync::Arc;
use std::time::SystemTime;

use quell_core::store::{Accepted, Omitted, RunRecord, StoreError, Stored, StoredHold};
use quell_core::{Payload, RunId, RunReport};
use quell_durable::{Fields, HoldTexts, Listed, id_of, parsed, read_run, unreadable};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use crate::fault::fault;
use crate::{hold, plain, schema};

/// The columns of a run, in the order in which [`read_run`] takes them: the first ones. A large
/// text is fetched from where it stands.
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

/// The columns of what a run was given, which a list need not read.
const ANNOTATIONS: &str =
    "iif(annotations = 0, (select text from large where run = ord and what = 4), annotations)";
const INPUT: &str = "iif(input = 0, (select text from large where run = ord and what = 1), input)";

/// Further ones, that a file of schema 1 lacks.
const COLUMNS_OF_PAUSES: &str =
    "iif(answer = 0, (select text from large where run = ord and what = 5), answer),
    attempt, stood, paused_at, pause_by, pause_expires, pause_timeout, pause_stands";

/// What it had to show in its last pause: a file of a schema before the seventh lacks them.
const COLUMNS_OF_SO_FAR: &str =
    "iif(partial = 0, (select text from large where run = ord and what = 6), partial),
    iif(summary = 0, (select text from large where run = ord and what = 7), summary), used";

/// Whether the run has a log.
const LOG: &str = "exists (select 1 from event where event.root = run.ord)";

/// What they are in such a file. A pause had no instant.
const NO_PAUSES: &str = "null, null, 0, coalesce(started, at), null, null, null, 0";

/// Yields the columns of a run, as they are in a file.
///
/// # Errors
///
/// Fails if the file cannot be read.
pub(crate) fn columns(on: &Connection) -> Result<String, StoreError> {
    columns_but(on, Omitted::Nothing)
}

/// As [`columns`], and reads no more of what is omitted than it needs.
///
/// # Errors
///
/// As [`columns`].
pub(crate) fn columns_but(on: &Connection, omitted: Omitted) -> Result<String, StoreError> {
    let schema = schema::number(on)?;
    let of_pauses = if schema < 2 { NO_PAUSES } else { COLUMNS_OF_PAUSES };
    // Schema 3 has them.
    let (of_holds, ended) = if schema < 3 { ("null", "null") } else { (hold::COLUMN, "run.ended") };
    let so_far = if schema < 7 { "null, null, null" } else { COLUMNS_OF_SO_FAR };
    let columns = if omitted == Omitted::Given {
        COLUMNS.replace(ANNOTATIONS, "null").replace(INPUT, "null")
    } else {
        COLUMNS.to_owned()
    };
    Ok(format!("{columns}, {of_pauses}, {so_far}, {of_holds}, {ended}, {LOG}"))
}

/// Reads a run.
pub(crate) fn run_of(row: &Row<'_>) -> Result<Listed<RunRecord>, StoreError> {
    let place: i64 = row.get(0).map_err(|error| fault(&error))?;
    let mut columns = Columns { row, next: 1, bytes: 0, plain: None };
    let value = match columns.take("id") {
        Ok(bytes) => read(id_of(bytes), &mut columns).map_err(|mut unreadable| {
            unreadable.run = Some(id_of(bytes));
            unreadable
        }),
        Err(error) => Err(unreadable(&format!("id of the run in row {place}"), &error.fault)),
    };
    Ok(Listed { place, bytes: columns.bytes, value })
}

fn read(run: RunId, columns: &mut Columns<'_, '_>) -> Stored<RunRecord> {
    let (mut record, ended_at) = read_run(run, columns)?;
    if let Some(Plain { output }) = columns.plain.take() {
        record.report = Some(Arc::new(plain_report(&record, ended_at, output)));
    }
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

/// The columns of a row, one after the other.
struct Columns<'a, 's> {
    row: &'a Row<'s>,
    next: usize,
    /// Bytes of the texts so far.
    bytes: usize,
    plain: Option<Plain>,
}

/// What a row has of a plain report.
struct Plain {
    output: Option<Payload>,
}

impl Columns<'_, '_> {
    fn take<T: rusqlite::types::FromSql>(&mut self, what: &str) -> Stored<T> {
        self.next += 1;
        self.row.get(self.next - 1).map_err(|error| unreadable(what, &error))
    }
}

impl<'a> Fields<'a> for Columns<'a, '_> {
    fn id(&mut self, what: &str) -> Stored<Option<[u8; 16]>> {
        self.take(what)
    }

    fn hash(&mut self, what: &str) -> Stored<Option<[u8; 32]>> {
        self.take(what)
    }

    fn number(&mut self, what: &str) -> Stored<Option<i64>> {
        self.take(what)
    }

    fn text(&mut self, what: &str) -> Stored<Option<&'a str>> {
        self.next += 1;
        let value = self.row.get_ref(self.next - 1).map_err(|error| unreadable(what, &error))?;
        let text = value.as_str_or_null().map_err(|error| unreadable(what, &error))?;
        self.bytes += text.map_or(0, str::len);
        Ok(text)
    }

    fn name(&mut self, what: &str) -> Stored<Option<Arc<str>>> {
        Ok(self.text(what)?.map(Arc::from))
    }

    fn report(&mut self) -> Stored<Option<&'a str>> {
        let value = self.row.get_ref(self.next).map_err(|error| unreadable("report", &error))?;
        let ValueRef::Blob(output) = value else { return self.text("report") };
        self.next += 1;
        self.bytes += output.len() + PLAIN_BYTES;
        let text = str::from_utf8(output).map_err(|error| unreadable("report", &error))?;
        let output = (!text.is_empty()).then(|| Payload::from_json_text(text)).transpose();
        let output = output.map_err(|error| unreadable("report", &error))?;
        self.plain = Some(Plain { output });
        Ok(None)
    }

    fn holds(&mut self) -> Stored<Vec<StoredHold>> {
        let what = "work that was under way";
        let Some(text) = self.text(what)? else { return Ok(Vec::new()) };
        let holds: Vec<HoldTexts> = parsed(what, text)?;
        Ok(holds.into_iter().map(|(nr, what, name)| StoredHold::new(nr, what, name)).collect())
    }
}

/// What a plain report has besides its output once it is made, about.
const PLAIN_BYTES: usize = 512;
