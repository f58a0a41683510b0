//! [`PlanFormat`] is the language of a plan, and reads a text or a file of it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::document::Plan;
use super::error::{Place, PlanError};
use super::parse;
use super::refusal::PlanRefusal;
use crate::excerpt::excerpt;
use crate::limits;

/// The language in which a plan is written.
///
/// # Examples
///
/// ```
/// use quell_flow::PlanFormat;
///
/// let faults = PlanFormat::Yaml.read("name: x\nsteps:\n- name: a\n- name: b\n").unwrap_err();
/// assert_eq!(faults.len(), 2);
/// assert!(faults[1].to_string().starts_with("line 4, column 3: step `b` does nothing"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PlanFormat {
    /// TOML 1.1.
    Toml,
    /// JSON.
    Json,
    /// YAML 1.2: one document, without anchors and tags.
    Yaml,
}

impl PlanFormat {
    /// Tells the format of a file by its extension.
    ///
    /// # Errors
    ///
    /// Fails if the extension is none of `.toml`, `.json`, `.yaml`, `.yml`.
    pub fn of(path: impl AsRef<Path>) -> Result<Self, PlanError> {
        let right = "expected `.toml`, `.json`, `.yaml`";
        match path.as_ref().extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Ok(Self::Toml),
            Some("json") => Ok(Self::Json),
            Some("yaml" | "yml") => Ok(Self::Yaml),
            Some(other) => {
                let other = excerpt(other);
                Err(PlanError::new(format!("unknown extension `{other}`; {right}")))
            }
            None => Err(PlanError::new(format!("no extension; {right}"))),
        }
    }

    /// Reads a plan.
    ///
    /// # Errors
    ///
    /// Fails with every fault of the text, at most [`limits::PLAN_FAULTS_MAX`].
    pub fn read(self, text: &str) -> Result<Plan, Vec<PlanError>> {
        self.read_in(text, None).map_err(PlanRefusal::into_faults)
    }

    /// Reads a plan from a file, whose extension names the format.
    pub(super) fn load(path: &Path) -> Result<Plan, PlanRefusal> {
        let format = Self::of(path)?;
        let bytes = read_bounded(path)?;
        format.read_in(text_of(&bytes)?, Some(path))
    }

    /// Reads a plan from a stream, whose text tells the format.
    pub(super) fn read_stream(from: impl io::Read, name: &Path) -> Result<Plan, PlanRefusal> {
        let bytes = read_to_bound(from)?;
        if bytes.len() > limits::PLAN_BYTES_MAX {
            return Err(too_long().into());
        }
        let text = text_of(&bytes)?;
        let guessed = Self::guessed(text);
        guessed.read_in(text, Some(name)).or_else(|refusal| {
            let all = [Self::Toml, Self::Json, Self::Yaml].into_iter();
            let mut read = all.filter_map(|format| format.read_in(text, Some(name)).ok());
            read.next().ok_or(refusal)
        })
    }

    /// Guesses the format of a text by its first line that is no comment.
    pub(crate) fn guessed(text: &str) -> Self {
        let mut lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
        let is_plain = |line: &&str| !line.is_empty() && !line.starts_with(['#', '-', '%']);
        let first = lines.find(is_plain).unwrap_or_default();
        let is_json = |rest: &str| match rest.trim_start().chars().next() {
            Some(first) => first == '"',
            // The key is on a later line.
            None => lines.find(is_plain).is_some_and(|line| line.starts_with('"')),
        };
        match (first.find('='), first.find(':')) {
            _ if first.strip_prefix('{').is_some_and(is_json) => Self::Json,
            _ if first.starts_with('[') => Self::Toml,
            (Some(equals), colon) if colon.is_none_or(|colon| equals < colon) => Self::Toml,
            _ => Self::Yaml,
        }
    }

    fn read_in(self, text: &str, file: Option<&Path>) -> Result<Plan, PlanRefusal> {
        if text.len() > limits::PLAN_BYTES_MAX {
            return Err(too_long().into());
        }
        // Some editors write a byte order mark; it is no part of the text.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        parse::plan(self, text, file)
    }
}

/// The format of a plan as a JSON Schema, draft 2020-12.
///
/// # Examples
///
/// ```
/// let schema: serde_json::Value = serde_json::from_str(quell_flow::PLAN_SCHEMA).unwrap();
/// assert_eq!(schema["title"], "Plan of quell");
/// ```
pub const PLAN_SCHEMA: &str = include_str!("schema.json");

/// What a plan may say: the keys of plans and steps, their defaults, and the output of each kind of
/// step, as Markdown.
///
/// # Examples
///
/// ```
/// assert!(quell_flow::PLAN_PAGE.contains("| `first_success` |"));
/// ```
pub const PLAN_PAGE: &str = include_str!("plans.md");

/// What templates and expressions of plans may say: names, filters, tests and operators, with an
/// example of each, as Markdown.
///
/// # Examples
///
/// ```
/// assert!(quell_flow::PLAN_TEMPLATES.contains("| `[1, 2] \\| first` | `1` |"));
/// ```
pub const PLAN_TEMPLATES: &str = include_str!("templates.md");

/// Yields the first of several faults.
pub(super) fn first(faults: Vec<PlanError>) -> PlanError {
    let nothing = || PlanError::new("the plan was refused without a reason");
    faults.into_iter().next().unwrap_or_else(nothing)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, PlanError> {
    let unreadable = |error: io::Error| match error.kind() {
        // The words of the system would say the same again.
        io::ErrorKind::NotFound => PlanError::new("no such file"),
        _ => PlanError::from_io("file cannot be read", error),
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(PlanError::new("expected a file"));
    }
    // The bound holds for what is read: the file may grow after its size was read.
    let bytes = read_to_bound(File::open(path).map_err(unreadable)?)?;
    if bytes.len() > limits::PLAN_BYTES_MAX {
        return Err(too_long());
    }
    Ok(bytes)
}

/// Reads to the end, or to one byte beyond the bound.
fn read_to_bound(from: impl io::Read) -> Result<Vec<u8>, PlanError> {
    let mut bytes = Vec::new();
    let mut from = from.take(limits::PLAN_BYTES_MAX as u64 + 1);
    let read = from.read_to_end(&mut bytes);
    read.map_err(|error| PlanError::from_io("file cannot be read", error))?;
    Ok(bytes)
}

fn text_of(bytes: &[u8]) -> Result<&str, PlanError> {
    std::str::from_utf8(bytes).map_err(|error| {
        PlanError::new("invalid UTF-8; expected text").at(Place::of(bytes, error.valid_up_to()))
    })
}

/// Makes the fault of a plan that is too long. How long it is nobody knows of a stream.
fn too_long() -> PlanError {
    let max = limits::PLAN_BYTES_MAX;
    PlanError::new(format!("plan has more than {max} bytes, the limit"))
}
