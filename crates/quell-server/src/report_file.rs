//! [`ReportFile`]: the file that receives the report, whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quell::{Payload, RunReport};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use serde::Serialize;
use uuid::Uuid;

/// A path that was found to be writable.
///
/// A regular file is written under another name in the same folder and then renamed; until then the
/// path is unchanged. Anything else, for instance a pipe or `/dev/fd/3`, is written in place.
#[derive(Debug)]
pub(crate) struct ReportFile {
    file: File,
    draft: Option<Draft>,
}

impl ReportFile {
    /// Checks that the path can be written, and keeps the file open. Removes drafts in its folder
    /// that processes left which were killed.
    ///
    /// # Errors
    ///
    /// Fails if it cannot: there is no such directory, no permission, it is a directory, or a named
    /// pipe that no process reads.
    pub(crate) fn prepare(path: &Path) -> io::Result<Self> {
        // Follow a link: renaming over it would replace the link.
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let is_special = match fs::metadata(&place) {
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) => !found.is_file(),
            Err(_) => false,
        };
        if is_special {
            return Ok(Self { file: open_special(&place)?, draft: None });
        }
        place.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        remove_leftovers(&place);
        let (file, path) = create_draft(&place)?;
        Ok(Self { file, draft: Some(Draft { path, place }) })
    }

    /// Writes the report and renames the file to its path.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written whole; then the path is unchanged.
    pub(crate) fn write(self, report: &RunReport, given: &Given) -> io::Result<()> {
        let mut writer = BufWriter::new(&self.file);
        serde_json::to_writer_pretty(&mut writer, &Written { report, given })?;
        writer.write_all(b"\n")?;
        writer.flush()?;
        match &self.draft {
            Some(draft) => {
                self.file.sync_all()?;
                fs::rename(&draft.path, &draft.place)
            }
            None => Ok(()),
        }
    }
}

/// Opens what is no regular file. A pipe without a reader is refused: opening it would wait.
fn open_special(place: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let open = OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open(place);
    let is_pipe = || fs::metadata(place).is_ok_and(|found| found.file_type().is_fifo());
    let file = open.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NXIO) if is_pipe() => {
            io::Error::new(error.kind(), "no process reads this pipe; start its reader first")
        }
        _ => error,
    })?;
    // A slow reader is waited for.
    fcntl_setfl(&file, OFlags::empty())?;
    Ok(file)
}

/// Creates the draft of a file, and locks it while it is open.
fn create_draft(place: &Path) -> io::Result<(File, PathBuf)> {
    loop {
        let draft = place.with_file_name(format!("{DRAFT_BEGIN}{}{DRAFT_END}", Uuid::now_v7()));
        let file = OpenOptions::new().write(true).create_new(true).open(&draft)?;
        // Some file systems know no locks. There nothing is taken for a leftover either.
        let is_locked = file.lock().is_ok();
        // Before it was locked, another process may have taken it for a leftover.
        if !is_locked || file.metadata()?.nlink() > 0 {
            return Ok((file, draft));
        }
    }
}

/// Removes the drafts beside a file whose processes have ended: those that nobody locks. A process
/// id says nothing: in a container each has the same.
fn remove_leftovers(place: &Path) {
    let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty());
    let Ok(entries) = fs::read_dir(folder.unwrap_or(Path::new("."))) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_draft = name.to_str().and_then(|name| {
            Uuid::try_parse(name.strip_prefix(DRAFT_BEGIN)?.strip_suffix(DRAFT_END)?).ok()
        });
        // A link may lead anywhere.
        if is_draft.is_none() || !entry.file_type().is_ok_and(|found| found.is_file()) {
            continue;
        }
        if File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            // The next run tries again.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The outputs of former steps that a part of a plan was given, by the name of the step.
pub(crate) type Given = BTreeMap<Arc<str>, Payload>;

/// What the file says: the report, and what it needs to be continued from.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    report: &'a RunReport,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    given: &'a Given,
}

/// The temporary file. It is removed with this value.
#[derive(Debug)]
struct Draft {
    path: PathBuf,
    place: PathBuf,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After the rename there is nothing to remove.
        let _ = fs::remove_file(&self.path);
    }
}

/// How the names of drafts begin and end. Between is a new id.
const DRAFT_BEGIN: &str = ".quell-report-";
const DRAFT_END: &str = ".draft";
