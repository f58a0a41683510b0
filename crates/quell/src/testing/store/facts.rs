//! Runs as records tell of them, and batches.

use std::task::Poll;

use futures::future::join_all;
use quell_core::store::{BoxFuture, ClaimedKey, Epoch, Record, StopAccepted, Store, StoreError};
use quell_core::{Annotations, Labels, Payload, RunFilter, RunStatus, StopMode};

use super::fixture::{
    Verdict, accept, accepted, at, child, end, event, first_epoch, id, list, refused, same, start,
    state, stop, stored, there,
};

pub(super) async fn accepted_is_read_back(store: &dyn Store) -> Verdict {
    let mut full = accepted(store, 1);
    full.owner = Some("ada \0 \u{1f600}".into());
    full.lane = Some("thread-1".into());
    full.labels = Labels::from([("a".into(), "1".into()), (String::new(), "ä'\"".into())]);
    full.annotations = Annotations::from([
        ("front-end".into(), Payload::from_json_text(r#"{"a":1.50,"a":[]}"#).unwrap_or(0.into())),
        ("ä'\"\0".into(), Payload::from("x".repeat(1 << 20))),
    ]);
    full.key = Some(ClaimedKey { key: "order-7".into(), payload: [7; 32] });
    full.spec =
        Some(Payload::from_json_text(r#"{"timeout":1.50,"timeout":2}"#).unwrap_or(0.into()));
    full.input = Some(Payload::from("x".repeat(1 << 20)));
    full.due = Some(at(60_000));
    stored(store, vec![Record::Accepted(Box::new(full.clone()))]).await?;
    let read = there(store, id(1)).await?;
    same("what was accepted", &read.accepted, &full)?;
    same("its status", &read.status, &RunStatus::Queued)?;
    same("its epoch", &read.epoch, &full.epoch)?;
    let bare = [read.started_at.is_none(), read.stop.is_none(), read.report.is_none()];
    same("what has not happened", &bare, &[true; 3])?;
    stored(store, vec![accept(store, 2), child(store, 3, 2)]).await?;
    let below = there(store, id(3)).await?.accepted;
    same("root and parent", &(below.root, below.parent), &(id(2), Some(id(2))))?;
    same("a run that is not there", &store.get(id(4)).await, &Ok(None))?;
    refused(store, vec![accept(store, 2)], &StoreError::Exists { run: id(2) }).await?;
    refused(store, vec![child(store, 5, 9)], &StoreError::Unknown { run: id(9) }).await
}

pub(super) async fn annotated(store: &dyn Store) -> Verdict {
    let (epoch, large) = (first_epoch(store), Payload::from("x".repeat(1 << 20)));
    let mut first = accepted(store, 1);
    first.annotations = Annotations::from([("plan".into(), 1.into()), ("mark".into(), 2.into())]);
    stored(store, vec![Record::Accepted(Box::new(first))]).await?;
    let annotated = |epoch, annotations| Record::Annotated { run: id(1), epoch, annotations };
    let many = Annotations::from([("plan".into(), 7.into()), ("ä'\"\0".into(), large)]);
    for annotations in [many, Annotations::from([("plan".into(), 8.into())]), Annotations::new()] {
        stored(store, vec![annotated(epoch, annotations.clone())]).await?;
        let read = there(store, id(1)).await?;
        same("its annotations", &read.accepted.annotations, &annotations)?;
        same("its status", &read.status, &RunStatus::Queued)?;
    }
    let next = Epoch::new(epoch.boot(), epoch.attempt() + 1);
    stored(store, vec![start(1, next)]).await?;
    let late = vec![annotated(epoch, Annotations::new())];
    refused(store, late, &StoreError::Fenced { run: id(1), epoch, current: next }).await?;
    // One that runs may have more as well.
    let more = Annotations::from([("plan".into(), 8.into()), ("begun".into(), 9.into())]);
    stored(store, vec![annotated(next, more.clone()), event(1, next, 1)]).await?;
    let read = there(store, id(1)).await?;
    let now = (read.status, &read.accepted.annotations);
    same("the status and the annotations of one that runs", &now, &(RunStatus::Running, &more))?;
    stored(store, vec![end(1, next)]).await?;
    let late = vec![annotated(next, Annotations::new())];
    refused(store, late, &StoreError::Ended { run: id(1) }).await
}

pub(super) async fn all_or_nothing(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    stored(store, vec![accept(store, 1), state(1, epoch, "lane", 1)]).await?;
    let mut first = accepted(store, 2);
    first.labels = Labels::from([("team".into(), "red".into())]);
    first.key = Some(ClaimedKey { key: "order-7".into(), payload: [7; 32] });
    let whole = vec![
        Record::Accepted(Box::new(first)),
        start(1, epoch),
        event(1, epoch, 1),
        state(1, epoch, "lane", 2),
        stop(1, epoch, StopMode::Abort, "never"),
        end(1, epoch),
        start(3, epoch),
    ];
    refused(store, whole, &StoreError::Unknown { run: id(3) }).await?;
    same("the new run", &store.get(id(2)).await, &Ok(None))?;
    let old = there(store, id(1)).await?;
    same("the old run", &(old.status, old.stop), &(RunStatus::Queued, None))?;
    same("its events", &store.events(id(1), 0, 9).await, &Ok(vec![]))?;
    same("the lane", &super::fixture::states(store, "lane").await?.len(), &1)?;
    let labelled = RunFilter::new().label("team", "red");
    same("runs with its label", &list(store, labelled).await?, &vec![])?;
    let mut second = accepted(store, 4);
    second.key = Some(ClaimedKey { key: "order-7".into(), payload: [8; 32] });
    stored(store, vec![Record::Accepted(Box::new(second))]).await
}

pub(super) async fn in_order(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    let backwards = vec![start(1, epoch), accept(store, 1)];
    refused(store, backwards, &StoreError::Unknown { run: id(1) }).await?;
    let after_its_end = vec![accept(store, 1), end(1, epoch), start(1, epoch)];
    refused(store, after_its_end, &StoreError::Ended { run: id(1) }).await?;
    same("the run", &store.get(id(1)).await, &Ok(None))?;
    let life = vec![accept(store, 1), start(1, epoch), event(1, epoch, 1), end(1, epoch)];
    stored(store, life).await?;
    same("its status", &there(store, id(1)).await?.status, &RunStatus::Completed)
}

pub(super) async fn many_at_once(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    let lives = (0..100).map(|nth| {
        let batch = vec![accept(store, nth), start(nth, epoch), event(nth, epoch, 1)];
        async move {
            store.append(batch).await?;
            // A stop may overtake others, but not what it is about.
            let stopped = store.append(vec![stop(nth, epoch, StopMode::Cooperative, "enough")]);
            let ended = store.append(vec![event(nth, epoch, 2)]);
            let (stopped, ended) = futures::join!(stopped, ended);
            stopped.and(ended)
        }
    });
    for done in join_all(lives).await {
        done.map_err(|error| error.to_string())?;
    }
    let accepted = store.append(vec![accept(store, 100)]);
    let stopped = store.append(vec![stop(100, epoch, StopMode::Cooperative, "at once")]);
    let (accepted, stopped) = futures::join!(accepted, stopped);
    same("a stop right behind its run", &(accepted, stopped), &(Ok(()), Ok(())))?;
    let stopping = RunFilter::new().status(RunStatus::Stopping);
    same("how many are there", &list(store, stopping).await?.len(), &101)
}

pub(super) async fn status_follows(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    stored(store, vec![accept(store, 1)]).await?;
    stored(store, vec![start(1, epoch)]).await?;
    let running = there(store, id(1)).await?;
    let of_start = (running.status, running.started_at);
    same("status and start", &of_start, &(RunStatus::Running, Some(at(500))))?;
    stored(store, vec![stop(1, epoch, StopMode::AfterStep, "soon")]).await?;
    let scheduled = there(store, id(1)).await?;
    same("the status until the step ends", &scheduled.status, &RunStatus::Running)?;
    stored(store, vec![stop(1, epoch, StopMode::Cooperative, "now")]).await?;
    same("the status of a stop", &there(store, id(1)).await?.status, &RunStatus::Stopping)?;
    stored(store, vec![start(1, epoch)]).await?;
    same("the status of a late start", &there(store, id(1)).await?.status, &RunStatus::Stopping)
}

pub(super) async fn empty_batch(store: &dyn Store) -> Verdict {
    stored(store, Vec::new()).await?;
    same("what is stored", &list(store, RunFilter::new()).await?, &vec![])
}

pub(super) async fn stops_merge(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    stored(store, vec![accept(store, 1), start(1, epoch)]).await?;
    let with_deadline = |mode, words, ms: Option<u64>| match stop(1, epoch, mode, words) {
        Record::StopAccepted(mut stop) => {
            // The second one alone takes back what the run has saved.
            stop.rollback = words == "second";
            stop.hard_deadline = ms.map(at);
            Record::StopAccepted(stop)
        }
        other => other,
    };
    stored(store, vec![with_deadline(StopMode::AfterStep, "first", None)]).await?;
    stored(store, vec![with_deadline(StopMode::Abort, "second", Some(9_000))]).await?;
    stored(store, vec![with_deadline(StopMode::Cooperative, "third", Some(9_500))]).await?;
    let Some(StopAccepted { mode, cause, hard_deadline, rollback, .. }) =
        there(store, id(1)).await?.stop
    else {
        return Err("the stop is not there".into());
    };
    same("the mode", &mode, &StopMode::Abort)?;
    same("the rollback", &rollback, &true)?;
    same("the deadline", &hard_deadline, &Some(at(9_000)))?;
    let words = (cause.message.as_deref(), cause.by.as_deref(), cause.at);
    same("the cause", &words, &(Some("first"), Some("ada"), at(600)))
}

pub(super) async fn stops_in_order(store: &dyn Store) -> Verdict {
    let (epoch, next) = (first_epoch(store), Epoch::new(store.boot(), 2));
    for round in 0..5_usize {
        let run = |nth: usize| 10 * round + nth;
        let stops = |nth, words| stop(run(nth), epoch, StopMode::Cooperative, words);
        stored(store, vec![accept(store, run(1)), accept(store, run(2))]).await?;
        // So that what follows finds a store at work.
        let busy = (1..=200).map(|seq| vec![event(run(2), epoch, seq)]);
        let behind = [
            vec![event(run(1), epoch, 1), stops(1, "first")],
            vec![stops(1, "second")],
            vec![accept(store, run(3))],
            vec![stops(3, "first")],
            vec![stops(3, "second")],
            vec![start(run(2), next)],
            vec![stop(run(2), next, StopMode::Cooperative, "first")],
        ];
        let appends = busy.chain(behind).map(|batch| store.append(batch));
        for done in polled_in_order(appends.collect()).await {
            done.map_err(|error| error.to_string())?;
        }
        for nth in 1..=3 {
            let cause = there(store, id(run(nth))).await?.stop.map(|stop| stop.cause);
            let words = cause.and_then(|cause| cause.message.clone());
            same("the cause", &words.as_deref(), &Some("first"))?;
        }
    }
    Ok(())
}

/// Waits for appends that are polled in their order first.
async fn polled_in_order(mut appends: Vec<Append<'_>>) -> Vec<Result<(), StoreError>> {
    let mut first = Vec::new();
    std::future::poll_fn(|context| {
        first = appends.iter_mut().map(|append| append.as_mut().poll(context)).collect();
        Poll::Ready(())
    })
    .await;
    let mut done = Vec::new();
    for (first, append) in first.into_iter().zip(appends) {
        done.push(match first {
            Poll::Ready(answer) => answer,
            Poll::Pending => append.await,
        });
    }
    done
}

type Append<'a> = BoxFuture<'a, Result<(), StoreError>>;
