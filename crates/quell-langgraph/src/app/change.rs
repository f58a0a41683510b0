//! [`App::change_thread`] and [`App::copy_thread`]: what callers say of a thread itself (contract,
//! section 4).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use quell_http::{Charge, View};
use tokio::time::sleep;
use uuid::Uuid;

use crate::app::App;
use crate::app::kept::TRIES;
use crate::app::record::{Recorded, is_recent, record_of};
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
        for _ in 0..TRIES {
            let thread = self.thread_of(view, id).await?;
            let _one_at_a_time = thread.changing.lock().await;
            if !thread.keep() {
                // It was deleted meanwhile, or has made room.
                continue;
            }
            let before = thread.card();
            let card = before.changed(metadata.clone(), ttl.cloned(), SystemTime::now());
            let weight = if is_shown { thread.weight() + card.metadata.len() } else { 0 };
            let room = view.room_now(weight)?;
            let owner = thread.owner.as_deref().map(Arc::from);
            let charge = self.charge(owner.as_ref(), card.metadata.len())?;
            if self.has_records() && !thread.is_temporary {
                if !self.store_change(&thread, &card).await? {
                    // Another node was first: what it said is taken in by the next look. It may be
                    // about to give its number up.
                    sleep(Duration::from_millis(1)).await;
                    continue;
                }
                if before.nr > 0 {
                    self.forget_number(id, before.nr);
                }
            }
            if thread.has_left() {
                // It was deleted meanwhile.
                return Err(Refusal::no_thread(id));
            }
            thread.take_card(card, Some(charge));
            self.time(&thread);
            return Ok((Arc::clone(&thread), room));
        }
        let text = "The thread is being changed; ask again";
        Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text))
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
        let is_new = thread.card().nr == 0 && is_recent(thread.made_at());
        if thread.record().is_none() || !is_new || !thread.runs().is_empty() {
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
        match self.change_thread(view, id, &Keys::new(), None, false).await {
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

pub(super) fn written_bytes(keys: &Keys) -> usize {
    keys.iter().map(|(key, value)| key.len() + value.len()).sum()
}
