//! [`act`]: does what a message asks for (contract, section 9).

use std::sync::Arc;

use axum::http::StatusCode;
use futures::stream::StreamExt as _;
use quell_flow::{Component, ComponentKind};
use quell_http::{Charge, DisconnectGuard, EventForm, OnDisconnect, RunView, View, event_texts};
use serde_json::Value;

use super::following::Followed;
use crate::answer_form::AnswerForm;
use crate::app::{App, find};
use crate::auth::{Action, component};
use crate::begin::Begin;
use crate::form::{Form, Taking};
use crate::routes::create::started;
use crate::routes::go_on::{answered, numbered};
use crate::routes::resume::{self, Behind, behind};
use crate::routes::streamed::{opened, style};
use crate::wire::kinds::names_of;
use crate::wire::refusal::Refusal;
use crate::wire::socket::{Asked, error, error_of, words};

/// What is asked for about runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Start,
    Reconnect,
    Continue,
}

/// What has come of it.
pub(super) enum Acted {
    /// It is said.
    Said(Value),
    /// The client follows a run from now on.
    Follows(Followed),
}

/// Why nothing has.
enum Refused {
    Said(Value),
    For(Refusal),
}

impl About {
    /// Yields what the word of an action asks for; `None` if it is about no run.
    pub(super) fn of(action: &str) -> Option<Self> {
        match action {
            "start-workflow" => Some(Self::Start),
            "reconnect" => Some(Self::Reconnect),
            "continue-workflow" => Some(Self::Continue),
            _ => None,
        }
    }

    /// Yields the words for a caller who lacks the scope.
    const fn forbidden(self) -> &'static str {
        match self {
            Self::Start => "Insufficient permissions to run this workflow",
            Self::Reconnect => "Insufficient permissions to reconnect to this workflow",
            Self::Continue => "Insufficient permissions to continue this workflow",
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::For(refusal)
    }
}

impl Refused {
    fn of(text: &str) -> Self {
        Self::Said(error(text))
    }
}

/// Does what a message asks for.
pub(super) async fn act(app: Arc<App>, view: View, about: About, asked: Asked) -> Acted {
    let acted = match about {
        About::Start => begun(&app, &view, asked).await,
        About::Reconnect => reconnected(&app, &view, asked).await,
        About::Continue => continued(&app, &view, asked).await,
    };
    acted.unwrap_or_else(|refused| match refused {
        Refused::Said(said) => Acted::Said(said),
        Refused::For(refusal) => Acted::Said(error(&words(&refusal))),
    })
}

async fn begun(app: &App, view: &View, mut asked: Asked) -> Result<Acted, Refused> {
    let component = workflow(view, About::Start, asked.take("workflow_id"))?;
    let form = Form::of_message(Taking::of(asked.fields))?;
    let charge = charge(view)?;
    let started = started(app, view, &component, (&form, None, None)).await?;
    let run = started.map_err(|error| Refusal::of_start(&error))?.run;
    let guard = guard(app, &run.clone().into(), charge);
    followed(app, view, (run.into(), guard), Begin::default(), EventForm::Sse).await
}

async fn reconnected(app: &App, view: &View, mut asked: Asked) -> Result<Acted, Refused> {
    let id = asked.take("workflow_id");
    let plural = names_of(ComponentKind::Workflow).plural;
    if !view.principal().has_scope(plural, id.as_deref(), Action::Run.as_str()) {
        return Err(Refused::of(About::Reconnect.forbidden()));
    }
    let run_id = asked.take("run_id");
    let run_id = run_id.ok_or_else(|| Refused::of("run_id is required for subscription"))?;
    let resume::Asked { from, session } = resume::Asked::of(Taking::of(asked.fields))?;
    let charge = charge(view)?;
    let component = match id {
        Some(id) => view.component(ComponentKind::Workflow, &id).map(Arc::clone),
        None => workflow_of(view, &run_id).await?,
    };
    let found = match component {
        Some(component) => find(view, &component, &run_id, session.as_deref()).await?,
        None => None,
    };
    match behind(app, view, found, (&run_id, from), SUBSCRIBED.into()).await {
        Behind::Nothing(said) => Ok(Acted::Said(said)),
        Behind::Events(run, begin) => {
            let guard = guard(app, &run, charge);
            followed(app, view, (run, guard), begin.await?, EventForm::Data).await
        }
    }
}

async fn continued(app: &App, view: &View, mut asked: Asked) -> Result<Acted, Refused> {
    let component = workflow(view, About::Continue, asked.take("workflow_id"))?;
    let run_id = asked.take("run_id").ok_or_else(|| Refused::of("run_id is required"))?;
    let field = names_of(ComponentKind::Workflow).answer;
    let form = AnswerForm::of(Taking::of(asked.fields), field)?.followed();
    let found = find(view, &component, &run_id, form.session.as_deref()).await?;
    let found = found.ok_or_else(|| Refused::of(&format!("Run {run_id} not found")))?;
    let answered = answered(view, found, field, &form).await?;
    numbered(app, view, &answered.run);
    let guard = answered.guard.ok_or_else(Refusal::unexpected)?;
    let begin = Begin::after(answered.last);
    followed(app, view, (answered.run, guard), begin, EventForm::Sse).await
}

/// Finds the workflow that a message names.
fn workflow(view: &View, about: About, id: Option<String>) -> Result<Arc<Component>, Refused> {
    let Some(id) = id else { return Err(Refused::of("workflow_id is required")) };
    component(view, ComponentKind::Workflow, &id, Action::Run).map_err(|refusal| {
        let is_unknown = refusal.status == StatusCode::NOT_FOUND;
        let unknown = || Refused::of(&format!("Workflow {id} not found"));
        if is_unknown { unknown() } else { Refused::of(about.forbidden()) }
    })
}

/// Finds the workflow of a run.
async fn workflow_of(view: &View, run: &str) -> Result<Option<Arc<Component>>, Refusal> {
    let found = view.find(run).await?;
    let component = found.and_then(|run| view.component_of(run).map(Arc::clone));
    Ok(component.filter(|component| component.kind() == ComponentKind::Workflow))
}

/// Charges what a client that follows a run costs, before anything is made.
fn charge(view: &View) -> Result<Charge, Refusal> {
    view.charge_stream().map_err(Refusal::overdrawn)
}

/// Makes the guard of a client of a run, which goes on when that leaves.
fn guard(app: &App, run: &RunView, charge: Charge) -> DisconnectGuard {
    app.service.guard(run, OnDisconnect::Continue).until_pause().holding(charge)
}

/// Lets the client follow a run.
async fn followed(
    app: &App,
    view: &View,
    (run, guard): (RunView, DisconnectGuard),
    begin: Begin,
    form: EventForm,
) -> Result<Acted, Refused> {
    let external_id = run.external_id().into_owned();
    let opened = opened(app, view, &run, guard, (style(app, true), begin)).await;
    let opened = opened.and_then(|opened| opened.ok_or_else(Refusal::unexpected));
    // The run goes on: its client can ask for its events again.
    let (frames, guard) =
        opened.map_err(|refusal| Refused::Said(error_of(&external_id, &words(&refusal))))?;
    let texts = event_texts(frames, form, guard).boxed();
    let is_here = matches!(run, RunView::Live(_));
    Ok(Acted::Follows(Followed { run: run.id(), external_id, is_here, texts }))
}

/// What is said when a client has all events so far, in upstream's words for a socket.
const SUBSCRIBED: &str = "Subscribed to workflow run. You will receive new events as they occur.";
