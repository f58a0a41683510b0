//! [`Lasting`] makes bodies whose next attempts know what those before have done, as those of plans
//! do.

use std::sync::Arc;

use quell::store::{RunRecord, Store};
use quell::{Annotations, Engine, Failure, Payload, RunContext, RunSpec, Stopped};

use super::component::Component;
use super::stand_in::StandIns;
use crate::foreign::Foreign;

/// What becomes of the runs of a component whose process was killed.
///
/// # Examples
///
/// ```
/// use quell_flow::OnWorkerLost;
///
/// assert_eq!(OnWorkerLost::default(), OnWorkerLost::Fail);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnWorkerLost {
    /// They end `Failed`: their worker was lost. Those that are known not to have begun begin.
    #[default]
    Fail,
    /// They go on by themselves, as their next attempts: of a plan behind the steps whose end is in
    /// the store, of another body from its beginning. One that was stopped ends all the same.
    Continue,
}

/// The body of one run, which is called once for each attempt.
pub(crate) type Attempts = Box<dyn Fn(RunContext) -> Output + Send + Sync>;
pub(crate) type Output = futures::future::BoxFuture<'static, Result<Payload, Failure>>;

/// What a run has behind it when its body is made.
#[derive(Clone)]
pub(crate) enum Behind {
    /// Nothing, and no store keeps what it does.
    Nothing,
    /// Nothing; a store keeps what it does.
    Stored,
    /// What an earlier process did, as the store has it.
    Process(Arc<dyn Store>, Box<RunRecord>),
}

/// Makes the bodies of runs.
pub(crate) struct Lasting {
    /// By which a run is known to be of this body: an annotation.
    mark: (&'static str, Payload),
    /// The steps that wait for an answer.
    waits: Vec<String>,
    make: Arc<Foreign<Make>>,
}

type Make = Box<dyn Fn(Behind) -> Attempts + Send + Sync>;

impl Lasting {
    pub(crate) fn new(
        mark: (&'static str, Payload),
        waits: Vec<String>,
        make: impl Fn(Behind) -> Attempts + Send + Sync + 'static,
    ) -> Self {
        Self { mark, waits, make: Arc::new(Foreign::new(Box::new(make))) }
    }

    /// Makes one whose attempts each begin with a future.
    fn beginning_with<Fut: Future<Output = Result<(), Stopped>> + Send + 'static>(
        &self,
        first: Arc<impl Fn(RunContext) -> Fut + Send + Sync + 'static>,
    ) -> Self {
        let make = Arc::clone(&self.make);
        Self::new(self.mark.clone(), self.waits.clone(), move |behind| {
            let (attempts, first) = (make(behind), Arc::clone(&first));
            Box::new(move |ctx| {
                let (first, attempt) = (first(ctx.clone()), attempts(ctx));
                Box::pin(async move {
                    first.await?;
                    attempt.await
                })
            })
        })
    }

    pub(super) fn waits(&self) -> &[String] {
        &self.waits
    }

    /// Has a run bear by what it is known again.
    pub(super) fn marked(&self, spec: RunSpec) -> RunSpec {
        let (key, mark) = &self.mark;
        spec.annotation(*key, mark.clone())
    }

    /// Makes the body of a run with this behind it.
    pub(super) fn attempts(&self, behind: Behind) -> Attempts {
        (self.make)(behind)
    }

    /// Yields what a run of an earlier process has behind it; none if that was of another body, and
    /// has done something.
    fn behind(&self, run: &RunRecord, store: &Arc<dyn Store>) -> Option<Behind> {
        if run.is_unstarted {
            return Some(Behind::Stored);
        }
        let (key, mark) = &self.mark;
        let is_known = run.accepted.annotations.get(key) == Some(mark);
        is_known.then(|| Behind::Process(Arc::clone(store), Box::new(run.clone())))
    }
}

impl Component {
    /// Says what becomes of its runs whose process was killed, if a store has them: see
    /// [`Catalog::recovery`](super::Catalog::recovery). Defaults to [`OnWorkerLost::Fail`]. Runs of
    /// a plan that goes on may be paused as well.
    pub const fn on_worker_lost(mut self, then: OnWorkerLost) -> Self {
        self.on_worker_lost = then;
        if self.lasting.is_some() && matches!(then, OnWorkerLost::Continue) {
            self.is_resumable = true;
        }
        self
    }

    /// Tells whether its runs go on whose process was killed.
    pub(super) fn goes_on(&self) -> bool {
        self.on_worker_lost == OnWorkerLost::Continue
    }

    /// Takes what makes its bodies when its runs may have several attempts.
    pub(crate) fn lasting(mut self, lasting: Lasting) -> Self {
        self.is_resumable |= !lasting.waits().is_empty();
        self.lasting = Some(lasting);
        self
    }

    /// Yields the names of the steps that wait for an answer, if it is a plan. A run that is a
    /// child of another one, as a step or a member of a team, fails at such a step.
    ///
    /// # Examples
    ///
    /// ```
    /// # use quell_flow::{Catalog, Plan, Runner};
    /// fn assert_asks(plan: Plan, runner: impl Runner) {
    ///     let plan = plan.link(&Catalog::new()).unwrap().into_component("p", runner);
    ///     assert!(plan.is_resumable() && !plan.waits().is_empty());
    /// }
    /// ```
    pub fn waits(&self) -> &[String] {
        self.lasting.as_ref().map_or(&[], Lasting::waits)
    }

    /// Tells whether a run is of another plan than the one that it has now.
    pub(super) fn is_of_other_plan(&self, annotations: Option<&Annotations>) -> bool {
        let marks = self.lasting.as_ref().map(|lasting| &lasting.mark);
        marks.is_some_and(|(key, mark)| annotations.and_then(|all| all.get(key)) != Some(mark))
    }

    /// Yields what [`Engine::submit_resumable`] takes.
    pub(super) fn resumable_parts(
        self: &Arc<Self>,
        engine: &Engine,
        spec: RunSpec,
    ) -> (RunSpec, Attempts) {
        match &self.lasting {
            None => (spec, Box::new(self.to_body())),
            Some(lasting) if engine.has_store() => {
                (lasting.marked(spec), lasting.attempts(Behind::Stored))
            }
            Some(lasting) => (spec, lasting.attempts(Behind::Nothing)),
        }
    }

    /// Has a run of an earlier process that has done nothing bear by what it is known again, if it
    /// begins.
    pub(super) fn spec_of(&self, run: &RunRecord, spec: RunSpec) -> RunSpec {
        match &self.lasting {
            Some(lasting) if run.is_unstarted => lasting.marked(spec),
            _ => spec,
        }
    }

    /// Makes the body of a run of an earlier process; none if that has done something of another
    /// plan.
    pub(super) fn attempts_of(
        self: &Arc<Self>,
        run: &RunRecord,
        store: &Arc<dyn Store>,
        stand_ins: &StandIns,
    ) -> Option<Attempts> {
        let behind = match &self.lasting {
            Some(lasting) => Some(lasting.behind(run, store)?),
            None => None,
        };
        Some(stand_ins.attempts_of(self, behind))
    }

    /// Makes one for a run that has something to do before it begins: as this one, a plan if it is
    /// one, but each attempt begins with a future, which gets the context of the run. If that
    /// yields [`Stopped`], nothing else of the attempt executes. It is for such runs, as
    /// [`with_body`](Self::with_body) makes them, not for a catalog.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::sync::Arc;
    /// use quell::{Annotations, Engine, Payload};
    /// use quell_flow::Component;
    ///
    /// let echo = Arc::new(Component::agent("echo", async |_ctx, input: Payload| Ok(input)));
    /// let echo = Arc::new(echo.beginning_with(async |ctx| {
    ///     ctx.annotate(&Annotations::from([("host".into(), "here".into())])).unwrap();
    ///     Ok(())
    /// }));
    /// let engine = Engine::new();
    /// let run = echo.start(&engine, echo.spec(), "hi".into()).unwrap().into_ref();
    /// assert_eq!(run.ended().await.status, quell::RunStatus::Completed);
    /// assert_eq!(run.annotation("host"), Some(&"here".into()));
    /// # });
    /// ```
    pub fn beginning_with<F, Fut>(self: &Arc<Self>, first: F) -> Self
    where
        F: Fn(RunContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Stopped>> + Send + 'static,
    {
        let (own, first) = (Arc::clone(self), Arc::new(first));
        let lead = Arc::clone(&first);
        let body = move |ctx: RunContext, input| {
            let (first, own) = (lead(ctx.clone()), Arc::clone(&own));
            async move {
                first.await?;
                (own.body)(ctx, input).await
            }
        };
        let lasting = self.lasting.as_ref().map(|lasting| lasting.beginning_with(first));
        let mut all = self.with_body(body);
        (all.is_resumable, all.lasting) = (self.is_resumable, lasting);
        all
    }
}
