//! For tests of programs that write events, and our own (feature `test-util`).

use quell::Payload;

use crate::event::Event;
use crate::lines::{Line, Lines};
use crate::told::{Hears, Told};

/// Yields the events that become of what a program writes on stdout, if it is read `chunk` bytes at
/// a time and no lines are joined. Zero counts as one. A line that says something of the run, such
/// as a tool call, is there as it stands, also if that run had no such call.
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
    let mut take = |line: Line<'_>| {
        Told::of("stdout", &[], Heard(|event| events.push(event))).take(line);
    };
    stdout.chunks(chunk.max(1)).for_each(|part| lines.push(part, &mut take));
    lines.finish(take);
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
        let mut told = Told::of("stdout", part, Heard(|event| events.push(event)));
        lines.push(part, |line| told.take(line));
        told.flush();
    }
    let mut told = Told::of("stdout", &[], Heard(|event| events.push(event)));
    lines.finish(|line| told.take(line));
    events
}

/// Hands everything on, and believes it.
struct Heard<E>(E);

impl<E: FnMut(Payload)> Hears for Heard<E> {
    fn hear(&mut self, event: Event) -> Result<(), String> {
        self.0(event.line);
        Ok(())
    }

    fn note_event(&mut self, _line: Line<'_>) {}

    fn print(&mut self, _line: Line<'_>) {}

    fn emit(&mut self, lines: Payload) {
        self.0(lines);
    }
}
