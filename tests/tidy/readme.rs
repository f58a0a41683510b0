//! The tests that exist, and those that the README names.

use super::sources::{Source, read};

/// Every test of the repository: the module that it stands in, and its name.
pub(super) fn tests() -> Vec<(String, String)> {
    let mut tests = Vec::new();
    for source in Source::all() {
        let module = module_of(&source.path);
        tests.extend(source.tests.iter().map(|name| (module.clone(), name.clone())));
    }
    assert!(tests.len() > 100, "only {} tests were found", tests.len());
    tests
}

/// The last module of a path: `tests/model/agree.rs` is `agree`, `tests/model/mod.rs` is `model`.
fn module_of(path: &str) -> String {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("/main");
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

/// What the README names in backticks as `module::test`; a name may end in `…` or be cut there.
pub(super) fn named() -> Vec<(String, String)> {
    let text = read("README.md");
    let mut code = false;
    let mut named = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if !code {
            named.extend(line.split('`').skip(1).step_by(2).filter_map(as_test));
        }
    }
    named
}

fn as_test(text: &str) -> Option<(String, String)> {
    let (place, name) = text.trim_end_matches('…').rsplit_once("::")?;
    let is_name = |text: &str| {
        text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && !text.is_empty()
    };
    let module = place.rsplit("::").next()?;
    // `quell::manual::cancellation` is no test: tests are sentences.
    let is_test = is_name(module) && is_name(name) && name.matches('_').count() >= 2;
    is_test.then(|| (module.to_owned(), name.to_owned()))
}
