//! [`read_run`]: a run as its row says.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell_core::store::{
    Accepted, ClaimedKey, Epoch, RunRecord, StopAccepted, Stored, StoredHold, StoredPause,
    StoredSoFar, Unreadable,
};
use quell_core::{Payload, RunId, RunKind, Work};
use uuid::Uuid;

use crate::numbers::{MODES, instant, status_of};

/// Something that was read, with its place in the list and its bytes.
#[derive(Debug)]
pub struct Listed<T> {
    /// Its place: the number of its row.
    pub place: i64,
    /// The bytes of its texts, about.
    pub bytes: usize,
    /// What it is.
    pub value: Stored<T>,
}

/// The columns of the row of a run, one after the other, in the order in which [`read_run`] asks
/// for them. Each call names what is read, for the words of a fault.
pub trait Fields<'a> {
    /// Takes an id.
    ///
    /// # Errors
    ///
    /// Fails if it is none, as the other functions do.
    fn id(&mut self, what: &str) -> Stored<Option<[u8; 16]>>;

    /// Takes the hash of a payload.
    ///
    /// # Errors
    ///
    /// As [`id`](Self::id).
    fn hash(&mut self, what: &str) -> Stored<Option<[u8; 32]>>;

    /// Takes a whole number.
    ///
    /// # Errors
    ///
    /// As [`id`](Self::id).
    fn number(&mut self, what: &str) -> Stored<Option<i64>>;

    /// Takes a text that is JSON, or a word of ours.
    ///
    /// # Errors
    ///
    /// As [`id`](Self::id).
    fn text(&mut self, what: &str) -> Stored<Option<&'a str>>;

    /// Takes a text that callers have given as it is.
    ///
    /// # Errors
    ///
    /// As [`id`](Self::id).
    fn name(&mut self, what: &str) -> Stored<Option<Arc<str>>>;

    /// Takes the text of a report; none if there is none, or if the store makes it of the rest.
    ///
    /// # Errors
    ///
    /// As [`id`](Self::id).
    fn report(&mut self) -> Stored<Option<&'a str>>;

    /// Takes the work of the run that does not end with its process.
    ///
    /// # Errors
    ///
    /// As [`id`](Self::id).
    fn holds(&mut self) -> Stored<Vec<StoredHold>>;
}

/// Work as it stands in a column: number, sort and name.
pub type HoldTexts = (u32, Work, Arc<str>);

/// Reads a run, and yields it with when it ended.
///
/// # Errors
///
/// Fails if one of the columns cannot be read. Which run it is, the caller adds.
pub fn read_run<'a>(
    run: RunId,
    fields: &mut impl Fields<'a>,
) -> Stored<(RunRecord, Option<SystemTime>)> {
    let root = fields.id("root")?.map_or(run, id_of);
    let parent = fields.id("parent")?.map(id_of);
    let epoch = Epoch::from_u64(fields.number("epoch")?.unwrap_or_default().cast_unsigned());
    let kind = fields.text("kind")?.unwrap_or_default();
    let kind = RunKind::ALL
        .into_iter()
        .find(|it| it.as_str() == kind)
        .ok_or_else(|| unknown("kind", kind))?;
    let name = fields.name("name")?.unwrap_or_default();
    let (owner, lane) = (fields.name("owner")?, fields.name("lane")?);
    let labels = fields.text("labels")?.map(|text| parsed("labels", text)).transpose()?;
    let annotations = fields.text("annotations")?;
    let annotations = annotations.map(|text| parsed("annotations", text)).transpose()?;
    let (key, payload) = (fields.name("key")?, fields.hash("payload")?);
    let (spec, input) = (payload_of(fields, "spec")?, payload_of(fields, "input")?);
    let at = instant_of(fields, "at")?.ok_or_else(|| unknown("instant", "nothing"))?;
    let mut accepted = Accepted::new(run, kind, name, epoch, at);
    (accepted.root, accepted.parent, accepted.owner, accepted.lane) = (root, parent, owner, lane);
    accepted.labels = labels.unwrap_or_default();
    accepted.annotations = annotations.unwrap_or_default();
    accepted.key = key.zip(payload).map(|(key, payload)| ClaimedKey { key, payload });
    (accepted.spec, accepted.input) = (spec, input);
    accepted.due = instant_of(fields, "due")?;
    let mut record = RunRecord::new(accepted);
    let status = fields.number("status")?.unwrap_or_default();
    record.status = status_of(status).ok_or_else(|| unknown("status", &status.to_string()))?;
    record.started_at = instant_of(fields, "start")?;
    record.stop = stop(run, fields)?;
    let request = payload_of(fields, "request")?;
    let report = fields.report()?;
    record.quiescent = flag(fields, "quiescence")?;
    record.quiesced_at = instant_of(fields, "quiescence")?;
    pause(request, &mut record, fields)?;
    record.holds = fields.holds()?;
    let ended_at = instant_of(fields, "end")?;
    record.report = report.map(|text| parsed("report", text)).transpose()?.map(Arc::new);
    record.has_events = flag(fields, "log")?;
    Ok((record, ended_at))
}

/// Reads what belongs to pauses. That of the last one stays in the row when it is over, and what
/// the run had to show in it counts until the run ends.
fn pause<'a>(
    request: Option<Payload>,
    record: &mut RunRecord,
    fields: &mut impl Fields<'a>,
) -> Stored<()> {
    record.answer = payload_of(fields, "answer")?;
    let attempt = fields.number("attempt")?.unwrap_or_default();
    let attempt = u32::try_from(attempt).map_err(|error| unreadable("attempt", &error))?;
    record.attempt = attempt.max(record.epoch.attempt());
    record.stood = span_of(fields, "pauses")?.unwrap_or_default();
    let at = instant_of(fields, "pause")?;
    let asked_by = fields.id("pause")?.map(id_of);
    let expires_at = instant_of(fields, "pause")?;
    let timeout = span_of(fields, "pause")?;
    let timeout_stands = flag(fields, "pause")?;
    let (partial, summary) = (payload_of(fields, "partial")?, payload_of(fields, "summary")?);
    let used = fields.text("usage")?.map(|text| parsed("usage", text)).transpose()?;
    let so_far = StoredSoFar { partial, summary, used: used.unwrap_or_default() };
    let Some(request) = request else {
        record.so_far = if record.status.is_terminal() { StoredSoFar::default() } else { so_far };
        return Ok(());
    };
    let at = at.ok_or_else(|| unknown("instant of the pause", "nothing"))?;
    let mut pause = StoredPause::new(request, record.attempt, at);
    (pause.asked_by, pause.expires_at) = (asked_by, expires_at);
    (pause.timeout, pause.timeout_stands, pause.so_far) = (timeout, timeout_stands, so_far);
    record.paused = Some(pause);
    Ok(())
}

fn stop<'a>(run: RunId, fields: &mut impl Fields<'a>) -> Stored<Option<StopAccepted>> {
    let (epoch, mode) = (fields.number("stop")?, fields.number("stop")?);
    let cause = fields.text("cause")?;
    let deadline = instant_of(fields, "deadline")?;
    let rollback = flag(fields, "rollback")?;
    let (Some(epoch), Some(mode), Some(cause)) = (epoch, mode, cause) else { return Ok(None) };
    let named = usize::try_from(mode).ok().and_then(|nth| MODES.get(nth).copied());
    let named = named.ok_or_else(|| unknown("mode", &mode.to_string()))?;
    let epoch = Epoch::from_u64(epoch.cast_unsigned());
    let cause = Arc::new(parsed("cause", cause)?);
    let mut stop = StopAccepted::new(run, epoch, named, cause);
    (stop.hard_deadline, stop.rollback) = (deadline, rollback);
    Ok(Some(stop))
}

fn payload_of<'a>(fields: &mut impl Fields<'a>, what: &str) -> Stored<Option<Payload>> {
    let payload = |text| Payload::from_json_text(text).map_err(|error| unreadable(what, &error));
    fields.text(what)?.map(payload).transpose()
}

fn span_of<'a>(fields: &mut impl Fields<'a>, what: &str) -> Stored<Option<Duration>> {
    let Some(millis) = fields.number(what)? else { return Ok(None) };
    let millis = u64::try_from(millis).map_err(|error| unreadable(what, &error))?;
    Ok(Some(Duration::from_millis(millis)))
}

fn instant_of<'a>(fields: &mut impl Fields<'a>, what: &str) -> Stored<Option<SystemTime>> {
    let Some(millis) = fields.number(what)? else { return Ok(None) };
    instant(millis).map(Some).ok_or_else(|| unknown(what, &millis.to_string()))
}

fn flag<'a>(fields: &mut impl Fields<'a>, what: &str) -> Stored<bool> {
    Ok(fields.number(what)?.is_some_and(|number| number != 0))
}

/// Makes an id of its bytes.
pub const fn id_of(bytes: [u8; 16]) -> RunId {
    RunId::from_uuid(Uuid::from_bytes(bytes))
}

/// Reads a value out of JSON.
///
/// # Errors
///
/// Fails if it is none.
pub fn parsed<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Stored<T> {
    serde_json::from_str(text).map_err(|error| unreadable(what, &error))
}

/// Names what of a run cannot be read. Which run it is, the caller adds.
pub fn unreadable(what: &str, fault: &dyn std::fmt::Display) -> Unreadable {
    Unreadable::new(None, what, fault)
}

fn unknown(what: &str, found: &str) -> Unreadable {
    unreadable(what, &format!("unknown: {found}"))
}
