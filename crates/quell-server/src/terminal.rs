//! [`Terminal`]: what the bars are drawn on, which may be gone at any time.

use std::io::{self, Write as _};

use indicatif::TermLike;
use parking_lot::Mutex;
use rustix::termios::tcgetwinsize;

/// The terminal at stderr. Writing never fails: some of what draws bars panics at an error, and
/// SIGHUP tells that a terminal is gone.
#[derive(Debug, Default)]
pub(crate) struct Terminal {
    /// What was written since the last flush.
    unwritten: Mutex<String>,
}

impl Terminal {
    fn put(&self, parts: &[&str]) {
        self.unwritten.lock().extend(parts.iter().copied());
    }

    /// Moves the cursor. None at all would be taken for one.
    fn go(&self, count: usize, direction: &str) {
        if count > 0 {
            self.put(&["\x1b[", &count.to_string(), direction]);
        }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        u16::try_from(size().0).unwrap_or(u16::MAX)
    }

    fn height(&self) -> u16 {
        u16::try_from(size().1).unwrap_or(u16::MAX)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.go(n, "A");
        Ok(())
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.go(n, "B");
        Ok(())
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.go(n, "C");
        Ok(())
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.go(n, "D");
        Ok(())
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.put(&[s, "\n"]);
        Ok(())
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.put(&[s]);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put(&["\r\x1b[2K"]);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let text = std::mem::take(&mut *self.unwritten.lock());
        let mut stderr = io::stderr().lock();
        // If the terminal is gone, nobody sees it.
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
        Ok(())
    }
}

/// Yields the columns and lines of the terminal at stderr.
pub(crate) fn size() -> (usize, usize) {
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        // A terminal of unknown size is taken to be small.
        _ => (80, 24),
    }
}
