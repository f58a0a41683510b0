//! [`Bare`]: tokio-postgres with a group commit that is put together by hand.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _, join3, try_join_all};
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};
use uuid::Uuid;

/// What is done for one run: it comes, or it ends.
#[derive(Clone, Copy, Debug)]
enum Op {
    Accept(Uuid),
    End(Uuid),
}

/// Whoever takes what waits, and commits it in one transaction.
#[derive(Debug)]
pub(crate) struct Bare {
    ops: mpsc::UnboundedSender<(Op, oneshot::Sender<()>)>,
}

struct Session {
    client: Client,
    fence: Statement,
    accept: Statement,
    end: Statement,
    count: Statement,
    /// As long as a report of ours.
    report: String,
}

impl Bare {
    /// Opens a session on tables of ours that are there.
    pub(crate) async fn open(address: &str) -> Self {
        let (client, connection) =
            tokio_postgres::connect(address, NoTls).await.expect("it connects");
        tokio::spawn(connection);
        let setup = "set search_path = quell; set jit = off;
            insert into node (name, joined, boot, channel) values ('bare', 1, 1, 'bare');
            insert into tally values ('bare', 0, 0)";
        client.batch_execute(setup).await.expect("they are there");
        let prepare = async |sql| client.prepare(sql).await.expect("it is SQL");
        let (fence, accept) = (prepare(FENCE).await, prepare(ACCEPT).await);
        let (end, count) = (prepare(END).await, prepare(COUNT).await);
        let report = "r".repeat(REPORT_BYTES);
        let session = Arc::new(Session { client, fence, accept, end, count, report });
        let (ops, mut taken) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(first) = taken.recv().await {
                let mut batch = vec![first];
                while batch.len() < 1_024
                    && let Ok(next) = taken.try_recv()
                {
                    batch.push(next);
                }
                session.commit(batch.iter().map(|(op, _): &(Op, _)| *op)).await;
                for (_, ticket) in batch {
                    let _ = oneshot::Sender::send(ticket, ());
                }
            }
        });
        Self { ops }
    }

    async fn write(&self, op: Op) {
        let (ticket, done) = oneshot::channel();
        self.ops.send((op, ticket)).expect("the task runs");
        done.await.expect("it commits");
    }

    /// Lets one run be accepted and end, and waits for both.
    pub(crate) async fn run(&self, id: Uuid) {
        self.write(Op::Accept(id)).await;
        self.write(Op::End(id)).await;
    }
}

impl Session {
    /// Sends all statements behind one another, looks at the answers, and commits.
    async fn commit(&self, ops: impl Iterator<Item = Op>) {
        let all = try_join_all(ops.map(|op| self.execute(op)));
        let begin = self.client.batch_execute("begin");
        let fence: [&(dyn ToSql + Sync); 2] = [&"bare", &1_i64];
        let fence = self.client.execute(&self.fence, &fence);
        let (opened, fenced, rows) = join3(begin, fence, all).await;
        opened.expect("it begins");
        assert_eq!(fenced.expect("it is SQL"), 1, "the seat is there");
        assert!(rows.expect("it is SQL").iter().all(|rows| *rows == 1), "nothing is refused");
        let count: [&(dyn ToSql + Sync); 2] = [&"bare", &1_i64];
        let count = self.client.execute(&self.count, &count);
        let commit = self.client.batch_execute("commit");
        let (counted, committed) = futures::future::join(count, commit).await;
        counted.expect("it is SQL");
        committed.expect("it commits");
    }

    fn execute(&self, op: Op) -> BoxFuture<'_, Result<u64, tokio_postgres::Error>> {
        let (none, at) = (None::<String>, 1_764_000_000_000_i64);
        async move {
            match op {
                Op::Accept(id) => {
                    let values: [&(dyn ToSql + Sync); 18] = [
                        &id,
                        &None::<Uuid>,
                        &None::<Uuid>,
                        &1_i64,
                        &"agent",
                        &"research",
                        &none,
                        &none,
                        &none,
                        &none,
                        &none,
                        &None::<Vec<u8>>,
                        &none,
                        &none,
                        &at,
                        &None::<i64>,
                        &200_i64,
                        &"bare",
                    ];
                    self.client.execute(&self.accept, &values).await
                }
                Op::End(id) => {
                    let values: [&(dyn ToSql + Sync); 9] = [
                        &id,
                        &1_i64,
                        &3_i64,
                        &true,
                        &Some(at),
                        &self.report,
                        &Some(at),
                        &Some(at),
                        &500_i64,
                    ];
                    self.client.execute(&self.end, &values).await
                }
            }
        }
        .boxed()
    }
}

const FENCE: &str = "select 1 from node where name = $1 and joined = $2 for key share";

const COUNT: &str = "update tally set commits = commits + 1, bytes = bytes + $2 where name = $1";

const ACCEPT: &str = "insert into run (id, root, parent, epoch, kind, name, owner, lane, labels,
    annotations, key, payload, spec, input, at, due, bytes, node)
    select $1::uuid, $2::uuid, $3::uuid, $4::int8, $5::text, $6::text, $7::text, $8::text,
        $9::text, $10::text, $11::text, $12::bytea, $13::text, $14::text, $15::int8, $16::int8,
        $17::int8, $18::text
    where $2 is null or exists (select 1 from run where id = $2 and epoch <= $4)
    on conflict do nothing";

const END: &str = "update run set epoch = $2, status = $3, quiescent = $4, quiesced = $5,
    report = $6, ended = $7, started = coalesce(started, $8), paused = null,
    answer = null, bytes = bytes + $9
    where id = $1 and epoch <= $2 and status < 3";

/// About the report of a run without children.
const REPORT_BYTES: usize = 480;
