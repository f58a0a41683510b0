//! Events of a root as rows. Those of one append that follow one another share a row, and no row
//! says of an event what it says by itself: a short run has one or two rows, where it had eight
//! (bench `http -- stored`).
//!
//! A row has the numbers of its first and its last event, and as text an array with a place for
//! each: when it was, in milliseconds since 1970, the run if it is below the root, and the kind.
//! A row of several events has a text of at most [`ROW_BYTES_MAX`] bytes; an event that has more
//! has a row alone. Before schema 6 a row had one event as text, with all that belongs to it, and
//! no first number.

use std::fmt;

use quell_core::store::{StoreError, Stored, Unreadable};
use quell_core::{EventKind, RunEvent, RunId};
use quell_durable::{bits, instant, millis};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};
use serde_json::value::RawValue;

use crate::fault::{Fault, fault};
use crate::schema;

/// More events than fit into the text of one row.
pub(crate) const EVENTS_MAX: u64 = 64;

/// Bytes of the text of a row of several events. SQLite keeps such a row, which has 20 more, within
/// a page of the table, with others. Of a longer one it puts the rest, from 1,002 on, into pages
/// that nothing else is in.
pub(crate) const ROW_BYTES_MAX: usize = 960;

/// Writes the text of a row that has one event.
pub(crate) fn text_of(event: &RunEvent) -> serde_json::Result<String> {
    let run = (event.run != event.root).then_some(event.run);
    serde_json::to_string(&[(millis(event.at), run, &event.kind)])
}

/// Stores a row with so many events of a root, unless one of their numbers is taken.
pub(crate) fn insert(
    on: &Connection,
    (root, ord): (RunId, i64),
    (first, events): (u64, u64),
    text: &str,
) -> Result<(), Fault> {
    let last = first.saturating_add(events.saturating_sub(1));
    // Rows stand in the order of their events, so that only the next one may have one of these.
    let sql = "insert into event (root, seq, first, text) select ?1, ?2, ?3, ?4
        where coalesce(?2 < (select coalesce(first, seq) from event
            where root = ?1 and seq >= ?3 order by seq limit 1), true)";
    let values = params![ord, bits(last), bits(first), text];
    match on.prepare_cached(sql)?.execute(values)? {
        // Of several events that is said of each by itself, in a second look.
        0 => Err(Fault::Refused(StoreError::SeqTaken { root, seq: first })),
        _ => Ok(()),
    }
}

/// The columns that [`events_of`] takes, as they are in a file.
///
/// # Errors
///
/// Fails if the file cannot be read.
pub(crate) fn columns(on: &Connection) -> Result<&'static str, StoreError> {
    let is_old = schema::number(on)? < 6;
    Ok(if is_old { "e.seq, null, e.text" } else { "e.seq, e.first, e.text" })
}

/// An event that was read, or why it cannot be, and how many bytes its text has.
pub(crate) type Read = (Stored<RunEvent>, usize);

/// Reads the events of a row that come behind a number. Those of a text that cannot be read are
/// named one by one.
///
/// # Errors
///
/// Fails if the row cannot be read.
pub(crate) fn events_of(
    root: Option<RunId>,
    after: u64,
    row: &Row<'_>,
) -> Result<Vec<Read>, StoreError> {
    let read = || -> rusqlite::Result<(i64, Option<i64>, ValueRef<'_>)> {
        Ok((row.get(0)?, row.get(1)?, row.get_ref(2)?))
    };
    let (last, first, text) = read().map_err(|error| fault(&error))?;
    let (last, first) = (last.cast_unsigned(), first.map(i64::cast_unsigned));
    let unreadable = |seq, fault: &dyn fmt::Display| {
        let mut unreadable = Unreadable::new(root, "event", fault);
        unreadable.seq = Some(seq);
        unreadable
    };
    let text = text.as_str().map_err(|error| error.to_string());
    let bytes = text.as_ref().map_or(0, |text| text.len());
    let Some(first) = first else {
        let words = |error: serde_json::Error| error.to_string();
        let event = text.and_then(|text| serde_json::from_str(text).map_err(words));
        return Ok(vec![(event.map_err(|error| unreadable(last, &error)), bytes)]);
    };
    // One of a range that no row has is named by its last number.
    let is_possible = last.checked_sub(first).is_some_and(|more| more < EVENTS_MAX);
    let numbers = if is_possible { first..=last } else { last..=last };
    let is_behind = |seq: &u64| *seq > after;
    let places = match text.and_then(|text| places(text, first, last)) {
        Ok(places) => places,
        Err(error) => {
            let named = numbers.filter(is_behind).map(|seq| (Err(unreadable(seq, &error)), 0));
            return Ok(named.collect());
        }
    };
    let behind = numbers.zip(places).filter(|(seq, _)| is_behind(seq));
    let events = behind.map(|(seq, place)| {
        let event = event_in(root, seq, place.get());
        (event.map_err(|error| unreadable(seq, &error)), place.get().len())
    });
    Ok(events.collect())
}

/// Finds the places of the events from one number to another, or says why they are not there.
fn places(text: &str, first: u64, last: u64) -> Result<Vec<&RawValue>, String> {
    let places: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let has_all = last.checked_sub(first).is_some_and(|more| {
        more < EVENTS_MAX && u64::try_from(places.len()).is_ok_and(|count| count == more + 1)
    });
    if has_all { Ok(places) } else { Err(format!("{} events from {first}", places.len())) }
}

/// Reads an event from its place.
fn event_in(root: Option<RunId>, seq: u64, text: &str) -> Result<RunEvent, String> {
    let root = root.ok_or("its root is not there")?;
    let (at, run, kind): (i64, Option<RunId>, EventKind) =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    let at = instant(at).ok_or_else(|| format!("instant {at}"))?;
    // A gap has no number of its own.
    let seq = if matches!(kind, EventKind::Lagged { .. }) { 0 } else { seq };
    Ok(RunEvent::new(seq, root, run.unwrap_or(root), at, kind))
}
