//! What may leave a store, and how much there is.

use quell_core::store::{Page, Record, Store};
use quell_core::{Payload, RunStatus};

use super::fixture::{
    Verdict, accept, accepted, at, child, emitted, end, event, first_epoch, forget, id, pause,
    readable, report, same, start, stored,
};

/// Reads the roots of the trees that may leave, page by page, with what they have.
async fn ended(store: &dyn Store) -> Result<Vec<(usize, u64)>, String> {
    let (mut page, mut all) = (Page::first(2), Vec::new());
    loop {
        let read = store.ended(page).await.map_err(|error| error.to_string())?;
        for tree in readable(read.items)? {
            let nth = (0..100).find(|nth| id(*nth) == tree.root).ok_or("an unknown root")?;
            let times = (tree.epoch, tree.accepted_at, tree.quiesced_at);
            let expected = (first_epoch(store), at(nth as u64), at(800));
            same(&format!("the epoch and the times of run {nth}"), &times, &expected)?;
            all.push((nth, tree.rows));
        }
        let Some(next) = read.next else { return Ok(all) };
        page = page.after(next);
    }
}

pub(super) async fn first_first(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    for nth in 0..5 {
        stored(store, vec![accept(store, nth), event(nth, epoch, 1)]).await?;
    }
    stored(store, vec![child(store, 10, 3), end(10, epoch), event(3, epoch, 2)]).await?;
    for nth in [4, 0, 3, 1] {
        stored(store, vec![end(nth, epoch)]).await?;
    }
    let expected = vec![(0, 2), (1, 2), (3, 4), (4, 2)];
    same("what may leave", &ended(store).await?, &expected)?;
    stored(store, vec![forget(1, epoch)]).await?;
    let expected = vec![(0, 2), (3, 4), (4, 2)];
    same("what may leave after one has left", &ended(store).await?, &expected)
}

pub(super) async fn needed_stays(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    let in_lane = |nth: usize, lane: &str| {
        let mut accepted = accepted(store, nth);
        accepted.lane = Some(lane.into());
        Record::Accepted(Box::new(accepted))
    };
    // Queued, running, paused, and with something live below.
    stored(store, vec![accept(store, 0)]).await?;
    stored(store, vec![accept(store, 1), start(1, epoch)]).await?;
    stored(store, vec![accept(store, 2), start(2, epoch), pause(2, epoch, "more?")]).await?;
    stored(store, vec![accept(store, 3), child(store, 10, 3), end(3, epoch)]).await?;
    // Not quiescent: it may leave, and says so.
    let (left, rollback) = (report(4, RunStatus::Cancelled, false), false);
    let left = Record::Ended { run: id(4), epoch, report: left, rollback };
    stored(store, vec![accept(store, 4), left]).await?;
    // In a lane that a live run has, and in one that none has.
    for (nth, lane) in [(5, "busy"), (6, "idle")] {
        stored(store, vec![in_lane(nth, lane), end(nth, epoch)]).await?;
    }
    stored(store, vec![in_lane(7, "busy")]).await?;
    same("what may leave", &ended(store).await?, &vec![(4, 1), (6, 1)])?;
    let in_doubt = async || {
        let read = store.ended(Page::first(9)).await.map_err(|error| error.to_string())?;
        let trees = readable(read.items)?;
        Ok::<_, String>(trees.iter().filter(|tree| !tree.quiescent).count())
    };
    same("how many of them are not quiescent", &in_doubt().await?, &1)?;
    let quiesced = Record::Quiesced { run: id(4), epoch, at: at(800) };
    stored(store, vec![end(10, epoch), quiesced, end(7, epoch)]).await?;
    let expected = vec![(3, 2), (4, 1), (5, 1), (6, 1), (7, 1)];
    same("what may leave later", &ended(store).await?, &expected)?;
    same("how many of those are not quiescent", &in_doubt().await?, &0)
}

pub(super) async fn bytes_fall(store: &dyn Store) -> Verdict {
    let (epoch, large) = (first_epoch(store), 200 << 10);
    let bytes = async || store.bytes().await.map_err(|error| error.to_string());
    for nth in 0..4 {
        let event = emitted(nth, epoch, 1, Payload::from("x".repeat(large)));
        stored(store, vec![accept(store, nth), event, end(nth, epoch)]).await?;
    }
    let all = bytes().await?;
    same("whether everything counts", &(all >= 4 * large as u64), &true)?;
    stored(store, vec![forget(0, epoch), forget(1, epoch)]).await?;
    let rest = bytes().await?;
    same("whether what has left counts no longer", &(rest <= all - 2 * large as u64), &true)
}
