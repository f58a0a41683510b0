//! [`Assistant`]: a graph with a configuration of its own, in versions (contract, section 3).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use quell::Payload;
use quell_flow::Component;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::wire::asked::micros;
use crate::wire::create::{Create, given, object, typed};
use crate::wire::exact::{Keys, with_all, written};
use crate::wire::refusal::Refusal;
use crate::wire::rows::{system_assistant, time};

/// An assistant, with its versions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Assistant {
    version: u32,
    created_us: u64,
    updated_us: u64,
    /// The number of the version that runs get.
    latest: u32,
    /// The highest number that a version has had.
    last: u32,
    /// The first one first; of many the ones that were made last.
    versions: Vec<Version>,
}

/// A version of an assistant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Version {
    nr: u32,
    pub(crate) graph: String,
    config: Payload,
    context: Payload,
    metadata: Payload,
    pub(crate) name: String,
    description: Option<String>,
    created_us: u64,
}

/// What a body says of an assistant; what it does not say is none.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) graph: Option<String>,
    config: Option<Keys>,
    context: Option<Keys>,
    metadata: Keys,
    name: Option<String>,
    description: Option<String>,
}

impl Said {
    /// Reads what a body says.
    pub(crate) fn read(body: &Keys) -> Result<Self, Refusal> {
        let optional = |key| given(body, key).map(|_| object(body, key)).transpose();
        let (config, context) = (optional("config")?, optional("context")?);
        let is_full = |keys: &Option<Keys>| keys.as_ref().is_some_and(|keys| !keys.is_empty());
        if is_full(&context) && is_full(&config.as_ref().and_then(configurable)) {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, BOTH));
        }
        Ok(Self {
            graph: typed(body, "graph_id", "must be text")?,
            config,
            context,
            metadata: object(body, "metadata")?,
            name: typed(body, "name", "must be text")?,
            description: typed(body, "description", "must be text")?,
        })
    }

    /// Yields the configuration and the context: each says the other, as upstream has it.
    fn both(&self) -> (Option<Keys>, Option<Keys>) {
        let configured = self.config.as_ref().and_then(configurable);
        let is_said = |keys: &&Keys| !keys.is_empty();
        match (self.config.as_ref().filter(is_said), self.context.as_ref()) {
            (config, Some(context)) => {
                let mut config = config.cloned();
                if !context.is_empty() {
                    let config = config.get_or_insert_default();
                    config.insert(CONFIGURABLE.into(), written(context));
                }
                (config, Some(context.clone()))
            }
            (config, None) => (config.cloned(), configured),
        }
    }
}

fn configurable(config: &Keys) -> Option<Keys> {
    given(config, CONFIGURABLE)?.parse().ok()
}

impl Assistant {
    /// Makes the assistant of a graph.
    pub(crate) fn new(graph: &str, said: &Said, now: SystemTime) -> Self {
        let us = micros(now).unwrap_or_default();
        let (config, context) = said.both();
        let first = Version {
            nr: 1,
            graph: graph.to_owned(),
            config: written(&config.unwrap_or_default()),
            context: written(&context.unwrap_or_default()),
            metadata: written(&said.metadata),
            name: said.name.clone().unwrap_or_else(|| "Untitled".into()),
            description: said.description.clone(),
            created_us: us,
        };
        let versions = vec![first];
        Self { version: FORM, created_us: us, updated_us: us, latest: 1, last: 1, versions }
    }

    /// Makes the one system assistant of a graph. Nobody knows since when that is served: on every
    /// node, and after a restart, it has the same time, so that lists have one order.
    pub(crate) fn of_system(graph: &Component) -> Self {
        let said = Said {
            graph: None,
            config: None,
            context: None,
            metadata: Keys::from([("created_by".to_owned(), "system".into())]),
            name: Some(graph.id().to_owned()),
            description: graph.description().map(str::to_owned),
        };
        Self::new(graph.id(), &said, UNIX_EPOCH)
    }

    /// Reads what is kept of one; none of a later form.
    pub(crate) fn of(body: &Payload) -> Option<Self> {
        let read: Self = body.parse().ok()?;
        let is_known = read.version == FORM && read.versions.iter().any(|it| it.nr == read.latest);
        is_known.then_some(read)
    }

    /// Yields the version that runs get.
    pub(crate) fn now(&self) -> &Version {
        let latest = self.versions.iter().find(|version| version.nr == self.latest);
        latest.unwrap_or(&self.versions[0])
    }

    /// Makes a new version: what is said, over the one that runs get. Metadata is laid over it.
    pub(crate) fn change(&mut self, said: &Said, now: SystemTime) {
        let us = micros(now).unwrap_or_default();
        let (config, context) = said.both();
        let mut next = self.now().clone();
        self.last = self.last.saturating_add(1);
        (next.nr, next.created_us) = (self.last, us);
        if let Some(graph) = &said.graph {
            next.graph.clone_from(graph);
        }
        next.config = config.map_or(next.config, |it| written(&it));
        next.context = context.map_or(next.context, |it| written(&it));
        let mut metadata: Keys = next.metadata.parse().unwrap_or_default();
        metadata.extend(said.metadata.clone());
        next.metadata = written(&metadata);
        next.name = said.name.clone().unwrap_or(next.name);
        next.description = said.description.clone().or(next.description);
        (self.latest, self.updated_us) = (next.nr, us);
        self.versions.push(next);
        while self.versions.len() > VERSIONS_MAX
            || self.versions.len() > 1 && self.bytes() > VERSIONS_BYTES_MAX
        {
            self.versions.remove(0);
        }
    }

    /// Has runs get a version; tells whether there is one of this number.
    pub(crate) fn go_to(&mut self, nr: u32, now: SystemTime) -> bool {
        let is_there = self.versions.iter().any(|version| version.nr == nr);
        if is_there && nr != self.latest {
            (self.latest, self.updated_us) = (nr, micros(now).unwrap_or_default());
        }
        is_there
    }

    /// Lists the versions whose metadata are meant, the last one first.
    pub(crate) fn versions(
        &self,
        mut is_meant: impl FnMut(&Keys) -> bool,
    ) -> impl Iterator<Item = &Version> {
        let meant =
            move |it: &&Version| it.metadata.parse().is_ok_and(|keys: Keys| is_meant(&keys));
        self.versions.iter().rev().filter(meant)
    }

    pub(crate) const fn created_us(&self) -> u64 {
        self.created_us
    }

    pub(crate) const fn updated_us(&self) -> u64 {
        self.updated_us
    }

    /// What all its versions take as text.
    pub(crate) fn bytes(&self) -> usize {
        self.versions.iter().map(Version::bytes).sum()
    }

    /// Writes its row.
    pub(crate) fn row(&self, id: Uuid) -> Payload {
        let (now, at) = (self.now(), |us| time(UNIX_EPOCH + Duration::from_micros(us)));
        now.written(id, [("created_at", at(self.created_us)), ("updated_at", at(self.updated_us))])
    }
}

impl Version {
    /// Writes its row.
    pub(crate) fn row(&self, id: Uuid) -> Payload {
        let at = time(UNIX_EPOCH + Duration::from_micros(self.created_us));
        self.written(id, [("created_at", at)])
    }

    fn written<const N: usize>(&self, id: Uuid, times: [(&str, String); N]) -> Payload {
        let row = json!({
            "assistant_id": id.to_string(),
            "graph_id": self.graph,
            "name": self.name,
            "version": self.nr,
            "description": self.description,
        });
        let spelt =
            [("config", &self.config), ("context", &self.context), ("metadata", &self.metadata)];
        let spelt = spelt.into_iter().map(|(key, value)| (key.to_owned(), value.clone()));
        let times = times.into_iter().map(|(key, at)| (key.to_owned(), Payload::from(at)));
        with_all(row, spelt.chain(times).collect())
    }

    pub(crate) fn metadata(&self) -> Keys {
        self.metadata.parse().unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        let description = self.description.as_ref().map_or(0, String::len);
        let texts = self.graph.len() + self.name.len() + description;
        texts + self.config.len() + self.context.len() + self.metadata.len()
    }

    /// Lays what a run was asked for over what its assistant has: as upstream, key by key, and
    /// within `configurable`.
    ///
    /// # Errors
    ///
    /// Fails if the metadata together say something that no run may have.
    pub(crate) fn under(&self, create: &mut Create) -> Result<(), Refusal> {
        let of = |keys: &Payload| keys.parse::<Keys>().unwrap_or_default();
        let asked = |key| create.kwargs.get(key).map(of).unwrap_or_default();
        let (own, given) = (of(&self.config), asked("config"));
        let configured = |config: &Keys| configurable(config).unwrap_or_default();
        let given_context = asked("context");
        let mut inner = configured(&own);
        inner.extend(configured(&given));
        inner.extend(given_context.clone());
        let mut context = of(&self.context);
        context.extend(configured(&given));
        context.extend(given_context);
        let mut config = own;
        config.extend(given);
        if !inner.is_empty() {
            config.insert(CONFIGURABLE.into(), written(&inner));
        }
        let mut metadata = self.metadata();
        metadata.extend(create.metadata.clone());
        create.kwargs.insert("config".into(), written(&config));
        create.kwargs.insert("context".into(), written(&context));
        create.set_metadata(metadata)
    }
}

/// Tells whether an id is that of the system assistant of one of these graphs.
pub(crate) fn is_of_system<'a>(id: Uuid, mut graphs: impl Iterator<Item = &'a str>) -> bool {
    graphs.any(|graph| system_assistant(graph) == id)
}

const CONFIGURABLE: &str = "configurable";

/// Upstream's words.
const BOTH: &str = "Cannot specify both configurable and context. Prefer setting context alone. \
                    Context was introduced in LangGraph 0.6.0 and is the long term planned \
                    replacement for configurable.";

/// Versions of one assistant that are kept, in number and in bytes.
const VERSIONS_MAX: usize = 100;
const VERSIONS_BYTES_MAX: usize = 1 << 19;

/// Counted up when the form changes so that this reader would misread it.
const FORM: u32 = 1;
