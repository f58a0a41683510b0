//! The states of threads: read, listed and changed (contract, section 4).

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use quell::Payload;
use quell_http::View;
use serde_json::json;
use uuid::Uuid;

use crate::app::{App, History, Wanted};
use crate::routes::body::read_json;
use crate::routes::caller::{Caller, Writer};
use crate::routes::path::{CheckpointPath, ThreadPath};
use crate::routes::response::{heard, json as respond, rendered};
use crate::values::bytes_of;
use crate::wire::create::{given, object, typed};
use crate::wire::exact::{Keys, null};
use crate::wire::nodes::{NodesWanted, checkpoint_in, named_in};
use crate::wire::query::{Pairs, checkpoint_id};
use crate::wire::refusal::Refusal;
use crate::wire::search::{LIMIT, LIMIT_MAX, Work};
use crate::wire::state::{checkpoint, no_state};

pub(super) async fn last(
    State(app): State<App>,
    Caller(view): Caller,
    ThreadPath(id): ThreadPath,
) -> Result<Response, Refusal> {
    named(&app, &view, id, None).await
}

pub(super) async fn one(
    State(app): State<App>,
    Caller(view): Caller,
    path: CheckpointPath,
) -> Result<Response, Refusal> {
    named(&app, &view, path.thread, Some(path.checkpoint)).await
}

/// As [`one`], named in the body: what it leaves out is the last one.
pub(super) async fn of_body(
    State(app): State<App>,
    Caller(view): Caller,
    ThreadPath(id): ThreadPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let keys = read_json(&view, &headers, body).await?.keys;
    if given(&keys, "checkpoint").is_none() {
        return Err(Refusal::invalid("checkpoint: field required"));
    }
    let wanted = named_in(&keys, "checkpoint")?;
    named(&app, &view, id, wanted).await
}

/// Answers with a state of a thread: this one, or the last one.
async fn named(
    app: &App,
    view: &View,
    id: Uuid,
    wanted: Option<Uuid>,
) -> Result<Response, Refusal> {
    let thread = app.thread_of(view, id).await?;
    let answer = async {
        match (app.state(view, &thread, wanted).await?, wanted) {
            (Some(state), _) => answer(view, state).await,
            (None, Some(wanted)) => Err(Refusal::no_checkpoint(id, wanted)),
            (None, None) => Ok(respond(&no_state())),
        }
    };
    heard(app, &thread, answer).await
}

pub(super) async fn change(
    State(app): State<App>,
    Writer(view): Writer,
    ThreadPath(id): ThreadPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let keys = read_json(&view, &headers, body).await?.keys;
    let values = given(&keys, "values").cloned().unwrap_or_else(null);
    if !values.is_null() {
        object(&keys, "values")?;
    }
    let as_node = typed(&keys, "as_node", "must be text")?;
    let nodes =
        NodesWanted { checkpoint: checkpoint_in(&keys)?, as_node, ..NodesWanted::default() };
    let made = checkpoint(id, app.update_state(&view, id, &values, nodes).await?);
    let answer =
        json!({ "checkpoint": made, "configurable": made, "checkpoint_id": made["checkpoint_id"] });
    Ok(respond(&answer))
}

pub(super) async fn list(
    State(app): State<App>,
    Caller(view): Caller,
    ThreadPath(id): ThreadPath,
    query: Pairs,
) -> Result<Response, Refusal> {
    let limit = checked(query.count("limit", 10)?)?;
    let before = query.get("before").map(checkpoint_id).transpose()?;
    history(&app, &view, id, Which { limit, before, only: None }, Keys::new()).await
}

pub(super) async fn search(
    State(app): State<App>,
    Caller(view): Caller,
    ThreadPath(id): ThreadPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let keys = read_json(&view, &headers, body).await?.keys;
    let limit = checked(typed(&keys, "limit", LIMIT)?.unwrap_or(10))?;
    let before = match given(&keys, "before").map(Payload::parse::<String>) {
        Some(Ok(text)) => Some(checkpoint_id(&text)?),
        _ => named_in(&keys, "before")?,
    };
    let which = Which { limit, before, only: named_in(&keys, "checkpoint")? };
    history(&app, &view, id, which, object(&keys, "metadata")?).await
}

/// Which states are listed.
struct Which {
    /// So many at most.
    limit: usize,
    /// Those before this one.
    before: Option<Uuid>,
    /// This one alone.
    only: Option<Uuid>,
}

async fn history(
    app: &App,
    view: &View,
    id: Uuid,
    which: Which,
    metadata: Keys,
) -> Result<Response, Refusal> {
    let thread = app.thread_of(view, id).await?;
    let mut work = Work::default();
    let mut is_meant = |keys: &Keys| work.has_all(keys, &metadata);
    let Which { limit, before, only } = which;
    let states = if only.is_some() {
        let state = app.state(view, &thread, only).await?;
        let is_meant = |(parts, _): &History| is_meant(&parts.metadata.keys());
        state.into_iter().filter(is_meant).collect()
    } else {
        let wanted = Wanted { limit, before, is_search: !metadata.is_empty() };
        app.history(view, &thread, wanted, is_meant).await?
    };
    work.check()?;
    let weight = states.iter().map(weight_of).sum();
    let answer = rendered(view, weight, move || {
        let written = states.iter().map(|(parts, values)| parts.written(values.as_deref()));
        written.collect::<Vec<_>>()
    });
    heard(app, &thread, answer).await
}

fn checked(limit: usize) -> Result<usize, Refusal> {
    let refusal = || Refusal::invalid(format!("limit: {LIMIT}"));
    (1..=LIMIT_MAX).contains(&limit).then_some(limit).ok_or_else(refusal)
}

async fn answer(view: &View, state: History) -> Result<Response, Refusal> {
    let weight = weight_of(&state);
    rendered(view, weight, move || state.0.written(state.1.as_deref())).await
}

fn weight_of((parts, values): &History) -> usize {
    parts.bytes() + values.as_deref().map_or(0, bytes_of)
}
