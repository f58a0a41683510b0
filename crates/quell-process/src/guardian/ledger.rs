//! [`Ledger`]: what a process and its guardians leave in the file of
//! [`take_over`](super::take_over) for the next process, which learns from it whether all programs
//! have ended.
//!
//! Each line is one append, of a word and the name of a process:
//!
//! | line | written | says |
//! |---|---|---|
//! | `process NAME` | by the process, when it has the file | its lines count, and no others do |
//! | `doubt NAME` | by it, before that | programs of one before may be left, or none are guarded |
//! | `begun NAME` | by it, before a guardian is started | programs may be left from now on |
//! | `ended NAME` | by a guardian that has found nothing left, when it ends | none is |
//! | `sure NAME` | by the process | nobody has to know any more of a process before it |
//!
//! A guardian that is killed, or gives up, writes nothing, and so the last word of its process is
//! `begun`. One of an earlier process may write late: by another name, which counts no more.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The file, open to be read and appended to, and the name of the process in it.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    file: Arc<File>,
    name: String,
}

impl Ledger {
    /// Begins the lines of this process, in a file that it has for itself, or beside a guardian of
    /// a process before it. None if it cannot be written: then it tells nothing.
    pub(super) fn begin(file: &File, has_doubt: bool) -> Option<Self> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("{}-{}", std::process::id(), at.as_nanos());
        let ledger = Self { file: Arc::new(file.try_clone().ok()?), name };
        // The doubt first: alone, the line of the process would say that all have ended.
        let doubt = if has_doubt { ledger.append(DOUBT) } else { Ok(()) };
        let begun = doubt.and_then(|()| ledger.append(PROCESS));
        begun.map_or_else(|_| ledger.give_up(), |()| Some(ledger.clone()))
    }

    /// Yields the lines that a guardian adds to: those of the process that began last. None if the
    /// file has none, or is no file.
    pub(super) fn of_guarded(file: File) -> Option<Self> {
        let name = last_process(&read(&file)?)?.to_owned();
        Some(Self { file: Arc::new(file), name })
    }

    /// Yields none, and leaves a file that tells nothing, if this cannot be written: the disk is
    /// full.
    pub(super) fn begun(self) -> Option<Self> {
        match self.append(BEGUN) {
            Ok(()) => Some(self),
            Err(_) => self.give_up(),
        }
    }

    fn give_up(&self) -> Option<Self> {
        // Room is not needed to have less.
        let _ = self.file.set_len(0);
        None
    }

    /// Without this line the next process knows less, which does no harm.
    pub(super) fn ended(&self) {
        let _ = self.append(ENDED);
    }

    pub(super) fn sure(&self) {
        let _ = self.append(SURE);
    }

    fn append(&self, word: &str) -> io::Result<()> {
        (&*self.file).write_all(format!("{word} {}\n", self.name).as_bytes())
    }
}

/// Tells whether all programs of the processes before have ended, as far as the file tells.
pub(super) fn is_sure(file: &File) -> bool {
    read(file).is_some_and(|text| says_so(&text))
}

fn says_so(text: &str) -> bool {
    let Some(name) = last_process(text) else { return false };
    let (mut is_in_doubt, mut is_begun) = (false, false);
    for (word, of) in text.lines().filter_map(|line| line.split_once(' ')) {
        match word {
            _ if of != name => {}
            DOUBT => is_in_doubt = true,
            SURE => is_in_doubt = false,
            BEGUN => is_begun = true,
            ENDED => is_begun = false,
            _ => {}
        }
    }
    !is_in_doubt && !is_begun
}

fn last_process(text: &str) -> Option<&str> {
    let mut words = text.lines().filter_map(|line| line.split_once(' '));
    words.rfind(|(word, _)| *word == PROCESS).map(|(_, name)| name)
}

/// Reads the file, wherever others are in it. None if it is too long, or cannot be read so.
fn read(file: &File) -> Option<String> {
    let mut bytes = vec![0; BYTES_MAX + 1];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    bytes.truncate(filled);
    String::from_utf8(bytes).ok().filter(|text| text.len() <= BYTES_MAX)
}

const PROCESS: &str = "process";
const DOUBT: &str = "doubt";
const BEGUN: &str = "begun";
const ENDED: &str = "ended";
const SURE: &str = "sure";

/// More bytes than the lines of a process whose guardian died a thousand times.
const BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::says_so;

    #[test]
    fn all_have_ended_only_if_the_last_word_of_the_last_process_says_so() {
        for (lines, is_sure) in [
            ("", false),
            ("ended a\n", false),
            ("process a\n", true),
            ("process a\nbegun a\n", false),
            ("process a\nbegun a\nended a\n", true),
            ("process a\nbegun a\nended a\nbegun a\n", false),
            ("process a\nbegun a\nbegun a\nended a\n", true),
            ("doubt a\nprocess a\n", false),
            ("doubt a\nprocess a\nbegun a\nended a\n", false),
            ("doubt a\nprocess a\nsure a\nbegun a\nended a\n", true),
            ("process a\nbegun a\nprocess b\nbegun b\nended a\n", false),
            ("process a\nbegun a\ndoubt b\nprocess b\nended a\nended b\n", false),
            ("ended a\nprocess b\nbegun b\nended b\n", true),
            ("proc", false),
        ] {
            assert_eq!(says_so(lines), is_sure, "{lines:?}");
        }
    }
}
