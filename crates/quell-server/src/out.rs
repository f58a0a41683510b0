//! [`written`]: what a command reads of a store goes to stdout as it is read.

use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write as _};
use std::process::ExitCode;

use quell_report::text::printable;

use crate::exit::{EXIT_FAILED, EXIT_USAGE};
use crate::stdout;

/// Stdout, and what could not be read meanwhile.
pub(crate) struct Out {
    stdout: BufWriter<StdoutLock<'static>>,
    has_begun: bool,
    has_gaps: bool,
}

/// Why nothing more is written.
pub(crate) enum Fault {
    /// There is nothing to read, with words for the user.
    Refused(String),
    /// Stdout cannot be written.
    Stdout(io::Error),
}

impl From<String> for Fault {
    fn from(words: String) -> Self {
        Self::Refused(words)
    }
}

impl Out {
    /// Writes a line.
    pub(crate) fn line(&mut self, line: impl Display) -> Result<(), Fault> {
        self.has_begun = true;
        writeln!(self.stdout, "{line}").map_err(Fault::Stdout)
    }

    /// Tells whether there was nothing to write, and nothing that cannot be read.
    pub(crate) const fn is_empty(&self) -> bool {
        !self.has_begun && !self.has_gaps
    }

    /// Writes all that waits: a reader may want to see it before more is read.
    pub(crate) fn flush(&mut self) -> Result<(), Fault> {
        self.stdout.flush().map_err(Fault::Stdout)
    }

    /// Says on stderr that something cannot be read. The rest is.
    pub(crate) fn gap(&mut self, what: impl Display) {
        self.has_gaps = true;
        stdout::complain(&format!("quell: {}\n", printable(&what.to_string())));
    }
}

/// Lets a command write, and yields the exit code: 0, also if the reader has left; 1 if something
/// could not be read or written; 2 if there is nothing to read.
pub(crate) fn written(write: impl FnOnce(&mut Out) -> Result<(), Fault>) -> ExitCode {
    let stdout = BufWriter::new(io::stdout().lock());
    let mut out = Out { stdout, has_begun: false, has_gaps: false };
    let done = write(&mut out).and_then(|()| out.flush());
    match done {
        Ok(()) if out.has_gaps => ExitCode::from(EXIT_FAILED),
        Ok(()) => ExitCode::SUCCESS,
        Err(Fault::Refused(words)) => {
            stdout::complain(&format!("error: {words}\n"));
            ExitCode::from(if out.has_begun { EXIT_FAILED } else { EXIT_USAGE })
        }
        Err(Fault::Stdout(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Fault::Stdout(error)) => {
            stdout::complain(&format!("error: stdout cannot be written: {error}\n"));
            ExitCode::from(EXIT_FAILED)
        }
    }
}
