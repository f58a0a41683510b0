//! [`go_on`]: gives a paused run its answer, or an ended one a message (contract, section 7).

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use quell::{CancelRequest, Disposition, ResumeError, RunStatus};
use quell_flow::ComponentKind;
use quell_http::{
    Charge, DisconnectGuard, NotDone, RunView, StartError, View, Wait, offload_if_large,
};
use tokio::time::timeout;

use crate::answer_form::{AnswerForm, ContinueForm};
use crate::app::{App, find};
use crate::auth::{Action, component};
use crate::begin::Begin;
use crate::heard::is_heard_of_any;
use crate::routes::cancel::stored;
use crate::routes::create::{accepted, accepted_by_now, on_disconnect, waited_for_far};
use crate::routes::extract::RunRequest;
use crate::routes::follow_up::{COMMIT_WITHIN, follow_up, no_message};
use crate::routes::given_before::given_before;
use crate::routes::run_response::run_response_at_end;
use crate::routes::streamed::{streamed, style};
use crate::wire::kinds::names_of;
use crate::wire::pause::{Said, is_to_others, said};
use crate::wire::refusal::{Refusal, no_answer};
use crate::wire::status::status;

pub(super) async fn go_on(
    app: &App,
    kind: ComponentKind,
    request: &RunRequest,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let RunRequest { view, component: id, run: run_id, .. } = request;
    let component = component(view, kind, id, Action::Run)?;
    let field = names_of(kind).answer;
    let (form, upload) = ContinueForm::read(view, headers, body, kind).await?;
    let found = find(view, &component, run_id, form.session()).await?;
    let found = found.ok_or_else(|| unknown(run_id))?;
    let form = match form {
        ContinueForm::Answer(form) => form,
        // On the heap: an answer does not pay for its size.
        ContinueForm::Message(form, answer) => {
            let asked = (found, *form, upload, answer);
            return Box::pin(follow_up(app, view, &component, headers, asked)).await;
        }
    };
    let answered = answered(view, found, field, &form).await?;
    drop(upload);
    let Answered { run, last, guard, is_repeat } = answered;
    numbered(app, view, &run);
    let Some(guard) = guard else {
        return if is_repeat { accepted_by_now(view, &run).await } else { Ok(accepted(&run)) };
    };
    follow(app, view, run, (form, guard, last)).await
}

/// A run that has its answer, or was cancelled for it.
pub(super) struct Answered {
    pub(super) run: RunView,
    /// The number of the event behind which it goes on; zero if its client does not stream it.
    pub(super) last: u64,
    /// The guard of a client that follows it.
    pub(super) guard: Option<DisconnectGuard>,
    /// Whether it had this answer before, or was cancelled for it.
    is_repeat: bool,
}

/// Gives a run its answer, unless it has that already.
pub(super) async fn answered(
    view: &View,
    found: RunView,
    field: &'static str,
    form: &AnswerForm,
) -> Result<Answered, Refusal> {
    if found.status() != RunStatus::Paused {
        return match repeat(view, &found, field, form).await? {
            Some(repeat) => Ok(repeat),
            None => Err(not_paused(view, &found, found.status()).await),
        };
    }
    if form.has_message {
        return Err(no_message(&found, field));
    }
    let answer = form.answer(field)?;
    let Some(pause) = found.pause_state() else {
        return Err(not_paused(view, &found, found.status()).await);
    };
    let (asked, given) = (pause.request.clone(), answer.clone());
    let bytes = asked.len() + given.len();
    let read = offload_if_large(bytes, async move {
        (is_to_others(field, &asked, &given), said(field, &asked, &given))
    });
    let (is_to_others, said) = read.await?;
    if is_to_others {
        return Err(asks_another(&found));
    }
    let said = said.map_err(|error| Refusal::invalid(vec![no_answer(field, &error)]))?;
    let answer = match said {
        Some(Said::Rejected { step }) => return rejected(view, found, form, &step).await,
        Some(Said::Answer(answer)) => answer,
        None => answer,
    };
    let charge = charge(view, form)?;
    // Nothing is written while it is paused: what comes behind this is of the next attempt.
    let last = if form.is_stream { view.last_seq_by_now(&found).await } else { 0 };
    // The client counts before the store has the answer: who leaves meanwhile has left the run.
    let (follows, policy) = (charge.is_some(), on_disconnect(form.is_background));
    match view.resume_followed(&found, pause.attempt, answer, (policy, charge)).await {
        Ok((run, guard)) => {
            let guard = follows.then_some(guard);
            Ok(Answered { run, last, guard, is_repeat: false })
        }
        Err(NotDone::Refused(ResumeError::NotPaused(status))) => {
            // Somebody was faster, perhaps with the same answer.
            let now = answered_by_now(view, found).await?;
            match repeat(view, &now, field, form).await? {
                Some(repeat) => Ok(repeat),
                None => Err(not_paused(view, &now, status).await),
            }
        }
        Err(error) => Err(not_continued(view, (&found, field), error).await),
    }
}

/// Has the lines of a run counted that has an answer: its client may come back by their numbers.
pub(super) fn numbered(app: &App, view: &View, run: &RunView) {
    if let RunView::Live(run) = run {
        app.lines.follow(view, run, style(app, true));
    }
}

/// Yields what there is for a client of a run that was given this answer before, if it was.
async fn repeat(
    view: &View,
    run: &RunView,
    field: &'static str,
    form: &AnswerForm,
) -> Result<Option<Answered>, Refusal> {
    let Some(last) = given_before(view, run, field, form).await? else { return Ok(None) };
    let guard = guard(view, run, form)?;
    Ok(Some(Answered { run: run.clone(), last, guard, is_repeat: true }))
}

/// Yields a run that was paused when it was found, and has an answer by now, as it stands. The node
/// that has it may be about to store that.
async fn answered_by_now(view: &View, found: RunView) -> Result<RunView, Refusal> {
    let now = match &found {
        RunView::Stored(run) => timeout(COMMIT_WITHIN, view.no_longer_paused(run)).await.ok(),
        RunView::Live(_) => None,
    };
    Ok(now.transpose()?.flatten().unwrap_or(found))
}

/// Cancels a run of which a step was rejected, also if somebody else has just given it an answer:
/// the client was shown that a rejection does that.
async fn rejected(
    view: &View,
    found: RunView,
    form: &AnswerForm,
    step: &str,
) -> Result<Answered, Refusal> {
    let charge = charge(view, form)?;
    let last = if form.is_stream { view.last_seq_by_now(&found).await } else { 0 };
    let request = CancelRequest::because(format!("step `{step}` was rejected"));
    let cancelled = view.cancel(&found, request, Wait::terminal()).await;
    stored(&cancelled)?;
    match cancelled.disposition {
        Disposition::Forbidden => Err(forbidden()),
        Disposition::Unknown => Err(unknown(&found.external_id())),
        Disposition::AlreadyTerminal { status } => Err(not_paused(view, &found, status).await),
        _ => {
            let run = view.find_by_id(found.id()).await?.unwrap_or(found);
            let guard = charge.map(|charge| guard_of(view, &run, form, charge));
            Ok(Answered { run, last, guard, is_repeat: true })
        }
    }
}

fn unknown(run_id: &str) -> Refusal {
    Refusal::not_found(&format!("No runs found for run ID {run_id}"))
}

/// Yields what a client that follows the run costs; nothing if it leaves it in the background.
fn charge(view: &View, form: &AnswerForm) -> Result<Option<Charge>, Refusal> {
    let follows = form.is_stream || !form.is_background;
    follows.then(|| view.charge_stream().map_err(Refusal::overdrawn)).transpose()
}

/// Yields the guard of a client that follows a run which has its answer, if it does.
fn guard(
    view: &View,
    run: &RunView,
    form: &AnswerForm,
) -> Result<Option<DisconnectGuard>, Refusal> {
    Ok(charge(view, form)?.map(|charge| guard_of(view, run, form, charge)))
}

fn guard_of(view: &View, run: &RunView, form: &AnswerForm, charge: Charge) -> DisconnectGuard {
    let policy = on_disconnect(form.is_background);
    view.service().guard(run, policy).until_pause().holding(charge)
}

/// Answers a client that follows a run which has its answer: with the events behind this one, or
/// with the run at its end or its next pause.
async fn follow(
    app: &App,
    view: &View,
    run: RunView,
    (form, guard, last): (AnswerForm, DisconnectGuard, u64),
) -> Result<Response, Refusal> {
    let (is_stream, is_background, guard) = (form.is_stream, form.is_background, guard.for_good());
    drop(form);
    if is_stream {
        let shown = (style(app, is_background), Begin::after(last));
        return streamed(app, view, &run, guard, shown).await?.ok_or_else(Refusal::unexpected);
    }
    let run = match run {
        RunView::Live(run) => run,
        stored @ RunView::Stored(_) => {
            let answer = Box::pin(waited_for_far(view, stored, guard)).await?;
            return answer.ok_or_else(Refusal::unexpected);
        }
    };
    run.paused().await;
    let answer = run_response_at_end(view, run).await?.ok_or_else(Refusal::unexpected);
    drop(guard);
    answer
}

/// Says why a run was not continued, or is not known to be.
async fn not_continued(
    view: &View,
    (found, field): (&RunView, &str),
    error: NotDone<ResumeError>,
) -> Refusal {
    match error {
        NotDone::Unknown | NotDone::Refused(ResumeError::Unknown) => unknown(&found.external_id()),
        error @ (NotDone::NotDecided { .. } | NotDone::NotKnown { .. }) => {
            let text = format!("Run {} is not known to continue: {error}", found.external_id());
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
        }
        NotDone::Forbidden => forbidden(),
        NotDone::NoAnswer(error) => Refusal::invalid(vec![no_answer(field, &error)]),
        NotDone::Refused(ResumeError::NotPaused(status)) => not_paused(view, found, status).await,
        NotDone::Refused(ResumeError::OtherAttempt { .. }) => asks_another(found),
        NotDone::Refused(ResumeError::TooLarge { .. }) => Refusal::too_large(),
        NotDone::Refused(ResumeError::NoBody) => {
            let text = view.why_no_body(found).await;
            let text = format!("Cannot continue run {}: {text}", found.external_id());
            Refusal::new(StatusCode::CONFLICT, text)
        }
        NotDone::Refused(ResumeError::NotTaken(_) | ResumeError::NotStored(_)) => {
            let text = format!("Run {} could not be continued durably", found.external_id());
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
        }
        NotDone::Refused(ResumeError::QueueFull { scope, max }) => {
            Refusal::of_start(&StartError::QueueFull { scope, max })
        }
        NotDone::Refused(error) => {
            let text = format!("Too many live runs: {error}");
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, text)
        }
    }
}

fn forbidden() -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "Insufficient permissions")
}

fn asks_another(run: &RunView) -> Refusal {
    let text = format!("Cannot continue run {}: it asks something else now", run.external_id());
    Refusal::new(StatusCode::CONFLICT, text)
}

pub(super) async fn not_paused(view: &View, run: &RunView, now: RunStatus) -> Refusal {
    if let Err(refusal) = is_heard_of_any(view, run, now).await {
        return refusal;
    }
    let word = status(now).to_ascii_lowercase();
    let text = format!("Cannot continue run {}: run is {word}", run.external_id());
    Refusal::new(StatusCode::CONFLICT, text)
}
