//! What sort of component an entry of `quell.toml` is, and which of its keys do not go with that.

use std::collections::HashSet;

use quell_flow::{PlanError, limits};

use super::components::ComponentEntry;
use super::file::Config;
use super::services::Asks;

/// The keys that say what a component is.
pub(super) const SORTS: [&[&str]; 5] =
    [&["run"], &["plan"], &["url"], &["model"], &["model", "url"]];

/// The keys of a component.
pub(super) const KEYS: [&str; 27] = [
    "run",
    "cwd",
    "env",
    "env_clear",
    "plan",
    "url",
    "cancel",
    "cancel_timeout",
    "headers",
    "headers_env",
    "key_env",
    "retries",
    "connect_timeout",
    "confirm",
    "name",
    "description",
    "running",
    "queued",
    "model",
    "contracts",
    "timeout",
    "grace",
    "idle",
    "history",
    "on_worker_lost",
    "reducers",
    "nodes",
];

/// What is wrong with an entry: a key of it, none for all of it, and the message.
type Fault = (Option<&'static str>, String);

impl Config {
    /// Warns of keys of a component that stand behind the header of its `env`: there each is a
    /// variable.
    pub(super) fn env_warnings(&self) -> Vec<PlanError> {
        let tables = [("agents", &self.agents), ("workflows", &self.workflows)];
        let entries =
            tables.into_iter().flat_map(|(kind, all)| all.iter().map(move |it| (kind, it)));
        let found = entries.flat_map(|(kind, (id, entry))| {
            let header = self.header_of(&[kind, id, "env"]);
            let keys = entry.env.keys().filter(|key| KEYS.contains(&key.as_str()));
            header.into_iter().flat_map(move |header| {
                keys.clone().map(move |key| {
                    let words = format!(
                        "`{key}` is a variable here, as it stands in the table `{header}`; one of \
                         the component stands before it"
                    );
                    (vec![kind, id, "env", key], words)
                })
            })
        });
        let found = found.take(limits::PLAN_FAULTS_MAX);
        found.map(|(keys, words)| self.bare_fault(&keys, words)).collect()
    }
}

impl ComponentEntry {
    /// Yields the key that says what it is: `run`, `plan`, `url` or `model`.
    ///
    /// # Errors
    ///
    /// Fails if there is none, or more than one.
    pub(super) fn sort(&self) -> Result<&'static str, Fault> {
        let is_model = self.model.as_ref().is_some_and(|model| model.url.is_some());
        let keys = [
            ("run", self.run.is_some()),
            ("plan", self.plan.is_some()),
            ("url", self.url.is_some()),
            ("model", is_model),
        ];
        let found: Vec<_> = keys.iter().filter(|(_, is_there)| *is_there).map(|it| it.0).collect();
        match found[..] {
            [one] => Ok(one),
            [first, second, ..] => {
                let words =
                    format!("`{first}` and `{second}` are both there; expected one of them");
                Err((Some(second), words))
            }
            [] if self.model.is_some() => {
                let words = "its `model` has no `url`, so that it is only shown; expected `url` \
                             in it, or `run`, `plan` or `url` beside it";
                Err((None, words.to_owned()))
            }
            [] => {
                let in_env = SORTS.iter().find(|keys| self.env.contains_key(keys[0]));
                if let Some([key, ..]) = in_env {
                    let words = format!(
                        "`{key}` stands in its `env`, as a variable; keys of the component come \
                         before the header of that table"
                    );
                    return Err((None, words));
                }
                let words = "expected one of `run = [\"program\", …]`, `plan = \"FILE\"`, \
                             `url = \"http://…\"` and `model = { url = \"https://…\", … }`";
                Err((None, words.to_owned()))
            }
        }
    }

    /// Finds the keys that go with another sort of component than its own.
    pub(super) fn stray_keys(&self, sort: &str) -> Vec<(&'static str, &'static str)> {
        let of_service = Asks::of_service(self).given();
        let of_program = [
            ("cwd", self.cwd.is_some()),
            ("env", !self.env.is_empty()),
            ("env_clear", self.env_clear),
        ];
        let of_program = of_program.into_iter().filter(|(_, is_there)| *is_there);
        let goes_with_run = of_program.map(|(key, _)| (key, "goes with `run`"));
        let of_plan = self.on_worker_lost.filter(|_| sort != "plan");
        let goes_with_plan = of_plan.map(|_| ("on_worker_lost", "goes with `plan`"));
        let has_nodes = !self.nodes.is_empty() && !matches!(sort, "run" | "url");
        let goes_with_both = has_nodes.then_some(("nodes", "goes with `run` or `url`"));
        let strays: Vec<_> = match sort {
            "url" => goes_with_run.collect(),
            "model" => {
                let inside = of_service.map(|key| (key, "is in `model`, if it goes with one"));
                inside.chain(goes_with_run).collect()
            }
            "plan" => of_service.map(|key| (key, "goes with `url`")).chain(goes_with_run).collect(),
            _ => of_service.map(|key| (key, "goes with `url`")).collect(),
        };
        strays.into_iter().chain(goes_with_plan).chain(goes_with_both).collect()
    }

    /// Finds a name that no node can have: clients name nodes, and all of them, and the ends of a
    /// graph.
    pub(super) fn bad_node(&self) -> Option<String> {
        let mut seen = HashSet::new();
        self.nodes.iter().find_map(|name| match name.as_str() {
            "" => Some("expected a name for each node".to_owned()),
            "*" | "__start__" | "__end__" => {
                Some(format!("`{name}` is no name of a node: it means all, or an end of the graph"))
            }
            _ if seen.insert(name) => None,
            _ => Some(format!("`{name}` stands twice; expected a name of its own for each node")),
        })
    }
}
