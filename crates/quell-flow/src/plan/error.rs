//! [`PlanError`] says why a plan is refused, and where.

use std::error::Error;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::line_index::LineIndex;
use crate::excerpt::{Line, path_text};

/// The reason why a plan is refused, its place, and what is expected there.
///
/// A program that reads a file of its own beside plans, such as a configuration that names them,
/// can make the faults of that file with [`new`](Self::new), and shows all in one form.
///
/// Displays as `plan.toml:12:3: unknown key …`, without the file if there is none, and without the
/// place if the file could not be read. [`snippet`](Self::snippet) shows the line of the text.
///
/// # Examples
///
/// ```
/// use quell_flow::Plan;
///
/// let error = Plan::from_toml("name = \"tour\"\nstep = []\n").unwrap_err();
/// assert_eq!((error.line(), error.column()), (Some(2), Some(1)));
/// assert!(error.to_string().starts_with("line 2, column 1: unknown key `step`"));
/// ```
#[derive(Clone, Debug)]
pub struct PlanError {
    file: Option<PathBuf>,
    place: Option<Place>,
    line: Option<Line>,
    message: String,
    source: Option<Arc<io::Error>>,
}

impl PlanError {
    /// Yields the file, if the plan came from one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Yields the line, from 1, unless the text could not be read at all.
    pub fn line(&self) -> Option<usize> {
        self.place.map(|place| place.line)
    }

    /// Yields the column in characters, from 1, unless the text could not be read at all.
    pub fn column(&self) -> Option<usize> {
        self.place.map(|place| place.column)
    }

    /// Yields the line of the text, with its number in front and a caret below the place; none if
    /// the text could not be read, or if the fault is that of a file as a whole.
    ///
    /// There is no newline at its end. A long line is cut around the place, and characters that are
    /// not printable are replaced.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_flow::Plan;
    ///
    /// let error = Plan::from_toml("name = \"tour\"\nstep = []\n").unwrap_err();
    /// assert_eq!(error.snippet().unwrap(), "  |\n2 | step = []\n  | ^");
    /// ```
    pub fn snippet(&self) -> Option<String> {
        let (place, line) = (self.place?, self.line.as_ref()?);
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        let Line { text, before } = line;
        let text = format!("{number} | {text}");
        let caret = " ".repeat(*before);
        Some(format!("{margin} |\n{}\n{margin} | {caret}^", text.trim_end()))
    }

    /// Yields what is wrong and what is expected, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Makes the fault of another file than a plan. It has neither a file nor a place yet.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_flow::PlanError;
    ///
    /// let text = "[server]\ngrase = '1s'\n";
    /// let fault = PlanError::new("unknown key `grase`").in_file("quell.toml").in_text(text, 9);
    /// assert_eq!(fault.to_string(), "quell.toml:2:1: unknown key `grase`");
    /// assert_eq!(fault.snippet().unwrap(), "  |\n2 | grase = '1s'\n  | ^");
    /// ```
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { file: None, place: None, line: None, message: message.into(), source: None }
    }

    /// Names the file of a fault.
    #[must_use]
    pub fn in_file(self, file: impl AsRef<Path>) -> Self {
        Self { file: Some(file.as_ref().to_path_buf()), ..self }
    }

    /// Names the place of a fault: the offset of a byte in a text. One beyond the end is the end.
    #[must_use]
    pub fn in_text(self, text: &str, offset: usize) -> Self {
        self.at(Place::of(text.as_bytes(), offset)).showing(Line::of(text, offset))
    }

    /// As [`in_text`](Self::in_text), with the index of the text: for one with many faults.
    #[must_use]
    pub fn in_lines(self, text: &str, lines: &LineIndex, offset: usize) -> Self {
        self.at(lines.place(text, offset)).showing(Line::of(text, offset))
    }

    pub(crate) fn from_io(message: impl Into<String>, source: io::Error) -> Self {
        Self { source: Some(Arc::new(source)), ..Self::new(message) }
    }

    pub(crate) fn at(self, place: Place) -> Self {
        Self { place: Some(place), ..self }
    }

    pub(crate) fn showing(self, line: Line) -> Self {
        Self { line: Some(line), ..self }
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.as_ref().map(path_text), self.place) {
            (Some(file), Some(Place { line, column })) => write!(f, "{file}:{line}:{column}: ")?,
            (Some(file), None) => write!(f, "{file}: ")?,
            (None, Some(Place { line, column })) => write!(f, "line {line}, column {column}: ")?,
            (None, None) => {}
        }
        f.write_str(&self.message)
    }
}

impl Error for PlanError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|error| error as &(dyn Error + 'static))
    }
}

/// A place in a text, both numbers from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Place {
    /// The place of the first character.
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    /// Finds the place of a byte. An offset beyond the end is the end.
    pub(crate) fn of(text: &[u8], offset: usize) -> Self {
        Self::START.moved(text, 0..offset.min(text.len()))
    }

    /// Finds the place of the end of a range of a text, at whose begin this one is.
    pub(crate) fn moved(self, text: &[u8], range: Range<usize>) -> Self {
        // `\n`, `\r` and both together end a line.
        let ends = |at: &usize| match text[*at] {
            b'\n' => true,
            b'\r' => text.get(at + 1) != Some(&b'\n'),
            _ => false,
        };
        let Self { mut line, mut column } = self;
        let mut begin = range.start;
        for end in range.clone().filter(ends) {
            (line, column, begin) = (line + 1, 1, end + 1);
        }
        // Continuation bytes of UTF-8 do not begin a character.
        column += text[begin..range.end].iter().filter(|byte| **byte & 0xC0 != 0x80).count();
        Self { line, column }
    }
}
