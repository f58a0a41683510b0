//! Ends of runs, and what follows them.

use quell_core::store::{Record, RunRecord, Store, StoreError};
use quell_core::{Payload, RunStatus, StopMode};

use super::fixture::{
    Verdict, accept, at, child, end, ended, event, first_epoch, forget, id,
    recovered as all_recovered, refused, report, same, start, state, states, stop, stored, there,
};

pub(super) async fn final_end(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    stored(store, vec![accept(store, 1), start(1, epoch), event(1, epoch, 1)]).await?;
    stored(store, vec![ended(1, epoch, RunStatus::Failed)]).await?;
    let read = there(store, id(1)).await?;
    same("its status", &read.status, &RunStatus::Failed)?;
    same("its report", &read.report, &Some(report(1, RunStatus::Failed, true)))?;
    same("quiescent", &(read.quiescent, read.quiesced_at), &(true, Some(at(800))))?;
    let request = Payload::from("late");
    for late in [
        start(1, epoch),
        end(1, epoch),
        stop(1, epoch, StopMode::Cooperative, "late"),
        state(1, epoch, "lane", 1),
        Record::Paused { run: id(1), epoch, request, at: at(1) },
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
