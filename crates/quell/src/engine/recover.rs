//! [`Engine::recover`] decides the runs that an earlier process has left behind (T13).

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::SystemTime;

use futures::stream::{self, StreamExt};
use quell_core::cluster::AskedStop;
use quell_core::store::{Accepted, Page, RunRecord, StoreError, Unreadable};
use quell_core::{Counts, RunId, limits};

use crate::body::context::RunContext;
use crate::body::driver;
use crate::engine::held_attempts::HeldAttempts;
use crate::engine::in_the_way::is_over;
use crate::engine::left_behind::{Fate, LeftBehind, LeftTree, readable};
use crate::engine::left_log::LeftLog;
use crate::engine::left_rows::Left;
use crate::engine::writes::Writes;
use crate::engine::{Engine, doubt, left_paused, lost, prune, resumable};
use crate::failure::{Failure, SubmitError};
use crate::journal::Recorded;
use crate::node::pausing::Maker;
use crate::run::RunRef;
use crate::spec::{Again, RunSpec};
use crate::sync::Mutex;

/// What is to become of a root that an earlier process has left behind, and that was not stopped.
#[derive(Debug)]
#[must_use = "it does nothing until it is given to `Engine::recover`"]
#[non_exhaustive]
pub enum Recovery {
    /// It ends `Failed`: its worker was lost. A run that is paused has lost none: it stays paused,
    /// and an answer is refused with [`ResumeError::NoBody`](crate::ResumeError::NoBody), until a
    /// process knows how it goes on. A cancel, its timeout and its expiry end it.
    Fail,
    /// It goes on as its next attempt; one that is paused does when it has its answer.
    Resume(Box<Resumed>),
}

/// A run that goes on, and how.
pub struct Resumed {
    spec: RunSpec,
    body: Body,
    /// However many attempts were lost.
    pub(super) despite_losses: bool,
}

/// What starts the next attempt, and, if it can be made again, those after that.
struct Body {
    /// Nobody locks it: what decides runs may be moved between threads by that while it waits.
    start: Mutex<Option<Maker>>,
    is_resumable: bool,
}

impl Body {
    fn new(start: Maker, is_resumable: bool) -> Self {
        Self { start: Mutex::new(Some(start)), is_resumable }
    }
}

impl Recovery {
    /// Lets the run go on as its next attempt: the same run, with this body, which yields what one
    /// of [`submit`](Engine::submit) may. Nobody has a handle for that value, so it is dropped:
    /// what is to be read later is left with [`RunContext::set_output`]. The id, idempotency key,
    /// owner, labels and annotations are those that are stored, and so are the input and the lane,
    /// in which the run waits for its turn, if the spec has none; the rest is the spec's, and its
    /// timeout goes on from the first start. One that has never started is due when it was to be,
    /// and has the annotations of the spec as well, in place of its own of the same names. The
    /// attempt has the answer that the run was given last. A run that is paused keeps its lane
    /// and stays paused; its body starts when it has its answer, and cannot pause it again: see
    /// [`resumable`](Self::resumable). One that has lost more than [`limits::LOST_ATTEMPTS_MAX`]
    /// attempts in a row ends `Failed` instead: see [`despite_losses`](Self::despite_losses).
    pub fn resume<T, F, Fut>(spec: RunSpec, body: F) -> Self
    where
        F: FnOnce(RunContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Send + 'static,
    {
        let start = Maker(Box::new(move |node| driver::spawn(node, body)));
        let body = Body::new(start, false);
        Self::Resume(Box::new(Resumed { spec, body, despite_losses: false }))
    }

    /// As [`resume`](Self::resume), with a body that can be made again, so that the run may be
    /// paused: see [`Engine::submit_resumable`].
    pub fn resumable<T, F, Fut>(spec: RunSpec, body: F) -> Self
    where
        F: Fn(RunContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Send + 'static,
    {
        let start = Maker(Box::new(move |node| resumable::start(node, Arc::new(body))));
        let body = Body::new(start, true);
        Self::Resume(Box::new(Resumed { spec, body, despite_losses: false }))
    }

    /// Lets the run go on although it has lost more than [`limits::LOST_ATTEMPTS_MAX`] attempts:
    /// for a run of which somebody asks that it does. Defaults to no: it ends `Failed` then, for a
    /// run that ends its process would do so for ever. A pause is no loss, and those before it
    /// count no more.
    pub fn despite_losses(mut self) -> Self {
        if let Self::Resume(resumed) = &mut self {
            resumed.despite_losses = true;
        }
        self
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
    /// Those of them that are roots.
    pub ended_roots: Counts,
    /// Roots that go on.
    pub resumed: Vec<RunRef>,
    /// Roots that are paused, and wait for their answer as before.
    pub paused: Vec<RunRef>,
    /// Roots that were to go on, and have failed, because the engine has refused them. One that is
    /// paused stays so in the store, and is not in memory.
    pub refused: Vec<(RunId, SubmitError)>,
    /// What could not be read, and is as it was.
    pub unreadable: Vec<Unreadable>,
}

impl Engine {
    /// Decides every run of the store that an earlier process has left behind: before the first
    /// submit, once. A root that was stopped ends with the cause of that stop, whatever else (I34);
    /// of the others `decide` says what is to become of them. One that is paused stays paused: its
    /// timeout and its expiry have gone on meanwhile, and may end it at once. What ran below a root
    /// ends in any case: a root that goes on starts it anew. Work that outlives its process
    /// ([`RunContext::hold_durably`]) is named as abandoned: its run, and what is above that, is
    /// not quiescent. What was rolled back is forgotten, if nothing of it is left so (I36). Without
    /// a store there is nothing to decide.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store. What was decided stays so, and a further call goes on
    /// with the rest. A run that goes on starts its next attempt when such a call has come through:
    /// until then it is queued, and has its place in its lane.
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
        let (recovered, held) = self.recover_held(decide).await?;
        held.start();
        Ok(recovered)
    }

    /// As [`recover`](Self::recover), but no run that goes on starts its next attempt before the
    /// caller says so: a server does when it listens, so that they can be stopped from the first
    /// moment on.
    ///
    /// # Errors
    ///
    /// As [`recover`](Self::recover).
    ///
    /// # Cancel safety
    ///
    /// As [`recover`](Self::recover). What is held by then is yielded by a further call.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::sync::Arc;
    /// use quell::store::MemoryStore;
    /// use quell::{Engine, EngineConfig, Recovery};
    ///
    /// let store = Arc::new(MemoryStore::new());
    /// let engine = Engine::with_config(EngineConfig::new().store(store));
    /// let (_recovered, held) = engine.recover_held(|_| Recovery::Fail).await.unwrap();
    /// // … listen …
    /// assert_eq!(held.count(), 0);
    /// held.start();
    /// # });
    /// ```
    pub async fn recover_held(
        &self,
        decide: impl FnMut(&RunRecord) -> Recovery + Send,
    ) -> Result<(Recovered, HeldAttempts), StoreError> {
        let (mut recovered, mut held) = (Recovered::default(), HeldAttempts::default());
        let Some(journal) = &self.shared().journal else { return Ok((recovered, held)) };
        let store = journal.begin_to_recover();
        let is_here =
            |record: &RunRecord| journal.is_own(record.epoch.boot()) || self.has_root_of(record);
        let (mut left, mut rolled_back) = (LeftBehind::new(decide), Vec::new());
        let mut page = Page::first(limits::STORE_PAGE_MAX);
        loop {
            let read = store.recover(page).await?;
            for record in read.items {
                if let Ok(record) = &record {
                    // The answer to the take-over of this run was lost.
                    journal.raise_above(record.epoch.boot());
                }
                match record {
                    // What this engine runs is not left behind. A call before may have held it.
                    Ok(record) if is_here(&record) => held.0.extend(self.held(record.run())),
                    // Its process was gone before all of it had ended.
                    Ok(record) if record.status.is_terminal() => rolled_back.push(record),
                    Ok(record) => {
                        left.add(left_paused::noted(record));
                    }
                    Err(unreadable) => recovered.unreadable.push(unreadable),
                }
            }
            let Some(next) = read.next else { break };
            page = Page::first(limits::STORE_PAGE_MAX).after(next);
        }
        let mut writes = Writes::new(journal, !recovered.unreadable.is_empty());
        let strays = readable(store, &mut left.strays, &mut recovered.unreadable).await?;
        for end in left.end_strays(strays, journal) {
            writes.push(end).await?;
        }
        let mut stay =
            write_trees(left.trees, &mut writes, |run: &Accepted| self.asked(run)).await?;
        // Before any of them writes as its next attempt.
        writes.flush().await?;
        // Those that had a lane come before those that wait for it (I36): such as are paused, have
        // their answer, or have started.
        stay.sort_by_key(|(root, ..)| left_paused::waits_for_lane(root));
        for (root, last_seq, fate, left) in stay {
            let is_paused = matches!(fate, Fate::StaysPaused(_));
            let taken = self.take_in(&root, last_seq, (fate, left)).await?;
            let Some(taken) = taken else { continue };
            match taken {
                Ok(run) if is_paused => recovered.paused.push(run),
                Ok(run) => {
                    held.0.push(Arc::clone(run.node()));
                    recovered.resumed.push(run);
                }
                Err(error) => {
                    recovered.refused.push((root.run(), error.clone()));
                    if !is_paused && !is_over(&error) {
                        let asked = |run: &Accepted| self.asked(run);
                        LeftTree::end_refused(root, &error, asked, &mut writes).await?;
                    }
                }
            }
        }
        writes.flush().await?;
        prune::forget(store, doubt::over(store, rolled_back).await?).await?;
        (recovered.ended, recovered.ended_roots) = (writes.ended, writes.ended_roots);
        self.shared().member.iter().for_each(|member| member.has_recovered(&writes.freed));
        self.shared().take_overs.send_modify(|count| *count += 1);
        Ok((recovered, held))
    }

    /// Makes the next attempt of a run, which is held.
    pub(super) fn go_on(
        &self,
        record: &RunRecord,
        last_seq: u64,
        (resumed, left): (Resumed, Left),
    ) -> Result<RunRef, SubmitError> {
        let (Resumed { mut spec, mut body, .. }, at) = (resumed, SystemTime::now());
        left_paused::add_stored(&mut spec, record);
        left_paused::keep_due(&mut spec, record, at);
        // One that had its answer had its number, too, and one that has never started its first.
        let further = u32::from(!record.is_answered() && !record.is_unstarted);
        let attempt = record.attempt.saturating_add(further);
        let first_seq = last_seq.saturating_add(1);
        spec.again = Some(Box::new(Again { attempt, first_seq, paused: None }));
        let mut restored = left_paused::restored(record, at);
        left_paused::add_left(&mut restored, record, left);
        spec.timeout = spec.timeout.map(|timeout| timeout.saturating_sub(restored.used));
        let node = self.shared().accept_again(spec, restored)?;
        node.hold_start();
        if let Some(start) = body.start.get_mut().take() {
            (start.0)(&node);
        }
        let run = left_paused::unread(node);
        self.stop_if_asked(&run);
        Ok(run)
    }

    /// Takes in a run that is paused, and says how it goes on, if that is known.
    pub(super) fn stay_paused(
        &self,
        record: &RunRecord,
        last_seq: u64,
        (how, left): (Option<Resumed>, Left),
    ) -> Result<RunRef, SubmitError> {
        let at = SystemTime::now();
        let mut restored = left_paused::restored(record, at);
        left_paused::add_left(&mut restored, record, left);
        let mut spec = match how {
            None => left_paused::spec(record),
            Some(Resumed { spec, mut body, .. }) => {
                restored.is_resumable = body.is_resumable;
                restored.maker = body.start.get_mut().take();
                spec
            }
        };
        left_paused::add_stored(&mut spec, record);
        spec.timeout = spec.timeout.map(|timeout| timeout.saturating_sub(restored.used));
        left_paused::keep_paused(&mut spec, record, at, last_seq.saturating_add(1));
        let run = self.shared().accept_paused(spec, restored).map(left_paused::unread)?;
        self.stop_if_asked(&run);
        Ok(run)
    }

    /// Yields the stops that were asked of a run since it was read: whoever asked may have been
    /// told that they are recorded.
    fn asked(&self, run: &Accepted) -> Vec<AskedStop> {
        let member = self.shared().member.as_ref();
        member.map(|member| member.unplaced(run.run, run.at)).unwrap_or_default()
    }

    /// Stops a run that was taken in, if that was asked for before it was, or if it had used more
    /// than its budget by then: it is held, or paused.
    fn stop_if_asked(&self, run: &RunRef) {
        if let Some(member) = &self.shared().member {
            let mut stops = member.take_unplaced(run.id(), run.queued_at());
            // The first one may end it: what they ask for together is asked then.
            if let Some((first, later)) = stops.split_first_mut() {
                for later in later {
                    first.request.merge(&later.request);
                }
            }
            for AskedStop { nr, request, .. } in stops {
                member.placed(nr, run.cancel(request));
            }
        }
        run.node().stop_if_spent();
    }
}

/// Writes how trees end. Yields the roots that do not, with the numbers of their last events, and
/// with what may still execute of them.
async fn write_trees<R: Recorded>(
    trees: Vec<LeftTree>,
    writes: &mut Writes<'_, R>,
    asked: impl Fn(&Accepted) -> Vec<AskedStop>,
) -> Result<Vec<(RunRecord, u64, Fate, Left)>, StoreError> {
    let (store, mut stay) = (writes.store, Vec::new());
    let logs = stream::iter(trees).map(async |tree| {
        let log = LeftLog::of(store, &tree.root).await?;
        Ok::<_, StoreError>((tree, log))
    });
    let mut logs = pin!(logs.buffered(LOGS_AHEAD));
    while let Some(read) = logs.next().await {
        let (mut tree, log) = read?;
        tree.take_stops(&asked);
        lost::give_up(&mut tree, &log);
        let (last_at, last_seq) = (log.last_at(), tree.write(log, writes).await?);
        if let Fate::GoesOn(how) = &tree.fate
            && let Some(annotated) = left_paused::annotate(&mut tree.root, &how.spec)
        {
            writes.push(annotated).await?;
        }
        if !matches!(tree.fate, Fate::Ends) {
            let left = Left { lost: tree.lost(), earlier: tree.earlier, last_at };
            stay.push((tree.root, last_seq, tree.fate, left));
        }
    }
    Ok(stay)
}

/// How many logs are read before their trees are written: a store answers many at once sooner than
/// each by itself, and what a log tells is small.
const LOGS_AHEAD: usize = 64;
