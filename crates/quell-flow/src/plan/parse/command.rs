//! [`command`] reads the command of a step.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fault::Fault;
use super::fields::{Table, argument, boolean, entry, table, text, wrong_type};
use super::keys::STEP_KEYS;
use super::kinds::check_template;
use super::reader::Reader;
use super::shell;
use super::tree::{Node, Value};
use super::unshelled;
use crate::command_example::command_example;
use crate::plan::step::CommandStep;

pub(super) fn command(reader: &mut Reader<'_>, step: &Table<'_>, run: &Node) -> CommandStep {
    let mut has_templates = false;
    let mut templated = |reader: &Reader<'_>, node: &Node, key: &str| {
        let read = reader.argument(node).and_then(|text| {
            has_templates |= check_template(reader, node, &text)?;
            Ok(text)
        });
        read.map_err(|fault| fault.of(key))
    };
    let parts = arguments(run, reader.names.is_secret(run.at));
    let parts = reader.noted(parts.map(Some).map_err(|fault| fault.of("run")));
    let mut command = Vec::new();
    for part in parts.unwrap_or_default() {
        if reader.is_full() {
            break;
        }
        let text = templated(reader, part, "run");
        command.push(reader.noted(text));
    }
    if let Some(parts) = parts {
        shell::warn(reader, parts, step.get("input"));
        unshelled::warn(reader, parts, step.get("cwd"));
    }
    let mut env = BTreeMap::new();
    let example = entry(reader.format, "NAME", "\"value\"");
    let variables = step.read("env", |node| {
        let right = || format!("a table such as `{example}`");
        table(node).map_err(|_| match node.value {
            Value::Null => Fault::new(node.at, format!("{EMPTY}; expected {}", right())),
            _ => wrong_type(node, &right()),
        })
    });
    let variables = reader.noted(variables).unwrap_or_default();
    warn_of_variables(reader, step);
    for (key, value) in variables {
        if key.name.is_empty() || key.name.contains(['=', '\0']) {
            let message = "name of a variable is empty or contains `=` or NUL";
            reader.note(Fault::new(key.at, message).of("env"));
        }
        let text = templated(reader, value, &format!("env.{}", reader.named(key)));
        env.insert(key.name.clone(), reader.noted(text));
    }
    let env_clear = reader.noted(step.read("env_clear", boolean)).unwrap_or_default();
    let mut text_of = |key, read: fn(&Node) -> Result<&str, Fault>| {
        let text = step.read(key, |node| {
            let text = read(node)?;
            has_templates |= check_template(reader, node, text)?;
            Ok(text.to_owned())
        });
        reader.noted(text)
    };
    let (cwd, input) = (text_of("cwd", folder), text_of("input", text));
    let origin = Arc::new(reader.origin(run.at));
    CommandStep { command, cwd, env, env_clear, input, has_templates, origin }
}

/// What is wrong with an `env` behind whose colon is nothing.
const EMPTY: &str = "found null: no variable is indented below it";

/// Warns of keys of the step that stand behind the header of its `env`, in TOML: there each is a
/// variable.
fn warn_of_variables(reader: &mut Reader<'_>, step: &Table<'_>) {
    let Some(env) = step.get("env") else { return };
    let Some(header) = reader.header_of(env) else { return };
    for (key, _) in table(env).unwrap_or_default() {
        if STEP_KEYS.contains(&key.name.as_str()) {
            let name = &key.name;
            let message =
                format!("`{name}` is a variable here, as it stands in the table `{header}`");
            let right = "one of the step stands before it";
            reader.warn(Fault::new(key.at, format!("{message}; {right}")));
        }
    }
}

/// Reads the folder of a command. In YAML, `~` is null.
fn folder(node: &Node) -> Result<&str, Fault> {
    if node.is_null() {
        return Err(wrong_type(node, "the path itself, such as `/srv/data`"));
    }
    argument(node)
}

/// Reads the list of a program and its arguments.
fn arguments(run: &Node, is_secret: bool) -> Result<&[Node], Fault> {
    let Value::List(parts) = &run.value else {
        let line = match &run.value {
            Value::Text(text) if !is_secret => text,
            _ => "",
        };
        return Err(wrong_type(run, &format!("a list such as `{}`", command_example(line))));
    };
    let program = parts.first();
    if program.is_none_or(|program| matches!(&program.value, Value::Text(text) if text.is_empty()))
    {
        let at = program.map_or(run.at, |program| program.at);
        return Err(Fault::new(at, "empty command; expected a program and its arguments"));
    }
    Ok(parts)
}
