//! [`TokenEntry`]: tokens of other issuers, and the keys by which they are known.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use hyper::Uri;
use quell_http::{Jwt, KeyError, KeySet};
use serde::Deserialize;

use super::access::{Fault, IS_MISSING, KEY_BYTES_MAX, secret_of};
use crate::quoted::of_path;
use crate::remote::address;
use crate::small_file;

/// `[[tokens]]`: tokens of other issuers.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TokenEntry {
    algorithm: Option<Algorithm>,
    pub(super) secret_env: Option<String>,
    secret_file: Option<PathBuf>,
    public_key_file: Option<PathBuf>,
    jwks_file: Option<PathBuf>,
    jwks_url: Option<String>,
    audiences: Vec<String>,
    pub(super) issuer: Option<String>,
    subject_claim: Option<String>,
    pub(super) default_scopes: Option<Vec<String>>,
}

/// Keys that an issuer publishes at an address.
#[derive(Clone, Debug)]
pub(crate) struct PublishedKeys {
    pub(crate) address: Uri,
    pub(crate) keys: KeySet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Algorithm {
    #[serde(rename = "HS256")]
    Hs256,
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "ES256")]
    Es256,
}

impl TokenEntry {
    /// Makes what accepts these tokens, and where their keys are published, if they are.
    pub(super) fn jwt(
        &self,
        folder: &Path,
        known: &[PublishedKeys],
    ) -> Result<(Jwt, Option<PublishedKeys>), Fault> {
        let (mut jwt, published) = self.keys(folder, known)?;
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
        Ok((jwt, published))
    }

    fn keys(
        &self,
        folder: &Path,
        known: &[PublishedKeys],
    ) -> Result<(Jwt, Option<PublishedKeys>), Fault> {
        self.one_source()?;
        if let Some(text) = &self.jwks_url {
            let address = published_at(text).map_err(|words| ("jwks_url", words))?;
            let same = known.iter().find(|it| it.address == address).cloned();
            let published = same.unwrap_or_else(|| PublishedKeys { address, keys: KeySet::new() });
            return Ok((Jwt::key_set(published.keys.clone()), Some(published)));
        }
        if let Some(file) = &self.jwks_file {
            let keys = KeySet::new();
            of_file("jwks_file", &folder.join(file), KeySet::BYTES_MAX, |it| keys.replace(it))?;
            if keys.is_empty() {
                return Err(("jwks_file", "has no key for RS256 or ES256".into()));
            }
            return Ok((Jwt::key_set(keys), None));
        }
        let jwt = match (self.algorithm, &self.public_key_file) {
            (None, _) => return Err(("algorithm", format!("{IS_MISSING}; {ALGORITHMS}"))),
            (Some(Algorithm::Hs256), _) => {
                let secret =
                    secret_of((self.secret_env.as_deref(), self.secret_file.as_deref()), folder)?;
                let place = if self.secret_file.is_some() { "secret_file" } else { "secret_env" };
                Jwt::hs256(secret).map_err(|error| (place, error.to_string()))?
            }
            (Some(_), None) => {
                return Err(("public_key_file", IS_MISSING.into()));
            }
            (Some(algorithm), Some(file)) => {
                let is_rsa = algorithm == Algorithm::Rs256;
                of_file("public_key_file", &folder.join(file), KEY_BYTES_MAX, |pem| {
                    if is_rsa { Jwt::rs256(pem) } else { Jwt::es256(pem) }
                })?
            }
        };
        Ok((jwt, None))
    }

    /// Refuses what does not go together: a key is for one algorithm, and the keys of a set say
    /// theirs themselves.
    fn one_source(&self) -> Result<(), Fault> {
        let has_secret = self.secret_env.is_some() || self.secret_file.is_some();
        let (has_key, has_file) = (self.public_key_file.is_some(), self.jwks_file.is_some());
        let has_set = has_file || self.jwks_url.is_some();
        if has_file && self.jwks_url.is_some() {
            return Err(("jwks_file", "does not go with `jwks_url`; expected one of them".into()));
        }
        let wrong = match self.algorithm {
            Some(_) if has_set => {
                "does not go with a set of keys (`jwks_file`, `jwks_url`): each of them has its own"
            }
            None if has_set && (has_secret || has_key) => {
                return Err((
                    if has_file { "jwks_file" } else { "jwks_url" },
                    "a set of keys goes with no other key".into(),
                ));
            }
            Some(Algorithm::Hs256) if has_key || !has_secret => {
                "HS256 takes `secret_env` or `secret_file`, and no `public_key_file`"
            }
            Some(Algorithm::Rs256) if has_secret => "RS256 takes `public_key_file`, and no secret",
            Some(Algorithm::Es256) if has_secret => "ES256 takes `public_key_file`, and no secret",
            _ => return Ok(()),
        };
        Err(("algorithm", wrong.into()))
    }
}

/// Reads a file that has a key, or several.
fn of_file<T>(
    key: &'static str,
    file: &Path,
    bytes_max: usize,
    read: impl FnOnce(&[u8]) -> Result<T, KeyError>,
) -> Result<T, Fault> {
    let bytes = small_file::read(file, bytes_max as u64);
    let bytes =
        bytes.map_err(|error| (key, of_path(&file.display().to_string(), &error.to_string())))?;
    read(&bytes).map_err(|error| (key, error.to_string()))
}

/// Reads the address of a set of keys. Who can change what comes from there can sign any token: it
/// is asked through TLS, or on this machine.
fn published_at(text: &str) -> Result<Uri, String> {
    let uri = address(text)?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host == "localhost" || host.parse().is_ok_and(|it: IpAddr| it.is_loopback());
    if uri.scheme_str() == Some("https") || is_here {
        return Ok(uri);
    }
    Err("keys are not asked for without TLS; expected an address with https://, or of this \
         machine"
        .into())
}

const ALGORITHMS: &str = "expected \"HS256\", \"RS256\" or \"ES256\", or `jwks_file` or `jwks_url`";

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (&'static str, String) {
        let entry: TokenEntry = toml::from_str(text).expect(text);
        entry.jwt(Path::new(""), &[]).expect_err(text)
    }

    #[test]
    fn each_algorithm_takes_its_own_kind_of_key() {
        for (text, key, says) in [
            ("", "algorithm", "`jwks_url`"),
            ("algorithm = 'HS256'", "algorithm", "`secret_env`"),
            ("algorithm = 'HS256'\nsecret_file = 'no/such'", "secret_file", "this file: No such"),
            ("algorithm = 'RS256'\nsecret_env = 'X'", "algorithm", "`public_key_file`"),
            ("algorithm = 'ES256'\nsecret_file = 'x'", "algorithm", "`public_key_file`"),
            ("algorithm = 'ES256'", "public_key_file", "is missing"),
            ("algorithm = 'RS256'\npublic_key_file = 'no/such.pem'", "public_key_file", "no/such"),
            ("algorithm = 'ES256'\njwks_file = 'x'", "algorithm", "each of them has its own"),
            ("jwks_file = 'x'\nsecret_env = 'X'", "jwks_file", "goes with no other"),
            ("jwks_file = 'x'\njwks_url = 'https://a/b'", "jwks_file", "one of them"),
            ("jwks_file = 'no/such.json'", "jwks_file", "no/such.json"),
            ("jwks_url = 'http://keys.example/set'", "jwks_url", "https://"),
            ("jwks_url = 'keys.example'", "jwks_url", "no scheme"),
        ] {
            let (found, words) = fault(text);
            assert!(found == key && words.contains(says), "{text}: {found}: {words}");
        }
        assert!(toml::from_str::<TokenEntry>("algorithm = 'none'").is_err());
        for text in ["https://keys.example/set", "http://127.0.0.1:1/set", "http://[::1]/set"] {
            assert!(published_at(text).is_ok(), "{text}");
        }
    }
}
