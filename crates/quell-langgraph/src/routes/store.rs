//! Puts, reads, deletes and lists the items of the key-value store (contract, section 4).

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use quell::Payload;
use quell_http::offload_if_large;
use serde_json::{Value, json};

use crate::app::App;
use crate::routes::body::{Read, read_json};
use crate::routes::caller::{Caller, Writer};
use crate::routes::response::{self, rendered};
use crate::wire::exact::with;
use crate::wire::item::{ItemSearch, KeyedValue, Namespaces, Place, Put};
use crate::wire::query::Pairs;
use crate::wire::refusal::Refusal;

pub(super) async fn put(
    State(app): State<App>,
    Writer(view): Writer,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    let Read { keys, bytes, _upload, .. } = read_json(&view, &headers, body).await?;
    let put = offload_if_large(bytes.len(), async move { Put::read(&keys) }).await??;
    app.put_item(&view, &put).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn read(
    State(app): State<App>,
    Caller(view): Caller,
    query: Pairs,
) -> Result<Response, Refusal> {
    let place = Place::of_query(query.get("namespace"), query.get("key"))?;
    let refreshes = query.get("refresh_ttl").is_none() || query.flag("refresh_ttl");
    match app.item(&view, &place, refreshes).await? {
        Some(item) => rendered(&view, item.bytes(), move || item.row(false)).await,
        // As upstream: none is no error.
        None => Ok(response::json(&Value::Null)),
    }
}

pub(super) async fn delete(
    State(app): State<App>,
    Writer(view): Writer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Read { keys, _upload, .. } = read_json(&view, &headers, body).await?;
    app.delete_item(&view, &Place::read(&keys)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn search(
    State(app): State<App>,
    Caller(view): Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Read { keys, _upload, .. } = read_json(&view, &headers, body).await?;
    let search = ItemSearch::read(&keys)?;
    let items = app.items(&view).await?;
    let bytes = items.iter().map(KeyedValue::bytes).sum();
    let (limit, offset, refreshes) = (search.limit, search.offset, search.refreshes);
    let page = offload_if_large(bytes, async move {
        let meant = items.into_iter().filter(|item| search.has(item));
        meant.skip(offset).take(limit).collect::<Vec<_>>()
    })
    .await?;
    if refreshes {
        for item in page.iter().filter(|item| item.has_ttl()) {
            app.item(&view, &item.place(), true).await?;
        }
    }
    let weight = page.iter().map(KeyedValue::bytes).sum();
    let rows = move || -> Payload {
        let rows: Vec<_> = page.iter().map(|item| item.row(true)).collect();
        with(json!({}), "items", &rows)
    };
    rendered(&view, weight, rows).await
}

pub(super) async fn namespaces(
    State(app): State<App>,
    Caller(view): Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Read { keys, _upload, .. } = read_json(&view, &headers, body).await?;
    let meant = Namespaces::read(&keys)?;
    let items = app.items(&view).await?;
    let found = offload_if_large(items.len() * 100, async move { meant.of(&items) }).await?;
    let weight = found.iter().flatten().map(String::len).sum();
    rendered(&view, weight, move || json!({ "namespaces": found })).await
}
