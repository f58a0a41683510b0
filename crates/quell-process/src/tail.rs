//! The last lines of a stream.

use std::collections::VecDeque;

/// The last lines of a stream, bounded in number and in size.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
    is_truncated: bool,
}

impl Tail {
    /// Adds a line; the oldest ones leave when there is no room.
    pub(crate) fn push(&mut self, line: String) {
        self.bytes += line.len() + 1;
        self.lines.push_back(line);
        while self.lines.len() > TAIL_LINES_MAX || self.bytes > TAIL_BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.len() + 1;
            self.is_truncated = true;
        }
    }

    pub(crate) const fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// Yields the lines as one text, each but the last followed by a newline.
    pub(crate) fn text(&self) -> String {
        let mut text = String::with_capacity(self.bytes);
        for (nth, line) in self.lines.iter().enumerate() {
            if nth > 0 {
                text.push('\n');
            }
            text.push_str(line);
        }
        text
    }

    /// Yields the last lines that are not blank, for a message: few and short.
    pub(crate) fn gist(&self) -> Vec<String> {
        let said = self.lines.iter().rev().filter(|line| !line.trim().is_empty());
        let mut gist: Vec<_> = said.take(GIST_LINES).map(|line| shorten(line.trim_end())).collect();
        gist.reverse();
        gist
    }
}

fn shorten(line: &str) -> String {
    match line.char_indices().nth(GIST_LINE_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// Lines kept per stream. The oldest leave first.
const TAIL_LINES_MAX: usize = 1_000;

/// Bytes kept per stream. The oldest lines leave first.
const TAIL_BYTES_MAX: usize = 256 << 10;

/// Lines in the message of a failure.
const GIST_LINES: usize = 5;

/// Characters of each line in the message of a failure; a longer one is cut and marked with `…`.
const GIST_LINE_CHARS: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_thousand_lines_are_kept() {
        let mut tail = Tail::default();
        for nth in 0..1_000 {
            tail.push(nth.to_string());
        }
        assert!(!tail.is_truncated() && tail.text().starts_with("0\n1\n"));
        tail.push("last".to_owned());
        assert!(tail.is_truncated() && tail.text().starts_with("1\n2\n"));
        assert!(tail.text().ends_with("\n999\nlast"));
    }

    #[test]
    fn long_lines_do_not_pile_up() {
        let mut tail = Tail::default();
        for _ in 0..10 {
            tail.push("x".repeat(60 << 10));
        }
        assert!(tail.is_truncated() && tail.text().len() <= TAIL_BYTES_MAX);
    }

    #[test]
    fn the_gist_is_the_last_lines_that_say_something() {
        let mut tail = Tail::default();
        for line in ["a", "b", "c", "d", "e", "f", " ", ""] {
            tail.push(line.to_owned());
        }
        tail.push("ü".repeat(600));
        let gist = tail.gist();
        assert_eq!(gist[..4], ["c", "d", "e", "f"]);
        assert_eq!(gist[4].chars().count(), 501);
    }
}
