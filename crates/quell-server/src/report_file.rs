//! [`ReportFile`]: the file that receives the report, whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use quell::RunReport;

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
    /// Checks that the path can be written, and keeps the file open.
    ///
    /// # Errors
    ///
    /// Fails if it cannot: there is no such directory, no permission, or it is a directory.
    pub(crate) fn prepare(path: &Path) -> io::Result<Self> {
        // Follow a link: renaming over it would replace the link.
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

    /// Writes the report and renames the file to its path.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written whole; then the path is unchanged.
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
