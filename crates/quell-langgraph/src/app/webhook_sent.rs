//! [`Letter`]: what is sent to a receiver, until it has that or is given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use quell::cluster::RunMeant;
use quell::{Payload, RunId, RunRef, RunRow};
use quell_http::{RunState, is_loss, offload_if_large};
use tokio::time::sleep;
use uuid::Uuid;

use crate::app::App;
use crate::app::turn::LOOK_PAUSE;
use crate::app::webhook_fence::{Fence, record_of};
use crate::threads::Tracked;
use crate::values::{Values, bytes_of};
use crate::webhooks::{Waiting, pause_behind};
use crate::wire::address::Address;
use crate::wire::exact::Keys;
use crate::wire::webhook::{End, told};

/// What is told of a run.
#[derive(Debug)]
pub(super) struct Telling {
    pub(super) tracked: Arc<Tracked>,
    pub(super) owner: Option<Arc<str>>,
    pub(super) row: RunRow,
    pub(super) state: RunState,
    pub(super) values: Option<Arc<Values>>,
    /// The values are known.
    pub(super) is_whole: bool,
    pub(super) is_rolled_back: bool,
    pub(super) is_temporary: bool,
}

/// What is sent to a receiver. It holds no more of the run than its body.
#[derive(Debug)]
pub(super) struct Letter {
    run: RunId,
    meant: RunMeant,
    thread: Uuid,
    owner: Option<Arc<str>>,
    address: Address,
    body: Bytes,
    is_deleted: Arc<AtomicBool>,
    is_rolled_back: bool,
    /// The run whose pause it tells.
    pub(super) pause: Option<RunRef>,
    _room: Option<Waiting>,
}

/// A webhook that is under way, or is to be. Dropped before that is over, the process ends.
pub(super) struct UnderWay {
    run: RunId,
    is_stored: bool,
    is_over: bool,
}

impl UnderWay {
    pub(super) fn over(mut self) {
        self.is_over = true;
    }
}

impl App {
    /// `is_kept` tells whether the run is: of what a rollback took no later process knows.
    pub(super) fn under_way(&self, run: RunId, is_kept: bool) -> UnderWay {
        UnderWay { run, is_stored: is_kept && self.has_records(), is_over: false }
    }

    /// Writes what is told of a run; none if that cannot be written. Without room for all of it the
    /// receiver is told the rest.
    pub(super) async fn letter(&self, telling: Telling) -> Option<Letter> {
        let (tracked, run) = (Arc::clone(&telling.tracked), telling.tracked.id);
        let keys: Keys = tracked.about.kwargs.parse().unwrap_or_default();
        let url = keys.get("webhook").and_then(|text| text.parse::<String>().ok());
        let address = url.and_then(|text| Address::read(&text).ok())?;
        let (owner, thread) = (telling.owner.clone(), tracked.about.thread);
        let is_rolled_back = telling.is_rolled_back;
        let meant = RunMeant::accepted_at(run, telling.row.queued_at);
        let error = telling.row.error.as_deref().map_or(0, str::len);
        let values = telling.values.as_deref().map_or(0, bytes_of);
        let bytes = values + tracked.weight + error + ABOUT_BYTES;
        let hold = || self.webhooks().hold(owner.as_ref(), bytes).ok();
        let room = telling.is_whole.then(hold).flatten();
        let is_whole = room.is_some();
        let written = offload_if_large(if is_whole { bytes } else { 0 }, async move {
            let Telling { tracked, row, state, values, is_rolled_back, .. } = telling;
            let (values, limit_ms) = (values.as_deref(), tracked.limit_ms);
            let is_unmasked = tracked.is_unmasked;
            let end = End { values, limit_ms, is_unmasked, is_rolled_back, is_whole };
            told(&tracked.about, &row, &state, &end)
        });
        let Ok(body) = written.await.map(|body: Payload| Bytes::from(body.as_json().to_owned()))
        else {
            given_up(run, "it cannot be written");
            return None;
        };
        let is_deleted = Arc::clone(&tracked.is_deleted);
        Some(Letter {
            run,
            meant,
            thread,
            owner,
            address,
            body,
            is_deleted,
            is_rolled_back,
            pause: None,
            _room: room,
        })
    }

    /// Waits until what is told of a run is stored, if there is a store, so that no later process
    /// takes it back: longer than an answer does, since nobody waits for a webhook. False if it is
    /// left to others: this node has lost the run, or ends. What a rollback took they do not know:
    /// it is waited for as long as this process is there.
    pub(super) async fn is_stored_at_last(&self, run: &RunRef) -> bool {
        while self.engine().has_store()
            && let Err(error) = run.stored().await
        {
            if error.is_refusal() {
                return true;
            }
            if is_loss(&error) || self.service().is_draining() && !run.is_rolled_back() {
                return false;
            }
            sleep(LOOK_PAUSE).await;
        }
        true
    }

    /// Posts a letter until it is taken, the tries are used up, or nobody wants it any more. False
    /// if it is left to others: this node may send it no longer.
    pub(super) async fn deliver(&self, letter: &Letter, fence: &Fence) -> bool {
        let Letter { run, owner, address, body, .. } = letter;
        let mut nth = 1;
        let last = loop {
            let turn = self.webhooks().turn(owner.as_ref(), address).await;
            if self.leaves(letter) {
                return false;
            }
            let Some(posting) = fence.post(self.engine()).await else { return false };
            if self.is_withdrawn(letter).await {
                tracing::debug!(run.uuid = %run, "a webhook is not sent: its run is deleted");
                break posting;
            }
            let posted = self.webhooks().post(address, body).await;
            drop(turn);
            match posted {
                Ok(()) => {
                    tracing::debug!(run.uuid = %run, to = %address, "a webhook is sent");
                    break posting;
                }
                Err(untaken) if untaken.is_passing && self.webhooks().goes_on_behind(nth) => {}
                Err(untaken) => {
                    given_up(*run, &format!("{address}: {} (try {nth})", untaken.why));
                    break posting;
                }
            }
            drop(posting);
            sleep(pause_behind(nth)).await;
            nth += 1;
        };
        last.over();
        true
    }

    /// Tells whether a letter is left to a later process, or another node: this one ends, and could
    /// not store any more that it was taken. Of what a rollback took no other one knows.
    pub(super) fn leaves(&self, letter: &Letter) -> bool {
        let is_kept = self.has_records() && !letter.is_rolled_back;
        is_kept && self.service().is_draining()
    }

    /// Tells whether nothing is told of a run any more: it is deleted, or its thread. One that the
    /// store has forgotten by itself is not.
    async fn is_withdrawn(&self, letter: &Letter) -> bool {
        let is_past = match &letter.pause {
            Some(run) => run.status().is_terminal(),
            None => !self.webhooks().is_sending(letter.run),
        };
        if is_past || letter.is_deleted.load(Ordering::SeqCst) || self.hidden().has(letter.meant) {
            return true;
        }
        if !self.is_node() || !self.has_records() {
            return false;
        }
        // Another node that deletes a run takes away that its webhook is owed. A rollback takes the
        // run alone.
        let is_gone = async |id| matches!(self.is_stored(id).await, Ok(false));
        matches!(self.is_deleted(letter.thread).await, Ok(true))
            || !letter.is_rolled_back
                && is_gone(letter.run).await
                && is_gone(record_of(letter.run)).await
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let run = self.run;
        match (self.is_over, self.is_stored) {
            (true, _) => {}
            (false, true) => {
                tracing::info!(run.uuid = %run, "a webhook is left to the next process");
            }
            (false, false) => {
                tracing::warn!(run.uuid = %run, "a webhook is lost with its server");
            }
        }
    }
}

/// Logs that a webhook is not sent: neither its path nor its query, which may hold a secret.
pub(super) fn given_up(run: RunId, why: &str) {
    tracing::warn!(run.uuid = %run, "a webhook is given up: {why}");
}

/// What is told besides the values and what the request gave, about.
const ABOUT_BYTES: usize = 4_096;
