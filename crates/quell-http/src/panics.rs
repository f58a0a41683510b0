//! [`catch_panics`]: answers where a handler panics.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::response::Response;
use futures::FutureExt as _;
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

/// Makes an answer, or a refusal if that panics: [`catch_panics`] for a layer of your own that does
/// more than that.
///
/// # Cancel safety
///
/// As the answer itself.
///
/// # Examples
///
/// ```
/// use axum::http::StatusCode;
/// use axum::response::IntoResponse as _;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let broken = async { unreachable!("a bug") };
/// let refusal = || StatusCode::INTERNAL_SERVER_ERROR.into_response();
/// assert_eq!(quell_http::answer_or(refusal, broken).await.status(), 500);
/// # });
/// ```
pub async fn answer_or(
    refusal: impl FnOnce() -> Response,
    answer: impl Future<Output = Response>,
) -> Response {
    // What it leaves behind in the middle of a change belongs to one request.
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| refusal())
}
