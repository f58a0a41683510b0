//! [`News`]: what a guardian is told, a line each.

/// What has become of a program.
#[derive(Clone, Copy, Debug)]
pub(super) enum News {
    Announced,
    /// The number of its group, and when its leader began.
    Started(i32, Option<u64>),
    Ended,
}

impl News {
    /// Yields the line that says so.
    pub(super) fn line(self, mark: &str) -> String {
        match self {
            Self::Started(group, Some(began)) => format!("{BEGINS} {mark} {group} {began}\n"),
            Self::Started(group, None) => format!("{BEGINS} {mark} {group}\n"),
            Self::Announced => format!("{BEGINS} {mark}\n"),
            Self::Ended => format!("{ENDED} {mark}\n"),
        }
    }
}

/// A program begins: its mark, then, once they are known, its group and when its leader began.
pub(super) const BEGINS: &str = "begins";

/// Nothing is left of a program.
pub(super) const ENDED: &str = "ended";
