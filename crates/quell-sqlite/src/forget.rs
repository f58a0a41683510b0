//! What leaves: runs with those below them, and their keys after their time. And what moves: a run
//! that becomes the root of those below it.

use std::collections::HashMap;

use quell_core::store::StoreError;
use quell_core::{RunId, limits};
use quell_durable::{id_of, key_ttl_ms};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::fault::Fault;

type Id = [u8; 16];

/// A run, as far as it matters to whether it can leave.
struct Member {
    ord: i64,
    id: Id,
    parent: Option<Id>,
    is_live: bool,
    has_key: bool,
}

/// Takes a run and those below it away, with all that is stored of them. `keys` is how many keys
/// are kept of runs that left, if that is known.
///
/// # Errors
///
/// Fails if one of them has not ended.
pub(crate) fn forget(
    on: &Connection,
    keys: &mut Option<i64>,
    run: RunId,
    at: i64,
) -> Result<(), Fault> {
    let leaving = tree(on, run)?;
    if let Some(live) = leaving.iter().find(|member| member.is_live) {
        let run = id_of(live.id);
        return Err(Fault::Refused(StoreError::Live { run }));
    }
    for member in &leaving {
        if member.has_key {
            let sql = "update claim set forgotten = ?2 where run = ?1 and forgotten is null";
            let released = on.prepare_cached(sql)?.execute(params![member.id, at])?;
            if let Some(keys) = keys {
                *keys += i64::try_from(released).unwrap_or(0);
            }
        }
        on.prepare_cached("delete from run where ord = ?")?.execute([member.ord])?;
    }
    if leaving.iter().any(|member| member.has_key) {
        drop_keys(on, keys, at)?;
    }
    Ok(())
}

/// Makes a run the root of those below it. Nothing happens if it is not stored.
pub(crate) fn detach(on: &Connection, run: RunId) -> rusqlite::Result<()> {
    let id = run.as_uuid().into_bytes();
    for member in tree(on, run)? {
        let sql = "update run set root = ?2 where ord = ?1";
        on.prepare_cached(sql)?.execute(params![member.ord, id])?;
    }
    let sql = "update run set root = null, parent = null where id = ?";
    on.prepare_cached(sql)?.execute([id])?;
    Ok(())
}

/// Reads a run and those below it.
fn tree(on: &Connection, run: RunId) -> rusqlite::Result<Vec<Member>> {
    let id = run.as_uuid().into_bytes();
    let sql = "select root from run where id = ?";
    let root = on.prepare_cached(sql)?.query_row([id], |row| row.get::<_, Option<Id>>(0));
    let Some(root) = root.optional()? else { return Ok(Vec::new()) };
    let read = |row: &rusqlite::Row<'_>| {
        let (ord, id, parent) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Member { ord, id, parent, is_live: row.get(3)?, has_key: row.get(4)? })
    };
    let own = format!("select {MEMBER} from run where id = ?");
    let own = on.prepare_cached(&own)?.query_row([id], read)?;
    let all = format!("select {MEMBER} from run where root = ?");
    let mut all = on.prepare_cached(&all)?;
    let all = all.query_map([root.unwrap_or(id)], read)?;
    if root.is_none() {
        return std::iter::once(Ok(own)).chain(all).collect();
    }
    // In the middle of a tree only those that descend from it.
    let mut children: HashMap<Id, Vec<Member>> = HashMap::new();
    for member in all {
        let member = member?;
        if let Some(parent) = member.parent {
            children.entry(parent).or_default().push(member);
        }
    }
    let mut found = vec![own];
    let mut next = 0;
    while let Some(member) = found.get(next) {
        found.extend(children.remove(&member.id).unwrap_or_default());
        next += 1;
    }
    Ok(found)
}

/// Drops the keys whose time is over, or that are too many, the oldest first.
fn drop_keys(on: &Connection, keys: &mut Option<i64>, at: i64) -> rusqlite::Result<()> {
    let sql = "delete from claim where forgotten <= ?";
    let over = on.prepare_cached(sql)?.execute([at.saturating_sub(key_ttl_ms())])?;
    // Counted once: to count them all each time would take longer than all the rest.
    let kept = if let Some(kept) = *keys {
        kept - i64::try_from(over).unwrap_or(0)
    } else {
        let sql = "select count(*) from claim where forgotten is not null";
        on.prepare_cached(sql)?.query_row([], |row| row.get(0))?
    };
    let keys_max = i64::try_from(limits::KEYS_MAX).unwrap_or(i64::MAX);
    let too_many = (kept - keys_max).max(0);
    if too_many > 0 {
        let sql = "delete from claim where (owner, key) in (select owner, key from claim
            where forgotten is not null order by forgotten limit ?)";
        on.prepare_cached(sql)?.execute([too_many])?;
    }
    *keys = Some(kept - too_many);
    Ok(())
}

/// The columns of a [`Member`].
const MEMBER: &str = "ord, id, parent, status < 3, key is not null";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{self, Found};

    #[test]
    fn of_too_many_keys_the_oldest_leave() {
        let mut memory = Connection::open_in_memory().unwrap();
        schema::migrate(&mut memory, Found::Nothing).unwrap();
        let keys_max = i64::try_from(limits::KEYS_MAX).unwrap();
        let add = |from: i64, to: i64| {
            let sql =
                "with recursive n(i) as (select ?1 union all select i + 1 from n where i < ?2)
                insert into claim select '', 'key ' || i, x'00', randomblob(16), i from n";
            memory.execute(sql, [from, to]).unwrap();
        };
        let ask = |sql: &str| memory.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        let mut keys = None;
        add(1, keys_max - 1);
        drop_keys(&memory, &mut keys, 9).unwrap();
        assert_eq!(keys, Some(keys_max - 1));
        add(keys_max, keys_max + 2);
        drop_keys(&memory, &mut keys.map(|keys| keys + 3), 9).unwrap();
        assert_eq!(ask("select count(*) from claim"), keys_max);
        assert_eq!(ask("select min(forgotten) from claim"), 3);
        keys = None;
        drop_keys(&memory, &mut keys, 9 + key_ttl_ms()).unwrap();
        assert_eq!(keys, Some(keys_max - 7), "those of 3 to 9 are over");
    }
}
