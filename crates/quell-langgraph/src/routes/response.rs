//! [`rendered`], [`rendered_in`] and [`json`]: answers of JSON, and their headers.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use quell_http::{BodyError, Charge, View};
use serde::Serialize;

use crate::app::App;
use crate::threads::Thread;
use crate::wire::refusal::Refusal;

/// Sets a header whose text is made of ids.
pub(super) fn set(headers: &mut HeaderMap, name: &'static str, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// Says how many rows there are in all, and where the next page begins if there is one.
pub(super) fn set_page(response: &mut Response, next: usize, total: usize) {
    let headers = response.headers_mut();
    set(headers, "x-pagination-total", &total.to_string());
    if next < total {
        set(headers, "x-pagination-next", &next.to_string());
    }
}

/// Answers JSON that may be large: it is made and written away from the threads of HTTP.
pub(super) async fn rendered<T: Serialize>(
    view: &View,
    weight: usize,
    make: impl FnOnce() -> T + Send + 'static,
) -> Result<Response, Refusal> {
    view.json_response(weight, make).await.map_err(|error| match error {
        BodyError::Broken => Refusal::internal(),
        error => error.into(),
    })
}

/// As [`rendered`], of what was changed: in room that was taken before, so that it is not refused
/// any more.
pub(super) async fn rendered_in<T: Serialize>(
    view: &View,
    room: Charge,
    weight: usize,
    make: impl FnOnce() -> T + Send + 'static,
) -> Result<Response, Refusal> {
    view.json_response_in(room, weight, make).await.map_err(|_| Refusal::internal())
}

/// Makes an answer that tells how a thread stands, and yields it when the ends that it may tell are
/// stored ([`App::heard_of`]).
pub(super) async fn heard(
    app: &App,
    thread: &Thread,
    answer: impl Future<Output = Result<Response, Refusal>>,
) -> Result<Response, Refusal> {
    let answer = answer.await?;
    app.heard_of(thread).await?;
    Ok(answer)
}

pub(super) fn json(value: &impl Serialize) -> Response {
    axum::Json(value).into_response()
}
