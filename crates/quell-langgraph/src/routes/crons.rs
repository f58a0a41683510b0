//! Makes, shows, changes, deletes and lists crons (contract, section 5).

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use quell::Payload;
use quell_http::{View, offload_if_large};
use uuid::Uuid;

use crate::app::{App, FoundCron};
use crate::routes::body::{Read, read_json};
use crate::routes::caller::{Caller, Writer};
use crate::routes::path::{CronPath, Scope};
use crate::routes::response::{json, rendered, set_page};
use crate::wire::create::{object, typed};
use crate::wire::exact::Keys;
use crate::wire::listing::{Listing, named};
use crate::wire::query::{assistant_id, thread_id};
use crate::wire::refusal::Refusal;
use crate::wire::search::{Wanted, Work};

/// Serves the requests to make a cron in a scope.
pub(super) fn create<S: Scope>() -> MethodRouter<App> {
    post(
        async move |State(app): State<App>,
                    Writer(view): Writer,
                    scope: Result<S, Refusal>,
                    headers: HeaderMap,
                    body: Body| {
            let read = read_json(&view, &headers, body).await?;
            let assistant: Option<String> = typed(&read.keys, "assistant_id", "must be text")?;
            let required = || Refusal::invalid("assistant_id: field required");
            let assistant = assistant.ok_or_else(required)?;
            let (thread, maker) = (scope?.thread(), view.clone());
            let made = to_its_end(async move {
                let Read { keys, _upload, .. } = read;
                app.make_cron(&maker, thread, &keys, &assistant).await
            });
            row(&view, made.await?).await
        },
    )
}

pub(super) async fn read(
    State(app): State<App>,
    Caller(view): Caller,
    CronPath(id): CronPath,
) -> Result<Response, Refusal> {
    let found = app.cron(&view, id).await?;
    row(&view, found).await
}

pub(super) async fn change(
    State(app): State<App>,
    Writer(view): Writer,
    CronPath(id): CronPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let read = read_json(&view, &headers, body).await?;
    let who = view.clone();
    let changed = to_its_end(async move {
        let Read { keys, _upload, .. } = read;
        app.change_cron(&who, id, &keys).await
    });
    row(&view, changed.await?).await
}

pub(super) async fn delete(
    State(app): State<App>,
    Writer(view): Writer,
    CronPath(id): CronPath,
) -> Result<StatusCode, Refusal> {
    to_its_end(async move { app.delete_cron(&view, id).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Goes on also if the caller goes away: what is kept of a cron is known to whom makes its runs.
async fn to_its_end<T, F>(work: F) -> Result<T, Refusal>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Refusal>> + Send + 'static,
{
    tokio::spawn(work).await.map_err(|_| Refusal::internal())?
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
    let (page, total) = listing.part(found, |it| it.cron.place(it.id, listing.by));
    let next = listing.offset.saturating_add(page.len());
    let weight = page.iter().map(|it| it.cron.bytes()).sum();
    let rows = move || -> Vec<_> { page.iter().map(|it| listing.selected(written(it))).collect() };
    let mut response = rendered(&view, weight, rows).await?;
    set_page(&mut response, next, total);
    Ok(response)
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
    let bytes: usize = metadata.values().map(Payload::len).sum();
    let bytes = bytes + all.iter().map(|it| it.cron.bytes()).sum::<usize>();
    let (found, work) = offload_if_large(bytes, async move {
        let (mut all, mut work, metadata) = (all, Work::default(), Wanted::of(&metadata));
        all.retain(|FoundCron { cron, .. }| {
            (assistant.is_none() || cron.assistant() == assistant)
                && (thread.is_none() || cron.thread() == thread)
                && is_enabled.is_none_or(|is_enabled| cron.is_enabled() == is_enabled)
                && (metadata.is_empty() || work.has(&cron.metadata(), &metadata))
        });
        (all, work)
    })
    .await?;
    work.check()?;
    Ok(found)
}

fn written(found: &FoundCron) -> Payload {
    found.cron.row(found.id, found.owner.as_deref())
}

async fn row(view: &View, found: FoundCron) -> Result<Response, Refusal> {
    rendered(view, found.cron.bytes(), move || written(&found)).await
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
