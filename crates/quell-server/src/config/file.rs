//! [`Config`]: the file, read and checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use quell_http::Access;
use serde::Deserialize;
use toml::Table;

use super::access::{self, KeyEntry, TokenEntry};
use super::components::ComponentEntry;
use super::server::ServerEntry;
use super::set::Setting;
use super::teams::TeamEntry;

/// A configuration: defaults, overridden by the file, overridden by settings of the command line.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(super) listen: Option<SocketAddr>,
    pub(super) server: ServerEntry,
    pub(super) keys: Vec<KeyEntry>,
    pub(super) tokens: Vec<TokenEntry>,
    pub(super) agents: BTreeMap<String, ComponentEntry>,
    pub(super) teams: BTreeMap<String, TeamEntry>,
    pub(super) workflows: BTreeMap<String, ComponentEntry>,
    /// Options of the contract.
    pub(crate) agentos: quell_agentos::Options,
    /// Options of the contract.
    pub(crate) langgraph: quell_langgraph::Options,
    /// Options of the contract.
    pub(crate) playbook3d: quell_playbook3d::Options,
    /// The folder of the file. Paths in it are relative to this folder.
    #[serde(skip)]
    pub(super) folder: PathBuf,
}

impl Config {
    /// Reads a file, if one is named, and applies settings to it.
    ///
    /// # Errors
    ///
    /// Fails with one message that names the file and the place, or the setting.
    pub(crate) fn load(path: Option<&Path>, settings: &[Setting]) -> Result<Self, String> {
        let mut table = Table::new();
        let mut folder = PathBuf::new();
        if let Some(path) = path {
            let fault = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let text = text_of(path).map_err(|error| fault(&error))?;
            // Parse the text itself first: only then do errors have a line.
            toml::from_str::<Self>(&text).map_err(|error| fault(&error))?;
            table = text.parse().map_err(|error: toml::de::Error| fault(&error))?;
            folder = path.parent().map(Path::to_owned).unwrap_or_default();
        }
        for setting in settings {
            // Apply them one by one, so that an error names the setting that caused it.
            table = setting.put(&table).map_err(|error| format!("--set {setting}: {error}"))?;
        }
        let config = Self::deserialize(table).map_err(|error| error.to_string())?;
        Ok(Self { folder, ..config })
    }

    /// Takes the key of `AgentOS` from the environment.
    ///
    /// # Errors
    ///
    /// Fails if it is not there.
    pub(crate) fn with_secrets(mut self) -> Result<Self, String> {
        if let Some(name) = &self.agentos.security_key_env {
            let key = access::secret(name).map_err(|error| format!("[agentos]: {error}"))?;
            self.agentos.security_key = Some(key);
        }
        Ok(self)
    }

    /// Makes the access control.
    ///
    /// # Errors
    ///
    /// Fails if a secret is not in the environment, or is not a valid key.
    pub(crate) fn access(&self) -> Result<Access, String> {
        let access = access::access(&self.keys, &self.tokens, &self.folder)?;
        let access = self.server.trusted_hosts.iter().fold(access, Access::trust_host);
        let origins = self.server.trusted_origins.iter().chain(&self.agentos.cors_origins);
        Ok(origins.fold(access, Access::trust_origin))
    }
}

/// Reads a file. Refuses one that is too large, and anything but a regular file: a pipe may never
/// end.
fn text_of(path: &Path) -> io::Result<String> {
    let refused = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
    let about = fs::metadata(path)?;
    if !about.is_file() {
        return Err(refused("is no regular file".into()));
    }
    if about.len() > FILE_BYTES_MAX {
        return Err(refused(format!("has {} bytes, the limit is {FILE_BYTES_MAX}", about.len())));
    }
    fs::read_to_string(path)
}

/// The largest configuration, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn settings(all: &[&str]) -> Vec<Setting> {
        all.iter().map(|text| text.parse().expect("a setting")).collect()
    }

    fn refusal(all: &[&str]) -> String {
        Config::load(None, &settings(all)).expect_err("it is refused")
    }

    #[test]
    fn nothing_said_is_loopback_and_open() {
        let config = Config::load(None, &[]).expect("the defaults");
        assert_eq!(config.listen(None).to_string(), "127.0.0.1:7777");
        assert!(config.access().expect("no keys").is_open());
    }

    #[test]
    fn a_setting_reaches_every_section_and_the_last_one_wins() {
        let all = [
            "listen=127.0.0.1:9",
            "server.grace=250ms",
            "server.grace=1s",
            "agentos.completed_sentinel=true",
            "agentos.os_id=mine",
            "langgraph.settle_ms=0",
            "playbook3d.cancel_wait_ms=100",
        ];
        let config = Config::load(None, &settings(&all)).expect("all are known");
        assert_eq!(config.listen(None).port(), 9);
        assert_eq!(config.grace(), Duration::from_secs(1));
        assert!(config.agentos.completed_sentinel);
        assert_eq!(config.agentos.os_id, "mine");
        assert_eq!(config.langgraph.settle, Duration::ZERO);
        assert_eq!(config.playbook3d.cancel_wait, Duration::from_millis(100));
    }

    #[test]
    fn a_setting_that_is_wrong_is_named() {
        for (bad, says) in [
            ("agentos.nope=1", "unknown field `nope`"),
            ("nope.nope=1", "unknown field `nope`"),
            ("langgraph.settle_ms=-1", "settle_ms"),
            ("agentos.completed_sentinel=7", "expected a boolean"),
            ("listen=here", "invalid socket address"),
            ("listen.here=1", "listen"),
        ] {
            let error = refusal(&[bad]);
            assert!(error.starts_with(&format!("--set {bad}")), "{bad}: {error}");
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
