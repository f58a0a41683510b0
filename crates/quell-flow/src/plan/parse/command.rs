//! [`command`] reads the command of a step.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fault::Fault;
use super::fields::{Table, argument, boolean, list, table, text, wrong_type};
use super::kinds::check_template;
use super::reader::Reader;
use super::shell;
use super::tree::{Node, Value};
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
    let parts = arguments(run);
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
        shell::warn(reader, parts);
    }
    let mut env = BTreeMap::new();
    let variables = reader.noted(step.read("env", table)).unwrap_or_default();
    for (key, value) in variables {
        if key.name.is_empty() || key.name.contains(['=', '\0']) {
            let message = "name of a variable is empty or contains `=` or NUL";
            reader.note(Fault::new(key.at, message).of("env"));
        }
        let text = templated(reader, value, &format!("env.{}", key.name));
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
    let (cwd, input) = (text_of("cwd", argument), text_of("input", text));
    let origin = Arc::new(reader.origin(run.at));
    CommandStep { command, cwd, env, env_clear, input, has_templates, origin }
}

/// Reads the list of a program and its arguments.
fn arguments(run: &Node) -> Result<&[Node], Fault> {
    if let Value::Text(text) = &run.value {
        let right = format!("a list such as `{}`", command_example(text));
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
