//! Events of a root.

use quell_core::store::{Epoch, Record, Store, StoreError};
use quell_core::{EventKind, Payload, RunEvent, RunId};

use super::fixture::{
    Verdict, accept, at, emitted, end, event, first_epoch, id, readable, recovered, refused, same,
    start, stored, there,
};

/// Reads the numbers behind one, so many at a time.
async fn numbers(
    store: &dyn Store,
    root: RunId,
    after: u64,
    limit: usize,
) -> Result<Vec<u64>, String> {
    let (mut all, mut last) = (Vec::new(), after);
    loop {
        let read = store.events(root, last, limit).await.map_err(|error| error.to_string())?;
        let read = readable(read)?;
        if read.len() > limit {
            return Err(format!("{} events instead of {limit}", read.len()));
        }
        let Some(event) = read.last() else { return Ok(all) };
        let next = event.last_seq();
        if next <= last {
            return Err(format!("event {next} comes behind event {last}"));
        }
        last = next;
        all.extend(read.iter().map(|event| event.seq));
    }
}

pub(super) async fn once_in_order(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    stored(store, vec![accept(store, 1), accept(store, 2), accept(store, 3)]).await?;
    for seq in 1..=20 {
        stored(store, vec![event(1, epoch, seq), event(2, epoch, seq)]).await?;
    }
    for after in [0, 1, 7, 19, 20, u64::MAX] {
        for limit in [1, 3, 100] {
            let expected: Vec<u64> = (1..=20).filter(|seq| *seq > after).collect();
            same("the numbers", &numbers(store, id(1), after, limit).await?, &expected)?;
        }
    }
    let read = store.events(id(1), 6, 1).await.map_err(|error| error.to_string())?;
    let kind = EventKind::Emitted(Payload::from(7));
    same("an event", &read, &vec![Ok(RunEvent::new(7, id(1), id(1), at(7), kind))])?;
    let have = recovered(store).await?.iter().map(|it| it.has_events).collect::<Vec<_>>();
    same("which have a log", &have, &vec![true, true, false])?;
    same("whether one has", &there(store, id(2)).await?.has_events, &true)?;
    same("of nobody", &store.events(id(9), 0, 9).await, &Ok(vec![]))
}

pub(super) async fn gap(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    let kind = EventKind::Lagged { from: 3, to: 9 };
    let gap = Record::Event { epoch, event: RunEvent::new(0, id(1), id(1), at(3), kind) };
    let (begin, end) = ([event(1, epoch, 1), event(1, epoch, 2)], event(1, epoch, 10));
    stored(store, vec![accept(store, 1)]).await?;
    stored(store, begin.into_iter().chain([gap, end]).collect()).await?;
    same("from the begin", &numbers(store, id(1), 0, 1).await?, &vec![1, 2, 0, 10])?;
    same("from within", &numbers(store, id(1), 5, 9).await?, &vec![0, 10])?;
    same("from behind", &numbers(store, id(1), 9, 9).await?, &vec![10])
}

pub(super) async fn taken_once(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    stored(store, vec![accept(store, 1), event(1, epoch, 1)]).await?;
    let taken = |seq| StoreError::SeqTaken { root: id(1), seq };
    refused(store, vec![event(1, epoch, 1)], &taken(1)).await?;
    refused(store, vec![event(1, epoch, 2), event(1, epoch, 2)], &taken(2)).await?;
    same("the numbers", &numbers(store, id(1), 0, 9).await?, &vec![1])
}

/// Events of a root may be stored together, and a start with its end: what is refused is told as if
/// each record had been stored by itself.
pub(super) async fn first_refused(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    let higher = Epoch::new(store.boot(), 2);
    let both = vec![accept(store, 1), accept(store, 2), event(1, epoch, 2), event(2, epoch, 1)];
    stored(store, both).await?;
    stored(store, vec![accept(store, 3), event(3, epoch, 1), end(3, epoch)]).await?;
    let exists = StoreError::Exists { run: id(2) };
    let between = vec![event(1, epoch, 1), accept(store, 2), event(1, epoch, 2)];
    refused(store, between, &exists).await?;
    let ended = StoreError::Ended { run: id(3) };
    let repeated = vec![start(3, epoch), event(3, epoch, 1), end(3, epoch)];
    refused(store, repeated, &ended).await?;
    let twice = vec![event(3, epoch, 2), end(3, epoch), event(3, epoch, 3), event(3, epoch, 3)];
    refused(store, twice, &ended).await?;
    let fenced = StoreError::Fenced { run: id(1), epoch, current: higher };
    let taken_over = vec![event(1, epoch, 3), start(1, higher), event(1, epoch, 4)];
    refused(store, taken_over, &fenced).await?;
    let taken = StoreError::SeqTaken { root: id(1), seq: 2 };
    let overlap = vec![event(1, epoch, 1), event(1, epoch, 2), event(1, epoch, 3)];
    refused(store, overlap, &taken).await?;
    same("the numbers", &numbers(store, id(1), 0, 9).await?, &vec![2])?;
    same("those of the one that has ended", &numbers(store, id(3), 0, 9).await?, &vec![1])
}

pub(super) async fn in_parts(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    stored(store, vec![accept(store, 1)]).await?;
    for seq in 1..=5 {
        let payload = Payload::from("x".repeat(6 << 20));
        stored(store, vec![emitted(1, epoch, seq, payload)]).await?;
    }
    let read = store.events(id(1), 0, 5).await.map_err(|error| error.to_string())?;
    same("how many come at once", &read.len(), &2)?;
    same("the numbers", &numbers(store, id(1), 0, 5).await?, &vec![1, 2, 3, 4, 5])
}
