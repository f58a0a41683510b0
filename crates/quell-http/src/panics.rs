//! [`catch_panics`]: answers where a handler panics.

use std::any::Any;

use axum::Router;
use axum::response::Response;
use tower_http::catch_panic::CatchPanicLayer;

/// Answers a contract's refusal where a handler panics, instead of closing the connection. A panic
/// while a streamed body is being made still cuts the stream.
///
/// It does not catch panics in layers that are added later.
///
/// # Examples
///
/// ```
/// use axum::Router;
/// use axum::http::StatusCode;
/// use axum::response::IntoResponse as _;
///
/// let app: Router = Router::new();
/// let app = quell_http::catch_panics(app, || StatusCode::INTERNAL_SERVER_ERROR.into_response());
/// # drop(app);
/// ```
pub fn catch_panics<S>(
    router: Router<S>,
    refusal: impl Fn() -> Response + Clone + Send + Sync + 'static,
) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    // The text of a panic is about our code: callers do not see it.
    router.layer(CatchPanicLayer::custom(move |_: Box<dyn Any + Send>| refusal()))
}
