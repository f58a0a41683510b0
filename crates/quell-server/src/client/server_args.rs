//! [`ServerArgs`]: which server is asked, as the command line, the environment or a profile says.

use std::env;

use clap::Args;
use hyper::Uri;

use super::client::Client;
use super::profile::profile;
use crate::remote::{Meant, address_of};

/// A server, and the key for it.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The server, as `https://quell.example`. Without it: the profile that `--profile` names,
    /// `QUELL_SERVER`, the profile `default`, or else `http://127.0.0.1:7777`
    #[arg(long, value_name = "URL", value_parser = server, conflicts_with = "profile")]
    server: Option<Uri>,

    /// The environment variable that has the key for the server: others can read a command line.
    /// Without it: that of the profile from which the server is
    #[arg(long, value_name = "NAME")]
    key_env: Option<String>,

    /// The profile, a table of `quell/profile.toml` in `XDG_CONFIG_HOME` or `~/.config` with
    /// `server` and `key_env`
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

impl ServerArgs {
    /// Tells whether the command line names a server or its key.
    pub(crate) const fn is_given(&self) -> bool {
        self.server.is_some() || self.key_env.is_some() || self.profile.is_some()
    }

    /// Makes what asks the server. Nothing is asked yet.
    ///
    /// # Errors
    ///
    /// Fails with what to do if the profile or the key is not there.
    pub(crate) fn client(&self) -> Result<Client, String> {
        let (uri, key_of_profile) = self.place()?;
        let key_env = self.key_env.as_deref().or(key_of_profile.as_deref());
        let key = key_env.map(key).transpose()?;
        Client::new(uri, key.as_deref())
    }

    /// Yields the server, and the variable that its profile names. A key goes to no server but
    /// that of its profile.
    fn place(&self) -> Result<(Uri, Option<String>), String> {
        if let Some(uri) = &self.server {
            return Ok((uri.clone(), None));
        }
        if self.profile.is_none()
            && let Some(text) = env::var_os(SERVER).filter(|text| !text.is_empty())
        {
            let text = text.to_str().ok_or_else(|| format!("{SERVER} is not UTF-8"))?;
            let uri = server(text).map_err(|words| format!("{SERVER}: {words}"))?;
            return Ok((uri, None));
        }
        let Some(found) = profile(self.profile.as_deref())? else {
            return Ok((Uri::from_static(DEFAULT), None));
        };
        let uri = server(&found.server).map_err(|words| format!("the profile: {words}"))?;
        Ok((uri, found.key_env))
    }
}

/// Reads the address of a server.
fn server(text: &str) -> Result<Uri, String> {
    let uri = address_of(text, QUELL)?;
    if uri.query().is_some() {
        return Err("a query in the address of a server".to_owned());
    }
    Ok(uri)
}

/// Reads a key.
fn key(name: &str) -> Result<String, String> {
    if name.is_empty() || name.contains(['=', '\0']) || name.chars().any(char::is_whitespace) {
        return Err("--key-env: this is no name of an environment variable".to_owned());
    }
    match env::var(name) {
        Ok(key) if !key.trim().is_empty() => Ok(key.trim().to_owned()),
        Ok(_) => Err(format!("the environment variable {} is empty", shown(name))),
        Err(env::VarError::NotPresent) => {
            Err(format!("the environment variable {} is not set", shown(name)))
        }
        Err(env::VarError::NotUnicode(_)) => {
            Err(format!("the environment variable {} is not UTF-8", shown(name)))
        }
    }
}

/// Shows the name of a variable, unless it looks like a key that was put there by mistake.
fn shown(name: &str) -> &str {
    let is_name = name.len() <= NAME_SHOWN_MAX
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    if is_name { name } else { "of `--key-env`" }
}

const SERVER: &str = "QUELL_SERVER";

const DEFAULT: &str = "http://127.0.0.1:7777";

const QUELL: Meant = Meant {
    right: "expected one such as \"http://127.0.0.1:7777\"",
    key: "the name of the variable that has the key: `--key-env`, or `key_env` of a profile",
};

const NAME_SHOWN_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_key_in_the_place_of_its_name_is_not_shown() {
        assert_eq!(shown("OPS_KEY_2"), "OPS_KEY_2");
        for text in ["sk-hUsh", "hush", "eyJhbGciOi.J9"] {
            let words = key(text).expect_err("it is not set");
            assert!(!words.contains(text), "{words}");
        }
    }

    #[test]
    fn a_server_has_no_query() {
        assert!(server("http://a/quell?x=1").is_err());
        for text in ["127.0.0.1:7777", "localhost:7777", "quell.example"] {
            let words = server(text).expect_err(text);
            assert_eq!(words, "no scheme and host; expected one such as \"http://127.0.0.1:7777\"");
        }
        let words = server("http://ann:hush@a").expect_err("it has a password");
        assert!(words.contains("--key-env") && !words.contains("hush"), "{words}");
        assert_eq!(server("https://a/quell").expect("it is right"), "https://a/quell");
    }
}
