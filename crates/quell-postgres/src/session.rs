//! [`Target`]: sessions of one database, each with the settings that the store relies on.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use quell_core::store::StoreError;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Error};
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::Uuid;

use crate::address::Address;
use crate::fault::fault;
use crate::options::PostgresOptions;
use crate::seat::DRAINED;
use crate::trust;

/// A database, and how it is used.
pub(crate) struct Target {
    pub(crate) options: PostgresOptions,
    pub(crate) address: Address,
    pub(crate) tls: MakeRustlsConnect,
    /// Whether its sessions write nothing: the server refuses it.
    reads_only: bool,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { options, address: _, tls: _, reads_only: _ } = self;
        f.debug_tuple("Target").field(options).finish()
    }
}

impl Target {
    /// Reads the options. Nothing is connected.
    ///
    /// # Errors
    ///
    /// Fails if the address cannot be read, the schema can be none, or nobody is trusted.
    pub(crate) fn new(options: PostgresOptions) -> Result<Self, StoreError> {
        if !(1..=SCHEMA_BYTES_MAX).contains(&options.schema.len()) || options.schema.contains('\0')
        {
            let what = format!("`options.schema` has 1 to {SCHEMA_BYTES_MAX} bytes, and no NUL");
            return Err(StoreError::Options { what });
        }
        if options.schema == OF_ROLE {
            let what = format!("`options.schema` is {OF_ROLE}, which names that of the role");
            return Err(StoreError::Options { what });
        }
        if options.node.as_ref().is_some_and(|name| !is_name(name)) {
            let what = format!(
                "`options.node` has 1 to {NAME_BYTES_MAX} bytes, no NUL, and not `{DRAINED}` at \
                 its end, which is what a node leaves to others"
            );
            return Err(StoreError::Options { what });
        }
        if options.lease > PostgresOptions::LEASE_MAX {
            let (found, most) = (options.lease, PostgresOptions::LEASE_MAX.as_secs() / 3_600);
            let what = format!(
                "`options.lease` is {found:?}, and {most} h at most: nobody has the runs of a node \
                 that is gone before its lease is over"
            );
            return Err(StoreError::Options { what });
        }
        let options = options.bounded();
        let address = Address::read(&options.url)?;
        let tls = trust::connector(&address)?;
        Ok(Self { options, address, tls, reads_only: false })
    }

    /// Reads the options of who only reads.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub(crate) fn to_read(options: PostgresOptions) -> Result<Self, StoreError> {
        Ok(Self { reads_only: true, ..Self::new(options)? })
    }

    /// Opens a session. A task of its own drives it until the client is dropped.
    ///
    /// # Errors
    ///
    /// Fails as the server or the way to it does. There is no time limit.
    pub(crate) async fn connect(&self) -> Result<(Client, JoinHandle<()>), Error> {
        let (client, driven) = self.connect_bare().await?;
        self.set(&client).await?;
        Ok((client, driven))
    }

    async fn connect_bare(&self) -> Result<(Client, JoinHandle<()>), Error> {
        let (client, connection) = self.address.config.connect(self.tls.clone()).await?;
        let driven = tokio::spawn(async move {
            // Whoever uses the client gets an error as well.
            let _ = connection.await;
        });
        Ok((client, driven))
    }

    /// Sets for a session what the store relies on.
    ///
    /// # Errors
    ///
    /// Fails as the server or the way to it does. There is no time limit.
    pub(crate) async fn set(&self, client: &Client) -> Result<(), Error> {
        client.batch_execute(&self.settings()).await
    }

    /// Opens a session that hears notifications, and yields its end as well.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub(crate) async fn connect_to_hear(
        &self,
        heard: impl Fn(&str) + Send + 'static,
    ) -> Result<(Client, JoinHandle<()>), Error> {
        let (client, mut connection) = self.address.config.connect(self.tls.clone()).await?;
        let driven = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notification(note) = message {
                    heard(note.payload());
                }
            }
        });
        self.set(&client).await?;
        Ok((client, driven))
    }

    /// Opens a session within the time limit.
    ///
    /// # Errors
    ///
    /// Fails as the server or the way to it does, and says where it was looked for.
    pub(crate) async fn session(&self) -> Result<Client, StoreError> {
        self.opened(Box::pin(self.connect())).await
    }

    /// Opens a session of which nothing is set, within the time limit.
    ///
    /// # Errors
    ///
    /// As [`session`](Self::session).
    pub(crate) async fn bare_session(&self) -> Result<Client, StoreError> {
        self.opened(Box::pin(self.connect_bare())).await
    }

    /// Waits for a session that is being opened: on the heap, it is large.
    async fn opened(
        &self,
        opening: Pin<Box<impl Future<Output = Result<(Client, JoinHandle<()>), Error>>>>,
    ) -> Result<Client, StoreError> {
        match tokio::time::timeout(self.options.connect_timeout, opening).await {
            Ok(Ok((client, _))) => Ok(client),
            Ok(Err(error)) => Err(self.not_opened(&error)),
            Err(_) => {
                let (place, limit) = (self.address.words(), self.options.connect_timeout);
                let what = format!("{place}: no session within {limit:?}");
                Err(StoreError::Unreachable { what })
            }
        }
    }

    /// Says why a session could not be opened, and what to do about it.
    fn not_opened(&self, error: &Error) -> StoreError {
        let place = self.address.words();
        match fault(error) {
            StoreError::Unreachable { what } if what.contains(OF_AUTHORITY) => {
                let what = format!(
                    "its certificate says that it is that of an authority (CA:TRUE), which is \
                     none of a server: sign another one with that, or make it anew with \
                     basicConstraints=CA:FALSE, or set sslmode to what is enough ({place}: \
                     {what})"
                );
                StoreError::Denied { what }
            }
            StoreError::Unreachable { what } if what.contains(WRONG_CERTIFICATE) => {
                let what = format!(
                    "name who has signed the certificate of the server as sslrootcert, and \
                     the host that stands in it, or set sslmode to what is enough ({place}: \
                     {what})"
                );
                StoreError::Denied { what }
            }
            StoreError::Unreachable { what } => {
                StoreError::Unreachable { what: format!("{place}: {what}") }
            }
            StoreError::NoConnection { what } => {
                let needed = self.options.sessions_max();
                let what = format!("{place}: {what}; this process has up to {needed}");
                StoreError::NoConnection { what }
            }
            StoreError::Io { what } if what.contains("password missing") => {
                let open = self.address.open_file.as_ref().map_or_else(String::new, |file| {
                    format!(": others may read {}, so it is not looked at", file.display())
                });
                let what = format!(
                    "put a password into the address, or a line \
                     HOST:PORT:DATABASE:USER:PASSWORD into the file PGPASSFILE or ~/.pgpass, \
                     which nobody else may read{open} ({place} asks for one)"
                );
                StoreError::Denied { what }
            }
            StoreError::Io { what } if what.contains("does not support TLS") => {
                let what = format!(
                    "set sslmode to prefer or disable, or have the server encrypt ({place}: \
                     {what})"
                );
                StoreError::Denied { what }
            }
            // Whatever goes wrong before a server has said a word.
            StoreError::Io { what } if error.code().is_none() => {
                StoreError::Unreachable { what: format!("{place}: {what}") }
            }
            other => other,
        }
    }

    /// Yields the name of the schema as it stands in a statement.
    pub(crate) fn schema(&self) -> String {
        quoted(&self.options.schema)
    }

    /// Yields where a member hears of stops: the same for all processes of its name.
    pub(crate) fn channel(&self) -> String {
        let name = self.options.node.as_deref().unwrap_or_default();
        let text = format!("{}\0{name}", self.options.schema);
        format!("quell_{}", Uuid::new_v5(&CHANNELS, text.as_bytes()).simple())
    }

    /// Yields where all members of the schema hear which logs are read.
    pub(crate) fn shared_channel(&self) -> String {
        // No member has an empty name.
        let text = format!("{}\0", self.options.schema);
        format!("quell_{}", Uuid::new_v5(&CHANNELS, text.as_bytes()).simple())
    }

    /// Yields the time limit of a statement in milliseconds. Zero would be none.
    pub(crate) fn statement_ms(&self) -> u64 {
        let millis = self.options.statement_timeout.as_millis();
        u64::try_from(millis).unwrap_or(1).max(1)
    }

    /// Yields how long a transaction of the one that writes may take. A single statement that takes
    /// too long is ended by the server before that, and says which one it is.
    pub(crate) fn transaction_limit(&self) -> Duration {
        Duration::from_millis(self.statement_ms()).saturating_add(self.options.connect_timeout)
    }

    fn settings(&self) -> String {
        let (schema, limit) = (self.schema(), self.statement_ms());
        let idle = self.idle_ms();
        // What was asked or answered on a session outlives the server although the setting of the
        // role has changed: `check` looks at that, and this session keeps what it has.
        let commit = if self.options.accepts_asynchronous_commit { "" } else { KEEP_COMMIT };
        let reads = if self.reads_only { "set default_transaction_read_only = on;" } else { "" };
        // Every statement finds its rows by an index. A guess of the server that a table is empty,
        // or has little beside one tree, would have it looked through for each of many runs: those
        // of a take-over, or of a tree that leaves, some 10,000 of which took longer than allowed.
        // A peer that is gone is noticed, so that the lock does not stay with a dead session. One
        // with nothing to do keeps its lock.
        format!(
            "set search_path = {schema}; set client_min_messages = warning;
            set statement_timeout = {limit}; set lock_timeout = {limit};
            set idle_in_transaction_session_timeout = {idle}; set idle_session_timeout = 0;
            set default_transaction_isolation = 'read committed'; set jit = off;
            set enable_seqscan = off;
            set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5;
            set tcp_keepalives_count = 3; {reads} {commit}"
        )
    }

    /// Yields for how long the server lets a transaction be in which nothing happens, in
    /// milliseconds. It keeps others from taking over, so that one of a member that was frozen or
    /// cut off has to be gone before its lease is over.
    fn idle_ms(&self) -> u64 {
        let limit = self.statement_ms();
        if self.options.node.is_none() {
            return limit;
        }
        let of_lease = u64::try_from(self.options.lease_ms()).unwrap_or(limit) / IDLES;
        limit.min(of_lease.max(1))
    }
}

/// What is said of a server whose certificate is not that of who it has to be.
const WRONG_CERTIFICATE: &str = "invalid peer certificate";

/// What is said of a certificate that a server has and that may sign others, as `openssl req -x509`
/// makes it.
const OF_AUTHORITY: &str = "CaUsedAsEndEntity";

/// Transactions in which nothing happens that a lease has room for, about.
const IDLES: u64 = 5;

/// Keeps the setting of the session as it is, and on where it is off.
const KEEP_COMMIT: &str = "select set_config('synchronous_commit', coalesce(
    nullif(current_setting('synchronous_commit'), 'off'), 'on'), false)";

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains('\0') && !name.ends_with(DRAINED)
}

/// Yields a name as it stands in a statement.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The longest name of a node. A host has one of 253 at most.
const NAME_BYTES_MAX: usize = 255;

/// The names of channels.
const CHANNELS: Uuid = Uuid::from_u128(0x7175_656c_6c2d_706f_7374_6772_6573_0002);

/// What the server reads as the name of the role wherever it looks for tables, quoted or not.
const OF_ROLE: &str = "$user";

/// PostgreSQL cuts longer names.
const SCHEMA_BYTES_MAX: usize = 63;
