//! The manifests, and who may depend on whom.

use std::fs;

use toml::Table;

use super::sources::{read, root};

/// Who may depend on whom in published code: a crate on those above it in the table of `README.md`,
/// an adapter on no other adapter.
const ARROWS: [(&str, &[&str]); 15] = [
    ("quell-core", &[]),
    ("quell", &["quell-core"]),
    ("quell-flow", &["quell"]),
    ("quell-process", &["quell"]),
    // Not on the engine: the port and its records are of the core.
    ("quell-durable", &["quell-core"]),
    ("quell-sqlite", &["quell-core", "quell-durable"]),
    ("quell-postgres", &["quell-core", "quell-durable"]),
    ("quell-report", &["quell", "quell-flow"]),
    ("quell-http", &["quell", "quell-flow"]),
    ("quell-agentos", &["quell", "quell-flow", "quell-http"]),
    ("quell-langgraph", &["quell", "quell-flow", "quell-http"]),
    ("quell-playbook3d", &["quell", "quell-flow", "quell-http"]),
    // Not on an adapter: the tests of the adapters depend on it.
    ("quell-demo", &["quell", "quell-flow", "quell-http"]),
    (
        "quell-server",
        &[
            "quell",
            "quell-flow",
            "quell-process",
            "quell-sqlite",
            "quell-postgres",
            "quell-report",
            "quell-http",
            "quell-agentos",
            "quell-langgraph",
            "quell-playbook3d",
            "quell-demo",
        ],
    ),
    (
        "quell-benches",
        &[
            "quell",
            "quell-core",
            "quell-flow",
            "quell-http",
            "quell-postgres",
            "quell-process",
            "quell-sqlite",
            "quell-test-support",
        ],
    ),
];

/// What the two crates at the bottom may depend on besides.
const OUTSIDE: [(&str, &[&str]); 2] = [
    // humantime writes an instant of the wall clock (feature `serde`).
    ("quell-core", &["humantime", "serde", "serde_json", "thiserror", "uuid"]),
    (
        "quell",
        &[
            "dashmap",
            "futures",
            "lz4_flex",
            "parking_lot",
            "serde_json",
            // Payloads of idempotency keys, alike in every process.
            "serde",
            "sha2",
            "slab",
            "thiserror",
            "tokio",
            "tokio-util",
            "tracing",
            "uuid",
        ],
    ),
];

/// The manifest of one package.
pub(super) struct Manifest {
    /// From the top, with slashes.
    pub(super) folder: String,
    table: Table,
}

impl Manifest {
    /// Reads the manifest of every package.
    pub(super) fn all() -> Vec<Self> {
        let mut folders =
            ["benches", "tests", "tests/fuzz", "tests/schedules"].map(str::to_owned).to_vec();
        for entry in fs::read_dir(root().join("crates")).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            folders.push(format!("crates/{name}"));
        }
        let there =
            folders.into_iter().filter(|name| root().join(name).join("Cargo.toml").exists());
        there.map(Self::read).collect()
    }

    fn read(folder: String) -> Self {
        let text = read(&format!("{folder}/Cargo.toml"));
        Self { table: text.parse().unwrap_or_else(|error| panic!("{folder}: {error}")), folder }
    }

    pub(super) fn name(&self) -> &str {
        self.table["package"]["name"].as_str().unwrap_or_default()
    }

    /// The dependencies that are no such arrow.
    pub(super) fn forbidden_arrows(&self) -> Vec<String> {
        let name = self.name();
        if ["quell-tests", "quell-test-support", "quell-fuzz", "quell-schedules"].contains(&name) {
            return Vec::new();
        }
        let of = |list: &[(&str, &'static [&'static str])]| {
            list.iter().find(|(from, _)| *from == name).map(|(_, to)| *to)
        };
        let Some(inside) = of(&ARROWS) else { return vec![format!("{name}: who is that?")] };
        let outside = of(&OUTSIDE);
        let mut found = Vec::new();
        for dependency in self.dependencies() {
            let ours = dependency.starts_with("quell");
            let allowed = if ours {
                inside.contains(&dependency.as_str())
            } else {
                outside.is_none_or(|outside| outside.contains(&dependency.as_str()))
            };
            if !allowed {
                found.push(format!("{name} -> {dependency}"));
            }
        }
        found
    }

    fn dependencies(&self) -> Vec<String> {
        let table = self.table.get("dependencies").and_then(|table| table.as_table());
        table.map(|table| table.keys().cloned().collect()).unwrap_or_default()
    }

    /// What a package should take from the workspace and does not.
    pub(super) fn not_from_the_workspace(&self) -> Vec<String> {
        let mut found = Vec::new();
        let inherits = |value: Option<&toml::Value>| {
            value.and_then(|value| value.get("workspace")).and_then(toml::Value::as_bool)
                == Some(true)
        };
        for field in ["version", "edition", "rust-version", "license"] {
            if !inherits(self.table["package"].get(field)) {
                found.push(format!("{}: {field}", self.folder));
            }
        }
        if !inherits(self.table.get("lints")) {
            found.push(format!("{}: lints", self.folder));
        }
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = self.table.get(kind).and_then(|table| table.as_table()) else {
                continue;
            };
            for (name, value) in table {
                if !inherits(Some(value)) {
                    found.push(format!("{}: {kind}.{name}", self.folder));
                }
            }
        }
        found
    }
}

/// The lints of the workspace.
pub(super) fn workspace_lints() -> toml::Value {
    let text = read("Cargo.toml");
    let table: Table = text.parse().unwrap();
    table["workspace"]["lints"].clone()
}
