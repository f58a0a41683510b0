//! Who only reads: what is stored, and who has it.

use std::time::Duration;

use quell_core::cluster::Cluster as _;
use quell_core::store::{Page, RunRecord, Store, StoreError};
use quell_core::{RunFilter, RunId, RunStatus};
use quell_postgres::{NodeRecord, PostgresOptions, PostgresReader};
use quell_test_support::PostgresServer;
use quell_test_support::records::{accept, end, epoch, event};

use crate::crew::{LONG, bare, expire, join, options, stop};
use crate::fixture::{HOLDER, Place, block_on};

fn run(name: &str) -> RunId {
    RunId::from_text(name)
}

async fn reader(place: &Place<'_>) -> PostgresReader {
    PostgresReader::open(place.options()).await.unwrap()
}

async fn refused(options: PostgresOptions) -> StoreError {
    let error = PostgresReader::open(options.clone()).await.unwrap_err();
    let words = format!("{error} {error:?} {options:?}");
    assert!(!words.contains("sesame"), "the password is told: {words}");
    error
}

/// All that a reader must leave as it is: locks, tables, and boots.
fn left(place: &Place<'_>) -> [String; 3] {
    [
        place.sql(&format!("select count(*) {HOLDER}")),
        place.sql("select count(*) from pg_class where relnamespace = 'quell'::regnamespace"),
        place.sql(
            "select boot, (select count(*) from node), (select count(*) from tally) from meta",
        ),
    ]
}

#[test]
fn a_reader_sees_what_is_stored_beside_the_store_that_writes_it_and_leaves_all_as_it_is() {
    let place = Place::shared();
    block_on(async {
        let store = place.open().await.unwrap();
        let epoch = epoch(&store);
        let before = left(&place);
        let reader = reader(&place).await;
        assert_eq!(reader.get(run("a")).await, Ok(None));
        let events = [event(run("a"), epoch, 1), event(run("a"), epoch, 2)];
        store.append(vec![accept(run("a"), epoch), accept(run("b"), epoch)]).await.unwrap();
        store.append(events.into()).await.unwrap();
        store.append(vec![end(run("a"), epoch, RunStatus::Completed)]).await.unwrap();
        let (read, written) = (reader.get(run("a")).await, store.get(run("a")).await);
        assert_eq!(read, written);
        assert_eq!(read.unwrap().unwrap().status, RunStatus::Completed);
        let page = reader.list(&RunFilter::new(), Page::first(9)).await.unwrap();
        assert_eq!(page, store.list(RunFilter::new(), Page::first(9)).await.unwrap());
        let ids = page.items.iter().map(|run| run.as_ref().map(RunRecord::run).unwrap());
        assert_eq!(ids.collect::<Vec<_>>(), [run("b"), run("a")]);
        let events = reader.events(run("a"), 1, 9).await.unwrap();
        assert_eq!(events, store.events(run("a"), 1, 9).await.unwrap());
        assert_eq!(events.len(), 1);
        let mut both = [run("a"), run("b")];
        both.sort_unstable_by_key(RunId::as_uuid);
        assert_eq!(reader.ids(both[0], both[1], 9).await.unwrap(), both);
        assert_eq!(reader.ids(both[0], both[1], 1).await.unwrap(), both[..1]);
        assert_eq!(reader.ids(both[1], both[1], 9).await.unwrap(), both[1..]);
        assert_eq!(reader.ids(both[0], both[1], 0).await, Ok(Vec::new()));
        drop(reader);
        assert_eq!(left(&place), before);
        store.close().await.unwrap();
        // Nor does it need anybody who writes.
        let reader = self::reader(&place).await;
        assert!(reader.get(run("b")).await.unwrap().is_some());
        assert_eq!(place.sql(&format!("select count(*) {HOLDER}")), "0");
    });
}

#[test]
fn what_is_no_store_is_refused_with_what_to_do_and_nothing_is_made() {
    let place = Place::shared();
    let schemas = || place.server.sql(&place.database, "select count(*) from pg_namespace");
    block_on(async {
        let before = schemas();
        let error = refused(place.options()).await;
        let says = format!("{} has no schema \"quell\"; who opens it", place.database);
        assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
        assert!(error.to_string().contains(&says), "{error}");
        assert_eq!(schemas(), before);
        place.server.sql(&place.database, "create schema quell");
        let error = refused(place.options()).await.to_string();
        assert!(error.contains("has nothing in the schema \"quell\""), "{error}");
        place.sql("create table other (id int)");
        let error = refused(place.options()).await;
        assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
        place.sql("drop table other");
        place.open().await.unwrap().close().await.unwrap();
        place.sql("update meta set schema = 99");
        let error = refused(place.options()).await;
        assert!(matches!(error, StoreError::NewerSchema { found: 99, .. }), "{error}");
        assert_eq!(place.sql("select schema from meta"), "99");
        let folder = place.server.folder().display();
        let wrong = format!("host={folder} user=ada password='wrong sesame' dbname=locked");
        let error = refused(PostgresOptions::new(wrong)).await;
        assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    });
}

#[test]
fn a_role_that_may_only_read_reads_and_one_that_may_not_is_told_what_it_needs() {
    let place = Place::shared();
    block_on(async {
        let a = join(&place, "a").await;
        bare(&a, run("a")).await.unwrap();
        let role = format!("eve_{}", place.database);
        place.sql(&format!("create role {role} login"));
        let mut options = place.options();
        options.url = options.url.replace("user=quell", &format!("user={role}"));
        let needs = "grant it usage on the schema, and select on its tables";
        let error = refused(options.clone()).await;
        assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
        assert!(error.to_string().contains(needs), "{error}");
        place
            .sql(&format!("grant usage on schema quell to {role}; grant select on meta to {role}"));
        let reader = PostgresReader::open(options).await.unwrap();
        let error = reader.get(run("a")).await.unwrap_err().to_string();
        assert!(error.contains(needs), "{error}");
        place.sql(&format!("grant select on all tables in schema quell to {role}"));
        assert!(reader.get(run("a")).await.unwrap().is_some());
        let nodes = reader.nodes(None, 9).await.unwrap();
        assert_eq!((nodes[0].live, nodes[0].is_connected), (1, Some(true)));
        assert_eq!(reader.survey().await.unwrap().live, 1);
        a.close().await.unwrap();
    });
}

#[test]
fn a_read_that_takes_too_long_is_ended_and_the_next_one_is_answered() {
    let place = Place::shared();
    block_on(async {
        place.open().await.unwrap().close().await.unwrap();
        let mut options = place.options();
        options.statement_timeout = Duration::from_millis(100);
        let reader = PostgresReader::open(options).await.unwrap();
        let sql = "begin; lock table quell.run; select pg_sleep(600)";
        let mut holds = place.server.session(&place.database, sql);
        let waits = "select count(*) from pg_locks where relation = 'quell.run'::regclass
            and mode = 'AccessExclusiveLock' and granted";
        quell_test_support::soon("the table is locked", || place.sql(waits) == "1").await;
        let error = reader.get(run("a")).await.unwrap_err().to_string();
        assert!(error.contains("statement timeout"), "{error}");
        place.end_sessions("query like '%pg_sleep(600)%'");
        holds.wait().unwrap();
        quell_test_support::soon("the table is free", || place.sql(waits) == "0").await;
        assert_eq!(reader.get(run("a")).await, Ok(None));
    });
}

fn named<'a>(nodes: &'a [NodeRecord], name: &str) -> &'a NodeRecord {
    nodes.iter().find(|node| node.name.as_deref() == Some(name)).unwrap()
}

#[test]
fn nodes_are_told_with_their_leases_their_processes_and_what_they_have() {
    let place = Place::shared();
    block_on(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        bare(&a, run("of a")).await.unwrap();
        let of_a = epoch(&*a);
        a.append(vec![accept(run("queued"), of_a), accept(run("ended"), of_a)]).await.unwrap();
        a.append(vec![end(run("ended"), of_a, RunStatus::Cancelled)]).await.unwrap();
        let reader = reader(&place).await;
        let nodes = reader.nodes(None, 9).await.unwrap();
        assert_eq!(nodes.len(), 2);
        let (of_a, of_b) = (named(&nodes, "a"), named(&nodes, "b"));
        assert_eq!((of_a.live, of_a.queued, of_a.asked), (2, 1, 0));
        assert_eq!((of_b.live, of_b.queued, of_b.asked), (0, 0, 0));
        assert_eq!((of_a.boot, of_b.boot), (a.boot().into(), b.boot().into()));
        for node in [of_a, of_b] {
            assert_eq!((node.is_connected, node.lease_over_for()), (Some(true), None));
            let left = node.lease_left().unwrap();
            assert!(left > Duration::ZERO && left <= LONG, "{left:?}");
            let process = node.process.as_deref().unwrap();
            assert!(process.starts_with(&format!("quell, process {}", std::process::id())));
        }
        // A page is as long as it may be, and the next one begins behind a name.
        let page = reader.nodes(None, 1).await.unwrap();
        assert_eq!(page.iter().map(|it| it.name.as_deref()).collect::<Vec<_>>(), [Some("a")]);
        let page = reader.nodes(Some("a"), 9).await.unwrap();
        assert_eq!(page.iter().map(|it| it.name.as_deref()).collect::<Vec<_>>(), [Some("b")]);
        assert_eq!(reader.nodes(Some("b"), 9).await, Ok(Vec::new()));
        // A stop that nobody answers, since no engine is there.
        b.ask(run("of a").into(), stop("ada")).await.unwrap();
        assert_eq!(named(&reader.nodes(None, 9).await.unwrap(), "a").asked, 1);
        // A process may be there whose lease is over, and a lease whose process is gone.
        expire(&place, "a");
        b.close().await.unwrap();
        let until = "lease_until = now() + interval '1 min'";
        place.sql(&format!("update node set {until} where name = 'b'"));
        let nodes = reader.nodes(None, 9).await.unwrap();
        let (of_a, of_b) = (named(&nodes, "a"), named(&nodes, "b"));
        assert_eq!((of_a.is_connected, of_a.lease_left()), (Some(true), None));
        assert!(of_a.lease_over_for().unwrap() >= Duration::from_secs(1), "{of_a:?}");
        assert_eq!((of_b.is_connected, of_b.process.as_ref()), (Some(false), None));
        assert!(of_b.lease_left().is_some() && of_b.lease_over_for().is_none());
        a.close().await.unwrap();
    });
}

#[test]
fn a_store_that_is_alone_is_told_without_a_name_and_without_a_lease() {
    let place = Place::shared();
    block_on(async {
        let store = place.open().await.unwrap();
        store.append(vec![accept(run("a"), epoch(&store))]).await.unwrap();
        let reader = reader(&place).await;
        let nodes = reader.nodes(None, 9).await.unwrap();
        let [alone] = &nodes[..] else { panic!("{nodes:?}") };
        assert_eq!((alone.name.as_deref(), alone.lease_until), (None, None));
        assert_eq!((alone.is_connected, alone.live), (Some(true), 1));
        store.close().await.unwrap();
        assert_eq!(reader.nodes(None, 9).await.unwrap()[0].is_connected, Some(false));
        // Members share the lock of the schema: that is nobody's name.
        let a = join(&place, "a").await;
        let nodes = reader.nodes(None, 9).await.unwrap();
        assert_eq!(named(&nodes, "a").live, 1);
        assert!(nodes.iter().all(|node| node.name.is_some()), "{nodes:?}");
        a.close().await.unwrap();
    });
}

#[test]
fn a_survey_tells_what_durability_rests_on_and_how_much_there_is() {
    let place = Place::shared();
    block_on(async {
        let a = join(&place, "a").await;
        let of_a = epoch(&*a);
        bare(&a, run("a")).await.unwrap();
        a.append(vec![accept(run("b"), of_a), event(run("b"), of_a, 1)]).await.unwrap();
        a.append(vec![end(run("b"), of_a, RunStatus::Failed)]).await.unwrap();
        let survey = reader(&place).await.survey().await.unwrap();
        assert_eq!((survey.refusal.as_ref(), survey.is_standby), (None, false), "{survey:?}");
        let on = ["on"; 3].map(str::to_owned);
        let settings =
            [&survey.fsync, &survey.full_page_writes, &survey.synchronous_commit].map(Clone::clone);
        assert_eq!(settings, on);
        assert_eq!((survey.schema > 1, survey.nodes, survey.live), (true, 1, 1));
        assert_eq!((survey.runs, survey.roots), (Some(2), Some(2)));
        assert_eq!((survey.events, survey.checkpoints), (Some(1), Some(0)));
        assert_eq!(survey.bytes, a.bytes().await.unwrap());
        assert!(survey.disk_bytes > survey.bytes && survey.boot >= 1, "{survey:?}");
        assert!(survey.version.starts_with(|it: char| it.is_ascii_digit()), "{survey:?}");
        a.close().await.unwrap();
        let off = "alter database {} set synchronous_commit = off";
        place.sql(&off.replace("{}", &place.database));
        let survey = reader(&place).await.survey().await.unwrap();
        let Some(StoreError::Setting { setting, .. }) = survey.refusal else { panic!() };
        assert_eq!((setting, &*survey.synchronous_commit), ("synchronous_commit", "off"));
    });
    let server = PostgresServer::start(&[]);
    let place = Place::on(&server);
    block_on(async {
        join(&place, "a").await.close().await.unwrap();
        server.sql("postgres", "alter system set fsync = off");
        server.sql("postgres", "select pg_reload_conf()");
        let is_off = || server.sql("postgres", "show fsync") == "off";
        quell_test_support::soon("the setting is read", is_off).await;
        let survey = reader(&place).await.survey().await.unwrap();
        let Some(StoreError::Setting { setting, .. }) = survey.refusal else { panic!() };
        assert_eq!((setting, survey.fsync.as_str()), ("fsync", "off"));
        assert!(PostgresReader::open(options(&place, "a", LONG)).await.is_ok(), "it is read");
    });
}
