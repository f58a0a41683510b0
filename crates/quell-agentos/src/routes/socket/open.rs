//! [`open`]: makes a web socket of a request (contract, section 9).

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::header::UPGRADE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use quell_flow::ComponentKind;
use quell_http::Principal;

use super::caller::Caller;
use super::session;
use crate::app::App;
use crate::options::CONTRACT;
use crate::routes::caller;
use crate::routes::discover;
use crate::wire::refusal::Refusal;

/// Opens a socket. A request for no other protocol asks for the workflow of this name.
pub(in crate::routes) async fn open(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    caller: Result<caller::Caller, Response>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    if !headers.contains_key(UPGRADE) {
        return match caller {
            Ok(caller::Caller(view)) => {
                app.answer(discover::one(&app, &view, ComponentKind::Workflow, "ws"))
            }
            Err(answer) => answer,
        };
    }
    match admitted(&app, &headers, upgrade) {
        Ok((upgrade, caller, permit)) => upgrade.on_upgrade(async move |socket| {
            session::run(app, socket, caller).await;
            drop(permit);
        }),
        Err(refusal) => app.refuse(refusal),
    }
}

/// Decides whether a client may have a socket.
fn admitted(
    app: &App,
    headers: &HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<(WebSocketUpgrade, Caller, quell_http::LongRequestPermit), Refusal> {
    let (service, access) = (&app.service, app.service.access_of());
    // No browser asks its user, or us, before a page of any origin has a socket.
    if let Some(origin) = access.foreign_origin(headers) {
        let text = format!("Disallowed origin `{origin}`: `cors_origins` names those of pages");
        return Err(Refusal::new(StatusCode::FORBIDDEN, text));
    }
    let upgrade = upgrade.map_err(|error| Refusal::new(error.status(), error.body_text()))?;
    let unavailable = |text| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text);
    if service.is_draining() {
        return Err(unavailable("Server is shutting down"));
    }
    let permit = service.long_request_permit();
    let permit = permit.ok_or_else(|| unavailable("Too many connections are held for long"))?;
    let caller = if access.is_open() {
        let view = service.view(CONTRACT, Principal::anonymous());
        let charge = view.charge_stream().map_err(Refusal::overdrawn)?;
        Caller::open(view, charge)
    } else {
        let permit = Arc::clone(&app.sockets_unknown).try_acquire_owned();
        Caller::unknown(permit.map_err(|_| unavailable("Too many sockets wait to authenticate"))?)
    };
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(session::BATCH_BYTES)
        .max_message_size(session::MESSAGE_BYTES_MAX)
        .max_frame_size(session::MESSAGE_BYTES_MAX);
    Ok((upgrade, caller, permit))
}

/// What is read at once.
const READ_BUFFER_BYTES: usize = 4 << 10;
