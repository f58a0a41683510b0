//! Where modules come from, and which `lib.rs` and `mod.rs` hold more than declarations.

use super::manifests::Manifest;
use super::sources::Source;

/// Every file that a source takes from another package by `#[path]` or `include!`.
pub(super) fn from_other_packages() -> Vec<String> {
    let packages: Vec<_> = Manifest::all().into_iter().map(|manifest| manifest.folder).collect();
    // Packages lie within packages: `tests/fuzz` within `tests`.
    let package_of = |path: &str| {
        let around = packages.iter().filter(|folder| path.starts_with(&format!("{folder}/")));
        around.max_by_key(|folder| folder.len())
    };
    let mut found = Vec::new();
    for source in Source::all() {
        for file in &source.included {
            if package_of(&resolved(&source.path, file)) != package_of(&source.path) {
                found.push(format!("{}: {file}", source.path));
            }
        }
    }
    found
}

/// How many files are named by `#[path]` or `include!` at all.
pub(super) fn included() -> usize {
    Source::all().iter().map(|source| source.included.len()).sum()
}

/// Yields the path of a file that another file names relative to its folder.
fn resolved(from: &str, file: &str) -> String {
    let mut parts: Vec<_> = from.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Every `lib.rs` and `mod.rs` of a crate that has functions with bodies or `impl` blocks, with
/// their names.
pub(super) fn with_logic() -> Vec<(&'static str, String)> {
    let sources = Source::within("crates/").filter(|source| {
        let is_root = source.path.ends_with("/lib.rs") || source.path.ends_with("/mod.rs");
        is_root && source.path.contains("/src/") && !source.logic.is_empty()
    });
    sources.map(|source| (&*source.path, source.logic.join(", "))).collect()
}
