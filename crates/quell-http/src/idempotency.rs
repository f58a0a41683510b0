//! [`IdempotencyKey`]: the same key with the same request means the same run.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quell::RunId;
use tokio::sync::watch;

use crate::bounded_map::BoundedMap;
use crate::ids::Identity;

/// An idempotency key with the request that it stands for: the path and the payload.
///
/// # Examples
///
/// ```
/// use quell_http::IdempotencyKey;
///
/// let once = IdempotencyKey::new("key-1", "/v1/runs", br#"{"input":1}"#);
/// # let _ = once;
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is part of a start"]
pub struct IdempotencyKey {
    key: Arc<str>,
    request: u64,
}

impl IdempotencyKey {
    /// Names the key, the path and the payload of a request.
    pub fn new(key: impl Into<Arc<str>>, path: &str, payload: &[u8]) -> Self {
        Self { key: key.into(), request: HASHER.hash_one((path, payload)) }
    }
}

/// The longest idempotency key, in bytes. A longer one is refused.
pub const KEY_BYTES_MAX: usize = 256;

/// Keys that a service remembers. The oldest are forgotten first; if a caller exceeds their share,
/// their own oldest.
const KEYS_MAX: usize = 65_536;

/// How long a key is remembered.
const KEYS_TTL: Duration = Duration::from_hours(24);

/// Hashes requests with a secret of this process, so that callers cannot construct collisions.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The keys of all callers.
#[derive(Debug)]
pub(crate) struct Keys {
    state: Arc<Mutex<Known>>,
}

type Known = BoundedMap<Arc<str>, Entry>;

/// A key with its caller: the same text of two callers is two keys.
#[derive(Clone, Debug)]
struct Address {
    caller: Option<Arc<str>>,
    key: Arc<str>,
}

#[derive(Debug)]
struct Entry {
    request: u64,
    since: Instant,
    run: Progress,
}

#[derive(Debug)]
enum Progress {
    /// The first request is still starting the run. The channel closes when it has finished.
    Open(watch::Receiver<()>),
    /// The run that the first request started.
    Through(Identity),
}

/// What a request with a key has to do.
#[derive(Debug)]
pub(crate) enum Begun {
    /// The key is new. Keep the claim once there is a run; dropped before, it frees the key.
    First(Claim),
    /// The same request has started this run before.
    Again(Identity),
}

/// Why a key cannot be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyRefused {
    /// It has so many bytes, more than [`KEY_BYTES_MAX`].
    TooLong { bytes: usize },
    /// It was used with another request.
    OtherRequest,
}

/// The right to start the run of a key.
pub(crate) struct Claim {
    state: Arc<Mutex<Known>>,
    address: Address,
    since: Instant,
    kept: bool,
    _open: watch::Sender<()>,
}

impl Keys {
    pub(crate) fn new(share_percent: u8) -> Self {
        let known = BoundedMap::new(KEYS_MAX, KEYS_MAX * KEY_BYTES_MAX, share_percent);
        Self { state: Arc::new(Mutex::new(known)) }
    }

    /// Claims a key. Waits while another request with the same key is starting its run.
    pub(crate) async fn begin(
        &self,
        caller: Option<&Arc<str>>,
        once: &IdempotencyKey,
    ) -> Result<Begun, KeyRefused> {
        let bytes = once.key.len();
        if bytes > KEY_BYTES_MAX {
            return Err(KeyRefused::TooLong { bytes });
        }
        let request = once.request;
        let address = Address { caller: caller.cloned(), key: Arc::clone(&once.key) };
        loop {
            let mut other = match self.look(&address, request)? {
                Ok(begun) => return Ok(begun),
                Err(other) => other,
            };
            // The sender is dropped with the claim, kept or not. Look again in both cases.
            let _ = other.changed().await;
        }
    }

    /// Yields the run that the same request with this key has started.
    pub(crate) fn through(
        &self,
        caller: Option<&Arc<str>>,
        once: &IdempotencyKey,
    ) -> Option<RunId> {
        let known = self.state.lock();
        let entry = known.get(caller, &once.key).filter(|entry| entry.request == once.request)?;
        match entry.run {
            Progress::Through((run, _)) => Some(run),
            Progress::Open(_) => None,
        }
    }

    /// Looks once. The outer error refuses the request; the inner one is the channel to wait for.
    fn look(
        &self,
        address: &Address,
        request: u64,
    ) -> Result<Result<Begun, watch::Receiver<()>>, KeyRefused> {
        let now = Instant::now();
        let mut known = self.state.lock();
        if let Some(entry) = known.get(address.caller.as_ref(), &address.key) {
            if entry.request != request {
                return Err(KeyRefused::OtherRequest);
            }
            return Ok(match &entry.run {
                Progress::Through(run) => Ok(Begun::Again(*run)),
                Progress::Open(other) => Err(other.clone()),
            });
        }
        let (open, other) = watch::channel(());
        let entry = Entry { request, since: now, run: Progress::Open(other) };
        let (key, bytes) = (Arc::clone(&address.key), address.key.len());
        known.put(address.caller.as_ref(), key, entry, bytes, now + KEYS_TTL);
        let state = Arc::clone(&self.state);
        let claim = Claim { state, address: address.clone(), since: now, kept: false, _open: open };
        Ok(Ok(Begun::First(claim)))
    }
}

impl Claim {
    /// Records the run that the key has started.
    pub(crate) fn keep(mut self, run: Identity) {
        self.kept = true;
        let mut known = self.state.lock();
        if let Some(entry) = known.get_mut(self.address.caller.as_ref(), &self.address.key)
            && entry.since == self.since
        {
            entry.run = Progress::Through(run);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let (caller, key) = (self.address.caller.as_ref(), &self.address.key);
        let mut known = self.state.lock();
        // The entry may have been forgotten since, and a later request may have claimed the key.
        if known.get(caller, key).is_some_and(|entry| entry.since == self.since) {
            drop(known.remove(caller, key));
        }
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_keys_are_known_than_the_bound_and_a_caller_loses_their_own() {
        let keys = Keys::new(25);
        let run = (RunId::from_text("r"), std::time::SystemTime::UNIX_EPOCH);
        let (ada, ben): (Arc<str>, Arc<str>) = ("ada".into(), "ben".into());
        let present = |key: usize| IdempotencyKey::new(key.to_string(), "/", b"");
        let start = async |caller: &Arc<str>, key: usize| match keys
            .begin(Some(caller), &present(key))
            .await
            .unwrap()
        {
            Begun::First(claim) => {
                claim.keep(run);
                true
            }
            Begun::Again(_) => false,
        };
        assert!(start(&ben, 1).await);
        for key in 0..KEYS_MAX + 100 {
            assert!(start(&ada, key).await, "each key is new");
        }
        assert_eq!(keys.state.lock().len(), KEYS_MAX / 4 + 1);
        assert!(!start(&ben, 1).await, "another caller's key stays: nothing starts twice");
        assert!(start(&ada, 50).await, "her own oldest have left");
        assert!(!start(&ada, KEYS_MAX + 99).await);
    }

    #[tokio::test]
    async fn a_claim_that_is_given_up_leaves_the_key_to_the_next() {
        let keys = Arc::new(Keys::new(25));
        let once = IdempotencyKey::new("k", "/", b"");
        let first = keys.begin(None, &once).await.unwrap();
        let waiting = tokio::spawn({
            let (keys, once) = (Arc::clone(&keys), once.clone());
            async move { keys.begin(None, &once).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        assert!(matches!(waiting.await.unwrap().unwrap(), Begun::First(_)));
    }
}
