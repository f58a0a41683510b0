//! [`plan`] parses a text in any format into a tree of values, and makes the plan of it.

use std::path::Path;

use super::fault::Fault;
use super::{json, reader, toml, yaml};
use crate::plan::document::Plan;
use crate::plan::format::PlanFormat;

/// Reads a plan, or yields every fault in the order of the text. If there is a syntax error, it is
/// the only fault.
pub(crate) fn plan(
    format: PlanFormat,
    text: &str,
    file: Option<&Path>,
) -> Result<Plan, Vec<Fault>> {
    let root = match format {
        PlanFormat::Toml => toml::parse(text),
        PlanFormat::Json => json::parse(text),
        PlanFormat::Yaml => yaml::parse(text),
    };
    reader::read(&root.map_err(|fault| vec![fault])?, format, text, file)
}
