//! [`answer_in_time`]: the longest time of a request that only reads.

use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::MethodRouter;
use tokio::time::timeout;

use crate::problem::Problem;

/// Answers a contract's refusal where a request that only reads has no answer after
/// [`READ_WITHIN`]: it may read a store many times, which each wait for one that hangs. What it
/// does is dropped then, as where its client has gone.
///
/// It is for what changes nothing and waits for no run: what changes something goes on to its end,
/// and who waits for a run says for how long.
///
/// # Examples
///
/// ```
/// use axum::Router;
/// use axum::http::StatusCode;
/// use axum::response::IntoResponse as _;
/// use axum::routing::get;
/// use quell_http::answer_in_time;
///
/// let read = get(async || "what is there");
/// let read = answer_in_time(read, || StatusCode::SERVICE_UNAVAILABLE.into_response());
/// let app: Router = Router::new().route("/", read);
/// # drop(app);
/// ```
pub fn answer_in_time<S>(
    reads: MethodRouter<S>,
    refusal: impl Fn() -> Response + Clone + Send + Sync + 'static,
) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    reads.layer(from_fn(move |request: Request, next: Next| {
        let refusal = refusal.clone();
        async move { timeout(READ_WITHIN, next.run(request)).await.unwrap_or_else(|_| refusal()) }
    }))
}

/// How long a request may take that only reads: 45 s. It is longer than what a body or the room for
/// an answer may take, and shorter than what proxies wait.
pub const READ_WITHIN: Duration = Duration::from_secs(45);

/// Says that a request that only reads has taken too long: 503.
pub(crate) fn took_too_long() -> Problem {
    let seconds = READ_WITHIN.as_secs();
    let detail = format!(
        "what was asked for could not be read within {seconds} s: the store may be in trouble, or \
         it was very much; try again, or ask for less"
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "read-too-slow", detail)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::response::IntoResponse as _;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    async fn status(after: Duration) -> StatusCode {
        let read = get(async move || tokio::time::sleep(after).await);
        let read = answer_in_time(read, || took_too_long().into_response());
        let app: Router = Router::new().route("/", read);
        app.oneshot(Request::new(Body::empty())).await.unwrap().status()
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_longer_than_the_limit_is_refused_and_nothing_else() {
        assert_eq!(status(READ_WITHIN.saturating_sub(Duration::from_secs(1))).await, 200);
        assert_eq!(status(READ_WITHIN + Duration::from_secs(1)).await, 503);
    }
}
