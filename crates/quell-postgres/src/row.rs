//! A run as its row says.

use std::borrow::Cow;
use std::sync::Arc;

use quell_core::store::{Omitted, RunRecord, Stored, StoredHold};
use quell_durable::{Fields, HoldTexts, Listed, id_of, parsed, read_run, unreadable};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use crate::text::given;

/// The columns of a run, in the order in which [`run_of`] takes them. Whether it has a log is
/// looked up for each: for `exists` the server may rather read all events there are, once.
pub(crate) const COLUMNS: &str = "run.ord, run.id, run.root, run.parent, run.epoch, run.kind,
    run.name, run.owner, run.lane, run.labels, run.annotations, run.key, run.payload, run.spec,
    run.input, run.at, run.due, run.status, run.started, run.stop_epoch, run.stop_mode,
    run.stop_cause, run.stop_deadline, run.stop_rollback::int::int8 as stop_rollback, run.paused,
    run.report, run.quiescent::int::int8 as quiescent, run.quiesced, run.answer, run.attempt,
    run.stood, run.paused_at, run.pause_by, run.pause_expires, run.pause_timeout,
    run.pause_stands::int::int8 as pause_stands, run.partial, run.summary, run.used,
    (select json_agg(json_build_array(h.nr, h.what, h.name) order by h.nr)::text
        from hold h where h.run = run.ord) as holds,
    run.ended,
    coalesce((select 1 from event e where e.root = run.ord limit 1), 0)::int8 as log";

/// Writes the columns of a list that omits something, what they are read from besides, and how many
/// bytes a run has then. The texts of JSON stay as they are spelt. One with an escape that is no
/// character of the server is read whole.
pub(crate) fn columns_but(omitted: Omitted) -> (Cow<'static, str>, String, &'static str) {
    let (annotations, input) = match omitted {
        Omitted::Nothing => return (COLUMNS.into(), String::new(), "run.bytes"),
        Omitted::Given => ("null::text".to_owned(), "null::text".to_owned()),
        Omitted::Named { annotations, input_beside } => {
            let names: Vec<_> = annotations.iter().map(|name| literal(name)).collect();
            let is_read = format!(
                r"octet_length(run.annotations) > {LITTLE} and
                run.annotations !~* '\\u(0000|d[89a-f])'"
            );
            let rest = format!(
                "(select json_object_agg(key, value)::text from json_each(run.annotations::json)
                    where key not in ({}))",
                names.join(", ")
            );
            let has = format!("run.annotations::json -> {} is not null", literal(input_beside));
            let is_large = format!("octet_length(run.input) > {LITTLE} and {is_read}");
            (
                format!("case when {is_read} then {rest} else run.annotations end"),
                format!("case when {is_large} and {has} then null else run.input end"),
            )
        }
    };
    let given = format!(
        "cross join lateral (select {annotations} as annotations, {input} as input offset 0) given"
    );
    let columns = COLUMNS.replace("run.annotations", "given.annotations");
    let columns = columns.replace("run.input", "given.input");
    (columns.into(), given, SIZE_OF_LESS)
}

/// Bytes of a run of which something is not read.
const SIZE_OF_LESS: &str = "greatest(0, run.bytes - coalesce(octet_length(run.annotations), 0)
    - coalesce(octet_length(run.input), 0)) + coalesce(octet_length(given.annotations), 0)
    + coalesce(octet_length(given.input), 0)";

/// A text that has no more bytes is read as it is.
const LITTLE: usize = 4 << 10;

/// Writes a text as the server reads it.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Reads a run, whose columns begin behind so many others.
pub(crate) fn run_of(row: &Row, first: usize) -> Listed<RunRecord> {
    let mut columns = Columns { row, next: first, bytes: 0 };
    let place = columns.take("place").unwrap_or_default();
    let value = match columns.take::<Uuid>("id").map(|id| id_of(id.into_bytes())) {
        Ok(run) => read_run(run, &mut columns).map(|(record, _)| record).map_err(|mut error| {
            error.run = Some(run);
            error
        }),
        Err(error) => Err(unreadable(&format!("id of the run in row {place}"), &error.fault)),
    };
    Listed { place, bytes: columns.bytes, value }
}

/// The columns of a row, one after the other.
struct Columns<'a> {
    row: &'a Row,
    next: usize,
    /// Bytes of the texts so far.
    bytes: usize,
}

impl<'a> Columns<'a> {
    fn take<T: FromSql<'a>>(&mut self, what: &str) -> Stored<T> {
        self.next += 1;
        self.row.try_get(self.next - 1).map_err(|error| unreadable(what, &error))
    }
}

impl<'a> Fields<'a> for Columns<'a> {
    fn id(&mut self, what: &str) -> Stored<Option<[u8; 16]>> {
        Ok(self.take::<Option<Uuid>>(what)?.map(Uuid::into_bytes))
    }

    fn hash(&mut self, what: &str) -> Stored<Option<[u8; 32]>> {
        let Some(bytes) = self.take::<Option<&[u8]>>(what)? else { return Ok(None) };
        bytes.try_into().map(Some).map_err(|error| unreadable(what, &error))
    }

    fn number(&mut self, what: &str) -> Stored<Option<i64>> {
        self.take(what)
    }

    fn text(&mut self, what: &str) -> Stored<Option<&'a str>> {
        let text: Option<&str> = self.take(what)?;
        self.bytes += text.map_or(0, str::len);
        Ok(text)
    }

    fn name(&mut self, what: &str) -> Stored<Option<Arc<str>>> {
        Ok(self.text(what)?.map(|text| Arc::from(given(text))))
    }

    fn report(&mut self) -> Stored<Option<&'a str>> {
        self.text("report")
    }

    fn holds(&mut self) -> Stored<Vec<StoredHold>> {
        let what = "work that was under way";
        let Some(text) = self.text(what)? else { return Ok(Vec::new()) };
        let holds: Vec<HoldTexts> = parsed(what, text)?;
        let hold = |(nr, what, name): HoldTexts| StoredHold::new(nr, what, given(&name).into());
        Ok(holds.into_iter().map(hold).collect())
    }
}
