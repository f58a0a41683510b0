//! [`router`]: `/v1/metrics`, what this server has in numbers, as Prometheus and others read them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use quell::SlotStanding;
use quell_http::described::{Routes, get, schema};
use quell_http::{NoQuery, Problem, Service};
use quell_postgres::{Committed, PostgresNode};

use super::dialect::{DIALECT, served};

/// What is counted beside the engine.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics {
    /// The store, if others have it as well.
    node: Option<Arc<PostgresNode>>,
    /// Nodes that this one has taken over from.
    take_overs: Arc<AtomicU64>,
}

impl Metrics {
    /// Makes those of a server, which is one of several if it has a node.
    pub(super) fn new(node: Option<Arc<PostgresNode>>) -> Self {
        Self { node, take_overs: Arc::default() }
    }

    /// Yields the store, if others have it as well.
    pub(super) fn node(&self) -> Option<Arc<PostgresNode>> {
        self.node.clone()
    }

    /// Counts a take-over.
    pub(super) fn has_taken_over(&self) {
        self.take_overs.fetch_add(1, Ordering::Relaxed);
    }
}

/// Serves `/v1/metrics` to whoever sees the runs of all: to everybody where no key is asked for,
/// which is on loopback alone, and else to administrators.
pub(super) fn router(service: Service, metrics: Metrics) -> Router {
    served(routes().into_parts().0, (service, metrics))
}

/// Makes the route, and what the document says of it.
pub(super) fn routes() -> Routes<(Service, Metrics)> {
    let show = get(show, "Tells what this server has in numbers, as Prometheus reads them");
    let kind = "application/openmetrics-text";
    Routes::new(DIALECT).at("/v1/metrics", [show.answers_as(200, kind, schema::text())])
}

async fn show(
    State((service, metrics)): State<(Service, Metrics)>,
    query: Result<NoQuery, Problem>,
    headers: HeaderMap,
) -> Response {
    match service.access_of().check(&headers) {
        Err(error) => Problem::from(error).into_response(),
        Ok(who) if !who.sees_all() => {
            let detail = "metrics are of the runs of all: they need the key of an administrator";
            Problem::new(StatusCode::FORBIDDEN, "forbidden", detail).into_response()
        }
        Ok(_) => match query {
            Err(refused) => refused.into_response(),
            Ok(_) => ([(CONTENT_TYPE, TEXT)], written(&service, &metrics)).into_response(),
        },
    }
}

fn written(service: &Service, metrics: &Metrics) -> String {
    let (engine, now) = (service.engine(), service.engine().standing());
    let mut all = Registry::with_prefix("quell");
    let mut gauge = |name: &str, help: &str, value: usize| {
        all.register(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)));
    };
    gauge("live_runs", "Runs that have not ended, those below others included", now.live);
    gauge("abandoned_roots", "Roots that have ended and of which work goes on here", now.abandoned);
    gauge("long_requests", "Streams, waits and starts that are open", service.long_requests());
    gauge("draining", "Whether no new runs are taken", usize::from(service.is_draining()));
    let in_trouble = usize::from(now.trouble.is_some());
    gauge("store_in_trouble", "Whether the store takes nothing at present", in_trouble);
    if engine.node().is_some() {
        gauge("asked_waiting", "Requests through other nodes that are not answered", now.asked);
    }
    let roots = Family::<Vec<(&str, &str)>, Gauge>::default();
    let statuses = [
        ("queued", now.queued),
        ("running", now.running),
        ("paused", now.paused),
        ("stopping", now.stopping),
    ];
    for (status, count) in statuses {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        roots.get_or_create(&vec![("status", status)]).set(count);
    }
    all.register("roots", "Roots that have not ended, by their status", roots);
    slots(&now.slots, &mut all);
    if let Some(left) = now.lease_left {
        let help = "How long this node may execute what it has unless its lease is renewed";
        all.register("lease_left_seconds", help, ConstGauge::new(left.as_secs_f64()));
    }
    if let Some(node) = &metrics.node {
        let Committed { commits, records, .. } = node.committed();
        all.register("commits", "Transactions that were committed", ConstCounter::new(commits));
        all.register("records", "Records in them", ConstCounter::new(records));
        let taken = metrics.take_overs.load(Ordering::Relaxed);
        all.register("take_overs", "Nodes that were taken over from", ConstCounter::new(taken));
    }
    let mut text = String::new();
    if encode(&mut text, &all).is_err() {
        // A text takes all that is written to it.
        let _ = text.write_str("# EOF\n");
    }
    text
}

/// Tells how limits of all nodes stand.
fn slots(slots: &[SlotStanding], all: &mut Registry) {
    if slots.is_empty() {
        return;
    }
    let [max, taken, held] = [(); 3].map(|()| Family::<Vec<(&str, String)>, Gauge>::default());
    for one in slots {
        let limit = vec![("limit", one.scope.to_string())];
        for (family, count) in [(&max, one.max), (&taken, one.taken), (&held, one.held)] {
            family.get_or_create(&limit).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
    all.register("limit_max", "Roots that may run at once on all nodes, by limit", max);
    all.register("limit_taken", "Slots of the limit that all nodes have", taken);
    all.register("limit_held", "Slots of the limit that this node has", held);
}

/// The content type of the format.
const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
