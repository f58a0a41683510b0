use std::future::{Future, pending};
use std::sync::Arc;

use quell::{
    CancelRequest, Failure, RunContext, RunHandle, RunRef, RunSpec, RunStatus, Shutdown, limits,
};
use tokio::runtime::{Builder, Runtime};

use crate::support::{Lab, Witness, bounded, chain, config, listener, secs, soon, within};

const DEPTH: u32 = limits::DEPTH_MAX;
const WIDTH: usize = 100_000;

/// Workers with little stack: whatever recurses over a tree overflows it.
fn small_runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).thread_stack_size(STACK).enable_all().build().unwrap()
}

const STACK: usize = 192 << 10;

/// Does something on a thread with little stack.
fn on_small_stack<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(what).unwrap();
    thread.join().unwrap()
}

fn run<F: Future<Output = ()> + Send + 'static>(test: F) {
    let runtime = small_runtime();
    runtime.block_on(async { tokio::spawn(test).await.unwrap() });
    on_small_stack(move || drop(runtime));
}

/// Looks at a tree in every way that there is.
fn look_at(run: &RunRef) {
    let run = run.clone();
    on_small_stack(move || {
        let report = run.report();
        let json = serde_json::to_string(&*report).unwrap();
        assert!(json.len() > 1_000_000, "a report of {} rows", report.rows.len());
        assert!(format!("{report:?}").len() > 1_000_000);
        assert_eq!(*report, (*report).clone());
        drop(Arc::try_unwrap(report).unwrap());
        let events = serde_json::to_string(&format!("{:?}", run.events())).unwrap();
        assert!(events.len() < 1_000);
    });
}

async fn cancel_on_small_stack(run: &RunHandle<()>) {
    let cancelled = run.run().clone();
    on_small_stack(move || cancelled.cancel(CancelRequest::because("enough")));
    let report = within("the tree ends", run.ended()).await;
    assert_eq!((report.status, report.quiescent), (RunStatus::Cancelled, true));
}

/// Drops the last reference to a tree, and the engine, where there is little stack.
fn drop_on_small_stack(run: RunHandle<()>, engine: quell::Engine) {
    on_small_stack(move || {
        drop(engine);
        drop(run);
    });
}

#[test]
fn i2_a_chain_of_ten_thousand_runs_is_stopped_reported_and_dropped_without_recursion() {
    run(async {
        let lab = Lab::with(config().grace(secs(60)));
        let witness = Witness::new();
        let seen = witness.clone();
        let leaf = async move |ctx: RunContext| {
            let deeper = ctx.spawn(RunSpec::step("too deep"), listener).await;
            assert!(matches!(deeper, Err(quell::RunError::Refused(_))), "{deeper:?}");
            let _inside = seen.enter();
            listener(ctx).await
        };
        let run = lab.submit(RunSpec::workflow("deep"), chain(DEPTH - 1, leaf)).unwrap();
        soon("the leaf is up", || witness.inside() == 1).await;
        look_at(run.run());
        cancel_on_small_stack(&run).await;
        look_at(run.run());
        let report = run.run().report();
        assert_eq!(report.rows.len(), DEPTH as usize);
        assert_eq!(report.rows.last().unwrap().depth, DEPTH - 1);
        let engine = (*lab).clone();
        assert_eq!(lab.finish().await.stopped, DEPTH as usize);
        drop_on_small_stack(run, engine);
    });
}

#[test]
fn i2_a_hundred_thousand_children_are_stopped_reported_and_dropped() {
    run(async {
        let lab = Lab::with(config().grace(secs(60)));
        let witness = Witness::new();
        let seen = witness.clone();
        let body = async move |ctx: RunContext| {
            let kids = (0..WIDTH).map(|_| {
                let seen = seen.clone();
                let body = async move |ctx: RunContext| {
                    let _inside = seen.enter();
                    listener(ctx).await
                };
                ctx.spawn(RunSpec::agent("kid"), body)
            });
            let kids: Vec<_> = kids.collect();
            for kid in kids {
                kid.ended().await;
            }
            Ok(())
        };
        let run = lab.submit(RunSpec::team("wide"), body).unwrap();
        soon("every child is up", || witness.inside() == WIDTH).await;
        look_at(run.run());
        cancel_on_small_stack(&run).await;
        assert_eq!(witness.inside(), 0);
        look_at(run.run());
        let report = run.run().report();
        assert_eq!(report.rows.len(), limits::REPORT_ROWS_MAX);
        assert_eq!(report.rows.len() as u64 + report.omitted.total(), WIDTH as u64 + 1);
        assert_eq!(report.omitted.cancelled, report.omitted.total());
        let engine = (*lab).clone();
        assert_eq!(lab.finish().await.stopped, WIDTH + 1);
        drop_on_small_stack(run, engine);
    });
}

#[test]
fn i26_a_failure_that_ten_thousand_runs_pass_on_needs_no_stack() {
    run(async {
        let lab = Lab::real();
        let leaf = async |_: RunContext| Err::<(), _>(Failure::new("far below"));
        let run = lab.submit(RunSpec::workflow("deep"), chain(DEPTH - 1, leaf)).unwrap();
        let report = within("the tree ends", run.ended()).await;
        assert_eq!(report.status, RunStatus::Failed);
        let error = report.error.clone().unwrap();
        assert!(error.contains("far below"), "the reason is still there");
        assert!(error.len() < 10_000, "and {} bytes are enough to say it", error.len());
        look_at(run.run());
        let engine = (*lab).clone();
        lab.finish().await;
        drop_on_small_stack(run, engine);
    });
}

#[test]
fn i26_a_failure_that_nobody_awaited_climbs_ten_thousand_runs_without_recursion() {
    run(async {
        let lab = Lab::real();
        let run = lab.submit(RunSpec::workflow("deep"), |ctx| silent(ctx, DEPTH - 1)).unwrap();
        let report = within("the tree ends", run.ended()).await;
        assert_eq!(report.status, RunStatus::Failed);
        assert!(report.rows.iter().all(|row| row.status == RunStatus::Failed));
        let engine = (*lab).clone();
        lab.finish().await;
        drop_on_small_stack(run, engine);
    });
}

type Boxed = futures::future::BoxFuture<'static, Result<(), Failure>>;

/// Spawns one child, drops its handle, and is through.
fn silent(ctx: RunContext, depth: u32) -> Boxed {
    Box::pin(async move {
        if depth == 0 {
            return Err(Failure::new("far below"));
        }
        drop(ctx.spawn(RunSpec::step("silent"), move |ctx| silent(ctx, depth - 1)));
        Ok(())
    })
}

fn hooked(ctx: RunContext, depth: u32, seen: Witness) -> Boxed {
    Box::pin(async move {
        ctx.on_stop(async |_| {});
        ctx.on_end(async |_| {});
        let _inside = seen.enter();
        if depth > 0 {
            let below = seen.clone();
            ctx.spawn(RunSpec::step("hooked"), move |ctx| hooked(ctx, depth - 1, below)).await?;
        }
        pending().await
    })
}

// A hook that cannot be started has ended at once, and with it its run: the next one above starts
// its own.
#[test]
fn i16_a_runtime_that_goes_under_ten_thousand_runs_with_hooks_needs_no_stack() {
    let bodies = small_runtime();
    let handle = bodies.handle().clone();
    run(async move {
        let lab = Lab::with(config().runtime(handle).grace(secs(600)));
        let witness = Witness::new();
        let seen = witness.clone();
        let body = move |ctx| hooked(ctx, DEPTH - 1, seen);
        let run = lab.submit(RunSpec::workflow("hooked"), body).unwrap();
        soon("the leaf is up", || witness.inside() == DEPTH as usize).await;
        bodies.shutdown_background();
        let report = within("the tree ends", run.ended()).await;
        assert_eq!((report.rows.len(), report.quiescent), (DEPTH as usize, true));
        assert!(report.rows.iter().all(|row| row.hooks_skipped > 0), "none could run");
        let engine = (*lab).clone();
        lab.finish().await;
        drop_on_small_stack(run, engine);
    });
}

#[test]
fn i11_thousands_of_nested_idle_limits_and_timeouts_need_no_stack() {
    run(async {
        let lab = Lab::with(config().grace(secs(60)));
        let witness = Witness::new();
        let seen = witness.clone();
        // A sign of life costs a store for each limit above it.
        let body = move |ctx| watched(ctx, DEPTH / 4, seen);
        let run = lab.submit(RunSpec::workflow("watched"), body).unwrap();
        soon("the leaf is up", || witness.inside() == 1).await;
        cancel_on_small_stack(&run).await;
        let engine = (*lab).clone();
        lab.finish().await;
        drop_on_small_stack(run, engine);
    });
}

fn watched(ctx: RunContext, depth: u32, seen: Witness) -> Boxed {
    Box::pin(async move {
        if depth == 0 {
            let _inside = seen.enter();
            ctx.emit("a sign of life for thousands");
            return listener(ctx).await;
        }
        let spec = RunSpec::step("watched").idle(secs(600)).timeout(secs(600));
        let child = ctx.spawn(spec, move |ctx| watched(ctx, depth - 1, seen));
        Ok(child.await?)
    })
}

#[test]
fn i25_a_chain_of_thousands_leaves_its_parent_without_recursion() {
    run(async {
        let lab = Lab::with(config().grace(secs(60)));
        let witness = Witness::new();
        let seen = witness.clone();
        let leaf = async move |ctx: RunContext| {
            let _inside = seen.enter();
            listener(ctx).await
        };
        let body = chain(DEPTH - 1, leaf);
        let run = lab.submit(RunSpec::workflow("deep"), body).unwrap();
        soon("the leaf is up", || witness.inside() == 1).await;
        let child = run.run().children().remove(0);
        let leaving = child.clone();
        on_small_stack(move || leaving.detach()).unwrap();
        run.cancel(CancelRequest::because("enough"));
        within("the former parent ends", run.ended()).await;
        let report = within("shutdown", lab.shutdown(Shutdown::from(secs(60)))).await;
        assert_eq!((report.roots.cancelled, witness.inside()), (1, 0));
        assert_eq!(child.report().rows.len(), DEPTH as usize - 1);
        lab.finish().await;
        on_small_stack(move || drop((child, run)));
    });
}

#[test]
fn i39_a_big_tree_is_forgotten_without_recursion() {
    run(async {
        let lab = Lab::with(config().limits(bounded(|limits| limits.ended_trees_max = 0)));
        let body = chain(DEPTH - 1, async |_| Ok(()));
        let run = lab.submit(RunSpec::workflow("deep"), body).unwrap();
        let run = run.into_ref();
        within("the tree ends", run.ended()).await;
        soon("it is forgotten", || quell::testing::held(&lab).entries == 0).await;
        on_small_stack(move || drop(run));
        lab.finish().await;
    });
}
