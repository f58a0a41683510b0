//! The file that receives the report: whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use quell::RunReport;

/// A place for the report that was found to be writable.
///
/// A regular file is written beside its place and moved there; until then the place is as it was.
/// What is no regular file, for instance a pipe or `/dev/fd/3`, is written in place.
#[derive(Debug)]
pub(crate) struct ReportFile {
    file: File,
    draft: Option<Draft>,
}

impl ReportFile {
    /// Finds out whether the path can be written, and holds on to it.
    ///
    /// # Errors
    ///
    /// Fails if it cannot: no such directory, no permission, a directory itself.
    pub(crate) fn prepare(path: &Path) -> io::Result<Self> {
        // A link is followed, so that it stays a link.
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let is_special = match fs::metadata(&place) {
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) => !found.is_file(),
            Err(_) => false,
        };
        if is_special {
            let file = OpenOptions::new().write(true).open(&place)?;
            return Ok(Self { file, draft: None });
        }
        let name = place.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let draft_name = format!(".{}.{}.draft", name.display(), std::process::id());
        let draft = place.with_file_name(draft_name);
        let file = OpenOptions::new().write(true).create_new(true).open(&draft)?;
        Ok(Self { file, draft: Some(Draft { path: draft, place }) })
    }

    /// Writes the report and puts it in its place.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written whole; then the place is as it was.
    pub(crate) fn write(self, report: &RunReport) -> io::Result<()> {
        let mut writer = BufWriter::new(&self.file);
        serde_json::to_writer_pretty(&mut writer, report)?;
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

/// The file beside the place. It does not outlive this value.
#[derive(Debug)]
struct Draft {
    path: PathBuf,
    place: PathBuf,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After the move there is nothing to remove.
        let _ = fs::remove_file(&self.path);
    }
}
