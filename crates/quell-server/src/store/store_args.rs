//! [`StoreArgs`]: which store is read, as the command line says it.

use clap::Args;

use super::place::{Place, places};

/// A store that is to be named.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct StoreArgs {
    /// The store: the file that `--store` of `quell run` or `quell serve` has made, or the
    /// database, as `postgres://USER@HOST/DATABASE`. Processes may have it meanwhile
    #[arg(long, value_name = "FILE | URL", value_parser = places())]
    store: Option<Place>,

    /// The environment variable that has the address of the database: others can read a command
    /// line
    #[arg(long, value_name = "NAME")]
    store_env: Option<String>,
}

impl StoreArgs {
    /// Yields the store that is named.
    ///
    /// # Errors
    ///
    /// Fails with what to do if the variable has no address.
    pub(super) fn place(&self) -> Result<Place, String> {
        named(self.store.as_ref(), self.store_env.as_deref())
    }
}

/// A database that is to be named: a file has no nodes.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct DatabaseArgs {
    /// The database, as `postgres://USER@HOST/DATABASE`. Servers have it meanwhile
    #[arg(long, value_name = "URL", value_parser = places())]
    store: Option<Place>,

    /// The environment variable that has the address of the database: others can read a command
    /// line
    #[arg(long, value_name = "NAME")]
    store_env: Option<String>,
}

impl DatabaseArgs {
    /// Yields the store that is named, a file as well: what is wrong with that is told.
    ///
    /// # Errors
    ///
    /// As [`StoreArgs::place`].
    pub(super) fn place(&self) -> Result<Place, String> {
        named(self.store.as_ref(), self.store_env.as_deref())
    }
}

/// A database that may be named.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct AnyDatabaseArgs {
    /// The database, as `postgres://USER@HOST/DATABASE`, instead of a running server
    #[arg(long, value_name = "URL", value_parser = places())]
    store: Option<Place>,

    /// The environment variable that has the address of the database: others can read a command
    /// line
    #[arg(long, value_name = "NAME")]
    store_env: Option<String>,
}

impl AnyDatabaseArgs {
    /// Tells whether one is named.
    pub(super) const fn is_given(&self) -> bool {
        self.store.is_some() || self.store_env.is_some()
    }

    /// Yields the store that is named, a file as well: what is wrong with that is told.
    ///
    /// # Errors
    ///
    /// As [`StoreArgs::place`].
    pub(super) fn place(&self) -> Result<Place, String> {
        named(self.store.as_ref(), self.store_env.as_deref())
    }
}

/// A file that is to be named: what servers have on a database is theirs.
#[derive(Debug, Args)]
pub(super) struct FileArgs {
    /// The store: the file that `--store` of `quell run` or `quell serve` has made. No process has
    /// it meanwhile
    #[arg(long, value_name = "FILE", value_parser = places())]
    store: Place,
}

impl FileArgs {
    /// Yields the store that is named, a database as well: what is wrong with that is told.
    pub(super) const fn place(&self) -> &Place {
        &self.store
    }
}

/// A store that goes with a run.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct AnyStoreArgs {
    /// The store: the file that the option of this name of quell run or quell serve has made, or
    /// the address of the database. Processes may have it meanwhile
    #[arg(long, value_name = "FILE | URL", value_parser = places(), requires = "run")]
    store: Option<Place>,

    /// The environment variable that has the address of the database: others can read a command
    /// line
    #[arg(long, value_name = "NAME", requires = "run")]
    store_env: Option<String>,
}

impl AnyStoreArgs {
    /// Yields the store that is named.
    ///
    /// # Errors
    ///
    /// As [`StoreArgs::place`].
    pub(super) fn place(&self) -> Result<Place, String> {
        named(self.store.as_ref(), self.store_env.as_deref())
    }
}

/// Yields the store that one of two options names.
///
/// # Errors
///
/// Fails with what to do if the variable has no address, or if none of them stands there.
pub(super) fn named(store: Option<&Place>, variable: Option<&str>) -> Result<Place, String> {
    match (store, variable) {
        (Some(place), _) => Ok(place.clone()),
        (None, Some(name)) => Place::of_env(name).map_err(|words| format!("--store-env: {words}")),
        (None, None) => Err(NONE_NAMED.to_owned()),
    }
}

const NONE_NAMED: &str =
    "no store is named; expected `--store <FILE | URL>`, or `--store-env <NAME>`";
