//! What shuttle gives in another shape, and a time for it.
//!
//! Time stands still but for the control thread: when that sleeps until an instant, it lets the
//! others go on for a while that the schedule draws, and then it is that instant. So a timer may
//! fire before, between and after whatever else happens. What is further away than [`NEVER`] does
//! not come: there a wake-up that is lost is a deadlock, which no timer covers up.
//!
//! Hashes and wall times are the same in every run, so that a schedule can be played again.

use std::cell::Cell;
use std::future::Future;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::ops::Deref;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use shuttle::rand::Rng as _;
use tokio::runtime::Handle;

pub(crate) use shuttle::future::AbortHandle;
pub(crate) use shuttle::sync::MutexGuard;
pub(crate) use shuttle::{thread, thread_local};
pub(crate) use shuttle_dashmap::mapref::entry::Entry as MapEntry;

/// No secret.
pub(crate) type RandomState = BuildHasherDefault<DefaultHasher>;

/// shuttle's mutex without poison, as `parking_lot` has it.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A map of two shards with a lock each, so that, as in the real one, a look at all of it is no
/// look at one instant.
#[derive(Debug)]
pub(crate) struct DashMap<K, V, S> {
    shards: [shuttle_dashmap::DashMap<K, V>; 2],
    hash: S,
}

impl<K: Eq + Hash + Clone, V, S: BuildHasher> DashMap<K, V, S> {
    pub(crate) fn entry(&self, key: K) -> MapEntry<'_, K, V> {
        self.shard(&key).entry(key)
    }

    pub(crate) fn get(&self, key: &K) -> Option<shuttle_dashmap::Ref<'_, K, V>> {
        self.shard(key).get(key)
    }

    pub(crate) fn remove_if(&self, key: &K, is: impl FnOnce(&K, &V) -> bool) -> Option<(K, V)> {
        self.shard(key).remove_if(key, is)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = shuttle_dashmap::RefMulti<'_, K, V>> {
        self.shards.iter().flat_map(shuttle_dashmap::DashMap::iter)
    }

    #[cfg(feature = "test-util")]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(shuttle_dashmap::DashMap::len).sum()
    }

    fn shard(&self, key: &K) -> &shuttle_dashmap::DashMap<K, V> {
        &self.shards[usize::from(self.hash.hash_one(key) % 2 == 1)]
    }
}

impl<K: Eq + Hash, V, S: Default> Default for DashMap<K, V, S> {
    fn default() -> Self {
        Self { shards: Default::default(), hash: S::default() }
    }
}

/// A runtime whose tasks are those of the schedule. What else is asked of it, blocking closures,
/// is asked of tokio, and belongs into no schedule.
#[derive(Clone, Debug)]
pub(crate) struct Runtime(pub(crate) Handle);

impl Runtime {
    #[expect(clippy::unused_self, reason = "shaped like a handle")]
    pub(crate) fn spawn<F>(&self, task: F) -> shuttle::future::JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        shuttle::future::spawn(task)
    }

    pub(crate) fn enter(&self) -> tokio::runtime::EnterGuard<'_> {
        self.0.enter()
    }
}

impl Deref for Runtime {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.0
    }
}

/// The time of the schedules.
pub(crate) fn now() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now) + PASSED.get()
}

pub(crate) fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(24)
}

/// Sleeps until an instant, or until the thread is woken if that is too far away.
pub(crate) fn park_until(at: Instant) {
    let left = at.saturating_duration_since(now());
    if left >= NEVER {
        return thread::park();
    }
    for _ in 0..shuttle::rand::thread_rng().gen_range(0..SWITCHES_MAX) {
        thread::sleep(left);
    }
    PASSED.set(PASSED.get() + at.saturating_duration_since(now()));
}

std::thread_local! {
    /// How much time has passed: one thread plays all schedules of a model.
    static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// An instant that never comes.
const NEVER: Duration = Duration::from_mins(30);

/// How long others may go on while the control thread sleeps, in points at which it could go on.
const SWITCHES_MAX: u32 = 64;
