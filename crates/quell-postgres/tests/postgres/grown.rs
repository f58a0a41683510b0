//! What a member asks all the time, on tables that have grown: it reads what it is about, and no
//! index from one end to the other, whatever the server takes the tables for.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell_core::cluster::{Cluster as _, SlotsAsked, StopToCome, TurnAsk};
use quell_core::store::{Accepted, Epoch, LaneRule, Page, Record, Store as _};
use quell_core::{RunFilter, RunId, RunKind, RunStatus};
use quell_postgres::PostgresNode;
use quell_test_support::records::{at, end};
use tokio::time::timeout;

use crate::crew::{asked_and_answered, bare, expire, join, on_threads, stop};
use crate::fixture::Place;
use crate::plans::have_ended;

/// Rows of each table.
const ROWS: usize = 20_000;

/// How often all of it is asked.
const ROUNDS: usize = 6;

/// What the server knows of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Nothing.
    Never,
    /// How they are.
    Now,
    /// How they were before there was anything in them.
    Empty,
}

#[test]
fn what_is_asked_all_the_time_reads_no_more_where_there_is_much() {
    for seen in [Seen::Never, Seen::Now, Seen::Empty] {
        let place = Place::shared();
        on_threads(async {
            place.open().await.unwrap().close().await.unwrap();
            if seen == Seen::Empty {
                place.server.sql(&place.database, "vacuum analyze");
            }
            fill(&place);
            if seen == Seen::Now {
                place.sql("analyze");
            }
            have_ended(&place).await;
            let before = entries_read(&place);
            let nodes = [join(&place, "a").await, join(&place, "b").await];
            for nth in 0..ROUNDS {
                members(&nodes[0], &nodes[1], nth).await;
                lanes_and_limits(&nodes[0], &nodes[1], nth).await;
                reads(&nodes[0], &nodes[1], nth).await;
            }
            expire(&place, "b");
            assert!(nodes[0].take_over().await.unwrap().is_some());
            for node in nodes {
                let _ = node.close().await;
            }
            have_ended(&place).await;
            let entries = entries_read(&place) - before;
            assert!(entries < ROWS, "{seen:?}: {entries} entries");
        });
    }
}

/// Tells how many entries of indexes were read, and how much work that is under way was looked
/// through.
fn entries_read(place: &Place<'_>) -> usize {
    let read = "select (select sum(idx_tup_read) from pg_stat_user_indexes)
        + (select seq_tup_read from pg_stat_user_tables where relname = 'hold')";
    place.sql(read).parse().unwrap()
}

/// Fills all tables that grow: trees that have ended, live runs of a member with work under way and
/// lanes, lanes and states of one lane that was used long ago, and what else members keep.
fn fill(place: &Place<'_>) {
    place.sql(&format!(
        "insert into node values ('far', 1, 1, null, 'a channel', now() + interval '1 h');
        insert into run (id, root, parent, epoch, kind, name, at, bytes, status, ended, quiescent,
            node, owner, lane, turn)
        select md5(nr::text)::uuid,
            case when nr % 10 > 0 then md5((nr - nr % 10)::text)::uuid end,
            case when nr % 10 > 0 then md5((nr - 1)::text)::uuid end,
            1, 'agent', 'a run', 1790000000000, 100, 4, 1790000000000, true,
            case when nr % 2 = 0 then 'a' else 'b' end,
            'ada', case when nr % 10 = 0 then 'of old' end, case when nr % 10 = 0 then 1 end
        from generate_series(0, {last}) nr;
        insert into run (id, epoch, kind, name, at, bytes, status, node, lane, turn, owner)
        select md5('live ' || nr)::uuid, 1, 'agent', 'a run', 1790000000000, 100, 1, 'far',
            'lane ' || nr, 1, 'bob'
        from generate_series(0, {last}) nr;
        insert into event select ord, nr, '{{}}' from run, generate_series(1, 2) nr;
        insert into checkpoint (lane, run, epoch, at, state)
        select case when ord < {ROWS} then 'of old' else 'lane ' || ord end, ord, 1, 1, '1'
        from run;
        insert into label select ord, 'key', 'of old' from run where ord < {ROWS};
        insert into label select ord, 'key', 'value ' || ord from run where ord > {ROWS};
        insert into hold (run, nr, what, name)
        select ord, 1, 'process', 'sh' from run where status < 3;
        insert into hold (run, nr, what, name, member, boot)
        select ord, 2, 'node', 'z', 'z', 1 from run where status < 3;
        insert into stop (ask, run, owner, channel, request, at, answer, answered)
        select gen_random_uuid(), gen_random_uuid(), 'a', 'a channel', '', 1, 'an answer',
            (extract(epoch from now()) * 1000)::int8
        from generate_series(1, {ROWS});
        insert into quota_scope values ('each owner', 5, 1, 'far');
        insert into quota select 'each owner ' || nr, 'each owner', 1
        from generate_series(1, {ROWS}) nr;
        insert into quota_part select name, 'far', 1, 0, 1, 1 from quota;
        insert into reserved (ask, run, scope, asker, channel, request, at, until)
        select gen_random_uuid(), gen_random_uuid(), '', 'ada', '', '', 1,
            (extract(epoch from now()) * 1000)::int8 + 600000
        from generate_series(1, {ROWS})",
        last = ROWS - 1
    ));
}

/// Stops and acts, leases, and stops for runs to come.
async fn members(a: &Arc<PostgresNode>, b: &Arc<PostgresNode>, nth: usize) {
    let run = RunId::from_text(&format!("asked {nth}"));
    bare(a, run).await.unwrap();
    asked_and_answered(a, b, run).await;
    a.renew().await.unwrap();
    let request = stop("ada").remember_for(Duration::from_mins(1));
    let run = RunId::from_text(&format!("to come {nth}"));
    // With a bound that none of these counts up to.
    let to_come = StopToCome { run, scope: None, request, max: 1 << 40, share_percent: 100 };
    assert_eq!(a.remember(to_come).await, Ok(true));
    bare(b, run).await.unwrap();
    // The look of each second.
    let none = timeout(Duration::from_millis(50), a.forgotten()).await;
    assert!(none.is_err(), "nobody was forgotten: {none:?}");
}

/// Turns, what is given up and taken over, and slots.
async fn lanes_and_limits(a: &Arc<PostgresNode>, b: &Arc<PostgresNode>, nth: usize) {
    let lane = if nth.is_multiple_of(2) { "of old".to_owned() } else { format!("new {nth}") };
    let first = in_lane(a, &format!("first {nth}"), &lane).await;
    let next = in_lane(b, &format!("next {nth}"), &lane).await;
    let asks = || vec![TurnAsk { lane: lane.as_str().into(), next: Some(next) }];
    assert_eq!(b.turns(asks()).await.unwrap(), vec![]);
    let epoch = Epoch::new(a.boot(), 1);
    a.append(vec![end(first, epoch, RunStatus::Cancelled)]).await.unwrap();
    assert_eq!(b.turns(asks()).await.unwrap(), vec![next]);
    b.release(vec![next]).await.unwrap();
    let taken = a.take_over().await.unwrap().unwrap();
    a.append(vec![end(next, Epoch::new(taken.boot, 1), RunStatus::Cancelled)]).await.unwrap();
    let asked = SlotsAsked::new("each owner 7", "each owner", Some(5));
    a.slots(vec![asked.clone().want(1, 0)]).await.unwrap();
    a.slots(vec![asked.give(1)]).await.unwrap();
}

async fn in_lane(node: &PostgresNode, text: &str, lane: &str) -> RunId {
    let (run, epoch, at) = (RunId::from_text(text), Epoch::new(node.boot(), 1), SystemTime::now());
    let mut accepted = Accepted::new(run, RunKind::Agent, "bare".into(), epoch, at);
    (accepted.lane, accepted.lane_rule) = (Some(lane.into()), Some(LaneRule::Wait));
    node.append(vec![Record::Accepted(accepted.into())]).await.map(|()| run).unwrap()
}

/// Pages of all that is listed, and a tree that leaves.
async fn reads(a: &Arc<PostgresNode>, b: &Arc<PostgresNode>, nth: usize) {
    let page = Page::first(9);
    let mut trees = a.ended(page).await.unwrap().items;
    assert_eq!(trees.len(), 9);
    let tree = trees.remove(nth).unwrap();
    let leaves = Record::Forgotten { run: tree.root, epoch: Epoch::new(a.boot(), 1), at: at() };
    a.append(vec![leaves]).await.unwrap();
    for node in [a, b] {
        assert!(!node.recover(page).await.unwrap().items.is_empty());
    }
    for (lane, count) in [("of old", 9), ("none", 0), ("lane 30000", 1)] {
        assert_eq!(b.checkpoints(lane.into(), page).await.unwrap().items.len(), count, "{lane}");
    }
    for (filter, count) in [
        (RunFilter::new().owner("eve"), 0),
        (RunFilter::new().label("key", "value 30000"), 1),
        (RunFilter::new().label("key", "none"), 0),
        // Of many that are meant no more are read than the page has.
        (RunFilter::new(), 9),
        (RunFilter::new().owner("ada"), 9),
        (RunFilter::new().label("key", "of old"), 9),
        (RunFilter::new().status(RunStatus::Running).status(RunStatus::Stopping), 9),
    ] {
        let found = b.list(filter.clone(), page).await.unwrap().items.len();
        assert_eq!(found, count, "{filter:?}");
    }
    assert_eq!(b.events(tree.root, 0, 9).await.unwrap().len(), 0);
}
