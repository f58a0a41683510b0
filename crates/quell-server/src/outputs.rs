//! [`load`] reads the outputs of the steps of a plan from the report of a former run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use quell::Payload;
use serde::Deserialize;

/// What a report says of the steps.
#[derive(Deserialize)]
struct Report {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    depth: u32,
    status: String,
    output: Option<Payload>,
}

/// Reads the outputs of the steps at the top that completed.
///
/// # Errors
///
/// Fails with a message if the file cannot be read, or is no report.
pub(crate) fn load(path: &Path) -> Result<BTreeMap<String, Payload>, String> {
    let text = fs::read_to_string(path);
    let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
    let report: Report = serde_json::from_str(&text).map_err(|error| {
        let right = "expected a report, as `quell run PLAN --report FILE` writes it";
        format!("{}: {error}; {right}", path.display())
    })?;
    let at_top = |row: &Row| row.depth == 1 && row.status == "completed";
    let rows = report.rows.into_iter().filter(at_top);
    Ok(rows.filter_map(|row| Some((row.name, row.output?))).collect())
}
