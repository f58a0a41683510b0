//! [`Shaky`]: a node of a cluster, one kind of whose calls goes wrong.

use std::future::{pending, poll_fn, ready};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use quell::cluster::{
    ActAnswer, Answer, Asked, AskedStop, Cluster, ForgottenWork, Placed, RunMeant, SlotsAsked,
    SlotsHeld, StopToCome, TakenOver, TurnAsk,
};
use quell::store::{
    BoxFuture, Checkpoint, Claim, EndedTree, Page, Pages, Record, RunRecord, Store, StoreError,
    Stored,
};
use quell::testing::cluster::{Node, Nodes, Trouble};
use quell::{
    CancelRequest, Disposition, Engine, EngineConfig, Payload, RunEvent, RunFilter, RunId,
};
use tokio::sync::Barrier;

use super::{Gate, ms};

/// The store and the cluster of one engine: a [`Node`] that has a [`Fault`].
#[derive(Debug)]
pub(crate) struct Shaky {
    node: Arc<Node>,
    fault: Mutex<Fault>,
}

/// What goes wrong with a [`Shaky`], besides the [`Trouble`] of its node.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// What is appended is stored, and never answered.
    AppendsUnanswered,
    /// States of lanes are appended after so long.
    StatesLate(Duration),
    /// Reads, appends and take-overs let others run for 10 ms.
    Slow,
    /// The next take-over happens, and its answer is lost.
    TakeOverUnanswered,
    /// The next take-over happens, and is answered after so long.
    TakeOverLate(Duration),
    /// The next read of what a process has left fails.
    RecoverFails,
    /// Events are read after so long.
    LogsLate(Duration),
    /// What is asked of it is read after so long.
    InboxLate(Duration),
    /// Answers are never taken.
    AnswersHang,
    /// Answers are taken after so long.
    AnswersLate(Duration),
    /// The next answer is not taken.
    AnswerFails,
    /// Acts are taken after so long.
    TakesLate(Duration),
    /// The next act is taken, and nobody is told.
    TakeUnanswered,
    /// It hears of no turn in a lane.
    HearsNoTurns,
    /// The next stop is asked for, and that panics.
    AskPanics,
    /// Stops are asked for, and nobody hears of them.
    AsksHang,
    /// Runs are not given up.
    ReleasesFail,
    /// The next append is made after so long.
    AppendLate(Duration),
    /// The next append is made between two meetings, on whatever runtime that is.
    AppendMeets(Arc<Barrier>),
    /// The next append is made, and said to have failed.
    AppendDoubted,
    /// Its name is asked for, and that panics.
    NamePanics,
    /// It is not left the next time.
    LeaveFails,
    /// To leave blocks the thread until the gate is open.
    LeaveBlocks(Gate),
}

impl Shaky {
    /// Joins under a name, without a fault.
    pub(crate) fn join(nodes: &Nodes, name: &str) -> Arc<Self> {
        Arc::new(Self { node: nodes.join(name), fault: Mutex::new(Fault::None) })
    }

    /// Yields the options of an engine that is this node.
    pub(crate) fn config(self: &Arc<Self>) -> EngineConfig {
        EngineConfig::new().node(Arc::clone(self))
    }

    /// Makes an engine that is this node, on a clock that the test may pause.
    pub(crate) fn engine(self: &Arc<Self>) -> Engine {
        Engine::with_config(self.config().control_on_runtime())
    }

    /// Gives it a fault, or takes it away.
    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// Gives the node trouble.
    pub(crate) fn trouble(&self, trouble: Trouble) {
        self.node.trouble(trouble);
    }

    fn fault(&self) -> Fault {
        self.fault.lock().unwrap().clone()
    }

    async fn pace(&self) {
        if matches!(self.fault(), Fault::Slow) {
            tokio::time::sleep(ms(10)).await;
        }
    }
}

impl Cluster for Shaky {
    fn name(&self) -> &str {
        assert!(!matches!(self.fault(), Fault::NamePanics), "a name that panics");
        self.node.name()
    }

    fn lease(&self) -> Duration {
        self.node.lease()
    }

    fn joined_at(&self) -> Instant {
        self.node.joined_at()
    }

    fn renew(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.node.renew()
    }

    fn take_over(&self) -> BoxFuture<'_, Result<Option<TakenOver>, StoreError>> {
        Box::pin(async move {
            self.pace().await;
            let taken = self.node.take_over().await;
            match self.fault() {
                Fault::TakeOverUnanswered => {
                    self.set(Fault::None);
                    Err(StoreError::Io { what: "the connection broke".into() })
                }
                Fault::TakeOverLate(late) => {
                    self.set(Fault::None);
                    tokio::time::sleep(late).await;
                    taken
                }
                _ => taken,
            }
        })
    }

    fn ask(
        &self,
        run: RunMeant,
        request: CancelRequest,
    ) -> BoxFuture<'_, Result<Disposition, StoreError>> {
        if matches!(self.fault(), Fault::AskPanics) {
            self.set(Fault::None);
            return Box::pin(poll_fn(|_| -> Poll<_> { panic!("a call that panics") }));
        }
        if matches!(self.fault(), Fault::AsksHang) {
            return Box::pin(pending());
        }
        self.node.ask(run, request)
    }

    fn remember(&self, stop: StopToCome) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.node.remember(stop)
    }

    fn take_remembered(&self) -> Vec<AskedStop> {
        self.node.take_remembered()
    }

    fn take_placed(&self) -> Vec<Placed> {
        self.node.take_placed()
    }

    fn turns(&self, asks: Vec<TurnAsk>) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>> {
        self.node.turns(asks)
    }

    fn turn_heard(&self) -> BoxFuture<'_, Vec<Arc<str>>> {
        if matches!(self.fault(), Fault::HearsNoTurns) {
            return Box::pin(pending());
        }
        self.node.turn_heard()
    }

    fn act(&self, run: RunMeant, words: Payload) -> BoxFuture<'_, Result<ActAnswer, StoreError>> {
        self.node.act(run, words)
    }

    fn inbox(&self, known: Vec<u64>) -> BoxFuture<'_, Result<Vec<Asked>, StoreError>> {
        Box::pin(async move {
            if let Fault::InboxLate(late) = self.fault() {
                tokio::time::sleep(late).await;
            }
            self.node.inbox(known).await
        })
    }

    fn take(&self, act: u64) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            if let Fault::TakesLate(late) = self.fault() {
                tokio::time::sleep(late).await;
            }
            let taken = self.node.take(act).await;
            if matches!(self.fault(), Fault::TakeUnanswered) {
                self.set(Fault::None);
                return Err(StoreError::Io { what: "the connection broke".into() });
            }
            taken
        })
    }

    fn answer(&self, nr: u64, answer: Answer) -> BoxFuture<'_, Result<(), StoreError>> {
        match self.fault() {
            Fault::AnswersHang => Box::pin(pending()),
            Fault::AnswersLate(time) => Box::pin(async move {
                tokio::time::sleep(time).await;
                self.node.answer(nr, answer).await
            }),
            Fault::AnswerFails => {
                self.set(Fault::None);
                Box::pin(ready(Err(StoreError::Io { what: "the connection broke".into() })))
            }
            _ => self.node.answer(nr, answer),
        }
    }

    fn release(&self, roots: Vec<RunId>) -> BoxFuture<'_, Result<(), StoreError>> {
        match self.fault() {
            Fault::ReleasesFail => {
                Box::pin(ready(Err(StoreError::Io { what: "the connection broke".into() })))
            }
            _ => self.node.release(roots),
        }
    }

    fn forgotten(&self) -> BoxFuture<'_, Result<Vec<ForgottenWork>, StoreError>> {
        self.node.forgotten()
    }

    fn programs_before(
        &self,
        have_ended: bool,
    ) -> BoxFuture<'_, Result<Vec<ForgottenWork>, StoreError>> {
        self.node.programs_before(have_ended)
    }

    fn slots(&self, asked: Vec<SlotsAsked>) -> BoxFuture<'_, Result<Vec<SlotsHeld>, StoreError>> {
        self.node.slots(asked)
    }

    fn slots_moved(&self) -> BoxFuture<'_, Result<Vec<Arc<str>>, StoreError>> {
        self.node.slots_moved()
    }

    fn leave(&self, is_drained: bool) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if let Fault::LeaveBlocks(gate) = self.fault() {
                while !gate.is_open() {
                    thread::sleep(ms(1));
                }
            }
            if matches!(self.fault(), Fault::LeaveFails) {
                self.set(Fault::None);
                return Err(StoreError::Io { what: "the connection broke".into() });
            }
            self.node.leave(is_drained).await
        })
    }
}

impl Store for Shaky {
    fn boot(&self) -> u32 {
        self.node.boot()
    }

    fn member(&self) -> Option<&str> {
        self.node.member()
    }

    fn append(&self, batch: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if let Fault::StatesLate(late) = self.fault()
                && batch.iter().any(|record| matches!(record, Record::Checkpoint { .. }))
            {
                tokio::time::sleep(late).await;
            }
            if let Fault::AppendLate(late) = self.fault() {
                self.set(Fault::None);
                tokio::time::sleep(late).await;
            }
            if let Fault::AppendMeets(other) = self.fault() {
                self.set(Fault::None);
                other.wait().await;
                other.wait().await;
            }
            self.pace().await;
            let done = self.node.append(batch).await;
            match self.fault() {
                Fault::AppendsUnanswered => pending().await,
                Fault::AppendDoubted => {
                    self.set(Fault::None);
                    Err(StoreError::Io { what: "nobody knows of this append".into() })
                }
                _ => done,
            }
        })
    }

    fn get(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>> {
        Box::pin(async move {
            self.pace().await;
            self.node.get(run).await
        })
    }

    fn claim(
        &self,
        owner: Option<Arc<str>>,
        key: Arc<str>,
        at: SystemTime,
    ) -> BoxFuture<'_, Result<Option<Claim>, StoreError>> {
        Box::pin(async move {
            self.pace().await;
            self.node.claim(owner, key, at).await
        })
    }

    fn list(
        &self,
        filter: RunFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        self.node.list(filter, page)
    }

    fn events(
        &self,
        root: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored<RunEvent>>, StoreError>> {
        Box::pin(async move {
            self.pace().await;
            if let Fault::LogsLate(late) = self.fault() {
                tokio::time::sleep(late).await;
            }
            self.node.events(root, after, limit).await
        })
    }

    fn checkpoints(
        &self,
        lane: String,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<Checkpoint>>, StoreError>> {
        self.node.checkpoints(lane, page)
    }

    fn recover(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        Box::pin(async move {
            self.pace().await;
            if matches!(self.fault(), Fault::RecoverFails) {
                self.set(Fault::None);
                return Err(StoreError::Io { what: "the connection broke".into() });
            }
            self.node.recover(page).await
        })
    }

    fn ended(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<EndedTree>>, StoreError>> {
        self.node.ended(page)
    }

    fn bytes(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.node.bytes()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.node.close()
    }
}
