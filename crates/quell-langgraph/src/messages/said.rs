//! [`Messages`]: what a completed run answered, as messages.

use std::collections::HashSet;

use quell::{Payload, RunId, RunKind, RunRef, RunStatus};
use quell_http::{Principal, Service, Transcript};
use serde_json::Value;

use crate::options::CONTRACT;
use crate::wire::exact::finite;
use crate::wire::message::{Origin, Parts};
use crate::wire::rows::About;

/// The messages with which a run answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Messages {
    /// Those of the run itself: its tool calls and what they gave, and last what it said.
    pub(crate) own: Vec<Payload>,
    /// These, and those of its nodes, in the order in which they began to say something.
    pub(crate) all: Vec<Payload>,
}

impl Messages {
    /// Puts together what a run said; nothing of one that did not complete.
    ///
    /// `is_answer` tells whether what the body returned is its answer: it said nothing of a state.
    /// If nothing but runs within the run said text then, these messages are the answer.
    pub(crate) fn of(
        service: &Service,
        run: &RunRef,
        output: Option<&Payload>,
        about: &About,
        is_answer: bool,
    ) -> Self {
        if run.row().status != RunStatus::Completed {
            return Self::default();
        }
        let view = service.view(CONTRACT, Principal::anonymous());
        Self::of_said(view.tree_transcripts(run), run.id(), output, about, is_answer)
    }

    /// As [`Messages::of`], of a completed run with these transcripts.
    pub(crate) fn of_said(
        mut said: Vec<Transcript>,
        root: RunId,
        output: Option<&Payload>,
        about: &About,
        is_answer: bool,
    ) -> Self {
        let within = within_subgraphs(&said, root);
        // One that says nothing before its end comes last.
        said.sort_by_key(|said| (said.first_text_at.is_none(), said.first_text_at));
        let write = |said: &Transcript, text: &str| {
            let speaker = said.run.to_string();
            let run = root.to_string();
            let origin = Origin { about, run: &run, speaker: &speaker, node: &said.name };
            origin.messages(&Parts::of(said, text))
        };
        let mut all = Self::default();
        for said in said.iter().filter(|said| !within.contains(&said.run)) {
            if said.run == root {
                let text = answer_of(output.filter(|_| is_answer || !is_blank(said)), said);
                all.own = text.map(|text| write(said, &text)).unwrap_or_default();
                all.all.extend_from_slice(&all.own);
            } else if !is_blank(said) {
                all.all.extend(write(said, &said.text));
            }
        }
        if all.all.is_empty() && is_answer {
            let inner = said.iter().filter(|said| within.contains(&said.run) && !is_blank(said));
            all.all.extend(inner.flat_map(|said| write(said, &said.text)));
        }
        all
    }
}

/// Yields the text with which a run answers: what it returned, if that is no object and no list;
/// otherwise what it said, unless that is the same object or list.
fn answer_of(output: Option<&Payload>, said: &Transcript) -> Option<String> {
    let output = output.filter(|output| !output.is_null());
    let returned = output.filter(|output| !output.as_json().trim_start().starts_with(['{', '[']));
    if let Some(returned) = returned {
        let text = returned.as_text().map_or_else(|| finite(returned).to_string(), String::from);
        return Some(text).filter(|text| !text.trim().is_empty());
    }
    let is_state = output.is_some_and(|output| {
        let same = |value: Value| output.parse::<Value>().is_ok_and(|state| state == value);
        said.text.trim_start().starts_with(['{', '['])
            && serde_json::from_str(&said.text).is_ok_and(same)
    });
    (!is_state && !is_blank(said)).then(|| said.text.clone())
}

fn is_blank(said: &Transcript) -> bool {
    said.text.trim().is_empty()
}

/// Finds the runs that are within another agent, team or workflow than the root.
fn within_subgraphs(all: &[Transcript], root: RunId) -> HashSet<RunId> {
    let mut within = HashSet::new();
    // Parents come before their children.
    for said in all.iter().filter(|said| said.run != root) {
        let is_graph = matches!(said.kind, RunKind::Agent | RunKind::Team | RunKind::Workflow);
        if is_graph || said.parent.is_some_and(|parent| within.contains(&parent)) {
            within.insert(said.run);
        }
    }
    within
}
