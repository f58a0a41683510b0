//! [`Fold`]: the transcripts of a tree, folded from its events. They outlive the ring of the log.

use std::collections::HashMap;
use std::sync::Arc;

use quell::{EventKind, RunEvent, RunId, RunKind};

use crate::events::{LogPosition, Unread};
use crate::ledger::Charge;
use crate::transcript::{Transcript, weight};

/// The transcripts of a tree.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    /// The last event that was applied.
    pub(crate) position: LogPosition,
    pub(crate) runs: Vec<Transcript>,
    /// Where each of many runs is; empty while they are few.
    indexes: HashMap<RunId, usize>,
    pub(crate) bytes: usize,
    /// The charge of the bytes while the tree is live; `None` if there was no room for an empty
    /// one.
    charge: Option<Charge>,
    /// Whether events are missing: they were not read in time, or there was no room for them.
    pub(crate) is_lossy: bool,
    /// Whether the tree is over and every event is in, of those that the log had: a reader need not
    /// look for more.
    pub(crate) is_whole: bool,
    /// Whether whoever follows the tree reads from the store what the log has dropped.
    pub(crate) reads_gaps: bool,
    /// Events up to this one are to come from there.
    due: u64,
}

impl Fold {
    pub(crate) fn charged(charge: Option<Charge>) -> Self {
        Self { charge, ..Self::default() }
    }

    /// Gives back the charge of a live tree. Yields the bytes, which the table of ended trees
    /// counts.
    pub(crate) fn retire(&mut self) -> usize {
        (self.charge, self.reads_gaps) = (None, false);
        self.bytes
    }

    /// Applies an event for a reader who must not be behind the log, unless it is a gap that is
    /// read from the store: that, and what is behind it, comes from there. Tells whether it has.
    pub(crate) fn catch_up(&mut self, event: &RunEvent) -> bool {
        if let EventKind::Lagged { to, .. } = event.kind
            && self.reads_gaps
        {
            self.due = self.due.max(to);
            return false;
        }
        self.apply(event);
        true
    }

    /// Tells whether events are missing, if only by now.
    fn lacks(&self) -> bool {
        self.is_lossy || self.position.seq() < self.due
    }

    /// Applies an event. One that was applied before changes nothing.
    pub(crate) fn apply(&mut self, event: &RunEvent) {
        match self.position.pass(event) {
            Some(Unread::Event) => {}
            Some(Unread::Gap) => return self.is_lossy = true,
            None => return,
        }
        let weight = weight(&event.kind);
        if let EventKind::Queued { parent, kind, name, .. } = &event.kind {
            return self.add(event, *parent, (*kind, name), weight);
        }
        let Some(index) = self.index(event.run) else { return };
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

    fn add(
        &mut self,
        event: &RunEvent,
        parent: Option<RunId>,
        (kind, name): (RunKind, &Arc<str>),
        weight: usize,
    ) {
        let run = event.run;
        if self.runs.len() >= quell::limits::REPORT_ROWS_MAX || self.index(run).is_some() {
            return;
        }
        if !self.grow(weight) {
            return self.is_lossy = true;
        }
        self.bytes += weight;
        self.runs.reserve_exact(usize::from(self.runs.len() < 2)); // Most trees have one or two.
        let mut transcript = Transcript::new(run, parent, kind, Arc::clone(name));
        transcript.began = event.seq;
        self.runs.push(transcript);
        if self.runs.len() > FEW {
            // Those before, too, when they are no longer few.
            let from = if self.indexes.is_empty() { 0 } else { self.runs.len() - 1 };
            let new = self.runs.iter().enumerate().skip(from);
            self.indexes.extend(new.map(|(index, transcript)| (transcript.run, index)));
        }
    }

    /// Finds the transcript of a run.
    fn index(&self, run: RunId) -> Option<usize> {
        if self.indexes.is_empty() {
            return self.runs.iter().position(|transcript| transcript.run == run);
        }
        self.indexes.get(&run).copied()
    }

    /// Yields the transcript of one run.
    pub(crate) fn of(&self, run: RunId) -> Option<Transcript> {
        let transcript = &self.runs[self.index(run)?];
        Some(self.marked(transcript))
    }

    /// Tells whether a part of one run is missing. Of a run without a transcript, everything is.
    pub(crate) fn is_cut(&self, run: RunId) -> bool {
        self.lacks() || self.index(run).is_none_or(|index| self.runs[index].is_cut)
    }

    /// Tells whether a run had begun before the event with this number, as far as is known.
    pub(crate) fn had_begun(&self, run: RunId, seq: u64) -> bool {
        self.index(run).is_some_and(|index| self.runs[index].began < seq)
    }

    /// Yields how far one run has come.
    pub(crate) fn progress(&self, run: RunId) -> Option<f32> {
        self.index(run).and_then(|index| self.runs[index].progress)
    }

    /// Yields the transcript of every run, parents before children.
    pub(crate) fn all(&self) -> Vec<Transcript> {
        self.runs.iter().map(|transcript| self.marked(transcript)).collect()
    }

    fn marked(&self, transcript: &Transcript) -> Transcript {
        let mut transcript = transcript.clone();
        transcript.is_cut |= self.lacks();
        transcript.read_to = self.position.seq();
        transcript
    }
}

/// So many runs of a tree are found without an index: to look at each takes no longer, and most
/// trees have one or two for as long as they live (bench `http/background`).
const FEW: usize = 8;

/// The bytes of the transcripts of one tree. More is cut, and marked so.
const BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use quell::Payload;
    use quell_flow::Emit;

    use super::*;
    use crate::ledger::Ledger;
    use crate::transcript::TOOLS_MAX;

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
    fn each_of_few_and_of_many_runs_has_its_own_text() {
        let (mut fold, id) = (Fold::default(), |nth: u64| RunId::from_text(&format!("r{nth}")));
        for nth in 0..20 {
            let (kind, name) = (RunKind::Agent, "a".into());
            let queued = EventKind::Queued { parent: None, kind, name, shielded: false };
            let said = EventKind::Emitted(Emit::content(nth.to_string()).to_payload());
            for (seq, kind) in [(2 * nth + 1, queued), (2 * nth + 2, said)] {
                fold.apply(&RunEvent::new(seq, id(0), id(nth), SystemTime::UNIX_EPOCH, kind));
            }
            for known in 0..=nth {
                assert_eq!(fold.of(id(known)).unwrap().text, known.to_string());
            }
            assert!(fold.of(id(nth + 1)).is_none());
        }
        assert_eq!(fold.runs.len(), 20);
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
