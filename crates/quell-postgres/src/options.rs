//! [`PostgresOptions`]: how a store is set up.

use std::fmt;
use std::time::Duration;

use crate::address;

/// How a store is set up. Every option but the address has a default.
///
/// # Examples
///
/// ```
/// use quell_postgres::PostgresOptions;
///
/// let mut options = PostgresOptions::new("postgres://quell:secret@db.example/runs");
/// options.schema = "staging".into();
/// assert_eq!(options.readers, 4);
/// assert!(!format!("{options:?}").contains("secret"));
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// Where the database is, as libpq says it: `postgres://USER@HOST:PORT/DATABASE?KEY=VALUE`,
    /// with a password behind the user as `USER:PASSWORD`, or `host=HOST user=USER
    /// dbname=DATABASE`. It is printed without user and password.
    ///
    /// `sslmode` is one of `disable`, `prefer` (the default: encrypted if the server can, and
    /// nobody is authenticated), `require` (always encrypted; authenticated as `verify-ca` does if
    /// there is an `sslrootcert`), `verify-ca` (by a known authority) and `verify-full` (for this
    /// host). `sslrootcert` names a PEM file of authorities; `system`, the default, those of the
    /// system. Certificates of clients are not known.
    ///
    /// A password that is not named is looked for in the file `passfile`, or of the variable
    /// `PGPASSFILE`, or `~/.pgpass`; nobody but its owner may have a right to it.
    pub url: String,
    /// The schema that has all of its tables. Defaults to `quell`. It is made if it is not there.
    /// One in which everybody may make something, or somebody else has made a function, is refused:
    /// it would be run by the role of the store.
    /// Several stores share a database by several schemas.
    pub schema: String,
    /// How long a connection may take, from the first attempt on, and for how long an append waits
    /// for a database that is away. Defaults to 5 s; more than a day counts as a day. Zero reaches
    /// nothing.
    pub connect_timeout: Duration,
    /// How long one statement may take on the server, and, with `connect_timeout` added to it, a
    /// whole transaction of the one that writes; so also how long it may take to give all that a
    /// member has to another one, which is about 1 s for 30,000 live runs. Defaults to 30 s; more
    /// than a day counts as a day. Zero counts as 1 ms.
    pub statement_timeout: Duration,
    /// Connections that read. Defaults to 4; more than 1,000 count as 1,000. Zero counts as 1. One
    /// of them, if there are several, is for other reads than lists of runs.
    pub readers: usize,
    /// Records that are taken at once and wait to be written. Defaults to 65,536, and as many of
    /// stops that overtake. When there are more, appends wait in their order. Zero counts as 1.
    pub queue_records_max: usize,
    /// Bytes of those records. Defaults to 64 MiB. One append that is larger is taken alone. Zero
    /// takes one append at a time.
    pub queue_bytes_max: usize,
    /// The name of a member of a cluster, with 1 to 255 bytes: what [`PostgresNode`] opens. A
    /// process that has ended and comes back under its name has what it had at once. Defaults to
    /// none: the store is alone, for one process at a time.
    ///
    /// [`PostgresNode`]: crate::PostgresNode
    pub node: Option<String>,
    /// How long the lease of a member lasts, by the clock of the database, after its last renewal.
    /// Defaults to 15 s; more than [`LEASE_MAX`](Self::LEASE_MAX) is refused, for nobody has the
    /// runs of a member that is gone for so long. Zero is over at once: no engine takes it.
    pub lease: Duration,
    /// Whether a server is accepted whose `synchronous_commit` is off: what was acknowledged in the
    /// last moments before it crashes may be lost then. Defaults to no.
    pub accepts_asynchronous_commit: bool,
}

impl PostgresOptions {
    /// The longest [`lease`](field@Self::lease).
    pub const LEASE_MAX: Duration = Duration::from_hours(1);

    /// Names the database; everything else is as by default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: "quell".into(),
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            readers: 4,
            queue_records_max: 65_536,
            queue_bytes_max: 64 << 20,
            node: None,
            lease: Duration::from_secs(15),
            accepts_asynchronous_commit: false,
        }
    }

    /// Yields what of the address may be shown: host, port and database, and `…` if it cannot be
    /// read.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_postgres::PostgresOptions;
    ///
    /// let options = PostgresOptions::new("postgres://quell:secret@db.example/runs");
    /// assert_eq!(options.shown_address(), "db.example:5432/runs");
    /// ```
    pub fn shown_address(&self) -> String {
        address::without_secrets(&self.url)
    }

    /// Yields what counts of them: nothing is beyond its bound.
    pub(crate) fn bounded(mut self) -> Self {
        self.connect_timeout = self.connect_timeout.min(TIME_MAX);
        self.statement_timeout = self.statement_timeout.min(TIME_MAX);
        self.readers = self.readers.min(READERS_MAX);
        self
    }

    /// Yields how many sessions a store has at most: one that writes, those that read, and of a
    /// member one that listens, one for the lease, three for stops, one for turns in lanes, and one
    /// to take over.
    pub(crate) const fn sessions_max(&self) -> usize {
        let of_member = if self.node.is_some() { 7 } else { 0 };
        let readers = if self.readers == 0 { 1 } else { self.readers };
        1 + readers + of_member
    }

    /// Yields the lease in milliseconds.
    pub(crate) fn lease_ms(&self) -> i64 {
        i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX)
    }
}

/// The longest limit.
const TIME_MAX: Duration = Duration::from_hours(24);

/// The most connections that read.
const READERS_MAX: usize = 1_000;

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            url,
            schema,
            connect_timeout,
            statement_timeout,
            readers,
            queue_records_max,
            queue_bytes_max,
            node,
            lease,
            accepts_asynchronous_commit,
        } = self;
        f.debug_struct("PostgresOptions")
            .field("url", &address::without_secrets(url))
            .field("schema", schema)
            .field("connect_timeout", connect_timeout)
            .field("statement_timeout", statement_timeout)
            .field("readers", readers)
            .field("queue_records_max", queue_records_max)
            .field("queue_bytes_max", queue_bytes_max)
            .field("node", node)
            .field("lease", lease)
            .field("accepts_asynchronous_commit", accepts_asynchronous_commit)
            .finish()
    }
}
