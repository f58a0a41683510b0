//! Pauses, and the answers to them.

use std::time::Duration;

use quell_core::store::{Epoch, Record, RunRecord, Store, StoreError, StoredPause, StoredSoFar};
use quell_core::{Payload, RunFilter, RunStatus, StopMode, Usage};

use super::fixture::{
    Verdict, accept, at, end, first_epoch, id, list, pause, recovered, refused, resume, same,
    start, stop, stored, there,
};

pub(super) async fn read_back(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    for (nth, large) in [(1, 0), (2, 1 << 20)] {
        let request = Payload::from(format!("may I? {}", "x".repeat(large)));
        let mut pause = StoredPause::new(request, 3, at(650));
        (pause.asked_by, pause.expires_at) = (Some(id(7)), Some(at(9_000)));
        (pause.timeout, pause.timeout_stands) = (Some(Duration::from_millis(4_500)), true);
        pause.so_far = so_far(large, 7);
        let paused = Record::Paused { run: id(nth), epoch, pause: Box::new(pause.clone()) };
        stored(store, vec![accept(store, nth), start(nth, epoch), paused]).await?;
        let read = there(store, id(nth)).await?;
        same("its status", &read.status, &RunStatus::Paused)?;
        same("its attempt", &read.attempt, &3)?;
        same("the pause", &read.paused, &Some(pause))?;
        same("its first start", &read.started_at, &Some(at(500)))?;
        let (row, shows) = (read.row(), so_far(large, 7));
        same("its partial output", &row.partial, &shows.partial)?;
        same("its summary", &row.summary, &shows.summary)?;
        same("what it has used", &row.usage, &shows.used)?;
    }
    stored(store, vec![accept(store, 3), start(3, epoch), pause(3, epoch, "?")]).await?;
    let bare = there(store, id(3)).await?.paused;
    same("a pause by a client", &bare, &Some(StoredPause::new("?".into(), 1, at(650))))
}

/// Makes what a run has to show, with texts that are so large, and so much used.
fn so_far(large: usize, used: u64) -> StoredSoFar {
    let said = |what: &str| Some(Payload::from(format!("{what} {}", "y".repeat(large))));
    let used = Usage { input_tokens: used, output_tokens: 1, cost_micros: u64::MAX };
    StoredSoFar { partial: said("half"), summary: said("so far"), used }
}

pub(super) async fn showing(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    let shows = |nth, so_far: StoredSoFar| {
        let mut pause = StoredPause::new("?".into(), 1, at(650));
        pause.so_far = so_far;
        Record::Paused { run: id(nth), epoch, pause: Box::new(pause) }
    };
    for (nth, large) in [(1, 1 << 20), (2, 0)] {
        stored(store, vec![accept(store, nth), start(nth, epoch)]).await?;
        stored(store, vec![shows(nth, so_far(large, 7))]).await?;
        for later in [resume(nth, epoch, 2, "yes"), start(nth, epoch)] {
            stored(store, vec![later]).await?;
            let read = there(store, id(nth)).await?;
            same("whether it is paused", &read.paused.is_some(), &false)?;
            same("what it shows when it goes on", &read.so_far, &so_far(large, 7))?;
            let row = read.row();
            same("what its row says that it has used", &row.usage, &so_far(large, 7).used)?;
        }
        // The next pause says all of it anew, larger or smaller.
        stored(store, vec![shows(nth, so_far((1 << 20) - large, 9))]).await?;
        let read = there(store, id(nth)).await?;
        same("what it shows", read.so_far(), &so_far((1 << 20) - large, 9))?;
        stored(store, vec![resume(nth, epoch, 3, "yes"), pause(nth, epoch, "?")]).await?;
        let read = there(store, id(nth)).await?;
        same("what it shows that has nothing any more", read.so_far(), &StoredSoFar::default())?;
        stored(store, vec![shows(nth, so_far(large, 11)), end(nth, epoch)]).await?;
        let read = there(store, id(nth)).await?;
        same("what the record of an end has besides", &read.so_far, &StoredSoFar::default())?;
    }
    Ok(())
}

pub(super) async fn answered(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    let answer = "x".repeat(1 << 20);
    let run = vec![accept(store, 1), start(1, epoch), pause(1, epoch, "?")];
    stored(store, run).await?;
    stored(store, vec![resume(1, epoch, 2, &answer)]).await?;
    let facts = |run: &RunRecord| (run.status, run.attempt, run.paused.is_some(), run.stood);
    let stood = Duration::from_millis(7);
    let read = there(store, id(1)).await?;
    same("the run", &facts(&read), &(RunStatus::Queued, 2, false, stood))?;
    same("the answer", &read.answer, &Some(answer.into()))?;
    stored(store, vec![start(1, epoch)]).await?;
    let read = there(store, id(1)).await?;
    same("the run when it goes on", &facts(&read), &(RunStatus::Running, 2, false, stood))?;
    same("its first start", &read.started_at, &Some(at(500)))?;
    same("whether it has its answer", &read.answer.is_some(), &true)?;
    stored(store, vec![pause(1, epoch, "and now?")]).await?;
    let read = there(store, id(1)).await?;
    same("the run in its next pause", &facts(&read), &(RunStatus::Paused, 2, true, stood))?;
    same("the former answer", &read.answer, &None)?;
    stored(store, vec![resume(1, epoch, 3, "yes")]).await?;
    same("the next answer", &there(store, id(1)).await?.answer, &Some("yes".into()))?;
    stored(store, vec![end(1, epoch)]).await?;
    let read = there(store, id(1)).await?;
    let (asked, answer) = (read.paused, read.answer);
    same("request and answer behind its end", &(asked, answer), &(None, Some("yes".into())))?;
    for large in [false, true] {
        let nth = 2 + usize::from(large);
        let answer = if large { "x".repeat(1 << 20) } else { "no".into() };
        let run = vec![accept(store, nth), start(nth, epoch), pause(nth, epoch, "?")];
        stored(store, run).await?;
        stored(store, vec![resume(nth, epoch, 2, &answer), end(nth, epoch)]).await?;
        let read = there(store, id(nth)).await?;
        same("an answer behind the end", &read.answer, &Some(answer.into()))?;
    }
    Ok(())
}

pub(super) async fn live(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    for nth in 1..=4 {
        stored(store, vec![accept(store, nth), start(nth, epoch)]).await?;
    }
    stored(store, (1..=3).map(|nth| pause(nth, epoch, "?")).collect()).await?;
    stored(store, vec![resume(2, epoch, 2, "yes"), end(3, epoch)]).await?;
    let paused = RunFilter::new().status(RunStatus::Paused);
    same("those that are paused", &list(store, paused).await?, &vec![id(1)])?;
    let live = list(store, RunFilter::new().live()).await?;
    same("those that are live", &live, &[4, 2, 1].map(id).to_vec())?;
    let left: Vec<_> = recovered(store).await?.iter().map(RunRecord::run).collect();
    same("what is recovered", &left, &[1, 2, 4].map(id).to_vec())
}

pub(super) async fn stopped(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    let halt = |nth| stop(nth, epoch, StopMode::Cooperative, "enough");
    for (nth, rest) in [
        // A stop may overtake the pause, and an answer.
        (1, vec![halt(1), pause(1, epoch, "?")]),
        (2, vec![pause(2, epoch, "?"), halt(2)]),
        (3, vec![pause(3, epoch, "?"), halt(3), resume(3, epoch, 2, "yes")]),
    ] {
        stored(store, vec![accept(store, nth), start(nth, epoch)]).await?;
        for record in rest {
            stored(store, vec![record]).await?;
        }
        let read = there(store, id(nth)).await?;
        same("its status", &read.status, &RunStatus::Stopping)?;
        same("whether its stop is there", &read.stop.is_some(), &true)?;
    }
    Ok(())
}

pub(super) async fn taken_over(store: &dyn Store) -> Verdict {
    let (first, next) = (first_epoch(store), Epoch::new(store.boot() + 1, 1));
    for (nth, taking) in [resume(0, next, 2, "yes"), pause(1, next, "?")].into_iter().enumerate() {
        let before = vec![accept(store, nth), start(nth, first), pause(nth, first, "?"), taking];
        stored(store, before).await?;
        let fenced = StoreError::Fenced { run: id(nth), epoch: first, current: next };
        refused(store, vec![resume(nth, first, 2, "late")], &fenced).await?;
    }
    same("the answer", &there(store, id(0)).await?.answer, &Some("yes".into()))
}
