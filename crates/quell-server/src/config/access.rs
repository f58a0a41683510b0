//! [`access`]: the keys and tokens of `quell.toml`. It never contains secrets: it names variables
//! and files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs};

use quell_http::{Access, Jwt, Key};
use serde::Deserialize;

/// `[[keys]]`: a static key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyEntry {
    subject: String,
    secret_env: String,
    scopes: Option<BTreeSet<String>>,
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
    algorithm: Algorithm,
    secret_env: Option<String>,
    public_key_file: Option<PathBuf>,
    #[serde(default)]
    audiences: Vec<String>,
    issuer: Option<String>,
    subject_claim: Option<String>,
    default_scopes: Option<BTreeSet<String>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Algorithm {
    #[serde(rename = "HS256")]
    Hs256,
    #[serde(rename = "RS256")]
    Rs256,
}

/// Makes the access control; open if there is neither a key nor a token.
pub(super) fn access(
    keys: &[KeyEntry],
    tokens: &[TokenEntry],
    folder: &Path,
) -> Result<Access, String> {
    let mut access = Access::open();
    for entry in keys {
        let at = |error| format!("[[keys]] of {}: {error}", entry.subject);
        access = access.key(entry.key().map_err(at)?);
    }
    for entry in tokens {
        access = access.jwt(entry.jwt(folder).map_err(|error| format!("[[tokens]]: {error}"))?);
    }
    Ok(access)
}

/// Yields the names of the variables that hold secrets. Programs that we start do not get them.
pub(super) fn secret_names(
    keys: &[KeyEntry],
    tokens: &[TokenEntry],
    agentos: Option<&String>,
) -> Arc<[String]> {
    let keys = keys.iter().map(|entry| &entry.secret_env);
    let tokens = tokens.iter().filter_map(|entry| entry.secret_env.as_ref());
    keys.chain(tokens).chain(agentos).cloned().collect()
}

impl KeyEntry {
    fn key(&self) -> Result<Key, String> {
        let mut key = Key::new(self.subject.as_str(), secret(&self.secret_env)?);
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
    fn jwt(&self, folder: &Path) -> Result<Jwt, String> {
        let mut jwt = match (self.algorithm, &self.secret_env, &self.public_key_file) {
            (Algorithm::Hs256, Some(name), None) => Jwt::hs256(secret(name)?),
            (Algorithm::Rs256, None, Some(file)) => {
                let file = folder.join(file);
                let pem = fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
                Jwt::rs256(pem)
            }
            (Algorithm::Hs256, ..) => {
                return Err("HS256 takes `secret_env`, and no `public_key_file`".into());
            }
            (Algorithm::Rs256, ..) => {
                return Err("RS256 takes `public_key_file`, and no `secret_env`".into());
            }
        }
        .map_err(|error| error.to_string())?;
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
    let found = env::var(name).map_err(|error| format!("the environment variable {name}: {error}"));
    let secret = found?;
    if secret.is_empty() {
        return Err(format!("the environment variable {name} is empty"));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> TokenEntry {
        toml::from_str(text).expect("an entry")
    }

    #[test]
    fn a_secret_that_is_not_there_is_named() {
        let text = "subject = 'ops'\nsecret_env = 'QUELL_TEST_NO_SUCH_VARIABLE'";
        let entry: KeyEntry = toml::from_str(text).expect("an entry");
        let error = access(&[entry], &[], Path::new("")).expect_err("no secret");
        assert!(error.contains("[[keys]] of ops"), "{error}");
        assert!(error.contains("QUELL_TEST_NO_SUCH_VARIABLE"), "{error}");
    }

    #[test]
    fn each_algorithm_takes_its_own_kind_of_key() {
        for (text, says) in [
            ("algorithm = 'HS256'", "`secret_env`"),
            ("algorithm = 'RS256'\nsecret_env = 'X'", "`public_key_file`"),
            ("algorithm = 'RS256'\npublic_key_file = 'no/such.pem'", "no/such.pem"),
        ] {
            let error = tokens(text).jwt(Path::new("")).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(toml::from_str::<TokenEntry>("algorithm = 'none'").is_err());
    }
}
