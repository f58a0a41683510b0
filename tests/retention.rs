use std::future::pending;
use std::sync::Arc;

use quell::store::MemoryStore;
use quell::testing::{Held, held};
use quell::{CancelRequest, Failure, Limits, RunContext, RunFilter, RunId, RunSpec, limits};
use tokio::runtime::Handle;

use crate::support::{
    Gate, Lab, Witness, bounded, chain, config, ignorant, listener, ms, naive, secs, seeds, soon,
    within,
};

#[tokio::test(start_paused = true)]
async fn i39_ten_thousand_ended_trees_are_kept_and_the_oldest_leave_first() {
    let lab = Lab::paused_with(Limits::default());
    let max = limits::ENDED_TREES_MAX;
    let mut ids = Vec::new();
    for _ in 0..max + 50 {
        let run = lab.submit(RunSpec::agent("brief"), async |_| Ok(())).unwrap();
        ids.push(run.id());
        run.ended().await;
    }
    tokio::task::yield_now().await;
    assert_eq!((held(&lab).entries, lab.runs(&RunFilter::new()).len()), (max, max));
    for (n, id) in ids.into_iter().enumerate() {
        assert_eq!(lab.get(id).is_some(), n >= 50, "run {n}");
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i39_an_ended_tree_is_kept_for_an_hour_and_a_reference_for_as_long_as_it_is_held() {
    let lab = Lab::paused_with(Limits::default());
    let run = lab.submit(RunSpec::workflow("kept"), chain(3, async |_| Ok(()))).unwrap();
    run.ended().await;
    tokio::time::sleep(limits::ENDED_TREES_TTL.checked_sub(secs(1)).unwrap()).await;
    let later = lab.submit(RunSpec::agent("later"), async |_| Ok(())).unwrap();
    later.ended().await;
    assert_eq!(held(&lab).entries, 5);
    assert!(lab.get(run.id()).is_some());
    tokio::time::sleep(secs(2)).await;
    assert_eq!(held(&lab).entries, 1, "nobody asked, and the time was over");
    assert!(lab.get(run.id()).is_none());
    assert_eq!(run.run().report().rows.len(), 4, "who holds it still reads it");
    tokio::time::sleep(limits::ENDED_TREES_TTL).await;
    assert_eq!(held(&lab).entries, 0);
    let reused = lab.submit(RunSpec::agent("reused").id(run.id()), async |_| Ok(()));
    reused.unwrap().await.unwrap();
    lab.finish().await;
}

#[tokio::test]
async fn i39_what_is_rolled_back_takes_nobodys_place() {
    let one = || config().limits(bounded(|limits| limits.ended_trees_max = 1));
    for config in [one(), one().store(Arc::new(MemoryStore::new()))] {
        let lab = Lab::with(config);
        let kept = lab.submit(RunSpec::agent("kept"), async |_| Ok(())).unwrap();
        within("it is over", kept.run().stored()).await.unwrap();
        let undone = lab.submit(RunSpec::agent("undone"), listener).unwrap();
        tokio::task::yield_now().await;
        undone.cancel(CancelRequest::because("never mind").rollback());
        soon("it is gone", || lab.get(undone.id()).is_none()).await;
        assert!(lab.get(kept.id()).is_some(), "the one that is kept stays");
        lab.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn i39_a_run_that_still_executes_is_not_forgotten() {
    let lab = Lab::paused_with(bounded(|limits| limits.ended_trees_max = 0));
    let run = lab
        .submit(RunSpec::agent("held").grace(secs(0)), async |ctx| {
            let hold = ctx.hold(quell::Work::Process, "outside")?;
            tokio::spawn(async move {
                tokio::time::sleep(secs(3600)).await;
                drop(hold);
            });
            pending::<()>().await;
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("enough"));
    run.ended().await;
    tokio::time::sleep(secs(1800)).await;
    assert!(lab.get(run.id()).is_some(), "only when quiescent");
    let kept = held(&lab);
    assert_eq!((kept.live, kept.entries, kept.timers), (0, 1, 0));
    run.run().quiescent().await;
    tokio::task::yield_now().await;
    assert_eq!(held(&lab), Held::default());
    lab.finish().await;
}

/// A tree of everything that a run may do.
async fn everything(
    ctx: RunContext,
    inside: crate::support::Inside,
    depth: u32,
) -> Result<(), Failure> {
    let token = ctx.cancellation_token();
    ctx.on_stop(async move |_| {
        tokio::time::sleep(ms(1)).await;
        drop(inside);
    });
    ctx.emit("word");
    ctx.set_output("output".into());
    let _ = ctx.spawn_blocking(|_| {}).await;
    let mut kids = Vec::new();
    for kid in 0..3 {
        let spec = RunSpec::step("kid").timeout(ms(3 + kid)).idle(secs(60)).start_within(secs(60));
        let child = ctx.spawn(spec.linked_to(token.child_token()), listener);
        kids.push(child);
    }
    kids.push(ctx.spawn(RunSpec::step("ignorant").grace(ms(2)).timeout(ms(2)), ignorant));
    kids.push(ctx.spawn(RunSpec::step("deep"), chain(depth, listener)));
    let detached = ctx.spawn(RunSpec::step("detached").timeout(ms(4)), naive);
    let _ = detached.run().detach();
    drop(detached);
    quell::join::all(kids).await;
    ctx.stopped().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i39_after_all_runs_ended_no_task_timer_or_entry_remains() {
    let limits = bounded(|limits| limits.ended_trees_max = 0);
    let lab = Lab::with(config().limits(limits).grace(ms(100)));
    let metrics = Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    let witness = Witness::new();
    for (_seed, mut rng) in seeds(30) {
        let (inside, depth) = (witness.enter(), rng.u32(0..5));
        let body = move |ctx| everything(ctx, inside, depth);
        let run = lab.submit(RunSpec::workflow("everything"), body).unwrap();
        let mut events = run.events();
        tokio::time::sleep(ms(rng.u64(0..12))).await;
        let request = CancelRequest::because("enough");
        run.cancel(if rng.bool() { request.abort() } else { request });
        if rng.bool() {
            events.next().await;
        }
        drop(events);
        within("the tree comes to rest", run.run().quiescent()).await;
    }
    soon("nothing is held", || held(&lab) == Held::default()).await;
    soon("no task is left", || metrics.num_alive_tasks() == before).await;
    assert_eq!(witness.inside(), 0);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i39_reservations_are_all_that_an_idle_engine_may_hold() {
    let lab = Lab::paused_with(bounded(|limits| {
        limits.reservations_max = 10;
        limits.ended_trees_max = 0;
    }));
    for n in 0..100 {
        let request = CancelRequest::because("later").remember_for(secs(60));
        lab.cancel(RunId::from_text(&n.to_string()), request);
    }
    assert_eq!(held(&lab).entries, 10);
    tokio::time::sleep(secs(61)).await;
    lab.cancel(RunId::from_text("one more"), CancelRequest::because("x").remember_for(secs(1)));
    assert_eq!(held(&lab).entries, 1, "those whose time is over make room");
    lab.finish().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i39_an_engine_that_is_gone_leaves_no_thread() {
    // Other tests of this process have threads of their own: the count needs one for itself.
    if std::env::var_os("QUELL_ALONE").is_none() {
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        let name = "retention::i39_an_engine_that_is_gone_leaves_no_thread";
        alone.args(["--exact", name, "--test-threads", "1"]).env("QUELL_ALONE", "1");
        let output = alone.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let controls = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names =
            tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.contains("quell-control")).count()
    };
    for ending in ["dropped", "dropped live", "shut down"] {
        let engine = quell::Engine::new();
        let (up, run) = (Gate::new(), RunSpec::agent("live").timeout(secs(600)));
        let ready = up.clone();
        let run = engine
            .submit(run, async move |ctx| {
                ready.open();
                listener(ctx).await
            })
            .unwrap();
        soon("it runs", || up.is_open()).await;
        soon("its thread is there", || controls() == 1).await;
        match ending {
            "dropped" => {
                run.cancel(CancelRequest::because("over"));
                run.ended().await;
                drop(engine);
            }
            "dropped live" => drop(engine),
            _ => drop(engine.shutdown(secs(1)).await),
        }
        within("the run ends", run.ended()).await;
        drop(run);
        soon("its thread is gone", || controls() == 0).await;
    }
}
