//! [`Transcript`]: what a run has emitted so far, folded from its events. It outlives the ring of
//! the log.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use quell::{EventKind, Payload, RunEvent, RunId, RunKind, ToolOutcome, Usage};
use quell_flow::Emit;

use crate::events::{LogPosition, Unread};
use crate::ledger::Charge;

/// What a run has emitted so far: its text, its tool calls, its state.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Transcript {
    /// The run.
    pub run: RunId,
    /// The run that spawned it; none for a root.
    pub parent: Option<RunId>,
    /// Its kind.
    pub kind: RunKind,
    /// Its name.
    pub name: Arc<str>,
    /// Its text: all pieces that it has emitted, joined.
    pub text: String,
    /// When it emitted its first piece of text.
    pub first_text_at: Option<SystemTime>,
    /// The last model that it called.
    pub model: Option<ModelNote>,
    /// Its tool calls, in order.
    pub tools: Vec<ToolNote>,
    /// What it used itself, without the runs below.
    pub usage: Usage,
    /// The last state that it emitted.
    pub values: Option<Payload>,
    /// How far it has come, from 0 to 1.
    pub progress: Option<f32>,
    /// Whether a part is missing: the run emitted more than is kept, or faster than it was read.
    pub is_cut: bool,
    /// Whether it waits for an answer, or was stopped while it did.
    pub is_paused: bool,
    /// The number of the last event of the log that is in.
    pub read_to: u64,
    /// The bytes that are counted for `values`.
    values_bytes: usize,
}

/// The calls of a model by a run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelNote {
    /// The model's id.
    pub model: String,
    /// The provider of the model.
    pub provider: String,
    /// Tokens read so far, all calls together.
    pub input_tokens: u64,
    /// Tokens written so far, all calls together.
    pub output_tokens: u64,
}

/// A tool call of a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ToolNote {
    /// The id of the call.
    pub call: Arc<str>,
    /// The name of the tool.
    pub name: Arc<str>,
    /// Its input.
    pub input: Payload,
    /// When it began.
    pub started_at: SystemTime,
    /// How it ended; none if it has not.
    pub outcome: Option<ToolOutcome>,
    /// When it ended.
    pub ended_at: Option<SystemTime>,
}

/// The transcripts of a tree.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    /// The last event that was applied.
    pub(crate) position: LogPosition,
    pub(crate) runs: Vec<Transcript>,
    indexes: HashMap<RunId, usize>,
    pub(crate) bytes: usize,
    /// The charge of the bytes while the tree is live; `None` if there was no room for an empty
    /// one.
    charge: Option<Charge>,
    /// Whether events are missing: they were not read in time, or there was no room for them.
    pub(crate) is_lossy: bool,
}

impl Fold {
    pub(crate) fn charged(charge: Option<Charge>) -> Self {
        Self { charge, ..Self::default() }
    }

    /// Gives back the charge of a live tree. Yields the bytes, which the table of ended trees
    /// counts.
    pub(crate) fn retire(&mut self) -> usize {
        self.charge = None;
        self.bytes
    }

    /// Applies an event. One that was applied before changes nothing.
    pub(crate) fn apply(&mut self, event: &RunEvent) {
        match self.position.pass(event) {
            Some(Unread::Event) => {}
            Some(Unread::Gap) => return self.is_lossy = true,
            None => return,
        }
        if let EventKind::Queued { parent, kind, name, .. } = &event.kind {
            return self.add(event.run, *parent, *kind, name);
        }
        let Some(index) = self.indexes.get(&event.run).copied() else { return };
        let weight = weight(&event.kind);
        let has_room = weight <= BYTES_MAX.saturating_sub(self.bytes) && self.grow(weight);
        self.bytes += self.runs[index].take(event, weight, has_room);
        if let Some(charge) = &mut self.charge {
            charge.shrink_to(self.bytes);
        }
    }

    /// Charges the bytes that an event may add, or what is kept beside the transcripts.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        self.charge.as_mut().is_none_or(|charge| charge.grow(bytes).is_ok())
    }

    fn add(&mut self, run: RunId, parent: Option<RunId>, kind: RunKind, name: &Arc<str>) {
        if self.runs.len() >= quell::limits::REPORT_ROWS_MAX || self.indexes.contains_key(&run) {
            return;
        }
        if !self.grow(ROW_BYTES) {
            return self.is_lossy = true;
        }
        self.bytes += ROW_BYTES;
        self.indexes.insert(run, self.runs.len());
        self.runs.reserve_exact(usize::from(self.runs.len() < 2)); // Most trees have one or two.
        self.runs.push(Transcript::new(run, parent, kind, Arc::clone(name)));
    }

    /// Yields the transcript of one run.
    pub(crate) fn of(&self, run: RunId) -> Option<Transcript> {
        let transcript = self.indexes.get(&run).map(|index| &self.runs[*index])?;
        Some(self.marked(transcript))
    }

    /// Tells whether a part of one run is missing. Of a run without a transcript, everything is.
    pub(crate) fn is_cut(&self, run: RunId) -> bool {
        self.is_lossy || self.indexes.get(&run).is_none_or(|index| self.runs[*index].is_cut)
    }

    /// Yields how far one run has come.
    pub(crate) fn progress(&self, run: RunId) -> Option<f32> {
        self.indexes.get(&run).and_then(|index| self.runs[*index].progress)
    }

    /// Yields the transcript of every run, parents before children.
    pub(crate) fn all(&self) -> Vec<Transcript> {
        self.runs.iter().map(|transcript| self.marked(transcript)).collect()
    }

    fn marked(&self, transcript: &Transcript) -> Transcript {
        let mut transcript = transcript.clone();
        transcript.is_cut |= self.is_lossy;
        transcript.read_to = self.position.seq();
        transcript
    }
}

impl Transcript {
    pub(crate) const fn new(
        run: RunId,
        parent: Option<RunId>,
        kind: RunKind,
        name: Arc<str>,
    ) -> Self {
        Self {
            run,
            parent,
            kind,
            name,
            text: String::new(),
            first_text_at: None,
            model: None,
            tools: Vec::new(),
            usage: Usage { input_tokens: 0, output_tokens: 0, cost_micros: 0 },
            values: None,
            progress: None,
            is_cut: false,
            is_paused: false,
            read_to: 0,
            values_bytes: 0,
        }
    }

    /// Applies an event of the run, whose weight there is room for or not. Yields the bytes that
    /// are kept of it.
    fn take(&mut self, event: &RunEvent, weight: usize, has_room: bool) -> usize {
        self.is_cut |= !has_room;
        self.is_paused &= !matches!(event.kind, EventKind::Resumed { .. });
        self.is_paused |= matches!(event.kind, EventKind::Paused { .. });
        match &event.kind {
            EventKind::Emitted(_) | EventKind::ToolStarted { .. } if !has_room => 0,
            EventKind::Emitted(payload) => {
                Emit::read(payload).map_or(0, |emit| self.take_emit(emit, event.at, weight))
            }
            EventKind::Progress(fraction) => {
                self.progress = Some(*fraction);
                0
            }
            EventKind::Used(usage) => {
                self.usage.add(*usage);
                0
            }
            EventKind::ToolStarted { call, name, input } => {
                if self.tools.len() >= TOOLS_MAX {
                    self.is_cut = true;
                    return 0;
                }
                self.tools.push(ToolNote {
                    call: Arc::clone(call),
                    name: Arc::clone(name),
                    input: input.clone(),
                    started_at: event.at,
                    outcome: None,
                    ended_at: None,
                });
                weight
            }
            EventKind::ToolEnded { call, outcome } => {
                let known = if has_room { outcome } else { &ToolOutcome::Unknown };
                if self.end_tool(call, known, event.at) && has_room { weight } else { 0 }
            }
            _ => 0,
        }
    }

    fn take_emit(&mut self, emit: Emit, at: SystemTime, bytes: usize) -> usize {
        match emit {
            Emit::Content { text } => {
                self.first_text_at.get_or_insert(at);
                self.text.push_str(&text);
                return text.len();
            }
            Emit::ModelStarted { model, provider } => self.ask(model, provider, 0, 0),
            Emit::ModelEnded { model, provider, input_tokens, output_tokens } => {
                self.ask(model, provider, input_tokens, output_tokens);
            }
            Emit::Values { values } | Emit::Step { values: Some(values), .. } => {
                // It replaces the values before: only the difference in size is new.
                self.values = Some(values);
                let more = bytes.saturating_sub(self.values_bytes);
                self.values_bytes += more;
                return more;
            }
            _ => {}
        }
        0
    }

    fn ask(&mut self, model: String, provider: String, input: u64, output: u64) {
        let note = ModelNote { model, provider, input_tokens: input, output_tokens: output };
        match &mut self.model {
            Some(known) => {
                let (read, written) = (known.input_tokens, known.output_tokens);
                *known = note;
                known.input_tokens = known.input_tokens.saturating_add(read);
                known.output_tokens = known.output_tokens.saturating_add(written);
            }
            None => self.model = Some(note),
        }
    }

    /// Records the outcome of a call that has begun and has none yet.
    fn end_tool(&mut self, call: &str, outcome: &ToolOutcome, at: SystemTime) -> bool {
        let open = |tool: &&mut ToolNote| &*tool.call == call && tool.outcome.is_none();
        let Some(tool) = self.tools.iter_mut().rev().find(open) else { return false };
        tool.ended_at = Some(at);
        tool.outcome = Some(outcome.clone());
        true
    }
}

/// Yields the bytes that an event may add to a transcript.
fn weight(kind: &EventKind) -> usize {
    match kind {
        EventKind::Emitted(payload) => payload.len(),
        EventKind::ToolStarted { input, .. } => input.len(),
        EventKind::ToolEnded { outcome: ToolOutcome::Result(Some(output)), .. } => output.len(),
        EventKind::ToolEnded { outcome: ToolOutcome::Error(words), .. } => words.len(),
        _ => 0,
    }
}

/// The approximate bytes of a transcript without its texts and values.
const ROW_BYTES: usize = 256;

/// The bytes of the transcripts of one tree. More is cut, and marked so.
const BYTES_MAX: usize = 16 << 20;

/// The tool calls in the transcript of one run. More are cut, and marked so.
const TOOLS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;

    fn event(seq: u64, kind: EventKind) -> RunEvent {
        let run = RunId::from_text("r");
        RunEvent::new(seq, run, run, SystemTime::UNIX_EPOCH, kind)
    }

    fn fold() -> Fold {
        let mut fold = Fold::default();
        let (kind, name) = (RunKind::Agent, "a".into());
        fold.apply(&event(1, EventKind::Queued { parent: None, kind, name, shielded: false }));
        fold
    }

    #[test]
    fn an_event_that_is_in_already_changes_nothing() {
        let mut fold = fold();
        let said = event(2, EventKind::Emitted(Emit::content("x").to_payload()));
        fold.apply(&said);
        fold.apply(&said);
        assert_eq!(fold.of(said.run).unwrap().text, "x");
    }

    #[test]
    fn more_text_than_is_kept_is_cut_and_said_to_be() {
        let mut fold = fold();
        let piece = Emit::content("x".repeat(200 << 10)).to_payload();
        for seq in 2..200 {
            fold.apply(&event(seq, EventKind::Emitted(piece.clone())));
        }
        let transcript = fold.of(RunId::from_text("r")).unwrap();
        assert!(transcript.is_cut && transcript.text.len() <= BYTES_MAX && fold.bytes <= BYTES_MAX);
        assert!(transcript.text.len() > BYTES_MAX - (1 << 20));
    }

    #[test]
    fn what_live_runs_say_is_bounded_with_others_and_given_back_at_their_end() {
        let ledger = Ledger::new("transcripts", 1_000, 25);
        let (ada, ben) = (Arc::from("ada"), Arc::from("ben"));
        let of = |owner| {
            let mut fold = Fold::charged(ledger.charge(Some(owner), 0).ok());
            let (kind, name) = (RunKind::Agent, "a".into());
            fold.apply(&event(1, EventKind::Queued { parent: None, kind, name, shielded: false }));
            fold.is_lossy
        };
        assert!(of(&ada), "a row is more than a share of this bound");
        let ledger = Ledger::new("transcripts", 4_000, 25);
        let said = |owner| {
            let mut fold = Fold::charged(ledger.charge(Some(owner), 0).ok());
            let (kind, name) = (RunKind::Agent, "a".into());
            fold.apply(&event(1, EventKind::Queued { parent: None, kind, name, shielded: false }));
            for seq in 2..20 {
                let piece = Emit::content("x".repeat(50)).to_payload();
                fold.apply(&event(seq, EventKind::Emitted(piece)));
            }
            fold
        };
        let mut first = said(&ada);
        let transcript = first.of(RunId::from_text("r")).unwrap();
        assert!(transcript.is_cut && !transcript.text.is_empty());
        let other = said(&ben).of(RunId::from_text("r")).unwrap();
        assert_eq!(other.text, transcript.text, "another owner has as much");
        assert!(first.retire() > 0);
        assert_eq!(ledger.total(), 0);
    }

    #[test]
    fn more_tool_calls_than_are_kept_are_cut_and_said_to_be() {
        let mut fold = fold();
        for seq in 2..3_000 {
            let (call, name) = (seq.to_string().into(), "t".into());
            let input = Payload::from("x");
            fold.apply(&event(seq, EventKind::ToolStarted { call, name, input }));
        }
        let transcript = fold.of(RunId::from_text("r")).unwrap();
        assert!(transcript.is_cut && transcript.tools.len() == TOOLS_MAX);
    }

    #[test]
    fn a_gap_that_was_read_by_then_is_none() {
        let mut fold = fold();
        fold.apply(&event(5, EventKind::Started));
        fold.apply(&event(0, EventKind::Lagged { from: 1, to: 5 }));
        assert!(!fold.of(RunId::from_text("r")).unwrap().is_cut);
        fold.apply(&event(0, EventKind::Lagged { from: 6, to: 7 }));
        assert!(fold.of(RunId::from_text("r")).unwrap().is_cut);
        assert_eq!(fold.position.seq(), 7);
    }
}
