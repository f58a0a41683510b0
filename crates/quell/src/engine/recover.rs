//! [`Engine::recover`] decides the runs that an earlier process has left behind (T13).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::SystemTime;

use quell_core::store::{Page, RunRecord, Store, StoreError, Unreadable};
use quell_core::{Counts, RunId, limits};

use crate::body::context::RunContext;
use crate::body::driver;
use crate::engine::Engine;
use crate::engine::left_behind::{LeftBehind, LeftTree, Writes};
use crate::failure::{Failure, SubmitError};
use crate::run::RunRef;
use crate::spec::{Again, RunSpec};

/// What is to become of a root that an earlier process has left behind, and that was not stopped.
#[derive(Debug)]
#[must_use = "it does nothing until it is given to `Engine::recover`"]
#[non_exhaustive]
pub enum Recovery {
    /// It ends `Failed`: its worker was lost.
    Fail,
    /// It goes on as its next attempt.
    Resume(Box<Resumed>),
}

/// A run that goes on, and how.
pub struct Resumed {
    spec: RunSpec,
    body: Body,
}

type Body =
    Box<dyn FnOnce(RunContext) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>> + Send>;

impl Recovery {
    /// Lets the run go on as its next attempt: the same run, with this body. Its id, owner, labels
    /// and annotations are those that are stored, and so is its input if the spec has none; the
    /// rest is the spec's, and its timeout goes on from the first start.
    pub fn resume<F, Fut>(spec: RunSpec, body: F) -> Self
    where
        F: FnOnce(RunContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        Self::Resume(Box::new(Resumed { spec, body: Box::new(|ctx| Box::pin(body(ctx))) }))
    }
}

impl fmt::Debug for Resumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumed").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// What became of the runs that an earlier process had left behind.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Recovered {
    /// Runs that have ended now, with those below roots, by how they ended.
    pub ended: Counts,
    /// Roots that go on.
    pub resumed: Vec<RunRef>,
    /// Roots that were to go on, and have failed, because the engine has refused them.
    pub refused: Vec<(RunId, SubmitError)>,
    /// What could not be read, and is as it was.
    pub unreadable: Vec<Unreadable>,
}

impl Engine {
    /// Decides every run of the store that an earlier process has left behind: before the first
    /// submit, once. A root that was stopped ends with the cause of that stop, whatever else (I34);
    /// of the others `decide` says what is to become of them. What ran below a root ends in any
    /// case: a root that goes on starts it anew. Without a store there is nothing to decide.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store. What was decided stays so, and a further call goes on
    /// with the rest.
    ///
    /// # Cancel safety
    ///
    /// As an error: what was decided stays so.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::sync::Arc;
    /// use quell::store::MemoryStore;
    /// use quell::{Engine, EngineConfig, Recovery, RunSpec};
    ///
    /// let store = Arc::new(MemoryStore::new());
    /// let engine = Engine::with_config(EngineConfig::new().store(store));
    /// let recovered = engine
    ///     .recover(|run| match &*run.accepted.name {
    ///         "report" => Recovery::resume(RunSpec::agent("report"), async |_| Ok(())),
    ///         _ => Recovery::Fail,
    ///     })
    ///     .await
    ///     .unwrap();
    /// assert_eq!(recovered.ended.total(), 0);
    /// # });
    /// ```
    pub async fn recover(
        &self,
        decide: impl FnMut(&RunRecord) -> Recovery + Send,
    ) -> Result<Recovered, StoreError> {
        let mut recovered = Recovered::default();
        let Some(journal) = &self.shared().journal else { return Ok(recovered) };
        let store = &*journal.store;
        let is_here = |record: &RunRecord| {
            record.epoch.boot() == journal.boot() || self.get(record.accepted.root).is_some()
        };
        let mut left = LeftBehind::new(decide);
        let mut page = Page::first(limits::STORE_PAGE_MAX);
        loop {
            let read = store.recover(page).await?;
            for record in read.items {
                match record {
                    // What this engine runs is not left behind.
                    Ok(record) if is_here(&record) => {}
                    Ok(record) => left.add(record),
                    Err(unreadable) => recovered.unreadable.push(unreadable),
                }
            }
            let Some(next) = read.next else { break };
            page = Page::first(limits::STORE_PAGE_MAX).after(next);
        }
        let mut writes = Writes::new(journal);
        let strays = readable(store, std::mem::take(&mut left.strays), &mut recovered).await?;
        for end in left.end_strays(strays, journal) {
            writes.push(end).await?;
        }
        let mut resumed = Vec::new();
        for mut tree in left.trees {
            let last_seq = tree.write(&mut writes).await?;
            if let Some(how) = tree.resumed.take() {
                resumed.push((tree.root, last_seq, how));
            }
        }
        // Before any of them writes as its next attempt.
        writes.flush().await?;
        for (root, last_seq, how) in resumed {
            match self.go_on(&root, last_seq, how) {
                Ok(run) => recovered.resumed.push(run),
                Err(error) => {
                    recovered.refused.push((root.run(), error.clone()));
                    LeftTree::refused(root, &error).write(&mut writes).await?;
                }
            }
        }
        writes.flush().await?;
        recovered.ended = writes.ended;
        Ok(recovered)
    }

    /// Starts the next attempt of a run.
    fn go_on(
        &self,
        record: &RunRecord,
        last_seq: u64,
        resumed: Resumed,
    ) -> Result<RunRef, SubmitError> {
        let Resumed { mut spec, body } = resumed;
        let accepted = &record.accepted;
        spec = spec.id(accepted.run);
        spec.input = spec.input.or_else(|| accepted.input.clone());
        let about = spec.about.get_or_insert_default();
        about.owner.clone_from(&accepted.owner);
        about.labels.clone_from(&accepted.labels);
        about.annotations.clone_from(&accepted.annotations);
        let attempt = record.epoch.attempt().saturating_add(1);
        spec.again = Some(Again { attempt, first_seq: last_seq.saturating_add(1) });
        if let (Some(timeout), Some(started)) = (spec.timeout, record.started_at) {
            let passed = SystemTime::now().duration_since(started).unwrap_or_default();
            spec.timeout = Some(timeout.saturating_sub(passed));
        }
        let (node, _) = self.shared().accept_root(spec)?;
        driver::spawn(&node, body);
        Ok(RunRef::new(node))
    }
}

/// Yields the runs below roots that can be read. The others are left as they are, and named: what
/// becomes of them is the root's.
async fn readable(
    store: &dyn Store,
    strays: Vec<RunRecord>,
    recovered: &mut Recovered,
) -> Result<Vec<RunRecord>, StoreError> {
    let (mut faults, mut kept) = (HashMap::new(), Vec::new());
    for record in strays {
        let root = record.accepted.root;
        let fault = match faults.entry(root) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(match store.get(root).await {
                Ok(_) => None,
                Err(StoreError::Unreadable(root)) => Some(root),
                Err(error) => return Err(error),
            }),
        };
        match fault {
            None => kept.push(record),
            Some(root) => {
                let run = Some(record.run());
                recovered.unreadable.push(Unreadable::new(run, "root", &root.fault));
            }
        }
    }
    Ok(kept)
}
