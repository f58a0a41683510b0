//! Makes, reads, changes, deletes, copies and searches threads (contract, section 4).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures::future::try_join_all;
use quell::Payload;
use quell_http::{Charge, View};
use uuid::Uuid;

use crate::app::App;
use crate::routes::body::read_json;
use crate::routes::caller::{Caller, Writer};
use crate::routes::path::ThreadPath;
use crate::routes::response::{heard, json, rendered, rendered_in, set_page};
use crate::threads::{Card, Thread};
use crate::wire::create::{choice, given, object};
use crate::wire::exact::{Keys, written};
use crate::wire::query::{Pairs, thread_id};
use crate::wire::refusal::Refusal;
use crate::wire::search::{Meant, Search};
use crate::wire::ttl::Ttl;

pub(super) async fn create(
    State(app): State<App>,
    Writer(view): Writer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let read = read_json(&view, &headers, body).await?;
    let charge = app.charge(view.principal().owner(), read.weight)?;
    let chosen = match given(&read.keys, "thread_id") {
        None => None,
        // A value that is not text is not an id either.
        Some(id) => Some(thread_id(&id.parse::<String>().unwrap_or_default())?),
    };
    let id = chosen.unwrap_or_else(Uuid::now_v7);
    let metadata = object(&read.keys, "metadata")?;
    let is_quiet = choice(&read.keys, "if_exists", ["raise", "do_nothing"])? == "do_nothing";
    let ttl = Ttl::read(&read.keys, SystemTime::now())?;
    may_make(&app)?;
    let room = view.room_now(read.bytes.len())?;
    let card = Card { ttl, ..Card::new(&metadata) };
    let (owner, mut charge) = (view.principal().subject(), Some(charge));
    for _ in 0..TRIES {
        let thread = Thread::new(id, owner, &metadata, false).with_card(card.clone(), 0);
        let charge = match charge.take() {
            Some(charge) => charge,
            None => app.charge(view.principal().owner(), read.weight)?,
        };
        if let Some(made) = app.make_thread(thread.charged(charge), chosen.is_some()).await? {
            app.time(&made);
            return row_in(&app, &view, room, made).await;
        }
        // One that is gone by now was made for a run that was refused.
        if let Some(known) = app.kept_thread(&view, id).await? {
            if is_quiet {
                return row(&app, &view, known).await;
            }
            break;
        }
    }
    // A thread of another owner is not shown, and not overwritten either (contract, choice 10).
    let text = format!("Thread with ID {id} already exists");
    Err(Refusal::new(StatusCode::CONFLICT, text))
}

fn may_make(app: &App) -> Result<(), Refusal> {
    let is_draining = app.service().is_draining();
    let refusal = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable");
    if is_draining { Err(refusal()) } else { Ok(()) }
}

pub(super) async fn read(
    State(app): State<App>,
    Caller(view): Caller,
    ThreadPath(id): ThreadPath,
    query: Pairs,
) -> Result<Response, Refusal> {
    let thread = app.thread_of(&view, id).await?;
    let has_ttl = query.names("include").any(|name| name == "ttl");
    let ttl = thread.card().ttl.filter(|_| has_ttl);
    let Some(ttl) = ttl else { return row(&app, &view, thread).await };
    let (engine, shown) = (app.engine().clone(), Arc::clone(&thread));
    let answer = rendered(&view, thread.weight(), move || {
        with_keys(&shown.row(&engine), [("ttl", ttl.shown())])
    });
    heard(&app, &thread, answer).await
}

fn with_keys<const N: usize>(row: &Payload, more: [(&str, Payload); N]) -> Payload {
    let mut keys: Keys = row.parse().unwrap_or_default();
    keys.extend(more.map(|(key, value)| (key.to_owned(), value)));
    written(&keys)
}

pub(super) async fn change(
    State(app): State<App>,
    Writer(view): Writer,
    ThreadPath(id): ThreadPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let read = read_json(&view, &headers, body).await?;
    let metadata = object(&read.keys, "metadata")?;
    let ttl = Ttl::read(&read.keys, SystemTime::now())?;
    let is_shown = headers.get("prefer").is_none_or(|prefer| prefer != "return=minimal");
    let changed = app.change_thread(&view, id, &metadata, ttl.as_ref(), is_shown).await?;
    let (thread, room) = changed;
    if !is_shown {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    row_in(&app, &view, room, thread).await
}

pub(super) async fn delete(
    State(app): State<App>,
    Writer(view): Writer,
    ThreadPath(id): ThreadPath,
) -> Result<Response, Refusal> {
    app.delete_thread(&view, id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn copy(
    State(app): State<App>,
    Writer(view): Writer,
    ThreadPath(id): ThreadPath,
) -> Result<Response, Refusal> {
    may_make(&app)?;
    let (made, room) = app.copy_thread(&view, id).await?;
    row_in(&app, &view, room, made).await
}

pub(super) async fn search(
    State(app): State<App>,
    Caller(view): Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let search = Search::read(&read_json(&view, &headers, body).await?.keys)?;
    let (page, total) = app.search_threads(&view, &search).await?;
    let next = search.offset.saturating_add(page.len());
    let weight = page.iter().map(|thread| thread.weight()).sum();
    let select = search.select;
    let (engine, shown) = (app.engine().clone(), page.clone());
    let mut response = rendered(&view, weight, move || {
        let rows = shown.iter().map(|thread| selected(thread.row(&engine), &select));
        rows.collect::<Vec<_>>()
    })
    .await?;
    try_join_all(page.iter().map(|thread| app.heard_of(thread))).await?;
    set_page(&mut response, next, total);
    Ok(response)
}

/// Keeps the keys of a row that are selected.
fn selected(row: Payload, select: &BTreeSet<String>) -> Payload {
    if select.is_empty() {
        return row;
    }
    let mut keys: Keys = row.parse().unwrap_or_default();
    keys.retain(|key, _| select.contains(key));
    written(&keys)
}

pub(super) async fn count(
    State(app): State<App>,
    Caller(view): Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let meant = Meant::read(&read_json(&view, &headers, body).await?.keys)?;
    Ok(json(&app.count_threads(&view, &meant).await?))
}

async fn row(app: &App, view: &View, thread: Arc<Thread>) -> Result<Response, Refusal> {
    let (engine, shown) = (app.engine().clone(), Arc::clone(&thread));
    heard(app, &thread, rendered(view, thread.weight(), move || shown.row(&engine))).await
}

async fn row_in(
    app: &App,
    view: &View,
    room: Charge,
    thread: Arc<Thread>,
) -> Result<Response, Refusal> {
    let (engine, shown) = (app.engine().clone(), Arc::clone(&thread));
    let answer = rendered_in(view, room, thread.weight(), move || shown.row(&engine));
    heard(app, &thread, answer).await
}

/// How often a thread may be made and leave again, before a caller is told that there is one.
const TRIES: usize = 3;
