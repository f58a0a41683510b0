//! Slots of limits that all members keep together.
//!
//! `quota` has how many slots of a limit are taken, and `quota_part` how many of them each member
//! has. Both change in one statement, which says in its condition that no more are taken than there
//! are: whatever another member does in the same moment, what a member has was free. How many it
//! asks for is decided before that, from a read ([`crate::exchanging`]): if it changes nothing,
//! because of what has happened since, it is read again.
//!
//! Invariants:
//!
//! 1. `taken` is the sum of `held` of all parts of the limit.
//! 2. A part has the number of the last exchange of its member. A statement that comes late, after
//!    the member has made do without its answer, has a smaller one, and changes nothing. So a part
//!    with a number below that of an exchange without an answer is written before it is believed.
//! 3. Who takes a seat away has its parts, in the same transaction.
//!
//! A statement locks the row of its seat, then its part, then the limit; who takes a seat away
//! locks the seat alone, then parts. So nobody waits for somebody who waits for it.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_postgres::{Error, Transaction};

use crate::asked::now;
use crate::text::given;

/// What a member knows of the slots of limits.
#[derive(Debug)]
pub(crate) struct Slots {
    /// The number of the last exchange of this process.
    pub(crate) nr: AtomicI64,
    /// The largest number of an exchange that was sent and not answered: one for all limits, of
    /// which there may be any number while the database is away.
    pub(crate) unanswered: AtomicI64,
    pub(crate) state: Mutex<State>,
    pub(crate) moved: Notify,
}

/// The lock is a leaf.
#[derive(Debug)]
pub(crate) struct State {
    /// Limits that have rows, at most [`KNOWN_MAX`]: each owner may have one.
    pub(crate) known: HashSet<Arc<str>>,
    /// Those that are to be looked at.
    moved: BTreeSet<Arc<str>>,
    /// All are.
    all_moved: bool,
}

impl State {
    /// Notes that a limit has rows. Too many are forgotten, and made again, which changes nothing.
    pub(crate) fn know(&mut self, limit: &Arc<str>) {
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(Arc::clone(limit));
    }
}

/// An exchange that was sent.
#[derive(Debug)]
pub(crate) struct Sent<'a> {
    slots: &'a Slots,
    nr: i64,
    is_answered: bool,
}

impl Sent<'_> {
    pub(crate) fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.slots.unanswered.fetch_max(self.nr, Ordering::AcqRel);
        }
    }
}

impl Slots {
    /// Knows nothing, and so has all be looked at.
    pub(crate) fn new(joined: i64) -> Self {
        let state = State { known: HashSet::new(), moved: BTreeSet::new(), all_moved: true };
        // Larger than all of those who had the name before.
        let nr = AtomicI64::new(joined << 32);
        let unanswered = AtomicI64::new(0);
        Self { nr, unanswered, state: Mutex::new(state), moved: Notify::new() }
    }

    /// Notes that an exchange is sent. Dropped without an answer, what became of it is not known.
    pub(crate) const fn begin(&self, nr: i64) -> Sent<'_> {
        Sent { slots: self, nr, is_answered: false }
    }

    /// Takes a notification of another member, and tells whether it was one of these.
    pub(crate) fn heard(&self, joined: i64, words: &str) -> bool {
        let Some(words) = words.strip_prefix(MOVED) else { return false };
        if let Some((by, limit)) = words.split_once(' ')
            && by.parse() != Ok(joined)
        {
            let mut state = self.state.lock();
            // Anybody may say something here: of what is too much nothing is lost but which it is.
            if state.moved.len() < MOVED_MAX {
                state.moved.insert(given(limit).into());
            } else {
                state.all_moved = true;
            }
            drop(state);
            self.moved.notify_one();
        }
        true
    }

    /// Has all limits be looked at.
    pub(crate) fn look_all(&self) {
        self.state.lock().all_moved = true;
        self.moved.notify_one();
    }

    pub(crate) fn take_moved(&self) -> Option<Vec<Arc<str>>> {
        let mut state = self.state.lock();
        let moved = std::mem::take(&mut state.moved);
        if std::mem::take(&mut state.all_moved) {
            return Some(Vec::new());
        }
        (!moved.is_empty()).then(|| moved.into_iter().collect())
    }
}

/// Gives what some members have to one, within the transaction that takes their seats away. What
/// the one waits for that has its own seat anew, nobody waits for any more.
///
/// # Errors
///
/// Fails as the server does.
pub(crate) async fn inherit(
    transaction: &Transaction<'_>,
    from: &[String],
    to: &str,
) -> Result<(), Error> {
    transaction.execute(INHERIT, &[&from, &to]).await?;
    transaction.execute(RESTART, &[&from, &to]).await.map(drop)
}

/// What a notification says first.
pub(crate) const MOVED: &str = "slots ";

/// Names of limits that are kept until they are looked at.
const MOVED_MAX: usize = 1_024;

/// Names of limits whose rows are known to be there.
const KNOWN_MAX: usize = 10_000;

/// What a member has that nobody knows any more was left by one of the release before, which has
/// taken over its runs alone: of all names that parts have, each is looked up once. A part with
/// nothing changes hands as well: a limit leaves with the last of its parts, and never without.
const INHERIT: &str = concat!(
    "with recursive has (node) as (
        select min(node) from quota_part
        union all select (select min(node) from quota_part p where p.node > has.node)
            from has where node is not null),
    gone as (
        delete from quota_part where node <> $2 and node = any(array(
            select node from has where node = any($1) or node not in (select name from node)))
        returning name, held)
    insert into quota_part (name, node, held, wants, since, nr)
    select name, $2::text, sum(held)::int8, 0, ",
    now!(),
    ", 0 from gone group by name
    on conflict (name, node) do update set held = quota_part.held + excluded.held"
);

const RESTART: &str = "update quota_part set wants = 0 where node = any($1) and node = $2";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i39_however_many_owners_have_had_limits_only_so_many_are_known() {
        let slots = Slots::new(1);
        for owner in 0..3 * KNOWN_MAX {
            slots.state.lock().know(&format!("owner {owner}").into());
            assert!(slots.state.lock().known.len() <= KNOWN_MAX);
        }
        assert!(slots.state.lock().known.contains(&*format!("owner {}", 3 * KNOWN_MAX - 1)));
    }
}
