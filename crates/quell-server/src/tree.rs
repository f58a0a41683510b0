//! [`Tree`]: the state of a tree as its events describe it so far. The views draw it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell::{EventKind, Payload, RunEvent, RunId, RunReport, RunStatus};
use quell_flow::Emit;
use serde_json::Value;

use quell_report::text::{last_line, printable};

/// The runs of one tree, in the order in which they were accepted.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    root: Option<RunId>,
    began: Option<SystemTime>,
    entries: HashMap<RunId, Entry>,
}

/// One run of the tree.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The run that spawned it.
    pub(crate) parent: Option<RunId>,
    /// Steps from the root.
    pub(crate) depth: usize,
    /// Its name, fit for a terminal.
    pub(crate) name: Arc<str>,
    /// Its status.
    pub(crate) status: RunStatus,
    /// When its body was first polled.
    pub(crate) started_at: Option<SystemTime>,
    /// When it became terminal.
    pub(crate) ended_at: Option<SystemTime>,
    /// What is shown of it until it says something.
    pub(crate) note: Option<String>,
    last_emitted: Option<Payload>,
    children: Vec<RunId>,
}

impl Tree {
    /// Applies an event. Events of an unknown run change nothing: the event that began it was lost
    /// to `Lagged`.
    pub(crate) fn apply(&mut self, event: &RunEvent) {
        if let EventKind::Queued { parent, name, .. } = &event.kind {
            return self.queued(event, *parent, name);
        }
        let Some(entry) = self.entries.get_mut(&event.run) else { return };
        match &event.kind {
            EventKind::Started => {
                entry.status = RunStatus::Running;
                entry.started_at.get_or_insert(event.at);
            }
            EventKind::Paused { .. } => entry.status = RunStatus::Paused,
            EventKind::Resumed { .. } => entry.status = RunStatus::Queued,
            EventKind::Stopping(_) => entry.status = RunStatus::Stopping,
            EventKind::Ended(status) => {
                entry.status = *status;
                entry.ended_at = Some(event.at);
            }
            EventKind::Emitted(payload) => entry.last_emitted = Some(payload.clone()),
            _ => {}
        }
    }

    /// Takes the runs of a tree that goes on: the events that began these came in an earlier
    /// process, or were not heard.
    pub(crate) fn go_on_with(&mut self, report: &RunReport) {
        for row in &report.rows {
            let entry = Entry {
                status: row.status,
                started_at: row.started_at,
                ended_at: row.ended_at,
                ..Entry::new(row.parent, &row.name)
            };
            self.put(row.run, entry);
            if row.run == report.run {
                self.begin_with(row.run, row.queued_at);
            }
        }
    }

    /// Takes a run of a tree that was read as a whole, parents before children; the first one is
    /// its root. `note` is shown in the place of what it said last.
    pub(crate) fn read(&mut self, run: RunId, queued_at: SystemTime, entry: Entry) {
        self.put(run, entry);
        if self.root.is_none() {
            self.begin_with(run, queued_at);
        }
    }

    fn begin_with(&mut self, root: RunId, at: SystemTime) {
        self.root = Some(root);
        self.began = Some(at);
    }

    /// Yields one run.
    pub(crate) fn entry(&self, run: RunId) -> Option<&Entry> {
        self.entries.get(&run)
    }

    /// Yields the time from the acceptance of the root to `at`.
    pub(crate) fn since_begin(&self, at: SystemTime) -> Duration {
        self.began.and_then(|began| at.duration_since(began).ok()).unwrap_or_default()
    }

    /// Yields the names from the root to a run, with slashes in between.
    pub(crate) fn path(&self, run: RunId) -> String {
        let mut names = Vec::new();
        let mut next = Some(run);
        while let Some(entry) = next.and_then(|run| self.entries.get(&run)) {
            names.push(&*entry.name);
            next = entry.parent;
        }
        names.reverse();
        if names.is_empty() { run.to_string() } else { names.join("/") }
    }

    /// Yields all runs, parents before children, siblings in the order of their acceptance.
    pub(crate) fn in_pre_order(&self) -> Vec<&Entry> {
        let mut found = Vec::with_capacity(self.entries.len());
        let mut pending: Vec<RunId> = self.root.into_iter().collect();
        while let Some(entry) = pending.pop().and_then(|run| self.entries.get(&run)) {
            pending.extend(entry.children.iter().rev());
            found.push(entry);
        }
        found
    }

    fn queued(&mut self, event: &RunEvent, parent: Option<RunId>, name: &str) {
        // A tree that goes on may have it already.
        if !self.entries.contains_key(&event.run) {
            self.put(event.run, Entry::new(parent, name));
        }
        if event.run == event.root {
            self.root = Some(event.run);
            // One that goes on after its process was lost is queued again: its time goes on.
            self.began.get_or_insert(event.at);
        }
    }

    /// Adds a run below its parent, if that is known. One that is there already stands anew.
    fn put(&mut self, run: RunId, mut entry: Entry) {
        if let Some(known) = self.entries.get_mut(&run) {
            known.status = entry.status;
            known.started_at = entry.started_at;
            known.ended_at = entry.ended_at;
            return;
        }
        if self.entries.len() >= RUNS_MAX {
            return;
        }
        if let Some(parent) = entry.parent.and_then(|parent| self.entries.get_mut(&parent)) {
            parent.children.push(run);
            entry.depth = parent.depth + 1;
        }
        self.entries.insert(run, entry);
    }
}

impl Entry {
    pub(crate) fn new(parent: Option<RunId>, name: &str) -> Self {
        Self {
            parent,
            depth: 0,
            name: printable(name).into(),
            status: RunStatus::Queued,
            started_at: None,
            ended_at: None,
            note: None,
            last_emitted: None,
            children: Vec::new(),
        }
    }

    /// Yields the last line that its body emitted, fit for a terminal.
    pub(crate) fn last_line(&self) -> Option<String> {
        let Some(last) = &self.last_emitted else { return self.note.clone() };
        last_line(&emitted_lines(last).pop()?)
    }

    /// Yields how long it has run by `now`, or ran altogether.
    pub(crate) fn elapsed(&self, now: SystemTime) -> Option<Duration> {
        self.ended_at.unwrap_or(now).duration_since(self.started_at?).ok()
    }
}

/// Yields the text of an emitted payload: the lines of a process, what an event says, or the JSON
/// text.
pub(crate) fn emitted_lines(payload: &Payload) -> Vec<String> {
    let Ok(value) = payload.parse::<Value>() else { return Vec::new() };
    let said = Emit::read(payload).map(words);
    let line = value.get("line").and_then(Value::as_str);
    match said.as_deref().or(line) {
        Some(lines) => lines.lines().filter_map(whole).collect(),
        None => whole(payload.as_json()).into_iter().collect(),
    }
}

/// Yields what an event says, for people.
fn words(event: Emit) -> String {
    match event {
        Emit::Content { text } | Emit::Reasoning { text } => text,
        Emit::ModelStarted { model, .. } => format!("asks {model}"),
        Emit::ModelEnded { model, .. } => format!("{model} has answered"),
        Emit::Values { values } | Emit::Updates { values, .. } | Emit::Custom { data: values } => {
            values.as_text().map_or_else(|| values.as_json().to_owned(), Into::into)
        }
        Emit::Step { next, .. } if !next.is_empty() => format!("next: {}", next.join(", ")),
        _ => String::new(),
    }
}

/// Yields what is wrong with a line that looks like an event; none for every other payload.
pub(crate) fn fault_of(payload: &Payload) -> Option<String> {
    if !payload.as_json().contains("\"fault\"") {
        return None;
    }
    let value: Value = payload.parse().ok()?;
    value.get("stream")?;
    whole(value.get("fault")?.as_str()?)
}

/// Yields a line in printable form; none if it is blank.
fn whole(line: &str) -> Option<String> {
    let line = line.trim();
    (!line.is_empty()).then(|| printable(line).into_owned())
}

/// The most runs of a tree that are shown. Events of others change nothing.
const RUNS_MAX: usize = 100_000;

#[cfg(test)]
pub(crate) mod tests {
    use quell::{Counts, RunKind, RunRow};

    use super::*;

    pub(crate) fn at(ms: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
    }

    pub(crate) fn event(seq: u64, run: &str, kind: EventKind) -> RunEvent {
        RunEvent::new(seq, RunId::from_text("root"), RunId::from_text(run), at(seq * 100), kind)
    }

    pub(crate) fn queued(seq: u64, run: &str, parent: Option<&str>) -> RunEvent {
        let parent = parent.map(RunId::from_text);
        let (kind, name) = (RunKind::Step, run.into());
        event(seq, run, EventKind::Queued { parent, kind, name, shielded: false })
    }

    #[test]
    fn children_follow_their_parent_in_the_order_of_their_acceptance() {
        let mut tree = Tree::default();
        tree.apply(&queued(1, "root", None));
        tree.apply(&queued(2, "a", Some("root")));
        tree.apply(&queued(3, "b", Some("root")));
        tree.apply(&queued(4, "a1", Some("a")));
        let names: Vec<_> = tree.in_pre_order().iter().map(|entry| &*entry.name).collect();
        assert_eq!(names, ["root", "a", "a1", "b"]);
        assert_eq!(tree.path(RunId::from_text("a1")), "root/a/a1");
    }

    #[test]
    fn rows_that_are_read_again_stand_anew_and_are_drawn_once() {
        let mut tree = Tree::default();
        tree.apply(&queued(1, "root", None));
        tree.apply(&queued(2, "a", Some("root")));
        let row = |run: &str, parent: Option<&str>| {
            let run = RunId::from_text(run);
            let mut row = RunRow::new(run, RunKind::Step, "r".into(), RunStatus::Failed, at(0));
            row.parent = parent.map(RunId::from_text);
            row
        };
        let rows = vec![row("root", None), row("a", Some("root")), row("b", Some("root"))];
        tree.go_on_with(&RunReport::new(rows, Counts::default()));
        let all = tree.in_pre_order();
        assert_eq!(all.iter().map(|entry| &*entry.name).collect::<Vec<_>>(), ["root", "a", "r"]);
        assert!(all.iter().all(|entry| entry.status == RunStatus::Failed));
    }

    #[test]
    fn the_last_line_of_a_process_is_kept_without_its_control_characters() {
        let mut tree = Tree::default();
        tree.apply(&queued(1, "root", None));
        let line = serde_json::json!({ "stream": "stdout", "line": "red \u{1b}[31malert" });
        tree.apply(&event(2, "root", EventKind::Emitted(line.into())));
        let entry = tree.entry(RunId::from_text("root")).expect("the root was queued");
        assert_eq!(entry.last_line().as_deref(), Some("red \\u{1b}[31malert"));
    }

    #[test]
    fn an_event_is_shown_as_what_it_says() {
        for (event, right) in [
            (r#"{"event":"content","text":"a\nb"}"#, &["a", "b"][..]),
            (r#"{"event":"model.started","model":"m","provider":"p"}"#, &["asks m"]),
            (r#"{"event":"custom","data":{"a":1}}"#, &[r#"{"a":1}"#]),
            (r#"{"event":"custom","data":"found it"}"#, &["found it"]),
            (r#"{"event":"values","values":{"a":1}}"#, &[r#"{"a":1}"#]),
            (r#"{"event":"mine","a":1}"#, &[r#"{"event":"mine","a":1}"#]),
        ] {
            let payload = Payload::from_json_text(event).expect("JSON");
            assert_eq!(emitted_lines(&payload), right, "{event}");
        }
    }

    #[test]
    fn events_of_a_run_that_was_never_queued_change_nothing() {
        let mut tree = Tree::default();
        tree.apply(&event(1, "ghost", EventKind::Started));
        assert!(tree.in_pre_order().is_empty());
    }
}
