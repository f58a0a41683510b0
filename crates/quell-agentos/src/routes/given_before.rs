//! [`given_before`]: an answer that a client sends again, since it has not heard what came of the
//! first time (contract, section 7).

use std::future::ready;

use futures::StreamExt as _;
use quell::{EventKind, Payload, RunEvent, RunId, RunStatus};
use quell_http::{RunView, View, offload_if_large};
use serde_json::Value;

use crate::answer_form::AnswerForm;
use crate::wire::pause::{Said, said};
use crate::wire::refusal::Refusal;

/// Tells whether a form has the answer that the run was given at its last pause. Yields the number
/// of the event of that pause: behind it comes what the answer has led to.
///
/// None of a run that was stopped: its client has to hear of that. Nor of an empty answer, which
/// says nothing of what it answers.
///
/// # Errors
///
/// Fails if there is no room to compare answers that are large.
pub(super) async fn given_before(
    view: &View,
    run: &RunView,
    field: &'static str,
    form: &AnswerForm,
) -> Result<Option<u64>, Refusal> {
    let was_stopped = matches!(
        run.status(),
        RunStatus::Paused | RunStatus::Stopping | RunStatus::Cancelled | RunStatus::TimedOut
    );
    if was_stopped || run.attempt() <= 1 {
        return Ok(None);
    }
    let answer = form.answer(field).ok().filter(|answer| answer.as_json() != "null");
    let Some(answer) = answer else { return Ok(None) };
    let Some(given) = run.last_answer() else { return Ok(None) };
    let pause = last_pause(view, run).await;
    let last = pause.as_ref().map_or(0, |(seq, _)| *seq);
    let asked = pause.map(|(_, request)| request);
    let is_it = offload_if_large(answer.len() + given.len(), async move {
        match asked.and_then(|asked| said(field, &asked, &answer).ok().flatten()) {
            // Nothing was given: it had the run cancelled.
            Some(Said::Rejected { .. }) => false,
            Some(Said::Answer(answer)) => is_same(&given, &answer),
            None => is_same(&given, &answer),
        }
    });
    Ok(is_it.await?.then_some(last))
}

fn is_same(given: &Payload, answer: &Payload) -> bool {
    let read = |payload: &Payload| payload.parse::<Value>().ok();
    given.as_json() == answer.as_json() || read(given).is_some_and(|it| Some(it) == read(answer))
}

/// Yields the event of the last pause of a run, and what was asked then.
async fn last_pause(view: &View, run: &RunView) -> Option<(u64, Payload)> {
    let id = run.id();
    let pauses = view.events_by_now(run).filter_map(|event| ready(pause_of(id, event)));
    pauses.fold(None, |_, pause| ready(Some(pause))).await
}

fn pause_of(run: RunId, event: RunEvent) -> Option<(u64, Payload)> {
    match event.kind {
        EventKind::Paused { request, .. } if event.run == run => Some((event.seq, request)),
        _ => None,
    }
}
