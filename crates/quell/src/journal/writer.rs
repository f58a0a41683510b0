//! [`Writer`] appends what the journal holds, and tells the runs what came of it.
//!
//! One append is under way at a time, and takes all that has come meanwhile: that is the group
//! commit. Stops are appended besides, at once. An append that the store refuses is cut in halves
//! until the one that it means is found; when the store itself is in trouble, what was not stored
//! is tried again, in its order, and roots that wait for their start are refused.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use quell_core::store::{BoxFuture, Record, StoreError};
use quell_core::{RunId, limits};

use crate::foreign::couriers::Couriers;
use crate::foreign::{self, Barred};
use crate::journal::append::Append;
use crate::journal::doubted::{Doubted, look, take_back};
use crate::journal::journal::Done;
use crate::journal::look_behind::LookBehind;
use crate::journal::queue::{BATCH_MAX, LINGER};
use crate::journal::{Entry, Journal, Recorded};
use crate::sync::loops::{self, Loop, Turn};
use crate::sync::waiters::Wakers;
use crate::sync::{self, Runtime};

/// Appends what the journal holds.
pub(crate) struct Writer<R> {
    pub(super) journal: Arc<Journal<R>>,
    /// What is under way besides stops.
    pub(super) batch: Option<Append<R>>,
    pub(super) stops: Vec<Append<R>>,
    /// Parts that come before what is in the queue: of an append that was refused or failed.
    pub(super) again: VecDeque<Vec<Entry<R>>>,
    /// Parts of appends of stops that were refused.
    pub(super) again_stops: VecDeque<Vec<Entry<R>>>,
    /// When the store is tried again, and how long it was left alone before.
    pub(super) rest: Option<(Instant, Duration)>,
    /// An append has taken so long that the store counts as in trouble.
    pub(super) is_slow: bool,
    /// Until when a first entry that may linger need not wake it: more are likely to come.
    alert_until: Option<Instant>,
    /// A run below a root whose id the store has: it is looked whether that is this very run.
    in_doubt: Option<RunId>,
    behind: LookBehind,
    pub(super) couriers: Couriers,
    heard: Heard,
}

/// What is not known of the run of an entry.
enum Doubt {
    /// Whether the store has the root that is taken back; and an id that no run has.
    Root(Doubted, RunId),
    /// Whether it is this run, not another one, that the store has.
    Below(Doubted),
}

/// What is called when an append was answered.
pub(crate) struct Heard {
    /// The store refuses this node.
    pub(crate) loss: Box<dyn Fn() + Send>,
    /// It is stored, and its runs are not told yet; none for an engine that is alone.
    pub(crate) stored: Option<Box<dyn Fn() + Send>>,
}

impl<R: Recorded> Loop for Writer<R> {
    fn turn(&mut self, cx: &mut Context<'_>) -> Turn {
        let _barred = Barred::new();
        loop {
            self.finish_appends(cx);
            self.behind.poll(cx, &self.journal, &self.couriers);
            let now = sync::now();
            let slow_at = self.look_for_slow(now);
            let rests = self.rest.map(|(until, _)| until).filter(|until| *until > now);
            let mut queue = self.journal.lock();
            if queue.revoked.is_some() && queue.is_pending() {
                drop(queue);
                self.give_up_all();
                continue;
            }
            let is_free = self.batch.is_none() && rests.is_none();
            if rests.is_none() {
                let stops = self.again_stops.pop_front();
                let stops = stops.unwrap_or_else(|| std::mem::take(&mut queue.stops));
                if !stops.is_empty() {
                    drop(queue);
                    let append = self.begin(stops, true, cx);
                    self.stops.extend(append);
                    // If they have failed, nothing else may be taken out of its order now.
                    continue;
                }
            }
            let mut batch = Vec::new();
            if is_free {
                let done = queue.done;
                queue.unaccepted.are_through(done);
                if let Some(again) = self.again.pop_front() {
                    batch = again;
                } else if queue.is_due(now) {
                    batch = queue.take();
                }
            }
            if batch.is_empty() {
                if is_free && self.stops.is_empty() {
                    // Nothing is left to try: the next entry tells how the store is.
                    (queue.trouble, self.rest, self.is_slow) = (None, None, false);
                }
                if queue.is_over() {
                    return Turn::Last;
                }
                let until = queue.until;
                if until.is_some_and(|until| until <= now) && queue.is_pending() {
                    drop(queue);
                    self.give_up_all();
                    continue;
                }
                queue.is_held_up = !is_free;
                let lingers = queue.lingers_until().filter(|_| is_free);
                let alert = self.alert_until.filter(|until| *until > now);
                queue.is_asleep = lingers.is_none() && alert.is_none();
                queue.waker = Some(cx.waker().clone());
                drop(queue);
                // A waker that blocks holds up nobody else's.
                let relief = self.couriers.relieve(now);
                let until = until.filter(|at| *at > now);
                let next = [rests, until, slow_at, relief, lingers, alert];
                return Turn::Next(next.into_iter().flatten().min());
            }
            drop(queue);
            self.batch = self.begin(batch, false, cx);
        }
    }
}

impl<R: Recorded> Writer<R> {
    /// Starts the writer of an engine: on a thread of its own, or as a task if the control loop is
    /// one.
    pub(crate) fn start(
        journal: &Arc<Journal<R>>,
        couriers: &Couriers,
        runtime: &Runtime,
        heard: Heard,
    ) -> std::io::Result<()> {
        let (journal, couriers) = (Arc::clone(journal), couriers.clone());
        let (stops, again, again_stops) = (Vec::new(), VecDeque::new(), VecDeque::new());
        let (batch, rest, is_slow, alert_until) = (None, None, false, None);
        let writer = Self {
            journal,
            batch,
            stops,
            again,
            again_stops,
            rest,
            is_slow,
            alert_until,
            in_doubt: None,
            behind: LookBehind::Due,
            couriers,
            heard,
        };
        // A store may use the runtime.
        let is_task = writer.couriers.are_tasks();
        loops::start("quell-journal", runtime, is_task, writer)
    }

    /// Begins an append, if there is anything to append: what is too much for one comes next.
    fn begin(
        &mut self,
        mut entries: Vec<Entry<R>>,
        are_stops: bool,
        cx: &mut Context<'_>,
    ) -> Option<Append<R>> {
        if !are_stops {
            let left_out = self.journal.lock().unaccepted.take(&mut entries);
            if !left_out.is_empty() {
                self.leave_out(left_out);
            }
            self.withdraw(&mut entries);
        }
        let (mut records, mut bytes) = (Vec::with_capacity(entries.len()), 0_usize);
        let (mut count, mut doubt) = (0, None);
        for entry in &entries {
            // It is an append of its own, which has a look in it.
            let doubts = self.doubt_of(entry);
            if doubt.is_some() || (doubts.is_some() && !records.is_empty()) {
                break;
            }
            doubt = doubts;
            let (record, further) = R::records(entry, &self.journal);
            let of_further = further.as_ref().map_or(0, Record::bytes);
            bytes = bytes.saturating_add(record.bytes()).saturating_add(of_further);
            if bytes > BATCH_BYTES_MAX && !records.is_empty() {
                break;
            }
            records.push(record);
            records.extend(further);
            count += 1;
        }
        if records.is_empty() {
            return None;
        }
        let rest = entries.split_off(count);
        if are_stops {
            self.journal.lock().stops.splice(0..0, rest);
        } else if !rest.is_empty() {
            self.again.push_front(rest);
        }
        self.behind.begin(&entries, &self.journal);
        let slow_at = quell_core::lifecycle::later(sync::now(), limits::STORE_ANSWER_WAIT);
        let journal = Arc::clone(&self.journal);
        let future: BoxFuture<'static, _> = match doubt {
            Some(Doubt::Root(root, nobody)) => Box::pin(take_back(journal, root, nobody, records)),
            Some(Doubt::Below(run)) => Box::pin(look(journal, run, records)),
            None => Box::pin(async move { journal.store.append(records).await }),
        };
        let append = Append { entries, are_stops, slow_at, future };
        self.poll(append, cx)
    }

    /// Yields what is not known of the run of an entry, if that matters to how it is stored.
    fn doubt_of(&self, entry: &Entry<R>) -> Option<Doubt> {
        if let Some((root, nobody)) = R::doubted(entry) {
            return Some(Doubt::Root(root, nobody));
        }
        let run = entry.accepted_below()?.id();
        self.in_doubt.filter(|in_doubt| *in_doubt == run)?;
        let (Record::Accepted(accepted), _) = R::records(entry, &self.journal) else { return None };
        Some(Doubt::Below(Doubted { run, at: accepted.at }))
    }

    /// Polls what is under way.
    fn finish_appends(&mut self, cx: &mut Context<'_>) {
        for append in std::mem::take(&mut self.stops) {
            let under_way = self.poll(append, cx);
            self.stops.extend(under_way);
        }
        if let Some(append) = self.batch.take() {
            self.batch = self.poll(append, cx);
        }
    }

    /// Polls an append. Yields it if it is still under way.
    fn poll(&mut self, mut append: Append<R>, cx: &mut Context<'_>) -> Option<Append<R>> {
        let polled = foreign::catch_panic(|| Pin::new(&mut append.future).poll(cx));
        let done = match polled {
            Ok(Poll::Pending) => return Some(append),
            Ok(Poll::Ready(done)) => done,
            Err(panic) => Err(StoreError::Io { what: panic.to_string() }),
        };
        let Append { entries, are_stops, future, slow_at: _ } = append;
        foreign::release(future);
        self.alert_until = Some(quell_core::lifecycle::later(sync::now(), LINGER));
        match done {
            Ok(()) => self.stored(entries, are_stops),
            // Fenced by this node itself, which has taken runs over meanwhile: made again.
            Err(StoreError::Fenced { epoch, current, .. })
                if epoch.boot() < current.boot() && self.journal.is_own(current.boot()) =>
            {
                self.put_back(entries, are_stops);
            }
            Err(error) if error.is_refusal() => self.refused(entries, are_stops, &error),
            Err(error) => self.failed(entries, are_stops, &error),
        }
        None
    }

    fn put_back(&mut self, entries: Vec<Entry<R>>, are_stops: bool) {
        if are_stops {
            self.again_stops.push_front(entries);
        } else {
            self.again.push_front(entries);
        }
    }

    fn stored(&mut self, entries: Vec<Entry<R>>, are_stops: bool) {
        let was_slow = std::mem::take(&mut self.is_slow);
        if self.rest.take().is_some() || was_slow {
            self.journal.lock().trouble = None;
            self.couriers.send_words(Box::new(|| tracing::info!("store works again")));
        }
        if let Some(heard) = self.heard.stored.as_ref().filter(|_| !are_stops) {
            heard();
        }
        self.settle(entries, are_stops);
    }

    /// Takes out what is withdrawn of entries that the store was not given. That is no append: it
    /// says nothing about the store, and no loss.
    pub(super) fn withdraw(&self, entries: &mut Vec<Entry<R>>) {
        let withdrawn: Vec<_> = entries.extract_if(.., |it| R::is_withdrawn(it)).collect();
        if !withdrawn.is_empty() {
            self.settle(withdrawn, false);
        }
    }

    /// Tells runs that entries are durable, or withdrawn, and counts these out.
    fn settle(&self, entries: Vec<Entry<R>>, are_stops: bool) {
        let (done, mut wakers) = (Done::of(&entries, are_stops), Wakers::new());
        for entry in entries {
            R::stored(entry, &mut wakers);
        }
        self.count_out(done, wakers);
    }

    /// Counts out entries after their runs were told, and wakes whoever waited for that.
    pub(super) fn count_out(&self, done: Done, mut wakers: Wakers) {
        self.journal.count_out(done, &mut wakers);
        foreign::wake(&self.couriers, wakers);
    }

    /// Finds the entry that a refusal means.
    fn refused(&mut self, mut entries: Vec<Entry<R>>, are_stops: bool, error: &StoreError) {
        if entries.len() <= 1 {
            let below = entries.first().and_then(Entry::accepted_below).map(Arc::clone);
            if let (Some(run), StoreError::Exists { .. }) = (&below, error)
                && self.in_doubt.replace(run.id()) != Some(run.id())
            {
                return self.put_back(entries, are_stops);
            }
            if let Some(run) = below {
                self.in_doubt = None;
                self.journal.lock().unaccepted.note_below(&run);
            }
            return self.give_up(entries, are_stops, error);
        }
        let second = entries.split_off(entries.len() / 2);
        if are_stops {
            self.again_stops.extend([entries, second]);
        } else {
            self.again.push_front(second);
            self.again.push_front(entries);
        }
    }

    /// Keeps what could not be stored, and leaves the store alone for a while.
    fn failed(&mut self, entries: Vec<Entry<R>>, are_stops: bool, error: &StoreError) {
        if let StoreError::LeaseLost { .. } = error {
            (self.heard.loss)();
        }
        if self.rest.is_none() {
            let words = error.to_string();
            self.couriers.send_words(Box::new(move || {
                tracing::error!(error = words, "store is in trouble, and is tried again");
            }));
        }
        let now = sync::now();
        let wait = self.rest.map_or(REST_MIN, |(_, wait)| (wait * 2).min(REST_MAX));
        self.rest = Some((now + wait, wait));
        let (mut stops, mut others) =
            if are_stops { (entries, Vec::new()) } else { (Vec::new(), entries) };
        others.extend(std::mem::take(&mut self.again).into_iter().flatten());
        stops.extend(std::mem::take(&mut self.again_stops).into_iter().flatten());
        let mut wakers = Wakers::new();
        let gives_up = {
            let mut queue = self.journal.lock();
            queue.trouble = Some(error.clone());
            queue.waiting.drain_into(&mut wakers);
            others.append(&mut queue.take_all());
            stops.append(&mut queue.stops);
            queue.until.is_some_and(|until| until <= now)
        };
        foreign::wake(&self.couriers, wakers);
        if gives_up {
            self.give_up(stops, true, error);
            return self.give_up(others, false, error);
        }
        let (awaited, left) = others.into_iter().partition::<Vec<_>, _>(Entry::is_awaited);
        self.give_up(awaited, false, error);
        left.iter().chain(&stops).filter_map(Entry::run).for_each(|run| run.tell_waiters());
        let mut left = left.into_iter().peekable();
        while left.peek().is_some() {
            self.again.push_back(left.by_ref().take(BATCH_MAX).collect());
        }
        // Before those that have come meanwhile.
        self.journal.lock().stops.splice(0..0, stops);
    }
}

/// Bytes of one append, about.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// How long a store in trouble is left alone, first and at most.
const REST_MIN: Duration = Duration::from_millis(20);
const REST_MAX: Duration = Duration::from_secs(1);
