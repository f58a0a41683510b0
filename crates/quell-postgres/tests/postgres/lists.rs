//! Lists of many runs, and of those that cannot be read.

use std::time::Duration;

use quell_core::store::{Accepted, Page, Record, RunRecord, Store};
use quell_core::{RunFilter, RunId, RunKind};
use quell_test_support::records::{accept, at, end, epoch, event, state};

use crate::fixture::{Place, block_on};

#[test]
fn a_list_that_looks_for_what_is_rare_reads_in_parts_and_finds_it() {
    let place = Place::shared();
    block_on(async {
        let store = place.open().await.unwrap();
        let id = |nth: usize| RunId::from_text(&nth.to_string());
        let rare = |run| Accepted::new(run, RunKind::Agent, "rare".into(), epoch(&store), at());
        for part in 0..25 {
            let common = (1_000 * part..1_000 * (part + 1)).map(|nth| match nth {
                0 | 14_999 | 24_999 => Record::Accepted(Box::new(rare(id(nth)))),
                _ => accept(id(nth), epoch(&store)),
            });
            store.append(common.collect()).await.unwrap();
        }
        let (mut page, mut parts) = (Page::first(9), Vec::new());
        loop {
            let part = store.list(RunFilter::new().name("rare"), page).await.unwrap();
            let runs = part.items.into_iter().map(|run| run.as_ref().map(RunRecord::run).unwrap());
            parts.push(runs.collect::<Vec<_>>());
            let Some(next) = part.next else { break };
            page = page.after(next);
        }
        // A part ends with the 10,000th run that it looks at.
        assert_eq!(parts, [vec![id(24_999)], vec![id(14_999)], vec![id(0)]]);
        store.close().await.unwrap();
    });
}

#[test]
fn what_cannot_be_read_is_named_in_its_place_and_the_rest_is_read() {
    let place = Place::shared();
    block_on(async {
        let store = place.open().await.unwrap();
        let epoch = epoch(&store);
        let id = |nth: usize| RunId::from_text(&nth.to_string());
        for nth in 0..9 {
            let saved = state(id(nth), epoch, "lane", nth as u64);
            let events = [event(id(nth), epoch, 1), event(id(nth), epoch, 2)];
            let mut batch = vec![accept(id(nth), epoch), saved];
            batch.extend(events);
            store.append(batch).await.unwrap();
        }
        for (nth, damage) in [
            (0, "kind = 'swarm'"),
            (1, "labels = 'no labels'"),
            (2, "status = 2, stop_epoch = 1, stop_mode = 9, stop_cause = '{}'"),
            (3, "status = -7"),
            (4, "at = -1"),
            (5, "key = 'k', payload = '\\x00'"),
            (6, "report = '{}', status = 4"),
        ] {
            place.sql(&format!("update run set {damage} where id = '{}'", id(nth)));
            let error = store.get(id(nth)).await.unwrap_err();
            assert!(error.to_string().contains(&id(nth).to_string()), "{damage}: {error}");
        }
        let all = store.list(RunFilter::new(), Page::first(99)).await.unwrap();
        let named = all.items.iter().map(|run| match run {
            Ok(run) => (true, Some(run.run())),
            Err(unreadable) => (false, unreadable.run),
        });
        let named: Vec<_> = named.collect();
        assert_eq!(named, (0..9).rev().map(|nth| (nth > 6, Some(id(nth)))).collect::<Vec<_>>());
        place.sql("update event set text = '{' where seq = 1");
        let events = store.events(id(7), 0, 9).await.unwrap();
        assert_eq!((events[0].as_ref().unwrap_err().seq, events[1].is_ok()), (Some(1), true));
        place.sql("update checkpoint set state = '{' where nr = 1");
        let states = store.checkpoints("lane".into(), Page::first(99)).await.unwrap().items;
        assert_eq!(states.iter().filter(|state| state.is_err()).count(), 1);
        // Such a run still ends, and leaves.
        let ended = end(id(0), epoch, quell_core::RunStatus::Failed);
        store.append(vec![ended, Record::Forgotten { run: id(0), epoch, at: at() }]).await.unwrap();
        assert_eq!(store.get(id(0)).await, Ok(None));
        store.close().await.unwrap();
    });
}

#[test]
fn bytes_are_counted_until_what_has_them_leaves() {
    let place = Place::shared();
    block_on(async {
        let store = place.open().await.unwrap();
        let epoch = epoch(&store);
        let run = RunId::from_text("run");
        for round in 0..3 {
            assert_eq!(store.bytes().await, Ok(0), "{round}");
            let stop = quell_test_support::records::stop(run, epoch);
            let save = state(run, epoch, "lane", 7);
            let batch = vec![accept(run, epoch), event(run, epoch, 1), save, stop];
            store.append(batch).await.unwrap();
            assert!(store.append(vec![accept(run, epoch)]).await.is_err());
            assert!(store.bytes().await.unwrap() > 400);
            let leaves = Record::Forgotten { run, epoch, at: at() };
            let ended = end(run, epoch, quell_core::RunStatus::Cancelled);
            store.append(vec![ended, leaves]).await.unwrap();
        }
        assert_eq!(store.bytes().await, Ok(0));
        store.close().await.unwrap();
    });
}

#[test]
fn an_id_that_a_run_has_is_refused_and_that_run_keeps_the_labels_that_it_has() {
    let place = Place::shared();
    block_on(async {
        let store = place.open().await.unwrap();
        let run = |labels: &[(&str, &str)], later| {
            let at = at() + Duration::from_millis(later);
            let run = RunId::from_text("taken");
            let mut run = Accepted::new(run, RunKind::Agent, "a".into(), epoch(&store), at);
            run.labels.extend(labels.iter().map(|(key, value)| ((*key).into(), (*value).into())));
            Record::Accepted(Box::new(run))
        };
        store.append(vec![run(&[("a", "first")], 0)]).await.unwrap();
        let other: &[(&str, &str)] = &[("b", "second")];
        for labels in [other, &[("a", "second"), ("b", "second")]] {
            let refused = store.append(vec![run(labels, 1)]).await.unwrap_err();
            assert!(refused.is_refusal(), "{labels:?}: {refused}");
            let kept = place.sql("select string_agg(key || '=' || value, ' ') from label");
            assert_eq!(kept, "a=first", "{labels:?}");
        }
        store.close().await.unwrap();
    });
}
