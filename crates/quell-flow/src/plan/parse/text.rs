//! [`plan`] parses a text in any format into a tree of values, and makes the plan of it;
//! [`is_plan`] tells whether a text is of a format.

use std::path::Path;

use super::fault::Fault;
use super::keys::PLAN_KEYS;
use super::tree::{Node, Value};
use super::{hints, json, masked, reader, toml, yaml};
use crate::plan::document::Plan;
use crate::plan::error::PlanError;
use crate::plan::format::PlanFormat;

/// Reads a plan, or yields every fault in the order of the text. If there is a syntax error, it is
/// the only fault.
pub(crate) fn plan(
    format: PlanFormat,
    text: &str,
    file: Option<&Path>,
) -> Result<Plan, Vec<PlanError>> {
    let root = tree(format, text);
    let unread = |fault| {
        let shown = masked::masked_unread(text, format);
        vec![hints::of_quotes(fault, format, text).in_text(text, &shown)]
    };
    let root = root.map_err(unread)?;
    reader::read(&root, format, (text, &masked::masked(text, &root)), file)
}

/// Tells whether a text in a format is a table with a key that plans have. It may have faults.
pub(crate) fn is_plan(format: PlanFormat, text: &str) -> bool {
    let root = tree(format, text);
    let Ok(Node { value: Value::Table(entries), .. }) = root else { return false };
    entries.iter().any(|(key, _)| PLAN_KEYS.contains(&key.name.as_str()))
}

fn tree(format: PlanFormat, text: &str) -> Result<Node, Fault> {
    match format {
        PlanFormat::Toml => toml::parse(text),
        PlanFormat::Json => json::parse(text),
        PlanFormat::Yaml => yaml::parse(text),
    }
}
