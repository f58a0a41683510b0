//! `quell.toml`: what is served, to whom, and with which options.

mod access;
mod components;
mod set;
mod teams;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use quell::{EngineConfig, Limits, limits};
use quell_flow::{Catalog, LinkedPlan, PlanError};
use quell_http::{Access, ServiceLimits};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toml::Table;

use crate::processes::{Processes, in_full};
use access::{KeyEntry, TokenEntry};
use components::{ComponentEntry, Place};
pub(crate) use set::Setting;
use teams::TeamEntry;

/// A configuration: the file, the settings of the command line over it, and defaults below both.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    listen: Option<SocketAddr>,
    server: ServerEntry,
    keys: Vec<KeyEntry>,
    tokens: Vec<TokenEntry>,
    agents: BTreeMap<String, ComponentEntry>,
    teams: BTreeMap<String, TeamEntry>,
    workflows: BTreeMap<String, ComponentEntry>,
    /// Options of the contract.
    pub(crate) agentos: quell_agentos::Options,
    /// Options of the contract.
    pub(crate) langgraph: quell_langgraph::Options,
    /// Options of the contract.
    pub(crate) playbook3d: quell_playbook3d::Options,
    /// The folder of the file, from which the paths in it count.
    #[serde(skip)]
    folder: PathBuf,
}

/// What concerns the engine and the process.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ServerEntry {
    #[serde(deserialize_with = "time")]
    grace: Duration,
    #[serde(deserialize_with = "time")]
    abort_wait: Duration,
    running_max: Option<usize>,
    memory_mib: usize,
    trusted_hosts: Vec<String>,
    trusted_origins: Vec<String>,
}

impl Default for ServerEntry {
    fn default() -> Self {
        Self {
            grace: limits::GRACE,
            abort_wait: limits::ABORT_WAIT,
            running_max: None,
            memory_mib: MEMORY_MIB,
            trusted_hosts: Vec::new(),
            trusted_origins: Vec::new(),
        }
    }
}

impl Config {
    /// Reads a file, if one is named, and puts settings over it.
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
            // Read as it stands first: only then do errors have a line.
            toml::from_str::<Self>(&text).map_err(|error| fault(&error))?;
            table = text.parse().map_err(|error: toml::de::Error| fault(&error))?;
            folder = path.parent().map(Path::to_owned).unwrap_or_default();
        }
        for setting in settings {
            // One by one, so that an error is that of the setting that brought it.
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

    /// Yields where to listen: as the command line says, as the file says, or on loopback.
    pub(crate) fn listen(&self, asked: Option<SocketAddr>) -> SocketAddr {
        let default = SocketAddrV4::new(Ipv4Addr::LOCALHOST, PORT);
        asked.or(self.listen).unwrap_or_else(|| default.into())
    }

    /// Makes what the engine is told. Of programs, no more run at once than this, unless it is
    /// configured.
    pub(crate) fn engine(&self, programs_max: usize) -> EngineConfig {
        let ServerEntry { grace, abort_wait, running_max, .. } = self.server;
        let mut limits = Limits::default();
        limits.live_bytes_max = self.memory(7);
        limits.ended_bytes_max = self.memory(2);
        let config = EngineConfig::new().grace(grace).abort_wait(abort_wait).limits(limits);
        let has_programs = !(self.agents.is_empty() && self.workflows.is_empty());
        let max = running_max.or(has_programs.then_some(programs_max));
        match max {
            Some(max) => config.running_max(max),
            None => config,
        }
    }

    /// Yields the bounds of what is held besides the engine, with so many places for streams, waits
    /// and starts.
    pub(crate) fn limits(&self, places: usize) -> ServiceLimits {
        let mut limits = ServiceLimits::default();
        limits.requests_bytes_max = self.memory(2);
        limits.kept_bytes_max = self.memory(2);
        limits.notes_bytes_max = self.memory(1);
        limits.streams_max = places;
        limits.long_requests_max = places;
        limits
    }

    /// Yields so many sixteenths of the memory that state may take, in bytes: 7 for live runs, 2
    /// for ended ones, 2 for requests under way, 2 for what contracts keep, 1 for the answers of
    /// deleted runs, which is half of that, and 1 each for the notes of live and of ended runs.
    const fn memory(&self, sixteenths: usize) -> usize {
        self.server.memory_mib.saturating_mul((1 << 20) / 16 * sixteenths)
    }

    /// Yields the time between a stop and abort.
    pub(crate) const fn grace(&self) -> Duration {
        self.server.grace
    }

    /// Yields the time between abort and abandon.
    pub(crate) const fn abort_wait(&self) -> Duration {
        self.server.abort_wait
    }

    /// Makes who may do what.
    ///
    /// # Errors
    ///
    /// Fails if a secret is not in the environment, or is no key.
    pub(crate) fn access(&self) -> Result<Access, String> {
        let access = access::access(&self.keys, &self.tokens, &self.folder)?;
        let access = self.server.trusted_hosts.iter().fold(access, Access::trust_host);
        let origins = self.server.trusted_origins.iter().chain(&self.agentos.cors_origins);
        Ok(origins.fold(access, Access::trust_origin))
    }

    /// Adds the components of the file to a catalog: programs, then teams of these, then plans,
    /// which may name all of those and each other, then the other teams.
    ///
    /// # Errors
    ///
    /// Fails if one is neither a program nor a plan, if a plan is wrong, if a component is named
    /// that is not there, or if plans would run themselves.
    pub(crate) fn components(&self, catalog: Catalog) -> Result<Catalog, String> {
        let agentos = self.agentos.security_key_env.as_ref();
        let secrets = access::secret_names(&self.keys, &self.tokens, agentos);
        let place = Place { folder: &self.folder, secrets: &secrets };
        let mut catalog = self.programs(catalog, place)?;
        let (early, late): (Vec<_>, Vec<_>) =
            self.teams.iter().partition(|(id, team)| team.component(id, &catalog).is_ok());
        catalog = with_teams(catalog, early)?;
        let mut plans = Vec::new();
        for (id, entry) in &self.workflows {
            let plan = entry.plan(&self.folder).transpose();
            plans.extend(plan.map(|plan| plan.map(|plan| (id.clone(), plan))));
        }
        let plans = plans.into_iter().collect::<Result<Vec<_>, String>>()?;
        let make = |id: &str, plan: LinkedPlan| {
            let component = plan.into_component(id, Processes { without: Arc::clone(&secrets) });
            match self.workflows.get(id) {
                Some(entry) => entry.adjust(component),
                None => component,
            }
        };
        catalog = catalog.with_plans(plans, make).map_err(|faults| told(&faults))?;
        with_teams(catalog, late)
    }

    fn programs(&self, mut catalog: Catalog, place: Place<'_>) -> Result<Catalog, String> {
        for (kind, entries) in [("agents", &self.agents), ("workflows", &self.workflows)] {
            for (id, entry) in entries {
                let made = entry.component(kind, id, place);
                if let Some(component) = made.map_err(|error| format!("[{kind}.{id}]: {error}"))? {
                    catalog = catalog.with(component);
                }
            }
        }
        Ok(catalog)
    }
}

/// Makes the catalog of a file, by default of `quell.toml`, if that is there.
///
/// # Errors
///
/// Fails if the file is wrong.
pub(crate) fn catalog(path: Option<&Path>) -> Result<Catalog, String> {
    let default = Path::new("quell.toml");
    let path = path.or_else(|| default.exists().then_some(default));
    Config::load(path, &[])?.components(Catalog::new())
}

fn with_teams<'a>(
    mut catalog: Catalog,
    teams: impl IntoIterator<Item = (&'a String, &'a TeamEntry)>,
) -> Result<Catalog, String> {
    for (id, team) in teams {
        let component =
            team.component(id, &catalog).map_err(|error| format!("[teams.{id}]: {error}"))?;
        catalog = catalog.with(component);
    }
    Ok(catalog)
}

fn told(faults: &[PlanError]) -> String {
    let faults: Vec<String> = faults.iter().map(|fault| in_full(fault)).collect();
    faults.join("\n")
}

/// Reads a file, if it is one and no larger than a configuration may be: a pipe may never end.
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

/// Reads a time such as `"1m 30s"`.
fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text).map_err(|error| {
        D::Error::custom(format!("`{text}` is no time such as \"1m 30s\": {error}"))
    })
}

/// The memory that state may take, unless it is configured: 2 GiB.
const MEMORY_MIB: usize = 2_048;

/// The port of a server that is told none.
const PORT: u16 = 7777;

#[cfg(test)]
mod tests {
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
