//! [`load_plan`]: reads a plan, and says of a configuration in its place what that is, and of one
//! in another format than its name says; and what a configuration is told that is a plan, or that
//! is not there.

use std::path::Path;

use quell_flow::{Plan, PlanError, PlanFormat, PlanRefusal, guess};
use toml::de::{DeTable, DeValue};

use super::catalog::DEFAULT;
use super::document::text_of;
use crate::shell_word::shell_word;

/// Reads a plan.
///
/// # Errors
///
/// Fails with every fault of the plan; of a configuration, with what reads that; of a plan that is
/// right in another format, with that.
pub(crate) fn load_plan(path: &Path) -> Result<Plan, PlanRefusal> {
    Plan::load_checked(path).map_err(|refusal| {
        match configuration(path).or_else(|| of_other_format(path)) {
            Some(words) => PlanError::new(words).in_file(path).into(),
            None => refusal,
        }
    })
}

/// Says that a plan is right in another format than that of its name; none if it is in none.
fn of_other_format(path: &Path) -> Option<String> {
    let format = PlanFormat::of(path).ok()?;
    let text = text_of(path).ok()?;
    // JSON is YAML as well. What begins as JSON is meant to be that, whatever YAML makes of it: a
    // comma too many is none there.
    let is_json = format == PlanFormat::Json && text.trim_start().starts_with(['{', '[']);
    let others = [
        (PlanFormat::Toml, "TOML", "toml"),
        (PlanFormat::Json, "JSON", "json"),
        (PlanFormat::Yaml, "YAML", "yaml"),
    ];
    let is_in = |other: PlanFormat| {
        let is_meant = !(is_json && other == PlanFormat::Yaml);
        other != format && is_meant && other.read(&text).is_ok()
    };
    let (_, name, end) = others.into_iter().find(|(other, ..)| is_in(*other))?;
    let right = shown(&path.with_extension(end));
    Some(format!("is a plan in {name}; expected a name such as `{right}`, which says so"))
}

/// Says that a file is a configuration; none if it is none.
fn configuration(path: &Path) -> Option<String> {
    let text = text_of(path).ok()?;
    let root = DeTable::parse(&text).ok()?.into_inner();
    if has(&root, &OF_PLANS) || !has(&root, &OF_CONFIGURATIONS) {
        return None;
    }
    let (file, option) = match shown(path) {
        file if file == DEFAULT => (file, String::new()),
        file => (file.clone(), format!(" --config {file}")),
    };
    let name = first_component(&root).unwrap_or_else(|| "NAME".to_owned());
    Some(format!(
        "is a configuration and no plan; `quell run {name}{option}` runs a component of it, \
         `quell serve --config {file}` serves it, `quell check {file}` checks it"
    ))
}

/// Yields the name of the first component of a configuration.
fn first_component(root: &DeTable<'_>) -> Option<String> {
    COMPONENTS.into_iter().find_map(|(table, kind)| {
        let DeValue::Table(entries) = root.get(table)?.get_ref() else { return None };
        let first = entries.keys().min_by_key(|key| key.span().start)?;
        Some(shell_word(&format!("{kind}/{}", first.get_ref())))
    })
}

/// Says that a configuration is a plan; none if it is none.
pub(super) fn plan(path: &Path, root: &DeTable<'_>) -> Option<String> {
    if !has(root, &OF_PLANS) || has(root, &OF_CONFIGURATIONS) {
        return None;
    }
    Some(format!("is a plan and no configuration; {}", about_plans(path)))
}

/// Yields the end of a message about a text that is no TOML: a hint if its name is that of a plan
/// in another format, or if it begins as YAML or JSON do.
pub(super) fn hint_of_format(path: &Path, text: &str) -> String {
    match PlanFormat::of(path) {
        Ok(PlanFormat::Toml) | Err(_) if is_other(text) => OF_TOML.to_owned(),
        Ok(PlanFormat::Toml) | Err(_) => String::new(),
        Ok(_) if !text.contains(OF_PLANS[0]) => OF_TOML.to_owned(),
        Ok(_) => format!("; a configuration is TOML; {}", about_plans(path)),
    }
}

/// Tells whether a text begins as one of YAML or JSON.
fn is_other(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    let first = first.trim_start_matches('\u{feff}');
    let is_yaml = match (first.find(':'), first.find(['=', '['])) {
        (Some(colon), Some(other)) => colon < other,
        (colon, _) => colon.is_some(),
    };
    let begins = ["---", "%YAML", "- ", "{", "[{", "//", "/*"];
    is_yaml || begins.iter().any(|begin| first.starts_with(begin))
}

/// What is said of a text in another format.
const OF_TOML: &str = "; a configuration is TOML: `listen = \"127.0.0.1:7777\"`, and tables such \
                       as `[agents.writer]`";

fn about_plans(path: &Path) -> String {
    let file = shown(path);
    format!("`quell run {file}` runs a plan, `quell plan check {file}` checks it")
}

/// Says that there is no such configuration, and what there is or what writes one.
pub(super) fn no_file(path: &Path) -> String {
    let default = path.with_file_name(DEFAULT);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_near = name != DEFAULT && guess(&name, [DEFAULT]).is_some();
    if is_near && default.exists() {
        return format!("no such file; did you mean `{}`?", default.display());
    }
    match path.display().to_string() {
        file if file == DEFAULT => "no such file; `quell init` writes one to begin with".to_owned(),
        file if name.ends_with(".toml") => {
            format!("no such file; `quell init {}` writes one to begin with", shell_word(&file))
        }
        _ => "no such file".to_owned(),
    }
}

/// Yields the name of a file as a word of a command line.
fn shown(path: &Path) -> String {
    shell_word(&path.display().to_string())
}

fn has(root: &DeTable<'_>, keys: &[&str]) -> bool {
    keys.iter().any(|key| root.contains_key(*key))
}

/// Keys at the top that only plans have, and that only configurations have.
const OF_PLANS: [&str; 1] = ["steps"];
pub(super) const OF_CONFIGURATIONS: [&str; 10] = [
    "agents",
    "teams",
    "workflows",
    "listen",
    "server",
    "keys",
    "tokens",
    "agentos",
    "langgraph",
    "playbook3d",
];

/// The tables of components, with their kinds.
const COMPONENTS: [(&str, &str); 3] =
    [("agents", "agent"), ("teams", "team"), ("workflows", "workflow")];
