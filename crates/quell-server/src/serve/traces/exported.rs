//! [`Traces`]: the spans of runs, on their way to a collector.

use std::env;
use std::time::Duration;

use axum::http::HeaderMap;
use opentelemetry::context::{FutureExt as _, WithContext};
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, LevelFilter, filter_fn};
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::batches::Batches;
use super::client::Client;
use super::endpoint::endpoint;
use crate::serve::trace_parent::TraceParent;
use crate::signals::Signals;

/// The spans of runs, on their way to a collector, if the environment names one. Who ends a span
/// never waits: what ends while the queue is full is lost.
#[derive(Debug)]
pub(crate) struct Traces {
    provider: Option<SdkTracerProvider>,
    /// Why there is none, although there should be.
    warning: Option<String>,
}

impl Traces {
    /// Reads the environment. Yields also what hears of the spans.
    pub(crate) fn open<S>() -> (Self, Option<impl Layer<S> + Send + Sync>)
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let (provider, warning) = match endpoint().map(provider) {
            None => (None, None),
            Some(Ok(provider)) => (Some(provider), None),
            Some(Err(warning)) => (None, Some(warning)),
        };
        let layer = provider.as_ref().map(|provider| {
            let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("quell"));
            // The span around is known to the subscriber; what threads do is nobody's business.
            let layer = layer.with_context_activation(false).with_tracked_inactivity(false);
            let layer = layer.with_location(false).with_threads(false).with_target(false);
            layer.with_filter(of_runs())
        });
        (Self { provider, warning }, layer)
    }

    /// Yields what should be otherwise, if the environment asks for spans and none are exported.
    pub(crate) fn warning(&self) -> Option<String> {
        self.warning.clone()
    }

    /// Exports what waits, for a while. So many signals, with those before, end that.
    pub(crate) async fn close(&self, signals: &mut Signals, last: u32) {
        let Some(provider) = self.provider.clone() else { return };
        // What the collector does not take is warned of by the client.
        let closed =
            tokio::task::spawn_blocking(move || _ = provider.shutdown_with_timeout(CLOSE_MAX));
        tokio::select! {
            biased;
            _ = closed => {}
            () = signals.until(last) => {}
        }
    }
}

/// Makes what exports spans to the collector that a variable names.
fn provider(key: &str) -> Result<SdkTracerProvider, String> {
    let unused = |why: &str| format!("no span is exported: {why}");
    let client = Client::new().map_err(|error| unused(&error.to_string()))?;
    let exporter = SpanExporter::builder().with_http().with_http_client(client);
    // What waits for a collector that is away would keep the end of the server waiting.
    let exporter = exporter.with_retry_policy(RetryPolicy::disabled());
    // The error quotes the address, which may hold a secret.
    let exporter = exporter.build().map_err(|_| unused(&format!("{key} is no URL of http")))?;
    let builder = SdkTracerProvider::builder().with_resource(resource());
    Ok(builder.with_batch_exporter(Batches(exporter)).build())
}

/// Says who exports: what the environment says, and `quell` if it names no service.
fn resource() -> Resource {
    let of_all = env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let is_named = env::var_os("OTEL_SERVICE_NAME").is_some_and(|name| !name.is_empty())
        || of_all.split(',').any(|it| it.trim_start().starts_with("service.name="));
    let name = (!is_named).then(|| KeyValue::new("service.name", "quell"));
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    Resource::builder().with_attribute(version).with_attributes(name).build()
}

/// Takes the spans of runs and nothing else: of requests there are too many.
fn of_runs() -> FilterFn {
    let is_of_a_run = |it: &Metadata<'_>| {
        it.is_span() && it.name() == "run" && it.target().starts_with("quell::")
    };
    filter_fn(is_of_a_run as fn(&Metadata<'_>) -> bool).with_max_level_hint(LevelFilter::INFO)
}

/// The trace that a request belongs to.
pub(crate) struct Trace(Context);

impl Trace {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let remote = TraceParent::of(headers).and_then(|it| {
            let ids = (TraceId::from_hex(it.trace).ok()?, SpanId::from_hex(it.parent).ok()?);
            let flags = TraceFlags::default().with_sampled(it.is_sampled);
            Some(SpanContext::new(ids.0, ids.1, flags, true, TraceState::default()))
        });
        let none = Context::new();
        Self(remote.map_or_else(|| none.clone(), |remote| none.with_remote_span_context(remote)))
    }

    /// Answers the request: the runs that it starts are below the span that its caller names.
    pub(crate) fn within<F: Future>(self, answer: F) -> WithContext<F> {
        answer.with_context(self.0)
    }
}

/// How long the end of the server waits for a collector.
const CLOSE_MAX: Duration = Duration::from_secs(5);
