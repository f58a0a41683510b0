//! [`App::change_thread`] and [`App::copy_thread`]: what callers say of a thread itself (contract,
//! section 4).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use quell::RunId;
use quell_http::{Charge, View};
use tokio::time::sleep;
use uuid::Uuid;

use crate::app::App;
use crate::app::kept::TRIES;
use crate::app::record::{Recorded, record_of};
use crate::threads::{Card, Thread};
use crate::values::bytes_of;
use crate::wire::exact::Keys;
use crate::wire::refusal::Refusal;
use crate::wire::ttl::Ttl;

impl App {
    /// Lays keys over the metadata of a thread, and gives it another time, if one is given. Yields
    /// it with the room for its row, if that is to be shown.
    ///
    /// # Errors
    ///
    /// Fails if there is none, if there is no room, and if the store cannot be read or does not
    /// take it: then nothing has changed.
    pub(crate) async fn change_thread(
        &self,
        view: &View,
        id: Uuid,
        metadata: &Keys,
        ttl: Option<&Ttl>,
        is_shown: bool,
    ) -> Result<(Arc<Thread>, Charge), Refusal> {
        let next = |card: &Card| {
            // Never before the last change, whichever node has made it.
            let now = SystemTime::now();
            let now = card.changed_at.map_or(now, |last| now.max(last));
            card.changed(metadata.clone(), ttl.cloned(), now)
        };
        self.change_to(view, id, is_shown, next).await
    }

    /// As [`App::change_thread`], to what this makes of what was said of it before.
    async fn change_to(
        &self,
        view: &View,
        id: Uuid,
        is_shown: bool,
        next: impl Fn(&Card) -> Card + Sync,
    ) -> Result<(Arc<Thread>, Charge), Refusal> {
        for _ in 0..TRIES {
            let thread = self.thread_of(view, id).await?;
            let _one_at_a_time = thread.changing.lock().await;
            if !thread.keep() {
                // It was deleted meanwhile, or has made room.
                continue;
            }
            let card = next(&thread.card());
            let weight = if is_shown { thread.weight() + card.metadata.len() } else { 0 };
            let room = view.room_now(weight)?;
            if !self.note_change(&thread, card).await? {
                // Another node was first: what it said is taken in by the next look. It may be
                // about to give its number up.
                sleep(Duration::from_millis(1)).await;
                continue;
            }
            if thread.has_left() {
                // It was deleted meanwhile.
                return Err(Refusal::no_thread(id));
            }
            self.time(&thread);
            return Ok((Arc::clone(&thread), room));
        }
        Err(Refusal::is_changing())
    }

    /// Stores a change of a thread, if that has a record, and takes it in. Tells whether none came
    /// first. One at a time does so (`Thread::changing`).
    async fn note_change(&self, thread: &Thread, card: Card) -> Result<bool, Refusal> {
        let owner = thread.owner.as_deref().map(Arc::from);
        let charge = self.charge(owner.as_ref(), card.metadata.len())?;
        if self.has_records() && !thread.is_temporary {
            let before = thread.card().nr;
            if !self.store_change(thread, &card).await? {
                return Ok(false);
            }
            if before > 0 {
                self.forget_number(thread.id, before);
            }
        }
        if !thread.has_left() {
            thread.take_card(card, Some(charge));
        }
        Ok(true)
    }

    /// Has a thread stay whose time is over, or nearly so, as a run was stored in it just now: of
    /// who deletes it by then, on whatever node, and this one comes first. Tells whether it stays.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read, or does not take it.
    pub(super) async fn outlast(&self, thread: &Thread, run: RunId) -> Result<bool, Refusal> {
        let soon = SystemTime::now() + CLOCKS_APART;
        if thread.deletes_at().is_none_or(|at| at > soon) {
            return Ok(true);
        }
        let _one_at_a_time = thread.changing.lock().await;
        for _ in 0..TRIES {
            let recorded = self.recorded(thread.id).await?;
            if self.is_gone(thread, recorded.as_ref(), Some(run)).await? {
                return Ok(false);
            }
            if let Some(recorded) = recorded {
                self.take_card(thread, recorded)?;
            }
            if self.note_change(thread, unsaid(&thread.card())).await? {
                return Ok(true);
            }
            sleep(Duration::from_millis(1)).await;
        }
        Err(Refusal::is_changing())
    }

    /// As [`App::kept_thread`], of one that is to be there.
    pub(super) async fn kept_thread_of(&self, view: &View, id: Uuid) -> Result<(), Refusal> {
        let thread = self.kept_thread(view, id).await?;
        thread.map(drop).ok_or_else(|| Refusal::no_thread(id))
    }

    /// Finds a thread that a caller is told of, and has it stay: it may have been made just now for
    /// a run that is refused, here or by another node.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read, or does not take it.
    pub(crate) async fn kept_thread(
        &self,
        view: &View,
        id: Uuid,
    ) -> Result<Option<Arc<Thread>>, Refusal> {
        let Some(thread) = self.thread_anywhere(view, id).await? else { return Ok(None) };
        if !thread.keep() {
            return Ok(None);
        }
        // Only of one without runs: whoever takes it away looks for these.
        let may_leave = thread.record().is_some() && thread.card().nr == 0;
        if !may_leave || !thread.runs().is_empty() {
            return Ok(Some(thread));
        }
        if !self.is_node() {
            // Whoever forgets its record looks whether it is in memory before, and behind that.
            if !self.is_stored(record_of(id, 0)).await? {
                self.write(&thread, &thread.card(), false).await?;
            }
            return Ok(Some(thread));
        }
        // And for changes of it.
        match self.change_to(view, id, false, unsaid).await {
            Ok((thread, _)) => Ok(Some(thread)),
            Err(refusal) if refusal.status == StatusCode::NOT_FOUND => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// Stores a change. Tells whether none came first.
    async fn store_change(&self, thread: &Thread, card: &Card) -> Result<bool, Refusal> {
        if !self.write(thread, card, false).await? {
            return Ok(false);
        }
        let was_recorded = thread.record().is_some();
        thread.note_record(thread.record_at());
        if !self.is_node() {
            return Ok(true);
        }
        // What was behind the last one that is known here may have left: then its number was free,
        // although there are later ones, or the thread is deleted.
        let now = self.recorded(thread.id).await?;
        let is_last = |now: &Recorded| now.card.nr == card.nr && (now.has_first || !was_recorded);
        let is_last = now.as_ref().is_some_and(is_last);
        let is_passed =
            |now: Recorded| now.card.nr > card.nr || !now.has_first || !now.is_of(thread);
        if !is_last && now.is_none_or(is_passed) {
            self.forget_number(thread.id, card.nr);
        }
        Ok(is_last)
    }

    /// Makes a thread of the caller's with the metadata and the values of another one. Yields it
    /// with the room for its row.
    ///
    /// # Errors
    ///
    /// Fails if there is none, or no room for another one.
    pub(crate) async fn copy_thread(
        &self,
        view: &View,
        id: Uuid,
    ) -> Result<(Arc<Thread>, Charge), Refusal> {
        let of = self.thread_of(view, id).await?;
        let (metadata, values) = of.to_copy(self.engine());
        // What a run says that is live, or waits, is in its state alone.
        let last = self.state(view, &of, None).await?.and_then(|(_, values)| values);
        let values = last.or(values);
        let bytes = values.as_deref().map_or(0, bytes_of);
        let own = written_bytes(&metadata);
        let room = view.room_now(bytes + own)?;
        let charge = self.charge(view.principal().owner(), own)?;
        let card = Card { base: values, ..Card::new(&metadata) };
        let thread = Thread::new(Uuid::now_v7(), view.principal().subject(), &metadata, false);
        let thread = thread.with_card(card, bytes).charged(charge);
        let made = self.make_thread(thread, false).await?.ok_or_else(Refusal::internal)?;
        self.hold_values(&made);
        Ok((made, room))
    }

    /// Takes in what the store says that callers have said of a thread.
    ///
    /// # Errors
    ///
    /// Fails if there is no room for it.
    pub(super) fn take_card(&self, thread: &Thread, recorded: Recorded) -> Result<(), Refusal> {
        thread.note_record(recorded.made_at);
        let card = recorded.card;
        if thread.knows(&card) {
            return Ok(());
        }
        let owner = thread.owner.as_deref().map(Arc::from);
        let charge = self.charge(owner.as_ref(), card.metadata.len())?;
        thread.take_card(card, Some(charge));
        Ok(())
    }
}

/// The next card, of which nothing is said: as if it had not been changed.
fn unsaid(card: &Card) -> Card {
    Card { nr: card.nr + 1, ..card.clone() }
}

/// By how much the clock of a node may be ahead of that of another one.
const CLOCKS_APART: Duration = Duration::from_mins(1);

pub(super) fn written_bytes(keys: &Keys) -> usize {
    keys.iter().map(|(key, value)| key.len() + value.len()).sum()
}
