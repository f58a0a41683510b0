//! Epochs: who may write of a run.

use quell_core::store::{Epoch, Record, Store, StoreError};
use quell_core::{RunStatus, StopMode};

use super::fixture::{
    Verdict, accept, at, child, end, event, first_epoch, forget, id, pause, refused, resume, same,
    start, state, stop, stored, there,
};

pub(super) async fn fenced(store: &dyn Store) -> Verdict {
    let old = first_epoch(store);
    let new = Epoch::new(store.boot(), 2);
    stored(store, vec![accept(store, 1), start(1, old), event(1, old, 1)]).await?;
    stored(store, vec![start(1, new)]).await?;
    let before = there(store, id(1)).await?;
    let fenced = StoreError::Fenced { run: id(1), epoch: old, current: new };
    for late in [
        start(1, old),
        event(1, old, 2),
        stop(1, old, StopMode::Abort, "old"),
        pause(1, old, "old"),
        resume(1, old, 2, "old"),
        state(1, old, "lane", 1),
        end(1, old),
        Record::Quiesced { run: id(1), epoch: old, at: at(1) },
        forget(1, old),
    ] {
        refused(store, vec![late], &fenced).await?;
    }
    // Within one batch as well.
    let newer = Epoch::new(store.boot(), 3);
    let fenced = StoreError::Fenced { run: id(1), epoch: new, current: newer };
    refused(store, vec![start(1, newer), event(1, new, 2)], &fenced).await?;
    same("the run", &there(store, id(1)).await?, &before)?;
    stored(store, vec![event(1, new, 2), end(1, new)]).await?;
    // What is below it as well.
    let fenced = StoreError::Fenced { run: id(1), epoch: old, current: new };
    refused(store, vec![child(store, 2, 1)], &fenced).await?;
    // After the end as well.
    let fenced = StoreError::Fenced { run: id(1), epoch: old, current: new };
    let quiesced = Record::Quiesced { run: id(1), epoch: old, at: at(1) };
    refused(store, vec![quiesced], &fenced).await?;
    refused(store, vec![forget(1, old)], &fenced).await
}

pub(super) async fn taken_over(store: &dyn Store) -> Verdict {
    let (first, next) = (first_epoch(store), Epoch::new(store.boot() + 1, 1));
    // Whatever is written first takes it over.
    for (nth, taking) in [
        event(0, next, 1),
        stop(1, next, StopMode::Abort, "x"),
        start(2, next),
        state(3, next, "l", 1),
    ]
    .into_iter()
    .enumerate()
    {
        stored(store, vec![accept(store, nth)]).await?;
        stored(store, vec![taking]).await?;
        same("its epoch", &there(store, id(nth)).await?.epoch, &next)?;
        let fenced = StoreError::Fenced { run: id(nth), epoch: first, current: next };
        refused(store, vec![end(nth, first)], &fenced).await?;
        stored(store, vec![end(nth, next)]).await?;
        same("its status", &there(store, id(nth)).await?.status, &RunStatus::Completed)?;
    }
    same("its upper half", &next.boot(), &(store.boot() + 1))
}
