//! `Traces`: the spans of runs, for a collector that speaks OTLP, if the binary is built with the
//! feature `otel`.

#[cfg(feature = "otel")]
mod batches;
#[cfg(feature = "otel")]
mod client;
mod endpoint;
#[cfg(feature = "otel")]
mod exported;
#[cfg(not(feature = "otel"))]
mod left_out;

#[cfg(feature = "otel")]
pub(super) use exported::{Trace, Traces};
#[cfg(not(feature = "otel"))]
pub(super) use left_out::{Trace, Traces};
