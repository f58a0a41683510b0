//! [`Trusted`]: the keys and tokens of `quell.toml`. It never contains secrets: it names variables
//! and files.

use std::env::{self, VarError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quell_flow::{Catalog, PlanError, is_variable, limits};
use quell_http::{Access, Key};
use rustls::ServerConfig;
use serde::Deserialize;

use super::check::in_order;
use super::file::Config;
use super::scopes;
use super::set::Setting;
use super::tokens::{PublishedKeys, TokenEntry};
use crate::quoted::is_surely_variable;
use crate::small_file;

/// Who is let in, and as whom the server speaks.
pub(crate) struct Trusted {
    /// The keys and tokens; open if there are none.
    pub(crate) access: Access,
    /// The keys of tokens that issuers publish at an address.
    pub(crate) published: Vec<PublishedKeys>,
    /// The certificate; without one the server speaks HTTP as it is.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// What is no fault of them and should be otherwise.
    pub(crate) warnings: Vec<PlanError>,
}

/// Where a configuration is read from, to be read again.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(super) file: Option<PathBuf>,
    pub(super) settings: Vec<Setting>,
}

impl Source {
    /// Reads who is let in by now. What is published at an address that is among `known` is known
    /// as it was. Variables are those of the start.
    ///
    /// # Errors
    ///
    /// Fails with every fault of the file, of its settings, keys and tokens.
    pub(crate) fn trusted(&self, known: &[PublishedKeys]) -> Result<Trusted, Vec<PlanError>> {
        let (config, mut faults) = Config::read(self.file.as_deref(), &self.settings);
        match config.trusted(known) {
            Ok(trusted) if faults.is_empty() => return Ok(trusted),
            Ok(_) => {}
            Err(found) => faults.extend(found),
        }
        Err(in_order(faults))
    }
}

/// `[[keys]]`: a static key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyEntry {
    subject: Option<String>,
    secret_env: Option<String>,
    secret_file: Option<PathBuf>,
    scopes: Option<Vec<String>>,
    #[serde(default)]
    teams: Vec<String>,
    #[serde(default)]
    admin: bool,
    #[serde(default)]
    read_only: bool,
}

impl Config {
    /// Makes the access control: that of the keys and tokens, open if there are none; and reads
    /// the certificate.
    ///
    /// # Errors
    ///
    /// Fails with every secret that is not in the environment, or is no valid key, and every scope
    /// that nothing asks for.
    pub(super) fn trusted(&self, known: &[PublishedKeys]) -> Result<Trusted, Vec<PlanError>> {
        let mut faults = Vec::new();
        let access = self.static_keys().unwrap_or_else(|found| {
            faults.extend(found);
            Access::open()
        });
        let (access, published) = self.issuers(access, known).unwrap_or_else(|found| {
            faults.extend(found);
            (Access::open(), Vec::new())
        });
        let tls = self.tls().unwrap_or_else(|fault| {
            faults.push(fault);
            None
        });
        if !faults.is_empty() {
            return Err(faults);
        }
        let access = self.server.trusted_hosts.iter().fold(access, Access::trust_host);
        let origins = self.server.trusted_origins.iter().chain(&self.agentos.cors_origins);
        let access = origins.fold(access, Access::trust_origin);
        let (tls, warnings) = tls.map_or_else(Default::default, |(tls, found)| (Some(tls), found));
        Ok(Trusted { access, published, tls, warnings })
    }

    /// Adds the static keys to open access.
    fn static_keys(&self) -> Result<Access, Vec<PlanError>> {
        let mut access = Access::open();
        let (mut faults, mut secrets) = (Vec::new(), Vec::new());
        for (at, entry) in self.keys.iter().enumerate() {
            if faults.len() >= limits::PLAN_FAULTS_MAX {
                return Err(faults);
            }
            let scopes = entry.scopes.as_deref();
            faults.extend(self.told_of_scopes("keys", at, "scopes", scopes, scopes::fault_of));
            let own = entry.secret(&self.folder).ok();
            let known = own.as_ref().and_then(|own| secrets.iter().position(|it| *it == *own));
            if let Some(other) = known {
                let words = format!(
                    "has the secret of another key, number {}; expected one of its own",
                    other + 1
                );
                faults.extend(self.entry_faults("keys", at, vec![(entry.place(), words)]));
            }
            secrets.push(own.unwrap_or_default());
            if entry.admin && scopes.is_some() {
                let words = "does not go with `admin`, which may do everything; expected one of \
                             them, or `read_only` beside `admin`";
                faults.extend(self.entry_faults("keys", at, vec![("scopes", words.to_owned())]));
            }
            match entry.key(&self.folder) {
                Ok(key) => access = access.key(key),
                Err(found) => faults.extend(self.entry_faults("keys", at, found)),
            }
        }
        if faults.is_empty() { Ok(access) } else { Err(faults) }
    }

    /// Adds the issuers of tokens.
    fn issuers(
        &self,
        mut access: Access,
        known: &[PublishedKeys],
    ) -> Result<(Access, Vec<PublishedKeys>), Vec<PlanError>> {
        let (mut faults, mut published) = (Vec::new(), Vec::new());
        for (at, entry) in self.tokens.iter().enumerate() {
            if faults.len() >= limits::PLAN_FAULTS_MAX {
                return Err(faults);
            }
            let scopes = entry.default_scopes.as_deref();
            let told =
                self.told_of_scopes("tokens", at, "default_scopes", scopes, scopes::fault_of);
            faults.extend(told);
            if entry.issuer.is_none() && self.tokens.len() > 1 {
                let words = format!("{IS_MISSING}; of several `[[tokens]]` each needs its own");
                faults.extend(self.entry_faults("tokens", at, vec![("issuer", words)]));
            }
            match entry.jwt(&self.folder, known) {
                Ok((jwt, keys)) => {
                    access = access.jwt(jwt);
                    published.extend(keys);
                }
                Err(fault) => faults.extend(self.entry_faults("tokens", at, vec![fault])),
            }
        }
        if faults.is_empty() { Ok((access, published)) } else { Err(faults) }
    }

    /// Makes the faults of an entry. A key that is missing because it has a fault is no other one.
    fn entry_faults(&self, table: &str, at: usize, mut found: Vec<Fault>) -> Vec<PlanError> {
        let at = at.to_string();
        found.retain(|(key, message)| {
            !(message.starts_with(IS_MISSING) && self.is_lost(&[table, &at, key]))
        });
        found.iter().map(|(key, message)| self.fault(&[table, &at, key], message)).collect()
    }

    /// Warns of the scopes of keys and tokens whose components are not there.
    pub(super) fn scope_warnings(&self, catalog: &Catalog) -> Vec<PlanError> {
        let keys = self.keys.iter().map(|entry| entry.scopes.as_deref()).enumerate();
        let tokens = self.tokens.iter().map(|entry| entry.default_scopes.as_deref()).enumerate();
        let keys = keys.map(|(at, scopes)| ("keys", at, "scopes", scopes));
        let tokens = tokens.map(|(at, scopes)| ("tokens", at, "default_scopes", scopes));
        let warned = |(table, at, key, scopes)| {
            self.told_of_scopes(table, at, key, scopes, |it| scopes::warning_of(it, catalog))
        };
        keys.chain(tokens).flat_map(warned).collect()
    }

    /// Yields what is told of each scope of a list, with its place.
    fn told_of_scopes(
        &self,
        table: &str,
        at: usize,
        key: &str,
        scopes: Option<&[String]>,
        told: impl Fn(&str) -> Option<String>,
    ) -> Vec<PlanError> {
        let all = scopes.unwrap_or_default().iter().enumerate();
        let found = all.filter_map(|(number, scope)| Some((number.to_string(), told(scope)?)));
        let (at, found) = (at.to_string(), found.take(limits::PLAN_FAULTS_MAX));
        found.map(|(number, words)| self.fault(&[table, &at, key, &number], &words)).collect()
    }
}

/// What is wrong with an entry: a key of it, and the message.
pub(super) type Fault = (&'static str, String);

/// Yields the names of the variables that hold secrets. Programs that we start do not get them.
pub(super) fn secret_names<'a>(
    keys: &'a [KeyEntry],
    tokens: &'a [TokenEntry],
    others: impl Iterator<Item = &'a String>,
) -> Arc<[String]> {
    let keys = keys.iter().filter_map(|entry| entry.secret_env.as_ref());
    let tokens = tokens.iter().filter_map(|entry| entry.secret_env.as_ref());
    keys.chain(tokens).chain(others).cloned().collect()
}

impl KeyEntry {
    /// Yields the key of the file that says where the secret is.
    fn place(&self) -> &'static str {
        if self.secret_file.is_some() { "secret_file" } else { "secret_env" }
    }

    fn secret(&self, folder: &Path) -> Result<String, Fault> {
        let named = (self.secret_env.as_deref(), self.secret_file.as_deref());
        let secret = secret_of(named, folder)?;
        for_header(secret).map_err(|words| (self.place(), words))
    }

    fn key(&self, folder: &Path) -> Result<Key, Vec<Fault>> {
        let subject = self.subject.as_ref().ok_or_else(|| ("subject", IS_MISSING.to_owned()));
        let secret = self.secret(folder);
        let (subject, secret) = match (subject, secret) {
            (Ok(subject), Ok(secret)) => (subject, secret),
            (subject, secret) => {
                return Err(subject.err().into_iter().chain(secret.err()).collect());
            }
        };
        let mut key = Key::new(subject.as_str(), secret);
        if let Some(scopes) = &self.scopes {
            key = key.scopes(scopes);
        }
        if !self.teams.is_empty() {
            key = key.in_teams(&self.teams);
        }
        if self.admin {
            key = key.admin();
        }
        if self.read_only {
            key = key.read_only();
        }
        Ok(key)
    }
}

/// Reads a secret from a variable or a file, whichever is named.
pub(super) fn secret_of(
    named: (Option<&str>, Option<&Path>),
    folder: &Path,
) -> Result<String, Fault> {
    match named {
        (Some(_), Some(_)) => {
            Err(("secret_file", "does not go with `secret_env`; expected one of them".into()))
        }
        (_, Some(file)) => secret_in(&folder.join(file)).map_err(|words| ("secret_file", words)),
        (Some(name), None) => secret(name).map_err(|words| ("secret_env", words)),
        (None, None) => Err(("secret_env", IS_MISSING.into())),
    }
}

/// Reads the secret in a file, without the end of its last line. A message about it names no path:
/// what stands there may be the secret itself.
fn secret_in(file: &Path) -> Result<String, String> {
    let read = small_file::read(file, KEY_BYTES_MAX as u64).map_err(|error| error.to_string());
    let text = read.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "is no text".into()));
    let secret = text.map_err(|words| format!("this file: {words}"))?;
    if secret.starts_with('\u{feff}') {
        return Err(
            "this file begins with a byte order mark, which would be a part of the key".into()
        );
    }
    let secret = secret.trim_end_matches(['\r', '\n']);
    if secret.is_empty() { Err("this file is empty".into()) } else { Ok(secret.to_owned()) }
}

/// Yields a key that a request can bring: in a header there is one line of ASCII, and blanks around
/// it are lost.
///
/// # Errors
///
/// Fails with why no request can bring it.
pub(super) fn for_header(key: String) -> Result<String, String> {
    let words = if key.contains(['\r', '\n']) {
        "the key has several lines, which no header can carry; expected one"
    } else if key.chars().any(|char| char.is_control() || !char.is_ascii()) {
        "the key has a sign that no header can carry; expected those of ASCII"
    } else if key.trim() != key {
        "the key has a blank at its begin or end, which no header can carry"
    } else {
        return Ok(key);
    };
    Err(words.to_owned())
}

/// Reads a secret from the environment.
pub(super) fn secret(name: &str) -> Result<String, String> {
    if name.is_empty() || !is_variable(name) {
        // It may be the secret itself.
        return Err("is no name of an environment variable; expected one such as `API_KEY`".into());
    }
    let what = match env::var(name) {
        Ok(secret) if secret.is_empty() => "empty",
        Ok(secret) => return Ok(secret),
        Err(VarError::NotPresent) => "not set",
        Err(VarError::NotUnicode(_)) => "no text",
    };
    let name = if is_surely_variable(name) { name } else { "of this name" };
    Err(format!("the environment variable {name} is {what}"))
}

/// How the message about a key begins that is not there.
pub(super) const IS_MISSING: &str = "is missing";

/// The largest key in a file, in bytes. A public one of RSA with 16384 bits has 3 KiB.
pub(super) const KEY_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_no_name_of_a_variable_that_may_be_the_secret() {
        for (name, says) in [
            ("QUELL_TEST_NOT_SET1", "the environment variable QUELL_TEST_NOT_SET1 is not set"),
            ("quell_not_set", "the environment variable quell_not_set is not set"),
            ("ghp_16C7e42F292c69", "the environment variable of this name is not set"),
            ("quell0not0set", "the environment variable of this name is not set"),
        ] {
            assert_eq!(secret(name).expect_err(name), says);
        }
    }
}
