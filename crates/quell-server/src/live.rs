//! [`Live`]: the tree in its present state, redrawn in place in the terminal.

use std::time::SystemTime;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use quell::RunStatus;

use crate::terminal::{self, Terminal};
use crate::tree::{Entry, Tree};
use quell_report::text::{cut, span};

/// Bars at the foot of the terminal, one per visible run.
pub(crate) struct Live {
    screen: MultiProgress,
    bars: Vec<ProgressBar>,
    style: ProgressStyle,
}

impl Live {
    /// Draws on stderr. Draws nothing until the first [`show`](Self::show).
    pub(crate) fn new() -> Self {
        let terminal = Box::new(Terminal::default());
        let target = ProgressDrawTarget::term_like_with_hz(terminal, UNASKED_DRAWS_PER_SECOND);
        let style = ProgressStyle::with_template("{msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        Self { screen: MultiProgress::with_draw_target(target), bars: Vec::new(), style }
    }

    /// Yields the handle through which lines are written above the bars.
    pub(crate) fn screen(&self) -> MultiProgress {
        self.screen.clone()
    }

    /// Draws the tree in its present state, and lines below it.
    pub(crate) fn show(&mut self, tree: &Tree, below: &[String]) {
        let lines = terminal::size().1.saturating_sub(below.len());
        let rows_max = ROWS_MAX.min(lines.saturating_sub(LINES_SPARE)).max(1);
        let mut rows = frame(tree, SystemTime::now(), rows_max);
        rows.extend_from_slice(below);
        self.draw(&rows);
    }

    /// Draws lines, as many as there is room for.
    pub(crate) fn draw(&mut self, shown: &[String]) {
        let (columns, lines) = terminal::size();
        // The terminal echoes `^C` at the cursor, which begins a new line and moves everything up
        // by one. The first line then remains above the bars, so it is blank.
        let mut rows = vec![String::from(" ")];
        let room = lines.saturating_sub(LINES_SPARE - 1).max(1);
        rows.extend(shown.iter().take(room).map(|row| cut(row, columns)));
        while self.bars.len() > rows.len() {
            if let Some(bar) = self.bars.pop() {
                bar.finish_and_clear();
                self.screen.remove(&bar);
            }
        }
        while self.bars.len() < rows.len() {
            let bar = ProgressBar::new_spinner().with_style(self.style.clone());
            self.bars.push(self.screen.add(bar));
        }
        for (bar, row) in self.bars.iter().zip(rows) {
            bar.set_message(row);
        }
        if let Some(bar) = self.bars.last() {
            // Draws all bars at once: the limit of the target holds back what they ask for.
            bar.force_draw();
        }
    }

    /// Removes the bars from the terminal.
    pub(crate) fn clear(&mut self) {
        self.bars.iter().for_each(ProgressBar::finish_and_clear);
        self.bars.clear();
        // No error: see `Terminal`.
        let _ = self.screen.clear();
    }
}

/// Yields the lines to draw: the runs in pre-order, at most `rows_max` and one that counts the
/// rest. When there are too many, ended runs give way first, then the latest.
pub(crate) fn frame(tree: &Tree, now: SystemTime, rows_max: usize) -> Vec<String> {
    let mut entries = tree.in_pre_order();
    let hidden = entries.len().saturating_sub(rows_max);
    if hidden > 0 {
        let mut spare = hidden;
        entries.retain(|entry| {
            let hide = spare > 0 && entry.status.is_terminal();
            spare -= usize::from(hide);
            !hide
        });
        entries.truncate(rows_max);
    }
    let label_width = entries.iter().map(|entry| label(entry).chars().count()).max().unwrap_or(0);
    let mut rows: Vec<_> = entries.iter().map(|entry| row(entry, label_width, now)).collect();
    if hidden > 0 {
        rows.push(format!("… and {hidden} more"));
    }
    rows
}

fn row(entry: &Entry, label_width: usize, now: SystemTime) -> String {
    let elapsed = entry.elapsed(now).map(span).unwrap_or_default();
    let line = entry.last_line().unwrap_or_default();
    let label = label(entry);
    let status = entry.status.as_str();
    format!("{label:<label_width$}  {status:<9}  {elapsed:>10}  {line}").trim_end().to_owned()
}

fn label(entry: &Entry) -> String {
    let indent = entry.depth.min(DEPTH_SHOWN_MAX) * 2;
    format!("{:indent$}{} {}", "", mark(entry.status), cut(&entry.name, NAME_COLUMNS_MAX))
}

const fn mark(status: RunStatus) -> char {
    match status {
        RunStatus::Queued => '·',
        RunStatus::Running => '▶',
        RunStatus::Paused => '‖',
        RunStatus::Stopping => '◼',
        RunStatus::Completed => '✓',
        RunStatus::Failed => '✗',
        RunStatus::Cancelled => '⊘',
        RunStatus::TimedOut => '⧖',
    }
}

/// The most runs that are drawn, however large the terminal is.
const ROWS_MAX: usize = 40;

/// Lines that are no runs: the blank one, the count of hidden runs, the `^C`.
const LINES_SPARE: usize = 3;

/// Deeper runs are drawn at this depth.
const DEPTH_SHOWN_MAX: usize = 16;

/// The widest that a name is drawn.
const NAME_COLUMNS_MAX: usize = 32;

/// How often the terminal is drawn because one bar has changed, rather than for all together.
const UNASKED_DRAWS_PER_SECOND: u8 = 1;

#[cfg(test)]
mod tests {
    use quell::{EventKind, RunId};

    use super::*;
    use crate::tree::tests::{at, event, queued};

    #[test]
    fn depth_is_shown_by_indentation_and_the_last_line_last() {
        let mut tree = Tree::default();
        tree.apply(&queued(1, "root", None));
        tree.apply(&event(2, "root", EventKind::Started));
        tree.apply(&queued(3, "a", Some("root")));
        tree.apply(&event(4, "a", EventKind::Started));
        let line = serde_json::json!({ "line": "compiling" });
        tree.apply(&event(5, "a", EventKind::Emitted(line.into())));
        tree.apply(&event(6, "a", EventKind::Ended(RunStatus::Completed)));
        let rows = frame(&tree, at(1_200), ROWS_MAX);
        assert_eq!(
            rows,
            ["▶ root  running        1.00 s", "  ✓ a   completed      200 ms  compiling"]
        );
    }

    #[test]
    fn ended_runs_give_way_when_there_are_too_many() {
        let mut tree = Tree::default();
        tree.apply(&queued(1, "root", None));
        for n in 0..100 {
            let name = format!("n{n}");
            tree.apply(&queued(2, &name, Some("root")));
            if n < 50 {
                tree.apply(&event(3, &name, EventKind::Ended(RunStatus::Completed)));
            }
        }
        let rows = frame(&tree, at(1_000), ROWS_MAX);
        assert_eq!(rows.len(), ROWS_MAX + 1);
        assert_eq!(rows[ROWS_MAX], "… and 61 more");
        assert!(rows[1].contains("n50"), "{rows:?}");
        assert!(tree.entry(RunId::from_text("n0")).is_some());
    }
}
