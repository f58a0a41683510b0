//! [`StoreEntry`]: where runs are kept, and how much of what is over, `[store]`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quell::EngineConfig;
use quell_flow::PlanError;
use quell_postgres::PostgresOptions;
use quell_report::text::{printable, span};
use serde::Deserialize;

use super::file::Config;
use crate::quoted::of_path;
use crate::store::{
    DRAINED, Database, EXPECTED, Keep, NodeArgs, Place, default_name, is_address, is_no_path,
};
use crate::times;

/// `[store]`. Without a place, here or on the command line, runs are in memory only.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StoreEntry {
    /// The file, which is made if it is missing.
    path: Option<PathBuf>,
    /// The address of a database.
    url: Option<String>,
    /// The variable that has the address of a database.
    url_env: Option<String>,
    /// The name of the server among others on a database.
    node: Option<String>,
    /// The lease of its name.
    #[serde(deserialize_with = "times::deserialize_some")]
    lease: Option<Duration>,
    /// How long ended runs are kept.
    #[serde(deserialize_with = "times::deserialize_kept")]
    keep: Option<Duration>,
    /// How many ended runs are kept.
    keep_runs: Option<u64>,
    /// How many MiB are kept.
    keep_mib: Option<u64>,
    /// What the command line names instead of a place of the file.
    #[serde(skip)]
    asked: AskedStore,
    /// Whether a command line has said it: `quell check` knows none.
    #[serde(skip)]
    is_asked: bool,
}

/// What a command line says of where runs are kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct AskedStore {
    /// `--store`.
    pub(crate) place: Option<Place>,
    /// `--store-env`: the variable that has the address of a database.
    pub(crate) env: Option<String>,
    /// `--node`: the name of the server among others.
    pub(crate) node: Option<String>,
}

impl AskedStore {
    /// Tells whether it names a place.
    pub(crate) const fn is_some(&self) -> bool {
        self.place.is_some() || self.env.is_some()
    }
}

/// What is wrong with a place: its key, and the message.
type Fault = (&'static str, String);

impl Config {
    /// Takes what the command line says of the store: it counts, and not what the file says.
    pub(super) fn ask_store(&mut self, asked: &AskedStore) {
        (self.store.asked, self.store.is_asked) = (asked.clone(), true);
    }

    /// Yields the place in which runs are kept, if they are: that of the command line, and else
    /// that of the file.
    ///
    /// # Errors
    ///
    /// Fails with what to do if a variable has no address, or what the file says is none.
    pub(crate) fn place(&self) -> Result<Option<Place>, String> {
        self.named_place().map_err(|(key, words)| format!("`{key}` of `[store]`: {words}"))
    }

    fn named_place(&self) -> Result<Option<Place>, Fault> {
        let StoreEntry { path, url, url_env, asked, .. } = &self.store;
        match asked {
            AskedStore { place: Some(place), .. } => return Ok(Some(place.clone())),
            AskedStore { env: Some(name), .. } => {
                return Place::of_env(name).map(Some).map_err(|words| (ENV_OPTION, words));
            }
            AskedStore { place: None, env: None, .. } => {}
        }
        let several = |key| Err((key, ONE_PLACE.to_owned()));
        match (path, url, url_env) {
            (None, None, None) => Ok(None),
            (Some(path), None, None) if path.to_str().is_some_and(is_no_path) => {
                Err(("path", "expected a file; the address of a database is `url`".to_owned()))
            }
            (Some(path), None, None) => Ok(Some(Place::File(self.folder.join(path)))),
            (None, Some(url), None) if is_address(url) => Ok(Some(Place::of(url.into()))),
            (None, Some(_), None) => {
                Err(("url", format!("is no address of a database; expected {EXPECTED}")))
            }
            (None, None, Some(name)) => {
                Place::of_env(name).map(Some).map_err(|words| ("url_env", words))
            }
            (Some(_), Some(_), _) => several("url"),
            (_, _, Some(_)) => several("url_env"),
        }
    }

    /// Yields as which node a server is on a database that is to listen there.
    pub(crate) fn node(&self, database: Database, listen: SocketAddr) -> NodeArgs {
        let StoreEntry { node, asked, .. } = &self.store;
        let name = asked.node.as_ref().or(node.as_ref()).cloned();
        let name = name.unwrap_or_else(|| default_name(listen));
        let lease = self.lease(&database);
        NodeArgs { database, name, lease }
    }

    fn lease(&self, database: &Database) -> Duration {
        self.store.lease.unwrap_or_else(|| database.options().lease)
    }

    fn told_of_node(&self, key: &str, words: &str) -> PlanError {
        match (key, &self.store.asked.node) {
            ("node", Some(_)) => PlanError::new(format!("--node: {words}")),
            _ => self.fault(&["store", key], words),
        }
    }

    /// Says that a server has a name or a lease that is on no database.
    fn no_node_fault(&self, place: Option<&Place>) -> Option<PlanError> {
        let StoreEntry { node, lease, asked, .. } = &self.store;
        let is_named = asked.node.is_some() || node.is_some();
        let key = is_named.then_some("node").or(lease.map(|_| "lease"))?;
        let is_node = matches!(place, Some(Place::Database(_)));
        let words = "is for servers on a database; expected `url_env` in `[store]`, or `quell \
            serve --store postgres://USER@HOST/DATABASE`";
        (!is_node).then(|| self.told_of_node(key, words))
    }

    /// Says what is wrong with the name and the lease of a server on a database.
    fn node_fault(&self, place: Option<&Place>) -> Option<PlanError> {
        let StoreEntry { node, lease, asked, .. } = &self.store;
        let told = |key: &str, words: &str| self.told_of_node(key, words);
        let of_place = match place {
            Some(Place::Database(database)) => Some(self.lease(database)),
            _ => *lease,
        };
        let name = asked.node.as_ref().or(node.as_ref());
        if name.is_some_and(|name| name.is_empty() || name.len() > NAME_BYTES_MAX) {
            return Some(told("node", "expected a name of 1 to 255 bytes"));
        }
        // What is printed of it is what `quell nodes forget` takes.
        if name.is_some_and(|name| name != &*printable(name)) {
            return Some(told("node", "expected a name without control characters"));
        }
        if name.is_some_and(|name| name.ends_with(DRAINED)) {
            let words = format!("ends with `{DRAINED}`, as what a server that ended has given up");
            return Some(told("node", &format!("{words}; expected another name")));
        }
        let engine = EngineConfig::new().grace(self.grace()).abort_wait(self.abort_wait());
        let longer_than = engine.shortest_lease();
        let lease = of_place?;
        if lease > PostgresOptions::LEASE_MAX {
            let words = format!(
                "is too long: nobody has the runs of a server that is gone before its lease is \
                 over; expected at most {}",
                span(PostgresOptions::LEASE_MAX)
            );
            return Some(told("lease", &words));
        }
        (lease <= longer_than).then(|| {
            let most = span(longer_than);
            let words = format!(
                "leaves no time to end runs that other servers take over; expected more than \
                 {most}: five fourths of `grace` and `abort_wait` of `[server]` and 1 s, or \
                 shorter ones"
            );
            told("lease", &words)
        })
    }

    /// Yields how much of what is over is kept: what the command line says, and else what the file
    /// says, each by itself.
    pub(crate) fn keep(&self, asked: Keep) -> Keep {
        let StoreEntry { keep: time, keep_runs, keep_mib, .. } = &self.store;
        asked.or(Keep { time: *time, runs: *keep_runs, mib: *keep_mib })
    }

    /// Tells whether runs are kept, also if it is not known where.
    pub(super) const fn has_store(&self) -> bool {
        let StoreEntry { path, url, url_env, asked, .. } = &self.store;
        asked.is_some() || path.is_some() || url.is_some() || url_env.is_some()
    }

    /// Yields the names of the variables that have the address of a database: programs do not get
    /// them.
    pub(super) fn store_variables(&self) -> impl Iterator<Item = &String> {
        self.store.url_env.iter().chain(&self.store.asked.env)
    }

    /// Tells whether it is not known where a server keeps its runs: the file says nothing of that,
    /// and what the command line of the server will say is not known.
    fn may_be_placed(&self) -> bool {
        !self.store.is_asked && matches!(self.named_place(), Ok(None))
    }

    /// Says that there is no store of which to keep something.
    fn no_place_fault(&self) -> Option<PlanError> {
        let is_lost = ["path", "url", "url_env"].iter().any(|key| self.is_lost(&["store", key]));
        let words = "`path` is missing; expected the file of the store, such as \
                     `path = \"runs.db\"`, or `quell serve --store`";
        let is_wanted = self.keep(Keep::default()) != Keep::default() && !is_lost;
        is_wanted.then(|| self.bare_fault(&["store"], words.to_owned()))
    }

    /// Warns of what only a server has a use for whose command line says where its runs are kept.
    pub(super) fn store_warnings(&self) -> Vec<PlanError> {
        if !self.may_be_placed() {
            return Vec::new();
        }
        self.no_node_fault(None).or_else(|| self.no_place_fault()).into_iter().collect()
    }

    /// Says that no store can be where the file has it, or that there is none of which to keep
    /// something.
    pub(super) fn store_fault(&self) -> Option<PlanError> {
        let is_asked = self.store.asked.is_some();
        let place = self.named_place();
        if let Ok(place) = &place {
            let no_node = self.no_node_fault(place.as_ref()).filter(|_| !self.may_be_placed());
            let fault = no_node.or_else(|| self.node_fault(place.as_ref()));
            if fault.is_some() {
                return fault;
            }
        }
        let path = match place {
            Ok(Some(Place::File(path))) if !is_asked => path,
            Ok(Some(_)) => return None,
            Ok(None) => return self.no_place_fault().filter(|_| !self.may_be_placed()),
            Err((key, words)) if key == ENV_OPTION => {
                return Some(PlanError::new(format!("{key}: {words}")));
            }
            Err((key, words)) => return Some(self.fault(&["store", key], &words)),
        };
        let words = fault_of(&path)?;
        Some(self.fault(&["store", "path"], &of_path(&path.display().to_string(), words)))
    }
}

/// Says why no store can be at a path, as far as one can see without making it.
fn fault_of(path: &Path) -> Option<&'static str> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let is_folder = folder.unwrap_or(Path::new(".")).is_dir();
    match path.file_name() {
        _ if path.is_dir() => Some("is a folder; expected a file in it, such as `runs.db`"),
        None => Some("names no file; expected one such as `runs.db`"),
        Some(_) if !is_folder => Some("no such folder; make it first"),
        Some(_) => None,
    }
}

/// The longest name of a node.
const NAME_BYTES_MAX: usize = 255;

/// The option of the command line that names a variable.
const ENV_OPTION: &str = "--store-env";

const ONE_PLACE: &str = "does not go with another place; expected one of `path`, `url` and \
                         `url_env`";
