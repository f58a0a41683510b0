//! [`Batches`]: what leaves for the collector, as those know spans who read them there.

use std::time::Duration;

use opentelemetry::trace::Status;
use opentelemetry_otlp::SpanExporter as Exporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// Exports batches of spans. Each has the name of its run, and is an error if that has failed or
/// was too late.
#[derive(Debug)]
pub(super) struct Batches(pub(super) Exporter);

impl SpanExporter for Batches {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        batch.iter_mut().for_each(describe);
        self.0.export(batch).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

fn describe(span: &mut SpanData) {
    let field = |key: &str| {
        let found = span.attributes.iter().find(|it| it.key.as_str() == key);
        found.map(|it| it.value.as_str().into_owned())
    };
    let (name, status) = (field("run.name"), field("run.status"));
    if let Some("failed" | "timed-out") = status.as_deref() {
        span.status = Status::error(field("run.cause").unwrap_or_default());
    }
    if let Some(name) = name {
        span.name = name.into();
    }
}
