//! [`command`] reads the command of a step.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fault::Fault;
use super::fields::{Table, argument, boolean, entry, list, table, text, wrong_type};
use super::keys::STEP_KEYS;
use super::kinds::check_template;
use super::masked::{has_variable, variable};
use super::reader::Reader;
use super::shell;
use super::tree::{Node, Value};
use super::unshelled;
use crate::command_example::command_example;
use crate::plan::step::CommandStep;
use crate::plan::variable::variable_of;

pub(super) fn command(reader: &mut Reader<'_>, step: &Table<'_>, run: &Node) -> CommandStep {
    let mut has_templates = false;
    let mut templated = |reader: &Reader<'_>, node: &Node, key: &str| {
        let read = reader.argument(node).and_then(|text| {
            has_templates |= check_template(reader, node, &text)?;
            Ok(text)
        });
        read.map_err(|fault| fault.of(key))
    };
    let parts = arguments(run);
    let parts = reader.noted(parts.map(Some).map_err(|fault| fault.of("run")));
    let mut command = Vec::new();
    reader.names.are_secret = true;
    for part in parts.unwrap_or_default() {
        if reader.is_full() {
            break;
        }
        // Words before the program may be variables.
        reader.names.are_secret &= variable_of(shell::word(part)).is_some();
        let text = templated(reader, part, "run");
        command.push(reader.noted(text));
    }
    reader.names.are_secret = false;
    if let Some(parts) = parts {
        shell::warn(reader, parts);
        unshelled::warn(reader, parts, step.get("cwd"));
    }
    let mut env = BTreeMap::new();
    let example = entry(reader.format, "NAME", "\"value\"");
    let variables = step.read("env", |node| {
        table(node).map_err(|_| wrong_type(node, &format!("a table such as `{example}`")))
    });
    let variables = reader.noted(variables).unwrap_or_default();
    warn_of_variables(reader, step);
    reader.names.are_secret = true;
    for (key, value) in variables {
        if key.name.is_empty() || key.name.contains(['=', '\0']) {
            let message = "name of a variable is empty or contains `=` or NUL";
            reader.note(Fault::new(key.at, message).of("env"));
        }
        let owner = format!("env.{}", variable(&key.name));
        let text = templated(reader, value, &owner);
        let text = text.map_err(|fault| unquoted(fault, &owner, value));
        env.insert(key.name.clone(), reader.noted(text));
    }
    reader.names.are_secret = false;
    let env_clear = reader.noted(step.read("env_clear", boolean)).unwrap_or_default();
    let mut text_of = |key, read: fn(&Node) -> Result<&str, Fault>| {
        let text = step.read(key, |node| {
            let text = read(node)?;
            has_templates |= check_template(reader, node, text)?;
            Ok(text.to_owned())
        });
        reader.noted(text)
    };
    let (cwd, input) = (text_of("cwd", argument), text_of("input", text));
    let origin = Arc::new(reader.origin(run.at));
    CommandStep { command, cwd, env, env_clear, input, has_templates, origin }
}

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

/// Leaves the value of a variable that is no text, and may be a secret, out of a message.
fn unquoted(fault: Fault, key: &str, value: &Node) -> Fault {
    match &value.value {
        Value::Number(_) | Value::Bool(_) => wrong_type(value, "a string, in quotes").of(key),
        _ => fault,
    }
}

/// Reads the list of a program and its arguments.
fn arguments(run: &Node) -> Result<&[Node], Fault> {
    if let Value::Text(text) = &run.value {
        let line = if has_variable(text) { "" } else { text };
        let right = format!("a list such as `{}`", command_example(line));
        return Err(wrong_type(run, &right));
    }
    let parts = list(run)?;
    let program = parts.first();
    if program.is_none_or(|program| matches!(&program.value, Value::Text(text) if text.is_empty()))
    {
        let at = program.map_or(run.at, |program| program.at);
        return Err(Fault::new(at, "empty command; expected a program and its arguments"));
    }
    Ok(parts)
}
