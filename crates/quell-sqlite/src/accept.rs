//! A run is accepted, and the keys of those that were.

use std::time::SystemTime;

use quell_core::store::{Accepted, Claim, ClaimedKey, Epoch, StoreError};
use quell_core::{RunId, RunStatus};
use quell_durable::{Write, id_of, key_ttl_ms, millis, number, owner_text, status_number};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::bind::{inline, inline_payload, put_large};
use crate::encode::Large;
use crate::fault::Fault;
use crate::plain::INLINE_BYTES_MAX;

/// Stores a run that was accepted. `keys` is how many keys are kept of runs that left, if that is
/// known.
pub(crate) fn accept(
    on: &Connection,
    keys: &mut Option<i64>,
    run: &Accepted,
    write: &Write,
) -> Result<(), Fault> {
    let Write { text: labels, annotations, .. } = write;
    let id = run.run.as_uuid().into_bytes();
    let sql =
        "insert into run (id, root, parent, epoch, kind, name, owner, lane, labels, annotations,
        key, payload, spec, input, at, due, status)
        values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
        on conflict do nothing";
    let is_child = run.root != run.run;
    let inserted = on.prepare_cached(sql)?.execute(params![
        id,
        is_child.then(|| run.root.as_uuid().into_bytes()),
        run.parent.map(|parent| parent.as_uuid().into_bytes()),
        number(run.epoch),
        run.kind.as_str(),
        &*run.name,
        run.owner.as_deref(),
        run.lane.as_deref(),
        (!labels.is_empty()).then_some(&**labels),
        (!annotations.is_empty()).then(|| inline(annotations)),
        run.key.as_ref().map(|key| &*key.key),
        run.key.as_ref().map(|key| key.payload),
        inline_payload(run.spec.as_ref()),
        inline_payload(run.input.as_ref()),
        millis(run.at),
        run.due.map(millis),
        status_number(RunStatus::Queued),
    ])?;
    if inserted == 0 {
        return Err(Fault::Refused(StoreError::Exists { run: run.run }));
    }
    let ord = on.last_insert_rowid();
    if is_child {
        below(on, run.root, run.epoch)?;
    }
    if let Some(key) = &run.key {
        take_key(on, keys, run, key)?;
    }
    for (key, value) in &run.labels {
        let sql = "insert into label (run, key, value) values (?, ?, ?)";
        on.prepare_cached(sql)?.execute(params![ord, key, value])?;
    }
    for (what, payload) in [(Large::Spec, &run.spec), (Large::Input, &run.input)] {
        if let Some(payload) = payload {
            put_large(on, run.run, what, payload.as_json())?;
        }
    }
    Ok(put_large(on, run.run, Large::Annotations, annotations)?)
}

/// Tells whether a record of a run takes more than one statement.
pub(crate) fn takes_several(run: &Accepted, annotations: &str) -> bool {
    let large = [&run.spec, &run.input].into_iter().flatten();
    run.root != run.run
        || run.key.is_some()
        || !run.labels.is_empty()
        || annotations.len() > INLINE_BYTES_MAX
        || large.into_iter().any(|payload| payload.len() > INLINE_BYTES_MAX)
}

/// Checks that an epoch may accept runs below a root.
fn below(on: &Connection, root: RunId, epoch: Epoch) -> Result<(), Fault> {
    let mut statement = on.prepare_cached("select epoch from run where id = ?")?;
    let id = root.as_uuid().into_bytes();
    let current: Option<i64> = statement.query_row([id], |row| row.get(0)).optional()?;
    let Some(current) = current else {
        return Err(Fault::Refused(StoreError::Unknown { run: root }));
    };
    let current = Epoch::from_u64(current.cast_unsigned());
    if epoch < current {
        return Err(Fault::Refused(StoreError::Fenced { run: root, epoch, current }));
    }
    Ok(())
}

fn take_key(
    on: &Connection,
    keys: &mut Option<i64>,
    run: &Accepted,
    key: &ClaimedKey,
) -> Result<(), Fault> {
    let owner = owner_text(run.owner.as_deref());
    let found = claimed(on, &owner, &key.key)?;
    let holds =
        |(claim, free_at): &(Claim, Option<i64>)| is_held(*free_at, run.at).then_some(*claim);
    if let Some(claim) = found.as_ref().and_then(holds) {
        return Err(Fault::Refused(StoreError::KeyClaimed {
            run: claim.run,
            is_same_payload: claim.payload == key.payload,
            is_forgotten: claim.is_forgotten,
        }));
    }
    if let (Some(_), Some(keys)) = (found, keys) {
        // It is not that of a run that left any more.
        *keys -= 1;
    }
    let sql = "insert or replace into claim (owner, key, payload, run) values (?, ?, ?, ?)";
    let id = run.run.as_uuid().into_bytes();
    on.prepare_cached(sql)?.execute(params![owner, &*key.key, key.payload, id])?;
    Ok(())
}

/// Reads which run has a key, or had it, at an instant.
pub(crate) fn claim_at(
    on: &Connection,
    owner: Option<&str>,
    key: &str,
    at: SystemTime,
) -> Result<Option<Claim>, rusqlite::Error> {
    let found = claimed(on, &owner_text(owner), key)?;
    Ok(found.filter(|(_, free_at)| is_held(*free_at, at)).map(|(claim, _)| claim))
}

/// Reads the row of a key, and the millisecond from which on it is free, if there is one.
fn claimed(
    on: &Connection,
    owner: &str,
    key: &str,
) -> Result<Option<(Claim, Option<i64>)>, rusqlite::Error> {
    let sql = "select run, payload, forgotten from claim where owner = ? and key = ?";
    let mut statement = on.prepare_cached(sql)?;
    let read = |row: &rusqlite::Row<'_>| {
        let (run, payload, forgotten): (_, _, Option<i64>) =
            (id_of(row.get(0)?), row.get(1)?, row.get(2)?);
        let free_at = forgotten.map(|forgotten| forgotten.saturating_add(key_ttl_ms()));
        Ok((Claim { run, payload, is_forgotten: forgotten.is_some() }, free_at))
    };
    statement.query_row(params![owner, key], read).optional()
}

fn is_held(free_at: Option<i64>, at: SystemTime) -> bool {
    free_at.is_none_or(|free_at| millis(at) < free_at)
}
