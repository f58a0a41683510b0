use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use quell::{CancelRequest, EventKind, RunContext, RunEvent, RunRef, RunSpec, RunStatus, Written};
use tokio::sync::oneshot;

use crate::support::{Lab, bounded, config, listener, ms, secs, seeds, spin_for, within};

/// Reads a stream to its end.
async fn read(mut events: quell::EventStream) -> Vec<RunEvent> {
    let mut all = Vec::new();
    while let Some(event) = events.next().await {
        all.push(event);
    }
    all
}

fn said(events: &[RunEvent]) -> HashSet<String> {
    let emitted = events.iter().filter_map(|event| match &event.kind {
        EventKind::Emitted(payload) => Some(payload.as_json().to_owned()),
        _ => None,
    });
    emitted.collect()
}

/// Writes as fast as it can until it is told to end, and counts what was answered as written.
async fn chatter(
    ctx: RunContext,
    name: &'static str,
    over: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
) -> Result<(), quell::Failure> {
    for n in 0_usize.. {
        if over.load(Ordering::SeqCst) {
            break;
        }
        if ctx.emit(format!("{name} {n}")) == Written::Recorded {
            written.fetch_add(1, Ordering::SeqCst);
        }
        if n % 8 == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// Submits a root that waits for its stop, above a child, a run below it and a leaf, which all
/// write until they are told to end.
async fn chatty_tree(
    lab: &Lab,
    over: &Arc<AtomicBool>,
    written: &Arc<AtomicUsize>,
) -> (RunRef, RunRef, RunRef) {
    let (tell, told) = oneshot::channel();
    let (done, writes) = (Arc::clone(over), Arc::clone(written));
    let root = lab.submit(RunSpec::team("root"), async move |ctx| {
        let child = ctx.spawn(RunSpec::agent("child"), async move |ctx| {
            let (last, count) = (Arc::clone(&done), Arc::clone(&writes));
            let below = ctx.spawn(RunSpec::agent("below"), async move |ctx| {
                let (over, written) = (Arc::clone(&last), Arc::clone(&count));
                let leaf = |ctx| chatter(ctx, "leaf", over, written);
                let leaf = ctx.spawn(RunSpec::step("leaf"), leaf);
                chatter(ctx, "below", last, count).await?;
                Ok(leaf.await?)
            });
            drop(tell.send((ctx.run().clone(), below.run().clone())));
            chatter(ctx, "child", done, writes).await?;
            Ok(below.await?)
        });
        child.into_ref().ended().await;
        listener(ctx).await
    });
    let (child, below) = told.await.unwrap();
    (root.unwrap().into_ref(), child, below)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i30_what_is_written_while_a_tree_leaves_is_in_exactly_one_log_and_in_each_stream() {
    for (_, mut rng) in seeds(30) {
        let lab = Lab::with(config());
        let (over, written) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (root, child, below) = chatty_tree(&lab, &over, &written).await;
        let readers = [&root, &child, &below].map(|run| tokio::spawn(read(run.events())));
        spin_for(rng.u32(0..200_000));
        // Twice, at two heights and at once: nobody is moved by two.
        let detach = |run: &RunRef| {
            let run = run.clone();
            thread::spawn(move || run.detach().is_ok())
        };
        let leaving =
            if rng.bool() { vec![detach(&child), detach(&below)] } else { vec![detach(&child)] };
        let left: Vec<_> = leaving.into_iter().map(|leaves| leaves.join().unwrap()).collect();
        assert!(left.iter().all(|left| *left), "nothing was against it");
        spin_for(rng.u32(0..50_000));
        over.store(true, Ordering::SeqCst);
        within("the tree that left ends", child.quiescent()).await;
        within("the one below ends", below.quiescent()).await;
        root.cancel(CancelRequest::because("enough"));
        let [above, own, under] = readers;
        let above = within("the stream of the root ends", above).await.unwrap();
        let own = within("the stream of the child ends", own).await.unwrap();
        let under = within("the stream below ends", under).await.unwrap();
        // By log: each is in exactly one.
        let mut logs = vec![read(root.events()).await, read(child.events()).await];
        if left.len() == 2 {
            logs.push(read(below.events()).await);
        }
        let in_logs: usize = logs.iter().map(|log| said(log).len()).sum();
        assert_eq!(in_logs, written.load(Ordering::SeqCst), "each write is in exactly one log");
        let all: HashSet<String> = logs.iter().flat_map(|log| said(log)).collect();
        assert_eq!(all.len(), in_logs);
        // By stream: a reader of the run from the beginning has read all of it.
        let of = |names: &[&str]| -> usize {
            all.iter().filter(|text| names.iter().any(|name| text.contains(name))).count()
        };
        assert!(
            said(&own).is_superset(&said(&under)) || left.len() == 2,
            "the child's holds it all"
        );
        let of_under = said(&under).len();
        assert_eq!(of_under, of(&["below", "leaf"]), "the stream below misses nothing");
        let own_words = said(&own).iter().filter(|text| text.contains("child")).count();
        assert_eq!(own_words, of(&["child"]), "the stream of the child misses nothing of its own");
        assert!(all.is_superset(&said(&above)), "the root's tells nothing else");
        lab.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i25_a_run_that_left_is_stopped_by_no_stage_of_its_former_ancestors() {
    // The grace is over at once, so that the stages walk while the runs below leave.
    let mut seen = [0_u32; 2];
    for (_, mut rng) in seeds(60) {
        let lab = Lab::with(config().grace(ms(0)).abort_wait(ms(40)));
        let (tell, told) = oneshot::channel();
        let root = lab
            .submit(RunSpec::team("root"), async move |ctx| {
                let mut below = Vec::new();
                for _ in 0..40 {
                    let (tell, told) = oneshot::channel();
                    let child = ctx.spawn(RunSpec::agent("child"), async move |ctx| {
                        let mut leaves = Vec::new();
                        for _ in 0..20 {
                            leaves.push(ctx.spawn(RunSpec::step("leaf"), listener).into_ref());
                        }
                        drop(tell.send(leaves));
                        listener(ctx).await
                    });
                    drop(child.into_ref());
                    below.push(told.await.unwrap());
                }
                drop(tell.send(below));
                listener(ctx).await
            })
            .unwrap();
        let below = told.await.unwrap();
        let leaving = thread::spawn(move || {
            let mut left = Vec::new();
            for leaf in below.iter().flatten().rev() {
                if leaf.detach().is_ok() {
                    left.push(leaf.clone());
                }
            }
            left
        });
        spin_for(rng.u32(0..60_000));
        root.cancel(CancelRequest::because("above"));
        let left = leaving.join().unwrap();
        within("the root ends", root.run().quiescent()).await;
        // Nobody above is there any more, and nobody stopped those who left.
        tokio::time::sleep(ms(60)).await;
        for leaf in &left {
            assert_eq!(leaf.status(), RunStatus::Running, "{:?}", leaf.report().cause);
        }
        seen[usize::from(!left.is_empty() && left.len() < 800)] += 1;
        for leaf in &left {
            leaf.cancel(CancelRequest::because("enough"));
        }
        lab.finish().await;
    }
    assert!(seen[1] >= 3, "the race was one in {} of {} rounds", seen[1], seen[0] + seen[1]);
}

#[tokio::test(start_paused = true)]
async fn i30_the_stream_of_a_child_goes_on_after_lagged_with_runs_accepted_in_the_gap() {
    for rows_max in [10_000, 1] {
        let lab = Lab::paused_with(bounded(|limits| {
            limits.events_per_root_max = 64;
            limits.report_rows_max = rows_max;
        }));
        let (tell, told) = oneshot::channel();
        let root = lab
            .submit(RunSpec::team("root"), async move |ctx| {
                let child = ctx.spawn(RunSpec::agent("child"), async |ctx| {
                    tokio::time::sleep(secs(1)).await;
                    let mut below = Vec::new();
                    for n in 0..3 {
                        below.push(ctx.spawn(RunSpec::step("below"), async move |ctx| {
                            tokio::time::sleep(secs(2)).await;
                            ctx.emit(format!("late word {n}"));
                            let leaf = ctx.spawn(RunSpec::step("leaf"), async |ctx| {
                                ctx.emit("leaf");
                                Ok(())
                            });
                            Ok(leaf.await?)
                        }));
                    }
                    // A gap in which they were accepted.
                    for _ in 0..200 {
                        ctx.emit("noise");
                    }
                    for run in below {
                        run.await?;
                    }
                    Ok(())
                });
                drop(tell.send(child.run().clone()));
                Ok(child.await?)
            })
            .unwrap();
        let child = told.await.unwrap();
        let mut events = child.events();
        assert!(matches!(events.next().await.unwrap().kind, EventKind::Queued { .. }));
        root.ended().await;
        let mut read = read(events).await;
        // What it had copied with the event that it read, then the gap.
        let gap = read.iter().position(|event| matches!(event.kind, EventKind::Lagged { .. }));
        read.drain(..=gap.filter(|gap| *gap <= 15).expect("it has missed the noise"));
        let words = said(&read);
        for n in 0..3 {
            assert!(words.contains(&format!("\"late word {n}\"")), "rows {rows_max}: {words:?}");
        }
        let leaves = read.iter().filter(
            |event| matches!(&event.kind, EventKind::Emitted(p) if p.as_json() == "\"leaf\""),
        );
        assert_eq!(leaves.count(), 3, "rows {rows_max}");
        lab.finish_unchecked("the ring is too small for a whole log").await;
    }
}
