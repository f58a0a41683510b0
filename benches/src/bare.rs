//! [`Bare`]: SQLite with a group commit that is put together by hand.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use quell_sqlite::Synchronous;
use rusqlite::{Connection, params};
use tokio::sync::oneshot;
use uuid::Uuid;

/// What is done for one row.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "these are all there are")]
pub enum Op {
    /// A row comes.
    Insert(Uuid),
    /// It changes.
    Update(Uuid),
}

/// Bare SQLite with the same group commit, put together by hand.
#[derive(Debug)]
pub struct Bare {
    ops: mpsc::Sender<(Op, oneshot::Sender<()>)>,
}

/// Rows that were changed.
static WRITES: AtomicU64 = AtomicU64::new(0);

impl Bare {
    /// Opens a new file, and starts its writer.
    pub fn open(path: PathBuf, synchronous: Synchronous) -> Self {
        let (ops, taken) = mpsc::channel::<(Op, oneshot::Sender<()>)>();
        thread::spawn(move || {
            let connection = Self::connect(&path, synchronous);
            while let Ok(first) = taken.recv() {
                let begin = |sql| connection.prepare_cached(sql).and_then(|mut it| it.execute([]));
                begin("begin immediate").expect("nobody else writes");
                let (mut tickets, mut next) = (Vec::new(), Some(first));
                while let Some((op, ticket)) = next {
                    Self::execute(&connection, op);
                    tickets.push(ticket);
                    next = (tickets.len() < 1_024).then(|| taken.try_recv().ok()).flatten();
                }
                begin("commit").expect("the disk has room");
                for ticket in tickets {
                    let _ = ticket.send(());
                }
            }
        });
        Self { ops }
    }

    /// Opens a new file.
    pub fn connect(path: &Path, synchronous: Synchronous) -> Connection {
        let connection = Connection::open(path).expect("it opens");
        let level = if synchronous == Synchronous::Full { "full" } else { "normal" };
        let setup = format!(
            "pragma journal_mode = wal; pragma synchronous = {level};
            create table run (id blob primary key, body blob not null) without rowid"
        );
        connection.execute_batch(&setup).expect("it is new");
        connection
    }

    /// Does one thing outside a transaction of its own.
    pub fn execute(on: &Connection, op: Op) {
        let (sql, id, body) = match op {
            Op::Insert(id) => {
                ("insert into run (body, id) values (?, ?)", id, [u8::MAX; BODY_BYTES])
            }
            Op::Update(id) => {
                // Never what is there: SQLite writes no page that stays as it is.
                let body = [WRITES.fetch_add(1, Ordering::Relaxed).to_le_bytes()[0]; BODY_BYTES];
                ("update run set body = ? where id = ?", id, body)
            }
        };
        let mut statement = on.prepare_cached(sql).expect("it is SQL");
        statement.execute(params![body, id.into_bytes()]).expect("the disk has room");
    }

    /// Does one thing, and waits until it is committed.
    pub async fn write(&self, op: Op) {
        let (ticket, done) = oneshot::channel();
        self.ops.send((op, ticket)).expect("the thread runs");
        done.await.expect("it commits");
    }

    /// Lets one run be accepted and end, as a hand-made journal does: its row comes, and changes.
    pub async fn run(&self, id: Uuid) {
        self.write(Op::Insert(id)).await;
        self.write(Op::Update(id)).await;
    }
}

/// With its key and its header a row of 260 bytes.
const BODY_BYTES: usize = 240;
