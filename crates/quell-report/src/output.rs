//! What programs left: [`kept`] says how much it is, [`written`] shows what a program that failed
//! wrote, and [`Errors`] says each error without the lines that are shown there.

use std::fmt::Write as _;

use quell::{Payload, RunRow, RunStatus};
use serde_json::Value;

use crate::text::{last_line, size};

/// Tells whether the program had to be ended by SIGKILL. If it was abandoned before its exit status
/// was known, its group was killed.
pub(crate) fn was_killed(row: &RunRow) -> bool {
    let Some(Ok(left)) = row.partial.as_ref().map(Payload::parse::<Value>) else { return false };
    let is_unseen = left.get("exit_code").is_some_and(Value::is_null);
    row.stopped_at.is_some()
        && match left.get("signal").and_then(Value::as_i64) {
            Some(signal) => signal == SIGKILL,
            None => row.aborted && is_unseen,
        }
}

/// Says how much a run left, and the last line of it if it is the output of a process.
pub(crate) fn kept(payload: &Payload) -> String {
    let value = payload.parse::<Value>().unwrap_or_default();
    if let Some(text) = value.as_str() {
        return said(text);
    }
    let Some(stdout) = value.get("stdout").and_then(Value::as_str) else {
        return format!("{} of JSON", size(payload.len()));
    };
    let bytes = value.get("stdout_bytes").map_or(stdout.len(), count);
    let content = value.get("content").and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut text = size(bytes);
    if let Some(content) = content {
        // The text of its events is what it has to say; what it printed besides is no output.
        text = said(content);
    } else if let Some(bytes) = value.get("content_bytes") {
        text = format!("{} of text in its events, which is not kept", size(count(bytes)));
    } else if value.get("stdout_truncated").and_then(Value::as_bool) == Some(true) {
        let what = if is_base64(&value) { "not text, " } else { "" };
        let kept = size(bytes_of(stdout, &value));
        let _ = write!(text, ", {what}of which the first {kept} are kept");
    } else if is_base64(&value) {
        text.push_str(", not text");
    } else if let Some(line) = last_line(stdout) {
        let _ = write!(text, ", last line: {line}");
    }
    let stderr = value.get("stderr_tail").and_then(Value::as_str).and_then(last_line);
    if let Some(line) = stderr {
        let bytes = value.get("stderr_bytes").map_or(line.len(), count);
        let _ = write!(text, "\nstderr: {}, last line: {line}", size(bytes));
    }
    if let Some(signal) = value.get("signal").filter(|signal| !signal.is_null()) {
        let _ = write!(text, "\nended by signal {signal}");
    } else if let Some(code) = value.get("exit_code").and_then(Value::as_i64).filter(|c| *c != 0) {
        let _ = write!(text, "\nexit code {code}");
    }
    text
}

/// Says how long a text is, and its last line.
fn said(text: &str) -> String {
    let line = last_line(text).map_or_else(String::new, |line| format!(", last line: {line}"));
    format!("{} of text{line}", size(text.len()))
}

/// What a program that failed wrote, as far as the report shows it.
#[derive(Debug)]
pub(crate) struct Written {
    /// Of stdout; empty if it wrote nothing there.
    pub(crate) stdout: String,
    /// Of stderr; empty if it wrote nothing there.
    pub(crate) stderr: String,
}

/// Yields what a program wrote if it has failed; none for every other row.
pub(crate) fn written(row: &RunRow) -> Option<Written> {
    if row.status != RunStatus::Failed {
        return None;
    }
    let value = of_program(row.partial.as_ref()?)?;
    let stdout = value.get("stdout")?.as_str()?;
    let stderr = value.get("stderr_tail").and_then(Value::as_str).unwrap_or_default();
    let size_of = |key, text: &str| size(value.get(key).map_or(text.len(), count));
    let is_cut = |key| value.get(key).and_then(Value::as_bool) == Some(true);
    let all = size_of("stdout_bytes", stdout);
    let stdout = if is_base64(&value) {
        format!("{all}, not text")
    } else if is_cut("stdout_truncated") {
        // Of stdout the beginning is kept: its end is not the end of what the program wrote.
        let kept = size(stdout.len());
        end_of(stdout, &format!("the first {kept} of {all}; the rest is not kept"), true)
    } else {
        end_of(stdout, &all, false)
    };
    let all = size_of("stderr_bytes", stderr);
    Some(Written { stdout, stderr: end_of(stderr, &all, is_cut("stderr_truncated")) })
}

/// Tells whether what a row has left is shown there: if it left the output of a program, and no row
/// below it has the same. That of the last attempt is also that of its step.
pub(crate) fn is_own(rows: &[RunRow], at: usize, left: &Payload) -> bool {
    let has = |row: &RunRow| [&row.output, &row.partial].into_iter().flatten().any(|it| it == left);
    of_program(left).is_some() && !below(rows, at).iter().any(has)
}

/// Yields the rows of the descendants of a run.
fn below(rows: &[RunRow], at: usize) -> &[RunRow] {
    let below = &rows[at + 1..];
    let end = below.iter().position(|row| row.depth <= rows[at].depth);
    &below[..end.unwrap_or(below.len())]
}

/// Reads the output of a program; none if it is something else.
fn of_program(payload: &Payload) -> Option<Value> {
    let value: Value = payload.parse().ok()?;
    ["exit_code", "stdout"].iter().all(|key| value.get(key).is_some()).then_some(value)
}

/// Yields the end of what is kept of a stream, and of what it is the end if that is not all.
fn end_of(kept: &str, all: &str, is_cut: bool) -> String {
    let kept = kept.trim_end();
    let by_lines = kept.rmatch_indices('\n').nth(LINES_MAX - 1).map_or(0, |(at, _)| at + 1);
    let by_bytes = kept.ceil_char_boundary(kept.len().saturating_sub(BYTES_MAX));
    let shown = &kept[by_lines.max(by_bytes)..];
    if shown.len() == kept.len() && !is_cut {
        return shown.to_owned();
    }
    format!("… {} of {all}:\n{shown}", size(shown.len()))
}

/// The errors of the rows of a report, without the lines that are shown as output.
#[derive(Debug)]
pub(crate) struct Errors<'a> {
    rows: &'a [RunRow],
    /// By row: its error and that error without those lines, if it has some.
    shorter: Vec<Option<(&'a str, &'a str)>>,
}

impl<'a> Errors<'a> {
    pub(crate) fn of(rows: &'a [RunRow]) -> Self {
        let shorter = rows.iter().map(|row| {
            let (error, written) = (row.error.as_deref()?, written(row)?);
            let short = without(error, &written)?;
            Some((error, short))
        });
        Self { rows, shorter: shorter.collect() }
    }

    /// Yields what a row says of its failure or that of a descendant. The failure of a run quotes
    /// those of its children as they are.
    pub(crate) fn shown(&self, at: usize, error: &str) -> String {
        let below = below(self.rows, at).len();
        let mut error = error.to_owned();
        for (long, short) in self.shorter[at..=at + below].iter().flatten() {
            if error.contains(long) {
                error = error.replace(long, short);
            }
        }
        error
    }
}

/// Yields an error without the lines at its end that are shown as output; none if it has none.
fn without<'a>(error: &'a str, written: &Written) -> Option<&'a str> {
    let is_shown = |said: &str| {
        let mut lines = written.stderr.lines().chain(written.stdout.lines());
        // A message has the beginning of a long line.
        match said.strip_suffix('…') {
            Some(beginning) => lines.any(|line| line.starts_with(beginning)),
            None => lines.any(|line| line.trim_end() == said),
        }
    };
    let first = error.lines().next()?;
    let mut ends = first.match_indices(": ").map(|(at, sign)| (at, &error[at + sign.len()..]));
    let (at, _) = ends.find(|(_, said)| said.lines().all(is_shown))?;
    Some(&error[..at])
}

fn is_base64(value: &Value) -> bool {
    value.get("encoding").and_then(Value::as_str) == Some("base64")
}

/// Yields how many bytes a stdout has, which may be written as base64.
fn bytes_of(stdout: &str, value: &Value) -> usize {
    let is_base64 = is_base64(value);
    if is_base64 { stdout.trim_end_matches('=').len() * 3 / 4 } else { stdout.len() }
}

fn count(value: &Value) -> usize {
    value.as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX)
}

/// The number of the signal that no program survives.
const SIGKILL: i64 = 9;

/// The most lines of a stream that are shown of a program that failed.
const LINES_MAX: usize = 200;

/// The most bytes of a stream that are shown of a program that failed.
const BYTES_MAX: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::render::tests::row;

    fn failed(name: &str, depth: u32, error: &str, left: Value) -> RunRow {
        let mut row = row(name, depth, RunStatus::Failed);
        row.error = Some(Arc::from(error));
        row.partial = Some(left.into());
        row
    }

    #[test]
    fn what_a_process_left_is_told_by_size_and_last_line() {
        let kept = |value: Value| kept(&Payload::from(value));
        let output = serde_json::json!({
            "exit_code": 3, "signal": null, "stdout": "", "stdout_bytes": 0,
            "stderr_tail": "oh\nno", "stderr_bytes": 2_048,
        });
        let said =
            serde_json::json!({ "stdout": "", "stdout_bytes": 0, "content": "half an\nanswer" });
        assert_eq!(kept(said), "14 bytes of text, last line: answer");
        let lost = serde_json::json!({ "stdout": "", "stdout_bytes": 0, "content_bytes": 5 << 20 });
        assert_eq!(kept(lost), "5.0 MiB of text in its events, which is not kept");
        assert_eq!(kept("all of it".into()), "9 bytes of text, last line: all of it");
        assert_eq!(kept(output), "0 bytes\nstderr: 2.0 KiB, last line: no\nexit code 3");
        let output =
            serde_json::json!({ "stdout": "AAA=", "encoding": "base64", "stdout_bytes": 2 });
        assert_eq!(kept(output), "2 bytes, not text");
        let output = serde_json::json!({
            "stdout": "a\n", "stdout_bytes": 9_000, "stdout_truncated": true,
        });
        assert_eq!(kept(output), "8.7 KiB, of which the first 2 bytes are kept");
        let output = serde_json::json!({
            "stdout": "AAA=", "encoding": "base64", "stdout_bytes": 9, "stdout_truncated": true,
        });
        assert_eq!(kept(output), "9 bytes, not text, of which the first 2 bytes are kept");
        assert_eq!(kept(serde_json::json!({ "a": 1 })), "7 bytes of JSON");
    }

    #[test]
    fn a_program_that_failed_shows_all_up_to_the_bound_and_then_the_end() {
        let wrote = |stdout: &str| {
            let left = serde_json::json!({
                "exit_code": 1, "stdout": stdout, "stdout_bytes": stdout.len(),
            });
            written(&failed("a", 0, "no", left)).unwrap().stdout
        };
        let lines = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        assert_eq!(wrote(&lines(LINES_MAX)), lines(LINES_MAX));
        let cut = wrote(&lines(LINES_MAX + 1));
        assert!(cut.starts_with("… 691 bytes of 693 bytes:\n1\n"), "{cut}");
        assert_eq!(cut.lines().count(), LINES_MAX + 1);
        let long = wrote(&"ü".repeat(BYTES_MAX));
        assert_eq!(long.lines().nth(1), Some(&*"ü".repeat(BYTES_MAX / 2)));
        assert_eq!(wrote(""), "");
        let bytes = serde_json::json!({
            "exit_code": 1, "stdout": "AA==", "encoding": "base64", "stdout_bytes": 1,
        });
        assert_eq!(written(&failed("a", 0, "no", bytes)).unwrap().stdout, "1 byte, not text");
        assert!(written(&row("a", 0, RunStatus::Completed)).is_none());
    }

    #[test]
    fn of_a_stream_200_lines_and_32_kib_are_shown() {
        let shown = |text: &str| end_of(text, "all", false);
        let lines = "x\n".repeat(201);
        assert_eq!(shown(&lines[2..]), lines[2..].trim_end());
        assert_eq!(shown(&lines).lines().count(), 1 + 200);
        let long = "x".repeat(32 * 1_024 + 1);
        assert_eq!(shown(&long[1..]), long[1..]);
        assert_eq!(shown(&long).lines().nth(1).map(str::len), Some(32 * 1_024));
    }

    #[test]
    fn what_is_not_kept_is_told_of_the_stream_that_lacks_it() {
        let left = serde_json::json!({
            "exit_code": 1, "stdout": "a\nb\n", "stdout_bytes": 9, "stdout_truncated": true,
            "stderr_tail": "y\nz", "stderr_bytes": 5, "stderr_truncated": true,
        });
        let written = written(&failed("a", 0, "no", left)).unwrap();
        let beginning = "… 3 bytes of the first 4 bytes of 9 bytes; the rest is not kept:\na\nb";
        assert_eq!(written.stdout, beginning);
        assert_eq!(written.stderr, "… 3 bytes of 5 bytes:\ny\nz");
    }

    #[test]
    fn errors_do_not_repeat_the_lines_that_are_shown() {
        let long = "x".repeat(600);
        let error = format!("`sh` ended with exit status: 3: oh: no\n{}…\nend", &long[..500]);
        let left = serde_json::json!({
            "exit_code": 3, "stdout": "", "stderr_tail": format!("first\noh: no  \n{long}\n\nend"),
        });
        let above = format!("step `a` failed: {error}; cleanup failed: no ink");
        let rows = [
            failed("root", 0, &above, serde_json::json!({})),
            failed("b", 1, &error, serde_json::json!({})),
            failed("a", 1, &error, left),
        ];
        let errors = Errors::of(&rows);
        let shown = |at: usize| errors.shown(at, rows[at].error.as_deref().unwrap());
        let short = "`sh` ended with exit status: 3";
        assert_eq!(shown(2), short);
        assert_eq!(shown(0), format!("step `a` failed: {short}; cleanup failed: no ink"));
        assert_eq!(shown(1), error, "nothing of it is shown below");
    }
}
