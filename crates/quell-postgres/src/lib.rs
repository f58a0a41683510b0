//! The durable store of quell in PostgreSQL.
//!
//! [`PostgresStore`] keeps the records of runs ([`quell_core::store`]) in one schema of a database
//! that the embedder runs already, for one process at a time; [`PostgresNode`] does so for one of
//! several, and is their cluster ([`quell_core::cluster`]). An append is acknowledged after its
//! COMMIT has returned: many callers share one transaction, and nobody waits for more of them to
//! come. [`PostgresReader`] reads beside them what is stored, and which of them are there.
//!
//! - **One process.** The store holds an advisory lock of its session. A second one that opens the
//!   schema is refused, with what the database says of the first. Every transaction names the boot
//!   of its store: one that has lost its lock, and was followed by another process, writes nothing
//!   any more ([`Superseded`](quell_core::store::StoreError::Superseded)).
//! - **Durable.** A server with `fsync` or `full_page_writes` off is refused, and so is one with
//!   `synchronous_commit` off, unless [`PostgresOptions::accepts_asynchronous_commit`] says that
//!   the last moments may be lost. With asynchronous replication a failover may lose what was
//!   acknowledged: name the standby in `synchronous_standby_names` to have it wait. So it may with
//!   `synchronous_commit` set to `local`, which the log says at the start if one is named.
//! - **A lost connection is a question, not an answer.** After one the store takes its lock again,
//!   which the former session has left by then, and reads whether its last transaction is there.
//!   What is not there is stored anew; nothing is acknowledged before that is known.
//! - **Stops first.** An append that holds nothing but stops overtakes others, and cuts a
//!   transaction that has grown large. It overtakes neither the acceptance of its run, nor an
//!   earlier stop of it, nor what another epoch has written of it.
//! - **Each for itself.** An append that is refused takes no other with it.
//! - **Readers never wait for the writer,** nor it for them: they have connections of their own,
//!   each statement of which has a time limit.
//! - **A database that is away** is an error once [`PostgresOptions::connect_timeout`] has passed;
//!   the store goes on when it is back.
//!
//! # Several nodes
//!
//! - **A seat.** Each member has a row under its name, with a lease by the clock of the database,
//!   and each row of `run` has the name of its owner. Every transaction locks the row of its
//!   member, as any number of others may, and counts in a row that nobody else writes: members
//!   never wait for each other's commits, nor does a renewal for an append.
//! - **A take-over** locks that row alone, and looks then for what the member has: all of it
//!   changes its owner and its epoch in one statement, unanswered stops become stops of their runs,
//!   and the row is gone. From then on the former member is refused with
//!   [`LeaseLost`](quell_core::store::StoreError::LeaseLost), whatever it does.
//! - **One process for each name,** by an advisory lock of its session. When that is free, a new
//!   process of the name has all that the former one had, whatever its lease.
//! - **The row of a stop is the truth, and NOTIFY only says when to look.** The owner and whoever
//!   asks look once a second as well, at once after their session that listens was replaced, and
//!   four times a second where notifications do not come. A run that nobody stops causes none.
//! - **Alone or several.** A store that is alone is refused where a member is connected or has a
//!   lease, and a member where one is alone. When all have ended, either has what was left.
//!
//! Locks and settings belong to a session, so the store needs a pooler in session mode, or none:
//! another one is refused.
//! Texts of callers are `text` columns in which a NUL, that PostgreSQL cannot store, is `\0`, and a
//! backslash is doubled.
//!
//! # Who owns what
//!
//! | what | where |
//! |---|---|
//! | the address: URL, password file, TLS | `address`, `passfile`, `trust` |
//! | sessions, locks | `session`, `unshared`, `threads`, `prepared`, `checks`, `lock` |
//! | who writes under which name, and has what others had | `seat`, `inherit` |
//! | what a member asks of the others | `node`, `member`, `asked`, `listener` |
//! | stops for runs to come | `reserved`, `remembering`, `rollback` |
//! | limits that all of them keep together | `slots`, `exchanging` |
//! | lanes, and turns in them | `lanes`, `lane_locks`, `turns`, `turn_taking` |
//! | its lease | `renewals` |
//! | who is gone for good, and who says so | `begun`, `forgotten`, `postgres_admin` |
//! | tables, and how they come to be | `schema` |
//! | statements of records, and why one is refused | `sql`, `step`, `refusal` |
//! | the one that writes | `writer`, `transaction`, `gather`, `decided` |
//! | whose logs are read on other members | `watches`, `watching` |
//! | reads | `readers`, `read`, `list`, `row` |
//! | who reads beside them | `postgres_reader`, `node_record`, `survey` |

mod acts;
mod address;
mod asked;
mod asking;
mod begun;
mod checks;
mod decided;
mod exchanging;
mod fault;
mod forgotten;
mod gather;
mod inherit;
mod lane_locks;
mod lanes;
mod latest;
mod list;
mod listener;
mod lock;
mod member;
mod node;
mod node_record;
mod open_stops;
mod options;
mod passfile;
mod postgres_admin;
mod postgres_reader;
mod prepared;
mod read;
mod readers;
mod refusal;
mod remembering;
mod renewals;
mod reserved;
mod rollback;
mod row;
mod schema;
mod seat;
mod session;
mod slots;
mod sql;
mod step;
mod store;
mod survey;
mod text;
mod threads;
mod transaction;
mod trees_now;
mod trees_sql;
mod trust;
mod turn_taking;
mod turns;
mod unshared;
mod watches;
mod watching;
mod writer;

pub use node::PostgresNode;
pub use node_record::{LostNode, NodeRecord};
pub use options::PostgresOptions;
pub use postgres_admin::{NodeStanding, PostgresAdmin};
pub use postgres_reader::PostgresReader;
pub use quell_durable::Committed;
pub use store::PostgresStore;
pub use survey::Survey;
