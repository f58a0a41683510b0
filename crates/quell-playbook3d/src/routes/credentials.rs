//! [`get_tokens`] and [`get_sdk_secrets`]: tokens and SDK secrets (contract, section 2).

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};
use serde_json::{Value, json};

use crate::options::Options;
use crate::routes::path::{KeyPath, Shared};
use crate::routes::prefix::prefix;
use crate::wire::Refusal;

pub(super) async fn get_tokens(
    State(app): Shared,
    KeyPath(key): KeyPath,
) -> Result<Json<Value>, Refusal> {
    Ok(Json(json!({ "access_token": app.auth.token(&key)? })))
}

pub(super) async fn get_sdk_secrets(
    State(app): Shared,
    OriginalUri(original): OriginalUri,
    uri: Uri,
    headers: HeaderMap,
    KeyPath(key): KeyPath,
) -> Result<Json<Value>, Refusal> {
    app.auth.holder(&key)?;
    let options = app.options();
    let base = match &options.public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => base_url(options, &headers, &original, &uri).ok_or(Refusal::Malformed)?,
    };
    let key = app.auth.platform_key();
    let accounts = format!("{base}{}", prefix(&options.accounts_prefix));
    let api = format!("{base}{}", prefix(&options.api_prefix));
    // The first three for the Python SDK, the others for Unity.
    Ok(Json(json!({
        "BASE_URL": api,
        "ACCOUNTS_URL": accounts,
        "API_KEY": key,
        "ACCOUNTS_BASE_URL": accounts,
        "API_BASE_URL": api,
        "X_API_KEY": key,
        "WEBSOCKET_BASE_URL": "",
    })))
}

/// Yields the URL at which the router is nested. The client sets the `Host`, and only this client
/// gets the URL; no header of a proxy is trusted (contract, choice 7).
fn base_url(options: &Options, headers: &HeaderMap, original: &Uri, inner: &Uri) -> Option<String> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let host: Authority = host.parse().ok()?;
    let nested_at = original.path().strip_suffix(inner.path())?;
    let scheme = if options.speaks_tls { "https" } else { "http" };
    Some(format!("{scheme}://{host}{nested_at}"))
}
