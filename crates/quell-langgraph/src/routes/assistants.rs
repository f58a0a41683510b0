//! Makes, shows, changes, deletes and lists assistants (contract, section 3).

use std::time::SystemTime;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use quell::Payload;
use quell_http::{Charge, View, offload_if_large};
use uuid::Uuid;

use crate::app::{App, known_graph};
use crate::routes::body::{Read, read_json};
use crate::routes::caller::{Caller, Writer};
use crate::routes::listed::{Listed, matching, part_of};
use crate::routes::path::AssistantPath;
use crate::routes::response::{json, rendered, rendered_in};
use crate::wire::assistant::{Assistant, Said};
use crate::wire::create::{choice, object, typed};
use crate::wire::exact::Keys;
use crate::wire::listing::{Listing, named, part};
use crate::wire::query::{Pairs, assistant_id};
use crate::wire::refusal::Refusal;
use crate::wire::search::{Wanted, Work};

pub(super) async fn create(
    State(app): State<App>,
    Writer(view): Writer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Read { keys, bytes, _upload, .. } = read_json(&view, &headers, body).await?;
    let id = named(&keys, "assistant_id", assistant_id)?.unwrap_or_else(Uuid::now_v7);
    let is_quiet = choice(&keys, "if_exists", ["raise", "do_nothing"])? == "do_nothing";
    let said = Said::read(&keys)?;
    let text = || format!("Assistant {id} already exists");
    let conflict = || Refusal::new(StatusCode::CONFLICT, text());
    let room = view.room_now(bytes.len())?;
    match app.make_assistant(&view, id, &said).await? {
        Some(made) => row_in(&view, room, id, made).await,
        // One of another owner is not shown, and not overwritten either.
        None if is_quiet => {
            let known = app.assistant(&view, id).await.map_err(|_| conflict())?;
            row(&view, id, known).await
        }
        None => Err(conflict()),
    }
}

pub(super) async fn read(
    State(app): State<App>,
    Caller(view): Caller,
    AssistantPath(id): AssistantPath,
) -> Result<Response, Refusal> {
    let assistant = app.assistant(&view, id).await?;
    row(&view, id, assistant).await
}

pub(super) async fn change(
    State(app): State<App>,
    Writer(view): Writer,
    AssistantPath(id): AssistantPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Read { keys, bytes, _upload, .. } = read_json(&view, &headers, body).await?;
    let said = Said::read(&keys)?;
    let room = view.room_now(app.assistant(&view, id).await?.bytes() + bytes.len())?;
    if let Some(graph) = &said.graph {
        known_graph(&view, graph)?;
    }
    let changed = app.change_assistant(&view, id, |assistant| {
        assistant.change(&said, SystemTime::now());
        Ok(())
    });
    row_in(&view, room, id, changed.await?).await
}

pub(super) async fn delete(
    State(app): State<App>,
    Writer(view): Writer,
    AssistantPath(id): AssistantPath,
    query: Pairs,
) -> Result<Response, Refusal> {
    app.delete_assistant(&view, id, query.flag("delete_threads")).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn versions(
    State(app): State<App>,
    Caller(view): Caller,
    AssistantPath(id): AssistantPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Read { keys, _upload, .. } = read_json(&view, &headers, body).await?;
    let (metadata, (limit, offset)) = (object(&keys, "metadata")?, part(&keys)?);
    let assistant = app.assistant(&view, id).await?;
    let weight = assistant.bytes();
    let (found, work) = offload_if_large(weight, async move {
        let (mut work, metadata) = (Work::default(), Wanted::of(&metadata));
        let meant = assistant.versions(|own| work.has(own, &metadata));
        let rows: Vec<_> = meant.map(|version| version.row(id)).collect();
        (rows, work)
    })
    .await?;
    work.check()?;
    let rows: Vec<_> = found.into_iter().skip(offset).take(limit).collect();
    rendered(&view, rows.iter().map(Payload::len).sum(), move || rows).await
}

pub(super) async fn latest(
    State(app): State<App>,
    Writer(view): Writer,
    AssistantPath(id): AssistantPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Read { keys, _upload, .. } = read_json(&view, &headers, body).await?;
    let nr: Option<u32> = typed(&keys, "version", "must be a whole number")?;
    let nr = nr.ok_or_else(|| Refusal::invalid("version: field required"))?;
    let unknown = || Refusal::missing(format!("Version {nr} not found for assistant {id}"));
    let room = view.room_now(app.assistant(&view, id).await?.bytes())?;
    let changed = app.change_assistant(&view, id, |assistant| {
        let is_there = assistant.go_to(nr, SystemTime::now());
        if is_there { Ok(()) } else { Err(unknown()) }
    });
    row_in(&view, room, id, changed.await?).await
}

pub(super) async fn search(
    State(app): State<App>,
    Caller(view): Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Read { keys, _upload, .. } = read_json(&view, &headers, body).await?;
    let listing = Listing::read(&keys, ORDERS, &ROW)?;
    let found = meant(&app, &view, &keys).await?;
    part_of(&view, listing, found).await
}

pub(super) async fn count(
    State(app): State<App>,
    Caller(view): Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Read { keys, _upload, .. } = read_json(&view, &headers, body).await?;
    Ok(json(&meant(&app, &view, &keys).await?.len()))
}

/// Lists the assistants that a search, or a count, means.
async fn meant(app: &App, view: &View, keys: &Keys) -> Result<Vec<(Uuid, Assistant)>, Refusal> {
    let metadata = object(keys, "metadata")?;
    let graph: Option<String> = typed(keys, "graph_id", "must be text")?;
    let name: Option<String> = typed(keys, "name", "must be text")?;
    let name = name.map(|name| name.to_lowercase());
    let all = app.assistants(view).await?;
    if let Some(graph) = &graph
        && !all.iter().any(|(_, it)| it.now().graph == *graph)
    {
        known_graph(view, graph)?;
    }
    matching(all, metadata, move |(_, assistant): &(Uuid, Assistant)| {
        let now = assistant.now();
        graph.as_ref().is_none_or(|graph| now.graph == *graph)
            && name.as_ref().is_none_or(|name| now.name.to_lowercase().contains(name))
    })
    .await
}

impl Listed for (Uuid, Assistant) {
    fn bytes(&self) -> usize {
        self.1.bytes()
    }

    fn metadata(&self) -> Keys {
        self.1.now().metadata()
    }

    fn place(&self, by: &str) -> (String, u64, Uuid) {
        let (id, it) = self;
        let (text, us) = match by {
            "assistant_id" => (String::new(), 0),
            "graph_id" => (it.now().graph.clone(), it.created_us()),
            "name" => (it.now().name.clone(), it.created_us()),
            "updated_at" => (String::new(), it.updated_us()),
            _ => (String::new(), it.created_us()),
        };
        (text, us, *id)
    }

    fn row(&self) -> Payload {
        self.1.row(self.0)
    }
}

async fn row(view: &View, id: Uuid, assistant: Assistant) -> Result<Response, Refusal> {
    rendered(view, assistant.bytes(), move || assistant.row(id)).await
}

async fn row_in(
    view: &View,
    room: Charge,
    id: Uuid,
    assistant: Assistant,
) -> Result<Response, Refusal> {
    rendered_in(view, room, assistant.bytes(), move || assistant.row(id)).await
}

pub(super) const ORDERS: [&str; 5] =
    ["created_at", "assistant_id", "graph_id", "name", "updated_at"];

/// The keys of a row.
pub(super) const ROW: [&str; 10] = [
    "assistant_id",
    "graph_id",
    "config",
    "context",
    "metadata",
    "name",
    "created_at",
    "updated_at",
    "version",
    "description",
];
