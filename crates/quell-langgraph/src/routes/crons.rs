//! Makes, shows, changes, deletes and lists crons (contract, section 5).

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use quell::Payload;
use quell_http::{Charge, View};
use uuid::Uuid;

use crate::app::{App, FoundCron};
use crate::routes::body::{Read, read_json};
use crate::routes::caller::{Caller, Writer};
use crate::routes::listed::{Listed, matching, part_of};
use crate::routes::path::{CronPath, Scope};
use crate::routes::response::{json, rendered, rendered_in};
use crate::wire::create::{object, typed};
use crate::wire::exact::Keys;
use crate::wire::listing::{Listing, named};
use crate::wire::query::{assistant_id, thread_id};
use crate::wire::refusal::Refusal;

/// Serves the requests to make a cron in a scope.
pub(super) fn create<S: Scope>() -> MethodRouter<App> {
    post(
        async move |State(app): State<App>,
                    Writer(view): Writer,
                    scope: Result<S, Refusal>,
                    headers: HeaderMap,
                    body: Body| {
            let Read { keys, bytes, _upload, .. } = read_json(&view, &headers, body).await?;
            let assistant: Option<String> = typed(&keys, "assistant_id", "must be text")?;
            let required = || Refusal::invalid("assistant_id: field required");
            let assistant = assistant.ok_or_else(required)?;
            let room = view.room_now(bytes.len())?;
            let made = app.make_cron(&view, scope?.thread(), &keys, &assistant).await?;
            row_in(&view, room, made).await
        },
    )
}

pub(super) async fn read(
    State(app): State<App>,
    Caller(view): Caller,
    CronPath(id): CronPath,
) -> Result<Response, Refusal> {
    let found = app.cron(&view, id).await?;
    rendered(&view, found.cron.bytes(), move || found.row()).await
}

pub(super) async fn change(
    State(app): State<App>,
    Writer(view): Writer,
    CronPath(id): CronPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Read { keys, _upload, .. } = read_json(&view, &headers, body).await?;
    let room = view.room_now(app.options().cron_bytes_max)?;
    let changed = app.change_cron(&view, id, &keys).await?;
    row_in(&view, room, changed).await
}

pub(super) async fn delete(
    State(app): State<App>,
    Writer(view): Writer,
    CronPath(id): CronPath,
) -> Result<StatusCode, Refusal> {
    app.delete_cron(&view, id).await?;
    Ok(StatusCode::NO_CONTENT)
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

/// Lists the crons that a search, or a count, means.
async fn meant(app: &App, view: &View, keys: &Keys) -> Result<Vec<FoundCron>, Refusal> {
    let assistant: Option<Uuid> = named(keys, "assistant_id", assistant_id)?;
    let thread: Option<Uuid> = named(keys, "thread_id", thread_id)?;
    let is_enabled: Option<bool> = typed(keys, "enabled", "must be a boolean")?;
    let metadata = object(keys, "metadata")?;
    let all = app.crons(view).await?;
    let is_meant = move |FoundCron { cron, .. }: &FoundCron| {
        (assistant.is_none() || cron.assistant() == assistant)
            && (thread.is_none() || cron.thread() == thread)
            && is_enabled.is_none_or(|is_enabled| cron.is_enabled() == is_enabled)
    };
    matching(all, metadata, is_meant).await
}

impl Listed for FoundCron {
    fn bytes(&self) -> usize {
        self.cron.bytes()
    }

    fn metadata(&self) -> Keys {
        self.cron.metadata()
    }

    fn place(&self, by: &str) -> (String, u64, Uuid) {
        self.cron.place(self.id, by)
    }

    fn row(&self) -> Payload {
        self.cron.row(self.id, self.owner.as_deref())
    }
}

async fn row_in(view: &View, room: Charge, found: FoundCron) -> Result<Response, Refusal> {
    rendered_in(view, room, found.cron.bytes(), move || found.row()).await
}

pub(super) const ORDERS: [&str; 7] = [
    "created_at",
    "cron_id",
    "assistant_id",
    "thread_id",
    "updated_at",
    "next_run_date",
    "end_time",
];

/// The keys of a row.
pub(super) const ROW: [&str; 14] = [
    "cron_id",
    "assistant_id",
    "thread_id",
    "user_id",
    "on_run_completed",
    "end_time",
    "schedule",
    "timezone",
    "created_at",
    "updated_at",
    "payload",
    "next_run_date",
    "metadata",
    "enabled",
];
