//! What the code base promises about itself: the style and the budgets of `CONTRIBUTING.md`, who
//! may depend on whom, and what the manual says of the sources.

mod bounds;
mod held;
mod manifests;
mod modules;
mod paths;
mod promises;
mod readme;
mod references;
mod rooms;
mod sources;
mod subjects;
mod vocabulary;

use std::collections::BTreeSet;

use manifests::Manifest;
use promises::number_of;
use sources::Source;

/// Files that may be longer than the rest.
const LONG_FILES: [&str; 1] = ["crates/quell-core/src/lifecycle.rs"];
const LINES_MAX: usize = 400;
const COLUMNS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;

/// Fails with all that was found.
fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn files_have_at_most_400_lines_of_at_most_100_columns() {
    let mut found = Vec::new();
    for source in Source::all() {
        let lines = source.text.lines().count();
        if lines > LINES_MAX && !LONG_FILES.contains(&&*source.path) {
            found.push(format!("{}: {lines} lines", source.path));
        }
        for (number, line) in (1..).zip(source.text.lines()) {
            let columns = line.chars().count();
            // The hidden lines of an example are for the compiler.
            let hidden = line.trim_start().starts_with("/// # ") || line.starts_with("//! # ");
            if columns > COLUMNS_MAX && !hidden {
                found.push(format!("{}:{number}: {columns} columns", source.path));
            }
        }
    }
    assert_none("over budget", &found);
}

#[test]
fn subjects_of_new_commits_say_an_area_and_what_is_so() {
    assert_none("subjects of commits", &subjects::faults_of_new_ones());
}

#[test]
fn functions_have_at_most_70_lines() {
    let mut found = Vec::new();
    for source in Source::all() {
        for function in &source.functions {
            if function.lines > FUNCTION_LINES_MAX {
                found.push(format!("{}: {} has {}", source.path, function.name, function.lines));
            }
        }
    }
    assert_none("over budget", &found);
}

#[test]
fn no_file_module_or_crate_is_called_by_a_name_that_says_nothing() {
    let empty = ["util", "utils", "common", "helpers", "misc", "manager", "types"];
    let mut found = Vec::new();
    for source in Source::all() {
        let parts = source.path.trim_end_matches(".rs").split('/');
        for part in parts.chain(source.modules.iter().map(String::as_str)) {
            if empty.contains(&part) || empty.iter().any(|name| part.ends_with(&format!("-{name}")))
            {
                found.push(format!("{}: {part}", source.path));
            }
        }
    }
    assert_none("has no name yet", &found);
}

#[test]
fn no_type_is_called_by_a_worn_word() {
    assert_none("has a worn name", &vocabulary::with_worn_names());
}

#[test]
fn every_field_of_the_core_has_a_line() {
    assert_none("has no documentation", &vocabulary::fields_without_a_line());
}

/// Why a `lib.rs` or `mod.rs` may hold logic.
const LOGIC_IN_MOD: [(&str, &str); 1] =
    [("crates/quell/src/models/mod.rs", "what the models share: it is compiled for them only")];

#[test]
fn lib_and_mod_files_declare_and_hold_no_logic() {
    let with_logic = modules::with_logic();
    let mut found = Vec::new();
    for (path, what) in &with_logic {
        if !LOGIC_IN_MOD.iter().any(|(excused, _)| excused == path) {
            found.push(format!("{path}: {what}"));
        }
    }
    for (excused, _) in LOGIC_IN_MOD {
        if !with_logic.iter().any(|(path, _)| *path == excused) {
            found.push(format!("{excused} holds none, and is excused"));
        }
    }
    assert_none("logic in `lib.rs` or `mod.rs`", &found);
}

#[test]
fn no_test_is_ignored_or_expected_to_panic_and_no_lint_is_allowed_without_a_reason() {
    let mut found = Vec::new();
    for source in Source::all() {
        for attribute in &source.attributes {
            let forbidden = match attribute.name.as_str() {
                "ignore" | "should_panic" | "allow" => true,
                "expect" => !attribute.tokens.contains("reason"),
                _ => false,
            };
            if forbidden {
                found.push(format!("{}: #[{}{}]", source.path, attribute.name, attribute.tokens));
            }
        }
    }
    assert_none("not here", &found);
}

#[test]
fn every_select_says_in_which_order_it_looks() {
    let mut found = Vec::new();
    for source in Source::all() {
        for (_, tokens) in source.macros.iter().filter(|(name, _)| name == "select") {
            if !tokens.starts_with("biased ;") {
                found.push(format!("{}: select! {{ {:.40} … }}", source.path, tokens));
            }
        }
    }
    assert_none("without `biased`", &found);
}

#[test]
fn the_core_knows_no_clock_task_lock_or_thread() {
    let mut found = Vec::new();
    for source in Source::within("crates/quell-core/src") {
        for path in &source.paths {
            let says = |pair: [&str; 2]| path.windows(2).any(|window| window == pair);
            let lock =
                |name: &String| name.starts_with("Atomic") || name == "Mutex" || name == "RwLock";
            let foreign = ["tokio", "parking_lot", "futures"].contains(&path[0].as_str());
            let clock = says(["Instant", "now"]) || says(["SystemTime", "now"]);
            let thread = says(["std", "thread"]) || path[0] == "thread";
            if foreign || clock || thread || path.iter().any(lock) {
                found.push(format!("{}: {}", source.path, path.join("::")));
            }
        }
    }
    assert_none("in quell-core", &found);
}

/// Why a file of the engine may name a lock or an atomic besides `sync/`.
const LOCKS_ELSEWHERE: [(&str, &str); 1] =
    [("crates/quell/src/models/mod.rs", "counts what the models met, outside of them")];

#[test]
fn only_one_file_of_the_engine_imports_locks_and_atomics() {
    let mut found = Vec::new();
    for source in Source::within("crates/quell/src") {
        let excused = LOCKS_ELSEWHERE.iter().any(|(path, _)| *path == source.path);
        let is_sync = source.path.starts_with("crates/quell/src/sync/")
            && source.path != "crates/quell/src/sync/waiters.rs";
        if is_sync || excused {
            continue;
        }
        for path in &source.paths {
            let is = |at: usize, name: &str| path.get(at).is_some_and(|part| part == name);
            let shared = is(2, "Arc") || is(2, "Weak");
            let std_sync = is(0, "std") && is(1, "sync") && !shared;
            if is(0, "parking_lot") || (is(0, "tokio") && is(1, "sync")) || std_sync {
                found.push(format!("{}: {}", source.path, path.join("::")));
            }
        }
    }
    assert_none("belongs into sync/locks.rs", &found);
}

/// Where the engine may start a task or a thread.
const SPAWNERS: [(&str, &str); 10] = [
    ("crates/quell/src/body/driver.rs", "the one task of a run"),
    ("crates/quell/src/step/hooks.rs", "the hook runner"),
    ("crates/quell/src/body/work.rs", "blocking closures"),
    ("crates/quell/src/control/turns.rs", "the lister of very many roots"),
    ("crates/quell/src/sync/loops.rs", "the threads for control, the store and the cluster"),
    ("crates/quell/src/foreign/couriers.rs", "threads for foreign code that it must not run"),
    ("crates/quell/src/engine/engine.rs", "the control loop on a paused clock, for tests"),
    ("crates/quell/src/sync/modelled.rs", "the body of a run in a model, on a thread of it"),
    ("crates/quell/src/sync/scheduled.rs", "the tasks of the engine in a drawn schedule"),
    ("crates/quell/src/models/", "threads of a model"),
];

#[test]
fn the_engine_spawns_only_where_it_says_so() {
    let mut found = Vec::new();
    for source in Source::within("crates/quell/src") {
        if !SPAWNERS.iter().any(|(path, _)| source.path.starts_with(path)) {
            found.extend(source.spawns.iter().map(|what| format!("{}: {what}", source.path)));
        }
    }
    assert_none("spawns", &found);
}

#[test]
fn the_engine_knows_nothing_of_http() {
    let http = ["axum", "http", "hyper", "tower", "tower_http", "reqwest"];
    let mut found = Vec::new();
    for source in Source::within("crates/quell/") {
        for path in &source.paths {
            if http.contains(&path[0].as_str()) {
                found.push(format!("{}: {}", source.path, path.join("::")));
            }
        }
    }
    assert_none("names HTTP", &found);
}

#[test]
fn arrows_between_crates_point_one_way() {
    let found: Vec<_> = Manifest::all().iter().flat_map(Manifest::forbidden_arrows).collect();
    assert_none("a dependency that `ARROWS` does not allow", &found);
}

#[test]
fn no_package_includes_a_file_of_another() {
    // Tests include the examples of their own crate.
    assert!(modules::included() > 5, "only {} were found", modules::included());
    assert_none("belongs to another package", &modules::from_other_packages());
}

#[test]
fn no_rooms_of_a_crate_use_each_other_in_a_circle() {
    assert_none("a circle of rooms", &rooms::circles());
}

#[test]
fn rooms_use_what_stands_below_them_in_the_table_of_their_crate() {
    assert_none("contradicts the table `Who owns what`", &rooms::against_the_tables());
}

#[test]
fn every_package_takes_lints_version_and_licence_from_the_workspace() {
    let mut found = Vec::new();
    for manifest in Manifest::all() {
        found.extend(manifest.not_from_the_workspace());
        let folder = manifest.folder.rsplit('/').next().unwrap_or_default();
        if manifest.folder.starts_with("crates/") && folder != manifest.name() {
            found.push(format!("{}: is called {}", manifest.folder, manifest.name()));
        }
    }
    assert_none("package", &found);
}

#[test]
fn the_workspace_forbids_unsafe_code_and_undocumented_items() {
    let lints = manifests::workspace_lints();
    let says = |group: &str, lint: &str| lints[group][lint].as_str().map(str::to_owned);
    assert_eq!(says("rust", "unsafe_code").as_deref(), Some("forbid"));
    assert_eq!(says("rust", "missing_docs").as_deref(), Some("warn"));
    assert_eq!(says("rust", "missing_debug_implementations").as_deref(), Some("warn"));
    assert_eq!(says("clippy", "await_holding_lock").as_deref(), Some("deny"));
}

#[test]
fn there_are_no_folders_for_what_has_a_place() {
    let root = sources::root();
    let found: Vec<_> = ["docs", "scripts", "xtask", "examples", "rustfmt.toml", "clippy.toml"]
        .iter()
        .filter(|name| root.join(name).exists())
        .map(ToString::to_string)
        .collect();
    assert_none("at the top", &found);
}

#[test]
fn every_module_of_the_tests_says_what_it_is_about() {
    let main = sources::read("tests/main.rs");
    let lines: Vec<_> = main.lines().collect();
    let silent =
        lines.windows(2).filter(|pair| pair[1].starts_with("mod ") && !pair[0].starts_with("//"));
    assert_none("no comment", &silent.map(|pair| pair[1].to_owned()).collect::<Vec<_>>());
}

#[test]
fn every_promise_has_a_test_that_bears_its_number() {
    let tests = readme::tests();
    let numbers: BTreeSet<u32> = tests.iter().filter_map(|(_, name)| number_of(name)).collect();
    let found: Vec<_> =
        (1..=40).filter(|n| !numbers.contains(n)).map(|n| format!("I{n}")).collect();
    assert_none("no test bears its number", &found);
}

#[test]
fn every_test_that_the_readme_names_exists() {
    let (tests, named) = (readme::tests(), readme::named());
    let exists = |module: &str, name: &str| {
        tests.iter().any(|(place, test)| place == module && test.starts_with(name))
    };
    let missing = named.iter().filter(|(module, name)| !exists(module, name));
    let missing: Vec<_> = missing.map(|(module, name)| format!("{module}::{name}")).collect();
    assert_none("the README names what does not exist", &missing);
}

#[test]
fn every_promise_and_decision_that_is_cited_stands_in_the_manual() {
    let (defined, cited) = (references::defined(), references::cited());
    assert_eq!((defined.len(), cited.len() > 100), (40 + 17, true), "{defined:?}");
    let unknown = cited.iter().filter(|(_, number)| !defined.contains(number));
    let found: Vec<_> = unknown.map(|(path, number)| format!("{path}: {number}")).collect();
    assert_none("cites what promises.md does not define", &found);
}

#[test]
fn every_section_and_choice_that_is_cited_stands_in_the_contract_of_its_crate() {
    let cited = references::citations_of_contracts();
    assert!(cited > 50, "only {cited} citations were found");
    assert_none("cites what no contract.md has", &references::lost());
}

#[test]
fn the_manual_names_every_bound_with_its_default() {
    let (constants, told) = (bounds::constants(), bounds::told());
    assert!(constants.len() > 25, "only {} bounds were found", constants.len());
    let mut found = Vec::new();
    for bound in &constants {
        if !told.contains(bound) {
            found.push(format!("{} is {}, and has no row that says so", bound.0, bound.1));
        }
    }
    let is_constant = |name: &str| constants.iter().any(|(constant, _)| constant == name);
    found.extend(told.iter().filter(|(name, _)| !is_constant(name)).map(|(name, _)| name.clone()));
    let options = bounds::options();
    assert!(options.len() > 10, "only {} options were found", options.len());
    found.extend(options.into_iter().filter(|name| !is_constant(&name.to_uppercase())));
    assert_none("the limits page of the manual", &found);
}

#[test]
fn every_table_of_the_servers_side_has_a_line_that_says_its_bound() {
    let (parts, rows, tables) = (held::parts(), held::rows(), held::tables());
    assert!(tables.len() > 100, "only {} tables were found", tables.len());
    let mut found = Vec::new();
    for table in &tables {
        if !parts.iter().any(|part| held::names(&part.what, table)) {
            found.push(format!("{table} is in no row: see tests/tidy/held.txt"));
        }
    }
    for part in &parts {
        let Some((_, row)) = rows.iter().find(|(title, _)| *title == part.row) else {
            found.push(format!("no row `{}`", part.row));
            continue;
        };
        if tables.iter().any(|table| held::names(&part.what, table)) {
            continue;
        }
        match held::value_of(&part.what) {
            Some(value) if row.contains(&value) => {}
            Some(value) => found.push(format!("{} is {value}, not as `{row}`", part.what)),
            None => found.push(format!("there is no table and no bound {}", part.what)),
        }
    }
    for (title, row) in &rows {
        if !parts.iter().any(|part| part.row == *title) {
            found.push(format!("nothing in the sources is `{title}`"));
        }
        // Number, bytes, one owner, and what happens: said, or said not to be.
        if row.split('|').filter(|cell| !cell.trim().is_empty()).count() != 5 {
            found.push(format!("a column is empty: {row}"));
        }
    }
    assert_none("the lists of what is held", &found);
}
