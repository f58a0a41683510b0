//! [`Former`]: the outputs of the steps of a plan, from the report of a former run.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use quell::Payload;
use quell_flow::{MissingOutput, Plan, excerpt, path_text};
use serde::Deserialize;

use crate::small_file;

/// What a report says of the steps.
#[derive(Deserialize)]
struct Report {
    rows: Vec<Row>,
    #[serde(default)]
    given: BTreeMap<String, Payload>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    depth: u32,
    status: String,
    output: Option<Payload>,
}

/// A former run of a plan.
pub(crate) struct Former {
    path: PathBuf,
    /// The outputs of the steps at the top that completed, and of those that it was given.
    pub(crate) outputs: BTreeMap<String, Payload>,
    /// How the other steps at the top ended.
    ends: BTreeMap<String, String>,
}

impl Former {
    /// Reads the report of a former run of the plan.
    ///
    /// # Errors
    ///
    /// Fails with a message if the file cannot be read, is no report, or is that of another plan.
    pub(crate) fn load(path: &Path, plan: &Plan) -> Result<Self, String> {
        let refused = |words: &str| format!("{}: {words}", path_text(path));
        let report = read(path).map_err(|words| refused(&words))?;
        let own = report.rows.iter().find(|row| row.depth == 0);
        let own = own.ok_or_else(|| refused(&format!("a report without a run; {RIGHT}")))?;
        if own.name != plan.name() {
            let (found, name) = (excerpt(&own.name), excerpt(plan.name()));
            let words = format!("the report of `{found}`; expected one of the plan `{name}`");
            return Err(refused(&words));
        }
        let mut former = Self { path: path.into(), outputs: report.given, ends: BTreeMap::new() };
        // Runs of cleanup stand beside the steps.
        let steps: HashSet<&str> = plan.steps().iter().map(|step| &*step.name).collect();
        let is_step = |row: &Row| row.depth == 1 && steps.contains(&*row.name);
        let mut seen = HashSet::new();
        for row in report.rows.into_iter().filter(is_step) {
            if !seen.insert(row.name.clone()) {
                let words = format!("two runs of a step `{}`; expected one", excerpt(&row.name));
                return Err(refused(&words));
            }
            if row.status == "completed" {
                let null = || serde_json::Value::Null.into();
                former.outputs.insert(row.name, row.output.unwrap_or_else(null));
            } else {
                former.ends.insert(row.name, row.status);
            }
        }
        Ok(former)
    }

    /// Says that an output is missing, and how its step ended.
    pub(crate) fn explained(&self, missing: &MissingOutput) -> String {
        let ended = match self.ends.get(&*missing.of).map(String::as_str) {
            None => "was not started, or has no row,",
            Some("timed-out") => "timed out",
            Some("cancelled") => "was cancelled",
            Some("failed") => "failed",
            Some(_) => "did not end",
        };
        format!("{missing}, which {ended} in {}", path_text(&self.path))
    }
}

/// Reads a report as it comes, so that no more is held of it than its rows.
fn read(path: &Path) -> Result<Report, String> {
    let too_long = || format!("over {} GiB; {RIGHT}", BYTES_MAX >> 30);
    let file = small_file::open(path).map_err(|error| error.to_string())?;
    let about = file.metadata().map_err(|error| error.to_string())?;
    if !about.is_file() {
        return Err(format!("is no regular file; {RIGHT}; `-` is for plans"));
    }
    if about.len() > BYTES_MAX {
        return Err(too_long());
    }
    let mut reader = BufReader::new(file.take(BYTES_MAX));
    serde_json::from_reader(&mut reader).map_err(|error| match reader.get_ref().limit() {
        0 => too_long(),
        _ => format!("{error}; {RIGHT}"),
    })
}

/// What `--outputs` names.
const RIGHT: &str = "expected a report, as `quell run PLAN --report FILE` writes it";

/// The longest report that is read. One may hold each output several times, in the rows of the step
/// and of the runs around it.
const BYTES_MAX: u64 = 2 << 30;
