//! [`plan`] parses a text in any format into a tree of values, and makes the plan of it.

use std::path::Path;

use super::fault::Fault;
use super::fields::wrong_type;
use super::masked::Masked;
use super::tree::Value;
use super::{hints, json, reader, toml, unread, yaml};
use crate::excerpt::Line;
use crate::plan::document::Plan;
use crate::plan::format::PlanFormat;
use crate::plan::refusal::PlanRefusal;

/// Reads a plan, or yields every fault in the order of the text. If there is a syntax error, it is
/// the only fault.
pub(crate) fn plan(
    format: PlanFormat,
    text: &str,
    file: Option<&Path>,
) -> Result<Plan, PlanRefusal> {
    let root = match format {
        PlanFormat::Toml => toml::parse(text),
        PlanFormat::Json => json::parse(text),
        PlanFormat::Yaml => yaml::parse(text),
    };
    let unread = |fault: Fault| {
        let line = Line::shown_by(text, fault.at, unread::shown);
        let fault = hints::of_quotes(fault, format, text);
        PlanRefusal::from(hints::of_format(fault, format, text).on_line(text, line))
    };
    let root = root.map_err(unread)?;
    if !matches!(root.value, Value::Table(_)) && hints::other_format(format, text).is_some() {
        return Err(unread(wrong_type(&root, "a table")));
    }
    reader::read(&root, format, (text, &Masked::of(text, &root)), file)
}
