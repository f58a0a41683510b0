//! [`Config`]: the file, read and checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use quell_flow::{Catalog, PlanError};
use quell_http::Access;
use serde::Deserialize;
use toml::Table;

use super::access::{self, KeyEntry};
use super::components::ComponentEntry;
use super::document::Document;
use super::limits::LimitsEntry;
use super::listen;
use super::server::ServerEntry;
use super::set::Setting;
use super::shapes;
use super::store::StoreEntry;
use super::teams::TeamEntry;
use super::tls::TlsEntry;
use super::tokens::TokenEntry;
use super::words::{in_words, named};

/// A configuration: defaults, overridden by the file, overridden by settings of the command line.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(deserialize_with = "listen::deserialize")]
    pub(super) listen: Option<SocketAddr>,
    pub(super) server: ServerEntry,
    pub(super) store: StoreEntry,
    pub(super) limits: LimitsEntry,
    #[serde(deserialize_with = "shapes::list")]
    pub(super) keys: Vec<KeyEntry>,
    #[serde(deserialize_with = "shapes::list")]
    pub(super) tokens: Vec<TokenEntry>,
    pub(super) tls: TlsEntry,
    #[serde(deserialize_with = "shapes::components")]
    pub(super) agents: BTreeMap<String, ComponentEntry>,
    #[serde(deserialize_with = "shapes::components")]
    pub(super) teams: BTreeMap<String, TeamEntry>,
    #[serde(deserialize_with = "shapes::components")]
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
    /// The file, if there is one.
    #[serde(skip)]
    document: Option<Document>,
    /// What was set over it.
    #[serde(skip)]
    settings: Vec<Setting>,
}

impl Config {
    /// Reads a file, if one is named, and applies settings to it. Yields what is left when all that
    /// has a fault is left out, and every fault of the file, or of the settings.
    pub(super) fn read(path: Option<&Path>, settings: &[Setting]) -> (Self, Vec<PlanError>) {
        let Some(path) = path else { return Self::default().with(Table::new(), settings) };
        let mut document = match Document::load(path) {
            Ok(document) => document,
            Err(fault) => return (Self::default(), vec![fault]),
        };
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let (config, faults): (Option<Self>, _) = document.read();
        let table = document.text().parse().unwrap_or_default();
        let config = Self { folder, document: Some(document), ..config.unwrap_or_default() };
        if faults.is_empty() { config.with(table, settings) } else { (config, faults) }
    }

    /// Applies settings to the table that this configuration was read from.
    fn with(self, mut table: Table, settings: &[Setting]) -> (Self, Vec<PlanError>) {
        let mut faults = Vec::new();
        for setting in settings {
            // Apply them one by one, so that an error names the setting that caused it.
            match setting.put(&table) {
                Ok(with) => table = with,
                Err(error) => faults.push(setting.fault(&error)),
            }
        }
        match Self::deserialize(table) {
            Ok(config) => {
                let settings = settings.to_vec();
                let (folder, document) = (self.folder, self.document);
                (Self { folder, document, settings, ..config }, faults)
            }
            Err(error) => {
                faults.push(PlanError::new(in_words(&error)));
                (self, faults)
            }
        }
    }

    /// Says that an address can be reached from other machines although there are no keys.
    pub(super) fn listen_fault(
        &self,
        access: &Access,
        asked: Option<SocketAddr>,
    ) -> Option<PlanError> {
        let listen = self.listen(asked);
        let error = access.check_listener(listen.ip()).err()?;
        Some(match asked {
            Some(_) => PlanError::new(format!("--listen {listen}: {error}")),
            None => self.fault(&["listen"], &error.to_string()),
        })
    }

    /// Tells whether the file has keys or tokens, also such as were left out.
    pub(super) fn names_keys(&self) -> bool {
        self.document.as_ref().is_some_and(|it| it.has("keys") || it.has("tokens"))
    }

    /// Says that a file has nothing that a contract exposes.
    pub(super) fn serves_nothing(&self, catalog: &Catalog) -> Option<PlanError> {
        let document = self.document.as_ref()?;
        let words = "there is nothing to serve; expected a component in `[agents]`, `[teams]` or \
                     `[workflows]` that a contract exposes";
        let is_nothing = catalog.components().all(|component| component.is_exposed_nowhere());
        is_nothing.then(|| document.fault(&[], words.to_owned()))
    }

    /// Yields the ids in a table of components, also of those that were left out.
    pub(super) fn ids_of(&self, table: &str) -> Vec<String> {
        self.document.as_ref().map(|document| document.keys_of(table)).unwrap_or_default()
    }

    /// As [`Document::is_lost`]. Without a file nothing is lost.
    pub(super) fn is_lost(&self, keys: &[&str]) -> bool {
        self.document.as_ref().is_some_and(|document| document.is_lost(keys))
    }

    /// As [`Document::is_torn`]. Without a file nothing is torn.
    pub(super) fn is_torn(&self, keys: &[&str]) -> bool {
        self.document.as_ref().is_some_and(|document| document.is_torn(keys))
    }

    /// Makes the fault of what has these keys, as [`Document::fault`]. The message begins with the
    /// last key, or with all of them if there is no file; with a setting that has made it, if there
    /// is one.
    pub(super) fn fault(&self, keys: &[&str], message: &str) -> PlanError {
        let key = keys.iter().rfind(|key| key.parse::<usize>().is_err());
        if let Some(setting) = self.setting_of(keys) {
            let named = match key.filter(|key| !setting.sets(key)) {
                Some(key) => format!("`{}`: {message}", quell_flow::excerpt(key)),
                None => message.to_owned(),
            };
            return setting.fault(&named);
        }
        match (&self.document, keys) {
            // An id is no secret, whatever it looks like.
            (Some(document), ["agents" | "teams" | "workflows", id]) => {
                document.fault(keys, format!("`{}`: {message}", quell_flow::excerpt(id)))
            }
            (Some(document), _) => document.fault(keys, named(key.copied(), message)),
            (None, _) => PlanError::new(named(Some(&keys.join(".")), message)),
        }
    }

    /// As [`Config::fault`], with a message that is whole.
    pub(super) fn bare_fault(&self, keys: &[&str], message: String) -> PlanError {
        if let Some(setting) = self.setting_of(keys) {
            return setting.fault(&message);
        }
        match &self.document {
            Some(document) => document.fault(keys, message),
            None => PlanError::new(message),
        }
    }

    /// Finds the setting that what has these keys is from: the last one of it or of what is around
    /// it, or of a part of it if it is not in the file.
    fn setting_of(&self, keys: &[&str]) -> Option<&Setting> {
        let around = self.settings.iter().rfind(|setting| setting.is_around(keys));
        let is_of_file = || self.document.as_ref().is_some_and(|it| it.has_all(keys));
        around.or_else(|| {
            let within = self.settings.iter().rfind(|setting| setting.is_within(keys))?;
            (!is_of_file()).then_some(within)
        })
    }

    /// As [`Document::header_of`]. Without a file there is none.
    pub(super) fn header_of(&self, keys: &[&str]) -> Option<String> {
        self.document.as_ref()?.header_of(keys)
    }

    /// Counts its keys, and its issuers of tokens.
    pub(crate) const fn credentials(&self) -> (usize, usize) {
        (self.keys.len(), self.tokens.len())
    }

    /// Takes the key of `AgentOS` from the environment.
    ///
    /// # Errors
    ///
    /// Fails if it is not there.
    pub(super) fn take_secrets(&mut self) -> Result<(), PlanError> {
        let Some(name) = &self.agentos.security_key_env else { return Ok(()) };
        let key = access::secret(name).and_then(access::for_header);
        let key = key.map_err(|words| self.fault(&["agentos", "security_key_env"], &words))?;
        self.agentos.security_key = Some(key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn settings(all: &[&str]) -> Vec<Setting> {
        all.iter().map(|text| text.parse().expect("a setting")).collect()
    }

    fn load(all: &[&str]) -> Config {
        let (config, faults) = Config::read(None, &settings(all));
        assert!(faults.is_empty(), "{faults:?}");
        config
    }

    fn refusal(all: &[&str]) -> String {
        let (_, faults) = Config::read(None, &settings(all));
        assert!(!faults.is_empty(), "{all:?} is taken");
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn nothing_said_is_loopback_and_open() {
        let config = load(&[]);
        assert_eq!(config.listen(None).to_string(), "127.0.0.1:7777");
        assert!(config.trusted(&[]).expect("no keys").access.is_open());
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
        let config = load(&all);
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
            ("agentos.nope=1", "unknown key `nope`"),
            ("nope.nope=1", "unknown key `nope`"),
            ("langgraph.settle_ms=-1", "settle_ms"),
            ("agentos.completed_sentinel=7", "expected a boolean"),
            ("listen=here", "invalid address `here`; expected one such as"),
            ("listen.here=1", "listen"),
        ] {
            let error = refusal(&[bad]);
            let (key, _) = bad.split_once('=').expect("a setting");
            assert!(error.starts_with(&format!("--set {key}=")), "{bad}: {error}");
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
