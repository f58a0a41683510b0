//! What the [`Writer`] does with what is not stored, and never will be.

use quell_core::RunId;
use quell_core::store::StoreError;

use crate::foreign;
use crate::journal::append::Append;
use crate::journal::journal::Done;
use crate::journal::{Entry, Recorded, Writer};
use crate::sync::waiters::Wakers;

impl<R: Recorded> Writer<R> {
    /// Tells runs that the store has refused that it has nothing of what they left behind that.
    pub(super) fn leave_out(&self, entries: Vec<Entry<R>>) {
        // Nothing of a root is lost, or of what a run that is lost has done: it is of no run.
        let mut done = Done::of(&entries, false);
        for entry in entries {
            done.lost += usize::from(entry.accepted_below().is_some());
            if let Some(run) = entry.run().map(|run| run.id()) {
                R::refused(entry, &StoreError::Unknown { run });
            }
        }
        self.count_out(done, Wakers::new());
    }

    /// Tells runs that entries are not stored, and never will be.
    pub(super) fn give_up(&mut self, entries: Vec<Entry<R>>, are_stops: bool, error: &StoreError) {
        let (mut done, mut events) = (Done::of(&entries, are_stops), Lost::default());
        for entry in entries {
            let event = match &entry {
                Entry::Event(_, event) => Some((event.root, event.seq)),
                _ => None,
            };
            let is_of_none =
                event.is_some_and(|(root, _)| self.journal.lock().unaccepted.has(root));
            let is_lost = R::refused(entry, error) && !is_of_none;
            done.lost += usize::from(is_lost);
            events.note(event.filter(|_| is_lost));
        }
        self.say_lost(&events, error);
        self.count_out(done, Wakers::new());
    }

    /// Tells subscribers of `tracing` of events that are not stored, all in one line. That the
    /// lease was lost is told once, and not of what another node may have by now.
    fn say_lost(&self, events: &Lost, error: &StoreError) {
        let Some((root, seq)) = events.first else { return };
        if let StoreError::LeaseLost { .. } = error {
            return;
        }
        let (events, error) = (events.count, error.clone());
        self.couriers.send_words(Box::new(move || {
            tracing::warn!(run.uuid = %root, seq, events, %error, "events were not stored");
        }));
    }

    /// Gives up what the store has not taken by now, although an append of it may be under way.
    pub(super) fn give_up_all(&mut self) {
        let (mut stops, mut others) = (Vec::new(), Vec::new());
        for Append { entries, are_stops, future, slow_at: _ } in
            self.stops.drain(..).chain(self.batch.take())
        {
            foreign::release(future);
            if are_stops { stops.extend(entries) } else { others.extend(entries) }
        }
        stops.extend(std::mem::take(&mut self.again_stops).into_iter().flatten());
        let mut waiting: Vec<_> = std::mem::take(&mut self.again).into_iter().flatten().collect();
        let (late, error) = {
            let mut queue = self.journal.lock();
            waiting.append(&mut queue.take_all());
            stops.append(&mut queue.stops);
            let late = std::mem::take(&mut queue.late);
            (late, queue.trouble().cloned().unwrap_or(StoreError::Closed))
        };
        self.withdraw(&mut waiting);
        others.append(&mut waiting);
        self.give_up(stops, true, &error);
        self.give_up(others, false, &error);
        self.give_up_late(late, &error);
    }

    /// Tells runs that entries are not stored that were never for the store: no loss.
    fn give_up_late(&self, entries: Vec<Entry<R>>, error: &StoreError) {
        let done = Done::of(&entries, false);
        for entry in entries {
            R::refused(entry, error);
        }
        self.count_out(done, Wakers::new());
    }
}

/// Events that are not stored.
#[derive(Default)]
struct Lost {
    /// The root of the first one, and its number.
    first: Option<(RunId, u64)>,
    /// How many there are.
    count: usize,
}

impl Lost {
    fn note(&mut self, event: Option<(RunId, u64)>) {
        self.first = self.first.or(event);
        self.count += usize::from(event.is_some());
    }
}
