//! [`Watches`]: whose logs are read on another member than that which writes them, and who tells
//! whom that something is new.
//!
//! A member that reads the log of a root says so to all of them, at once and every 10 s, under a
//! channel that they share: it need not know who has the root, nor who will. Each member remembers
//! that for 30 s. One that has committed events of such a root tells the channels of those who
//! read it: in one statement for all of them, in no transaction of records, at most every 20 ms,
//! and less often where that takes long. What nobody watches causes no notification.
//!
//! All of it only says that it is time to look. Whoever reads looks once a second in any case, so
//! that a word that was lost, or was too much to be remembered, is late and nothing else.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quell_core::RunId;
use quell_durable::{Pending, id_of};
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

/// What a member knows of readers.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    /// Whether somebody else reads something: without that a commit asks for nothing more.
    is_any: AtomicBool,
    state: Mutex<State>,
    /// Something is to be said.
    wake: Notify,
}

/// The lock is held for a few look-ups, and never while somebody is told. `is_any` is set under it,
/// and is true while `there` has anything.
#[derive(Debug, Default)]
struct State {
    /// Roots that are read here, with those who read them. None is empty.
    here: HashMap<RunId, Vec<Arc<Notify>>>,
    /// Roots of which the others have not been told.
    unsaid: HashSet<RunId>,
    /// Where else roots are read, and until when that holds. None is empty.
    there: HashMap<RunId, Vec<(Arc<str>, Instant)>>,
    /// How many pairs of a root and a channel `there` has.
    pairs: usize,
    /// Roots with something new that are read elsewhere.
    news: HashSet<RunId>,
}

impl Watches {
    /// Adds one who reads the log of a root here.
    pub(crate) fn add(&self, root: RunId) -> Arc<Notify> {
        let (woken, mut state) = (Arc::<Notify>::default(), self.state.lock());
        let readers = state.here.entry(root).or_default();
        readers.push(Arc::clone(&woken));
        if readers.len() == 1 {
            state.unsaid.insert(root);
        }
        drop(state);
        self.wake.notify_one();
        woken
    }

    /// Takes one away.
    pub(crate) fn remove(&self, root: RunId, woken: &Arc<Notify>) {
        let mut state = self.state.lock();
        let Some(readers) = state.here.get_mut(&root) else { return };
        readers.retain(|it| !Arc::ptr_eq(it, woken));
        if readers.is_empty() {
            state.here.remove(&root);
            state.unsaid.remove(&root);
        }
    }

    /// Notes what was committed: records of a root that is watched are news.
    pub(crate) fn committed(&self, jobs: &[Pending]) {
        // One that begins to watch in this moment looks for itself.
        if !self.is_any.load(Ordering::Relaxed) {
            return;
        }
        let writes = jobs.iter().flat_map(|pending| &pending.job.writes);
        // Of an event that is the root of its run; what else is new below a root has its event.
        let roots = writes.map(|write| write.record.run());
        let (mut state, mut is_new) = (self.state.lock(), false);
        for root in roots {
            is_new |= state.there.contains_key(&root) && state.news.insert(root);
        }
        drop(state);
        if is_new {
            self.wake.notify_one();
        }
    }

    /// Takes a notification, and tells whether it was one of these.
    pub(crate) fn heard(&self, own: &str, words: &str) -> bool {
        if let Some(roots) = words.strip_prefix(NEWS) {
            self.look(roots_of(roots));
            return true;
        }
        let Some(words) = words.strip_prefix(READS) else { return false };
        let (channel, roots) = words.split_once(' ').unwrap_or_default();
        // Every role of the database may say something here. A name that is none would have the
        // server refuse all that is said with it.
        if channel != own && (1..=CHANNEL_BYTES_MAX).contains(&channel.len()) {
            self.is_read(&channel.into(), roots_of(roots), Instant::now());
        }
        true
    }

    /// Has all who read look, and says to the others what is read: words may have been lost.
    pub(crate) fn look_all(&self) {
        let mut state = self.state.lock();
        let all: Vec<_> = state.here.values().flatten().cloned().collect();
        state.unsaid = state.here.keys().copied().collect();
        drop(state);
        for woken in all {
            woken.notify_one();
        }
        self.wake.notify_one();
    }

    fn look(&self, roots: impl Iterator<Item = RunId>) {
        let state = self.state.lock();
        let all: Vec<_> = roots.filter_map(|root| state.here.get(&root)).flatten().collect();
        let all: Vec<_> = all.into_iter().cloned().collect();
        drop(state);
        for woken in all {
            woken.notify_one();
        }
    }

    /// Remembers that roots are read on a channel.
    fn is_read(&self, channel: &Arc<str>, roots: impl Iterator<Item = RunId>, now: Instant) {
        let (mut state, until) = (self.state.lock(), now + KEPT);
        let State { there, pairs, .. } = &mut *state;
        for root in roots {
            let readers = there.get_mut(&root);
            let known = readers.and_then(|all| all.iter_mut().find(|it| it.0 == *channel));
            if let Some(known) = known {
                known.1 = until;
            } else if *pairs < WATCHED_MAX {
                there.entry(root).or_default().push((Arc::clone(channel), until));
                *pairs += 1;
            }
        }
        self.is_any.store(!there.is_empty(), Ordering::Relaxed);
    }

    /// Waits until there is something to be said, or it is time to say again what is read.
    pub(crate) async fn wait(&self, said_at: Instant) {
        let _ = tokio::time::timeout_at(said_at + SAID_EVERY, self.wake.notified()).await;
    }

    /// Takes what is to be said: channels, and words. Whoever has said it when the time has come
    /// says all that is read.
    pub(crate) fn take(
        &self,
        own: &str,
        all: &str,
        said_at: &mut Instant,
    ) -> Vec<(String, String)> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if now >= *said_at + SAID_EVERY {
            *said_at = now;
            state.unsaid = state.here.keys().copied().collect();
            state.forget(now);
            self.is_any.store(!state.there.is_empty(), Ordering::Relaxed);
        }
        let unsaid = std::mem::take(&mut state.unsaid);
        let mut news: BTreeMap<Arc<str>, Vec<RunId>> = BTreeMap::new();
        for root in std::mem::take(&mut state.news) {
            for (channel, _) in state.there.get(&root).into_iter().flatten() {
                news.entry(Arc::clone(channel)).or_default().push(root);
            }
        }
        drop(state);
        let mut words = Vec::new();
        let unsaid: Vec<_> = unsaid.into_iter().collect();
        let reads = unsaid.chunks(ROOTS_MAX).map(|some| (all, format!("{READS}{own}"), some));
        let news = news.iter().flat_map(|(channel, roots)| {
            roots.chunks(ROOTS_MAX).map(|some| (&**channel, NEWS.trim_end().to_owned(), some))
        });
        for (channel, mut text, roots) in reads.chain(news) {
            for root in roots {
                text.push(' ');
                text.push_str(&root.as_uuid().simple().to_string());
            }
            words.push((channel.to_owned(), text));
        }
        words
    }
}

impl State {
    /// Forgets those who have not said for long that they read.
    fn forget(&mut self, now: Instant) {
        self.there.retain(|_, readers| {
            readers.retain(|(_, until)| *until > now);
            !readers.is_empty()
        });
        self.pairs = self.there.values().map(Vec::len).sum();
    }
}

fn roots_of(words: &str) -> impl Iterator<Item = RunId> {
    let ids = words.split(' ').filter_map(|word| Uuid::try_parse(word).ok());
    ids.map(|id| id_of(id.into_bytes()))
}

/// How words begin that say what is read: a channel follows, and roots.
const READS: &str = "reads ";

/// How words begin that say of which roots there is something new.
const NEWS: &str = "news ";

/// The longest name of a channel.
const CHANNEL_BYTES_MAX: usize = 63;

/// The pause behind words that were sent.
pub(crate) const BREATH: Duration = Duration::from_millis(20);

/// How often it is said what is read.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// For how long that holds: one of them may be lost.
const KEPT: Duration = Duration::from_secs(30);

/// Roots in one notification, which has at most 8,000 bytes.
const ROOTS_MAX: usize = 200;

/// Pairs of a root and who reads it that a member remembers. Whoever is beyond that looks once a
/// second.
const WATCHED_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn root(nth: usize) -> RunId {
        RunId::from_text(&format!("run {nth}"))
    }

    /// Passes on what one has to say, and yields how many words that were.
    fn pass(from: &Watches, own: &str, said_at: &mut Instant, to: &Watches) -> usize {
        let words = from.take(own, "all", said_at);
        for (channel, words) in &words {
            assert!(words.len() < 8_000 && (channel == "all" || channel == "b"), "{channel}");
            assert!(to.heard("a", words) && from.heard(own, words));
        }
        words.len()
    }

    fn is_watched(by: &Watches, root: RunId) -> bool {
        by.state.lock().there.contains_key(&root)
    }

    fn news(of: &Watches, roots: impl Iterator<Item = RunId>) {
        of.state.lock().news.extend(roots);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_is_said_again_and_again_and_forgotten_when_it_is_not() {
        let (a, b) = (Watches::default(), Watches::default());
        let [mut of_a, mut of_b] = [Instant::now(); 2];
        let woken: Vec<_> = (0..1_000).map(|nth| b.add(root(nth))).collect();
        let twice = b.add(root(0));
        b.wait(of_b).await;
        assert_eq!(pass(&b, "b", &mut of_b, &a), 5);
        assert!(a.is_any.load(Ordering::Relaxed) && is_watched(&a, root(999)));
        assert!(!is_watched(&b, root(0)), "what it has said itself");
        news(&a, (0..1_000).map(root));
        assert_eq!(pass(&a, "a", &mut of_a, &b), 5);
        for one in woken.iter().chain([&twice]) {
            one.notified().await;
        }
        assert_eq!(pass(&b, "b", &mut of_b, &a), 0, "it is said once");
        b.remove(root(0), &twice);
        b.remove(root(1), &woken[1]);
        for _ in 0..4 {
            b.wait(of_b).await;
            assert_eq!(pass(&b, "b", &mut of_b, &a), 5);
            pass(&a, "a", &mut of_a, &b);
        }
        assert!(is_watched(&a, root(0)), "one still reads it");
        assert!(!is_watched(&a, root(1)));
        for (nth, one) in woken.iter().enumerate() {
            b.remove(root(nth), one);
        }
        tokio::time::sleep(KEPT + SAID_EVERY).await;
        assert_eq!(pass(&b, "b", &mut of_b, &a) + pass(&a, "a", &mut of_a, &b), 0);
        assert!(!a.is_any.load(Ordering::Relaxed) && a.state.lock().there.is_empty());
        assert!(b.state.lock().here.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_remembered_than_there_is_room_for() {
        let a = Watches::default();
        let many = (0..70_000).map(root);
        a.is_read(&"b".into(), many, Instant::now());
        a.is_read(&"c".into(), std::iter::once(root(1)), Instant::now());
        let state = a.state.lock();
        assert_eq!((state.there.len(), state.pairs), (WATCHED_MAX, WATCHED_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn words_that_are_none_change_nothing() {
        let a = Watches::default();
        assert!(!a.heard("a", "") && !a.heard("a", "itself"));
        for words in ["news ", "news x", "reads ", "reads b", "reads b x y", "reads  x"] {
            assert!(a.heard("a", words), "{words}");
        }
        let root = root(1).as_uuid();
        for channel in [String::new(), "c".repeat(64), "c".repeat(7_000)] {
            assert!(a.heard("a", &format!("reads {channel} {root}")), "{channel}");
        }
        assert!(!a.is_any.load(Ordering::Relaxed));
    }

    #[tokio::test(start_paused = true)]
    async fn after_words_may_have_been_lost_all_look_and_all_is_said() {
        let (a, b) = (Watches::default(), Watches::default());
        let mut said_at = Instant::now();
        let woken = b.add(root(1));
        assert_eq!(pass(&b, "b", &mut said_at, &a), 1);
        b.look_all();
        woken.notified().await;
        assert_eq!(pass(&b, "b", &mut said_at, &a), 1);
    }
}
