//! Ends of runs, and what follows them.

use quell_core::store::{Record, RunRecord, Store, StoreError};
use quell_core::{EventKind, Payload, RunEvent, RunStatus, StopMode};

use super::fixture::{
    Verdict, accept, at, child, end, ended, event, first_epoch, forget, id, pause,
    recovered as all_recovered, refused, report, resume, same, start, state, states, stop, stored,
    there,
};

pub(super) async fn final_end(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    stored(store, vec![accept(store, 1), start(1, epoch), event(1, epoch, 1)]).await?;
    stored(store, vec![ended(1, epoch, RunStatus::Failed)]).await?;
    let read = there(store, id(1)).await?;
    same("its status", &read.status, &RunStatus::Failed)?;
    same("its report", &read.report, &Some(report(1, RunStatus::Failed, true)))?;
    same("quiescent", &(read.quiescent, read.quiesced_at), &(true, Some(at(800))))?;
    for late in [
        start(1, epoch),
        end(1, epoch),
        stop(1, epoch, StopMode::Cooperative, "late"),
        state(1, epoch, "lane", 1),
        pause(1, epoch, "late"),
        resume(1, epoch, 2, "late"),
    ] {
        refused(store, vec![late], &StoreError::Ended { run: id(1) }).await?;
    }
    same("the run", &there(store, id(1)).await?, &read)
}

pub(super) async fn quiesced(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    let quiesced = Record::Quiesced { run: id(1), epoch, at: at(950) };
    stored(store, vec![accept(store, 1)]).await?;
    refused(store, vec![quiesced.clone()], &StoreError::Live { run: id(1) }).await?;
    let report = report(1, RunStatus::Cancelled, false);
    let rollback = false;
    stored(store, vec![Record::Ended { run: id(1), epoch, report, rollback }]).await?;
    let read = there(store, id(1)).await?;
    same("quiescent at its end", &(read.quiescent, read.quiesced_at), &(false, None))?;
    stored(store, vec![event(1, epoch, 1), quiesced]).await?;
    let read = there(store, id(1)).await?;
    same("quiescent later", &(read.quiescent, read.quiesced_at), &(true, Some(at(950))))
}

pub(super) async fn forgotten(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    for nth in [1, 2] {
        let saved = state(nth, epoch, "lane", nth as u64);
        stored(store, vec![accept(store, nth), event(nth, epoch, 1), saved]).await?;
    }
    refused(store, vec![forget(1, epoch)], &StoreError::Live { run: id(1) }).await?;
    stored(store, vec![end(1, epoch)]).await?;
    stored(store, vec![forget(1, epoch)]).await?;
    same("the run", &store.get(id(1)).await, &Ok(None))?;
    same("its events", &store.events(id(1), 0, 9).await, &Ok(vec![]))?;
    same("its lane", &states(store, "lane").await?, &vec![Payload::from(2)])?;
    refused(store, vec![forget(1, epoch)], &StoreError::Unknown { run: id(1) }).await?;
    refused(store, vec![event(1, epoch, 2)], &StoreError::Unknown { run: id(1) }).await?;
    same("the other run", &there(store, id(2)).await?.status, &RunStatus::Queued)?;
    stored(store, vec![accept(store, 1), event(1, epoch, 1)]).await?;
    same("a new one of its id", &there(store, id(1)).await?.status, &RunStatus::Queued)
}

pub(super) async fn forgotten_tree(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    let tree = vec![accept(store, 1), child(store, 2, 1), child(store, 3, 1), accept(store, 4)];
    stored(store, tree).await?;
    stored(store, vec![end(2, epoch), end(3, epoch), end(1, epoch), end(4, epoch)]).await?;
    stored(store, vec![forget(3, epoch)]).await?;
    same("the root of a child", &there(store, id(1)).await?.status, &RunStatus::Completed)?;
    stored(store, vec![forget(1, epoch)]).await?;
    for nth in [1, 2, 3] {
        same("a run of the tree", &store.get(id(nth)).await, &Ok(None))?;
    }
    same("another tree", &there(store, id(4)).await?.status, &RunStatus::Completed)
}

/// Makes a tree: 1, below it 2 and 5, below 2 the runs 3 and 4.
async fn tree(store: &dyn Store) -> Verdict {
    let below = |nth, parent| match child(store, nth, 1) {
        Record::Accepted(mut accepted) => {
            accepted.parent = Some(id(parent));
            Record::Accepted(accepted)
        }
        other => other,
    };
    let runs = vec![accept(store, 1), below(2, 1), below(3, 2), below(4, 3), below(5, 1)];
    stored(store, runs).await
}

pub(super) async fn forgotten_branch(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    tree(store).await?;
    stored(store, vec![end(2, epoch), end(3, epoch), end(1, epoch)]).await?;
    refused(store, vec![forget(2, epoch)], &StoreError::Live { run: id(4) }).await?;
    refused(store, vec![forget(1, epoch)], &StoreError::Live { run: id(4) }).await?;
    // Of one batch as well.
    refused(store, vec![end(4, epoch), forget(1, epoch)], &StoreError::Live { run: id(5) }).await?;
    same("a run below", &there(store, id(4)).await?.status, &RunStatus::Queued)?;
    stored(store, vec![end(4, epoch), forget(2, epoch)]).await?;
    for nth in [2, 3, 4] {
        same("a run below", &store.get(id(nth)).await, &Ok(None))?;
    }
    same("the run above", &there(store, id(1)).await?.status, &RunStatus::Completed)?;
    same("a run beside", &there(store, id(5)).await?.status, &RunStatus::Queued)?;
    stored(store, vec![end(5, epoch), forget(1, epoch)]).await?;
    same("the run beside", &store.get(id(5)).await, &Ok(None))
}

pub(super) async fn detached(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    tree(store).await?;
    let kind = EventKind::Detached { from: id(1), name: "a run".into() };
    let left = Record::Event { epoch, event: RunEvent::new(1, id(1), id(2), at(1), kind) };
    stored(store, vec![left]).await?;
    let moved = there(store, id(2)).await?.accepted;
    same("its root and parent", &(moved.root, moved.parent), &(id(2), None))?;
    let below = there(store, id(4)).await?.accepted;
    same("root and parent below", &(below.root, below.parent), &(id(2), Some(id(3))))?;
    stored(store, vec![end(1, epoch), end(5, epoch), forget(1, epoch)]).await?;
    same("the root that it left", &store.get(id(1)).await, &Ok(None))?;
    same("what stayed there", &store.get(id(5)).await, &Ok(None))?;
    for nth in [2, 3, 4] {
        same("its tree", &there(store, id(nth)).await?.status, &RunStatus::Queued)?;
    }
    stored(store, vec![end(2, epoch), end(3, epoch), end(4, epoch), forget(2, epoch)]).await?;
    same("what was below it", &store.get(id(4)).await, &Ok(None))
}

pub(super) async fn comes_again(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    stored(store, vec![accept(store, 1), child(store, 2, 1), event(1, epoch, 1)]).await?;
    stored(store, vec![end(1, epoch), end(2, epoch)]).await?;
    let again = vec![forget(1, epoch), accept(store, 1), event(1, epoch, 1), accept(store, 2)];
    stored(store, again).await?;
    same("its status", &there(store, id(1)).await?.status, &RunStatus::Queued)?;
    let twice = vec![end(1, epoch), forget(1, epoch), accept(store, 1), event(1, epoch, 1)];
    stored(store, twice).await?;
    same("its events", &store.events(id(1), 0, 9).await.map(|all| all.len()), &Ok(1))
}

pub(super) async fn recovered(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    for nth in 1..=6 {
        stored(store, vec![accept(store, nth)]).await?;
    }
    stored(store, vec![start(2, epoch), start(3, epoch), start(1, epoch)]).await?;
    stored(store, vec![stop(3, epoch, StopMode::Abort, "stop it")]).await?;
    stored(store, vec![stop(6, epoch, StopMode::AfterStep, "soon")]).await?;
    let left_over = report(4, RunStatus::Cancelled, false);
    let rollback = false;
    stored(store, vec![Record::Ended { run: id(4), epoch, report: left_over, rollback }]).await?;
    stored(store, vec![end(1, epoch)]).await?;
    let all = all_recovered(store).await?;
    let runs: Vec<_> = all.iter().map(RunRecord::run).collect();
    same("what is recovered", &runs, &[2, 3, 5, 6].map(id).to_vec())?;
    let stops: Vec<_> = all.iter().map(|run| run.stop.is_some()).collect();
    same("which have a stop", &stops, &vec![false, true, false, true])?;
    let cause = all[1].stop.as_ref().and_then(|stop| stop.cause.message.clone());
    same("the cause", &cause.as_deref(), &Some("stop it"))?;
    stored(store, vec![end(2, epoch), end(3, epoch), end(5, epoch), end(6, epoch)]).await?;
    same("what is recovered when all have ended", &all_recovered(store).await?, &vec![])
}
