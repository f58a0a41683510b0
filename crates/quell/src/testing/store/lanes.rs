//! States of lanes.

use quell_core::store::{Page, Record, RunRecord, Store};
use quell_core::{Payload, RunStatus, StopMode};

use super::fixture::{
    Verdict, accept, at, first_epoch, id, readable, recovered, report, same, start, state, states,
    stop, stored,
};

pub(super) async fn newest_first(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    stored(store, vec![accept(store, 1), accept(store, 2)]).await?;
    for (nth, run) in (1..=10).zip([2, 1].into_iter().cycle()) {
        let of_other = state(2, epoch, "other", nth + 100);
        stored(store, vec![state(run, epoch, "lane", nth), of_other]).await?;
    }
    let expected: Vec<_> = (1..=10_u64).rev().map(Payload::from).collect();
    same("the states", &states(store, "lane").await?, &expected)?;
    let read = store.checkpoints("lane".into(), Page::first(1)).await;
    let read = readable(read.map_err(|error| error.to_string())?.items)?;
    let newest = read.first().map(|state| (state.run, state.epoch, state.at));
    same("the newest", &newest, &Some((id(1), epoch, at(700))))?;
    same("a lane of nobody", &states(store, "").await?, &vec![])
}

pub(super) async fn rollback(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    stored(store, vec![accept(store, 1), accept(store, 2)]).await?;
    stored(store, vec![state(1, epoch, "lane", 0)]).await?;
    for nth in 1..=50 {
        stored(store, vec![state(2, epoch, "lane", nth)]).await?;
    }
    let report = report(2, RunStatus::Cancelled, false);
    let ended = Record::Ended { run: id(2), epoch, report, rollback: true };
    let end = store.append(vec![ended]);
    let watch = async {
        let mut seen = Vec::new();
        for _ in 0..200 {
            let read = store.checkpoints("lane".into(), Page::first(1_000)).await;
            seen.push(read.map_or(0, |read| read.items.len()));
            std::thread::yield_now();
        }
        seen
    };
    let (ended, seen) = futures::join!(end, watch);
    ended.map_err(|error| error.to_string())?;
    let half: Vec<_> = seen.into_iter().filter(|count| ![1, 51].contains(count)).collect();
    same("numbers of states between all and none", &half, &vec![])?;
    same("the states", &states(store, "lane").await?, &vec![Payload::from(0)])
}

pub(super) async fn rolled_back(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    for nth in 1..=6 {
        stored(store, vec![accept(store, nth), start(nth, epoch)]).await?;
    }
    let ended = |nth, status| {
        let report = report(nth, status, false);
        Record::Ended { run: id(nth), epoch, report, rollback: status != RunStatus::Completed }
    };
    let rolls_back = |nth, mode| match stop(nth, epoch, mode, "never mind") {
        Record::StopAccepted(mut stop) => {
            stop.rollback = true;
            Record::StopAccepted(stop)
        }
        other => other,
    };
    // The second one was not rolled back, and the fourth one ended before its stop took effect.
    let stop_2 = stop(2, epoch, StopMode::Cooperative, "enough");
    stored(store, vec![rolls_back(1, StopMode::Cooperative), stop_2]).await?;
    stored(store, vec![rolls_back(3, StopMode::Abort), rolls_back(5, StopMode::Abort)]).await?;
    stored(store, vec![rolls_back(4, StopMode::AfterStep)]).await?;
    stored(store, vec![ended(1, RunStatus::Cancelled), ended(5, RunStatus::TimedOut)]).await?;
    stored(store, vec![ended(2, RunStatus::Cancelled), ended(4, RunStatus::Completed)]).await?;
    let left = async || {
        let all = recovered(store).await?;
        let rolled_back = |run: &RunRecord| (run.run(), run.is_rolled_back());
        Ok::<Vec<_>, String>(all.iter().map(rolled_back).collect())
    };
    let right = [(id(1), true), (id(3), true), (id(5), true), (id(6), false)];
    same("what is recovered", &left().await?, &right.to_vec())?;
    let forgotten = Record::Forgotten { run: id(1), epoch, at: at(900) };
    stored(store, vec![forgotten]).await?;
    same("what is recovered then", &left().await?, &right[1..].to_vec())
}
