//! [`NodeArgs`]: as which node a server joins others on a database.

use std::env;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::time::Duration;

use quell::store::StoreError;
use quell_postgres::PostgresOptions;
use quell_report::text::{printable, span};
use uuid::Uuid;

use super::place::{Database, Place};

/// As which node a server joins others.
#[derive(Debug)]
pub(crate) struct NodeArgs {
    pub(crate) database: Database,
    /// Its name: one server has it at a time.
    pub(crate) name: String,
    /// For how long nobody else has its runs after its last sign of life.
    pub(crate) lease: Duration,
}

impl NodeArgs {
    /// Yields how the database is opened.
    pub(super) fn options(&self) -> PostgresOptions {
        let mut options = self.database.options();
        options.node = Some(self.name.clone());
        options.lease = self.lease;
        options
    }

    /// Says which node it is, and of what, once it has joined.
    pub(crate) fn words(&self) -> String {
        let Self { database, name, lease } = self;
        format!("node {} of {database}, with a lease of {}", printable(name), span(*lease))
    }

    /// Says what is wrong with the database, or with the name.
    pub(super) fn told(&self, error: &StoreError) -> String {
        let StoreError::InUse { by } = error else {
            return Place::Database(self.database.clone()).told(error);
        };
        let (name, by) = (printable(&self.name), printable(by));
        // As it is of each server of this host that is to take any port.
        let is_of_any_port = self.name == default_name(ANY_PORT);
        let why = if is_of_any_port {
            ", as is each server of this host that takes any port (`:0`) and has no other name"
        } else {
            ""
        };
        format!(
            "{}: is in use by {by}. This one is node `{name}`{why}: if that is another server, \
             name this one with `--node NAME`, or `node` of `[store]`; if it is this one, end it \
             first, and if that is gone with its host, start this one again: the database notices \
             within half a minute",
            printable(&self.database.to_string()),
        )
    }

    /// Yields the file that the guardians of this node hold, on this host. It is known by the
    /// database, as its address is written, and by the name of the node. It stays, empty.
    ///
    /// # Errors
    ///
    /// Fails with what to do if there is no place for it that is this user's alone.
    pub(super) fn guard(&self) -> Result<PathBuf, String> {
        let folder = own_folder()?;
        let key = format!("{}\0{}", self.database, self.name);
        Ok(folder.join(format!("{}.guard", Uuid::new_v5(&SPACE, key.as_bytes()))))
    }
}

/// Yields the name of a node that has been given none: that of the host, and the port on which it
/// is to listen, which no other server of the host has.
pub(crate) fn default_name(listen: SocketAddr) -> String {
    let system = rustix::system::uname();
    format!("{}:{}", system.nodename().to_string_lossy(), listen.port())
}

/// Yields a folder for files of this user, and makes it.
fn own_folder() -> Result<PathBuf, String> {
    let user = rustix::process::geteuid().as_raw();
    let folder = env::temp_dir().join(format!("quell-{user}"));
    let is_own = || -> io::Result<bool> {
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let found = fs::symlink_metadata(&folder)?;
        Ok(found.is_dir() && found.uid() == user && found.mode() & 0o022 == 0)
    };
    let shown = printable(&folder.display().to_string()).into_owned();
    match is_own() {
        Ok(true) => Ok(folder),
        Ok(false) => Err(format!(
            "{shown} is no folder of this user alone, and is needed for locks: remove it, or set \
             TMPDIR to a folder of this host"
        )),
        Err(error) => Err(format!(
            "{shown}, which is needed for locks, cannot be made: {error}; set TMPDIR to a folder \
             of this host"
        )),
    }
}

/// Where a server listens that takes any port.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The names of what guardians hold.
const SPACE: Uuid = Uuid::from_u128(0x7175_656c_6c2d_6e6f_6465_2d67_7561_7264);

#[cfg(test)]
mod tests {
    use super::*;

    fn args(url: &str, name: &str) -> NodeArgs {
        let Place::Database(database) = Place::of(url.into()) else { unreachable!("an address") };
        let lease = database.options().lease;
        NodeArgs { database, name: name.into(), lease }
    }

    #[test]
    fn guardians_of_one_node_hold_one_file_whatever_the_password_and_others_another() {
        let guard = |url, name| args(url, name).guard().expect("a folder");
        let own = guard("postgres://u:one@h/d", "a");
        assert_eq!(own, guard("postgres://u:two@h:5432/d", "a"));
        assert_ne!(own, guard("postgres://u:one@h/d", "b"));
        assert_ne!(own, guard("postgres://u:one@h/e", "a"));
    }

    #[test]
    fn a_name_that_is_in_use_is_told_with_how_to_choose_another_and_why_two_have_one() {
        let error = StoreError::InUse { by: "quell, process 7".into() };
        let told = |name: &str| args("postgres://u:sesame@h/d", name).told(&error);
        let says = "postgres://h:5432/d: is in use by quell, process 7. This one is node `a`: if";
        assert!(told("a").starts_with(says), "{}", told("a"));
        let any = told(&default_name("127.0.0.1:0".parse().expect("an address")));
        assert!(any.contains(":0`, as is each server of this host that takes any port"), "{any}");
        for told in [told("a"), any] {
            assert!(told.contains("`--node NAME`, or `node` of `[store]`"), "{told}");
        }
    }

    #[test]
    fn a_name_is_that_of_the_host_and_the_port() {
        let name = default_name("0.0.0.0:7777".parse().expect("an address"));
        assert!(name.len() > ":7777".len() && name.ends_with(":7777"), "{name}");
    }
}
