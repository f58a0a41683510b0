//! [`layer`]: bounds the requests that may hold a connection for long.
//!
//! Streams and waits last as long as their runs. They may take most connections, and never all, so
//! that a cancel or a read always finds one. A cancel that waits for the end takes one of these
//! permits too, or does not wait ([`quell_http::View::cancel`]). So does a web socket, whose answer
//! has ended when it begins, or it is refused; and a read that takes longer than most, as one waits
//! that tells an end which a slow store has not got yet. Of the cancels that wait for a slow store
//! few do so for long ([`quell_http::View::for_stop`]).
//!
//! What changes something is never left halfway, and may wait for a slow store as well. Where so
//! much is under way of all these that an eighth of the connections is left, only cancels are
//! taken, and how the server is may be asked, up to a sixteenth. A request counts from when all of
//! it has come ([`Gate`]): before that its client is who is waited for.

use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body::Body as _;
use quell_http::{LongRequestPermit, Problem, Service, ShortRequestPermit};
use tokio::time::sleep;

use super::gate::Gate;
use super::held::Held;

/// Answers 503 to a request that may hold a connection for long if no permit is left: before it
/// has any effect, and a read when it has taken [`READ_SOON`]. So it does to all others but cancels
/// while as many are under way as leave no more than an eighth of the connections.
pub(super) async fn layer<F>(
    service: &Service,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let Some(kind) = Kind::of(request.method(), request.uri().path()) else {
        return next(request).await;
    };
    let of = service.clone();
    let (gate, request) = Gate::before(request, move || kind.permit(&of));
    if gate.is_refused() {
        return too_many(service);
    }
    let mut answer = pin!(next(request));
    let late = async {
        gate.has_come().await;
        sleep(READ_SOON).await;
    };
    let mut permit = None;
    let answer = tokio::select! {
        biased;
        answer = answer.as_mut() => answer,
        () = late, if kind == Kind::Read => {
            // It is one of the long ones from here on.
            drop(gate.take());
            permit = service.long_request_permit();
            if permit.is_none() {
                return too_many(service);
            }
            answer.await
        }
    };
    drop(permit);
    // An answer that is made holds the connection no longer, a stream does.
    if kind == Kind::Long && answer.body().size_hint().exact().is_none() {
        gate.enter();
    }
    match gate.take() {
        _ if gate.is_refused() => too_many(service),
        Some(Permit::Long(permit)) => answer.map(|body| Body::new(Held::new(body, permit))),
        _ => answer,
    }
}

/// How long a request may hold its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// As long as its run. It has a permit until its answer is taken.
    Long,
    /// Not long, and it may be dropped.
    Read,
    /// As long as a store takes to keep what it changes.
    Change,
    /// Not long: it asks how the server is.
    Probe,
}

impl Kind {
    /// None of a cancel: it is always let in, and its handler decides whether it is long.
    fn of(method: &Method, path: &str) -> Option<Self> {
        if is_cancel(method, path) {
            return None;
        }
        Some(match is_long(method, path) {
            true => Self::Long,
            false if !is_read(method, path) => Self::Change,
            false if PROBES.contains(&path.trim_end_matches('/')) => Self::Probe,
            false => Self::Read,
        })
    }

    /// Lets a request in; none if there is no room.
    fn permit(self, service: &Service) -> Option<Permit> {
        match self {
            Self::Long => service.long_request_permit().map(Permit::Long),
            Self::Probe => service.probe_permit().map(Permit::Short),
            Self::Read | Self::Change => service.short_request_permit().map(Permit::Short),
        }
    }
}

/// What a request holds that is let in.
enum Permit {
    Long(LongRequestPermit),
    Short(#[expect(dead_code, reason = "it is counted until this is dropped")] ShortRequestPermit),
}

fn too_many(service: &Service) -> Response {
    let detail = format!(
        "streams, waits, starts and slow reads would exceed the limit of {}, or leave with others \
         no more than an eighth of the connections, which is for cancels",
        service.limits_of().long_requests_max
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", detail).into_response()
}

/// Tells whether a request may hold its connection for long. For a cancel, its handler decides.
pub(super) fn is_long(method: &Method, path: &str) -> bool {
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if *method == Method::GET {
        return ["events", "stream", "join", "wait"].contains(&last);
    }
    *method == Method::POST && !is_cancel(method, path) && !READS.contains(&last)
}

/// Tells whether a request is a cancel: that of `Playbook3D` has the team and the run after the
/// word.
fn is_cancel(method: &Method, path: &str) -> bool {
    let mut parts = path.trim_end_matches('/').rsplit('/');
    *method == Method::POST && (parts.next() == Some("cancel") || parts.nth(1) == Some("cancel"))
}

/// Tells whether a request only reads, and may be dropped.
fn is_read(method: &Method, path: &str) -> bool {
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    [Method::GET, Method::HEAD].contains(method) || *method == Method::POST && READS.contains(&last)
}

/// Where it is asked how the server is: nothing of a store is read for that, or not for long.
const PROBES: [&str; 7] =
    ["/healthz", "/readyz", "/health", "/ok", "/info", "/metrics", "/v1/metrics"];

/// What is asked by POST and changes nothing.
const READS: [&str; 3] = ["search", "count", "history"];

/// What most reads take less than.
const READ_SOON: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::Router;
    use axum::body::Bytes;
    use axum::extract::State;
    use axum::middleware::{Next, from_fn_with_state};
    use axum::routing::{get, post};
    use futures::future::join_all;
    use futures::stream;
    use quell::Engine;
    use quell_flow::Catalog;
    use quell_http::ServiceLimits;
    use tower::ServiceExt as _;

    use super::*;

    async fn bounded(State(service): State<Service>, request: Request, next: Next) -> Response {
        layer(&service, request, |request| next.run(request)).await
    }

    /// What takes this long is answered with this status, if so many permits of one are held.
    async fn status_of(method: &str, path: &str, takes: Duration, held: usize) -> u16 {
        let mut limits = ServiceLimits::default();
        limits.long_requests_max = 1;
        let service = Service::new(Engine::new(), Catalog::new()).limits(limits);
        let _permits = (0..held).filter_map(|_| service.long_request_permit()).collect::<Vec<_>>();
        let slow = async move || sleep(takes).await;
        let app = Router::new()
            .route(path, get(slow).delete(slow).post(slow))
            .layer(from_fn_with_state(service.clone(), bounded));
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let answer = app.oneshot(request).await.unwrap();
        assert_eq!(service.long_requests(), held);
        answer.status().as_u16()
    }

    #[tokio::test(start_paused = true)]
    async fn reads_that_take_long_are_counted_as_waits_are() {
        let (soon, late) = (READ_SOON / 2, READ_SOON * 30);
        for (method, path) in
            [("GET", "/threads/t"), ("HEAD", "/threads/t"), ("POST", "/threads/search")]
        {
            assert_eq!(status_of(method, path, soon, 1).await, 200, "{method} {path}");
            assert_eq!(status_of(method, path, late, 0).await, 200, "{method} {path}");
            assert_eq!(status_of(method, path, late, 1).await, 503, "{method} {path}");
        }
        // What changes something is never left halfway.
        assert_eq!(status_of("DELETE", "/threads/t", late, 1).await, 200);
        assert_eq!(status_of("POST", "/runs/r/cancel", late, 1).await, 200);
    }

    /// A server with 16 connections, 12 of which may be held for long, and a slow store.
    fn slow() -> (Service, Router) {
        let mut limits = ServiceLimits::default();
        limits.long_requests_max = 12;
        let service = Service::new(Engine::new(), Catalog::new()).limits(limits);
        let slow = async |_: Bytes| sleep(READ_SOON * 30).await;
        let any = get(slow).delete(slow).patch(slow).post(slow);
        let app = Router::new().route("/{*path}", any);
        let app = app.layer(from_fn_with_state(service.clone(), bounded));
        (service, app)
    }

    /// Asks, at once and while the others wait, and yields the statuses.
    async fn ask_all(app: &Router, asked: Vec<Request>) -> Vec<u16> {
        let answers = asked.into_iter().enumerate().map(|(nth, request)| async move {
            sleep(Duration::from_millis(nth as u64)).await;
            app.clone().oneshot(request).await.unwrap().status().as_u16()
        });
        join_all(answers).await
    }

    fn asks(method: &str, path: &str) -> Request {
        Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_a_slow_store_leaves_room_for_cancels() {
        let behind = || {
            vec![
                asks("PATCH", "/threads/t"),
                asks("DELETE", "/threads/t"),
                asks("GET", "/threads/t"),
                asks("POST", "/threads/t/runs"),
                asks("GET", "/threads/t/runs/r/stream"),
                asks("GET", "/ok"),
                asks("POST", "/threads/t/runs/r/cancel"),
            ]
        };
        for streams in [0, 6, 12] {
            let (service, app) = slow();
            let held: Vec<_> = (0..streams).filter_map(|_| service.long_request_permit()).collect();
            let taken = 14 - held.len();
            let mut asked: Vec<_> = (0..taken).map(|_| asks("PATCH", "/threads/t")).collect();
            asked.extend(behind());
            let told = ask_all(&app, asked).await;
            assert!(told[..taken].iter().all(|status| *status == 200), "{told:?}");
            assert_eq!(told[taken..], [503, 503, 503, 503, 503, 200, 200], "{streams}");
            assert_eq!(ask_all(&app, vec![asks("DELETE", "/t")]).await, [200], "there is room");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_slowly_takes_no_room_until_all_has_come() {
        let (service, app) = slow();
        let dribble = |method: &str, path: &str| {
            let parts = stream::unfold(0, |nth| async move {
                sleep(READ_SOON * 2).await;
                (nth < 100).then_some((Ok::<_, Infallible>("x"), nth + 1))
            });
            let body = Body::from_stream(parts);
            Request::builder().method(method).uri(path).body(body).unwrap()
        };
        let sent = ["PATCH", "POST"].into_iter().flat_map(|method| {
            let paths = ["/threads/t", "/threads/search"];
            (0..20).map(move |nth| (method, paths[nth % 2]))
        });
        let sent: Vec<_> = sent.map(|(method, path)| dribble(method, path)).collect();
        let others = async {
            sleep(READ_SOON * 5).await;
            let kinds = [("GET", "/threads/t"), ("PATCH", "/threads/t"), ("POST", "/runs/stream")];
            let told = ask_all(&app, kinds.map(|(method, path)| asks(method, path)).into()).await;
            assert_eq!((told, service.long_requests()), (vec![200; 3], 0));
        };
        let (told, ()) = tokio::join!(ask_all(&app, sent), others);
        // And those are bounded when they have come.
        let refused = told.iter().filter(|status| **status == 503).count();
        assert_eq!((refused, told.len()), (40 - 14, 40), "{told:?}");
    }

    #[tokio::test]
    async fn what_is_done_without_a_look_at_the_body_is_not_refused_behind_that() {
        let mut limits = ServiceLimits::default();
        limits.long_requests_max = 1;
        let service = Service::new(Engine::new(), Catalog::new()).limits(limits);
        let endless = async || Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let app = Router::new().route("/copy", post(async || "done")).route("/join", post(endless));
        let app = app.layer(from_fn_with_state(service.clone(), bounded));
        let asks = |path: &str| {
            let body = Body::from_stream(stream::iter([Ok::<_, Infallible>("{}")]));
            Request::builder().method("POST").uri(path).body(body).unwrap()
        };
        let held = service.long_request_permit();
        assert_eq!(ask_all(&app, vec![asks("/copy"), asks("/join")]).await, [200, 503]);
        drop(held);
        let joined = app.clone().oneshot(asks("/join")).await.unwrap();
        assert_eq!((joined.status().as_u16(), service.long_requests()), (200, 1));
        assert_eq!(ask_all(&app, vec![asks("/join")]).await, [503]);
    }

    #[test]
    fn cancels_and_reads_are_short_in_every_contract() {
        for (method, path, long) in [
            ("GET", "/v1/runs/r/events", true),
            ("HEAD", "/v1/runs/r/events", false),
            ("GET", "/v1/runs/r", false),
            ("GET", "/workflows/ws", false),
            ("POST", "/v1/runs", true),
            ("POST", "/v1/runs/r/cancel", false),
            ("POST", "/agents/a/runs/", true),
            ("POST", "/agents/a/runs/r/cancel/", false),
            ("POST", "/runs/stream", true),
            ("GET", "/threads/t/runs/r/join", true),
            ("GET", "/threads/t/runs/r/stream", true),
            ("GET", "/threads/t/runs", false),
            ("POST", "/runs/cancel", false),
            ("POST", "/assistants/search", false),
            ("POST", "/playbook3d/run_workflow/t/r", true),
            ("POST", "/playbook3d/cancel/t/r", false),
        ] {
            assert_eq!(is_long(&method.parse().expect("a method"), path), long, "{method} {path}");
        }
    }
}
