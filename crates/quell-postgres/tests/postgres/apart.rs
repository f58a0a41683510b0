//! What one append, one read or one statement does to the others.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{MaybeDone, join_all, maybe_done};
use quell_core::store::{Accepted, BoxFuture, Epoch, Page, Record, Store, StoreError};
use quell_core::{RunFilter, RunId, RunKind};
use quell_postgres::{PostgresOptions, PostgresStore};
use quell_test_support::records::{accept, at, end, epoch, event, state, stop};
use quell_test_support::{eventually, within};

use crate::fixture::{Place, block_on};

fn run(nth: usize) -> RunId {
    RunId::from_text(&format!("run {nth}"))
}

type Append<'a> = MaybeDone<BoxFuture<'a, Result<(), StoreError>>>;

/// Polls appends in their order, so that those behind the first one share a transaction, and tells
/// how many are still under way: on a busy machine some are answered by then.
async fn polled(appends: &mut [Append<'_>]) -> usize {
    std::future::poll_fn(|context| {
        let polls = appends.iter_mut().map(|append| append.poll_unpin(context));
        Poll::Ready(polls.filter(Poll::is_pending).count())
    })
    .await
}

async fn answer(mut append: Append<'_>) -> Result<(), StoreError> {
    (&mut append).await;
    Pin::new(&mut append).take_output().unwrap()
}

#[test]
fn many_appends_share_a_commit() {
    let place = Place::shared();
    block_on(async {
        let store = place.open().await.unwrap();
        let epoch = epoch(&store);
        let appends = (0..2_000).map(|nth| store.append(vec![accept(run(nth), epoch)]));
        for answer in join_all(appends).await {
            answer.unwrap();
        }
        let committed = store.committed();
        assert_eq!(committed.records, 2_000);
        assert!(committed.commits < 50, "{committed:?}");
        store.close().await.unwrap();
    });
}

#[test]
fn an_append_whose_statement_fails_takes_no_other_with_it() {
    let place = Place::shared();
    block_on(async {
        let store = place.open().await.unwrap();
        let epoch = epoch(&store);
        // No entry of an index is as long as this: the engine admits no such lane.
        let mut rng = fastrand::Rng::with_seed(7);
        let lane: String = std::iter::repeat_with(|| rng.alphanumeric()).take(20_000).collect();
        let in_a_lane = |nth| {
            let name = "a run".into();
            let mut run = Accepted::new(run(nth), RunKind::Agent, name, epoch, at());
            run.lane = Some(lane.as_str().into());
            Record::Accepted(run.into())
        };
        let appends = (0..300).map(|nth| match nth % 100 {
            50 => store.append(vec![accept(run(nth), epoch), in_a_lane(nth + 1_000)]),
            51 => store.append(vec![accept(run(0), epoch)]),
            _ => store.append(vec![accept(run(nth), epoch)]),
        });
        let mut appends: Vec<_> = appends.map(maybe_done).collect();
        polled(&mut appends).await;
        for (nth, append) in appends.into_iter().enumerate() {
            let (answer, is_there) =
                (answer(append).await, store.get(run(nth)).await.unwrap().is_some());
            match nth % 100 {
                50 => assert!(matches!(answer, Err(StoreError::Io { .. })), "{answer:?}"),
                51 => assert_eq!(answer, Err(StoreError::Exists { run: run(0) })),
                _ => assert_eq!(answer, Ok(())),
            }
            assert_eq!(is_there, ![50, 51].contains(&(nth % 100)), "run {nth}");
        }
        store.close().await.unwrap();
    });
}

#[test]
fn an_append_whose_statement_takes_too_long_takes_no_other_with_it() {
    let place = Place::shared();
    block_on(async {
        let mut options = place.options();
        options.statement_timeout = Duration::from_secs(1);
        let store = PostgresStore::open(options).await.unwrap();
        let epoch = epoch(&store);
        store.append(vec![accept(run(0), epoch)]).await.unwrap();
        let other = Held::table(&place, "checkpoint");
        let saves = || store.append(vec![state(run(0), epoch, "lane", 7)]);
        let appends = (0..20).map(|nth| match nth {
            10 => saves(),
            _ => store.append(vec![accept(run(nth + 1), epoch)]),
        });
        let mut appends: Vec<_> = appends.map(maybe_done).collect();
        polled(&mut appends).await;
        for (nth, append) in appends.into_iter().enumerate() {
            match (nth, answer(append).await) {
                (10, answer) => assert!(matches!(answer, Err(StoreError::Io { .. })), "{answer:?}"),
                (nth, answer) => assert_eq!(answer, Ok(()), "{nth}"),
            }
        }
        drop(other);
        assert_eq!(saves().await, Ok(()));
        assert_eq!(place.sql("select count(*) from run"), "20");
        store.close().await.unwrap();
    });
}

#[test]
fn appends_around_one_that_is_refused_are_stored_in_their_order() {
    let place = Place::shared();
    block_on(async {
        let store = place.open().await.unwrap();
        let epoch = epoch(&store);
        store.append(vec![accept(run(0), epoch)]).await.unwrap();
        // The attempts of a run rise: who came later and was stored before would refuse the others.
        let attempt = |nth: u32| Epoch::new(epoch.boot(), 1 + nth);
        let mut appends: Vec<_> = (1..=1_500_u32)
            .map(|nth| match nth % 100 {
                7 => store.append(vec![accept(run(0), epoch)]),
                8 => store.append(vec![event(run(0), epoch, 1), accept(run(1), epoch)]),
                _ => store.append(vec![event(run(0), attempt(nth), nth.into())]),
            })
            .map(maybe_done)
            .collect();
        polled(&mut appends).await;
        for (nth, append) in (1..).zip(appends) {
            let answer = answer(append).await;
            match nth % 100 {
                7 => assert_eq!(answer, Err(StoreError::Exists { run: run(0) })),
                8 => assert!(matches!(answer, Err(StoreError::Fenced { .. })), "{answer:?}"),
                _ => assert_eq!(answer, Ok(()), "{nth}"),
            }
        }
        assert_eq!(store.events(run(0), 0, 1_000).await.unwrap().len(), 1_000);
        assert_eq!(place.sql("select count(*) from event"), "1470");
        assert_eq!(store.get(run(1)).await, Ok(None));
        store.close().await.unwrap();
    });
}

#[test]
fn an_append_that_is_given_up_while_it_waits_for_room_is_taken_back() {
    let place = Place::shared();
    block_on(async {
        let mut options = place.options();
        options.queue_records_max = 1;
        let store = PostgresStore::open(options).await.unwrap();
        let epoch = epoch(&store);
        // As long as somebody else has the table, the first append is under way.
        let other = Held::table(&place, "run");
        let mut appends: Vec<_> =
            (0..5_000).map(|nth| maybe_done(store.append(vec![accept(run(nth), epoch)]))).collect();
        assert_eq!(polled(&mut appends).await, 5_000);
        appends.drain(..4_900);
        drop(other);
        for append in appends {
            answer(append).await.unwrap();
        }
        let stored: usize = place.sql("select count(*) from run").parse().unwrap();
        // One transaction was under way, and one append had room.
        assert!((100..=100 + 1_024 + 1).contains(&stored), "{stored}");
        store.close().await.unwrap();
    });
}

#[test]
fn what_was_given_before_the_close_is_stored_and_acknowledged() {
    let place = Place::shared();
    block_on(async {
        let store = place.open().await.unwrap();
        let epoch = epoch(&store);
        let mut appends: Vec<_> =
            (0..500).map(|nth| maybe_done(store.append(vec![accept(run(nth), epoch)]))).collect();
        polled(&mut appends).await;
        store.close().await.unwrap();
        assert_eq!(store.append(vec![event(run(0), epoch, 1)]).await, Err(StoreError::Closed));
        let again = place.open().await.unwrap();
        assert_eq!(place.sql("select count(*) from run"), "500");
        again.append(vec![accept(run(500), epoch), stop(run(500), epoch)]).await.unwrap();
        drop(again);
        // A store that is dropped stores what it was given, and lets its lock go.
        let last = loop {
            match place.open().await {
                Err(StoreError::InUse { .. }) => tokio::task::yield_now().await,
                other => break other.unwrap(),
            }
        };
        assert!(last.get(run(500)).await.unwrap().unwrap().stop.is_some());
        last.close().await.unwrap();
    });
}

#[test]
fn a_statement_has_a_time_limit_and_a_read_that_is_given_up_ends_on_the_server() {
    let place = Place::shared();
    block_on(async {
        let mut options = place.options();
        options.statement_timeout = Duration::from_secs(1);
        let store = PostgresStore::open(options).await.unwrap();
        let other = Held::table(&place, "event");
        let late = store.events(run(1), 0, 9).await;
        assert!(matches!(late, Err(StoreError::Io { .. })), "{late:?}");
        drop(other);
        store.close().await.unwrap();
        let store = PostgresStore::open(patient(&place)).await.unwrap();
        let other = Held::table(&place, "event");
        let mut reads: Vec<_> = (0..20).map(|_| store.events(run(1), 0, 9)).collect();
        std::future::poll_fn(|context| {
            for read in &mut reads {
                assert!(read.as_mut().poll(context).is_pending());
            }
            Poll::Ready(())
        })
        .await;
        let waiting = || place.sessions("query like '%from event%' and state = 'active'");
        eventually("four reads wait", || (waiting() == 4).then_some(())).await;
        drop(reads);
        eventually("none goes on", || (waiting() == 0).then_some(())).await;
        // A read of a run would look for its events.
        assert_eq!(store.claim(None, "k".into(), at()).await, Ok(None));
        drop(other);
        assert_eq!(store.events(run(1), 0, 9).await, Ok(vec![]));
        store.close().await.unwrap();
    });
}

#[test]
fn lists_leave_a_session_for_what_is_asked_by_id() {
    let place = Place::shared();
    block_on(async {
        let store = PostgresStore::open(patient(&place)).await.unwrap();
        store.append(vec![accept(run(1), epoch(&store))]).await.unwrap();
        let other = Held::table(&place, "label");
        let filter = RunFilter::new().label("a", "b");
        let mut lists: Vec<_> =
            (0..9).map(|_| store.list(filter.clone(), Page::first(1))).collect();
        std::future::poll_fn(|context| {
            for list in &mut lists {
                assert!(list.as_mut().poll(context).is_pending());
            }
            Poll::Ready(())
        })
        .await;
        assert!(within("a read by id", store.get(run(1))).await.unwrap().is_some());
        drop(other);
        for list in lists {
            assert!(list.await.unwrap().items.is_empty());
        }
        store.close().await.unwrap();
    });
}

#[test]
fn of_too_many_keys_the_oldest_leave() {
    let place = Place::shared();
    block_on(async {
        let store = place.open().await.unwrap();
        let (epoch, at) = (epoch(&store), 1_790_000_000_000_i64);
        let add = format!(
            "insert into claim select '', 'key ' || i, '\\x00', gen_random_uuid(), {at} - 70000 + i
            from generate_series(1, 65600) i"
        );
        place.sql(&add);
        let mut with_key = Accepted::new(run(1), RunKind::Agent, "a".into(), epoch, self::at());
        let (key, payload) = ("mine".into(), [7; 32]);
        with_key.key = Some(quell_core::store::ClaimedKey { key, payload });
        let leaves = Record::Forgotten { run: run(1), epoch, at: self::at() };
        let ended = end(run(1), epoch, quell_core::RunStatus::Completed);
        store.append(vec![Record::Accepted(with_key.into()), ended, leaves]).await.unwrap();
        assert_eq!(place.sql("select count(*) from claim"), "65536");
        let kept = place.sql("select key from claim where key in ('mine', 'key 65', 'key 66')");
        assert_eq!(kept, "key 66\nmine");
        store.close().await.unwrap();
    });
}

/// Options with which no statement ends by itself.
fn patient(place: &Place<'_>) -> PostgresOptions {
    let mut options = place.options();
    options.statement_timeout = Duration::from_hours(1);
    options
}

/// A table that somebody else has for himself, until this is dropped.
struct Held<'a> {
    place: &'a Place<'a>,
    session: Option<std::process::Child>,
}

impl<'a> Held<'a> {
    fn table(place: &'a Place<'a>, table: &str) -> Self {
        let sql = format!("begin; lock table quell.{table}; select pg_sleep(600)");
        let session = Some(place.server.session(&place.database, &sql));
        let held = Self { place, session };
        let has = "select count(*) from pg_locks where granted and mode = 'AccessExclusiveLock'
            and relation is not null and database =
            (select oid from pg_database where datname = current_database())";
        while held.place.sql(has) == "0" {}
        held
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.place.end_sessions("query like 'begin; lock%'");
        if let Some(mut session) = self.session.take() {
            let _ = session.wait();
        }
    }
}

#[test]
fn an_append_that_the_server_rolls_back_because_of_another_one_is_stored_all_the_same() {
    let place = Place::shared();
    block_on(async {
        let store = place.open().await.unwrap();
        let epoch = epoch(&store);
        let with_key = |nth: usize| {
            let mut with_key = Accepted::new(run(nth), RunKind::Agent, "a".into(), epoch, at());
            let (key, payload) = (format!("key {nth}").into(), [7; 32]);
            with_key.key = Some(quell_core::store::ClaimedKey { key, payload });
            Record::Accepted(with_key.into())
        };
        // As another member does that stores the same keys the other way round.
        let claim = |nth: usize| {
            format!("insert into quell.claim values ('', 'key {nth}', '', gen_random_uuid(), null)")
        };
        let first = claim(2);
        let waits = "pg_sleep(0.01) from pg_locks where not granted
            and pg_backend_pid() = any(pg_blocking_pids(pid))";
        let mut other = place.server.session(
            &place.database,
            &format!(
                "begin; {first};
                do $$ begin while not exists (select {waits}) loop end loop; end $$;
                {second}; rollback",
                second = claim(1)
            ),
        );
        let began = || place.sessions("query ~ 'pg_blocking'") == 1;
        eventually("it has the key", || began().then_some(())).await;
        let append = store.append(vec![with_key(1), with_key(2)]).await;
        assert_eq!(append, Ok(()));
        other.wait().unwrap();
        let deadlocks = "select deadlocks from pg_stat_database where datname = current_database()";
        eventually("it was a deadlock", || (place.sql(deadlocks) != "0").then_some(())).await;
        store.close().await.unwrap();
    });
}
