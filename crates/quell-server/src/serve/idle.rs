//! [`Idle`]: which connections are idle or slow, and since when.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::backlog::Backlog;

/// The connections, by a number of their own. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Idle(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    all: HashMap<u64, State>,
    /// Counts connections, and the times at which they became idle.
    next: u64,
}

#[derive(Debug)]
struct State {
    /// Requests under way.
    busy: usize,
    /// How many of them may hold their connection for long; they have a bound of their own.
    long: usize,
    /// Orders connections by when their last request came or was answered.
    since: u64,
    /// When the connection was last idle: the first request came, of those whose answers the client
    /// has yet to take.
    asked: Instant,
    /// Since when the client has been asking: since it connected, until its first request, or since
    /// the body of a request began to be read, until all of it is. None otherwise.
    asks_since: Option<Instant>,
    /// What of its answers the client has yet to take.
    backlog: Backlog,
    close: Arc<Notify>,
}

/// Why a connection may be closed for another one; the first are closed first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum GivesWay {
    /// Every request is answered and written, or the client has been asking for too long.
    First,
    /// The client is asking, and not yet for too long. It is not closed yet, and while there is
    /// one, connections of the next kind are not closed either.
    Soon,
    /// The client is slow to take its answers.
    Last,
}

impl State {
    /// Yields why the connection may be closed for another one; none if it may not.
    fn gives_way(&self) -> Option<GivesWay> {
        if let Some(since) = self.asks_since {
            let is_slow = since.elapsed() >= PATIENCE;
            return Some(if is_slow { GivesWay::First } else { GivesWay::Soon });
        }
        if self.is_idle() {
            return Some(GivesWay::First);
        }
        // Without a backlog the client waits for us.
        let is_slow = self.backlog.since().is_some() && self.asked.elapsed() >= PATIENCE;
        (self.long == 0 && is_slow).then_some(GivesWay::Last)
    }

    fn may_close(&self) -> bool {
        matches!(self.gives_way(), Some(GivesWay::First | GivesWay::Last))
    }

    fn is_idle(&self) -> bool {
        self.busy == 0 && self.backlog.since().is_none()
    }
}

/// A connection, for as long as it is open.
#[derive(Debug)]
pub(super) struct Member {
    idle: Idle,
    number: u64,
    close: Arc<Notify>,
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Busy {
    idle: Idle,
    number: u64,
    is_long: bool,
}

/// A request whose body is yet to come.
#[derive(Debug)]
pub(super) struct Receiving {
    idle: Idle,
    number: u64,
}

impl Idle {
    /// Adds a connection, whose client has yet to ask.
    pub(super) fn enter(&self, backlog: Backlog) -> Member {
        let mut table = self.0.lock();
        let (number, close) = (table.tick(), Arc::new(Notify::new()));
        let state = State {
            busy: 0,
            long: 0,
            since: number,
            asked: Instant::now(),
            asks_since: Some(Instant::now()),
            backlog,
            close: Arc::clone(&close),
        };
        table.all.insert(number, state);
        drop(table);
        Member { idle: self.clone(), number, close }
    }

    /// Asks one connection to close: the one that has been idle, or asking for too long, for
    /// longest. If there is none and no client is asking, the one that has been taking its answer
    /// for longest.
    pub(super) fn close_oldest(&self) {
        let table = self.0.lock();
        let ready = |state: &State| state.gives_way().map(|how| (how, state.since));
        let ready = table.all.values().filter_map(|state| Some((ready(state)?, state)));
        match ready.min_by_key(|(order, _)| *order) {
            None | Some(((GivesWay::Soon, _), _)) => {}
            Some((_, oldest)) => oldest.close.notify_one(),
        }
    }
}

impl Table {
    const fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Member {
    /// Notes that a request is under way until the guard is dropped, and whether it may hold the
    /// connection for long.
    pub(super) fn busy(&self, is_long: bool) -> Busy {
        let mut table = self.idle.0.lock();
        let now = table.tick();
        if let Some(state) = table.all.get_mut(&self.number) {
            if state.is_idle() {
                state.asked = Instant::now();
            }
            state.asks_since = None;
            state.busy += 1;
            state.long += usize::from(is_long);
            state.since = now;
        }
        drop(table);
        Busy { idle: self.idle.clone(), number: self.number, is_long }
    }

    /// Notes that the body of a request is being read until the guard is dropped.
    pub(super) fn receiving(&self) -> Receiving {
        if let Some(state) = self.idle.0.lock().all.get_mut(&self.number) {
            state.asks_since = Some(Instant::now());
        }
        Receiving { idle: self.idle.clone(), number: self.number }
    }

    /// Waits until [`Idle::close_oldest`] has chosen this connection and it may still be closed.
    pub(super) async fn told_to_close(&self) {
        loop {
            self.close.notified().await;
            if self.idle.0.lock().all.get(&self.number).is_none_or(State::may_close) {
                return;
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.idle.0.lock().all.remove(&self.number);
    }
}

impl Busy {
    /// Notes that the answer is made. The time until now was ours, not the client's, unless it has
    /// yet to take earlier answers.
    pub(super) fn answered(&self) {
        if let Some(state) = self.idle.0.lock().all.get_mut(&self.number)
            && state.busy == 1
            && state.backlog.since().is_none()
        {
            state.asked = Instant::now();
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut table = self.idle.0.lock();
        let now = table.tick();
        if let Some(state) = table.all.get_mut(&self.number) {
            state.busy -= 1;
            state.long -= usize::from(self.is_long);
            state.since = now;
        }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if let Some(state) = self.idle.0.lock().all.get_mut(&self.number) {
            state.asks_since = None;
        }
    }
}

/// How long a client may take to begin its request, to send it, or to take its answer before its
/// connection may be closed for another one. Short, because it matters only when all slots are
/// taken: every slow client then makes those that wait for a slot wait this long.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn is_told(member: &Member) -> bool {
        member.told_to_close().now_or_never().is_some()
    }

    /// A connection on which something was asked and answered.
    fn answered(idle: &Idle, backlog: &Backlog) -> Member {
        let member = idle.enter(backlog.clone());
        drop(member.busy(false));
        member
    }

    #[test]
    fn the_one_that_has_been_idle_for_longest_is_told_to_close() {
        let idle = Idle::default();
        let [first, second, third] = [(); 3].map(|()| answered(&idle, &Backlog::default()));
        let asked = first.busy(false);
        idle.close_oldest();
        assert!(!is_told(&first) && is_told(&second) && !is_told(&third));
        drop(asked);
        drop(second);
        idle.close_oldest();
        assert!(is_told(&third) && !is_told(&first), "it was asked something since");
        idle.close_oldest();
        let asked = third.busy(false);
        assert!(!is_told(&third), "it was asked something just then");
        drop((asked, third, first));
        assert!(idle.0.lock().all.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_on_which_nothing_was_asked_is_told_to_close_once_it_had_time_to_ask() {
        let idle = Idle::default();
        let fresh = idle.enter(Backlog::default());
        let answered = answered(&idle, &Backlog::default());
        idle.close_oldest();
        assert!(!is_told(&fresh) && is_told(&answered), "the older one has yet to ask");
        drop(answered);
        tokio::time::advance(PATIENCE / 2).await;
        idle.close_oldest();
        assert!(!is_told(&fresh), "it may still ask");
        tokio::time::advance(PATIENCE / 2).await;
        let next = idle.enter(Backlog::default());
        idle.close_oldest();
        assert!(is_told(&fresh) && !is_told(&next));
    }

    #[tokio::test(start_paused = true)]
    async fn ten_thousand_on_which_nothing_was_asked_are_told_to_close_one_after_the_other() {
        let idle = Idle::default();
        let all: Vec<_> = (0..10_000).map(|_| idle.enter(Backlog::default())).collect();
        idle.close_oldest();
        assert!(!all.iter().any(is_told));
        tokio::time::advance(PATIENCE).await;
        let newcomer = idle.enter(Backlog::default());
        for oldest in all.into_iter().take(100) {
            idle.close_oldest();
            assert!(is_told(&oldest));
        }
        assert!(!is_told(&newcomer));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_its_answer_stays_while_another_one_has_yet_to_ask() {
        let (idle, waits) = (Idle::default(), Backlog::default());
        waits.note(true);
        let slow = answered(&idle, &waits);
        tokio::time::advance(PATIENCE).await;
        let fresh = idle.enter(Backlog::default());
        idle.close_oldest();
        assert!(!is_told(&slow) && !is_told(&fresh));
        tokio::time::advance(PATIENCE).await;
        idle.close_oldest();
        assert!(!is_told(&slow) && is_told(&fresh));
        drop(fresh);
        idle.close_oldest();
        assert!(is_told(&slow));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_its_time_to_send_a_request_is_told_to_close_like_an_idle_one() {
        let idle = Idle::default();
        let [slow, quick, reads] = [(); 3].map(|()| idle.enter(Backlog::default()));
        let (asked, body) = (slow.busy(false), slow.receiving());
        let (read, whole) = (reads.busy(false), reads.receiving());
        drop(whole);
        tokio::time::advance(PATIENCE).await;
        let (begun, begins) = (quick.busy(false), quick.receiving());
        idle.close_oldest();
        assert!(is_told(&slow) && !is_told(&quick) && !is_told(&reads));
        drop(body);
        idle.close_oldest();
        assert!(!is_told(&slow) && !is_told(&quick) && !is_told(&reads), "none takes its time");
        drop((asked, read, begun, begins));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_its_time_to_take_an_answer_is_told_to_close_if_nobody_else_is() {
        let (idle, waits) = (Idle::default(), Backlog::default());
        waits.note(true);
        let [slow, pipelines, streams] = [(); 3].map(|()| answered(&idle, &waits));
        let (asked, stream) = (pipelines.busy(false), streams.busy(true));
        idle.close_oldest();
        assert!(!is_told(&slow) && !is_told(&streams), "it has hardly begun");
        tokio::time::advance(PATIENCE).await;
        let free = answered(&idle, &Backlog::default());
        idle.close_oldest();
        assert!(is_told(&free) && !is_told(&slow) && !is_told(&streams));
        drop(free);
        idle.close_oldest();
        assert!(is_told(&slow) && !is_told(&pipelines) && !is_told(&streams));
        drop(slow);
        idle.close_oldest();
        assert!(is_told(&pipelines) && !is_told(&streams));
        drop((asked, stream));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_that_an_answer_took_to_make_is_not_the_clients() {
        let (idle, waits) = (Idle::default(), Backlog::default());
        let member = answered(&idle, &waits);
        let asked = member.busy(false);
        tokio::time::advance(PATIENCE).await;
        asked.answered();
        waits.note(true);
        idle.close_oldest();
        assert!(!is_told(&member), "it has hardly begun to take it");
        tokio::time::advance(PATIENCE).await;
        idle.close_oldest();
        assert!(is_told(&member));
        drop(asked);
    }
}
