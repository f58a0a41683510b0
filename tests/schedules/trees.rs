//! Trees that grow while they are stopped, from above, from within, and by the clock.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use quell::{
    Disposition, Engine, EventKind, Failure, Outcome, RunContext, RunFilter, RunRef, RunSpec,
    RunStatus,
};
use shuttle::future::{block_on, yield_now};
use shuttle::thread;

use crate::play::{
    NEVER, SOON, because, checked_log, config, draw, engine, is_stopped, pause, play, shut_down,
};
use crate::witness::Witness;

/// How a body goes.
#[derive(Clone, Copy)]
enum Course {
    /// Returns.
    Quick,
    /// Waits for a stop, and gives way to it.
    Listens,
    /// Awaits what never comes.
    Stubborn,
    /// Fails, and with it those above that hold its handle.
    Fails,
}

use Course::{Fails, Listens, Quick, Stubborn};

/// A body that grows two children of a drawn course, down to a depth.
fn grow(
    ctx: RunContext,
    tree: Arc<Witness>,
    depth: u32,
    courses: &'static [Course],
) -> BoxFuture<'static, Result<u32, Failure>> {
    // What is called is the body's, too.
    let here = tree.enter(&ctx);
    async move {
        let kids: Vec<_> = (0..if depth == 0 { 0 } else { 2 })
            .map(|kid| {
                let tree = Arc::clone(&tree);
                let body = move |ctx| grow(ctx, tree, depth - 1, courses);
                ctx.spawn(RunSpec::step(format!("{depth}.{kid}")), body)
            })
            .collect();
        here.step();
        match courses[draw(u32::try_from(courses.len()).unwrap()) as usize] {
            Quick => {}
            Listens => drop(ctx.stopped().await),
            Stubborn => {
                let _ = ctx.is_stopping();
                std::future::pending::<()>().await;
            }
            Fails => return Err(Failure::new("drawn")),
        }
        here.step();
        let mut grown = 1;
        for kid in kids {
            if let Outcome::Completed(more) = kid.outcome().await {
                grown += more;
            }
            yield_now().await;
            here.step();
        }
        Ok(grown)
    }
    .boxed()
}

/// Every run that is live is signalled.
fn assert_all_stopped(engine: &Engine) {
    let live = engine.runs(&RunFilter::new().live());
    let unheard: Vec<_> = live.iter().filter(|run| run.status() == RunStatus::Running).collect();
    assert!(unheard.is_empty(), "not signalled: {unheard:?}");
}

#[test]
fn i1_i2_i4_i8_a_tree_that_grows_while_it_is_cancelled_is_signalled_and_ends_as_a_whole() {
    play("cancel against growth", 3, |seen| {
        let (engine, tree) = (engine(), Witness::new());
        let run = engine.submit(RunSpec::agent("root"), {
            let tree = Arc::clone(&tree);
            move |ctx| grow(ctx, tree, 2, &[Quick, Listens, Listens, Fails])
        });
        let run = run.unwrap();
        let root = run.run().clone();
        let waiter = seal_when_quiescent(&root, &tree);
        pause(200);
        let answer = root.cancel(because("root"));
        let was_accepted = matches!(answer, Disposition::Accepted { .. });
        if was_accepted {
            assert_all_stopped(&engine);
        }
        let outcome = block_on(run.outcome());
        assert_eq!(matches!(outcome, Outcome::Stopped { .. }), was_accepted, "{outcome:?}");
        waiter.join().unwrap();
        seen.note(match tree.entered().len() {
            0 => 0,
            1..7 => 1,
            _ => 2,
        });
        let log = checked_log(&root);
        shut_down(&engine);
        tree.agree_with([&*log]);
    });
}

#[test]
fn i2_i6_i30_cancels_at_two_heights_and_readers_tell_one_story() {
    play("cancel against cancel below", 3, |seen| {
        let (engine, tree) = (engine(), Witness::new());
        let run = engine.submit(RunSpec::agent("root"), {
            let tree = Arc::clone(&tree);
            move |ctx| grow(ctx, tree, 2, &[Listens])
        });
        let root = run.unwrap().into_ref();
        let reader = thread::spawn({
            let root = root.clone();
            move || checked_log(&root)
        });
        let below = thread::spawn({
            let root = root.clone();
            move || {
                pause(200);
                root.children().first().map(|child| (child.clone(), child.cancel(because("below"))))
            }
        });
        let waiter = seal_when_quiescent(&root, &tree);
        pause(200);
        let answer = root.cancel(because("root"));
        assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
        // Also where another thread is about to tell them.
        assert_all_stopped(&engine);
        match below.join().unwrap() {
            None => seen.note(0),
            Some((_, Disposition::Accepted { .. })) => seen.note(1),
            Some((child, Disposition::AlreadyStopping { cause, .. })) => {
                assert_eq!(cause.origin, root.id());
                assert_eq!(child.row().cause.unwrap().origin, root.id());
                seen.note(2);
            }
            Some((_, other)) => assert!(
                matches!(other, Disposition::AlreadyTerminal { status } if is_stopped(status)),
                "{other:?}"
            ),
        }
        waiter.join().unwrap();
        let log = reader.join().unwrap();
        assert_eq!(checked_log(&root), log, "two readers, two stories");
        shut_down(&engine);
        tree.agree_with([&*log]);
    });
}

#[test]
fn i1_i2_i6_whoever_of_two_has_asked_many_of_a_tree_to_stop_finds_all_signalled() {
    play("cancels of many against cancels of many", 3, |seen| {
        let (engine, tree) = (engine(), Witness::new());
        let run = engine.submit(RunSpec::agent("root"), {
            let tree = Arc::clone(&tree);
            move |ctx| grow(ctx, tree, 2, &[Quick, Listens])
        });
        let root = run.unwrap().into_ref();
        let other = thread::spawn({
            let root = root.clone();
            move || cancel_all_of(&root, "other", |runs| runs.reverse())
        });
        let waiter = seal_when_quiescent(&root, &tree);
        let own = cancel_all_of(&root, "own", |_| {});
        let accepted = other.join().unwrap() + own;
        assert_all_stopped(&engine);
        waiter.join().unwrap();
        assert!(accepted > 0 || root.status() == RunStatus::Completed, "nobody was first");
        seen.note(accepted.clamp(1, 3) - 1);
        let log = checked_log(&root);
        shut_down(&engine);
        tree.agree_with([&*log]);
    });
}

/// Asks all runs of a tree that there are by now to stop, and yields how many of them do for that.
/// Then each of them is told, and what is below it.
fn cancel_all_of(root: &RunRef, words: &str, order: impl FnOnce(&mut Vec<RunRef>)) -> usize {
    pause(200);
    let below = |run: &RunRef| {
        let (mut all, mut next) = (Vec::new(), run.children());
        while let Some(run) = next.pop() {
            next.extend(run.children());
            all.push(run);
        }
        all
    };
    let mut runs = vec![root.clone()];
    runs.extend(below(root));
    order(&mut runs);
    let answers = RunRef::cancel_each(&runs, &because(words));
    for run in &runs {
        assert_ne!(run.status(), RunStatus::Running, "{run:?}");
        let is_there = |run: &RunRef| !run.status().is_terminal() && !is_stopped(run.status());
        let unheard: Vec<_> = below(run).into_iter().filter(is_there).collect();
        let has_completed = run.status() == RunStatus::Completed;
        assert!(has_completed || unheard.is_empty(), "not signalled: {unheard:?}");
    }
    answers.iter().filter(|it| matches!(it, Disposition::Accepted { .. })).count()
}

#[test]
fn i10_i11_i12_graces_and_deadlines_that_are_over_at_any_moment_end_every_tree() {
    play("deadlines and graces against everything", 4, |seen| {
        let engine = Engine::with_config(config().grace(SOON).abort_wait(NEVER));
        let tree = Witness::new();
        let run = engine.submit(RunSpec::agent("root").timeout(SOON), {
            let tree = Arc::clone(&tree);
            move |ctx| grow(ctx, tree, 1, &[Quick, Quick, Listens, Stubborn, Fails])
        });
        let root = run.unwrap().into_ref();
        let canceller = thread::spawn({
            let root = root.clone();
            move || {
                pause(200);
                root.cancel(because("cancel").grace(SOON))
            }
        });
        let report = block_on(root.quiescent());
        tree.seal();
        seen.note(match report.status {
            RunStatus::Completed => 0,
            RunStatus::Cancelled => 1,
            RunStatus::TimedOut => 2,
            RunStatus::Failed => 3,
            other => panic!("{other}"),
        });
        let answer = canceller.join().unwrap();
        let was_accepted = matches!(answer, Disposition::Accepted { .. });
        assert_eq!(report.status == RunStatus::Cancelled, was_accepted, "{answer:?}");
        let log = checked_log(&root);
        let timed_out =
            log.iter().filter(|event| matches!(event.kind, EventKind::Ended(RunStatus::TimedOut)));
        assert!(timed_out.count() <= 1, "{log:#?}");
        shut_down(&engine);
        tree.agree_with([&*log]);
    });
}

/// Waits on another thread until nothing of a tree runs, and holds it to that.
fn seal_when_quiescent(root: &RunRef, tree: &Arc<Witness>) -> thread::JoinHandle<()> {
    let (root, tree) = (root.clone(), Arc::clone(tree));
    thread::spawn(move || {
        block_on(root.quiescent());
        tree.seal();
    })
}
