//! [`create`] and [`read`]: makes and reads threads (contract, section 4).

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use uuid::Uuid;

use crate::app::App;
use crate::routes::body::read_json;
use crate::routes::caller::{Caller, Writer};
use crate::routes::path::ThreadPath;
use crate::routes::response::{json, rendered};
use crate::threads::Thread;
use crate::wire::create::{choice, given, object};
use crate::wire::query::thread_id;
use crate::wire::refusal::Refusal;

pub(super) async fn create(
    State(app): State<App>,
    Writer(view): Writer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let read = read_json(&view, &headers, body).await?;
    let charge = app.charge(view.principal().owner(), read.weight)?;
    let id = match given(&read.keys, "thread_id") {
        None => Uuid::now_v7(),
        // A value that is not text is not an id either.
        Some(id) => thread_id(&id.parse::<String>().unwrap_or_default())?,
    };
    let metadata = object(&read.keys, "metadata")?;
    let is_quiet = choice(&read.keys, "if_exists", ["raise", "do_nothing"])? == "do_nothing";
    if app.service().is_draining() {
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"));
    }
    let thread = Thread::new(id, view.principal().subject(), &metadata, false).charged(charge);
    let made = app.make_thread(thread, &metadata).await?;
    let is_new = made.is_some();
    // A thread of another owner is not shown, and not overwritten either (contract, choice 10).
    let text = || format!("Thread with ID {id} already exists");
    let known = match made {
        None if is_quiet => app.thread_anywhere(&view, id).await?,
        made => made,
    };
    let known = known.filter(|_| is_new || is_quiet);
    let known = known.ok_or_else(|| Refusal::new(StatusCode::CONFLICT, text()))?;
    Ok(json(&known.row(app.engine())))
}

pub(super) async fn read(
    State(app): State<App>,
    Caller(view): Caller,
    ThreadPath(id): ThreadPath,
) -> Result<Response, Refusal> {
    let thread = app.thread_anywhere(&view, id).await?.ok_or_else(|| Refusal::no_thread(id))?;
    rendered(&view, thread.weight(), move || thread.row(app.engine())).await
}
