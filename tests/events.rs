use futures::StreamExt;
use quell::{
    CancelRequest, EventKind, EventStream, RunContext, RunEvent, RunRef, RunSpec, RunStatus,
    Written, limits,
};

use crate::support::{Lab, bounded, chain, listener, ms, secs, within};

async fn all(mut events: EventStream) -> Vec<RunEvent> {
    let mut read = Vec::new();
    let whole = async {
        while let Some(event) = events.next().await {
            read.push(event);
        }
    };
    within("the stream ends", whole).await;
    read
}

fn seqs(events: &[RunEvent]) -> Vec<u64> {
    events.iter().map(|event| event.seq).collect()
}

/// A tree with a child, grandchildren that come and go, and a sibling that talks meanwhile.
async fn busy_tree(lab: &Lab) -> (RunRef, RunRef) {
    let run = lab
        .submit(RunSpec::workflow("root"), async |ctx| {
            let child = ctx.spawn(RunSpec::agent("child"), async |ctx| {
                let early = ctx.spawn(RunSpec::step("early"), async |ctx| {
                    tokio::time::sleep(ms(1500)).await;
                    ctx.emit("early");
                    Ok(())
                });
                tokio::time::sleep(secs(1)).await;
                ctx.emit("child");
                early.await?;
                ctx.spawn(RunSpec::step("late"), async |ctx| {
                    ctx.emit("late");
                    Ok(())
                })
                .await?;
                Ok(())
            });
            let sibling = ctx.spawn(RunSpec::agent("sibling"), async |ctx| {
                for word in 0..5 {
                    ctx.emit(format!("{word}"));
                    tokio::time::sleep(ms(700)).await;
                }
                Ok(())
            });
            tokio::try_join!(child, sibling)?;
            ctx.emit("root");
            Ok(())
        })
        .unwrap();
    tokio::time::sleep(ms(1)).await;
    let child = run.run().children().remove(0);
    (run.into_ref(), child)
}

#[tokio::test(start_paused = true)]
async fn i30_the_log_is_dense_from_one_and_the_roots_end_is_its_last_event() {
    let lab = Lab::paused();
    let (root, _) = busy_tree(&lab).await;
    let live = all(root.events()).await;
    assert_eq!(seqs(&live), (1..=live.len() as u64).collect::<Vec<_>>());
    assert!(live.iter().all(|event| event.root == root.id()));
    let last = live.last().unwrap();
    assert_eq!((last.run, &last.kind), (root.id(), &EventKind::Ended(RunStatus::Completed)));
    assert!(live.windows(2).all(|pair| pair[0].at <= pair[1].at), "times never run backwards");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i30_replay_from_any_seq_yields_each_event_once() {
    let lab = Lab::paused();
    let (root, child) = busy_tree(&lab).await;
    for run in [&root, &child] {
        let live = all(run.events()).await;
        assert!(live.len() >= 8, "{live:#?}");
        let last = live.last().unwrap().seq;
        for since in 0..=last {
            let replayed = all(run.events_since(since)).await;
            let expected: Vec<_> = live.iter().filter(|event| event.seq > since).cloned().collect();
            assert_eq!(replayed, expected, "{} since {since}", run.name());
        }
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i30_a_reader_that_reconnects_in_the_middle_misses_nothing() {
    let lab = Lab::paused();
    let (root, child) = busy_tree(&lab).await;
    for run in [root, child] {
        let mut read = Vec::new();
        let mut since = 0;
        // One event per connection.
        while let Some(event) = run.events_since(since).next().await {
            since = event.seq;
            read.push(event);
        }
        assert_eq!(read, all(run.events()).await);
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i30_the_stream_of_a_child_tells_of_its_subtree_and_ends_with_it() {
    let lab = Lab::paused();
    let (root, child) = busy_tree(&lab).await;
    let told = all(child.events()).await;
    assert_eq!(root.status(), RunStatus::Running, "the sibling still talks");
    let names = told.iter().filter_map(|event| match &event.kind {
        EventKind::Queued { name, .. } => Some(name.to_string()),
        _ => None,
    });
    assert_eq!(names.collect::<Vec<_>>(), ["child", "early", "late"]);
    let last = told.last().unwrap();
    assert_eq!((last.run, &last.kind), (child.id(), &EventKind::Ended(RunStatus::Completed)));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i29_publishing_waits_for_no_reader_and_slow_ones_are_told_what_they_missed() {
    let limits = bounded(|limits| limits.events_per_root_max = 100);
    let lab = Lab::paused_with(limits);
    let run = lab
        .submit(RunSpec::agent("talker"), async |ctx| {
            for n in 0..50 {
                ctx.emit(n.to_string());
            }
            tokio::time::sleep(secs(1)).await;
            for n in 50..1_000 {
                assert_eq!(ctx.emit(n.to_string()), Written::Recorded);
            }
            Ok(())
        })
        .unwrap();
    let (mut slow, mut late) = (run.events(), run.events());
    tokio::time::sleep(ms(500)).await;
    // Queued, Started and 50 words; the slow one reads ten of them and falls asleep.
    for seq in 1..=10 {
        assert_eq!(slow.next().await.unwrap().seq, seq);
    }
    run.ended().await;
    // 2 + 1000 + 1 events; the last hundred are held.
    for (reader, mut from) in [(&mut slow, 11), (&mut late, 1), (&mut run.events(), 1)] {
        let mut lagged = reader.next().await.unwrap();
        // What the slow one had copied with those that it read.
        while lagged.seq == from && from < 17 {
            lagged = reader.next().await.unwrap();
            from += 1;
        }
        assert_eq!((lagged.seq, lagged.kind), (0, EventKind::Lagged { from, to: 903 }));
        for seq in 904..=1003 {
            assert_eq!(reader.next().await.unwrap().seq, seq);
        }
        assert_eq!(reader.next().await, None);
    }
    lab.finish_unchecked("old events have left the log").await;
}

#[tokio::test(start_paused = true)]
async fn i29_a_log_that_holds_nothing_still_ends_its_streams() {
    let lab = Lab::paused_with(bounded(|limits| limits.events_per_root_max = 0));
    let run = lab.submit(RunSpec::agent("one"), async |_| Ok(())).unwrap();
    let live = all(run.events()).await;
    assert!(live.iter().all(|event| matches!(event.kind, EventKind::Lagged { .. })), "{live:?}");
    run.ended().await;
    let [lagged] = &all(run.events()).await[..] else { panic!() };
    assert_eq!(lagged.kind, EventKind::Lagged { from: 1, to: 3 });
    lab.finish_unchecked("nothing is held").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i29_readers_of_all_speeds_see_each_event_once_or_are_told() {
    let lab = Lab::with(
        crate::support::config().limits(bounded(|limits| limits.events_per_root_max = 64)),
    );
    let run = lab
        .submit(RunSpec::agent("talker"), async |ctx| {
            for n in 0..20_000 {
                ctx.emit(n.to_string());
                if n % 256 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Ok(())
        })
        .unwrap();
    let readers = (0..8_u64).map(|pace| {
        let mut events = run.events();
        tokio::spawn(async move {
            let (mut next, mut lags) = (1, 0_u64);
            while let Some(event) = events.next().await {
                if let EventKind::Lagged { from, to } = event.kind {
                    assert!(from == next && to >= from, "{from}..={to}, expected {next}");
                    next = to + 1;
                    lags += 1;
                    continue;
                }
                assert_eq!(event.seq, next);
                next += 1;
                if pace > 0 && event.seq % 128 == 0 {
                    tokio::time::sleep(ms(pace)).await;
                }
            }
            (next, lags)
        })
    });
    let readers: Vec<_> = readers.collect();
    for reader in readers {
        let (next, _) = within("a reader is through", reader).await.unwrap();
        assert_eq!(next, 20_003 + 1, "to the very end");
    }
    assert!(run.ended().await.quiescent);
    lab.finish_unchecked("old events have left the log").await;
}

#[tokio::test(start_paused = true)]
async fn i29_the_firehose_tells_of_every_tree_and_of_what_was_missed() {
    let lab = Lab::paused();
    let mut hose = lab.events();
    let runs = [1, 2, 3].map(|n| {
        let spec = RunSpec::agent(format!("{n}"));
        lab.submit(spec, async |ctx| {
            ctx.emit("word");
            Ok(())
        })
        .unwrap()
    });
    for run in &runs {
        run.ended().await;
    }
    let mut told = Vec::new();
    for _ in 0..12 {
        told.push(hose.next().await.unwrap());
    }
    for run in &runs {
        let of: Vec<_> = told.iter().filter(|event| event.root == run.id()).cloned().collect();
        assert_eq!(of, all(run.events()).await, "the order of each tree, with its own numbers");
    }
    let talker = lab
        .submit(RunSpec::agent("talker"), async |ctx| {
            for n in 0..5_000 {
                ctx.emit(n.to_string());
            }
            Ok(())
        })
        .unwrap();
    talker.ended().await;
    // 12 were read, 5003 came, the newest 1024 are held.
    let (from, to) = (13, 12 + 5_003 - limits::SUBSCRIBER_BACKLOG_MAX as u64);
    assert_eq!(hose.next().await.unwrap().kind, EventKind::Lagged { from, to });
    let rest = limits::SUBSCRIBER_BACKLOG_MAX;
    for _ in 0..rest {
        assert_eq!(hose.next().await.unwrap().root, talker.id());
    }
    lab.shutdown(secs(0)).await;
    assert_eq!(hose.next().await, None, "it ends with the engine");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i30_a_stream_is_a_stream_and_cancel_safe() {
    let lab = Lab::paused();
    let (root, _) = busy_tree(&lab).await;
    let mut events = root.events();
    let mut read = Vec::new();
    loop {
        // Impatient: most of these are dropped while they wait.
        match tokio::time::timeout(ms(10), StreamExt::next(&mut events)).await {
            Ok(Some(event)) => read.push(event),
            Ok(None) => break,
            Err(_) => {}
        }
    }
    assert_eq!(read, root.events().collect::<Vec<_>>().await);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i31_whoever_leaves_stops_nothing_and_a_disconnect_that_stops_says_so() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("unwatched"), async |ctx| {
            tokio::time::sleep(secs(2)).await;
            ctx.emit("still there");
            Ok(())
        })
        .unwrap();
    let mut events = run.events();
    events.next().await.unwrap();
    drop(events);
    let (waiting, run_ref) = (run.run().clone(), run.run().clone());
    drop(tokio::time::timeout(ms(1), waiting.ended()).await);
    drop(run);
    assert_eq!(run_ref.ended().await.status, RunStatus::Completed, "D12");
    let watched = lab.submit(RunSpec::agent("watched"), listener).unwrap();
    tokio::task::yield_now().await;
    let gone = CancelRequest::because("client left").kind(quell::CauseKind::Disconnected);
    watched.cancel(gone);
    let cause = watched.ended().await.cause.clone().unwrap();
    assert_eq!(cause.kind, quell::CauseKind::Disconnected);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i32_after_an_acknowledgement_every_read_shows_stopping_or_later() {
    let lab = Lab::real();
    let stopped = |status| status == RunStatus::Stopping || status == RunStatus::Cancelled;
    for _ in 0..200 {
        let run = lab.submit(RunSpec::workflow("root"), chain(3, listener)).unwrap();
        tokio::time::sleep(std::time::Duration::from_micros(fastrand::u64(0..300))).await;
        run.cancel(CancelRequest::because("enough"));
        assert!(stopped(run.run().status()));
        assert!(stopped(run.run().report().status));
        assert!(stopped(lab.get(run.id()).unwrap().status()));
        let running = quell::RunFilter::new().live().status(RunStatus::Running);
        let running: Vec<_> = lab.runs(&running.status(RunStatus::Queued));
        assert!(running.is_empty(), "{running:?}");
        for row in &run.run().report().rows {
            assert!(stopped(row.status), "{row:?}");
        }
        let mut events = run.events();
        loop {
            let event = events.next().await.unwrap();
            if event.run == run.id() && matches!(event.kind, EventKind::Stopping(_)) {
                break;
            }
        }
        within("the tree ends", run.ended()).await;
    }
    lab.finish().await;
}

#[tokio::test]
async fn i29_a_reader_whose_stream_has_ended_is_behind_nothing() {
    let lab = Lab::real();
    let run = lab.submit(RunSpec::agent("root"), async |ctx| {
        let child = ctx.spawn(RunSpec::step("child"), async |_| Ok(()));
        let mut events = child.events();
        child.await?;
        while events.next().await.is_some() {}
        ctx.emit("more");
        let is_read = ctx.is_read();
        drop(events);
        Ok(is_read && ctx.is_read())
    });
    assert!(within("it ends", run.unwrap()).await.unwrap());
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i29_what_was_said_a_while_ago_is_read_as_it_was_when_it_was_said() {
    let lab = Lab::paused();
    let body = async |ctx: RunContext| {
        for nr in 0..60 {
            ctx.emit(format!("{nr} of many, and the same again"));
            ctx.spawn(RunSpec::step("below"), async |_ctx| Ok(())).await?;
            tokio::time::sleep(ms(200 + nr)).await;
        }
        Ok(())
    };
    let run = lab.submit(RunSpec::agent("slow"), body).unwrap().into_ref();
    let at_once = all(run.events()).await;
    assert_eq!(seqs(&at_once), (1..=at_once.len() as u64).collect::<Vec<_>>());
    assert!(at_once.windows(2).all(|two| two[0].at <= two[1].at));
    assert!(all(run.events_since(0)).await == at_once, "later it says the same");
    lab.finish().await;
}
