//! [`LookBehind`] looks once for runs of an earlier process that nobody recovers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quell_core::store::{BoxFuture, Page, Pages, RunRecord, StoreError, Stored};

use crate::foreign;
use crate::foreign::couriers::Couriers;
use crate::journal::{Entry, Journal, Recorded};

/// A look for what an earlier process has left, when the first root is stored of an engine that
/// was not told to recover it: it would stay as it is, unseen.
pub(super) enum LookBehind {
    /// No root was stored so far.
    Due,
    /// The store is being read.
    UnderWay(BoxFuture<'static, Result<Pages<Stored<RunRecord>>, StoreError>>),
    /// It was looked, or there was no need to.
    Over,
}

impl LookBehind {
    /// Begins, if a root is among the entries that are about to be stored.
    pub(super) fn begin<R: Recorded>(&mut self, entries: &[Entry<R>], journal: &Journal<R>) {
        if !matches!(self, Self::Due) || !entries.iter().any(Entry::is_awaited) {
            return;
        }
        *self = Self::Over;
        if !journal.is_recovered() {
            let store = Arc::clone(&journal.store);
            // What was accepted first comes first: of an earlier process, if there is any.
            *self = Self::UnderWay(Box::pin(async move { store.recover(Page::first(1)).await }));
        }
    }

    /// Says what was found, once.
    pub(super) fn poll<R: Recorded>(
        &mut self,
        cx: &mut Context<'_>,
        journal: &Journal<R>,
        couriers: &Couriers,
    ) {
        let Self::UnderWay(future) = self else { return };
        let found = match foreign::catch_panic(|| Pin::new(&mut *future).poll(cx)) {
            Ok(Poll::Pending) => return,
            Ok(Poll::Ready(found)) => found.ok(),
            Err(_) => None,
        };
        if let Self::UnderWay(future) = std::mem::replace(self, Self::Over) {
            foreign::release(future);
        }
        let mut records = found.into_iter().flat_map(|pages| pages.items).filter_map(Result::ok);
        // Not one that a later process has by now.
        let is_left = |boot: u32| boot < journal.boot() && !journal.is_own(boot);
        let Some(left) = records.find(|record| is_left(record.epoch.boot())) else { return };
        // It was told to recover meanwhile, perhaps.
        if !journal.is_recovered() {
            let (run, name) = (left.run(), left.accepted.name);
            couriers.send_words(Box::new(move || {
                tracing::warn!(
                    run.uuid = %run, run.name = %name,
                    "run of an earlier process is in the store, and stays as it is: call \
                     `Engine::recover` before the first submit"
                );
            }));
        }
    }
}
