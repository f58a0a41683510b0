//! Makes, reads, changes, deletes, copies and searches threads (contract, section 4).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures::future::join_all;
use quell::Payload;
use quell_http::{Charge, View};
use uuid::Uuid;

use crate::app::App;
use crate::routes::body::read_json;
use crate::routes::caller::{Caller, Writer};
use crate::routes::path::ThreadPath;
use crate::routes::response::{json, rendered, rendered_in, set_page};
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
    let thread = Thread::new(id, view.principal().subject(), &metadata, false);
    let made = app.make_thread(thread.with_card(card, 0).charged(charge), chosen.is_some()).await?;
    if let Some(made) = &made {
        app.time(made);
    }
    let is_new = made.is_some();
    // A thread of another owner is not shown, and not overwritten either (contract, choice 10).
    let text = || format!("Thread with ID {id} already exists");
    let known = match made {
        None if is_quiet => app.thread_anywhere(&view, id).await?,
        made => made,
    };
    let known = known.filter(|_| is_new || is_quiet);
    let known = known.ok_or_else(|| Refusal::new(StatusCode::CONFLICT, text()))?;
    if is_new {
        return row_in(&app, &view, room, known).await;
    }
    rendered(&view, known.weight(), move || known.row(app.engine())).await
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
    app.heard_of(&thread).await;
    let has_ttl = query.names("include").any(|name| name == "ttl");
    let ttl = thread.card().ttl.filter(|_| has_ttl);
    rendered(&view, thread.weight(), move || {
        let row = thread.row(app.engine());
        match ttl {
            Some(ttl) => with_keys(&row, [("ttl", ttl.shown())]),
            None => row,
        }
    })
    .await
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
    join_all(page.iter().map(|thread| app.heard_of(thread))).await;
    let next = search.offset.saturating_add(page.len());
    let weight = page.iter().map(|thread| thread.weight()).sum();
    let select = search.select;
    let mut response = rendered(&view, weight, move || {
        let rows = page.iter().map(|thread| selected(thread.row(app.engine()), &select));
        rows.collect::<Vec<_>>()
    })
    .await?;
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

async fn row_in(
    app: &App,
    view: &View,
    room: Charge,
    thread: Arc<Thread>,
) -> Result<Response, Refusal> {
    let app = app.clone();
    rendered_in(view, room, thread.weight(), move || thread.row(app.engine())).await
}
