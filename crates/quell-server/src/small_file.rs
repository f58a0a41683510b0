//! [`read`]: a file that a user names, if it is a regular one and small.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// Reads a regular file of so many bytes at most. Waits for no writer of a pipe.
///
/// # Errors
///
/// Fails if it cannot be read, if it is no regular file, or if more bytes are read from it than
/// the limit. The size that the system says is not asked: files of `/proc` have none.
pub(crate) fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let refused = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
    let file = open(path)?;
    if !file.metadata()?.is_file() {
        return Err(refused("is no regular file".into()));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(refused(format!("has more than {bytes_max} bytes, the limit")));
    }
    Ok(bytes)
}

/// Opens a file of any sort. Waits for no writer of a pipe.
///
/// # Errors
///
/// Fails if it cannot be opened.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_a_regular_file_within_the_limit_is_read_whatever_size_it_claims() {
        let folder = std::env::temp_dir().join(format!("quell-small-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let (small, pipe) = (folder.join("small"), folder.join("pipe"));
        fs::write(&small, "12345").expect("a file");
        let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
        assert!(made.success());
        assert_eq!(read(&small, 5).expect("it is small"), b"12345");
        let refusal = |path: &Path, max| read(path, max).expect_err("it is refused").to_string();
        assert_eq!(refusal(&small, 4), "has more than 4 bytes, the limit");
        for path in [&pipe, Path::new("/dev/zero"), &folder] {
            assert_eq!(refusal(path, 5), "is no regular file", "{}", path.display());
        }
        // Its size is 0 to the system.
        #[cfg(target_os = "linux")]
        assert_eq!(refusal(Path::new("/proc/self/maps"), 9), "has more than 9 bytes, the limit");
        fs::remove_dir_all(&folder).expect("it is ours");
    }
}
