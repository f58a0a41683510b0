//! Statements on tables that have grown: each finds what it needs by an index.

use std::sync::Arc;

use quell_core::store::{
    Accepted, ClaimedKey, Epoch, Page, Record, Store as _, StoredHold, StoredPause,
};
use quell_core::{EventKind, Payload, RunEvent, RunFilter, RunId, RunKind, RunStatus, Work};
use quell_postgres::PostgresStore;
use quell_test_support::records::{at, end, event, state, stop};

use crate::fixture::{Place, block_on};

/// Rows of each table.
const ROWS: usize = 20_000;

#[test]
fn no_record_nor_read_has_a_table_looked_through() {
    let place = Place::shared();
    block_on(async {
        place.open().await.unwrap().close().await.unwrap();
        fill(&place);
        let looked_through = || {
            place.sql(
                "select relname, seq_scan from pg_stat_user_tables
                where schemaname = 'quell' and n_live_tup >= 10000 order by relname",
            )
        };
        let before = looked_through();
        assert_eq!(before.lines().count(), 6, "{before}");
        let store = place.open().await.unwrap();
        // After a few times a statement has one plan for all values.
        for nth in 0..12 {
            let other = place.sql(&format!("select id from run where ord = {}", 1 + 10 * nth));
            write(&store, nth, other.parse().unwrap()).await;
            read(&store, RunId::from_text(&format!("there {nth}"))).await;
        }
        // What a session has counted is told at its end.
        store.close().await.unwrap();
        assert_eq!(looked_through(), before);
    });
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
