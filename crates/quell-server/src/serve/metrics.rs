//! [`router`]: `/v1/metrics`, what this server has in numbers, as Prometheus and others read them.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use quell::{Engine, Histogram, Metric, MetricsVisitor, Sample};
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

/// Yields what `/v1/metrics` has, for whoever may read it.
pub(super) fn for_caller(
    service: &Service,
    metrics: &Metrics,
    headers: &HeaderMap,
) -> Option<String> {
    let who = service.access_of().check(headers).ok()?;
    who.sees_all().then(|| written(service, metrics))
}

fn written(service: &Service, metrics: &Metrics) -> String {
    let mut all = Registry::with_prefix("quell");
    all.register_collector(Box::new(OfEngine(service.engine().clone())));
    let mut gauge = |name: &str, help: &str, value: usize| {
        all.register(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)));
    };
    gauge("long_requests", "Streams, waits and starts that are open", service.long_requests());
    let max = service.limits_of().long_requests_max;
    gauge("long_requests_max", "How many of them may be open", max);
    gauge("draining", "Whether no new runs are taken", usize::from(service.is_draining()));
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

/// What the engine has in numbers.
#[derive(Debug)]
struct OfEngine(Engine);

impl Collector for OfEngine {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut encoding = Encoding { encoder, written: Ok(()) };
        self.0.visit_metrics(&mut encoding);
        encoding.written
    }
}

/// Writes what it is shown, until that fails.
struct Encoding<'a> {
    encoder: DescriptorEncoder<'a>,
    written: fmt::Result,
}

impl Encoding<'_> {
    /// Writes what a metric is, and then its values.
    fn describe(
        &mut self,
        metric: Metric,
        kind: MetricType,
        values: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) {
        if self.written.is_ok() {
            // As a registry does with what is registered.
            let help = format!("{}.", metric.help);
            let described = self.encoder.encode_descriptor(metric.name, &help, None, kind);
            self.written = described.and_then(|mut to| values(&mut to));
        }
    }

    /// Writes a metric, unless there is no sample of it.
    fn samples<V>(
        &mut self,
        metric: Metric,
        kind: MetricType,
        samples: &[Sample<'_, V>],
        value: impl Fn(&mut MetricEncoder<'_>, &V) -> fmt::Result,
    ) {
        if samples.is_empty() {
            return;
        }
        self.describe(metric, kind, |to| {
            samples.iter().try_for_each(|sample| match sample.labels {
                [] => value(to, &sample.value),
                labels => value(&mut to.encode_family(&labels)?, &sample.value),
            })
        });
    }
}

impl MetricsVisitor for Encoding<'_> {
    fn counter(&mut self, metric: Metric, samples: &[Sample<'_, u64>]) {
        self.samples(metric, MetricType::Counter, samples, |to, count| {
            to.encode_counter::<NoLabelSet, _, u64>(count, None)
        });
    }

    #[expect(clippy::redundant_closure_for_method_calls, reason = "the method has one lifetime")]
    fn gauge(&mut self, metric: Metric, samples: &[Sample<'_, f64>]) {
        self.samples(metric, MetricType::Gauge, samples, |to, value| to.encode_gauge(value));
    }

    fn histogram(&mut self, metric: Metric, durations: &Histogram) {
        let buckets = durations.buckets().map(|(most, count)| (most.as_secs_f64(), count));
        let mut buckets: Vec<_> = buckets.collect();
        let within = buckets.iter().map(|(_, count)| count).sum::<u64>();
        // The crate writes this bound as `+Inf`.
        buckets.push((f64::MAX, durations.count() - within));
        let (sum, count) = (durations.sum().as_secs_f64(), durations.count());
        self.describe(metric, MetricType::Histogram, |to| {
            to.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        });
    }
}

/// The content type of the format.
const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
