//! The latest steps of the [`schema`](crate::schema).

/// A run that was on a member which is lost: whether it has started nobody knows, whoever gives it
/// up later. The row of a member that has left is `drained` if nothing live that it has executes.
pub(crate) const DOUBTED: &str =
    "alter table run add column doubted boolean not null default false";

/// What a run had to show in its last pause. Members of the release before leave it as it was.
pub(crate) const SO_FAR: &str = "
alter table run add column partial text, add column summary text, add column used text";

/// Runs of a member that have ended and were not seen to be quiescent are found for it. The index
/// of all that are live is of no use for what is asked of one member. Limits that nobody knows of
/// any more leave.
pub(crate) const LEFT: &str = "
create index run_left on run (node) where status >= 3 and not quiescent;
drop index run_live;
create index run_live on run (ord) where status < 3;
delete from quota q where taken = 0
    and not exists (select 1 from quota_part p where p.name = q.name)";

/// What a later process of a member knows of work that an earlier one had begun: 1 if it has ended,
/// and 2 if nobody will know it; null if nobody has said anything. Of programs that were begun
/// before, and that a lost process or an ended run has left, it is not known for certain which
/// process has begun them, so that they stay in doubt. Members of the release before leave it out,
/// and release no program for it.
pub(crate) const FATES: &str = "
alter table hold add column fate smallint;
update hold h set fate = 1 from node n
    where h.what = 'node' and n.name = h.member and coalesce(h.boot, 0) < n.joined;
update hold h set fate = 2 where h.what = 'process' and (h.member is not null
    or exists (select 1 from run r where r.ord = h.run and r.status >= 3));
create index hold_ended on hold (run) where fate = 1";

#[cfg(test)]
mod tests {
    use quell_test_support::PostgresServer;

    use crate::options::PostgresOptions;
    use crate::schema::{Found, STEPS, migrate};
    use crate::session::Target;
    use crate::sql::Sql;

    #[tokio::test]
    async fn statements_are_good_for_tables_that_a_newer_release_has_brought_forward() {
        let server = PostgresServer::shared();
        let options = PostgresOptions::new(server.address(&server.database()));
        let target = Target::new(options).unwrap();
        let (client, _) = target.connect().await.unwrap();
        migrate(&client, &target, Found::Missing, &STEPS).await.unwrap();
        let tables = "select table_name::text from information_schema.tables
            where table_schema = current_schema()";
        let tables = client.query(tables, &[]).await.unwrap();
        assert!(tables.len() > 10, "{}", tables.len());
        for table in tables {
            let table: &str = table.get(0);
            let add = format!("alter table {table} add column newer text");
            client.batch_execute(&add).await.unwrap();
        }
        for sql in Sql::ALL {
            let prepared = client.prepare(sql.text()).await;
            assert!(prepared.is_ok(), "{sql:?}: {prepared:?}");
        }
    }

    #[test]
    fn what_was_begun_before_anybody_says_what_has_ended_stays_in_doubt() {
        let server = PostgresServer::shared();
        let options = PostgresOptions::new(server.address(&server.database()));
        let target = Target::new(options).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, _) = target.connect().await.unwrap();
            let begin = async |nr: i64| {
                let sql = "insert into hold (run, nr, what, name) values (1, $1, 'process', 'it')";
                client.execute(sql, &[&nr]).await.unwrap()
            };
            migrate(&client, &target, Found::Missing, &STEPS[..10]).await.unwrap();
            begin(0).await;
            let back = "update hold set member = 'a', boot = 3;
                insert into run (id, epoch, kind, name, at, bytes, status)
                values (gen_random_uuid(), 1, 'agent', 'a', 1, 1, 1),
                    (gen_random_uuid(), 1, 'agent', 'a', 1, 1, 4);
                insert into hold (run, nr, what, name)
                values (1, 2, 'process', 'it'), (2, 2, 'process', 'it');
                insert into node values ('a', 5, 5, null, '', now());
                insert into hold (run, nr, what, name, member, boot)
                values (2, 0, 'node', 'a', 'a', 3), (2, 1, 'node', 'b', 'b', 3)";
            client.batch_execute(back).await.unwrap();
            migrate(&client, &target, Found::Schema(10), &STEPS).await.unwrap();
            begin(1).await;
            let rows = client.query("select fate from hold order by run, nr", &[]).await.unwrap();
            let fates: Vec<Option<i16>> = rows.iter().map(|row| row.get(0)).collect();
            assert_eq!(fates, [Some(2), None, None, Some(1), None, Some(2)]);
        });
    }
}
