//! Statements on tables that have grown: each finds what it needs by an index.

use std::sync::Arc;

use quell_core::cluster::{Cluster as _, StopToCome};
use quell_core::store::{
    Accepted, ClaimedKey, Epoch, Page, Record, Store as _, StoredHold, StoredPause,
};
use quell_core::{EventKind, Payload, RunEvent, RunFilter, RunId, RunKind, RunStatus, Work};
use quell_postgres::{PostgresReader, PostgresStore};
use quell_test_support::eventually;
use quell_test_support::records::{at, end, event, state, stop};

use crate::crew::{asked_and_answered, bare, join, on_threads};
use crate::fixture::{Place, block_on};

/// Rows of each table.
const ROWS: usize = 20_000;

#[test]
fn no_record_nor_read_has_a_table_looked_through() {
    let place = Place::shared();
    block_on(async {
        made(&place).await;
        fill(&place);
        have_ended(&place).await;
        let before = looked_through(&place);
        assert_eq!(before.lines().count(), 6, "{before}");
        let store = place.open().await.unwrap();
        // After a few times a statement has one plan for all values.
        for nth in 0..12 {
            let other = place.sql(&format!("select id from run where ord = {}", 1 + 10 * nth));
            write(&store, nth, other.parse().unwrap()).await;
            read(&store, RunId::from_text(&format!("there {nth}"))).await;
        }
        store.close().await.unwrap();
        have_ended(&place).await;
        assert_eq!(looked_through(&place), before);
    });
}

#[test]
fn nothing_that_members_ask_of_each_other_has_a_table_looked_through() {
    let place = Place::shared();
    on_threads(async {
        // Who makes an index looks a table through.
        made(&place).await;
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        fill(&place);
        place.sql(&format!(
            "insert into stop (ask, run, owner, channel, request, at, answer, answered)
            select gen_random_uuid(), gen_random_uuid(), 'a', 'a channel', '', 1, 'an answer',
                (extract(epoch from now()) * 1000)::int8
            from generate_series(1, {ROWS}); analyze stop"
        ));
        let before = looked_through(&place);
        assert_eq!(before.lines().count(), 7, "{before}");
        for nth in 0..12 {
            let run = RunId::from_text(&format!("asked {nth}"));
            bare(&a, run).await.unwrap();
            asked_and_answered(&a, &b, run).await;
            assert_eq!(b.take_over().await, Ok(None));
        }
        let reader = PostgresReader::open(place.options()).await.unwrap();
        assert_eq!(reader.nodes(None, 9).await.unwrap()[0].live, 12);
        drop(reader);
        crate::crew::expire(&place, "a");
        assert!(b.take_over().await.unwrap().is_some());
        for member in [a, b] {
            member.close().await.unwrap();
        }
        have_ended(&place).await;
        assert_eq!(looked_through(&place), before);
    });
}

#[test]
fn a_tree_that_is_all_there_is_leaves_by_its_indexes() {
    let place = Place::shared();
    block_on(async {
        made(&place).await;
        place.sql(&format!(
            "insert into run (id, root, parent, epoch, kind, name, at, bytes, status, ended)
            select md5(nr::text)::uuid, case when nr > 0 then md5('0')::uuid end,
                case when nr > 0 then md5((nr / 10)::text)::uuid end,
                1, 'agent', 'a run', 1790000000000, 100, 4, 1790000000000
            from generate_series(0, {ROWS}) nr;
            insert into event select (select min(ord) from run), nr, '{{}}'
            from generate_series(1, 3 * {ROWS}) nr; analyze"
        ));
        let of_runs = "('run', 'event', 'checkpoint', 'label', 'hold', 'claim')";
        let looked_through = || {
            place.sql(&format!(
                "select sum(seq_scan) from pg_stat_user_tables where relname in {of_runs}"
            ))
        };
        let root: RunId = place.sql("select id from run where root is null").parse().unwrap();
        have_ended(&place).await;
        let (before, read_before) = (looked_through(), rows_read(&place));
        let store = place.open().await.unwrap();
        let (epoch, at) = (Epoch::new(store.boot(), 1), at());
        store.append(vec![Record::Forgotten { run: root, epoch, at }]).await.unwrap();
        store.close().await.unwrap();
        have_ended(&place).await;
        assert_eq!(looked_through(), before);
        let rows = rows_read(&place) - read_before;
        assert!(rows < 10 * ROWS, "{rows} rows");
        let is_any = "select exists (select 1 from run), exists (select 1 from event)";
        assert_eq!(place.sql(is_any), "f|f");
    });
}

#[test]
fn a_take_over_of_many_runs_looks_no_table_through_for_each_of_them() {
    let place = Place::shared();
    on_threads(async {
        made(&place).await;
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        // As the server has it where work was under way, and is no more.
        place.sql(&format!(
            "analyze hold; insert into run (id, epoch, kind, name, at, bytes, status, node)
            select gen_random_uuid(), 1, 'agent', 'a run', 1, 1, 1, 'a'
            from generate_series(1, {ROWS}); analyze run"
        ));
        let looked_through = || {
            let of_runs = "('run', 'hold', 'stop')";
            place.sql(&format!(
                "select sum(seq_scan) from pg_stat_user_tables where relname in {of_runs}"
            ))
        };
        let (before, read_before) = (looked_through(), rows_read(&place));
        crate::crew::expire(&place, "a");
        assert!(b.take_over().await.unwrap().is_some());
        for member in [a, b] {
            member.close().await.unwrap();
        }
        have_ended(&place).await;
        assert_eq!(looked_through(), before);
        let rows = rows_read(&place) - read_before;
        assert!(rows < 10 * ROWS, "{rows} rows");
        assert_eq!(place.sql("select count(*) from hold"), ROWS.to_string());
    });
}

#[test]
fn a_stop_for_a_run_to_come_costs_no_more_where_many_are_remembered() {
    /// As many as there may be, but that a few more are remembered between two counts.
    const MAX: usize = 6_400;
    let place = Place::shared();
    on_threads(async {
        let a = join(&place, "a").await;
        place.sql(&format!(
            "insert into reserved (ask, run, scope, asker, channel, request, at, until)
            select gen_random_uuid(), gen_random_uuid(), '', 'ada', '', '', 1,
                (extract(epoch from now()) * 1000)::int8 + 600000
            from generate_series(1, {MAX}); analyze reserved"
        ));
        let remember = async |nth: usize, max: usize| {
            let request = crate::crew::stop("ada").remember_for(std::time::Duration::from_mins(1));
            let run = RunId::from_text(&format!("to come {nth}"));
            let stop = StopToCome { run, scope: None, request, max, share_percent: 100 };
            assert_eq!(a.remember(stop).await, Ok(true));
        };
        for nth in 0..64 {
            remember(nth, MAX).await;
        }
        // One in ten counts: that none of 200 does happens once in a thousand million times.
        for nth in 64..264 {
            remember(nth, 640).await;
        }
        let left: usize = place.sql("select count(*) from reserved").parse().unwrap();
        assert!((640..840).contains(&left), "{left}");
        a.close().await.unwrap();
        have_ended(&place).await;
        let looked_at = "select seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_user_tables
            where relname = 'reserved'";
        let looked_at: usize = place.sql(looked_at).parse().unwrap();
        assert!(looked_at < 64 * MAX, "{looked_at} rows");
    });
}

/// Makes the tables. What their session has looked through is told by then.
async fn made(place: &Place<'_>) {
    place.open().await.unwrap().close().await.unwrap();
    have_ended(place).await;
}

/// Waits until the sessions of those that were closed have ended: what a session has counted is
/// told at its end.
pub(crate) async fn have_ended(place: &Place<'_>) {
    let sessions = || place.sessions("backend_type = 'client backend'");
    eventually("they have ended", || (sessions() == 0).then_some(())).await;
}

/// Tells how often each large table was looked through.
fn looked_through(place: &Place<'_>) -> String {
    place.sql(
        "select relname, seq_scan from pg_stat_user_tables
        where schemaname = 'quell' and n_live_tup >= 10000 order by relname",
    )
}

/// Tells how many rows and entries of indexes were read: an index may be looked through as well.
fn rows_read(place: &Place<'_>) -> usize {
    let rows = place.sql(
        "select (select sum(seq_tup_read) from pg_stat_user_tables)
            + (select sum(idx_tup_read) from pg_stat_user_indexes)",
    );
    rows.parse().unwrap()
}

/// Fills all tables that grow, with trees among them.
fn fill(place: &Place<'_>) {
    place.sql(&format!(
        "insert into run (id, root, parent, epoch, kind, name, at, bytes, status, ended, quiescent)
        select md5(nr::text)::uuid,
            case when nr % 10 > 0 then md5((nr - nr % 10)::text)::uuid end,
            case when nr % 10 > 0 then md5((nr - 1)::text)::uuid end,
            1, 'agent', 'a run', 1790000000000, 100, 4, 1790000000000, true
        from generate_series(0, {last}) nr;
        insert into event select nr, 1, '{{}}' from generate_series(0, {last}) nr;
        insert into checkpoint (lane, run, epoch, at, state)
        select 'lane ' || nr, nr, 1, 1, '1' from generate_series(0, {last}) nr;
        insert into label select nr, 'key', 'value ' || nr from generate_series(0, {last}) nr;
        insert into hold select nr, 1, 'process', 'a' from generate_series(0, {last}) nr;
        insert into claim select '', 'key ' || nr, '\\x00', md5(nr::text)::uuid, 1790000000000 - nr
        from generate_series(0, {last}) nr;
        analyze",
        last = ROWS - 1
    ));
}

/// Writes every record of a tree, and forgets it, and another one.
async fn write(store: &PostgresStore, nth: usize, other: RunId) {
    let epoch = Epoch::new(store.boot(), 1);
    let [root, child, free] =
        ["root", "child", "free"].map(|name| RunId::from_text(&format!("{name} {nth}")));
    let at = at();
    let mut of_root = Accepted::new(root, RunKind::Agent, "a".into(), epoch, at);
    of_root.key = Some(ClaimedKey { key: format!("mine {nth}").into(), payload: [7; 32] });
    of_root.labels.insert("key".into(), "mine".into());
    let below = |run| {
        let mut below = Accepted::new(run, RunKind::Step, "b".into(), epoch, at);
        (below.root, below.parent) = (root, Some(root));
        Record::Accepted(below.into())
    };
    let detached = EventKind::Detached { from: root, name: "a".into() };
    let pause = StoredPause::new(Payload::from("?"), 1, at);
    let (answer, stood) = (Payload::from("!"), std::time::Duration::ZERO);
    let hold = StoredHold::new(1, Work::Process, Arc::from("sh"));
    let records = vec![
        Record::Accepted(of_root.into()),
        Record::Annotated { run: root, epoch, annotations: [("a".into(), 1.into())].into() },
        Record::Started { run: root, epoch, at },
        event(root, epoch, 1),
        below(child),
        below(free),
        Record::Event { epoch, event: RunEvent::new(2, root, free, at, detached) },
        Record::Paused { run: root, epoch, pause: pause.into() },
        Record::Resumed { run: root, epoch, attempt: 2, answer, stood, at },
        state(root, epoch, "lane", 7),
        Record::HoldBegan { run: root, epoch, hold },
        stop(root, epoch),
        end(free, epoch, RunStatus::Completed),
        end(child, epoch, RunStatus::Completed),
        end(root, epoch, RunStatus::Cancelled),
        Record::HoldEnded { run: root, epoch, nr: 1 },
        Record::Quiesced { run: root, epoch, at },
    ];
    store.append(records).await.unwrap();
    let leaves = |run| Record::Forgotten { run, epoch, at };
    store.append(vec![leaves(root), leaves(free), leaves(other)]).await.unwrap();
    let live = store.append(vec![below(child)]).await;
    assert!(live.is_err(), "its root is gone");
}

/// Reads in every way.
async fn read(store: &PostgresStore, run: RunId) {
    let page = Page::first(9);
    assert_eq!(store.get(run).await, Ok(None));
    assert_eq!(store.events(run, 0, 9).await, Ok(vec![]));
    assert_eq!(store.checkpoints("lane 19000".into(), page).await.unwrap().items.len(), 1);
    assert!(store.recover(page).await.unwrap().items.is_empty());
    assert_eq!(store.ended(page).await.unwrap().items.len(), 9);
    for (filter, count) in [
        (RunFilter::new(), 9),
        (RunFilter::new().roots(), 9),
        (RunFilter::new().live(), 0),
        (RunFilter::new().owner("ada"), 0),
        (RunFilter::new().label("key", "value 19000"), 1),
    ] {
        let found = store.list(filter.clone(), page).await.unwrap().items.len();
        assert_eq!(found, count, "{filter:?}");
    }
}
