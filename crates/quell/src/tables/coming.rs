//! [`Coming`]: roots of earlier processes, and of other nodes, that are taken in in this moment.
//!
//! Who takes a root in notes it here, and looks then whether a run has its id or its key. A submit
//! asks here under the lock under which it claims the one or the other: that of the shard, or that
//! of the keys. The look takes both. So either it finds the run, or the submit is refused here, as
//! the store would refuse it: nothing gets between the look and the entry of the root, nor in the
//! way while what the look has found is waited for.
//!
//! A submit is not to take a lock of the whole engine, and mostly nothing is taken in: it asks a
//! count first, which is that of the roots. There is one for each call that takes roots in.
//!
//! Lock order: this comes behind every other lock, and none is taken under it.

use std::sync::Arc;

use quell_core::RunId;

use crate::failure::SubmitError;
use crate::idempotency::IdempotencyKey;
use crate::sync::{AtomicUsize, Mutex, Ordering};

#[derive(Debug, Default)]
pub(crate) struct Coming {
    count: AtomicUsize,
    roots: Mutex<Vec<Root>>,
}

/// A root that is taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) id: RunId,
    pub(crate) owner: Option<Arc<str>>,
    pub(crate) key: Option<IdempotencyKey>,
}

impl Coming {
    /// Notes a root, until what this yields is dropped.
    pub(crate) fn begin(&self, root: Root) -> Comes<'_> {
        let mut roots = self.roots.lock();
        roots.push(root.clone());
        self.count.store(roots.len(), Ordering::SeqCst);
        drop(roots);
        Comes { coming: self, root }
    }

    /// Tells whether a run may have its id. Called under the lock of its shard.
    #[inline]
    pub(crate) fn ask(&self, id: RunId) -> Result<(), SubmitError> {
        let is_id = |root: &Root| (root.id == id).then_some(SubmitError::IdInUse(id));
        if self.count.load(Ordering::SeqCst) == 0 { Ok(()) } else { self.find(is_id) }
    }

    /// Tells whether a run may have its key. Called under the lock of the keys.
    pub(crate) fn ask_key(
        &self,
        owner: Option<&Arc<str>>,
        key: &IdempotencyKey,
    ) -> Result<(), SubmitError> {
        self.find(|root| {
            let own = root.key.as_ref().filter(|own| own.text() == key.text());
            own.filter(|_| root.owner.as_ref() == owner).map(|own| {
                let is_same = own.payload() == key.payload();
                if is_same {
                    SubmitError::AlreadySubmitted(root.id)
                } else {
                    SubmitError::KeyConflict
                }
            })
        })
    }

    fn find(&self, refusal: impl Fn(&Root) -> Option<SubmitError>) -> Result<(), SubmitError> {
        self.roots.lock().iter().find_map(refusal).map_or(Ok(()), Err)
    }
}

/// A root that is noted.
#[must_use]
pub(crate) struct Comes<'a> {
    coming: &'a Coming,
    root: Root,
}

impl Drop for Comes<'_> {
    fn drop(&mut self) {
        let mut roots = self.coming.roots.lock();
        let place = roots.iter().position(|root| *root == self.root);
        let gone = place.map(|place| roots.swap_remove(place));
        self.coming.count.store(roots.len(), Ordering::SeqCst);
        drop(roots);
        drop(gone);
    }
}
