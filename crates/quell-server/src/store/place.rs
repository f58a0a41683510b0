//! [`Place`]: where runs are kept, a file or a database.

use std::env::{self, VarError};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use quell::store::StoreError;
use quell_flow::is_variable;
use quell_postgres::PostgresOptions;
use quell_report::text::printable;

use crate::quoted::is_surely_variable;

/// Where runs are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// An SQLite file.
    File(PathBuf),
    /// A schema of a PostgreSQL database.
    Database(Database),
}

impl Place {
    /// Reads the value of `--store`: the address of a database, or a path.
    pub(crate) fn of(value: OsString) -> Self {
        match value.to_str() {
            Some(url) if is_no_path(url) => Self::Database(Database(url.to_owned())),
            _ => Self::File(value.into()),
        }
    }

    /// Reads the address of a database from a variable of the environment: others can read a
    /// command line.
    ///
    /// # Errors
    ///
    /// Fails with what to do if it is not set, empty, or no address. No word is part of the value.
    pub(crate) fn of_env(name: &str) -> Result<Self, String> {
        if name.is_empty() || !is_variable(name) {
            // It may be the address itself.
            return Err(
                "is no name of an environment variable; expected one such as `QUELL_STORE`".into(),
            );
        }
        let what = match env::var(name) {
            Ok(url) if is_address(&url) => return Ok(Self::Database(Database(url))),
            Ok(url) if url.is_empty() => "is empty",
            Ok(_) => "is no address of a database",
            Err(VarError::NotPresent) => "is not set",
            Err(VarError::NotUnicode(_)) => "is no text",
        };
        let name = if is_surely_variable(name) { name } else { "of this name" };
        Err(format!("the environment variable {name} {what}; expected {EXPECTED}"))
    }

    /// Yields the message of an error, after the place that it is about.
    pub(super) fn told(&self, error: &StoreError) -> String {
        printable(&format!("{self}: {error}")).into_owned()
    }
}

/// Shows a path, or an address without user and password.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Database(database) => database.fmt(f),
        }
    }
}

/// The address of a database. It is shown without user and password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Database(String);

impl Database {
    /// Yields how it is opened, with all that is not the address as by default.
    pub(crate) fn options(&self) -> PostgresOptions {
        PostgresOptions::new(&*self.0)
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}", self.options().shown_address())
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads the value of `--store`.
pub(crate) fn places() -> impl TypedValueParser<Value = Place> {
    OsStringValueParser::new().try_map(|value: OsString| {
        if value.is_empty() {
            return Err("is empty, as a variable that is not set is; expected one such as \
                        `runs.db`");
        }
        let is_variable = value.to_str().is_some_and(|text| text.starts_with('$'));
        if is_variable {
            return Err("is a variable in single quotes, which a shell leaves as it is; expected \
                        `--store-env NAME`");
        }
        Ok(Place::of(value))
    })
}

/// Tells whether a text is the address of a database: a URL, or pairs.
pub(crate) fn is_address(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let has = |pair: &&str| text.contains(*pair);
    let has_scheme = SCHEMES.iter().any(|scheme| text.starts_with(scheme));
    has_scheme || !begins_as_path(&text) && PAIRS.iter().any(has)
}

/// Tells whether a text is meant for an address, also with a slip: it is no path, which would be
/// shown, and made. A path that looks like one begins with `./` or `/`.
pub(crate) fn is_no_path(text: &str) -> bool {
    let text = text.trim_start().to_ascii_lowercase();
    let has = |part: &&str| text.contains(*part);
    let has_password = || text.split_once('@').is_some_and(|(user, _)| user.contains(':'));
    let is_meant =
        is_address(&text) || !begins_as_path(&text) && (PARTS.iter().any(has) || has_password());
    is_meant || text.contains("password=")
}

fn begins_as_path(text: &str) -> bool {
    text.starts_with(['/', '.'])
}

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// What pairs of an address have.
const PAIRS: [&str; 5] = ["password=", "host=", "hostaddr=", "dbname=", "user="];

/// What no name of a file has.
const PARTS: [&str; 3] = ["://", "postgres:", "postgresql:"];

/// What an address looks like.
pub(crate) const EXPECTED: &str = "one such as `postgres://USER@HOST/DATABASE`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_database_and_all_else_a_path() {
        for url in ["postgres://u:SECRET@h/d", "postgresql://u:SECRET@h:5432/d?sslmode=disable"] {
            let place = Place::of(url.into());
            assert!(matches!(&place, Place::Database(it) if it.options().url == url), "{place}");
            assert_eq!(place.to_string(), "postgres://h:5432/d");
            assert!(!format!("{place:?}").contains("SECRET"), "{place:?}");
        }
        for path in ["runs.db", "", "./postgres://h", "/srv/host=h", "postgres", "users.db"] {
            assert_eq!(Place::of(path.into()), Place::File(path.into()), "{path}");
        }
        for unreadable in [
            "postgres://SECRET",
            "quell:SECRET@h/d",
            "POSTGRES://u:SECRET@h/d",
            " postgres://u:SECRET@h/d",
            "postgers://u:SECRET@h/d",
            "jdbc:postgresql://u:SECRET@h/d",
            "postgresql:u:SECRET@h/d",
            "postgres://u:my@SECRET@h/d",
            "postgres://u@h/d&password=SECRET",
            "host=h password=SECRET",
        ] {
            assert_eq!(Place::of(unreadable.into()).to_string(), "postgres://…");
        }
    }

    #[test]
    fn a_variable_that_has_no_address_is_told_without_its_value() {
        for (name, says) in [
            ("QUELL_TEST_NO_SUCH_PLACE", "QUELL_TEST_NO_SUCH_PLACE is not set; expected one"),
            // It is set wherever tests run, and has paths.
            ("PATH", "variable PATH is no address of a database; expected one such as `postgres"),
            ("postgres://u:SECRET@h/d", "is no name of an environment variable"),
            ("", "is no name of an environment variable"),
        ] {
            let error = Place::of_env(name).expect_err(name);
            assert!(error.contains(says) && !error.contains("SECRET"), "{name}: {error}");
        }
    }
}
