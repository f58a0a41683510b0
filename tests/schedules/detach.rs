//! A child that leaves while those above and below it go on.

use std::sync::Arc;

use futures::channel::oneshot;
use futures::future::{BoxFuture, FutureExt as _, Shared};
use quell::{Engine, EventKind, Failure, RunContext, RunRef, RunSpec, RunStatus, testing};
use shuttle::future::{block_on, yield_now};
use shuttle::thread;

use crate::play::{because, checked_log, draw, engine, is_stopped, pause, play, shut_down};
use crate::witness::Witness;

/// What the child waits for, and all below it.
type Go = Shared<BoxFuture<'static, ()>>;

/// A body that grows two children one by one, down to a depth, and then waits for its go.
fn grow(
    ctx: RunContext,
    tree: Arc<Witness>,
    depth: u32,
    go: Go,
) -> BoxFuture<'static, Result<(), Failure>> {
    let here = tree.enter(&ctx);
    async move {
        let mut kids = Vec::new();
        for kid in 0..if depth == 0 { 0 } else { 2 } {
            let (tree, go) = (Arc::clone(&tree), go.clone());
            let body = move |ctx| grow(ctx, tree, depth - 1, go);
            kids.push(ctx.spawn(RunSpec::step(format!("{depth}.{kid}")), body));
            yield_now().await;
            here.step();
        }
        ctx.run_until_stopped(go).await?;
        here.step();
        for kid in kids {
            kid.await?;
        }
        Ok(())
    }
    .boxed()
}

/// Submits a root that waits for a stop, and yields it and its child, below which it grows.
fn submit(
    engine: &Engine,
    above: &Arc<Witness>,
    below: &Arc<Witness>,
    go: oneshot::Receiver<()>,
) -> (RunRef, RunRef) {
    let (above, below) = (Arc::clone(above), Arc::clone(below));
    let go = go.map(drop).boxed().shared();
    let (tell, told) = oneshot::channel();
    let root = engine.submit(RunSpec::agent("root"), async move |ctx: RunContext| {
        let here = above.enter(&ctx);
        let child = ctx.spawn(RunSpec::team("child"), |ctx| grow(ctx, below, 2, go));
        drop(tell.send(child.into_ref()));
        ctx.stopped().await;
        here.step();
        Ok(())
    });
    (root.unwrap().into_ref(), block_on(told).unwrap())
}

#[test]
fn i25_a_child_that_leaves_while_all_else_happens_goes_on_with_all_below_it_or_not_at_all() {
    play("detach against cancel above against growth below", 3, |seen| {
        let (engine, above, below) = (engine(), Witness::new(), Witness::new());
        let (release, go) = oneshot::channel();
        let (root, child) = submit(&engine, &above, &below, go);
        let read = |run: &RunRef| {
            let run = run.clone();
            thread::spawn(move || block_on(testing::trace(&run)))
        };
        let reader = read(&child);
        let below_reader = child.children().first().map(read);
        let detacher = thread::spawn({
            let child = child.clone();
            move || {
                pause(60);
                child.detach().is_ok()
            }
        });
        // Above it there may be quiet until it has ended: it needs nothing from there.
        let is_calm = draw(3) == 0;
        if !is_calm {
            pause(60);
            root.cancel(because("above"));
        }
        let has_left = detacher.join().unwrap();
        assert!(has_left || !is_calm, "nothing was against it");
        assert_eq!(is_stopped(child.status()), !has_left, "the child is {}", child.status());
        if !is_calm {
            // It waits for nothing that has left.
            block_on(root.quiescent());
            above.seal();
        }
        let is_released = is_calm || draw(2) == 0;
        if is_released {
            // Who was stopped does not wait for it any more.
            let _ = release.send(());
            block_on(child.quiescent());
            below.seal();
            if let Some(reader) = below_reader {
                let read = reader.join().unwrap();
                assert!(read.iter().any(|event| matches!(event.kind, EventKind::Ended(_))));
            }
        }
        shut_down(&engine);
        above.seal();
        below.seal();
        let mut logs = vec![checked_log(&root)];
        let end = if has_left && is_released { RunStatus::Completed } else { RunStatus::Cancelled };
        assert_eq!(child.status(), end);
        seen.note(if has_left { usize::from(is_released) } else { 2 });
        if has_left {
            logs.push(checked_log(&child));
        }
        let read = reader.join().unwrap();
        let ends = read
            .iter()
            .filter(|event| event.run == child.id() && matches!(event.kind, EventKind::Ended(_)));
        assert_eq!(ends.count(), 1, "one end of the child, wherever it is told: {read:#?}");
        above.agree_with(logs.iter().map(Vec::as_slice));
        below.agree_with(logs.iter().map(Vec::as_slice));
    });
}
