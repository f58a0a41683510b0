//! [`access`]: the keys and tokens of `quell.toml`. It never contains secrets: it names variables
//! and files.

use std::env::{self, VarError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quell_flow::{Catalog, PlanError, is_variable, limits};
use quell_http::{Access, Jwt, Key};
use serde::Deserialize;

use super::file::Config;
use super::scopes;
use crate::quoted::{is_surely_variable, of_path};
use crate::small_file;

/// `[[keys]]`: a static key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyEntry {
    subject: Option<String>,
    secret_env: Option<String>,
    scopes: Option<Vec<String>>,
    #[serde(default)]
    teams: Vec<String>,
    #[serde(default)]
    admin: bool,
    #[serde(default)]
    read_only: bool,
}

/// `[[tokens]]`: tokens of other issuers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenEntry {
    algorithm: Option<Algorithm>,
    secret_env: Option<String>,
    public_key_file: Option<PathBuf>,
    #[serde(default)]
    audiences: Vec<String>,
    issuer: Option<String>,
    subject_claim: Option<String>,
    default_scopes: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Algorithm {
    #[serde(rename = "HS256")]
    Hs256,
    #[serde(rename = "RS256")]
    Rs256,
}

impl Config {
    /// Makes the access control: that of the keys and tokens, open if there are none.
    ///
    /// # Errors
    ///
    /// Fails with every secret that is not in the environment, or is no valid key, and every scope
    /// that nothing asks for.
    pub(super) fn access(&self) -> Result<Access, Vec<PlanError>> {
        let mut access = Access::open();
        let (mut faults, mut secrets) = (Vec::new(), Vec::new());
        for (at, entry) in self.keys.iter().enumerate() {
            if faults.len() >= limits::PLAN_FAULTS_MAX {
                return Err(faults);
            }
            let scopes = entry.scopes.as_deref();
            faults.extend(self.told_of_scopes("keys", at, "scopes", scopes, scopes::fault_of));
            let own = entry.secret_env.as_deref().and_then(|name| secret(name).ok());
            let known = own.as_ref().and_then(|own| secrets.iter().position(|it| *it == *own));
            if let Some(other) = known {
                let words = format!(
                    "has the secret of another key, number {}; expected one of its own",
                    other + 1
                );
                faults.extend(self.entry_faults("keys", at, vec![("secret_env", words)]));
            }
            secrets.push(own.unwrap_or_default());
            if entry.admin && scopes.is_some() {
                let words = "does not go with `admin`, which may do everything; expected one of \
                             them, or `read_only` beside `admin`";
                faults.extend(self.entry_faults("keys", at, vec![("scopes", words.to_owned())]));
            }
            match entry.key() {
                Ok(key) => access = access.key(key),
                Err(found) => faults.extend(self.entry_faults("keys", at, found)),
            }
        }
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
            match entry.jwt(&self.folder) {
                Ok(jwt) => access = access.jwt(jwt),
                Err(fault) => faults.extend(self.entry_faults("tokens", at, vec![fault])),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let access = self.server.trusted_hosts.iter().fold(access, Access::trust_host);
        let origins = self.server.trusted_origins.iter().chain(&self.agentos.cors_origins);
        Ok(origins.fold(access, Access::trust_origin))
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
type Fault = (&'static str, String);

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
    fn key(&self) -> Result<Key, Vec<Fault>> {
        let is_missing = || IS_MISSING.to_owned();
        let subject = self.subject.as_ref().ok_or_else(|| ("subject", is_missing()));
        let secret = self.secret_env.as_deref().ok_or_else(is_missing).and_then(secret);
        let secret = secret.map_err(|words| ("secret_env", words));
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

impl TokenEntry {
    fn jwt(&self, folder: &Path) -> Result<Jwt, Fault> {
        let algorithm = self.algorithm.ok_or_else(|| {
            ("algorithm", format!("{IS_MISSING}; expected \"HS256\" or \"RS256\""))
        })?;
        let mut jwt = match (algorithm, &self.secret_env, &self.public_key_file) {
            (Algorithm::Hs256, Some(name), None) => {
                let at = |words| ("secret_env", words);
                Jwt::hs256(secret(name).map_err(at)?).map_err(|error| at(error.to_string()))?
            }
            (Algorithm::Rs256, None, Some(file)) => {
                let file = folder.join(file);
                let at = |words| ("public_key_file", words);
                let pem = small_file::read(&file, PUBLIC_KEY_BYTES_MAX);
                let pem = pem.map_err(|error| {
                    at(of_path(&file.display().to_string(), &error.to_string()))
                })?;
                Jwt::rs256(pem).map_err(|error| at(error.to_string()))?
            }
            (Algorithm::Hs256, ..) => {
                return Err((
                    "algorithm",
                    "HS256 takes `secret_env`, and no `public_key_file`".into(),
                ));
            }
            (Algorithm::Rs256, ..) => {
                return Err((
                    "algorithm",
                    "RS256 takes `public_key_file`, and no `secret_env`".into(),
                ));
            }
        };
        if !self.audiences.is_empty() {
            jwt = jwt.audiences(&self.audiences);
        }
        if let Some(issuer) = &self.issuer {
            jwt = jwt.issuer(issuer);
        }
        if let Some(claim) = &self.subject_claim {
            jwt = jwt.subject_claim(claim);
        }
        if let Some(scopes) = &self.default_scopes {
            jwt = jwt.default_scopes(scopes);
        }
        Ok(jwt)
    }
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
const IS_MISSING: &str = "is missing";

/// The largest public key, in bytes. One of RSA with 16384 bits has 3 KiB.
const PUBLIC_KEY_BYTES_MAX: u64 = 64 << 10;

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

    fn tokens(text: &str) -> TokenEntry {
        toml::from_str(text).expect("an entry")
    }

    #[test]
    fn each_algorithm_takes_its_own_kind_of_key() {
        for (text, says) in [
            ("algorithm = 'HS256'", "`secret_env`"),
            ("algorithm = 'RS256'\nsecret_env = 'X'", "`public_key_file`"),
            ("algorithm = 'RS256'\npublic_key_file = 'no/such.pem'", "no/such.pem"),
        ] {
            let (_, error) = tokens(text).jwt(Path::new("")).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(toml::from_str::<TokenEntry>("algorithm = 'none'").is_err());
    }
}
