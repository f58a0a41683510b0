//! What one would put together by hand: `child_token`, `TaskTracker` and a `DashMap` by id.
//!
//! It names its runs, finds them by id, stops subtrees, and waits for all. It has the same ids, the
//! same names, a map of the same kind and a handle per run. It does not say why a run was stopped,
//! has no status, no deadlines, no fence, no events and no report.

use std::future::Future;
use std::sync::Arc;

use dashmap::DashMap;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// The hand-made peer. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    root: CancellationToken,
    tracker: TaskTracker,
    runs: DashMap<Uuid, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Kept for those who list what is live.
    #[expect(dead_code, reason = "nobody lists in a bench, but the name is there as on our side")]
    name: Arc<str>,
    token: CancellationToken,
}

/// The handle of a run of the peer.
#[derive(Debug)]
pub struct PeerHandle<T> {
    /// Its id.
    pub id: Uuid,
    /// Yields the value.
    pub join: JoinHandle<T>,
}

impl Peer {
    /// Starts a run at the root. The body is given its token.
    pub fn submit<T, F, Fut>(&self, name: impl Into<Arc<str>>, body: F) -> PeerHandle<T>
    where
        F: FnOnce(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        self.spawn(&self.shared.root, name, body)
    }

    /// Starts a run below the one that has this token.
    pub fn spawn<T, F, Fut>(
        &self,
        parent: &CancellationToken,
        name: impl Into<Arc<str>>,
        body: F,
    ) -> PeerHandle<T>
    where
        F: FnOnce(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let (id, run) = self.register(parent, name.into(), body);
        PeerHandle { id, join: self.shared.tracker.spawn(run) }
    }

    /// Starts a run below the one that has this token, in a set that yields the values as they
    /// come, and waits for it in place of [`quiescent`](Self::quiescent). Yields its id.
    pub fn spawn_in<T, F, Fut>(
        &self,
        set: &mut JoinSet<T>,
        parent: &CancellationToken,
        name: impl Into<Arc<str>>,
        body: F,
    ) -> Uuid
    where
        F: FnOnce(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let (id, run) = self.register(parent, name.into(), body);
        drop(set.spawn(run));
        id
    }

    /// Makes a run known by its id until its body is gone.
    fn register<T, F, Fut>(
        &self,
        parent: &CancellationToken,
        name: Arc<str>,
        body: F,
    ) -> (Uuid, impl Future<Output = T> + Send + use<T, F, Fut>)
    where
        F: FnOnce(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let id = Uuid::now_v7();
        let token = parent.child_token();
        self.shared.runs.insert(id, Entry { name, token: token.clone() });
        let entry = Registered { shared: Arc::clone(&self.shared), id };
        let run = async move {
            let _entry = entry;
            body(token).await
        };
        (id, run)
    }

    /// Stops a run and everything below it.
    pub fn cancel(&self, id: Uuid) -> bool {
        let run = self.shared.runs.get(&id);
        run.is_some_and(|run| {
            run.token.cancel();
            true
        })
    }

    /// Tells whether a run is to stop; `None` when it is not known.
    pub fn is_stopping(&self, id: Uuid) -> Option<bool> {
        self.shared.runs.get(&id).map(|run| run.token.is_cancelled())
    }

    /// Waits until nothing executes any more.
    pub async fn quiescent(&self) {
        self.shared.tracker.close();
        self.shared.tracker.wait().await;
        self.shared.tracker.reopen();
    }

    /// Tells whether no run is known.
    pub fn is_empty(&self) -> bool {
        self.shared.runs.is_empty()
    }
}

/// Forgets a run when its body is gone, also when it panics.
struct Registered {
    shared: Arc<Shared>,
    id: Uuid,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.runs.remove(&self.id);
    }
}
