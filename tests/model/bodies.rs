//! Bodies that follow a plan, and books of what really ran, kept outside the engine.

use std::future::{Future, pending};
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use quell::{Failure, Payload, RunContext, RunHandle, RunRef, RunSpec, Work, Written};
use tokio::time::Instant;

use super::plan::{Cleanup, End, Hook, Keep, Plan, Step};

/// A plan on stage, with the books of every run.
pub(crate) struct Stage {
    pub(crate) plan: Plan,
    pub(crate) began: Instant,
    books: Mutex<Vec<Books>>,
    /// What contradicted a promise while the plan was played.
    wrong: Mutex<Vec<String>>,
}

/// What is known of one run from outside the engine.
#[derive(Clone, Default)]
pub(crate) struct Books {
    pub(crate) run: Option<RunRef>,
    /// The plan's parent was stopping when this run was spawned: it belongs to cleanup.
    pub(crate) is_cleanup: bool,
    /// When code of the run was last executed: body, destructors, hooks, work outside.
    pub(crate) active_at: Option<u64>,
    pub(crate) polled: bool,
    /// Hooks that were registered, by number; those from `hooks_late` on came after the stop.
    pub(crate) hooks: u32,
    pub(crate) hooks_late: Option<u32>,
    /// Those of them that run at every end.
    pub(crate) end_hooks: Vec<u32>,
    /// Hooks that were started, in order.
    pub(crate) hooks_run: Vec<u32>,
    pub(crate) emitted: usize,
    pub(crate) late: u32,
    pub(crate) output: Option<usize>,
}

type Body = Pin<Box<dyn Future<Output = Result<usize, Failure>> + Send>>;
type Handles = Vec<RunHandle<usize>>;

impl Stage {
    pub(crate) fn new(plan: Plan) -> Self {
        let books = Mutex::new(vec![Books::default(); plan.runs.len()]);
        Self { plan, began: Instant::now(), books, wrong: Mutex::default() }
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Vec<Books>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn run(&self, run: usize) -> Option<RunRef> {
        self.books()[run].run.clone()
    }

    /// Milliseconds of the paused clock since the beginning.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn contradict(&self, what: &str) {
        let at = self.now();
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.push(format!("at {at}: {what}"));
    }

    pub(crate) fn contradictions(&self) -> Vec<String> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn spec(run: usize, plan: &Plan) -> RunSpec {
        let row = &plan.runs[run];
        let mut spec =
            RunSpec::step(format!("run {run}")).id(Plan::id(run)).stop_delivery(row.stop_delivery);
        let millis = Duration::from_millis;
        if let Some(timeout) = row.timeout {
            spec = spec.timeout(millis(timeout));
        }
        if let Some(time) = row.start_within {
            spec = spec.start_within(millis(time));
        }
        if let Some(idle) = row.idle {
            spec = spec.idle(millis(idle));
        }
        if let Some(grace) = row.grace {
            spec = spec.grace(millis(grace));
        }
        spec
    }

    /// Makes the body of a run.
    pub(crate) fn body(self: &Arc<Self>, run: usize) -> impl FnOnce(RunContext) -> Body + use<> {
        let stage = Arc::clone(self);
        move |ctx| {
            stage.books()[run].polled = true;
            let inner = Box::pin(live(ctx, Arc::clone(&stage), run));
            Box::pin(Watched { inner: Some(inner), stage, run })
        }
    }

    /// Notes that code of a run executes now. It must not if the run is quiescent (I4).
    fn note_activity(&self, run: usize) {
        let now = self.now();
        self.books()[run].active_at = Some(now);
        let mut above = self.run(run);
        while let Some(this) = above {
            if this.status().is_terminal() && this.report().quiescent {
                let who = this.name();
                self.contradict(&format!("I4: code of run {run} runs, but {who} is quiescent"));
            }
            above = this.parent();
        }
    }

    fn note_written(&self, run: usize, written: Written) {
        let books = &mut self.books()[run];
        match written {
            Written::Recorded => books.emitted += 1,
            _ => books.late += 1,
        }
    }
}

/// A body under watch: each poll, and its destructors, are noted.
struct Watched {
    inner: Option<Body>,
    stage: Arc<Stage>,
    run: usize,
}

impl Future for Watched {
    type Output = Result<usize, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.stage.note_activity(self.run);
        match &mut self.inner {
            Some(inner) => inner.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.inner.take());
        self.stage.note_activity(self.run);
    }
}

async fn live(ctx: RunContext, stage: Arc<Stage>, run: usize) -> Result<usize, Failure> {
    let plan = &stage.plan.runs[run];
    if plan.listens {
        ctx.is_stopping();
    }
    let mut handles = Handles::new();
    let end = match plan.gives_way {
        None => script(&ctx, &stage, run, &mut handles).await,
        Some(cleanup) => {
            let script = script(&ctx, &stage, run, &mut handles);
            match ctx.run_until_stopped(script).await {
                Ok(end) => end,
                Err(_) => clean(&ctx, &stage, cleanup, plan.end).await,
            }
        }
    };
    match end {
        End::Ok | End::Never => Ok(run),
        End::Err => Err(Failure::new("planned")),
        End::Panic => resume_unwind(Box::new("planned")),
    }
}

/// Takes the steps of a run, one after the other.
async fn script(ctx: &RunContext, stage: &Arc<Stage>, run: usize, handles: &mut Handles) -> End {
    let plan = &stage.plan.runs[run];
    for (number, step) in plan.steps.iter().enumerate() {
        match *step {
            Step::Sleep(takes) => sleep(takes).await,
            Step::Shield(takes) => {
                let _ = ctx.shield(sleep(takes)).await;
            }
            Step::Spawn(child, keep) => spawn(ctx, stage, child, keep, handles),
            Step::Emit => stage.note_written(run, ctx.emit(number.to_string())),
            Step::SetOutput => {
                if ctx.set_output(Payload::from(number.to_string())) == Written::Recorded {
                    stage.books()[run].output = Some(number);
                }
            }
            Step::Hook(hook) => add_hook(ctx, stage, run, hook),
            Step::Hold(takes) => add_hold(ctx, stage, run, takes),
            Step::Checkpoint => {
                if ctx.checkpoint().is_err() {
                    return plan.end;
                }
            }
            Step::Join => {
                for handle in handles.drain(..) {
                    drop(handle.await);
                }
            }
        }
    }
    if plan.end == End::Never {
        pending::<()>().await;
    }
    plan.end
}

async fn clean(ctx: &RunContext, stage: &Arc<Stage>, cleanup: Cleanup, end: End) -> End {
    let work = async {
        if let Some(child) = cleanup.child {
            spawn(ctx, stage, child, Keep::Reference, &mut Handles::new());
        }
        sleep(cleanup.takes).await;
    };
    if cleanup.shielded {
        let _ = ctx.shield(work).await;
    } else {
        work.await;
    }
    end
}

/// Sleeps; zero is no await at all.
async fn sleep(takes: u64) {
    if takes > 0 {
        tokio::time::sleep(Duration::from_millis(takes)).await;
    }
}

fn spawn(ctx: &RunContext, stage: &Arc<Stage>, run: usize, keep: Keep, handles: &mut Handles) {
    let stopping = ctx.run().status() != quell::RunStatus::Running;
    let handle = ctx.spawn(Stage::spec(run, &stage.plan), stage.body(run));
    // A run that was refused has another id, and is none.
    if handle.id() == Plan::id(run) {
        let books = &mut stage.books()[run];
        books.run = Some(handle.run().clone());
        books.is_cleanup = stopping;
    }
    match keep {
        Keep::Held => handles.push(handle),
        Keep::Dropped => drop(handle),
        Keep::Reference => drop(handle.into_ref()),
    }
}

fn add_hook(ctx: &RunContext, stage: &Arc<Stage>, run: usize, hook: Hook) {
    let number = {
        let stopping = ctx.run().status() != quell::RunStatus::Running;
        let books = &mut stage.books()[run];
        let number = books.hooks;
        books.hooks += 1;
        books.end_hooks.extend(hook.at_end.then_some(number));
        if stopping {
            books.hooks_late.get_or_insert(number);
        }
        number
    };
    let stage = Arc::clone(stage);
    let cleanup = async move {
        stage.books()[run].hooks_run.push(number);
        let _leaving = Leaving(&stage, run);
        stage.note_activity(run);
        sleep(hook.takes).await;
        if hook.panics {
            resume_unwind(Box::new("planned"));
        }
    };
    if hook.at_end {
        ctx.on_end(move |_| cleanup);
    } else {
        ctx.on_stop(move |_| cleanup);
    }
}

/// Work outside the body: it says a last word when it is through, and only then is over.
fn add_hold(ctx: &RunContext, stage: &Arc<Stage>, run: usize, takes: u64) {
    let Ok(hold) = ctx.hold(Work::Blocking, "work") else { return };
    let (ctx, stage) = (ctx.clone(), Arc::clone(stage));
    tokio::spawn(async move {
        sleep(takes).await;
        stage.note_activity(run);
        stage.note_written(run, ctx.emit("last word"));
        drop(hold);
    });
}

/// Notes the end of a hook, however it ends.
struct Leaving<'a>(&'a Stage, usize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.note_activity(self.1);
    }
}
