//! I36: runs that are taken back while others read their lane, page by page, and sessions that end
//! in the midst of that: what is read is all of a run or nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use quell_core::store::{Checkpoint, Epoch, Page, Record, Store, StoreError};
use quell_core::{RunId, RunStatus};
use quell_postgres::{PostgresNode, PostgresReader};
use quell_test_support::records::{accept, at, end, event, state, stop};
use quell_test_support::{soon, within};

use crate::crew::{join, on_threads, read};
use crate::fixture::Place;

const LANE: &str = "thread-1";

/// States that a run has saved in the lane.
const STATES: usize = 9;

/// A page is smaller than what a run has saved, so that a read has several of them.
const PAGE: usize = 4;

/// Runs that are taken back one after the other.
const RUNS: usize = 40;

/// A run below which nothing is, with all that it leaves in a store.
async fn saves(store: &impl Store, run: RunId, epoch: Epoch) -> Result<(), StoreError> {
    let mut all = vec![accept(run, epoch), Record::Started { run, epoch, at: at() }];
    all.extend((1..=STATES).map(|nth| state(run, epoch, LANE, nth as u64)));
    all.extend((1..=STATES).map(|seq| event(run, epoch, seq as u64)));
    store.append(all).await
}

/// What the lane has from the run before, which nobody takes back.
async fn kept(store: &impl Store, epoch: Epoch) -> RunId {
    let run = RunId::from_text("kept");
    saves(store, run, epoch).await.unwrap();
    run
}

/// One read of a page: of how many states of which run the page is made, the newest first.
#[derive(Debug)]
struct Seen {
    /// Those of runs that may be taken back.
    of: Vec<(RunId, usize)>,
    kept: usize,
}

/// Reads the lane page by page, and fails if a page shows a part of a run: from where a page begins
/// it has all that follows of a run, up to its own end, or nothing of it.
async fn read_pages(reader: &PostgresReader, node: &PostgresNode, kept: RunId) -> usize {
    let (mut page, mut begun, mut pages) = (Page::first(PAGE), None, 0);
    loop {
        let before = begun.map(|(run, _)| run);
        let read = node.checkpoints(LANE.into(), page).await.unwrap();
        let states: Vec<Checkpoint> = read.items.into_iter().map(Result::unwrap).collect();
        let seen = seen(&states, kept);
        for (nth, (run, count)) in seen.of.iter().enumerate() {
            // What a page before had of the run that this one goes on with.
            let had = begun.filter(|(of, _)| of == run).map_or(0, |(_, had)| had);
            let is_whole = had + count == STATES;
            let is_cut = nth + 1 == seen.of.len() && seen.kept == 0 && states.len() == PAGE;
            assert!(is_whole || is_cut && had + count < STATES, "{seen:?}, of {before:?}");
            begun = (!is_whole).then_some((*run, had + count));
        }
        for (run, _) in &seen.of {
            let record = reader.get(*run).await.unwrap();
            let again = record.is_some_and(|record| record.status.is_terminal());
            if again {
                // Once a run is known to have ended, the lane has nothing of it.
                let now = node.checkpoints(LANE.into(), Page::first(99)).await.unwrap().items;
                assert!(now.into_iter().all(|state| state.unwrap().run != *run), "{run} is back");
            }
        }
        pages += 1;
        let Some(next) = read.next else { break };
        page = Page::first(PAGE).after(next);
    }
    pages
}

fn seen(states: &[Checkpoint], kept: RunId) -> Seen {
    let mut seen = Seen { of: Vec::new(), kept: 0 };
    for state in states {
        if state.run == kept {
            seen.kept += 1;
        } else {
            assert_eq!(seen.kept, 0, "those of the run before are the oldest");
            match seen.of.last_mut() {
                Some((run, count)) if *run == state.run => *count += 1,
                _ => seen.of.push((state.run, 1)),
            }
        }
    }
    seen
}

/// Fails unless the lane reads as before a run, and nothing is left of that.
async fn assert_gone(store: &impl Store, run: RunId, kept: RunId) {
    let states = store.checkpoints(LANE.into(), Page::first(99)).await.unwrap().items;
    let of = states.into_iter().map(|state| state.unwrap().run).collect::<Vec<_>>();
    assert_eq!(of, vec![kept; STATES]);
    assert_eq!(store.events(run, 0, 99).await, Ok(vec![]));
    assert_eq!(store.get(run).await, Ok(None));
}

#[test]
fn i36_whoever_reads_page_by_page_while_runs_are_taken_back_sees_no_part_of_one() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let epoch = Epoch::new(a.boot(), 1);
        let kept = kept(&*a, epoch).await;
        let is_over = Arc::new(AtomicBool::new(false));
        let readers = (0..3).map(|_| {
            let (b, over) = (Arc::clone(&b), Arc::clone(&is_over));
            let options = place.options();
            tokio::spawn(async move {
                let reader = PostgresReader::open(options).await.unwrap();
                let mut pages = 0;
                while !over.load(Ordering::Acquire) {
                    pages += read_pages(&reader, &b, kept).await;
                }
                pages
            })
        });
        let readers: Vec<_> = readers.collect();
        for nth in 0..RUNS {
            let run = RunId::from_text(&format!("run {nth}"));
            saves(&*a, run, epoch).await.unwrap();
            a.append(vec![stop(run, epoch), end(run, epoch, RunStatus::Cancelled)]).await.unwrap();
            let record = b.get(run).await.unwrap().unwrap();
            assert_eq!(record.status, RunStatus::Cancelled);
            a.append(vec![Record::Forgotten { run, epoch, at: at() }]).await.unwrap();
            assert_gone(&*b, run, kept).await;
        }
        is_over.store(true, Ordering::Release);
        for reader in readers {
            assert!(within("it has read", reader).await.unwrap() > 0);
        }
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

/// Ends the session of the member that writes in the midst of a transaction, when it waits for a
/// row that another session has locked; and looks what others see, before the next one has the row.
async fn cut(
    place: &Place<'_>,
    lock: &str,
    work: impl Future<Output = Result<(), StoreError>>,
    looks: impl AsyncFnOnce(),
) {
    let other = format!("set search_path = quell; begin; {lock}; select pg_sleep(60)");
    let mut other = place.server.session(&place.database, &other);
    let of = |what: &str, state: &str| {
        place.sql(&format!(
            "select {what} from pg_stat_activity where datname = current_database() and {state}"
        ))
    };
    let sleeps = "wait_event = 'PgSleep'";
    soon("it has the row", || of("count(*)", sleeps) == "1").await;
    let waits = "wait_event_type = 'Lock'";
    let cuts = async {
        soon("the transaction waits", || of("count(*)", waits) == "1").await;
        let first = of("pid", waits);
        assert_eq!(of("pg_terminate_backend(pid)", &format!("pid = {first}")), "t");
        soon("the next one waits", || {
            let next = of("pid", waits);
            !next.is_empty() && next != first
        })
        .await;
        looks().await;
        assert_eq!(of("pg_terminate_backend(pid)", sleeps), "t");
        other.wait().unwrap();
    };
    let (done, ()) = futures::join!(within("an answer", work), cuts);
    assert_eq!(done, Ok(()), "another session does it");
}

#[test]
fn i36_a_session_that_ends_in_the_midst_of_taking_a_run_back_leaves_all_or_nothing() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let epoch = Epoch::new(a.boot(), 1);
        let kept = kept(&*a, epoch).await;
        let run = RunId::from_text("taken back");
        saves(&*a, run, epoch).await.unwrap();
        let of_run = format!("(select ord from run where id = '{}')", run.as_uuid());
        // When the transaction waits for the last one, those before it are deleted.
        let state = format!(
            "select 1 from checkpoint where nr = (select max(nr) from checkpoint
            where run = {of_run}) for update"
        );
        let of_lane =
            async || b.checkpoints(LANE.into(), Page::first(99)).await.unwrap().items.len();
        let events = async || b.events(run, 0, 99).await.unwrap().len();
        let stands = async || b.get(run).await.unwrap().map(|record| record.status);
        let ends = vec![stop(run, epoch), end(run, epoch, RunStatus::Cancelled)];
        let all = async || {
            let seen = (of_lane().await, events().await, stands().await);
            assert_eq!(seen, (2 * STATES, STATES, Some(RunStatus::Running)));
        };
        all().await;
        cut(&place, &state, a.append(ends), all).await;
        let ended = async || {
            let seen = (of_lane().await, events().await, stands().await);
            assert_eq!(seen, (STATES, STATES, Some(RunStatus::Cancelled)));
        };
        ended().await;
        let last =
            format!("select 1 from event where root = {of_run} and seq = {STATES} for update");
        let leaves = a.append(vec![Record::Forgotten { run, epoch, at: at() }]);
        cut(&place, &last, leaves, ended).await;
        assert_gone(&*b, run, kept).await;
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn t14_who_forgets_an_earlier_run_leaves_the_one_that_another_member_has_with_its_id() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let run = RunId::from_text("r");
        let [of_a, of_b] = [&a, &b].map(|node| Epoch::new(node.boot(), 1));
        assert!(of_a < of_b, "a has joined before");
        let ends = |epoch| vec![accept(run, epoch), end(run, epoch, RunStatus::Completed)];
        let forgotten = |epoch| vec![Record::Forgotten { run, epoch, at: SystemTime::now() }];
        b.append(ends(of_b)).await.unwrap();
        a.append(forgotten(of_b)).await.unwrap();
        a.append(ends(of_a)).await.unwrap();
        // It has had one with this id, which is kept in its memory still.
        assert_eq!(b.append(forgotten(of_b)).await, Err(StoreError::Unknown { run }));
        assert_eq!(read(&*b, run).await.epoch, of_a);
        b.append(forgotten(of_a)).await.unwrap();
        assert_eq!(b.get(run).await, Ok(None));
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}
