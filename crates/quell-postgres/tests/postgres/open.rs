//! What is refused when a store is opened, and in which words.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use quell_core::store::{Store, StoreError};
use quell_postgres::{PostgresNode, PostgresOptions, PostgresStore};
use quell_test_support::{PostgresServer, heard};

use crate::fixture::{Place, block_on};

/// Opens what cannot be opened.
fn refused(options: &PostgresOptions) -> StoreError {
    let error = block_on(PostgresStore::open(options.clone())).unwrap_err();
    let words = format!("{error} {error:?} {options:?}");
    assert!(!words.contains("sesame"), "the password is told: {words}");
    error
}

fn folder(server: &PostgresServer) -> String {
    server.folder().display().to_string()
}

#[test]
fn whoever_may_not_come_in_is_told_so_and_the_password_is_not() {
    let server = PostgresServer::shared();
    let locked = |rest: &str| format!("host={} dbname=locked {rest}", folder(server));
    for address in [
        locked("user=ada password='wrong sesame'"),
        locked("user=ada"),
        locked("user=nobody password='open sesame'"),
        format!("host={} user=quell dbname=missing password='open sesame'", folder(server)),
    ] {
        let error = refused(&PostgresOptions::new(address));
        let is_denied = matches!(error, StoreError::Denied { .. });
        // Without a password the client asks for none.
        let is_missing = error.to_string().contains("password missing");
        assert!(is_denied || is_missing, "{error:?}");
    }
    let right = locked("user=ada password='open sesame'");
    let store = block_on(PostgresStore::open(PostgresOptions::new(&right))).unwrap();
    assert!(!format!("{store:?}").contains("sesame"), "{store:?}");
    block_on(store.close()).unwrap();
    // The same as a file has it.
    let file = server.folder().join("passfile");
    std::fs::write(&file, "localhost:*:locked:ada:open sesame\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let address = locked(&format!("user=ada passfile={}", file.display()));
    let store = block_on(PostgresStore::open(PostgresOptions::new(address))).unwrap();
    assert_eq!(store.boot(), 2);
    block_on(store.close()).unwrap();
}

#[test]
fn where_nobody_answers_that_is_said_and_where_it_was_looked_for() {
    for (address, place) in [
        ("postgres://u:sesame@127.0.0.1:1/d", "127.0.0.1:1"),
        ("postgres://u:sesame@no.such.host.invalid/d", "no.such.host.invalid:5432"),
        ("host=/no/such/folder user=u password=sesame", "/no/such/folder"),
    ] {
        let mut options = PostgresOptions::new(address);
        options.connect_timeout = Duration::from_mins(1);
        let error = refused(&options);
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains(place), "{error}");
    }
    let error = refused(&PostgresOptions::new("postgres://u:sesame@h:port/d"));
    assert!(matches!(error, StoreError::Address { .. }), "{error:?}");
    let mut options = PostgresOptions::new("postgres://u:sesame@127.0.0.1:1/d");
    for schema in [String::new(), "x".repeat(64), "a\0b".into()] {
        options.schema = schema;
        let error = refused(&options);
        assert!(matches!(error, StoreError::Options { .. }), "{error:?}");
    }
    // A server that says nothing.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let address = format!("postgres://u:sesame@127.0.0.1:{port}/d");
    let mut options = PostgresOptions::new(address);
    options.connect_timeout = Duration::from_millis(100);
    let error = refused(&options);
    assert!(error.to_string().contains("no session within 100ms"), "{error}");
}

#[test]
fn a_second_one_is_refused_and_told_who_has_the_store() {
    let place = Place::shared();
    let store = block_on(place.open()).unwrap();
    let error = refused(&place.options());
    let StoreError::InUse { by } = &error else { panic!("{error:?}") };
    assert!(by.contains(&format!("quell, process {}", std::process::id())), "{by}");
    // Another schema is another store.
    let mut other = place.options();
    other.schema = "another \"one\"".into();
    let beside = block_on(PostgresStore::open(other)).unwrap();
    block_on(async {
        store.close().await.unwrap();
        let next = place.open().await.unwrap();
        assert_eq!((next.boot(), beside.boot()), (2, 1));
        next.close().await.unwrap();
        beside.close().await.unwrap();
    });
}

#[test]
fn a_server_that_is_not_durable_is_refused() {
    for setting in ["fsync", "full_page_writes"] {
        let server = PostgresServer::start(&[&format!("{setting}=off")]);
        let error = refused(&Place::on(&server).options());
        let wanted = "on, for the whole server".into();
        assert_eq!(error, StoreError::Setting { setting, found: "off".into(), wanted });
    }
    let place = Place::shared();
    place.server.sql(
        "postgres",
        &format!("alter database {} set synchronous_commit = off", place.database),
    );
    let error = refused(&place.options());
    assert!(error.to_string().contains("synchronous_commit of the store is off"), "{error}");
    assert_eq!(place.sql("select count(*) from pg_namespace where nspname = 'quell'"), "0");
    let mut options = place.options();
    options.accepts_asynchronous_commit = true;
    let store = block_on(PostgresStore::open(options)).unwrap();
    block_on(store.close()).unwrap();
}

#[test]
fn a_server_whose_commits_wait_for_no_standby_although_one_is_named_is_told() {
    let told = || heard("quell_postgres", "synchronous_commit is local, so no commit waits").len();
    for (names, is_told) in [("", false), ("far", true)] {
        let names = format!("synchronous_standby_names={names}");
        let server = PostgresServer::start(&[&names, "synchronous_commit=local"]);
        let before = told();
        let store = block_on(PostgresStore::open(Place::on(&server).options())).unwrap();
        block_on(store.close()).unwrap();
        assert_eq!(told() > before, is_told, "{names}");
    }
}

#[test]
fn a_database_of_another_encoding_is_refused() {
    let server = PostgresServer::shared();
    let make = "create database latin template template0 encoding 'LATIN1'";
    server.sql("postgres", make);
    let error = refused(&PostgresOptions::new(server.address("latin")));
    assert!(matches!(&error, StoreError::Setting { found, .. } if found == "LATIN1"), "{error:?}");
    assert_eq!(server.sql("latin", "select count(*) from pg_namespace where nspname='quell'"), "0");
}

#[test]
fn a_schema_of_a_newer_release_or_of_somebody_else_is_refused_and_not_changed() {
    let place = Place::shared();
    block_on(async { place.open().await.unwrap().close().await.unwrap() });
    place.sql("update meta set schema = 99");
    let before = place.sql("select * from meta");
    let error = refused(&place.options());
    assert!(matches!(error, StoreError::NewerSchema { found: 99, .. }), "{error}");
    assert_eq!(place.sql("select * from meta"), before);
    let tables = "select table_name, column_name from information_schema.columns
        where table_schema = 'quell'";
    for make in ["create table orders (id int)", "create table meta (id int)"] {
        let place = Place::shared();
        place.server.sql(&place.database, "create schema quell");
        place.sql(make);
        let before = place.sql(tables);
        let error = refused(&place.options());
        assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
        assert_eq!(place.sql(tables), before);
    }
    // One that is empty is taken.
    let place = Place::shared();
    place.server.sql(&place.database, "create schema quell");
    block_on(async { place.open().await.unwrap().close().await.unwrap() });
}

#[test]
fn a_database_that_may_not_be_written_is_refused() {
    let place = Place::shared();
    place.server.sql(&place.database, "create schema quell");
    let address = format!("{} options='-c role=ada'", place.server.address(&place.database));
    let error = refused(&PostgresOptions::new(&address));
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    place.server.sql(&place.database, "grant usage on schema quell to ada");
    let error = refused(&PostgresOptions::new(&address));
    let needs = "(CREATE on the database, and on the schema if that is there, or a schema that is \
        its own, by `create schema \"quell\" authorization USER`: permission denied for";
    assert!(error.to_string().contains(needs), "{error}");
    place.server.sql(&place.database, "drop schema quell");
    let error = refused(&PostgresOptions::new(address));
    assert!(error.to_string().contains(needs), "{error}");
    let address = format!(
        "{} options='-c default_transaction_read_only=on'",
        place.server.address(&place.database)
    );
    let error = refused(&PostgresOptions::new(address));
    assert!(matches!(error, StoreError::TakesNoWrites { .. }), "{error:?}");
    assert!(!error.to_string().contains("right"), "{error}");
}

#[test]
fn no_option_is_too_large() {
    let place = Place::shared();
    block_on(async {
        let mut options = place.options();
        (options.connect_timeout, options.statement_timeout) = (Duration::MAX, Duration::MAX);
        (options.lease, options.readers) = (PostgresOptions::LEASE_MAX, usize::MAX);
        (options.queue_records_max, options.queue_bytes_max) = (usize::MAX, usize::MAX);
        for name in [None, Some("a".into())] {
            options.node = name;
            let run = quell_core::RunId::from_text("r");
            let store: Box<dyn Store> = match options.node {
                None => Box::new(PostgresStore::open(options.clone()).await.unwrap()),
                Some(_) => Box::new(PostgresNode::open(options.clone()).await.unwrap()),
            };
            assert_eq!(store.get(run).await, Ok(None));
            let epoch = quell_core::store::Epoch::new(store.boot(), 1);
            let records = vec![quell_test_support::records::accept(run, epoch)];
            store.append(records).await.unwrap();
            assert!(store.get(run).await.unwrap().is_some());
            place.sql("truncate run");
            store.close().await.unwrap();
        }
    });
}

#[test]
fn a_server_without_a_connection_left_says_how_many_are_needed() {
    let place = Place::shared();
    let role = format!("few_{}", place.database);
    place.server.sql("postgres", &format!("create role {role} login connection limit 0"));
    let address =
        place.server.address(&place.database).replace("user=quell", &format!("user={role}"));
    let mut options = PostgresOptions::new(address);
    options.readers = 7;
    let error = refused(&options);
    assert!(matches!(error, StoreError::NoConnection { .. }), "{error:?}");
    let words = error.to_string();
    assert!(words.contains("max_connections") && words.contains("has up to 8)"), "{words}");
    options.node = Some("a".into());
    let words = block_on(PostgresNode::open(options)).unwrap_err().to_string();
    assert!(words.contains("has up to 15)"), "{words}");
}

#[test]
fn a_lease_has_a_bound() {
    let mut options = Place::shared().options();
    options.node = Some("a".into());
    options.lease = PostgresOptions::LEASE_MAX + Duration::from_millis(1);
    let error = block_on(PostgresNode::open(options.clone())).unwrap_err();
    assert!(matches!(error, StoreError::Options { .. }), "{error:?}");
    assert!(error.to_string().contains("1 h at most"), "{error}");
    options.lease = PostgresOptions::LEASE_MAX;
    block_on(async { PostgresNode::open(options).await.unwrap().close().await.unwrap() });
}

#[test]
fn a_schema_whose_name_the_server_reads_as_another_one_is_refused() {
    let place = Place::shared();
    place.server.sql(&place.database, "create schema quell");
    let mut options = place.options();
    options.schema = "$user".into();
    let error = refused(&options);
    assert!(matches!(error, StoreError::Options { .. }), "{error:?}");
    let tables = "select count(*) from pg_class c join pg_namespace n on n.oid = relnamespace
        where nspname in ('quell', '$user')";
    assert_eq!(place.server.sql(&place.database, tables), "0");
}

#[test]
fn no_function_of_somebody_else_is_run_by_a_store() {
    let function = "create function quell.hashtextextended(text, int) returns bigint immutable
        language plpgsql as $$ begin raise exception 'run as %', current_user; end $$";
    let place = Place::shared();
    place.server.sql(&place.database, "create schema quell authorization ada");
    place.sql(&format!("set role ada; {function}"));
    let error = refused(&place.options());
    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
    place.sql(
        "drop function quell.hashtextextended; set role ada;
        create function less(numeric, int) returns bool language sql as 'select true';
        reset role; alter function less owner to quell; grant usage on schema quell to ada;
        set role ada; create operator <= (leftarg = numeric, rightarg = int, function = less)",
    );
    let error = refused(&place.options());
    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
    place.sql("drop operator <= (numeric, int); grant create on schema quell to public");
    let error = refused(&place.options());
    let words = "CREATE on the schema of the store is granted to everybody";
    assert!(error.to_string().contains(words), "{error}");
    place.sql("revoke create on schema quell from public");
    // Those of the role of the store, and of one that is above all, are no danger.
    block_on(async { place.open().await.unwrap().close().await.unwrap() });
}
