//! [`Transcript`]: what a run has emitted so far.

use std::sync::Arc;
use std::time::SystemTime;

use quell::{EventKind, Payload, RunEvent, RunId, RunKind, ToolOutcome, Usage};
use quell_flow::Emit;

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
    /// The number of the event with which it began.
    pub(crate) began: u64,
    /// The numbers of the events of its pauses, each with the bytes of its text by then.
    pauses: Vec<(u64, usize)>,
    /// The bytes that are counted for `values`.
    values_bytes: usize,
    /// The bytes that are counted for `model`.
    model_bytes: usize,
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
    /// The bytes of what it gave that `outcome` has not, since the transcript had no room for them;
    /// 0 if nothing is missing.
    pub left_out: usize,
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
            began: 0,
            pauses: Vec::new(),
            values_bytes: 0,
            model_bytes: 0,
        }
    }

    /// Applies an event of the run, whose weight there is room for or not. Yields the bytes that
    /// are kept of it.
    pub(crate) fn take(&mut self, event: &RunEvent, weight: usize, has_room: bool) -> usize {
        self.is_cut |= !has_room;
        self.is_paused &= !matches!(event.kind, EventKind::Resumed { .. });
        self.is_paused |= matches!(event.kind, EventKind::Paused { .. });
        match &event.kind {
            EventKind::Emitted(_) | EventKind::ToolStarted { .. } if !has_room => 0,
            EventKind::Emitted(payload) => {
                Emit::read(payload).map_or(0, |emit| self.take_emit(emit, event.at, weight))
            }
            EventKind::Paused { .. } if has_room => {
                self.pauses.push((event.seq, self.text.len()));
                weight
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
                    left_out: 0,
                });
                weight
            }
            EventKind::ToolEnded { call, outcome } => {
                let (outcome, left_out) =
                    if has_room { (outcome.clone(), 0) } else { in_short(outcome) };
                let is_known = self.end_tool(call, outcome, left_out, event.at);
                if is_known && has_room { weight } else { 0 }
            }
            _ => 0,
        }
    }

    /// Takes back the text that came behind the pause of this number.
    pub(crate) fn cut_behind_pause(&mut self, seq: u64) {
        if let Some((_, bytes)) = self.pauses.iter().find(|(pause, _)| *pause == seq) {
            self.text.truncate(*bytes);
        }
    }

    fn take_emit(&mut self, emit: Emit, at: SystemTime, bytes: usize) -> usize {
        match emit {
            Emit::Content { text } => {
                self.first_text_at.get_or_insert(at);
                self.text.push_str(&text);
                text.len()
            }
            Emit::ModelStarted { model, provider } => {
                self.ask(model, provider, 0, 0);
                replaced(&mut self.model_bytes, bytes)
            }
            Emit::ModelEnded { model, provider, input_tokens, output_tokens } => {
                self.ask(model, provider, input_tokens, output_tokens);
                replaced(&mut self.model_bytes, bytes)
            }
            Emit::Values { values } | Emit::Step { values: Some(values), .. } => {
                self.values = Some(values);
                replaced(&mut self.values_bytes, bytes)
            }
            _ => 0,
        }
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
    fn end_tool(
        &mut self,
        call: &str,
        outcome: ToolOutcome,
        left_out: usize,
        at: SystemTime,
    ) -> bool {
        let open = |tool: &&mut ToolNote| &*tool.call == call && tool.outcome.is_none();
        let Some(tool) = self.tools.iter_mut().rev().find(open) else { return false };
        tool.ended_at = Some(at);
        (tool.outcome, tool.left_out) = (Some(outcome), left_out);
        true
    }
}

/// Yields how a call has ended, without what it gave, and the bytes of that.
fn in_short(outcome: &ToolOutcome) -> (ToolOutcome, usize) {
    match outcome {
        ToolOutcome::Result(gave) => {
            (ToolOutcome::Result(None), gave.as_ref().map_or(0, Payload::len))
        }
        ToolOutcome::Error(_) => (ToolOutcome::Error("the words are left out".into()), 0),
        ToolOutcome::Cancelled => (ToolOutcome::Cancelled, 0),
        ToolOutcome::Unknown => (ToolOutcome::Unknown, 0),
    }
}

/// Counts what stands in the place of something that was counted before: only the difference in
/// size is new. Yields that.
const fn replaced(counted: &mut usize, bytes: usize) -> usize {
    let more = bytes.saturating_sub(*counted);
    *counted += more;
    more
}

/// Yields the bytes that an event may add to a transcript: all texts, names and ids in it, and the
/// size of what is noted beside them. What is kept of a payload is no longer than that.
pub(crate) fn weight(kind: &EventKind) -> usize {
    match kind {
        EventKind::Queued { name, .. } => ROW_BYTES + name.len(),
        EventKind::Emitted(payload) => payload.len(),
        EventKind::ToolStarted { call, name, input } => {
            TOOL_BYTES + call.len() + name.len() + input.len()
        }
        EventKind::ToolEnded { outcome: ToolOutcome::Result(Some(output)), .. } => output.len(),
        EventKind::ToolEnded { outcome: ToolOutcome::Error(words), .. } => words.len(),
        EventKind::Paused { .. } => 2 * size_of::<(u64, usize)>(),
        _ => 0,
    }
}

/// The bytes of a transcript without its texts and values: a list of them has up to as many places
/// again, and an index.
const ROW_BYTES: usize = 2 * size_of::<Transcript>() + 64;

/// The bytes of a tool call without its texts and values: a list of them has up to as many places
/// again, and each text and value an allocation of its own.
const TOOL_BYTES: usize = 2 * size_of::<ToolNote>() + 64;

/// The tool calls in the transcript of one run. More are cut, and marked so.
pub(crate) const TOOLS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::Fold;

    /// All that a transcript holds. It names every field: none can be forgotten.
    fn held(transcript: &Transcript) -> usize {
        let Transcript {
            run: _,
            parent: _,
            kind: _,
            name,
            text,
            first_text_at: _,
            model,
            tools,
            usage: _,
            values,
            progress: _,
            is_cut: _,
            is_paused: _,
            read_to: _,
            values_bytes: _,
            model_bytes: _,
            began: _,
            pauses,
        } = transcript;
        let pauses = size_of_val(&**pauses);
        let model = model.as_ref().map_or(0, |model| {
            let ModelNote { model, provider, input_tokens: _, output_tokens: _ } = model;
            model.len() + provider.len()
        });
        let tools = tools.iter().map(|tool| {
            let ToolNote { call, name, input, started_at: _, outcome, ended_at: _, left_out: _ } =
                tool;
            let outcome = match outcome {
                Some(ToolOutcome::Result(Some(output))) => output.len(),
                Some(ToolOutcome::Error(words)) => words.len(),
                Some(ToolOutcome::Result(None) | ToolOutcome::Cancelled | ToolOutcome::Unknown)
                | None => 0,
            };
            size_of::<ToolNote>() + call.len() + name.len() + input.len() + outcome
        });
        let values = values.as_ref().map_or(0, Payload::len);
        let of_text = name.len() + text.len() + model + values;
        size_of::<Transcript>() + of_text + pauses + tools.sum::<usize>()
    }

    #[test]
    fn a_transcript_weighs_at_least_what_it_holds() {
        let long = |nth: usize| "é".repeat(300 + nth);
        let said = |emit: Emit| EventKind::Emitted(emit.to_payload());
        let ended = |call: &str, outcome| EventKind::ToolEnded { call: call.into(), outcome };
        let mut kinds = Vec::new();
        for nth in 0..3 {
            let (model, provider) = (long(3 - nth), long(nth));
            let values = Payload::from(long(3 - nth));
            kinds.push(said(Emit::content(long(nth))));
            kinds.push(said(Emit::ModelStarted { model: model.clone(), provider: long(0) }));
            let (input_tokens, output_tokens) = (1, 2);
            kinds.push(said(Emit::ModelEnded { model, provider, input_tokens, output_tokens }));
            kinds.push(said(Emit::Values { values: values.clone() }));
            kinds.push(said(Emit::Step { values: Some(values), next: vec![long(1)] }));
            kinds.push(EventKind::Emitted(Payload::from(long(1))));
            kinds.push(EventKind::Progress(0.5));
            for (which, outcome) in [
                ToolOutcome::Result(Some(Payload::from(long(2)))),
                ToolOutcome::Error(long(1).into()),
                ToolOutcome::Result(None),
                ToolOutcome::Cancelled,
            ]
            .into_iter()
            .enumerate()
            {
                let call = format!("{nth}{which}{}", long(0));
                let input = if which == 0 { Payload::from(long(2)) } else { Payload::from(0) };
                let name = long(which).into();
                kinds.push(EventKind::ToolStarted { call: (&*call).into(), name, input });
                kinds.push(ended(&call, outcome));
            }
            kinds.push(EventKind::Paused { request: Payload::from(long(3)) });
        }
        let (run, at) = (RunId::from_text("r"), SystemTime::UNIX_EPOCH);
        let mut fold = Fold::default();
        let name = long(500).into();
        let queued =
            EventKind::Queued { parent: None, kind: RunKind::Agent, name, shielded: false };
        for (nth, kind) in std::iter::once(queued).chain(kinds).enumerate() {
            let what: String = format!("{kind:?}").chars().take(40).collect();
            fold.apply(&RunEvent::new(nth as u64 + 1, run, run, at, kind));
            let transcript = fold.of(run).unwrap();
            assert!(!transcript.is_cut);
            let (held, counted) = (held(&transcript), fold.bytes);
            assert!(counted >= held, "{counted} for {held} bytes behind {what}");
        }
        let transcript = fold.of(run).unwrap();
        assert_eq!((transcript.tools.len(), transcript.text.chars().count()), (12, 903));
    }

    #[test]
    fn of_a_result_for_which_there_is_no_room_the_size_stays() {
        let (run, kind) = (RunId::from_text("r"), RunKind::Agent);
        let mut said = Transcript::new(run, None, kind, "r".into());
        let mut take = |kind, has_room| {
            said.take(&RunEvent::new(1, run, run, SystemTime::UNIX_EPOCH, kind), 1, has_room);
        };
        let (call, name, input): (Arc<str>, _, _) = ("c".into(), "t".into(), Payload::from(1));
        take(EventKind::ToolStarted { call: Arc::clone(&call), name, input }, true);
        let outcome = ToolOutcome::Result(Some("12345".into()));
        take(EventKind::ToolEnded { call, outcome }, false);
        let ToolNote { outcome, left_out, .. } = &said.tools[0];
        assert_eq!((outcome, *left_out), (&Some(ToolOutcome::Result(None)), r#""12345""#.len()));
    }
}
