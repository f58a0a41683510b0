//! Acts that nodes ask each other for: [`AskedAct`], which is taken or withdrawn, and not both.

use std::sync::Arc;
use std::time::Instant;

use quell_core::cluster::{ActAnswer, Asked, RunMeant};
use quell_core::lifecycle::later;
use quell_core::store::{Store as _, StoreError};
use quell_core::{Payload, limits};

use crate::sync;
use crate::testing::cluster::Node;
use crate::testing::cluster::nodes::{Shared, Table};

#[derive(Debug)]
pub(super) struct AskedAct {
    run: RunMeant,
    words: Payload,
    owner: u32,
    /// Its owner takes it before this instant, or never.
    until: Instant,
    is_taken: bool,
    said: Option<Payload>,
}

impl Table {
    /// Yields the acts that a member may carry out, or has not answered.
    pub(super) fn acts_of<'a>(
        &'a self,
        owner: u32,
        known: &'a [u64],
    ) -> impl Iterator<Item = Asked> + 'a {
        let of_owner = self
            .acts
            .iter()
            .filter(move |(nr, act)| act.is_of(owner) && act.said.is_none() && !known.contains(nr));
        of_owner.map(|(nr, act)| Asked::Act { nr: *nr, run: act.run, words: act.words.clone() })
    }

    /// Has a member take an act; tells whether it has it.
    pub(super) fn take(&mut self, nr: u64, owner: u32) -> bool {
        let act = self.acts.get_mut(&nr).filter(|act| act.is_of(owner) && act.said.is_none());
        act.map(|act| act.is_taken = true).is_some()
    }

    /// Answers an act.
    pub(super) fn say(&mut self, nr: u64, owner: u32, said: Payload) {
        if let Some(act) = self.acts.get_mut(&nr).filter(|act| act.owner == owner) {
            act.said.get_or_insert(said);
        }
    }

    fn put_act(&mut self, (run, words): (RunMeant, Payload), owner: u32) -> Option<u64> {
        let now = sync::now();
        self.acts.retain(|_, act| act.is_taken || act.until > now);
        let of_owner = || self.acts.values().filter(|act| act.owner == owner);
        let bytes: usize = of_owner().map(|act| act.words.len()).sum();
        if of_owner().count() >= limits::ASKED_ACTS_MAX || bytes >= limits::ASKED_ACTS_BYTES_MAX {
            return None;
        }
        self.next_stop += 1;
        let until = later(now, 2 * limits::ASKED_STOP_WAIT);
        let act = AskedAct { run, words, owner, until, is_taken: false, said: None };
        self.acts.insert(self.next_stop, act);
        Some(self.next_stop)
    }

    /// Takes an act away that nobody has taken, or that is answered; in any case if it is over.
    fn end_act(&mut self, nr: u64, owner: &Arc<str>, is_over: bool) -> Option<ActAnswer> {
        let act = self.acts.get(&nr)?;
        if act.is_taken && act.said.is_none() && !is_over {
            return None;
        }
        let act = self.acts.remove(&nr)?;
        let owner = Arc::clone(owner);
        Some(match act.said {
            Some(said) => ActAnswer::Said(said),
            None if act.is_taken => ActAnswer::Unanswered { owner },
            None => ActAnswer::Lapsed { owner },
        })
    }
}

impl AskedAct {
    /// Tells whether a member has it, or may take it.
    fn is_of(&self, owner: u32) -> bool {
        self.owner == owner && (self.is_taken || self.until > sync::now())
    }
}

/// Asks the owner of a run for an act, and waits for what it says.
pub(super) async fn acted(
    node: &Node,
    run: RunMeant,
    words: Payload,
) -> Result<ActAnswer, StoreError> {
    let shared = node.reach()?;
    let stored = shared.store.get(run.id()).await?.filter(|record| run.is(record.accepted.at));
    let Some(record) = stored else { return Ok(ActAnswer::Unknown) };
    if record.status.is_terminal() {
        return Ok(ActAnswer::Ended { status: record.status });
    }
    let (nr, owner) = {
        let mut table = shared.table.lock();
        node.seat(&mut table)?;
        let boot = table.owners.get(&record.accepted.root).copied();
        let seat = boot.and_then(|boot| Some((boot, table.members.get(&boot)?)));
        let Some((boot, seat)) = seat else { return Ok(ActAnswer::Unknown) };
        let owner = Arc::clone(&seat.name);
        let Some(nr) = table.put_act((run, words), boot) else {
            return Ok(ActAnswer::Lapsed { owner });
        };
        (nr, owner)
    };
    shared.news.notify_waiters();
    let after = limits::ASKED_ACT_WAIT.saturating_sub(limits::ASKED_STOP_WAIT);
    let waits = [limits::ASKED_STOP_WAIT, after];
    for (wait, is_over) in waits.into_iter().zip([false, true]) {
        // Either way it is looked at.
        drop(tokio::time::timeout(wait, said(shared, nr)).await);
        if let Some(answer) = shared.table.lock().end_act(nr, &owner, is_over) {
            return Ok(answer);
        }
    }
    Ok(ActAnswer::Unanswered { owner })
}

/// Waits until an act is answered.
async fn said(shared: &Shared, nr: u64) {
    loop {
        let news = shared.news.notified();
        if shared.table.lock().acts.get(&nr).is_none_or(|act| act.said.is_some()) {
            return;
        }
        news.await;
    }
}
