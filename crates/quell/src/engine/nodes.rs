//! What an engine asks of the others on its store: stops of runs that they have, and the runs of
//! those that are gone.

use std::sync::Arc;
use std::time::Instant;

use quell_core::cluster::{LogWatch, OpenStops, RunMeant};
use quell_core::store::{RunRecord, StoreError};
use quell_core::{CancelRequest, Disposition, RunId, Work};

use crate::engine::Engine;
use crate::engine::held_attempts::HeldAttempts;
use crate::engine::recover::{Recovered, Recovery};
use crate::sync::{Ordering, watch};

/// What was taken over from a node that is gone.
#[derive(Debug)]
#[non_exhaustive]
pub struct Takeover {
    /// The name of the node. None if these are runs that a call before has taken over, and of which
    /// it has not come to the end.
    pub from: Option<Arc<str>>,
    /// What became of its runs. What ended was not seen to stop: it is not quiescent, and names the
    /// node.
    pub recovered: Recovered,
}

impl Engine {
    /// Yields the name of the node that this engine is; none if it is alone.
    pub fn node(&self) -> Option<&str> {
        self.shared().member.as_ref().map(|member| &*member.name)
    }

    /// Yields how many roots this engine has taken in that an earlier process, or a node that is
    /// gone, had before: by [`recover`](Self::recover) and [`take_over`](Self::take_over). Whoever
    /// keeps something of its own beside the runs of an engine looks for new ones when it has
    /// risen. It never falls.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// assert_eq!(quell::Engine::new().runs_taken_in(), 0);
    /// # });
    /// ```
    pub fn runs_taken_in(&self) -> u64 {
        self.shared().taken_in.load(Ordering::SeqCst)
    }

    /// Counts how often this engine has taken in what an earlier process or a node that is gone has
    /// left: each [`recover`](Self::recover), and each [`take_over`](Self::take_over) that has
    /// found such a node, also if it had no runs. Whoever keeps something of its own in the store
    /// waits here until it is time to look for what is left of it. It closes with the engine.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::time::Duration;
    /// use quell::testing::cluster::Nodes;
    /// use quell::{Engine, EngineConfig, Recovery, Shutdown};
    ///
    /// let nodes = Nodes::new(Duration::from_secs(15));
    /// let engine = |name| Engine::with_config(EngineConfig::new().node(nodes.join(name)));
    /// let (a, b) = (engine("a"), engine("b"));
    /// let mut taken = b.take_overs();
    /// a.shutdown(Shutdown::default()).await;
    /// b.take_over(|_| Recovery::Fail).await.unwrap();
    /// taken.changed().await.unwrap();
    /// # });
    /// ```
    pub fn take_overs(&self) -> watch::Receiver<u64> {
        self.shared().take_overs.subscribe()
    }

    /// Tells whether another node may still change a stored run that this engine has not in memory:
    /// it has the run, or has ended it and knows what of it executes. Never for an engine that is
    /// alone, or is shut down, and for what a node has left behind that is gone: that ends when
    /// that one is back, or somebody says so of it ([`Work::Node`](crate::Work::Node)), if ever. A
    /// run that a node takes over in this moment counts as one that another has.
    pub fn is_elsewhere(&self, record: &RunRecord) -> bool {
        let shared = self.shared();
        let is_node = shared.member.is_some() && !shared.closed.load(Ordering::SeqCst);
        let Some(journal) = shared.journal.as_ref().filter(|_| is_node) else { return false };
        let is_lost = || {
            let report = record.report.as_ref();
            report.is_some_and(|all| all.abandoned.iter().any(|work| work.what == Work::Node))
        };
        let is_over = record.status.is_terminal();
        !is_over || !record.quiescent && !journal.is_own(record.epoch.boot()) && !is_lost()
    }

    /// Yields the name of the node that has a run, for words to people; none if it is not known.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn owner_of(&self, id: RunId) -> Result<Option<Arc<str>>, StoreError> {
        match &self.shared().member {
            Some(member) => member.cluster.owner(id).await,
            None => Ok(None),
        }
    }

    /// Yields the stops of which the store knows, on whatever node, beside those whose run is
    /// stopping there: that were asked for and not answered, and of roots that have ended and are
    /// not quiescent; of trees of this owner, or of all. An engine that is alone has none.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn open_stops(&self, owner: Option<&str>) -> Result<OpenStops, StoreError> {
        match &self.shared().member {
            Some(member) => member.cluster.open_stops(owner.map(Into::into)).await,
            None => Ok(OpenStops::default()),
        }
    }

    /// Says that somebody reads the stored log of a root here ([`stored_events`]) that another node
    /// may write, until what this yields is dropped: that node tells when there is something new.
    /// Yields none for an engine that is alone, and where nodes do not tell each other. Who reads
    /// looks from time to time in any case.
    ///
    /// [`stored_events`]: Self::stored_events
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::time::Duration;
    /// use quell::testing::cluster::Nodes;
    /// use quell::{CancelRequest, Engine, EngineConfig, RunSpec};
    ///
    /// let nodes = Nodes::new(Duration::from_secs(15));
    /// let engine = |name| Engine::with_config(EngineConfig::new().node(nodes.join(name)));
    /// let (a, b) = (engine("a"), engine("b"));
    /// let body = async |ctx: quell::RunContext| Ok(_ = ctx.stopped().await);
    /// let run = a.submit_durably(RunSpec::agent("far"), body).await.unwrap().into_ref();
    /// let mut watch = b.watch(run.id()).unwrap();
    /// run.cancel(CancelRequest::because("enough"));
    /// // It only says that it is time to look.
    /// while !b.stored_run(run.id()).await.unwrap().unwrap().status.is_terminal() {
    ///     watch.heard().await;
    /// }
    /// # });
    /// ```
    pub fn watch(&self, root: RunId) -> Option<Box<dyn LogWatch>> {
        self.shared().member.as_ref()?.cluster.watch(root)
    }

    /// As [`cancel`](Self::cancel), of a run on whatever node has it: whichever has this id, or the
    /// one that was read ([`RunMeant`]), and no later one of its id, nor one to come; that is
    /// `Unknown`. A run of this one is stopped at once. For any other the stop is recorded in the
    /// store, and its owner carries it out and answers; the answer is what the owner has decided.
    /// An owner that is not heard of in time gives [`Disposition::Recorded`]. An unknown id is
    /// remembered in the store, if the request says so: the run is stopped on whatever node it is
    /// accepted. A stop that is acknowledged in any of these ways outlives both processes (I34),
    /// but for one of a run of this engine, for which [`RunRef::stored`](crate::RunRef::stored)
    /// waits.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store: then nothing is known of the stop.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the stop may be carried out although the future was dropped.
    pub async fn cancel_anywhere(
        &self,
        run: impl Into<RunMeant> + Send,
        request: CancelRequest,
    ) -> Result<Disposition, StoreError> {
        let run: RunMeant = run.into();
        let is_any = run.accepted_ms().is_none();
        let Some(member) = &self.shared().member else {
            if is_any {
                return Ok(self.cancel(run.id(), request));
            }
            let run = self.get_meant(run);
            return Ok(run.map_or(Disposition::Unknown, |run| run.cancel(request)));
        };
        if let Some(answer) = self.cancel_here(run, &request).await {
            return Ok(answer);
        }
        for _ in 0..LOOKS {
            match member.cluster.ask(run, request.clone()).await? {
                Disposition::Unknown => {}
                answer => return Ok(answer),
            }
            // Nobody had it: it may have come since, here or elsewhere.
            if let Some(answer) = self.cancel_here(run, &request).await {
                return Ok(answer);
            }
            if is_any
                && let Some(answer) =
                    self.remember_in_cluster(member, (run.id(), None), &request).await?
            {
                return Ok(answer);
            }
        }
        Ok(Disposition::Unknown)
    }

    /// Stops a run that is here; none if there is none, or if it is not the run that is meant: the
    /// store refuses it if another node has the run of this id, and one that another node has
    /// forgotten is nobody's answer.
    async fn cancel_here(&self, run: RunMeant, request: &CancelRequest) -> Option<Disposition> {
        let run = self.get_meant(run).filter(|run| !run.node().is_namesake())?;
        let answer = run.cancel(request.clone());
        let answer = run.is_accepted().await.then_some(answer)?;
        let is_over = matches!(answer, Disposition::AlreadyTerminal { .. });
        (!is_over || !self.is_forgotten_elsewhere(&run).await).then_some(answer)
    }

    /// Takes over from one node whose lease is over, if there is one, and decides its runs as
    /// [`recover`](Self::recover) decides those of an earlier process: those that go on start.
    /// Yields none if there is no such node, and for an engine that is alone. A node calls it about
    /// once a second for as long as it runs: nobody else does.
    ///
    /// Nobody can see from here whether that node still executes what it had: it may be frozen, or
    /// cut off. So what ends is not quiescent, and names the node
    /// ([`Work::Node`](crate::Work::Node)).
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store. Runs that were taken over are decided by a further
    /// call, or by [`recover`](Self::recover). Fails with [`StoreError::LeaseLost`] if this node
    /// has lost its own lease. While another call is at it, or the engine ends, it takes over
    /// nothing.
    ///
    /// # Cancel safety
    ///
    /// As an error.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::time::Duration;
    /// use quell::testing::cluster::Nodes;
    /// use quell::{Engine, EngineConfig, Recovery, Shutdown};
    ///
    /// let nodes = Nodes::new(Duration::from_secs(15));
    /// let engine = |name| Engine::with_config(EngineConfig::new().node(nodes.join(name)));
    /// let (a, b) = (engine("a"), engine("b"));
    /// assert!(b.take_over(|_| Recovery::Fail).await.unwrap().is_none());
    /// a.shutdown(Shutdown::default()).await;
    /// let taken = b.take_over(|_| Recovery::Fail).await.unwrap().unwrap();
    /// assert_eq!(taken.from.as_deref(), Some("a"));
    /// # });
    /// ```
    pub async fn take_over(
        &self,
        decide: impl FnMut(&RunRecord) -> Recovery + Send,
    ) -> Result<Option<Takeover>, StoreError> {
        let Some((taken, held)) = self.take_over_held(decide).await? else { return Ok(None) };
        held.start();
        Ok(Some(taken))
    }

    /// As [`take_over`](Self::take_over), but no run that goes on starts its next attempt before
    /// the caller says so.
    ///
    /// # Errors
    ///
    /// As [`take_over`](Self::take_over).
    ///
    /// # Cancel safety
    ///
    /// As [`take_over`](Self::take_over). What is held by then is yielded by a further call that
    /// decides it, or by [`recover_held`](Self::recover_held).
    pub async fn take_over_held(
        &self,
        decide: impl FnMut(&RunRecord) -> Recovery + Send,
    ) -> Result<Option<(Takeover, HeldAttempts)>, StoreError> {
        let shared = self.shared();
        let Some(member) = &shared.member else { return Ok(None) };
        if member.lost.is_cancelled() {
            return Err(member.error());
        }
        // An engine that ends could let nothing go on.
        if shared.closed.load(Ordering::SeqCst) || !member.is_in() {
            return Ok(None);
        }
        let Some(deciding) = member.begin_to_decide() else { return Ok(None) };
        let taken = member.cluster.take_over().await?;
        if let (Some(taken), Some(journal)) = (&taken, &shared.journal) {
            // Before anything is written of them.
            journal.raise_boot(taken.boot);
        }
        if taken.is_none() && !deciding.is_left_over {
            deciding.is_done();
            return Ok(None);
        }
        let (recovered, held) = self.recover_held(decide).await?;
        deciding.is_done();
        Ok(Some((Takeover { from: taken.map(|taken| taken.from), recovered }, held)))
    }

    /// Yields when the lease of another node is over at the soonest, as the last
    /// [look](Self::take_over) has found it: who looks again then takes over at once what that one
    /// has left. A lease that is renewed meanwhile is over later. None if nothing is known of it,
    /// and for an engine that is alone.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::time::{Duration, Instant};
    /// use quell::testing::cluster::Nodes;
    /// use quell::{Engine, EngineConfig, Recovery};
    ///
    /// let nodes = Nodes::new(Duration::from_secs(15));
    /// let engine = |name| Engine::with_config(EngineConfig::new().node(nodes.join(name)));
    /// let (a, b) = (engine("a"), engine("b"));
    /// b.take_over(|_| Recovery::Fail).await.unwrap();
    /// let next = b.next_lease_end().unwrap();
    /// assert!(next <= Instant::now() + Duration::from_secs(15));
    /// # drop(a);
    /// # });
    /// ```
    pub fn next_lease_end(&self) -> Option<Instant> {
        self.shared().member.as_ref()?.cluster.next_lease_end()
    }

    /// Waits until this node has lost its lease: its runs are being stopped then, with the cause
    /// [`LeaseLost`](crate::CauseKind::LeaseLost), and nothing more is stored of them, for others
    /// may have them. The engine takes no more runs; a process does best to end, and to start
    /// again. Never yields for an engine that is alone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn lease_lost(&self) {
        match &self.shared().member {
            Some(member) => member.lost.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

/// How often a run is looked for that comes between a look and the next one.
const LOOKS: usize = 3;
