//! Reads: pages, filters, and what others write meanwhile.

use quell_core::store::{Cursor, Omitted, Page, Pages, Record, RunRecord, Store, StoreError};
use quell_core::{Labels, Payload, RunFilter, RunKind, RunStatus, StopMode, limits};

use crate::sync::{AtomicBool, Ordering};

use super::fixture::{
    Verdict, accept, accepted, child, end, event, first_epoch, forget, id, list, readable, same,
    start, stop, stored, there,
};

pub(super) async fn stable_pages(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    for nth in 0..25 {
        stored(store, vec![accept(store, nth)]).await?;
    }
    let read = store.list(RunFilter::new(), Page::first(10)).await;
    let Pages { items, ends, .. } = read.map_err(|error| error.to_string())?;
    same("the places of the runs", &ends.len(), &items.len())?;
    for (end, nth) in ends.into_iter().zip((0..24).rev()) {
        let behind = store.list(RunFilter::new(), Page::first(1).after(end)).await;
        let behind = readable(behind.map_err(|error| error.to_string())?.items)?;
        same("what is behind a run", &behind.first().map(RunRecord::run), &Some(id(nth)))?;
    }
    let (mut page, mut seen, mut others) = (Page::first(10), Vec::new(), 100);
    loop {
        let read = store.list(RunFilter::new(), page).await.map_err(|error| error.to_string())?;
        seen.extend(readable(read.items)?.iter().map(RunRecord::run));
        let Some(next) = read.next else { break };
        // Others come, change and leave between two pages, also the one that the page ended with.
        stored(store, vec![accept(store, others), start(3, epoch)]).await?;
        let last = (0..25).find(|nth| seen.last() == Some(&id(*nth))).unwrap_or(24);
        stored(store, vec![end(last, epoch), forget(last, epoch)]).await?;
        (page, others) = (page.after(next), others + 1);
    }
    let expected: Vec<_> = (0..25).rev().map(id).collect();
    same("the runs", &seen, &expected)?;
    // Those that were accepted last leave, and others come.
    let read = store.list(RunFilter::new(), Page::first(1)).await;
    let next = read.map_err(|error| error.to_string())?.next.ok_or("there is no next page")?;
    for nth in 100..others {
        stored(store, vec![end(nth, epoch), forget(nth, epoch)]).await?;
    }
    stored(store, vec![accept(store, 200), accept(store, 201)]).await?;
    let read = store.list(RunFilter::new(), Page::first(50).after(next)).await;
    let read = readable(read.map_err(|error| error.to_string())?.items)?;
    let late = read.iter().any(|run| [id(200), id(201)].contains(&run.run()));
    same("a page behind the first has a run that came later", &late, &false)
}

pub(super) async fn many_at_once(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    stored(store, (0..4).map(|nth| accept(store, nth)).collect()).await?;
    stored(store, vec![end(2, epoch), forget(2, epoch)]).await?;
    let mut expected = Vec::new();
    for nth in [0, 1, 3] {
        expected.push((id(nth), there(store, id(nth)).await?.accepted.at));
    }
    let read = store.accepted_at([3, 9, 2, 0, 1].map(id).to_vec()).await;
    let mut read = read.map_err(|error| error.to_string())?;
    read.sort_unstable();
    expected.sort_unstable();
    same("those that are there", &read, &expected)?;
    same("of none", &store.accepted_at(Vec::new()).await, &Ok(Vec::new()))
}

pub(super) async fn filters(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    let kinds = [RunKind::Agent, RunKind::Team, RunKind::Workflow];
    for nth in 0..24 {
        let mut run = accepted(store, nth);
        run.kind = kinds[nth % 3];
        run.name = if nth % 4 == 0 { "four".into() } else { "a'\"%_".into() };
        run.owner = [None, Some("ada"), Some("bob")][nth / 2 % 3].map(Into::into);
        if nth % 5 != 0 {
            let size = if nth % 2 == 0 { "even" } else { "odd" };
            run.labels = Labels::from([("size".into(), size.into()), ("x".into(), "1".into())]);
        }
        stored(store, vec![Record::Accepted(Box::new(run))]).await?;
    }
    stored(store, vec![child(store, 24, 0)]).await?;
    for nth in 0..6 {
        stored(store, vec![start(nth, epoch)]).await?;
        stored(store, vec![stop(nth + 6, epoch, StopMode::Abort, "x")]).await?;
        stored(store, vec![end(nth + 12, epoch)]).await?;
    }
    let mut all = Vec::new();
    for nth in 0..=24 {
        all.push(there(store, id(nth)).await?);
    }
    for filter in [
        RunFilter::new(),
        RunFilter::new().roots(),
        RunFilter::new().kind(RunKind::Team),
        RunFilter::new().live(),
        RunFilter::new().status(RunStatus::Running),
        RunFilter::new().status(RunStatus::Stopping).status(RunStatus::Completed),
        RunFilter::new().status(RunStatus::Completed).live(),
        RunFilter::new().name("a'\"%_"),
        RunFilter::new().name("A'\"%_"),
        RunFilter::new().owner("ada"),
        RunFilter::new().owner(""),
        RunFilter::new().label("size", "odd"),
        RunFilter::new().label("size", "odd").label("x", "1").label("x", "2"),
        RunFilter::new().label("x", "1").owner("bob").kind(RunKind::Agent).live().roots(),
    ] {
        let meant = all.iter().rev().filter(|run| filter.matches(&run.facts()));
        let meant: Vec<_> = meant.map(RunRecord::run).collect();
        same(&format!("what {filter:?} means"), &list(store, filter).await?, &meant)?;
    }
    Ok(())
}

pub(super) async fn bounds(store: &dyn Store) -> Verdict {
    let large = limits::STORE_PAGE_BYTES_MAX * 2 / 5;
    for nth in 0..5 {
        let mut run = accepted(store, nth);
        run.input = Some(Payload::from("x".repeat(large)));
        stored(store, vec![Record::Accepted(Box::new(run))]).await?;
    }
    let read = store.list(RunFilter::new(), Page::first(5)).await;
    same("large runs of one page", &read.map(|read| read.items.len()), &Ok(2))?;
    same("all of them", &list(store, RunFilter::new()).await?.len(), &5)?;
    let small = (5..limits::STORE_PAGE_MAX + 10).map(|nth| accept(store, nth)).collect();
    stored(store, small).await?;
    let read = store.list(RunFilter::new(), Page::first(usize::MAX)).await;
    let read = read.map_err(|error| error.to_string())?;
    same("a page of any number", &read.items.len(), &limits::STORE_PAGE_MAX)?;
    let end = Page::first(1).after(Cursor::from_u64(u64::MAX));
    let behind = store.recover(end).await.map(|read| read.items.len());
    same("what is recovered behind the end", &behind, &Ok(0))?;
    let rest = store.recover(Page::first(0)).await.map(|read| read.items.len());
    same("a page of none", &rest, &Ok(1))
}

pub(super) async fn omitted(store: &dyn Store) -> Verdict {
    let large = Payload::from("x".repeat(limits::STORE_PAGE_BYTES_MAX / 5));
    let json = |text| Payload::from_json_text(text).map_err(|error| error.to_string());
    // A store need not be able to read what it keeps.
    let (little, pair) = (json(r#"[1.50, "\u00e4"]"#)?, json(r#""\u0000\ud83d""#)?);
    let given = |nr, annotations: &[&str], is_whole: bool| {
        let mut run = accepted(store, nr);
        let value = |key: &&str| match *key {
            "spelt" => little.clone(),
            "pair" => pair.clone(),
            _ => large.clone(),
        };
        run.annotations = annotations.iter().map(|key| ((*key).into(), value(key))).collect();
        run.input = is_whole.then(|| large.clone());
        Record::Accepted(run.into())
    };
    let all = [&["base", "quoted '", "spelt"][..], &["base", "pair"], &["spelt"], &[]];
    for (nr, of) in all.into_iter().enumerate() {
        stored(store, vec![given(nr, of, nr < 2)]).await?;
    }
    let listed = async |omitted| {
        let read = store.list(RunFilter::new(), Page::first(9).omitting(omitted)).await;
        let read = read.map_err(|error| error.to_string())?;
        let read = read.items.into_iter().map(|run| run.map_err(|error| error.to_string()));
        read.collect::<Result<Vec<_>, _>>()
    };
    same("runs of a page, whole", &listed(Omitted::Nothing).await?.len(), &3)?;
    let bare = listed(Omitted::Given).await?;
    let is_bare =
        |run: &RunRecord| run.accepted.input.is_none() && run.accepted.annotations.is_empty();
    same("without what they were given", &bare.iter().filter(|run| is_bare(run)).count(), &4)?;
    let names = Omitted::Named { annotations: &["base", "quoted '"], input_beside: "spelt" };
    let rest = listed(names).await?;
    let rest = rest.iter().rev().map(|run| {
        let run = &run.accepted;
        let kept = run.annotations.iter();
        let kept: Vec<_> = kept.map(|(key, value)| format!("{key} {}", value.as_json())).collect();
        (kept.join(", "), run.input.is_some())
    });
    let spelt = format!("spelt {}", little.as_json());
    let pair = format!("pair {}", pair.as_json());
    let wanted = [(spelt.clone(), false), (pair, true), (spelt, false), <_>::default()];
    same("without these", &rest.collect::<Vec<_>>(), &wanted.to_vec())
}

pub(super) async fn never_half(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    stored(store, vec![accept(store, 0)]).await?;
    let is_over = AtomicBool::new(false);
    let write = async {
        for nth in 0..100 {
            let (a, b) = (2 * nth + 1, 2 * nth + 2);
            let events = (0..5).map(|i| event(0, epoch, 5 * nth as u64 + i + 1));
            let runs = [accept(store, a), accept(store, b)];
            stored(store, events.chain(runs).collect()).await?;
        }
        is_over.store(true, Ordering::Relaxed);
        Ok::<(), String>(())
    };
    let read = async {
        while !is_over.load(Ordering::Relaxed) {
            let events = store.events(id(0), 0, 1_000).await.map_err(|error| error.to_string())?;
            same("events beyond whole batches", &(events.len() % 5), &0)?;
            let runs = store.list(RunFilter::new(), Page::first(1_000)).await;
            let runs = runs.map_err(|error| error.to_string())?.items;
            same("runs beyond whole batches", &(runs.len() % 2), &1)?;
            if runs.len() < 2 * (events.len() / 5) + 1 {
                return Err("the second half of a batch came later".into());
            }
            yielded().await;
        }
        Ok(())
    };
    let (written, read) = futures::join!(write, read);
    written.and(read)
}

/// Lets other futures of the task go on.
async fn yielded() {
    let mut has_yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

pub(super) async fn closed(store: &dyn Store) -> Verdict {
    stored(store, vec![accept(store, 1)]).await?;
    same("the first close", &store.close().await, &Ok(()))?;
    same("the second close", &store.close().await, &Ok(()))?;
    same("an append", &store.append(vec![accept(store, 2)]).await, &Err(StoreError::Closed))?;
    same("a read", &store.get(id(1)).await, &Err(StoreError::Closed))?;
    let page = Page::first(1);
    same("a list", &store.list(RunFilter::new(), page).await, &Err(StoreError::Closed))?;
    same("events", &store.events(id(1), 0, 1).await, &Err(StoreError::Closed))?;
    same("a lane", &store.checkpoints("l".into(), page).await, &Err(StoreError::Closed))?;
    same("recovery", &store.recover(page).await, &Err(StoreError::Closed))
}
