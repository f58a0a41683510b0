//! For tests of programs that write events, and our own (feature `test-util`).

use quell::Payload;

use crate::lines::{Line, Lines};
use crate::told::Told;

/// Yields the events that become of what a program writes on stdout, if it is read `chunk` bytes at
/// a time and no lines are joined. Zero counts as one.
///
/// # Examples
///
/// ```
/// use quell_process::testing::events_of;
///
/// let events = events_of(b"hello\n{\"event\":\"saved\"}\n", 4_096);
/// let events: Vec<_> = events.iter().map(ToString::to_string).collect();
/// assert_eq!(events, [r#"{"stream":"stdout","line":"hello"}"#, r#"{"event":"saved"}"#]);
/// ```
pub fn events_of(stdout: &[u8], chunk: usize) -> Vec<Payload> {
    let mut lines = Lines::default();
    let mut events = Vec::new();
    let mut each = |line: Line<'_>| line.emit("stdout", &mut |event| events.push(event));
    stdout.chunks(chunk.max(1)).for_each(|part| lines.push(part, &mut each));
    lines.finish(&mut each);
    events
}

/// As [`events_of`], with lines joined where many are read at once, as a program's are.
///
/// # Examples
///
/// ```
/// use quell_process::testing::joined_events_of;
///
/// let stdout = "hello\n".repeat(20);
/// assert_eq!(joined_events_of(stdout.as_bytes(), 4_096).len(), 1);
/// assert_eq!(joined_events_of(stdout.as_bytes(), 12).len(), 20);
/// ```
pub fn joined_events_of(stdout: &[u8], chunk: usize) -> Vec<Payload> {
    let mut lines = Lines::default();
    let mut events = Vec::new();
    for part in stdout.chunks(chunk.max(1)) {
        let mut told = Told::of("stdout", part, |event| events.push(event));
        lines.push(part, |line| told.take(line));
        told.flush();
    }
    lines.finish(|line| line.emit("stdout", &mut |event| events.push(event)));
    events
}
